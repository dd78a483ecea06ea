/* Tensors and reverse-mode automatic differentiation.
 *
 * Shapes are written (a, b, c): row-major, last dimension fastest. An op creates a new tensor that
 * the caller owns. If an input requires a gradient and gradients are enabled, the op is also
 * recorded, and tlm_tensor_backward later adds to the gradients of the leaves. A leaf is a tensor
 * that is not the result of a recorded op. Binary ops broadcast as in numpy. docs/ops.md gives
 * formulas, gradients and numerics.
 *
 * All ops return TLM_ERR_INVALID_ARGUMENT for an element type that they do not support. */
#ifndef TINYLM_TENSOR_H
#define TINYLM_TENSOR_H

#include "runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A reference-counted tensor handle. The reference counts are atomic. Otherwise not thread-safe:
 *  two threads may use tensors of different graphs at the same time, but not of one graph. */
typedef struct tlm_tensor tlm_tensor_t;

/** Most dimensions of a tensor. */
#define TLM_MAX_DIMS 8

/* Element types. Gradients exist for TLM_FLOAT32 only; integers hold ids, positions, masks. The
 * layers tlm_rms_norm, tlm_layer_norm and tlm_softmax take the 16-bit floats too. */
#define TLM_FLOAT32  0 /**< The type that computes. */
#define TLM_INT32    1 /**< Ids and positions. */
#define TLM_INT64    2 /**< Ids and positions. */
#define TLM_UINT32   3 /**< Ids and positions. */
#define TLM_BOOL     4 /**< Masks: one byte, 0 or 1. */
#define TLM_BFLOAT16 5 /**< Storage and exchange: the upper half of a float32. @since 0.2 */
#define TLM_FLOAT16  6 /**< Storage and exchange: IEEE half precision. @since 0.2 */

/* Types of weights in files: blocks of elements that share a scale. docs/quantization.md. Programs
 * cannot create tensors of these types; models opened for inference have them. @since 0.2 */
#define TLM_Q8_0 32 /**< Blocks of 32, 8.5 bits per element. */
#define TLM_Q4_0 33 /**< Blocks of 32, 4.5 bits per element. */
#define TLM_Q4_1 34 /**< Blocks of 32, 5 bits per element. */
#define TLM_Q5_0 35 /**< Blocks of 32, 5.5 bits per element. */
#define TLM_Q5_1 36 /**< Blocks of 32, 6 bits per element. */
#define TLM_Q2_K 37 /**< Blocks of 256, 2.6 bits per element. */
#define TLM_Q3_K 38 /**< Blocks of 256, 3.4 bits per element. */
#define TLM_Q4_K 39 /**< Blocks of 256, 4.5 bits per element. */
#define TLM_Q5_K 40 /**< Blocks of 256, 5.5 bits per element. */
#define TLM_Q6_K 41 /**< Blocks of 256, 6.6 bits per element. */
#define TLM_Q8_K 42 /**< Blocks of 256, 9.1 bits per element. */

/** Bytes per element of a type; 0 for an unknown type. Thread-safe. @since 0.1 */
TLM_API size_t tlm_dtype_size(int32_t dtype);

/* ---- Creating and freeing --------------------------------------------------------------- */

