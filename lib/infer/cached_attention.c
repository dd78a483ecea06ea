/* Attention over caches. The queries of a prompt go through in blocks, as matrix products. The
 * single query of a step is multiplied with each key, and a weighted sum of the values follows.
 *
 * When the window of a cache slides, a query sees two runs of rows: the first tokens, which are
 * kept, and the latest ones. RoPE gives scores that depend on the distance of two tokens. That of
 * the first tokens is bounded by the context: for them a query is rotated as if it were at the
 * context's last position. This is the attention of StreamingLLM (Xiao et al. 2023), without
 * rotating keys again. */
#include "infer/infer_core.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/dtype.h"
#include "base/thread_pool.h"
#include "kernels/gemm.h"
#include "kernels/vector_math.h"
#include "nn/nn_core.h"

enum { STORE_ROWS = 16 /* new keys and values of one task */ };

typedef struct job {
    const tlm_model_t *model;
    int64_t layer;
    const tlmi_new_tokens_t *tokens;
    float *query, *key;
    const float *value;
    const tlmi_attention_buffers_t *buffers;
    int64_t blocks; /* of a sequence's queries */
    tlmi_score_rules_t rules;
    float scale;                  /* of scores */
    const float *rotation, *late; /* the block's tables; NULL: none */
} job_t;

/* ---- Keys and values --------------------------------------------------------------------- */

static const float *rotation_row(const job_t *job, int64_t row, int64_t position)
{
    const int64_t d_head = job->model->shape.d_head;

    return position < job->model->options.context_length ? job->rotation + position * d_head
                                                         : job->late + row * d_head;
}

/* angles NULL: no rotation. */
static void rotate_head(const job_t *job, float *y, const float *x, const float *angles)
{
    const int64_t d_head = job->model->shape.d_head;

    if (angles != NULL)
        tlmi_rotate(y, x, angles, d_head, false);
    else if (y != x)
        memcpy(y, x, (size_t)d_head * sizeof(float));
}

/* Whether new tokens see the first tokens apart from the latest ones. */
static bool is_split(const tlmi_kv_cache_t *cache, int64_t new_tokens)
{
    return cache->context > 0 && cache->kept > 0 && cache->length + new_tokens > cache->context;
}

/* The position that a query has for the first tokens. */
static int64_t bounded(const tlmi_kv_cache_t *cache, int64_t position)
{
    return position < cache->context ? position : cache->context - 1;
}

/* Stores a head's key or value as the cache's type. */
static void store_head(tlmi_kv_cache_t *cache, void *rows, int64_t at, const float *x, int64_t n)
{
    if (cache->dtype == TLM_FLOAT32) {
        memcpy((float *)rows + at, x, (size_t)n * sizeof(float));
        return;
    }
    uint16_t *to = (uint16_t *)rows + at;
    bool fits = true;

    for (int64_t i = 0; i < n; i++) {
        to[i] = tlmi_float_to_half(x[i]);
        fits = fits && (to[i] & 0x7C00u) != 0x7C00u;
    }
    if (!fits)
        atomic_store_explicit(&cache->too_large, true, memory_order_relaxed);
}

/* Rotates one new query in place and puts its key, rotated, and value into the cache, where each
 * head has its own rows. */
static void store_row(const job_t *job, int64_t row)
{
    const tlm_model_options_t *options = &job->model->options;
    const int64_t d_head = job->model->shape.d_head, kv_width = job->model->shape.kv_width;
    const int64_t q_width = job->model->shape.q_width;
    tlmi_kv_cache_t *cache = job->tokens->caches[row / job->tokens->per_cache];
    const int64_t position = tlmi_new_position(job->tokens, row);
    const bool split = is_split(cache, job->tokens->per_cache), rotates = job->rotation != NULL;
    const float *angles = rotates ? rotation_row(job, row, position) : NULL;

    for (int64_t head = 0; head < options->num_heads; head++) {
        float *query = job->query + row * q_width + head * d_head;

        if (split)
            rotate_head(job, job->buffers->first_query + row * q_width + head * d_head, query,
                        rotates ? rotation_row(job, row, bounded(cache, position)) : NULL);
        rotate_head(job, query, query, angles);
    }
    for (int64_t head = 0; head < options->num_kv_heads; head++) {
        const int64_t from = row * kv_width + head * d_head;
        const int64_t to = tlmi_kv_cache_plane(cache, job->model, job->layer, head) +
                           (position - cache->shift) * d_head;

        rotate_head(job, job->key + from, job->key + from, angles);
        store_head(cache, cache->keys, to, job->key + from, d_head);
        store_head(cache, cache->values, to, job->value + from, d_head);
    }
}

