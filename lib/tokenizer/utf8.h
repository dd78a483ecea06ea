/* UTF-8 as the Unicode standard (section 3.9, table 3-7) defines it: no surrogates, no overlong
 * forms, nothing above U+10FFFF. */
#ifndef TLMI_UTF8_H
#define TLMI_UTF8_H

#include "tinylm/export.h"

/* Decodes the character at the start of [text, end), which is not empty. Returns its length and
 * sets *code_point, or, where it is malformed, minus the length (1..3) of the maximal part that
 * could begin a character: what one U+FFFD replaces. */
int tlmi_utf8_decode(uint32_t *code_point, const uint8_t *text, const uint8_t *end);

/* Bytes (0..3) at the end of text that begin a character whose rest is still missing. */
size_t tlmi_utf8_unfinished(const uint8_t *text, size_t size);

bool tlmi_utf8_valid(const uint8_t *text, size_t size);

/* Writes text with each maximal malformed part as U+FFFD; out has room for 3 * size bytes.
 * Returns the bytes written. */
size_t tlmi_utf8_replace(uint8_t *out, const uint8_t *text, size_t size);

#endif
