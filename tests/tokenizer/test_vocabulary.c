/* Making tokenizers from memory and files: ids, round trips through files, and refusals. */
#include "tokenizer_support.h"
#include "run_suite.h"

/* ---- Making ------------------------------------------------------------------------------------
 */

START_TEST(vocabularies_from_memory_keep_their_ids)
{
    tlm_bytes_t specials[] = {BYTES("<|new|>"), BYTES("<|old|>"), BYTES("<|newer|>")};
    tlm_tokenizer_options_t options = with_specials(specials, 3);
    parts_t parts = byte_parts();
    tlm_tokenizer_t *tokenizer;
    uint32_t left, right, id;

    parts.vocab[parts.vocab_size++] = BYTES("<|old|>");
    add_merge(&parts, "a", "b", "ab");
    add_merge(&parts, "ab", "c", "abc");
    ASSERT_OK(create(&tokenizer, &parts, &options));
    ck_assert_uint_eq(tlm_tokenizer_vocab_size(tokenizer), 261);
    ck_assert_uint_eq(tlm_tokenizer_num_merges(tokenizer), 2);
    ck_assert_uint_eq(tlm_tokenizer_num_special_tokens(tokenizer), 3);
    for (uint32_t i = 0; i < parts.vocab_size; i++)
        assert_same_bytes(token_of(tokenizer, i), parts.vocab[i]);
    ASSERT_OK(tlm_tokenizer_special_token(&id, tokenizer, 0));
    ck_assert_uint_eq(id, 259);
    ASSERT_OK(tlm_tokenizer_special_token(&id, tokenizer, 1));
    ck_assert_uint_eq(id, 256);
    ASSERT_OK(tlm_tokenizer_special_token(&id, tokenizer, 2));
    ck_assert_uint_eq(id, 260);
    ASSERT_OK(tlm_tokenizer_merge(&left, &right, tokenizer, 1));
    ck_assert(left == 257 && right == 'c');
    ck_assert_uint_eq(id_of(tokenizer, BYTES("<|newer|>")), 260);
    ck_assert_uint_eq(id_of(tokenizer, BYTES("\0")), 0);
    assert_pieces(tokenizer, "abcab<|old|>abc<|newer|><|new|",
                  "abc\1ab\1<|old|>\1abc\1<|newer|>"
                  "\1<\1|\1n\1e\1w\1|");
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "", tlm_tokenizer_token_id(&id, tokenizer, "bc", 2));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "", tlm_tokenizer_token_id(&id, tokenizer, "", 0));
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* Holes are ids without a token: nothing encodes to them, and a file of them reads back. */
START_TEST(vocabularies_may_have_holes)
{
    parts_t parts = byte_parts();
    tlm_tokenizer_t *tokenizer, *loaded;

    parts.vocab[parts.vocab_size++] = (tlm_bytes_t){NULL, 0};
    parts.vocab[parts.vocab_size++] = (tlm_bytes_t){NULL, 0};
    add_merge(&parts, "a", "b", "ab");
    ASSERT_OK(create(&tokenizer, &parts, NULL));
    ck_assert_uint_eq(tlm_tokenizer_vocab_size(tokenizer), 259);
    ck_assert_uint_eq(id_of(tokenizer, BYTES("ab")), 258);
    assert_pieces(tokenizer, "abba", "ab\1b\1a");
    ASSERT_OK(tlm_tokenizer_save(tokenizer, test_path("h.json"), test_path("h.txt")));
    ASSERT_OK(tlm_tokenizer_load(&loaded, test_path("h.json"), test_path("h.txt"), NULL));
    ck_assert_uint_eq(tlm_tokenizer_vocab_size(loaded), 259);
    ck_assert_uint_eq(id_of(loaded, BYTES("ab")), 258);
    tlm_tokenizer_free(loaded);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* Merges apply by rank, whatever the order of ids; the leftmost of equal ones first. */
START_TEST(merges_apply_by_rank)
{
    parts_t parts = byte_parts();
    tlm_tokenizer_t *tokenizer;

    add_merge(&parts, "b", "c", "bc");
    add_merge(&parts, "a", "b", "ab");
    add_merge(&parts, "a", "bc", "abc");
    add_merge(&parts, "ab", "c", NULL); /* a second way to abc, never taken */
    add_merge(&parts, "x", "x", "xx");
    add_merge(&parts, "xx", "x", "xxx");
    ASSERT_OK(create(&tokenizer, &parts, NULL));
    assert_pieces(tokenizer, "abc", "abc");
    assert_pieces(tokenizer, "abab", "ab\1ab");
    assert_pieces(tokenizer, "xxx", "xxx");
    assert_pieces(tokenizer, "xxxxx", "xx\1xxx");
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(broken_vocabularies_are_refused)
{
    tlm_bytes_t twice[] = {BYTES("<s>"), BYTES("<s>")}, empty[] = {{NULL, 0}};
    tlm_tokenizer_options_t options = with_specials(twice, 2);
    const parts_t good = byte_parts();
    tlm_tokenizer_t *tokenizer = NULL;
    parts_t parts = good;

    add_merge(&parts, "a", "b", "ab");
    add_merge(&parts, "c", "d", "ab");
    ASSERT_FAILS(TLM_ERR_FORMAT, "257", create(&tokenizer, &parts, NULL)); /* given twice */
    parts = good;
    parts.vocab[7] = BYTES("seven");
    ASSERT_FAILS(TLM_ERR_FORMAT, "", create(&tokenizer, &parts, NULL));
    parts = good;
    parts.vocab_size = 255;
    ASSERT_FAILS(TLM_ERR_FORMAT, "", create(&tokenizer, &parts, NULL));
    parts.vocab_size = 0;
    ASSERT_FAILS(TLM_ERR_FORMAT, "", create(&tokenizer, &parts, NULL));
    parts = good;
    add_merge(&parts, "a", "b", "ab");
    add_merge(&parts, "ab", "c", NULL); /* the product is missing */
    ASSERT_FAILS(TLM_ERR_FORMAT, "1", create(&tokenizer, &parts, NULL));
    parts = good;
    add_merge(&parts, "ab", "c", "abc"); /* a side is missing */
    ASSERT_FAILS(TLM_ERR_FORMAT, "0", create(&tokenizer, &parts, NULL));
    parts = good;
    add_merge(&parts, "", "c", NULL);
    ASSERT_FAILS(TLM_ERR_FORMAT, "0", create(&tokenizer, &parts, NULL));
    ck_assert_int_ne(create(&tokenizer, &good, &options), TLM_OK);
    options = with_specials(empty, 1);
    ck_assert_int_ne(create(&tokenizer, &good, &options), TLM_OK);
    options = with_specials(NULL, 1);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "", create(&tokenizer, &good, &options));
    options = with_specials(NULL, 0);
    options.pattern = "(?<";
    ASSERT_FAILS(TLM_ERR_REGEX, "", create(&tokenizer, &good, &options));
    options.size = 5;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "size", create(&tokenizer, &good, &options));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", create(NULL, &good, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_tokenizer_create(&tokenizer, NULL, 256, NULL, 0, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_tokenizer_create(&tokenizer, good.vocab, 256, NULL, 1, NULL));
    ck_assert_ptr_null(tokenizer);
    tlm_tokenizer_free(NULL);
}
END_TEST

