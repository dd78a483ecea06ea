/* Generation: one prompt in one call, or many at once, one token per step; and scoring, how likely
 * a model finds given tokens. docs/generation.md says how a token is chosen, what is text and what
 * happens past the context. */
#ifndef TINYLM_GENERATE_H
#define TINYLM_GENERATE_H

#include "model.h"
#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What happens when a sequence reaches context_length tokens. @since 0.2 */
#define TLM_PAST_CONTEXT_DEFAULT 0 /**< Slides, or stops where positions are learned. */
/** A new token sees the first kept_tokens tokens and the latest of the others, context_length in
 *  all. It costs what the last token inside the context costs. Not with learned positions. */
#define TLM_PAST_CONTEXT_SLIDE 1
#define TLM_PAST_CONTEXT_STOP  2 /**< The sequence ends: TLM_GENERATION_CONTEXT. */
/** The latest context_length tokens are computed again for each token, as a text of their own. */
#define TLM_PAST_CONTEXT_RECOMPUTE 3

/** Added to the logit of a token; -INFINITY excludes it. @since 0.2 */
typedef struct tlm_logit_bias {
    uint32_t id; /**< In the vocabulary. */
    float bias;  /**< Finite or -INFINITY. */
} tlm_logit_bias_t;

/** Called before a token is chosen, on the calling thread, with the logits (vocab_size), logit
 *  biases and repetition penalty applied, and the new tokens so far. It may change the logits, with
 *  -INFINITY for what must not be chosen; temperature and cuts follow. Or it chooses: *token, which
 *  is UINT32_MAX, becomes the next token. Any result other than 0 ends the sequence before this
 *  token: TLM_GENERATION_CALLBACK. It must not use the model or the generator. @since 0.2 */
typedef int32_t (*tlm_logits_callback_t)(void *user, size_t sequence, const uint32_t *ids, size_t n,
                                         float *logits, size_t vocab_size, uint32_t *token);

/** How tokens are chosen and where generation ends. @since 0.1 */
typedef struct tlm_generate_options {
    /** sizeof(tlm_generate_options_t). */
    size_t size;
    /** Most new tokens; 256 in TLM_GENERATE_OPTIONS_INIT. 0: none. */
    int64_t max_tokens;
    /** Divides the logits; 0: always the likeliest token. */
    double temperature;
    /** Keeps the likeliest tokens that together have this probability, in (0, 1]; 0: all. */
    double top_p;
    /** Keeps this many of the likeliest tokens; 0: all. */
    uint32_t top_k;
    /** Whether generation ends at end_token, which is not returned. */
    bool has_end_token;
    uint8_t reserved[3];
    /** Used if has_end_token. */
    uint32_t end_token;
    uint32_t reserved2;
    /** Seed of the random choices. */
    uint64_t seed;
    /** Drops tokens less likely than min_p times the likeliest, in [0, 1]. @since 0.2 */
    double min_p;
    /** Penalty on tokens that have occurred; 0 or 1: none. @since 0.2 */
    double repetition_penalty;
    /** Generation ends at the first of these, which is not returned; copied. @since 0.2 */
    const tlm_ids_t *stop_sequences;
    /** Number of stop_sequences. @since 0.2 */
    size_t num_stop_sequences;
    /** How many likeliest ids tlm_generator_top_log_probs has for each token. @since 0.2 */
    uint32_t num_top_log_probs;
    /** Number of more_end_tokens. @since 0.2 */
    uint32_t num_more_end_tokens;
    /** Further tokens that end generation as end_token does. @since 0.2 */
    uint32_t more_end_tokens[TLM_MORE_END_TOKENS];
    /** Past context_length: TLM_PAST_CONTEXT_... @since 0.2 */
    int32_t past_context;
    /** Makes text of the new tokens, for stop_strings and tlm_generator_text; NULL: no text.
     *  Borrowed until the generator is freed. @since 0.2 */
    const tlm_tokenizer_t *tokenizer;
    /** Generation ends where the first of these begins in the text of the new tokens; copied. They
     *  are bytes, need not be whole characters, and need a tokenizer. @since 0.2 */
    const tlm_bytes_t *stop_strings;
    /** Number of stop_strings. @since 0.2 */
    size_t num_stop_strings;
    /** Added to logits, several of one token together; copied. @since 0.2 */
    const tlm_logit_bias_t *logit_bias;
    /** Number of elements of logit_bias. @since 0.2 */
    size_t num_logit_biases;
    /** Sees the logits of each token; NULL: none. @since 0.2 */
    tlm_logits_callback_t on_logits;
    /** First argument of on_logits. @since 0.2 */
    void *logits_user;
    /** Tokens at the beginning that a sliding window keeps, below context_length. 0: 4, or half the
     *  context if that is less; -1: none. @since 0.2 */
    int64_t kept_tokens;
    /** Type of the key-value cache: TLM_FLOAT32 or TLM_FLOAT16, which takes half the memory.
     *  @since 0.2 */
    int32_t cache_type;
    /** Leaves special tokens out of the text. @since 0.2 */
    bool skip_special_tokens;
    /** Keeps the key-value cache when the sequence has ended, so that tlm_generator_extend need not
     *  compute it again, and tlm_generator_save can save it. @since 0.2 */
    bool keeps_cache;
    uint8_t reserved3[2];
} tlm_generate_options_t;