/** Creates a tensor of zeros. ndim 0 makes a scalar; sizes may be 0. shape is copied. Owned by
 *  the caller. TLM_ERR_INVALID_ARGUMENT for an unknown type, more than TLM_MAX_DIMS dimensions or
 *  a negative size; TLM_ERR_RANGE if the number of elements is too large. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_create(tlm_tensor_t **out, int32_t dtype, const int64_t *shape,
                                       int32_t ndim);

/** Creates a tensor with a copy of `data`: row-major, of that type, with as many elements as the
 *  shape has. Owned by the caller. See tlm_tensor_create for errors. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_from_data(tlm_tensor_t **out, int32_t dtype, const void *data,
                                          const int64_t *shape, int32_t ndim);

/** Wraps the caller's memory without copying it. strides are in elements and not negative; NULL
 *  means row-major. data must be aligned to its type. It is borrowed until `release(user)` is
 *  called (release may be NULL), which happens when the last tensor over it is freed, on the
 *  thread that frees it. Not called on failure. The handle is owned by the caller. See
 *  tlm_tensor_create for errors; also TLM_ERR_INVALID_ARGUMENT for misaligned data or a negative
 *  stride, TLM_ERR_RANGE for a stride that is too large. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_wrap(tlm_tensor_t **out, int32_t dtype, void *data,
                                     const int64_t *shape, const int64_t *strides, int32_t ndim,
                                     void (*release)(void *user), void *user);

/** Adds a reference to the tensor and returns it. NULL gives NULL. Thread-safe. @since 0.1 */
TLM_API tlm_tensor_t *tlm_tensor_retain(tlm_tensor_t *tensor);

/** Drops a reference. The last one frees the tensor and those parts of its graph that nothing
 *  else refers to. NULL is allowed. The count itself is thread-safe. @since 0.1 */
TLM_API void tlm_tensor_free(tlm_tensor_t *tensor);

/* ---- Reading and writing ---------------------------------------------------------------- */

/** Element type; -1 for NULL. @since 0.1 */
TLM_API int32_t tlm_tensor_dtype(const tlm_tensor_t *tensor);

/** Number of dimensions, 0 .. TLM_MAX_DIMS; 0 for NULL. @since 0.1 */
TLM_API int32_t tlm_tensor_ndim(const tlm_tensor_t *tensor);

/** The ndim sizes; borrowed until the tensor is freed. NULL for NULL. @since 0.1 */
TLM_API const int64_t *tlm_tensor_shape(const tlm_tensor_t *tensor);

/** The ndim strides in elements; borrowed until the tensor is freed. NULL for NULL. @since 0.1 */
TLM_API const int64_t *tlm_tensor_strides(const tlm_tensor_t *tensor);

/** Number of elements, 1 for a scalar; 0 for NULL. @since 0.1 */
TLM_API int64_t tlm_tensor_numel(const tlm_tensor_t *tensor);

/** Address of the first element; borrowed until the tensor is freed. NULL if numel is 0. A graph
 *  that has saved the tensor does not notice writes through this pointer, and its gradients may
 *  then be wrong; use tlm_tensor_copy_in. @since 0.1 */
TLM_API void *tlm_tensor_data(const tlm_tensor_t *tensor);

/** Copies all elements to `data` in row-major order, whatever the strides. TLM_ERR_SHAPE unless n
 *  is numel. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_copy_out(void *data, size_t n, const tlm_tensor_t *tensor);

/** Copies n elements from `data`, row-major, into a leaf. If a graph has saved the old values,
 *  its tlm_tensor_backward fails. TLM_ERR_SHAPE unless n is numel, TLM_ERR_STATE for the result
 *  of an op. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_copy_in(tlm_tensor_t *tensor, const void *data, size_t n);

/** Reads the value of a float32 tensor with one element. TLM_ERR_SHAPE if it has more or none.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_tensor_item(float *out, const tlm_tensor_t *tensor);

/** Copies a tensor to another type, outside any graph. To the nearest value of a float type; to an
 *  integer type cut to whole numbers, TLM_ERR_RANGE, with the place, for NaN and for what the type
 *  does not hold; to TLM_BOOL: whether it is not 0. Owned by the caller. @since 0.2 */
TLM_API tlm_status_t tlm_tensor_convert(tlm_tensor_t **out, const tlm_tensor_t *tensor,
                                        int32_t dtype);

