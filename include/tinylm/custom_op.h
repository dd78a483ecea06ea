/* Ops of one's own, from outside the library: the caller computes the result with whatever it
 * likes, and a callback takes the gradient back. docs/adding-an-op.md walks through one. */
#ifndef TINYLM_CUSTOM_OP_H
#define TINYLM_CUSTOM_OP_H

#include "options.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Makes the gradients of the inputs from grad_out, that of the result: row-major and shared, so it
 *  is not to be written to. Where tlm_tensor_requires_grad(inputs[i]), grads[i], NULL at first, is
 *  to become a float32 tensor of that input's shape, or to stay NULL for a gradient of 0. The
 *  library takes over one reference to each, whatever is returned; grad_out or a saved tensor,
 *  retained, will do. All else is borrowed for the call. Ops are not recorded meanwhile. Another
 *  status than TLM_OK ends tlm_tensor_backward, which returns it (TLM_ERR_CANCELLED for a number
 *  that status.h does not list). Runs on the thread that called tlm_tensor_backward, at most once.
 *  @since 0.2 */
typedef tlm_status_t (*tlm_custom_backward_t)(void *user, tlm_tensor_t **grads,
                                              tlm_tensor_t *grad_out, tlm_tensor_t *const *inputs,
                                              size_t num_inputs, tlm_tensor_t *const *saved,
                                              size_t num_saved);

/** Begin with TLM_CUSTOM_OP_OPTIONS_INIT. backward is needed, the rest may be 0. */
typedef struct tlm_custom_op_options {
    size_t size;                    /* sizeof(tlm_custom_op_options_t) */
    const char *name;               /* begins the messages; copied, cut at 63 bytes */
    tlm_custom_backward_t backward; /* see above */
    void (*release)(void *user);    /* user is no longer needed */
    void *user;                     /* given to both */
} tlm_custom_op_options_t;

#define TLM_CUSTOM_OP_OPTIONS_INIT TLM_SIZED(tlm_custom_op_options_t)

/** A tensor over the memory of `result` (float32), recorded as made from `inputs`, of any types, by
 *  a custom op. The graph that `result` itself may have is not followed. Where no input requires a
 *  gradient or recording is off, nothing is recorded. Inputs and saved, what backward wants
 *  besides, are retained until backward has passed or the graph is freed; a write to them in
 *  between makes tlm_tensor_backward fail. Then, or at once if nothing is recorded, release(user)
 *  is called: exactly once if this call succeeds, not if it fails. Owned by the caller.
 *  TLM_ERR_INVALID_ARGUMENT, besides NULLs, for a result of another type; TLM_ERR_RANGE for more
 *  than INT32_MAX inputs. @since 0.2 */
TLM_API tlm_status_t tlm_custom_op_record(tlm_tensor_t **out, const tlm_tensor_t *result,
                                          tlm_tensor_t *const *inputs, size_t num_inputs,
                                          tlm_tensor_t *const *saved, size_t num_saved,
                                          const tlm_custom_op_options_t *options);

#ifdef __cplusplus
}
#endif
#endif
