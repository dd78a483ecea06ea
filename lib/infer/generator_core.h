/* The inside of generators: sequences, what ends them, their text. */
#ifndef TLMI_GENERATOR_CORE_H
#define TLMI_GENERATOR_CORE_H

#include "infer/infer_core.h"
#include "tinylm/encode.h"

/* ---- Stops (stop_matcher.c) -------------------------------------------------------------- */

/* Finds where the first of several patterns begins in symbols that come one by one. Symbols are ids
 * or bytes. The end of what has come may be the beginning of a pattern: a pattern that is complete
 * counts only when no other that began earlier can still become complete. */
typedef struct tlmi_matcher {
    size_t num_patterns;
    uint32_t *symbols; /* of all patterns, one after another */
    size_t *borders;   /* of each of these symbols: see stop_matcher.c */
    size_t *offsets;   /* (num_patterns + 1): where each pattern begins in them */
    size_t *matched;   /* of each pattern: how long its beginning at the end of the input is */
    size_t position;   /* symbols so far */
    size_t found;      /* where the first complete pattern begins; SIZE_MAX: there is none yet */
} tlmi_matcher_t;

/* Patterns of ids, or of bytes; none may be empty. */
tlm_status_t tlmi_matcher_of_ids(tlmi_matcher_t *out, const tlm_ids_t *patterns, size_t n);
tlm_status_t tlmi_matcher_of_bytes(tlmi_matcher_t *out, const tlm_bytes_t *patterns, size_t n);
void tlmi_matcher_release(tlmi_matcher_t *matcher);
void tlmi_matcher_restart(tlmi_matcher_t *matcher);

void tlmi_matcher_feed(tlmi_matcher_t *matcher, uint32_t symbol);

/* Whether `found` cannot change any more. */
bool tlmi_matcher_is_decided(const tlmi_matcher_t *matcher);

/* How many symbols certainly come before every pattern. */
size_t tlmi_matcher_certain(const tlmi_matcher_t *matcher);

/* ---- Text (generated_text.c) -------------------------------------------------------------- */

/* The text of a sequence's new tokens. */
typedef struct tlmi_generated_text {
    tlm_decoder_t *decoder; /* of bytes; NULL before the first token */
    const tlm_tokenizer_t *tokenizer;
    tlm_decode_options_t how;
    tlmi_matcher_t stops;
    size_t prompt_fed;  /* tokens of the prompt that the decoder has seen */
    size_t prompt_size; /* bytes of the prompt */
    size_t skipped;     /* of these, to come out with the first new tokens */
    size_t fed;         /* new tokens that it has seen */
    bool finished;
    uint8_t *bytes; /* of the new tokens, so far */
    size_t num_bytes, byte_capacity;
    size_t *ends; /* (fed): how many bytes there are up to each token; SIZE_MAX: not known yet */
    size_t end_capacity;
    uint8_t *text; /* the certain part as UTF-8, with a NUL */
    size_t size, text_capacity;
    size_t released; /* bytes that are in `text` */
} tlmi_generated_text_t;

/* The options are checked; the stop strings are copied. */
tlm_status_t tlmi_text_create(tlmi_generated_text_t **out, const tlm_generate_options_t *options);
void tlmi_text_free(tlmi_generated_text_t *text);

/* Takes tokens until it has seen n new ones, or a stop string is certain. After a failure it begins
 * again with the next call. */
tlm_status_t tlmi_text_catch_up(tlmi_generated_text_t *text, const uint32_t *tokens,
                                size_t prompt_length, size_t n);

/* Ends the text, after the last token. */
tlm_status_t tlmi_text_finish(tlmi_generated_text_t *text);

/* How many new tokens certainly have all of their text before every stop string, and how many do in
 * the end, when a stop string was found. */
size_t tlmi_text_certain_tokens(const tlmi_generated_text_t *text);
tlm_status_t tlmi_text_tokens_before_stop(size_t *out, const tlmi_generated_text_t *text,
                                          const uint32_t *tokens, size_t prompt_length);

/* ---- Sequences (generated_sequence.c) --------------------------------------------------------------- */

typedef struct tlmi_sequence {
    tlm_generate_options_t options; /* with defaults resolved; its arrays are owned */
    tlm_logit_bias_t *logit_bias;
    tlmi_matcher_t stops;
    tlmi_generated_text_t *text; /* NULL: no tokenizer */
    tlmi_kv_cache_t *cache;      /* NULL when it has ended, unless it keeps it */
    uint32_t *tokens;            /* the prompt, then the new ones */
    size_t prompt_length, num_tokens, token_capacity;
    size_t num_settled; /* new tokens that no stop can take back */
    float *log_probs;   /* of each new token */
    size_t log_prob_capacity;
    size_t num_top;
    uint32_t *top_ids; /* (new tokens, num_top) */
    size_t top_id_capacity;
    float *top_log_probs; /* (new tokens, num_top) */
    size_t top_log_prob_capacity;
    uint8_t *seen; /* ids that have occurred, one bit each; NULL: no penalty */
    int32_t state;
    int32_t ending; /* the state that it is about to have; TLM_GENERATION_RUNNING: none */
} tlmi_sequence_t;

struct tlm_generator {
    const tlm_model_t *model;
    tlmi_inference_t *inference;
    tlmi_sampler_t sampler;
    float *logits; /* (logit_rows, vocab_size) */
    size_t logit_rows;
    tlmi_sequence_t **sequences;
    size_t num_sequences, capacity;
};

/* Makes a sequence of n > 0 valid tokens, none of them new, by options that are checked. */
tlm_status_t tlmi_sequence_create(tlmi_sequence_t **out, const char *function,
                                  const tlm_model_t *model, const uint32_t *tokens, size_t n,
                                  const tlm_generate_options_t *options);
void tlmi_sequence_free(tlmi_sequence_t *sequence);

static inline size_t tlmi_num_new(const tlmi_sequence_t *sequence)
{
    return sequence->num_tokens - sequence->prompt_length;
}

/* Makes room for one more token, before anything is computed. */
tlm_status_t tlmi_sequence_reserve(tlmi_sequence_t *sequence);

/* Makes room for n new tokens in all. */
tlm_status_t tlmi_sequence_reserve_new(tlmi_sequence_t *sequence, size_t n);

/* Appends a token, whose log-probabilities are noted. */
void tlmi_sequence_append(tlmi_sequence_t *sequence, uint32_t id);

/* Decides what is certain after a token or a reason to end: text, settled tokens, stops, the end.
 * May be called again after a failure. */
tlm_status_t tlmi_sequence_settle(tlmi_sequence_t *sequence);

/* Goes on with a sequence that was loaded with all its tokens: runs, or has the state that it
 * had. */
tlm_status_t tlmi_sequence_resume(tlmi_sequence_t *sequence, int32_t state);

/* The most tokens that its cache ever holds at once. */
int64_t tlmi_sequence_cache_limit(const tlm_generate_options_t *options, const tlm_model_t *model,
                                  size_t num_tokens);

/* Finds a sequence by its number. */
tlm_status_t tlmi_generator_find(tlmi_sequence_t **out, const char *function,
                                 const tlm_generator_t *generator, size_t index);

/* Adds a sequence, which is consumed, even on failure. */
tlm_status_t tlmi_generator_take(size_t *index, tlm_generator_t *generator,
                                 tlmi_sequence_t *sequence);

#endif
