/* What a model and its training cost: parameters, bytes and floating-point operations, from its
 * options. */
#include "tinylm/model_info.h"

#include <inttypes.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "model/model_core.h"
#include "nn/nn_core.h"
#include "optim/optimizer_core.h"
#include "tinylm/train.h"

#define MAX_BYTES ((size_t)1 << 52) /* above it, intermediate sums of bytes could overflow */

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
    cost->token_flops = 2.0 * matrices + 4.0 * queries * (double)asked->time;
}

/* ---- Checks ----------------------------------------------------------------------------- */

static int32_t count_kinds(void)
{
    int32_t n = 0;

    while (tlmi_optimizer_kinds[n] != NULL)
        n++;
    return n;
}

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
    if (asked->optimizer < 0 || asked->optimizer >= count_kinds())
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "model_cost: optimizer %" PRId32 " is not in 0 .. %" PRId32,
                         asked->optimizer, count_kinds() - 1);
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

/* Runs one step. *activations gets the bytes that its forward pass keeps, including the gradient of
 * the output projection, which the loss computes in forward. */
static tlm_status_t run_dry_step(size_t *activations, tlm_model_t *model,
                                 tlm_optimizer_t *optimizer, const tlm_cost_options_t *asked,
                                 const tlmi_memory_tracker_t *tracker)
{
    tlm_optimizer_zero_grad(optimizer);
    size_t before = tracker->stats.live_bytes;
    const uint32_t unread = 0; /* a dry run does not read the ids */
    tlm_tensor_t *loss;
    TLMI_TRY(tlm_model_loss(&loss, model, &unread, &unread, asked->batch, asked->time));
    *activations = tracker->stats.live_bytes - before;
    tlm_status_t status = tlm_tensor_backward(loss, NULL);
    tlm_tensor_free(loss);
    return status == TLM_OK ? tlm_optimizer_step(optimizer) : status;
}

static double count_optimizer_flops(const tlm_optimizer_t *optimizer)
{
    double flops = 0.0;

    for (size_t i = 0; i < optimizer->num_parameters; i++) {
        const tlm_tensor_t *tensor = optimizer->parameters[i].tensor;
        const tlmi_group_t *group = &optimizer->groups[optimizer->parameters[i].group];

        flops += (double)tensor->numel * group->kind->flops;
        if (group->kind->product_flops != NULL)
            flops += group->kind->product_flops(tensor, group->options);
    }
    return flops;
}

/* Runs real steps of the model and the optimizer with an allocator that counts bytes and hands out
 * no memory, and sets the fields of *cost that this finds. */
static tlm_status_t run_dry_steps(tlm_cost_t *cost, const tlm_model_options_t *options,
                                  const tlm_cost_options_t *asked,
                                  const tlmi_memory_tracker_t *tracker)
{
    enum { STEPS = 3 }; /* later steps reuse what the first leaves in the cache */
    const size_t output = (size_t)options->vocab_size * (size_t)options->d_model * sizeof(float);
    tlm_model_t *model = NULL;
    tlm_optimizer_t *optimizer = NULL;
    size_t activations = 0;
    tlm_status_t status;

    TLMI_TRY_OR(done, tlmi_model_create_empty(&model, options));
    TLMI_TRY_OR(done, tlm_model_set_checkpointing(model, asked->checkpointing));
    TLMI_TRY_OR(done, tlmi_optimizer_kinds[asked->optimizer]->create(&optimizer));
    TLMI_TRY_OR(done, tlm_optimizer_add_model(optimizer, model, 0, NULL));
    for (int32_t step = 0; step < STEPS; step++)
        TLMI_TRY_OR(done, run_dry_step(&activations, model, optimizer, asked, tracker));
    cost->activation_bytes = activations - tlmi_buffer_capacity(output);
    cost->optimizer_bytes = tracker->lasting_bytes;
    cost->optimizer_flops = count_optimizer_flops(optimizer);
    cost->step_live_bytes = tracker->stats.peak_live_bytes + tracker->lasting_bytes;
    cost->step_peak_bytes = tracker->peak_held_bytes + tracker->lasting_bytes;
done:
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    return status;
}

static tlm_status_t measure_step(tlm_cost_t *cost, const tlm_model_options_t *options,
                                 const tlm_cost_options_t *asked)
{
    tlmi_memory_tracker_t *tracker = tlmi_calloc(1, sizeof(*tracker), "the count of a dry run");

    if (tracker == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    const bool recorded = tlm_set_grad_enabled(true);
    tlmi_dry_run_begin(tracker);
    tlm_status_t status = run_dry_steps(cost, options, asked, tracker);
    tlmi_dry_run_end();
    tlm_set_grad_enabled(recorded);
    tlmi_free(tracker);
    return status;
}

/* ---- Total cost ------------------------------------------------------------------------- */

tlm_status_t tlm_model_cost(tlm_cost_t *out, const tlm_model_options_t *model,
                            const tlm_cost_options_t *cost_options)
{
    tlm_cost_options_t asked = TLM_COST_OPTIONS_INIT;
    tlm_cost_t cost = TLM_COST_INIT;

    TLMI_REQUIRE("model_cost", out);
    tlm_model_options_t options;
    tlmi_model_shape_t shape;
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
    cost.kv_cache_bytes = 2 * sizeof(float) * (uint64_t)options.num_layers *
                          (uint64_t)shape.kv_width * (uint64_t)asked.batch * (uint64_t)asked.time;
    TLMI_TRY(measure_step(&cost, &options, &asked));
    cost.step_flops = cost.model_flops + cost.recompute_flops + cost.optimizer_flops;
    return tlmi_options_write("model_cost", out, &cost, TLMI_COST);
}
