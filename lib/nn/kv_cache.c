/* Inference with a key-value cache. A prompt goes through in chunks as matrix products; a single
 * token goes through as dot products with the weight rows, which a matrix product would first copy.
 */
#include "kv_cache.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "model_core.h"
#include "rotation.h"
#include "tensor/gemm.h"
#include "tensor/tensor_core.h"
#include "tensor/vector_math.h"

#define CHUNK_TOKENS     128   /* of a prompt at a time: bounds the buffers */
#define QUERY_BLOCK      32    /* queries of one attention task */
#define PROJECT_ELEMENTS 32768 /* weights of one task of a single token's projection */

struct tlmi_kv_cache {
    const tlm_model_t *model;
    int64_t length, capacity; /* tokens */
    int64_t d_head, kv_width;
    int64_t chunk;   /* rows of the buffers below */
    float *keys;     /* (num_layers, num_kv_heads, capacity, d_head), rotated */
    float *values;   /* the same shape */
    float *rotation; /* (capacity, d_head): cos and sin of each pair's angle, interleaved;
                        NULL: no rotation */
    float *x;        /* (chunk, d_model): the residual stream */
    float *normed;   /* (chunk, d_model) */
    float *query;    /* (chunk, d_model), and attention's result */
    float *key;      /* (chunk, kv_width) */
    float *value;    /* (chunk, kv_width) */
    float *gate;     /* (chunk, d_ff) */
    float *up;       /* (chunk, d_ff) */
    float *scores;   /* (workers, QUERY_BLOCK, capacity) */
};

/* ---- Life ------------------------------------------------------------------------------- */

static void fill_rotation(tlmi_kv_cache_t *cache)
{
    double theta = cache->model->options.rope_theta;

    for (int64_t position = 0; position < cache->capacity; position++)
        for (int64_t i = 0; i < cache->d_head; i += 2) {
            double angle = (double)position * pow(theta, -(double)i / (double)cache->d_head);
            float *pair = cache->rotation + position * cache->d_head + i;

            pair[0] = (float)cos(angle);
            pair[1] = (float)sin(angle);
        }
}

static float *buffer(int64_t a, int64_t b, int64_t c)
{
    size_t n;

    if (!tlmi_mul_size(&n, (size_t)a, (size_t)b) || !tlmi_mul_size(&n, n, (size_t)c))
        n = SIZE_MAX; /* refused by the allocator, with its message */
    return tlmi_alloc_aligned(n, sizeof(float), "the buffers of generation");
}

