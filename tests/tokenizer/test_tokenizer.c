/* Encoding against the naive encoder, decoding, patterns, threads. Making tokenizers is tested in
 * test_vocabulary.c, streams in test_token_streams.c. */
#include "tokenizer_support.h"
#include "run_suite.h"

#include <pthread.h>

/* ---- Encoding ----------------------------------------------------------------------------------
 */

START_TEST(random_texts_encode_as_the_naive_encoder_does)
{
    test_random_t random = {(uint64_t)_i + 100, 0};
    tlm_tokenizer_t *tokenizer = trained_tokenizer((size_t)_i % 6, NULL);
    naive_bpe_t naive;

    naive_from_tokenizer(&naive, tokenizer);
    for (int round = 0; round < 300; round++) {
        tlm_bytes_t text = random_text(&random, draw(&random, 400));

        assert_encodes_as_naive(tokenizer, &naive, text);
        free_text(text);
    }
    naive_free(&naive);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* Merges that no training gives: random pairs in a random order. */
START_TEST(odd_merges_encode_as_the_naive_encoder_does)
{
    test_random_t random = {(uint64_t)_i + 200, 0};
    parts_t parts = byte_parts();
    tlm_tokenizer_t *tokenizer;
    naive_bpe_t naive;
    size_t n = 0;

    for (uint8_t i = 0; i < 3; i++)
        for (size_t k = 0; k < 40; k++) { /* tokens over {a, b}, each new one of two old ones */
            size_t first = 'a' + draw(&random, 2), second = 'a' + draw(&random, 2);
            tlm_bytes_t left = n > 0 && draw(&random, 2) ? parts.vocab[256 + draw(&random, n)]
                                                         : parts.vocab[first];
            tlm_bytes_t right = n > 0 && draw(&random, 2) ? parts.vocab[256 + draw(&random, n)]
                                                          : parts.vocab[second];
            uint8_t *product = malloc(left.size + right.size);
            bool known = left.size + right.size > 40;

            memcpy(product, left.data, left.size);
            memcpy(product + left.size, right.data, right.size);
            for (size_t j = 0; j < n; j++)
                known |= parts.vocab[256 + j].size == left.size + right.size &&
                         memcmp(parts.vocab[256 + j].data, product, left.size + right.size) == 0;
            if (known) {
                free(product);
                continue;
            }
            parts.vocab[256 + n++] = (tlm_bytes_t){product, left.size + right.size};
            parts.merges[2 * parts.num_merges] = left;
            parts.merges[2 * parts.num_merges++ + 1] = right;
        }
    parts.vocab_size = 256 + n;
    for (size_t i = parts.num_merges; i-- > 1;) {
        size_t k = draw(&random, i + 1);

        for (size_t side = 0; side < 2; side++) {
            tlm_bytes_t kept = parts.merges[2 * i + side];

            parts.merges[2 * i + side] = parts.merges[2 * k + side];
            parts.merges[2 * k + side] = kept;
        }
    }
    ASSERT_OK(create(&tokenizer, &parts, NULL));
    naive_from_tokenizer(&naive, tokenizer);
    for (int round = 0; round < 50; round++) {
        size_t size = draw(&random, round % 50 == 0 ? 5000 : 200);
        uint8_t *text = malloc(size + 1);

        for (size_t i = 0; i < size; i++)
            text[i] = (uint8_t)("ababababab "[draw(&random, 11)]);
        assert_encodes_as_naive(tokenizer, &naive, (tlm_bytes_t){text, size});
        free(text);
    }
    naive_free(&naive);
    tlm_tokenizer_free(tokenizer);
    for (size_t i = 0; i < n; i++)
        free_text(parts.vocab[256 + i]);
}
END_TEST

START_TEST(pretokens_follow_the_pattern)
{
    static const char *const cases[][2] = {
        {"Hello world", "Hello\1 world"},
        {"it's we'll I'd 'S 'lx", "it\1's\1 we\1'll\1 I\1'd\1 '\1S\1 '\1lx"},
        {"a  b", "a\1 \1 b"},
        {"a \n b", "a\1 \n\1 b"},
        {"a\n", "a\1\n"},
        {"a\nb", "a\1\n\1b"},
        {"  ", "  "},
        {"x1y 22!? ...", "x\0011\1y\1 22\1!?\1 ..."},
        {"t\xC3\xA9 \xE2\x85\xA7", "t\xC3\xA9\1 \xE2\x85\xA7"},
        {"a\xC2\xA0\xC2\xA0z", "a\1\xC2\xA0\1\xC2\xA0\1z"},
        {" \xF0\x9F\x98\x80!", " \xF0\x9F\x98\x80!"},
    };
    parts_t parts = byte_parts();

    /* Merges that join any pretoken of the cases to one token, a byte at a time. */
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *all = strdup(cases[i][1]), *rest = all, *piece;

        while ((piece = strsep(&rest, "\1")) != NULL)
            for (size_t k = 1; k < strlen(piece); k++) {
                char *left = strndup(piece, k), *product = strndup(piece, k + 1);
                bool known = false;

                for (size_t j = 0; j < parts.vocab_size; j++)
                    known |= parts.vocab[j].size == k + 1 &&
                             memcmp(parts.vocab[j].data, product, k + 1) == 0;
                if (known) {
                    free(left);
                    free(product);
                } else {
                    add_merge(&parts, left, strdup((char[]){piece[k], '\0'}), product);
                }
            }
        free(all);
    }
    for (size_t i = 0; i < COUNT(cases); i++) {
        tlm_tokenizer_t *tokenizer;

        ASSERT_OK(create(&tokenizer, &parts, NULL));
        assert_pieces(tokenizer, cases[i][0], cases[i][1]);
        tlm_tokenizer_free(tokenizer);
    }
    for (size_t i = 0; i < parts.num_merges; i++) {
        free_text(parts.merges[2 * i]);
        free_text(parts.merges[2 * i + 1]);
        free_text(parts.vocab[256 + i]);
    }
}
END_TEST

