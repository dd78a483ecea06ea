/* Every kind of normalizer. What texts become was taken from `tokenizers` and `sentencepiece`;
 * test_normalizer_peers.py compares many more texts. */
#include <check.h>
#include <stdlib.h>

#include "charsmap_support.h"
#include "normalizer_support.h"
#include "run_suite.h"

/* ---- Creating ---- */

#define CREATE(call)                                                                               \
    do {                                                                                           \
        if ((call) != TLM_OK)                                                                      \
            ck_abort_msg("%s: %s", #call, tlm_error_message());                                    \
    } while (0)

static const tlmi_normalizer_t *strip(bool left, bool right)
{
    const tlmi_normalizer_t *out;

    CREATE(tlmi_strip_normalizer_create(&out, left, right));
    return out;
}

static const tlmi_normalizer_t *prepend(const char *text)
{
    const tlmi_normalizer_t *out;

    CREATE(tlmi_prepend_create(&out, text, strlen(text)));
    return out;
}

static const tlmi_normalizer_t *string(const char *pattern, const char *content)
{
    const tlmi_normalizer_t *out;

    CREATE(tlmi_replace_string_create(&out, pattern, strlen(pattern), content, strlen(content)));
    return out;
}

static const tlmi_normalizer_t *regex(const char *pattern, const char *content)
{
    const tlmi_normalizer_t *out;

    CREATE(tlmi_replace_regex_create(&out, pattern, content, strlen(content)));
    return out;
}

static const tlmi_normalizer_t *bert(bool clean, bool chinese, bool accents, bool lower)
{
    const tlmi_normalizer_t *out;

    CREATE(tlmi_bert_normalizer_create(&out, clean, chinese, accents, lower));
    return out;
}

static const tlmi_normalizer_t *sequence(const tlmi_normalizer_t *a, const tlmi_normalizer_t *b,
                                         const tlmi_normalizer_t *c)
{
    const tlmi_normalizer_t *const parts[] = {a, b, c}, *out;

    CREATE(tlmi_normalizer_sequence_create(&out, parts, c != NULL ? 3 : b != NULL ? 2 : 1));
    return out;
}

/* "a" and a mark have no rule of their own; the rule of "fi" is shorter than its cluster. */
static const charsmap_rule_t rules[] = {
    {"\t", " "},       {"\r", " "},      {"a\xCC\x81", "\xC3\xA1"}, {"ab c", "[abc]"},
    {"\xC2\xA0", " "}, {"\xC2\xAD", ""}, {"\xEF\xAC\x81", "fi"},
};
#define NUM_RULES (sizeof(rules) / sizeof(rules[0]))

static uint8_t blob[8 * CHARSMAP_UNITS];

static const tlmi_normalizer_t *precompiled(void)
{
    const tlmi_normalizer_t *out;

    CREATE(tlmi_precompiled_create(&out, "test", blob, charsmap_build(blob, rules, NUM_RULES)));
    return out;
}

/* flags: the letters of dummy, remove, escape, suffix, map, words (symbols) */
static const tlmi_normalizer_t *pieces(const char *flags)
{
    static const tlm_bytes_t symbols[] = {{(const uint8_t *)"  ", 2},
                                          {(const uint8_t *)"at", 2},
                                          {(const uint8_t *)"atab", 4},
                                          {(const uint8_t *)"\xC2\xA0", 2}};
    tlmi_sentencepiece_spec_t spec = {.charsmap = blob,
                                      .charsmap_size = charsmap_build(blob, rules, NUM_RULES),
                                      .add_dummy_prefix = strchr(flags, 'd') != NULL,
                                      .remove_extra_whitespaces = strchr(flags, 'r') != NULL,
                                      .escape_whitespaces = strchr(flags, 'e') != NULL,
                                      .treat_whitespace_as_suffix = strchr(flags, 's') != NULL,
                                      .symbols = symbols,
                                      .num_symbols = strchr(flags, 'w') != NULL ? 4 : 0};
    const tlmi_normalizer_t *out;

    spec.charsmap_size = strchr(flags, 'm') != NULL ? spec.charsmap_size : 0;
    CREATE(tlmi_sentencepiece_normalizer_create(&out, "test", &spec));
    return out;
}

/* ---- Checking ---- */

static void check_bytes(const tlmi_normalizer_t *normalizer, const void *text, size_t size,
                        const void *expected, size_t expected_size)
{
    uint8_t *copy = malloc(size + (size == 0)); /* of its own size, so that reading on is seen */
    tlmi_normal_text_t out = {0};

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, text, size);
    ck_assert_int_eq(tlmi_normal_text_append(&out, "before", 6), TLM_OK);
    const char *wrong = normalize_checked(&out, normalizer, copy, size);
    if (wrong != NULL)
        ck_abort_msg("%s: %s, text %.*s", normalizer->kind->name, wrong, (int)size, copy);
    if (out.size != 6 + expected_size || memcmp(out.bytes, "before", 6) != 0 ||
        (expected_size > 0 && memcmp(out.bytes + 6, expected, expected_size) != 0))
        ck_abort_msg("%s: %.*s becomes %.*s", normalizer->kind->name, (int)size, copy,
                     (int)out.size, out.bytes);
    tlmi_normal_text_release(&out);
    free(copy);
}

