/* Checkpoints: one safetensors file with weights, optimizer state, iteration and configuration.
 * docs/checkpoints.md describes the file. Threads: during a call no other thread may use its model
 * and its optimizer. */
#ifndef TINYLM_CHECKPOINT_H
#define TINYLM_CHECKPOINT_H

#include "model.h"
#include "optim.h"
#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Saves the model, the optimizer (NULL: only the weights) and the number of iterations done to one
 *  file. It is written under another name, fsynced and renamed, so that `path` always holds a whole
 *  checkpoint; on failure what was there stays. TLM_ERR_INVALID_ARGUMENT if a parameter of the
 *  optimizer is not one of the model's, TLM_ERR_NOT_FOUND or TLM_ERR_IO if the file cannot be
 *  written. @since 0.1 */
TLM_API tlm_status_t tlm_checkpoint_save(const tlm_model_t *model, const tlm_optimizer_t *optimizer,
                                         uint64_t iteration, const char *path);

/** What a checkpoint holds beyond the state of the training. @since 0.2 */
typedef struct tlm_checkpoint_options {
    /** sizeof(tlm_checkpoint_options_t). */
    size_t size;
    /** The user's own: a JSON object of at most 1 MiB; NULL: none. */
    const char *metadata;
    /** Loss of these weights, used if has_validation_loss. NaN and infinity are not stored, and
     *  such a checkpoint is never the best. */
    double validation_loss;
    /** Whether validation_loss is set. */
    bool has_validation_loss;
    uint8_t reserved[7];
    /** Tokenizer of the model, stored in the file; NULL: none. */
    const tlm_tokenizer_t *tokenizer;
} tlm_checkpoint_options_t;

#define TLM_CHECKPOINT_OPTIONS_INIT TLM_SIZED(tlm_checkpoint_options_t)

/** tlm_checkpoint_save with options (NULL: none), which are copied. TLM_ERR_FORMAT if metadata is
 *  not a JSON object, TLM_ERR_INVALID_ARGUMENT if it is too long; TLM_ERR_RANGE for a tokenizer
 *  with more tokens than the model's vocabulary, TLM_ERR_UNSUPPORTED for one that
 *  tlm_tokenizer_save_json refuses. @since 0.2 */
TLM_API tlm_status_t tlm_checkpoint_save_with(const tlm_model_t *model,
                                              const tlm_optimizer_t *optimizer, uint64_t iteration,
                                              const char *path,
                                              const tlm_checkpoint_options_t *options);

/** Reads the metadata that a checkpoint was saved with, byte for byte, or "{}"; free it with
 *  tlm_free. iteration may be NULL. The file is checked as by tlm_checkpoint_load: see there for
 *  errors. @since 0.2 */
TLM_API tlm_status_t tlm_checkpoint_metadata(char **metadata, uint64_t *iteration,
                                             const char *path);

/** Makes the tokenizer that a checkpoint was saved with; *out is NULL if it has none. Owned by the
 *  caller. The file is checked as by tlm_checkpoint_load: see there for errors. @since 0.2 */
TLM_API tlm_status_t tlm_checkpoint_tokenizer(tlm_tokenizer_t **out, const char *path);

/** Loads a checkpoint into an existing model of the same configuration and (unless NULL) an
 *  optimizer of the same kinds over the same groups of parameters, whose hyper-parameters and
 *  schedules become those of the file (tlm_trainer_resume compares them instead). iteration may be
 *  NULL. On failure neither has changed: TLM_ERR_SHAPE for another configuration, TLM_ERR_STATE for
 *  another optimizer, TLM_ERR_FORMAT for a file that is damaged or not a checkpoint,
 *  TLM_ERR_UNSUPPORTED for a later format or an unknown kind of optimizer, TLM_ERR_NOT_FOUND,
 *  TLM_ERR_IO. @since 0.1 */
TLM_API tlm_status_t tlm_checkpoint_load(uint64_t *iteration, tlm_model_t *model,
                                         tlm_optimizer_t *optimizer, const char *path);

/** Creates the model that a checkpoint describes, with its weights. Owned by the caller:
 *  tlm_model_free. See tlm_checkpoint_load for errors of the file. @since 0.1 */
TLM_API tlm_status_t tlm_model_load(tlm_model_t **out, const char *path);

/* ---- Directories ------------------------------------------------------------------------ */

/* The checkpoints of one run: step-00001234.safetensors and so on. Only one call at a time may use
 * a directory, in any process. */

/** Saves as tlm_checkpoint_save_with does, to directory/step-ITERATION.safetensors, and creates the
 *  directory if needed (its parent must exist). Temporary files that a killed process left behind
 *  are removed first. Once the new file is on the disk, those of earlier iterations are removed,
 *  except for the keep_last latest, counting the new one, and the one with the lowest validation
 *  loss; 0 keeps all. Later iterations and damaged files stay. TLM_ERR_INVALID_ARGUMENT for
 *  keep_last < 0; TLM_ERR_IO with "remove" in its message if the checkpoint is saved but an old one
 *  could not be removed. @since 0.2 */
TLM_API tlm_status_t tlm_checkpoint_dir_save(const tlm_model_t *model,
                                             const tlm_optimizer_t *optimizer, uint64_t iteration,
                                             const char *directory, int32_t keep_last,
                                             const tlm_checkpoint_options_t *options);

/** Finds the latest checkpoint that is whole, by its checksum; free *path with tlm_free. Damaged
 *  ones are skipped: *num_damaged (may be NULL) is how many. TLM_ERR_NOT_FOUND if there is none, or
 *  no directory; TLM_ERR_UNSUPPORTED for one of a later format. @since 0.2 */
TLM_API tlm_status_t tlm_checkpoint_dir_latest(char **path, int32_t *num_damaged,
                                               const char *directory);

/** The same for the checkpoint with the lowest validation loss, the earliest of equals; those saved
 *  without a loss do not count. @since 0.2 */
TLM_API tlm_status_t tlm_checkpoint_dir_best(char **path, int32_t *num_damaged,
                                             const char *directory);

#ifdef __cplusplus
}
#endif
#endif
