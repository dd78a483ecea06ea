/* The inside of generation: caches of keys and values, the forward pass without a graph,
 * sampling. */
#ifndef TLMI_INFER_CORE_H
#define TLMI_INFER_CORE_H

#include "model/model_core.h"
#include "nn/nn_core.h"
#include "tinylm/generate.h"

enum {
    TLMI_STEP_ROWS = 32,     /* most sequences in one step */
    TLMI_CHUNK_TOKENS = 128, /* of a prompt at a time: bounds the buffers */
    TLMI_QUERY_BLOCK = 32,   /* queries of one task of attention */
    TLMI_WIDE_ROWS = 128,    /* of a float16 cache that are widened at a time */
    TLMI_KEPT_TOKENS = 4     /* the default of kept_tokens */
};

/* The keys and values of the tokens that a model has seen of one sequence, so that one more token
 * costs one token's work. Memory follows the tokens that are there, up to a limit: what a model's
 * options state of its context may be far more than a text ever needs. */

typedef struct tlmi_kv_cache {
    int64_t length;          /* tokens that went through: the position of the next one */
    int64_t capacity, limit; /* rows that there is room for, and may be */
    /* A sliding window: a token at position `context` or later sees the first `kept` tokens and, of
     * the others, the latest context - kept. context 0: every token sees all before it. */
    int64_t context, kept;
    /* Rows 0 .. kept-1 are the first tokens; a later row r is the token at position r + shift. */
    int64_t shift;
    int32_t dtype;  /* TLM_FLOAT32 or TLM_FLOAT16 */
    bool is_window; /* its tokens are not the first ones of the sequence: nothing can be reused */
    _Atomic bool too_large; /* a number did not fit into float16 */
    void *keys;             /* (num_layers, num_kv_heads, capacity, d_head), rotated */
    void *values;           /* the same shape */
} tlmi_kv_cache_t;

/* An empty cache, without memory yet, for up to `limit` rows. */
tlm_status_t tlmi_kv_cache_create(tlmi_kv_cache_t **out, int32_t dtype, int64_t limit);
void tlmi_kv_cache_free(tlmi_kv_cache_t *cache);

/* Takes memory for `rows` rows in all. On failure the cache is as it was. */
tlm_status_t tlmi_kv_cache_reserve(tlmi_kv_cache_t *cache, const tlm_model_t *model, int64_t rows);

/* Makes room for n <= TLMI_CHUNK_TOKENS more rows within the limit, by dropping tokens that a
 * sliding window has left. */
void tlmi_kv_cache_slide(tlmi_kv_cache_t *cache, const tlm_model_t *model, int64_t n);

/* Forgets all tokens, or those from position `length` on. If the rest cannot be used, because it
 * lacks a token that dropped out of the window or a number did not fit, it forgets all. */
void tlmi_kv_cache_clear(tlmi_kv_cache_t *cache);
void tlmi_kv_cache_truncate(tlmi_kv_cache_t *cache, int64_t length);

/* TLM_ERR_RANGE if a number did not fit; messages name the sequence. */
tlm_status_t tlmi_kv_cache_check(const tlmi_kv_cache_t *cache, const char *function, size_t index);

/* Tokens to make room for when `tokens` are needed: some more, up to the limit, so that growing
 * token by token costs little. */
int64_t tlmi_grown_tokens(int64_t tokens, int64_t limit);

static inline int64_t tlmi_kv_cache_rows(const tlmi_kv_cache_t *cache)
{
    return cache->length - cache->shift;
}

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

static inline int64_t tlmi_new_position(const tlmi_new_tokens_t *tokens, int64_t row)
{
    return tokens->caches[row / tokens->per_cache]->length + row % tokens->per_cache;
}

