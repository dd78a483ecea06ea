/* Generation: one prompt in one call, or many at once, one token per step; and scoring, how
 * likely a model finds given tokens. docs/generation.md says how a token is chosen. */
#ifndef TINYLM_GENERATE_H
#define TINYLM_GENERATE_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

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
    /** Generation ends after any of these, which is not returned; copied. @since 0.2 */
    const tlm_ids_t *stop_sequences;
    /** Number of stop_sequences. @since 0.2 */
    size_t num_stop_sequences;
    /** How many likeliest ids tlm_generator_top_log_probs has for each token. @since 0.2 */
    uint32_t num_top_log_probs;
    /** Number of more_end_tokens. @since 0.2 */
    uint32_t num_more_end_tokens;
    /** Further tokens that end generation as end_token does. @since 0.2 */
    uint32_t more_end_tokens[TLM_MORE_END_TOKENS];
    uint32_t reserved3;
} tlm_generate_options_t;

#define TLM_GENERATE_OPTIONS_INIT                                                                  \
    {                                                                                              \
        sizeof(tlm_generate_options_t), 256, 0.0, 0.0, 0, false, {0, 0, 0}, 0, 0, 0, 0.0, 0.0,     \
            NULL, 0, 0, 0, {0}, 0                                                                  \
    }

/* ---- One prompt ------------------------------------------------------------------------- */

/** Called with each new token, on the calling thread. Any result other than 0 ends the generation
 *  after that token, which is not an error. It must not use the model. @since 0.1 */
typedef int32_t (*tlm_token_callback_t)(void *user, uint32_t id);

/** Continues `prompt`, at least one id. *ids, owned by the caller (tlm_free), are the *n new tokens
 *  only. Past context_length the window slides: the oldest tokens are dropped. options (NULL: those
 *  of INIT) and callback may be NULL; a token that may begin a stop sequence reaches the callback
 *  once it is known not to. The same seed gives the same tokens. TLM_ERR_RANGE for an id outside
 *  the vocabulary, TLM_ERR_INVALID_ARGUMENT for an empty prompt or options out of range,
 *  TLM_ERR_NON_FINITE if a logit is NaN or infinite. @since 0.1 */
TLM_API tlm_status_t tlm_model_generate(uint32_t **ids, size_t *n, tlm_model_t *model,
                                        const uint32_t *prompt, size_t prompt_length,
                                        const tlm_generate_options_t *options,
                                        tlm_token_callback_t callback, void *user);

/* ---- Many prompts, step by step --------------------------------------------------------- */

/** Sequences that a model continues at once. Not thread-safe: use each generator, and its
 *  model, from one thread at a time. @since 0.2 */
typedef struct tlm_generator tlm_generator_t;

/* State of a sequence. @since 0.2 */
#define TLM_GENERATION_RUNNING 0 /**< It gets a token with each step. */
#define TLM_GENERATION_LENGTH  1 /**< It has max_tokens. */
#define TLM_GENERATION_END     2 /**< The end token came. */
#define TLM_GENERATION_STOP    3 /**< A stop sequence came. */
#define TLM_GENERATION_STOPPED 4 /**< tlm_generator_stop ended it. */
#define TLM_GENERATION_FAILED  5 /**< A logit was NaN or infinite. */

/** Creates a generator without sequences. The model is borrowed until the generator is freed and
 *  must not be trained while a sequence is running. Owned by the caller: tlm_generator_free.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_generator_create(tlm_generator_t **out, tlm_model_t *model);

/** Frees the generator and its sequences. NULL is fine. @since 0.2 */
TLM_API void tlm_generator_free(tlm_generator_t *generator);

/** Adds a sequence that continues `prompt`, which is copied, with options of its own (NULL: those
 *  of INIT), at any time. *sequence is its number: 0, 1, 2, ... Its tokens do not depend on the
 *  other sequences. Memory for keys and values grows with its tokens, up to prompt_length +
 *  max_tokens or context_length. See tlm_model_generate for errors. @since 0.2 */
TLM_API tlm_status_t tlm_generator_add(size_t *sequence, tlm_generator_t *generator,
                                       const uint32_t *prompt, size_t prompt_length,
                                       const tlm_generate_options_t *options);

/** Gives each running sequence one more token. *num_running (may be NULL) is how many still run.
 *  TLM_ERR_NON_FINITE, naming the sequence, if a logit is NaN or infinite: that sequence has
 *  failed, the others continue with the next call. Any other error leaves all sequences as they
 *  were. @since 0.2 */
TLM_API tlm_status_t tlm_generator_step(size_t *num_running, tlm_generator_t *generator);

/** The new tokens of a sequence, and the log-probability in nats that the model gave each, before
 *  penalty, temperature and cuts. Both arrays are borrowed until the next call that changes the
 *  generator; either may be NULL. While the sequence runs, tokens at its end that may begin a stop
 *  sequence are left out. TLM_ERR_RANGE if there is no such sequence. @since 0.2 */
TLM_API tlm_status_t tlm_generator_tokens(const uint32_t **ids, const float **log_probs, size_t *n,
                                          const tlm_generator_t *generator, size_t sequence);

/** The likeliest ids in the place of new token `position`, the likeliest first, and their
 *  log-probabilities. *n is options.num_top_log_probs, or vocab_size if that is less. Both arrays
 *  are borrowed until the next call that changes the generator. TLM_ERR_RANGE if there is no such
 *  token. @since 0.2 */
TLM_API tlm_status_t tlm_generator_top_log_probs(const uint32_t **ids, const float **log_probs,
                                                 size_t *n, const tlm_generator_t *generator,
                                                 size_t sequence, size_t position);

/** *state becomes TLM_GENERATION_RUNNING, or the TLM_GENERATION_... that says how the sequence
 *  ended. TLM_ERR_RANGE if there is no such sequence. @since 0.2 */
TLM_API tlm_status_t tlm_generator_state(int32_t *state, const tlm_generator_t *generator,
                                         size_t sequence);

/** Ends a running sequence, whose tokens stay; one that has ended is left as it is. TLM_ERR_RANGE
 *  if there is no such sequence. @since 0.2 */
TLM_API tlm_status_t tlm_generator_stop(tlm_generator_t *generator, size_t sequence);

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
