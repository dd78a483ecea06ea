/* Attention from within: its arguments, the recorded op, the tiles that both directions share. */
#ifndef TLMI_ATTENTION_H
#define TLMI_ATTENTION_H

#include "nn/nn_core.h"
#include "tensor/autograd.h"

/* Attention over heads laid out anywhere in memory. */

/* Where the rows of one operand lie: row i of head h of sequence s at
 * data + s * outer_stride + h * head_stride + i * row_stride. */
typedef struct tlmi_heads {
    float *data;
    int64_t heads; /* of each sequence */
    int64_t outer_stride;
    int64_t head_stride;
    int64_t row_stride;
} tlmi_heads_t;

/* A boolean mask that broadcasts over the leading dimensions; data NULL: none. */
typedef struct tlmi_mask {
    const uint8_t *data;
    int32_t leading;               /* number of leading dimensions */
    int64_t shape[TLM_MAX_DIMS];   /* their sizes */
    int64_t strides[TLM_MAX_DIMS]; /* and strides, 0 where it broadcasts */
    int64_t query_stride, key_stride;
} tlmi_mask_t;

typedef struct tlmi_attention {
    int64_t outer, heads;  /* sequences, query heads of each */
    int64_t group;         /* query heads, numbered over all sequences, that share a key head */
    int64_t queries, keys; /* rows of a head */
    int64_t d_key, d_value;
    bool causal;
    tlmi_mask_t mask;
    const tlmi_rotation_t *rotation; /* of queries and keys; NULL: none */
} tlmi_attention_t;

/* Key heads of each sequence: grouped-query attention (Ainslie et al. 2023) has fewer of them. Where
 * a sequence has one query head, its group is of several sequences. */
static inline int64_t tlmi_key_heads(const tlmi_attention_t *attention)
{
    return attention->heads == 1 ? 1 : attention->heads / attention->group;
}

/* out = softmax(Q K^T / sqrt(d_key)) V, without any (queries, keys) matrix: tiles with an online
 * softmax (Milakov & Gimelshein 2018; Dao et al. 2022). lse, the log-sum-exp of each row (outer,
 * heads, queries), may be NULL. */
tlm_status_t tlmi_attention_forward(const tlmi_attention_t *attention, tlmi_heads_t out, float *lse,
                                    tlmi_heads_t query, tlmi_heads_t key, tlmi_heads_t value);

/* Gradients of the three, written or (accumulate) added; data NULL: not wanted. */
typedef struct tlmi_attention_gradients {
    tlmi_heads_t query, key, value;
    bool accumulate_query, accumulate_key, accumulate_value;
} tlmi_attention_gradients_t;

tlm_status_t tlmi_attention_backward(const tlmi_attention_t *attention,
                                     const tlmi_attention_gradients_t *gradients,
                                     tlmi_heads_t grad_out, tlmi_heads_t out, const float *lse,
                                     tlmi_heads_t query, tlmi_heads_t key, tlmi_heads_t value);

/* Bytes that each takes of the buffer cache for one worker while it runs. */
size_t tlmi_attention_forward_scratch(const tlmi_attention_t *attention);
size_t tlmi_attention_backward_scratch(const tlmi_attention_t *attention);

/* The recorded op over attention, shared by tlm_attention and multi-head attention. */

/* Runs attention over contiguous query, key and value into a new tensor of `shape` and records it.
 * attention->heads = 1: operands are (outer, rows, d), with key and value (outer / group, rows, d);
 * else (outer, rows, heads * d), with key and value (outer, rows, heads / group * d). mask (may be
 * NULL) is the tensor under attention->mask, retained by the node. *rotation is moved into the node
 * or left to the caller. */
tlm_status_t tlmi_attention_op(tlm_tensor_t **out, const tlmi_attention_t *attention,
                               tlm_tensor_t *query, tlm_tensor_t *key, tlm_tensor_t *value,
                               tlm_tensor_t *mask, tlmi_rotation_t *rotation, const int64_t *shape,
                               int32_t ndim);

/* What attention's forward and backward share: sizes of tiles, loading of rows, masking of scores.
 */

enum {
    TLMI_QUERY_TILE = 48, /* queries handled at once: whole register tiles of every CPU level */
    TLMI_KEY_BLOCK = 256, /* keys handled at once: 48 x 256 scores stay in the L2 cache */
    /* From one row of scores to the next: rows a power of two apart would fall on the same places of the
     * first-level cache. */
    TLMI_SCORE_STRIDE = TLMI_KEY_BLOCK + 16
};

static inline int64_t tlmi_min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The next n floats of scratch memory, on a cache line of their own; NULL if base is NULL. */
static inline float *tlmi_take(float *base, int64_t *used, int64_t n)
{
    float *part = base == NULL ? NULL : base + *used;
    *used += (n + 15) / 16 * 16;
    return part;
}

/* First row of head `head` of the operand (numbered over all sequences). */
static inline float *tlmi_head_rows(tlmi_heads_t operand, int64_t head)
{
    return operand.data + head / operand.heads * operand.outer_stride +
           head % operand.heads * operand.head_stride;
}

/* Keys that any of the queries first .. first+n-1 may see. */
static inline int64_t tlmi_visible_keys(const tlmi_attention_t *attention, int64_t first, int64_t n)
{
    if (!attention->causal)
        return attention->keys;
    int64_t limit = first + n + attention->keys - attention->queries;
    return limit < 0 ? 0 : tlmi_min64(limit, attention->keys);
}

/* How many of the n keys from first_key on the causal mask shows to the query. */
static inline int64_t tlmi_causal_keys(const tlmi_attention_t *attention, int64_t query,
                                       int64_t first_key, int64_t n)
{
    int64_t seen = tlmi_visible_keys(attention, query, 1) - first_key;
    return seen < 0 ? 0 : tlmi_min64(seen, n);
}

/* dst (n, d) = scale * rows first .. first+n-1 of a head of the operand, rotated if `rotate`. */
void tlmi_attention_load(float *dst, const tlmi_attention_t *attention, tlmi_heads_t operand,
                         int64_t head, int64_t first, int64_t n, int64_t d, float scale,
                         bool rotate);

/* The way back for gradients: rows of a head = or += scale * src (n, d), rotated back if `rotate`.
 * Overwrites src. */
void tlmi_attention_store(const tlmi_attention_t *attention, tlmi_heads_t operand, int64_t head,
                          int64_t first, int64_t n, int64_t d, float scale, bool rotate,
                          bool accumulate, float *src);

/* Sets scores (rows, TLMI_SCORE_STRIDE) of queries first_query.. and keys first_key.. (rows x n) to
 * `hidden` where the given mask, if there is one, hides the key; the causal mask is the caller's affair. */
void tlmi_attention_mask(float *scores, const tlmi_attention_t *attention, int64_t head,
                         int64_t first_query, int64_t rows, int64_t first_key, int64_t n,
                         float hidden);

#endif