/* Comparisons. @since 0.2 */
#define TLM_COMPARE_EQUAL         0 /**< a == b. */
#define TLM_COMPARE_NOT_EQUAL     1 /**< a != b. */
#define TLM_COMPARE_LESS          2 /**< a < b. */
#define TLM_COMPARE_LESS_EQUAL    3 /**< a <= b. */
#define TLM_COMPARE_GREATER       4 /**< a > b. */
#define TLM_COMPARE_GREATER_EQUAL 5 /**< a >= b. */

/** Compares element by element, broadcast: a TLM_BOOL tensor without a graph, owned by the caller.
 *  Of float32, integer types and bool; integers are compared as such, an integer with a float32
 *  as float64. NaN is unequal to everything. TLM_ERR_SHAPE if the shapes do not broadcast.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_compare(tlm_tensor_t **out, const tlm_tensor_t *a, const tlm_tensor_t *b,
                                 int32_t comparison);

/* ---- Gradients -------------------------------------------------------------------------- */

/** Sets whether a float32 leaf accumulates a gradient. TLM_ERR_STATE for the result of an op.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_tensor_set_requires_grad(tlm_tensor_t *tensor, bool requires_grad);

/** True for a leaf that accumulates a gradient and for the result of a recorded op; false for
 *  NULL. @since 0.1 */
TLM_API bool tlm_tensor_requires_grad(const tlm_tensor_t *tensor);

/** The gradient accumulated so far (row-major, of the tensor's shape), or NULL if there is none.
 *  Borrowed until the next zero_grad or backward. If it is retained it keeps its values: later
 *  gradients are added in new memory. @since 0.1 */
TLM_API tlm_tensor_t *tlm_tensor_grad(const tlm_tensor_t *tensor);

/** Discards the gradient: tlm_tensor_grad returns NULL until the next backward. NULL is allowed.
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

/** Sets whether ops are recorded on this thread and returns the previous setting (true at first).
 *  @since 0.1 */
TLM_API bool tlm_set_grad_enabled(bool enabled);

/** True if ops are recorded on this thread. @since 0.1 */
TLM_API bool tlm_grad_enabled(void);

/** Returns a leaf over the same memory, outside any graph, that requires no gradient. Owned by
 *  the caller; it keeps the memory alive. @since 0.1 */
TLM_API tlm_status_t tlm_tensor_detach(tlm_tensor_t **out, const tlm_tensor_t *tensor);

/* ---- Exchange: DLPack ------------------------------------------------------------------- */

/* The struct of the DLPack header, which also defines it for whoever looks inside: in Python it
 * travels in a capsule named "dltensor". */
struct DLManagedTensor;

/** Exports the tensor by DLPack: over the same memory, outside any graph, with any strides;
 *  byte_offset is 0. Owned by the consumer, who calls (*out)->deleter(*out) once, on any thread.
 *  Until then it keeps the memory alive, even if the tensor is freed. DLPack has no read-only
 *  flag, so the consumer may write. @since 0.2 */
TLM_API tlm_status_t tlm_tensor_to_dlpack(struct DLManagedTensor **out, const tlm_tensor_t *tensor);

/** Imports a leaf over the memory of `managed` without copying it. On success `managed` is
 *  consumed: its deleter (may be NULL) is called when the last tensor over it is freed, on the
 *  thread that frees it. On failure it remains the caller's. TLM_ERR_UNSUPPORTED unless it is in
 *  CPU memory (kDLCPU) and of one of the types above, with one lane; TLM_ERR_RANGE for a byte
 *  offset that is too large; otherwise see tlm_tensor_wrap. @since 0.2 */
TLM_API tlm_status_t tlm_tensor_from_dlpack(tlm_tensor_t **out, struct DLManagedTensor *managed);

/* The struct of DLPack 1.0 and later, in capsules named "dltensor_versioned". */
struct DLManagedTensorVersioned;

/** Like tlm_tensor_to_dlpack, as DLPack 1.0 has it. is_copy says to the consumer that the memory is
 *  a copy made for it. @since 0.2 */
