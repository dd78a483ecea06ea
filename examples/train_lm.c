/* Trains a transformer language model on token files: AdamW, a cosine schedule with warm-up, clipped
 * gradients, checkpoints. With --resume it goes on where a checkpoint was saved and takes the very
 * steps that an uninterrupted run takes: a batch depends on the seed and the number of its step only. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "cli.h"
#include "train_support.h"

typedef struct settings {
    const char *train, *valid, *output, *resume;
    uint64_t vocab_size, context, d_model, layers, heads, kv_heads, d_ff;
    const char *norm, *position, *ffn;
    bool tied;
    uint64_t batch, steps, stop, warmup, seed, threads;
    double max_rate, min_rate, weight_decay, beta2, clip;
    uint64_t log_every, eval_every, eval_tokens, save_every;
} settings_t;

typedef struct training {
    settings_t settings;
    tlm_dataset_t *train, *valid;
    tlm_model_t *model;
    tlm_optimizer_t *optimizer;
    uint32_t *inputs, *targets; /* (batch, context) */
    uint64_t step;              /* steps done */
} training_t;

static settings_t read_settings(int argc, char **argv)
{
    settings_t s = {.vocab_size = 1024,
                    .context = 128,
                    .d_model = 128,
                    .layers = 4,
                    .heads = 4,
                    .norm = "pre",
                    .position = "rope",
                    .ffn = "swiglu",
                    .batch = 8,
                    .steps = 1200,
                    .warmup = 100,
                    .max_rate = 6e-3,
                    .min_rate = 6e-4,
                    .weight_decay = 0.1,
                    .beta2 = 0.95,
                    .clip = 1.0,
                    .log_every = 50,
                    .eval_every = 400,
                    .eval_tokens = 16384};
    const cli_option_t options[] = {
        {"train", CLI_STRING, &s.train, "token file to train on", true},
        {"valid", CLI_STRING, &s.valid, "token file to validate on", true},
        {"output", CLI_STRING, &s.output, "checkpoint to write", false},
        {"resume", CLI_STRING, &s.resume, "checkpoint to go on from; it sets the shape", false},
        {"vocab-size", CLI_COUNT, &s.vocab_size, "ids in the vocabulary", false},
        {"context", CLI_COUNT, &s.context, "tokens that the model sees at once", false},
        {"d-model", CLI_COUNT, &s.d_model, "width", false},
        {"layers", CLI_COUNT, &s.layers, "transformer blocks", false},
        {"heads", CLI_COUNT, &s.heads, "attention heads a block", false},
        {"kv-heads", CLI_COUNT, &s.kv_heads, "heads of keys and values; 0: as many", false},
        {"d-ff", CLI_COUNT, &s.d_ff,
         "inner width of the feed-forward layers; 0: 8/3 d-model, for silu 4", false},
        {"norm", CLI_STRING, &s.norm, "where blocks have norms: pre, post or none", false},
        {"position", CLI_STRING, &s.position, "rope or none", false},
        {"ffn", CLI_STRING, &s.ffn, "feed-forward layers: swiglu or silu", false},
        {"tied", CLI_FLAG, &s.tied, "the output projection is the embedding", false},
        {"batch", CLI_COUNT, &s.batch, "sequences a step", false},
        {"steps", CLI_COUNT, &s.steps, "steps in all, those before --resume too", false},
        {"stop", CLI_COUNT, &s.stop, "leave off early after this step; 0: do not", false},
        {"warmup", CLI_COUNT, &s.warmup, "steps over which the rate rises, all at most", false},
        {"rate", CLI_REAL, &s.max_rate, "learning rate after the warm-up", false},
        {"min-rate", CLI_REAL, &s.min_rate, "learning rate at the end", false},
        {"weight-decay", CLI_REAL, &s.weight_decay, "AdamW's", false},
        {"beta2", CLI_REAL, &s.beta2, "AdamW's", false},
        {"clip", CLI_REAL, &s.clip, "norm that the gradient is clipped to", false},
        {"seed", CLI_COUNT, &s.seed, "of the first weights and of the batches", false},
        {"threads", CLI_COUNT, &s.threads, "threads; 0: one a CPU", false},
        {"log-every", CLI_COUNT, &s.log_every, "steps between lines of progress", false},
        {"eval-every", CLI_COUNT, &s.eval_every, "steps between validations; 0: none", false},
        {"eval-tokens", CLI_COUNT, &s.eval_tokens, "tokens of such a validation; 0: all", false},
        {"save-every", CLI_COUNT, &s.save_every, "steps between saves; 0: at the end only", false},
    };
    const cli_program_t program = {NULL, "Trains a language model on token files.", options,
                                   sizeof(options) / sizeof(options[0])};

    cli_parse(argc, argv, &program);
    cli_check_range("vocab-size", s.vocab_size, 1, UINT32_MAX);
    cli_check_range("context", s.context, 1, 1 << 20);
    cli_check_range("d-model", s.d_model, 1, 1 << 20);
    cli_check_range("layers", s.layers, 1, 1 << 16);
    cli_check_range("heads", s.heads, 1, 1 << 16);
    cli_check_range("kv-heads", s.kv_heads, 0, 1 << 16);
    cli_check_range("d-ff", s.d_ff, 0, 1 << 24);
    cli_check_range("batch", s.batch, 1, 1 << 20);
    cli_check_range("log-every", s.log_every, 1, UINT64_MAX);
    cli_check_range("threads", s.threads, 0, TLM_MAX_THREADS);
    s.warmup = s.warmup < s.steps ? s.warmup : s.steps;
    return s;
}

