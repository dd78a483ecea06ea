/* Gradients that ranks exchange while backward runs: the same bits, from which thread, and what fails
 * meanwhile. */
#include "ranks_support.h"

static void assert_all_same(const result_t *alone, const result_t *shared, int32_t ranks)
{
    for (int32_t rank = 0; rank < ranks; rank++)
        assert_same(alone, &shared[rank]);
}

/* ---- The same bits ---------------------------------------------------------------------- */

START_TEST(several_chunks_give_the_same_bits)
{
    static const struct {
        kind_t kind;
        uint64_t accumulation;
        bool masked;
    } cases[] = {{ADAMW, 4, false}, {MUON, 4, false}, {MIXED, 4, false}, {ADAMW, 8, true}};
    result_t alone[MOST_RANKS], shared[MOST_RANKS];
    plan_t plan = usual(0, cases[_i].kind, cases[_i].accumulation);

    plan.large = true;
    plan.masked = cases[_i].masked;
    plan.steps = plan.until = 2;
    run(alone, &plan);
    plan.wraps = true;
    for (plan.ranks = 2; plan.ranks <= 4; plan.ranks *= 2) {
        for (int32_t any_thread = _i > 0; any_thread < 2; any_thread++) {
            plan.any_thread = any_thread != 0;
            plan.threads = (uint64_t)plan.ranks / 2;
            run(shared, &plan);
            assert_all_same(&alone[0], shared, plan.ranks);
            for (int32_t rank = 0; rank < plan.ranks && !plan.any_thread; rank++)
                ck_assert_int_eq(shared[rank].foreign, 0);
            if (plan.any_thread && !plan.masked)
                for (int32_t rank = 0; rank < plan.ranks; rank++)
                    ck_assert_int_gt(shared[rank].foreign, 0);
            release(shared);
        }
    }
    release(alone);
}
END_TEST

/* Without reproducible sums too, ranks of any number go on from the same parameters. */
START_TEST(the_engine_sums_several_chunks)
{
    result_t shared[MOST_RANKS];
    plan_t plan = usual(3, ADAMW, 4);

    plan.large = plan.wraps = plan.any_thread = plan.irreproducible = true;
    plan.steps = plan.until = 2;
    run(shared, &plan);
    for (int32_t rank = 0; rank < 3; rank++) {
        ck_assert_msg(shared[rank].status == TLM_OK, "%s", shared[rank].message);
        ck_assert_int_gt(shared[rank].foreign, 0);
        ck_assert_int_eq(memcmp(shared[rank].parameters, shared[0].parameters,
                                shared[0].num_parameters * sizeof(float)),
                         0);
    }
    release(shared);
}
END_TEST

/* ---- Failures --------------------------------------------------------------------------- */

/* All ranks fail in the same step with the same status; all but the odd one name it. */
static void assert_fails_together(const result_t *results, const plan_t *plan, uint64_t steps,
                                  tlm_status_t status, const char *text)
{
    char name[32];

    snprintf(name, sizeof(name), "rank %d: ", plan->odd_rank);
    for (int32_t rank = 0; rank < plan->ranks; rank++) {
        const char *message = results[rank].message;

        ck_assert_msg(results[rank].status == status, "rank %d: %d, %s", rank,
                      (int)results[rank].status, message);
        ck_assert_uint_eq(results[rank].steps, steps);
        ck_assert_msg(strstr(message, text) != NULL, "rank %d: %s", rank, message);
        if (rank != plan->odd_rank)
            ck_assert_msg(strstr(message, name) != NULL, "rank %d: %s", rank, message);
    }
}

static void spoil_at_step_3(tlm_trainer_t *trainer, tlm_model_t *model)
{
    tlm_tensor_t *const *tensors;
    size_t n;

    if (tlm_trainer_steps(trainer) != 2)
        return;
    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    ((float *)tlm_tensor_data(tensors[n - 1]))[3] = (float)NAN;
}

START_TEST(nan_on_one_rank_ends_all_at_the_same_step)
{
    result_t results[MOST_RANKS];
    plan_t plan = usual(4, ADAMW, 8);

    plan.large = _i == 4;
    plan.odd_rank = _i % 4;
    plan.before = spoil_at_step_3;
    run(results, &plan);
    assert_fails_together(results, &plan, 2, TLM_ERR_NON_FINITE, "trainer_step: step 3: ");
    release(results);
}
END_TEST

/* The gradients are finite, but their sums on one rank are not. */
START_TEST(a_sum_that_is_not_finite_ends_all_at_the_same_step)
{
    result_t results[MOST_RANKS];
    plan_t plan = usual(2 + 2 * (_i / 2), ADAMW, 8);

    plan.wraps = plan.any_thread = true;
    plan.large = _i % 2 == 1;
    plan.odd_rank = 1;
    plan.spoils_at = 1;
    run(results, &plan);
    assert_fails_together(results, &plan, 0, TLM_ERR_NON_FINITE, "the gradient of ");
    release(results);
}
END_TEST

/* Fails exchange after exchange of one rank. It says so, and no other rank waits for it forever or goes
 * on without it. */
START_TEST(an_engine_that_fails_ends_all)
{
    result_t results[MOST_RANKS];
    plan_t plan = usual(_i == 1 ? 4 : 2, ADAMW, 4);

    plan.steps = plan.until = 1;
    plan.large = _i == 2;
    plan.wraps = plan.any_thread = true;
    plan.odd_rank = 1;
    for (plan.fails_at = 1;; plan.fails_at += plan.large ? 7 : 1) {
        run(results, &plan);
        const bool is_through = results[1].status == TLM_OK;

        if (!is_through) {
            ck_assert_int_eq(results[1].status, TLM_ERR_IO);
            ck_assert_msg(strstr(results[1].message, "the cable is cut") != NULL, "%s",
                          results[1].message);
        }
        for (int32_t rank = 0; rank < plan.ranks && is_through; rank++)
            ck_assert_msg(results[rank].status == TLM_OK, "%s", results[rank].message);
        release(results);
        if (is_through)
            break;
    }
    ck_assert_int_gt(plan.fails_at, 10);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ranks_overlap");
    TCase *tests = tcase_create("ranks_overlap");

    tcase_set_timeout(tests, 600);
    tcase_add_loop_test(tests, several_chunks_give_the_same_bits, 0, is_emulated() ? 1 : 4);
    tcase_add_test(tests, the_engine_sums_several_chunks);
    tcase_add_loop_test(tests, nan_on_one_rank_ends_all_at_the_same_step, 0, is_emulated() ? 4 : 5);
    tcase_add_loop_test(tests, a_sum_that_is_not_finite_ends_all_at_the_same_step, 0, 4);
    tcase_add_loop_test(tests, an_engine_that_fails_ends_all, 0, is_emulated() ? 2 : 3);
    suite_add_tcase(suite, tests);
    make_test_directory();
    int status = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return status;
}
