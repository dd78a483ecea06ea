/* Training on several ranks, here threads of this process, against the trainer alone: the same bits. */
#include "ranks_support.h"

/* ---- The same bits ---------------------------------------------------------------------- */

START_TEST(any_number_of_ranks_gives_the_same_bits)
{
    static const struct {
        kind_t kind;
        uint64_t accumulation;
        int32_t ranks[4];
    } cases[] = {{ADAMW, 8, {1, 2, 4, 8}},    {ADAMW, 4, {1, 2, 4, 4}}, {ADAMW, 6, {1, 2, 2, 1}},
                 {SGD, 12, {1, 2, 4, 4}},     {MUON, 8, {1, 2, 4, 8}},  {MIXED, 8, {1, 2, 4, 8}},
                 {ADAMW, 1, {1, 1, 1, 1}},    {ADAMW, 7, {1, 1, 1, 1}}, {LION, 8, {1, 2, 4, 8}},
                 {ADAFACTOR, 4, {1, 2, 4, 4}}};
    result_t alone[MOST_RANKS], shared[MOST_RANKS];
    plan_t plan = usual(0, cases[_i].kind, cases[_i].accumulation);

    run(alone, &plan);
    for (size_t i = 0; i < 4; i++)
        for (int32_t prefetch = 0; prefetch < (is_emulated() ? 1 : 3); prefetch += 2) {
            plan = usual(cases[_i].ranks[i], cases[_i].kind, cases[_i].accumulation);
            plan.threads = 1 + i % 3;
            plan.prefetch = prefetch;
            run(shared, &plan);
            for (int32_t rank = 0; rank < plan.ranks; rank++)
                assert_same(&alone[0], &shared[rank]);
            release(shared);
        }
    release(alone);
}
END_TEST

START_TEST(fine_tuning_gives_the_same_bits)
{
    const kind_t kinds[] = {ADAMW, MUON};
    result_t alone[MOST_RANKS], shared[MOST_RANKS];
    plan_t plan = usual(0, kinds[_i], 8);

    plan.adapted = true;
    run(alone, &plan);
    for (plan.ranks = 2; plan.ranks <= MOST_RANKS; plan.ranks *= 2) {
        run(shared, &plan);
        for (int32_t rank = 0; rank < plan.ranks; rank++)
            assert_same(&alone[0], &shared[rank]);
        release(shared);
    }
    release(alone);
}
END_TEST

START_TEST(targets_that_do_not_count_give_the_same_bits)
{
    const kind_t kinds[] = {ADAMW, SGD, MUON, MIXED};
    result_t alone[MOST_RANKS], shared[MOST_RANKS];
    plan_t plan = usual(0, kinds[_i], 8);

    plan.masked = true;
    run(alone, &plan);
    for (plan.ranks = 2; plan.ranks <= MOST_RANKS; plan.ranks *= 2) {
        run(shared, &plan);
        for (int32_t rank = 0; rank < plan.ranks; rank++)
            assert_same(&alone[0], &shared[rank]);
        release(shared);
    }
    plan.ranks = 3;
    plan.irreproducible = true;
    run(shared, &plan);
    ck_assert_msg(shared[2].status == TLM_OK, "%s", shared[2].message);
    release(shared);
    release(alone);
}
END_TEST

START_TEST(a_batch_that_grows_gives_the_same_bits)
{
    const kind_t kinds[] = {ADAMW, MUON};
    result_t alone[MOST_RANKS], shared[MOST_RANKS];
    plan_t plan = usual(0, kinds[_i % 2], 4);

    plan.warms_up = true;
    plan.masked = _i >= 2;
    run(alone, &plan);
    for (plan.ranks = 1; plan.ranks <= 4; plan.ranks *= 2) {
        plan.threads = 1 + (uint64_t)plan.ranks % 2;
        plan.prefetch = plan.ranks % 4;
        run(shared, &plan);
        for (int32_t rank = 0; rank < plan.ranks; rank++)
            assert_same(&alone[0], &shared[rank]);
        release(shared);
    }
    release(alone);
}
END_TEST

