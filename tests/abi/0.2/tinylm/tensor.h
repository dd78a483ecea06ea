/* Tensors and reverse-mode automatic differentiation.
 *
 * Shapes are written (a, b, c), row-major, last dimension fastest. An op makes a new tensor, owned
 * by the caller; where an input requires a gradient and gradients are enabled, it also records
 * itself, and tlm_tensor_backward later adds to the leaves' gradients. Binary ops broadcast as
 * numpy does. A leaf is a tensor that no recorded op has made. docs/ops.md gives formulas,
 * gradients and numerics.
 *
 * TLM_ERR_INVALID_ARGUMENT, besides what status.h says, for an element type that an op does not
 * take. */
#ifndef TINYLM_TENSOR_H
#define TINYLM_TENSOR_H

#include "runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A tensor handle, reference-counted (the counts are atomic). Otherwise externally synchronised:
 *  two threads may use tensors of separate graphs at once. */
typedef struct tlm_tensor tlm_tensor_t;

#define TLM_MAX_DIMS 8

/* Element types. Gradients exist for TLM_FLOAT32 only; the others hold ids, positions, masks. */
#define TLM_FLOAT32 0
#define TLM_INT32   1
#define TLM_INT64   2
#define TLM_UINT32  3
#define TLM_BOOL    4 /* one byte, 0 or 1 */

/** Bytes of one element of a type, 0 for an unknown one. Thread-safe. @since 0.1 */
TLM_API size_t tlm_dtype_size(int32_t dtype);

/* ---- Making and freeing ----------------------------------------------------------------- */

/** A tensor of zeros. ndim 0 is a scalar; sizes of 0 are allowed. shape is copied. Owned by the
 *  caller. TLM_ERR_INVALID_ARGUMENT for an unknown type, more than TLM_MAX_DIMS dimensions or a
 *  negative size; TLM_ERR_RANGE if the elements cannot be counted. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_create(tlm_tensor_t **out, int32_t dtype, const int64_t *shape,
                                       int32_t ndim);

/** The same, filled with a copy of `data`: row-major, of that type, as many elements as the shape
 *  has. Owned by the caller. Errors as of tlm_tensor_create. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_from_data(tlm_tensor_t **out, int32_t dtype, const void *data,
                                          const int64_t *shape, int32_t ndim);

/** Wraps the caller's memory without a copy. strides count elements, none negative; NULL:
 *  row-major. data is aligned to its type, and borrowed until `release(user)` is called, which
 *  happens when the last tensor over it goes, on the thread that frees that; release may be NULL.
 *  The handle is owned by the caller. On failure release is not called. Errors as of
 *  tlm_tensor_create, and TLM_ERR_INVALID_ARGUMENT for data that is not aligned or a negative
 *  stride, TLM_ERR_RANGE for one whose last element is out of reach. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_wrap(tlm_tensor_t **out, int32_t dtype, void *data,
                                     const int64_t *shape, const int64_t *strides, int32_t ndim,
                                     void (*release)(void *user), void *user);

/** One more reference to the same tensor; returns it. NULL gives NULL. Thread-safe. @since 0.1 */
TLM_API tlm_tensor_t *tlm_tensor_retain(tlm_tensor_t *tensor);

/** Drops one reference; the last one frees the tensor, and its graph as far as nothing else holds
 *  it. NULL is fine. Thread-safe as far as the count goes. @since 0.1 */
TLM_API void tlm_tensor_free(tlm_tensor_t *tensor);

/* ---- Looking ---------------------------------------------------------------------------- */

/** Element type; -1 of NULL. @since 0.1 */
TLM_API int32_t tlm_tensor_dtype(const tlm_tensor_t *tensor);

/** Number of dimensions, 0 .. TLM_MAX_DIMS; 0 of NULL. @since 0.1 */
TLM_API int32_t tlm_tensor_ndim(const tlm_tensor_t *tensor);

/** ndim sizes; borrowed until the tensor is freed. NULL of NULL. @since 0.1 */
TLM_API const int64_t *tlm_tensor_shape(const tlm_tensor_t *tensor);

/** ndim strides, in elements; borrowed until the tensor is freed. NULL of NULL. @since 0.1 */
TLM_API const int64_t *tlm_tensor_strides(const tlm_tensor_t *tensor);

/** Number of elements, 1 for a scalar; 0 of NULL. @since 0.1 */
TLM_API int64_t tlm_tensor_numel(const tlm_tensor_t *tensor);

/** First element; borrowed until the tensor is freed. NULL where numel is 0. A write through it is
 *  not noticed by a graph that has saved the tensor, whose gradients may then be wrong; use
 *  tlm_tensor_copy_in. @since 0.1 */
TLM_API void *tlm_tensor_data(const tlm_tensor_t *tensor);

