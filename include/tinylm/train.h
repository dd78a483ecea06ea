/* Training. docs/training.md shows it in use. */
#ifndef TINYLM_TRAIN_H
#define TINYLM_TRAIN_H

#include "model.h"
#include "optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Parameters ------------------------------------------------------------------------- */

/* Parameters without weight decay, to be joined with |. @since 0.2 */
#define TLM_NO_DECAY_NORMS      1u
#define TLM_NO_DECAY_EMBEDDINGS 2u /* the output projection too where that is the embedding */

/** Adds all parameters of the model to the optimiser: a group, and behind it a group with weight
 *  decay 0 of those that no_decay (TLM_NO_DECAY_... or 0) names, where there are any. options as of
 *  tlm_optimizer_add_group; SGD, which has no weight decay, keeps one group. TLM_ERR_STATE if the
 *  optimiser has one of the parameters already, TLM_ERR_INVALID_ARGUMENT for unknown bits or
 *  options out of range; then nothing is added. @since 0.2 */
TLM_API tlm_status_t tlm_optimizer_add_model(tlm_optimizer_t *optimizer, const tlm_model_t *model,
                                             uint32_t no_decay, const tlm_adamw_options_t *options);

/** TLM_ERR_NON_FINITE, naming the parameter and the place, if a parameter of the model or a
 *  gradient holds NaN or infinity; TLM_OK if all are finite. One pass over them. @since 0.2 */
TLM_API tlm_status_t tlm_model_check_finite(const tlm_model_t *model);

#ifdef __cplusplus
}
#endif
#endif
