/* Base64 (RFC 4648), which text files use for bytes. */
#ifndef TLMI_BASE64_H
#define TLMI_BASE64_H

#include "tinylm/status.h"

/* Decodes whole groups of four digits, the last of which is padded with '='. Returns false if the
 * text is anything else, or if bits are left after the last byte. `out` has room for 3 bytes per
 * group. */
bool tlmi_base64_decode(uint8_t *out, size_t *out_size, const uint8_t *text, size_t size);

/* The 64 digits, by value. */
extern const char tlmi_base64_digits[65];

#endif
