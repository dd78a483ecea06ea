/* The hand-written scanners against Oniguruma running the same patterns. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "scanner_support.h"
#include "run_suite.h"
#include "tokenizer/formats/token_files.h"
#include "tokenizer/pretokenize/pretokenize.h"

static tlmi_pretokenizer_t *scanners[NUM_PATTERNS], *engines[NUM_PATTERNS];

static void setup(void)
{
    for (int i = 0; i < NUM_PATTERNS; i++) {
        ck_assert_int_eq(tlmi_pretokenizer_create(&scanners[i], patterns[i].pattern), TLM_OK);
        ck_assert_int_eq(tlmi_pretokenizer_create(&engines[i], patterns[i].through_engine), TLM_OK);
        ck_assert(tlmi_pretokenizer_is_local(scanners[i]));
        ck_assert(!tlmi_pretokenizer_is_local(engines[i]));
    }
}

static void teardown(void)
{
    for (int i = 0; i < NUM_PATTERNS; i++) {
        tlmi_pretokenizer_free(scanners[i]);
        tlmi_pretokenizer_free(engines[i]);
    }
    free_class_regexes();
}

#define MAX_TEXT 4096

typedef struct split {
    const uint8_t *text;
    size_t at; /* end of the last pretoken in the text */
    size_t ends[MAX_TEXT];
    size_t n;
} split_t;

static tlm_status_t collect(void *context, const uint8_t *text, const size_t *ends, size_t n)
{
    split_t *split = context;
    size_t start = split->at;

    /* Each check of Check's writes to a file: only failures do here. */
    if (memcmp(text, split->text + start, ends[n - 1]) != 0)
        ck_abort_msg("a batch differs from the text at %zu", start);
    for (size_t i = 0; i < n; i++) {
        if (start + ends[i] <= split->at)
            ck_abort_msg("a pretoken ends at %zu, before %zu", start + ends[i], split->at);
        split->at = start + ends[i];
        split->ends[split->n++] = split->at;
    }
    return TLM_OK;
}

static void split_with(split_t *split, const tlmi_pretokenizer_t *pretokenizer, const uint8_t *text,
                       size_t size)
{
    split->n = split->at = 0;
    split->text = text;
    if (tlmi_pretokenize(pretokenizer, text, size, true, collect, split) != TLM_OK ||
        split->at != size)
        ck_abort_msg("%zu of %zu bytes: %s", split->at, size, tlm_error_message());
}

/* The first difference, as hexadecimal bytes around it. */
static void fail_split(const char *name, const split_t *split, const split_t *expected, size_t size)
{
    size_t i = 0, from, to;
    char hex[3 * 120 + 1] = "";

    while (i < split->n && i < expected->n && split->ends[i] == expected->ends[i])
        i++;
    from = i == 0 ? 0 : expected->ends[i - 1];
    from = from > 40 ? from - 40 : 0;
    to = from + 120 < size ? from + 120 : size;
    for (size_t k = from; k < to; k++)
        snprintf(hex + 3 * (k - from), 4, "%02X ", split->text[k]);
    ck_abort_msg("%s: pretoken %zu ends at %zu, not %zu; from byte %zu: %s", name, i,
                 split->ends[i], expected->ends[i], from, hex);
}

static void check_same(const uint8_t *text, size_t size)
{
    static split_t by_scanner, by_engine;

    for (int i = 0; i < NUM_PATTERNS; i++) {
        split_with(&by_scanner, scanners[i], text, size);
        split_with(&by_engine, engines[i], text, size);
        if (by_scanner.n != by_engine.n ||
            memcmp(by_scanner.ends, by_engine.ends, by_engine.n * sizeof(size_t)) != 0)
            fail_split(patterns[i].name, &by_scanner, &by_engine, size);
    }
}

