/* The trainer from within. */
#ifndef TLMI_TRAIN_CORE_H
#define TLMI_TRAIN_CORE_H

#include "base/communicator.h"
#include "base/json.h"
#include "data/data_core.h"
#include "optim/optimizer_core.h"
#include "tensor/tensor_core.h"
#include "tinylm/train.h"
#include "tinylm/model.h"

typedef struct tlmi_division tlmi_division_t;
typedef struct tlmi_gradient_sums tlmi_gradient_sums_t;

/* How far a run is: steps done, rows of the data that they have used, and tokens in these. */
typedef struct tlmi_run_place {
    uint64_t step, row, tokens;
} tlmi_run_place_t;

/* How many rows batches have from step first_step on. */
typedef struct tlmi_batch_plan {
    tlmi_batch_stage_t *stages;
    size_t num_stages;
    uint64_t first_step;
} tlmi_batch_plan_t;

struct tlm_trainer {
    tlm_trainer_options_t options; /* the strings are the trainer's own */
    tlm_schedule_options_t schedule;
    tlm_model_t *model; /* borrowed, like the next two */
    tlm_optimizer_t *optimizer;
    tlm_loader_t *loader;
    int64_t rows, context;            /* of a batch, once it is full */
    tlm_communicator_t *communicator; /* NULL: this process is alone */
    tlmi_division_t *division;        /* of parameters among the ranks; NULL if alone */
    tlmi_gradient_sums_t *sums;       /* over the ranks; NULL if alone */
    uint64_t first, count;            /* the batches of a step that are this rank's */
    double step_flops;                /* of the model's matrix products */
    tlmi_run_place_t place;
    tlmi_batch_plan_t plan;     /* owned */
    double best_loss;           /* of all evaluations; infinite before the first */
    bool is_evaluated;          /* no step was taken since the last evaluation */
    double last_loss;           /* of the last evaluation */
    tlm_tokenizer_t *tokenizer; /* of the checkpoint that it resumed from; NULL: none. Owned. */
    float *kept; /* the parameters while averages are in their place; NULL: they are not. Owned. */
};

/* Reads and checks a caller's options. Pointers are still the caller's, except for the schedule: if
 * there is one, it is read into *schedule, and known->schedule points there. known->communicator is
 * set even if another option is wrong. */
tlm_status_t tlmi_trainer_options_read(tlm_trainer_options_t *known,
                                       tlm_schedule_options_t *schedule,
                                       const tlm_trainer_options_t *options);

/* The rest of the checks: against the loader's batches. */
tlm_status_t tlmi_trainer_options_check_rows(const tlm_trainer_options_t *options, int64_t rows,
                                             int64_t context);

/* ---- What checkpoints record of a run ---------------------------------------------------- */

/* What the steps depend on besides model and optimizer, as an object. Owned: tlmi_json_free. */
tlm_status_t tlmi_run_record_write(tlmi_json_t **out, const tlm_trainer_t *trainer);

/* TLM_ERR_STATE, with both values, for the first option that is not the record's, unless
 * resume_changes names it. */
tlm_status_t tlmi_run_record_compare(const tlmi_json_t *record, const tlm_trainer_t *trainer,
                                     const char *path);

/* ---- Batch-size warm-up ----------------------------------------------------------------- */

/* Plans the batches of a trainer, whose options and shape are set, from a place on; free
 * out->stages. */
tlm_status_t tlmi_batch_plan_create(tlmi_batch_plan_t *out, const tlm_trainer_t *trainer,
                                    const tlmi_run_place_t *place);

/* Rows of each batch of the next step. */
int64_t tlmi_batch_plan_rows(const tlm_trainer_t *trainer);

/* ---- Evaluation, shared by models and trainers ------------------------------------------ */

/* Fails unless the data set has a window of `context` ids and one more id. */
tlm_status_t tlmi_check_windows(const char *function, const tlm_dataset_t *dataset,
                                int64_t context);

/* tlm_model_evaluate with a batch and a context that are in range, split over ranks unless
 * communicator is NULL: the same bits on any number of them. */
tlm_status_t tlmi_evaluate(tlm_evaluation_t *out, const char *function,
                           tlm_communicator_t *communicator, tlm_model_t *model,
                           const tlm_dataset_t *dataset, int64_t batch, int64_t context,
                           uint64_t max_tokens);

/* ---- Cost ------------------------------------------------------------------------------- */

/* Operations in the matrix products of a batch, forward and backward, as tlm_model_cost counts them,
 * of a model as it is: with its adapters, without gradients that nothing needs. */
double tlmi_model_flops(const tlm_model_t *model, int64_t batch, int64_t time);

/* ---- Averages --------------------------------------------------------------------------- */

/* Fails if averages are in the place of the parameters. */
tlm_status_t tlmi_check_not_averaged(const char *function, const tlm_trainer_t *trainer);

