/* Trains a transformer language model on token files. Everything about a run is an option, on the
 * command line or in a file. A run writes a checkpoint, or a directory with checkpoints, logs and a
 * report. With --resume it continues from a checkpoint and takes exactly the steps that an
 * uninterrupted run would take. */
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "support/cli.h"
#include "support/cli_json.h"
#include "support/fine_tune.h"
#include "support/range_test.h"
#include "support/ranks.h"
#include "support/report_page.h"
#include "support/run_directory.h"
#include "support/run_log.h"
#include "support/train_options.h"
#include "support/train_support.h"

typedef struct training {
    tlm_dataset_t *train, *valid;
    tlm_loader_t *loader;
    tlm_model_t *model;
    tlm_tokenizer_t *tokenizer; /* given, or with the model; NULL: none */
    tlm_optimizer_t *optimizer;
    tlm_trainer_t *trainer;
    tlm_communicator_t *ranks; /* NULL without --mpi */
    run_log_t *log;            /* NULL without --output-dir, and except on rank 0 */
    range_test_t *range_test;  /* NULL without --range-test */
    const char *resumed;       /* the checkpoint; NULL: none */
    uint64_t last;             /* step of this run */
    double peak;               /* operations per second of MFU, for one rank */
    double raised;             /* by what the peak grew since, because a step was faster */
    bool is_disturbed;         /* the peak was measured while other programs ran */
    /* Since the last line of progress, and since the run began. */
    double loss_sum, seconds, waited, sums, gathers, overlap;
    uint64_t summed, done, tokens;
} training_t;

/* ---- Making the parts ------------------------------------------------------------------- */

static tlm_model_t *create_model(void)
{
    tlm_model_options_t shape = train_model_options();
    tlm_model_t *model;

    cli_check(tlm_model_create(&model, &shape));
    return model;
}

static tlm_loader_t *create_loader(const tlm_dataset_t *train)
{
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    tlm_loader_t *loader;

    loading.batch_size = (int64_t)settings.batch;
    loading.context_length = (int64_t)shape_settings.context_length;
    loading.seed = settings.seed;
    loading.order = train_order();
    loading.prefetch = (int32_t)settings.prefetch;
    if (settings.document_end != CLI_NONE) {
        loading.document_end = (uint32_t)settings.document_end;
        loading.has_document_end = true;
    }
    cli_check(tlm_loader_create(&loader, train, &loading));
    return loader;
}

/* Opens the logs after the steps that are done, and writes the options of the run, except for those
 * that say where it starts and ends, so that --config repeats it. */
static void open_log(training_t *training)
{
    const char *resume = settings.resume;
    const uint64_t stop = settings.stop;
    const bool mpi = settings.mpi;

    settings.resume = NULL;
    settings.stop = 0;
    settings.mpi = false;
    cli_write_config(run_directory_path("config.json"), &train_program);
    settings.resume = resume;
    settings.stop = stop;
    settings.mpi = mpi;
    run_info_write(run_directory_path("run.json"), training->model, training->train,
                   training->valid, tlm_communicator_num_ranks(training->ranks));
    training->log = run_log_open(settings.output_dir, tlm_trainer_steps(training->trainer));
}

static void write_report(void)
{
    report_page_write(run_directory_path("report.html"), &settings.output_dir, 1, REPORT_OVER_STEPS,
                      NULL, NULL);
}

/* A sample of what the model writes, for the report. A tokenizer whose ids the model does not have gives
 * none. */