/* Each rank has 1 / ranks of the values, except for what pieces and whole matrices round. */
START_TEST(the_states_are_divided)
{
    static const struct {
        kind_t kind;
        int32_t ranks;
        bool large;
        double most; /* times the fair share */
    } cases[] = {{ADAMW, 2, false, 1.2}, {ADAMW, 4, false, 1.6}, {ADAMW, 2, true, 1.02},
                 {ADAMW, 4, true, 1.04}, {ADAMW, 8, true, 1.1},  {MUON, 2, true, 1.2}};
    result_t alone[MOST_RANKS], shared[MOST_RANKS];
    plan_t plan = usual(0, cases[_i].kind, 8);
    size_t sum = 0;

    plan.large = cases[_i].large;
    plan.steps = plan.until = 1;
    run(alone, &plan);
    plan.ranks = cases[_i].ranks;
    run(shared, &plan);
    for (int32_t rank = 0; rank < plan.ranks; rank++) {
        const double fair = (double)alone[0].state_values / plan.ranks;

        ck_assert_msg(shared[rank].status == TLM_OK, "%s", shared[rank].message);
        sum += shared[rank].state_values;
        ck_assert_msg((double)shared[rank].state_values <= cases[_i].most * fair,
                      "rank %d of %d has %.3f of its share", rank, plan.ranks,
                      (double)shared[rank].state_values / fair);
    }
    ck_assert_uint_eq(sum, alone[0].state_values);
    release(alone);
    release(shared);
}
END_TEST

/* ---- Checkpoints ------------------------------------------------------------------------ */

/* Stops after some steps, and goes on with another number of ranks. */
START_TEST(a_run_goes_on_with_another_number_of_ranks)
{
    static const int32_t ranks[][2] = {{0, 2}, {2, 4}, {4, 0}, {4, 1}, {2, 8}, {8, 2}};
    const kind_t kinds[] = {ADAMW, MIXED, MUON, LION, ADAFACTOR}, kind = kinds[_i % 5];
    const char *whole = test_path("whole"), *first = test_path("first");
    const char *second = test_path("second");
    result_t results[MOST_RANKS];
    plan_t plan = usual(0, kind, 8);

    plan.warms_up = _i % 2 == 1;
    plan.save = whole;
    run(results, &plan);
    release(results);
    plan.ranks = ranks[_i][0];
    plan.until = 3;
    plan.save = first;
    run(results, &plan);
    ck_assert_msg(results[0].status == TLM_OK, "%s", results[0].message);
    release(results);
    plan = usual(ranks[_i][1], kind, 8);
    plan.warms_up = _i % 2 == 1;
    plan.resume = first;
    plan.save = second;
    run(results, &plan);
    ck_assert_msg(results[0].status == TLM_OK, "%s", results[0].message);
    release(results);
    assert_same_files(whole, second);
    unlink(whole);
    unlink(first);
    unlink(second);
}
END_TEST

/* ---- Failures --------------------------------------------------------------------------- */

/* All ranks fail, the others with what rank 1 says. */
static void assert_all_fail(const plan_t *plan, tlm_status_t status, const char *text)
{
    result_t results[MOST_RANKS];

    run(results, plan);
    for (int32_t rank = 0; rank < plan->ranks; rank++) {
        ck_assert_msg(results[rank].status == status, "rank %d: %d, %s", rank,
                      (int)results[rank].status, results[rank].message);
        ck_assert_msg(strstr(results[rank].message, text) != NULL, "rank %d: %s", rank,
                      results[rank].message);
        if (plan->wrong != NULL && rank != plan->odd_rank && strstr(text, "rank") == NULL)
            ck_assert_msg(strstr(results[rank].message, "rank 1: ") != NULL, "rank %d: %s", rank,
                          results[rank].message);
    }
    release(results);
}

static void no_steps(tlm_trainer_options_t *options, tlm_model_t *model)
{
    options->steps = 0;
}

static void more_steps(tlm_trainer_options_t *options, tlm_model_t *model)
{
    options->steps = 77;
}

static void another_norm(tlm_trainer_options_t *options, tlm_model_t *model)
{
    options->clip_norm = 2.0;
}

static void another_warmup(tlm_trainer_options_t *options, tlm_model_t *model)
{
    options->batch_start = 1;
    options->batch_warmup_tokens = 50;
}

static float *first_parameter(tlm_model_t *model)
{
    tlm_tensor_t *const *tensors;
    size_t n;

    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    return tlm_tensor_data(tensors[0]);
}

static void another_parameter(tlm_trainer_options_t *options, tlm_model_t *model)
{
    first_parameter(model)[0] += 1.0f;
}

START_TEST(what_is_wrong_on_one_rank_fails_on_all)
{
    static const struct {
        void (*wrong)(tlm_trainer_options_t *options, tlm_model_t *model);
        tlm_status_t status;
        const char *text;
    } cases[] = {
        {no_steps, TLM_ERR_INVALID_ARGUMENT, "steps is 0"},
        {more_steps, TLM_ERR_STATE, "steps is 77 on rank 1, but 6 on rank 0"},
        {another_warmup, TLM_ERR_STATE, "batch_start is 1 on rank 1, but 0 on rank 0"},
        {another_norm, TLM_ERR_STATE, "the value of clip_norm of rank 1 differs from rank 0's"},
        {another_parameter, TLM_ERR_STATE, "the parameters of rank 1 differ"},
    };
    plan_t plan = usual(4, ADAMW, 8);

    plan.wrong = cases[_i].wrong;
    plan.odd_rank = 1;
    assert_all_fail(&plan, cases[_i].status, cases[_i].text);
}
END_TEST