/* ---- NaN and infinity ------------------------------------------------------------------- */

/* TLM_ERR_NON_FINITE with "<where>: <parameter, or its gradient> is <value> at element <n>" for the
 * first value that is not finite, those of parameters before those of gradients. */
tlm_status_t tlmi_check_finite(const char *where, const tlm_model_t *model);

/* ---- Gradients of several micro-batches ------------------------------------------------- */

/* Gradients of micro-batches that wait for those of the others. */
typedef struct tlmi_kept_gradients tlmi_kept_gradients_t;

/* Adds the gradient of a micro-batch to the tensors' gradients, which do not exist before. With the
 * last one, `kept` is what completes the sum. */
typedef tlm_status_t (*tlmi_micro_batch_fn)(void *user, uint64_t number,
                                            const tlmi_kept_gradients_t *kept);

/* Computes the gradients of micro-batches first .. first + count - 1, count >= 1, and sums them along
 * a tree that depends on `count` only. The n tensors have no gradients before. While it runs, at most
 * ceil(log2(count)) sets of gradients are kept besides the one that is computed. */
tlm_status_t tlmi_sum_gradients(tlm_tensor_t *const *tensors, size_t n, uint64_t first,
                                uint64_t count, tlmi_micro_batch_fn compute, void *user);

/* In the last micro-batch: completes the sum of tensor `number`, whose own gradient is final, at once.
 * Afterwards tlmi_sum_gradients leaves it alone. */
void tlmi_add_kept_gradients(tlm_tensor_t *tensor, size_t number,
                             const tlmi_kept_gradients_t *kept);

/* ---- Ranks ------------------------------------------------------------------------------ */

/* The trained parameters, one after another in the model's order, are one row of elements that is cut
 * in chunks, and these in as many segments as there are ranks. Each rank updates its segments and
 * keeps the states of them. */

/* Divides the parameters that are trained, and the states of their optimizer. Collective. */
tlm_status_t tlmi_division_create(tlmi_division_t **out, tlm_communicator_t *communicator,
                                  tlm_optimizer_t *optimizer, tlm_tensor_t *const *trained,
                                  bool is_reproducible);
void tlmi_division_free(tlmi_division_t *division);

/* Fails unless these are the parameters that were divided. */
tlm_status_t tlmi_division_check(const char *function, const tlmi_division_t *division,
                                 tlm_tensor_t *const *trained, size_t n);

/* The sum of squares of the summed gradients, with the bits that tlmi_gradient_sum_squares has on one
 * rank; it may be infinite or NaN. */
tlm_status_t tlmi_division_sum_squares(double *out, const tlmi_division_t *division);

/* Scales the gradients in this rank's segments. */
void tlmi_division_scale(const tlmi_division_t *division, float factor);

/* Gives all ranks the parameters of all segments. */
tlm_status_t tlmi_division_share(tlmi_division_t *division);

/* Sums of gradients over the ranks, at best while backward runs. */
tlm_status_t tlmi_gradient_sums_create(tlmi_gradient_sums_t **out, tlmi_division_t *division);
void tlmi_gradient_sums_free(tlmi_gradient_sums_t *sums);

/* Prepares the watch with which the last micro-batch of a step goes back; `kept` completes its
 * gradients. */
void tlmi_gradient_sums_watch(tlmi_leaf_watch_t *watch, tlmi_gradient_sums_t *sums,
                              const tlmi_kept_gradients_t *kept);

/* Ends each step, whether there was such a micro-batch or not: each rank has the sums of all gradients
 * in its segments, and leftovers elsewhere. Fails on all ranks if `status`, of this rank's work,
 * fails on one. *overlap gets the seconds spent in the communicator while backward ran. */
tlm_status_t tlmi_gradient_sums_end(double *overlap, tlmi_gradient_sums_t *sums,
                                    tlm_status_t status);

/* Where rank 0 reads whole states, and what the others do meanwhile: they answer until rank 0 calls
 * tlmi_division_end with the status of what it did, which becomes that of all. */
tlm_status_t tlmi_division_read_state(void *division, const float **values, size_t parameter,
                                      size_t state);
tlm_status_t tlmi_division_answer(tlmi_division_t *division);
tlm_status_t tlmi_division_end(tlmi_division_t *division, tlm_status_t status);

/* Fills in the losses of the other ranks' batches. */
tlm_status_t tlmi_ranks_gather_losses(double *losses, const tlm_trainer_t *trainer);

/* Fails on all ranks unless they agree on what a run depends on, naming what differs. */
tlm_status_t tlmi_ranks_compare(const tlm_trainer_t *trainer);

/* The same for the parameters and the number of steps, after a checkpoint was loaded. */
tlm_status_t tlmi_ranks_compare_state(const tlm_trainer_t *trainer, const char *function);

#endif