static void write_sample(training_t *training, uint64_t step)
{
    tlm_generate_options_t how = TLM_GENERATE_OPTIONS_INIT;
    uint32_t *ids;
    char *text;
    size_t size, n;

    if (training->tokenizer == NULL || settings.sample_tokens == 0 || settings.prompt[0] == '\0')
        return;
    how.max_tokens = (int64_t)settings.sample_tokens;
    how.temperature = 0.8;
    how.top_p = 0.95;
    how.seed = settings.seed;
    how.tokenizer = training->tokenizer;
    if (tlm_tokenizer_encode(&ids, &n, training->tokenizer, settings.prompt,
                             strlen(settings.prompt)) != TLM_OK)
        return;
    if (tlm_model_generate_text(&text, &size, NULL, training->model, ids, n, &how, NULL, NULL) ==
        TLM_OK) {
        run_log_sample(training->log, step, settings.prompt, text, size);
        tlm_free(text);
    }
    tlm_free(ids);
}

/* ---- While it runs ---------------------------------------------------------------------- */

static volatile sig_atomic_t caught; /* the signal that asked to stop */

static void catch_signal(int number)
{
    caught = number;
}

/* The first signal ends the run after its step; a second one ends the program. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = catch_signal, .sa_flags = (int)SA_RESETHAND};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* Once all is saved, a signal may end the program at once. */
static void release_signals(void)
{
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
}

/* How the time of rank 0 was spent, in percent: waiting, mostly for sums of gradients and for the
 * parameters of other ranks, and exchanging while it computed. */
static void print_communication(const training_t *training)
{
    const double percent = 100.0 / training->seconds;

    printf("  communication %.0f%%: sums %.0f%%, parameters %.0f%%; beside backward %.0f%%",
           percent * training->waited, percent * training->sums, percent * training->gathers,
           percent * training->overlap);
}

/* The share of the peak that a step reached. One that is above it shows that the peak is higher than was
 * measured, or given: it is raised, and from then on said to be about that. */
static double utilization_of(training_t *training, double utilization)
{
    const double share = utilization / training->raised;

    if (!(share > 1.0))
        return share;
    training->raised = utilization;
    return 1.0;
}

static void format_left(char out[32], double seconds)
{
    if (seconds < 600.0)
        snprintf(out, 32, "%.0f s", seconds);
    else
        snprintf(out, 32, "%.0f:%02.0f h", floor(seconds / 3600.0),
                 floor(fmod(seconds, 3600.0) / 60.0));
}

static void print_progress(training_t *training, const tlm_train_step_t *step)
{
    const double step_seconds = training->seconds / (double)training->done;
    const double pace = step->seconds / step_seconds; /* of this step against the mean */
    const double share = utilization_of(training, step->utilization * pace);
    char left[32];

    format_left(left, (double)(training->last - step->step) * step_seconds);
    cli_progress_hide();
    printf("step %5" PRIu64 "/%" PRIu64 "  loss %.4f  %7.0f tokens/s  ETA %s  MFU %s%.0f%%",
           step->step, settings.steps, training->loss_sum / (double)training->summed,
           step->tokens_per_second * pace, left,
           training->raised > 1.0 || training->is_disturbed ? "about " : "", 100.0 * share);
    if (training->ranks != NULL)
        print_communication(training);
    putchar('\n');
    fflush(stdout);
}

static void print_step_json(training_t *training, const tlm_train_step_t *step)
{
    cli_result_t *result = cli_result_new();

    cli_result_add_text(result, "event", "step");
    cli_result_add_count(result, "step", step->step);
    cli_result_add_count(result, "steps", settings.steps);
    cli_result_add_count(result, "tokens", step->tokens);
    cli_result_add_real(result, "loss", training->loss_sum / (double)training->summed);
    cli_result_add_real(result, "learning_rate", step->learning_rate);
    cli_result_add_real(result, "gradient_norm", step->gradient_norm);
    cli_result_add_real(result, "tokens_per_second", step->tokens_per_second);
    cli_result_add_real(result, "utilization", utilization_of(training, step->utilization));
    cli_result_print(result);
}

