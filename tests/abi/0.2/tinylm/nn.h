/* Layers as functions of float32 tensors. Each creates a new tensor owned by the caller, supports
 * backward, accepts views as well as row-major tensors, and returns TLM_ERR_SHAPE if its arguments
 * do not have the shapes in its comment. Integer tensors are TLM_INT32, TLM_INT64 or TLM_UINT32.
 * See tensor.h for threads. docs/ops.md gives formulas, gradients and numerics. Where a comment
 * says so, TLM_BFLOAT16 and TLM_FLOAT16 are taken too: widened, computed in float32, and the result
 * rounded to the type of x; TLM_ERR_INVALID_ARGUMENT if that result would need a gradient. */
#ifndef TINYLM_NN_H
#define TINYLM_NN_H

#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** y = x W^T: x (..., d_in), weight (d_out, d_in) -> (..., d_out). @since 0.1 */
TLM_API tlm_status_t tlm_linear(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *weight);

/** y = x W^T + b: see tlm_linear; bias (d_out). @since 0.2 */
TLM_API tlm_status_t tlm_linear_bias(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *weight,
                                     tlm_tensor_t *bias);

/** Looks up rows of weight (vocab, d) by integer ids (...) -> (..., d). TLM_ERR_RANGE, with the
 *  position, for an id outside the vocabulary. @since 0.1 */
TLM_API tlm_status_t tlm_embedding(tlm_tensor_t **out, tlm_tensor_t *weight, tlm_tensor_t *ids);

/** x / sqrt(mean(x^2) + eps) * weight over the last dimension: x (..., d), weight (d). Zhang &
 *  Sennrich 2019. CS336 uses eps = 1e-5. TLM_ERR_INVALID_ARGUMENT for a negative or non-finite eps.
 *  16-bit floats since 0.2. @since 0.1 */
TLM_API tlm_status_t tlm_rms_norm(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *weight,
                                  float eps);

/** (x - mean(x)) / sqrt(variance(x) + eps) * gain + bias over the last dimension, the variance that
 *  of the d elements themselves: x (..., d), gain and bias (d). Ba et al. 2016. PyTorch's eps is
 *  1e-5. TLM_ERR_INVALID_ARGUMENT for a negative or non-finite eps. Also 16-bit floats.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_layer_norm(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *gain,
                                    tlm_tensor_t *bias, float eps);

/** Sets elements to 0 with probability `rate`, rounded to a multiple of 2^-16, and divides the
 *  others by 1 - rate. Srivastava et al. 2014. Which ones is a pure function of (seed, stream) and
 *  of the place in x, on any number of threads, so another step needs another stream.
 *  TLM_ERR_INVALID_ARGUMENT unless 0 <= rate < 1. @since 0.2 */
TLM_API tlm_status_t tlm_dropout(tlm_tensor_t **out, tlm_tensor_t *x, double rate, uint64_t seed,
                                 uint64_t stream);

/** x * sigmoid(x), the shape of x. Elfwing et al. 2018. @since 0.1 */
TLM_API tlm_status_t tlm_silu(tlm_tensor_t **out, tlm_tensor_t *x);

/** silu(gate) * up, one pass; equal shapes, no broadcasting. @since 0.1 */
TLM_API tlm_status_t tlm_silu_mul(tlm_tensor_t **out, tlm_tensor_t *gate, tlm_tensor_t *up);

/** W2 (silu(W1 x) * W3 x): x (..., d_model), w1 and w3 (d_ff, d_model), w2 (d_model, d_ff). Shazeer
 *  2020, without biases. The result is (..., d_model). @since 0.1 */
TLM_API tlm_status_t tlm_swiglu(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *w1,
                                tlm_tensor_t *w2, tlm_tensor_t *w3);

