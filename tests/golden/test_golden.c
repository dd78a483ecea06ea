/* Bits that must not change: what version 0.2 computed, recorded in golden.txt, and two checkpoints
 * that it wrote. Losses, parameters and generated ids are those of one CPU level with one kernel
 * family; other kernels, and other versions of libm, may round otherwise, so what was not recorded
 * with them is reported as skipped.
 *
 *     test_golden [GROUP]...                      compares; scalar, avx2, avx512, data: all
 *     test_golden --record FILE [GROUP]...        writes what golden.txt has of this CPU
 *     test_golden --write-checkpoints DIRECTORY   writes the two checkpoints
 *
 * After an intended change of bits: record, look at the difference, and replace golden.txt. Never
 * replace the checkpoints: that files of 0.2 can be continued is the point of them. The texts of
 * "data" lie in $TINYLM_TEST_DATA. */
#include <math.h>

#include "golden_cases.h"
#include "run_suite.h"

enum { SKIPPED = 77 };

char golden_group[64];
FILE *golden_output;

/* ---- Groups ----------------------------------------------------------------------------- */

static int run_cases(TCase *tcase)
{
    Suite *suite = suite_create(golden_group);

    tcase_set_timeout(tcase, 300);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, golden_output != NULL ? CK_NOFORK : CK_FORK_GETENV);
}

/* A hash of what libm gives where the library calls it: its results are not the same everywhere. */
static uint64_t hash_libm(void)
{
    uint64_t hash = GOLDEN_HASH_START;

    for (int i = 1; i <= 3000; i++) {
        double x = i / 97.0;
        double wide[] = {exp(-x), log(x), cos(x), sin(x), pow(10000.0, -x / 31.0), pow(0.95, i)};
        float narrow[] = {expf((float)-x), logf((float)x)};

        hash = golden_hash(hash, wide, sizeof(wide));
        hash = golden_hash(hash, narrow, sizeof(narrow));
    }
    return hash;
}

/* False, with the reason printed, if nothing was recorded of this libm. */
static bool libm_is_recorded(void)
{
    uint64_t recorded[GOLDEN_MAX_VALUES], hash = hash_libm();
    bool found;
    size_t n = golden_find(recorded, &found, "common/libm");

    for (size_t i = 0; i < n; i++)
        if (recorded[i] == hash)
            return true;
    printf("skipped: nothing is recorded of a libm with the results of this one\n");
    return false;
}

static int run_level(int32_t level)
{
    const char *name = tlm_cpu_level_name(level);
    TCase *tcase;

    if (tlm_set_cpu_level(level) != TLM_OK) {
        printf("%s skipped: %s\n", name, tlm_error_message());
        return SKIPPED;
    }
    snprintf(golden_group, sizeof(golden_group), "%s/%s", name, tlm_gemm_kernel_name());
    if (golden_output == NULL && !golden_group_is_recorded()) {
        printf("%s skipped: nothing is recorded of its kernel family %s\n", name,
               tlm_gemm_kernel_name());
        return SKIPPED;
    }
    if (golden_output == NULL && !libm_is_recorded())
        return SKIPPED;
    tcase = tcase_create(golden_group);
    golden_add_training(tcase);
    golden_add_checkpoints(tcase, level == TLM_CPU_SCALAR);
    return run_cases(tcase);
}

/* Merges and ids are the same on all levels. */
static int run_data(void)
{
    TCase *tcase = tcase_create("data");

    snprintf(golden_group, sizeof(golden_group), "data");
    bool complete = golden_add_texts(tcase);
    return run_cases(tcase) != 0 ? 1 : complete ? 0 : SKIPPED;
}

/* All groups, or those of the arguments: 1 if one failed, SKIPPED if none failed and one was
 * skipped. */
static int run_groups(char **names, int n)
{
    int result = 0;

    for (int32_t group = TLM_CPU_SCALAR; group <= TLM_CPU_AVX512 + 1; group++) {
        const char *name = group <= TLM_CPU_AVX512 ? tlm_cpu_level_name(group) : "data";
        bool wanted = n == 0;
        int status = 0;

        for (int i = 0; i < n; i++)
            wanted |= strcmp(names[i], name) == 0;
        if (wanted)
            status = group <= TLM_CPU_AVX512 ? run_level(group) : run_data();
        if (status == 1 || result == 0)
            result = status;
    }
    return result;
}

/* ---- Recording -------------------------------------------------------------------------- */

static int record(const char *path, char **groups, int n)
{
    int status;

    golden_output = fopen(path, "w");
    if (golden_output == NULL) {
        perror(path);
        return 2;
    }
    fprintf(golden_output,
            "# Made by test_golden --record with libtinylm %s; see the top of test_golden.c.\n"
            "# Names are level/kernel family/what; float32 bits have 8 digits, float64 bits and\n"
            "# hashes 16. Of the texts: how many ids or merges there are, and their hash.\n"
            "common/libm:\n    %016" PRIx64 "\n",
            tlm_version(), hash_libm());
    status = run_groups(groups, n);
    return fclose(golden_output) == 0 ? status : 2;
}

static int write_checkpoints(const char *directory)
{
    TCase *tcase = tcase_create("write_checkpoints");

    golden_add_checkpoint_writer(tcase, directory);
    return run_cases(tcase);
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "--record") == 0)
        return record(argv[2], argv + 3, argc - 3);
    if (argc == 3 && strcmp(argv[1], "--write-checkpoints") == 0)
        return write_checkpoints(argv[2]);
    return run_groups(argv + 1, argc - 1);
}
