/* What makes encoding fast changes no id: the cache of pretokens, pieces on several threads, counting
 * without ids, and ids straight into files. */
#include "tokenizer_support.h"
#include "run_suite.h"

#include "tokenizer/encode.h"

/* Random pieces again and again, so that there are several pieces of text for each thread. */
static tlm_bytes_t large_text(test_random_t *random, size_t size)
{
    uint8_t *bytes = malloc(size);

    for (size_t at = 0; at < size;) {
        tlm_bytes_t text = random_text(random, 1 + draw(random, 2000));
        size_t take = text.size < size - at ? text.size : size - at;

        memcpy(bytes + at, text.data, take);
        at += take;
        free_text(text);
    }
    return (tlm_bytes_t){bytes, size};
}

/* Words of 1 to 200 letters, hardly one twice. */
static tlm_bytes_t words(test_random_t *random, size_t size, size_t letters, size_t longest)
{
    uint8_t *bytes = malloc(size);

    for (size_t at = 0; at < size; at++)
        bytes[at] = (uint8_t)('a' + draw(random, letters));
    for (size_t at = 0; at < size; at += 1 + draw(random, longest))
        bytes[at] = ' ';
    return (tlm_bytes_t){bytes, size};
}

/* ---- The cache --------------------------------------------------------------------------------- */

/* With this memory, or without a cache; the ids are to be released. */
static tlmi_id_list_t encode_all(const tlm_tokenizer_t *tokenizer, tlm_bytes_t text,
                                 tlmi_encode_memory_t *memory)
{
    tlmi_id_list_t ids = {0};
    tlmi_encode_worker_t worker;
    tlmi_encode_plan_t plan;

    tlmi_encode_plan_init_default(&plan, "test", tokenizer);
    tlmi_encode_worker_init(&worker, &plan, memory, &ids);
    ASSERT_OK(tlmi_encode_worker_text(&worker, &text, 0, text.size, 0));
    tlmi_encode_worker_release(&worker);
    return ids;
}

/* A small cache fills up and takes places over; a large one grows. Twice, so that it is asked again. */
static void check_cache(const tlm_tokenizer_t *tokenizer, tlm_bytes_t text, size_t cache_size)
{
    tlmi_encode_memory_t memory = {.cache = tlmi_pretoken_cache_create(cache_size)};
    tlmi_id_list_t plain = encode_all(tokenizer, text, NULL);

    ck_assert_ptr_nonnull(memory.cache);
    for (int round = 0; round < 2; round++) {
        tlmi_id_list_t cached = encode_all(tokenizer, text, &memory);

        assert_same_ids(cached.ids, cached.n, plain.ids, plain.n);
        tlmi_id_list_release(&cached);
    }
    tlmi_id_list_release(&plain);
    tlmi_pretoken_cache_free(memory.cache);
    tlmi_scratch_release(&memory.scratch);
}

START_TEST(caches_change_no_id)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(COUNT(special_pieces), NULL);
    test_random_t random = {11, 0};
    tlm_bytes_t texts[] = {large_text(&random, 200000), words(&random, 300000, 26, 12),
                           words(&random, 300000, 2, 40), words(&random, 300000, 3, 200)};

    for (size_t i = 0; i < COUNT(texts); i++) {
        check_cache(tokenizer, texts[i], 0);
        check_cache(tokenizer, texts[i], 1 << 15);
        check_cache(tokenizer, texts[i], 1 << 22);
        free_text(texts[i]);
    }
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* A pretoken is never taken for another that begins alike, ends in NUL bytes or is longer. */
START_TEST(keys_tell_pretokens_apart)
{
    uint8_t zeros[64] = {0}, letters[64];

    memset(letters, 'a', sizeof(letters));
    for (size_t a = 1; a <= TLMI_PRETOKEN_KEY_BYTES; a++)
        for (size_t b = 1; b <= TLMI_PRETOKEN_KEY_BYTES; b++)
            for (int kind = 0; kind < 2; kind++) {
                tlmi_pretoken_key_t x = tlmi_pretoken_short_key(kind == 0 ? zeros : letters, a);
                tlmi_pretoken_key_t y = tlmi_pretoken_short_key(kind == 0 ? zeros : letters, b);

                ck_assert_int_eq(memcmp(&x, &y, sizeof(x)) == 0, a == b);
            }
    for (size_t size = TLMI_PRETOKEN_KEY_BYTES + 1; size < sizeof(letters); size++)
        ck_assert_uint_gt(tlmi_pretoken_long_key(letters, size).words[1] >> 56,
                          TLMI_PRETOKEN_KEY_BYTES);
}
END_TEST

/* ---- Threads ----------------------------------------------------------------------------------- */

typedef struct collected {
    uint32_t *ids;
    size_t n;
    size_t last_progress;
    int calls_left; /* of `take` until it fails; negative: for ever */
} collected_t;

