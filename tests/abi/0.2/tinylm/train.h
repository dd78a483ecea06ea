/* Training: steps over batches, with learning rates by schedule, clipped gradients, evaluations and
 * checkpoints. docs/training.md shows it in use. */
#ifndef TINYLM_TRAIN_H
#define TINYLM_TRAIN_H

#include "data.h"
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

/* ---- Evaluation ------------------------------------------------------------------------- */

/* How good a model is. Structs that the library fills open with `size`: the caller sets it where
 * the struct is the caller's, begin with ..._INIT. */
typedef struct tlm_evaluation {
    size_t size;
    uint64_t step;   /* of the trainer: steps done; otherwise 0 */
    uint64_t tokens; /* that were predicted */
    double loss;     /* mean, nats a token */
    double perplexity;
    double seconds;
    bool is_best; /* of the trainer: the lowest loss so far */
    uint8_t reserved[7];
} tlm_evaluation_t;

#define TLM_EVALUATION_INIT TLM_SIZED(tlm_evaluation_t)

/** Mean loss over windows of `context` ids (0: the model's), spread evenly over the data set, of
 *  about max_tokens in all (0: the whole set but the last few, too few for a window); `batch`
 *  windows at a time. The same windows at each call. Set out->size first. TLM_ERR_RANGE if the data
 *  set is no longer than a window; errors otherwise as of tlm_model_loss; TLM_ERR_NON_FINITE if the
 *  loss is not finite. @since 0.2 */
TLM_API tlm_status_t tlm_model_evaluate(tlm_evaluation_t *out, tlm_model_t *model,
                                        const tlm_dataset_t *dataset, int64_t batch,
                                        int64_t context, uint64_t max_tokens);

/* ---- Trainer ---------------------------------------------------------------------------- */

/** A run of training steps over a model, an optimiser and a loader. Externally synchronised; while
 *  a call runs, the three belong to it. */
typedef struct tlm_trainer tlm_trainer_t;

/* What a step did. */
typedef struct tlm_train_step {
    size_t size;
    uint64_t step;        /* steps done, this one among them */
    uint64_t tokens;      /* of all these steps */
    double loss;          /* mean of the step's batches before the update, nats a token */
    double learning_rate; /* of the first group */
    double gradient_norm; /* before clipping */
    double seconds;
    double tokens_per_second;
    double utilisation; /* share of peak_flops used by the model's products (MFU); 0: not known */
} tlm_train_step_t;

#define TLM_TRAIN_STEP_INIT TLM_SIZED(tlm_train_step_t)

/* Called by tlm_trainer_run on its thread; what they are given is borrowed until they return.
 * `path` is the file or the directory of the options. Anything but 0 ends the run after the step's
 * other work. @since 0.2 */
typedef int32_t (*tlm_step_callback_t)(void *user, const tlm_train_step_t *step);
typedef int32_t (*tlm_evaluation_callback_t)(void *user, const tlm_evaluation_t *evaluation);
typedef int32_t (*tlm_save_callback_t)(void *user, const char *path, uint64_t step);

/** Strings and the schedule are copied; the data set is borrowed until the trainer is freed.
 *  @since 0.2 */
typedef struct tlm_trainer_options {
    size_t size;
    uint64_t steps;                         /* of the whole run; there is no default */
    const tlm_schedule_options_t *schedule; /* step n, from 1, has its rate n; NULL: as they are */
    double clip_norm;                       /* of the gradient; 0: none */
    uint64_t accumulation;                  /* batches of the loader a step; 0: 1 */
    const tlm_dataset_t *valid;             /* to evaluate on; may be NULL */
    uint64_t eval_every;         /* steps between evaluations, one after the last too; 0: none */
    uint64_t eval_tokens;        /* as of tlm_model_evaluate */
    const char *checkpoint_path; /* a file that each save replaces; may be NULL */
    uint64_t save_every;         /* steps between saves; 0: at the end of the run only */
    double peak_flops;           /* operations a second that the machine can do; 0: not known */
    tlm_step_callback_t on_step; /* each callback may be NULL */
    tlm_evaluation_callback_t on_evaluation;
    tlm_save_callback_t on_save;
    void *user;                    /* of the callbacks */
    bool activation_checkpointing; /* turns on tlm_model_set_checkpointing */
    bool save_on_cancel;           /* where a callback ends the run */
    uint8_t reserved[6];
    const char *checkpoint_dir; /* in place of checkpoint_path: a directory of checkpoints, as of */
    int32_t keep_last;          /* tlm_checkpoint_dir_save; 0: all are kept */
    uint8_t reserved2[4];
} tlm_trainer_options_t;