/* Of all pieces, or of some, so that runs of a kind reach over blocks of 64 bytes. */
static size_t random_text(uint8_t *out, uint64_t seed)
{
    size_t size = 0, n = (size_t)tlmi_random_below(seed, 0, 0, seed % 3 == 0 ? 40 : 200);
    size_t kinds = seed % 5 < 3 ? NUM_PIECES : 3, first[3];

    for (size_t i = 0; i < 3; i++)
        first[i] = tlmi_random_below(seed, 3, i, NUM_PIECES);
    for (size_t i = 0; i < n; i++) {
        size_t which = tlmi_random_below(seed, 0, i + 1, kinds);
        const char *piece = pieces[kinds == 3 ? first[which] : which];

        memcpy(out + size, piece, strlen(piece));
        size += strlen(piece);
    }
    if (size > 0 && seed % 7 == 0)
        out[tlmi_random_below(seed, 1, 0, size)] = '\0';
    return size;
}

START_TEST(scanner_equals_engine_on_random_text)
{
    uint8_t text[MAX_TEXT];

    for (uint64_t seed = 0; seed < 2000; seed++)
        check_same(text, random_text(text, seed));
}
END_TEST

START_TEST(scanner_equals_engine_on_random_bytes)
{
    uint8_t text[256];

    for (uint64_t seed = 0; seed < 2000; seed++) {
        size_t size = (size_t)tlmi_random_below(seed, 2, 0, sizeof(text));

        for (size_t i = 0; i < size; i++)
            text[i] = (uint8_t)tlmi_random_below(seed, 2, i + 1, 256);
        check_same(text, size);
    }
}
END_TEST

/* The scanner by blocks against the one that takes a pretoken at a time, which looks at the text
 * alone: at every alignment, as the blocks begin where the text does, and at every end. */
static void check_blocks(int which, const uint8_t *text, size_t size)
{
    const tlmi_scanner_t *known = tlmi_scanner_find(patterns[which].pattern);
    static split_t blocks, expected;
    const uint8_t *at = text;
    size_t consumed;

    memset(&blocks, 0, sizeof(blocks));
    blocks.text = text;
    ck_assert_int_eq(tlmi_scan_text(&consumed, known, text, size, true, collect, &blocks), TLM_OK);
    ck_assert_uint_eq(consumed, size);
    expected.n = 0;
    while (at < text + size) {
        at = tlmi_scan_pretoken(known, at, text + size);
        expected.ends[expected.n++] = (size_t)(at - text);
    }
    if (blocks.n != expected.n ||
        memcmp(blocks.ends, expected.ends, expected.n * sizeof(size_t)) != 0)
        fail_split(patterns[which].name, &blocks, &expected, size);
}

START_TEST(blocks_equal_the_reference)
{
    uint8_t text[MAX_TEXT];

    for (uint64_t seed = 0; seed < 2000; seed++) {
        size_t size = random_text(text, seed);
        int which = (int)(seed % NUM_PATTERNS);

        for (size_t start = 0; start <= size && start < 70; start++)
            check_blocks(which, text + start, size - start);
        for (size_t cut = 0; cut < 70 && cut < size; cut++)
            check_blocks(which, text, size - cut);
    }
}
END_TEST

/* A batch holds 256 pretokens: longer texts must go on where it ended. */
START_TEST(batches_follow_each_other)
{
    uint8_t text[2048];

    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 2 == 0 ? 'a' : '1';
    for (size_t size = 0; size <= sizeof(text); size += 128)
        check_same(text, size);
    memset(text, '\xFF', sizeof(text));
    check_same(text, sizeof(text));
}
END_TEST

/* Every character up to the CJK ideographs and each eleventh beyond. utf8proc and Oniguruma may follow
 * versions of Unicode of different years, so some of the rarest differ (docs/tokenizer.md); white
 * space may not. */