START_TEST(the_longest_special_token_wins)
{
    tlm_bytes_t specials[] = {BYTES("<|a|>"), BYTES("<|a|><|a|>"), BYTES("a|><"), BYTES("<|b")};
    tlm_tokenizer_t *tokenizer = byte_tokenizer(specials, 4, NULL);

    assert_pieces(tokenizer, "<|a|>", "<|a|>");
    assert_pieces(tokenizer, "<|a|><|a|>", "<|a|><|a|>");
    assert_pieces(tokenizer, "<|a|><|a|><|a|>", "<|a|><|a|>\1<|a|>");
    assert_pieces(tokenizer, "<|a|><|a|", "<|a|>\1<\1|\1a\1|");
    assert_pieces(tokenizer, "<a|><|a|>", "<\1a|><\1|\1a\1|\1>");
    assert_pieces(tokenizer, "<|b<|a|>x<|", "<|b\1<|a|>\1x\1<\1|");
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(nothing_and_nul_encode)
{
    tlm_bytes_t nuls = {(const uint8_t *)"\0\0a\0", 4};
    tlm_tokenizer_t *tokenizer = trained_tokenizer(5, NULL);
    uint32_t *ids = NULL;
    size_t n = 1;
    naive_bpe_t naive;

    ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, NULL, 0));
    ck_assert_uint_eq(n, 0);
    tlm_free(ids);
    assert_decodes(tokenizer, NULL, 0, (tlm_bytes_t){NULL, 0});
    naive_from_tokenizer(&naive, tokenizer);
    assert_encodes_as_naive(tokenizer, &naive, nuls);
    naive_free(&naive);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_tokenizer_encode(&ids, &n, NULL, "a", 1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_tokenizer_encode(&ids, &n, tokenizer, NULL, 1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_tokenizer_encode(NULL, &n, tokenizer, "a", 1));
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* One pretoken of n bytes takes n log n steps, not n times n. */
START_TEST(long_runs_are_no_trap)
{
    static const char letters[] = {'a', ' ', '\xFF', '\''};
    tlm_bytes_t text = repeated(letters[_i], long_input());
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *tokenizer;
    uint32_t *ids;
    size_t n;

    options.vocab_size = 256 + 7;
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
    ASSERT_OK(tlm_bpe_trainer_add_text(trainer, text.data, 1000));
    ASSERT_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
    tlm_bpe_trainer_free(trainer);
    ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, text.data, text.size));
    ck_assert_uint_ge(n, text.size / 128);
    ck_assert_uint_le(n, text.size / 128 + 8);
    assert_decodes(tokenizer, ids, n, text);
    tlm_free(ids);
    tlm_tokenizer_free(tokenizer);
    free_text(text);
}
END_TEST

