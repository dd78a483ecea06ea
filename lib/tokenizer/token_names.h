/* How tokenizer.json and GGUF name the tokens of a vocabulary: special tokens that no merge makes as they
 * are, all others in the byte alphabet. */
#ifndef TLMI_TOKEN_NAMES_H
#define TLMI_TOKEN_NAMES_H

#include "token_list.h"
#include "tokenizer_core.h"

typedef struct tlmi_token_names {
    const tlm_tokenizer_t *tokenizer;
    tlmi_spelling_t spelling;
    bool *is_raw; /* [id]: named as it is */
} tlmi_token_names_t;

/* TLM_ERR_UNSUPPORTED, with a message that begins with `what`, if a special token would be taken for
 * another token, or is not UTF-8 without NUL. Released also on failure. */
tlm_status_t tlmi_token_names_init(tlmi_token_names_t *names, const tlm_tokenizer_t *tokenizer,
                                   const char *what);
void tlmi_token_names_release(tlmi_token_names_t *names);

/* The name of a token, NUL-terminated unless it is raw; borrowed until the next call. */
tlm_status_t tlmi_token_name(const char **text, size_t *size, tlmi_token_names_t *names,
                             uint32_t id);

/* Whether a merge can be written: one of raw tokens never applies, and its sides are not in the
 * alphabet. */
bool tlmi_merge_has_names(const tlmi_token_names_t *names, const tlmi_merge_t *merge);

#endif
