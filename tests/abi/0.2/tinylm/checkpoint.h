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

/** What a checkpoint holds beside the state of the training. @since 0.2 */
typedef struct tlm_checkpoint_options {
    size_t size;
    const char *metadata;   /* the user's: a JSON object of at most 1 MiB; NULL: none */
    double validation_loss; /* of these weights, if has_validation_loss; what is NaN or infinite */
    bool has_validation_loss; /* is not stored, and never the best */
    uint8_t reserved[7];
} tlm_checkpoint_options_t;

#define TLM_CHECKPOINT_OPTIONS_INIT TLM_SIZED(tlm_checkpoint_options_t)

/** tlm_checkpoint_save with options (NULL: none), which are copied. TLM_ERR_FORMAT if metadata is
 *  no JSON object, TLM_ERR_INVALID_ARGUMENT if it is too long. @since 0.2 */
TLM_API tlm_status_t tlm_checkpoint_save_with(const char *path, const tlm_model_t *model,
                                              tlm_optimizer_t *optimizer, uint64_t iteration,
                                              const tlm_checkpoint_options_t *options);

/** The metadata that a checkpoint was saved with, byte for byte, or "{}"; freed with tlm_free.
 *  iteration may be NULL. The file is checked as by tlm_checkpoint_load, with its errors.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_checkpoint_metadata(char **metadata, uint64_t *iteration,
                                             const char *path);

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

/* ---- Directories ------------------------------------------------------------------------ */

/* The checkpoints of one run: step-00001234.safetensors and so on. One call at a time may use a
 * directory, whatever the process. */

/** Saves as tlm_checkpoint_save_with to directory/step-ITERATION.safetensors; makes the directory
 *  (its parent must exist). Once the file is on the disk, removes those of earlier iterations but
 *  for the keep_last latest, this one among them, and the one of the lowest validation loss in the
 *  directory; 0 keeps all. Later iterations and damaged files stay. What killed processes left
 *  half written is removed first. TLM_ERR_INVALID_ARGUMENT for keep_last < 0; TLM_ERR_IO with
 *  "remove" in its message: the checkpoint is saved, an old one could not be removed. @since 0.2 */
TLM_API tlm_status_t tlm_checkpoint_dir_save(const char *directory, const tlm_model_t *model,
                                             tlm_optimizer_t *optimizer, uint64_t iteration,
                                             const tlm_checkpoint_options_t *options,
                                             int32_t keep_last);

/** The path of the latest checkpoint that is whole, by its checksum; freed with tlm_free. Damaged
 *  ones are passed over: *num_damaged (may be NULL) is how many. TLM_ERR_NOT_FOUND if there is
 *  none, or no directory; TLM_ERR_UNSUPPORTED for one of a later format. @since 0.2 */
TLM_API tlm_status_t tlm_checkpoint_dir_latest(char **path, int32_t *num_damaged,
                                               const char *directory);

/** The same for the checkpoint of the lowest validation loss, the earliest of equals; those saved
 *  without one do not count. @since 0.2 */
TLM_API tlm_status_t tlm_checkpoint_dir_best(char **path, int32_t *num_damaged,
                                             const char *directory);

#ifdef __cplusplus
}
#endif
#endif