/* ---- Decoding ----------------------------------------------------------------------------------
 */

#define R "\xEF\xBF\xBD"

/* What Python's bytes.decode("utf-8", "replace") gives. */
static const struct {
    tlm_bytes_t bytes, text;
} replacements[] = {
#define CASE(bytes, text)                                                                          \
    {                                                                                              \
        {(const uint8_t *)(bytes), sizeof(bytes) - 1},                                             \
        {                                                                                          \
            (const uint8_t *)(text), sizeof(text) - 1                                              \
        }                                                                                          \
    }
    CASE("abc", "abc"),
    CASE("", ""),
    CASE("\xE3\x81", R),
    CASE("\xE3\x81\x82", "\xE3\x81\x82"),
    CASE("\xE3\x81x", R "x"),
    CASE("\xE3\xE3\x81", R R),
    CASE("\xF0\x9F\x98", R),
    CASE("\xF0\x9F", R),
    CASE("\xF0", R),
    CASE("\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"),
    CASE("\xF0\x9Fx", R "x"),
    CASE("\xF0\x9F\x98\xF0\x9F\x98\x80", R "\xF0\x9F\x98\x80"),
    CASE("\xED\xA0\x80", R R R),
    CASE("\xED\xA0\x80\xED\xB0\x80", R R R R R R),
    CASE("\xED\x9F\xBF", "\xED\x9F\xBF"),
    CASE("\xEE\x80\x80", "\xEE\x80\x80"),
    CASE("\xC0\x80", R R),
    CASE("\xC1\xBF", R R),
    CASE("\xC2", R),
    CASE("\xFF", R),
    CASE("\xFE\xFF", R R),
    CASE("\x80", R),
    CASE("\x80\x80", R R),
    CASE("\xE0\x80\x80", R R R),
    CASE("\xE0\xA0\x80", "\xE0\xA0\x80"),
    CASE("\xE0\x9F\xBF", R R R),
    CASE("\xF0\x80\x80\x80", R R R R),
    CASE("\xF0\x8F\xBF\xBF", R R R R),
    CASE("\xF0\x90\x80\x80", "\xF0\x90\x80\x80"),
    CASE("\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF"),
    CASE("\xF4\x90\x80\x80", R R R R),
    CASE("\xF5\x80\x80\x80", R R R R),
    CASE("\xF8\x88\x80\x80\x80", R R R R R),
    CASE("\xC3(", R "("),
    CASE("a\0b", "a\0b"),
    CASE("\xC2\xA0\xA0", "\xC2\xA0" R),
    CASE("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", R R R R "A"),
    CASE("\xEF\xBB\xBF", "\xEF\xBB\xBF"),
#undef CASE
};

