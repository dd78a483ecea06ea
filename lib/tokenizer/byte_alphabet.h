/* GPT-2's byte alphabet: one printable character for each byte, so that tokens can stand in text
 * files. Bytes that are printable in Latin-1 stand for themselves, the others for U+0100 and on. */
#ifndef TLMI_BYTE_ALPHABET_H
#define TLMI_BYTE_ALPHABET_H

#include "tinylm/export.h"

/* Writes bytes as characters, UTF-8; out has room for 2 * size bytes. Returns the bytes written. */
size_t tlmi_bytes_to_alphabet(char *out, const uint8_t *bytes, size_t size);

/* The way back; out has room for `size` bytes. False, with *size_out the offset of the first
 * character that is not in the alphabet, if there is one. */
bool tlmi_alphabet_to_bytes(uint8_t *out, size_t *size_out, const char *text, size_t size);

/* The 256 bytes in the order of their characters, which is that of GPT-2's vocabulary. */
void tlmi_alphabet_order(uint8_t *order);

#endif
