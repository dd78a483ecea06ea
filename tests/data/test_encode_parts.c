/* The token files of the parts of a text, one after another, have the ids of the whole text. */
#include "run_suite.h"
#include "tinylm/data.h"
#include "tokenizer_support.h"

enum { MOST_PARTS = 5 };

/* Of bytes, which normalizes its texts. */
static tlm_tokenizer_t *nfc_tokenizer(test_random_t *random)
{
    tlm_tokenizer_options_t options = with_specials(special_pieces, draw(random, 3));
    parts_t parts = byte_parts();
    tlm_tokenizer_t *tokenizer;

    options.nfc = true;
    ASSERT_OK(create(&tokenizer, &parts, &options));
    return tokenizer;
}

/* A tokenizer of random text, with one of several patterns, some with special tokens. */
static tlm_tokenizer_t *random_tokenizer(test_random_t *random)
{
    static const char *const patterns[] = {NULL, TLM_PATTERN_CL100K, TLM_PATTERN_O200K,
                                           TLM_PATTERN_SMOLLM, "[a-z]+|[^a-z]"};
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bytes_t text = random_text(random, 3000);
    tlm_bpe_trainer_t *trainer;
    tlm_tokenizer_t *tokenizer;

    options.special_tokens = special_pieces;
    options.num_special_tokens = draw(random, 3);
    options.vocab_size = 320;
    options.pattern = patterns[draw(random, COUNT(patterns))];
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
    ASSERT_OK(tlm_bpe_trainer_add_text(trainer, text.data, text.size));
    ASSERT_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
    tlm_bpe_trainer_free(trainer);
    free_text(text);
    return tokenizer;
}

static void check_parts(const tlm_tokenizer_t *tokenizer, tlm_bytes_t text, int32_t num_parts)
{
    char paths[MOST_PARTS][256];
    const char *list[MOST_PARTS];
    uint32_t *ids;
    size_t n;
    uint64_t total = 0, tokens;
    tlm_dataset_t *dataset;

    write_bytes(test_path("text"), text.data, text.size);
    for (int32_t i = 0; i < num_parts; i++) {
        char name[32];

        snprintf(name, sizeof(name), "part-%d.npy", (int)i);
        snprintf(paths[i], sizeof(paths[i]), "%s", test_path(name));
        list[i] = paths[i];
        ASSERT_OK(tlm_tokenizer_encode_file_part(&tokens, tokenizer, test_path("text"), paths[i],
                                                 TLM_TOKENS_AUTO, i, num_parts, NULL, NULL));
        total += tokens;
    }
    ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, text.data, text.size));
    ck_assert_uint_eq(total, n);
    ASSERT_OK(tlm_dataset_open_files(&dataset, list, (size_t)num_parts, TLM_TOKENS_AUTO, 0));
    uint32_t *got = malloc((n + 1) * sizeof(*got));
    ASSERT_OK(tlm_dataset_read(got, n, dataset, 0));
    assert_same_ids(got, n, ids, n);
    tlm_dataset_free(dataset);
    free(got);
    tlm_free(ids);
}

START_TEST(parts_have_the_ids_of_the_whole)
{
    test_random_t random = {(uint64_t)_i, 0};

    for (int round = 0; round < 15; round++) {
        tlm_tokenizer_t *tokenizer =
            draw(&random, 4) == 0 ? nfc_tokenizer(&random) : random_tokenizer(&random);
        tlm_bytes_t text = random_text(&random, 1 + draw(&random, 4) * draw(&random, 3000));

        check_parts(tokenizer, text, 1 + (int32_t)draw(&random, MOST_PARTS));
        free_text(text);
        tlm_tokenizer_free(tokenizer);
    }
}
END_TEST

static int32_t cancel(void *user, uint64_t done, uint64_t total)
{
    (void)user, (void)done, (void)total;
    return 1;
}

START_TEST(a_text_of_words_is_shared)
{
    test_random_t random = {1, 0};
    tlm_tokenizer_t *tokenizer = random_tokenizer(&random);
    uint64_t tokens, half;

    write_string(test_path("text"), "one two three four five six seven eight nine ten");
    ASSERT_OK(tlm_tokenizer_encode_file(&tokens, tokenizer, test_path("text"), test_path("t.u16"),
                                        TLM_TOKENS_AUTO, NULL, NULL));
    ASSERT_OK(tlm_tokenizer_encode_file_part(&half, tokenizer, test_path("text"),
                                             test_path("t.u16"), TLM_TOKENS_AUTO, 1, 2, NULL,
                                             NULL));
    ck_assert(half > tokens / 4 && half < tokens * 3 / 4);
    ASSERT_FAILS(TLM_ERR_RANGE, "part 2 of 2",
                 tlm_tokenizer_encode_file_part(NULL, tokenizer, test_path("text"),
                                                test_path("t.u16"), TLM_TOKENS_AUTO, 2, 2, NULL,
                                                NULL));
    ASSERT_FAILS(TLM_ERR_RANGE, "part 0 of 0",
                 tlm_tokenizer_encode_file_part(NULL, tokenizer, test_path("text"),
                                                test_path("t.u16"), TLM_TOKENS_AUTO, 0, 0, NULL,
                                                NULL));
    ASSERT_FAILS(TLM_ERR_CANCELLED, "tokenizer_encode_file_part: cancelled",
                 tlm_tokenizer_encode_file_part(NULL, tokenizer, test_path("text"),
                                                test_path("t.u16"), TLM_TOKENS_AUTO, 1, 2, cancel,
                                                NULL));
    tlm_tokenizer_free(tokenizer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("encode_parts");
    TCase *tcase = tcase_create("encode_parts");

    make_test_directory();
    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, parts_have_the_ids_of_the_whole, 0, 6);
    tcase_add_test(tcase, a_text_of_words_is_shared);
    suite_add_tcase(suite, tcase);
    int failed = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return failed;
}