/* What attention needs besides the activations. It grows with the longest sequence so far. */
typedef struct tlmi_attention_buffers {
    /* (num_positions, d_head): cos and sin of each pair's angle, interleaved. The second table is
     * that of the blocks with a window, where their RoPE differs; NULL: no rotation */
    float *rotations[2];
    int64_t num_positions;
    /* (TLMI_CHUNK_TOKENS, d_head): the same for new tokens past the context, made for each call;
     * NULL where there never were any */
    float *late_rotations[2];
    double *late_angles[2];
    tlmi_rope_t late_ropes[2];
    float *first_query; /* (TLMI_CHUNK_TOKENS, q_width): queries rotated for the first tokens */
    float *wide;        /* (wide_workers, TLMI_WIDE_ROWS, d_head): float16 rows as float32 */
    int32_t wide_workers;
    float *scores;         /* (workers, worker_scores) */
    size_t score_capacity; /* floats */
    int64_t worker_scores;
    int32_t workers;
} tlmi_attention_buffers_t;

/* What new tokens need of them. */
typedef struct tlmi_attention_needs {
    int64_t positions; /* of the longest sequence, with the new tokens */
    int64_t rows;      /* of the longest cache */
    int64_t queries;   /* of a sequence that are taken at a time */
    bool late;         /* some tokens may be past the context of a sliding window */
    bool float16;      /* a cache is of float16 */
} tlmi_attention_needs_t;

/* The number of workers is that of now. On failure the buffers are as they were. */
tlm_status_t tlmi_attention_buffers_reserve(tlmi_attention_buffers_t *buffers,
                                            const tlm_model_t *model,
                                            const tlmi_attention_needs_t *needs);
void tlmi_attention_buffers_release(tlmi_attention_buffers_t *buffers);

/* Begins with new tokens, before their caches count them. */
void tlmi_attention_start(tlmi_attention_buffers_t *buffers, const tlm_model_t *model,
                          const tlmi_new_tokens_t *tokens);

/* Whether blocks with a window have a table of rotations of their own. */
bool tlmi_has_second_rotation(const tlm_model_t *model);

/* query (rows, q_width) becomes the heads' results; key and value (rows, kv_width) go into the
 * caches, keys rotated in place. Caches and buffers have room for the new tokens. */
void tlmi_cached_attention(const tlm_model_t *model, int64_t layer, const tlmi_new_tokens_t *tokens,
                           float *query, float *key, const float *value,
                           const tlmi_attention_buffers_t *buffers);

/* The forward pass without a graph: weights are read in place, keys and values are in caches.
 * Logits equal those of tlm_model_forward up to rounding. */

/* A model's buffers, for one call at a time. */
typedef struct tlmi_inference tlmi_inference_t;

/* The model is borrowed. */
tlm_status_t tlmi_inference_create(tlmi_inference_t **out, const tlm_model_t *model);
void tlmi_inference_free(tlmi_inference_t *inference);

/* Takes n > 0 more tokens of a sequence and computes the logits (vocab_size) after the last. The
 * ids are valid. */
tlm_status_t tlmi_inference_advance(float *logits, tlmi_inference_t *inference,
                                    tlmi_kv_cache_t *cache, const uint32_t *ids, int64_t n);

/* Takes one more token of each of n <= TLMI_STEP_ROWS sequences and computes the logits (n,
 * vocab_size). The bits of a row do not depend on the others: they equal those of
 * tlmi_inference_advance by one token. */
tlm_status_t tlmi_inference_step(float *logits, tlmi_inference_t *inference,
                                 tlmi_kv_cache_t *const *caches, const uint32_t *ids, int64_t n);

/* Like advance, but computes log p(targets[i] | all tokens up to ids[i]) for i = skip .. n-1.
 * Memory for float32 weights is taken before anything is written. */
tlm_status_t tlmi_inference_score(float *log_probs, tlmi_inference_t *inference,
                                  tlmi_kv_cache_t *cache, const uint32_t *ids,
                                  const uint32_t *targets, int64_t skip, int64_t n);