START_TEST(classes_agree_with_the_engine)
{
    int differences = 0;

    for (uint32_t c = 0; c < 0x110000; c += c < 0x3400 ? 1 : 11) {
        if (c >= 0xD800 && c < 0xE000)
            continue;
        differences += !classes_agree(c);
        if (engine_has_class(c, TLMI_CHAR_SPACE) != (tlmi_char_class(c) == TLMI_CHAR_SPACE))
            ck_abort_msg("white space: U+%04X", c);
    }
    ck_assert_int_lt(differences, 1000);
}
END_TEST

/* Any characters that are the same to both, near each other in Unicode so that runs come about. */
START_TEST(scanner_equals_engine_on_random_characters)
{
    uint8_t text[MAX_TEXT];

    for (uint64_t seed = 0; seed < 600; seed++) {
        size_t size = 0;
        uint32_t from = 0;

        for (uint64_t i = 0; i < 200; i++) {
            uint32_t c;

            if (i % 20 == 0)
                from = (uint32_t)tlmi_random_below(seed, 5, 3 * i, seed % 2 ? 0x3000 : 0x1E000);
            c = from + (uint32_t)tlmi_random_below(seed, 5, 3 * i + 1, 60);
            if (tlmi_random_below(seed, 5, 3 * i + 2, 4) == 0)
                c = (uint32_t) " \n'!a7/s"[c % 8];
            if ((c < 0xD800 || c > 0xDFFF) && classes_agree(c))
                size += (size_t)encode_utf8(text + size, c);
        }
        check_same(text, size);
    }
}
END_TEST

/* Wherever a cut is called safe, both sides split as the whole does. */
START_TEST(certain_cuts_change_nothing)
{
    static split_t whole, left, right;
    uint8_t text[MAX_TEXT];
    int cuts = 0;

    for (uint64_t seed = 0; seed < 2000; seed++) {
        size_t size = random_text(text, seed);
        tlmi_pretokenizer_t *scanner = scanners[seed % NUM_PATTERNS];

        split_with(&whole, scanner, text, size);
        for (size_t at = 1; at < size; at++) {
            if (!tlmi_pretokenizer_always_cuts(scanner, text, at))
                continue;
            cuts++;
            split_with(&left, scanner, text, at);
            split_with(&right, scanner, text + at, size - at);
            ck_assert_uint_eq(left.n + right.n, whole.n);
            ck_assert_mem_eq(left.ends, whole.ends, left.n * sizeof(size_t));
            ck_assert_uint_eq(whole.ends[left.n - 1], at);
        }
    }
    ck_assert_int_gt(cuts, 1000);
}
END_TEST

/* What is given before the text is whole is never taken back; and goes on where it ended, as a
 * stream does. */
START_TEST(an_unfinished_text_gives_a_prefix)
{
    static split_t whole, part, rest;
    uint8_t text[MAX_TEXT];

    for (uint64_t seed = 0; seed < 3000; seed++) {
        size_t size = random_text(text, seed);
        tlmi_pretokenizer_t *scanner = scanners[seed % NUM_PATTERNS];

        split_with(&whole, scanner, text, size);
        for (size_t cut = 0; cut <= size; cut++) {
            size_t consumed;

            part.n = part.at = 0;
            part.text = text;
            if (tlmi_pretokenize_part(&consumed, scanner, text, cut, false, collect, &part) !=
                TLM_OK)
                ck_abort_msg("%s", tlm_error_message());
            if (consumed != part.at || part.n > whole.n ||
                memcmp(part.ends, whole.ends, part.n * sizeof(size_t)) != 0)
                fail_split(patterns[seed % NUM_PATTERNS].name, &part, &whole, size);
        }
        split_with(&rest, scanner, text + part.at, size - part.at);
        ck_assert_uint_eq(part.n + rest.n, whole.n);
    }
}
END_TEST

