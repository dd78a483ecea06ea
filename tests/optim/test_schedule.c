/* Learning-rate schedules against their formulas, and what they refuse. */
#include "optim_support.h"

START_TEST(schedule_follows_its_formula)
{
    static const struct {
        uint64_t step, warmup, cycle;
        double expected; /* of max 2, min 0.5 */
    } cases[] = {
        {0, 10, 20, 0.0},
        {5, 10, 20, 1.0},
        {10, 10, 20, 2.0},
        {15, 10, 20, 1.25},
        {20, 10, 20, 0.5},
        {21, 10, 20, 0.5},
        {UINT64_MAX, 10, 20, 0.5},
        {0, 0, 20, 2.0},
        {0, 0, 0, 2.0},
        {1, 0, 0, 0.5},
        {10, 10, 10, 2.0},
        {11, 10, 10, 0.5},
        {13, 10, 20, 0.5 + 0.75 * (1.0 + 0.58778525229247312917)},
    };
    double rate;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ASSERT_OK(
            tlm_cosine_schedule(&rate, cases[i].step, 2.0, 0.5, cases[i].warmup, cases[i].cycle));
        assert_close(rate, cases[i].expected, 1e-15);
    }
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "20", tlm_cosine_schedule(&rate, 0, 2.0, 0.5, 21, 20));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_cosine_schedule(NULL, 0, 2.0, 0.5, 1, 20));
}
END_TEST

/* Max 2, min 0.5, warm-up 10, end 50; WSD decays over the last 20 steps. */
START_TEST(each_kind_of_schedule_follows_its_formula)
{
    static const struct {
        uint64_t step;
        double constant, cosine, linear, wsd;
    } cases[] = {
        {0, 0.0, 0.0, 0.0, 0.0},
        {5, 1.0, 1.0, 1.0, 1.0},
        {10, 2.0, 2.0, 2.0, 2.0},
        {30, 2.0, 1.25, 1.25, 2.0},
        {35, 2.0, 0.5 + 0.75 * (1.0 - 0.38268343236508977173), 1.0625, 1.625},
        {49, 2.0, 0.5 + 0.75 * (1.0 - 0.99691733373312797621), 0.5375, 0.575},
        {50, 2.0, 0.5, 0.5, 0.5},
        {51, 2.0, 0.5, 0.5, 0.5},
        {UINT64_MAX, 2.0, 0.5, 0.5, 0.5},
    };
    tlm_schedule_options_t options = TLM_SCHEDULE_OPTIONS_INIT;
    double rate, cosine;

    options.max_learning_rate = 2.0;
    options.min_learning_rate = 0.5;
    options.warmup_steps = 10;
    options.total_steps = 50;
    options.decay_steps = 20;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const double expected[] = {cases[i].constant, cases[i].cosine, cases[i].linear,
                                   cases[i].wsd};

        for (options.kind = 0; options.kind <= TLM_SCHEDULE_WSD; options.kind++) {
            ASSERT_OK(tlm_schedule_learning_rate(&rate, &options, cases[i].step));
            assert_close(rate, expected[options.kind], 1e-15);
        }
    }
    options.kind = TLM_SCHEDULE_COSINE;
    for (uint64_t step = 0; step < 60; step++) {
        ASSERT_OK(tlm_schedule_learning_rate(&rate, &options, step));
        ASSERT_OK(tlm_cosine_schedule(&cosine, step, 2.0, 0.5, 10, 50));
        ck_assert(rate == cosine);
    }
}
END_TEST

START_TEST(schedules_are_checked)
{
    static const tlm_schedule_options_t good = {
        sizeof(good), TLM_SCHEDULE_WSD, 0, 1.0, 0.1, 5, 20, 15};
    tlm_schedule_options_t bad;
    double rate = -1.0;

    ASSERT_OK(tlm_schedule_learning_rate(&rate, &good, 5));
    rate = -1.0;
#define REFUSED(field, value, text)                                                                \
    bad = good;                                                                                    \
    bad.field = (value);                                                                           \
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, text, tlm_schedule_learning_rate(&rate, &bad, 1))
    REFUSED(kind, 4, "kind 4");
    REFUSED(kind, -1, "kind -1");
    REFUSED(reserved, 1, "reserved");
    REFUSED(max_learning_rate, -1.0, "-1");
    REFUSED(max_learning_rate, (double)NAN, "nan");
    REFUSED(min_learning_rate, (double)INFINITY, "inf");
    REFUSED(warmup_steps, 6, "warmup_steps 6 and decay_steps 15");
    REFUSED(warmup_steps, 21, "total_steps 20");
    REFUSED(decay_steps, UINT64_MAX, "total_steps 20");
    REFUSED(size, 7, "size is 7");
    bad.kind = TLM_SCHEDULE_CONSTANT; /* has no end */
    bad.size = sizeof(bad);
    bad.total_steps = 0;
    ck_assert(rate == -1.0);
    ASSERT_OK(tlm_schedule_learning_rate(&rate, &bad, 9));
    ck_assert(rate == 1.0);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "out is NULL",
                 tlm_schedule_learning_rate(NULL, &good, 1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "options is NULL",
                 tlm_schedule_learning_rate(&rate, NULL, 1));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("schedule");
    TCase *tcase = tcase_create("schedule");

    tcase_add_test(tcase, schedule_follows_its_formula);
    tcase_add_test(tcase, each_kind_of_schedule_follows_its_formula);
    tcase_add_test(tcase, schedules_are_checked);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
