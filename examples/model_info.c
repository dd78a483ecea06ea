/* Prints what a language model costs: parameters, memory and floating-point operations by part, and how
 * long a train step takes at the rates that it measures on this machine. The model itself is not created,
 * so it may be larger than the machine. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "support/cli.h"

typedef struct settings {
    uint64_t vocab_size, context, d_model, layers, heads, kv_heads, head_dim, d_ff;
    const char *norm, *position, *ffn, *qk_norm, *optimizer;
    const char *weights, *freeze, *lora_targets;
    uint64_t lora_rank;
    bool tied, checkpointing, full_attention;
    uint64_t batch, steps, threads;
    double rate, memory;
} settings_t;

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
                    .qk_norm = "none",
                    .optimizer = "adamw",
                    .weights = "float32",
                    .lora_targets = "all-linear",
                    .batch = 8};
    const cli_option_t options[] = {
        {"vocab-size", CLI_COUNT, &s.vocab_size, "ids in the vocabulary", false},
        {"context", CLI_COUNT, &s.context, "tokens that the model sees at once", false},
        {"d-model", CLI_COUNT, &s.d_model, "width", false},
        {"layers", CLI_COUNT, &s.layers, "transformer blocks", false},
        {"heads", CLI_COUNT, &s.heads, "attention heads per block", false},
        {"kv-heads", CLI_COUNT, &s.kv_heads, "heads of keys and values; 0: the same number", false},
        {"d-ff", CLI_COUNT, &s.d_ff,
         "inner width of the feed-forward layers; 0: 8/3 d-model, or 4 d-model for silu", false},
        {"head-dim", CLI_COUNT, &s.head_dim, "width of a head; 0: d-model / heads", false},
        {"qk-norm", CLI_STRING, &s.qk_norm, "norms of queries and keys: none, heads or width",
         false},
        {"norm", CLI_STRING, &s.norm, "where blocks have norms: pre, post, none, after or both",
         false},
        {"position", CLI_STRING, &s.position, "rope, none or learned", false},
        {"ffn", CLI_STRING, &s.ffn, "feed-forward layers: swiglu, silu, geglu, gelu, relu2", false},
        {"tied", CLI_FLAG, &s.tied, "the output projection is the embedding", false},
        {"batch", CLI_COUNT, &s.batch, "sequences per step", false},
        {"optimizer", CLI_STRING, &s.optimizer, "adamw, sgd, muon, lion or adafactor", false},
        {"weights", CLI_STRING, &s.weights,
         "type of weights that stay as they are: float16, bfloat16, q8_0, q4_0, q4_1, q4_k, q6_k",
         false},
        {"freeze", CLI_STRING, &s.freeze, "frozen parameters: patterns, separated by commas",
         false},
        {"lora-rank", CLI_COUNT, &s.lora_rank, "rank of adapters; 0: none", false},
        {"lora-targets", CLI_STRING, &s.lora_targets, "layers with adapters", false},
        {"checkpointing", CLI_FLAG, &s.checkpointing,
         "recompute activations in backward: less memory, more time", false},
        {"full-attention", CLI_FLAG, &s.full_attention,
         "count every query times every key, as textbooks do, instead of the computed half", false},
        {"steps", CLI_COUNT, &s.steps, "print the time of this many steps", false},
        {"rate", CLI_REAL, &s.rate, "GFLOP/s to compute times with; 0: measure this machine",
         false},
        {"memory", CLI_REAL, &s.memory, "print the largest batch that trains in this many GiB",
         false},
        {"threads", CLI_COUNT, &s.threads, "threads; 0: one per CPU", false},
    };
    const cli_program_t program = {
        NULL, "Prints what a language model costs: parameters, memory, operations, time.", options,
        sizeof(options) / sizeof(options[0])};

    cli_parse(argc, argv, &program);
    cli_check_range("context", s.context, 1, INT32_MAX);
    cli_check_range("batch", s.batch, 1, INT32_MAX);
    cli_check_range("lora-rank", s.lora_rank, 0, INT32_MAX);
    cli_check_range("threads", s.threads, 0, TLM_MAX_THREADS);
    if (s.rate < 0.0 || s.memory < 0.0)
        cli_fail("--rate and --memory must not be negative");
    return s;
}

static tlm_model_options_t model_options(const settings_t *s)
{
    static const char *const norms[] = {"pre", "post", "none", "after",
                                        "both"}; /* TLM_NORM_... and so on */
    static const char *const positions[] = {"rope", "none", "learned"};
    static const char *const qk_norms[] = {"none", "heads", "width"};
    static const char *const ffns[] = {"swiglu", "silu", "geglu", "gelu", "relu2"};
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;

    options.norm = cli_choose("norm", s->norm, norms, 5);
    options.position = cli_choose("position", s->position, positions, 3);
    options.ffn = cli_choose("ffn", s->ffn, ffns, 5);
    options.tied_embeddings = s->tied;
    options.vocab_size = (int64_t)s->vocab_size;
    options.context_length = (int64_t)s->context;
    options.d_model = (int64_t)s->d_model;
    options.num_layers = (int64_t)s->layers;
    options.num_heads = (int64_t)s->heads;
    options.num_kv_heads = (int64_t)s->kv_heads;
    options.head_dim = (int64_t)s->head_dim;
    options.qk_norm = cli_choose("qk-norm", s->qk_norm, qk_norms, 3);
    options.d_ff = (int64_t)s->d_ff;
    return options;
}

