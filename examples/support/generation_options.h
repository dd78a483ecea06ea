/* What generate and chat have in common: where the model is, and how tokens are chosen. */
#ifndef EXAMPLES_GENERATION_OPTIONS_H
#define EXAMPLES_GENERATION_OPTIONS_H

#include "support/cli.h"
#include "support/model_words.h"

typedef struct generation_settings {
    const char *model, *adapter, *tokenizer, *vocab, *merges, *end;
    const char *past, *cache, *prompt_cache;
    cli_strings_t stops;
    uint64_t max_tokens, top_k, seed;
    double temperature, top_p, min_p, repetition_penalty;
} generation_settings_t;

extern generation_settings_t generation; /* set by the options below */
extern const char *const cache_words[];

/* Rows of a table of options. */
#define GENERATION_SOURCE_OPTIONS                                                                  \
    {"model", CLI_STRING, &generation.model, HELP_MODEL, true},                                    \
        {"adapter", CLI_STRING, &generation.adapter, HELP_ADAPTER, false},                         \
        {"tokenizer", CLI_STRING, &generation.tokenizer, HELP_TOKENIZER "; else the model's own",  \
         false},                                                                                   \
        {"vocab", CLI_STRING, &generation.vocab, HELP_VOCAB, false},                               \
    {                                                                                              \
        "merges", CLI_STRING, &generation.merges, HELP_MERGES, false                               \
    }
#define GENERATION_SAMPLING_OPTIONS                                                                \
    {"max-tokens", CLI_COUNT, &generation.max_tokens, "the most new tokens", false},               \
        {"temperature", CLI_REAL, &generation.temperature, "0: always the likeliest token",        \
         false},                                                                                   \
        {"top-k", CLI_COUNT, &generation.top_k, "draw from the k likeliest; 0: from all", false},  \
        {"top-p", CLI_REAL, &generation.top_p, "nucleus sampling, up to 1; 0: from all", false},   \
        {"min-p", CLI_REAL, &generation.min_p,                                                     \
         "drop tokens below this share of the likeliest; 0: keep all", false},                     \
        {"repetition-penalty", CLI_REAL, &generation.repetition_penalty,                           \
         "above 1: favor tokens that have not occurred; 0: none", false},                          \
        {"seed", CLI_COUNT, &generation.seed, HELP_SEED ": the same, the same text", false},       \
        {"stop", CLI_STRINGS, &generation.stops,                                                   \
         "end before this text; may be given several times", false},                               \
        {"end-token", CLI_STRING, &generation.end,                                                 \
         "stop at this token, '' for none; " CLI_END_TOKEN " if there is one", false},             \
        {"past-context", CLI_STRING, &generation.past,                                             \
         "what happens at the end of the context; default: what the model can", false},            \
        {"cache", CLI_STRING, &generation.cache, "type of the key-value cache", false},            \
    {                                                                                              \
        "prompt-cache", CLI_STRING, &generation.prompt_cache,                                      \
            "file that keeps what was computed of the prompt; used again if it is there", false    \
    }
#define GENERATION_VALUES                                                                          \
    SOURCE_VALUES, {"past-context", past_words, ROLE_NONE}, {"cache", cache_words, ROLE_NONE},     \
    {                                                                                              \
        "prompt-cache", NULL, ROLE_OUTPUT                                                          \
    }

/* A model, its tokenizer, and how it generates. */
typedef struct generation {
    tlm_model_t *model;
    tlm_tokenizer_t *tokenizer;
    tlm_generate_options_t how;
} generation_t;

/* Opens what the settings name; errors end the program. */
void generation_open(generation_t *out);
void generation_close(generation_t *opened);

/* Begins sequence 0 with a prompt. What the file of --prompt-cache has of it is not computed again;
 * *kept is how many tokens. */
void generation_begin(tlm_generator_t *generator, const uint32_t *prompt, size_t n,
                      const tlm_generate_options_t *how, size_t *kept);
/* Writes the file of --prompt-cache, if there is to be one. */
void generation_save_cache(const tlm_generator_t *generator);

#endif
