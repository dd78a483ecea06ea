/* Prints what a language model costs: parameters, memory and floating-point operations by part, and how
 * long a train step takes at the rates that it measures on this machine. The model itself is not created,
 * so it may be larger than the machine. With --memory alone: how large a model may be. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/cli.h"
#include "support/cli_json.h"
#include "support/cost_text.h"
#include "support/machine_rates.h"
#include "support/model_fit.h"
#include "support/model_storage.h"
#include "support/model_words.h"
#include "support/shape_options.h"

static struct {
    const char *optimizer, *model, *weights, *freeze, *lora_targets, *memory;
    uint64_t lora_rank, batch, steps;
    bool checkpointing, full_attention;
    uint64_t batch_start, batch_warmup;
    double gflops, ema;
} s = {.optimizer = "adamw", .weights = "float32", .lora_targets = "all-linear", .batch = 8};

static const cli_option_t options[] = {
    SHAPE_OPTIONS,
    {"model", CLI_STRING, &s.model, HELP_MODEL ", in place of the operand", false},

    {NULL, CLI_FLAG, NULL, "What is done with it", false},
    {"batch", CLI_COUNT, &s.batch, HELP_BATCH, false},
    {"optimizer", CLI_STRING, &s.optimizer, HELP_OPTIMIZER, false},
    {"weights", CLI_STRING, &s.weights,
     HELP_WEIGHTS
     ", in memory; only float32 is trained; with MODEL, by default as in its file beside "
     "adapters and to generate",
     false},
    {"freeze", CLI_STRING, &s.freeze, HELP_FREEZE, false},
    {"lora-rank", CLI_COUNT, &s.lora_rank, HELP_LORA_RANK, false},
    {"lora-targets", CLI_STRING, &s.lora_targets, HELP_LORA_TARGETS, false},
    {"checkpointing", CLI_FLAG, &s.checkpointing, HELP_CHECKPOINTING, false},
    {"ema", CLI_REAL, &s.ema, HELP_EMA, false},
    {"batch-start", CLI_COUNT, &s.batch_start, HELP_BATCH_START, false},
    {"batch-warmup", CLI_COUNT, &s.batch_warmup, HELP_BATCH_WARMUP, false},
    {"full-attention", CLI_FLAG, &s.full_attention,
     "count every query times every key, as textbooks do, instead of the computed half", false},
    {"steps", CLI_COUNT, &s.steps, HELP_STEPS ", whose time is printed; 0: only that of one",
     false},
    {"gflops", CLI_REAL, &s.gflops, "GFLOP/s to compute times with; 0: measure this machine",
     false},
    {"memory", CLI_STRING, &s.memory,
     "such as 8G or 512M: print the largest batch of the model that trains in it; if no model is "
     "given, the largest models that train and generate, by default for 32,768 ids, a context of "
     "1024 and a batch of 1",
     false},
};

/* ---- What is asked -------------------------------------------------------------------------- */

static model_storage_t storage; /* of s.model */

static void adopt_model(const char *path)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;

    cli_expect(path, ROLE_MODEL, CLI_OPERANDS);
    storage_read(&storage, &shape, path);
    shape_adopt_checked(&shape, path);
}

/* Whether the weights of a step are those of the model's file: adapters are trained beside them. */
static bool keeps_weights(void)
{
    return s.model != NULL && s.lora_rank > 0 && !cli_was_given("weights");
}

static tlm_cost_options_t cost_options(void)
{
    static tlm_lora_options_t lora = TLM_LORA_OPTIONS_INIT; /* the result points to it */
    tlm_cost_options_t asked = TLM_COST_OPTIONS_INIT;

    asked.optimizer = cli_choose_word("optimizer", s.optimizer, optimizer_words);
    asked.batch = (int64_t)s.batch;
    asked.checkpointing = s.checkpointing;
    asked.average = s.ema > 0.0;
    asked.weights = keeps_weights() ? storage.type : type_of_word("weights", s.weights);
    asked.frozen = s.freeze;
    lora.rank = (int64_t)s.lora_rank;
    lora.targets = s.lora_targets;
    if (s.lora_rank > 0)
        asked.lora = &lora;
    asked.counting = s.full_attention ? TLM_COUNT_FULL : TLM_COUNT_EXECUTED;
    return asked;
}