tlm_status_t tlmi_kv_cache_create(tlmi_kv_cache_t **out, const tlm_model_t *model)
{
    const tlm_model_options_t *options = &model->options;
    int64_t capacity = options->context_length, d = options->d_model;
    int64_t chunk = capacity < CHUNK_TOKENS ? capacity : CHUNK_TOKENS;
    bool rope = options->position == TLM_POSITION_ROPE;
    tlmi_kv_cache_t *cache = tlmi_calloc(1, sizeof(*cache), "a key-value cache");

    if (cache == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    cache->model = model;
    cache->capacity = capacity;
    cache->chunk = chunk;
    cache->d_head = model->shape.d_head;
    cache->kv_width = model->shape.kv_width;
    if ((cache->keys = buffer(options->num_layers, capacity, cache->kv_width)) == NULL ||
        (cache->values = buffer(options->num_layers, capacity, cache->kv_width)) == NULL ||
        (rope && (cache->rotation = buffer(1, capacity, cache->d_head)) == NULL) ||
        (cache->x = buffer(1, chunk, d)) == NULL || (cache->normed = buffer(1, chunk, d)) == NULL ||
        (cache->query = buffer(1, chunk, d)) == NULL ||
        (cache->key = buffer(1, chunk, cache->kv_width)) == NULL ||
        (cache->value = buffer(1, chunk, cache->kv_width)) == NULL ||
        (cache->gate = buffer(1, chunk, options->d_ff)) == NULL ||
        (cache->up = buffer(1, chunk, options->d_ff)) == NULL ||
        (cache->scores = buffer(tlmi_max_workers(), QUERY_BLOCK, capacity)) == NULL) {
        tlmi_kv_cache_free(cache);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    if (rope)
        fill_rotation(cache);
    tlmi_gemm_prepare();
    *out = cache;
    return TLM_OK;
}

void tlmi_kv_cache_free(tlmi_kv_cache_t *cache)
{
    if (cache == NULL)
        return;
    tlmi_free(cache->keys);
    tlmi_free(cache->values);
    tlmi_free(cache->rotation);
    tlmi_free(cache->x);
    tlmi_free(cache->normed);
    tlmi_free(cache->query);
    tlmi_free(cache->key);
    tlmi_free(cache->value);
    tlmi_free(cache->gate);
    tlmi_free(cache->up);
    tlmi_free(cache->scores);
    tlmi_free(cache);
}

void tlmi_kv_cache_reset(tlmi_kv_cache_t *cache)
{
    cache->length = 0;
}

int64_t tlmi_kv_cache_length(const tlmi_kv_cache_t *cache)
{
    return cache->length;
}

/* ---- Projections ------------------------------------------------------------------------ */

/* One of several projections of the same input. */
typedef struct projection {
    float *out; /* (n, d_out) */
    const tlm_tensor_t *weight;
} projection_t;

typedef struct row_job {
    const projection_t *projections;
    const float *x; /* (d_in) */
    bool accumulate;
    int64_t rows_per_task;
    int64_t tasks_per_projection;
} row_job_t;

/* Some rows of one projection of one token. */
static void project_rows(void *context, int64_t task, int32_t worker)
{
    const row_job_t *job = context;
    const projection_t *projection = &job->projections[task / job->tasks_per_projection];
    const int64_t d_out = projection->weight->shape[0], d_in = projection->weight->shape[1];
    int64_t begin = task % job->tasks_per_projection * job->rows_per_task;
    int64_t end = begin + job->rows_per_task < d_out ? begin + job->rows_per_task : d_out;
    const float *weight = tlmi_floats(projection->weight);

    for (int64_t row = begin; row < end; row++) {
        float dot = tlmi_vec_dot(weight + row * d_in, job->x, d_in);
        projection->out[row] = job->accumulate ? projection->out[row] + dot : dot;
    }
}

/* out (+)= x W^T for each projection; x (n, d_in), weights of equal shape. */
static tlm_status_t project(const projection_t *projections, int32_t count, const float *x,
                            int64_t n, bool accumulate)
{
    const int64_t d_out = projections[0].weight->shape[0];
    const int64_t d_in = projections[0].weight->shape[1];

    if (n == 1) {
        int64_t rows = d_in < PROJECT_ELEMENTS ? PROJECT_ELEMENTS / d_in : 1;
        row_job_t job = {projections, x, accumulate, rows, (d_out + rows - 1) / rows};

        tlmi_parallel_for(job.tasks_per_projection * count, project_rows, &job);
        return TLM_OK;
    }
    for (int32_t i = 0; i < count; i++) {
        tlmi_matrix_t a = {x, d_in, 1};
        tlmi_matrix_t b = {tlmi_floats(projections[i].weight), 1, d_in};

        TLMI_TRY(tlmi_gemm(n, d_out, d_in, 1.0f, a, b, accumulate ? 1.0f : 0.0f, projections[i].out,
                           d_out));
    }
    return TLM_OK;
}

/* y = x / sqrt(mean(x^2) + eps) * gain, row by row; x and y (n, d_model), y may be x. Without a gain
 * there is no norm. */
static void rms_norm_rows(float *y, const float *x, const tlm_model_t *model,
                          const tlm_tensor_t *gain, int64_t n)
{
    const int64_t d = model->options.d_model;

    if (gain == NULL) {
        if (y != x)
            memcpy(y, x, (size_t)(n * d) * sizeof(float));
        return;
    }

    for (int64_t row = 0; row < n; row++, x += d, y += d) {
        double mean = tlmi_vec_sum_squares(x, d) / (double)d;

        tlmi_vec_scale(y, x, (float)(1.0 / sqrt(mean + (double)(float)model->options.norm_eps)), d);
        tlmi_vec_mul(y, y, tlmi_floats(gain), d);
    }
}

/* ---- Attention -------------------------------------------------------------------------- */

/* y = x rotated, or x itself without rotation; y may be x. */
static void rotate_head(const tlmi_kv_cache_t *cache, float *y, const float *x, int64_t position)
{
    if (cache->rotation != NULL)
        tlmi_rotate(y, x, cache->rotation + position * cache->d_head, cache->d_head, false);
    else if (y != x)
        memcpy(y, x, (size_t)cache->d_head * sizeof(float));
}

/* Rotates the n new queries in place and puts the keys, rotated, and the values into the cache,
 * where each head has its own rows. */
static void store_keys_values(tlmi_kv_cache_t *cache, int64_t layer, int64_t n)
{
    const tlm_model_options_t *options = &cache->model->options;
    const int64_t d_head = cache->d_head;

    for (int64_t row = 0; row < n; row++) {
        int64_t position = cache->length + row;

        for (int64_t head = 0; head < options->num_heads; head++) {
            float *query = cache->query + row * options->d_model + head * d_head;
            rotate_head(cache, query, query, position);
        }
        for (int64_t head = 0; head < options->num_kv_heads; head++) {
            int64_t from = row * cache->kv_width + head * d_head;
            int64_t plane = layer * options->num_kv_heads + head;
            int64_t place = (plane * cache->capacity + position) * d_head;

            rotate_head(cache, cache->keys + place, cache->key + from, position);
            memcpy(cache->values + place, cache->value + from, (size_t)d_head * sizeof(float));
        }
    }
}

typedef struct attention_job {
    tlmi_kv_cache_t *cache;
    int64_t layer;
    int64_t n; /* queries; they are the last n tokens, the cache's length not yet advanced */
    int64_t blocks;
} attention_job_t;

/* Softmax over the keys that each query sees: all before it and its own. */
static void causal_softmax(float *scores, int64_t rows, int64_t stride, int64_t first_visible)
{
    for (int64_t row = 0; row < rows; row++, scores += stride) {
        int64_t visible = first_visible + row;
        float sum = tlmi_vec_exp_sum(scores, scores, tlmi_vec_max(scores, visible), visible);

        tlmi_vec_scale(scores, scores, 1.0f / sum, visible);
        if (visible < stride)
            memset(scores + visible, 0, (size_t)(stride - visible) * sizeof(float));
    }
}

/* One head, one block of queries; the result takes the queries' place. */
static void attention_task(void *context, int64_t task, int32_t worker)
{
    const attention_job_t *job = context;
    tlmi_kv_cache_t *cache = job->cache;
    const int64_t d = cache->model->options.d_model, d_head = cache->d_head;
    const int64_t head = task / job->blocks, begin = task % job->blocks * QUERY_BLOCK;
    const int64_t rows = job->n - begin < QUERY_BLOCK ? job->n - begin : QUERY_BLOCK;
    const int64_t seen = cache->length + begin + rows;
    const tlm_model_options_t *options = &cache->model->options;
    const int64_t group = options->num_heads / options->num_kv_heads;
    const int64_t plane = (job->layer * options->num_kv_heads + head / group) * cache->capacity;
    float *query = cache->query + begin * d + head * d_head;
    float *scores = cache->scores + worker * QUERY_BLOCK * cache->capacity;
    tlmi_matrix_t q = {query, d, 1};
    tlmi_matrix_t keys_transposed = {cache->keys + plane * d_head, 1, d_head};
    tlmi_matrix_t weights = {scores, seen, 1};
    tlmi_matrix_t values = {cache->values + plane * d_head, d_head, 1};

    tlmi_gemm_serial(rows, seen, d_head, 1.0f / sqrtf((float)d_head), q, keys_transposed, 0.0f,
                     scores, seen);
    causal_softmax(scores, rows, seen, seen - rows + 1);
    tlmi_gemm_serial(rows, d_head, seen, 1.0f, weights, values, 0.0f, query, d);
}

static tlm_status_t attention_sublayer(tlmi_kv_cache_t *cache, int64_t layer, int64_t n)
{
    const tlm_model_t *model = cache->model;
    const projection_t queries = {cache->query, tlmi_model_block(model, layer, TLMI_ATTN_Q)};
    const projection_t others[] = {
        {cache->key, tlmi_model_block(model, layer, TLMI_ATTN_K)},
        {cache->value, tlmi_model_block(model, layer, TLMI_ATTN_V)},
    };
    const projection_t output = {cache->x, tlmi_model_block(model, layer, TLMI_ATTN_OUTPUT)};
    attention_job_t job = {cache, layer, n, (n + QUERY_BLOCK - 1) / QUERY_BLOCK};

    TLMI_TRY(project(&queries, 1, cache->normed, n, false));
    TLMI_TRY(project(others, 2, cache->normed, n, false));
    store_keys_values(cache, layer, n);
    tlmi_parallel_for(job.blocks * model->options.num_heads, attention_task, &job);
    return project(&output, 1, cache->query, n, true);
}

static tlm_status_t feed_forward_sublayer(tlmi_kv_cache_t *cache, int64_t layer, int64_t n)
{
    const tlm_model_t *model = cache->model;
    const bool gated = model->options.ffn == TLM_FFN_SWIGLU;
    const projection_t inputs[] = {
        {cache->gate, tlmi_model_block(model, layer, TLMI_FFN_W1)},
        {cache->up, tlmi_model_block(model, layer, TLMI_FFN_W3)},
    };
    const projection_t output = {cache->x, tlmi_model_block(model, layer, TLMI_FFN_W2)};

    TLMI_TRY(project(inputs, gated ? 2 : 1, cache->normed, n, false));
    if (gated)
        tlmi_vec_silu_mul(cache->gate, cache->gate, cache->up, n * model->options.d_ff);
    else
        tlmi_vec_silu(cache->gate, cache->gate, n * model->options.d_ff);
    return project(&output, 1, cache->gate, n, true);
}

/* x becomes x + f(norm(x)), norm(x + f(x)) or x + f(x), as options.norm says. */
static tlm_status_t sublayer(tlmi_kv_cache_t *cache, int64_t layer, int64_t n, int32_t norm_part,
                             tlm_status_t (*f)(tlmi_kv_cache_t *, int64_t, int64_t))
{
    const tlm_model_t *model = cache->model;
    const tlm_tensor_t *gain = tlmi_model_block(model, layer, norm_part);
    bool post = model->options.norm == TLM_NORM_POST;

    rms_norm_rows(cache->normed, cache->x, model, post ? NULL : gain, n);
    TLMI_TRY(f(cache, layer, n));
    if (post)
        rms_norm_rows(cache->x, cache->x, model, gain, n);
    return TLM_OK;
}

/* ---- Advancing -------------------------------------------------------------------------- */

/* n <= chunk tokens through all blocks; x then holds the residual stream behind the last block. */
static tlm_status_t advance_chunk(tlmi_kv_cache_t *cache, const uint32_t *ids, int64_t n)
{
    const tlm_model_t *model = cache->model;
    const int64_t d = model->options.d_model;
    const float *embeddings = tlmi_floats(tlmi_model_embedding(model));

    for (int64_t row = 0; row < n; row++)
        memcpy(cache->x + row * d, embeddings + (int64_t)ids[row] * d, (size_t)d * sizeof(float));
    for (int64_t layer = 0; layer < model->options.num_layers; layer++) {
        TLMI_TRY(sublayer(cache, layer, n, TLMI_LN1, attention_sublayer));
        TLMI_TRY(sublayer(cache, layer, n, TLMI_LN2, feed_forward_sublayer));
    }
    cache->length += n;
    return TLM_OK;
}

tlm_status_t tlmi_kv_cache_advance(float *logits, tlmi_kv_cache_t *cache, const uint32_t *ids,
                                   int64_t n)
{
    const tlm_model_t *model = cache->model;
    const projection_t output = {logits, tlmi_model_output(model)};
    int64_t rows = 0;

    for (int64_t done = 0; done < n; done += rows) {
        rows = n - done < cache->chunk ? n - done : cache->chunk;
        TLMI_TRY(advance_chunk(cache, ids + done, rows));
    }
    rms_norm_rows(cache->normed, cache->x + (rows - 1) * model->options.d_model, model,
                  tlmi_model_final_norm(model), 1);
    return project(&output, 1, cache->normed, 1, false);
}