static tlm_cost_options_t cost_options(const settings_t *s)
{
    static const char *const optimizers[] = {"adamw", "sgd", "muon", "lion", "adafactor"};
    static const char *const weights[] = {"float32", "float16", "bfloat16", "q8_0",
                                          "q4_0",    "q4_1",    "q4_k",     "q6_k"};
    static const int32_t types[] = {TLM_FLOAT32, TLM_FLOAT16, TLM_BFLOAT16, TLM_Q8_0,
                                    TLM_Q4_0,    TLM_Q4_1,    TLM_Q4_K,     TLM_Q6_K};
    static tlm_lora_options_t lora = TLM_LORA_OPTIONS_INIT; /* the result points to it */
    tlm_cost_options_t options = TLM_COST_OPTIONS_INIT;

    options.optimizer = cli_choose("optimizer", s->optimizer, optimizers, 5);
    options.batch = (int64_t)s->batch;
    options.checkpointing = s->checkpointing;
    options.weights = types[cli_choose("weights", s->weights, weights, 8)];
    options.frozen = s->freeze;
    lora.rank = (int64_t)s->lora_rank;
    lora.targets = s->lora_targets;
    if (s->lora_rank > 0)
        options.lora = &lora;
    options.counting = s->full_attention ? TLM_COUNT_FULL : TLM_COUNT_EXECUTED;
    return options;
}

static tlm_cost_t cost_of(const tlm_model_options_t *model, const tlm_cost_options_t *asked)
{
    tlm_cost_t cost = TLM_COST_INIT;

    cli_check(tlm_model_cost(&cost, model, asked));
    return cost;
}

/* ---- Tables ------------------------------------------------------------------------------- */

static const char *const part_names[TLM_NUM_PARTS] = {
    "embedding", "attention projections", "attention scores", "feed-forward",
    "norms",     "output projection"};

/* "1,234,567" */
static const char *with_commas(char out[32], uint64_t n)
{
    char digits[24];
    size_t size = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, n), at = 0;

    for (size_t i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

static const char *in_units(char out[32], double value, double step, const char *const units[6])
{
    int unit = 0;

    for (; value >= step && unit < 5; unit++)
        value /= step;
    snprintf(out, 32,
             value < 10.0    ? "%.2f %s"
             : value < 100.0 ? "%.1f %s"
                             : "%.0f %s",
             value, units[unit]);
    return out;
}

static const char *bytes_text(char out[32], uint64_t bytes)
{
    static const char *const units[6] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};

    return in_units(out, (double)bytes, 1024.0, units);
}

static const char *flops_text(char out[32], double flops)
{
    static const char *const units[6] = {"FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"};

    return in_units(out, flops, 1000.0, units);
}

static const char *seconds_text(char out[32], double seconds)
{
    if (seconds < 1.0)
        snprintf(out, 32, "%.1f ms", 1e3 * seconds);
    else if (seconds < 600.0)
        snprintf(out, 32, "%.2f s", seconds);
    else if (seconds < 7200.0)
        snprintf(out, 32, "%.1f min", seconds / 60.0);
    else if (seconds < 172800.0)
        snprintf(out, 32, "%.1f hours", seconds / 3600.0);
    else
        snprintf(out, 32, "%.1f days", seconds / 86400.0);
    return out;
}

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
                   with_commas(text, cost->part_parameters[part]),
                   100.0 * (double)cost->part_parameters[part] / (double)cost->parameters);
    printf("  %-26s %20s\n", "all", with_commas(text, cost->parameters));
    if (cost->trained_parameters < cost->parameters)
        printf("  %-26s %20s\n", "trained", with_commas(text, cost->trained_parameters));
}