static tlm_model_t *create_model(const settings_t *settings)
{
    static const char *const norms[] = {"pre", "post", "none"}; /* TLM_NORM_... and so on */
    static const char *const positions[] = {"rope", "none"};
    static const char *const ffns[] = {"swiglu", "silu"};
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model;

    options.norm = cli_choose("norm", settings->norm, norms, 3);
    options.position = cli_choose("position", settings->position, positions, 2);
    options.ffn = cli_choose("ffn", settings->ffn, ffns, 2);
    options.tied_embeddings = settings->tied;
    options.num_kv_heads = (int64_t)settings->kv_heads;
    options.vocab_size = (int64_t)settings->vocab_size;
    options.context_length = (int64_t)settings->context;
    options.d_model = (int64_t)settings->d_model;
    options.num_layers = (int64_t)settings->layers;
    options.num_heads = (int64_t)settings->heads;
    options.d_ff = (int64_t)settings->d_ff;
    options.seed = settings->seed;
    cli_check(tlm_model_create(&model, &options));
    return model;
}

static tlm_optimizer_t *create_optimizer(const settings_t *settings, const tlm_model_t *model)
{
    tlm_adamw_options_t options = TLM_ADAMW_OPTIONS_INIT;
    tlm_optimizer_t *optimizer;
    tlm_tensor_t *const *parameters;
    size_t n;

    options.learning_rate = settings->max_rate;
    options.weight_decay = settings->weight_decay;
    options.beta2 = settings->beta2;
    cli_check(tlm_optimizer_create_adamw(&optimizer, &options));
    cli_check(tlm_model_parameters(&parameters, &n, model));
    cli_check(tlm_optimizer_add_group(optimizer, parameters, n, NULL));
    return optimizer;
}

static void start(training_t *training, const settings_t *settings)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    size_t batch_size;

    *training = (training_t){.settings = *settings};
    if (settings->resume != NULL)
        cli_check(tlm_model_load(&training->model, settings->resume));
    else
        training->model = create_model(settings);
    training->optimizer = create_optimizer(settings, training->model);
    if (settings->resume != NULL)
        cli_check(tlm_checkpoint_load(&training->step, settings->resume, training->model,
                                      training->optimizer));
    cli_check(tlm_model_get_options(&shape, training->model));
    training->settings.context = (uint64_t)shape.context_length;
    training->settings.vocab_size = (uint64_t)shape.vocab_size;
    cli_check(tlm_dataset_open(&training->train, settings->train, TLM_TOKENS_AUTO,
                               (uint32_t)shape.vocab_size));
    cli_check(tlm_dataset_open(&training->valid, settings->valid, TLM_TOKENS_AUTO,
                               (uint32_t)shape.vocab_size));
    batch_size = (size_t)settings->batch * (size_t)shape.context_length * sizeof(uint32_t);
    training->inputs = cli_realloc(NULL, batch_size);
    training->targets = cli_realloc(NULL, batch_size);
    printf("%" PRIu64 " parameters, %" PRIu64 " tokens to train on, %" PRIu64 " to validate on; "
           "%" PRId32 " threads\n",
           tlm_model_num_elements(training->model), tlm_dataset_length(training->train),
           tlm_dataset_length(training->valid), tlm_num_threads());
    if (settings->resume != NULL)
        printf("resumed after step %" PRIu64 "\n", training->step);
}

