/* Attention over heads laid out anywhere in memory. */
#ifndef TLMI_ATTENTION_H
#define TLMI_ATTENTION_H

#include "nn/rotation.h"
#include "tensor/autograd.h"

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

#endif