/* The syntax that the well-known custom patterns need. */
START_TEST(custom_patterns_compile)
{
    static const char *const custom_patterns[] = {
        "[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|"
        "\\s*[\\r\\n]|\\s+(?!\\S)|\\s",
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*",
        "\\w+|\\W",
        "(?<!a)b",
    };

    for (size_t i = 0; i < sizeof(custom_patterns) / sizeof(custom_patterns[0]); i++) {
        tlmi_pretokenizer_t *custom;
        static split_t split;
        const char *text = "It's 12345 caf\xC3\xA9s,\r\n\r\n  and\tMORE \xFF\xFE bytes  ";

        ck_assert_msg(tlmi_pretokenizer_create(&custom, custom_patterns[i]) == TLM_OK, "%s: %s",
                      custom_patterns[i], tlm_error_message());
        split_with(&split, custom, (const uint8_t *)text, strlen(text));
        tlmi_pretokenizer_free(custom);
    }
}
END_TEST

/* Other spellings of the known patterns that select a scanner, through the engine. */
START_TEST(spellings_split_alike)
{
    static const char *const spellings[] = {
        "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
        "'(?:[sdmt]|ll|ve|re)| ?\\p{L}++| ?\\p{N}++| ?[^\\s\\p{L}\\p{N}]++|\\s++$|\\s+(?!\\S)|\\s",
        "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}|"
        " ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
        "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}|"
        " ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
        TLMI_PATTERN_CL100K_DIGIT_RUNS,
    };
    static split_t by_scanner, by_engine;
    uint8_t text[MAX_TEXT];

    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
        tlmi_pretokenizer_t *fast, *slow;
        char grouped[400];

        snprintf(grouped, sizeof(grouped), "(?:%s)", spellings[i]);
        ck_assert_int_eq(tlmi_pretokenizer_create(&fast, spellings[i]), TLM_OK);
        ck_assert_int_eq(tlmi_pretokenizer_create(&slow, grouped), TLM_OK);
        ck_assert(tlmi_pretokenizer_is_local(fast) && !tlmi_pretokenizer_is_local(slow));
        for (uint64_t seed = 0; seed < 1000; seed++) {
            size_t size = random_text(text, seed);

            split_with(&by_scanner, fast, text, size);
            split_with(&by_engine, slow, text, size);
            if (by_scanner.n != by_engine.n ||
                memcmp(by_scanner.ends, by_engine.ends, by_engine.n * sizeof(size_t)) != 0)
                fail_split(spellings[i], &by_scanner, &by_engine, size);
        }
        tlmi_pretokenizer_free(fast);
        tlmi_pretokenizer_free(slow);
    }
}
END_TEST

/* Chains of patterns, each of which goes through the engine as in a tokenizer.json, and the scanner
 * that replaces them. */