static void print_bytes(const char *name, uint64_t bytes)
{
    char text[32];

    printf("  %-26s %20s\n", name, bytes_text(text, bytes));
}

static void print_memory(const tlm_cost_t *cost, const settings_t *s)
{
    printf("\nMemory of a train step, %" PRIu64 " x %" PRIu64 " tokens%s\n", s->batch, s->context,
           s->checkpointing ? ", checkpointing" : "");
    print_bytes("weights", cost->weight_bytes);
    print_bytes("gradients", cost->gradient_bytes);
    print_bytes("optimizer", cost->optimizer_bytes);
    print_bytes("activations", cost->activation_bytes);
    print_bytes("most in use at once", cost->step_live_bytes);
    print_bytes("most held by the process", cost->step_peak_bytes);
    printf("\nMemory of generation, %" PRIu64 " sequences of %" PRIu64 " tokens\n", s->batch,
           s->context);
    print_bytes("weights", cost->weight_bytes);
    print_bytes("keys and values", cost->kv_cache_bytes);
}

static void print_flops_row(const char *name, double step, double tokens, double all)
{
    char of_step[32], of_token[32];

    printf("  %-26s %20s %20s %7.1f%%\n", name, flops_text(of_step, step),
           flops_text(of_token, step / tokens), 100.0 * step / all);
}

static void print_flops(const tlm_cost_t *cost, const settings_t *s)
{
    double tokens = (double)s->batch * (double)s->context, forward = sum(cost->forward_flops);
    char text[32];

    printf("\n%-28s %20s %20s %8s\n", "Operations, forward pass", "per step", "per token", "share");
    for (int part = 0; part < TLM_NUM_PARTS; part++)
        if (cost->forward_flops[part] > 0.0)
            print_flops_row(part_names[part], cost->forward_flops[part], tokens, forward);
    printf("%-28s %20s %20s %8s\n", "Operations, train step", "", "", "share");
    print_flops_row("forward", forward, tokens, cost->step_flops);
    print_flops_row("backward", sum(cost->backward_flops), tokens, cost->step_flops);
    if (cost->recompute_flops > 0.0)
        print_flops_row("recomputation", cost->recompute_flops, tokens, cost->step_flops);
    print_flops_row(s->optimizer, cost->optimizer_flops, tokens, cost->step_flops);
    print_flops_row("all", cost->step_flops, tokens, cost->step_flops);
    printf("Generating a token after %" PRIu64 " others: %s\n", s->context - 1,
           flops_text(text, cost->token_flops));
}

/* ---- Rates of this machine ---------------------------------------------------------------- */

enum { MOST_ROWS = 2048, MOST_WIDTH = 4096, MOST_TIME = 1024, UPDATED = 1 << 22 };
#define MEASURE_SECONDS 0.5

typedef struct rates {
    double products, scores; /* operations per second */
    double updates;          /* parameters per second */
} rates_t;

static int64_t at_most(int64_t value, int64_t most)
{
    return value < most ? value : most;
}

static tlm_tensor_t *random_leaf(const int64_t *shape, int32_t ndim)
{
    tlm_tensor_t *tensor;

    cli_check(tlm_tensor_create(&tensor, TLM_FLOAT32, shape, ndim));
    cli_check(tlm_init_truncated_normal(tensor, 1.0, 3.0, 1, 1));
    cli_check(tlm_tensor_set_requires_grad(tensor, true));
    return tensor;
}

/* The shortest time of several runs, with the gradients reset before each. */
static double shortest(void (*run)(tlm_tensor_t *const *tensors), tlm_tensor_t *const *tensors,
                       size_t n)
{
    double begin = cli_seconds(), best = 1e30;

    for (int i = 0; i < 2 || cli_seconds() - begin < MEASURE_SECONDS; i++) {
        double start, seconds;

        for (size_t j = 0; j < n; j++)
            tlm_tensor_zero_grad(tensors[j]);
        start = cli_seconds();
        run(tensors);
        seconds = cli_seconds() - start;
        best = seconds < best ? seconds : best;
    }
    return best;
}

static void run_backward(tlm_tensor_t *result)
{
    tlm_tensor_t *gradient;

    cli_check(tlm_tensor_create(&gradient, TLM_FLOAT32, tlm_tensor_shape(result),
                                tlm_tensor_ndim(result)));
    cli_check(tlm_tensor_backward(result, gradient));
    tlm_tensor_free(gradient);
    tlm_tensor_free(result);
}

static void run_linear(tlm_tensor_t *const *tensors)
{
    tlm_tensor_t *result;

    cli_check(tlm_linear(&result, tensors[0], tensors[1]));
    run_backward(result);
}

