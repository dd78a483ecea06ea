/* The inside of attention: its arguments, and the tiles that forward and backward share. */
#ifndef TLMI_ATTENTION_H
#define TLMI_ATTENTION_H

#include "nn/nn_core.h"
#include "tensor/autograd.h"

/* ---- Attention over heads laid out anywhere in memory -------------------------------- */

/* Where the rows of an operand lie: row i of head h of sequence s is at
 * data + s * outer_stride + h * head_stride + i * row_stride. */
typedef struct tlmi_heads {
    float *data;
    int64_t heads; /* per sequence */
    int64_t outer_stride;
    int64_t head_stride;
    int64_t row_stride;
} tlmi_heads_t;

/* A boolean mask that broadcasts over the leading dimensions; data is NULL if there is none. */
typedef struct tlmi_mask {
    const uint8_t *data;
    int32_t leading;               /* number of leading dimensions */
    int64_t shape[TLM_MAX_DIMS];   /* their sizes */
    int64_t strides[TLM_MAX_DIMS]; /* and strides, 0 where it broadcasts */
    int64_t query_stride, key_stride;
} tlmi_mask_t;

typedef struct tlmi_attention {
    int64_t outer, heads;  /* sequences, and query heads per sequence */
    int64_t group;         /* query heads (numbered over all sequences) that share a key head */
    int64_t queries, keys; /* rows of a head */
    int64_t d_key, d_value;
    bool causal;
    tlmi_mask_t mask;
    const tlmi_rotation_t *rotation; /* of queries and keys; NULL: none */
} tlmi_attention_t;

/* Key heads per sequence: fewer than query heads in grouped-query attention (Ainslie et al. 2023).
 * If a sequence has one query head, its group spans several sequences. */
static inline int64_t tlmi_key_heads(const tlmi_attention_t *attention)
{
    return attention->heads == 1 ? 1 : attention->heads / attention->group;
}

/* out = softmax(Q K^T / sqrt(d_key)) V without a (queries, keys) matrix: tiles with an online
 * softmax (Milakov & Gimelshein 2018; Dao et al. 2022). lse, the log-sum-exp of each row, is
 * (outer, heads, queries) and may be NULL. */
tlm_status_t tlmi_attention_forward(const tlmi_attention_t *attention, tlmi_heads_t out, float *lse,
                                    tlmi_heads_t query, tlmi_heads_t key, tlmi_heads_t value);

/* Where the gradients go, and whether they are added to what is there; data is NULL for one that is
 * not needed. */
typedef struct tlmi_attention_gradients {
    tlmi_heads_t query, key, value;
    bool accumulate_query, accumulate_key, accumulate_value;
} tlmi_attention_gradients_t;

tlm_status_t tlmi_attention_backward(const tlmi_attention_t *attention,
                                     const tlmi_attention_gradients_t *gradients,
                                     tlmi_heads_t grad_out, tlmi_heads_t out, const float *lse,
                                     tlmi_heads_t query, tlmi_heads_t key, tlmi_heads_t value);

/* ---- Tiles: sizes, loading and storing rows, masking scores -------------------------- */

enum {
    TLMI_QUERY_TILE = 48, /* queries per tile: a multiple of the register tiles of all kernels */
    TLMI_KEY_BLOCK = 256, /* keys per block: 48 x 256 scores stay in the L2 cache */
    /* Distance of two rows of scores. Rows a power of two apart would compete for the same sets of
     * the L1 cache. */
    TLMI_SCORE_STRIDE = TLMI_KEY_BLOCK + 16
};

static inline int64_t tlmi_min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Takes the next n floats of scratch memory, aligned to a cache line; NULL if base is NULL. */
static inline float *tlmi_take(float *base, int64_t *used, int64_t n)
{
    float *part = base == NULL ? NULL : base + *used;
    *used += (n + 15) / 16 * 16;
    return part;
}

/* The first row of head `head` (numbered over all sequences) of the operand. */
static inline float *tlmi_head_rows(tlmi_heads_t operand, int64_t head)
{
    return operand.data + head / operand.heads * operand.outer_stride +
           head % operand.heads * operand.head_stride;
}

/* How many keys the causal mask lets any of the queries first .. first+n-1 see. */
static inline int64_t tlmi_visible_keys(const tlmi_attention_t *attention, int64_t first, int64_t n)
{
    if (!attention->causal)
        return attention->keys;
    int64_t limit = first + n + attention->keys - attention->queries;
    return limit < 0 ? 0 : tlmi_min64(limit, attention->keys);
}

/* How many of the n keys from first_key on the causal mask lets the query see. */
static inline int64_t tlmi_causal_keys(const tlmi_attention_t *attention, int64_t query,
                                       int64_t first_key, int64_t n)
{
    int64_t seen = tlmi_visible_keys(attention, query, 1) - first_key;
    return seen < 0 ? 0 : tlmi_min64(seen, n);
}

/* Loads rows: dst (n, d) = scale * rows first .. first+n-1 of a head, rotated if `rotate`. */
void tlmi_attention_load(float *dst, const tlmi_attention_t *attention, tlmi_heads_t operand,
                         int64_t head, int64_t first, int64_t n, int64_t d, float scale,
                         bool rotate);

/* Stores gradients of rows: rows of a head = or += scale * src (n, d), rotated back if `rotate`.
 * Overwrites src. */
void tlmi_attention_store(const tlmi_attention_t *attention, tlmi_heads_t operand, int64_t head,
                          int64_t first, int64_t n, int64_t d, float scale, bool rotate,
                          bool accumulate, float *src);

/* Sets the scores (rows x n, in rows of TLMI_SCORE_STRIDE) that the mask hides to `hidden`, for the
 * queries from first_query and the keys from first_key on. Does not apply the causal mask. */
void tlmi_attention_mask(float *scores, const tlmi_attention_t *attention, int64_t head,
                         int64_t first_query, int64_t rows, int64_t first_key, int64_t n,
                         float hidden);

#endif