static int32_t on_step(void *user, const tlm_train_step_t *step)
{
    training_t *training = user;
    tlm_train_step_t known = *step;

    training->loss_sum += step->loss;
    training->seconds += step->seconds;
    training->waited += step->communication_seconds;
    training->sums += step->reduce_scatter_seconds;
    training->gathers += step->gather_seconds;
    training->overlap += step->overlap_seconds;
    training->tokens = step->tokens;
    training->summed++;
    training->done++;
    known.utilization = utilization_of(training, step->utilization);
    if (training->log != NULL)
        run_log_step(training->log, &known);
    if (step->step % settings.log_every == 0 || step->step == training->last || caught != 0) {
        if (cli_is_json())
            print_step_json(training, step);
        else if (!cli_is_quiet())
            print_progress(training, step);
        training->loss_sum = 0.0;
        training->summed = 0;
    }
    cli_progress_note("step %" PRIu64 "/%" PRIu64 "  loss %.4f  %.0f tokens/s", step->step,
                      training->last, step->loss, step->tokens_per_second);
    cli_progress(NULL, step->step, training->last);
    return caught != 0 ||
           (training->range_test != NULL && range_test_step(training->range_test, step));
}

static void print_evaluation_json(const tlm_evaluation_t *evaluation)
{
    cli_result_t *result = cli_result_new();

    cli_result_add_text(result, "event", "evaluation");
    cli_result_add_count(result, "step", evaluation->step);
    cli_result_add_real(result, "loss", evaluation->loss);
    cli_result_add_real(result, "perplexity", evaluation->perplexity);
    cli_result_add_flag(result, "is_best", evaluation->is_best);
    cli_result_print(result);
}

static int32_t on_evaluation(void *user, const tlm_evaluation_t *evaluation)
{
    training_t *training = user;

    if (training->log != NULL) {
        run_log_evaluation(training->log, evaluation, training->tokens);
        write_sample(training, evaluation->step);
        write_report();
    }
    if (cli_is_json())
        print_evaluation_json(evaluation);
    else
        cli_say("step %5" PRIu64 "  validation loss %.4f  perplexity %.2f%s\n", evaluation->step,
                evaluation->loss, evaluation->perplexity, evaluation->is_best ? "  (lowest)" : "");
    fflush(stdout);
    return caught != 0;
}

/* ---- The run ---------------------------------------------------------------------------- */

static void create_trainer(training_t *training)
{
    tlm_schedule_options_t schedule = train_schedule_options();
    tlm_trainer_options_t running = TLM_TRAINER_OPTIONS_INIT;

    running.steps = settings.steps > 0 ? settings.steps : 1; /* with 0 no step is taken */
    running.schedule = &schedule;
    running.clip_norm = settings.clip;
    running.average_decay = settings.ema;
    running.accumulation = settings.accumulate;
    running.batch_start = (int64_t)settings.batch_start;
    running.batch_increment = (int64_t)settings.batch_increment;
    running.batch_warmup_steps = settings.batch_warmup;
    running.batch_warmup_tokens = settings.batch_warmup_tokens;
    running.activation_checkpointing = settings.checkpointing;
    running.valid = training->valid;
    running.eval_every = settings.eval_every;
    running.eval_tokens = settings.eval_tokens;
    if (settings.output_dir != NULL)
        running.checkpoint_dir = run_directory_path("checkpoints");
    else
        running.checkpoint_path = settings.output;
    if (settings.output_dir != NULL || settings.output != NULL)
        running.save_every = settings.save_every;
    running.keep_last = (int32_t)settings.keep;
    running.save_on_cancel = true;
    running.tokenizer = training->tokenizer;
    running.products = train_products();
    if (training->resumed != NULL)
        running.resume_changes = train_resume_changes();
    training->raised = 1.0;
    training->peak = settings.peak_gflops > 0.0
                         ? 1e9 * settings.peak_gflops
                         : train_measure_peak(&training->is_disturbed, running.products);
    running.peak_flops = training->peak * (double)tlm_communicator_num_ranks(training->ranks);
    running.communicator = training->ranks;
    running.irreproducible = settings.irreproducible;
    running.on_step = on_step;
    running.on_evaluation = on_evaluation;
    running.user = training;
    if (settings.range_test) { /* sets the rates itself */
        running.schedule = NULL;
        running.eval_every = 0;
        running.checkpoint_dir = running.checkpoint_path = NULL;
        running.save_every = 0;
        running.save_on_cancel = false;
        training->range_test =
            range_test_start(training->optimizer, settings.max_rate, settings.range_low,
                             settings.range_high, running.steps);
    }
    tlm_status_t status = tlm_trainer_create(&training->trainer, training->model,
                                             training->optimizer, training->loader, &running);
    /* Some tokenizers of other programs cannot be stored; a given one is to be. */
    if (status == TLM_ERR_UNSUPPORTED && running.tokenizer != NULL && settings.tokenizer == NULL &&
        settings.vocab == NULL) {
        cli_say("checkpoints are without the tokenizer: %s\n", tlm_error_message());
        running.tokenizer = NULL;
        status = tlm_trainer_create(&training->trainer, training->model, training->optimizer,
                                    training->loader, &running);
    }
    cli_check(status);
}

