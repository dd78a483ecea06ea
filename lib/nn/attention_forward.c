/* The forward pass of attention. For each block of keys it computes the scores of a tile of
 * queries, and rescales what the rows have summed so far when their maximum grows (online
 * softmax). */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/thread_pool.h"
#include "nn/nn_core.h"
#include "tensor/tensor_core.h"
#include "kernels/gemm.h"
#include "kernels/vector_math.h"

/* ---- Loading, storing and masking tiles ---------------------------------------------- */

void tlmi_attention_load(float *dst, const tlmi_attention_t *attention, tlmi_heads_t operand,
                         int64_t head, int64_t first, int64_t n, int64_t d, float scale,
                         bool rotate)
{
    const float *rows = tlmi_head_rows(operand, head);
    const tlmi_rotation_t *rotation = rotate ? attention->rotation : NULL;
    for (int64_t i = 0; i < n; i++, dst += d) {
        const float *row = rows + (first + i) * operand.row_stride;
        if (rotation != NULL)
            tlmi_rotate(dst, row, tlmi_rotation_row(rotation, head / operand.heads, first + i), d,
                        false);
        else if (d > 0)
            memcpy(dst, row, (size_t)d * sizeof(float));
    }
    if (scale != 1.0f)
        tlmi_vec_scale(dst - n * d, dst - n * d, scale, n * d);
}

void tlmi_attention_store(const tlmi_attention_t *attention, tlmi_heads_t operand, int64_t head,
                          int64_t first, int64_t n, int64_t d, float scale, bool rotate,
                          bool accumulate, float *src)
{
    float *rows = tlmi_head_rows(operand, head);
    const tlmi_rotation_t *rotation = rotate ? attention->rotation : NULL;
    for (int64_t i = 0; i < n; i++, src += d) {
        float *row = rows + (first + i) * operand.row_stride;
        if (rotation != NULL)
            tlmi_rotate(src, src, tlmi_rotation_row(rotation, head / operand.heads, first + i), d,
                        true);
        if (accumulate)
            tlmi_vec_axpy(row, scale, src, d);
        else
            tlmi_vec_scale(row, src, scale, d);
    }
}

/* The mask's element for query 0 and key 0 of a head. */
static const uint8_t *mask_origin(const tlmi_mask_t *mask, int64_t head)
{
    const uint8_t *origin = mask->data;
    for (int32_t dim = mask->leading - 1; dim >= 0; dim--) {
        origin += head % mask->shape[dim] * mask->strides[dim];
        head /= mask->shape[dim];
    }
    return origin;
}

void tlmi_attention_mask(float *scores, const tlmi_attention_t *attention, int64_t head,
                         int64_t first_query, int64_t rows, int64_t first_key, int64_t n,
                         float hidden)
{
    const tlmi_mask_t *mask = &attention->mask;
    if (mask->data == NULL)
        return;
    const uint8_t *origin = mask_origin(mask, head) + first_key * mask->key_stride;
    for (int64_t i = 0; i < rows; i++) {
        float *row = scores + i * TLMI_SCORE_STRIDE;
        const uint8_t *bytes = origin + (first_query + i) * mask->query_stride;
        for (int64_t j = 0; j < n; j++)
            if (!bytes[j * mask->key_stride])
                row[j] = hidden;
    }
}

void tlmi_attention_drop(float *weights, const tlmi_attention_t *attention, int64_t head,
                         int64_t query, int64_t first_key, int64_t n)
{
    const tlmi_drop_rule_t *dropout = &attention->dropout;
    const int64_t sequence = head / attention->heads;
    const uint64_t token = dropout->first_token + (uint64_t)(sequence * attention->queries + query);
    const uint64_t row = token * (uint64_t)attention->heads + (uint64_t)(head % attention->heads);
    float mask[TLMI_KEY_BLOCK];

    tlmi_dropout_mask(mask, dropout, row, attention->keys, first_key, n);
    tlmi_vec_mul(weights, weights, mask, n);
}

/* ---- Forward ------------------------------------------------------------------------- */

typedef struct forward_job {
    const tlmi_attention_t *attention;
    tlmi_heads_t out, query, key, value;
    float *lse;
    int64_t rows_per_task; /* queries of a head per task */
    int64_t tasks_per_head;
    float *scratch; /* scratch_size floats per worker */
    int64_t scratch_size;
} forward_job_t;

/* A task takes whole heads if there are many short ones: their keys are then packed once. */
static int64_t rows_per_task(const tlmi_attention_t *attention)
{
    bool whole = attention->outer * attention->heads >= 16 && attention->queries <= 1024;
    return whole ? attention->queries : 4 * TLMI_QUERY_TILE;
}

