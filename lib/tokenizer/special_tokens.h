/* Special tokens: byte strings that are found before anything else in a text, the longest at each
 * place, and never enter pre-tokenisation. Immutable once made. */
#ifndef TLMI_SPECIAL_TOKENS_H
#define TLMI_SPECIAL_TOKENS_H

#include "tinylm/tokenizer.h"

typedef struct tlmi_special_tokens tlmi_special_tokens_t;

/* Copies the n tokens; `what` opens the message where one is empty or given twice. */
tlm_status_t tlmi_special_tokens_create(tlmi_special_tokens_t **out, const tlm_bytes_t *tokens,
                                        size_t n, const char *what);
void tlmi_special_tokens_free(tlmi_special_tokens_t *special);

size_t tlmi_special_tokens_count(const tlmi_special_tokens_t *special);
tlm_bytes_t tlmi_special_tokens_get(const tlmi_special_tokens_t *special, size_t index);

/* What tlmi_special_tokens_find found: token `index` at [start, end); or, where it returns false,
 * that no token begins before `start`. */
typedef struct tlmi_special_match {
    size_t start;
    size_t end;
    size_t index;
} tlmi_special_match_t;

/* First special token at or after `from`. Unless `final`, text may go on behind `size`: the search
 * stops where what follows would decide. */
bool tlmi_special_tokens_find(tlmi_special_match_t *match, const tlmi_special_tokens_t *special,
                              const uint8_t *text, size_t size, size_t from, bool final);

/* Whether the bytes of a special token lie on both sides of position `at`. */
bool tlmi_special_tokens_cross(const tlmi_special_tokens_t *special, const uint8_t *text,
                               size_t size, size_t at);

#endif
