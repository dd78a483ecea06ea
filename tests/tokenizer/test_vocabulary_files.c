/* Tokenizers that tlm_tokenizer_open finds by their content: SentencePiece models, GGUF vocabularies,
 * Tekken, vocab.txt. The comparison with the programs that write them is in
 * tests/python/test_tokenizer_formats.py. */
#include <sys/stat.h>

#include "tokenizer_support.h"
#include "run_suite.h"
#include "vocabulary_support.h"

static file_bytes_t file;

static tlm_status_t open_bytes(tlm_tokenizer_t **out, const void *bytes, size_t size,
                               const tlm_tokenizer_options_t *options)
{
    write_bytes(test_path("file"), bytes, size);
    return tlm_tokenizer_open(out, test_path("file"), options);
}

static tlm_tokenizer_t *open_file(void)
{
    tlm_tokenizer_t *tokenizer;

    ASSERT_OK(open_bytes(&tokenizer, file.data, file.size, NULL));
    return tokenizer;
}

static void assert_refused(const char *bytes, size_t size, tlm_status_t status, const char *part)
{
    tlm_tokenizer_t *tokenizer = NULL;

    ck_assert_int_eq(open_bytes(&tokenizer, bytes, size, NULL), status);
    ck_assert_ptr_null(tokenizer);
    ck_assert_msg(strstr(tlm_error_message(), part) != NULL, "%s", tlm_error_message());
}

/* `expected` ends with UINT32_MAX. */
static void assert_ids(const tlm_tokenizer_t *tokenizer, const char *text, const uint32_t *expected)
{
    size_t n, num_expected = 0;
    uint32_t *ids;

    while (expected[num_expected] != UINT32_MAX)
        num_expected++;
    ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, text, strlen(text)));
    assert_same_ids(ids, n, expected, num_expected);
    tlm_free(ids);
}

static void assert_text(const tlm_tokenizer_t *tokenizer, const uint32_t *ids, const char *expected)
{
    size_t n = 0, size;
    char *text;

    while (ids[n] != UINT32_MAX)
        n++;
    ASSERT_OK(tlm_tokenizer_decode_text(&text, &size, tokenizer, ids, n));
    ck_assert_str_eq(text, expected);
    tlm_free(text);
}

#define IDS(...) ((const uint32_t[]){__VA_ARGS__, UINT32_MAX})
#define NO_IDS   ((const uint32_t[]){UINT32_MAX})

/* No file that is cut off or has a wrong bit does any harm. */
static void damage(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size);

    for (size_t cut = 0; cut < size; cut += 1 + cut / 64) {
        tlm_tokenizer_t *tokenizer = NULL;

        if (open_bytes(&tokenizer, bytes, cut, NULL) != TLM_OK)
            ck_assert_str_ne(tlm_error_message(), "");
        tlm_tokenizer_free(tokenizer);
    }
    for (size_t bit = 0; bit < 8 * size; bit += 1 + bit / 100) {
        tlm_tokenizer_t *tokenizer = NULL;

        memcpy(copy, bytes, size);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (open_bytes(&tokenizer, copy, size, NULL) != TLM_OK)
            ck_assert_ptr_null(tokenizer);
        tlm_tokenizer_free(tokenizer);
    }
    free(copy);
}

/* ---- SentencePiece ---- */

