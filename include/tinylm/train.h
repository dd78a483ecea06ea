/* Training: steps over batches with a learning rate by schedule and clipped gradients, evaluations,
 * and checkpoints. docs/training.md shows it in use. */
#ifndef TINYLM_TRAIN_H
#define TINYLM_TRAIN_H

#include "communicator.h"
#include "data.h"
#include "model.h"
#include "optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Parameters ------------------------------------------------------------------------- */

/* Parameters without weight decay; combine them with |. @since 0.2 */
/** The gains of norms. */
#define TLM_NO_DECAY_NORMS 1u
/** The token embedding, which is the output projection too where embeddings are tied. */
#define TLM_NO_DECAY_EMBEDDINGS 2u

/** Adds all parameters of the model that are not frozen (tlm_model_set_frozen) to the optimizer:
 *  one group, and after it a group with weight decay 0 for those that no_decay (TLM_NO_DECAY_... or
 *  0) names, if there are any. `options`, which may be NULL, are those of tlm_optimizer_add_group.
 *  An optimizer whose kind has no weight decay gets one group; Muon's is followed by such groups of
 *  AdamW (tlm_optimizer_create_muon). Where the model has base_width, matrices whose learning rate
 *  depends on the width have groups of their own (TLM_ERR_UNSUPPORTED for SGD, which has no rule).
 *  On failure nothing is added: TLM_ERR_STATE if the optimizer has one of the parameters already or
 *  all are frozen, TLM_ERR_INVALID_ARGUMENT for unknown bits or options out of range. @since 0.2 */
TLM_API tlm_status_t tlm_optimizer_add_model(tlm_optimizer_t *optimizer, const tlm_model_t *model,
                                             uint32_t no_decay, const tlm_group_options_t *options);

/** Checks that all parameters of the model and their gradients are finite, in one pass over them.
 *  TLM_ERR_NON_FINITE, naming the parameter and the element, for the first that is NaN or infinite.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_model_check_finite(const tlm_model_t *model);

/* ---- Evaluation ------------------------------------------------------------------------- */

/** How good a model is. Filled by the library; set `size` first, or start from TLM_EVALUATION_INIT.
 *  @since 0.2 */
typedef struct tlm_evaluation {
    /** sizeof(tlm_evaluation_t). */
    size_t size;
    /** Steps that the trainer has done; 0 without a trainer. */
    uint64_t step;
    /** Tokens that were predicted. */
    uint64_t tokens;
    /** Mean loss in nats per token. */
    double loss;
    /** exp(loss). */
    double perplexity;
    /** Time that it took. */
    double seconds;
    /** With a trainer: whether this is its lowest loss so far. */
    bool is_best;
    uint8_t reserved[7];
} tlm_evaluation_t;

#define TLM_EVALUATION_INIT TLM_SIZED(tlm_evaluation_t)

/** Computes the mean loss over windows of `context` ids (0: the model's), `batch` windows at a
 *  time. The windows are spread evenly over the data set, about max_tokens in all (0: the whole
 *  data set except for an incomplete window at its end), and are the same in every call. Set
 *  out->size first. TLM_ERR_RANGE if the data set is not longer than a window, TLM_ERR_NON_FINITE
 *  if the loss is not finite; see tlm_model_loss for other errors. @since 0.2 */
TLM_API tlm_status_t tlm_model_evaluate(tlm_evaluation_t *out, tlm_model_t *model,
                                        const tlm_dataset_t *dataset, int64_t batch,
                                        int64_t context, uint64_t max_tokens);

/** The same, with the batches split over the ranks of a communicator, which all call it (NULL: this
 *  process alone): the result has the same bits on any number of them. @since 0.2 */
TLM_API tlm_status_t tlm_model_evaluate_on_ranks(tlm_evaluation_t *out, tlm_model_t *model,
                                                 tlm_communicator_t *communicator,
                                                 const tlm_dataset_t *dataset, int64_t batch,
                                                 int64_t context, uint64_t max_tokens);

