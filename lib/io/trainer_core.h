/* What a trainer is made of. */
#ifndef TLMI_TRAINER_CORE_H
#define TLMI_TRAINER_CORE_H

#include "tinylm/train.h"

struct tlm_trainer {
    tlm_trainer_options_t options; /* the strings are the trainer's own */
    tlm_schedule_options_t schedule;
    tlm_model_t *model; /* borrowed, as the next two */
    tlm_optimizer_t *optimizer;
    tlm_loader_t *loader;
    int64_t rows, context; /* of a batch */
    double step_flops;     /* of the model's products */
    uint64_t step;         /* steps done */
    double best_loss;      /* of all evaluations; infinite before the first */
    bool is_evaluated;     /* the parameters are those of the last evaluation */
    double last_loss;      /* which gave this */
};

/* Reads and checks a caller's options. Pointers are still the caller's; the schedule, if there is
 * one, is read into *schedule, and known->schedule points there. */
tlm_status_t tlmi_trainer_options_read(tlm_trainer_options_t *known,
                                       tlm_schedule_options_t *schedule,
                                       const tlm_trainer_options_t *options);

#endif