/* A token that no merge makes, and one that merges make something else of: only with ignore_merges
 * they are tokens, and only as whole pretokens. Special tokens stay out of it. */
START_TEST(merges_can_be_ignored)
{
    tlm_bytes_t special = BYTES("xyz");
    tlm_tokenizer_options_t options = with_specials(&special, 1);
    tlm_tokenizer_t *tokenizer = NULL;
    parts_t parts = byte_parts();

    parts.vocab[parts.vocab_size++] = BYTES("cat");
    add_merge(&parts, "b", "c", "bc");
    add_merge(&parts, "a", "b", "ab");
    add_merge(&parts, "ab", "c", "abc");
    parts.vocab[parts.vocab_size++] = BYTES("xyz");
    ASSERT_OK(create(&tokenizer, &parts, &options));
    assert_pieces(tokenizer, "cat abc", "c\1a\1t\1 \1a\1bc");
    tlm_tokenizer_free(tokenizer);
    options.ignore_merges = true;
    ASSERT_OK(create(&tokenizer, &parts, &options));
    assert_pieces(tokenizer, "cat,abc cat,abcs", "cat\1,\1abc\1 \1c\1a\1t\1,\1a\1bc\1s");
    assert_pieces(tokenizer, "xyzcat", "xyz\1cat");
    tlm_tokenizer_free(tokenizer);
    tokenizer = NULL;
    options.ignore_merges = false;
    options.size = offsetof(tlm_tokenizer_options_t, ignore_merges);
    options.ignore_merges = true; /* beyond the caller's struct */
    ASSERT_OK(create(&tokenizer, &parts, &options));
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* tiktoken's special tokens have ids with holes between them. */
START_TEST(special_tokens_can_have_ids)
{
    tlm_bytes_t specials[] = {BYTES("<|a|>"), BYTES("<|b|>"), BYTES("<|c|>"), BYTES("ab")};
    uint32_t ids[] = {300, UINT32_MAX, 256, 257};
    tlm_tokenizer_options_t options = with_specials(specials, 4);
    tlm_tokenizer_t *tokenizer = NULL;
    parts_t parts = byte_parts();

    parts.vocab[parts.vocab_size++] = (tlm_bytes_t){NULL, 0};
    add_merge(&parts, "a", "b", "ab");
    options.special_token_ids = ids;
    ASSERT_OK(create(&tokenizer, &parts, &options));
    ck_assert_uint_eq(tlm_tokenizer_vocab_size(tokenizer), 302);
    ck_assert_uint_eq(id_of(tokenizer, BYTES("<|a|>")), 300);
    ck_assert_uint_eq(id_of(tokenizer, BYTES("<|b|>")), 301);
    ck_assert_uint_eq(id_of(tokenizer, BYTES("<|c|>")), 256);
    assert_pieces(tokenizer, "<|b|>x<|c|>", "<|b|>\1x\1<|c|>");
    tlm_tokenizer_free(tokenizer);
    tokenizer = NULL;
    ids[0] = 'a';
    ASSERT_FAILS(TLM_ERR_FORMAT, "special token 0 has id 97, which another token has",
                 create(&tokenizer, &parts, &options));
    ids[0] = 256;
    ASSERT_FAILS(TLM_ERR_FORMAT, "special token 2 has id 256",
                 create(&tokenizer, &parts, &options));
    ids[0] = UINT32_MAX - 1;
    ASSERT_FAILS(TLM_ERR_FORMAT, "outside", create(&tokenizer, &parts, &options));
    ids[0] = 299;
    ids[3] = 301; /* it has another id already */
    ASSERT_FAILS(TLM_ERR_FORMAT, "the same", create(&tokenizer, &parts, &options));
    options.special_tokens = NULL;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", create(&tokenizer, &parts, &options));
    ck_assert_ptr_null(tokenizer);
}
END_TEST

/* ---- Files -------------------------------------------------------------------------------------
 */

START_TEST(saved_files_load_again)
{
    size_t num_specials = (size_t)_i;
    tlm_tokenizer_options_t options = with_specials(special_pieces, num_specials);
    tlm_tokenizer_t *tokenizer = trained_tokenizer(num_specials, NULL), *loaded;
    int files;

    ASSERT_OK(tlm_tokenizer_save(tokenizer, test_path("s.json"), test_path("s.txt")));
    files = count_files();
    ASSERT_OK(tlm_tokenizer_save(tokenizer, test_path("s.json"), test_path("s.txt")));
    ck_assert_int_eq(count_files(), files);
    ASSERT_OK(tlm_tokenizer_load(&loaded, test_path("s.json"), test_path("s.txt"), &options));
    assert_same_tokenizer(tokenizer, loaded);
    tlm_tokenizer_free(loaded);
    ck_assert_int_ne(
        tlm_tokenizer_save(tokenizer, test_path("nowhere/s.json"), test_path("nowhere/s.txt")),
        TLM_OK);
    ck_assert_int_eq(count_files(), files);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* "# #" is a merge and no comment, also on the first line. */
START_TEST(hash_signs_can_be_merged)
{
    parts_t parts = byte_parts();
    tlm_tokenizer_t *tokenizer, *loaded;

    add_merge(&parts, "#", "#", "##");
    add_merge(&parts, "#", "v", "#v");
    ASSERT_OK(create(&tokenizer, &parts, NULL));
    ASSERT_OK(tlm_tokenizer_save(tokenizer, test_path("#.json"), test_path("#.txt")));
    ASSERT_OK(tlm_tokenizer_load(&loaded, test_path("#.json"), test_path("#.txt"), NULL));
    assert_same_tokenizer(tokenizer, loaded);
    tlm_tokenizer_free(loaded);
    write_bytes(test_path("#.txt"), "# #\n# v", 7);
    ASSERT_OK(tlm_tokenizer_load(&loaded, test_path("#.json"), test_path("#.txt"), NULL));
    assert_same_tokenizer(tokenizer, loaded);
    tlm_tokenizer_free(loaded);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* Loads with the byte vocabulary plus `tokens` (JSON members) and `merges`. */
static tlm_status_t load_text(tlm_tokenizer_t **out, const char *tokens, const char *merges)
{
    static char json[16384];
    tlm_tokenizer_t *bytes = byte_tokenizer(NULL, 0, NULL);
    unsigned char *text;
    size_t size;

    ASSERT_OK(tlm_tokenizer_save(bytes, test_path("v.json"), test_path("v.txt")));
    tlm_tokenizer_free(bytes);
    text = read_bytes(test_path("v.json"), &size);
    while (size > 0 && text[size - 1] != '}')
        size--;
    ck_assert_uint_gt(size, 1);
    snprintf(json, sizeof(json), "%.*s%s}", (int)size - 1, (char *)text, tokens);
    free(text);
    write_string(test_path("v.json"), json);
    write_string(test_path("v.txt"), merges);
    return tlm_tokenizer_load(out, test_path("v.json"), test_path("v.txt"), NULL);
}

START_TEST(files_are_read_as_gpt2_writes_them)
{
    static const char *const merges[] = {"#version: 0.2\n\xC4\xA0 a\n\xC4\xA0"
                                         "a b\n",
                                         "\xC4\xA0 a\n\xC4\xA0"
                                         "a b"};
    tlm_tokenizer_t *tokenizer;
    uint32_t left, right;

    for (size_t i = 0; i < COUNT(merges); i++) {
        ASSERT_OK(load_text(&tokenizer,
                            ", \"\\u0120a\": 256, \"\xC4\xA0"
                            "ab\": 257",
                            merges[i]));
        ck_assert_uint_eq(tlm_tokenizer_num_merges(tokenizer), 2);
        assert_same_bytes(token_of(tokenizer, 256), BYTES(" a"));
        assert_same_bytes(token_of(tokenizer, 257), BYTES(" ab"));
        ASSERT_OK(tlm_tokenizer_merge(&left, &right, tokenizer, 1));
        ck_assert(left == 256 && right == 'b');
        assert_pieces(tokenizer, "ab ab a", "a\1b\1 ab\1 a");
        tlm_tokenizer_free(tokenizer);
    }
}
END_TEST

START_TEST(broken_files_are_refused)
{
    static const char ab[] = ",\"ab\":256", merge[] = "a b\n";
    static const struct {
        const char *tokens, *merges;
    } cases[] = {
        {",", merge},
        {",\"ab\"", merge},
        {",\"ab\":256,\"ab\":257", merge},
        {",\"ab\":256,\"\\u0061b\":257", merge},
        {",\"ab\":255", merge},
        {",\"ab\":-1", merge},
        {",\"ab\":4294967295", merge},
        {",\"ab\":4294967296", merge},
        {",\"ab\":9223372036854775807", merge},
        {",\"ab\":99999999999999999999", merge},
        {",\"ab\":256.5", merge},
        {",\"ab\":\"256\"", merge},
        {",\"ab\":null", merge},
        {",\"ab\":[256]", merge},
        {"", merge},
        {ab, "a\n"},
        {ab, "a b c\n"},
        {ab, "a  b\n"},
        {ab, "a b\nab"},
        {ab, "b a\n"},
        {ab, "\xE4\xB8\xAD b\n"}, /* a character outside the alphabet */
        {ab, "\xC4 b\n"},         /* no UTF-8 */
        {ab, "ab c\n"},
    };
    tlm_tokenizer_t *tokenizer = NULL;

    for (size_t i = 0; i < COUNT(cases); i++) {
        tlm_status_t status = load_text(&tokenizer, cases[i].tokens, cases[i].merges);

        ck_assert_msg(status == TLM_ERR_FORMAT || status == TLM_ERR_RANGE,
                      "case %zu: status %d, %s", i, status, tlm_error_message());
        ck_assert_uint_gt(strlen(tlm_error_message()), 0);
    }
    ck_assert_ptr_null(tokenizer);
}
END_TEST

START_TEST(other_files_are_refused)
{
    static const char *const texts[] = {"", "[]", "{}", "7", "\"a\"", "{\"a\":0}", "nonsense", "{"};
    const char *vocab = test_path("o.json"), *merges = test_path("o.txt");
    tlm_tokenizer_t *tokenizer = NULL;

    write_bytes(merges, "", 0);
    for (size_t i = 0; i < COUNT(texts); i++) {
        write_string(vocab, texts[i]);
        ASSERT_FAILS(TLM_ERR_FORMAT, "", tlm_tokenizer_load(&tokenizer, vocab, merges, NULL));
    }
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "nowhere",
                 tlm_tokenizer_load(&tokenizer, "nowhere.json", merges, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_tokenizer_load(&tokenizer, NULL, merges, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_tokenizer_load(&tokenizer, vocab, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_tokenizer_load(NULL, vocab, merges, NULL));
    ASSERT_OK(load_text(&tokenizer, "", ""));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "nowhere",
                 tlm_tokenizer_load(&tokenizer, test_path("v.json"), "nowhere.txt", NULL));
    tlm_tokenizer_free(tokenizer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vocabulary");
    TCase *tcase = tcase_create("vocabulary");
    int failed;

    tcase_set_timeout(tcase, 600);
    tcase_add_test(tcase, vocabularies_from_memory_keep_their_ids);
    tcase_add_test(tcase, vocabularies_may_have_holes);
    tcase_add_test(tcase, merges_apply_by_rank);
    tcase_add_test(tcase, merges_can_be_ignored);
    tcase_add_test(tcase, special_tokens_can_have_ids);
    tcase_add_test(tcase, broken_vocabularies_are_refused);
    tcase_add_loop_test(tcase, saved_files_load_again, 0, COUNT(special_pieces) + 1);
    tcase_add_test(tcase, hash_signs_can_be_merged);
    tcase_add_test(tcase, files_are_read_as_gpt2_writes_them);
    tcase_add_test(tcase, broken_files_are_refused);
    tcase_add_test(tcase, other_files_are_refused);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return failed;
}