/* The cost with all matrices of one type; where those of a file are of several, that of the most, or if
 * its blocks do not fit everywhere bfloat16, and what the others differ is added. */
static tlm_status_t find_cost(tlm_cost_t *cost, const tlm_model_options_t *model,
                              const tlm_cost_options_t *asked)
{
    tlm_cost_options_t trial = *asked;
    tlm_cost_t whole = TLM_COST_INIT;
    tlm_status_t status = tlm_model_cost(cost, model, &trial);

    if (!keeps_weights())
        return status;
    if (status != TLM_OK) {
        trial.weights = TLM_BFLOAT16;
        status = tlm_model_cost(cost, model, &trial);
    }
    trial.lora = NULL;
    trial.frozen = "*"; /* nothing is trained, and there is no step to count */
    if (status == TLM_OK)
        status = tlm_model_cost(&whole, model, &trial);
    if (status != TLM_OK)
        return status;
    cost->weight_bytes += storage.kept - whole.weight_bytes;
    cost->step_live_bytes += storage.kept - whole.weight_bytes;
    cost->step_peak_bytes += storage.kept - whole.weight_bytes;
    return TLM_OK;
}

static tlm_cost_t cost_of(const tlm_model_options_t *model, const tlm_cost_options_t *asked)
{
    tlm_cost_t cost = TLM_COST_INIT;

    cli_check(find_cost(&cost, model, asked));
    return cost;
}

/* Weights to generate with: those of the file, unless the command line says which. */
static uint64_t generating_bytes(const tlm_cost_t *cost)
{
    return s.model != NULL && !cli_was_given("weights") && s.lora_rank == 0 ? storage.kept
                                                                            : cost->weight_bytes;
}

/* ---- Time ----------------------------------------------------------------------------------- */

/* Seconds of a step, and by part where they are measured. */
typedef struct times {
    bool is_measured;
    double products, scores, updates;             /* seconds */
    double product_rate, score_rate, update_rate; /* per second */
    double step;
} times_t;

/* Parameters that the optimizer spends its time on: those of Muon are hidden matrices. */
static uint64_t count_updated(const tlm_cost_t *cost)
{
    const uint64_t hidden =
        cost->part_parameters[TLM_PART_ATTENTION] + cost->part_parameters[TLM_PART_FEED_FORWARD];

    return strcmp(s.optimizer, "muon") == 0 && hidden < cost->trained_parameters
               ? hidden
               : cost->trained_parameters;
}

/* The time of a step at the rates of this machine, or at the given one. */
static times_t find_times(const tlm_model_options_t *model, const tlm_cost_options_t *asked,
                          const tlm_cost_t *cost)
{
    tlm_cost_options_t executed = *asked;
    const bool has_step = cost->trained_parameters > 0;
    times_t times = {.is_measured = has_step && s.gflops <= 0.0};

    if (!has_step) {
        times.step = NAN;
        return times;
    }
    if (!times.is_measured) {
        times.step = cost->step_flops / (1e9 * s.gflops);
        return times;
    }
    executed.counting = TLM_COUNT_EXECUTED;
    const tlm_cost_t done = cost_of(model, &executed);
    const uint64_t updated = count_updated(&done);
    const double scores = done.forward_flops[TLM_PART_SCORES] * (s.checkpointing ? 2.0 : 1.0) +
                          done.backward_flops[TLM_PART_SCORES];
    cli_progress_begin("measuring this machine", NULL);
    times.product_rate =
        machine_measure_products(model, (int64_t)(s.batch * shape_settings.context_length));
    cli_progress(NULL, 1, 3);
    times.score_rate = machine_measure_scores(model);
    cli_progress(NULL, 2, 3);
    times.update_rate =
        machine_measure_updates(asked->optimizer, (int64_t)shape_settings.d_model, updated);
    cli_progress_end();
    times.products = (done.model_flops + done.recompute_flops - scores) / times.product_rate;
    times.scores = scores / times.score_rate;
    times.updates = (double)updated / times.update_rate;
    times.step = times.products + times.scores + times.updates;
    return times;
}

