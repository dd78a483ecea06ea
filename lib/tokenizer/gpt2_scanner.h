/* The GPT-2 pattern (TLM_PATTERN_GPT2) by hand: no regular-expression engine on this path. */
#ifndef TLMI_GPT2_SCANNER_H
#define TLMI_GPT2_SCANNER_H

#include "tinylm/export.h"

/* End of the pretoken that starts at `text`; [text, end) is not empty. A malformed byte counts as
 * one character that is neither letter, number nor space. What lies before `text` has no influence.
 */
const uint8_t *tlmi_gpt2_scan(const uint8_t *text, const uint8_t *end);

/* No pretoken is decided by bytes further than this beyond its end: a white-space character given
 * back (3 bytes) and the character after it (4). */
#define TLMI_GPT2_LOOKAHEAD 7

#endif
