/* Matrix products against the triple loop in float64, at every CPU level and on several thread
 * counts. */
#include "run_suite.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "kernels/gemm.h"

static uint64_t state;

static double uniform(void)
{
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static float *random_floats(int64_t n)
{
    float *values = malloc((size_t)n * sizeof(float) + 4);
    ck_assert_ptr_nonnull(values);
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)(2 * uniform() - 1);
    return values;
}

/* An operand of (rows, columns): row-major, column-major, padded rows, or every second element. */
static tlmi_matrix_t layout(float **memory, int kind, int64_t rows, int64_t columns)
{
    tlmi_matrix_t matrix = {0};
    switch (kind) {
    case 0:
        matrix = (tlmi_matrix_t){NULL, columns, 1};
        break;
    case 1:
        matrix = (tlmi_matrix_t){NULL, 1, rows};
        break;
    case 2:
        matrix = (tlmi_matrix_t){NULL, columns + 5, 1};
        break;
    case 3:
        matrix = (tlmi_matrix_t){NULL, 2 * columns + 1, 2};
        break;
    default: /* one row repeated */
        matrix = (tlmi_matrix_t){NULL, 0, 1};
        break;
    }
    *memory = random_floats(1 + rows * matrix.row_stride + columns * matrix.column_stride);
    matrix.data = *memory + 1; /* not aligned to a vector */
    return matrix;
}

typedef struct problem {
    int64_t m, n, k, c_stride;
    float alpha, beta;
    tlmi_matrix_t a, b;
    float *memory_a, *memory_b, *c, *want;
} problem_t;

static problem_t make_problem(int64_t m, int64_t n, int64_t k, int kind_a, int kind_b, float alpha,
                              float beta)
{
    problem_t p = {.m = m, .n = n, .k = k, .alpha = alpha, .beta = beta, .c_stride = n + 3};
    p.a = layout(&p.memory_a, kind_a, m, k);
    p.b = layout(&p.memory_b, kind_b, k, n);
    p.c = random_floats(m * p.c_stride);
    p.want = malloc((size_t)(m * p.c_stride) * sizeof(float) + 4);
    ck_assert_ptr_nonnull(p.want);
    for (int64_t i = 0; i < m * p.c_stride; i++) {
        if (beta == 0.0f && i % p.c_stride < n)
            p.c[i] = NAN; /* must not be read */
        p.want[i] = p.c[i];
    }
    tlmi_gemm_reference(m, n, k, alpha, p.a, p.b, beta, p.want, p.c_stride);
    return p;
}

static void free_problem(problem_t *p)
{
    free(p->memory_a);
    free(p->memory_b);
    free(p->c);
    free(p->want);
}

static void check_result(const problem_t *p)
{
    double bound = 1e-6 * (fabs((double)p->alpha) * (double)p->k + fabs((double)p->beta) + 1);
    for (int64_t i = 0; i < p->m * p->c_stride; i++) {
        double error = fabs((double)p->c[i] - (double)p->want[i]);
        bool outside = i % p->c_stride >= p->n;
        if (!(error <= (outside ? 0.0 : bound)))
            ck_abort_msg(
                "(%lld, %lld, %lld) alpha %g beta %g: element %lld of row %lld is %g, not %g",
                (long long)p->m, (long long)p->n, (long long)p->k, (double)p->alpha,
                (double)p->beta, (long long)(i % p->c_stride), (long long)(i / p->c_stride),
                (double)p->c[i], (double)p->want[i]);
    }
}

static const int64_t sizes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 13, 16, 17, 31, 33, 48, 65, 97};
#define NUM_SIZES (sizeof(sizes) / sizeof(*sizes))

static void try_one(int64_t m, int64_t n, int64_t k)
{
    static const float alphas[] = {1.0f, 1.0f, -0.5f, 0.0f};
    static const float betas[] = {0.0f, 1.0f, 0.25f};
    int kinds = (int)(uniform() * 25);
    problem_t p = make_problem(m, n, k, kinds % 5, kinds / 5, alphas[(int)(uniform() * 4)],
                               betas[(int)(uniform() * 3)]);
    if (uniform() < 0.5)
        tlmi_gemm_serial(m, n, k, p.alpha, p.a, p.b, p.beta, p.c, p.c_stride);
    else
        ck_assert_int_eq(tlmi_gemm(m, n, k, p.alpha, p.a, p.b, p.beta, p.c, p.c_stride), TLM_OK);
    check_result(&p);
    free_problem(&p);
}

