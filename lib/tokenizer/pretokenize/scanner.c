/* The alternatives of each kind of pattern, in its order.
 *
 * GPT-2, with digits_apart only in the text between numbers:
 *   '(?:[sdmt]|ll|ve|re)   contraction
 *    ?\p{L}+               a run of letters, optionally after one U+0020
 *    ?\p{N}+               a run of numbers, likewise
 *    ?[^\s\p{L}\p{N}]+     a run of anything else except white space, likewise
 *   \s+(?!\S)|\s+          white space
 *
 * cl100k (Llama 3, Qwen 2; Qwen 3.5 with marks as letters):
 *   (?i:'s|'t|'re|'ve|'m|'ll|'d)
 *   [^\r\n\p{L}\p{N}]?\p{L}+      letters, optionally after one character of another kind
 *   \p{N}{1,3}
 *    ?[^\s\p{L}\p{N}]+[\r\n]*     anything else, and the line endings after it
 *   \s++$                         only in tiktoken's cl100k_base
 *   \s*[\r\n]+|\s+(?!\S)|\s+
 *
 * o200k: like cl100k with two differences. Letters form words, which have capitals only at their
 * beginning or consist of capitals alone; words include marks and a contraction that follows. And
 * slashes after anything else are taken in just as line endings are. Tekken has no contractions;
 * Kimi no slashes, but \p{Han}+ before all else, and words without Han.
 *
 * DeepSeek: three patterns in a chain. Numbers by threes are split off first, then runs of kana and
 * ideographs; these runs and what is between them are split by
 *   [!-/:-@\[-`{-~][A-Za-z]+            ASCII letters after one ASCII punctuation mark
 *   [^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+
 *    ?[\p{P}\p{S}]+[\r\n]*
 *   \s*[\r\n]+|\s+(?!\S)|\s+
 * which leaves over control characters; a run of these is a pretoken. */
#include "tokenizer/pretokenize/pretokenize.h"
#include "tokenizer/pretokenize/unicode.h"

/* ---- Parts ---- */

/* \p{L}, or [\p{L}\p{M}] */
static bool is_letter(const tlmi_scanner_t *scanner, int char_class)
{
    return tlmi_is_letter(char_class) || (scanner->marks && char_class == TLMI_CHAR_MARK);
}

static const uint8_t *skip_letters(const tlmi_scanner_t *scanner, const uint8_t *text,
                                   const uint8_t *end)
{
    int length;

    while (text < end && is_letter(scanner, tlmi_class_at(&length, text, end)))
        text += length;
    return text;
}

static const uint8_t *skip_numbers(const uint8_t *text, const uint8_t *end, int most)
{
    int length;

    for (int n = 0; (most == 0 || n < most) && text < end &&
                    tlmi_class_at(&length, text, end) == TLMI_CHAR_NUMBER;
         n++)
        text += length;
    return text;
}

/* [^\s\p{L}\p{N}], or [^\s\p{L}\p{M}\p{N}] */
static bool is_other(const tlmi_scanner_t *scanner, int char_class)
{
    return char_class == TLMI_CHAR_OTHER || (!scanner->marks && char_class == TLMI_CHAR_MARK);
}

static const uint8_t *skip_others(const tlmi_scanner_t *scanner, const uint8_t *text,
                                  const uint8_t *end)
{
    int length;

    while (text < end && is_other(scanner, tlmi_class_at(&length, text, end)))
        text += length;
    return text;
}

static int lower_case(uint8_t c)
{
    return c | 0x20;
}

int tlmi_scan_contraction(const tlmi_scanner_t *scanner, const uint8_t *text, const uint8_t *end)
{
    if (end - text < 2)
        return 0;
    int first = text[1], second = end - text > 2 ? text[2] : 0;
    if (scanner->kind != TLMI_SCANNER_GPT2) {
        if (first == 0xC5 && second == 0xBF) /* U+017F */
            return 3;
        first = lower_case((uint8_t)first);
        second = lower_case((uint8_t)second);
    }
    switch (first) {
    case 's':
    case 'd':
    case 'm':
    case 't':
        return 2;
    case 'l':
        return second == 'l' ? 3 : 0;
    case 'v':
    case 'r':
        return second == 'e' ? 3 : 0;
    default:
        return 0;
    }
}

