/* Character classes, derived from utf8proc's categories. A lookup in utf8proc costs two dependent
 * loads and a wide record, so this file caches the classes, one byte per code point. The table is
 * filled block by block on first use, so a program that reads one script pays only for its pages.
 * Threads that fill the same block at once store the same bytes, and no byte depends on another, so
 * relaxed stores suffice. */
#include "tokenizer/pretokenize/unicode.h"

#include <utf8proc.h>

#define BLOCK 64u /* code points classified at once */

_Atomic uint8_t tlmi_char_classes[0x110000];

/* The 25 characters of White_Space (PropList.txt), unchanged since Unicode 6.3. */
static bool is_white_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
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
    default:
        return TLMI_CHAR_OTHER;
    }
}

int tlmi_find_char_class(uint32_t code_point)
{
    uint32_t start = code_point - code_point % BLOCK;

    for (uint32_t c = start; c < start + BLOCK; c++)
        atomic_store_explicit(&tlmi_char_classes[c], classify(c), memory_order_relaxed);
    return classify(code_point);
}

int tlmi_rare_class_at(int *length, const uint8_t *text, const uint8_t *end)
{
    uint32_t code_point;

    *length = tlmi_utf8_decode(&code_point, text, end);
    if (*length > 0)
        return tlmi_char_class(code_point);
    *length = 1;
    return TLMI_CHAR_OTHER;
}
