/* What a model costs: parameters, bytes and floating-point operations, from its options. */
#include "tinylm/model_info.h"

#include <inttypes.h>

#include "nn/attention.h"
#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "model/model_core.h"

#define ADAMW_FLOPS 14 /* per parameter: 3 for m, 4 for v, 5 for the step, 2 for the decay */
#define SGD_FLOPS   2
#define MAX_BYTES   ((size_t)1 << 52) /* above it, intermediate sums of bytes could overflow */

/* ---- Parameters ------------------------------------------------------------------------- */

static void count_parameters(tlm_cost_t *cost, const tlm_model_options_t *options,
                             const tlmi_model_shape_t *shape)
{
    cost->parameters = shape->num_elements;
    for (int32_t part = 0; part < TLMI_NUM_PARTS; part++) {
        const int64_t layers = tlmi_part_is_in_block(part) ? options->num_layers : 1;
        int64_t own[2];

        tlmi_part_shape(own, shape, part);
        if (tlmi_has_part(shape, part))
            cost->part_parameters[tlmi_parts[part].cost] +=
                (uint64_t)layers * (uint64_t)own[0] * (own[1] == 0 ? 1 : (uint64_t)own[1]);
    }
}

/* ---- Operations ------------------------------------------------------------------------- */

/* Number of (query, key) pairs whose score is computed, per head: each tile of queries covers the
 * keys up to that of its last query. */
static double count_scores(int64_t time, bool full)
{
    double tile = TLMI_QUERY_TILE, tiles = (double)(time / TLMI_QUERY_TILE);
    double rest = (double)(time % TLMI_QUERY_TILE);

    if (full)
        return (double)time * (double)time;
    return tile * tile * tiles * (tiles + 1.0) / 2.0 + rest * (double)time;
}

static double sum_parts(const double *flops)
{
    double sum = 0.0;

    for (int32_t part = 0; part < TLM_MAX_PARTS; part++)
        sum += flops[part];
    return sum;
}

/* A weight matrix takes two operations per parameter and token in forward, and twice that in
 * backward, for the gradients of its input and of itself. Attention has two products of (time,
 * time) per head in forward and four in backward, where it also recomputes its scores. */
static void count_flops(tlm_cost_t *cost, const tlm_model_options_t *options,
                        const tlmi_model_shape_t *shape, const tlm_cost_options_t *asked)
{
    const bool full = asked->counting == TLM_COUNT_FULL;
    const double tokens = (double)asked->batch * (double)asked->time;
    const double queries = (double)options->num_layers * (double)shape->q_width; /* per token */
    const double scores = (double)asked->batch * count_scores(asked->time, full);
    const double output = (double)options->vocab_size * (double)options->d_model;
    const double parameters = (double)cost->parameters;
    double *forward = cost->forward_flops, *backward = cost->backward_flops;
    double matrices = (double)cost->part_parameters[TLM_PART_ATTENTION] +
                      (double)cost->part_parameters[TLM_PART_FEED_FORWARD] + output;

    forward[TLM_PART_ATTENTION] = 2.0 * tokens * (double)cost->part_parameters[TLM_PART_ATTENTION];
    forward[TLM_PART_FEED_FORWARD] =
        2.0 * tokens * (double)cost->part_parameters[TLM_PART_FEED_FORWARD];
    forward[TLM_PART_OUTPUT] = 2.0 * tokens * output;
    forward[TLM_PART_SCORES] = 4.0 * queries * scores;
    for (int32_t part = 0; part < TLM_MAX_PARTS; part++)
        backward[part] = 2.0 * forward[part];
    if (!full)
        backward[TLM_PART_SCORES] = 2.5 * forward[TLM_PART_SCORES];
    cost->model_flops = sum_parts(forward) + sum_parts(backward);
    if (asked->checkpointing)
        cost->recompute_flops = sum_parts(forward) - forward[TLM_PART_OUTPUT];
    cost->optimizer_flops =
        parameters * (asked->optimizer == TLM_COST_ADAMW ? ADAMW_FLOPS : SGD_FLOPS);
    cost->step_flops = cost->model_flops + cost->recompute_flops + cost->optimizer_flops;
    cost->token_flops = 2.0 * matrices + 4.0 * queries * (double)asked->time;
}

/* ---- Checks ----------------------------------------------------------------------------- */

static tlm_status_t check_cost_options(tlm_cost_options_t *asked,
                                       const tlm_model_options_t *options)
{
    if (asked->batch < 0 || asked->time < 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "model_cost: batch %" PRId64 " and time %" PRId64 " must not be negative",
                         asked->batch, asked->time);
    if (asked->time > options->context_length)
        return tlmi_fail(TLM_ERR_RANGE,
                         "model_cost: %" PRId64
                         " tokens are more than the context length of %" PRId64,
                         asked->time, options->context_length);
    if (asked->optimizer != TLM_COST_ADAMW && asked->optimizer != TLM_COST_SGD)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "model_cost: optimizer %" PRId32 " is not in 0 .. %d", asked->optimizer,
                         TLM_COST_SGD);
    if (asked->counting != TLM_COUNT_EXECUTED && asked->counting != TLM_COUNT_FULL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "model_cost: counting %" PRId32 " is not in 0 .. %d", asked->counting,
                         TLM_COUNT_FULL);
    if (asked->batch == 0)
        asked->batch = 1;
    if (asked->time == 0)
        asked->time = options->context_length;
    return TLM_OK;
}

