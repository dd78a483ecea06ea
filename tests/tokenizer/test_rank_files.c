/* tiktoken's rank files: round trips, ids against a naive encoder by rank, refusals, and what is known
 * of published ones. The comparison with tiktoken is in tests/python/test_rank_file_peers.py and
 * test_tokenizer_peers.py. */
#include "tokenizer_support.h"
#include "naive_by_rank.h"
#include "run_suite.h"
#include "tokenizer/formats/token_files.h"

/* ---- Rank files --------------------------------------------------------------------------------
 */

START_TEST(trained_tokenizers_are_rank_files)
{
    static const uint32_t special_ids[] = {0, 1, 2, 3, 4};
    size_t num_specials = (size_t)_i;
    tlm_tokenizer_options_t options = with_specials(special_pieces, num_specials);
    tlm_tokenizer_t *tokenizer = trained_tokenizer(num_specials, NULL), *loaded;
    const char *path = test_path("ranks");

    options.special_token_ids = special_ids;
    options.pattern = TLM_PATTERN_GPT2;
    ASSERT_OK(tlm_tokenizer_save_tiktoken(tokenizer, path));
    ASSERT_OK(tlm_tokenizer_load_tiktoken(&loaded, path, &options));
    assert_same_tokenizer(tokenizer, loaded);
    assert_same_encoding(tokenizer, loaded);
    tlm_tokenizer_free(loaded);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* A line for a token of at most 12 bytes. */
static void append_rank(char *file, size_t room, tlm_bytes_t token, uint32_t rank)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t used = strlen(file);

    for (size_t i = 0; i < token.size; i += 3) {
        uint32_t group = (uint32_t)token.data[i] << 16;

        if (i + 1 < token.size)
            group |= (uint32_t)token.data[i + 1] << 8;
        if (i + 2 < token.size)
            group |= token.data[i + 2];
        file[used++] = digits[group >> 18];
        file[used++] = digits[group >> 12 & 63];
        file[used++] = i + 1 < token.size ? digits[group >> 6 & 63] : '=';
        file[used++] = i + 2 < token.size ? digits[group & 63] : '=';
    }
    snprintf(file + used, room - used, " %u\n", rank);
}

/* All single bytes, by rank from `first` on. */
static void byte_ranks(char *file, size_t room, uint32_t first)
{
    file[0] = '\0';
    for (uint32_t i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;

        append_rank(file, room, (tlm_bytes_t){&byte, 1}, first + i);
    }
}

/* Ranks that no training gives: tokens over {a, b, c}, many of which nothing makes, in any order, with
 * gaps, before and after the bytes. */
