/* The alphabet is simple enough to compute, byte by byte. */
#include "tokenizer/byte_alphabet.h"

#include "tokenizer/pretokenize/unicode.h"

static bool stands_for_itself(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/* The others, in order: 00..20 from U+0100, 7F..A0 from U+0121, AD at U+0143. */
static uint32_t byte_character(uint8_t byte)
{
    if (stands_for_itself(byte))
        return byte;
    if (byte <= 0x20)
        return 0x100u + byte;
    return byte == 0xAD ? 0x143u : 0x121u + byte - 0x7Fu;
}

/* Returns the byte of a character, or -1. */
static int character_byte(uint32_t character)
{
    if (character < 0x100)
        return stands_for_itself(character) ? (int)character : -1;
    if (character <= 0x120)
        return (int)(character - 0x100);
    if (character <= 0x142)
        return (int)(character - 0x121 + 0x7F);
    return character == 0x143 ? 0xAD : -1;
}

size_t tlmi_bytes_to_alphabet(char *out, const uint8_t *bytes, size_t size)
{
    size_t written = 0;

    for (size_t i = 0; i < size; i++) {
        uint32_t character = byte_character(bytes[i]);

        if (character < 0x80) {
            out[written++] = (char)character;
        } else {
            out[written++] = (char)(0xC0 | character >> 6);
            out[written++] = (char)(0x80 | (character & 0x3F));
        }
    }
    return written;
}

bool tlmi_alphabet_to_bytes(uint8_t *out, size_t *size_out, const char *text, size_t size)
{
    const uint8_t *start = (const uint8_t *)text, *end = start + size;
    size_t written = 0;

    for (const uint8_t *at = start; at < end;) {
        uint32_t character;
        int length = tlmi_utf8_decode(&character, at, end);
        int byte = length < 0 ? -1 : character_byte(character);

        if (byte < 0) {
            *size_out = (size_t)(at - start);
            return false;
        }
        out[written++] = (uint8_t)byte;
        at += length;
    }
    *size_out = written;
    return true;
}

void tlmi_alphabet_order(uint8_t *order)
{
    for (int others = 0; others < 2; others++)
        for (uint32_t byte = 0; byte < 256; byte++)
            if (stands_for_itself(byte) == (others == 0))
                *order++ = (uint8_t)byte;
}