static void run_attention(tlm_tensor_t *const *tensors)
{
    tlm_tensor_t *result;

    cli_check(tlm_attention(&result, tensors[0], tensors[1], tensors[2], NULL, true));
    run_backward(result);
}

/* A linear layer of the model's feed-forward width, forward and backward. */
static double measure_products(const tlm_model_options_t *model, int64_t rows)
{
    int64_t d = at_most(model->d_model, MOST_WIDTH);
    int64_t f = at_most(model->d_ff > 0 ? model->d_ff : 8 * d / 3, MOST_WIDTH);
    const int64_t x_shape[2] = {at_most(rows, MOST_ROWS), d}, w_shape[2] = {f, d};
    tlm_tensor_t *tensors[2] = {random_leaf(x_shape, 2), random_leaf(w_shape, 2)};
    double flops = 6.0 * (double)x_shape[0] * (double)d * (double)f;
    double seconds = shortest(run_linear, tensors, 2);

    tlm_tensor_free(tensors[0]);
    tlm_tensor_free(tensors[1]);
    return flops / seconds;
}

/* Attention of one layer, of one sequence of at most MOST_TIME tokens. */
static double measure_scores(const tlm_model_options_t *model)
{
    tlm_model_options_t piece = *model;
    tlm_cost_t cost;
    tlm_tensor_t *tensors[3];
    double flops, seconds;

    piece.context_length = at_most(model->context_length, MOST_TIME);
    piece.num_layers = 1;
    cost = cost_of(&piece, NULL);
    flops = cost.forward_flops[TLM_PART_SCORES] + cost.backward_flops[TLM_PART_SCORES];
    for (int i = 0; i < 3; i++) {
        const int64_t shape[3] = {piece.num_heads, piece.context_length,
                                  piece.d_model / piece.num_heads};

        tensors[i] = random_leaf(shape, 3);
    }
    seconds = shortest(run_attention, tensors, 3);
    for (int i = 0; i < 3; i++)
        tlm_tensor_free(tensors[i]);
    return flops / seconds;
}

static tlm_optimizer_t *create_optimizer(const settings_t *s)
{
    tlm_optimizer_t *optimizer;

    if (strcmp(s->optimizer, "sgd") == 0)
        cli_check(tlm_optimizer_create_sgd(&optimizer, 1e-6));
    else if (strcmp(s->optimizer, "muon") == 0)
        cli_check(tlm_optimizer_create_muon(&optimizer, NULL, NULL));
    else if (strcmp(s->optimizer, "lion") == 0)
        cli_check(tlm_optimizer_create_lion(&optimizer, NULL));
    else if (strcmp(s->optimizer, "adafactor") == 0)
        cli_check(tlm_optimizer_create_adafactor(&optimizer, NULL));
    else
        cli_check(tlm_optimizer_create_adamw(&optimizer, NULL));
    return optimizer;
}

/* Parameters that the optimizer spends its time on: those of Muon are hidden matrices. */
static uint64_t count_updated(const settings_t *s, const tlm_cost_t *cost)
{
    const uint64_t hidden =
        cost->part_parameters[TLM_PART_ATTENTION] + cost->part_parameters[TLM_PART_FEED_FORWARD];

    return strcmp(s->optimizer, "muon") == 0 && hidden < cost->trained_parameters
               ? hidden
               : cost->trained_parameters;
}

static double measure_updates(const settings_t *s, uint64_t parameters)
{
    const bool is_muon = strcmp(s->optimizer, "muon") == 0;
    const int64_t width = (int64_t)s->d_model;
    const int64_t shape[2] = {is_muon ? width : at_most((int64_t)parameters, UPDATED), width};
    tlm_tensor_t *leaf = random_leaf(shape, is_muon ? 2 : 1), *total;
    tlm_optimizer_t *optimizer = create_optimizer(s);
    double best = 1e30, begin;

    cli_check(tlm_optimizer_add_group(optimizer, &leaf, 1, NULL));
    cli_check(tlm_sum(&total, leaf));
    cli_check(tlm_tensor_backward(total, NULL));
    tlm_tensor_free(total);
    begin = cli_seconds();
    while (cli_seconds() - begin < MEASURE_SECONDS) {
        double start = cli_seconds(), seconds;

        cli_check(tlm_clip_grad_norm(NULL, &leaf, 1, 1e30));
        cli_check(tlm_optimizer_step(optimizer));
        seconds = cli_seconds() - start;
        best = seconds < best ? seconds : best;
    }
    tlm_optimizer_free(optimizer);
    tlm_tensor_free(leaf);
    return (double)(shape[0] * (is_muon ? width : 1)) / best;
}

