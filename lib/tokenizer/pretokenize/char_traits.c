/* Properties of characters that only pre-tokenizers of tokenizer.json ask for. As in unicode.c,
 * each is derived from utf8proc's tables on first use and kept in one byte per code point. */
#include <utf8proc.h>

#include "tokenizer/pretokenize/pretokenize.h"

enum { KNOWN = 1, WORD = 2, PUNCTUATION = 4, NUMBER = 8 };

static _Atomic uint8_t traits[0x110000];

/* Ranges of characters in which the tables of the tokenizers library (Unicode 8 for punctuation, 16
 * for the rest) differ from utf8proc's (15), and what they say. */
typedef struct difference {
    uint32_t first, last;
    bool has_trait;
} difference_t;

/* clang-format off */
static const difference_t of_punctuation[] = {
    {0x61D, 0x61D, false}, {0x9FD, 0x9FD, false}, {0xA76, 0xA76, false}, {0xC77, 0xC77, false},
    {0xC84, 0xC84, false}, {0x166D, 0x166D, true}, {0x1B7D, 0x1B7E, false}, {0x2E43, 0x2E4F,
    false}, {0x2E52, 0x2E5D, false}, {0x10EAD, 0x10EAD, false}, {0x10F55, 0x10F59, false},
    {0x10F86, 0x10F89, false}, {0x111C9, 0x111C9, true}, {0x1144B, 0x1144F, false}, {0x1145A,
    0x1145B, false}, {0x1145D, 0x1145D, false}, {0x11660, 0x1166C, false}, {0x116B9, 0x116B9,
    false}, {0x1183B, 0x1183B, false}, {0x11944, 0x11946, false}, {0x119E2, 0x119E2, false},
    {0x11A3F, 0x11A46, false}, {0x11A9A, 0x11A9C, false}, {0x11A9E, 0x11AA2, false}, {0x11B00,
    0x11B09, false}, {0x11C41, 0x11C45, false}, {0x11C70, 0x11C71, false}, {0x11EF7, 0x11EF8,
    false}, {0x11F43, 0x11F4F, false}, {0x11FFF, 0x11FFF, false}, {0x12FF1, 0x12FF2, false},
    {0x16E97, 0x16E9A, false}, {0x16FE2, 0x16FE2, false}, {0x1E95E, 0x1E95F, false},
};

static const difference_t of_words[] = {
    {0x897, 0x897, true}, {0x1C89, 0x1C8A, true}, {0xA7CB, 0xA7CD, true}, {0xA7DA, 0xA7DC,
    true}, {0x105C0, 0x105F3, true}, {0x10D40, 0x10D65, true}, {0x10D69, 0x10D6D, true},
    {0x10D6F, 0x10D85, true}, {0x10EC2, 0x10EC4, true}, {0x10EFC, 0x10EFC, true}, {0x11380,
    0x11389, true}, {0x1138B, 0x1138B, true}, {0x1138E, 0x1138E, true}, {0x11390, 0x113B5,
    true}, {0x113B7, 0x113C0, true}, {0x113C2, 0x113C2, true}, {0x113C5, 0x113C5, true},
    {0x113C7, 0x113CA, true}, {0x113CC, 0x113D3, true}, {0x113E1, 0x113E2, true}, {0x116D0,
    0x116E3, true}, {0x11BC0, 0x11BE0, true}, {0x11BF0, 0x11BF9, true}, {0x11F5A, 0x11F5A,
    true}, {0x13460, 0x143FA, true}, {0x16100, 0x16139, true}, {0x16D40, 0x16D6C, true},
    {0x16D70, 0x16D79, true}, {0x18CFF, 0x18CFF, true}, {0x1CCF0, 0x1CCF9, true}, {0x1E5D0,
    0x1E5FA, true}, {0x2EBF0, 0x2EE5D, true},
};

static const difference_t of_numbers[] = {
    {0x10D40, 0x10D49, true}, {0x116D0, 0x116E3, true}, {0x11BF0, 0x11BF9, true}, {0x11DE0,
    0x11DE9, true}, {0x16130, 0x16139, true}, {0x16D70, 0x16D79, true}, {0x16FF4, 0x16FF6,
    true}, {0x1CCF0, 0x1CCF9, true}, {0x1E5F1, 0x1E5FA, true},
};
/* clang-format on */

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static uint8_t correct(uint8_t found, uint8_t trait, uint32_t code_point,
                       const difference_t *differences, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (code_point >= differences[i].first && code_point <= differences[i].last)
            return differences[i].has_trait ? found | trait : found & (uint8_t)~trait;
    return found;
}

/* Alphabetic symbols: Other_Alphabetic (PropList.txt) without its marks. */
static bool is_alphabetic_symbol(uint32_t c)
{
    return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
           (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

static bool is_ascii_punctuation(uint32_t c)
{
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
}

static uint8_t derive_traits(uint32_t code_point)
{
    uint8_t word = code_point == 0x200C || code_point == 0x200D ? WORD : 0;

    switch (utf8proc_category((utf8proc_int32_t)code_point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return KNOWN | WORD;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
        return KNOWN | WORD | NUMBER;
    case UTF8PROC_CATEGORY_NO:
        return KNOWN | NUMBER;
    case UTF8PROC_CATEGORY_PC:
        return KNOWN | WORD | PUNCTUATION;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PO:
    case UTF8PROC_CATEGORY_PS:
        return KNOWN | PUNCTUATION;
    default:
        break;
    }
    if (is_alphabetic_symbol(code_point))
        word = WORD;
    return KNOWN | word | (is_ascii_punctuation(code_point) ? PUNCTUATION : 0);
}

static uint8_t find_traits(uint32_t code_point)
{
    uint8_t found = derive_traits(code_point);

    found = correct(found, PUNCTUATION, code_point, of_punctuation, COUNT(of_punctuation));
    found = correct(found, WORD, code_point, of_words, COUNT(of_words));
    return correct(found, NUMBER, code_point, of_numbers, COUNT(of_numbers));
}

/* Returns the traits of the character at text < end and sets its length. A malformed byte has
 * none. */
static uint8_t traits_at(int *length, const uint8_t *text, const uint8_t *end)
{
    uint32_t code_point = text[0];

    *length = 1;
    if (code_point >= 0x80) {
        *length = tlmi_utf8_decode(&code_point, text, end);
        if (*length < 0) {
            *length = 1;
            return KNOWN;
        }
    }
    uint8_t known = atomic_load_explicit(&traits[code_point], memory_order_relaxed);
    if (known == 0) {
        known = find_traits(code_point);
        atomic_store_explicit(&traits[code_point], known, memory_order_relaxed);
    }
    return known;
}

bool tlmi_is_word_at(int *length, const uint8_t *text, const uint8_t *end)
{
    return (traits_at(length, text, end) & WORD) != 0;
}

bool tlmi_is_punctuation_at(int *length, const uint8_t *text, const uint8_t *end)
{
    return (traits_at(length, text, end) & PUNCTUATION) != 0;
}

bool tlmi_is_numeric_at(int *length, const uint8_t *text, const uint8_t *end)
{
    return (traits_at(length, text, end) & NUMBER) != 0;
}