static void stop(training_t *training)
{
    free(training->inputs);
    free(training->targets);
    tlm_optimizer_free(training->optimizer);
    tlm_model_free(training->model);
    tlm_dataset_free(training->train);
    tlm_dataset_free(training->valid);
}

static void check_step(tlm_status_t status, uint64_t step)
{
    if (status != TLM_OK)
        cli_fail("step %" PRIu64 ": %s", step, tlm_error_message());
}

/* One step; returns the loss before it. */
static double train_step(training_t *training)
{
    const settings_t *s = &training->settings;
    tlm_tensor_t *const *parameters;
    uint64_t step = training->step;
    tlm_tensor_t *loss;
    double rate;
    float value;
    size_t n;

    check_step(tlm_model_parameters(&parameters, &n, training->model), step);
    check_step(tlm_dataset_sample(training->inputs, training->targets, training->train,
                                  (int64_t)s->batch, (int64_t)s->context, s->seed, step),
               step);
    /* Counted from 1: a rate of 0 would waste the first step. */
    check_step(tlm_cosine_schedule(&rate, step + 1, s->max_rate, s->min_rate, s->warmup, s->steps),
               step);
    check_step(tlm_optimizer_set_learning_rate(training->optimizer, TLM_ALL_GROUPS, rate), step);
    tlm_optimizer_zero_grad(training->optimizer);
    check_step(tlm_model_loss(&loss, training->model, training->inputs, training->targets,
                              (int64_t)s->batch, (int64_t)s->context),
               step);
    check_step(tlm_tensor_item(&value, loss), step);
    check_step(tlm_tensor_backward(loss, NULL), step);
    check_step(tlm_clip_grad_norm(NULL, parameters, n, s->clip), step);
    check_step(tlm_optimizer_step(training->optimizer), step);
    tlm_tensor_free(loss);
    training->step++;
    return (double)value;
}

static void save(training_t *training)
{
    if (training->settings.output == NULL)
        return;
    cli_check(tlm_checkpoint_save(training->settings.output, training->model, training->optimizer,
                                  training->step));
}

static double validate(training_t *training, uint64_t max_tokens)
{
    return train_validation_loss(training->model, training->valid,
                                 (int64_t)training->settings.batch,
                                 (int64_t)training->settings.context, max_tokens);
}

static void train(training_t *training)
{
    const settings_t *s = &training->settings;
    double seconds = 0.0, loss_sum = 0.0;
    uint64_t last = s->stop > 0 && s->stop < s->steps ? s->stop : s->steps;
    uint64_t done = 0, summed = 0;

    while (training->step < last) {
        double begin = cli_seconds();

        loss_sum += train_step(training);
        seconds += cli_seconds() - begin;
        done++;
        summed++;
        if (training->step % s->log_every == 0 || training->step == last) {
            double step_seconds = seconds / (double)done;

            printf("step %5" PRIu64 "/%" PRIu64 "  loss %.4f  %7.0f tokens/s  ETA %.0f s\n",
                   training->step, s->steps, loss_sum / (double)summed,
                   (double)(s->batch * s->context) / step_seconds,
                   (double)(last - training->step) * step_seconds);
            fflush(stdout);
            loss_sum = 0.0;
            summed = 0;
        }
        if (training->step == last)
            break;
        if (s->eval_every > 0 && training->step % s->eval_every == 0)
            printf("step %5" PRIu64 "  validation loss %.4f\n", training->step,
                   validate(training, s->eval_tokens));
        if (s->save_every > 0 && training->step % s->save_every == 0)
            save(training);
    }
    if (done > 0 && s->output != NULL) {
        save(training);
        printf("wrote %s\n", s->output);
    }
}

int main(int argc, char **argv)
{
    settings_t settings = read_settings(argc, argv);
    training_t training;
    double loss, entropy;

    cli_check(tlm_set_num_threads((int32_t)settings.threads));
    start(&training, &settings);
    train(&training);
    loss = validate(&training, 0);
    entropy = train_unigram_entropy(training.train, training.valid,
                                    (uint32_t)training.settings.vocab_size);
    printf("validation loss %.4f nats/token (perplexity %.2f); token frequencies alone give %.4f\n",
           loss, exp(loss), entropy);
    stop(&training);
    return 0;
}
