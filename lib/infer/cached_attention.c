/* Attention over caches. The queries of a prompt go through in blocks, as matrix products. The single
 * query of a step is multiplied with each key, and a weighted sum of the values follows. */
#include "infer/infer_core.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "kernels/gemm.h"
#include "kernels/vector_math.h"
#include "nn/nn_core.h"

enum {
    QUERY_BLOCK = 32, /* queries of one task */
    STORE_ROWS = 16   /* new keys and values of one task */
};

typedef struct job {
    const tlm_model_t *model;
    int64_t layer;
    const tlmi_new_tokens_t *tokens;
    float *query;
    const float *key, *value;
    const tlmi_attention_buffers_t *buffers;
    int64_t blocks; /* of a sequence's queries */
    tlmi_score_rules_t rules;
    float scale;           /* of scores */
    const float *rotation; /* the block's table; NULL: none */
} job_t;

/* ---- Buffers ----------------------------------------------------------------------------- */

/* Whether blocks with a window have a table of rotations of their own. */
static bool has_second_table(const tlm_model_t *model)
{
    return model->options.window_rope_theta != 0.0;
}

/* Fills the rows of a table from num_positions on, up to `positions`. */
static tlm_status_t fill_rotation(float *table, const tlmi_attention_buffers_t *buffers,
                                  const tlm_model_t *model, int64_t positions, bool windowed)
{
    const int64_t d_head = model->shape.d_head;
    double *angles =
        tlmi_alloc((size_t)(d_head / 2), sizeof(*angles), "the frequencies of generation");
    tlmi_rope_t rope;

    if (angles == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_rope_of(&rope, &model->options, windowed);
    tlmi_rope_angles(angles, &rope, d_head);
    for (int64_t position = buffers->num_positions; position < positions; position++)
        tlmi_rope_row(table + position * d_head, position, d_head, angles, &rope);
    tlmi_free(angles);
    return TLM_OK;
}

static tlm_status_t reserve_rotation(tlmi_attention_buffers_t *buffers, const tlm_model_t *model,
                                     int64_t length)
{
    const int64_t positions = tlmi_grown_tokens(length, model->options.context_length);
    const int32_t tables = has_second_table(model) ? 2 : 1;

    if (model->options.position != TLM_POSITION_ROPE || length <= buffers->num_positions)
        return TLM_OK;
    size_t n;
    if (!tlmi_mul_size(&n, (size_t)positions, (size_t)model->shape.d_head))
        n = SIZE_MAX; /* refused by the allocator, with its message */
    for (int32_t i = 0; i < tables; i++) {
        float *larger =
            tlmi_realloc(buffers->rotations[i], n, sizeof(float), "the rotations of generation");
        if (larger == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
        buffers->rotations[i] = larger;
        TLMI_TRY(fill_rotation(larger, buffers, model, positions, i == 1));
    }
    buffers->num_positions = positions;
    return TLM_OK;
}

/* Floats of one worker's scores: whole cache lines, so that no two workers write to the same one. */
static bool count_scores(size_t *out, int64_t length, int64_t rows)
{
    enum { LINE = 16 };

    return tlmi_mul_size(out, (size_t)(length + LINE) / LINE * LINE, (size_t)rows);
}

/* If there is no memory for all workers, fewer do the work. */
static tlm_status_t reserve_scores(tlmi_attention_buffers_t *buffers, const tlm_model_t *model,
                                   int64_t length, int64_t queries)
{
    const int64_t rows = queries < QUERY_BLOCK ? queries : QUERY_BLOCK;
    const int64_t grown = tlmi_grown_tokens(length, model->options.context_length);
    int32_t workers = tlmi_max_workers();
    size_t larger;

    if (!count_scores(&larger, grown, rows) || !tlmi_mul_size(&larger, larger, (size_t)workers))
        larger = SIZE_MAX; /* refused by the allocator, with its message */
    size_t own;
    if (!count_scores(&own, length, rows))
        own = SIZE_MAX;
    if (own > buffers->score_capacity / (size_t)workers) {
        float *scores = tlmi_alloc_aligned(larger, sizeof(float), "the scores of generation");
        if (scores != NULL) {
            tlmi_free(buffers->scores);
            buffers->scores = scores;
            buffers->score_capacity = larger;
        } else if (own > buffers->score_capacity) {
            return TLM_ERR_OUT_OF_MEMORY;
        } else {
            workers = (int32_t)(buffers->score_capacity / own);
        }
    }
    buffers->worker_scores = (int64_t)own;
    buffers->workers = workers;
    return TLM_OK;
}

tlm_status_t tlmi_attention_buffers_reserve(tlmi_attention_buffers_t *buffers,
                                            const tlm_model_t *model, int64_t length,
                                            int64_t queries)
{
    TLMI_TRY(reserve_rotation(buffers, model, length));
    return reserve_scores(buffers, model, length, queries);
}

void tlmi_attention_buffers_release(tlmi_attention_buffers_t *buffers)
{
    tlmi_free(buffers->rotations[0]);
    tlmi_free(buffers->rotations[1]);
    tlmi_free(buffers->scores);
}

/* ---- Keys and values --------------------------------------------------------------------- */

static void rotate_head(const job_t *job, float *y, const float *x, int64_t position)
{
    const int64_t d_head = job->model->shape.d_head;

    if (job->rotation != NULL)
        tlmi_rotate(y, x, job->rotation + position * d_head, d_head, false);
    else if (y != x)
        memcpy(y, x, (size_t)d_head * sizeof(float));
}

/* Rotates one new query in place and puts its key, rotated, and value into the cache, where each
 * head has its own rows. */
static void store_row(const job_t *job, int64_t row)
{
    const tlm_model_options_t *options = &job->model->options;
    const int64_t d_head = job->model->shape.d_head, kv_width = job->model->shape.kv_width;
    const tlmi_kv_cache_t *cache = job->tokens->caches[row / job->tokens->per_cache];
    const int64_t position = cache->length + row % job->tokens->per_cache;

    for (int64_t head = 0; head < options->num_heads; head++) {
        float *query = job->query + row * job->model->shape.q_width + head * d_head;

        rotate_head(job, query, query, position);
    }
    for (int64_t head = 0; head < options->num_kv_heads; head++) {
        int64_t from = row * kv_width + head * d_head;
        int64_t to = tlmi_kv_cache_plane(cache, job->model, job->layer, head) + position * d_head;

        rotate_head(job, cache->keys + to, job->key + from, position);
        memcpy(cache->values + to, job->value + from, (size_t)d_head * sizeof(float));
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

/* ---- Queries ----------------------------------------------------------------------------- */

/* The first key that the window lets the query at a position see. */
static int64_t first_seen(const job_t *job, int64_t position)
{
    const int64_t start = position + 1 - job->rules.window;

    return job->rules.window == 0 || start < 0 ? 0 : start;
}

/* Softmax over the keys that each query sees: its own and those before it, in the window. Scores
 * begin with that of key first_key; the first query is at first_position. */
static void causal_softmax(const job_t *job, float *scores, int64_t rows, int64_t stride,
                           int64_t first_key, int64_t first_position)
{
    for (int64_t row = 0; row < rows; row++, scores += stride) {
        const int64_t hidden = first_seen(job, first_position + row) - first_key;
        const int64_t visible = first_position + row + 1 - first_key, seen = visible - hidden;
        float *own = scores + hidden;

        if (job->rules.softcap != 0.0f)
            tlmi_softcap_rows(own, own, job->rules.softcap, seen);
        float sum = tlmi_vec_exp_sum(own, own, tlmi_vec_max(own, seen), seen);
        tlmi_vec_scale(own, own, 1.0f / sum, seen);
        memset(scores, 0, (size_t)hidden * sizeof(float));
        if (visible < stride)
            memset(scores + visible, 0, (size_t)(stride - visible) * sizeof(float));
    }
}

/* One head and one block of a sequence's queries, which the result replaces. */
static void block_task(void *context, int64_t task, int32_t worker)
{
    const job_t *job = context;
    const tlm_model_options_t *options = &job->model->options;
    const int64_t width = job->model->shape.q_width, d_head = job->model->shape.d_head;
    const int64_t head = task / job->blocks, begin = task % job->blocks * QUERY_BLOCK;
    const int64_t left = job->tokens->per_cache - begin;
    const int64_t rows = left < QUERY_BLOCK ? left : QUERY_BLOCK;
    const tlmi_kv_cache_t *cache = job->tokens->caches[0];
    const int64_t position = cache->length + begin, first = first_seen(job, position);
    const int64_t seen = position + rows - first;
    const int64_t group = options->num_heads / options->num_kv_heads;
    const int64_t plane =
        tlmi_kv_cache_plane(cache, job->model, job->layer, head / group) + first * d_head;
    float *query = job->query + begin * width + head * d_head;
    float *scores = job->buffers->scores + worker * job->buffers->worker_scores;
    tlmi_matrix_t q = {query, width, 1};
    tlmi_matrix_t keys_transposed = {cache->keys + plane, 1, d_head};
    tlmi_matrix_t weights = {scores, seen, 1};
    tlmi_matrix_t values = {cache->values + plane, d_head, 1};

    tlmi_gemm_serial(rows, seen, d_head, job->scale, q, keys_transposed, 0.0f, scores, seen);
    causal_softmax(job, scores, rows, seen, first, position);
    tlmi_gemm_serial(rows, d_head, seen, 1.0f, weights, values, 0.0f, query, width);
}

/* One head of the only query of one sequence. */
static void single_task(void *context, int64_t task, int32_t worker)
{
    const job_t *job = context;
    const tlm_model_options_t *options = &job->model->options;
    const int64_t d_head = job->model->shape.d_head, heads = options->num_heads;
    const int64_t row = task / heads, head = task % heads;
    const tlmi_kv_cache_t *cache = job->tokens->caches[row];
    const int64_t first = first_seen(job, cache->length), group = heads / options->num_kv_heads;
    const int64_t seen = cache->length + 1 - first;
    const int64_t plane =
        tlmi_kv_cache_plane(cache, job->model, job->layer, head / group) + first * d_head;
    float *query = job->query + row * job->model->shape.q_width + head * d_head;
    float *scores = job->buffers->scores + worker * job->buffers->worker_scores;

    tlmi_vec_scale(query, query, job->scale, d_head);
    tlmi_vec_dot_rows(scores, query, cache->keys + plane, d_head, seen, d_head);
    if (job->rules.softcap != 0.0f)
        tlmi_softcap_rows(scores, scores, job->rules.softcap, seen);
    float sum = tlmi_vec_exp_sum(scores, scores, tlmi_vec_max(scores, seen), seen);
    tlmi_vec_weighted_rows(query, scores, cache->values + plane, d_head, seen, d_head);
    tlmi_vec_scale(query, query, 1.0f / sum, d_head);
}

void tlmi_cached_attention(const tlm_model_t *model, int64_t layer, const tlmi_new_tokens_t *tokens,
                           float *query, const float *key, const float *value,
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
    if (job.rules.rope.theta != 0.0)
        job.rotation =
            buffers->rotations[has_second_table(model) && tlmi_has_window(&model->options, layer)];
    int64_t rows = tlmi_new_rows(tokens), heads = model->options.num_heads;

    tlmi_parallel_for((rows + STORE_ROWS - 1) / STORE_ROWS, store_task, &job);
    if (tokens->per_cache == 1) {
        tlmi_parallel_for_workers(rows * heads, buffers->workers, single_task, &job);
        return;
    }
    job.blocks = (tokens->per_cache + QUERY_BLOCK - 1) / QUERY_BLOCK;
    tlmi_parallel_for_workers(job.blocks * heads, buffers->workers, block_task, &job);
}
