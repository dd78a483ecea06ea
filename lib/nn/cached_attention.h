/* Attention of new tokens over the keys and values of their sequences. */
#ifndef TLMI_CACHED_ATTENTION_H
#define TLMI_CACHED_ATTENTION_H

#include "kv_cache.h"

/* New tokens: `per_cache` of each of `num_caches` sequences, row after row. */
typedef struct tlmi_new_tokens {
    tlmi_kv_cache_t *const *caches; /* their lengths without the new tokens */
    int64_t num_caches, per_cache;
} tlmi_new_tokens_t;

static inline int64_t tlmi_new_rows(const tlmi_new_tokens_t *tokens)
{
    return tokens->num_caches * tokens->per_cache;
}

enum { TLMI_QUERY_BLOCK = 32 }; /* queries of one task */

/* query (rows, d_model) becomes the heads' results; key and value (rows, kv_width) go into the
 * caches. rotation (context_length, d_head) holds cos and sin of each pair's angle, interleaved;
 * NULL: none. scores: (workers, TLMI_QUERY_BLOCK, context_length). */
void tlmi_cached_attention(const tlm_model_t *model, int64_t layer, const tlmi_new_tokens_t *tokens,
                           float *query, const float *key, const float *value,
                           const float *rotation, float *scores);

#endif
