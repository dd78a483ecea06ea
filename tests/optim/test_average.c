/* Moving averages of parameters against their formula in float64, and schedules of groups. */
#include "optim_support.h"

#include "optim/optimizer_core.h"

enum { SIZE = 40000, STEPS = 6 };

/* A matrix for Muon and a vector for AdamW; the second has no gradient in every other step. */
typedef struct run {
    tlm_tensor_t *matrix, *vector;
    tlm_optimizer_t *optimizer;
} run_t;

static run_t start(double decay, bool average_last)
{
    static const int64_t shape[] = {20, 12};
    run_t run;

    ASSERT_OK(tlm_tensor_create(&run.matrix, TLM_FLOAT32, shape, 2));
    for (int64_t i = 0; i < 240; i++)
        ((float *)tlm_tensor_data(run.matrix))[i] = draw(9, i);
    ASSERT_OK(tlm_tensor_set_requires_grad(run.matrix, true));
    run.vector = make_parameter(SIZE, 1);
    ASSERT_OK(tlm_optimizer_create_adamw(&run.optimizer, NULL));
    if (!average_last)
        ASSERT_OK(tlm_optimizer_set_average(run.optimizer, decay));
    ASSERT_OK(tlm_optimizer_add_muon_group(run.optimizer, &run.matrix, 1, NULL));
    ASSERT_OK(tlm_optimizer_add_group(run.optimizer, &run.vector, 1, NULL));
    if (average_last)
        ASSERT_OK(tlm_optimizer_set_average(run.optimizer, decay));
    return run;
}

static void step(run_t *run, int t)
{
    static float gradient[SIZE];

    for (int i = 0; i < SIZE; i++)
        gradient[i] = draw((uint64_t)(20 + t), i);
    set_gradient(run->matrix, gradient);
    set_gradient(run->vector, gradient);
    if (t % 2 == 1)
        tlm_tensor_zero_grad(run->vector);
    ASSERT_OK(tlm_optimizer_step(run->optimizer));
}

static void stop(run_t *run)
{
    tlm_optimizer_free(run->optimizer);
    tlm_tensor_free(run->matrix);
    tlm_tensor_free(run->vector);
}

START_TEST(averages_follow_their_formula)
{
    static const double decays[] = {0.9, 0.5, 0.999};
    static double vector[SIZE], matrix[240];
    const double decay = decays[_i % 3];
    run_t run = start(decay, _i >= 3);
    double weight = 0.0;

    memset(vector, 0, sizeof(vector));
    memset(matrix, 0, sizeof(matrix));
    for (int t = 0; t < STEPS; t++) {
        step(&run, t);
        for (int i = 0; i < SIZE; i++)
            vector[i] = decay * vector[i] +
                        (1.0 - decay) * (double)((float *)tlm_tensor_data(run.vector))[i];
        for (int i = 0; i < 240; i++)
            matrix[i] = decay * matrix[i] +
                        (1.0 - decay) * (double)((float *)tlm_tensor_data(run.matrix))[i];
        weight = decay * weight + (1.0 - decay);
    }
    ASSERT_OK(tlm_optimizer_take_average(run.optimizer));
    for (int i = 0; i < SIZE; i++)
        assert_close((double)((float *)tlm_tensor_data(run.vector))[i], vector[i] / weight, 2e-6);
    for (int i = 0; i < 240; i++)
        assert_close((double)((float *)tlm_tensor_data(run.matrix))[i], matrix[i] / weight, 2e-6);
    stop(&run);
}
END_TEST

START_TEST(averages_have_the_same_bits_on_any_number_of_threads)
{
    static float first[SIZE];

    for (int32_t threads = 1; threads <= 3; threads++) {
        ASSERT_OK(tlm_set_num_threads(threads));
        run_t run = start(0.9, false);

        for (int t = 0; t < STEPS; t++)
            step(&run, t);
        ASSERT_OK(tlm_optimizer_take_average(run.optimizer));
        if (threads == 1)
            memcpy(first, tlm_tensor_data(run.vector), sizeof(first));
        ck_assert_mem_eq(first, tlm_tensor_data(run.vector), sizeof(first));
        stop(&run);
    }
    ASSERT_OK(tlm_set_num_threads(0));
}
END_TEST

