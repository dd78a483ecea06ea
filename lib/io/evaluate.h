/* Evaluation, as models and trainers share it. */
#ifndef TLMI_EVALUATE_H
#define TLMI_EVALUATE_H

#include "tinylm/train.h"

/* Seconds on a clock that only runs forward. */
double tlmi_seconds(void);

/* Fails unless the data set has a window of `context` ids and the one that follows. */
tlm_status_t tlmi_check_windows(const char *function, const tlm_dataset_t *dataset,
                                int64_t context);

/* tlm_model_evaluate with a batch and a context that are in range. */
tlm_status_t tlmi_evaluate(tlm_evaluation_t *out, const char *function, tlm_model_t *model,
                           const tlm_dataset_t *dataset, int64_t batch, int64_t context,
                           uint64_t max_tokens);

#endif