START_TEST(any_ranks_encode_as_tiktoken_does)
{
    static char file[16384];
    test_random_t random = {(uint64_t)_i + 300, 0};
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    size_t num_letters = 1 + draw(&random, 3);
    uint8_t tokens[80][8];
    tlm_bytes_t seen[80];
    tlm_tokenizer_t *tokenizer;
    size_t n = 0;

    byte_ranks(file, sizeof(file), 100);
    while (n < 60) {
        size_t size = 2 + draw(&random, 6);
        bool is_new = true;

        for (size_t k = 0; k < size; k++)
            tokens[n][k] = (uint8_t)('a' + draw(&random, num_letters));
        for (size_t k = 0; k < n; k++)
            is_new = is_new && (seen[k].size != size || memcmp(seen[k].data, tokens[n], size) != 0);
        if (!is_new && num_letters == 1)
            break;
        if (!is_new)
            continue;
        seen[n] = (tlm_bytes_t){tokens[n], size};
        /* 37 is prime to 200, so ranks differ. */
        {
            uint32_t place = (uint32_t)(n * 37 + draw(&random, 1)) % 200;

            append_rank(file, sizeof(file), seen[n], place < 100 ? place : 256 + place);
        }
        n++;
    }
    write_string(test_path("any"), file);
    options.pattern = "[\\s\\S]{1,40}";
    ASSERT_OK(tlm_tokenizer_load_tiktoken(&tokenizer, test_path("any"), &options));
    for (int round = 0; round < 200; round++) {
        uint8_t text[40];
        uint32_t expected[40], *ids;
        size_t size = 1 + draw(&random, 40), expected_n, ids_n;

        for (size_t k = 0; k < size; k++)
            text[k] = (uint8_t)('a' + draw(&random, num_letters));
        expected_n = naive_by_rank(expected, tokenizer, (tlm_bytes_t){text, size});
        ck_assert_uint_ne(expected_n, SIZE_MAX);
        ASSERT_OK(tlm_tokenizer_encode(&ids, &ids_n, tokenizer, text, size));
        assert_same_ids(ids, ids_n, expected, expected_n);
        tlm_free(ids);
    }
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(broken_rank_files_are_refused)
{
    static const struct {
        const char *lines, *message;
    } cases[] = {
        {"YWI=", "line 257"},
        {"YWI= ", "line 257"},
        {" 256", "line 257"},
        {"YWI=  256", "line 257"},
        {"YWI= 256 7", "line 257"},
        {"YWI= -1", "line 257"},
        {"YWI= +256", "line 257"},
        {"YWI= 2x", "line 257"},
        {"YWI= 99999999999999999999", "line 257"},
        {"YWI= 9223372036854775807", "outside"},
        {"YWI= 4294967295", "outside"},
        {"YWI= 255", "another token"},
        {"\n\nYWI= 255", "line 259"},
        {"YWI= 256\nYWI= 257", "tokens 256 and 257"},
        {"YQ== 256", "the same"},
        {"YWI 256", "base64"},
        {"YWJ 256", "base64"},
        {"YW=I 256", "base64"},
        {"Y=== 256", "base64"},
        {"==== 256", "base64"},
        {"YWJ= 256", "base64"}, /* a bit after the last byte */
        {"YX== 256", "base64"},
        {"Y*I= 256", "base64"},
        {"YWI=YWI= 256", "base64"},
        {"{\"a\": 1}", "line 257"},
    };
    static char file[8192];
    const char *path = test_path("broken");
    tlm_tokenizer_t *tokenizer = NULL;

    for (size_t i = 0; i < COUNT(cases); i++) {
        byte_ranks(file, sizeof(file), 0);
        strcat(file, cases[i].lines);
        write_string(path, file);
        ASSERT_FAILS(TLM_ERR_FORMAT, cases[i].message,
                     tlm_tokenizer_load_tiktoken(&tokenizer, path, NULL));
    }
    byte_ranks(file, sizeof(file), 0);
    write_string(path, strchr(file, '\n') + 1);
    ASSERT_FAILS(TLM_ERR_FORMAT, "lacks the byte 0x00",
                 tlm_tokenizer_load_tiktoken(&tokenizer, path, NULL));
    write_string(path, "");
    ASSERT_FAILS(TLM_ERR_FORMAT, "lacks the byte",
                 tlm_tokenizer_load_tiktoken(&tokenizer, path, NULL));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "nowhere",
                 tlm_tokenizer_load_tiktoken(&tokenizer, "nowhere", NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_tokenizer_load_tiktoken(&tokenizer, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_tokenizer_load_tiktoken(NULL, path, NULL));
    ck_assert_ptr_null(tokenizer);
}
END_TEST

/* A long token, of which nothing makes itself, costs no time to speak of; CRLF and gaps are fine. */
START_TEST(rank_files_may_be_odd)
{
    static char file[8192];
    const size_t groups = 100 * 1000;
    size_t used;
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer;
    char *whole = malloc(sizeof(file) + 4 * groups + 100);

    byte_ranks(file, sizeof(file), 1000);
    strcpy(whole, file);
    strcat(whole, "\r\nYWI= 5\r\nYWFh 7\r\n\r\n");
    used = strlen(whole);
    for (size_t i = 0; i < groups; i++)
        memcpy(whole + used + 4 * i, "YWFh", 4);
    strcpy(whole + used + 4 * groups, " 9\r\nYWE= 3");
    write_string(test_path("odd"), whole);
    free(whole);
    options.pattern = TLM_PATTERN_GPT2;
    ASSERT_OK(tlm_tokenizer_load_tiktoken(&tokenizer, test_path("odd"), &options));
    ck_assert_uint_eq(tlm_tokenizer_vocab_size(tokenizer), 1256);
    ck_assert_uint_eq(tlm_tokenizer_num_merges(tokenizer), 3);
    ck_assert_uint_eq(id_of(tokenizer, BYTES("ab")), 5);
    ck_assert_uint_eq(token_of(tokenizer, 9).size, 3 * groups);
    assert_pieces(tokenizer, "aab aaaaa", "aa\1b\1 \1aa\1aaa");
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(what_ranks_cannot_say_is_not_written)
{
    const char *path = test_path("refused");
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer, *loaded;
    parts_t parts = byte_parts();

    add_merge(&parts, "a", "b", "ab"); /* a token without merges */
    parts.num_merges = 0;
    ASSERT_OK(create(&tokenizer, &parts, NULL));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "token 256", tlm_tokenizer_save_tiktoken(tokenizer, path));
    tlm_tokenizer_free(tokenizer);

    parts = byte_parts(); /* merges in another order than ids */
    add_merge(&parts, "b", "c", "bc");
    add_merge(&parts, "a", "b", "ab");
    parts.vocab[256] = BYTES("ab");
    parts.vocab[257] = BYTES("bc");
    ASSERT_OK(create(&tokenizer, &parts, NULL));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "merge 0", tlm_tokenizer_save_tiktoken(tokenizer, path));
    tlm_tokenizer_free(tokenizer);

    parts = byte_parts(); /* ranks would make abc of ab and c, as ab comes before */
    add_merge(&parts, "a", "b", "ab");
    add_merge(&parts, "b", "c", "bc");
    add_merge(&parts, "a", "bc", "abc");
    ASSERT_OK(create(&tokenizer, &parts, NULL));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "token 258", tlm_tokenizer_save_tiktoken(tokenizer, path));
    tlm_tokenizer_free(tokenizer);

    parts = byte_parts(); /* looked up, never merged: that is what ranks do */
    parts.vocab[parts.vocab_size++] = BYTES("xyz");
    options.ignore_merges = true;
    ASSERT_OK(create(&tokenizer, &parts, &options));
    ck_assert_int_ne(access(path, F_OK), 0);
    ASSERT_OK(tlm_tokenizer_save_tiktoken(tokenizer, path));
    options.pattern = TLM_PATTERN_GPT2;
    ASSERT_OK(tlm_tokenizer_load_tiktoken(&loaded, path, &options));
    assert_same_tokenizer(tokenizer, loaded);
    assert_pieces(loaded, "xyz,xyza", "xyz\1,\1x\1y\1z\1a");
    tlm_tokenizer_free(loaded);
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "nowhere",
                 tlm_tokenizer_save_tiktoken(tokenizer, test_path("nowhere/ranks")));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_tokenizer_save_tiktoken(NULL, path));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_tokenizer_save_tiktoken(tokenizer, NULL));
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* ---- Published vocabularies ---- */

