/* The pattern's alternatives, in its order:
 *   '(?:[sdmt]|ll|ve|re)   contraction()
 *    ?\p{L}+               a run of letters, perhaps after one U+0020
 *    ?\p{N}+               a run of numbers, likewise
 *    ?[^\s\p{L}\p{N}]+     a run of anything else but white space, likewise
 *   \s+(?!\S)|\s+          white_space() */
#include "gpt2_scanner.h"

#include "unicode.h"
#include "utf8.h"

/* Classes of the ASCII characters, which most text consists of. */
#define O TLMI_CLASS_OTHER
#define L TLMI_CLASS_LETTER
#define N TLMI_CLASS_NUMBER
#define S TLMI_CLASS_SPACE
static const uint8_t ascii_class[128] = {
    O, O, O, O, O, O, O, O, O, S, S, S, S, S, O, O, /* 00: tab, newline ... return */
    O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, /* 10 */
    S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, /* 20: space, punctuation */
    N, N, N, N, N, N, N, N, N, N, O, O, O, O, O, O, /* 30: digits */
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, /* 40 */
    L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O, /* 50 */
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, /* 60 */
    L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O, /* 70 */
};
#undef O
#undef L
#undef N
#undef S

static int wide_class(int *length, const uint8_t *text, const uint8_t *end)
{
    uint32_t code_point;

    *length = tlmi_utf8_decode(&code_point, text, end);
    if (*length < 0) {
        *length = 1;
        return TLMI_CLASS_OTHER;
    }
    return tlmi_unicode_class(code_point);
}

/* Class and length of the character at text < end. */
static inline int class_at(int *length, const uint8_t *text, const uint8_t *end)
{
    if (*text < 0x80) {
        *length = 1;
        return ascii_class[*text];
    }
    return wide_class(length, text, end);
}

static inline const uint8_t *skip_run(const uint8_t *text, const uint8_t *end, int class)
{
    int length;

    while (text < end && class_at(&length, text, end) == class)
        text += length;
    return text;
}

/* Length of the contraction at the apostrophe `text`, or 0. */
static int contraction(const uint8_t *text, const uint8_t *end)
{
    if (end - text < 2)
        return 0;
    switch (text[1]) {
    case 's':
    case 'd':
    case 'm':
    case 't':
        return 2;
    case 'l':
        return end - text > 2 && text[2] == 'l' ? 3 : 0;
    case 'v':
    case 'r':
        return end - text > 2 && text[2] == 'e' ? 3 : 0;
    default:
        return 0;
    }
}

/* The run of white space at `text`; where something follows, its last character is left to that,
 * unless it is the only one. */
static const uint8_t *white_space(const uint8_t *text, const uint8_t *end)
{
    const uint8_t *last = text, *next = text;
    int length;

    while (next < end && class_at(&length, next, end) == TLMI_CLASS_SPACE) {
        last = next;
        next += length;
    }
    return next == end || last == text ? next : last;
}

const uint8_t *tlmi_gpt2_scan(const uint8_t *text, const uint8_t *end)
{
    int length;
    int class = class_at(&length, text, end);

    if (class == TLMI_CLASS_SPACE) {
        const uint8_t *run = text + 1;

        if (*text != ' ' || run == end)
            return white_space(text, end);
        class = class_at(&length, run, end);
        if (class == TLMI_CLASS_SPACE)
            return white_space(text, end);
        return skip_run(run + length, end, class);
    }
    if (*text == '\'') {
        int size = contraction(text, end);

        if (size > 0)
            return text + size;
    }
    return skip_run(text + length, end, class);
}
