/* BPE training over ranks gives the tokenizer of a single one; a failure on one rank fails on all. The
 * ranks are threads. */
#include <pthread.h>

#include "base/error.h"
#include "run_suite.h"
#include "tokenizer/bpe/bpe_train.h"
#include "tokenizer_support.h"

enum { MOST_RANKS = 5, MOST_TEXTS = 4 };

/* A run, as all ranks are given it. */
typedef struct run {
    tlm_bytes_t texts[MOST_TEXTS];
    size_t n;
    tlm_bpe_trainer_options_t options;
    size_t piece;
    bool pushed;                /* text i is pushed, by rank i modulo their number */
    const char *path;           /* a file to add first, except on rank 1; or NULL */
    int32_t cancelling, larger; /* ranks that cancel, and that want a token more; or -1 */
    size_t cut;                 /* rank 1 has the first text without its last `cut` bytes */
} run_t;

typedef struct rank {
    const run_t *run;
    tlm_communicator_t *communicator;
    tlm_status_t status;
    char message[512];
    tlm_tokenizer_t *tokenizer;
    uint64_t stats[4];
} rank_t;

static int32_t cancel(void *user, int32_t phase, uint64_t done, uint64_t total)
{
    (void)user, (void)done, (void)total;
    return phase == TLM_BPE_PHASE_LEARNING;
}

static tlm_status_t add_texts(tlm_bpe_trainer_t *trainer, const run_t *run, int32_t rank,
                              int32_t num_ranks)
{
    if (run->path != NULL)
        TLMI_TRY(tlm_bpe_trainer_add_file(trainer, rank == 1 ? "/does/not/exist" : run->path));
    for (size_t i = 0; i < run->n; i++) {
        tlm_bytes_t text = run->texts[i];

        if (!run->pushed)
            TLMI_TRY(tlm_bpe_trainer_add_text(trainer, text.data,
                                              text.size - (rank == 1 ? run->cut : 0)));
        else if ((int32_t)i % num_ranks == rank)
            TLMI_TRY(tlm_bpe_trainer_push(trainer, text.data, text.size));
        if (run->pushed)
            TLMI_TRY(tlm_bpe_trainer_end_text(trainer));
    }
    return TLM_OK;
}

static tlm_status_t train(rank_t *rank)
{
    tlm_bpe_trainer_options_t options = rank->run->options;
    int32_t number = tlm_communicator_rank(rank->communicator);
    tlm_bpe_trainer_t *trainer;

    options.communicator = rank->communicator;
    if (rank->communicator != NULL && number == rank->run->cancelling)
        options.progress = cancel;
    if (rank->communicator != NULL && number == rank->run->larger)
        options.vocab_size++;
    TLMI_TRY(tlm_bpe_trainer_create(&trainer, &options));
    tlmi_bpe_trainer_set_piece_size(trainer, rank->run->piece);
    tlm_status_t status =
        add_texts(trainer, rank->run, number, tlm_communicator_num_ranks(rank->communicator));
    if (status == TLM_OK)
        status = tlm_bpe_trainer_train(&rank->tokenizer, trainer);
    if (status == TLM_OK)
        status = tlm_bpe_trainer_stats(&rank->stats[0], &rank->stats[1], trainer);
    if (status == TLM_OK)
        status = tlm_bpe_trainer_dropped(&rank->stats[2], &rank->stats[3], trainer);
    tlm_bpe_trainer_free(trainer);
    return status;
}

static void *run_rank(void *argument)
{
    rank_t *rank = argument;

    rank->status = train(rank);
    snprintf(rank->message, sizeof(rank->message), "%s", tlm_error_message());
    tlm_communicator_free(rank->communicator);
    return NULL;
}

