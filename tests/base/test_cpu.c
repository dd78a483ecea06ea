/* CPU levels and features: names, limits and the environment variable. */
#include "base_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"

START_TEST(levels_have_names)
{
    ck_assert_str_eq(tlm_cpu_level_name(TLM_CPU_SCALAR), "scalar");
    ck_assert_str_eq(tlm_cpu_level_name(TLM_CPU_AVX2), "avx2");
    ck_assert_str_eq(tlm_cpu_level_name(TLM_CPU_AVX512), "avx512");
    ck_assert_str_eq(tlm_cpu_level_name(TLM_CPU_NEON), "neon");
    ck_assert_str_eq(tlm_cpu_level_name(4), "unknown");
    ck_assert_str_eq(tlm_cpu_level_name(-1), "unknown");
}
END_TEST

static bool has_level(int32_t level)
{
    static const uint64_t needs[] = {0, TLMI_NEEDS_AVX2, TLMI_NEEDS_AVX512, TLMI_NEEDS_NEON};
    return tlmi_has_features(tlmi_cpu_detect(), needs[level]);
}

START_TEST(a_level_is_lowered_and_restored)
{
    int32_t best = tlmi_cpu_detected_level();

    unsetenv("TINYLM_CPU");
    ck_assert_int_eq(tlm_cpu_level(), best);
    for (int32_t level = 0; level <= TLM_CPU_NEON; level++) {
        ASSERT_OK(tlm_set_cpu_level(best));
        if (has_level(level)) {
            ASSERT_OK(tlm_set_cpu_level(level));
            ck_assert_int_eq(tlm_cpu_level(), level);
        } else {
            ASSERT_FAILS(TLM_ERR_UNSUPPORTED, tlm_cpu_level_name(level), tlm_set_cpu_level(level));
            ck_assert_int_eq(tlm_cpu_level(), best);
        }
    }
    ASSERT_OK(tlm_set_cpu_level(best));
    ck_assert_uint_eq(tlm_cpu_features(), tlmi_cpu_detect());
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "level 4 is not in", tlm_set_cpu_level(4));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "level -1 is not in", tlm_set_cpu_level(-1));
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

/* Every feature has a name of its own; the lower half are x86's and the upper ARM's. */
START_TEST(features_have_names)
{
    int named = 0;

    for (int bit = 0; bit < 64; bit++) {
        const char *name = tlm_cpu_feature_name(UINT64_C(1) << bit);
        for (int other = 0; other < bit && strcmp(name, "unknown") != 0; other++)
            ck_assert_str_ne(name, tlm_cpu_feature_name(UINT64_C(1) << other));
        named += strcmp(name, "unknown") != 0;
    }
    ck_assert_int_eq(named, 22);
    ck_assert_str_eq(tlm_cpu_feature_name(TLM_FEATURE_AVX512_BF16), "avx512_bf16");
    ck_assert_str_eq(tlm_cpu_feature_name(TLM_FEATURE_AVX2 | TLM_FEATURE_FMA), "unknown");
    ck_assert_str_eq(tlm_cpu_feature_name(0), "unknown");
    ck_assert_uint_eq(tlmi_cpu_detect() >> (TLMI_X86 ? 32 : 0) & UINT32_MAX, 0);
}
END_TEST

