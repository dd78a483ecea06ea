/* Quantizing to blocks: the error that is left for values of several shapes, and values that the formats
 * hold exactly. That the simple formats have the bits of GGML's quantizer is tested in
 * tests/python/test_gguf_peers.py, and that the others leave no larger errors. */
#include "run_suite.h"

#include <math.h>
#include <string.h>

#include "base/dtype.h"

enum { N = 4 * 256 };

/* The error of normal values, of standard deviation 1, that each format may leave at most; those of
 * blocks of 256 are what the search reaches, not what a scale by the largest element would. */
static const struct {
    int32_t code;
    double error;
} formats[] = {{TLM_Q8_0, 0.006}, {TLM_Q4_0, 0.100},  {TLM_Q4_1, 0.085},  {TLM_Q5_0, 0.047},
               {TLM_Q5_1, 0.042}, {TLM_Q4_K, 0.0750}, {TLM_Q5_K, 0.0365}, {TLM_Q6_K, 0.0185}};
enum { NUM_FORMATS = sizeof(formats) / sizeof(formats[0]) };

static float uniform(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return (float)(*seed >> 8) / (1 << 24);
}

static float normal(uint32_t *seed)
{
    const double radius = sqrt(-2.0 * log(1.0 - (double)uniform(seed)));

    return (float)(radius * cos(6.283185307179586 * (double)uniform(seed)));
}

/* Stores and loads; returns the root of the mean square error. */
static double error_of(float *back, const float *values, const tlmi_dtype_t *type)
{
    uint8_t stored[N * 2 + 1]; /* at an odd address, as in files */
    double sum = 0.0;

    type->store(stored + 1, values, N);
    type->load(back, stored + 1, N);
    for (int i = 0; i < N; i++)
        sum += ((double)back[i] - (double)values[i]) * ((double)back[i] - (double)values[i]);
    return sqrt(sum / N);
}

START_TEST(normal_values_leave_small_errors)
{
    const tlmi_dtype_t *type = tlmi_dtype(formats[_i].code);
    float values[N], back[N];
    uint32_t seed = 7;

    for (float size = 1e-2f; size < 1e4f; size *= 100.0f) {
        for (int i = 0; i < N; i++)
            values[i] = size * normal(&seed);
        const double error = error_of(back, values, type) / (double)size;
        ck_assert_msg(error <= formats[_i].error, "%s at %g: %g", type->name, (double)size, error);
    }
}
END_TEST

/* Blocks whose sub-blocks differ by orders of magnitude, and values of one sign. */
START_TEST(no_sub_block_is_lost)
{
    const tlmi_dtype_t *type = tlmi_dtype(formats[_i].code);
    float values[N], back[N];
    uint32_t seed = 3;

    for (int i = 0; i < N; i++)
        values[i] = normal(&seed) * (i / 32 % 4 == 0 ? 20.0f : 1.0f);
    ck_assert_double_le(error_of(back, values, type), 12.0 * formats[_i].error);
    for (int sign = -1; sign <= 1; sign += 2) {
        for (int i = 0; i < N; i++)
            values[i] = (float)sign * (3.0f + uniform(&seed));
        ck_assert_double_le(error_of(back, values, type), 4.0 * formats[_i].error);
        for (int i = 0; i < N; i++)
            ck_assert(values[i] * back[i] > 0.0f);
    }
}
END_TEST

START_TEST(simple_values_are_exact)
{
    const tlmi_dtype_t *type = tlmi_dtype(formats[_i].code);
    float values[N] = {0.0f}, back[N];

    ck_assert_double_eq(error_of(back, values, type), 0.0);
    for (int c = -1; c <= 1; c += 2) { /* constant blocks, to the precision of a float16 scale */
        for (int i = 0; i < N; i++)
            values[i] = (float)c * 0.7f;
        ck_assert_double_le(error_of(back, values, type), type->code == TLM_Q8_0 ? 3e-4 : 3e-3);
    }
    /* One element in 256 */
    memset(values, 0, sizeof(values));
    values[300] = -1.0f;
    ck_assert_double_le(error_of(back, values, type), 1e-3);
    ck_assert_float_eq_tol(back[300], -1.0f, 1e-2f);
}
END_TEST

/* No number, however large, small or odd, leads out of its bits: the sanitizers watch. */
START_TEST(odd_values_are_stored)
{
    static const float odd[] = {INFINITY, -INFINITY, NAN, 3e38f, -3e38f, 1e-45f, -1e-40f, 65504.0f};
    const tlmi_dtype_t *type = tlmi_dtype(formats[_i].code);
    float values[N], back[N];

    for (size_t k = 0; k < sizeof(odd) / sizeof(odd[0]); k++) {
        for (int i = 0; i < N; i++)
            values[i] = i % 3 == 0 ? odd[k] : i % 3 == 1 ? 1.0f : -odd[k];
        (void)error_of(back, values, type);
        for (int i = 0; i < N; i++)
            values[i] = odd[k];
        (void)error_of(back, values, type);
    }
}
END_TEST

/* A second round changes nothing, or little: errors do not pile up. */
START_TEST(a_second_round_is_close)
{
    const tlmi_dtype_t *type = tlmi_dtype(formats[_i].code);
    float values[N], back[N], again[N];
    uint32_t seed = 11;

    for (int i = 0; i < N; i++)
        values[i] = normal(&seed);
    const double error = error_of(back, values, type);
    ck_assert_double_le(error_of(again, back, type), 0.8 * error);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("block store");
    TCase *tcase = tcase_create("block store");

    tcase_add_loop_test(tcase, normal_values_leave_small_errors, 0, NUM_FORMATS);
    tcase_add_loop_test(tcase, no_sub_block_is_lost, 0, NUM_FORMATS);
    tcase_add_loop_test(tcase, simple_values_are_exact, 0, NUM_FORMATS);
    tcase_add_loop_test(tcase, odd_values_are_stored, 0, NUM_FORMATS);
    tcase_add_loop_test(tcase, a_second_round_is_close, 0, NUM_FORMATS);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
