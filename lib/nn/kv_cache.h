/* The keys and values of the tokens that a model has seen of one sequence, so that one more token
 * costs one token's work. */
#ifndef TLMI_KV_CACHE_H
#define TLMI_KV_CACHE_H

#include "model_core.h"

typedef struct tlmi_kv_cache {
    int64_t length, capacity; /* tokens */
    float *keys;              /* (num_layers, num_kv_heads, capacity, d_head), rotated */
    float *values;            /* the same shape */
} tlmi_kv_cache_t;

/* An empty cache for up to `capacity` tokens of the model's. */
tlm_status_t tlmi_kv_cache_create(tlmi_kv_cache_t **out, const tlm_model_t *model,
                                  int64_t capacity);
void tlmi_kv_cache_free(tlmi_kv_cache_t *cache);

/* Index of the first element of a head's rows, in keys and in values. */
static inline int64_t tlmi_kv_cache_plane(const tlmi_kv_cache_t *cache, const tlm_model_t *model,
                                          int64_t layer, int64_t kv_head)
{
    return (layer * model->options.num_kv_heads + kv_head) * cache->capacity * model->shape.d_head;
}

#endif
