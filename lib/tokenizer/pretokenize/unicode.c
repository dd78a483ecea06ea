/* Character classes and traits, derived from utf8proc's categories. A lookup in utf8proc costs two
 * dependent loads and a wide record, so this file caches them, one byte per code point. The table
 * is filled block by block on first use, so a program that reads one script pays only for its
 * pages. Threads that fill the same block at once store the same bytes, and no byte depends on
 * another, so relaxed stores suffice. */
#include "tokenizer/pretokenize/unicode.h"

#include <utf8proc.h>

#define BLOCK 64u /* code points classified at once */

_Atomic uint8_t tlmi_known_traits[0x110000];

/* The 25 characters of White_Space (PropList.txt), unchanged since Unicode 6.3. */
static bool is_white_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

/* The script Han as of Unicode 17 (Scripts.txt); utf8proc has no scripts. */
static const struct {
    uint32_t first, last;
} han[] = {{0x2E80, 0x2E99},   {0x2E9B, 0x2EF3},   {0x2F00, 0x2FD5},   {0x3005, 0x3005},
           {0x3007, 0x3007},   {0x3021, 0x3029},   {0x3038, 0x303B},   {0x3400, 0x4DBF},
           {0x4E00, 0x9FFF},   {0xF900, 0xFA6D},   {0xFA70, 0xFAD9},   {0x16FE2, 0x16FE3},
           {0x16FF0, 0x16FF6}, {0x20000, 0x2A6DF}, {0x2A700, 0x2B81E}, {0x2B820, 0x2CEAD},
           {0x2CEB0, 0x2EBE0}, {0x2EBF0, 0x2EE5D}, {0x2F800, 0x2FA1D}, {0x30000, 0x3134A},
           {0x31350, 0x33479}};

static bool is_han(uint32_t c)
{
    size_t i = 0, n = sizeof(han) / sizeof(han[0]);

    while (i < n && han[i].last < c)
        i++;
    return i < n && han[i].first <= c;
}

static bool is_cjk(uint32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF);
}

static uint8_t classify(uint32_t code_point)
{
    if (is_white_space(code_point))
        return TLMI_CHAR_SPACE;
    switch (utf8proc_category((utf8proc_int32_t)code_point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
        return TLMI_CHAR_UPPER;
    case UTF8PROC_CATEGORY_LL:
        return TLMI_CHAR_LOWER;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return TLMI_CHAR_LETTER;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return TLMI_CHAR_MARK;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return TLMI_CHAR_NUMBER;
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
        return TLMI_CHAR_OTHER | TLMI_CHAR_CONTROL;
    default:
        return TLMI_CHAR_OTHER;
    }
}

static uint8_t find_traits(uint32_t code_point)
{
    int traits = classify(code_point);
    bool assigned = utf8proc_category((utf8proc_int32_t)code_point) != UTF8PROC_CATEGORY_CN;

    if (assigned && is_han(code_point))
        traits |= TLMI_CHAR_HAN;
    if (is_cjk(code_point))
        traits |= TLMI_CHAR_CJK;
    return (uint8_t)traits;
}

int tlmi_find_char_traits(uint32_t code_point)
{
    uint32_t start = code_point - code_point % BLOCK;

    for (uint32_t c = start; c < start + BLOCK; c++)
        atomic_store_explicit(&tlmi_known_traits[c], find_traits(c), memory_order_relaxed);
    return find_traits(code_point);
}

int tlmi_rare_traits_at(int *length, const uint8_t *text, const uint8_t *end)
{
    uint32_t code_point;

    *length = tlmi_utf8_decode(&code_point, text, end);
    if (*length > 0)
        return tlmi_char_traits(code_point);
    *length = 1;
    return TLMI_CHAR_OTHER;
}
