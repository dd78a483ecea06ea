/* Texts encoded by several ranks, here threads of this process, to one token file: the bytes that one rank
 * writes, however the texts are cut, and an error of one rank is an error of all. */
#include "run_suite.h"

#include <pthread.h>
#include <sys/stat.h>

#include "data/data_core.h"
#include "tokenizer_support.h"

enum { MOST_RANKS = 5, MOST_TEXTS = 6, BLOCK = 700 };

/* What the ranks of a call have in common, and what one of them does otherwise. */
typedef struct plan {
    int32_t ranks; /* 0: without a communicator */
    const tlm_tokenizer_t *tokenizer;
    const char *texts[MOST_TEXTS];
    size_t num_texts;
    const char *output;
    int32_t token_type;
    uint64_t block_size;
    int32_t odd_rank; /* has another text, output, tokenizer or callback if one is given */
    const char *odd_text, *odd_output;
    const tlm_tokenizer_t *odd_tokenizer;
    tlm_progress_callback_t odd_progress;
} plan_t;

typedef struct rank {
    const plan_t *plan;
    tlm_communicator_t *communicator;
    tlm_status_t status;
    char message[512];
    uint64_t num_tokens;
    uint64_t done, total; /* of the latest call of its progress */
    bool went_back;
} rank_t;

static int32_t note_progress(void *user, uint64_t done, uint64_t total)
{
    rank_t *rank = user;

    rank->went_back |= done < rank->done;
    rank->done = done;
    rank->total = total;
    return 0;
}

static int32_t cancel(void *user, uint64_t done, uint64_t total)
{
    (void)user, (void)done, (void)total;
    return 1;
}

static void *run_rank(void *argument)
{
    tlm_encode_files_options_t options = TLM_ENCODE_FILES_OPTIONS_INIT;
    rank_t *rank = argument;
    const plan_t *plan = rank->plan;
    const bool is_odd = tlm_communicator_rank(rank->communicator) == plan->odd_rank;
    const char *texts[MOST_TEXTS];

    memcpy(texts, plan->texts, sizeof(texts));
    if (is_odd && plan->odd_text != NULL)
        texts[plan->num_texts - 1] = plan->odd_text;
    options.communicator = rank->communicator;
    options.token_type = plan->token_type;
    options.progress = is_odd && plan->odd_progress != NULL ? plan->odd_progress : note_progress;
    options.user = rank;
    rank->num_tokens = 77;
    rank->status = tlmi_encode_files(
        &rank->num_tokens,
        is_odd && plan->odd_tokenizer != NULL ? plan->odd_tokenizer : plan->tokenizer, texts,
        plan->num_texts, is_odd && plan->odd_output != NULL ? plan->odd_output : plan->output,
        &options, plan->block_size);
    snprintf(rank->message, sizeof(rank->message), "%s", tlm_error_message());
    tlm_communicator_free(rank->communicator);
    return NULL;
}