START_TEST(wrong_averages_are_refused)
{
    run_t run = start(0.0, true);

    ASSERT_FAILS(TLM_ERR_STATE, "there is no average", tlm_optimizer_take_average(run.optimizer));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "decay 1 is not in [0, 1)",
                 tlm_optimizer_set_average(run.optimizer, 1.0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "decay nan",
                 tlm_optimizer_set_average(run.optimizer, (double)NAN));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_optimizer_set_average(NULL, 0.5));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_optimizer_take_average(NULL));
    ASSERT_OK(tlm_optimizer_set_average(run.optimizer, 0.5));
    ck_assert_uint_eq(run.optimizer->parameters[0].num_states, 2);
    ASSERT_OK(tlm_optimizer_set_average(run.optimizer, 0.25));
    ck_assert_uint_eq(run.optimizer->parameters[0].num_states, 2);
    ASSERT_OK(tlm_optimizer_set_average(run.optimizer, 0.0));
    ck_assert_uint_eq(run.optimizer->parameters[0].num_states, 1);
    ASSERT_OK(tlm_optimizer_set_average(run.optimizer, 0.5));
    ASSERT_FAILS(TLM_ERR_STATE, "decay is 0.5, after 0 steps",
                 tlm_optimizer_take_average(run.optimizer));
    step(&run, 0);
    ASSERT_FAILS(TLM_ERR_STATE, "1 steps are done", tlm_optimizer_set_average(run.optimizer, 0.75));
    ASSERT_OK(tlm_optimizer_set_average(run.optimizer, 0.5));
    stop(&run);
}
END_TEST

START_TEST(a_group_follows_its_own_schedule)
{
    tlm_schedule_options_t schedule = TLM_SCHEDULE_OPTIONS_INIT;
    run_t run = start(0.0, true);
    double rate, expected;

    schedule.kind = TLM_SCHEDULE_LINEAR;
    schedule.max_learning_rate = 0.5;
    schedule.warmup_steps = 2;
    schedule.total_steps = 4;
    ASSERT_OK(tlm_optimizer_set_schedule(run.optimizer, 1, &schedule));
    for (int t = 0; t < STEPS; t++) {
        const double given = 0.125;

        step(&run, t);
        ASSERT_OK(tlm_schedule_learning_rate(&expected, &schedule, (uint64_t)t + 1));
        ASSERT_OK(tlm_optimizer_learning_rate(&rate, run.optimizer, 1));
        ck_assert(rate == expected);
        ASSERT_OK(tlm_optimizer_learning_rate(&rate, run.optimizer, 0));
        ck_assert(rate == (t == 0 ? rate : given));
        ASSERT_OK(tlm_optimizer_set_learning_rate(run.optimizer, 0, given));
    }
    ASSERT_OK(tlm_optimizer_set_schedule(run.optimizer, 1, NULL));
    ASSERT_OK(tlm_optimizer_set_learning_rate(run.optimizer, 1, 0.75));
    step(&run, STEPS);
    ASSERT_OK(tlm_optimizer_learning_rate(&rate, run.optimizer, 1));
    ck_assert(rate == 0.75);
    ASSERT_FAILS(TLM_ERR_RANGE, "no group 2; there are 2",
                 tlm_optimizer_set_schedule(run.optimizer, 2, &schedule));
    schedule.max_learning_rate = -1.0;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "optimizer_set_schedule: max_learning_rate -1",
                 tlm_optimizer_set_schedule(run.optimizer, 0, &schedule));
    stop(&run);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("average");
    TCase *tcase = tcase_create("average");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, averages_follow_their_formula, 0, 6);
    tcase_add_test(tcase, averages_have_the_same_bits_on_any_number_of_threads);
    tcase_add_test(tcase, wrong_averages_are_refused);
    tcase_add_test(tcase, a_group_follows_its_own_schedule);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