#define TLM_GENERATE_OPTIONS_INIT                                                                  \
    {                                                                                              \
        sizeof(tlm_generate_options_t), 256, 0.0, 0.0, 0, false, {0, 0, 0}, 0, 0, 0, 0.0, 0.0,     \
            NULL, 0, 0, 0, {0}, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, 0, 0, false, false,         \
        {                                                                                          \
            0, 0                                                                                   \
        }                                                                                          \
    }

/* ---- One prompt ------------------------------------------------------------------------- */

/** Called with each new token, on the calling thread. Any result other than 0 ends the generation
 *  after that token, which is not an error. It must not use the model. @since 0.1 */
typedef int32_t (*tlm_token_callback_t)(void *user, uint32_t id);

/** Continues `prompt`, at least one id. *ids, owned by the caller (tlm_free), are the *n new tokens
 *  only. options (NULL: those of INIT) and callback may be NULL; a token that may belong to a stop
 *  reaches the callback once it is known not to. The same seed gives the same tokens. TLM_ERR_RANGE
 *  for an id outside the vocabulary, TLM_ERR_INVALID_ARGUMENT for an empty prompt, one longer than
 *  a context at which generation stops, or options out of range, TLM_ERR_UNSUPPORTED for a window
 *  that slides over learned positions, TLM_ERR_NON_FINITE if a logit is NaN or infinite, or if no
 *  token is left to choose. @since 0.1 */
TLM_API tlm_status_t tlm_model_generate(uint32_t **ids, size_t *n, tlm_model_t *model,
                                        const uint32_t *prompt, size_t prompt_length,
                                        const tlm_generate_options_t *options,
                                        tlm_token_callback_t callback, void *user);

/** Called with each piece of new text, whole characters without a NUL, on the calling thread. Any
 *  result other than 0 ends the generation, which is not an error. It must not use the model.
 *  @since 0.2 */
typedef int32_t (*tlm_text_callback_t)(void *user, const char *text, size_t size);

/** Continues `prompt` as tlm_model_generate does, as text: options->tokenizer is needed. *text,
 *  owned by the caller (tlm_free), is what tlm_generator_text gives in the end, *size bytes and a
 *  NUL; *state (may be NULL) is the TLM_GENERATION_... that says why it ended. callback (may be
 *  NULL) gets the same text piece by piece, never a part of a stop string. See tlm_model_generate
 *  for errors. @since 0.2 */
TLM_API tlm_status_t tlm_model_generate_text(char **text, size_t *size, int32_t *state,
                                             tlm_model_t *model, const uint32_t *prompt,
                                             size_t prompt_length,
                                             const tlm_generate_options_t *options,
                                             tlm_text_callback_t callback, void *user);

