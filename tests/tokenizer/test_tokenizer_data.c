/* The tokenizer on real data: CS336's reference merges, and GPT-2's vocabulary on real texts. The data
 * lies in $TINYLM_TEST_DATA; skipped (77) where it does not. */
#include "tokenizer_support.h"
#include "run_suite.h"

#include "base/json.h"

static const char *data_path(const char *name)
{
    static char paths[4][600];
    static int next;
    const char *directory = getenv("TINYLM_TEST_DATA");
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", directory != NULL ? directory : TEST_DATA_DEFAULT,
             name);
    return path;
}

/* The byte that a character of the byte-to-unicode alphabet stands for: printable Latin-1 for itself,
 * U+0100 .. for the others in order. */
static uint8_t alphabet_byte(uint32_t character)
{
    uint32_t others = 0;

    for (uint32_t byte = 0; byte < 256; byte++) {
        bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);

        if (character == (printable ? byte : 256 + others))
            return (uint8_t)byte;
        others += !printable;
    }
    ck_abort_msg("U+%04X is not in the alphabet", character);
}

/* Bytes of a word of the alphabet, whose characters all have one or two bytes. */
static tlm_bytes_t alphabet_bytes(uint8_t *out, const char *word, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < size; i++) {
        uint32_t lead = (uint8_t)word[i];

        if (lead >= 0x80)
            lead = (lead & 0x1F) << 6 | ((uint8_t)word[++i] & 0x3F);
        out[n++] = alphabet_byte(lead);
    }
    return (tlm_bytes_t){out, n};
}

/* The merges are those of the file, line by line. */
static void assert_merges_of_file(const tlm_tokenizer_t *tokenizer, const char *path)
{
    size_t size;
    char *text = (char *)read_bytes(path, &size), *rest = text, *line;
    uint32_t i = 0;

    text[size] = '\0';
    while ((line = strsep(&rest, "\n")) != NULL) {
        uint8_t bytes[512];
        char *space = strchr(line, ' ');
        uint32_t left, right;

        if (strncmp(line, "#version", 8) == 0 || line[0] == '\0')
            continue;
        if (tlm_tokenizer_merge(&left, &right, tokenizer, i++) != TLM_OK)
            ck_abort_msg("%s", tlm_error_message());
        assert_same_bytes(token_of(tokenizer, left),
                          alphabet_bytes(bytes, line, (size_t)(space - line)));
        assert_same_bytes(token_of(tokenizer, right),
                          alphabet_bytes(bytes, space + 1, strlen(space + 1)));
    }
    ck_assert_uint_eq(tlm_tokenizer_num_merges(tokenizer), i);
    free(text);
}

/* The tokens are those of the file; with the same ids where `same_ids`. */
static void assert_vocabulary_of_file(const tlm_tokenizer_t *tokenizer, const char *path,
                                      bool same_ids)
{
    const tlmi_json_t *value;
    void *cursor = NULL;
    tlmi_json_t *root;
    const char *key;
    size_t size;
    unsigned char *text = read_bytes(path, &size);

    ASSERT_OK(tlmi_json_parse(&root, text, size, path));
    ck_assert_uint_eq(tlm_tokenizer_vocab_size(tokenizer), tlmi_json_size(root));
    while (tlmi_json_next(root, &cursor, &key, &value)) {
        uint8_t bytes[512];
        uint32_t id = id_of(tokenizer, alphabet_bytes(bytes, key, strlen(key)));
        int64_t expected;

        if (!tlmi_json_get_int(value, &expected) || (same_ids && id != expected))
            ck_abort_msg("%s has id %u", key, id);
    }
    tlmi_json_free(root);
    free(text);
}

