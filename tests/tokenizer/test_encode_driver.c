/* One driver for one text and many, with options and without: the same ids on one thread and on several,
 * while the number of threads changes, and with the memory that it keeps bounded. */
#include "tokenizer_support.h"
#include "run_suite.h"

#include "tokenizer/bpe/bpe.h"
#include "tokenizer/encode.h"

#define NUM_TEXTS 400

/* Texts of all sizes: empty ones, a few bytes, several pieces. */
static tlm_bytes_t *make_texts(test_random_t *random)
{
    static const size_t sizes[] = {0, 1, 20, 300, 5000, 9000, 70000};
    tlm_bytes_t *texts = calloc(NUM_TEXTS, sizeof(*texts));

    for (size_t i = 0; i < NUM_TEXTS; i++) {
        size_t size = sizes[draw(random, i % 40 == 0 ? COUNT(sizes) : 4)];

        texts[i] = random_text(random, size / 4 + (size > 0));
        if (size == 0) {
            free_text(texts[i]);
            texts[i] = (tlm_bytes_t){NULL, 0};
        }
    }
    return texts;
}

static void free_texts(tlm_bytes_t *texts)
{
    for (size_t i = 0; i < NUM_TEXTS; i++)
        free_text(texts[i]);
    free(texts);
}

/* ---- The same ids ------------------------------------------------------------------------------ */

/* Each text of the batch has the ids that it has alone. */
static void check_batch(const tlm_tokenizer_t *tokenizer, const tlm_bytes_t *texts,
                        tlm_encode_options_t options)
{
    uint32_t *ids;
    size_t *offsets;

    ASSERT_OK(tlm_tokenizer_encode_batch(&ids, &offsets, tokenizer, texts, NUM_TEXTS, &options));
    ck_assert_uint_eq(offsets[0], 0);
    for (size_t i = 0; i < NUM_TEXTS; i++, options.seed++) {
        uint32_t *alone;
        size_t n;

        ASSERT_OK(tlm_tokenizer_encode_with(&alone, &n, tokenizer, texts[i].data, texts[i].size,
                                            &options));
        assert_same_ids(ids + offsets[i], offsets[i + 1] - offsets[i], alone, n);
        tlm_free(alone);
    }
    tlm_free(ids);
    tlm_free(offsets);
}

START_TEST(batches_have_the_ids_of_their_texts)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(COUNT(special_pieces), NULL);
    test_random_t random = {21, 0};
    tlm_bytes_t *texts = make_texts(&random);

    for (int32_t threads = 1; threads <= 4; threads += 3) {
        tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;

        ASSERT_OK(tlm_set_num_threads(threads));
        check_batch(tokenizer, texts, options);
        options.allowed_special = options.disallowed_special = TLM_SPECIAL_NONE;
        check_batch(tokenizer, texts, options);
        options.dropout = 0.3;
        options.seed = 5;
        check_batch(tokenizer, texts, options);
    }
    ASSERT_OK(tlm_set_num_threads(0));
    free_texts(texts);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

static tlm_bytes_t join(const tlm_bytes_t *texts)
{
    size_t size = 0;
    uint8_t *all;

    for (size_t i = 0; i < NUM_TEXTS; i++)
        size += texts[i].size;
    all = malloc(size);
    size = 0;
    for (size_t i = 0; i < NUM_TEXTS; i++) {
        if (texts[i].size > 0)
            memcpy(all + size, texts[i].data, texts[i].size);
        size += texts[i].size;
    }
    return (tlm_bytes_t){all, size};
}

/* With every kind of options, a long text has the same ids on any number of threads. */
START_TEST(options_change_no_id_by_threads)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(COUNT(special_pieces), NULL);
    test_random_t random = {22, 0};
    tlm_bytes_t *texts = make_texts(&random), all = join(texts);

    for (int kind = 0; kind < 4; kind++) {
        tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;
        uint32_t *expected = NULL;
        size_t n = 0;

        options.dropout = kind % 2 == 0 ? 0.0 : 0.2;
        options.seed = 9;
        if (kind >= 2)
            options.allowed_special = options.disallowed_special = TLM_SPECIAL_NONE;
        for (int32_t threads = 1; threads <= 5; threads += 2) {
            uint32_t *ids;
            size_t count;

            ASSERT_OK(tlm_set_num_threads(threads));
            ASSERT_OK(
                tlm_tokenizer_encode_with(&ids, &count, tokenizer, all.data, all.size, &options));
            if (threads > 1) {
                assert_same_ids(ids, count, expected, n);
                tlm_free(ids);
            } else {
                expected = ids;
                n = count;
            }
        }
        tlm_free(expected);
    }
    ASSERT_OK(tlm_set_num_threads(0));
    free_text(all);
    free_texts(texts);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* A disallowed token is found wherever pieces begin and end, and its place is that in the text. */