/** Copies all elements to `data`, row-major, whatever the strides. TLM_ERR_SHAPE unless n is numel.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_tensor_copy_out(void *data, size_t n, const tlm_tensor_t *tensor);

/** Copies n elements from `data`, row-major, into a leaf. A graph that has saved the old values
 *  refuses to go backward: see tlm_tensor_backward. TLM_ERR_SHAPE unless n is numel, TLM_ERR_STATE
 *  for the result of an op. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_copy_in(tlm_tensor_t *tensor, const void *data, size_t n);

/** The value of a float32 tensor with one element; TLM_ERR_SHAPE if it has more or none.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_tensor_item(float *out, const tlm_tensor_t *tensor);

/* ---- Gradients -------------------------------------------------------------------------- */

/** Marks a float32 leaf as one that gathers a gradient, or not. TLM_ERR_STATE for the result of an
 *  op. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_set_requires_grad(tlm_tensor_t *tensor, bool requires_grad);

/** True for a leaf so marked and for the result of a recorded op; false of NULL. @since 0.1 */
TLM_API bool tlm_tensor_requires_grad(const tlm_tensor_t *tensor);

/** The gradient gathered so far (row-major, shape of the tensor), borrowed until the next zero_grad
 *  or backward, or NULL if there is none. One that is retained keeps its values: what comes later
 *  is added in memory of its own. @since 0.1 */
TLM_API tlm_tensor_t *tlm_tensor_grad(const tlm_tensor_t *tensor);

/** Forgets the gradient: tlm_tensor_grad gives NULL until the next backward. NULL is fine.
 *  @since 0.1 */
TLM_API void tlm_tensor_zero_grad(tlm_tensor_t *tensor);

/** Back-propagates from `tensor`, adding to the gradient of every leaf that requires one.
 *  `gradient`, copied, has the tensor's shape; NULL means 1 and needs a tensor of one element.
 *  Success consumes the graph. TLM_ERR_STATE, before anything changes: the graph was consumed, the
 *  tensor requires no gradient, or the library has written to a tensor that an op needs in backward
 *  since that op ran (tlm_tensor_copy_in, an optimizer step; the message names both). TLM_ERR_SHAPE
 *  if the gradient does not fit. If memory runs out (TLM_ERR_OUT_OF_MEMORY), the graph is consumed
 *  and the leaves hold part of the sums: zero their gradients and start over. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_backward(tlm_tensor_t *tensor, const tlm_tensor_t *gradient);

/** Switches the recording of ops on this thread and returns the former setting (true at first).
 *  @since 0.1 */
TLM_API bool tlm_set_grad_enabled(bool enabled);

/** Whether ops are recorded on this thread. @since 0.1 */
TLM_API bool tlm_grad_enabled(void);

/** The same memory outside any graph: a leaf that requires no gradient. Owned by the caller; it
 *  keeps the memory alive. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_detach(tlm_tensor_t **out, const tlm_tensor_t *tensor);

/* ---- Exchange: DLPack ------------------------------------------------------------------- */

/* The struct of the DLPack header, which also defines it for whoever looks inside: in Python it
 * travels in a capsule named "dltensor". */
struct DLManagedTensor;

/** The tensor as DLPack, over the same memory, outside any graph, of any strides; byte_offset is 0.
 *  Owned by the consumer, who calls (*out)->deleter(*out) once, on any thread; until then it keeps
 *  the memory alive, and the tensor may be freed before. DLPack has no read-only mark: whoever
 *  holds it may write. @since 0.2 */
TLM_API tlm_status_t tlm_tensor_to_dlpack(struct DLManagedTensor **out, const tlm_tensor_t *tensor);

/** A leaf over the memory of `managed`, without a copy. On success `managed` is consumed: its
 *  deleter (may be NULL) is called when the last tensor over it goes, on the thread that frees
 *  that. On failure it stays the caller's. TLM_ERR_UNSUPPORTED unless it lies in CPU memory
 *  (kDLCPU) and is float32, int32, int64, uint32 or bool with one lane; TLM_ERR_RANGE for a byte
 *  offset out of reach; else as tlm_tensor_wrap: no negative strides, alignment, sizes.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_tensor_from_dlpack(tlm_tensor_t **out, struct DLManagedTensor *managed);

/* ---- Ops: each with backward; *out is owned by the caller ------------------------------- */

/** a + b, float32, broadcast. TLM_ERR_SHAPE if the shapes do not. @since 0.1 */
TLM_API tlm_status_t tlm_add(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b);

/** a - b, float32, broadcast. TLM_ERR_SHAPE if the shapes do not. @since 0.2 */
TLM_API tlm_status_t tlm_sub(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b);

/** a * b element by element, float32, broadcast. TLM_ERR_SHAPE if the shapes do not. @since 0.1 */
TLM_API tlm_status_t tlm_mul(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b);

/** a / b element by element, float32, broadcast. TLM_ERR_SHAPE if the shapes do not. @since 0.2 */
TLM_API tlm_status_t tlm_div(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b);

/** factor * a, float32, the shape of a. @since 0.1 */
TLM_API tlm_status_t tlm_scale(tlm_tensor_t **out, tlm_tensor_t *a, float factor);