/** Rotary position embedding over interleaved pairs (x[2i], x[2i+1]): x (..., time, d), d even;
 *  positions integer, (time) or any shape that broadcasts to x's leading dimensions (..., time);
 *  NULL: 0 .. time-1. Su et al. 2021. TLM_ERR_RANGE for a negative position,
 *  TLM_ERR_INVALID_ARGUMENT unless theta is finite and positive. @since 0.1 */
TLM_API tlm_status_t tlm_rope(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *positions,
                              double theta);

/** Softmax along a dimension (negative: from the end), of x's shape. A slice of only -inf gives
 *  NaN, as the formula does. 16-bit floats since 0.2. @since 0.1 */
TLM_API tlm_status_t tlm_softmax(tlm_tensor_t **out, tlm_tensor_t *x, int32_t dim);

/** softmax(Q K^T / sqrt(d_k)) V: query (..., n, d_k), key (..., m, d_k), value (..., m, d_v),
 *  equal leading dimensions -> (..., n, d_v). The last leading dimension, the heads, may be
 *  smaller in key and value if it divides that of query (since 0.2): query head i uses key head i
 *  / (ratio of the two), without a copy (Ainslie et al. 2023). mask: TLM_BOOL that broadcasts to
 *  (..., n, m), true = visible, or NULL. causal: query i sees only keys j <= i + (m - n). A row
 *  that sees no key gives zeros. Vaswani et al. 2017, equation 1. TLM_ERR_INVALID_ARGUMENT for a
 *  mask of another type. @since 0.1 */
TLM_API tlm_status_t tlm_attention(tlm_tensor_t **out, tlm_tensor_t *query, tlm_tensor_t *key,
                                   tlm_tensor_t *value, tlm_tensor_t *mask, bool causal);

/** Causal multi-head self-attention: x (..., time, d_model); wq (num_heads * d_head, d_model)
 *  with the heads one after another, wk and wv (kv_heads * d_head, d_model), wo (d_model,
 *  num_heads * d_head). kv_heads divides num_heads (equal to it before 0.2): see tlm_attention.
 *  rope_theta 0 means no rotation; otherwise queries and keys are rotated at `positions`: see
 *  tlm_rope, also for its errors. The result is (..., time, d_model). Vaswani et al. 2017,
 *  section 3.2.2. @since 0.1 */
TLM_API tlm_status_t tlm_multi_head_attention(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *wq,
                                              tlm_tensor_t *wk, tlm_tensor_t *wv, tlm_tensor_t *wo,
                                              int32_t num_heads, double rope_theta,
                                              tlm_tensor_t *positions);

/** Mean over all positions of -log softmax(logits)[target], by log-sum-exp: logits (...,
 *  classes), integer targets (...), at least one -> scalar, in nats. TLM_ERR_RANGE, with the
 *  position, for a target that is not a class. @since 0.1 */
TLM_API tlm_status_t tlm_cross_entropy(tlm_tensor_t **out, tlm_tensor_t *logits,
                                       tlm_tensor_t *targets);

/** Fills a row-major float32 leaf with Normal(0, sigma^2) truncated to +-cut_sigmas * sigma; a
 *  pure function of (seed, stream). TLM_ERR_STATE for any other tensor, TLM_ERR_INVALID_ARGUMENT
 *  for a negative or non-finite sigma or a cut that is not positive. @since 0.1 */
TLM_API tlm_status_t tlm_init_truncated_normal(tlm_tensor_t *tensor, double sigma,
                                               double cut_sigmas, uint64_t seed, uint64_t stream);

/** Fills a row-major float32 leaf with numbers uniform in [low, high); a pure function of (seed,
 *  stream). TLM_ERR_STATE for any other tensor, TLM_ERR_INVALID_ARGUMENT unless low <= high are
 *  finite. @since 0.2 */
TLM_API tlm_status_t tlm_init_uniform(tlm_tensor_t *tensor, double low, double high, uint64_t seed,
                                      uint64_t stream);

#ifdef __cplusplus
}
#endif
#endif
