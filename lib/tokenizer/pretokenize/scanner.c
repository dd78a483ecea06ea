/* The alternatives of each pattern, in its order.
 *
 * GPT-2:
 *   '(?:[sdmt]|ll|ve|re)   contraction
 *    ?\p{L}+               a run of letters, optionally after one U+0020
 *    ?\p{N}+               a run of numbers, likewise
 *    ?[^\s\p{L}\p{N}]+     a run of anything else except white space, likewise
 *   \s+(?!\S)|\s+          white space
 *
 * cl100k (Llama 3, Qwen 2):
 *   (?i:'s|'t|'re|'ve|'m|'ll|'d)
 *   [^\r\n\p{L}\p{N}]?\p{L}+      letters, optionally after one character of another kind
 *   \p{N}{1,3}
 *    ?[^\s\p{L}\p{N}]+[\r\n]*     anything else, and the line endings after it
 *   \s++$                         only in tiktoken's cl100k_base
 *   \s*[\r\n]+|\s+(?!\S)|\s+
 *
 * o200k: like cl100k with two differences. Letters form words, which have capitals only at their
 * beginning or consist of capitals alone; words include marks and a contraction that follows. And
 * slashes after anything else are taken in just as line endings are. */
#include "tokenizer/pretokenize/pretokenize.h"

#include <string.h>

#include "tinylm/tokenizer.h"
#include "tokenizer/pretokenize/unicode.h"

/* ---- Patterns ---- */

static const tlmi_scanner_t gpt2 = {TLMI_SCANNER_GPT2, 0, true};
static const tlmi_scanner_t cl100k = {TLMI_SCANNER_CL100K, 3, true};
static const tlmi_scanner_t o200k = {TLMI_SCANNER_O200K, 3, false};
static const tlmi_scanner_t llama3 = {TLMI_SCANNER_CL100K, 3, false};
static const tlmi_scanner_t qwen2 = {TLMI_SCANNER_CL100K, 1, false};

/* The public macros, and other spellings in use that split every text the same way. */
static const struct {
    const char *pattern;
    const tlmi_scanner_t *scanner;
} spellings[] = {
    {TLM_PATTERN_GPT2, &gpt2},
    {TLM_PATTERN_CL100K, &cl100k},
    {TLM_PATTERN_O200K, &o200k},
    {TLM_PATTERN_LLAMA3, &llama3},
    {TLM_PATTERN_QWEN2, &qwen2},
    /* OpenAI's GPT-2 code and Hugging Face's ByteLevel */
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", &gpt2},
    /* tiktoken's r50k_base and p50k_base */
    {"'(?:[sdmt]|ll|ve|re)| ?\\p{L}++| ?\\p{N}++| ?[^\\s\\p{L}\\p{N}]++|\\s++$|\\s+(?!\\S)|\\s",
     &gpt2},
    /* cl100k_base in tiktoken before 0.8 and in programs that copied it */
    {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
     "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
     &llama3},
};

const tlmi_scanner_t *tlmi_scanner_find(const char *pattern)
{
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++)
        if (strcmp(pattern, spellings[i].pattern) == 0)
            return spellings[i].scanner;
    return NULL;
}

/* ---- Parts ---- */