/** How some parameters of a model are trained, by their names. @since 0.2 */
typedef struct tlm_group_rule {
    /** sizeof(tlm_group_rule_t). */
    size_t size;
    /** Names, with patterns as in tlm_model_set_frozen, separated by commas. */
    const char *patterns;
    /** Used if has_learning_rate. Under a trainer's schedule the rate is the share that this has of
     *  that of the optimizer's creation. */
    double learning_rate;
    /** Used if has_weight_decay, whatever no_decay says. */
    double weight_decay;
    /** Whether learning_rate is set. */
    bool has_learning_rate;
    /** Whether weight_decay is set. */
    bool has_weight_decay;
    uint8_t reserved[6];
    /** Of the groups' own: tlm_optimizer_set_schedule; NULL: none. */
    const tlm_schedule_options_t *schedule;
} tlm_group_rule_t;

#define TLM_GROUP_RULE_INIT TLM_SIZED(tlm_group_rule_t)

/** tlm_optimizer_add_model with n rules: the parameters that fit one form groups of their own,
 *  after those of the others. TLM_ERR_NOT_FOUND, naming it, for a pattern that no trained
 *  parameter fits; TLM_ERR_INVALID_ARGUMENT, naming them, if two rules fit one parameter. On
 *  failure nothing has changed. @since 0.2 */
TLM_API tlm_status_t tlm_optimizer_add_model_with(tlm_optimizer_t *optimizer,
                                                  const tlm_model_t *model, uint32_t no_decay,
                                                  const tlm_group_options_t *options,
                                                  const tlm_group_rule_t *rules, size_t n);

/* ---- Trainer ---------------------------------------------------------------------------- */

/** A run of training steps over a model, an optimizer and a loader, all borrowed. Not thread-safe:
 *  use each trainer, and the three that it borrows, from one thread at a time.
 *
 *  With a communicator, the ranks R that it joins share the batches of each step, and every call
 *  below is collective (docs/scaling.md). Parameters, losses and checkpoints have the same bits for
 *  any R that is a power of two and divides the batches of a step; R = 1 too. Each rank keeps
 *  1 / R of the optimizer's state, which only the trainer can use from then on. Rank 0 writes the
 *  checkpoints, which every rank must be able to read. If one rank fails, all do, naming it; after
 *  TLM_ERR_IO of the communicator the program should end. @since 0.2 */
typedef struct tlm_trainer tlm_trainer_t;

/** What a step did. Filled by the library; set `size` first, or start from TLM_TRAIN_STEP_INIT.
 *  @since 0.2 */
typedef struct tlm_train_step {
    /** sizeof(tlm_train_step_t). */
    size_t size;
    /** Steps done, including this one. */
    uint64_t step;
    /** Tokens of all these steps. */
    uint64_t tokens;
    /** Mean loss of the step's batches before the update, in nats per token. */
    double loss;
    /** Learning rate of the first group. */
    double learning_rate;
    /** Joint norm of the gradients before clipping. */
    double gradient_norm;
    /** Time that the step took. */
    double seconds;
    /** Tokens of the step per second. */
    double tokens_per_second;
    /** Share of peak_flops that the model's matrix products used (MFU); 0 if unknown. */
    double utilization;
    /** Part of `seconds` that this rank did nothing but wait for the communicator. */
    double communication_seconds;
    /** Parts of `seconds`: forward and backward of this rank's batches; */
    double compute_seconds;
    /** after that, until all gradients were summed over the ranks; */
    double reduce_scatter_seconds;
    /** the norm, clipping, the optimizer, and what little else the ranks exchange; */
    double update_seconds;
    /** until this rank had the parameters of all others. */
    double gather_seconds;
    /** Time in the communicator while backward ran, which is not in communication_seconds. */
    double overlap_seconds;
    /** Tokens of this step. */
    uint64_t step_tokens;
} tlm_train_step_t;

#define TLM_TRAIN_STEP_INIT TLM_SIZED(tlm_train_step_t)

/* Callbacks of tlm_trainer_run, called on its thread. Their arguments are borrowed until they
 * return. Any result other than 0 ends the run once the step's evaluation and save are done.
 * @since 0.2 */
/** After a step. */
typedef int32_t (*tlm_step_callback_t)(void *user, const tlm_train_step_t *step);
/** After an evaluation. */
typedef int32_t (*tlm_evaluation_callback_t)(void *user, const tlm_evaluation_t *evaluation);
/** After a save; `path` is the file or the directory of the options. */
typedef int32_t (*tlm_save_callback_t)(void *user, const char *path, uint64_t step);

/** Options of a trainer. Strings and the schedule are copied; the data set is borrowed until the
 *  trainer is freed. @since 0.2 */
