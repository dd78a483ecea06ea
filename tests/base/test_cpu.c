/* The CPU level: names, limits and the environment variable. */
#include "base_support.h"

#include "base/cpu.h"

START_TEST(levels_have_names)
{
    ck_assert_str_eq(tlm_cpu_level_name(TLM_CPU_SCALAR), "scalar");
    ck_assert_str_eq(tlm_cpu_level_name(TLM_CPU_AVX2), "avx2");
    ck_assert_str_eq(tlm_cpu_level_name(TLM_CPU_AVX512), "avx512");
    ck_assert_str_eq(tlm_cpu_level_name(3), "unknown");
    ck_assert_str_eq(tlm_cpu_level_name(-1), "unknown");
}
END_TEST

START_TEST(a_level_is_lowered_and_restored)
{
    int32_t best = tlmi_cpu_detected_level();

    unsetenv("TINYLM_CPU");
    ck_assert_int_eq(tlm_cpu_level(), best);
    for (int32_t level = 0; level <= TLM_CPU_AVX512; level++) {
        if (level <= best) {
            ASSERT_OK(tlm_set_cpu_level(level));
            ck_assert_int_eq(tlm_cpu_level(), level);
        } else {
            ASSERT_FAILS(TLM_ERR_UNSUPPORTED, tlm_cpu_level_name(level), tlm_set_cpu_level(level));
            ck_assert_int_eq(tlm_cpu_level(), best);
        }
    }
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "no level 3", tlm_set_cpu_level(3));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "no level -1", tlm_set_cpu_level(-1));
    ck_assert_int_eq(tlm_cpu_level(), best);
}
END_TEST

START_TEST(the_environment_lowers_the_level)
{
    setenv("TINYLM_CPU", "scalar", 1);
    ck_assert_int_eq(tlm_cpu_level(), TLM_CPU_SCALAR);
    ASSERT_OK(tlm_set_cpu_level(tlmi_cpu_detected_level()));
    ck_assert_int_eq(tlm_cpu_level(), tlmi_cpu_detected_level());
}
END_TEST

START_TEST(an_unknown_name_is_passed_over)
{
    setenv("TINYLM_CPU", "abacus", 1);
    ck_assert_int_eq(tlm_cpu_level(), tlmi_cpu_detected_level());
}
END_TEST

START_TEST(there_are_cpus)
{
    ck_assert_int_ge(tlmi_cpu_count(), 1);
    ck_assert_int_le(tlmi_cpu_count(), TLM_MAX_THREADS);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        levels_have_names,
        a_level_is_lowered_and_restored,
        the_environment_lowers_the_level,
        an_unknown_name_is_passed_over,
        there_are_cpus,
    };
    return run_tests("cpu", tests, COUNT(tests));
}
