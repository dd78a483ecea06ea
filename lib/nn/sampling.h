/* Choosing the next token from logits. */
#ifndef TLMI_SAMPLING_H
#define TLMI_SAMPLING_H

#include "tinylm/model.h"

typedef struct tlmi_sampler {
    int64_t vocab_size;
    double temperature, top_p; /* top_p in (0, 1] */
    int64_t top_k;             /* 1 .. vocab_size */
    double *weights;           /* (vocab_size): exp((logit - largest) / temperature) */
    uint32_t *heap;            /* (vocab_size): ids, the likeliest first out */
} tlmi_sampler_t;

/* Options as tlm_model_generate takes them, already checked. */
tlm_status_t tlmi_sampler_init(tlmi_sampler_t *sampler, int64_t vocab_size,
                               const tlm_generate_options_t *options);
void tlmi_sampler_release(tlmi_sampler_t *sampler);

/* The token that `uniform`, in [0, 1), picks. TLM_ERR_NON_FINITE for a logit that is NaN or
 * infinite. Equal logits rank by id, the lower first. */
tlm_status_t tlmi_sampler_pick(uint32_t *id, tlmi_sampler_t *sampler, const float *logits,
                               double uniform);

#endif
