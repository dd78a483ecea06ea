/* GPT-2's byte alphabet: one printable character per byte, so that text files can hold any token.
 * Bytes that are printable in Latin-1 are written as themselves, the others as U+0100 and up. */
#ifndef TLMI_BYTE_ALPHABET_H
#define TLMI_BYTE_ALPHABET_H

#include "tinylm/status.h"

/* Writes bytes as characters in UTF-8. `out` has room for 2 * size bytes. Returns the number of
 * bytes written. */
size_t tlmi_bytes_to_alphabet(char *out, const uint8_t *bytes, size_t size);

/* The inverse. `out` has room for `size` bytes. If a character is not in the alphabet, returns
 * false and sets *size_out to the offset of the first one. */
bool tlmi_alphabet_to_bytes(uint8_t *out, size_t *size_out, const char *text, size_t size);

/* Lists the 256 bytes in the order of their characters, which is their order in GPT-2's
 * vocabulary. */
void tlmi_alphabet_order(uint8_t *order);

#endif