/* Names fit, ids ascend, and the options that the caller gives are kept. */
START_TEST(published_vocabularies_have_special_tokens)
{
    size_t n = 0;

    for (const tlmi_known_ranks_t *known; (known = tlmi_known_ranks_get(n)) != NULL; n++) {
        tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
        tlmi_known_special_t special = {0};

        ASSERT_OK(tlmi_known_ranks_apply(&options, &special, known));
        ck_assert_ptr_nonnull(options.pattern);
        ck_assert_uint_gt(options.num_special_tokens, 0);
        for (size_t i = 0; i < options.num_special_tokens; i++) {
            tlm_bytes_t token = options.special_tokens[i];

            ck_assert(token.data[0] == '<' || token.data[0] == '[');
            ck_assert(token.data[token.size - 1] == '>' || token.data[token.size - 1] == ']');
            if (i > 0)
                ck_assert_uint_gt(options.special_token_ids[i], options.special_token_ids[i - 1]);
        }
        tlmi_known_special_release(&special);
        options = with_specials(special_pieces, 1);
        ASSERT_OK(tlmi_known_ranks_apply(&options, &special, known));
        ck_assert_uint_eq(options.num_special_tokens, 1);
        ck_assert_ptr_null(special.tokens);
    }
    ck_assert_uint_eq(n, 9);
}
END_TEST

START_TEST(an_unknown_vocabulary_needs_a_pattern)
{
    static char file[8192];
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer = NULL;
    const char *path = test_path("unknown");

    byte_ranks(file, sizeof(file), 0);
    write_string(path, file);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "give the pattern",
                 tlm_tokenizer_load_tiktoken(&tokenizer, path, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "give the pattern",
                 tlm_tokenizer_open(&tokenizer, path, &options));
    ck_assert_ptr_null(tokenizer);
    options.pattern = tlm_pattern_by_name("llama3");
    ASSERT_OK(tlm_tokenizer_open(&tokenizer, path, &options));
    tlm_tokenizer_free(tokenizer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rank files");
    TCase *tcase = tcase_create("rank files");

    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, trained_tokenizers_are_rank_files, 0, COUNT(special_pieces) + 1);
    tcase_add_loop_test(tcase, any_ranks_encode_as_tiktoken_does, 0, 40);
    tcase_add_test(tcase, broken_rank_files_are_refused);
    tcase_add_test(tcase, rank_files_may_be_odd);
    tcase_add_test(tcase, what_ranks_cannot_say_is_not_written);
    tcase_add_test(tcase, published_vocabularies_have_special_tokens);
    tcase_add_test(tcase, an_unknown_vocabulary_needs_a_pattern);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    int failed = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return failed;
}
