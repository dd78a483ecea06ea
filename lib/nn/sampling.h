/* Choosing the next token from logits. */
#ifndef TLMI_SAMPLING_H
#define TLMI_SAMPLING_H

#include "tinylm/generate.h"

/* Memory for one choice at a time. */
typedef struct tlmi_sampler {
    int64_t vocab_size;
    float *scores;   /* (vocab_size): logits with the penalty */
    double *weights; /* (vocab_size): exp((score - largest) / temperature) */
    uint32_t *heap;  /* (vocab_size): ids, the likeliest first out */
} tlmi_sampler_t;

tlm_status_t tlmi_sampler_init(tlmi_sampler_t *sampler, int64_t vocab_size);
void tlmi_sampler_release(tlmi_sampler_t *sampler);

/* A set of ids, one bit each. */
static inline bool tlmi_has_bit(const uint8_t *bits, int64_t i)
{
    return (bits[i >> 3] >> (i & 7) & 1) != 0;
}

/* The token that `uniform`, in [0, 1), picks by checked options. seen: ids that the repetition
 * penalty meets, or NULL. Logits are finite. Equal ones rank by id, the lower first. */
uint32_t tlmi_sampler_pick(tlmi_sampler_t *sampler, const tlm_generate_options_t *options,
                           const float *logits, const uint8_t *seen, double uniform);

/* The n <= vocab_size likeliest ids, in order. */
void tlmi_sampler_top(uint32_t *ids, int64_t n, tlmi_sampler_t *sampler, const float *logits);

#endif