/* Whether a character is split off before anything else, so that the text before it ends there. */
static bool is_apart(const tlmi_scanner_t *scanner, int traits)
{
    if (scanner->digits_apart && (traits & TLMI_CHAR_CLASS) == TLMI_CHAR_NUMBER)
        return true;
    return scanner->kind == TLMI_SCANNER_DEEPSEEK && (traits & TLMI_CHAR_CJK) != 0;
}

/* \s+(?!\S)|\s+: skips the run of white space at `text`. If something follows the run, the last
 * character is left to that, unless it is the only one. With `lines`, \s*[\r\n]+ is tried first,
 * which ends at the last line ending in the run. */
static const uint8_t *skip_spaces(const tlmi_scanner_t *scanner, const uint8_t *text,
                                  const uint8_t *end, bool lines)
{
    const uint8_t *last = text, *next = text, *line = NULL;
    int length, traits = 0;

    while (next < end && (traits = tlmi_traits_at(&length, next, end)) == TLMI_CHAR_SPACE) {
        last = next;
        next += length;
        if (*last == '\r' || *last == '\n')
            line = next;
    }
    if (next == end && scanner->whole_at_end)
        return next;
    if (lines && line != NULL)
        return line;
    return next == end || last == text || is_apart(scanner, traits) ? next : last;
}

/* ---- GPT-2 ---- */

static const uint8_t *scan_gpt2(const tlmi_scanner_t *scanner, const uint8_t *text,
                                const uint8_t *end)
{
    if (*text == '\'') {
        int size = tlmi_scan_contraction(scanner, text, end);

        if (size > 0)
            return text + size;
    }
    const uint8_t *run = text + (*text == ' ');
    if (run == end)
        return end;
    int length, char_class = tlmi_class_at(&length, run, end);
    if (tlmi_is_letter(char_class))
        return skip_letters(scanner, run, end);
    if (char_class == TLMI_CHAR_NUMBER && (run == text || !scanner->digits_apart))
        return skip_numbers(run, end, scanner->max_digits);
    if (is_other(scanner, char_class))
        return skip_others(scanner, run, end);
    return skip_spaces(scanner, text, end, false);
}

/* ---- cl100k and o200k ---- */

/* The alternatives after letters and contractions: numbers, anything else, white space. */
static const uint8_t *scan_rest(const tlmi_scanner_t *scanner, const uint8_t *text,
                                const uint8_t *end, int char_class)
{
    if (char_class == TLMI_CHAR_NUMBER)
        return skip_numbers(text, end, scanner->max_digits);
    const uint8_t *run = text + (*text == ' '), *next = skip_others(scanner, run, end);
    if (next == run)
        return skip_spaces(scanner, text, end, true);
    while (next < end && (*next == '\r' || *next == '\n' || (scanner->slashes && *next == '/')))
        next++;
    return next;
}

/* [^\r\n\p{L}\p{N}] */
static bool may_lead_letters(int char_class, uint8_t byte)
{
    return !tlmi_is_letter(char_class) && char_class != TLMI_CHAR_NUMBER && byte != '\r' &&
           byte != '\n';
}

static const uint8_t *scan_cl100k(const tlmi_scanner_t *scanner, const uint8_t *text,
                                  const uint8_t *end)
{
    int length, char_class = tlmi_class_at(&length, text, end);

    if (is_letter(scanner, char_class))
        return skip_letters(scanner, text, end);
    if (*text == '\'') {
        int size = tlmi_scan_contraction(scanner, text, end);

        if (size > 0)
            return text + size;
    }
    if (may_lead_letters(char_class, *text)) {
        const uint8_t *letters = text + length, *next = skip_letters(scanner, letters, end);

        if (next > letters)
            return next;
    }
    return scan_rest(scanner, text, end, char_class);
}

