/* Pre-tokenisation: cuts text without special tokens into pretokens, which no merge crosses. Each
 * byte lies in exactly one pretoken: what a custom pattern does not match is one of its own. */
#ifndef TLMI_PRETOKENIZER_H
#define TLMI_PRETOKENIZER_H

#include "block_scanner.h"
#include "tinylm/tokenizer.h"

typedef struct tlmi_pretokenizer tlmi_pretokenizer_t; /* immutable */

/* NULL is the GPT-2 pattern. The well-known patterns have scanners of their own; any other goes
 * through Oniguruma. With `nfc`, texts are put in Normalization Form C first. */
tlm_status_t tlmi_pretokenizer_create(tlmi_pretokenizer_t **out, const char *pattern, bool nfc);
void tlmi_pretokenizer_free(tlmi_pretokenizer_t *pretokenizer);
const char *tlmi_pretokenizer_pattern(const tlmi_pretokenizer_t *pretokenizer);
bool tlmi_pretokenizer_is_nfc(const tlmi_pretokenizer_t *pretokenizer);

/* Whether pretokens are decided near their end, so that a text can be cut before it is whole. */
bool tlmi_pretokenizer_is_local(const tlmi_pretokenizer_t *pretokenizer);

/* Splits a whole text. */
tlm_status_t tlmi_pretokenize(const tlmi_pretokenizer_t *pretokenizer, const uint8_t *text,
                              size_t size, tlmi_pretokens_fn pretokens, void *context);

/* Splits text that is in the form that the pretokenizer works on. Unless `final`, text may go on behind
 * `size`, and only the pretokens that cannot change are given (none by a pattern that is not local).
 * *consumed is their size. */
tlm_status_t tlmi_pretokenize_part(size_t *consumed, const tlmi_pretokenizer_t *pretokenizer,
                                   const uint8_t *text, size_t size, bool final,
                                   tlmi_pretokens_fn pretokens, void *context);

/* Whether a pretoken always ends at position `at` (0 < at < size), whatever the rest of the text,
 * and those before it are the same as if the text ended there. False says nothing. */
bool tlmi_pretokenizer_always_cuts(const tlmi_pretokenizer_t *pretokenizer, const uint8_t *text,
                                   size_t at);

#endif