typedef struct tlm_trainer_options {
    /** sizeof(tlm_trainer_options_t). */
    size_t size;
    /** Steps of the whole run; there is no default. */
    uint64_t steps;
    /** Step n, counted from 1, has the rate of the schedule's step n; NULL: the rates stay. */
    const tlm_schedule_options_t *schedule;
    /** Norm that the gradients are clipped to; 0: no clipping. */
    double clip_norm;
    /** Batches of the loader per step, of all ranks together; 0: 1. */
    uint64_t accumulation;
    /** Data set to evaluate on; may be NULL. */
    const tlm_dataset_t *valid;
    /** Steps between evaluations, with one more after the last step; 0: no evaluations. */
    uint64_t eval_every;
    /** max_tokens of tlm_model_evaluate. */
    uint64_t eval_tokens;
    /** File that each save replaces; may be NULL. */
    const char *checkpoint_path;
    /** Steps between saves; 0: only at the end of the run. */
    uint64_t save_every;
    /** Floating-point operations per second that the machine can do; 0: unknown. */
    double peak_flops;
    /** Called after each step; may be NULL. */
    tlm_step_callback_t on_step;
    /** Called after each evaluation; may be NULL. */
    tlm_evaluation_callback_t on_evaluation;
    /** Called after each save; may be NULL. */
    tlm_save_callback_t on_save;
    /** First argument of the callbacks. */
    void *user;
    /** Calls tlm_model_set_checkpointing(model, true). */
    bool activation_checkpointing;
    /** Saves before a callback ends the run. */
    bool save_on_cancel;
    uint8_t reserved[6];
    /** Directory of checkpoints (tlm_checkpoint_dir_save), instead of checkpoint_path. */
    const char *checkpoint_dir;
    /** keep_last of tlm_checkpoint_dir_save; 0: all are kept. */
    int32_t keep_last;
    uint8_t reserved2[4];
    /** Stored in the checkpoints; NULL: the one of the checkpoint that the trainer resumed from, if
     *  any. Borrowed until the trainer is freed. */
    const tlm_tokenizer_t *tokenizer;
    /** The ranks that take each step together, borrowed until the trainer is freed; NULL: this
     *  process alone. */
    tlm_communicator_t *communicator;
    /** Any number of ranks, whose sums the engine adds in its own order; false: the same bits. */
    bool irreproducible;
    uint8_t reserved3[3];
    /** TLM_PRODUCTS_...: how the linear layers take their factors in forward and backward, in place
     *  of tlm_products(), which evaluations follow. */
    int32_t products;
    /** Evaluates averages of the parameters: tlm_optimizer_set_average; 0: the parameters. */
    double average_decay;
    /** Batch-size warm-up (Brown et al. 2020): rows of each batch in the first step. They grow to
     *  the loader's batch_size, and accumulation stays. 0: batches are full from the start. */
    int64_t batch_start;
    /** Rows by which they grow each time; 0: 1. */
    int64_t batch_increment;
    /** They are full after this many steps, and grow in a straight line until then; */
    uint64_t batch_warmup_steps;
    /** or after this many tokens. */
    uint64_t batch_warmup_tokens;
    /** Options in which a run that tlm_trainer_resume continues may differ from the checkpoint's:
     *  names as there, or patterns of them, separated by commas; NULL: none. */
    const char *resume_changes;
} tlm_trainer_options_t;

#define TLM_TRAINER_OPTIONS_INIT TLM_SIZED(tlm_trainer_options_t)

/** Creates a trainer at step 0. model, optimizer and loader are borrowed until it is freed. The
 *  optimizer holds the parameters to train (tlm_optimizer_add_model adds them all); parameters of
 *  the model that it does not hold are frozen. Owned by the caller: tlm_trainer_free.
 *  TLM_ERR_INVALID_ARGUMENT, naming the field, for options out of range; TLM_ERR_RANGE if the
 *  loader's rows are longer than the model's context, or the data set is not longer than a row;
 *  TLM_ERR_STATE if the optimizer holds no parameter, or one that is not the model's, or if the
 *  ranks' parameters or options differ, naming what. @since 0.2 */
TLM_API tlm_status_t tlm_trainer_create(tlm_trainer_t **out, tlm_model_t *model,
                                        tlm_optimizer_t *optimizer, tlm_loader_t *loader,
                                        const tlm_trainer_options_t *options);

