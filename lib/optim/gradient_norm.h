/* Norms of gradients: in parallel, the same bits on any number of threads. */
#ifndef TLMI_GRADIENT_NORM_H
#define TLMI_GRADIENT_NORM_H

#include "tinylm/tensor.h"

/* Sum of squares of n row-major gradients (a parameter without one has NULL), in float64, which
 * cannot overflow: it is finite exactly if all gradients are. Otherwise fails with
 * TLM_ERR_NON_FINITE, naming the first parameter and element that is not. */
tlm_status_t tlmi_gradient_sum_squares(double *out, const char *function,
                                       tlm_tensor_t *const *gradients, size_t n);

#endif
