/* The vector kernels of every CPU level: against float64, against themselves on other cuts of a
 * row, and on NaN and infinity. */
#include "run_suite.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/dtype.h"
#include "kernels/vector_math.h"

enum { MAX_N = 67, GUARD = 8 };

static uint64_t state = 1;

static double uniform(void)
{
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static bool set_level(int level)
{
    return tlm_set_cpu_level(level) == TLM_OK;
}

/* Distance in units of the last place of `want` rounded to float32; NaN where only one is NaN. */
static double ulps(float got, double want)
{
    float rounded = (float)want;
    if (isnan(rounded) && isnan(got))
        return 0;
    if (got == rounded)
        return 0;
    int exponent;
    frexp(want, &exponent);
    double unit = ldexp(1.0, (exponent < -125 ? -125 : exponent) - FLT_MANT_DIG);
    return fabs((double)got - want) / unit;
}

/* ---- exp ----------------------------------------------------------------------------------------
 */

START_TEST(test_exp_accuracy)
{
    if (!set_level(_i))
        return;
    enum { N = 1 << 16 };
    static float x[N];
    static float y[N];
    double worst = 0;
    for (int round = 0; round < 24; round++) {
        for (int i = 0; i < N; i++) {
            if (round < 4) /* dense in the reduced range, where the polynomial works */
                x[i] = (float)(-0.4 + 0.8 * (i + uniform()) / N);
            else if (round < 16)
                x[i] = (float)(-104.5 + 194.0 * (i + uniform()) / N);
            else /* tiny arguments, both signs */
                x[i] = (float)ldexp(uniform() - 0.5, -(int)(uniform() * 40));
        }
        tlmi_vec_exp(y, x, N);
        for (int i = 0; i < N; i++) {
            double want = exp((double)x[i]);
            if (want > FLT_MAX) {
                ck_assert_msg(isinf(y[i]) || y[i] > 0.999f * FLT_MAX, "exp(%.9g) is %g",
                              (double)x[i], (double)y[i]);
                continue;
            }
            double off = ulps(y[i], want);
            if (!(off <= 2.0))
                ck_abort_msg("exp(%.9g) is %.9g, off by %.2f ulp", (double)x[i], (double)y[i], off);
            worst = off > worst ? off : worst;
        }
    }
    printf("exp at level %s: worst error %.3f ulp\n", tlm_cpu_level_name(_i), worst);
}
END_TEST

START_TEST(test_exp_special)
{
    if (!set_level(_i))
        return;
    const float x[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e30f, -1e30f, 89.0f, -200.0f, -NAN};
    float y[10];
    tlmi_vec_exp(y, x, 10);
    ck_assert(y[0] == 1.0f && y[1] == 1.0f && y[2] == INFINITY && y[3] == 0.0f && isnan(y[4]));
    ck_assert(y[5] == INFINITY && y[6] == 0.0f && y[7] == INFINITY && y[8] == 0.0f && isnan(y[9]));
}
END_TEST

/* ---- All kernels through one table ------------------------------------------------------ */

static const tlmi_adamw_step_t adamw_step = {.beta1 = 0.9f,
                                             .beta2 = 0.999f,
                                             .one_minus_beta1 = 0.1f,
                                             .one_minus_beta2 = 0.001f,
                                             .eps = 1e-8f,
                                             .step_size = 0.01f,
                                             .decay_before = 0.95f,
                                             .decay_after = 0.9f};

/* Up to three outputs (which start out filled) from three inputs; r receives a reduction. */
typedef struct arrays {
    float *y[3];
    const float *x[3];
    double r;
} arrays_t;

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double slope(double x)
{
    return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
}

static void k_exp(arrays_t *a, int64_t n)
{
    tlmi_vec_exp(a->y[0], a->x[0], n);
}
static void k_exp_sum(arrays_t *a, int64_t n)
{
    a->r = (double)tlmi_vec_exp_sum(a->y[0], a->x[0], 0.5f, n);
}
static void k_max(arrays_t *a, int64_t n)
{
    a->r = (double)tlmi_vec_max(a->x[0], n);
}
static void k_sum(arrays_t *a, int64_t n)
{
    a->r = (double)tlmi_vec_sum(a->x[0], n);
}
static void k_dot(arrays_t *a, int64_t n)
{
    a->r = (double)tlmi_vec_dot(a->x[0], a->x[1], n);
}
static void k_sum_squares(arrays_t *a, int64_t n)
{
    a->r = tlmi_vec_sum_squares(a->x[0], n);
}
static void k_add(arrays_t *a, int64_t n)
{
    tlmi_vec_add(a->y[0], a->x[0], a->x[1], n);
}
static void k_mul(arrays_t *a, int64_t n)
{
    tlmi_vec_mul(a->y[0], a->x[0], a->x[1], n);
}
static void k_mul_add(arrays_t *a, int64_t n)
{
    tlmi_vec_mul_add(a->y[0], a->x[0], a->x[1], n);
}
static void k_scale(arrays_t *a, int64_t n)
{
    tlmi_vec_scale(a->y[0], a->x[0], -1.5f, n);
}
static void k_axpy(arrays_t *a, int64_t n)
{
    tlmi_vec_axpy(a->y[0], -1.5f, a->x[0], n);
}
static void k_silu(arrays_t *a, int64_t n)
{
    tlmi_vec_silu(a->y[0], a->x[0], n);
}
static void k_silu_backward(arrays_t *a, int64_t n)
{
    tlmi_vec_silu_backward(a->y[0], a->x[0], a->x[1], false, n);
    tlmi_vec_silu_backward(a->y[1], a->x[0], a->x[1], true, n);
}
static void k_silu_mul(arrays_t *a, int64_t n)
{
    tlmi_vec_silu_mul(a->y[0], a->x[0], a->x[1], n);
}
static void k_silu_mul_backward(arrays_t *a, int64_t n)
{
    tlmi_vec_silu_mul_backward(a->y[0], false, a->y[1], true, a->x[0], a->x[1], a->x[2], n);
}
static void k_adamw(arrays_t *a, int64_t n)
{
    tlmi_vec_adamw(a->y[0], a->y[1], a->y[2], a->x[0], &adamw_step, n);
}

/* What the kernel makes of element i (y: the elements' old values, replaced) and adds to r. */
typedef void (*reference_fn)(double y[3], const double x[3], double *r);

static void r_exp(double y[3], const double x[3], double *r)
{
    y[0] = exp(x[0]);
}
static void r_exp_sum(double y[3], const double x[3], double *r)
{
    y[0] = exp(x[0] - 0.5);
    *r += y[0];
}
static void r_max(double y[3], const double x[3], double *r)
{
    *r = x[0] > *r ? x[0] : *r;
}
static void r_sum(double y[3], const double x[3], double *r)
{
    *r += x[0];
}
static void r_dot(double y[3], const double x[3], double *r)
{
    *r += x[0] * x[1];
}
static void r_sum_squares(double y[3], const double x[3], double *r)
{
    *r += x[0] * x[0];
}
static void r_add(double y[3], const double x[3], double *r)
{
    y[0] = x[0] + x[1];
}
static void r_mul(double y[3], const double x[3], double *r)
{
    y[0] = x[0] * x[1];
}
static void r_mul_add(double y[3], const double x[3], double *r)
{
    y[0] += x[0] * x[1];
}
static void r_scale(double y[3], const double x[3], double *r)
{
    y[0] = -1.5 * x[0];
}
static void r_axpy(double y[3], const double x[3], double *r)
{
    y[0] += -1.5 * x[0];
}
static void r_silu(double y[3], const double x[3], double *r)
{
    y[0] = x[0] * sigmoid(x[0]);
}
static void r_silu_backward(double y[3], const double x[3], double *r)
{
    y[0] = x[0] * slope(x[1]);
    y[1] += x[0] * slope(x[1]);
}
static void r_silu_mul(double y[3], const double x[3], double *r)
{
    y[0] = x[0] * sigmoid(x[0]) * x[1];
}
static void r_silu_mul_backward(double y[3], const double x[3], double *r)
{
    y[0] = x[0] * x[2] * slope(x[1]);
    y[1] += x[0] * x[1] * sigmoid(x[1]);
}
static void r_adamw(double y[3], const double x[3], double *r)
{
    double second = fabs(y[2]); /* the test starts it positive */
    y[1] = (double)adamw_step.beta1 * y[1] + (double)adamw_step.one_minus_beta1 * x[0];
    y[2] = (double)adamw_step.beta2 * second + (double)adamw_step.one_minus_beta2 * x[0] * x[0];
    y[0] *= (double)adamw_step.decay_before;
    y[0] -= (double)adamw_step.step_size * y[1] / (sqrt(y[2]) + (double)adamw_step.eps);
    y[0] *= (double)adamw_step.decay_after;
}

static const struct {
    const char *name;
    void (*run)(arrays_t *arrays, int64_t n);
    reference_fn reference;
    int outputs;
    bool reduces;
} kernels[] = {
    {"exp", k_exp, r_exp, 1, false},
    {"exp_sum", k_exp_sum, r_exp_sum, 1, true},
    {"max", k_max, r_max, 0, true},
    {"sum", k_sum, r_sum, 0, true},
    {"dot", k_dot, r_dot, 0, true},
    {"sum_squares", k_sum_squares, r_sum_squares, 0, true},
    {"add", k_add, r_add, 1, false},
    {"mul", k_mul, r_mul, 1, false},
    {"mul_add", k_mul_add, r_mul_add, 1, false},
    {"scale", k_scale, r_scale, 1, false},
    {"axpy", k_axpy, r_axpy, 1, false},
    {"silu", k_silu, r_silu, 1, false},
    {"silu_backward", k_silu_backward, r_silu_backward, 2, false},
    {"silu_mul", k_silu_mul, r_silu_mul, 1, false},
    {"silu_mul_backward", k_silu_mul_backward, r_silu_mul_backward, 2, false},
    {"adamw", k_adamw, r_adamw, 3, false},
};
#define NUM_KERNELS ((int)(sizeof(kernels) / sizeof(*kernels)))

/* Runs kernel k on n elements that begin `shift` floats into their memory, `range` large. */
static void check_kernel(int k, int64_t n, int shift, double range)
{
    float memory[6][MAX_N + 2 * GUARD];
    double old[3][MAX_N];
    arrays_t arrays;
    for (int j = 0; j < 6; j++)
        for (int i = 0; i < MAX_N + 2 * GUARD; i++)
            memory[j][i] = (float)(range * (2 * uniform() - 1));
    for (int i = 0; i < MAX_N + 2 * GUARD; i++)
        memory[2][i] = fabsf(memory[2][i]);
    for (int j = 0; j < 3; j++) {
        arrays.y[j] = memory[j] + GUARD + shift % GUARD;
        arrays.x[j] = memory[3 + j] + GUARD - shift % GUARD;
        for (int64_t i = 0; i < n; i++)
            old[j][i] = (double)arrays.y[j][i];
    }
    float before[3][MAX_N + 2 * GUARD];
    memcpy(before, memory, sizeof(before));
    kernels[k].run(&arrays, n);

    double r = kernels[k].run == k_max ? -INFINITY : 0;
    double size = 0; /* of what a reduction adds up */
    for (int64_t i = 0; i < n; i++) {
        double x[3], y[3];
        for (int j = 0; j < 3; j++) {
            x[j] = (double)arrays.x[j][i];
            y[j] = old[j][i];
        }
        kernels[k].reference(y, x, &r);
        size += fabs(x[0]) * fmax(1, fmax(fabs(x[1]), fabs(x[0]))) + fabs(y[0]);
        for (int j = 0; j < kernels[k].outputs; j++) {
            double error = fabs((double)arrays.y[j][i] - y[j]);
            double bound =
                2e-6 * (fabs(y[j]) + 0.3 * fabs(old[j][i]) + 0.3 * fabs(x[0] * x[1])) + 1e-6;
            if (!(error <= bound))
                ck_abort_msg("%s: n %lld, shift %d: y%d[%lld] is %.9g, not %.9g", kernels[k].name,
                             (long long)n, shift, j, (long long)i, (double)arrays.y[j][i], y[j]);
        }
    }
    if (kernels[k].reduces && !(arrays.r == r || fabs(arrays.r - r) <= 1e-6 * size))
        ck_abort_msg("%s: n %lld, shift %d: %.9g, not %.9g", kernels[k].name, (long long)n, shift,
                     arrays.r, r);
    for (int j = 0; j < 3; j++)
        for (int i = 0; i < MAX_N + 2 * GUARD; i++) {
            int64_t place = &memory[j][i] - arrays.y[j];
            bool written = j < kernels[k].outputs && place >= 0 && place < n;
            if (!written)
                ck_assert_int_eq(memcmp(&memory[j][i], &before[j][i], sizeof(float)), 0);
        }
}

START_TEST(test_kernels)
{
    int k = _i % NUM_KERNELS;
    if (!set_level(_i / NUM_KERNELS))
        return;
    for (int64_t n = 0; n <= MAX_N; n++)
        for (int shift = 0; shift < 4; shift++)
            check_kernel(k, n, shift, shift == 3 ? 20.0 : 2.0);
}
END_TEST

/* Cutting a row at multiples of 16 changes no bit of what is made element by element. */
START_TEST(test_cuts)
{
    int k = _i % NUM_KERNELS;
    if (!set_level(_i / NUM_KERNELS) || kernels[k].reduces)
        return;
    float whole[3][MAX_N], cut[3][MAX_N], x[3][MAX_N];
    for (int j = 0; j < 3; j++)
        for (int i = 0; i < MAX_N; i++) {
            whole[j][i] = cut[j][i] = (float)uniform();
            x[j][i] = (float)(8 * uniform() - 4);
        }
    arrays_t arrays = {{whole[0], whole[1], whole[2]}, {x[0], x[1], x[2]}, 0};
    kernels[k].run(&arrays, MAX_N);
    for (int64_t begin = 0; begin < MAX_N; begin += 16) {
        arrays_t piece = {{cut[0] + begin, cut[1] + begin, cut[2] + begin},
                          {x[0] + begin, x[1] + begin, x[2] + begin},
                          0};
        kernels[k].run(&piece, MAX_N - begin < 16 ? MAX_N - begin : 16);
    }
    ck_assert_int_eq(memcmp(whole, cut, sizeof(whole)), 0);
}
END_TEST

/* One NaN among ordinary numbers, at every place. */
START_TEST(test_nan)
{
    if (!set_level(_i))
        return;
    for (int64_t n = 1; n <= 40; n++) {
        for (int64_t place = 0; place < n; place++) {
            float x[40], y[40];
            for (int i = 0; i < 40; i++)
                x[i] = (float)uniform();
            x[place] = NAN;
            ck_assert(isnan(tlmi_vec_max(x, n)) && isnan(tlmi_vec_sum(x, n)));
            ck_assert(isnan(tlmi_vec_dot(x, x, n)) && isnan(tlmi_vec_sum_squares(x, n)));
            ck_assert(isnan(tlmi_vec_exp_sum(y, x, 0.0f, n)));
            tlmi_vec_silu(y, x, n);
            for (int64_t i = 0; i < n; i++)
                ck_assert_int_eq(isnan(y[i]) != 0, i == place);
        }
    }
    ck_assert(tlmi_vec_max(NULL, 0) == -INFINITY);
    ck_assert(tlmi_vec_sum(NULL, 0) == 0.0f);
}
END_TEST

/* Far from 0, silu is x or 0 and its slope 1 or 0; nothing overflows on the way. */
START_TEST(test_silu_large)
{
    if (!set_level(_i))
        return;
    const float x[] = {1e4f, -1e4f, 88.0f, -88.0f, 150.0f, -150.0f, 3e38f, -3e38f};
    const float ones[] = {1, 1, 1, 1, 1, 1, 1, 1};
    float y[8], dx[8];
    tlmi_vec_silu(y, x, 8);
    tlmi_vec_silu_backward(dx, ones, x, false, 8);
    for (int i = 0; i < 8; i++) {
        ck_assert_msg(fabs((double)y[i] - (x[i] > 0 ? (double)x[i] : 0)) <= 1e-30, "silu(%g) is %g",
                      (double)x[i], (double)y[i]);
        ck_assert_msg(fabs((double)dx[i] - (x[i] > 0)) <= 1e-30, "silu'(%g) is %g", (double)x[i],
                      (double)dx[i]);
    }
}
END_TEST

START_TEST(test_dot_rows)
{
    if (!set_level(_i))
        return;
    float x[MAX_N], rows[11 * (MAX_N + 2)], out[11];
    for (int i = 0; i < MAX_N; i++)
        x[i] = (float)uniform();
    for (int i = 0; i < 11 * (MAX_N + 2); i++)
        rows[i] = (float)uniform();
    for (int64_t num_rows = 0; num_rows <= 11; num_rows++) {
        for (int64_t n = 0; n <= MAX_N; n += 3) {
            tlmi_vec_dot_rows(out, x, rows, n + 2, num_rows, n);
            for (int64_t r = 0; r < num_rows; r++) {
                float want = tlmi_vec_dot(x, rows + r * (n + 2), n);
                ck_assert_int_eq(memcmp(&out[r], &want, sizeof(float)), 0);
            }
        }
    }
}
END_TEST

START_TEST(test_dot_tile)
{
    enum { ROWS = 11, N = 70 };
    if (!set_level(_i))
        return;
    float x[ROWS * (N + 3)], rows[ROWS * (N + 2)], out[ROWS * (ROWS + 1)];
    for (int i = 0; i < ROWS * (N + 3); i++)
        x[i] = (float)uniform();
    for (int i = 0; i < ROWS * (N + 2); i++)
        rows[i] = (float)uniform();
    for (int64_t num_x = 0; num_x <= ROWS; num_x++)
        for (int64_t num_rows = 0; num_rows <= ROWS; num_rows++)
            for (int64_t n = 0; n <= N; n += 7) {
                tlmi_vec_dot_tile(out, num_rows + 1, x, n + 3, num_x, rows, n + 2, num_rows, n);
                for (int64_t t = 0; t < num_x; t++)
                    for (int64_t r = 0; r < num_rows; r++) {
                        float want = tlmi_vec_dot(x + t * (n + 3), rows + r * (n + 2), n);
                        ck_assert_int_eq(memcmp(&out[t * (num_rows + 1) + r], &want, sizeof(float)),
                                         0);
                    }
            }
}
END_TEST

START_TEST(test_weighted_rows)
{
    enum { ROWS = 11, N = 70 };
    if (!set_level(_i))
        return;
    float weights[ROWS], rows[ROWS * (N + 2)], out[N + 1];
    for (int i = 0; i < ROWS; i++)
        weights[i] = (float)uniform();
    for (int i = 0; i < ROWS * (N + 2); i++)
        rows[i] = (float)uniform();
    for (int64_t num_rows = 0; num_rows <= ROWS; num_rows++)
        for (int64_t n = 0; n <= N; n++) {
            out[n] = 77.0f;
            tlmi_vec_weighted_rows(out, weights, rows, n + 2, num_rows, n);
            for (int64_t j = 0; j < n; j++) {
                double want = 0;
                for (int64_t r = 0; r < num_rows; r++)
                    want += (double)weights[r] * (double)rows[r * (n + 2) + j];
                ck_assert(fabs((double)out[j] - want) <= 1e-5);
            }
            ck_assert(out[n] == 77.0f);
        }
}
END_TEST

START_TEST(test_weighted_rows_of_float16)
{
    enum { ROWS = 11, N = 70 };
    if (!set_level(_i))
        return;
    float weights[ROWS], rows[ROWS * (N + 2)], out[N + 1], want[N];
    uint16_t halves[ROWS * (N + 2)];
    for (int i = 0; i < ROWS; i++)
        weights[i] = (float)uniform();
    for (int i = 0; i < ROWS * (N + 2); i++) {
        halves[i] = tlmi_float_to_half((float)uniform());
        rows[i] = tlmi_half_to_float(halves[i]);
    }
    for (int64_t num_rows = 0; num_rows <= ROWS; num_rows++)
        for (int64_t n = 0; n <= N; n++) {
            out[n] = 77.0f;
            tlmi_vec_weighted_rows_f16(out, weights, halves, n + 2, num_rows, n);
            tlmi_vec_weighted_rows(want, weights, rows, n + 2, num_rows, n);
            ck_assert_int_eq(memcmp(out, want, (size_t)n * sizeof(float)), 0);
            ck_assert(out[n] == 77.0f);
        }
}
END_TEST

typedef struct range_record {
    int8_t *seen;
    int64_t n;
} range_record_t;

static void see_range(void *context, int64_t begin, int64_t end)
{
    range_record_t *record = context;
    ck_assert(begin % 16 == 0 && begin < end && end <= record->n);
    for (int64_t i = begin; i < end; i++)
        record->seen[i]++;
}

START_TEST(test_parallel_ranges)
{
    static int8_t seen[100000];
    for (int64_t n = 0; n <= 100000; n = n * 3 + 1) {
        range_record_t record = {seen, n};
        memset(seen, 0, sizeof(seen));
        tlmi_parallel_ranges(n, see_range, &record);
        for (int64_t i = 0; i < 100000; i++)
            ck_assert_int_eq(seen[i], i < n);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vector_math");
    TCase *tcase = tcase_create("levels");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, test_exp_accuracy, 0, TLM_CPU_NEON + 1);
    tcase_add_loop_test(tcase, test_exp_special, 0, TLM_CPU_NEON + 1);
    tcase_add_loop_test(tcase, test_kernels, 0, (TLM_CPU_NEON + 1) * NUM_KERNELS);
    tcase_add_loop_test(tcase, test_cuts, 0, (TLM_CPU_NEON + 1) * NUM_KERNELS);
    tcase_add_loop_test(tcase, test_nan, 0, TLM_CPU_NEON + 1);
    tcase_add_loop_test(tcase, test_silu_large, 0, TLM_CPU_NEON + 1);
    tcase_add_loop_test(tcase, test_dot_rows, 0, TLM_CPU_NEON + 1);
    tcase_add_loop_test(tcase, test_dot_tile, 0, TLM_CPU_NEON + 1);
    tcase_add_loop_test(tcase, test_weighted_rows, 0, TLM_CPU_NEON + 1);
    tcase_add_loop_test(tcase, test_weighted_rows_of_float16, 0, TLM_CPU_NEON + 1);
    tcase_add_test(tcase, test_parallel_ranges);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