START_TEST(numbers_of_ranks_that_cannot_share_are_refused)
{
    plan_t plan = usual(3, ADAMW, 6);

    assert_all_fail(&plan, TLM_ERR_INVALID_ARGUMENT, "3 ranks cannot share the 6 batches");
    assert_all_fail(&plan, TLM_ERR_INVALID_ARGUMENT, "powers of two up to 2 can");
    plan = usual(4, ADAMW, 6);
    assert_all_fail(&plan, TLM_ERR_INVALID_ARGUMENT, "powers of two up to 2 can");
    plan = usual(3, ADAMW, 2);
    plan.irreproducible = true;
    assert_all_fail(&plan, TLM_ERR_INVALID_ARGUMENT, "accumulation 2 is less than one batch");
}
END_TEST

static int32_t stop_rank_2(void *user, const tlm_train_step_t *step)
{
    return step->step == 2 && tlm_communicator_rank(user) == 2;
}

START_TEST(a_callback_of_one_rank_ends_all_at_the_same_step)
{
    result_t results[MOST_RANKS];
    plan_t plan = usual(4, ADAMW, 4);

    plan.on_step = stop_rank_2;
    run(results, &plan);
    for (int32_t rank = 0; rank < 4; rank++) {
        ck_assert_int_eq(results[rank].status, TLM_ERR_CANCELLED);
        ck_assert_uint_eq(results[rank].steps, 2);
    }
    release(results);
}
END_TEST

START_TEST(a_missing_checkpoint_is_missing_for_all)
{
    plan_t plan = usual(2, ADAMW, 4);

    plan.resume = "/nonexistent/file.safetensors";
    assert_all_fail(&plan, TLM_ERR_NOT_FOUND, "/nonexistent/file.safetensors");
    plan.resume = NULL;
    plan.save = "/nonexistent/file.safetensors";
    assert_all_fail(&plan, TLM_ERR_NOT_FOUND, "/nonexistent/");
}
END_TEST

/* ---- The engine's own sums -------------------------------------------------------------- */

START_TEST(any_number_of_ranks_trains_irreproducibly)
{
    result_t alone[MOST_RANKS], shared[MOST_RANKS];
    plan_t plan = usual(0, ADAMW, 7);
    double largest = 0.0;

    run(alone, &plan);
    plan.ranks = _i;
    plan.irreproducible = true;
    run(shared, &plan);
    for (int32_t rank = 0; rank < plan.ranks; rank++) {
        ck_assert_msg(shared[rank].status == TLM_OK, "%s", shared[rank].message);
        ck_assert_int_eq(memcmp(shared[rank].parameters, shared[0].parameters,
                                shared[0].num_parameters * sizeof(float)),
                         0);
    }
    for (int32_t i = 0; i < MOST_STEPS; i++) {
        double difference = fabs(shared[0].losses[i] - alone[0].losses[i]);
        largest = difference > largest || isnan(difference) ? difference : largest;
    }
    ck_assert_msg(largest < 1e-4, "losses differ by %g", largest);
    release(alone);
    release(shared);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ranks");
    TCase *tests = tcase_create("ranks");

    tcase_set_timeout(tests, 600);
    tcase_add_loop_test(tests, any_number_of_ranks_gives_the_same_bits, 0, 10);
    tcase_add_loop_test(tests, fine_tuning_gives_the_same_bits, 0, 2);
    tcase_add_loop_test(tests, targets_that_do_not_count_give_the_same_bits, 0, 4);
    tcase_add_loop_test(tests, a_batch_that_grows_gives_the_same_bits, 0, 4);
    tcase_add_loop_test(tests, the_states_are_divided, 0, is_emulated() ? 3 : 6);
    tcase_add_loop_test(tests, a_run_goes_on_with_another_number_of_ranks, 0, 6);
    tcase_add_loop_test(tests, what_is_wrong_on_one_rank_fails_on_all, 0, 5);
    tcase_add_test(tests, numbers_of_ranks_that_cannot_share_are_refused);
    tcase_add_test(tests, a_callback_of_one_rank_ends_all_at_the_same_step);
    tcase_add_test(tests, a_missing_checkpoint_is_missing_for_all);
    tcase_add_loop_test(tests, any_number_of_ranks_trains_irreproducibly, 2, 6);
    suite_add_tcase(suite, tests);
    make_test_directory();
    int status = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return status;
}
