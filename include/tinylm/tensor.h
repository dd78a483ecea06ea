/* Tensors and reverse-mode automatic differentiation.
 * Shapes are written (a, b, c), row-major, last dimension fastest. An op makes a new tensor, owned by
 * the caller; where an input requires a gradient and gradients are enabled, it also records itself, and
 * tlm_tensor_backward later adds to the leaves' gradients. Binary ops broadcast as numpy does. */
#ifndef TINYLM_TENSOR_H
#define TINYLM_TENSOR_H

#include "runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A tensor handle, reference-counted (the counts are atomic). Otherwise externally synchronised: two
 *  threads may use tensors of separate graphs at once. */
typedef struct tlm_tensor tlm_tensor_t;

#define TLM_MAX_DIMS 8

/* Element types. Gradients exist for TLM_FLOAT32 only; the others hold token ids, positions, masks. */
#define TLM_FLOAT32 0
#define TLM_INT32   1
#define TLM_INT64   2
#define TLM_UINT32  3
#define TLM_BOOL    4 /* one byte, 0 or 1 */

/** Bytes of one element of a type, 0 for an unknown one. @since 0.1 */
TLM_API size_t tlm_dtype_size(int32_t dtype);

/* ---- Making and freeing ----------------------------------------------------------------- */

/** A tensor of zeros. ndim 0 is a scalar; sizes of 0 are allowed. Owned by the caller. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_create(tlm_tensor_t **out, int32_t dtype, const int64_t *shape,
                                       int32_t ndim);

/** The same, filled by a copy of `data` (row-major, of that type). @since 0.1 */
TLM_API tlm_status_t tlm_tensor_from_data(tlm_tensor_t **out, int32_t dtype, const void *data,
                                          const int64_t *shape, int32_t ndim);

/** Wraps the caller's memory without a copy. strides count elements; NULL: row-major. The memory is
 *  borrowed until `release(user)` is called, which happens when the last tensor over it goes; release
 *  may be NULL. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_wrap(tlm_tensor_t **out, int32_t dtype, void *data,
                                     const int64_t *shape, const int64_t *strides, int32_t ndim,
                                     void (*release)(void *user), void *user);

/** One more reference to the same tensor; returns it. NULL gives NULL. @since 0.1 */
TLM_API tlm_tensor_t *tlm_tensor_retain(tlm_tensor_t *tensor);

/** Drops one reference. NULL is fine. @since 0.1 */
TLM_API void tlm_tensor_free(tlm_tensor_t *tensor);

/* ---- Looking ---------------------------------------------------------------------------- */

TLM_API int32_t tlm_tensor_dtype(const tlm_tensor_t *tensor);
TLM_API int32_t tlm_tensor_ndim(const tlm_tensor_t *tensor);
/** ndim sizes; borrowed until the tensor is freed. @since 0.1 */
TLM_API const int64_t *tlm_tensor_shape(const tlm_tensor_t *tensor);
/** ndim strides, in elements; borrowed likewise. @since 0.1 */
TLM_API const int64_t *tlm_tensor_strides(const tlm_tensor_t *tensor);
TLM_API int64_t tlm_tensor_numel(const tlm_tensor_t *tensor);
/** First element; borrowed until the tensor is freed. Writing through it is the caller's business: no
 *  graph notices. NULL where numel is 0. @since 0.1 */
TLM_API void *tlm_tensor_data(const tlm_tensor_t *tensor);
/** Copies all elements out, row-major, whatever the strides. `n` must be numel. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_copy_out(const tlm_tensor_t *tensor, void *data, size_t n);
/** Copies all elements in, row-major. The tensor must be a leaf. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_copy_in(tlm_tensor_t *tensor, const void *data, size_t n);
/** The value of a tensor with one float32 element. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_item(float *out, const tlm_tensor_t *tensor);

/* ---- Gradients -------------------------------------------------------------------------- */

/** Marks a float32 leaf as one that gathers a gradient. TLM_ERR_STATE for a result of an op.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_tensor_set_requires_grad(tlm_tensor_t *tensor, bool requires_grad);
TLM_API bool tlm_tensor_requires_grad(const tlm_tensor_t *tensor);

/** The gradient gathered so far (row-major, shape of the tensor), borrowed until the next zero_grad
 *  or backward, or NULL if there is none. One that is retained keeps its values: what comes later is
 *  added in memory of its own. @since 0.1 */
TLM_API tlm_tensor_t *tlm_tensor_grad(const tlm_tensor_t *tensor);

/** Forgets the gradient. @since 0.1 */
TLM_API void tlm_tensor_zero_grad(tlm_tensor_t *tensor);

/** Back-propagates from `tensor`, adding to the gradient of every leaf that requires one. `gradient`
 *  has its shape; NULL means 1 and needs a tensor of one element. The graph is consumed: a second call
 *  through it is TLM_ERR_STATE. If memory runs out half-way (TLM_ERR_OUT_OF_MEMORY), the graph is
 *  consumed and the leaves hold part of the sums: zero them and start over. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_backward(tlm_tensor_t *tensor, const tlm_tensor_t *gradient);

/** Switches the recording of ops on this thread and returns the former setting (true at first).
 *  @since 0.1 */
TLM_API bool tlm_set_grad_enabled(bool enabled);
TLM_API bool tlm_grad_enabled(void);

/** The same memory outside any graph; owned by the caller. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_detach(tlm_tensor_t **out, const tlm_tensor_t *tensor);

/* ---- Ops: each with backward; *out is owned by the caller ------------------------------- */

/** a + b, broadcast. @since 0.1 */
TLM_API tlm_status_t tlm_add(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b);
/** a * b element by element, broadcast. @since 0.1 */
TLM_API tlm_status_t tlm_mul(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b);
/** factor * a. @since 0.1 */
TLM_API tlm_status_t tlm_scale(tlm_tensor_t **out, tlm_tensor_t *a, float factor);
/** Matrix product of the last two dimensions, (..., m, k) x (..., k, n) -> (..., m, n); leading
 *  dimensions broadcast. @since 0.1 */
TLM_API tlm_status_t tlm_matmul(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b);
/** Sum, mean of all elements, a scalar. @since 0.1 */
TLM_API tlm_status_t tlm_sum(tlm_tensor_t **out, tlm_tensor_t *a);
TLM_API tlm_status_t tlm_mean(tlm_tensor_t **out, tlm_tensor_t *a);
/** Sum, mean along dimension `dim` (negative: from the end), which goes or, if keep_dim, stays as 1.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_sum_dim(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim, bool keep_dim);
TLM_API tlm_status_t tlm_mean_dim(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim, bool keep_dim);
/** Another shape of the same elements; one size may be -1. A view where `a` is contiguous.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_reshape(tlm_tensor_t **out, tlm_tensor_t *a, const int64_t *shape,
                                 int32_t ndim);
/** Swaps two dimensions; a view. @since 0.1 */
TLM_API tlm_status_t tlm_transpose(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim0, int32_t dim1);
/** Elements start..stop-1 of a dimension; a view. @since 0.1 */
TLM_API tlm_status_t tlm_slice(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim, int64_t start,
                               int64_t stop);
/** Row-major copy, or one more reference if it is row-major already. @since 0.1 */
TLM_API tlm_status_t tlm_contiguous(tlm_tensor_t **out, tlm_tensor_t *a);

#ifdef __cplusplus
}
#endif
#endif