/* The parts of a worker's scratch memory. */
typedef struct forward_scratch {
    float *queries; /* (rows_per_task, d_key), times the scale of scores */
    float *sums;    /* (rows_per_task, d_value): the unnormalized result */
    float *max;     /* (rows_per_task): largest score so far */
    float *total;   /* (rows_per_task): sum of exp(score - max) so far */
    float *scores;  /* (TLMI_QUERY_TILE, TLMI_SCORE_STRIDE) */
    float *rows;    /* (TLMI_KEY_BLOCK, max(d_key, d_value)) */
    float *keys;    /* panels of K^T, (d_key, TLMI_KEY_BLOCK) */
    float *values;  /* panels of V, (TLMI_KEY_BLOCK, d_value) */
} forward_scratch_t;

/* Splits the memory at `base` into the parts and returns the floats used. If base is NULL it only
 * counts them. */
static int64_t cut_scratch(forward_scratch_t *scratch, float *base, const forward_job_t *job)
{
    int64_t rows = job->rows_per_task, d_key = job->attention->d_key;
    int64_t d_value = job->attention->d_value, d = d_key > d_value ? d_key : d_value;
    int64_t used = 0;
    scratch->queries = tlmi_take(base, &used, rows * d_key);
    scratch->sums = tlmi_take(base, &used, rows * d_value);
    scratch->max = tlmi_take(base, &used, rows);
    scratch->total = tlmi_take(base, &used, rows);
    scratch->scores = tlmi_take(base, &used, TLMI_QUERY_TILE * TLMI_SCORE_STRIDE);
    scratch->rows = tlmi_take(base, &used, TLMI_KEY_BLOCK * d);
    scratch->keys = tlmi_take(base, &used, tlmi_panel_size(d_key, TLMI_KEY_BLOCK));
    scratch->values = tlmi_take(base, &used, tlmi_panel_size(TLMI_KEY_BLOCK, d_value));
    return used;
}

/* Adds a row of n scores to the row's running softmax, and turns the scores into weights. */
static void fold_row(forward_scratch_t *scratch, int64_t row, float *scores, int64_t n,
                     int64_t d_value)
{
    float max = tlmi_vec_max(scores, n), former = scratch->max[row];
    if (max < former)
        max = former;
    if (max == -INFINITY) { /* no key seen yet */
        memset(scores, 0, (size_t)n * sizeof(float));
        return;
    }
    float correction = expf(former - max);
    scratch->total[row] =
        scratch->total[row] * correction + tlmi_vec_exp_sum(scores, scores, max, n);
    if (correction != 1.0f)
        tlmi_vec_scale(scratch->sums + row * d_value, scratch->sums + row * d_value, correction,
                       d_value);
    scratch->max[row] = max;
}

/* Adds the packed block of keys to queries first .. first+n-1 of the task, whose first query is
 * `base`. */
static void fold_tile(const forward_job_t *job, forward_scratch_t *scratch, int64_t head,
                      int64_t base, int64_t first, int64_t n, int64_t first_key, int64_t keys)
{
    const tlmi_attention_t *attention = job->attention;
    int64_t d_key = attention->d_key, d_value = attention->d_value;
    int64_t seen = tlmi_visible_keys(attention, base + first, n) - first_key;
    int64_t packed = keys;
    keys = tlmi_min64(keys, seen);
    if (keys <= 0 || tlmi_window_hidden(attention, base + first, first_key, keys) == keys)
        return;
    tlmi_panel_gemm(n, keys, d_key, scratch->queries + first * d_key, d_key, 1, scratch->keys,
                    d_key, scratch->scores, TLMI_SCORE_STRIDE, false);
    for (int64_t i = 0; i < n && attention->softcap != 0.0f; i++) {
        float *row = scratch->scores + i * TLMI_SCORE_STRIDE;
        tlmi_softcap_rows(row, row, attention->softcap, keys);
    }
    tlmi_attention_mask(scratch->scores, attention, head, base + first, n, first_key, keys,
                        -INFINITY);
    for (int64_t i = 0; i < n; i++) {
        float *row = scratch->scores + i * TLMI_SCORE_STRIDE;
        int64_t hidden = tlmi_window_hidden(attention, base + first + i, first_key, keys);
        for (int64_t key = 0; key < hidden; key++)
            row[key] = -INFINITY;
        int64_t seen_keys = tlmi_causal_keys(attention, base + first + i, first_key, keys);
        fold_row(scratch, first + i, row, seen_keys, d_value);
        if (attention->dropout.rate > 0.0)
            tlmi_attention_drop(row, attention, head, base + first + i, first_key, seen_keys);
        memset(row + seen_keys, 0, (size_t)(keys - seen_keys) * sizeof(float));
    }
    tlmi_panel_gemm(n, d_value, keys, scratch->scores, TLMI_SCORE_STRIDE, 1, scratch->values,
                    packed, scratch->sums + first * d_value, d_value, true);
}