START_TEST(malformed_text_is_replaced_as_python_does)
{
    tlm_tokenizer_t *tokenizer = byte_tokenizer(NULL, 0, NULL);

    for (size_t i = 0; i < COUNT(replacements); i++) {
        uint32_t *ids;
        char *text;
        size_t n, size;

        ASSERT_OK(tlm_utf8_sanitize(&text, &size, replacements[i].bytes.data,
                                    replacements[i].bytes.size));
        assert_same_bytes((tlm_bytes_t){(uint8_t *)text, size}, replacements[i].text);
        ck_assert_int_eq(text[size], '\0');
        tlm_free(text);
        ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, replacements[i].bytes.data,
                                       replacements[i].bytes.size));
        ASSERT_OK(tlm_tokenizer_decode_text(&text, &size, tokenizer, ids, n));
        assert_same_bytes((tlm_bytes_t){(uint8_t *)text, size}, replacements[i].text);
        ck_assert_int_eq(text[size], '\0');
        tlm_free(text);
        assert_decodes(tokenizer, ids, n, replacements[i].bytes);
        tlm_free(ids);
    }
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* Sanitized text is well-formed: doing it again changes nothing. */
START_TEST(sanitizing_twice_is_sanitizing_once)
{
    test_random_t random = {9, 0};

    for (int round = 0; round < 2000; round++) {
        tlm_bytes_t bytes = random_text(&random, draw(&random, 60));
        char *text, *again;
        size_t size, again_size;

        ASSERT_OK(tlm_utf8_sanitize(&text, &size, bytes.data, bytes.size));
        ASSERT_OK(tlm_utf8_sanitize(&again, &again_size, text, size));
        assert_same_bytes((tlm_bytes_t){(uint8_t *)text, size},
                          (tlm_bytes_t){(uint8_t *)again, again_size});
        tlm_free(again);
        tlm_free(text);
        free_text(bytes);
    }
}
END_TEST