/* The class of a character in a word; Han is in none of a word's classes if it stands apart. */
static int word_class_at(int *length, const tlmi_scanner_t *scanner, const uint8_t *text,
                         const uint8_t *end)
{
    int traits = tlmi_traits_at(length, text, end);

    return scanner->han_apart && (traits & TLMI_CHAR_HAN) != 0 ? TLMI_CHAR_OTHER
                                                               : traits & TLMI_CHAR_CLASS;
}

/* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+ at `text`, or NULL. The first part
 * is greedy; if nothing is left for the second, the first part backtracks to the last character
 * that both accept. */
static const uint8_t *skip_word(const tlmi_scanner_t *scanner, const uint8_t *text,
                                const uint8_t *end)
{
    const uint8_t *behind_both = NULL;
    int length, char_class = 0;

    for (; text < end; text += length) {
        char_class = word_class_at(&length, scanner, text, end);
        if (char_class == TLMI_CHAR_LETTER || char_class == TLMI_CHAR_MARK)
            behind_both = text + length;
        else if (char_class != TLMI_CHAR_UPPER)
            break;
    }
    if (text == end || char_class != TLMI_CHAR_LOWER)
        return behind_both;
    for (; text < end; text += length) {
        char_class = word_class_at(&length, scanner, text, end);
        if (char_class != TLMI_CHAR_LOWER && char_class != TLMI_CHAR_LETTER &&
            char_class != TLMI_CHAR_MARK)
            break;
    }
    return text;
}

static const uint8_t *skip_capitals(const uint8_t *text, const uint8_t *end)
{
    int length;

    while (text < end && tlmi_class_at(&length, text, end) == TLMI_CHAR_UPPER)
        text += length;
    return text;
}

/* The two alternatives for letters, without the contraction after them, or NULL. When the second is
 * tried, only capitals can match: anything else would have matched the first. */
static const uint8_t *skip_words(const tlmi_scanner_t *scanner, const uint8_t *text,
                                 const uint8_t *end, int length, int char_class)
{
    const uint8_t *letters = text, *next = NULL;

    if (may_lead_letters(char_class, *text)) {
        letters = text + length;
        next = skip_word(scanner, letters, end);
    }
    if (next == NULL && (letters == text || char_class == TLMI_CHAR_MARK))
        next = skip_word(scanner, text, end);
    if (next == NULL && (next = skip_capitals(letters, end)) == letters)
        return NULL;
    return next;
}

/* A run of characters that have the trait. */
static const uint8_t *skip_trait(int trait, const uint8_t *text, const uint8_t *end)
{
    int length;

    while (text < end && (tlmi_traits_at(&length, text, end) & trait) != 0)
        text += length;
    return text;
}

static const uint8_t *scan_o200k(const tlmi_scanner_t *scanner, const uint8_t *text,
                                 const uint8_t *end)
{
    int length, traits = tlmi_traits_at(&length, text, end);
    int char_class = traits & TLMI_CHAR_CLASS;

    if (scanner->han_apart && (traits & TLMI_CHAR_HAN) != 0)
        return skip_trait(TLMI_CHAR_HAN, text + length, end);
    const uint8_t *next = skip_words(scanner, text, end, length, char_class);
    if (next == NULL)
        return scan_rest(scanner, text, end, char_class);
    if (scanner->suffixes && next < end && *next == '\'')
        next += tlmi_scan_contraction(scanner, next, end);
    return next;
}

/* ---- DeepSeek ---- */

static bool is_ascii_letter(uint8_t byte)
{
    return lower_case(byte) >= 'a' && lower_case(byte) <= 'z';
}

/* The 32 that are neither letters nor digits nor white space nor control characters. */
static bool is_ascii_punctuation(uint8_t byte)
{
    return byte > ' ' && byte < 0x7F && !is_ascii_letter(byte) && !(byte >= '0' && byte <= '9');
}

/* The pieces that the last pattern splits are runs of kana and ideographs, where `side` is
 * TLMI_CHAR_CJK, and what is between them, where it is 0. */

/* [\p{L}\p{M}]+ */
static const uint8_t *skip_marked_letters(const uint8_t *text, const uint8_t *end, int side)
{
    for (int length; text < end; text += length) {
        int traits = tlmi_traits_at(&length, text, end);

        if ((traits & TLMI_CHAR_CJK) != side || (traits & TLMI_CHAR_CLASS) > TLMI_CHAR_MARK)
            break;
    }
    return text;
}