START_TEST(sentencepiece_models_encode_and_decode)
{
    make_sentencepiece(&file, _i, 1);
    tlm_tokenizer_t *tokenizer = open_file();

    assert_ids(tokenizer, "", NO_IDS);
    assert_ids(tokenizer, "  ab  ab ", IDS(8, 8));
    assert_ids(tokenizer, "a<sym>b", IDS(4, 5, 3, 6));
    assert_ids(tokenizer, "ab\n", IDS(8, 9 + '\n'));
    assert_ids(tokenizer, "</s>ab<s>", IDS(2, 8, 1));
    assert_text(tokenizer, IDS(1, 8, 8, 0, 2), "ab ab \xE2\x81\x87 ");
    assert_text(tokenizer, IDS(9 + 0xC3, 9 + 0xA9, 9 + 0xC3, 5),
                "\xC3\xA9\xEF\xBF\xBD"
                "a");
    assert_text(tokenizer, IDS(4, 4, 5, 4, 3), "a <sym>");
    damage(file.data, file.size > 600 ? 600 : file.size);
    damage(file.data, file.size);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(sentencepiece_without_bytes_has_unknown_pieces)
{
    make_sentencepiece(&file, _i, 0);
    tlm_tokenizer_t *tokenizer = open_file();

    assert_ids(tokenizer, "axyb", IDS(4, 5, 0, 6));
    damage(file.data, file.size);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(special_tokens_of_options_join_the_vocabulary)
{
    const tlm_bytes_t specials[] = {{(const uint8_t *)"<new>", 5}, {(const uint8_t *)"<sym>", 5}};
    tlm_tokenizer_options_t options = with_specials(specials, 2);
    const uint32_t wrong[] = {UINT32_MAX, 5};
    tlm_tokenizer_t *tokenizer = NULL;

    make_sentencepiece(&file, 2, 0);
    ASSERT_OK(open_bytes(&tokenizer, file.data, file.size, &options));
    assert_ids(tokenizer, "ab<new>ab", IDS(8, 9, 8));
    assert_text(tokenizer, IDS(8, 9), "ab<new>");
    tlm_tokenizer_free(tokenizer);
    tokenizer = NULL;
    options.special_token_ids = wrong;
    ck_assert_int_eq(open_bytes(&tokenizer, file.data, file.size, &options),
                     TLM_ERR_INVALID_ARGUMENT);
    options = (tlm_tokenizer_options_t)TLM_TOKENIZER_OPTIONS_INIT;
    options.pattern = TLM_PATTERN_GPT2;
    ck_assert_int_eq(open_bytes(&tokenizer, file.data, file.size, &options),
                     TLM_ERR_INVALID_ARGUMENT);
    ck_assert_ptr_null(tokenizer);
}
END_TEST

START_TEST(broken_sentencepiece_models_are_refused)
{
    make_sentencepiece(&file, 3, 0);
    assert_refused((char *)file.data, file.size, TLM_ERR_UNSUPPORTED, "WORD");
    make_sentencepiece(&file, 4, 0);
    assert_refused((char *)file.data, file.size, TLM_ERR_UNSUPPORTED, "CHAR");
    make_sentencepiece(&file, 9, 0);
    assert_refused((char *)file.data, file.size, TLM_ERR_FORMAT, "model_type 9");
    make_sentencepiece(&file, 1, 0);
    assert_refused((char *)file.data, file.size - 1, TLM_ERR_FORMAT, "cut off");
    add_bytes_field(&file, 5, "\x12\1x", 3);
    assert_refused((char *)file.data, file.size, TLM_ERR_UNSUPPORTED, "denormalizer_spec");
    make_sentencepiece(&file, 1, 0);
    add_piece(&file, "a", 0, 1);
    assert_refused((char *)file.data, file.size, TLM_ERR_FORMAT, "are the same");
    make_sentencepiece(&file, 1, 0);
    add_piece(&file, "", 0, 1);
    assert_refused((char *)file.data, file.size, TLM_ERR_FORMAT, "is empty");
    make_sentencepiece(&file, 1, 0);
    add_piece(&file, "x", 0, 7);
    assert_refused((char *)file.data, file.size, TLM_ERR_FORMAT, "unknown type 7");
    make_sentencepiece(&file, 1, 0);
    add_piece(&file, "x", 0, 6);
    assert_refused((char *)file.data, file.size, TLM_ERR_FORMAT, "<0x0A>");
    make_sentencepiece(&file, 1, 0);
    add_piece(&file, "x", 0, 2);
    assert_refused((char *)file.data, file.size, TLM_ERR_FORMAT, "unknown characters");
    make_sentencepiece(&file, 1, 0);
    add_varint(&file, 1 << 3 | 3);
    assert_refused((char *)file.data, file.size, TLM_ERR_FORMAT, "wire type 3");
    make_sentencepiece(&file, 1, 0);
    add_number_field(&file, 1, 0);
    assert_refused((char *)file.data, file.size, TLM_ERR_FORMAT, "pieces at byte");
}
END_TEST

START_TEST(models_without_merges_are_not_saved)
{
    for (int model_type = 1; model_type <= 2; model_type++) {
        make_sentencepiece(&file, model_type, 1);
        tlm_tokenizer_t *tokenizer = open_file();

        ck_assert_int_eq(tlm_tokenizer_save_json(tokenizer, test_path("saved")),
                         TLM_ERR_UNSUPPORTED);
        ck_assert_int_eq(tlm_tokenizer_save_tiktoken(tokenizer, test_path("saved")),
                         TLM_ERR_UNSUPPORTED);
        ck_assert_int_eq(tlm_tokenizer_save(tokenizer, test_path("saved"), test_path("merges")),
                         TLM_ERR_UNSUPPORTED);
        tlm_tokenizer_free(tokenizer);
    }
}
END_TEST

/* ---- GGUF ---- */

static void make_gguf(const char *model, const char *pre, const char *const *tokens,
                      const int32_t *types, const float *scores, size_t n,
                      const char *const *merges, size_t num_merges)
{
    begin_gguf(&file,
               2 + (uint64_t)(pre != NULL) + (types != NULL) + (scores != NULL) + (merges != NULL));
    add_gguf_string(&file, "tokenizer.ggml.model", model);
    if (pre != NULL)
        add_gguf_string(&file, "tokenizer.ggml.pre", pre);
    add_gguf_strings(&file, "tokenizer.ggml.tokens", tokens, n);
    if (types != NULL)
        add_gguf_numbers(&file, "tokenizer.ggml.token_type", GGUF_INT32, types, n);
    if (scores != NULL)
        add_gguf_numbers(&file, "tokenizer.ggml.scores", GGUF_FLOAT32, scores, n);
    if (merges != NULL)
        add_gguf_strings(&file, "tokenizer.ggml.merges", merges, num_merges);
}

/* "\xC4\xA0" stands for a space. The vocabulary lacks most bytes, which are dropped. */
static const char *const bpe_tokens[] = {"a",
                                         "b",
                                         "\xC4\xA0",
                                         "ab",
                                         "\xC4\xA0"
                                         "ab",
                                         "<end>",
                                         " <u>",
                                         "1",
                                         "\xC3"};
static const int32_t bpe_types[] = {1, 1, 1, 1, 1, 3, 4, 1, 1};
static const char *const bpe_merges[] = {"a b", "\xC4\xA0 ab"};

START_TEST(gguf_has_byte_level_bpe)
{
    make_gguf("gpt2", "smollm", bpe_tokens, bpe_types, NULL, 9, bpe_merges, 2);
    tlm_tokenizer_t *tokenizer = open_file();

    assert_ids(tokenizer, "ab ab11x", IDS(3, 4, 7, 7));
    assert_ids(tokenizer, "a <u>b<end>", IDS(0, 6, 1, 5));
    assert_text(tokenizer, IDS(3, 4, 5), "ab ab<end>");
    ASSERT_OK(tlm_tokenizer_save_json(tokenizer, test_path("saved")));
    damage(file.data, file.size);
    tlm_tokenizer_free(tokenizer);
    ASSERT_OK(tlm_tokenizer_open(&tokenizer, test_path("saved"), NULL));
    assert_ids(tokenizer, "ab ab11x", IDS(3, 4, 7, 7));
    assert_ids(tokenizer, "a <u>b<end>", IDS(0, 6, 1, 5));
    assert_text(tokenizer, IDS(3, 4, 5), "ab ab<end>");
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(gguf_may_lack_types)
{
    make_gguf("gpt2", "gpt-2", bpe_tokens, NULL, NULL, 9, bpe_merges, 2);
    tlm_tokenizer_t *tokenizer = open_file();

    assert_ids(tokenizer, "ab ab", IDS(3, 4));
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(a_pattern_stands_in_for_an_unknown_splitting)
{
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer;

    make_gguf("gpt2", NULL, bpe_tokens, bpe_types, NULL, 9, bpe_merges, 2);
    assert_refused((char *)file.data, file.size, TLM_ERR_UNSUPPORTED,
                   "'tokenizer.ggml.pre' is missing");
    make_gguf("gpt2", "martian", bpe_tokens, bpe_types, NULL, 9, bpe_merges, 2);
    assert_refused((char *)file.data, file.size, TLM_ERR_UNSUPPORTED, "martian");
    options.pattern = TLM_PATTERN_GPT2;
    ASSERT_OK(open_bytes(&tokenizer, file.data, file.size, &options));
    assert_ids(tokenizer, "ab ab11", IDS(3, 4, 7, 7));
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(every_splitting_of_gguf_can_be_used)
{
    static const char *const names[] = {
        "gpt-2",  "llama-bpe",  "glm4",       "dbrx",           "qwen2",     "qwen35",
        "gpt-4o", "tekken",     "smollm",     "deepseek-v3",    "spark2_5",  "deepseek-llm",
        "falcon", "default",    "bloom",      "deepseek-coder", "viking",    "kimi-k2",
        "youtu",  "chameleon",  "tiny_aya",   "superbpe",       "afmoe",     "bailingmoe",
        "laguna", "seed-coder", "exaone-moe", "ufakzeka",       "minicpm5",  "jais-2",
        "olmo",   "lfm2",       "starcoder",  "hunyuan-dense",  "poro-chat", "mpt"};

    for (size_t i = 0; i < COUNT(names); i++) {
        make_gguf("gpt2", names[i], bpe_tokens, bpe_types, NULL, 9, bpe_merges, 2);
        tlm_tokenizer_t *tokenizer = open_file();
        test_random_t random = {7, 0};

        assert_ids(tokenizer, "ab ab", IDS(3, 4));
        for (int round = 0; round < 50; round++) {
            tlm_bytes_t text = random_text(&random, 100);
            uint32_t *ids;
            size_t n;

            ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, text.data, text.size));
            tlm_free(ids);
            free_text(text);
        }
        tlm_tokenizer_free(tokenizer);
    }
}
END_TEST

START_TEST(gguf_has_sentencepiece_models)
{
    static const char *const tokens[] = {"<unk>",
                                         "<s>",
                                         "</s>",
                                         "\xE2\x96\x81",
                                         "a",
                                         "b",
                                         "ab",
                                         "\xE2\x96\x81"
                                         "ab",
                                         "<sym>"};
    static const int32_t types[] = {2, 3, 3, 1, 1, 1, 1, 1, 4};
    static const float scores[] = {0, 0, 0, -3, -4, -5, -1, -2, 0};

    make_gguf("llama", "default", tokens, types, scores, 9, NULL, 0);
    tlm_tokenizer_t *tokenizer = open_file();
    assert_ids(tokenizer, "ab  ab", IDS(7, 3, 7));
    assert_ids(tokenizer, "a<sym>ab?", IDS(3, 4, 8, 7, 0));
    assert_text(tokenizer, IDS(1, 7, 7, 2), "ab ab");
    damage(file.data, file.size);
    tlm_tokenizer_free(tokenizer);

    make_gguf("t5", NULL, tokens, types, scores, 9, NULL, 0);
    assert_refused((char *)file.data, file.size - 3, TLM_ERR_FORMAT, "");
    tokenizer = open_file();
    assert_ids(tokenizer, "ab", IDS(6));
    tlm_tokenizer_free(tokenizer);

    make_gguf("rwkv", NULL, tokens, types, scores, 9, NULL, 0);
    assert_refused((char *)file.data, file.size, TLM_ERR_UNSUPPORTED, "rwkv");
    make_gguf("none", NULL, tokens, types, scores, 9, NULL, 0);
    assert_refused((char *)file.data, file.size, TLM_ERR_NOT_FOUND, "no tokenizer");
}
END_TEST

START_TEST(gguf_has_bpe_over_characters)
{
    static const char *const tokens[] = {"<pad>",
                                         "\n",
                                         "\xE2\x96\x81",
                                         "a",
                                         "b",
                                         "ab",
                                         "\xE2\x96\x81"
                                         "ab",
                                         "\n\n",
                                         "<0x41>"};
    static const int32_t types[] = {3, 1, 1, 1, 1, 1, 1, 1, 6};
    static const char *const merges[] = {"a b", "\xE2\x96\x81 ab", "\n \n"};

    make_gguf("gemma4", NULL, tokens, types, NULL, 9, merges, 3);
    tlm_tokenizer_t *tokenizer = open_file();
    assert_ids(tokenizer, "ab ab\n\nabA", IDS(5, 6, 7, 5, 8));
    assert_text(tokenizer, IDS(6, 8, 0, 7), " abA\n\n");
    damage(file.data, file.size);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(gguf_has_wordpiece)
{
    static const char *const tokens[] = {"[UNK]",
                                         "[CLS]",
                                         "[SEP]",
                                         "\xE2\x96\x81"
                                         "ab",
                                         "c",
                                         "\xE2\x96\x81"
                                         "d"};
    static const int32_t types[] = {3, 3, 3, 1, 1, 1};

    begin_gguf(&file, 4);
    add_gguf_string(&file, "tokenizer.ggml.model", "bert");
    add_gguf_strings(&file, "tokenizer.ggml.tokens", tokens, 6);
    add_gguf_numbers(&file, "tokenizer.ggml.token_type", GGUF_INT32, types, 6);
    add_string(&file, "tokenizer.ggml.unknown_token_id");
    add_u32(&file, GGUF_INT32);
    add_u32(&file, 0);
    tlm_tokenizer_t *tokenizer = open_file();
    assert_ids(tokenizer, "ABc d x[CLS]", IDS(3, 4, 5, 0, 1));
    assert_text(tokenizer, IDS(3, 4, 5), "abc d");
    damage(file.data, file.size);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* ---- Tekken and vocab.txt ---- */

START_TEST(tekken_files_encode_and_decode)
{
    make_tekken(&file);
    tlm_tokenizer_t *tokenizer = open_file();
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *other = NULL;

    ck_assert_uint_eq(tlm_tokenizer_vocab_size(tokenizer), 260);
    assert_ids(tokenizer, "ab a\xFF</s>", IDS(259, 3 + ' ', 3 + 'a', 3 + 0xFF, 2));
    assert_text(tokenizer, IDS(1, 259, 3 + '\n'), "<s>ab\n");
    options.pattern = TLM_PATTERN_GPT2;
    ck_assert_int_eq(open_bytes(&other, file.data, file.size, &options), TLM_ERR_INVALID_ARGUMENT);
    damage(file.data, 500);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

static void assert_tekken_refused(const char *from, const char *to, const char *part)
{
    char *found;

    make_tekken(&file);
    file.data[file.size] = '\0';
    found = strstr((char *)file.data, from);
    ck_assert_ptr_nonnull(found);
    ck_assert_uint_eq(strlen(from), strlen(to));
    memcpy(found, to, strlen(to));
    assert_refused((char *)file.data, file.size, TLM_ERR_FORMAT, part);
}

START_TEST(broken_tekken_files_are_refused)
{
    assert_tekken_refused("\"rank\":7,", "\"rank\":8,", "vocab[7].rank is not 7");
    assert_tekken_refused("\"Bw==\"", "\"B?==\"", "vocab[7].token_bytes");
    assert_tekken_refused("\"default_vocab_size\":260", "\"default_vocab_size\":999",
                          "999 tokens, of which 3 are special");
    assert_tekken_refused("\"pattern\"", "\"patterN\"", "config.pattern");
    assert_tekken_refused("\"config\"", "\"confiG\"", "an object config");
    assert_tekken_refused("\"AQ==\"", "\"AA==\"", "are the same");
}
END_TEST

START_TEST(vocab_txt_has_wordpiece)
{
    static const char uncased[] = "[PAD]\n[unused0]\n[UNK]\n[CLS]\n[SEP]\nab\n##c\nd\n.";
    static const char cased[] = "[PAD]\r\n[UNK]\r\nAb\r\nab\r\n";
    tlm_tokenizer_t *tokenizer;

    ASSERT_OK(open_bytes(&tokenizer, uncased, sizeof(uncased) - 1, NULL));
    assert_ids(tokenizer, "ABc d. [SEP]x", IDS(5, 6, 7, 8, 4, 2));
    assert_text(tokenizer, IDS(3, 5, 6, 7, 8), "[CLS] abc d.");
    tlm_tokenizer_free(tokenizer);
    ASSERT_OK(open_bytes(&tokenizer, cased, sizeof(cased) - 1, NULL));
    assert_ids(tokenizer, "Ab ab", IDS(2, 3));
    tlm_tokenizer_free(tokenizer);
    write_bytes(test_path("tokenizer_config.json"), "{\"do_lower_case\": true}", 23);
    ASSERT_OK(open_bytes(&tokenizer, cased, sizeof(cased) - 1, NULL));
    assert_ids(tokenizer, "Ab ab", IDS(3, 3));
    tlm_tokenizer_free(tokenizer);
    write_bytes(test_path("tokenizer_config.json"), "{\"do_lower_case\"", 16);
    assert_refused(cased, sizeof(cased) - 1, TLM_ERR_FORMAT, "tokenizer_config.json");
    unlink(test_path("tokenizer_config.json"));
    assert_refused("only some words\n", 16, TLM_ERR_FORMAT, "without the line [UNK]");
    assert_refused("[UNK]\na\na\n", 10, TLM_ERR_FORMAT, "are the same");
}
END_TEST

/* ---- Folders ---- */

START_TEST(folders_are_opened_by_what_they_hold)
{
    tlm_tokenizer_t *tokenizer = NULL;
    char folder[300], path[400];

    snprintf(folder, sizeof(folder), "%s", test_path("folder"));
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    ck_assert_int_eq(tlm_tokenizer_open(&tokenizer, folder, NULL), TLM_ERR_NOT_FOUND);
    make_gguf("gpt2", "gpt-2", bpe_tokens, bpe_types, NULL, 9, bpe_merges, 2);
    snprintf(path, sizeof(path), "%s/a.gguf", folder);
    write_bytes(path, file.data, file.size);
    ASSERT_OK(tlm_tokenizer_open(&tokenizer, folder, NULL));
    assert_ids(tokenizer, "ab", IDS(3));
    tlm_tokenizer_free(tokenizer);
    snprintf(path, sizeof(path), "%s/b.gguf", folder);
    write_bytes(path, file.data, file.size);
    ck_assert_int_eq(tlm_tokenizer_open(&tokenizer, folder, NULL), TLM_ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(tlm_error_message(), "several files *.gguf"));
    unlink(path);
    make_sentencepiece(&file, 2, 0);
    snprintf(path, sizeof(path), "%s/tokenizer.model", folder);
    write_bytes(path, file.data, file.size);
    ASSERT_OK(tlm_tokenizer_open(&tokenizer, folder, NULL));
    assert_ids(tokenizer, "ab", IDS(8));
    tlm_tokenizer_free(tokenizer);
    unlink(path);
    snprintf(path, sizeof(path), "%s/a.gguf", folder);
    unlink(path);
    rmdir(folder);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vocabulary files");
    TCase *tcase = tcase_create("vocabulary files");

    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, sentencepiece_models_encode_and_decode, 1, 3);
    tcase_add_loop_test(tcase, sentencepiece_without_bytes_has_unknown_pieces, 1, 3);
    tcase_add_test(tcase, special_tokens_of_options_join_the_vocabulary);
    tcase_add_test(tcase, broken_sentencepiece_models_are_refused);
    tcase_add_test(tcase, models_without_merges_are_not_saved);
    tcase_add_test(tcase, gguf_has_byte_level_bpe);
    tcase_add_test(tcase, gguf_may_lack_types);
    tcase_add_test(tcase, a_pattern_stands_in_for_an_unknown_splitting);
    tcase_add_test(tcase, every_splitting_of_gguf_can_be_used);
    tcase_add_test(tcase, gguf_has_sentencepiece_models);
    tcase_add_test(tcase, gguf_has_bpe_over_characters);
    tcase_add_test(tcase, gguf_has_wordpiece);
    tcase_add_test(tcase, tekken_files_encode_and_decode);
    tcase_add_test(tcase, broken_tekken_files_are_refused);
    tcase_add_test(tcase, vocab_txt_has_wordpiece);
    tcase_add_test(tcase, folders_are_opened_by_what_they_hold);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    int failed = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return failed;
}