static const uint8_t *skip_letters(const uint8_t *text, const uint8_t *end)
{
    int length;

    while (text < end && tlmi_is_letter(tlmi_class_at(&length, text, end)))
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

/* [^\s\p{L}\p{N}] */
static bool is_other(int char_class)
{
    return char_class == TLMI_CHAR_OTHER || char_class == TLMI_CHAR_MARK;
}

static const uint8_t *skip_others(const uint8_t *text, const uint8_t *end)
{
    int length;

    while (text < end && is_other(tlmi_class_at(&length, text, end)))
        text += length;
    return text;
}

static int lower_case(uint8_t c)
{
    return c | 0x20;
}

int tlmi_scan_contraction(const tlmi_scanner_t *scanner, const uint8_t *text, const uint8_t *end)
{
    int first, second;

    if (end - text < 2)
        return 0;
    first = text[1];
    second = end - text > 2 ? text[2] : 0;
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

/* \s+(?!\S)|\s+: skips the run of white space at `text`. If something follows the run, the last
 * character is left to that, unless it is the only one. With `lines`, \s*[\r\n]+ is tried first,
 * which ends at the last line ending in the run. */
static const uint8_t *skip_spaces(const tlmi_scanner_t *scanner, const uint8_t *text,
                                  const uint8_t *end, bool lines)
{
    const uint8_t *last = text, *next = text, *line = NULL;
    int length;

    while (next < end && tlmi_class_at(&length, next, end) == TLMI_CHAR_SPACE) {
        last = next;
        next += length;
        if (*last == '\r' || *last == '\n')
            line = next;
    }
    if (next == end && scanner->whole_at_end)
        return next;
    if (lines && line != NULL)
        return line;
    return next == end || last == text ? next : last;
}

/* ---- GPT-2 ---- */

static const uint8_t *scan_gpt2(const tlmi_scanner_t *scanner, const uint8_t *text,
                                const uint8_t *end)
{
    const uint8_t *run = text + (*text == ' ');
    int length, char_class;

    if (*text == '\'') {
        int size = tlmi_scan_contraction(scanner, text, end);

        if (size > 0)
            return text + size;
    }
    if (run == end)
        return end;
    char_class = tlmi_class_at(&length, run, end);
    if (tlmi_is_letter(char_class))
        return skip_letters(run, end);
    if (char_class == TLMI_CHAR_NUMBER)
        return skip_numbers(run, end, 0);
    if (is_other(char_class))
        return skip_others(run, end);
    return skip_spaces(scanner, text, end, false);
}

/* ---- cl100k and o200k ---- */

/* The alternatives after letters and contractions: numbers, anything else, white space. */
static const uint8_t *scan_rest(const tlmi_scanner_t *scanner, const uint8_t *text,
                                const uint8_t *end, int char_class)
{
    const uint8_t *run = text + (*text == ' '), *next;

    if (char_class == TLMI_CHAR_NUMBER)
        return skip_numbers(text, end, scanner->max_digits);
    next = skip_others(run, end);
    if (next == run)
        return skip_spaces(scanner, text, end, true);
    while (next < end && (*next == '\r' || *next == '\n' ||
                          (scanner->kind == TLMI_SCANNER_O200K && *next == '/')))
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

    if (tlmi_is_letter(char_class))
        return skip_letters(text, end);
    if (*text == '\'') {
        int size = tlmi_scan_contraction(scanner, text, end);

        if (size > 0)
            return text + size;
    }
    if (may_lead_letters(char_class, *text)) {
        const uint8_t *letters = text + length, *next = skip_letters(letters, end);

        if (next > letters)
            return next;
    }
    return scan_rest(scanner, text, end, char_class);
}

/* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+ at `text`, or NULL. The first part
 * is greedy; if nothing is left for the second, the first part backtracks to the last character
 * that both accept. */
static const uint8_t *skip_word(const uint8_t *text, const uint8_t *end)
{
    const uint8_t *behind_both = NULL;
    int length, char_class = 0;

    for (; text < end; text += length) {
        char_class = tlmi_class_at(&length, text, end);
        if (char_class == TLMI_CHAR_LETTER || char_class == TLMI_CHAR_MARK)
            behind_both = text + length;
        else if (char_class != TLMI_CHAR_UPPER)
            break;
    }
    if (text == end || char_class != TLMI_CHAR_LOWER)
        return behind_both;
    for (; text < end; text += length) {
        char_class = tlmi_class_at(&length, text, end);
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
static const uint8_t *skip_words(const uint8_t *text, const uint8_t *end, int length,
                                 int char_class)
{
    const uint8_t *letters = text, *next = NULL;

    if (may_lead_letters(char_class, *text)) {
        letters = text + length;
        next = skip_word(letters, end);
    }
    if (next == NULL && (letters == text || char_class == TLMI_CHAR_MARK))
        next = skip_word(text, end);
    if (next == NULL && (next = skip_capitals(letters, end)) == letters)
        return NULL;
    return next;
}

static const uint8_t *scan_o200k(const tlmi_scanner_t *scanner, const uint8_t *text,
                                 const uint8_t *end)
{
    int length, char_class = tlmi_class_at(&length, text, end);
    const uint8_t *next = skip_words(text, end, length, char_class);

    if (next == NULL)
        return scan_rest(scanner, text, end, char_class);
    if (next < end && *next == '\'')
        next += tlmi_scan_contraction(scanner, next, end);
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
    default:
        return scan_gpt2(scanner, text, end);
    }
}

/* ---- Incomplete texts ---- */

/* No pretoken depends on bytes farther than this after its end, except on the runs that
 * tlmi_scan_certain handles. The sum covers a white-space character that is given back (3 bytes)
 * and the character after it (4 bytes). */
#define LOOKAHEAD 7

/* Returns the class of the last character in [text, end), TLMI_CHAR_OTHER if it is malformed, and
 * sets *start. */
static int last_class(const uint8_t **start, const uint8_t *text, const uint8_t *end)
{
    const uint8_t *last = end - 1;
    int length, char_class;

    while (last > text && end - last < 4 && (*last & 0xC0) == 0x80)
        last--;
    char_class = tlmi_class_at(&length, last, end);
    *start = last;
    return last + length == end ? char_class : TLMI_CHAR_OTHER;
}

/* The character after a run, however far away, decides only two kinds of runs: white space, where
 * the last line ending matters, and o200k's capitals, which may begin a word or end one. */
const uint8_t *tlmi_scan_certain(const uint8_t *text, const uint8_t *end)
{
    const uint8_t *run = end - tlmi_utf8_unfinished(text, (size_t)(end - text)), *start;
    int run_class = 0;

    while (run > text) {
        int char_class = last_class(&start, text, run);

        if (char_class != TLMI_CHAR_SPACE && char_class != TLMI_CHAR_UPPER)
            break;
        if (run_class != 0 && char_class != run_class)
            break;
        run_class = char_class;
        run = start;
    }
    return run - text > LOOKAHEAD ? run - LOOKAHEAD : text;
}