/* Frees the normalizer. */
static void check(const tlmi_normalizer_t *normalizer, const char *text, const char *expected)
{
    check_bytes(normalizer, text, strlen(text), expected, strlen(expected));
    tlmi_normalizer_free(normalizer);
}

START_TEST(forms_are_those_of_tokenizers)
{
    check(&tlmi_nfc, "e\xCC\x81\xCC\xA3", "\xE1\xBA\xB9\xCC\x81");
    check(&tlmi_nfc, "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8\xE1\x86\xA7",
          "\xEA\xB0\x81\xE1\x86\xA7");
    check(&tlmi_nfc, "\xF0\x91\xA4\xB5\xF0\x91\xA4\xB0", "\xF0\x91\xA4\xB5\xF0\x91\xA4\xB0");
    check(&tlmi_nfc, "\xE2\x84\xAB", "\xC3\x85");
    check(&tlmi_nfd, "\xE1\xB9\xA9\xEA\xB0\x81",
          "s\xCC\xA3\xCC\x87\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8");
    check(&tlmi_nfd, "\xCD\x84 \xF0\x91\xA4\xB8", "\xCC\x88\xCC\x81 \xF0\x91\xA4\xB8");
    check(&tlmi_nfd, "\xCC\x81\xCC\xA3\xCC\x81", "\xCC\xA3\xCC\x81\xCC\x81");
    check(&tlmi_nfkc, "\xEF\xAC\x81\xCC\x81 \xEF\xBD\xB6\xEF\xBE\x9E \xC2\xBD",
          "f\xC3\xAD \xE3\x82\xAC 1\xE2\x81\x84"
          "2");
    check(&tlmi_nfkc, "\xE3\x8B\xBF", "\xE3\x8B\xBF");
    check(&tlmi_nfkc, "\xEF\xB7\xBA",
          "\xD8\xB5\xD9\x84\xD9\x89 \xD8\xA7\xD9\x84\xD9\x84\xD9\x87 "
          "\xD8\xB9\xD9\x84\xD9\x8A\xD9\x87 \xD9\x88\xD8\xB3\xD9\x84\xD9\x85");
    check(&tlmi_nfkd, "\xE2\x91\xA0\xC2\xA0\xE1\xBA\x9B\xCC\xA3", "1 s\xCC\xA3\xCC\x87");
    check(&tlmi_nfkd, "\xE3\x8E\x92", "MHz");
}
END_TEST

START_TEST(characters_are_mapped)
{
    check(&tlmi_lowercase, "STRASSE \xC3\x84\xC4\xB0\xCE\xA3\xE1\xBA\x9E",
          "strasse \xC3\xA4i\xCC\x87\xCF\x83\xC3\x9F");
    check(&tlmi_lowercase, "AZ@[`az{ABCDEFGHIJ", "az@[`az{abcdefghij");
    check(&tlmi_lowercase, "\xC7\x84\xE2\xB0\xAF\xF0\x90\xB5\x90\xC8\xBA",
          "\xC7\x86\xE2\xB1\x9F\xF0\x90\xB5\xB0\xE2\xB1\xA5");
    check(&tlmi_strip_accents, "a\xCC\x81\xE0\xA4\x83\xE2\x83\x9D\xE2\x80\x8D", "a\xE2\x80\x8D");
    check(&tlmi_strip_accents,
          "\xE0\xA2\x98"
          "e\xCC\x80",
          "\xE0\xA2\x98"
          "e");
    check(&tlmi_strip_accents, "\xE1\xB3\xB2x", "x");
    check(&tlmi_nmt,
          "a\x01\t"
          "b\xE2\x80\x8B"
          "c\xEF\xBB\xBF\xE2\x96\x81\x7F\x0B",
          "a b c  ");
    check(&tlmi_byte_level_normalizer, "a b\n\xC3\xA9\xC2\xAD~",
          "a\xC4\xA0"
          "b\xC4\x8A\xC3\x83\xC2\xA9\xC3\x82\xC5\x83~");
}
END_TEST