/* How many full steps the first s.steps are worth, while batches grow in a straight line. */
static double full_steps(void)
{
    const uint64_t growing = s.steps < s.batch_warmup ? s.steps : s.batch_warmup;
    double rows = 0.0;

    for (uint64_t i = 0; i < growing; i++)
        rows += (double)(s.batch_start + (s.batch - s.batch_start) * i / s.batch_warmup);
    return rows / (double)s.batch + (double)(s.steps - growing);
}

/* What a process holds that trains the model, or generates with one of which nothing is trained. */
static uint64_t bytes_of(const tlm_cost_t *cost)
{
    return cost->trained_parameters > 0 ? cost->step_peak_bytes
                                        : generating_bytes(cost) + cost->kv_cache_bytes;
}

/* The largest batch that fits in the given memory. */
static uint64_t largest_batch(const tlm_model_options_t *model, const tlm_cost_options_t *asked,
                              uint64_t memory)
{
    tlm_cost_options_t trial = *asked;
    int64_t fits = 0, fails = (int64_t)1 << 24;

    while (fails - fits > 1) {
        tlm_cost_t cost = TLM_COST_INIT;

        trial.batch = fits + (fails - fits) / 2;
        if (find_cost(&cost, model, &trial) == TLM_OK && bytes_of(&cost) <= memory)
            fits = trial.batch;
        else
            fails = trial.batch;
    }
    return (uint64_t)fits;
}

/* ---- Tables --------------------------------------------------------------------------------- */

static const char *const part_names[TLM_NUM_PARTS] = {
    "embedding", "attention projections", "attention scores", "feed-forward",
    "norms",     "output projection"};

static double sum(const double *values)
{
    double total = 0.0;

    for (int part = 0; part < TLM_MAX_PARTS; part++)
        total += values[part];
    return total;
}

static void print_parameters(const tlm_cost_t *cost)
{
    char text[32];

    printf("\n%-28s %20s %8s\n", "Parameters", "", "share");
    for (int part = 0; part < TLM_NUM_PARTS; part++)
        if (cost->part_parameters[part] > 0)
            printf("  %-26s %20s %7.1f%%\n", part_names[part],
                   cost_with_commas(text, cost->part_parameters[part]),
                   100.0 * (double)cost->part_parameters[part] / (double)cost->parameters);
    printf("  %-26s %20s\n", "all", cost_with_commas(text, cost->parameters));
    if (cost->trained_parameters < cost->parameters)
        printf("  %-26s %20s\n", "trained", cost_with_commas(text, cost->trained_parameters));
}

static void print_bytes(const char *name, uint64_t bytes)
{
    char text[32];

    printf("  %-26s %20s\n", name, cost_bytes(text, bytes));
}

static void print_step_memory(const tlm_cost_t *cost)
{
    printf("\nMemory of a train step, %" PRIu64 " x %" PRIu64 " tokens%s\n", s.batch,
           shape_settings.context_length, s.checkpointing ? ", checkpointing" : "");
    print_bytes("weights", cost->weight_bytes);
    print_bytes("gradients", cost->gradient_bytes);
    print_bytes("optimizer", cost->optimizer_bytes);
    print_bytes("activations", cost->activation_bytes);
    print_bytes("most in use at once", cost->step_live_bytes);
    print_bytes("most held by the process", cost->step_peak_bytes);
    if (s.batch_start > 0)
        printf("Batches grow from %" PRIu64 " sequences to that over %" PRIu64 " steps.\n",
               s.batch_start, s.batch_warmup);
}

static void print_generation_memory(const tlm_cost_t *cost)
{
    printf("\nMemory of generation, %" PRIu64 " sequences of %" PRIu64 " tokens\n", s.batch,
           shape_settings.context_length);
    print_bytes("weights", generating_bytes(cost));
    print_bytes("keys and values", cost->kv_cache_bytes);
}

static void print_flops_row(const char *name, double step, double tokens, double all)
{
    char of_step[32], of_token[32];

    printf("  %-26s %20s %20s %7.1f%%\n", name, cost_flops(of_step, step),
           cost_flops(of_token, step / tokens), 100.0 * step / all);
}

