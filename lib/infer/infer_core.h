/* The inside of generation: caches of keys and values, the forward pass without a graph, sampling. */
#ifndef TLMI_INFER_CORE_H
#define TLMI_INFER_CORE_H

#include "model/model_core.h"
#include "tinylm/generate.h"

/* The keys and values of the tokens that a model has seen of one sequence, so that one more token
 * costs one token's work. Memory follows the tokens that are there, up to a limit: what a model's
 * options state of its context may be far more than a text ever needs. */

typedef struct tlmi_kv_cache {
    int64_t length, capacity, limit; /* tokens */
    float *keys;                     /* (num_layers, num_kv_heads, capacity, d_head), rotated */
    float *values;                   /* the same shape */
} tlmi_kv_cache_t;

/* An empty cache, without memory yet, for up to `limit` tokens. */
tlm_status_t tlmi_kv_cache_create(tlmi_kv_cache_t **out, int64_t limit);
void tlmi_kv_cache_free(tlmi_kv_cache_t *cache);

/* Makes room for `tokens` tokens in all, at most the limit. On failure the cache is as it was. */
tlm_status_t tlmi_kv_cache_reserve(tlmi_kv_cache_t *cache, const tlm_model_t *model,
                                   int64_t tokens);

/* Tokens to make room for when `tokens` are needed: some more, up to the limit, so that growing token
 * by token costs little. */
int64_t tlmi_grown_tokens(int64_t tokens, int64_t limit);

/* Index of the first element of a head's rows, in keys and in values. */
static inline int64_t tlmi_kv_cache_plane(const tlmi_kv_cache_t *cache, const tlm_model_t *model,
                                          int64_t layer, int64_t kv_head)
{
    return (layer * model->options.num_kv_heads + kv_head) * cache->capacity * model->shape.d_head;
}

/* Attention of new tokens over the keys and values of their sequences. */

/* New tokens: `per_cache` of each of `num_caches` sequences, row after row. */
typedef struct tlmi_new_tokens {
    tlmi_kv_cache_t *const *caches; /* their lengths without the new tokens */
    int64_t num_caches, per_cache;
} tlmi_new_tokens_t;

static inline int64_t tlmi_new_rows(const tlmi_new_tokens_t *tokens)
{
    return tokens->num_caches * tokens->per_cache;
}

/* What attention needs besides the activations. It grows with the longest sequence so far. */
typedef struct tlmi_attention_buffers {
    /* (num_positions, d_head): cos and sin of each pair's angle, interleaved. The second table is
     * that of the blocks with a window, where their RoPE differs; NULL: no rotation */
    float *rotations[2];
    int64_t num_positions;
    float *scores;         /* (workers, worker_scores) */
    size_t score_capacity; /* floats */
    int64_t worker_scores;
    int32_t workers;
} tlmi_attention_buffers_t;

/* Makes room for sequences of `length` tokens, of which `queries` are taken at a time. The number of
 * workers is that of now. On failure the buffers are as they were. */
tlm_status_t tlmi_attention_buffers_reserve(tlmi_attention_buffers_t *buffers,
                                            const tlm_model_t *model, int64_t length,
                                            int64_t queries);
void tlmi_attention_buffers_release(tlmi_attention_buffers_t *buffers);

/* query (rows, q_width) becomes the heads' results; key and value (rows, kv_width) go into the
 * caches. Caches and buffers have room for the new tokens. */
void tlmi_cached_attention(const tlm_model_t *model, int64_t layer, const tlmi_new_tokens_t *tokens,
                           float *query, const float *key, const float *value,
                           const tlmi_attention_buffers_t *buffers);

/* The forward pass without a graph: weights are read in place, keys and values are in caches. Logits
 * equal those of tlm_model_forward up to rounding. */

/* A model's buffers, for one call at a time. */
typedef struct tlmi_inference tlmi_inference_t;

/* Most sequences in one step. */
enum { TLMI_STEP_ROWS = 32 };

/* The model is borrowed. */
tlm_status_t tlmi_inference_create(tlmi_inference_t **out, const tlm_model_t *model);
void tlmi_inference_free(tlmi_inference_t *inference);

/* Takes n > 0 more tokens of a sequence and computes the logits (vocab_size) after the last. The ids
 * are valid, and length + n is within the cache's limit and the context. */
tlm_status_t tlmi_inference_advance(float *logits, tlmi_inference_t *inference,
                                    tlmi_kv_cache_t *cache, const uint32_t *ids, int64_t n);

/* Takes one more token of each of n <= TLMI_STEP_ROWS sequences and computes the logits (n,
 * vocab_size). The bits of a row do not depend on the others: they equal those of
 * tlmi_inference_advance by one token. */
tlm_status_t tlmi_inference_step(float *logits, tlmi_inference_t *inference,
                                 tlmi_kv_cache_t *const *caches, const uint32_t *ids, int64_t n);

/* Like advance, but computes log p(targets[i] | all tokens up to ids[i]) for i = skip .. n-1. Memory
 * for float32 weights is taken before anything is written. */
tlm_status_t tlmi_inference_score(float *log_probs, tlmi_inference_t *inference,
                                  tlmi_kv_cache_t *cache, const uint32_t *ids,
                                  const uint32_t *targets, int64_t skip, int64_t n);

/* log sum of exp(logits), finite or not; scratch: n floats. */
double tlmi_log_sum_exp(const float *logits, float *scratch, int64_t n);

/* What tlm_model_generate and the generator share. */

/* tlm_generator_add and tlm_generator_step, with the name of the call for messages. */
tlm_status_t tlmi_generator_add(size_t *sequence, tlm_generator_t *generator,
                                const uint32_t *prompt, size_t prompt_length,
                                const tlm_generate_options_t *options, const char *function);
tlm_status_t tlmi_generator_step(size_t *num_running, tlm_generator_t *generator,
                                 const char *function);

/* Reads and checks a caller's options (NULL: the defaults). */
tlm_status_t tlmi_generate_options_read(tlm_generate_options_t *known, const char *function,
                                        const tlm_generate_options_t *options, int64_t vocab_size);

/* Fails unless all ids are in the vocabulary, naming the first that is not. */
tlm_status_t tlmi_check_ids(const char *function, const char *what, const uint32_t *ids, size_t n,
                            int64_t vocab_size);

/* Choosing a token from logits. */

/* Memory for one choice at a time: sampling.c. */
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

/* The token that `uniform`, in [0, 1), chooses. The options are checked and the logits finite; equal
 * logits rank by id, the lower first. seen: ids that the repetition penalty applies to, or NULL. */
uint32_t tlmi_sampler_pick(tlmi_sampler_t *sampler, const tlm_generate_options_t *options,
                           const float *logits, const uint8_t *seen, double uniform);

/* The n <= vocab_size likeliest ids, in order. */
void tlmi_sampler_top(uint32_t *ids, int64_t n, tlmi_sampler_t *sampler, const float *logits);

#endif
