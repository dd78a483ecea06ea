/* WordPiece as a subword model: from the left, the longest token that matches. */
#ifndef TLMI_WORDPIECE_H
#define TLMI_WORDPIECE_H

#include "tokenizer/tokenizer_core.h"

#define TLMI_WORDPIECE_MAX_CHARS 100 /* the usual max_input_chars_per_word */

typedef struct tlmi_wordpiece_options {
    tlm_bytes_t unk_token; /* of words that no tokens make up. If the vocabulary lacks it, encoding
                              such a word fails */
    tlm_bytes_t continuing_subword_prefix; /* of all tokens but the first of a word; may be empty */
    size_t max_input_chars_per_word;       /* longer words are unknown */
    const uint8_t *is_added; /* [id]: not 0 if the token is only an added token, which the model
                                does not know. NULL if there are none. Not kept */
} tlmi_wordpiece_options_t;

extern const tlmi_subword_kind_t tlmi_wordpiece_kind;

/* Makes a model of a vocabulary, of which it keeps nothing. Error messages start with `what`. */
tlm_status_t tlmi_wordpiece_model_create(tlmi_subword_model_t **out, const char *what,
                                         const tlmi_vocabulary_t *vocabulary,
                                         const tlmi_wordpiece_options_t *options);

#endif
