/* Checkpoints: one safetensors file with weights, optimiser state, iteration and configuration. */
#ifndef TINYLM_CHECKPOINT_H
#define TINYLM_CHECKPOINT_H

#include "model.h"
#include "optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Saves the model, the optimiser (NULL: weights only) and the number of iterations done. Written
 *  aside, fsynced and renamed: `path` is always a whole checkpoint. The optimiser's parameters must all
 *  be the model's. @since 0.1 */
TLM_API tlm_status_t tlm_checkpoint_save(const char *path, const tlm_model_t *model,
                                         tlm_optimizer_t *optimizer, uint64_t iteration);

/** Loads into an existing model of the same configuration and (unless NULL) an optimiser of the same
 *  kind over the same parameters. *iteration may be NULL. On error neither is changed. @since 0.1 */
TLM_API tlm_status_t tlm_checkpoint_load(uint64_t *iteration, const char *path, tlm_model_t *model,
                                         tlm_optimizer_t *optimizer);

/** Makes the model that a checkpoint describes, with its weights. Owned by the caller. @since 0.1 */
TLM_API tlm_status_t tlm_model_load(tlm_model_t **out, const char *path);

#ifdef __cplusplus
}
#endif
#endif