START_TEST(disallowed_tokens_are_found_in_every_piece)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(COUNT(special_pieces), NULL);
    tlm_bytes_t text = repeated('a', 300000);
    uint8_t *bytes = (uint8_t *)text.data;
    tlm_encode_options_t options = TLM_ENCODE_OPTIONS_INIT;
    tlm_bytes_t token = special_pieces[0];

    options.allowed_special = TLM_SPECIAL_NONE;
    for (size_t i = 0; i < text.size; i += 7)
        bytes[i] = ' ';
    ASSERT_OK(tlm_set_num_threads(4));
    for (size_t at = 0; at + token.size <= text.size; at += 8191) {
        uint8_t saved[64];
        char place[64];
        uint32_t *ids;
        size_t n;

        memcpy(saved, bytes + at, token.size);
        memcpy(bytes + at, token.data, token.size);
        snprintf(place, sizeof(place), "at byte %zu", at);
        ASSERT_FAILS(
            TLM_ERR_SPECIAL_TOKEN, place,
            tlm_tokenizer_encode_with(&ids, &n, tokenizer, text.data, text.size, &options));
        memcpy(bytes + at, saved, token.size);
    }
    ASSERT_OK(tlm_set_num_threads(0));
    free_text(text);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* ---- The number of threads changes while handles live ------------------------------------------- */

static int32_t count_ids(void *user, const uint32_t *ids, size_t n)
{
    (void)ids;
    *(size_t *)user += n;
    return 0;
}

static int32_t change_threads(void *user, uint64_t done, uint64_t total)
{
    int32_t *threads = user;

    (void)done;
    (void)total;
    *threads = *threads % 7 + 1;
    (void)tlm_set_num_threads(*threads); /* may be refused; it must do no harm */
    return 0;
}

static int32_t change_threads_of_trainer(void *user, int32_t phase, uint64_t done, uint64_t total)
{
    (void)phase;
    return change_threads(user, done, total);
}

static void write_text(const char *path, tlm_bytes_t text)
{
    FILE *file = fopen(path, "wb");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text.data, 1, text.size, file), text.size);
    fclose(file);
}

/* A tokenizer, a stream, a trainer and a file in work, with the number of threads raised and lowered
 * between any two calls and inside callbacks. */
START_TEST(thread_counts_may_change_at_any_time)
{
    static const int32_t counts[] = {1, 8, 2, 16, 3, 1, 5};
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer = trained_tokenizer(COUNT(special_pieces), NULL), *trained;
    test_random_t random = {23, 0};
    tlm_bytes_t *texts = make_texts(&random), all = join(texts);
    size_t streamed = 0, n;
    int32_t changing = 1;
    uint64_t count, tokens;
    tlm_bpe_trainer_t *trainer;
    tlm_encoder_t *encoder;
    uint32_t *ids;

    options.vocab_size = 300;
    options.progress = change_threads_of_trainer;
    options.progress_user = &changing;
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
    ASSERT_OK(tlm_encoder_create(&encoder, tokenizer, count_ids, &streamed));
    for (size_t i = 0; i < COUNT(counts); i++) {
        size_t start = all.size * i / COUNT(counts), end = all.size * (i + 1) / COUNT(counts);

        ASSERT_OK(tlm_set_num_threads(counts[i]));
        ASSERT_OK(tlm_encoder_push(encoder, all.data + start, end - start));
        ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, all.data, all.size));
        tlm_free(ids);
        ASSERT_OK(tlm_bpe_trainer_push(trainer, all.data + start, end - start));
        ASSERT_OK(tlm_set_num_threads(counts[COUNT(counts) - 1 - i]));
        check_batch(tokenizer, texts, (tlm_encode_options_t)TLM_ENCODE_OPTIONS_INIT);
        if (i % 2 == 1)
            ASSERT_OK(tlm_bpe_trainer_add_text(trainer, all.data, all.size));
    }
    ASSERT_OK(tlm_encoder_finish(encoder));
    ASSERT_OK(tlm_tokenizer_count(&count, tokenizer, all.data, all.size));
    ck_assert_uint_eq(streamed, count);
    ASSERT_OK(tlm_bpe_trainer_train(&trained, trainer));
    write_text(test_path("text"), all);
    ASSERT_OK(tlm_tokenizer_encode_file(&tokens, tokenizer, test_path("text"), test_path("ids.u16"),
                                        TLM_TOKENS_AUTO, change_threads, &changing));
    ck_assert_uint_eq(tokens, count);
    ASSERT_OK(tlm_set_num_threads(0));
    tlm_tokenizer_free(trained);
    tlm_bpe_trainer_free(trainer);
    tlm_encoder_free(encoder);
    free_text(all);
    free_texts(texts);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* ---- Memory ------------------------------------------------------------------------------------ */