START_TEST(ends_change)
{
    check(strip(true, true),
          " \xE3\x80\x80\xE2\x80\xA8"
          "a b\xC2\x85\t",
          "a b");
    check(strip(true, true), "\xE2\x80\x89 \n", "");
    check(strip(true, true), "\xE2\x80\x8B x", "\xE2\x80\x8B x");
    check(strip(true, false), "  a ", "a ");
    check(strip(true, false), "  ", "");
    check(strip(false, true), "  a ", "  a");
    check(strip(false, true), "  ", "");
    check(prepend("\xE2\x96\x81"), "a",
          "\xE2\x96\x81"
          "a");
    check(prepend("\xE2\x96\x81"), "", "");
}
END_TEST

START_TEST(matches_are_replaced)
{
    check(string(" ", "\xE2\x96\x81"), " a  b",
          "\xE2\x96\x81"
          "a\xE2\x96\x81\xE2\x96\x81"
          "b");
    check(string(" ", "\xE2\x96\x81"), "ab", "ab");
    check(string("", "-"), "a\xC3\xA9", "-a-\xC3\xA9-");
    check(string("", "-"), "", "");
    check(string("aa", "b"), "aaaaa", "bba");
    check(regex(" {2,}", " "), "a  b c   ", "a b c ");
    check(regex("\\s+", "_"), "a\xE3\x80\x80\n b c\xC2\x85", "a_b_c_");
    check(regex("x*", "-"), "abxxc\xC3\xA9", "-a-b-c-\xC3\xA9-");
    check(regex("x*", "-"), "", "");
    check(regex("^|$", ">"),
          "a\n"
          "b\n",
          ">a>\n>b>\n>");
    check(regex("(a)(b)", "$1"), "cabab", "c$1$1");
    check(regex("[a-z&&[^b]]", "-"), "abc", "-b-");
}
END_TEST

START_TEST(bert_has_four_steps)
{
    check(bert(true, true, true, true),
          "H\xC3\xA9llo\x01\xCC\x81\xCC\xA3 "
          "\xE4\xBD\xA0\xE5\xA5\xBD\t\xC4\xB0\xE1\xBA\x9E\xEF\xBF\xBD\xE2\x80\x8D\xE2\x80\xA8!",
          "hello  \xE4\xBD\xA0  \xE5\xA5\xBD  i\xC3\x9F !");
    check(bert(true, true, true, true),
          "A\x7F"
          "b\xE0\xA4\x83\xE0\xA2\x98\xE1\x9C\xB4",
          "ab\xE0\xA4\x83\xE0\xA2\x98");
    check(bert(true, false, false, false),
          "\xC3\x89 \xE4\xBD\xA0\r\n\xE0\xA2\x90\xC2\xAD\xCD\xB8\xEE\x80\x80x",
          "\xC3\x89 \xE4\xBD\xA0  \xE0\xA2\x90\xCD\xB8x");
    check(bert(false, true, false, false),
          "\xE3\x80\xAA\xE3\x80\xAE\xCC\x81\x01\xF0\xAB\xA4\xA0\xC3\x85",
          "\xE3\x80\xAA\xE3\x80\xAE\xCC\x81\x01 \xF0\xAB\xA4\xA0 \xC3\x85");
}
END_TEST