TLM_API tlm_status_t tlm_tensor_to_dlpack_versioned(struct DLManagedTensorVersioned **out,
                                                    const tlm_tensor_t *tensor, bool is_copy);

/** Like tlm_tensor_from_dlpack, as DLPack 1.x has it. TLM_ERR_UNSUPPORTED also for another major
 *  version and for read-only memory, since tensors may be written to. @since 0.2 */
TLM_API tlm_status_t tlm_tensor_from_dlpack_versioned(tlm_tensor_t **out,
                                                      struct DLManagedTensorVersioned *managed);

/* ---- Ops: each with backward; *out is owned by the caller ------------------------------- */

/** a + b, float32, broadcast. TLM_ERR_SHAPE if the shapes do not broadcast. @since 0.1 */
TLM_API tlm_status_t tlm_add(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b);

/** a - b, float32, broadcast. TLM_ERR_SHAPE if the shapes do not broadcast. @since 0.2 */
TLM_API tlm_status_t tlm_sub(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b);

/** Element-wise a * b, float32, broadcast. TLM_ERR_SHAPE if the shapes do not broadcast.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_mul(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b);

/** Element-wise a / b, float32, broadcast. TLM_ERR_SHAPE if the shapes do not broadcast.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_div(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b);

/** factor * a, float32, the shape of a. @since 0.1 */
TLM_API tlm_status_t tlm_scale(tlm_tensor_t **out, tlm_tensor_t *a, float factor);

/** Matrix product of the last two dimensions, float32: (..., m, k) x (..., k, n) -> (..., m, n);
 *  leading dimensions broadcast. TLM_ERR_SHAPE if inner or leading sizes do not fit, or a or b
 *  has fewer than two dimensions. @since 0.1 */
TLM_API tlm_status_t tlm_matmul(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b);

/** Sum of all elements, float32, a scalar. @since 0.1 */
TLM_API tlm_status_t tlm_sum(tlm_tensor_t **out, tlm_tensor_t *a);

/** Mean of all elements, float32, a scalar; NaN if there are none. @since 0.1 */
TLM_API tlm_status_t tlm_mean(tlm_tensor_t **out, tlm_tensor_t *a);

/** Sum along dimension `dim` (negative: from the end), which is removed or, if keep_dim, becomes
 *  1. Float32. TLM_ERR_SHAPE if there is no such dimension. @since 0.1 */
TLM_API tlm_status_t tlm_sum_dim(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim, bool keep_dim);

/** Mean along a dimension, like tlm_sum_dim; NaN if its size is 0. @since 0.1 */
TLM_API tlm_status_t tlm_mean_dim(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim, bool keep_dim);

/** Maximum along dimension `dim` (negative: from the end), which is removed or, if keep_dim,
 *  becomes 1; float32. *indices (may be NULL) gets the int64 index of the first maximum; NaN
 *  counts as larger than everything. The gradient goes to that element. TLM_ERR_SHAPE if there is
 *  no such dimension or its size is 0. @since 0.2 */
TLM_API tlm_status_t tlm_max_dim(tlm_tensor_t **out, tlm_tensor_t **indices, tlm_tensor_t *a,
                                 int32_t dim, bool keep_dim);

/** Element-wise exp(a), float32, of a's shape; accurate to 2 ulp. @since 0.2 */
TLM_API tlm_status_t tlm_exp(tlm_tensor_t **out, tlm_tensor_t *a);

/** Natural logarithm, like tlm_exp: -inf for 0, NaN for negative a. @since 0.2 */
TLM_API tlm_status_t tlm_log(tlm_tensor_t **out, tlm_tensor_t *a);

/** Square root, like tlm_exp: NaN for negative a. @since 0.2 */
TLM_API tlm_status_t tlm_sqrt(tlm_tensor_t **out, tlm_tensor_t *a);

