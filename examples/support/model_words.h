/* The words of options that several programs have, in the order of the library's numbers, up to NULL. */
#ifndef EXAMPLES_MODEL_WORDS_H
#define EXAMPLES_MODEL_WORDS_H

#include "support/cli.h"

extern const char *const norm_words[];        /* TLM_NORM_ */
extern const char *const position_words[];    /* TLM_POSITION_ */
extern const char *const qk_norm_words[];     /* TLM_QK_NORM_ */
extern const char *const ffn_words[];         /* TLM_FFN_ */
extern const char *const output_init_words[]; /* TLM_OUTPUT_INIT_ */
extern const char *const optimizer_words[];   /* TLM_COST_ */
extern const char *const past_words[];        /* TLM_PAST_ */
extern const char *const target_words[];      /* of convert --to */
extern const char *const weight_words[];      /* TLM_WEIGHTS_ */

/* Types that weights of a model have in memory, and the TLM_... of each. */
extern const char *const type_words[];
int32_t type_of_word(const char *option, const char *word);

/* Values of options that say where a model and its tokenizer are. */
#define SOURCE_VALUES {"model", NULL, ROLE_MODEL}, {"adapter", NULL, ROLE_ADAPTER}, TOKENIZER_VALUES
#define TOKENIZER_VALUES                                                                           \
    {"tokenizer", NULL, ROLE_TOKENIZER}, {"vocab", NULL, ROLE_VOCAB},                              \
    {                                                                                              \
        "merges", NULL, ROLE_MERGES                                                                \
    }

#endif
