/* The forward pass without a graph, over key-value caches. A prompt goes through in chunks, as
 * matrix products. The single tokens of a step go through as dot products with the rows of the
 * weights, which a matrix product would copy first: each row is read once for all sequences and
 * gives each of them the bits that it would get alone. */
#include "infer/infer_core.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "kernels/vector_math.h"
#include "nn/nn_core.h"
#include "tensor/tensor_core.h"

enum {
    MOST_WEIGHTS = 32768, /* in one task of a step's projection */
    LEAST_WEIGHTS = 8192  /* fewer are not worth waking a thread */
};

/* ---- Creating and freeing ------------------------------------------------------------------------------- */

/* The widest input of a projection. */
static int64_t widest_input(const tlm_model_t *model)
{
    int64_t widest = model->options.d_model;

    widest = model->shape.q_width > widest ? model->shape.q_width : widest;
    return model->options.d_ff > widest ? model->options.d_ff : widest;
}

static float *buffer(int64_t a, int64_t b, int64_t c)
{
    size_t n;

    if (!tlmi_mul_size(&n, (size_t)a, (size_t)b) || !tlmi_mul_size(&n, n, (size_t)c))
        n = SIZE_MAX; /* refused by the allocator, with its message */
    return tlmi_alloc_aligned(n, sizeof(float), "the buffers of generation");
}

/* The elements of the largest vector among the parameters, at least d_model. */
static int64_t widest_vector(const tlm_model_t *model)
{
    int64_t widest = model->options.d_model;

    for (int32_t part = 0; part < TLMI_NUM_PARTS; part++) {
        int64_t own[2];

        tlmi_part_shape(own, &model->shape, part);
        if (tlmi_has_part(&model->shape, part) && own[1] == 0 && own[0] > widest)
            widest = own[0];
    }
    return widest;
}

