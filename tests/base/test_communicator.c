/* Communicators over threads: every operation, engines that fail, ranks that leave. */
#include "base_support.h"

#include <pthread.h>

#include "communicator_support.h"
#include "tinylm/communicator.h"

enum { MOST_RANKS = 8 };

typedef struct rank {
    tlm_communicator_t *communicator;
    void (*run)(struct rank *rank);
    char problem[256];
    tlm_status_t status;
} rank_t;

static void *run_rank(void *argument)
{
    rank_t *rank = argument;

    rank->run(rank);
    tlm_communicator_free(rank->communicator);
    return NULL;
}

/* Runs `run` on n ranks, and fails for the first that has a problem. */
static void run_ranks(rank_t *ranks, int32_t n, void (*run)(rank_t *rank))
{
    tlm_communicator_t *communicators[MOST_RANKS];
    pthread_t threads[MOST_RANKS];

    ck_assert_int_eq(tlm_communicator_create_local(communicators, n), TLM_OK);
    for (int32_t i = 0; i < n; i++) {
        ranks[i] = (rank_t){.communicator = communicators[i], .run = run};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_rank, &ranks[i]), 0);
    }
    for (int32_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    for (int32_t i = 0; i < n; i++)
        ck_assert_msg(ranks[i].problem[0] == '\0', "%s", ranks[i].problem);
}

static void check_all(rank_t *rank)
{
    check_communicator(rank->problem, sizeof(rank->problem), rank->communicator);
}

START_TEST(every_operation_on_any_number_of_ranks)
{
    rank_t ranks[MOST_RANKS];

    run_ranks(ranks, _i, check_all);
}
END_TEST

/* ---- Failures --------------------------------------------------------------------------- */

/* Rank 1 leaves; the others wait for it, twice. */
static void wait_for_rank_1(rank_t *rank)
{
    char byte = 0;
    tlm_communicator_t *c = rank->communicator;

    if (tlm_communicator_rank(c) == 1)
        return;
    rank->status = tlm_communicator_exchange(&byte, 1, 1, c, &byte, 1, 1);
    if (strstr(tlm_error_message(), "rank 1 has left") == NULL)
        snprintf(rank->problem, sizeof(rank->problem), "%s", tlm_error_message());
    if (tlm_communicator_barrier(c) != TLM_ERR_STATE ||
        strstr(tlm_error_message(), "failed before") == NULL)
        snprintf(rank->problem, sizeof(rank->problem), "again: %s", tlm_error_message());
}

START_TEST(a_rank_that_has_left_is_named)
{
    rank_t ranks[3];

    run_ranks(ranks, 3, wait_for_rank_1);
    ck_assert_int_eq(ranks[0].status, TLM_ERR_STATE);
    ck_assert_int_eq(ranks[2].status, TLM_ERR_STATE);
}
END_TEST

static void disagree_on_sizes(rank_t *rank)
{
    char bytes[2] = {0};
    tlm_communicator_t *c = rank->communicator;
    bool is_first = tlm_communicator_rank(c) == 0;

    rank->status = is_first ? tlm_communicator_exchange(NULL, 0, TLM_NO_RANK, c, bytes, 2, 1)
                            : tlm_communicator_exchange(bytes, 1, 0, c, NULL, 0, TLM_NO_RANK);
    if (!is_first && strstr(tlm_error_message(), "sent 2 bytes, but 1 are expected") == NULL)
        snprintf(rank->problem, sizeof(rank->problem), "%s", tlm_error_message());
}

START_TEST(other_sizes_are_an_error_on_both_sides)
{
    rank_t ranks[2];

    run_ranks(ranks, 2, disagree_on_sizes);
    ck_assert_int_eq(ranks[0].status, TLM_ERR_STATE);
    ck_assert_int_eq(ranks[1].status, TLM_ERR_STATE);
}
END_TEST

static tlm_status_t failing_exchange(void *user, void *receive, size_t receive_bytes, int32_t from,
                                     const void *send, size_t send_bytes, int32_t to)
{
    const tlm_status_t status = *(const tlm_status_t *)user;

    return status == TLM_ERR_IO ? tlm_set_error(status, "the cable\nis cut") : status;
}

START_TEST(an_engine_that_fails_says_why_and_is_not_asked_again)
{
    static const struct {
        tlm_status_t status, expected;
        const char *text;
    } cases[] = {{TLM_ERR_IO, TLM_ERR_IO, "communicator_barrier: rank 0 of 2: the cable?is cut"},
                 {TLM_ERR_RANGE, TLM_ERR_RANGE, "rank 0 of 2: value out of range"},
                 {12345, TLM_ERR_IO, "rank 0 of 2: input/output error"}};
    tlm_status_t status = cases[_i].status;
    tlm_communicator_options_t options = TLM_COMMUNICATOR_OPTIONS_INIT;
    tlm_communicator_t *c;

    options.num_ranks = 2;
    options.user = &status;
    options.exchange = failing_exchange;
    ck_assert_int_eq(tlm_communicator_create(&c, &options), TLM_OK);
    ck_assert_int_eq(tlm_communicator_barrier(c), cases[_i].expected);
    ck_assert_msg(strstr(tlm_error_message(), cases[_i].text) != NULL, "%s", tlm_error_message());
    ck_assert_int_eq(tlm_communicator_agree(c, TLM_OK), TLM_ERR_STATE);
    ck_assert_int_eq(tlm_communicator_agree(c, TLM_ERR_FORMAT), TLM_ERR_FORMAT);
    tlm_communicator_free(c);
}
END_TEST

START_TEST(options_out_of_range_are_refused)
{
    tlm_communicator_options_t options = TLM_COMMUNICATOR_OPTIONS_INIT;
    tlm_communicator_t *c = NULL;

    ck_assert_int_eq(tlm_communicator_create(&c, &options), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tlm_error_message(), "num_ranks 0"));
    options.num_ranks = 2;
    ck_assert_int_eq(tlm_communicator_create(&c, &options), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tlm_error_message(), "exchange"));
    options.rank = 2;
    ck_assert_int_eq(tlm_communicator_create(&c, &options), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tlm_error_message(), "rank 2 is not in 0 .. 1"));
    options.rank = 0;
    options.num_ranks = 1;
    ck_assert_int_eq(tlm_communicator_create(&c, &options), TLM_OK);
    tlm_communicator_free(c);
    ck_assert_int_eq(tlm_communicator_create_local(&c, 0), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_int_eq(tlm_communicator_create_local(&c, 1025), TLM_ERR_INVALID_ARGUMENT);
    tlm_communicator_free(NULL);
    ck_assert_int_eq(tlm_communicator_rank(NULL), 0);
    ck_assert_int_eq(tlm_communicator_num_ranks(NULL), 1);
    ck_assert(tlm_communicator_seconds(NULL) == 0.0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("communicator");
    TCase *tests = tcase_create("communicator");

    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, every_operation_on_any_number_of_ranks, 1, MOST_RANKS + 1);
    tcase_add_test(tests, a_rank_that_has_left_is_named);
    tcase_add_test(tests, other_sizes_are_an_error_on_both_sides);
    tcase_add_loop_test(tests, an_engine_that_fails_says_why_and_is_not_asked_again, 0, 3);
    tcase_add_test(tests, options_out_of_range_are_refused);
    suite_add_tcase(suite, tests);
    return run_suite(suite, CK_NOFORK);
}
