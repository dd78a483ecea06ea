/* The classes of the characters in a block of up to 64 bytes, for block_scanner.c alone. Bit i of a
 * mask stands for byte i of the block; every byte of a character has the character's class. Blocks
 * end at character boundaries. */
#ifndef TLMI_BLOCK_CLASSES_H
#define TLMI_BLOCK_CLASSES_H

#include <string.h>

#include "kernels/byte_masks.h"
#include "tokenizer/pretokenize/pretokenize.h"
#include "tokenizer/pretokenize/unicode.h"

typedef struct classes {
    int size;       /* bytes in the block */
    uint64_t valid; /* the `size` lowest bits */
    uint64_t letter, upper, lower, both, mark, number, other, space;
    uint64_t blank, newline, apostrophe, slash;
    uint64_t inner; /* all bytes of characters except the first */

    /* Only if has_apart(): */
    uint64_t wide; /* not ASCII */
    /* In no class are, in Kimi, letters that are Han, and in DeepSeek kana and ideographs: */
    uint64_t apart;
    uint64_t apart_other; /* DeepSeek: punctuation and symbols among them */
    uint64_t rare;        /* Kimi: other Han; DeepSeek: control characters */
} classes_t;

static inline bool has_apart(tlmi_scanner_kind_t kind)
{
    return kind == TLMI_SCANNER_O200K || kind == TLMI_SCANNER_DEEPSEEK;
}

static inline uint64_t low_bits(int n)
{
    return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
}

/* What the classes depend on. */
typedef struct class_source {
    tlmi_byte_masks_fn byte_masks;
    const uint8_t *end;
    uint64_t marks; /* all bits if marks are letters */
    bool han_apart;
} class_source_t;

/* Returns the number of bytes at the end of a full block that begin a character which the block
 * cuts off. */
static inline int cut_character(const uint8_t *block)
{
    for (int back = 1; back <= 3; back++) {
        uint8_t byte = block[TLMI_MASK_BYTES - back];

        if ((byte & 0xC0) == 0x80)
            continue;
        if (byte >= 0xC2 && back < (byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4))
            return back;
        break;
    }
    return 0;
}

/* Adds the non-ASCII characters. `han` and `deepseek` say which characters are apart or rare. */
static inline __attribute__((always_inline)) void add_wide_with(classes_t *classes, uint64_t wide,
                                                                const uint8_t *at,
                                                                const uint8_t *end, bool han,
                                                                bool deepseek)
{
    uint64_t by_class[TLMI_CHAR_OTHER + 1] = {0}, inner = 0;

    while (wide != 0) {
        int i = __builtin_ctzll(wide), length;
        int traits = tlmi_traits_at(&length, at + i, end);
        int char_class = traits & TLMI_CHAR_CLASS;
        uint64_t bits = (((uint64_t)1 << length) - 1) << i;

        inner |= bits & (bits - 1);
        wide &= ~bits;
        if (han && (traits & TLMI_CHAR_HAN) != 0) {
            classes->apart |= bits;
            if (char_class != TLMI_CHAR_LETTER)
                classes->rare |= bits;
        } else if (deepseek && (traits & TLMI_CHAR_CJK) != 0) {
            *(char_class == TLMI_CHAR_OTHER ? &classes->apart_other : &classes->apart) |= bits;
        } else {
            by_class[char_class] |= bits;
        }
        if (deepseek && (traits & TLMI_CHAR_CONTROL) != 0)
            classes->rare |= bits;
    }
    classes->inner = inner;
    classes->upper |= by_class[TLMI_CHAR_UPPER];
    classes->lower |= by_class[TLMI_CHAR_LOWER];
    classes->both |= by_class[TLMI_CHAR_LETTER];
    classes->mark |= by_class[TLMI_CHAR_MARK];
    classes->number |= by_class[TLMI_CHAR_NUMBER];
    classes->space |= by_class[TLMI_CHAR_SPACE];
}

static void add_wide(classes_t *classes, uint64_t wide, const uint8_t *at, const uint8_t *end)
{
    add_wide_with(classes, wide, at, end, false, false);
}

static void add_wide_han(classes_t *classes, uint64_t wide, const uint8_t *at, const uint8_t *end)
{
    add_wide_with(classes, wide, at, end, true, false);
}

static void add_wide_deepseek(classes_t *classes, uint64_t wide, const uint8_t *at,
                              const uint8_t *end)
{
    add_wide_with(classes, wide, at, end, false, true);
}

/* Whether there is an ASCII control character other than white space. */
static inline bool has_controls(const uint8_t bytes[TLMI_MASK_BYTES], int size)
{
    uint8_t found = 0;

    for (int i = 0; i < TLMI_MASK_BYTES; i++)
        found |= (uint8_t)(i < size) &
                 ((uint8_t)(bytes[i] == 0x7F) |
                  ((uint8_t)(bytes[i] < ' ') & (uint8_t)((uint8_t)(bytes[i] - '\t') > 4)));
    return found != 0;
}

static inline __attribute__((always_inline)) void
classify(classes_t *out, const class_source_t *source, const uint8_t *at, tlmi_scanner_kind_t kind)
{
    uint8_t padded[TLMI_MASK_BYTES];
    const uint8_t *bytes = at;
    tlmi_byte_masks_t masks;

    out->size = TLMI_MASK_BYTES;
    if (source->end - at < TLMI_MASK_BYTES) {
        out->size = (int)(source->end - at);
        memset(padded, 0, sizeof(padded));
        memcpy(padded, at, (size_t)out->size);
        bytes = padded;
    }
    source->byte_masks(&masks, bytes);
    out->upper = masks.upper;
    out->lower = masks.lower;
    out->both = out->mark = 0;
    out->number = masks.number;
    out->space = masks.space;
    out->blank = masks.blank;
    out->newline = masks.newline;
    out->apostrophe = masks.apostrophe;
    out->slash = masks.slash;
    out->inner = 0;
    out->letter = out->upper | out->lower;
    if (has_apart(kind)) {
        out->wide = out->apart = out->apart_other = out->rare = 0;
    }
    if (masks.wide != 0) {
        if (source->end - at > TLMI_MASK_BYTES)
            out->size -= cut_character(at);
        uint64_t wide = masks.wide & low_bits(out->size);
        if (has_apart(kind))
            out->wide = wide;
        if (kind == TLMI_SCANNER_DEEPSEEK)
            add_wide_deepseek(out, wide, at, source->end);
        else if (kind == TLMI_SCANNER_O200K && source->han_apart)
            add_wide_han(out, wide, at, source->end);
        else
            add_wide(out, wide, at, source->end);
        out->letter = out->upper | out->lower | out->both | (out->mark & source->marks);
    }
    if (kind == TLMI_SCANNER_DEEPSEEK && has_controls(bytes, out->size))
        out->rare |= 1;
    out->valid = low_bits(out->size);
    out->other = ~(out->letter | out->number | out->space) & out->valid;
    if (has_apart(kind))
        out->other &= ~(out->apart | out->apart_other);
}

#endif