static void print_forward_flops(const tlm_cost_t *cost)
{
    const double tokens = (double)s.batch * (double)shape_settings.context_length;
    const double forward = sum(cost->forward_flops);

    printf("\n%-28s %20s %20s %8s\n", "Operations, forward pass", "per step", "per token", "share");
    for (int part = 0; part < TLM_NUM_PARTS; part++)
        if (cost->forward_flops[part] > 0.0)
            print_flops_row(part_names[part], cost->forward_flops[part], tokens, forward);
}

static void print_step_flops(const tlm_cost_t *cost)
{
    const double tokens = (double)s.batch * (double)shape_settings.context_length;

    printf("%-28s %20s %20s %8s\n", "Operations, train step", "", "", "share");
    print_flops_row("forward", sum(cost->forward_flops), tokens, cost->step_flops);
    print_flops_row("backward", sum(cost->backward_flops), tokens, cost->step_flops);
    if (cost->recompute_flops > 0.0)
        print_flops_row("recomputation", cost->recompute_flops, tokens, cost->step_flops);
    print_flops_row(s.optimizer, cost->optimizer_flops, tokens, cost->step_flops);
    print_flops_row("all", cost->step_flops, tokens, cost->step_flops);
}

/* Nothing is said of train steps where nothing is trained. */
static void print_cost(const tlm_cost_t *cost)
{
    const bool has_step = cost->trained_parameters > 0;
    char text[32];

    print_parameters(cost);
    if (has_step)
        print_step_memory(cost);
    print_generation_memory(cost);
    print_forward_flops(cost);
    if (has_step)
        print_step_flops(cost);
    printf("Generating a token after %" PRIu64 " others: %s\n", shape_settings.context_length - 1,
           cost_flops(text, cost->token_flops));
}

static void print_time_row(const char *name, double seconds, const char *basis)
{
    char text[32];

    printf("  %-26s %20s   %s\n", name, cost_seconds(text, seconds), basis);
}

static void print_times(const times_t *times)
{
    char text[64];

    if (times->is_measured) {
        printf("\nTime of a train step at the rates measured here, %" PRId32 " threads\n",
               tlm_num_threads());
        snprintf(text, sizeof(text), "%.1f GFLOP/s", 1e-9 * times->product_rate);
        print_time_row("linear layers", times->products, text);
        snprintf(text, sizeof(text), "%.1f GFLOP/s", 1e-9 * times->score_rate);
        print_time_row("attention scores", times->scores, text);
        snprintf(text, sizeof(text), "%.0f million parameters/s", 1e-6 * times->update_rate);
        print_time_row(s.optimizer, times->updates, text);
    } else {
        printf("\nTime of a train step at %g GFLOP/s\n", s.gflops);
    }
    snprintf(text, sizeof(text), "%.0f tokens/s",
             (double)s.batch * (double)shape_settings.context_length / times->step);
    print_time_row("a step", times->step, text);
    if (s.steps > 0) {
        snprintf(text, sizeof(text), "%" PRIu64 " steps", s.steps);
        print_time_row(text, times->step * full_steps(), "");
    }
}

/* ---- The same as JSON ----------------------------------------------------------------------- */

static void add_shape(cli_result_t *result)
{
    cli_result_t *shape = cli_result_add_object(result, "shape");

    cli_result_add_count(shape, "vocab_size", shape_settings.vocab_size);
    cli_result_add_count(shape, "context", shape_settings.context_length);
    cli_result_add_count(shape, "d_model", shape_settings.d_model);
    cli_result_add_count(shape, "layers", shape_settings.num_layers);
    cli_result_add_count(shape, "heads", shape_settings.num_heads);
}

static void add_cost(cli_result_t *result, const tlm_cost_t *cost)
{
    cli_result_t *part = cli_result_add_object(result, "part_parameters"), *memory;

    for (int i = 0; i < TLM_NUM_PARTS; i++)
        cli_result_add_count(part, part_names[i], cost->part_parameters[i]);
    cli_result_add_count(result, "parameters", cost->parameters);
    cli_result_add_count(result, "trained_parameters", cost->trained_parameters);
    memory = cli_result_add_object(result, "memory");
    cli_result_add_count(memory, "weights", cost->weight_bytes);
    cli_result_add_count(memory, "gradients", cost->gradient_bytes);
    cli_result_add_count(memory, "optimizer", cost->optimizer_bytes);
    cli_result_add_count(memory, "activations", cost->activation_bytes);
    cli_result_add_count(memory, "step_live", cost->step_live_bytes);
    cli_result_add_count(memory, "step_peak", cost->step_peak_bytes);
    cli_result_add_count(memory, "generating_weights", generating_bytes(cost));
    cli_result_add_count(memory, "keys_and_values", cost->kv_cache_bytes);
    part = cli_result_add_object(result, "forward_operations");
    for (int i = 0; i < TLM_NUM_PARTS; i++)
        cli_result_add_real(part, part_names[i], cost->forward_flops[i]);
    cli_result_add_real(result, "step_operations", cost->step_flops);
    cli_result_add_real(result, "token_operations", cost->token_flops);
}

