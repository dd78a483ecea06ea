/* The model for inference alone: no graph, weights read where they lie, keys and values in caches.
 * Logits are those of tlm_model_forward up to rounding. */
#ifndef TLMI_INFERENCE_H
#define TLMI_INFERENCE_H

#include "kv_cache.h"

/* The buffers of one call at a time. */
typedef struct tlmi_inference tlmi_inference_t;

/* Sequences of one step at most. */
enum { TLMI_STEP_ROWS = 32 };

/* The model is borrowed. */
tlm_status_t tlmi_inference_create(tlmi_inference_t **out, const tlm_model_t *model);
void tlmi_inference_free(tlmi_inference_t *inference);

/* Takes n > 0 more tokens of a sequence, ids valid and length + n within the capacity and the
 * context, and gives the logits (vocab_size) that follow the last. */
tlm_status_t tlmi_inference_advance(float *logits, tlmi_inference_t *inference,
                                    tlmi_kv_cache_t *cache, const uint32_t *ids, int64_t n);

/* Takes one more token of each of n <= TLMI_STEP_ROWS sequences, and gives the logits (n,
 * vocab_size). The bits of a row do not depend on the others: they are those of
 * tlmi_inference_advance by one token. */
tlm_status_t tlmi_inference_step(float *logits, tlmi_inference_t *inference,
                                 tlmi_kv_cache_t *const *caches, const uint32_t *ids, int64_t n);

/* As advance, and gives log p(targets[i] | all tokens up to ids[i]) for i = skip .. n-1. */
tlm_status_t tlmi_inference_score(float *log_probs, tlmi_inference_t *inference,
                                  tlmi_kv_cache_t *cache, const uint32_t *ids,
                                  const uint32_t *targets, int64_t skip, int64_t n);

/* log sum of exp(logits), finite or not; scratch: n floats. */
double tlmi_log_sum_exp(const float *logits, float *scratch, int64_t n);

#endif