#if TLMI_X86
/* What the compiler's run-time library finds out by itself. */
START_TEST(detection_agrees_with_the_compiler)
{
    uint64_t features = tlmi_cpu_detect();

    __builtin_cpu_init();
#define AGREE(bit, name)                                                                           \
    ck_assert_int_eq((features & TLM_FEATURE_##bit) != 0, __builtin_cpu_supports(name) != 0)
    AGREE(AVX2, "avx2");
    AGREE(FMA, "fma");
    AGREE(BMI2, "bmi2");
    AGREE(AVX512F, "avx512f");
    AGREE(AVX512BW, "avx512bw");
    AGREE(AVX512DQ, "avx512dq");
    AGREE(AVX512VL, "avx512vl");
    AGREE(AVX512_VNNI, "avx512vnni");
    AGREE(AVX512_BF16, "avx512bf16");
}
END_TEST
#endif

/* Each feature of the CPU alone switched off, as the whole list or behind a level. */
START_TEST(the_environment_switches_features_off)
{
    uint64_t all = tlmi_cpu_detect();
    int bit = _i;
    char list[64];

    if (!tlmi_has_features(all, UINT64_C(1) << bit))
        return;
    snprintf(list, sizeof(list), "-%s", tlm_cpu_feature_name(UINT64_C(1) << bit));
    setenv("TINYLM_CPU", list, 1);
    ck_assert_uint_eq(tlm_cpu_features(), all & ~(UINT64_C(1) << bit));
}
END_TEST

START_TEST(the_environment_takes_lists)
{
    static const struct {
        const char *list;
        uint64_t lost; /* of the CPU's features */
    } cases[] = {
        {"", 0},
        {",,", 0},
        {"-", 0},
        {"-unknown", 0},
        {"-abacus,avx3,f16c", 0},
        {"-fma", TLM_FEATURE_FMA},
        {"-fma,-bmi2,abacus", TLM_FEATURE_FMA | TLM_FEATURE_BMI2},
        {"-neon", TLM_FEATURE_NEON},
        {"scalar", UINT64_MAX},
        {"scalar,avx2", UINT64_MAX},
    };
    uint64_t all = tlmi_cpu_detect();

    setenv("TINYLM_CPU", cases[_i].list, 1);
    ck_assert_uint_eq(tlm_cpu_features(), all & ~cases[_i].lost);
    if (strcmp(cases[_i].list, "-fma") == 0 && TLMI_X86)
        ck_assert_int_eq(tlm_cpu_level(), TLM_CPU_SCALAR);
    if (_i == 0 && tlmi_cpu_detected_level() == TLM_CPU_AVX512) {
        tlmi_set_cpu_features(all);
        ASSERT_OK(tlm_set_cpu_level(TLM_CPU_AVX2));
        ck_assert_uint_eq(
            tlm_cpu_features() & ~(TLMI_NEEDS_AVX2 | TLM_FEATURE_F16C | TLM_FEATURE_AVX_VNNI), 0);
    }
}
END_TEST

/* Words of any processor pass, whether or not this one has them; others are named, with those that there
 * are. */
START_TEST(the_environment_can_be_checked)
{
    static const struct {
        const char *list, *wrong; /* the word; NULL: it passes */
    } cases[] = {{"", NULL},
                 {",,", NULL},
                 {"scalar", NULL},
                 {"avx512,-avx512_bf16,", NULL},
                 {"neon,-sve2,-fma", NULL},
                 {"abacus", "'abacus'"},
                 {"avx2,AVX512", "'AVX512'"},
                 {"-", "'-'"},
                 {"-unknown", "'-unknown'"},
                 {"unknown", "'unknown'"},
                 {"fma", "'fma'"},
                 {"-avx512", "'-avx512'"},
                 {"-fma,-fm", "'-fm'"},
                 {"-fma ", "'-fma '"},
                 {"-fma;-bmi2", "'-fma;-bmi2'"},
                 {" avx2", "' avx2'"}};
    char text[256], list[2048];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        setenv("TINYLM_CPU", cases[i].list, 1);
        if (cases[i].wrong == NULL) {
            ASSERT_OK(tlm_check_environment());
            continue;
        }
        snprintf(text, sizeof(text),
                 "TINYLM_CPU: %s is none of the words scalar, avx2, avx512, neon,", cases[i].wrong);
        ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, text, tlm_check_environment());
    }
    for (int bit = 0; bit < 63; bit++) {
        const char *name = tlm_cpu_feature_name(UINT64_C(1) << bit);

        if (strcmp(name, "unknown") == 0)
            continue;
        snprintf(text, sizeof(text), " %s", name);
        ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, text, tlm_check_environment());
        snprintf(text, sizeof(text), "-%s", name);
        setenv("TINYLM_CPU", text, 1);
        ASSERT_OK(tlm_check_environment());
        setenv("TINYLM_CPU", "x", 1);
    }
    memset(list, 'x', sizeof(list) - 1);
    list[sizeof(list) - 1] = '\0';
    setenv("TINYLM_CPU", list, 1);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "sve2", tlm_check_environment());
    unsetenv("TINYLM_CPU");
    ASSERT_OK(tlm_check_environment());
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
    Suite *suite = suite_create("cpu");
    TCase *tcase = tcase_create("cpu");

    tcase_add_test(tcase, levels_have_names);
    tcase_add_test(tcase, a_level_is_lowered_and_restored);
    tcase_add_test(tcase, the_environment_lowers_the_level);
    tcase_add_test(tcase, an_unknown_name_is_passed_over);
    tcase_add_test(tcase, features_have_names);
#if TLMI_X86
    tcase_add_test(tcase, detection_agrees_with_the_compiler);
#endif
    tcase_add_loop_test(tcase, the_environment_switches_features_off, 0, 63);
    tcase_add_loop_test(tcase, the_environment_takes_lists, 0, 10);
    tcase_add_test(tcase, the_environment_can_be_checked);
    tcase_add_test(tcase, there_are_cpus);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV); /* each in a process: the environment is read once */
}
