/* The backward pass of attention. One task handles one key head with all its query heads, so that
 * the sums over queries (for keys and values) and over keys (for queries) have a fixed order. With
 * P = softmax(S), S = Q K^T / sqrt(d), O = P V:
 *
 *   dV = P^T dO,  dP = dO V^T,  dS = P (dP - rowsum(dO O)),  dQ = dS K / sqrt(d),
 *   dK = dS^T Q / sqrt(d)
 *
 * P is computed again, tile by tile, from the saved log-sum-exp. With dropout, O = (M P) V for a mask M:
 * then dV = (M P)^T dO and dP = M (dO V^T), and all else stays. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/thread_pool.h"
#include "nn/nn_core.h"
#include "tensor/tensor_core.h"
#include "kernels/gemm.h"
#include "kernels/vector_math.h"

typedef struct backward_job {
    const tlmi_attention_t *attention;
    const tlmi_attention_gradients_t *gradients;
    tlmi_heads_t grad_out, out, query, key, value;
    const float *lse;
    float *scratch; /* scratch_size floats per worker */
    int64_t scratch_size;
} backward_job_t;

/* The parts of a worker's scratch memory, for n queries, tiles of t queries and blocks of b
 * keys. */
typedef struct backward_scratch {
    float *queries;      /* (n, d_key), times the scale of scores */
    float *dqueries;     /* (n, d_key) */
    float *grad_out;     /* (n, d_value) */
    float *deltas;       /* (n): rowsum(dO O) */
    float *keys;         /* (b, d_key) */
    float *dkeys;        /* (b, d_key) */
    float *dvalues;      /* (b, d_value) */
    float *weights;      /* (t, b) in rows of TLMI_SCORE_STRIDE: P */
    float *dscores;      /* like weights: dP, then dS */
    float *slopes;       /* like weights: of the softcap; only with one */
    float *keys_panels;  /* K (b, d_key) */
    float *keys_t;       /* K^T (d_key, b) */
    float *values_t;     /* V^T (d_value, b) */
    float *query_panels; /* Q (t, d_key) */
    float *grad_panels;  /* dO (t, d_value) */
} backward_scratch_t;

/* Splits the memory at `base` into the parts and returns the floats used. If base is NULL it only
 * counts them. */
static int64_t cut_scratch(backward_scratch_t *scratch, float *base,
                           const tlmi_attention_t *attention)
{
    enum { T = TLMI_QUERY_TILE, B = TLMI_KEY_BLOCK, STRIDE = TLMI_SCORE_STRIDE };
    int64_t n = attention->queries, d_key = attention->d_key, d_value = attention->d_value;
    int64_t used = 0;
    scratch->queries = tlmi_take(base, &used, n * d_key);
    scratch->dqueries = tlmi_take(base, &used, n * d_key);
    scratch->grad_out = tlmi_take(base, &used, n * d_value);
    scratch->deltas = tlmi_take(base, &used, n);
    scratch->keys = tlmi_take(base, &used, B * d_key);
    scratch->dkeys = tlmi_take(base, &used, B * d_key);
    scratch->dvalues = tlmi_take(base, &used, B * d_value);
    scratch->weights = tlmi_take(base, &used, T * STRIDE);
    scratch->dscores = tlmi_take(base, &used, T * STRIDE);
    scratch->slopes = attention->softcap != 0.0f ? tlmi_take(base, &used, T * STRIDE) : NULL;
    scratch->keys_panels = tlmi_take(base, &used, tlmi_panel_size(B, d_key));
    scratch->keys_t = tlmi_take(base, &used, tlmi_panel_size(d_key, B));
    scratch->values_t = tlmi_take(base, &used, tlmi_panel_size(d_value, B));
    scratch->query_panels = tlmi_take(base, &used, tlmi_panel_size(T, d_key));
    scratch->grad_panels = tlmi_take(base, &used, tlmi_panel_size(T, d_value));
    return used;
}