/* ---- Many prompts, step by step --------------------------------------------------------- */

/** Sequences that a model continues at once. Not thread-safe: use each generator, and its
 *  model, from one thread at a time. @since 0.2 */
typedef struct tlm_generator tlm_generator_t;

/* State of a sequence. @since 0.2 */
#define TLM_GENERATION_RUNNING  0 /**< It gets a token with each step. */
#define TLM_GENERATION_LENGTH   1 /**< It has max_tokens. */
#define TLM_GENERATION_END      2 /**< The end token came. */
#define TLM_GENERATION_STOP     3 /**< A stop sequence or a stop string came. */
#define TLM_GENERATION_STOPPED  4 /**< tlm_generator_stop ended it. */
#define TLM_GENERATION_FAILED   5 /**< By an error of its own: see tlm_generator_step. */
#define TLM_GENERATION_CONTEXT  6 /**< It is longer than context_length. */
#define TLM_GENERATION_CALLBACK 7 /**< A callback ended it. */

/** Creates a generator without sequences. The model is borrowed until the generator is freed and
 *  must not be trained while a sequence is running. Owned by the caller: tlm_generator_free.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_generator_create(tlm_generator_t **out, tlm_model_t *model);

/** Frees the generator and its sequences. NULL is fine. @since 0.2 */
TLM_API void tlm_generator_free(tlm_generator_t *generator);

/** Adds a sequence that continues `prompt`, which is copied, with options of its own (NULL: those
 *  of INIT), at any time. *sequence is its number: 0, 1, 2, ... Its tokens do not depend on the
 *  other sequences. Memory for keys and values grows with its tokens, up to prompt_length +
 *  max_tokens or context_length, and 128 more if a window slides. With max_tokens 0 and keeps_cache
 *  a step computes the prompt only. See tlm_model_generate for errors. @since 0.2 */
TLM_API tlm_status_t tlm_generator_add(size_t *sequence, tlm_generator_t *generator,
                                       const uint32_t *prompt, size_t prompt_length,
                                       const tlm_generate_options_t *options);

/** Continues a sequence that has ended, with options of its own: of its prompt and new tokens the
 *  first `keep` (SIZE_MAX: all) and then the n ids are its prompt from now on, and its new tokens
 *  are counted from 0. What its cache holds of them is not computed again. TLM_ERR_STATE while it
 *  runs, TLM_ERR_RANGE if there is no such sequence or it has fewer than `keep` tokens; see
 *  tlm_model_generate for others, after which the sequence is as it was. @since 0.2 */
TLM_API tlm_status_t tlm_generator_extend(tlm_generator_t *generator, size_t sequence, size_t keep,
                                          const uint32_t *ids, size_t n,
                                          const tlm_generate_options_t *options);

/** Gives each running sequence one more token. *num_running (may be NULL) is how many still run.
 *  TLM_ERR_NON_FINITE, naming the sequence, if a logit is NaN or infinite or no token is left to
 *  choose, TLM_ERR_RANGE if on_logits chose none or a float16 cache cannot hold a number: that
 *  sequence has failed, the others continue with the next call. After any other error the next call
 *  goes on where this one ended. @since 0.2 */
TLM_API tlm_status_t tlm_generator_step(size_t *num_running, tlm_generator_t *generator);

/** The new tokens of a sequence, and the log-probability in nats that the model gave each, before
 *  biases, penalty, temperature and cuts. Both arrays are borrowed until the next call that changes
 *  the generator; either may be NULL. Tokens with a part of a stop are not among them, nor, while
 *  the sequence runs, those that may turn out to have one. TLM_ERR_RANGE if there is no such
 *  sequence. @since 0.2 */
TLM_API tlm_status_t tlm_generator_tokens(const uint32_t **ids, const float **log_probs, size_t *n,
                                          const tlm_generator_t *generator, size_t sequence);