/* [\p{P}\p{S}]+, or with TLMI_CHAR_CONTROL a run of control characters */
static const uint8_t *skip_symbols(const uint8_t *text, const uint8_t *end, int side, int control)
{
    const int looked_at = TLMI_CHAR_CLASS | TLMI_CHAR_CONTROL | TLMI_CHAR_CJK;
    int length;

    while (text < end &&
           (tlmi_traits_at(&length, text, end) & looked_at) == (TLMI_CHAR_OTHER | control | side))
        text += length;
    return text;
}

/* Control characters, except one that leads letters. The first one does not. */
static const uint8_t *skip_controls(const uint8_t *text, const uint8_t *end, int side)
{
    const uint8_t *next = skip_symbols(text, end, side, TLMI_CHAR_CONTROL);

    if (skip_marked_letters(next, end, side) == next)
        return next;
    while ((*--next & 0xC0) == 0x80)
        ;
    return next;
}

static const uint8_t *scan_deepseek(const tlmi_scanner_t *scanner, const uint8_t *text,
                                    const uint8_t *end)
{
    int length, traits = tlmi_traits_at(&length, text, end), side = traits & TLMI_CHAR_CJK;

    if ((traits & TLMI_CHAR_CLASS) == TLMI_CHAR_NUMBER)
        return skip_numbers(text, end, scanner->max_digits);
    if (is_ascii_punctuation(*text) && end - text > 1 && is_ascii_letter(text[1])) {
        for (text++; text < end && is_ascii_letter(*text);)
            text++;
        return text;
    }
    bool is_control = (traits & TLMI_CHAR_CONTROL) != 0;
    bool leads = is_control || (traits == TLMI_CHAR_SPACE && *text != '\r' && *text != '\n');
    const uint8_t *letters = leads ? text + length : text;
    const uint8_t *next = skip_marked_letters(letters, end, side);
    if (next > letters)
        return next;
    if (is_control)
        return skip_controls(text, end, side);
    const uint8_t *run = text + (*text == ' ');
    next = skip_symbols(run, end, side, 0);
    if (next == run)
        return skip_spaces(scanner, text, end, true);
    while (side == 0 && next < end && (*next == '\r' || *next == '\n'))
        next++;
    return next;
}

const uint8_t *tlmi_scan_pretoken(const tlmi_scanner_t *scanner, const uint8_t *text,
                                  const uint8_t *end)
{
    switch (scanner->kind) {
    case TLMI_SCANNER_CL100K:
        return scan_cl100k(scanner, text, end);
    case TLMI_SCANNER_O200K:
        return scan_o200k(scanner, text, end);
    case TLMI_SCANNER_DEEPSEEK:
        return scan_deepseek(scanner, text, end);
    default:
        return scan_gpt2(scanner, text, end);
    }
}

/* ---- Incomplete texts ---- */

/* No pretoken depends on bytes farther than this after its end, except on the runs that
 * tlmi_scan_certain handles. The sum covers a white-space or control character that is left to what
 * follows (4 bytes) and the character after it (4 bytes). */
#define LOOKAHEAD 8

/* The character after a run, however far away, decides only two kinds of runs: white space, where
 * the last line ending matters, and o200k's capitals, which may begin a word or end one. */
const uint8_t *tlmi_scan_certain(const uint8_t *text, const uint8_t *end)
{
    const uint8_t *run = end - tlmi_utf8_unfinished(text, (size_t)(end - text));
    int run_class = 0;

    while (run > text) {
        const uint8_t *start = text + tlmi_utf8_last(text, (size_t)(run - text));
        int length, char_class = tlmi_class_at(&length, start, run);

        if (char_class != TLMI_CHAR_SPACE && char_class != TLMI_CHAR_UPPER)
            break;
        if (run_class != 0 && char_class != run_class)
            break;
        run_class = char_class;
        run = start;
    }
    return run - text > LOOKAHEAD ? run - LOOKAHEAD : text;
}
