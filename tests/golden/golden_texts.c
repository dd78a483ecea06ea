/* Merges and ids of real texts, which lie in $TINYLM_TEST_DATA. */
#include <unistd.h>

#include "golden_cases.h"

static const tlm_bytes_t end_of_text = {(const uint8_t *)"<|endoftext|>", 13};
static const char *const training_texts[] = {"corpus.en", "tinyshakespeare.txt",
                                             "wikitext2_valid.txt"};
static const char *const all_texts[] = {"address.txt",         "corpus.en",
                                        "german.txt",          "stories_like.txt",
                                        "tinyshakespeare.txt", "tinystories_sample.txt",
                                        "wikitext2_valid.txt"};

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

static bool has_data(const char *name)
{
    return access(data_path(name), R_OK) == 0;
}

/* How many ids the text has, and their hash. */
static void add_ids(values_t *values, const tlm_tokenizer_t *tokenizer, const char *text_name)
{
    size_t size, n;
    unsigned char *text = read_file(&size, data_path(text_name));
    uint32_t *ids;

    ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, text, size));
    add_value(values, n);
    add_value(values, golden_hash(GOLDEN_HASH_START, ids, n * sizeof(*ids)));
    tlm_free(ids);
    free(text);
}

/* How many merges there are, and the hash of their sides, each after its length. */
static void add_merges(values_t *values, const tlm_tokenizer_t *tokenizer)
{
    uint32_t n = tlm_tokenizer_num_merges(tokenizer);
    uint64_t hash = GOLDEN_HASH_START;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t sides[2];

        ASSERT_OK(tlm_tokenizer_merge(&sides[0], &sides[1], tokenizer, i));
        for (int side = 0; side < 2; side++) {
            tlm_bytes_t bytes;
            uint32_t length;

            ASSERT_OK(tlm_tokenizer_token(&bytes, tokenizer, sides[side]));
            length = (uint32_t)bytes.size;
            hash = golden_hash(hash, &length, sizeof(length));
            hash = golden_hash(hash, bytes.data, bytes.size);
        }
    }
    add_value(values, n);
    add_value(values, hash);
}

static void check_trained_tokenizer(const char *text_name)
{
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    values_t merges = {.n = 0}, ids = {.n = 0};
    tlm_tokenizer_t *tokenizer;
    tlm_bpe_trainer_t *trainer;
    char name[64];

    options.vocab_size = 2000;
    options.special_tokens = &end_of_text;
    options.num_special_tokens = 1;
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
    ASSERT_OK(tlm_bpe_trainer_add_file(trainer, data_path(text_name)));
    ASSERT_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
    add_merges(&merges, tokenizer);
    snprintf(name, sizeof(name), "merges.%s", text_name);
    check_values(&merges, name, 16);
    add_ids(&ids, tokenizer, text_name);
    snprintf(name, sizeof(name), "own_ids.%s", text_name);
    check_values(&ids, name, 16);
    tlm_tokenizer_free(tokenizer);
    tlm_bpe_trainer_free(trainer);
}

START_TEST(merges_of_real_texts_stay)
{
    if (!begin_on_threads(_i))
        return;
    for (size_t i = 0; i < COUNT(training_texts); i++)
        if (has_data(training_texts[i]))
            check_trained_tokenizer(training_texts[i]);
}
END_TEST

START_TEST(ids_of_real_texts_stay)
{
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer;

    if (!begin_on_threads(_i))
        return;
    options.special_tokens = &end_of_text;
    options.num_special_tokens = 1;
    ASSERT_OK(tlm_tokenizer_load(&tokenizer, data_path("gpt2_vocab.json"),
                                 data_path("gpt2_merges.txt"), &options));
    for (size_t i = 0; i < COUNT(all_texts); i++) {
        values_t ids = {.n = 0};
        char name[64];

        if (!has_data(all_texts[i]))
            continue;
        add_ids(&ids, tokenizer, all_texts[i]);
        snprintf(name, sizeof(name), "gpt2_ids.%s", all_texts[i]);
        check_values(&ids, name, 16);
    }
    tlm_tokenizer_free(tokenizer);
}
END_TEST

bool golden_add_texts(TCase *tcase)
{
    bool complete = true;

    for (size_t i = 0; i < COUNT(all_texts); i++)
        if (!has_data(all_texts[i])) {
            printf("%s skipped: there is no such file\n", data_path(all_texts[i]));
            complete = false;
        }
    tcase_add_loop_test(tcase, merges_of_real_texts_stay, 1, 3);
    if (!has_data("gpt2_vocab.json") || !has_data("gpt2_merges.txt"))
        return false;
    tcase_add_loop_test(tcase, ids_of_real_texts_stay, 1, 3);
    return complete;
}