/** Frees the trainer, but nothing that it borrows. NULL is fine. @since 0.2 */
TLM_API void tlm_trainer_free(tlm_trainer_t *trainer);

/** Number of steps done, including those before a resumed checkpoint; 0 for NULL. @since 0.2 */
TLM_API uint64_t tlm_trainer_steps(const tlm_trainer_t *trainer);

/** Takes one step: the next `accumulation` batches of the loader, of fewer rows while they warm up;
 *  its gradient is the mean of theirs. So step n, from 0, without a warm-up uses batches n
 *  accumulation .. (n + 1) accumulation - 1. *out (may be NULL) tells what it did; set out->size
 *  first. No callback is called. TLM_ERR_STATE if all steps are done, or for an optimizer
 *  that tlm_trainer_create would refuse; TLM_ERR_NON_FINITE, naming the step and the first
 *  parameter affected, if the loss or a gradient is NaN or infinite. On failure the parameters and
 *  the optimizer, learning rates included, are unchanged, and the step may be tried again.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_trainer_step(tlm_train_step_t *out, tlm_trainer_t *trainer);

/** Takes steps until `until` of them are done (0, or too many: all of the options); evaluates and
 *  saves as the options say, and saves at the end if it took a step. Callbacks of one step come in
 *  this order: step, evaluation, save. TLM_ERR_CANCELLED if one of them ended the run; the trainer
 *  is then as after any step, and may go on. See tlm_trainer_step, tlm_trainer_evaluate and
 *  tlm_trainer_save for the errors that end a run. @since 0.2 */
TLM_API tlm_status_t tlm_trainer_run(tlm_trainer_t *trainer, uint64_t until);

/** Evaluates the model on options.valid as tlm_model_evaluate does, with batches of the loader's
 *  shape. TLM_ERR_STATE without that data set. @since 0.2 */
TLM_API tlm_status_t tlm_trainer_evaluate(tlm_evaluation_t *out, tlm_trainer_t *trainer);

/** Puts the averages of the parameters in their place, for evaluation, generation and export, or
 *  the parameters back. Meanwhile the trainer takes no step, and saves and resumes no checkpoint:
 *  TLM_ERR_STATE. It keeps a copy of the trained parameters until then; a trainer that is freed
 *  leaves the averages. Evaluations of trainers with average_decay do this by themselves.
 *  Collective. TLM_ERR_STATE if there are no averages. @since 0.2 */
TLM_API tlm_status_t tlm_trainer_use_average(tlm_trainer_t *trainer, bool enabled);

/** Saves a checkpoint of the steps done to the file `path`, or where the options say if path is
 *  NULL. It includes the lowest loss so far and, if the model was evaluated after the last step,
 *  that loss. TLM_ERR_STATE if there is nowhere to save to; see tlm_checkpoint_save_with and
 *  tlm_checkpoint_dir_save for other errors. @since 0.2 */
TLM_API tlm_status_t tlm_trainer_save(tlm_trainer_t *trainer, const char *path);

/* The options that checkpoints of trainers record: steps, clip_norm, accumulation, batch_start,
 * batch_increment, batch_warmup_steps, batch_warmup_tokens and products of the trainer;
 * schedule.kind ("none" without one) and the other fields of its schedule; loader.batch_size,
 * loader.context_length, loader.seed, loader.order, loader.document_end and loader.num_ids, the
 * length of its data; average_decay; and of each group of the optimizer group.learning_rate,
 * group.weight_decay, group.rate_factor, group.schedule.kind and so on, and the options of its
 * kind, such as group.beta2. @since 0.2 */

/** Loads the weights and states of a checkpoint and continues after its steps, with the same bits
 *  as a run that was never interrupted. TLM_ERR_STATE, with both values, for the first option of
 *  the list above that is not the checkpoint's; if resume_changes names it, the value of this
 *  trainer or of its optimizer counts from here on (average_decay can only become 0). The rates
 *  that schedules give are not compared. path NULL: the file of the options, or the latest whole
 *  checkpoint of their directory. On failure nothing has changed; see tlm_checkpoint_load and
 *  tlm_checkpoint_dir_latest for errors (TLM_ERR_NOT_FOUND if there is no checkpoint yet).
 *  @since 0.2 */
TLM_API tlm_status_t tlm_trainer_resume(tlm_trainer_t *trainer, const char *path);

#ifdef __cplusplus
}
#endif
#endif