START_TEST(maps_replace_clusters)
{
    check(precompiled(), "plain text, \xEF\xAC\x81n", "plain text, fin");
    check(precompiled(), "a\xCC\x81 a\xCC\x81\xCC\x81 xa\xCC\x81\xCC\x81\xCC\x81",
          "\xC3\xA1 \xC3\xA1 xa\xCC\x81\xCC\x81\xCC\x81");
    check(precompiled(), "\xEF\xAC\x81\xCC\x81 \xEF\xAC\x81\xE2\x83\x9D",
          "fi fi\xE2\x83\x9D"); /* five bytes: the mark is lost; six */
    check(precompiled(), "x\r\n\r\tab c\xC2\xAD", "x   ab c");
    check(precompiled(), "\xFF\xEF\xAC\xEF\xAC\x81\x80",
          "\xFF\xEF\xAC"
          "fi\x80");
    check(sequence(precompiled(), regex(" {2,}", " "), NULL), "a\t\t\xC2\xA0 b", "a b");
}
END_TEST

#define S "\xE2\x96\x81"

START_TEST(sentencepiece_has_its_own_rules)
{
    check(pieces("dre"), "  a  b ", S "a" S "b");
    check(pieces("dre"), "   ", "");
    check(pieces("dre"), S, "");
    check(pieces("de"), "  a  b ", S S S "a" S S "b" S);
    check(pieces("de"), "", "");
    check(pieces("dr"), "  a  b ", " a b");
    check(pieces("dres"), " a  b ", "a" S "b" S);
    check(pieces("dem"), "ab cab \tc\xC2\xAD", S "[abc]ab" S S "c");
    check(pieces("drem"), "\xC2\xA0\xC2\xAD a\xCC\x81\xCC\x81\t", S "\xC3\xA1\xCC\x81");
    check(pieces("dremw"), "a  atab c\xC2\xA0 ata", S "a" S S "atab" S "c\xC2\xA0" S "ata");
    check(pieces("m"), "a\xFF\xEF\xAC b", "a\xFF\xEF\xAC b");
}
END_TEST

START_TEST(sequences_apply_all_parts)
{
    check(sequence(prepend(S), string(" ", S), NULL), "a b", S "a" S "b");
    check(sequence(string("a", ""), strip(true, true), prepend("x")), "a b", "xb");
    check(sequence(sequence(&tlmi_nfd, &tlmi_strip_accents, NULL), &tlmi_lowercase, NULL),
          "\xC3\x89 A", "e a");
    check(sequence(strip(true, true), prepend("_"), &tlmi_nfc), "  ", "");
    const tlmi_normalizer_t *none;
    CREATE(tlmi_normalizer_sequence_create(&none, NULL, 0));
    check(none, "a b", "a b");
}
END_TEST

/* ---- Malformed and hostile texts ---- */

static size_t all_kinds(const tlmi_normalizer_t *all[30])
{
    size_t n = 0;

    all[n++] = &tlmi_nfc;
    all[n++] = &tlmi_nfd;
    all[n++] = &tlmi_nfkc;
    all[n++] = &tlmi_nfkd;
    all[n++] = &tlmi_lowercase;
    all[n++] = &tlmi_strip_accents;
    all[n++] = &tlmi_nmt;
    all[n++] = strip(true, true);
    all[n++] = prepend("");
    all[n++] = string("b", "c");
    all[n++] = regex("x+|y", "z");
    all[n++] = regex("\\s+", " ");
    all[n++] = bert(true, true, true, true);
    all[n++] = bert(false, false, false, true);
    all[n++] = precompiled();
    all[n++] = pieces("rm");
    all[n++] = sequence(&tlmi_nfkd, bert(true, true, true, true), strip(true, true));
    return n;
}

START_TEST(malformed_bytes_stay)
{
    static const char text[] = "\xFF\xC3\xE3\x81\xF0\x9F\x98\x80\xED\xA0\x80\xC0\xAFq\xCC";
    const tlmi_normalizer_t *all[30];
    size_t n = all_kinds(all);

    for (size_t i = 0; i < n; i++) {
        check_bytes(all[i], text, sizeof(text) - 1, text, sizeof(text) - 1);
        tlmi_normalizer_free(all[i]);
    }
    check(regex("", "-"), "a\xC3", "-a-\xC3-");
    check(regex("\\W", "."), "a\xC3 b\xFF", "a..b.");
    check(string("", "-"), "a\xC3\x28", "-a-\xC3-(-");
    check(&tlmi_byte_level_normalizer, "\xFF\xAD", "\xC3\xBF\xC5\x83");
}
END_TEST

