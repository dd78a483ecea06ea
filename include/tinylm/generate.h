/* Generation: one prompt by one call, or many side by side, a token at a time; and how likely a
 * model finds given tokens. docs/generation.md says how a token is chosen. */
#ifndef TINYLM_GENERATE_H
#define TINYLM_GENERATE_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tlm_generate_options {
    size_t size;        /* sizeof(tlm_generate_options_t) */
    int64_t max_tokens; /* new tokens at most; 0: none */
    double temperature; /* 0: always the likeliest token */
    double top_p;       /* nucleus, in (0, 1]; 0 means 1, all */
    uint32_t top_k;     /* the k likeliest only; 0: all */
    bool has_end_token; /* stop after end_token, which is not returned */
    uint8_t reserved[3];
    uint32_t end_token;
    uint32_t reserved2;
    uint64_t seed;
    /* @since 0.2 */
    double min_p;              /* none less likely than min_p times the likeliest, in [0, 1] */
    double repetition_penalty; /* of tokens that occurred; 0 means 1, none */
    const tlm_ids_t *stop_sequences; /* stop after any of these, which is not returned; copied */
    size_t num_stop_sequences;
    uint32_t num_top_log_probs; /* how many tlm_generator_top_log_probs has of each token */
    uint32_t reserved3;
} tlm_generate_options_t;

#define TLM_GENERATE_OPTIONS_INIT                                                                  \
    {                                                                                              \
        sizeof(tlm_generate_options_t), 256, 0.0, 0.0, 0, false, {0, 0, 0}, 0, 0, 0, 0.0, 0.0,     \
            NULL, 0, 0, 0                                                                          \
    }

/* ---- One prompt ------------------------------------------------------------------------- */

/** Called with each new token, on the calling thread; anything but 0 stops the generation behind
 *  that token (not an error). It must not use the model. @since 0.1 */
typedef int32_t (*tlm_token_callback_t)(void *user, uint32_t id);

/** Continues `prompt` (at least one id). *ids, owned by the caller (tlm_free), are the *n new
 *  tokens only. Past context_length the window slides: the oldest tokens are dropped. options
 *  (NULL: INIT's) and callback may be NULL; a token that may begin a stop sequence reaches the
 *  callback when it is known not to. Same seed, same tokens. TLM_ERR_RANGE for an id outside the
 *  vocabulary, TLM_ERR_INVALID_ARGUMENT for an empty prompt or options out of range,
 *  TLM_ERR_NON_FINITE if a logit is NaN or infinite. @since 0.1 */
TLM_API tlm_status_t tlm_model_generate(uint32_t **ids, size_t *n, tlm_model_t *model,
                                        const uint32_t *prompt, size_t prompt_length,
                                        const tlm_generate_options_t *options,
                                        tlm_token_callback_t callback, void *user);

/* ---- Many prompts, step by step --------------------------------------------------------- */

/** Sequences that a model continues side by side. Externally synchronised, as is its model.
 *  @since 0.2 */
typedef struct tlm_generator tlm_generator_t;

/* What became of a sequence. @since 0.2 */
#define TLM_GENERATION_RUNNING 0
#define TLM_GENERATION_LENGTH  1 /* max_tokens are there */
#define TLM_GENERATION_END     2 /* the end token came */
#define TLM_GENERATION_STOP    3 /* a stop sequence came */
#define TLM_GENERATION_STOPPED 4 /* by tlm_generator_stop */
#define TLM_GENERATION_FAILED  5 /* a logit was NaN or infinite */

/** Makes a generator without sequences over the model, which is borrowed until the generator is
 *  freed and must not be trained while a sequence is running. Owned by the caller. @since 0.2 */
TLM_API tlm_status_t tlm_generator_create(tlm_generator_t **out, tlm_model_t *model);
/** Frees the generator and its sequences. NULL is fine. @since 0.2 */
TLM_API void tlm_generator_free(tlm_generator_t *generator);

/** Adds a sequence that continues `prompt`, copied, by options of its own (NULL: INIT's), at any
 *  time. *sequence is its number: 0, 1, 2, ... Its tokens do not depend on the sequences beside it.
 *  Takes memory for the keys and values of prompt_length + max_tokens tokens, context_length at
 *  most. Errors as of tlm_model_generate. @since 0.2 */
TLM_API tlm_status_t tlm_generator_add(size_t *sequence, tlm_generator_t *generator,
                                       const uint32_t *prompt, size_t prompt_length,
                                       const tlm_generate_options_t *options);

/** One more token for each running sequence. *num_running, may be NULL, is how many still run.
 *  TLM_ERR_NON_FINITE, naming the sequence, if a logit is NaN or infinite: that one has failed,
 *  the others go on with the next call. Any other error leaves all as they were. @since 0.2 */
TLM_API tlm_status_t tlm_generator_step(size_t *num_running, tlm_generator_t *generator);

/** The new tokens of a sequence, and the log-probability that the model gave each (nats, before
 *  penalty, temperature and cuts); borrowed until the next call that changes the generator. While
 *  it runs, tokens at the end that may begin a stop sequence are left out. ids and log_probs may be
 *  NULL. TLM_ERR_RANGE if there is no such sequence. @since 0.2 */
TLM_API tlm_status_t tlm_generator_tokens(const uint32_t **ids, const float **log_probs, size_t *n,
                                          const tlm_generator_t *generator, size_t sequence);

/** The *n = options.num_top_log_probs (vocab_size at most) likeliest ids in the place of new token
 *  `position`, the likeliest first, and their log-probabilities. Borrowed as of
 *  tlm_generator_tokens. TLM_ERR_RANGE if there is no such token. @since 0.2 */
TLM_API tlm_status_t tlm_generator_top_log_probs(const uint32_t **ids, const float **log_probs,
                                                 size_t *n, const tlm_generator_t *generator,
                                                 size_t sequence, size_t position);

/** *state becomes TLM_GENERATION_RUNNING or how the sequence ended. TLM_ERR_RANGE if there is no
 *  such sequence. @since 0.2 */
TLM_API tlm_status_t tlm_generator_state(int32_t *state, const tlm_generator_t *generator,
                                         size_t sequence);

/** Ends a running sequence; its tokens stay. No effect on one that has ended. TLM_ERR_RANGE if
 *  there is none. @since 0.2 */
TLM_API tlm_status_t tlm_generator_stop(tlm_generator_t *generator, size_t sequence);

/* ---- Scoring ---------------------------------------------------------------------------- */

/** How likely the model finds ids: log_probs[i], n - 1 of them (NULL: not wanted), is that of
 *  ids[i + 1] after what stands before it in its window, in nats; *total (may be NULL) their sum.
 *  Perplexity is exp(-total / (n - 1)). Windows of context_length tokens begin `stride` apart
 *  (0: half the context, at most context_length); each token counts once, in the first window that
 *  predicts it. No graph; memory does not grow with n. TLM_ERR_RANGE for an id outside the
 *  vocabulary or a stride out of range, TLM_ERR_INVALID_ARGUMENT unless n >= 2. @since 0.2 */
TLM_API tlm_status_t tlm_model_score(double *total, float *log_probs, tlm_model_t *model,
                                     const uint32_t *ids, size_t n, int64_t stride);

#ifdef __cplusplus
}
#endif
#endif