static void store_task(void *context, int64_t task, int32_t worker)
{
    const job_t *job = context;
    int64_t rows = tlmi_new_rows(job->tokens), begin = task * STORE_ROWS;

    (void)worker;
    for (int64_t row = begin; row < rows && row < begin + STORE_ROWS; row++)
        store_row(job, row);
}

/* ---- Products with rows of a cache -------------------------------------------------------- */

/* Rows of keys or values of one head, n of them. */
typedef struct rows {
    const void *data;
    int64_t n, d_head;
    int32_t dtype;
    float *wide; /* room for TLMI_WIDE_ROWS of them as float32 */
} rows_t;

static rows_t rows_of(const job_t *job, const tlmi_kv_cache_t *cache, const void *data,
                      int64_t plane, int64_t first_row, int64_t n, int32_t worker)
{
    const int64_t d_head = job->model->shape.d_head, at = plane + first_row * d_head;
    const void *begin = cache->dtype == TLM_FLOAT32 ? (const void *)((const float *)data + at)
                                                    : (const void *)((const uint16_t *)data + at);
    float *wide =
        job->buffers->wide == NULL ? NULL : job->buffers->wide + worker * TLMI_WIDE_ROWS * d_head;

    return (rows_t){begin, n, d_head, cache->dtype, wide};
}

/* How many rows from `at` on are taken at a time: all float32 ones. */
static int64_t take_rows(const float **out, const rows_t *rows, int64_t at)
{
    int64_t n = rows->n - at;

    if (rows->dtype == TLM_FLOAT32) {
        *out = (const float *)rows->data + at * rows->d_head;
        return n;
    }
    n = n < TLMI_WIDE_ROWS ? n : TLMI_WIDE_ROWS;
    tlmi_dtype(rows->dtype)
        ->load(rows->wide, (const uint16_t *)rows->data + at * rows->d_head, n * rows->d_head);
    *out = rows->wide;
    return n;
}

/* scores (m, rows->n) = scale query keys^T */
static void multiply_keys(float *scores, int64_t stride, float scale, tlmi_matrix_t query,
                          int64_t m, const rows_t *keys)
{
    const float *data;

    for (int64_t at = 0, n; at < keys->n; at += n) {
        n = take_rows(&data, keys, at);
        tlmi_gemm_serial(m, n, keys->d_head, scale, query, (tlmi_matrix_t){data, 1, keys->d_head},
                         0.0f, scores + at, stride);
    }
}

/* out (m, d_head) = weights (m, rows->n) values + beta out */
static void add_values(float *out, int64_t stride, float beta, tlmi_matrix_t weights, int64_t m,
                       const rows_t *values)
{
    const float *data;

    for (int64_t at = 0, n; at < values->n; at += n, beta = 1.0f) {
        const tlmi_matrix_t part = {weights.data + at, weights.row_stride, 1};

        n = take_rows(&data, values, at);
        tlmi_gemm_serial(m, values->d_head, n, 1.0f, part, (tlmi_matrix_t){data, values->d_head, 1},
                         beta, out, stride);
    }
}

static void dot_keys(float *scores, const float *query, const rows_t *keys)
{
    const tlmi_weight_t weight = tlmi_weight_make(keys->dtype, keys->data, keys->n, keys->d_head);

    if (keys->dtype == TLM_FLOAT32)
        tlmi_vec_dot_rows(scores, query, keys->data, keys->d_head, keys->n, keys->d_head);
    else
        tlmi_weight_dots(scores, keys->n, query, keys->d_head, 1, NULL, &weight, 0, keys->n);
}

static void sum_values(float *out, const float *weights, const rows_t *values)
{
    if (values->dtype == TLM_FLOAT32)
        tlmi_vec_weighted_rows(out, weights, values->data, values->d_head, values->n,
                               values->d_head);
    else
        tlmi_vec_weighted_rows_f16(out, weights, values->data, values->d_head, values->n,
                                   values->d_head);
}

/* ---- Queries ----------------------------------------------------------------------------- */

/* Positions that a query sees: first ... last-1, of the first tokens and of the others. */
typedef struct seen {
    int64_t first_begin, first_end; /* empty unless the window is split */
    int64_t begin, end;
} seen_t;

/* The first key that the block's own window lets the query at a position see. */
static int64_t window_begin(const job_t *job, int64_t position)
{
    const int64_t start = position + 1 - job->rules.window;

    return job->rules.window == 0 || start < 0 ? 0 : start;
}

