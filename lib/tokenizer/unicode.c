/* Character classes, from utf8proc's categories. A look-up there costs two dependent loads and a
 * wide record, so classes are kept here, 2 bits each. The table fills as blocks are first asked
 * for: a program that reads one script pays for its pages only. */
#include "unicode.h"

#include <stdatomic.h>
#include <utf8proc.h>

enum {
    NUM_CODE_POINTS = 0x110000,
    WORD_CODE_POINTS = 32, /* 2 bits each in a 64-bit word */
    BLOCK_WORDS = 8,
    BLOCK_CODE_POINTS = WORD_CODE_POINTS * BLOCK_WORDS
};

/* Threads that meet in an unfilled block write the same words, so relaxed stores suffice; a block's
 * flag is released after its words. */
static _Atomic uint64_t class_words[NUM_CODE_POINTS / WORD_CODE_POINTS];
static _Atomic uint8_t block_filled[NUM_CODE_POINTS / BLOCK_CODE_POINTS];

/* The 25 characters of White_Space (PropList.txt), unchanged since Unicode 6.3. */
static bool is_white_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

static uint64_t classify(uint32_t code_point)
{
    if (is_white_space(code_point))
        return TLMI_CLASS_SPACE;
    switch (utf8proc_category((utf8proc_int32_t)code_point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return TLMI_CLASS_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return TLMI_CLASS_NUMBER;
    default:
        return TLMI_CLASS_OTHER;
    }
}

static void fill_block(uint32_t block)
{
    for (uint32_t word = block * BLOCK_WORDS; word < (block + 1) * BLOCK_WORDS; word++) {
        uint64_t bits = 0;

        for (uint32_t i = 0; i < WORD_CODE_POINTS; i++)
            bits |= classify(word * WORD_CODE_POINTS + i) << (2 * i);
        atomic_store_explicit(&class_words[word], bits, memory_order_relaxed);
    }
    atomic_store_explicit(&block_filled[block], 1, memory_order_release);
}

int tlmi_unicode_class(uint32_t code_point)
{
    uint32_t block = code_point / BLOCK_CODE_POINTS;
    uint64_t bits;

    if (!atomic_load_explicit(&block_filled[block], memory_order_acquire))
        fill_block(block);
    bits = atomic_load_explicit(&class_words[code_point / WORD_CODE_POINTS], memory_order_relaxed);
    return (int)(bits >> (2 * (code_point % WORD_CODE_POINTS)) & 3);
}