/* The buffers of the forward pass, for the two files that it consists of. */
struct tlmi_inference {
    const tlm_model_t *model;
    tlmi_attention_buffers_t attention;
    float *x;         /* (TLMI_CHUNK_TOKENS, d_model): the residual stream */
    float *normed;    /* (TLMI_CHUNK_TOKENS, d_model) */
    float *query;     /* (TLMI_CHUNK_TOKENS, q_width), and attention's result */
    float *key;       /* (TLMI_CHUNK_TOKENS, kv_width) */
    float *value;     /* (TLMI_CHUNK_TOKENS, kv_width) */
    float *shared;    /* the same: value embeddings; NULL: the model has none */
    float *gate;      /* (TLMI_CHUNK_TOKENS, d_ff) */
    float *up;        /* (TLMI_CHUNK_TOKENS, d_ff) */
    float *gain;      /* (the widest vector): room for the gains of a norm that are not float32 */
    float *bias;      /* the same for biases */
    float *quantized; /* (TLMI_STEP_ROWS, widest input): room for tlmi_quantize_rows */
    float *logits;    /* (TLMI_STEP_ROWS + 1, vocab_size); only scoring needs it */
};

/* y = norm of x by the gains in `part`, as many elements as there are gains at a time; x and y have
 * n elements, y may be x. Without such a part there is no norm. */
void tlmi_inference_norm(const tlmi_inference_t *inference, float *y, const float *x, int64_t layer,
                         int32_t part, int64_t n);

/* y (rows, ...) += the biases of `part`, if it has any. */
void tlmi_inference_add_bias(const tlmi_inference_t *inference, float *y, int64_t layer,
                             int32_t part, int64_t rows);

/* Mixes the values of new tokens with their value embeddings, where the model has some. */
void tlmi_inference_mix(const tlmi_inference_t *inference, int64_t layer, int64_t rows);

/* x = the embeddings of the new tokens; looks up their value embeddings too. */
void tlmi_inference_embed(tlmi_inference_t *inference, const tlmi_new_tokens_t *tokens,
                          const uint32_t *ids);

/* log sum of exp(logits), finite or not; scratch: n floats. */
double tlmi_log_sum_exp(const float *logits, float *scratch, int64_t n);

/* out (rows, d_out) += the change of a projection of x (rows, d_in), without dropout. `step`: by dot
 * products, which give each row the bits that it would get alone. */
tlm_status_t tlmi_add_change(float *out, const float *x, int64_t rows,
                             const tlmi_low_rank_t *change, bool step);

/* What tlm_model_generate and the generator share. */

/* tlm_generator_add, _step and _text, with the name of the call for messages. */
tlm_status_t tlmi_generator_add(size_t *sequence, tlm_generator_t *generator,
                                const uint32_t *prompt, size_t prompt_length,
                                const tlm_generate_options_t *options, const char *function);
tlm_status_t tlmi_generator_step(size_t *num_running, tlm_generator_t *generator,
                                 const char *function);
tlm_status_t tlmi_generator_text(const char **text, size_t *size, const tlm_generator_t *generator,
                                 size_t sequence, const char *function);

/* Reads and checks a caller's options (NULL: the defaults); past_context and kept_tokens are
 * resolved. */
tlm_status_t tlmi_generate_options_read(tlm_generate_options_t *known, const char *function,
                                        const tlm_generate_options_t *options,
                                        const tlm_model_t *model);

/* Fails unless all ids are in the vocabulary, naming the first that is not. */
tlm_status_t tlmi_check_ids(const char *function, const char *what, const uint32_t *ids, size_t n,
                            int64_t vocab_size);

/* Choosing a token from logits. */

/* Memory for one choice at a time: sampling.c. */
typedef struct tlmi_sampler {
    int64_t vocab_size;
    float *scores;   /* (vocab_size): logits with biases and penalty */
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

/* Biases and repetition penalty on finite logits: the logits themselves or the sampler's scores,
 * which are valid until the sampler's next use. seen: ids that the penalty applies to, or NULL. */
const float *tlmi_sampler_score(tlmi_sampler_t *sampler, const tlm_generate_options_t *options,
                                const float *logits, const uint8_t *seen);

/* The token that `uniform`, in [0, 1), chooses. Scores are finite, or -INFINITY for tokens that are
 * excluded, which are not all; equal scores rank by id, the lower first. */
uint32_t tlmi_sampler_pick(tlmi_sampler_t *sampler, const tlm_generate_options_t *options,
                           const float *scores, double uniform);

/* The n <= vocab_size likeliest ids, in order. */
void tlmi_sampler_top(uint32_t *ids, int64_t n, tlmi_sampler_t *sampler, const float *logits);

#endif