tlm_status_t tlmi_inference_create(tlmi_inference_t **out, const tlm_model_t *model)
{
    const tlm_model_options_t *options = &model->options;
    const int64_t d = options->d_model, kv = model->shape.kv_width, n = TLMI_CHUNK_TOKENS;
    tlmi_inference_t *made = tlmi_calloc(1, sizeof(*made), "the buffers of generation");

    if (made == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    made->model = model;
    const bool has_values = tlmi_has_part(&model->shape, TLMI_VALUE_EMBEDDING);
    if ((made->x = buffer(1, n, d)) == NULL || (made->normed = buffer(1, n, d)) == NULL ||
        (made->query = buffer(1, n, model->shape.q_width)) == NULL ||
        (made->key = buffer(1, n, kv)) == NULL || (made->value = buffer(1, n, kv)) == NULL ||
        (has_values && (made->shared = buffer(1, n, kv)) == NULL) ||
        (made->gate = buffer(1, n, options->d_ff)) == NULL ||
        (made->up = buffer(1, n, options->d_ff)) == NULL ||
        (made->quantized = buffer(1, TLMI_STEP_ROWS, widest_input(model))) == NULL ||
        (made->gain = buffer(1, 1, widest_vector(model))) == NULL ||
        (made->bias = buffer(1, 1, widest_vector(model))) == NULL) {
        tlmi_inference_free(made);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    *out = made;
    return TLM_OK;
}

void tlmi_inference_free(tlmi_inference_t *inference)
{
    if (inference == NULL)
        return;
    tlmi_attention_buffers_release(&inference->attention);
    tlmi_free(inference->x);
    tlmi_free(inference->normed);
    tlmi_free(inference->query);
    tlmi_free(inference->key);
    tlmi_free(inference->value);
    tlmi_free(inference->shared);
    tlmi_free(inference->gate);
    tlmi_free(inference->up);
    tlmi_free(inference->quantized);
    tlmi_free(inference->gain);
    tlmi_free(inference->bias);
    tlmi_free(inference->logits);
    tlmi_free(inference);
}

/* ---- Projections ------------------------------------------------------------------------ */

/* One of several projections of the same input. */
typedef struct projection {
    float *out;             /* (rows, d_out) */
    tlmi_weight_t weight;   /* (d_out, d_in); without data if the model has no such part */
    bool changed;           /* by an adapter: */
    tlmi_low_rank_t change; /* without dropout */
} projection_t;

typedef struct step_job {
    const projection_t *projections;
    const float *x;                         /* (rows, d_in) */
    const tlmi_quantized_rows_t *quantized; /* the same, if a weight takes it */
    int64_t rows;
    bool accumulate;
    int64_t outputs_per_task;
} step_job_t;

static projection_t projection_of(float *out, const tlm_model_t *model, int64_t layer, int32_t part)
{
    const tlm_tensor_t *tensor = tlmi_model_block(model, layer, part);
    projection_t projection = {.out = out};

    if (tensor != NULL)
        projection.weight = tlmi_weight_of(tensor);
    projection.changed = tlmi_model_change(&projection.change, model, layer, part);
    return projection;
}

/* How many outputs one task computes: there are enough tasks that no thread waits long for the
 * last. */
static int64_t step_task_outputs(int64_t outputs, int64_t d_in)
{
    enum { TASKS = 8, UNIT = 4 };
    int64_t weights = outputs * d_in / TASKS;

    weights = weights > MOST_WEIGHTS ? MOST_WEIGHTS : weights;
    weights = weights < LEAST_WEIGHTS ? LEAST_WEIGHTS : weights;
    return (weights + UNIT * d_in - 1) / (UNIT * d_in) * UNIT;
}

static int64_t count_step_tasks(const step_job_t *job, const projection_t *projection)
{
    return (projection->weight.rows + job->outputs_per_task - 1) / job->outputs_per_task;
}

/* Some outputs of one projection, for all rows. */
static void step_task(void *context, int64_t task, int32_t worker)
{
    enum { GROUP = 16 };
    const step_job_t *job = context;
    const projection_t *projection = job->projections;
    float sums[TLMI_STEP_ROWS * GROUP];
    int64_t d_out, d_in, begin, end;

    (void)worker;
    for (; task >= count_step_tasks(job, projection); projection++)
        task -= count_step_tasks(job, projection);
    d_out = projection->weight.rows;
    d_in = projection->weight.columns;
    begin = task * job->outputs_per_task;
    end = d_out - begin < job->outputs_per_task ? d_out : begin + job->outputs_per_task;
    for (int64_t at = begin; at < end; at += GROUP) {
        int64_t n = end - at < GROUP ? end - at : GROUP;

        tlmi_weight_dots(sums, GROUP, job->x, d_in, job->rows,
                         tlmi_weight_takes_quantized(&projection->weight) ? job->quantized : NULL,
                         &projection->weight, at, n);
        for (int64_t row = 0; row < job->rows; row++) {
            float *out = projection->out + row * d_out + at;

            for (int64_t i = 0; i < n; i++)
                out[i] = job->accumulate ? out[i] + sums[row * GROUP + i] : sums[row * GROUP + i];
        }
    }
}

/* out (+)= x W^T for each projection; x (rows, d_in), weights of equal d_in. `step`: by dot
 * products. */
static tlm_status_t project(tlmi_inference_t *inference, const projection_t *projections,
                            int32_t count, const float *x, int64_t rows, bool step, bool accumulate)
{
    const int64_t d_in = projections[0].weight.columns;

    if (step) {
        step_job_t job = {projections, x, NULL, rows, accumulate, 0};
        tlmi_quantized_rows_t quantized;
        int64_t tasks = 0, outputs = 0;

        for (int32_t i = 0; i < count; i++) {
            outputs += projections[i].weight.rows;
            if (job.quantized == NULL && tlmi_weight_takes_quantized(&projections[i].weight)) {
                tlmi_quantize_rows(&quantized, inference->quantized, x, rows, d_in);
                job.quantized = &quantized;
            }
        }
        job.outputs_per_task = step_task_outputs(outputs, d_in);
        for (int32_t i = 0; i < count; i++)
            tasks += count_step_tasks(&job, &projections[i]);
        tlmi_parallel_for(tasks, step_task, &job);
    }
    for (int32_t i = 0; i < count && !step; i++)
        TLMI_TRY(tlmi_weight_product(projections[i].out, TLM_PRODUCTS_FLOAT32, rows, x,
                                     &projections[i].weight, accumulate ? 1.0f : 0.0f));
    for (int32_t i = 0; i < count; i++)
        if (projections[i].changed)
            TLMI_TRY(tlmi_add_change(projections[i].out, x, rows, &projections[i].change, step));
    return TLM_OK;
}

/* ---- Blocks ----------------------------------------------------------------------------- */

/* x += norm_change(from W^T + bias), where W is `part`. */
static tlm_status_t add_change(tlmi_inference_t *inference, int64_t layer,
                               const tlmi_new_tokens_t *tokens, int32_t part, const float *from,
                               int32_t norm_change)
{
    const tlm_model_t *model = inference->model;
    const int64_t rows = tlmi_new_rows(tokens), n = rows * model->options.d_model;
    const bool direct = !tlmi_has_part(&model->shape, norm_change);
    const projection_t output =
        projection_of(direct ? inference->x : inference->normed, model, layer, part);

    TLMI_TRY(project(inference, &output, 1, from, rows, tokens->per_cache == 1, direct));
    tlmi_inference_add_bias(inference, output.out, layer, part, rows);
    if (!direct) {
        tlmi_inference_norm(inference, inference->normed, inference->normed, layer, norm_change, n);
        tlmi_vec_add(inference->x, inference->x, inference->normed, n);
    }
    return TLM_OK;
}

/* x += norm_change(attention(normed)) */
static tlm_status_t attention_sublayer(tlmi_inference_t *inference, int64_t layer,
                                       const tlmi_new_tokens_t *tokens, int32_t norm_change)
{
    const tlm_model_t *model = inference->model;
    const projection_t inputs[] = {
        projection_of(inference->query, model, layer, TLMI_ATTN_Q),
        projection_of(inference->key, model, layer, TLMI_ATTN_K),
        projection_of(inference->value, model, layer, TLMI_ATTN_V),
    };
    const int64_t rows = tlmi_new_rows(tokens);

    TLMI_TRY(project(inference, inputs, 3, inference->normed, rows, tokens->per_cache == 1, false));
    tlmi_inference_add_bias(inference, inference->query, layer, TLMI_ATTN_Q, rows);
    tlmi_inference_add_bias(inference, inference->key, layer, TLMI_ATTN_K, rows);
    tlmi_inference_add_bias(inference, inference->value, layer, TLMI_ATTN_V, rows);
    tlmi_inference_mix(inference, layer, rows);
    tlmi_inference_norm(inference, inference->query, inference->query, layer, TLMI_ATTN_Q_NORM,
                        rows * model->shape.q_width);
    tlmi_inference_norm(inference, inference->key, inference->key, layer, TLMI_ATTN_K_NORM,
                        rows * model->shape.kv_width);
    tlmi_cached_attention(model, layer, tokens, inference->query, inference->key, inference->value,
                          &inference->attention);
    return add_change(inference, layer, tokens, TLMI_ATTN_OUTPUT, inference->query, norm_change);
}

static void activation_range(void *context, int64_t begin, int64_t end)
{
    const tlmi_inference_t *inference = context;
    float *gate = inference->gate + begin;

    switch (inference->model->options.ffn) {
    case TLM_FFN_SWIGLU:
        tlmi_vec_silu_mul(gate, gate, inference->up + begin, end - begin);
        break;
    case TLM_FFN_SILU:
        tlmi_vec_silu(gate, gate, end - begin);
        break;
    case TLM_FFN_GEGLU:
        tlmi_gelu_tanh_rows(gate, gate, end - begin);
        tlmi_vec_mul(gate, gate, inference->up + begin, end - begin);
        break;
    case TLM_FFN_RELU2:
        tlmi_relu_squared_rows(gate, gate, end - begin);
        break;
    default:
        tlmi_gelu_tanh_rows(gate, gate, end - begin);
    }
}

/* x += norm_change(feed_forward(normed)) */
static tlm_status_t feed_forward_sublayer(tlmi_inference_t *inference, int64_t layer,
                                          const tlmi_new_tokens_t *tokens, int32_t norm_change)
{
    const tlm_model_t *model = inference->model;
    const projection_t inputs[] = {
        projection_of(inference->gate, model, layer, TLMI_FFN_W1),
        projection_of(inference->up, model, layer, TLMI_FFN_W3),
    };
    const int64_t rows = tlmi_new_rows(tokens);

    TLMI_TRY(project(inference, inputs, inputs[1].weight.data != NULL ? 2 : 1, inference->normed,
                     rows, tokens->per_cache == 1, false));
    tlmi_inference_add_bias(inference, inference->gate, layer, TLMI_FFN_W1, rows);
    tlmi_inference_add_bias(inference, inference->up, layer, TLMI_FFN_W3, rows);
    tlmi_parallel_ranges(rows * model->options.d_ff, activation_range, inference);
    return add_change(inference, layer, tokens, TLMI_FFN_W2, inference->gate, norm_change);
}

/* Adds what the sublayer computes of the rows of `normed` to x. */
typedef tlm_status_t (*sublayer_fn)(tlmi_inference_t *inference, int64_t layer,
                                    const tlmi_new_tokens_t *tokens, int32_t norm_change);

/* x becomes norm_after(x + norm_change(f(norm_before(x)))), with the norms that the sublayer
 * has. */
static tlm_status_t run_sublayer(tlmi_inference_t *inference, int64_t layer,
                                 const tlmi_new_tokens_t *tokens, const tlmi_sublayer_t *sublayer,
                                 sublayer_fn f)
{
    const int64_t n = tlmi_new_rows(tokens) * inference->model->options.d_model;

    tlmi_inference_norm(inference, inference->normed, inference->x, layer, sublayer->norm_before,
                        n);
    TLMI_TRY(f(inference, layer, tokens, sublayer->norm_change));
    tlmi_inference_norm(inference, inference->x, inference->x, layer, sublayer->norm_after, n);
    return TLM_OK;
}

/* Makes room for n more tokens in each cache, of which at most TLMI_CHUNK_TOKENS go through at a
 * time. */
static tlm_status_t reserve(tlmi_inference_t *inference, tlmi_kv_cache_t *const *caches,
                            int64_t num_caches, int64_t n)
{
    tlmi_attention_needs_t needs = {.queries = n < TLMI_CHUNK_TOKENS ? n : TLMI_CHUNK_TOKENS};

    for (int64_t i = 0; i < num_caches; i++) {
        const tlmi_kv_cache_t *cache = caches[i];
        const int64_t length = cache->length + n, all = tlmi_kv_cache_rows(cache) + n;
        const int64_t rows = cache->context > 0 && all > cache->limit ? cache->limit : all;

        TLMI_TRY(tlmi_kv_cache_reserve(caches[i], inference->model, rows));
        needs.positions = length > needs.positions ? length : needs.positions;
        needs.rows = rows > needs.rows ? rows : needs.rows;
        needs.late = needs.late || (cache->context > 0 && length > cache->context);
        needs.float16 = needs.float16 || cache->dtype == TLM_FLOAT16;
    }
    return tlmi_attention_buffers_reserve(&inference->attention, inference->model, &needs);
}

/* Runs new tokens, at most TLMI_CHUNK_TOKENS, through all blocks: x becomes the output of the last
 * one. */
static tlm_status_t run_blocks(tlmi_inference_t *inference, const tlmi_new_tokens_t *tokens,
                               const uint32_t *ids)
{
    static const sublayer_fn layers[TLMI_NUM_SUBLAYERS] = {attention_sublayer,
                                                           feed_forward_sublayer};
    const tlm_model_t *model = inference->model;

    TLMI_TRY(tlmi_check_interrupt("inference"));
    for (int64_t i = 0; i < tokens->num_caches; i++)
        tlmi_kv_cache_slide(tokens->caches[i], model, tokens->per_cache);
    tlmi_attention_start(&inference->attention, model, tokens);
    tlmi_inference_embed(inference, tokens, ids);
    for (int64_t layer = 0; layer < model->options.num_layers; layer++)
        for (int32_t i = 0; i < TLMI_NUM_SUBLAYERS; i++)
            TLMI_TRY(run_sublayer(inference, layer, tokens, &model->shape.sublayers[i], layers[i]));
    for (int64_t i = 0; i < tokens->num_caches; i++)
        tokens->caches[i]->length += tokens->per_cache;
    return TLM_OK;
}

typedef struct cap_job {
    float *logits, cap;
} cap_job_t;

static void cap_range(void *context, int64_t begin, int64_t end)
{
    const cap_job_t *job = context;

    tlmi_softcap_rows(job->logits + begin, job->logits + begin, job->cap, end - begin);
}

/* Logits of rows first .. first+rows-1 of x. */
static tlm_status_t output_rows(float *logits, tlmi_inference_t *inference, int64_t first,
                                int64_t rows, bool step)
{
    const tlm_model_t *model = inference->model;
    const projection_t output = projection_of(logits, model, 0, tlmi_output_part(model));

    tlmi_inference_norm(inference, inference->normed, inference->x + first * model->options.d_model,
                        0, TLMI_LN_FINAL, rows * model->options.d_model);
    TLMI_TRY(project(inference, &output, 1, inference->normed, rows, step, false));
    if (model->options.logit_softcap != 0.0) {
        cap_job_t job = {logits, (float)model->options.logit_softcap};

        tlmi_parallel_ranges(rows * model->options.vocab_size, cap_range, &job);
    }
    return TLM_OK;
}

/* ---- Advancing -------------------------------------------------------------------------- */

tlm_status_t tlmi_inference_advance(float *logits, tlmi_inference_t *inference,
                                    tlmi_kv_cache_t *cache, const uint32_t *ids, int64_t n)
{
    tlmi_new_tokens_t tokens = {&cache, 1, 0};

    TLMI_TRY(reserve(inference, &cache, 1, n));
    for (int64_t done = 0; done < n; done += tokens.per_cache) {
        tokens.per_cache = n - done < TLMI_CHUNK_TOKENS ? n - done : TLMI_CHUNK_TOKENS;
        TLMI_TRY(run_blocks(inference, &tokens, ids + done));
    }
    return output_rows(logits, inference, tokens.per_cache - 1, 1, true);
}

tlm_status_t tlmi_inference_step(float *logits, tlmi_inference_t *inference,
                                 tlmi_kv_cache_t *const *caches, const uint32_t *ids, int64_t n)
{
    tlmi_new_tokens_t tokens = {caches, n, 1};

    TLMI_TRY(reserve(inference, caches, n, 1));
    TLMI_TRY(run_blocks(inference, &tokens, ids));
    return output_rows(logits, inference, 0, n, true);
}

/* ---- Scoring ---------------------------------------------------------------------------- */

double tlmi_log_sum_exp(const float *logits, float *scratch, int64_t n)
{
    float max = tlmi_vec_max(logits, n);

    return (double)max + log((double)tlmi_vec_exp_sum(scratch, logits, max, n));
}

/* Scores rows first .. last-1 of x; targets and log_probs begin with those of row 0. */
static tlm_status_t score_rows(float *log_probs, tlmi_inference_t *inference,
                               const uint32_t *targets, int64_t first, int64_t last)
{
    const int64_t vocab_size = inference->model->options.vocab_size;
    float *scratch = inference->logits + TLMI_STEP_ROWS * vocab_size;

    for (int64_t rows = 0; first < last; first += rows) {
        rows = last - first < TLMI_STEP_ROWS ? last - first : TLMI_STEP_ROWS;
        TLMI_TRY(output_rows(inference->logits, inference, first, rows, rows == 1));
        for (int64_t row = 0; row < rows; row++) {
            const float *logits = inference->logits + row * vocab_size;
            double lse = tlmi_log_sum_exp(logits, scratch, vocab_size);

            log_probs[first + row] = (float)((double)logits[targets[first + row]] - lse);
        }
    }
    return TLM_OK;
}

tlm_status_t tlmi_inference_score(float *log_probs, tlmi_inference_t *inference,
                                  tlmi_kv_cache_t *cache, const uint32_t *ids,
                                  const uint32_t *targets, int64_t skip, int64_t n)
{
    tlmi_new_tokens_t tokens = {&cache, 1, 0};

    if (inference->logits == NULL)
        inference->logits = buffer(1, TLMI_STEP_ROWS + 1, inference->model->options.vocab_size);
    if (inference->logits == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    TLMI_TRY(reserve(inference, &cache, 1, n));
    for (int64_t done = 0; done < n; done += tokens.per_cache) {
        tokens.per_cache = n - done < TLMI_CHUNK_TOKENS ? n - done : TLMI_CHUNK_TOKENS;
        TLMI_TRY(run_blocks(inference, &tokens, ids + done));
        TLMI_TRY(score_rows(log_probs + done, inference, targets + done,
                            skip > done ? skip - done : 0, tokens.per_cache));
    }
    return TLM_OK;
}