static void pack_block(const forward_job_t *job, forward_scratch_t *scratch, int64_t key_head,
                       int64_t first_key, int64_t keys)
{
    const tlmi_attention_t *attention = job->attention;
    int64_t d_key = attention->d_key, d_value = attention->d_value;
    tlmi_attention_load(scratch->rows, attention, job->key, key_head, first_key, keys, d_key, 1.0f,
                        true);
    tlmi_panel_pack(scratch->keys, scratch->rows, 1, d_key, d_key, keys);
    const float *values = tlmi_head_rows(job->value, key_head);
    tlmi_panel_pack(scratch->values, values + first_key * job->value.row_stride,
                    job->value.row_stride, 1, keys, d_value);
}

/* Divides by the sums of weights and writes the rows; a row that saw no key is zero. */
static void finish_rows(const forward_job_t *job, forward_scratch_t *scratch, int64_t head,
                        int64_t base, int64_t n)
{
    int64_t d = job->attention->d_value;
    float *out = tlmi_head_rows(job->out, head);
    for (int64_t i = 0; i < n; i++) {
        float max = scratch->max[i], total = scratch->total[i];
        bool empty = max == -INFINITY;
        tlmi_vec_scale(out + (base + i) * job->out.row_stride, scratch->sums + i * d,
                       empty ? 0.0f : 1.0f / total, d);
        if (job->lse != NULL)
            job->lse[head * job->attention->queries + base + i] =
                empty ? -INFINITY : max + logf(total);
    }
}

static void forward_task(void *context, int64_t task, int32_t worker)
{
    const forward_job_t *job = context;
    const tlmi_attention_t *attention = job->attention;
    forward_scratch_t scratch;
    cut_scratch(&scratch, job->scratch + worker * job->scratch_size, job);
    int64_t head = task / job->tasks_per_head;
    int64_t base = task % job->tasks_per_head * job->rows_per_task;
    int64_t rows = tlmi_min64(job->rows_per_task, attention->queries - base);

    tlmi_attention_load(scratch.queries, attention, job->query, head, base, rows, attention->d_key,
                        tlmi_score_scale(attention), true);
    memset(scratch.sums, 0, (size_t)(rows * attention->d_value) * sizeof(float));
    for (int64_t i = 0; i < rows; i++) {
        scratch.max[i] = -INFINITY;
        scratch.total[i] = 0.0f;
    }
    int64_t visible = tlmi_visible_keys(attention, base, rows);
    int64_t start = tlmi_first_in_window(attention, base) / TLMI_KEY_BLOCK * TLMI_KEY_BLOCK;
    for (int64_t first_key = start; first_key < visible; first_key += TLMI_KEY_BLOCK) {
        int64_t keys = tlmi_min64(TLMI_KEY_BLOCK, visible - first_key);
        pack_block(job, &scratch, head / attention->group, first_key, keys);
        for (int64_t first = 0; first < rows; first += TLMI_QUERY_TILE)
            fold_tile(job, &scratch, head, base, first, tlmi_min64(TLMI_QUERY_TILE, rows - first),
                      first_key, keys);
    }
    finish_rows(job, &scratch, head, base, rows);
}

tlm_status_t tlmi_attention_forward(const tlmi_attention_t *attention, tlmi_heads_t out, float *lse,
                                    tlmi_heads_t query, tlmi_heads_t key, tlmi_heads_t value)
{
    forward_job_t job = {attention, out, query, key, value, lse, 0, 0, NULL, 0};
    int64_t heads = attention->outer * attention->heads;
    if (heads == 0 || attention->queries == 0)
        return TLM_OK;
    job.rows_per_task = rows_per_task(attention);
    job.tasks_per_head = (attention->queries + job.rows_per_task - 1) / job.rows_per_task;
    forward_scratch_t scratch;
    job.scratch_size = cut_scratch(&scratch, NULL, &job);
    int32_t workers = tlmi_max_workers();
    size_t capacity;
    job.scratch =
        tlmi_buffer_acquire(&capacity, (size_t)workers * (size_t)job.scratch_size * sizeof(float));
    if (job.scratch == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_parallel_for_workers(heads * job.tasks_per_head, workers, forward_task, &job);
    tlmi_buffer_release(job.scratch, capacity);
    return TLM_OK;
}
