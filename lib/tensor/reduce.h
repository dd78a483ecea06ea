/* Sums over dimensions, for the reductions and for the gradients of broadcast operands. */
#ifndef TLMI_REDUCE_H
#define TLMI_REDUCE_H

#include "tensor/tensor_core.h"

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