static seen_t see(const job_t *job, const tlmi_kv_cache_t *cache, bool split, int64_t position)
{
    seen_t seen = {0, 0, window_begin(job, position), position + 1};

    if (cache->context > 0 && position >= cache->context) {
        const int64_t start = position + 1 - (cache->context - cache->kept);

        seen.begin = seen.begin > start ? seen.begin : start;
    }
    if (split) {
        const int64_t last = bounded(cache, position), start = window_begin(job, last);

        seen.first_end = last + 1 < cache->kept ? last + 1 : cache->kept;
        seen.first_begin = start < seen.first_end ? start : seen.first_end;
        seen.begin = seen.begin > cache->kept ? seen.begin : cache->kept;
        seen.end = seen.end > seen.begin ? seen.end : seen.begin;
    }
    return seen;
}

/* Softmax over the part of a row of n scores that is in begin ... end - 1, and in first_begin ...
 * first_end - 1 before it; the rest becomes 0. */
static void softmax_row(const job_t *job, float *scores, int64_t n, const seen_t *at)
{
    float *first = scores + at->first_begin, *own = scores + at->begin;
    const int64_t num_first = at->first_end - at->first_begin, num_own = at->end - at->begin;

    if (job->rules.softcap != 0.0f) {
        tlmi_softcap_rows(first, first, job->rules.softcap, num_first);
        tlmi_softcap_rows(own, own, job->rules.softcap, num_own);
    }
    float max = tlmi_vec_max(own, num_own), sum = 0.0f;
    if (num_first > 0) {
        const float other = tlmi_vec_max(first, num_first);

        max = num_own == 0 || other > max ? other : max;
        sum = tlmi_vec_exp_sum(first, first, max, num_first);
    }
    if (num_own > 0)
        sum = num_first > 0 ? sum + tlmi_vec_exp_sum(own, own, max, num_own)
                            : tlmi_vec_exp_sum(own, own, max, num_own);
    tlmi_vec_scale(first, first, 1.0f / sum, num_first);
    tlmi_vec_scale(own, own, 1.0f / sum, num_own);
    memset(scores, 0, (size_t)at->first_begin * sizeof(float));
    memset(scores + at->first_end, 0, (size_t)(at->begin - at->first_end) * sizeof(float));
    memset(scores + at->end, 0, (size_t)(n - at->end) * sizeof(float));
}

/* Softmax of the scores of several queries, the first of them at `position`. A row of n scores
 * begins with those of num_first first tokens; then that of the key at position `begin` follows. */
static void causal_softmax(const job_t *job, const tlmi_kv_cache_t *cache, float *scores,
                           int64_t rows, int64_t n, int64_t position, int64_t num_first,
                           int64_t begin)
{
    for (int64_t row = 0; row < rows; row++, scores += n) {
        seen_t at = see(job, cache, num_first > 0, position + row);

        at.begin += num_first - begin;
        at.end += num_first - begin;
        softmax_row(job, scores, n, &at);
    }
}

/* One head and one block of a sequence's queries, which the result replaces. */
static void block_task(void *context, int64_t task, int32_t worker)
{
    const job_t *job = context;
    const tlm_model_options_t *options = &job->model->options;
    const int64_t width = job->model->shape.q_width, d_head = job->model->shape.d_head;
    const int64_t head = task / job->blocks, offset = task % job->blocks * TLMI_QUERY_BLOCK;
    const int64_t left = job->tokens->per_cache - offset;
    const int64_t rows = left < TLMI_QUERY_BLOCK ? left : TLMI_QUERY_BLOCK;
    const tlmi_kv_cache_t *cache = job->tokens->caches[0];
    const bool split = is_split(cache, job->tokens->per_cache);
    const int64_t position = cache->length + offset, num_first = split ? cache->kept : 0;
    const int64_t begin = see(job, cache, split, position).begin;
    const int64_t end = position + rows > begin ? position + rows : begin;
    const int64_t n = num_first + end - begin;
    const int64_t plane = tlmi_kv_cache_plane(cache, job->model, job->layer,
                                              head / (options->num_heads / options->num_kv_heads));
    float *query = job->query + offset * width + head * d_head;
    float *scores = job->buffers->scores + worker * job->buffers->worker_scores;
    const rows_t keys =
        rows_of(job, cache, cache->keys, plane, begin - cache->shift, end - begin, worker);
    const rows_t values =
        rows_of(job, cache, cache->values, plane, begin - cache->shift, end - begin, worker);

    multiply_keys(scores + num_first, n, job->scale, (tlmi_matrix_t){query, width, 1}, rows, &keys);
    if (split) {
        const float *first_query = job->buffers->first_query + offset * width + head * d_head;
        const rows_t first = rows_of(job, cache, cache->keys, plane, 0, num_first, worker);

        multiply_keys(scores, n, job->scale, (tlmi_matrix_t){first_query, width, 1}, rows, &first);
    }
    causal_softmax(job, cache, scores, rows, n, position, num_first, begin);
    if (split) {
        const rows_t first = rows_of(job, cache, cache->values, plane, 0, num_first, worker);

        add_values(query, width, 0.0f, (tlmi_matrix_t){scores, n, 1}, rows, &first);
    }
    add_values(query, width, split ? 1.0f : 0.0f, (tlmi_matrix_t){scores + num_first, n, 1}, rows,
               &values);
}

