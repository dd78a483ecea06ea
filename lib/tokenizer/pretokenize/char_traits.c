/* Properties of characters that only pre-tokenizers of tokenizer.json ask for. As in unicode.c, each
 * is derived from utf8proc's tables on first use and kept in one byte per code point. */
#include <utf8proc.h>

#include "tokenizer/pretokenize/pretokenize.h"

enum { KNOWN = 1, WORD = 2, PUNCTUATION = 4 };

static _Atomic uint8_t traits[0x110000];

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

static uint8_t find_traits(uint32_t code_point)
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
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
        return KNOWN | WORD;
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