/* Runs at CPU level _i; a level that the CPU lacks is passed over. */
static bool set_level(int level)
{
    return tlm_set_cpu_level(level) == TLM_OK;
}

START_TEST(test_random_shapes)
{
    if (!set_level(_i))
        return;
    state = 1;
    for (int i = 0; i < 1500; i++)
        try_one(sizes[(size_t)(uniform() * NUM_SIZES)], sizes[(size_t)(uniform() * NUM_SIZES)],
                sizes[(size_t)(uniform() * NUM_SIZES)]);
    try_one(150, 300, 257);
    try_one(1, 700, 511);
    try_one(700, 1, 511);
    try_one(3, 5000, 40);
    try_one(37, 41, 1100);
    try_one(4100, 20, 5);
    try_one(20, 4100, 5);
    try_one(400, 390, 280);
}
END_TEST

/* Same bits on any number of threads, and from the serial call. */
START_TEST(test_threads)
{
    static const int64_t shapes[][3] = {
        {201, 303, 600}, {1, 3000, 200}, {1000, 2, 300}, {97, 1030, 70}};
    static const int threads[] = {1, 2, 5};
    if (!set_level(_i))
        return;
    for (size_t s = 0; s < sizeof(shapes) / sizeof(*shapes); s++) {
        for (int beta = 0; beta < 2; beta++) {
            state = s;
            problem_t p =
                make_problem(shapes[s][0], shapes[s][1], shapes[s][2], 0, 1, 1.0f, (float)beta);
            size_t bytes = (size_t)(p.m * p.c_stride) * sizeof(float);
            float *start = malloc(bytes);
            float *first = malloc(bytes);
            ck_assert(start != NULL && first != NULL);
            memcpy(start, p.c, bytes);
            tlmi_gemm_serial(p.m, p.n, p.k, p.alpha, p.a, p.b, p.beta, p.c, p.c_stride);
            memcpy(first, p.c, bytes);
            for (int t = 0; t < 3; t++) {
                ck_assert_int_eq(tlm_set_num_threads(threads[t]), TLM_OK);
                memcpy(p.c, start, bytes);
                tlmi_gemm(p.m, p.n, p.k, p.alpha, p.a, p.b, p.beta, p.c, p.c_stride);
                check_result(&p);
                ck_assert_int_eq(memcmp(first, p.c, bytes), 0);
            }
            ck_assert_int_eq(tlm_set_num_threads(0), TLM_OK);
            free(start);
            free(first);
            free_problem(&p);
        }
    }
}
END_TEST

static void round_all(float *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        values[i] = tlmi_bfloat16_to_float(tlmi_float_to_bfloat16(values[i]));
}

/* Products in bfloat16 are those of the rounded operands, in every layout and with the same bits on any
 * number of threads. */
static void check_products(int32_t products, problem_t *p)
{
    const size_t bytes = (size_t)(p->m * p->c_stride) * sizeof(float);
    float *start = malloc(bytes), *first = malloc(bytes);

    ck_assert(start != NULL && first != NULL);
    memcpy(start, p->c, bytes);
    for (int32_t threads = 1; threads <= 3; threads++) {
        ck_assert_int_eq(tlm_set_num_threads(threads), TLM_OK);
        memcpy(p->c, start, bytes);
        tlmi_gemm_as(products, p->m, p->n, p->k, p->alpha, p->a, p->b, p->beta, p->c, p->c_stride);
        if (threads == 1)
            memcpy(first, p->c, bytes);
        ck_assert_int_eq(memcmp(first, p->c, bytes), 0);
    }
    ck_assert_int_eq(tlm_set_num_threads(0), TLM_OK);
    round_all(p->memory_a, 1 + p->m * p->a.row_stride + p->k * p->a.column_stride);
    round_all(p->memory_b, 1 + p->k * p->b.row_stride + p->n * p->b.column_stride);
    memcpy(p->want, start, bytes);
    tlmi_gemm_reference(p->m, p->n, p->k, p->alpha, p->a, p->b, p->beta, p->want, p->c_stride);
    check_result(p);
    free(start);
    free(first);
}