START_TEST(cs336_reference_merges_are_learned)
{
    static const tlm_bytes_t special = {(const uint8_t *)"<|endoftext|>", 13};
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *tokenizer;

    options.vocab_size = 500;
    options.special_tokens = &special;
    options.num_special_tokens = 1;
    ASSERT_OK(tlm_set_num_threads(_i));
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
    ASSERT_OK(tlm_bpe_trainer_add_file(trainer, data_path("corpus.en")));
    ASSERT_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
    ASSERT_OK(tlm_set_num_threads(0));
    tlm_bpe_trainer_free(trainer);
    assert_merges_of_file(tokenizer, data_path("train-bpe-reference-merges.txt"));
    assert_vocabulary_of_file(tokenizer, data_path("train-bpe-reference-vocab.json"), false);
    ck_assert_uint_eq(id_of(tokenizer, special), 0);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

static tlm_tokenizer_t *gpt2(void)
{
    static const tlm_bytes_t special = {(const uint8_t *)"<|endoftext|>", 13};
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer;

    options.special_tokens = &special;
    options.num_special_tokens = 1;
    ASSERT_OK(tlm_tokenizer_load(&tokenizer, data_path("gpt2_vocab.json"),
                                 data_path("gpt2_merges.txt"), &options));
    return tokenizer;
}

START_TEST(gpt2_files_load_and_save)
{
    static const tlm_bytes_t special = {(const uint8_t *)"<|endoftext|>", 13};
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer = gpt2(), *loaded;

    options.special_tokens = &special;
    options.num_special_tokens = 1;
    ck_assert_uint_eq(tlm_tokenizer_vocab_size(tokenizer), 50257);
    ck_assert_uint_eq(tlm_tokenizer_num_merges(tokenizer), 50000);
    ck_assert_uint_eq(id_of(tokenizer, special), 50256);
    assert_merges_of_file(tokenizer, data_path("gpt2_merges.txt"));
    assert_vocabulary_of_file(tokenizer, data_path("gpt2_vocab.json"), true);
    ASSERT_OK(tlm_tokenizer_save(tokenizer, test_path("vocab.json"), test_path("merges.txt")));
    ASSERT_OK(
        tlm_tokenizer_load(&loaded, test_path("vocab.json"), test_path("merges.txt"), &options));
    assert_same_tokenizer(tokenizer, loaded);
    tlm_tokenizer_free(loaded);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* The ranks are those of r50k_base, which is known. */
START_TEST(gpt2_ranks_need_no_pattern)
{
    tlm_tokenizer_t *tokenizer = gpt2(), *loaded;

    ASSERT_OK(tlm_tokenizer_save_tiktoken(tokenizer, test_path("ranks")));
    ASSERT_OK(tlm_tokenizer_open(&loaded, test_path("ranks"), NULL));
    ck_assert_uint_eq(tlm_tokenizer_num_special_tokens(loaded), 1);
    assert_same_tokenizer(tokenizer, loaded);
    tlm_tokenizer_free(loaded);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* Ids that GPT-2's own encoder gives. */
START_TEST(gpt2_ids_are_known)
{
    static const uint32_t expected[] = {15496, 11, 995, 0, 50256, 464, 2068, 7586, 21831, 338};
    static const char text[] = "Hello, world!<|endoftext|>The quick brown fox's";
    tlm_tokenizer_t *tokenizer = gpt2();
    uint32_t *ids;
    size_t n;

    ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, text, strlen(text)));
    assert_same_ids(ids, n, expected, COUNT(expected));
    tlm_free(ids);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

typedef struct position {
    const uint32_t *ids;
    size_t n, at;
} position_t;

static int32_t compare_ids(void *user, const uint32_t *ids, size_t n)
{
    position_t *position = user;

    ck_assert_uint_le(n, position->n - position->at);
    ck_assert_mem_eq(ids, position->ids + position->at, n * sizeof(*ids));
    position->at += n;
    return 0;
}

START_TEST(gpt2_encodes_real_texts_as_the_naive_encoder_does)
{
    static const char *const names[] = {"address.txt", "german.txt", "tinystories_sample.txt",
                                        "wikitext2_valid.txt"};
    tlm_tokenizer_t *tokenizer = gpt2();
    naive_bpe_t naive;

    naive_from_tokenizer(&naive, tokenizer);
    for (size_t i = 0; i < COUNT(names); i++) {
        size_t size, chunk = 4096;
        unsigned char *text = read_bytes(data_path(names[i]), &size);
        position_t position = {NULL, 0, 0};
        tlm_encoder_t *encoder;
        uint32_t *ids;

        assert_encodes_as_naive(tokenizer, &naive, (tlm_bytes_t){text, size});
        ASSERT_OK(tlm_tokenizer_encode(&ids, &position.n, tokenizer, text, size));
        position.ids = ids;
        ASSERT_OK(tlm_encoder_create(&encoder, tokenizer, compare_ids, &position));
        for (size_t at = 0; at < size; at += chunk)
            ASSERT_OK(tlm_encoder_push(encoder, text + at, at + chunk < size ? chunk : size - at));
        ASSERT_OK(tlm_encoder_finish(encoder));
        ck_assert_uint_eq(position.at, position.n);
        tlm_encoder_free(encoder);
        tlm_free(ids);
        free(text);
    }
    naive_free(&naive);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

int main(void)
{
    if (access(data_path("gpt2_vocab.json"), R_OK) != 0) {
        printf("no %s: skipped\n", data_path("gpt2_vocab.json"));
        return 77;
    }

    Suite *suite = suite_create("tokenizer_data");
    TCase *tcase = tcase_create("tokenizer_data");
    int failed;

    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, cs336_reference_merges_are_learned, 1, 4);
    tcase_add_test(tcase, gpt2_files_load_and_save);
    tcase_add_test(tcase, gpt2_ranks_need_no_pattern);
    tcase_add_test(tcase, gpt2_ids_are_known);
    tcase_add_test(tcase, gpt2_encodes_real_texts_as_the_naive_encoder_does);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return failed;
}
