/* Loops over operands of any strides, and sums over broadcast dimensions. */
#ifndef TLMI_LOOPS_H
#define TLMI_LOOPS_H

#include "tensor/tensor_core.h"

/* Loops over up to four operands of one shape, each with strides of its own: what broadcasting,
 * views and copies of views come down to. */

#define TLMI_MAX_OPERANDS 4

typedef struct tlmi_loop {
    int32_t ndim; /* at least 1 */
    int32_t num_operands;
    int64_t numel;
    int64_t shape[TLM_MAX_DIMS];
    int64_t strides[TLMI_MAX_OPERANDS][TLM_MAX_DIMS]; /* in elements */
} tlmi_loop_t;

/* Plans the loop: dimensions of size 1 go, neighbours that are one run for every operand merge. */
void tlmi_loop_plan(tlmi_loop_t *loop, const int64_t *shape, int32_t ndim, int32_t num_operands,
                    const int64_t *const *strides);

/* A run of n elements: operand i starts at element offsets[i] and advances by strides[i]. */
typedef void (*tlmi_run_fn)(void *context, const int64_t *offsets, const int64_t *strides,
                            int64_t n);

/* Calls `run` for every run of the last dimension (cut where it is long), in parallel; the cuts
 * depend on the shape only. */
void tlmi_loop_run(const tlmi_loop_t *loop, tlmi_run_fn run, void *context);

/* Strides of a row-major tensor. */
void tlmi_row_major_strides(int64_t *strides, const int64_t *shape, int32_t ndim);

/* Widens `shape` (room for TLM_MAX_DIMS; *ndim 0 at first) to what it and the tensor's shape
 * broadcast to. */
tlm_status_t tlmi_broadcast_shape(const char *op, int64_t *shape, int32_t *ndim,
                                  const tlm_tensor_t *tensor);

/* Strides that make `tensor` look as if it had shape `shape`: 0 along dimensions it is repeated
 * along, its own (aligned at the end) elsewhere. The shapes must broadcast. */
void tlmi_broadcast_strides(int64_t *strides, const tlm_tensor_t *tensor, const int64_t *shape,
                            int32_t ndim);

/* Copies elements of `item` bytes between two layouts of one shape. */
void tlmi_strided_copy(void *target, const int64_t *target_strides, const void *source,
                       const int64_t *source_strides, const int64_t *shape, int32_t ndim,
                       size_t item);

/* target = factor * source, or target += factor * source, for float32 layouts of one shape. */
void tlmi_strided_scale(float *target, const int64_t *target_strides, bool accumulate, float factor,
                        const float *source, const int64_t *source_strides, const int64_t *shape,
                        int32_t ndim);

/* Sums over dimensions, for the reductions and for the gradients of broadcast operands. */

/* target (+)= factor * sum of `source` over the dimensions where it is larger. `source` is
 * row-major of shape `shape`; target is row-major of shape `target_shape`, of the same rank, each
 * size either equal or 1. Added up in float64 in an order that depends on the shapes only. */
void tlmi_reduce_sum(float *target, const int64_t *target_shape, bool accumulate, float factor,
                     const float *source, const int64_t *shape, int32_t ndim);

/* The same for a tensor whose shape broadcasts to `shape` (missing leading dimensions count as 1).
 */
void tlmi_reduce_to(float *target, const tlm_tensor_t *tensor, bool accumulate, const float *source,
                    const int64_t *shape, int32_t ndim);

#endif