/* True if all sums of bytes stay far from overflow. This estimate is above what a step really
 * uses. */
static bool bytes_fit(const tlm_model_options_t *options, const tlmi_model_shape_t *shape,
                      const tlm_cost_options_t *asked)
{
    size_t d = (size_t)options->d_model, q = (size_t)shape->q_width, f = (size_t)options->d_ff;
    size_t row = 12 * d + 4 * q + 6 * f + (size_t)options->num_heads; /* floats per block */
    size_t bytes;

    return tlmi_mul_size(&bytes, row, (size_t)options->num_layers + 2) &&
           tlmi_mul_size(&bytes, bytes, 2 * sizeof(float)) &&
           tlmi_mul_size(&bytes, bytes, (size_t)asked->batch) &&
           tlmi_mul_size(&bytes, bytes, (size_t)asked->time) && bytes <= MAX_BYTES &&
           shape->num_elements <= MAX_BYTES / 32;
}

/* ---- Memory ----------------------------------------------------------------------------- */

typedef struct step_memory {
    size_t activations; /* bytes that the forward pass keeps for backward */
    size_t live, peak;  /* peak bytes in use; peak bytes held from the system */
} step_memory_t;

/* Runs one step. *activations gets the bytes that its forward pass keeps, including the gradient of
 * the output projection, which the loss computes in forward. */
static tlm_status_t run_dry_step(size_t *activations, tlm_model_t *model,
                                 const tlm_cost_options_t *asked, const tlmi_buffer_book_t *book)
{
    const uint32_t unread = 0; /* a dry run does not read the ids */
    tlm_tensor_t *loss;
    tlm_status_t status;
    size_t before;

    tlm_model_zero_grad(model);
    before = book->stats.live_bytes;
    TLMI_TRY(tlm_model_loss(&loss, model, &unread, &unread, asked->batch, asked->time));
    *activations = book->stats.live_bytes - before;
    status = tlm_tensor_backward(loss, NULL);
    tlm_tensor_free(loss);
    return status;
}

/* Runs the model's real forward and backward pass with an allocator that counts bytes and hands out
 * no memory. */
static tlm_status_t measure_step(step_memory_t *out, const tlm_model_options_t *options,
                                 const tlm_cost_options_t *asked, size_t optimizer_bytes)
{
    enum { STEPS = 3 }; /* later steps reuse what the first leaves in the cache */
    const size_t output = (size_t)options->vocab_size * (size_t)options->d_model * sizeof(float);
    tlmi_buffer_book_t *book = tlmi_calloc(1, sizeof(*book), "the book of a dry run");
    const bool recorded = tlm_set_grad_enabled(true);
    tlm_model_t *model = NULL;
    size_t activations = 0;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (book == NULL)
        goto done;
    tlmi_dry_run_begin(book);
    TLMI_TRY_OR(done, tlmi_model_create_empty(&model, options));
    TLMI_TRY_OR(done, tlm_model_set_checkpointing(model, asked->checkpointing));
    for (int32_t step = 0; step < STEPS; step++)
        TLMI_TRY_OR(done, run_dry_step(&activations, model, asked, book));
    out->activations = activations - tlmi_buffer_capacity(output);
    out->live = book->stats.peak_live_bytes + optimizer_bytes;
    out->peak = book->peak_held_bytes + optimizer_bytes;
done:
    tlm_model_free(model);
    tlmi_dry_run_end();
    tlm_set_grad_enabled(recorded);
    tlmi_free(book);
    return status;
}

/* ---- Total cost ------------------------------------------------------------------------- */

tlm_status_t tlm_model_cost(tlm_cost_t *out, const tlm_model_options_t *model,
                            const tlm_cost_options_t *cost_options)
{
    tlm_cost_options_t asked = TLM_COST_OPTIONS_INIT;
    tlm_cost_t cost = TLM_COST_INIT;
    tlm_model_options_t options;
    tlmi_model_shape_t shape;
    step_memory_t memory;

    TLMI_REQUIRE("model_cost", out);
    TLMI_TRY(tlmi_model_resolve(&options, &shape, "model_cost", model));
    if (cost_options != NULL)
        TLMI_TRY(tlmi_options_read("model_cost", &asked, TLMI_COST_OPTIONS, cost_options));
    TLMI_TRY(check_cost_options(&asked, &options));
    if (!bytes_fit(&options, &shape, &asked))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "model_cost: a step of %" PRId64 " x %" PRId64 " tokens with %" PRIu64
                         " parameters is too large to count",
                         asked.batch, asked.time, shape.num_elements);
    count_parameters(&cost, &options, &shape);
    count_flops(&cost, &options, &shape, &asked);
    cost.weight_bytes = cost.gradient_bytes = shape.num_elements * sizeof(float);
    cost.optimizer_bytes = asked.optimizer == TLM_COST_ADAMW ? 2 * cost.weight_bytes : 0;
    cost.kv_cache_bytes = 2 * sizeof(float) * (uint64_t)options.num_layers *
                          (uint64_t)shape.kv_width * (uint64_t)asked.batch * (uint64_t)asked.time;
    TLMI_TRY(measure_step(&memory, &options, &asked, cost.optimizer_bytes));
    cost.activation_bytes = memory.activations;
    cost.step_live_bytes = memory.live;
    cost.step_peak_bytes = memory.peak;
    return tlmi_options_write("model_cost", out, &cost, TLMI_COST);
}