static tlm_status_t take(void *context, const uint32_t *ids, size_t n)
{
    collected_t *all = context;

    if (all->calls_left-- == 0)
        return TLM_ERR_IO;
    all->ids = realloc(all->ids, (all->n + n) * sizeof(*ids));
    memcpy(all->ids + all->n, ids, n * sizeof(*ids));
    all->n += n;
    return TLM_OK;
}

static tlm_status_t progress(void *context, size_t done)
{
    collected_t *all = context;

    ck_assert_uint_gt(done, all->last_progress);
    all->last_progress = done;
    return TLM_OK;
}

static void check_threads(const tlm_tokenizer_t *tokenizer, tlm_bytes_t text)
{
    tlmi_id_list_t plain = encode_all(tokenizer, text, NULL);
    tlmi_encode_plan_t plan;

    tlmi_encode_plan_init_default(&plan, "test", tokenizer);
    for (int32_t threads = 1; threads <= 5; threads += 2) {
        collected_t all = {NULL, 0, 0, -1};
        tlmi_id_sink_t sink = {.take = take, .progress = progress, .context = &all};
        uint32_t *ids;
        uint64_t count;
        size_t n;

        ASSERT_OK(tlm_set_num_threads(threads));
        ASSERT_OK(tlmi_encode_texts(&plan, &text, 1, &sink));
        assert_same_ids(all.ids, all.n, plain.ids, plain.n);
        ck_assert_uint_eq(all.last_progress, text.size);
        free(all.ids);
        ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, text.data, text.size));
        assert_same_ids(ids, n, plain.ids, plain.n);
        tlm_free(ids);
        ASSERT_OK(tlm_tokenizer_count(&count, tokenizer, text.data, text.size));
        ck_assert_uint_eq(count, plain.n);
    }
    ASSERT_OK(tlm_set_num_threads(0));
    tlmi_id_list_release(&plain);
}

START_TEST(threads_change_no_id)
{
    tlm_tokenizer_t *tokenizer =
        trained_tokenizer((size_t)_i % 2 == 0 ? 0 : COUNT(special_pieces), NULL);
    test_random_t random = {12 + (uint64_t)_i, 0};
    size_t sizes[] = {1, 70000, 300000, 1500000};

    for (size_t i = 0; i < COUNT(sizes); i++) {
        tlm_bytes_t text = large_text(&random, sizes[i]);

        check_threads(tokenizer, text);
        free_text(text);
    }
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* Nowhere to cut, and a pattern that allows no cut but at special tokens. */
START_TEST(texts_without_cuts_are_one_piece)
{
    tlm_tokenizer_t *tokenizer =
        trained_tokenizer(COUNT(special_pieces), _i == 0 ? NULL : "\\w+|\\W");
    tlm_bytes_t texts[] = {repeated('a', 400000), repeated(' ', 400000), repeated('\xFF', 400000)};
    test_random_t random = {14, 0};
    tlm_bytes_t mixed = large_text(&random, 400000);

    for (size_t i = 0; i < COUNT(texts); i++) {
        check_threads(tokenizer, texts[i]);
        free_text(texts[i]);
    }
    check_threads(tokenizer, mixed);
    free_text(mixed);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(a_sink_that_fails_ends_the_call)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(0, NULL);
    test_random_t random = {15, 0};
    tlm_bytes_t text = large_text(&random, 2000000);
    tlmi_encode_plan_t plan;

    tlmi_encode_plan_init_default(&plan, "test", tokenizer);
    for (int calls = 0; calls < 25; calls += 6) {
        collected_t all = {NULL, 0, 0, calls};
        tlmi_id_sink_t sink = {.take = take, .context = &all};

        ck_assert_int_eq(tlmi_encode_texts(&plan, &text, 1, &sink), TLM_ERR_IO);
        free(all.ids);
    }
    free_text(text);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(counts_are_the_lengths)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(COUNT(special_pieces), NULL);
    test_random_t random = {16, 0};
    size_t none = 1;

    for (int i = 0; i < 300; i++) {
        tlm_bytes_t text = random_text(&random, draw(&random, 300));
        uint32_t *ids, some[128] = {0};
        size_t n, capacity = draw(&random, 127), all = 77;
        uint64_t count = 77;

        ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, text.data, text.size));
        ASSERT_OK(tlm_tokenizer_count(&count, tokenizer, text.data, text.size));
        ck_assert_uint_eq(count, n);
        some[capacity] = 4242;
        ASSERT_OK(tlm_tokenizer_encode_into(some, capacity, &all, tokenizer, text.data, text.size));
        ck_assert_uint_eq(all, n);
        for (size_t k = 0; k < capacity && k < n; k++)
            ck_assert_uint_eq(some[k], ids[k]);
        ck_assert_uint_eq(some[capacity], 4242);
        tlm_free(ids);
        free_text(text);
    }
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "n is NULL",
                 tlm_tokenizer_count(NULL, tokenizer, "", 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "ids is NULL",
                 tlm_tokenizer_encode_into(NULL, 1, &none, tokenizer, "", 0));
    ASSERT_OK(tlm_tokenizer_encode_into(NULL, 0, &none, tokenizer, "", 0));
    ck_assert_uint_eq(none, 0);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* ---- Files ------------------------------------------------------------------------------------- */

