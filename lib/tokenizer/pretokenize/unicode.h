/* UTF-8 and character classes. */
#ifndef TLMI_UNICODE_H
#define TLMI_UNICODE_H

#include <stdatomic.h>

#include "tinylm/export.h"
#include "tinylm/status.h"

/* UTF-8 as the Unicode standard (section 3.9, table 3-7) defines it: no surrogates, no overlong
 * forms, nothing above U+10FFFF. */

/* Decodes the character at the start of [text, end), which must not be empty. Returns its length
 * and sets *code_point. If the character is malformed, returns minus the length (1..3) of the
 * maximal part that could begin a character, which is the part that one U+FFFD replaces. */
int tlmi_utf8_decode(uint32_t *code_point, const uint8_t *text, const uint8_t *end);

/* Returns the length of the character at the start of [text, end), which must not be empty. A
 * malformed byte is a character. */
static inline size_t tlmi_utf8_length(const uint8_t *text, const uint8_t *end)
{
    uint32_t code_point;
    int length = *text < 0x80 ? 1 : tlmi_utf8_decode(&code_point, text, end);

    return length < 0 ? 1 : (size_t)length;
}

/* Returns where the last character of a text of `size` >= 1 bytes begins. A malformed byte is a
 * character. */
size_t tlmi_utf8_last(const uint8_t *text, size_t size);

/* Returns the number of bytes (0..3) at the end of text that begin an incomplete character. */
size_t tlmi_utf8_unfinished(const uint8_t *text, size_t size);

bool tlmi_utf8_valid(const uint8_t *text, size_t size);

/* Writes text with each maximal malformed part replaced by U+FFFD; `out` must have room for
 * 3 * size bytes. Returns the number of bytes written. */
size_t tlmi_utf8_replace(uint8_t *out, const uint8_t *text, size_t size);

/* Writes a valid code point at `at` and returns what follows it. */
static inline uint8_t *tlmi_put_utf8(uint8_t *at, uint32_t code_point)
{
    if (code_point < 0x80) {
        *at++ = (uint8_t)code_point;
    } else if (code_point < 0x800) {
        *at++ = (uint8_t)(0xC0 | code_point >> 6);
        *at++ = (uint8_t)(0x80 | (code_point & 0x3F));
    } else if (code_point < 0x10000) {
        *at++ = (uint8_t)(0xE0 | code_point >> 12);
        *at++ = (uint8_t)(0x80 | (code_point >> 6 & 0x3F));
        *at++ = (uint8_t)(0x80 | (code_point & 0x3F));
    } else {
        *at++ = (uint8_t)(0xF0 | code_point >> 18);
        *at++ = (uint8_t)(0x80 | (code_point >> 12 & 0x3F));
        *at++ = (uint8_t)(0x80 | (code_point >> 6 & 0x3F));
        *at++ = (uint8_t)(0x80 | (code_point & 0x3F));
    }
    return at;
}

/* Character properties for pre-tokenization: the kind of letter, a mark, a number, white space or
 * something else. */

enum {
    TLMI_CHAR_UPPER = 1, /* Lu, Lt */
    TLMI_CHAR_LOWER,     /* Ll */
    TLMI_CHAR_LETTER,    /* Lm, Lo: neither upper nor lower */
    TLMI_CHAR_MARK,      /* \p{M} */
    TLMI_CHAR_NUMBER,    /* \p{N} */
    TLMI_CHAR_SPACE,     /* \s: the property White_Space */
    TLMI_CHAR_OTHER,

    /* Traits: one of the classes above, and these bits. */
    TLMI_CHAR_CLASS = 0x07,   /* the bits of the class */
    TLMI_CHAR_CONTROL = 0x08, /* TLMI_CHAR_OTHER that is neither \p{P} nor \p{S} */
    TLMI_CHAR_HAN = 0x10,     /* \p{Han} */
    TLMI_CHAR_CJK = 0x20      /* U+4E00..9FA5 and U+3040..30FF, a range of DeepSeek's pattern */
};

/* \p{L} */
static inline bool tlmi_is_letter(int char_class)
{
    return char_class <= TLMI_CHAR_LETTER;
}

/* One byte per code point, 0 until it is first requested. Only tlmi_char_traits may read this. */
extern _Atomic uint8_t tlmi_known_traits[0x110000];
int tlmi_find_char_traits(uint32_t code_point);

/* Returns the traits of a code point up to U+10FFFF in utf8proc's version of Unicode.
 * Thread-safe. */
static inline int tlmi_char_traits(uint32_t code_point)
{
    int known = atomic_load_explicit(&tlmi_known_traits[code_point], memory_order_relaxed);

    return known != 0 ? known : tlmi_find_char_traits(code_point);
}

static inline int tlmi_char_class(uint32_t code_point)
{
    return tlmi_char_traits(code_point) & TLMI_CHAR_CLASS;
}

/* The slow path of tlmi_traits_at, for four-byte and malformed characters. */
int tlmi_rare_traits_at(int *length, const uint8_t *text, const uint8_t *end);

/* Returns the traits of the character at text < end and sets its length. A malformed byte is
 * TLMI_CHAR_OTHER with length 1: a symbol, as U+FFFD is. */
static inline int tlmi_traits_at(int *length, const uint8_t *text, const uint8_t *end)
{
    uint32_t lead = text[0];

    if (lead < 0x80) {
        *length = 1;
        return tlmi_char_traits(lead);
    }
    if (end - text >= 3 && lead < 0xF0 && (text[1] & 0xC0) == 0x80) {
        uint32_t second = text[1] & 0x3Fu, third = text[2] & 0x3Fu;

        if (lead < 0xE0) {
            if (lead >= 0xC2) {
                *length = 2;
                return tlmi_char_traits((lead & 0x1F) << 6 | second);
            }
        } else if ((text[2] & 0xC0) == 0x80) {
            uint32_t code_point = (lead & 0x0F) << 12 | second << 6 | third;

            if (code_point >= 0x800 && code_point >> 11 != 0xD800 >> 11) {
                *length = 3;
                return tlmi_char_traits(code_point);
            }
        }
    }
    return tlmi_rare_traits_at(length, text, end);
}

/* Likewise the class alone. */
static inline int tlmi_class_at(int *length, const uint8_t *text, const uint8_t *end)
{
    return tlmi_traits_at(length, text, end) & TLMI_CHAR_CLASS;
}

#endif
