/* What the layers share with the model and with generation. */
#ifndef TLMI_NN_CORE_H
#define TLMI_NN_CORE_H

#include "tinylm/nn.h"
#include "tensor/tensor_core.h"

/* ---- Cross-entropy fused with the output layer, whose logits never exist as a whole -- */

enum { TLMI_LOSS_SLICE = 512 /* rows whose logits exist at one time */ };

/* tlm_cross_entropy(tlm_linear(x, weight), targets) in slices of rows: x (..., d), weight (classes,
 * d). Gradients are computed in the forward pass, slice by slice, if they are needed. */
tlm_status_t tlmi_linear_cross_entropy(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *weight,
                                       tlm_tensor_t *targets);

/* ---- Attention over projected heads ---------------------------------------------------- */

/* Causal attention over heads that lie side by side in contiguous rows, whose shapes the caller has
 * checked: query is (..., time, num_heads * d_head), key and value (..., time, num_kv_heads *
 * d_head). rope_theta 0 means no rotation; positions are those of tlm_multi_head_attention. Messages
 * begin with `op`. */
tlm_status_t tlmi_heads_attention(tlm_tensor_t **out, const char *op, tlm_tensor_t *query,
                                  tlm_tensor_t *key, tlm_tensor_t *value, int32_t num_heads,
                                  int32_t num_kv_heads, double rope_theta, tlm_tensor_t *positions);

/* ---- RoPE: a table of cos and sin of position * theta^(-2i/d), by row and pair i ----- */

typedef struct tlmi_rotation {
    float *table; /* (rows, d / 2, 2): cos, sin; owned */
    int64_t rows; /* time, or outer * time if each sequence has its own positions */
    int64_t time;
    int64_t d;
} tlmi_rotation_t;

/* Computes the table for x, whose leading dimensions before time are `outer_shape`. positions NULL
 * means 0 .. time-1. Messages begin with `op`. Owned by the caller: tlmi_rotation_free. */
tlm_status_t tlmi_rotation_create(tlmi_rotation_t *out, const char *op, const int64_t *outer_shape,
                                  int32_t outer_ndim, int64_t time, int64_t d,
                                  const tlm_tensor_t *positions, double theta);
void tlmi_rotation_free(tlmi_rotation_t *rotation);

/* The table's row for sequence `outer` and time step t. */
static inline const float *tlmi_rotation_row(const tlmi_rotation_t *rotation, int64_t outer,
                                             int64_t t)
{
    int64_t row = rotation->rows == rotation->time ? t : outer * rotation->time + t;
    return rotation->table + row * rotation->d;
}

/* y = x rotated by +angle, or by -angle if `inverse`; y may be x. */
void tlmi_rotate(float *y, const float *x, const float *row, int64_t d, bool inverse);

#endif
