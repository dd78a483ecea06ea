/* Cross-entropy over the logits of a linear layer, which never exist whole. */
#ifndef TLMI_CROSS_ENTROPY_H
#define TLMI_CROSS_ENTROPY_H

#include "tinylm/nn.h"

enum { TLMI_LOSS_SLICE = 512 /* rows whose logits exist at once */ };

/* tlm_cross_entropy(tlm_linear(x, weight), targets) in slices of rows: x (..., d), weight (classes,
 * d). Gradients are computed on the way, slice by slice, where they are wanted. */
tlm_status_t tlmi_linear_cross_entropy(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *weight,
                                       tlm_tensor_t *targets);

#endif
