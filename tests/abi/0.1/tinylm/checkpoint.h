/* Checkpoints: one safetensors file with weights, optimiser state, iteration and configuration.
 * docs/checkpoints.md describes the file. Threads: a call uses its model and optimiser, and nothing
 * else may meanwhile. */
#ifndef TINYLM_CHECKPOINT_H
#define TINYLM_CHECKPOINT_H

#include "model.h"
#include "optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Saves the model, the optimiser (NULL: weights only) and the number of iterations done. Written
 *  aside, fsynced and renamed: `path` is always a whole checkpoint. TLM_ERR_INVALID_ARGUMENT unless
 *  the optimiser's parameters are all the model's, TLM_ERR_NOT_FOUND or TLM_ERR_IO if the file
 *  cannot be written; what was at `path` before then stays. @since 0.1 */
TLM_API tlm_status_t tlm_checkpoint_save(const char *path, const tlm_model_t *model,
                                         tlm_optimizer_t *optimizer, uint64_t iteration);

/** Loads into an existing model of the same configuration and (unless NULL) an optimiser of the
 *  same kind over the same parameters. iteration may be NULL. On error neither is changed:
 *  TLM_ERR_SHAPE for another configuration, TLM_ERR_STATE for another optimiser, TLM_ERR_FORMAT for
 *  a file that is damaged or no checkpoint, TLM_ERR_UNSUPPORTED for a later format,
 *  TLM_ERR_NOT_FOUND, TLM_ERR_IO. The optimiser's hyper-parameters become those of the file.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_checkpoint_load(uint64_t *iteration, const char *path, tlm_model_t *model,
                                         tlm_optimizer_t *optimizer);

/** Makes the model that a checkpoint describes, with its weights. Owned by the caller. Errors of
 *  the file as of tlm_checkpoint_load. @since 0.1 */
TLM_API tlm_status_t tlm_model_load(tlm_model_t **out, const char *path);

#ifdef __cplusplus
}
#endif
#endif
