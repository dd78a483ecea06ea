/* Rates of this machine, measured on parts of a model. Each takes half a second or so. */
#ifndef EXAMPLES_MACHINE_RATES_H
#define EXAMPLES_MACHINE_RATES_H

#include "tinylm/tinylm.h"

/* Operations per second of a linear layer of the model's feed-forward width, forward and backward. */
double machine_measure_products(const tlm_model_options_t *model, int64_t rows);

/* Operations per second of the attention scores of a layer, forward and backward. */
double machine_measure_scores(const tlm_model_options_t *model);

/* Parameters per second that an optimizer (TLM_COST_...) updates, of a model of that width. */
double machine_measure_updates(int32_t kind, int64_t width, uint64_t parameters);

#endif