#define TLM_TRAINER_OPTIONS_INIT TLM_SIZED(tlm_trainer_options_t)

/** Makes a trainer at step 0. model, optimizer and loader are borrowed until it is freed; the
 *  optimiser holds the parameters already (tlm_optimizer_add_model). Owned by the caller.
 *  TLM_ERR_INVALID_ARGUMENT, naming the field, for options out of range, TLM_ERR_RANGE if the
 *  loader's rows are longer than the model's context or the data set no longer than they.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_trainer_create(tlm_trainer_t **out, tlm_model_t *model,
                                        tlm_optimizer_t *optimizer, tlm_loader_t *loader,
                                        const tlm_trainer_options_t *options);

/** Frees the trainer, and nothing that it borrows. NULL is fine. @since 0.2 */
TLM_API void tlm_trainer_free(tlm_trainer_t *trainer);

/** Steps done, those before a resumed checkpoint among them; 0 of NULL. @since 0.2 */
TLM_API uint64_t tlm_trainer_steps(const tlm_trainer_t *trainer);

/** One step: step n, from 0, takes batches n accumulation .. (n + 1) accumulation - 1 of the
 *  loader, and its gradient is the mean of theirs. *out (may be NULL) tells of it; set out->size
 *  first. No callback is called. TLM_ERR_NON_FINITE, with the step and the first parameter that it
 *  was found in, if the loss or a gradient is NaN or infinite; TLM_ERR_STATE if all steps are done.
 *  On failure no parameter and no state of the optimiser has changed, and the step may be tried
 *  again. @since 0.2 */
TLM_API tlm_status_t tlm_trainer_step(tlm_train_step_t *out, tlm_trainer_t *trainer);

/** Steps until `until` of them (0, or beyond: all of the options) are done; evaluates and saves as
 *  the options say, saves at the end if a step was taken, and calls the callbacks: of a step's,
 *  that of the step first, then of the evaluation, then of the save. TLM_ERR_CANCELLED if one of
 *  them ended the run: the trainer is then as after any step, and may go on. Errors of
 *  tlm_trainer_step, tlm_trainer_evaluate and tlm_trainer_save end the run too. @since 0.2 */
TLM_API tlm_status_t tlm_trainer_run(tlm_trainer_t *trainer, uint64_t until);

/** Evaluates the model on options.valid as tlm_model_evaluate does, with batches of the loader's
 *  shape. TLM_ERR_STATE without that data set. @since 0.2 */
TLM_API tlm_status_t tlm_trainer_evaluate(tlm_evaluation_t *out, tlm_trainer_t *trainer);

/** Saves a checkpoint of the steps done to the file `path`; NULL: to where the options say. With it
 *  go the lowest loss so far and, if the model was evaluated after the last step, its loss. Errors
 *  as of tlm_checkpoint_save_with and tlm_checkpoint_dir_save; TLM_ERR_STATE if there is nowhere to
 *  save to. @since 0.2 */
TLM_API tlm_status_t tlm_trainer_save(tlm_trainer_t *trainer, const char *path);

/** Loads a checkpoint into model and optimiser and goes on behind its steps: the run that follows
 *  has the same bits as one that was never interrupted, if model, data, and options but callbacks
 *  are the same. path NULL: the file of the options, or the latest whole checkpoint of their
 *  directory. Errors as of tlm_checkpoint_load and tlm_checkpoint_dir_latest (TLM_ERR_NOT_FOUND if
 *  there is none yet); on failure nothing has changed. @since 0.2 */
TLM_API tlm_status_t tlm_trainer_resume(tlm_trainer_t *trainer, const char *path);

#ifdef __cplusplus
}
#endif
#endif
