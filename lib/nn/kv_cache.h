/* The model for inference alone: no graph, weights read where they lie, and the keys and values of
 * the tokens seen kept, so that one more token costs one token's work. */
#ifndef TLMI_KV_CACHE_H
#define TLMI_KV_CACHE_H

#include "tinylm/model.h"

typedef struct tlmi_kv_cache tlmi_kv_cache_t;

/* An empty cache for up to context_length tokens. The model is borrowed and must not change. */
tlm_status_t tlmi_kv_cache_create(tlmi_kv_cache_t **out, const tlm_model_t *model);
void tlmi_kv_cache_free(tlmi_kv_cache_t *cache);

/* Forgets all tokens. */
void tlmi_kv_cache_reset(tlmi_kv_cache_t *cache);

/* Tokens seen. */
int64_t tlmi_kv_cache_length(const tlmi_kv_cache_t *cache);

/* Takes n > 0 more tokens, ids valid and length + n <= context_length, and gives the logits
 * (vocab_size) that follow the last. They are those of tlm_model_forward up to rounding. */
tlm_status_t tlmi_kv_cache_advance(float *logits, tlmi_kv_cache_t *cache, const uint32_t *ids,
                                   int64_t n);

#endif