static void add_times(cli_result_t *result, const times_t *times)
{
    cli_result_add_flag(result, "is_measured", times->is_measured);
    cli_result_add_real(result, "step_seconds", times->step);
    cli_result_add_real(result, "tokens_per_second",
                        (double)s.batch * (double)shape_settings.context_length / times->step);
    if (s.steps > 0)
        cli_result_add_real(result, "seconds", times->step * full_steps());
}

/* ---- The largest models --------------------------------------------------------------------- */

static void add_fit(cli_result_t *list, const fit_use_t *use, const fit_t *fit)
{
    cli_result_t *row = cli_result_add_object(list, NULL);

    cli_result_add_text(row, "use", use->name);
    cli_result_add_count(row, "parameters", fit->parameters);
    cli_result_add_count(row, "d_model", (uint64_t)fit->shape.d_model);
    cli_result_add_count(row, "layers", (uint64_t)fit->shape.num_layers);
    cli_result_add_count(row, "heads", (uint64_t)fit->shape.num_heads);
    cli_result_add_count(row, "bytes", fit->bytes);
}

static void print_fit(const fit_use_t *use, const fit_t *fit)
{
    char parameters[32], bytes[32];

    if (fit->parameters == 0)
        printf("%-26s %s\n", use->name, "none");
    else
        printf("%-26s %16s %8" PRId64 " %7" PRId64 " %6" PRId64 " %10s\n", use->name,
               cost_with_commas(parameters, fit->parameters), fit->shape.d_model,
               fit->shape.num_layers, fit->shape.num_heads, cost_bytes(bytes, fit->bytes));
}

static void print_fits(const tlm_model_options_t *base, int32_t optimizer, uint64_t memory)
{
    cli_result_t *result = cli_is_json() ? cli_result_new() : NULL, *list = NULL;
    char text[32];

    if (result != NULL) {
        cli_result_add_count(result, "memory", memory);
        cli_result_add_count(result, "vocab_size", shape_settings.vocab_size);
        cli_result_add_count(result, "context", shape_settings.context_length);
        cli_result_add_count(result, "batch", s.batch);
        list = cli_result_add_list(result, "fits");
    } else {
        printf("Largest models in %s: vocabulary %" PRIu64 ", context %" PRIu64 ", batch %" PRIu64
               "\n%-26s %16s %8s %7s %6s %10s\n",
               cost_bytes(text, memory), shape_settings.vocab_size, shape_settings.context_length,
               s.batch, "", "parameters", "d-model", "layers", "heads", "memory");
    }
    cli_progress_begin("searching", NULL);
    for (int i = 0; i < NUM_FIT_USES; i++) {
        const fit_t fit = fit_largest(&fit_uses[i], base, (int64_t)s.batch, optimizer, memory);

        cli_progress_hide();
        if (list != NULL)
            add_fit(list, &fit_uses[i], &fit);
        else
            print_fit(&fit_uses[i], &fit);
        cli_progress(NULL, (uint64_t)i + 1, NUM_FIT_USES);
    }
    cli_progress_end();
    if (result != NULL)
        cli_result_print(result);
}

/* ---- The program ---------------------------------------------------------------------------- */