static void run(rank_t *ranks, const plan_t *plan)
{
    tlm_communicator_t *communicators[MOST_RANKS] = {NULL};
    const int32_t n = plan->ranks == 0 ? 1 : plan->ranks;
    pthread_t threads[MOST_RANKS];

    if (plan->ranks > 0)
        ASSERT_OK(tlm_communicator_create_local(communicators, n));
    for (int32_t i = 0; i < n; i++) {
        ranks[i] = (rank_t){.plan = plan, .communicator = communicators[i]};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_rank, &ranks[i]), 0);
    }
    for (int32_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

/* The ids of all texts, one after another, by the call for texts in memory. */
static void write_expected(const char *path, const plan_t *plan)
{
    int32_t type = strstr(path, ".npy") != NULL ? TLM_TOKENS_UINT16 : TLM_TOKENS_AUTO;
    tlm_token_writer_t *writer;

    ASSERT_OK(
        tlm_token_writer_create(&writer, path, plan->token_type != 0 ? plan->token_type : type));
    for (size_t i = 0; i < plan->num_texts; i++) {
        size_t size, n;
        uint8_t *text = read_bytes(plan->texts[i], &size);
        uint32_t *ids;

        ASSERT_OK(tlm_tokenizer_encode(&ids, &n, plan->tokenizer, text, size));
        ASSERT_OK(tlm_token_writer_push(writer, ids, n));
        tlm_free(ids);
        free(text);
    }
    ASSERT_OK(tlm_token_writer_finish(writer));
    tlm_token_writer_free(writer);
}

/* On 0 to MOST_RANKS ranks, in blocks of several sizes. */
static void check_equal(plan_t *plan, const char *extension, uint64_t smallest)
{
    char expected[300], output[300];
    rank_t ranks[MOST_RANKS];

    snprintf(expected, sizeof(expected), "%s/expected%s", test_directory, extension);
    snprintf(output, sizeof(output), "%s/output%s", test_directory, extension);
    plan->output = output;
    write_expected(expected, plan);
    for (plan->ranks = 0; plan->ranks <= MOST_RANKS; plan->ranks++)
        for (plan->block_size = smallest; plan->block_size < 5000; plan->block_size *= 9) {
            run(ranks, plan);
            for (int32_t i = 0; i < plan->ranks; i++) {
                ck_assert_msg(ranks[i].status == TLM_OK, "%s", ranks[i].message);
                ck_assert_uint_eq(ranks[i].num_tokens, ranks[0].num_tokens);
                ck_assert(!ranks[i].went_back && ranks[i].done == ranks[i].total);
            }
            assert_same_files(expected, output);
        }
}

static void free_texts(plan_t *plan)
{
    for (size_t i = 0; i < plan->num_texts; i++)
        free((char *)(uintptr_t)plan->texts[i]);
}

static void add_text(plan_t *plan, const void *bytes, size_t size)
{
    char name[32];

    snprintf(name, sizeof(name), "text-%zu", plan->num_texts);
    write_bytes(test_path(name), bytes, size);
    plan->texts[plan->num_texts++] = strdup(test_path(name));
}

/* ---- The same bytes --------------------------------------------------------------------- */

/* Texts of pieces of special tokens, fragments of characters and any bytes; with patterns that have a name and
 * one that has none, so that no place to cut is known. */
START_TEST(any_number_of_ranks_writes_the_same_bytes)
{
    static const char *const patterns[] = {NULL, TLM_PATTERN_CL100K, TLM_PATTERN_O200K,
                                           "[a-z]+|[^a-z]"};
    static const char *const extensions[] = {".npy", ".u16", ".u32"};
    test_random_t random = {(uint64_t)_i, 0};
    tlm_tokenizer_t *tokenizer =
        trained_tokenizer(draw(&random, COUNT(special_pieces) + 1), patterns[_i % COUNT(patterns)]);
    plan_t plan = {.tokenizer = tokenizer, .odd_rank = -1};

    for (size_t n = 1 + draw(&random, MOST_TEXTS); n > 0; n--) {
        tlm_bytes_t text = random_text(&random, draw(&random, 3) * draw(&random, 1500));

        add_text(&plan, text.data, text.size);
        free_text(text);
    }
    check_equal(&plan, extensions[_i % COUNT(extensions)], 17);
    free_texts(&plan);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

START_TEST(empty_and_short_texts)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(1, NULL);
    plan_t plan = {.tokenizer = tokenizer, .odd_rank = -1};

    add_text(&plan, "", 0);
    check_equal(&plan, ".npy", 1);
    add_text(&plan, "a", 1);
    add_text(&plan, "", 0);
    check_equal(&plan, ".u16", 1);
    add_text(&plan, "<|end|>\xFF", 8);
    check_equal(&plan, ".u32", 1);
    free_texts(&plan);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* A special token longer than a block, and text without a place to cut between others. */
START_TEST(long_tokens_and_long_pretokens)
{
    static const tlm_bytes_t special = {(const uint8_t *)"<| a b c d e f g h i j k l m n |>", 33};
    tlm_tokenizer_options_t options = with_specials(&special, 1);
    parts_t parts = byte_parts();
    tlm_tokenizer_t *tokenizer;
    plan_t plan = {.odd_rank = -1};
    char text[3000];
    size_t size = 0;

    ASSERT_OK(create(&tokenizer, &parts, &options));
    plan.tokenizer = tokenizer;
    for (int i = 0; i < 20; i++)
        size += (size_t)snprintf(text + size, sizeof(text) - size, "a b%.*s", i,
                                 (const char *)special.data) +
                (size_t)snprintf(text + size, 40, "%s", (const char *)special.data);
    memset(text + 1000, 'x', 900);
    add_text(&plan, text, 2000);
    check_equal(&plan, ".u16", 17);
    free_texts(&plan);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* ---- Failures --------------------------------------------------------------------------- */

/* All ranks fail with `code`; the others than `failing` name it. What was there is still there, alone. */
static void check_failure(const plan_t *plan, tlm_status_t code, int32_t failing, const char *text)
{
    rank_t ranks[MOST_RANKS];
    char name[32];
    size_t size;

    write_string(plan->output, "before");
    const int files = count_files();
    run(ranks, plan);
    snprintf(name, sizeof(name), "rank %d: ", (int)failing);
    for (int32_t i = 0; i < plan->ranks; i++) {
        ck_assert_int_eq(ranks[i].status, code);
        ck_assert_msg(strstr(ranks[i].message, text) != NULL, "%s", ranks[i].message);
        ck_assert_msg(i == failing || failing < 0 || strstr(ranks[i].message, name) != NULL, "%s",
                      ranks[i].message);
        ck_assert_uint_eq(ranks[i].num_tokens, 77);
    }
    char *kept = (char *)read_bytes(plan->output, &size);
    ck_assert(size == 6 && memcmp(kept, "before", 6) == 0);
    free(kept);
    ck_assert_int_eq(count_files(), files);
}

START_TEST(a_rank_that_fails_fails_all)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(1, NULL), *other = trained_tokenizer(0, NULL);
    char output[300], text[8000];
    plan_t plan = {.ranks = 3, .tokenizer = tokenizer, .block_size = BLOCK, .output = output};

    snprintf(output, sizeof(output), "%s/output.u16", test_directory);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = "ab cd"[i * i % 5];
    add_text(&plan, text, sizeof(text));
    add_text(&plan, text, sizeof(text));
    for (plan.odd_rank = 0; plan.odd_rank < plan.ranks; plan.odd_rank++) {
        const int32_t odd = plan.odd_rank;

        plan.odd_text = "/nonexistent/text";
        check_failure(&plan, TLM_ERR_NOT_FOUND, odd, "/nonexistent/text");
        plan.odd_text = test_directory;
        check_failure(&plan, TLM_ERR_IO, odd, "not a regular file but a directory");
        write_bytes(test_path("shorter"), text, 7000);
        plan.odd_text = test_path("shorter");
        check_failure(&plan, TLM_ERR_INVALID_ARGUMENT, -1, "the number of bytes of all texts is");
        plan.odd_text = NULL;
        plan.odd_output = "/nonexistent/output.u16";
        check_failure(&plan, TLM_ERR_NOT_FOUND, odd, "/nonexistent");
        plan.odd_output = NULL;
        plan.odd_tokenizer = other;
        check_failure(&plan, TLM_ERR_INVALID_ARGUMENT, -1, "the checksum of the tokenizer is");
        plan.odd_tokenizer = NULL;
        plan.odd_progress = cancel;
        check_failure(&plan, TLM_ERR_CANCELLED, odd, "cancelled by its callback at byte ");
        plan.odd_progress = NULL;
    }
    free_texts(&plan);
    tlm_tokenizer_free(tokenizer);
    tlm_tokenizer_free(other);
}
END_TEST

/* The only id above 65535 is that of a token near the end, in the last rank's block or another's. */
START_TEST(ids_that_do_not_fit_are_named_with_their_position)
{
    static const tlm_bytes_t special = {(const uint8_t *)"<|end|>", 7};
    tlm_tokenizer_options_t options = with_specials(&special, 1);
    tlm_bytes_t *vocab = calloc(70000, sizeof(*vocab));
    uint8_t(*bytes)[3] = calloc(70000, sizeof(*bytes));
    tlm_tokenizer_t *tokenizer;
    char output[300], text[4000];
    plan_t plan = {.ranks = 4, .block_size = BLOCK, .output = output, .odd_rank = -1};

    for (uint32_t i = 0; i < 70000; i++) {
        bytes[i][0] = (uint8_t)i;
        bytes[i][1] = (uint8_t)(i >> 8);
        bytes[i][2] = (uint8_t)(i >> 16);
        vocab[i] = (tlm_bytes_t){bytes[i], i < 256 ? 1 : 3};
    }
    ASSERT_OK(tlm_tokenizer_create(&tokenizer, vocab, 70000, NULL, 0, &options));
    plan.tokenizer = tokenizer;
    snprintf(output, sizeof(output), "%s/output.u16", test_directory);
    memset(text, ' ', sizeof(text));
    memcpy(text + 500 * _i, "<|end|>", 7);
    add_text(&plan, text, sizeof(text));
    char message[100];
    snprintf(message, sizeof(message), "id 70000 at position %d does not fit uint16",
             500 * (int)_i);
    check_failure(&plan, TLM_ERR_RANGE, -1, message);
    plan.token_type = TLM_TOKENS_UINT32;
    check_equal(&plan, ".npy", 17);
    free_texts(&plan);
    tlm_tokenizer_free(tokenizer);
    free(vocab);
    free(bytes);
}
END_TEST

START_TEST(arguments_are_checked)
{
    tlm_encode_files_options_t options = TLM_ENCODE_FILES_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer = trained_tokenizer(1, NULL);
    char text[300];
    const char *paths[] = {text, NULL};
    uint64_t n = 5;

    snprintf(text, sizeof(text), "%s/some", test_directory);
    write_string(text, "some text");
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "tokenizer is NULL",
                 tlm_tokenizer_encode_files(&n, NULL, paths, 1, test_path("t.u16"), NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "text_paths is NULL",
                 tlm_tokenizer_encode_files(&n, tokenizer, NULL, 1, test_path("t.u16"), NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "text_paths[1] of 2 is NULL",
                 tlm_tokenizer_encode_files(&n, tokenizer, paths, 2, test_path("t.u16"), NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "num_texts is 0",
                 tlm_tokenizer_encode_files(&n, tokenizer, paths, 0, test_path("t.u16"), NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "tokens_path is NULL",
                 tlm_tokenizer_encode_files(&n, tokenizer, paths, 1, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "set token_type",
                 tlm_tokenizer_encode_files(&n, tokenizer, paths, 1, test_path("t"), NULL));
    options.token_type = 3;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "token_type",
                 tlm_tokenizer_encode_files(&n, tokenizer, paths, 1, test_path("t.u16"), &options));
    options.reserved = 1;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "reserved",
                 tlm_tokenizer_encode_files(&n, tokenizer, paths, 1, test_path("t.u16"), &options));
    ck_assert_uint_eq(n, 5);
    ASSERT_OK(tlm_tokenizer_encode_files(NULL, tokenizer, paths, 1, test_path("t.u16"), NULL));
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* What a killed process left beside the output is removed; the mode of a file that is replaced stays. */
START_TEST(leftovers_are_removed)
{
    tlm_tokenizer_t *tokenizer = trained_tokenizer(1, NULL);
    const char *path = strdup(test_path("kept.u16"));
    plan_t plan = {
        .ranks = 2, .tokenizer = tokenizer, .block_size = BLOCK, .output = path, .odd_rank = -1};
    rank_t ranks[MOST_RANKS];
    struct stat info;

    add_text(&plan, "some text", 9);
    write_string(test_path("kept.u16.tmp-1-2"), "half");
    write_string(test_path("kept.u16.gz.tmp-1-2"), "of another file");
    write_string(path, "before");
    ck_assert_int_eq(chmod(path, 0640), 0);
    run(ranks, &plan);
    ck_assert_msg(ranks[1].status == TLM_OK, "%s", ranks[1].message);
    ck_assert_int_ne(access(test_path("kept.u16.tmp-1-2"), F_OK), 0);
    ck_assert_int_eq(access(test_path("kept.u16.gz.tmp-1-2"), F_OK), 0);
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_int_eq(info.st_mode & 0777, 0640);
    free_texts(&plan);
    free((char *)(uintptr_t)path);
    tlm_tokenizer_free(tokenizer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("encode_files");
    TCase *tcase = tcase_create("encode_files");

    make_test_directory();
    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, any_number_of_ranks_writes_the_same_bytes, 0, 12);
    tcase_add_test(tcase, empty_and_short_texts);
    tcase_add_test(tcase, long_tokens_and_long_pretokens);
    tcase_add_test(tcase, a_rank_that_fails_fails_all);
    tcase_add_loop_test(tcase, ids_that_do_not_fit_are_named_with_their_position, 0, 7);
    tcase_add_test(tcase, arguments_are_checked);
    tcase_add_test(tcase, leftovers_are_removed);
    suite_add_tcase(suite, tcase);
    int failed = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return failed;
}