static void print_start(const training_t *training)
{
    const uint64_t all = tlm_model_num_elements(training->model);

    printf("%" PRIu64 " parameters, ", all);
    if (tlm_model_num_trained(training->model) < all)
        printf("%" PRIu64 " of them trained, ", tlm_model_num_trained(training->model));
    printf("%" PRIu64 " tokens to train on, %" PRIu64 " to validate on; %" PRId32 " threads\n",
           tlm_dataset_length(training->train), tlm_dataset_length(training->valid),
           tlm_num_threads());
    if (training->ranks != NULL)
        printf("%" PRId32 " ranks with as many each\n",
               tlm_communicator_num_ranks(training->ranks));
    if (settings.recipe != NULL) {
        printf("recipe %s, except for options that were given:\n", settings.recipe);
        cli_print_preset(&train_program, settings.recipe);
    }
    const uint64_t done = tlm_trainer_steps(training->trainer);
    if (training->resumed != NULL)
        printf("resumed after step %" PRIu64 "%s\n", done,
               settings.steps > 0 && done >= settings.steps ? ": --steps are done already" : "");
}

static void print_start_json(const training_t *training)
{
    cli_result_t *result = cli_result_new();

    cli_result_add_text(result, "event", "start");
    cli_result_add_count(result, "parameters", tlm_model_num_elements(training->model));
    cli_result_add_count(result, "trained_parameters", tlm_model_num_trained(training->model));
    cli_result_add_count(result, "train_tokens", tlm_dataset_length(training->train));
    cli_result_add_count(result, "valid_tokens", tlm_dataset_length(training->valid));
    cli_result_add_count(result, "threads", (uint64_t)tlm_num_threads());
    cli_result_add_count(result, "ranks", (uint64_t)tlm_communicator_num_ranks(training->ranks));
    cli_result_add_text(result, "recipe", settings.recipe);
    cli_result_add_count(result, "step", tlm_trainer_steps(training->trainer));
    cli_result_print(result);
}

static void resume(training_t *training)
{
    tlm_status_t status = tlm_trainer_resume(training->trainer, training->resumed);

    if (status == TLM_ERR_STATE && strstr(tlm_error_message(), "resume_changes") != NULL)
        cli_fail("%s; an option on the command line changes what it sets", tlm_error_message());
    if (status == TLM_ERR_STATE && strstr(tlm_error_message(), " groups, but") != NULL)
        cli_fail(
            "%s; a checkpoint does not tell --group: give it, or the --recipe, as the run had it",
            tlm_error_message());
    cli_check(status);
}