static void print_all(uint64_t memory)
{
    const tlm_model_options_t model = shape_model_options();
    const tlm_cost_options_t asked = cost_options();
    const tlm_cost_t cost = cost_of(&model, &asked);
    const bool has_step = cost.trained_parameters > 0;
    char text[32];

    if (cli_is_json()) {
        const times_t times = find_times(&model, &asked, &cost);
        cli_result_t *result = cli_result_new();

        add_shape(result);
        add_cost(result, &cost);
        if (s.model != NULL)
            storage_add(result, &storage);
        add_times(result, &times);
        if (memory > 0)
            cli_result_add_count(result, "largest_batch", largest_batch(&model, &asked, memory));
        cli_result_print(result);
        return;
    }
    printf("%" PRIu64 " layers of width %" PRIu64 ", %" PRIu64 " heads; vocabulary %" PRIu64
           ", context %" PRIu64 "\n",
           shape_settings.num_layers, shape_settings.d_model, shape_settings.num_heads,
           shape_settings.vocab_size, shape_settings.context_length);
    if (s.model != NULL)
        storage_print(&storage);
    print_cost(&cost);
    if (has_step) {
        fflush(stdout);
        const times_t times = find_times(&model, &asked, &cost);
        print_times(&times);
    }
    if (memory > 0)
        printf("\nLargest batch that %s in %s: %" PRIu64 "\n", has_step ? "trains" : "generates",
               cost_bytes(text, memory), largest_batch(&model, &asked, memory));
}

/* Whether the command line says anything of the size of a model. */
static bool has_size(void)
{
    return s.model != NULL || cli_was_given("d-model") || cli_was_given("layers") ||
           cli_was_given("heads") || cli_was_given("d-ff") || cli_was_given("head-dim") ||
           cli_was_given("kv-heads");
}

static int run(int n, char **operands)
{
    uint64_t memory = 0;

    if (n > 1)
        cli_fail_usage("one model is described, not %d", n);
    if (n == 1)
        s.model = operands[0];
    if (s.memory != NULL && !fit_parse_memory(&memory, s.memory))
        cli_fail_usage("--memory: '%s' is not an amount of memory such as 8G or 512M", s.memory);
    if (memory > 0 && !has_size()) {
        if (!cli_was_given("vocab-size"))
            shape_settings.vocab_size = 32768;
        if (!cli_was_given("context"))
            shape_settings.context_length = 1024;
        if (!cli_was_given("batch"))
            s.batch = 1;
    }
    if (s.model != NULL)
        adopt_model(s.model);
    shape_check();
    cli_check_range("batch", s.batch, 1, INT32_MAX);
    cli_check_range("batch-start", s.batch_start, 0, s.batch);
    cli_check_range("batch-warmup", s.batch_warmup, 0, 1 << 24);
    if ((s.batch_start > 0) != (s.batch_warmup > 0))
        cli_fail_usage("--batch-start and --batch-warmup need each other");
    if (!(s.ema >= 0.0 && s.ema < 1.0))
        cli_fail_usage("--ema %g is not in [0, 1)", s.ema);
    cli_check_range("lora-rank", s.lora_rank, 0, INT32_MAX);
    if (s.gflops < 0.0)
        cli_fail("--gflops must not be negative");
    if (memory == 0 || has_size()) {
        print_all(memory);
        return 0;
    }
    const tlm_model_options_t base = shape_model_options();
    print_fits(&base, cli_choose_word("optimizer", s.optimizer, optimizer_words), memory);
    return 0;
}

static const cli_value_t values[] = {{CLI_OPERANDS, NULL, ROLE_MODEL},
                                     {"model", NULL, ROLE_MODEL},
                                     SHAPE_VALUES,
                                     {"optimizer", optimizer_words, ROLE_NONE},
                                     {"weights", type_words, ROLE_NONE},
                                     {NULL, NULL, ROLE_NONE}};

const cli_program_t model_info_program = {
    .operands = "[MODEL]",
    .summary = "Prints what a language model costs: parameters, memory, operations, time; or how "
               "large a model\nmay be.",
    .options = options,
    .num_options = sizeof(options) / sizeof(options[0]),
    .has = CLI_HAS_THREADS | CLI_HAS_JSON | CLI_HAS_QUIET,
    .values = values,
    .name = "model_info",
    .command = "info",
    .brief = "print what a language model costs, or how large it may be",
    .example =
        "--memory 8G\n--d-model 768 --layers 12 --heads 12 --vocab-size 50257 --context 1024",
    .run = run,
};

CLI_MAIN(model_info_program)
