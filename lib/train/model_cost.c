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
#include "tensor/tensor_core.h"
#include "train/train_core.h"

#define MAX_BYTES ((size_t)1 << 52) /* above it, intermediate sums of bytes could overflow */

/* ---- Parameters ------------------------------------------------------------------------- */

/* Counts the parameters of the model that the steps run with, its adapters included. */
static void count_parameters(tlm_cost_t *cost, const tlm_model_t *model)
{
    for (size_t i = 0; i < model->num_parameters; i++) {
        const tlm_tensor_t *tensor = model->parameters[i];

        cost->parameters += (uint64_t)tensor->numel;
        cost->part_parameters[tlmi_parts[model->specs[i].part].cost] += (uint64_t)tensor->numel;
    }
    cost->weight_bytes = tlm_model_num_bytes(model);
    cost->trained_parameters = tlm_model_num_trained(model);
    cost->gradient_bytes = cost->trained_parameters * sizeof(float);
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

/* When a part of a block is computed, compared with the others. */
static int32_t stage_of(const tlm_model_options_t *options, int32_t part)
{
    static const int32_t stages[TLMI_NUM_PARTS] = {
        [TLMI_LN1] = 1,
        [TLMI_LN1_BIAS] = 1,
        [TLMI_ATTN_Q] = 2,
        [TLMI_ATTN_K] = 2,
        [TLMI_ATTN_V] = 2,
        [TLMI_ATTN_Q_BIAS] = 2,
        [TLMI_ATTN_K_BIAS] = 2,
        [TLMI_ATTN_V_BIAS] = 2,
        [TLMI_ATTN_Q_NORM] = 2,
        [TLMI_ATTN_K_NORM] = 2,
        [TLMI_ATTN_VALUE_MIX] = 2,
        [TLMI_ATTN_OUTPUT] = 3,
        [TLMI_ATTN_OUTPUT_BIAS] = 3,
        [TLMI_LN1_AFTER] = 4,
        [TLMI_LN2] = 5,
        [TLMI_LN2_BIAS] = 5,
        [TLMI_FFN_W1] = 6,
        [TLMI_FFN_W3] = 6,
        [TLMI_FFN_W1_BIAS] = 6,
        [TLMI_FFN_W3_BIAS] = 6,
        [TLMI_FFN_W2] = 7,
        [TLMI_FFN_W2_BIAS] = 7,
        [TLMI_LN2_AFTER] = 8,
    };

    if (options->norm == TLM_NORM_POST && (part == TLMI_LN1 || part == TLMI_LN2))
        return part == TLMI_LN1 ? 4 : 8;
    return stages[part];
}

/* The place of a parameter in the order of the forward pass. */
static int64_t order_of(const tlm_model_t *model, const tlmi_parameter_spec_t *spec)
{
    if (spec->part >= TLMI_FIRST_BEHIND)
        return INT64_MAX;
    if (spec->part == TLMI_VALUE_EMBEDDING)
        return 16 + stage_of(&model->options, TLMI_ATTN_VALUE_MIX);
    return tlmi_part_is_in_block(spec->part)
               ? 16 * (spec->layer + 1) + stage_of(&model->options, spec->part)
               : 0;
}

/* The place of the first parameter that is trained. The gradients of what comes before it are not
 * computed. */
static int64_t first_trained(const tlm_model_t *model)
{
    int64_t first = INT64_MAX;

    for (size_t i = 0; i < model->num_parameters; i++) {
        const int64_t own = order_of(model, &model->specs[i]);

        if (model->parameters[i]->requires_grad && own < first)
            first = own;
    }
    return first;
}

/* A weight matrix takes two operations per element and token in forward, as many for the gradient
 * of its input and as many for its own; and so do the two matrices of its adapter. */
static void count_matrix(tlm_cost_t *cost, const tlm_model_t *model, size_t index, bool is_output,
                         double tokens, int64_t first)
{
    const tlmi_parameter_spec_t *spec = &model->specs[index];
    const tlm_tensor_t *weight = model->parameters[index];
    const int32_t part = is_output ? TLM_PART_OUTPUT : tlmi_parts[spec->part].cost;
    const bool to_input = first < (is_output ? INT64_MAX : order_of(model, spec));
    const tlmi_adapter_t none = {.b = 0};
    const tlmi_adapter_t adapter = model->adapters == NULL ? none : model->adapters[index];
    double product = 2.0 * tokens * (double)weight->numel;

    cost->forward_flops[part] += product;
    cost->backward_flops[part] += product * (double)(to_input + weight->requires_grad);
    if (adapter.b == 0)
        return;
    const double a = 2.0 * tokens * (double)model->parameters[adapter.a]->numel;
    const double b = 2.0 * tokens * (double)model->parameters[adapter.b]->numel;
    cost->forward_flops[part] += a + b;
    cost->backward_flops[part] += 2.0 * b + a * (1.0 + (double)to_input);
}

/* Counts the matrix products of a batch. Attention has two products of (time, time) per head in
 * forward and four in backward, where it also computes its scores again. */
static void count_flops(tlm_cost_t *cost, const tlm_model_t *model, const tlm_cost_options_t *asked)
{
    const tlm_model_options_t *options = &model->options;
    const bool full = asked->counting == TLM_COUNT_FULL;
    const double tokens = (double)asked->batch * (double)asked->time;
    const double width = (double)model->shape.q_width; /* per token and block */
    const double scores = 4.0 * width * (double)asked->batch * count_scores(asked->time, full);
    const int64_t first = first_trained(model);
    const int32_t output = tlmi_output_part(model);

    for (size_t i = 0; i < model->shape.num_parameters; i++) {
        const tlmi_parameter_spec_t *spec = &model->specs[i];
        const bool is_output = spec->part == output;

        if (spec->ndim == 2 && (is_output || tlmi_part_is_in_block(spec->part)))
            count_matrix(cost, model, i, is_output, tokens, first);
    }
    for (int64_t layer = 0; layer < options->num_layers; layer++) {
        const bool reached = first < 16 * (layer + 1) + stage_of(options, TLMI_ATTN_OUTPUT);

        cost->forward_flops[TLM_PART_SCORES] += scores;
        cost->backward_flops[TLM_PART_SCORES] += reached ? (full ? 2.0 : 2.5) * scores : 0.0;
    }
    cost->model_flops = sum_parts(cost->forward_flops) + sum_parts(cost->backward_flops);
    if (asked->checkpointing && tlm_model_num_trained(model) > 0)
        cost->recompute_flops =
            sum_parts(cost->forward_flops) - cost->forward_flops[TLM_PART_OUTPUT];
    cost->token_flops =
        (sum_parts(cost->forward_flops) - cost->forward_flops[TLM_PART_SCORES]) / tokens +
        4.0 * (double)options->num_layers * width * (double)asked->time;
}

double tlmi_model_flops(const tlm_model_t *model, int64_t batch, int64_t time)
{
    tlm_cost_options_t asked = TLM_COST_OPTIONS_INIT;
    tlm_cost_t cost = TLM_COST_INIT;

    asked.batch = batch;
    asked.time = time;
    count_flops(&cost, model, &asked);
    return cost.model_flops;
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
    if (asked->accumulation == 0)
        asked->accumulation = 1;
    if (asked->num_ranks == 0)
        asked->num_ranks = 1;
    if (asked->num_ranks < 0 || asked->accumulation > INT32_MAX ||
        asked->accumulation % (uint64_t)asked->num_ranks != 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "model_cost: num_ranks %" PRId32
                         " is not a divisor of accumulation %" PRIu64 ", or that is more than %d",
                         asked->num_ranks, asked->accumulation, INT32_MAX);
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
    size_t row = 12 * d + 6 * q + 6 * f + (size_t)options->num_heads; /* floats per block */
    size_t bytes;

    return tlmi_mul_size(&bytes, row, (size_t)options->num_layers + 2) &&
           tlmi_mul_size(&bytes, bytes, 2 * sizeof(float)) &&
           tlmi_mul_size(&bytes, bytes, (size_t)asked->batch) &&
           tlmi_mul_size(&bytes, bytes, (size_t)asked->time) && bytes <= MAX_BYTES &&
           shape->num_elements <= MAX_BYTES / 32;
}

/* ---- Memory ----------------------------------------------------------------------------- */

/* Runs forward and backward of a batch. *activations gets the bytes that its forward pass keeps,
 * including the gradient of the output projection, which the loss computes in forward. */
static tlm_status_t run_dry_batch(size_t *activations, tlm_model_t *model,
                                  const tlm_cost_options_t *asked,
                                  const tlmi_memory_tracker_t *tracker)
{
    size_t before = tracker->stats.live_bytes;
    const uint32_t unread = 0; /* a dry run does not read the ids */
    tlm_tensor_t *loss;
    TLMI_TRY(tlm_model_loss(&loss, model, &unread, &unread, asked->batch, asked->time));
    *activations = tracker->stats.live_bytes - before;
    tlm_status_t status = tlm_tensor_backward(loss, NULL);
    tlm_tensor_free(loss);
    return status;
}

/* A step as tlmi_sum_gradients takes it where it keeps the most: before the last batch of a tree of
 * `depth` levels, with the gradients of as many subtrees. */
static tlm_status_t run_dry_step(size_t *activations, tlm_model_t *model,
                                 tlm_optimizer_t *optimizer, int32_t depth,
                                 const tlm_cost_options_t *asked,
                                 const tlmi_memory_tracker_t *tracker)
{
    const size_t n = optimizer->num_parameters;
    tlm_tensor_t **kept =
        tlmi_calloc((size_t)depth * n, sizeof(*kept), "the gradients of a dry run");
    tlm_status_t status = kept == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;

    tlm_optimizer_zero_grad(optimizer);
    for (int32_t level = 0; level < depth && status == TLM_OK; level++) {
        status = run_dry_batch(activations, model, asked, tracker);
        for (size_t i = 0; i < n; i++) {
            kept[(size_t)level * n + i] = optimizer->parameters[i].tensor->grad;
            optimizer->parameters[i].tensor->grad = NULL;
        }
    }
    if (status == TLM_OK)
        status = run_dry_batch(activations, model, asked, tracker);
    for (size_t i = 0; kept != NULL && i < (size_t)depth * n; i++)
        tlm_tensor_free(kept[i]);
    tlmi_free(kept);
    return status == TLM_OK ? tlm_optimizer_step(optimizer) : status;
}

/* Levels of the tree of a rank's batches. */
static int32_t tree_depth(const tlm_cost_options_t *asked)
{
    const uint64_t batches = asked->accumulation / (uint64_t)asked->num_ranks;
    int32_t depth = 0;

    while ((uint64_t)1 << depth < batches)
        depth++;
    return depth;
}

static double count_optimizer_flops(const tlm_optimizer_t *optimizer)
{
    double flops = 0.0;

    for (size_t i = 0; i < optimizer->num_parameters; i++) {
        const tlm_tensor_t *tensor = optimizer->parameters[i].tensor;
        const tlmi_group_t *group = &optimizer->groups[optimizer->parameters[i].group];

        flops += (double)tensor->numel * group->kind->flops;
        if (optimizer->average_decay > 0.0)
            flops += 3.0 * (double)tensor->numel; /* a scaling, and a sum of products */
        if (group->kind->product_flops != NULL)
            flops += group->kind->product_flops(tensor, group->options);
    }
    return flops;
}

/* The model of the steps: of these weights, with these frozen parameters and adapters. */
static tlm_status_t create_model(tlm_model_t **out, const tlm_model_options_t *options,
                                 const tlm_cost_options_t *asked)
{
    tlm_model_t *model;

    TLMI_TRY(asked->weights == TLM_FLOAT32
                 ? tlmi_model_create_empty(&model, options)
                 : tlmi_model_create_kept(&model, options, asked->weights));
    tlm_status_t status = tlm_model_set_checkpointing(model, asked->checkpointing);
    if (status == TLM_OK)
        status = tlm_model_set_dropout_row(model, 0);
    if (status == TLM_OK && asked->lora != NULL)
        status = tlm_model_add_lora(model, asked->lora);
    if (status == TLM_OK && asked->frozen != NULL)
        status = tlm_model_set_frozen(model, asked->frozen, true);
    if (status == TLM_OK)
        *out = model;
    else
        tlm_model_free(model);
    return status;
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

    TLMI_TRY_OR(done, create_model(&model, options, asked));
    count_parameters(cost, model);
    count_flops(cost, model, asked);
    if (cost->trained_parameters == 0)
        goto done;
    TLMI_TRY_OR(done, tlmi_optimizer_kinds[asked->optimizer]->create(&optimizer));
    TLMI_TRY_OR(done, tlm_optimizer_set_average(optimizer, asked->average ? 0.5 : 0.0));
    TLMI_TRY_OR(done, tlm_optimizer_add_model(optimizer, model, 0, NULL));
    for (int32_t step = 0; step < STEPS; step++)
        TLMI_TRY_OR(
            done, run_dry_step(&activations, model, optimizer, tree_depth(asked), asked, tracker));
    cost->activation_bytes =
        activations - (tlmi_model_output(model)->requires_grad ? tlmi_buffer_capacity(output) : 0);
    const size_t states = tracker->lasting_bytes / (size_t)asked->num_ranks;
    cost->optimizer_bytes = states;
    cost->optimizer_flops = count_optimizer_flops(optimizer);
    cost->step_live_bytes = tracker->stats.peak_live_bytes + states;
    cost->step_peak_bytes = tracker->peak_held_bytes + states;
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
    cost.kv_cache_bytes = 2 * sizeof(float) * (uint64_t)options.num_layers *
                          (uint64_t)shape.kv_width * (uint64_t)asked.batch * (uint64_t)asked.time;
    TLMI_TRY(measure_step(&cost, &options, &asked));
    cost.step_flops = cost.model_flops + cost.recompute_flops + cost.optimizer_flops;
    return tlmi_options_write("model_cost", out, &cost, TLMI_COST);
}