static void start(training_t *training, tlm_communicator_t *ranks)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    const bool is_first = tlm_communicator_rank(ranks) == 0;

    if (settings.output_dir != NULL && is_first)
        run_directory_open();
    *training = (training_t){.resumed = run_directory_checkpoint(), .ranks = ranks};
    tlm_model_file_options_t file = TLM_MODEL_FILE_OPTIONS_INIT;
    bool is_new = training->resumed == NULL;

    if (training->resumed != NULL || settings.init != NULL)
        is_new = fine_tune_open(&training->model, &training->tokenizer, &file, training->resumed);
    else
        training->model = create_model();
    train_change_training(training->model, !is_new);
    cli_check(tlm_model_get_options(&shape, training->model));
    if (settings.init != NULL)
        train_adopt_checked(&shape, settings.init);
    else
        train_adopt_shape(&shape);
    if (is_new)
        fine_tune_prepare(training->model);
    if (settings.tokenizer != NULL || settings.vocab != NULL || settings.merges != NULL) {
        tlm_tokenizer_free(training->tokenizer);
        training->tokenizer =
            cli_load_tokenizer(settings.tokenizer, settings.vocab, settings.merges, NULL);
    }
    training->train = fine_tune_data(settings.train, &shape, training->tokenizer, &file);
    training->valid = fine_tune_data(settings.valid, &shape, training->tokenizer, &file);
    training->loader = create_loader(training->train);
    training->optimizer = train_create_optimizer(training->model);
    create_trainer(training);
    if (training->resumed != NULL)
        resume(training);
    if (cli_is_json())
        print_start_json(training);
    else
        print_start(training);
    if (settings.output_dir != NULL && is_first)
        open_log(training);
}

static void stop(training_t *training)
{
    run_log_close(training->log);
    tlm_trainer_free(training->trainer);
    tlm_optimizer_free(training->optimizer);
    tlm_tokenizer_free(training->tokenizer);
    tlm_model_free(training->model);
    tlm_loader_free(training->loader);
    tlm_dataset_free(training->train);
    tlm_dataset_free(training->valid);
}

/* Runs to the end, or until a signal interrupts the run. */
static void train(training_t *training)
{
    const char *output = settings.output_dir != NULL ? settings.output_dir : settings.output;
    const bool is_first = tlm_communicator_rank(training->ranks) == 0;
    tlm_status_t status = TLM_OK;

    training->last =
        settings.stop > 0 && settings.stop < settings.steps ? settings.stop : settings.steps;
    cli_progress_begin("training", NULL);
    cli_progress_note("the first step");
    if (training->last > 0) /* 0: evaluates only */
        status = tlm_trainer_run(training->trainer, training->last);
    cli_progress_end();
    if (training->log != NULL)
        write_report();
    if (status != TLM_ERR_CANCELLED)
        cli_check(status);
    if (training->done > 0 && output != NULL)
        cli_say("wrote %s\n", output);
    if (training->done > 0 && settings.save_adapter != NULL && is_first) {
        cli_check(tlm_model_save_adapter(training->model, settings.save_adapter));
        cli_say("wrote %s\n", settings.save_adapter);
    }
    if (status == TLM_ERR_CANCELLED && caught == 0)
        caught = SIGTERM; /* another rank got the signal */
    if (status == TLM_ERR_CANCELLED && is_first) {
        fflush(stdout);
        fprintf(stderr, "%s: %s after step %" PRIu64 "%s%s\n", cli_program_name(),
                caught == SIGINT ? "interrupted" : "terminated",
                tlm_trainer_steps(training->trainer),
                output != NULL ? "; continue with --resume " : ", and nothing was saved",
                output != NULL ? output : "");
    }
}

/* Raises the rate until all steps are done, or the loss has risen too far or is no number any more. */
static void find_rate(training_t *training)
{
    training->last = settings.steps;
    tlm_status_t status = tlm_trainer_run(training->trainer, training->last);

    if (status == TLM_ERR_NON_FINITE)
        cli_say("the test ends: %s\n", tlm_error_message());
    else if (status != TLM_ERR_CANCELLED)
        cli_check(status);
    if (training->log != NULL)
        write_report();
    range_test_finish(training->range_test, settings.output_dir);
}