/** The likeliest ids in the place of new token `position`, the likeliest first, and their
 *  log-probabilities. *n is options.num_top_log_probs, or vocab_size if that is less. Both arrays
 *  are borrowed until the next call that changes the generator. TLM_ERR_RANGE if there is no such
 *  token. @since 0.2 */
TLM_API tlm_status_t tlm_generator_top_log_probs(const uint32_t **ids, const float **log_probs,
                                                 size_t *n, const tlm_generator_t *generator,
                                                 size_t sequence, size_t position);

/** The text of the new tokens, as far as it is certain: whole characters, malformed bytes as
 *  U+FFFD, nothing of what may be a stop string. It only grows; when the sequence has ended it is
 *  complete and reaches up to the stop string exactly, even inside a token. *text, with a NUL
 *  behind it, is borrowed until the next call that changes the generator. TLM_ERR_STATE if the
 *  options had no tokenizer, TLM_ERR_RANGE if there is no such sequence. @since 0.2 */
TLM_API tlm_status_t tlm_generator_text(const char **text, size_t *size,
                                        const tlm_generator_t *generator, size_t sequence);

/** All tokens of a sequence: those of its prompt, then the new ones as tlm_generator_tokens has
 *  them. *ids is borrowed until the next call that changes the generator. TLM_ERR_RANGE if there is
 *  no such sequence. @since 0.2 */
TLM_API tlm_status_t tlm_generator_context(const uint32_t **ids, size_t *n,
                                           const tlm_generator_t *generator, size_t sequence);

/** *state becomes TLM_GENERATION_RUNNING, or the TLM_GENERATION_... that says how the sequence
 *  ended. TLM_ERR_RANGE if there is no such sequence. @since 0.2 */
TLM_API tlm_status_t tlm_generator_state(int32_t *state, const tlm_generator_t *generator,
                                         size_t sequence);

/** Ends a running sequence, whose tokens stay; one that has ended is left as it is. TLM_ERR_RANGE
 *  if there is no such sequence. @since 0.2 */
TLM_API tlm_status_t tlm_generator_stop(tlm_generator_t *generator, size_t sequence);

/** Saves a sequence: its tokens, their log-probabilities, its state and its key-value cache, for
 *  tlm_generator_load. The file is written aside and then renamed, and has a checksum.
 *  TLM_ERR_STATE if it ended without keeps_cache. @since 0.2 */
TLM_API tlm_status_t tlm_generator_save(const tlm_generator_t *generator, size_t sequence,
                                        const char *path);

/** Adds the sequence of a file, as it was saved; *sequence is its number. One that was running goes
 *  on by `options` (NULL: those of INIT), with the same bits if these are what they were; one that
 *  had ended waits for tlm_generator_extend. TLM_ERR_SHAPE, naming the difference, if the file
 *  comes from another model, from other weights, or from a cache of another type or window;
 *  TLM_ERR_FORMAT if it is malformed or damaged. @since 0.2 */
TLM_API tlm_status_t tlm_generator_load(size_t *sequence, tlm_generator_t *generator,
                                        const char *path, const tlm_generate_options_t *options);

/* ---- Scoring ---------------------------------------------------------------------------- */

/** Computes how likely the model finds ids: log_probs[i], of n - 1 (NULL: not wanted), is the
 *  log-probability in nats of ids[i + 1] given the ids before it in its window; *total (may be
 *  NULL) is their sum, so that the perplexity is exp(-total / (n - 1)). Windows of context_length
 *  tokens begin `stride` apart (0: half the context; at most context_length), and each token counts
 *  once, in the first window that predicts it. Makes no graph; memory does not grow with n.
 *  TLM_ERR_RANGE for an id outside the vocabulary or a stride out of range,
 *  TLM_ERR_INVALID_ARGUMENT if n < 2. @since 0.2 */
TLM_API tlm_status_t tlm_model_score(double *total, float *log_probs, tlm_model_t *model,
                                     const uint32_t *ids, size_t n, int64_t stride);

#ifdef __cplusplus
}
#endif
#endif