START_TEST(test_bfloat16)
{
    static const int64_t shapes[][3] = {{1, 1, 1},     {3, 5, 2},       {31, 13, 7},
                                        {33, 12, 64},  {70, 129, 65},   {2, 300, 5},
                                        {64, 96, 739}, {201, 303, 1500}};

    for (int32_t products = TLM_PRODUCTS_BFLOAT16; products <= TLM_PRODUCTS_BFLOAT16_EMULATED;
         products++) {
        if (tlmi_products_check("test", products) != TLM_OK)
            continue;
        for (size_t s = 0; s < sizeof(shapes) / sizeof(*shapes); s++)
            for (int kinds = 0; kinds < 25; kinds += s < 6 ? 1 : 6) {
                problem_t p =
                    make_problem(shapes[s][0], shapes[s][1], shapes[s][2], kinds % 5, kinds / 5,
                                 kinds % 2 == 0 ? 1.0f : -0.5f, (float)(kinds % 3) / 2);

                check_products(products, &p);
                free_problem(&p);
            }
    }
}
END_TEST

/* The small products of attention's tiles: panels of any size, A in either order, the first rows of B
 * alone, written and added, at every CPU level. */
START_TEST(test_panels)
{
    if (!set_level(_i))
        return;
    for (int round = 0; round < 60; round++) {
        int64_t m = 1 + (int64_t)(uniform() * 70), n = 1 + (int64_t)(uniform() * 70);
        int64_t packed = 1 + (int64_t)(uniform() * 70),
                k = 1 + (int64_t)(uniform() * (double)packed);
        bool accumulate = round % 2 == 1;
        problem_t p = make_problem(m, n, packed, round % 4, round / 4 % 4, 1.0f, accumulate);
        float *panels = malloc((size_t)tlmi_panel_size(packed, n) * sizeof(float));
        ck_assert_ptr_nonnull(panels);
        memcpy(p.want, p.c, (size_t)(m * p.c_stride) * sizeof(float));
        tlmi_gemm_reference(m, n, k, 1.0f, p.a, p.b, p.beta, p.want, p.c_stride);
        tlmi_panel_pack(panels, p.b.data, p.b.row_stride, p.b.column_stride, packed, n);
        tlmi_panel_gemm(m, n, k, p.a.data, p.a.row_stride, p.a.column_stride, panels, packed, p.c,
                        p.c_stride, accumulate);
        p.k = k;
        check_result(&p);
        free(panels);
        free_problem(&p);
    }
}
END_TEST

/* A NaN or infinity in an operand reaches the rows and columns it must, and no others. */
START_TEST(test_non_finite)
{
    if (!set_level(_i))
        return;
    for (int64_t m = 2; m < 40; m += 9) {
        problem_t p = make_problem(m, 21, 19, 0, 0, 1.0f, 0.0f);
        p.memory_a[1 + 1 * p.k + 7] = NAN;
        tlmi_gemm(p.m, p.n, p.k, p.alpha, p.a, p.b, p.beta, p.c, p.c_stride);
        for (int64_t i = 0; i < p.m; i++)
            for (int64_t j = 0; j < p.n; j++)
                ck_assert_int_eq(isnan(p.c[i * p.c_stride + j]) != 0, i == 1);
        free_problem(&p);
    }
}
END_TEST

/* What the build found in BLIS's archive is taken at the levels it is for. */
START_TEST(test_kernel_name)
{
    const char *expected[] = {"generic", "generic", "generic", "generic"};
#ifdef TLMI_BLIS_HASWELL
    expected[TLM_CPU_AVX2] = expected[TLM_CPU_AVX512] = "haswell";
#endif
#ifdef TLMI_BLIS_SKX
    expected[TLM_CPU_AVX512] = "skx";
#endif
#ifdef TLMI_BLIS_ARMV8A
    expected[TLM_CPU_NEON] = "armv8a";
#endif
    if (set_level(_i))
        ck_assert_str_eq(tlm_gemm_kernel_name(), expected[_i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gemm");
    TCase *tcase = tcase_create("levels");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, test_random_shapes, 0, TLM_CPU_NEON + 1);
    tcase_add_loop_test(tcase, test_threads, 0, TLM_CPU_NEON + 1);
    tcase_add_test(tcase, test_bfloat16);
    tcase_add_loop_test(tcase, test_panels, 0, TLM_CPU_NEON + 1);
    tcase_add_loop_test(tcase, test_non_finite, 0, TLM_CPU_NEON + 1);
    tcase_add_loop_test(tcase, test_kernel_name, 0, TLM_CPU_NEON + 1);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