START_TEST(ids_out_of_range_are_refused)
{
    tlm_tokenizer_t *tokenizer = byte_tokenizer(NULL, 0, NULL);
    tlm_bytes_t token = {NULL, 77};
    uint32_t ids[20] = {0}, left = 77, right;
    uint8_t *bytes = NULL;
    char *text = NULL;
    size_t size = 77;

    for (int i = 0; i < 2; i++) {
        ids[17] = i == 0 ? 256 : UINT32_MAX;
        ASSERT_FAILS(TLM_ERR_RANGE, "17",
                     tlm_tokenizer_decode(&bytes, &size, tokenizer, ids, COUNT(ids)));
        ASSERT_FAILS(TLM_ERR_RANGE, "17",
                     tlm_tokenizer_decode_text(&text, &size, tokenizer, ids, COUNT(ids)));
        ASSERT_FAILS(TLM_ERR_RANGE, "", tlm_tokenizer_token(&token, tokenizer, ids[17]));
        ASSERT_FAILS(TLM_ERR_RANGE, "", tlm_tokenizer_merge(&left, &right, tokenizer, ids[17]));
        ASSERT_FAILS(TLM_ERR_RANGE, "", tlm_tokenizer_special_token(&left, tokenizer, ids[17]));
    }
    ASSERT_FAILS(TLM_ERR_RANGE, "", tlm_tokenizer_merge(&left, &right, tokenizer, 0));
    ASSERT_FAILS(TLM_ERR_RANGE, "", tlm_tokenizer_special_token(&left, tokenizer, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_tokenizer_decode(&bytes, &size, tokenizer, NULL, 1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_tokenizer_decode(&bytes, &size, NULL, ids, 1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_utf8_sanitize(&text, &size, NULL, 1));
    ck_assert(bytes == NULL && text == NULL && size == 77 && token.size == 77 && left == 77);
    ck_assert_uint_eq(tlm_tokenizer_vocab_size(NULL), 0);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* ---- Patterns ----------------------------------------------------------------------------------
 */

/* The default pattern, spelled so that the regex engine runs it, gives the same ids. */
START_TEST(the_regex_engine_agrees_with_the_scanner)
{
    test_random_t random = {31, 0};
    tlm_tokenizer_t *tokenizer = trained_tokenizer(2, "(?:" TLM_PATTERN_GPT2 ")");
    naive_bpe_t naive;

    naive_from_tokenizer(&naive, tokenizer);
    for (int round = 0; round < 300; round++) {
        tlm_bytes_t bytes = random_text(&random, draw(&random, 200));
        char *text;
        size_t size;

        ASSERT_OK(tlm_utf8_sanitize(&text, &size, bytes.data, bytes.size));
        assert_encodes_as_naive(tokenizer, &naive, (tlm_bytes_t){(uint8_t *)text, size});
        tlm_free(text);
        free_text(bytes);
    }
    naive_free(&naive);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* Whatever the pattern matches or leaves out, the bytes come back. */
START_TEST(any_pattern_round_trips)
{
    static const char *const patterns[] = {"a",
                                           "\\w+",
                                           "(?=x)",
                                           "^",
                                           "\\p{Lu}|\\d{1,3}",
                                           "",
                                           ".+",
                                           "(?s).{7}",
                                           "\\s+(?!\\S)|[^\\s]++"};
    test_random_t random = {32, 0};

    for (size_t i = 0; i < COUNT(patterns); i++) {
        tlm_tokenizer_t *tokenizer = trained_tokenizer(3, patterns[i]);

        for (int round = 0; round < 60; round++) {
            tlm_bytes_t text = random_text(&random, draw(&random, 200));
            uint32_t *ids;
            size_t n;

            ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, text.data, text.size));
            assert_decodes(tokenizer, ids, n, text);
            tlm_free(ids);
            free_text(text);
        }
        tlm_tokenizer_free(tokenizer);
    }
}
END_TEST

/* A pattern that backtracks without end is an error, and the tokenizer works on. */
START_TEST(catastrophic_patterns_end_with_an_error)
{
    static const char *const patterns[] = {"(a+)+x", "(a|aa)+\\d", "(?:a|a)+[xy]"};
    static const char end[] = "!x1"; /* the engine looks whether what the pattern needs is there */
    uint8_t text[5000 + sizeof(end)];

    memset(text, 'a', 5000);
    memcpy(text + 5000, end, sizeof(end));
    for (size_t i = 0; i < COUNT(patterns); i++) {
        tlm_tokenizer_t *tokenizer = byte_tokenizer(NULL, 0, patterns[i]);
        uint32_t *ids = NULL;
        size_t n;

        ASSERT_FAILS(TLM_ERR_REGEX, "",
                     tlm_tokenizer_encode(&ids, &n, tokenizer, text, sizeof(text) - 1));
        ck_assert_ptr_null(ids);
        ck_assert_uint_gt(strlen(tlm_error_message()), 0);
        assert_pieces(tokenizer, "bb", "b\1b");
        tlm_tokenizer_free(tokenizer);
    }
}
END_TEST

/* ---- Threads -----------------------------------------------------------------------------------
 */

static void *encode_often(void *argument)
{
    const tlm_tokenizer_t *tokenizer = argument;
    test_random_t random = {64, 0};
    uint64_t sum = 0;

    for (int round = 0; round < 200; round++) {
        tlm_bytes_t text = random_text(&random, 300);
        uint32_t *ids = NULL;
        size_t n = 0;

        if (tlm_tokenizer_encode(&ids, &n, tokenizer, text.data, text.size) != TLM_OK)
            sum = UINT64_MAX;
        for (size_t i = 0; i < n; i++)
            sum = sum * 31 + ids[i];
        tlm_free(ids);
        free_text(text);
    }
    return (void *)(uintptr_t)sum;
}

START_TEST(a_tokenizer_is_shared_by_threads)
{
    static const char *const patterns[] = {NULL, "(?:" TLM_PATTERN_GPT2 ")"};
    tlm_tokenizer_t *tokenizer = trained_tokenizer(3, patterns[_i]);
    void *expected = encode_often(tokenizer);
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, encode_often, tokenizer), 0);
    for (int i = 0; i < 4; i++) {
        void *sum;

        ck_assert_int_eq(pthread_join(threads[i], &sum), 0);
        ck_assert_ptr_eq(sum, expected);
    }
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* Normalization Form C, with malformed bytes between: "e" and an acute compose, Hangul jamo too, marks
 * are put in order, and what composes with nothing stays. */
START_TEST(texts_are_put_in_nfc)
{
    static const struct {
        tlm_bytes_t text, nfc;
    } cases[] = {
        {{(const uint8_t *)"", 0}, {(const uint8_t *)"", 0}},
        {{(const uint8_t *)"plain\0text", 10}, {(const uint8_t *)"plain\0text", 10}},
        {{(const uint8_t *)"caf\x65\xCC\x81s", 7}, {(const uint8_t *)"caf\xC3\xA9s", 6}},
        {{(const uint8_t *)"e\xCC\x81", 3}, {(const uint8_t *)"\xC3\xA9", 2}},
        {{(const uint8_t *)"\xCC\x81", 2}, {(const uint8_t *)"\xCC\x81", 2}},
        {{(const uint8_t *)"e\xFF\xCC\x81", 4}, {(const uint8_t *)"e\xFF\xCC\x81", 4}},
        {{(const uint8_t *)"a\xCC", 2}, {(const uint8_t *)"a\xCC", 2}},
        {{(const uint8_t *)"\xE2\x84\xAB", 3}, {(const uint8_t *)"\xC3\x85", 2}}, /* Angstrom */
        {{(const uint8_t *)"\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", 9},
         {(const uint8_t *)"\xED\x95\x9C", 3}},
        {{(const uint8_t *)"\xEC\xA5\x90\xE1\x86\xA7\xCC\x81", 8},
         {(const uint8_t *)"\xEC\xA5\x90\xE1\x86\xA7\xCC\x81", 8}},
        {{(const uint8_t *)"q\xCC\x87\xCC\xA3", 5}, {(const uint8_t *)"q\xCC\xA3\xCC\x87", 5}},
        {{(const uint8_t *)"\xE0\xA5\x98", 3}, {(const uint8_t *)"\xE0\xA4\x95\xE0\xA4\xBC", 6}},
        {{(const uint8_t *)"a\xC3\xA9\xCC\x82x", 6}, {(const uint8_t *)"a\xC3\xA9\xCC\x82x", 6}},
    };
    static char marks[3001] = "a", sorted[3001] = "\xE1\xBA\xA1"; /* a with a dot below */
    char *text = NULL;
    size_t size;

    for (size_t i = 0; i < COUNT(cases); i++) {
        ASSERT_OK(tlm_utf8_nfc(&text, &size, cases[i].text.data, cases[i].text.size));
        assert_same_bytes((tlm_bytes_t){(uint8_t *)text, size}, cases[i].nfc);
        ck_assert_int_eq(text[size], '\0');
        tlm_free(text);
    }
    text = NULL;
    /* So many marks that they are counted: dots above and below. */
    for (size_t i = 0; i < 1500; i++) {
        memcpy(marks + 1 + 2 * i, i % 2 == 0 ? "\xCC\x87" : "\xCC\xA3", 2);
        if (i > 0)
            memcpy(sorted + 1 + 2 * i, i >= 750 ? "\xCC\x87" : "\xCC\xA3", 2);
    }
    ASSERT_OK(tlm_utf8_nfc(&text, &size, marks, 3001));
    assert_same_bytes((tlm_bytes_t){(uint8_t *)text, size}, (tlm_bytes_t){(uint8_t *)sorted, 3001});
    tlm_free(text);
    text = NULL;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_utf8_nfc(NULL, &size, "a", 1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_utf8_nfc(&text, NULL, "a", 1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_utf8_nfc(&text, &size, NULL, 1));
    ck_assert_ptr_null(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tokenizer");
    TCase *tcase = tcase_create("tokenizer");
    int failed;

    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, random_texts_encode_as_the_naive_encoder_does, 0, 12);
    tcase_add_loop_test(tcase, odd_merges_encode_as_the_naive_encoder_does, 0, 20);
    tcase_add_test(tcase, texts_are_put_in_nfc);
    tcase_add_test(tcase, pretokens_follow_the_pattern);
    tcase_add_test(tcase, the_longest_special_token_wins);
    tcase_add_test(tcase, nothing_and_nul_encode);
    tcase_add_loop_test(tcase, long_runs_are_no_trap, 0, 4);
    tcase_add_test(tcase, malformed_text_is_replaced_as_python_does);
    tcase_add_test(tcase, sanitizing_twice_is_sanitizing_once);
    tcase_add_test(tcase, ids_out_of_range_are_refused);
    tcase_add_test(tcase, the_regex_engine_agrees_with_the_scanner);
    tcase_add_test(tcase, any_pattern_round_trips);
    tcase_add_test(tcase, catastrophic_patterns_end_with_an_error);
    tcase_add_loop_test(tcase, a_tokenizer_is_shared_by_threads, 0, 2);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return failed;
}
