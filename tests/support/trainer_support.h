/* What a run of a trainer is made of; what a test does not need is NULL. */
#ifndef TEST_TRAINER_SUPPORT_H
#define TEST_TRAINER_SUPPORT_H

#include "tinylm/tinylm.h"

typedef struct run {
    tlm_dataset_t *train, *valid;
    tlm_loader_t *loader;
    tlm_model_t *model;
    tlm_optimizer_t *optimizer;
    tlm_trainer_t *trainer;
} run_t;

static inline void stop(run_t *run)
{
    tlm_trainer_free(run->trainer);
    tlm_optimizer_free(run->optimizer);
    tlm_model_free(run->model);
    tlm_loader_free(run->loader);
    tlm_dataset_free(run->train);
    tlm_dataset_free(run->valid);
}

#endif
