/* The trainer from within. */
#ifndef TLMI_TRAIN_CORE_H
#define TLMI_TRAIN_CORE_H

#include "tinylm/train.h"
#include "tinylm/model.h"

struct tlm_trainer {
    tlm_trainer_options_t options; /* the strings are the trainer's own */
    tlm_schedule_options_t schedule;
    tlm_model_t *model; /* borrowed, like the next two */
    tlm_optimizer_t *optimizer;
    tlm_loader_t *loader;
    int64_t rows, context;      /* of a batch */
    double step_flops;          /* of the model's matrix products */
    uint64_t step;              /* steps done */
    double best_loss;           /* of all evaluations; infinite before the first */
    bool is_evaluated;          /* no step was taken since the last evaluation */
    double last_loss;           /* of the last evaluation */
    tlm_tokenizer_t *tokenizer; /* of the checkpoint that it resumed from; NULL: none. Owned. */
};

/* Reads and checks a caller's options. Pointers are still the caller's, except for the schedule: if
 * there is one, it is read into *schedule, and known->schedule points there. */
tlm_status_t tlmi_trainer_options_read(tlm_trainer_options_t *known,
                                       tlm_schedule_options_t *schedule,
                                       const tlm_trainer_options_t *options);

/* ---- Evaluation, shared by models and trainers ------------------------------------------ */

/* Fails unless the data set has a window of `context` ids and one more id. */
tlm_status_t tlmi_check_windows(const char *function, const tlm_dataset_t *dataset,
                                int64_t context);

/* tlm_model_evaluate with a batch and a context that are in range. */
tlm_status_t tlmi_evaluate(tlm_evaluation_t *out, const char *function, tlm_model_t *model,
                           const tlm_dataset_t *dataset, int64_t batch, int64_t context,
                           uint64_t max_tokens);

/* ---- NaN and infinity ------------------------------------------------------------------- */

/* TLM_ERR_NON_FINITE with "<where>: <parameter, or its gradient> is <value> at element <n>" for the
 * first value that is not finite, those of parameters before those of gradients. */
tlm_status_t tlmi_check_finite(const char *where, const tlm_model_t *model);

#endif
