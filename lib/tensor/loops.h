/* Loops over operands of any strides, and sums over dimensions. Broadcasting, views and copies of
 * views all use them. */
#ifndef TLMI_LOOPS_H
#define TLMI_LOOPS_H

#include "tensor/tensor_core.h"

/* A loop over up to four operands that have one shape and strides of their own. */

#define TLMI_MAX_OPERANDS 4

typedef struct tlmi_loop {
    int32_t ndim; /* at least 1 */
    int32_t num_operands;
    int64_t numel;
    int64_t shape[TLM_MAX_DIMS];
    int64_t strides[TLMI_MAX_OPERANDS][TLM_MAX_DIMS]; /* in elements */
} tlmi_loop_t;

/* Plans the loop: removes dimensions of size 1 and merges neighboring dimensions that are one run
 * in every operand. */
void tlmi_loop_plan(tlmi_loop_t *loop, const int64_t *shape, int32_t ndim, int32_t num_operands,
                    const int64_t *const *strides);

/* Handles a run of n elements: operand i starts at element offsets[i] and has stride strides[i]. */
typedef void (*tlmi_run_fn)(void *context, const int64_t *offsets, const int64_t *strides,
                            int64_t n);

/* Calls `run` in parallel for every run along the last dimension. Long runs are cut; where depends
 * on the shape only. */
void tlmi_loop_run(const tlmi_loop_t *loop, tlmi_run_fn run, void *context);

/* Computes the strides of a row-major tensor. */
void tlmi_row_major_strides(int64_t *strides, const int64_t *shape, int32_t ndim);

/* Broadcasts the tensor's shape with `shape`, which has room for TLM_MAX_DIMS sizes; start with
 * *ndim = 0. */
tlm_status_t tlmi_broadcast_shape(const char *op, int64_t *shape, int32_t *ndim,
                                  const tlm_tensor_t *tensor);

/* Computes strides that make `tensor` look as if it had shape `shape`, to which it must broadcast:
 * 0 along dimensions where it is repeated, its own elsewhere. */
void tlmi_broadcast_strides(int64_t *strides, const tlm_tensor_t *tensor, const int64_t *shape,
                            int32_t ndim);

/* Copies elements of `item` bytes each between two layouts of one shape. */
void tlmi_strided_copy(void *target, const int64_t *target_strides, const void *source,
                       const int64_t *source_strides, const int64_t *shape, int32_t ndim,
                       size_t item);

/* target = factor * source, or target += factor * source, for float32 layouts of one shape. */
void tlmi_strided_scale(float *target, const int64_t *target_strides, bool accumulate, float factor,
                        const float *source, const int64_t *source_strides, const int64_t *shape,
                        int32_t ndim);

/* Sums over dimensions: for the reductions and for the gradients of operands that were
 * broadcast. */

/* target (+)= factor * sum of `source` over the dimensions in which it is larger than target. Both
 * are row-major and have the same number of dimensions; each size of target is that of source or 1.
 * The sum is in float64, in an order that depends on the shapes only. */
void tlmi_reduce_sum(float *target, const int64_t *target_shape, bool accumulate, float factor,
                     const float *source, const int64_t *shape, int32_t ndim);

/* The same for a target of the tensor's shape, which broadcasts to `shape`. */
void tlmi_reduce_to(float *target, const tlm_tensor_t *tensor, bool accumulate, const float *source,
                    const int64_t *shape, int32_t ndim);

#endif
