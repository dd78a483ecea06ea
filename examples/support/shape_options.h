/* The shape of a model as options that programs have in common: what a command line says of it, what
 * the library takes, and what a model that was opened has. */
#ifndef EXAMPLES_SHAPE_OPTIONS_H
#define EXAMPLES_SHAPE_OPTIONS_H

#include "support/cli.h"
#include "support/model_words.h"

/* Members are called as in tlm_model_options_t. */
typedef struct shape_settings {
    uint64_t vocab_size, context_length, d_model, num_layers, num_heads, num_kv_heads, d_ff;
    uint64_t head_dim, base_width;
    const char *qk_norm, *norm, *position, *ffn, *output_init;
    double rope_theta, logit_softcap;
    bool tied_embeddings, embedding_norm, value_embeddings;
} shape_settings_t;

extern shape_settings_t shape_settings;

/* All of them: X(kind, option, member, least, most, words, help); least and most are for counts. */
/* clang-format off */
#define SHAPE_ROWS(X)                                                                              \
    X(CLI_COUNT, "vocab-size", vocab_size, 1, UINT32_MAX, NULL, HELP_VOCAB_SIZE)           \
    X(CLI_COUNT, "context", context_length, 1, INT32_MAX, NULL, HELP_CONTEXT)             \
    X(CLI_COUNT, "d-model", d_model, 1, 1 << 20, NULL, "width")                                    \
    X(CLI_COUNT, "layers", num_layers, 1, 1 << 16, NULL, "transformer blocks")                     \
    X(CLI_COUNT, "heads", num_heads, 1, 1 << 16, NULL, "attention heads per block")                \
    X(CLI_COUNT, "kv-heads", num_kv_heads, 0, 1 << 16, NULL,                                       \
      "heads of keys and values; 0: the same number")                                              \
    X(CLI_COUNT, "d-ff", d_ff, 0, 1 << 24, NULL,                                                   \
      "inner width of the feed-forward layers; 0: 8/3 d-model, or 4 d-model without a gate")     \
    X(CLI_COUNT, "head-dim", head_dim, 0, INT32_MAX, NULL, "width of a head; 0: d-model / heads")  \
    X(CLI_STRING, "qk-norm", qk_norm, 0, 0, qk_norm_words, "norms of queries and keys")            \
    X(CLI_STRING, "norm", norm, 0, 0, norm_words, "where blocks have norms")                       \
    X(CLI_STRING, "position", position, 0, 0, position_words, "how positions are told")            \
    X(CLI_REAL, "rope-theta", rope_theta, 0, 0, NULL, "base of RoPE's angles")                     \
    X(CLI_STRING, "ffn", ffn, 0, 0, ffn_words, "feed-forward layers")                              \
    X(CLI_FLAG, "tied", tied_embeddings, 0, 0, NULL, "the output projection is the embedding")     \
    X(CLI_FLAG, "embedding-norm", embedding_norm, 0, 0, NULL, "a norm behind the embeddings")      \
    X(CLI_FLAG, "value-embeddings", value_embeddings, 0, 0, NULL,                                  \
      "values in attention are mixed with rows of a table, by token")                              \
    X(CLI_REAL, "softcap", logit_softcap, 0, 0, NULL, "bound of the logits, by tanh; 0: none")     \
    X(CLI_COUNT, "base-width", base_width, 0, 1 << 20, NULL,                                       \
      "d-model for which the rates were found; they are scaled to this one (muP); 0: they are not")\
    X(CLI_STRING, "output-init", output_init, 0, 0, output_init_words,                             \
      "how projections into the residual stream begin")

/* Their rows in a program's table of options, under a heading, and of values. */
#define SHAPE_OPTION(kind, option, member, least, most, words, help)                               \
    , {option, kind, &shape_settings.member, help, false}
#define SHAPE_OPTIONS {NULL, CLI_FLAG, NULL, "Model", false} SHAPE_ROWS(SHAPE_OPTION)
#define SHAPE_VALUES                                                                               \
    {"norm", norm_words, ROLE_NONE}, {"position", position_words, ROLE_NONE},                      \
    {"qk-norm", qk_norm_words, ROLE_NONE}, {"ffn", ffn_words, ROLE_NONE},                          \
    {"output-init", output_init_words, ROLE_NONE}
/* clang-format on */

/* Ends the program for a count that is out of its range. */
void shape_check(void);

/* The options of the library: those of the adopted model, if there is one, with the settings. */
tlm_model_options_t shape_model_options(void);

/* Takes every option of a model, those without a setting too. */
void shape_adopt(const tlm_model_options_t *model);

/* The same; a setting that was given and that contradicts the model at `path` ends the program, which
 * names it. A context that was given stays. */
void shape_adopt_checked(const tlm_model_options_t *model, const char *path);

#endif