/* Would take hours if the time grew with the square of the size. */
START_TEST(hostile_texts_take_linear_time)
{
    static const char *const repeated[] = {"\xCC\x81",
                                           "\xCC\x81\xCC\xA3",
                                           "a",
                                           " ",
                                           "A\x01",
                                           "\xE1\x84\x80\xE1\x85\xA1",
                                           "\xEF\xB7\xBA",
                                           "\xFF"};
    const size_t size = 1 << 20;
    const tlmi_normalizer_t *all[30];
    size_t n = all_kinds(all);
    uint8_t *text = malloc(size);

    ck_assert_ptr_nonnull(text);
    for (size_t k = 0; k < sizeof(repeated) / sizeof(repeated[0]); k++) {
        for (size_t i = 0; i < size; i++)
            text[i] = (uint8_t)repeated[k][i % strlen(repeated[k])];
        for (size_t i = 0; i < n; i++) {
            tlmi_normal_text_t out = {0};

            ck_assert_int_eq(all[i]->kind->append(all[i], &out, text, size, TLMI_WHOLE_PIECE),
                             TLM_OK);
            tlmi_normal_text_release(&out);
        }
    }
    for (size_t i = 0; i < n; i++)
        tlmi_normalizer_free(all[i]);
    free(text);
}
END_TEST

/* ---- Parts and failures ---- */

START_TEST(ends_change_only_where_a_piece_ends)
{
    static const char text[] = " a ";
    const tlmi_normalizer_t *normalizer = sequence(strip(true, true), prepend("_"), NULL);
    static const struct {
        int part;
        const char *expected;
    } cases[] = {
        {0, " a "}, {TLMI_PIECE_BEGINS, "_a "}, {TLMI_PIECE_ENDS, " a"}, {TLMI_WHOLE_PIECE, "_a"}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        tlmi_normal_text_t out = {0};

        ck_assert_int_eq(
            normalizer->kind->append(normalizer, &out, (const uint8_t *)text, 3, cases[i].part),
            TLM_OK);
        ck_assert_mem_eq(out.bytes, cases[i].expected, strlen(cases[i].expected));
        ck_assert_uint_eq(out.size, strlen(cases[i].expected));
        tlmi_normal_text_release(&out);
    }
    tlmi_normalizer_free(normalizer);
}
END_TEST

START_TEST(malformed_maps_are_refused)
{
    const tlmi_normalizer_t *out = NULL;
    size_t size = charsmap_build(blob, rules, NUM_RULES);

    ck_assert_int_eq(tlmi_precompiled_create(&out, "file", blob, 3), TLM_ERR_FORMAT);
    ck_assert_str_eq(tlm_error_message(), "file: precompiled_charsmap has only 3 bytes");
    ck_assert_int_eq(tlmi_precompiled_create(&out, "file", blob, 4 * CHARSMAP_UNITS),
                     TLM_ERR_FORMAT);
    ck_assert_str_eq(tlm_error_message(),
                     "file: precompiled_charsmap of 16384 bytes has a trie of 4096 units");
    ck_assert_int_eq(tlmi_precompiled_create(&out, "file", "\0\0\0\0ab", 6), TLM_ERR_FORMAT);
    blob[size - 2] = 0xFF;
    ck_assert_int_eq(tlmi_precompiled_create(&out, "file", blob, size), TLM_ERR_FORMAT);
    ck_assert_str_eq(tlm_error_message(),
                     "file: the replacements in precompiled_charsmap are not UTF-8");
    ck_assert_int_eq(tlmi_replace_regex_create(&out, "(a", "", 0), TLM_ERR_REGEX);
    ck_assert_ptr_null(out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("normalizers");
    TCase *tcase = tcase_create("normalizers");

    tcase_add_test(tcase, forms_are_those_of_tokenizers);
    tcase_add_test(tcase, characters_are_mapped);
    tcase_add_test(tcase, ends_change);
    tcase_add_test(tcase, matches_are_replaced);
    tcase_add_test(tcase, bert_has_four_steps);
    tcase_add_test(tcase, maps_replace_clusters);
    tcase_add_test(tcase, sentencepiece_has_its_own_rules);
    tcase_add_test(tcase, sequences_apply_all_parts);
    tcase_add_test(tcase, malformed_bytes_stay);
    tcase_add_test(tcase, hostile_texts_take_linear_time);
    tcase_add_test(tcase, ends_change_only_where_a_piece_ends);
    tcase_add_test(tcase, malformed_maps_are_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK);
}