/* One head of the only query of one sequence. */
static void single_task(void *context, int64_t task, int32_t worker)
{
    const job_t *job = context;
    const tlm_model_options_t *options = &job->model->options;
    const int64_t d_head = job->model->shape.d_head, heads = options->num_heads;
    const int64_t row = task / heads, head = task % heads;
    const tlmi_kv_cache_t *cache = job->tokens->caches[row];
    const bool split = is_split(cache, 1);
    const seen_t seen = see(job, cache, split, cache->length);
    const int64_t num_first = seen.first_end - seen.first_begin, num_own = seen.end - seen.begin;
    const int64_t plane =
        tlmi_kv_cache_plane(cache, job->model, job->layer, head / (heads / options->num_kv_heads));
    const int64_t at = row * job->model->shape.q_width + head * d_head;
    float *query = job->query + at;
    float *first_query = num_first > 0 ? job->buffers->first_query + at : NULL;
    float *scores = job->buffers->scores + worker * job->buffers->worker_scores;
    const rows_t keys =
        rows_of(job, cache, cache->keys, plane, seen.begin - cache->shift, num_own, worker);
    const rows_t values =
        rows_of(job, cache, cache->values, plane, seen.begin - cache->shift, num_own, worker);

    tlmi_vec_scale(query, query, job->scale, d_head);
    dot_keys(scores + num_first, query, &keys);
    if (num_first > 0) {
        const rows_t first =
            rows_of(job, cache, cache->keys, plane, seen.first_begin, num_first, worker);

        tlmi_vec_scale(first_query, first_query, job->scale, d_head);
        dot_keys(scores, first_query, &first);
    }
    const int64_t n = num_first + num_own;
    if (job->rules.softcap != 0.0f)
        tlmi_softcap_rows(scores, scores, job->rules.softcap, n);
    float sum = tlmi_vec_exp_sum(scores, scores, tlmi_vec_max(scores, n), n);
    sum_values(query, scores + num_first, &values);
    if (num_first > 0) {
        const rows_t first =
            rows_of(job, cache, cache->values, plane, seen.first_begin, num_first, worker);

        sum_values(first_query, scores, &first);
        tlmi_vec_add(query, query, first_query, d_head);
    }
    tlmi_vec_scale(query, query, 1.0f / sum, d_head);
}

void tlmi_cached_attention(const tlm_model_t *model, int64_t layer, const tlmi_new_tokens_t *tokens,
                           float *query, float *key, const float *value,
                           const tlmi_attention_buffers_t *buffers)
{
    job_t job = {.model = model,
                 .layer = layer,
                 .tokens = tokens,
                 .query = query,
                 .key = key,
                 .value = value,
                 .buffers = buffers,
                 .blocks = 1};
    tlmi_layer_rules(&job.rules, model, layer);
    job.scale =
        job.rules.scale != 0.0f ? job.rules.scale : 1.0f / sqrtf((float)model->shape.d_head);
    if (job.rules.rope.theta != 0.0) {
        const int32_t table =
            tlmi_has_second_rotation(model) && tlmi_has_window(&model->options, layer);

        job.rotation = buffers->rotations[table];
        job.late = buffers->late_rotations[table];
    }
    int64_t rows = tlmi_new_rows(tokens), heads = model->options.num_heads;

    tlmi_parallel_for((rows + STORE_ROWS - 1) / STORE_ROWS, store_task, &job);
    if (tokens->per_cache == 1) {
        tlmi_parallel_for_workers(rows * heads, buffers->workers, single_task, &job);
        return;
    }
    job.blocks = (tokens->per_cache + TLMI_QUERY_BLOCK - 1) / TLMI_QUERY_BLOCK;
    tlmi_parallel_for_workers(job.blocks * heads, buffers->workers, block_task, &job);
}