/* Writes result.json, which says that the run in this directory is at its end. */
static void write_result(const training_t *training, const tlm_evaluation_t *whole)
{
    cli_result_t *result = cli_result_new();

    cli_result_add_count(result, "steps", tlm_trainer_steps(training->trainer));
    cli_result_add_real(result, "validation_loss", whole->loss);
    cli_result_add_real(result, "perplexity", whole->perplexity);
    cli_result_add_count(result, "parameters", tlm_model_num_elements(training->model));
    cli_result_write(result, run_directory_path("result.json"));
}

/* Saves the model while it has the averages. */
static void save_average(const training_t *training)
{
    tlm_checkpoint_options_t options = TLM_CHECKPOINT_OPTIONS_INIT;

    options.tokenizer = training->tokenizer;
    cli_check(tlm_checkpoint_save_with(training->model, NULL, tlm_trainer_steps(training->trainer),
                                       settings.save_average, &options));
    printf("wrote %s\n", settings.save_average);
}

/* Prints the results of a run that was not interrupted. */
static void conclude(training_t *training)
{
    tlm_evaluation_t whole = TLM_EVALUATION_INIT;
    double entropy;

    const bool averages = settings.ema > 0.0 && tlm_trainer_steps(training->trainer) > 0;

    if (averages)
        cli_check(tlm_trainer_use_average(training->trainer, true));
    cli_progress_watch("validating", NULL, NULL, 0);
    cli_check(tlm_model_evaluate_on_ranks(&whole, training->model, training->ranks, training->valid,
                                          (int64_t)settings.batch,
                                          (int64_t)shape_settings.context_length, 0));
    if (settings.save_average != NULL && averages && tlm_communicator_rank(training->ranks) == 0)
        save_average(training);
    if (averages)
        cli_check(tlm_trainer_use_average(training->trainer, false));
    entropy = train_unigram_entropy(training->train, training->valid,
                                    (uint32_t)shape_settings.vocab_size);
    cli_progress_end();
    cli_say("validation loss %.4f nats/token (perplexity %.2f); token frequencies alone give "
            "%.4f\n",
            whole.loss, whole.perplexity, entropy);
    if (training->log != NULL)
        write_result(training, &whole);
    if (!cli_is_json())
        return;
    cli_result_t *result = cli_result_new();
    cli_result_add_text(result, "event", "end");
    cli_result_add_count(result, "step", tlm_trainer_steps(training->trainer));
    cli_result_add_real(result, "loss", whole.loss);
    cli_result_add_real(result, "perplexity", whole.perplexity);
    cli_result_add_real(result, "frequency_loss", entropy);
    cli_result_add_text(result, "output",
                        settings.output_dir != NULL ? settings.output_dir : settings.output);
    cli_result_add_text(result, "adapter", settings.save_adapter);
    cli_result_print(result);
}

int train_run(int n, char **operands)
{
    tlm_communicator_t *ranks = NULL;
    training_t training;

    (void)n;
    (void)operands;
    train_check_options();
    if (settings.mpi)
        ranks = ranks_join(cli_command_line());
    cli_check(tlm_set_num_threads((int32_t)settings.threads));
    start(&training, ranks);
    catch_signals();
    if (settings.range_test)
        find_rate(&training);
    else
        train(&training);
    release_signals();
    if (caught == 0 && !settings.range_test)
        conclude(&training);
    stop(&training);
    ranks_leave(ranks);
    return caught == 0 ? 0 : 128 + caught;
}

int finetune_run(int n, char **operands)
{
    if (settings.init == NULL && settings.resume == NULL)
        cli_fail_usage("--init is missing, the model to start from");
    return train_run(n, operands);
}

CLI_MAIN(train_program)
