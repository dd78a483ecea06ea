/* What attention's forward and backward share: sizes of tiles, loading of rows, masking of scores.
 */
#ifndef TLMI_ATTENTION_TILES_H
#define TLMI_ATTENTION_TILES_H

#include "nn/attention.h"

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