/** Hyperbolic tangent, like tlm_exp. @since 0.2 */
TLM_API tlm_status_t tlm_tanh(tlm_tensor_t **out, tlm_tensor_t *a);

/** 1 / (1 + exp(-a)), like tlm_exp. @since 0.2 */
TLM_API tlm_status_t tlm_sigmoid(tlm_tensor_t **out, tlm_tensor_t *a);

/** max(a, 0), like tlm_exp; the slope at 0 is 0. @since 0.2 */
TLM_API tlm_status_t tlm_relu(tlm_tensor_t **out, tlm_tensor_t *a);

/** a P(Z <= a) with Z standard normal: the exact form, by erf, like tlm_exp. Hendrycks & Gimpel
 *  2016. @since 0.2 */
TLM_API tlm_status_t tlm_gelu(tlm_tensor_t **out, tlm_tensor_t *a);

/** Absolute value, like tlm_exp; the slope at 0 is 0. @since 0.2 */
TLM_API tlm_status_t tlm_abs(tlm_tensor_t **out, tlm_tensor_t *a);

/** Element-wise a^b, float32, broadcast: NaN for a negative a and a b that is not whole. a^2 is
 *  a * a exactly. The slope of a^0 is 0, and so is that of 0^b in b for b >= 0. TLM_ERR_SHAPE if
 *  the shapes do not broadcast. @since 0.2 */
TLM_API tlm_status_t tlm_pow(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b);

/** Element-wise a where condition (TLM_BOOL) is true, else b; float32, all three broadcast.
 *  Elements that are not chosen have no effect, not even NaN. TLM_ERR_SHAPE if the shapes do not
 *  broadcast. @since 0.2 */
TLM_API tlm_status_t tlm_where(tlm_tensor_t **out, tlm_tensor_t *condition, tlm_tensor_t *a,
                               tlm_tensor_t *b);

/** Concatenates n tensors of one type (any) along dimension `dim` (negative: from the end); their
 *  other sizes must be equal. TLM_ERR_SHAPE if they are not or there is no such dimension,
 *  TLM_ERR_INVALID_ARGUMENT for no tensors. @since 0.2 */
TLM_API tlm_status_t tlm_concat(tlm_tensor_t **out, tlm_tensor_t *const *tensors, size_t n,
                                int32_t dim);

/** The same elements in row-major order with another shape; any type. One size may be -1. A view
 *  if `a` is contiguous. TLM_ERR_SHAPE if the number of elements differs, TLM_ERR_RANGE if there
 *  is a 0 among sizes whose product is too large. @since 0.1 */
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

/** Elements start, start + step, ..., `count` of them, of a dimension (negative: from the end) of a
 *  tensor of any type. A view if step > 0, a copy if step < 0. TLM_ERR_RANGE for elements outside
 *  the dimension, TLM_ERR_INVALID_ARGUMENT for a step of 0, TLM_ERR_SHAPE if there is no such
 *  dimension. @since 0.2 */
TLM_API tlm_status_t tlm_slice_step(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim, int64_t start,
                                    int64_t step, int64_t count);

/** Copies the elements along a dimension (negative: from the end) that `indices` (any shape,
 *  integers; negative: from the end) name, of a tensor of any type: the shape of `indices` takes
 *  the place of the dimension. An element that is named twice gets the sum of both gradients.
 *  TLM_ERR_RANGE, with the position, for an index outside the dimension; TLM_ERR_SHAPE if there is
 *  no such dimension or the result has more than TLM_MAX_DIMS. @since 0.2 */
TLM_API tlm_status_t tlm_take(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim,
                              tlm_tensor_t *indices);

/** A row-major copy of a tensor of any type, or another reference to it if it is row-major
 *  already. @since 0.1 */
TLM_API tlm_status_t tlm_contiguous(tlm_tensor_t **out, tlm_tensor_t *a);

#ifdef __cplusplus
}
#endif
#endif