static void run_ranks(rank_t *ranks, int32_t n, const run_t *run)
{
    tlm_communicator_t *communicators[MOST_RANKS];
    pthread_t threads[MOST_RANKS];

    ASSERT_OK(tlm_communicator_create_local(communicators, n));
    for (int32_t i = 0; i < n; i++) {
        ranks[i] = (rank_t){.run = run, .communicator = communicators[i]};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_rank, &ranks[i]), 0);
    }
    for (int32_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

static run_t random_run(test_random_t *random)
{
    run_t run = {.n = 1 + draw(random, MOST_TEXTS), .cancelling = -1, .larger = -1};

    for (size_t i = 0; i < run.n; i++)
        run.texts[i] = random_text(random, draw(random, 3) * draw(random, 2000));
    run.piece = (size_t[]){1, 20, 300, 1 << 20}[draw(random, 4)];
    run.options = (tlm_bpe_trainer_options_t)TLM_BPE_TRAINER_OPTIONS_INIT;
    run.options.special_tokens = special_pieces;
    run.options.num_special_tokens = draw(random, COUNT(special_pieces) + 1);
    run.options.vocab_size = (uint32_t)(256 + run.options.num_special_tokens + draw(random, 80));
    run.options.max_distinct_pretokens = draw(random, 2) * (1 + draw(random, 40));
    run.options.pattern = draw(random, 3) == 0 ? "[a-z]+|[^a-z]" : NULL;
    return run;
}

START_TEST(ranks_train_the_tokenizer_of_one)
{
    test_random_t random = {(uint64_t)_i, 0};

    ASSERT_OK(tlm_set_num_threads(1 + _i % 2));
    for (int round = 0; round < 20; round++) {
        run_t run = random_run(&random);
        rank_t alone = {.run = &run}, ranks[MOST_RANKS];
        int32_t n = 1 + (int32_t)draw(&random, MOST_RANKS);

        alone.status = train(&alone);
        ck_assert_int_eq(alone.status, TLM_OK);
        run.pushed = draw(&random, 3) == 0;
        run_ranks(ranks, n, &run);
        for (int32_t r = 0; r < n; r++) {
            ck_assert_msg(ranks[r].status == TLM_OK, "%s", ranks[r].message);
            assert_same_tokenizer(ranks[r].tokenizer, alone.tokenizer);
            ck_assert_mem_eq(ranks[r].stats, alone.stats, sizeof(alone.stats));
            tlm_tokenizer_free(ranks[r].tokenizer);
        }
        tlm_tokenizer_free(alone.tokenizer);
        for (size_t i = 0; i < run.n; i++)
            free_text(run.texts[i]);
    }
    ASSERT_OK(tlm_set_num_threads(0));
}
END_TEST

/* All three ranks fail with this status; the others are told of rank 1's message. */
static void assert_all_fail(const run_t *run, tlm_status_t status, const char *words, bool names)
{
    rank_t ranks[3];

    run_ranks(ranks, 3, run);
    for (int32_t r = 0; r < 3; r++) {
        ck_assert_int_eq(ranks[r].status, status);
        ck_assert_msg(strstr(ranks[r].message, words) != NULL, "%s", ranks[r].message);
        ck_assert_msg(!names || r == 1 || strstr(ranks[r].message, "rank 1") != NULL, "%s",
                      ranks[r].message);
    }
}

START_TEST(a_failure_on_one_rank_fails_on_all)
{
    run_t good = {.texts = {BYTES("some words and some more words and some more")},
                  .n = 1,
                  .options = TLM_BPE_TRAINER_OPTIONS_INIT,
                  .piece = 8,
                  .cancelling = -1,
                  .larger = -1};
    run_t run;

    good.options.vocab_size = 270;
    run = good, run.path = "/proc/self/exe";
    assert_all_fail(&run, TLM_ERR_NOT_FOUND, "/does/not/exist", true);
    run = good, run.cancelling = 1;
    assert_all_fail(&run, TLM_ERR_CANCELLED, "cancelled after 0 of", true);
    run = good, run.larger = 1;
    assert_all_fail(&run, TLM_ERR_INVALID_ARGUMENT, "vocab_size is 270 on rank 0 and 271 on rank 1",
                    false);
    run = good, run.cut = 3;
    assert_all_fail(&run, TLM_ERR_INVALID_ARGUMENT, "the size of the text is 44 on rank 0 and 41",
                    false);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bpe_ranks");
    TCase *tcase = tcase_create("bpe_ranks");

    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, ranks_train_the_tokenizer_of_one, 0, 8);
    tcase_add_test(tcase, a_failure_on_one_rank_fails_on_all);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
