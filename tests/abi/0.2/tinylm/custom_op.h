/* Custom ops, from outside the library: the caller computes the result by any means, and a callback
 * computes the gradients. docs/adding-an-op.md walks through one. */
#ifndef TINYLM_CUSTOM_OP_H
#define TINYLM_CUSTOM_OP_H

#include "options.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Computes the gradients of the inputs from grad_out, the gradient of the result. grad_out is
 *  row-major and shared, so it must not be written to. If tlm_tensor_requires_grad(inputs[i]),
 *  set grads[i] to a float32 tensor of that input's shape, or leave it NULL for a gradient of 0.
 *  The library takes over one reference to each, whatever the status; grad_out or a saved tensor
 *  may be retained and returned. Everything else is borrowed for the call. Ops are not recorded
 *  during it. tlm_tensor_backward returns a status other than TLM_OK (as TLM_ERR_CANCELLED if
 *  status.h does not list it). Runs on the thread that called tlm_tensor_backward, at most once.
 *  @since 0.2 */
typedef tlm_status_t (*tlm_custom_backward_t)(void *user, tlm_tensor_t **grads,
                                              tlm_tensor_t *grad_out, tlm_tensor_t *const *inputs,
                                              size_t num_inputs, tlm_tensor_t *const *saved,
                                              size_t num_saved);

/** Begin with TLM_CUSTOM_OP_OPTIONS_INIT. backward is required, the rest may be 0.
 *  @since 0.2 */
typedef struct tlm_custom_op_options {
    /** sizeof(tlm_custom_op_options_t). */
    size_t size;
    /** Starts error messages; copied, truncated to 63 bytes. */
    const char *name;
    /** Required. */
    tlm_custom_backward_t backward;
    /** Called once `user` is no longer needed; may be NULL. */
    void (*release)(void *user);
    /** First argument of both. */
    void *user;
} tlm_custom_op_options_t;

#define TLM_CUSTOM_OP_OPTIONS_INIT TLM_SIZED(tlm_custom_op_options_t)

/** Creates a tensor over the memory of `result` (float32) and records it as computed from
 *  `inputs`, of any types, by a custom op. A graph of `result` itself is ignored. Nothing is
 *  recorded if no input requires a gradient or recording is off. inputs and saved (what else
 *  backward needs) are retained until backward has run or the graph is freed; a write to them in
 *  between makes tlm_tensor_backward fail. Then, or at once if nothing is recorded, release(user)
 *  is called: exactly once if this call succeeds, never if it fails. Owned by the caller.
 *  TLM_ERR_INVALID_ARGUMENT for NULL or a result of another type; TLM_ERR_RANGE for more than
 *  INT32_MAX inputs. @since 0.2 */
TLM_API tlm_status_t tlm_custom_op_record(tlm_tensor_t **out, const tlm_tensor_t *result,
                                          tlm_tensor_t *const *inputs, size_t num_inputs,
                                          tlm_tensor_t *const *saved, size_t num_saved,
                                          const tlm_custom_op_options_t *options);

#ifdef __cplusplus
}
#endif
#endif