START_TEST(idle_memory_is_bounded_and_trimmed)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(0, NULL);
    test_random_t random = {24, 0};
    tlm_bytes_t *texts = make_texts(&random), all = join(texts), run = repeated('a', 3000000);
    tlmi_encode_memory_t *taken[64];
    uint32_t *ids;
    size_t n;

    ck_assert_uint_eq(tlmi_memory_pool_size(tokenizer->memory), 0);
    ASSERT_OK(tlm_set_num_threads(4));
    ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, all.data, all.size));
    tlm_free(ids);
    ck_assert_uint_gt(tlmi_memory_pool_size(tokenizer->memory), 0);
    tlm_tokenizer_trim(tokenizer);
    ck_assert_uint_eq(tlmi_memory_pool_size(tokenizer->memory), 0);
    /* What a long pretoken took does not stay. */
    ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, run.data, run.size));
    tlm_free(ids);
    ck_assert_uint_le(tlmi_memory_pool_size(tokenizer->memory), 4 << 20);
    /* Nor what is more than may stay. */
    for (size_t i = 0; i < COUNT(taken); i++) {
        taken[i] = tlmi_memory_pool_take(tokenizer->memory, 0);
        ck_assert_ptr_nonnull(taken[i]);
        taken[i]->scratch.size = 0;
        tlmi_pretoken_cache_free(taken[i]->cache);
        taken[i]->cache = tlmi_pretoken_cache_create((size_t)48 << 20);
        taken[i]->cache->store = malloc(4);
        taken[i]->cache->store_capacity = (size_t)4 << 20; /* as if it had grown to 16 MiB */
    }
    for (size_t i = 0; i < COUNT(taken); i++)
        tlmi_memory_pool_give(tokenizer->memory, taken[i]);
    ck_assert_uint_le(tlmi_memory_pool_size(tokenizer->memory), TLMI_IDLE_BYTES);
    ck_assert_uint_gt(tlmi_memory_pool_size(tokenizer->memory), TLMI_IDLE_BYTES / 2);
    tlm_tokenizer_trim(tokenizer);
    ck_assert_uint_eq(tlmi_memory_pool_size(tokenizer->memory), 0);
    tlm_tokenizer_trim(NULL);
    ASSERT_OK(tlm_set_num_threads(0));
    free_text(run);
    free_text(all);
    free_texts(texts);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* The parts of a tree lie one behind the other, whatever the size of the pretoken: also where they pass
 * 2^31 and 2^32 elements. */
START_TEST(trees_are_laid_out_for_any_size)
{
    static const size_t sizes[] = {1,
                                   16,
                                   17,
                                   1000,
                                   (size_t)1 << 30,
                                   ((size_t)1 << 31) - 1,
                                   ((size_t)1 << 31) + 1,
                                   ((size_t)1 << 32) + 5,
                                   (size_t)1 << 40};
    tlmi_merge_tree_layout_t layout;

    for (size_t i = 0; i < COUNT(sizes); i++) {
        size_t n = sizes[i], at = 0;

        ck_assert(tlmi_merge_tree_lay_out(&layout, n));
        for (int level = 0; level < layout.levels; level++) {
            n = (n + TLMI_MERGE_TREE_FAN - 1) / TLMI_MERGE_TREE_FAN;
            ck_assert_uint_eq(layout.ranks[level], at);
            at += n * TLMI_MERGE_TREE_FAN * sizeof(uint32_t);
        }
        ck_assert_uint_eq(n, 1);
        ck_assert_uint_eq(layout.starts, at);
        ck_assert_uint_eq(layout.starts % sizeof(uint64_t), 0);
        ck_assert_uint_ge((layout.size - layout.starts) * 8, sizes[i] + 1);
    }
    ck_assert(!tlmi_merge_tree_lay_out(&layout, SIZE_MAX));
    ck_assert(!tlmi_merge_tree_lay_out(&layout, SIZE_MAX / 4));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("encode_driver");
    TCase *tcase = tcase_create("encode_driver");
    int failed;

    make_test_directory();
    tcase_set_timeout(tcase, 600);
    tcase_add_test(tcase, batches_have_the_ids_of_their_texts);
    tcase_add_test(tcase, options_change_no_id_by_threads);
    tcase_add_test(tcase, disallowed_tokens_are_found_in_every_piece);
    tcase_add_test(tcase, thread_counts_may_change_at_any_time);
    tcase_add_test(tcase, idle_memory_is_bounded_and_trimmed);
    tcase_add_test(tcase, trees_are_laid_out_for_any_size);
    suite_add_tcase(suite, tcase);
    failed = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return failed;
}
