/* The patterns that have scanners, text to compare these with Oniguruma on, and the characters that
 * are the same to both. */
#ifndef TEST_SCANNER_SUPPORT_H
#define TEST_SCANNER_SUPPORT_H

#include <stdlib.h>
#include <string.h>

#include "tokenizer/pretokenize/pretokenize.h"
#include "tokenizer/pretokenize/unicode.h"

/* The pattern in a group has the same meaning, but is not the string that selects the scanner. */
static const struct {
    const char *name, *pattern, *through_engine;
} patterns[] = {
#define PATTERN(name)                                                                              \
    {                                                                                              \
#name, TLM_PATTERN_##name, "(?:" TLM_PATTERN_##name ")"                                    \
    }
    PATTERN(GPT2),   PATTERN(CL100K), PATTERN(O200K), PATTERN(LLAMA3), PATTERN(QWEN2),
    PATTERN(QWEN35), PATTERN(TEKKEN), PATTERN(KIMI),  PATTERN(SMOLLM), PATTERN(DEEPSEEK_V3),
};
#define NUM_PATTERNS ((int)(sizeof(patterns) / sizeof(patterns[0])))

/* Pieces that meet in interesting ways: contractions, white space of each width, letters and numbers
 * of several scripts, malformed UTF-8. */
static const char *const pieces[] = {
    "a",
    "Z",
    "s",
    "t",
    "ll",
    "'",
    "'s",
    "'re",
    "'v",
    "'d",
    " ",
    "  ",
    "\n",
    "\t",
    "\r\n",
    "\v",
    "1",
    "23",
    "!",
    "...",
    "_",
    "\xC2\xA0",
    "\xC2\x85",
    "\xE3\x80\x80",
    "\xE2\x80\xA8",
    "\xC3\xA9",
    "\xE4\xB8\xAD",
    "\xD0\x96",
    "\xC2\xB2",
    "\xE2\x85\xA7",
    "\xF0\x9F\x98\x80",
    "\xF0\x9D\x9F\x99",
    "\xE2\x82\xAC",
    "\xCC\x81",
    "\xFF",
    "\xC3",
    "\xE3\x81",
    "\xF0\x9F",
    "\x80",
    "\xED\xA0\x80",
    "\x1C",
    "\x7F",
    "B",
    "aB",
    "/",
    "/\n",
    "!\n",
    "\r",
    "4567",
    "'S",
    "'Re",
    "'LL",
    "\xC5\xBF",         /* the long s, an s in any case */
    "\xC3\x89",         /* E acute, a capital */
    "\xC7\x85",         /* a title-case letter */
    "\xCA\xB0",         /* a modifier letter */
    "\xE0\xA4\xBE",     /* a spacing mark */
    "\xE2\x83\x9D",     /* an enclosing mark */
    "\xF0\x90\x90\x80", /* a capital outside the basic plane */
    "\xF0\x91\x80\x80", /* a mark there */
    "\xE3\x80\x87",     /* a number that is Han */
    "\xE2\xBA\x80",     /* a symbol that is Han */
    "\xE3\x80\x85",     /* a letter that is Han but not an ideograph */
    "\xE3\x90\x80",     /* an ideograph beyond DeepSeek's range */
    "\xE3\x83\xBB",     /* punctuation in it */
    "\xE3\x82\x99",     /* a mark in it */
    "\xE3\x81\x82\xE4\xB8\xAD",
    "\xE3\x81\x80",     /* an unassigned character in it */
    "\xE2\x80\x8D",     /* zero-width joiner, a control character */
    "\xF3\xA0\x80\x81", /* a control character outside the basic plane */
    "\x01",
    "[a",
    "\xEF\xBC\x8C", /* wide punctuation */
};
#define NUM_PIECES (sizeof(pieces) / sizeof(pieces[0]))

static inline int encode_utf8(uint8_t *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xC0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xE0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (c & 0x3F));
    return 4;
}

/* ---- Characters that are the same to both ----
 */

static const struct {
    int bit;
    const char *pattern;
} all_traits[] = {
    {TLMI_CHAR_CONTROL, "[^\\s\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}]"},
    {TLMI_CHAR_HAN, "\\p{Han}"},
    {TLMI_CHAR_CJK, "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]"},
};
#define NUM_TRAITS ((int)(sizeof(all_traits) / sizeof(all_traits[0])))

static tlmi_regex_t *class_regexes[TLMI_CHAR_OTHER + 1], *trait_regexes[NUM_TRAITS];
static tlmi_regex_matcher_t *class_matcher;

static inline void make_class_regexes(void)
{
    static const char *const by_class[] = {[TLMI_CHAR_UPPER] = "[\\p{Lu}\\p{Lt}]",
                                           [TLMI_CHAR_LOWER] = "\\p{Ll}",
                                           [TLMI_CHAR_LETTER] = "[\\p{Lm}\\p{Lo}]",
                                           [TLMI_CHAR_MARK] = "\\p{M}",
                                           [TLMI_CHAR_NUMBER] = "\\p{N}",
                                           [TLMI_CHAR_SPACE] = "\\s",
                                           [TLMI_CHAR_OTHER] = "[^\\s\\p{L}\\p{M}\\p{N}]"};

    if (tlmi_regex_matcher_create(&class_matcher, UINT64_MAX / 2) != TLM_OK)
        abort();
    for (int k = 1; k <= TLMI_CHAR_OTHER; k++)
        if (tlmi_regex_create(&class_regexes[k], by_class[k], TLMI_REGEX_PERL) != TLM_OK)
            abort();
    for (int k = 0; k < NUM_TRAITS; k++)
        if (tlmi_regex_create(&trait_regexes[k], all_traits[k].pattern, TLMI_REGEX_PERL) != TLM_OK)
            abort();
}

static inline void free_class_regexes(void)
{
    for (int k = 1; k <= TLMI_CHAR_OTHER; k++) {
        tlmi_regex_free(class_regexes[k]);
        class_regexes[k] = NULL;
    }
    for (int k = 0; k < NUM_TRAITS; k++) {
        tlmi_regex_free(trait_regexes[k]);
        trait_regexes[k] = NULL;
    }
    tlmi_regex_matcher_free(class_matcher);
    class_matcher = NULL;
}

static inline bool engine_matches(uint32_t c, const tlmi_regex_t *regex)
{
    uint8_t text[4];
    size_t start, end, size = (size_t)encode_utf8(text, c);

    if (tlmi_regex_search(&start, &end, regex, class_matcher, text, size, 0) != TLM_OK)
        abort();
    return end > start;
}

/* Whether Oniguruma puts a character into a class. */
static inline bool engine_has_class(uint32_t c, int char_class)
{
    if (class_matcher == NULL)
        make_class_regexes();
    return engine_matches(c, class_regexes[char_class]);
}

/* Likewise all that the scanners look at. */
static inline bool classes_agree(uint32_t c)
{
    int traits = tlmi_char_traits(c);

    if (class_matcher == NULL)
        make_class_regexes();
    for (int k = 0; k < NUM_TRAITS; k++)
        if (engine_matches(c, trait_regexes[k]) != ((traits & all_traits[k].bit) != 0))
            return false;
    return engine_has_class(c, traits & TLMI_CHAR_CLASS);
}

#endif