static void load_head(const backward_job_t *job, backward_scratch_t *scratch, int64_t head)
{
    const tlmi_attention_t *attention = job->attention;
    int64_t n = attention->queries, d_key = attention->d_key, d_value = attention->d_value;
    tlmi_attention_load(scratch->queries, attention, job->query, head, 0, n, d_key,
                        tlmi_score_scale(attention), true);
    tlmi_attention_load(scratch->grad_out, attention, job->grad_out, head, 0, n, d_value, 1.0f,
                        false);
    memset(scratch->dqueries, 0, (size_t)(n * d_key) * sizeof(float));
    const float *out = tlmi_head_rows(job->out, head);
    for (int64_t i = 0; i < n; i++)
        scratch->deltas[i] =
            tlmi_vec_dot(out + i * job->out.row_stride, scratch->grad_out + i * d_value, d_value);
}

static void load_block(const backward_job_t *job, backward_scratch_t *scratch, int64_t key_head,
                       int64_t first_key, int64_t keys)
{
    const tlmi_attention_t *attention = job->attention;
    int64_t d_key = attention->d_key, d_value = attention->d_value;
    tlmi_attention_load(scratch->keys, attention, job->key, key_head, first_key, keys, d_key, 1.0f,
                        true);
    tlmi_panel_pack(scratch->keys_panels, scratch->keys, d_key, 1, keys, d_key);
    tlmi_panel_pack(scratch->keys_t, scratch->keys, 1, d_key, d_key, keys);
    const float *values = tlmi_head_rows(job->value, key_head);
    tlmi_panel_pack(scratch->values_t, values + first_key * job->value.row_stride, 1,
                    job->value.row_stride, d_value, keys);
    memset(scratch->dkeys, 0, (size_t)(keys * d_key) * sizeof(float));
    memset(scratch->dvalues, 0, (size_t)(keys * d_value) * sizeof(float));
}

/* Computes weights = P (with dropout: M P) and dscores = dS for queries first .. first+n-1 and `keys` keys of the
 * block. */
static void score_tile(const backward_job_t *job, backward_scratch_t *scratch, int64_t head,
                       int64_t first, int64_t n, int64_t first_key, int64_t keys)
{
    enum { STRIDE = TLMI_SCORE_STRIDE };
    const tlmi_attention_t *attention = job->attention;
    int64_t d_key = attention->d_key, d_value = attention->d_value;
    const float *lse = job->lse + head * attention->queries + first;
    tlmi_panel_gemm(n, keys, d_key, scratch->queries + first * d_key, d_key, 1, scratch->keys_t,
                    d_key, scratch->weights, STRIDE, false);
    tlmi_panel_gemm(n, keys, d_value, scratch->grad_out + first * d_value, d_value, 1,
                    scratch->values_t, d_value, scratch->dscores, STRIDE, false);
    for (int64_t i = 0; i < n; i++) {
        float *p = scratch->weights + i * STRIDE;
        int64_t seen =
            lse[i] == -INFINITY ? 0 : tlmi_causal_keys(attention, first + i, first_key, keys);
        int64_t hidden = tlmi_window_hidden(attention, first + i, first_key, seen);
        if (scratch->slopes != NULL)
            tlmi_softcap_slopes(p, scratch->slopes + i * STRIDE, attention->softcap, keys);
        tlmi_vec_exp_sum(p, p, lse[i], seen);
        memset(p, 0, (size_t)hidden * sizeof(float));
        memset(p + seen, 0, (size_t)(keys - seen) * sizeof(float));
    }
    tlmi_attention_mask(scratch->weights, attention, head, first, n, first_key, keys, 0.0f);
    const bool drops = attention->dropout.rate > 0.0;
    for (int64_t i = 0; i < n; i++) {
        float *p = scratch->weights + i * STRIDE;
        float *ds = scratch->dscores + i * STRIDE, delta = scratch->deltas[first + i];
        if (drops)
            tlmi_attention_drop(ds, attention, head, first + i, first_key, keys);
        for (int64_t j = 0; j < keys; j++)
            ds[j] = p[j] == 0.0f ? 0.0f : p[j] * (ds[j] - delta);
        if (scratch->slopes != NULL)
            tlmi_vec_mul(ds, ds, scratch->slopes + i * STRIDE, keys);
        if (drops)
            tlmi_attention_drop(p, attention, head, first + i, first_key, keys);
    }
}