/** Matrix product of the last two dimensions, float32: (..., m, k) x (..., k, n) -> (..., m, n);
 *  leading dimensions broadcast. TLM_ERR_SHAPE if inner or leading sizes do not fit, or either has
 *  fewer than two dimensions. @since 0.1 */
TLM_API tlm_status_t tlm_matmul(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b);

/** Sum of all elements, float32, a scalar. @since 0.1 */
TLM_API tlm_status_t tlm_sum(tlm_tensor_t **out, tlm_tensor_t *a);

/** Mean of all elements, float32, a scalar; NaN if there are none. @since 0.1 */
TLM_API tlm_status_t tlm_mean(tlm_tensor_t **out, tlm_tensor_t *a);

/** Sum along dimension `dim` (negative: from the end), which goes or, if keep_dim, stays as 1.
 *  Float32. TLM_ERR_SHAPE if there is no such dimension. @since 0.1 */
TLM_API tlm_status_t tlm_sum_dim(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim, bool keep_dim);

/** Mean along a dimension, as tlm_sum_dim; NaN if its size is 0. @since 0.1 */
TLM_API tlm_status_t tlm_mean_dim(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim, bool keep_dim);

/** The largest along dimension `dim` (negative: from the end), which goes or, if keep_dim, stays as
 *  1, and in *indices (may be NULL) its places, int64: the first of equals, or of NaN, which counts
 *  as larger than all. The gradient goes to that place. Float32. TLM_ERR_SHAPE if there is no such
 *  dimension or its size is 0. @since 0.2 */
TLM_API tlm_status_t tlm_max_dim(tlm_tensor_t **out, tlm_tensor_t **indices, tlm_tensor_t *a,
                                 int32_t dim, bool keep_dim);

/** exp(a) element by element, float32, the shape of a; within 2 ulp. @since 0.2 */
TLM_API tlm_status_t tlm_exp(tlm_tensor_t **out, tlm_tensor_t *a);

/** Natural logarithm of a, as tlm_exp: -inf of 0, NaN of less. @since 0.2 */
TLM_API tlm_status_t tlm_log(tlm_tensor_t **out, tlm_tensor_t *a);

/** Square root of a, as tlm_exp: NaN of less than 0. @since 0.2 */
TLM_API tlm_status_t tlm_sqrt(tlm_tensor_t **out, tlm_tensor_t *a);

/** Hyperbolic tangent of a, as tlm_exp. @since 0.2 */
TLM_API tlm_status_t tlm_tanh(tlm_tensor_t **out, tlm_tensor_t *a);

/** 1 / (1 + exp(-a)), as tlm_exp. @since 0.2 */
TLM_API tlm_status_t tlm_sigmoid(tlm_tensor_t **out, tlm_tensor_t *a);

/** max(a, 0), as tlm_exp; the slope at 0 is 0. @since 0.2 */
TLM_API tlm_status_t tlm_relu(tlm_tensor_t **out, tlm_tensor_t *a);

/** a P(Z <= a), Z normal: the exact form, by erf. As tlm_exp. Hendrycks & Gimpel 2016.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_gelu(tlm_tensor_t **out, tlm_tensor_t *a);

/** Element by element a where condition (TLM_BOOL) is true, else b; float32, all three broadcast.
 *  What is not chosen does not count, NaN included. TLM_ERR_SHAPE if the shapes do not broadcast.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_where(tlm_tensor_t **out, tlm_tensor_t *condition, tlm_tensor_t *a,
                               tlm_tensor_t *b);

/** n tensors of one type, any, one after another along dimension `dim` (negative: from the end);
 *  their other sizes are equal. TLM_ERR_SHAPE if they are not or there is no such dimension,
 *  TLM_ERR_INVALID_ARGUMENT for no tensors. @since 0.2 */
TLM_API tlm_status_t tlm_concat(tlm_tensor_t **out, tlm_tensor_t *const *tensors, size_t n,
                                int32_t dim);

/** Another shape of the same elements in row-major order, of any type; one size may be -1. A view
 *  where `a` is contiguous. TLM_ERR_SHAPE if the elements do not fit. @since 0.1 */
TLM_API tlm_status_t tlm_reshape(tlm_tensor_t **out, tlm_tensor_t *a, const int64_t *shape,
                                 int32_t ndim);

/** Swaps two dimensions (negative: from the end) of a tensor of any type; a view. TLM_ERR_SHAPE if
 *  there is no such dimension. @since 0.1 */
TLM_API tlm_status_t tlm_transpose(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim0, int32_t dim1);

/** Elements start..stop-1 of a dimension (negative: from the end) of a tensor of any type; a view.
 *  TLM_ERR_RANGE unless 0 <= start <= stop <= size, TLM_ERR_SHAPE if there is no such dimension.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_slice(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim, int64_t start,
                               int64_t stop);

/** Row-major copy of a tensor of any type, or one more reference to it if it is row-major already.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_contiguous(tlm_tensor_t **out, tlm_tensor_t *a);

#ifdef __cplusplus
}
#endif
#endif