static int32_t report(void *user, uint64_t done, uint64_t total)
{
    uint64_t *reported = user;

    ck_assert_uint_le(done, total);
    reported[0] = done;
    return reported[1] != 0 && done >= reported[1];
}

static void write_file(const char *path, tlm_bytes_t text)
{
    FILE *file = fopen(path, "wb");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text.data, 1, text.size, file), text.size);
    fclose(file);
}

static void check_file(const tlm_tokenizer_t *tokenizer, tlm_bytes_t text, const char *name)
{
    uint64_t n = 77, reported[2] = {0, 0};
    tlm_dataset_t *dataset;
    uint32_t *ids, *stored;
    size_t length;

    write_file(test_path("text"), text);
    ASSERT_OK(tlm_tokenizer_encode_file(&n, tokenizer, test_path("text"), test_path(name),
                                        TLM_TOKENS_AUTO, report, reported));
    ck_assert_uint_eq(reported[0], text.size);
    ASSERT_OK(tlm_tokenizer_encode(&ids, &length, tokenizer, text.data, text.size));
    ck_assert_uint_eq(n, length);
    ASSERT_OK(tlm_dataset_open(&dataset, test_path(name), TLM_TOKENS_AUTO, 0));
    ck_assert_uint_eq(tlm_dataset_length(dataset), length);
    stored = malloc(length * sizeof(*stored) + 1);
    ASSERT_OK(tlm_dataset_read(stored, length, dataset, 0));
    assert_same_ids(stored, length, ids, length);
    tlm_dataset_free(dataset);
    free(stored);
    tlm_free(ids);
}

START_TEST(files_hold_the_ids)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(COUNT(special_pieces), NULL);
    const char *names[] = {"tokens.npy", "tokens.u16", "tokens.u32"};
    test_random_t random = {17, 0};
    size_t sizes[] = {1, 1000, 900000};

    for (size_t i = 0; i < COUNT(sizes) * COUNT(names); i++) {
        tlm_bytes_t text = large_text(&random, sizes[i / COUNT(names)]);

        check_file(tokenizer, text, names[i % COUNT(names)]);
        free_text(text);
    }
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(failures_leave_no_file)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(0, NULL);
    test_random_t random = {18, 0};
    tlm_bytes_t text = large_text(&random, 3000000);
    uint64_t n = 77, reported[2] = {0, 1};
    int before;

    write_file(test_path("text"), text);
    before = count_files();
    ASSERT_FAILS(TLM_ERR_CANCELLED, "cancelled",
                 tlm_tokenizer_encode_file(&n, tokenizer, test_path("text"), test_path("out.npy"),
                                           TLM_TOKENS_AUTO, report, reported));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "none",
                 tlm_tokenizer_encode_file(&n, tokenizer, test_path("none"), test_path("out.npy"),
                                           TLM_TOKENS_AUTO, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "type",
                 tlm_tokenizer_encode_file(&n, tokenizer, test_path("text"), test_path("out"),
                                           TLM_TOKENS_AUTO, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "tokenizer is NULL",
                 tlm_tokenizer_encode_file(&n, NULL, test_path("text"), test_path("out.npy"), 0,
                                           NULL, NULL));
    ASSERT_FAILS(
        TLM_ERR_INVALID_ARGUMENT, "text_path is NULL",
        tlm_tokenizer_encode_file(&n, tokenizer, NULL, test_path("out.npy"), 0, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "tokens_path is NULL",
                 tlm_tokenizer_encode_file(&n, tokenizer, test_path("text"), NULL, 0, NULL, NULL));
    ck_assert_uint_eq(n, 77);
    ck_assert_int_eq(count_files(), before);
    free_text(text);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("encode_speed");
    TCase *tcase = tcase_create("encode_speed");
    int failed;

    make_test_directory();
    tcase_set_timeout(tcase, 600);
    tcase_add_test(tcase, caches_change_no_id);
    tcase_add_test(tcase, keys_tell_pretokens_apart);
    tcase_add_loop_test(tcase, threads_change_no_id, 0, 2);
    tcase_add_loop_test(tcase, texts_without_cuts_are_one_piece, 0, 2);
    tcase_add_test(tcase, a_sink_that_fails_ends_the_call);
    tcase_add_test(tcase, counts_are_the_lengths);
    tcase_add_test(tcase, files_hold_the_ids);
    tcase_add_test(tcase, failures_leave_no_file);
    suite_add_tcase(suite, tcase);
    failed = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return failed;
}