static void add_tile(const backward_job_t *job, backward_scratch_t *scratch, int64_t head,
                     int64_t first, int64_t n, int64_t first_key, int64_t keys)
{
    enum { STRIDE = TLMI_SCORE_STRIDE };
    const tlmi_attention_t *attention = job->attention;
    int64_t d_key = attention->d_key, d_value = attention->d_value;
    int64_t packed = keys;
    keys = tlmi_min64(keys, tlmi_visible_keys(attention, first, n) - first_key);
    if (keys <= 0 || tlmi_window_hidden(attention, first, first_key, keys) == keys)
        return;
    score_tile(job, scratch, head, first, n, first_key, keys);
    tlmi_panel_gemm(n, d_key, keys, scratch->dscores, STRIDE, 1, scratch->keys_panels, packed,
                    scratch->dqueries + first * d_key, d_key, true);
    tlmi_panel_pack(scratch->query_panels, scratch->queries + first * d_key, d_key, 1, n, d_key);
    tlmi_panel_gemm(keys, d_key, n, scratch->dscores, 1, STRIDE, scratch->query_panels, n,
                    scratch->dkeys, d_key, true);
    tlmi_panel_pack(scratch->grad_panels, scratch->grad_out + first * d_value, d_value, 1, n,
                    d_value);
    tlmi_panel_gemm(keys, d_value, n, scratch->weights, 1, STRIDE, scratch->grad_panels, n,
                    scratch->dvalues, d_value, true);
}

/* Handles one query head. Gradients of its keys and values are added to those of the earlier heads
 * of its group. */
static void backward_head(const backward_job_t *job, backward_scratch_t *scratch, int64_t head)
{
    const tlmi_attention_t *attention = job->attention;
    const tlmi_attention_gradients_t *gradients = job->gradients;
    int64_t n = attention->queries, d_key = attention->d_key, d_value = attention->d_value;
    int64_t key_head = head / attention->group;
    bool follows = head % attention->group != 0;
    load_head(job, scratch, head);
    for (int64_t first_key = 0; first_key < attention->keys; first_key += TLMI_KEY_BLOCK) {
        int64_t keys = tlmi_min64(TLMI_KEY_BLOCK, attention->keys - first_key);
        load_block(job, scratch, key_head, first_key, keys);
        for (int64_t first = 0; first < n; first += TLMI_QUERY_TILE)
            add_tile(job, scratch, head, first, tlmi_min64(TLMI_QUERY_TILE, n - first), first_key,
                     keys);
        /* The queries were scaled when they were loaded, so dK needs no factor. */
        if (gradients->key.data != NULL)
            tlmi_attention_store(attention, gradients->key, key_head, first_key, keys, d_key, 1.0f,
                                 true, follows || gradients->accumulate_key, scratch->dkeys);
        if (gradients->value.data != NULL)
            tlmi_attention_store(attention, gradients->value, key_head, first_key, keys, d_value,
                                 1.0f, false, follows || gradients->accumulate_value,
                                 scratch->dvalues);
    }
    if (gradients->query.data != NULL)
        tlmi_attention_store(attention, gradients->query, head, 0, n, d_key,
                             tlmi_score_scale(attention), true, gradients->accumulate_query,
                             scratch->dqueries);
}

static void backward_task(void *context, int64_t key_head, int32_t worker)
{
    const backward_job_t *job = context;
    int64_t group = job->attention->group;
    backward_scratch_t scratch;
    cut_scratch(&scratch, job->scratch + worker * job->scratch_size, job->attention);
    for (int64_t head = key_head * group; head < (key_head + 1) * group; head++)
        backward_head(job, &scratch, head);
}

tlm_status_t tlmi_attention_backward(const tlmi_attention_t *attention,
                                     const tlmi_attention_gradients_t *gradients,
                                     tlmi_heads_t grad_out, tlmi_heads_t out, const float *lse,
                                     tlmi_heads_t query, tlmi_heads_t key, tlmi_heads_t value)
{
    backward_job_t job = {attention, gradients, grad_out, out, query, key, value, lse, NULL, 0};
    backward_scratch_t scratch;
    job.scratch_size = cut_scratch(&scratch, NULL, attention);
    int32_t workers = tlmi_max_workers();
    size_t capacity;
    job.scratch =
        tlmi_buffer_acquire(&capacity, (size_t)workers * (size_t)job.scratch_size * sizeof(float));
    if (job.scratch == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_parallel_for_workers(attention->outer * attention->heads / attention->group, workers,
                              backward_task, &job);
    tlmi_buffer_release(job.scratch, capacity);
    return TLM_OK;
}