START_TEST(chains_split_alike)
{
    static const struct {
        size_t n;
        const char *patterns[TLMI_MAX_CHAIN];
    } chains[] = {
        {2, {"\\p{N}", TLM_PATTERN_GPT2}},
        {2,
         {"\\p{N}+", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"
                     "\\s+(?!\\S)|\\s+"}},
        {3,
         {"\\p{N}{1,3}", "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+",
          "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
          "[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|"
          "\\s*[\r\n]+|\\s+(?!\\S)|\\s+"}},
        {1,
         {"[\\p{Han}]+|"
          "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*"
          "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
          "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+"
          "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
          "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
        {1, {TLM_PATTERN_CL100K}}, /* which means something else to Oniguruma */
        {1, {TLM_PATTERN_KIMI}},
        {1, {TLM_PATTERN_SMOLLM}},
        {1, {TLM_PATTERN_DEEPSEEK_V3}},
    };
    static split_t by_scanner, by_engine;
    uint8_t text[MAX_TEXT];

    for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++) {
        const tlmi_scanner_t *scanner = tlmi_hf_scanner_find(chains[i].patterns, chains[i].n);
        tlmi_splitter_t *splitters[TLMI_MAX_CHAIN];
        tlmi_pretokenizer_t *fast, *slow;

        ck_assert_ptr_nonnull(scanner);
        for (size_t k = 0; k < chains[i].n; k++)
            ck_assert_int_eq(tlmi_split_regex_create(&splitters[k], chains[i].patterns[k],
                                                     TLMI_REGEX_ONIGURUMA, TLMI_SPLIT_ISOLATED,
                                                     false),
                             TLM_OK);
        ck_assert_int_eq(tlmi_pretokenizer_create_chain(&slow, splitters, chains[i].n), TLM_OK);
        ck_assert_int_eq(tlmi_pretokenizer_create(&fast, scanner->pattern), TLM_OK);
        for (uint64_t seed = 0; seed < 1000; seed++) {
            size_t size = random_text(text, seed);

            split_with(&by_scanner, fast, text, size);
            split_with(&by_engine, slow, text, size);
            if (by_scanner.n != by_engine.n ||
                memcmp(by_scanner.ends, by_engine.ends, by_engine.n * sizeof(size_t)) != 0)
                fail_split(chains[i].patterns[0], &by_scanner, &by_engine, size);
        }
        tlmi_pretokenizer_free(fast);
        tlmi_pretokenizer_free(slow);
    }
    static const char *const unknown[] = {"\\p{N}", TLM_PATTERN_LLAMA3, "a", "b"};
    for (size_t n = 2; n <= 4; n++)
        ck_assert_ptr_null(tlmi_hf_scanner_find(unknown, n));
}
END_TEST

START_TEST(patterns_have_names)
{
    size_t n = 0;

    for (const char *name; (name = tlm_pattern_name(n)) != NULL; n++) {
        const tlmi_scanner_t *scanner = tlmi_scanner_find(tlm_pattern_by_name(name));

        ck_assert_ptr_nonnull(scanner);
        ck_assert_str_eq(scanner->pattern, tlm_pattern_by_name(name));
    }
    ck_assert_uint_gt(n, 10);
    ck_assert_str_eq(tlm_pattern_by_name("qwen3.5"), TLM_PATTERN_QWEN35);
    ck_assert_ptr_null(tlm_pattern_by_name("qwen"));
    ck_assert_ptr_null(tlm_pattern_by_name(NULL));
}
END_TEST

/* ---- Patterns that never end ----
 */

/* Searches until a failure or the end of the text. */
static tlm_status_t search_all(const char *pattern, const uint8_t *text, size_t size,
                               uint64_t max_nanoseconds)
{
    tlmi_regex_matcher_t *matcher;
    tlmi_regex_t *regex;
    tlm_status_t status = TLM_OK;

    ck_assert_int_eq(tlmi_regex_create(&regex, pattern, TLMI_REGEX_PERL), TLM_OK);
    ck_assert_int_eq(tlmi_regex_matcher_create(&matcher, max_nanoseconds), TLM_OK);
    for (size_t at = 0, start; status == TLM_OK && at < size;)
        status = tlmi_regex_search(&start, &at, regex, matcher, text, size, at);
    tlmi_regex_matcher_free(matcher);
    tlmi_regex_free(regex);
    return status;
}

/* Exponential patterns reach the limit of steps, however much time there is; the message is
 * Oniguruma's. */
START_TEST(exponential_patterns_reach_the_limit_of_steps)
{
    static const char *const exponential[] = {
        "(a+)+$",     "(a|aa)+$",  "([a-zA-Z]+)*$",          "^(a|a)*$",         "(?:a|(?:aa)+)+b",
        "(.*a){12}x", "((a+)+)+$", "(?<=!a)(a*)*$|(a|a?)+$", "(?:\\w+\\s?)*[,;]"};
    uint8_t text[1000];

    memset(text, 'a', sizeof(text));
    memcpy(text + sizeof(text) - 4, "b!b;", 4);
    text[sizeof(text) - 6] = '!';
    for (size_t i = 0; i < sizeof(exponential) / sizeof(exponential[0]); i++) {
        tlm_status_t status = search_all(exponential[i], text, sizeof(text), UINT64_MAX / 2);

        if (status != TLM_ERR_REGEX || strstr(tlm_error_message(), "limit") == NULL)
            ck_abort_msg("%s: %d, %s", exponential[i], (int)status, tlm_error_message());
    }
}
END_TEST

/* Patterns whose time grows with the square of the text take few steps back, or none; the clock ends
 * them. Where no time is left they fail at the first look at it, whatever the machine's speed. */
START_TEST(quadratic_patterns_run_out_of_time)
{
    static const char *const quadratic[] = {"a+b|a", "(?:(?:a+)+)+x", "a(?=a*b)|a"};
    static uint8_t text[2000];

    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = 'b';
    text[sizeof(text) - 2] = '!';
    for (size_t i = 0; i < sizeof(quadratic) / sizeof(quadratic[0]); i++) {
        ck_assert_int_eq(search_all(quadratic[i], text, sizeof(text), UINT64_MAX / 2), TLM_OK);
        if (search_all(quadratic[i], text, sizeof(text), 0) != TLM_ERR_REGEX ||
            strstr(tlm_error_message(), "too long") == NULL)
            ck_abort_msg("%s: %s", quadratic[i], tlm_error_message());
    }
}
END_TEST

/* Long stretches without a match, which hold characters of several bytes. */
START_TEST(matches_are_found_far_away)
{
    static uint8_t text[MAX_TEXT];
    static split_t split;
    tlmi_pretokenizer_t *custom;

    ck_assert_int_eq(tlmi_pretokenizer_create(&custom, "(?<!x)foo|\\Gbar"), TLM_OK);
    for (size_t gap = 1; gap < 300; gap++) {
        size_t size = 0;

        for (size_t i = 0; i < gap; i++, size += 3)
            memcpy(text + size, "\xE4\xB8\xAD", 3);
        memcpy(text + size, "barxfoofoobar", 13); /* not after a match; not the first foo */
        split_with(&split, custom, text, size + 13);
        ck_assert_uint_eq(split.n, 3);
        ck_assert_uint_eq(split.ends[0], size + 7);
        ck_assert_uint_eq(split.ends[1], size + 10);
        ck_assert_uint_eq(split.ends[2], size + 13);
    }
    tlmi_pretokenizer_free(custom);
    ck_assert_int_eq(tlmi_pretokenizer_create(&custom, "(?<!x)foo"), TLM_OK);
    for (size_t gap = 1; gap < 300; gap++) {
        memset(text, 'o', 3 * gap);
        memcpy(text + 3 * gap, "xfoo foo", 8);
        split_with(&split, custom, text, 3 * gap + 8);
        ck_assert_uint_eq(split.n, 2);
        ck_assert_uint_eq(split.ends[0], 3 * gap + 5);
    }
    tlmi_pretokenizer_free(custom);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pretokenizer");
    TCase *tests = tcase_create("all");
    int failed;

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, scanner_equals_engine_on_random_text);
    tcase_add_test(tests, scanner_equals_engine_on_random_bytes);
    tcase_add_test(tests, blocks_equal_the_reference);
    tcase_add_test(tests, batches_follow_each_other);
    tcase_add_test(tests, classes_agree_with_the_engine);
    tcase_add_test(tests, scanner_equals_engine_on_random_characters);
    tcase_add_test(tests, certain_cuts_change_nothing);
    tcase_add_test(tests, an_unfinished_text_gives_a_prefix);
    tcase_add_test(tests, custom_patterns_compile);
    tcase_add_test(tests, spellings_split_alike);
    tcase_add_test(tests, chains_split_alike);
    tcase_add_test(tests, patterns_have_names);
    tcase_add_test(tests, exponential_patterns_reach_the_limit_of_steps);
    tcase_add_test(tests, quadratic_patterns_run_out_of_time);
    tcase_add_test(tests, matches_are_found_far_away);
    suite_add_tcase(suite, tests);
    failed = run_suite(suite, CK_FORK_GETENV);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