/* ---- Time --------------------------------------------------------------------------------- */

static void print_time_row(const char *name, double seconds, const char *basis)
{
    char text[32];

    printf("  %-26s %20s   %s\n", name, seconds_text(text, seconds), basis);
}

/* Seconds of a step at the rates of this machine, or at the given one. */
static double print_step_time(const settings_t *s, const tlm_model_options_t *model,
                              const tlm_cost_options_t *asked, const tlm_cost_t *cost)
{
    tlm_cost_options_t executed = *asked;
    tlm_cost_t done;
    double scores, products, seconds[3];
    char basis[64];
    rates_t rates;

    if (s->rate > 0.0) {
        printf("\nTime of a train step at %g GFLOP/s\n", s->rate);
        return cost->step_flops / (1e9 * s->rate);
    }
    executed.counting = TLM_COUNT_EXECUTED;
    done = cost_of(model, &executed);
    rates.products = measure_products(model, (int64_t)(s->batch * s->context));
    rates.scores = measure_scores(model);
    const uint64_t updated = count_updated(s, &done);
    rates.updates = measure_updates(s, updated);
    scores = done.forward_flops[TLM_PART_SCORES] * (s->checkpointing ? 2.0 : 1.0) +
             done.backward_flops[TLM_PART_SCORES];
    products = done.model_flops + done.recompute_flops - scores;
    seconds[0] = products / rates.products;
    seconds[1] = scores / rates.scores;
    seconds[2] = (double)updated / rates.updates;
    printf("\nTime of a train step at the rates measured here, %" PRId32 " threads\n",
           tlm_num_threads());
    snprintf(basis, sizeof(basis), "%.1f GFLOP/s", 1e-9 * rates.products);
    print_time_row("linear layers", seconds[0], basis);
    snprintf(basis, sizeof(basis), "%.1f GFLOP/s", 1e-9 * rates.scores);
    print_time_row("attention scores", seconds[1], basis);
    snprintf(basis, sizeof(basis), "%.0f million parameters/s", 1e-6 * rates.updates);
    print_time_row(s->optimizer, seconds[2], basis);
    return seconds[0] + seconds[1] + seconds[2];
}

static void print_time(const settings_t *s, const tlm_model_options_t *model,
                       const tlm_cost_options_t *asked, const tlm_cost_t *cost)
{
    double seconds = print_step_time(s, model, asked, cost);
    char text[64];

    snprintf(text, sizeof(text), "%.0f tokens/s", (double)s->batch * (double)s->context / seconds);
    print_time_row("a step", seconds, text);
    if (s->steps > 0) {
        snprintf(text, sizeof(text), "%" PRIu64 " steps", s->steps);
        print_time_row(text, seconds * (double)s->steps, "");
    }
}

/* The largest batch whose step fits in the given memory. */
static void print_largest_batch(const settings_t *s, const tlm_model_options_t *model,
                                const tlm_cost_options_t *asked)
{
    tlm_cost_options_t trial = *asked;
    double limit = s->memory * 1024.0 * 1024.0 * 1024.0;
    int64_t fits = 0, fails = (int64_t)1 << 24;

    while (fails - fits > 1) {
        tlm_cost_t cost = TLM_COST_INIT;

        trial.batch = fits + (fails - fits) / 2;
        if (tlm_model_cost(&cost, model, &trial) == TLM_OK && (double)cost.step_peak_bytes <= limit)
            fits = trial.batch;
        else
            fails = trial.batch;
    }
    printf("\nLargest batch that trains in %g GiB: %" PRId64 "\n", s->memory, fits);
}

int main(int argc, char **argv)
{
    settings_t s = read_settings(argc, argv);
    tlm_model_options_t model = model_options(&s);
    tlm_cost_options_t asked = cost_options(&s);
    tlm_cost_t cost;

    cli_check(tlm_set_num_threads((int32_t)s.threads));
    cost = cost_of(&model, &asked);
    printf("%" PRIu64 " layers of width %" PRIu64 ", %" PRIu64 " heads; vocabulary %" PRIu64
           ", context %" PRIu64 "\n",
           s.layers, s.d_model, s.heads, s.vocab_size, s.context);
    print_parameters(&cost);
    print_memory(&cost, &s);
    print_flops(&cost, &s);
    print_time(&s, &model, &asked, &cost);
    if (s.memory > 0.0)
        print_largest_batch(&s, &model, &asked);
    return 0;
}
