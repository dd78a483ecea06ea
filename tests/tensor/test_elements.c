/* Comparisons and conversions of every pair of element types, and the edges of pow. */
#include "run_suite.h"

#include <check.h>
#include <math.h>

#include "tinylm/tensor.h"

#define OK(call) ck_assert_msg((call) == TLM_OK, "%s: %s", #call, tlm_error_message())

static tlm_tensor_t *make(int32_t dtype, const void *data, int64_t n)
{
    tlm_tensor_t *tensor;
    OK(tlm_tensor_from_data(&tensor, dtype, data, &n, 1));
    return tensor;
}

static void expect(tlm_tensor_t *a, tlm_tensor_t *b, int64_t n, const char *const *rows)
{
    for (int32_t comparison = TLM_COMPARE_EQUAL; comparison <= TLM_COMPARE_GREATER_EQUAL;
         comparison++) {
        tlm_tensor_t *y;
        OK(tlm_compare(&y, a, b, comparison));
        ck_assert_int_eq(tlm_tensor_dtype(y), TLM_BOOL);
        ck_assert_int_eq(tlm_tensor_numel(y), n);
        for (int64_t i = 0; i < n; i++)
            ck_assert_msg(((uint8_t *)tlm_tensor_data(y))[i] == rows[comparison][i] - '0',
                          "comparison %d of element %d", comparison, (int)i);
        tlm_tensor_free(y);
    }
    tlm_tensor_free(a);
    tlm_tensor_free(b);
}

START_TEST(test_compare)
{
    expect(make(TLM_FLOAT32, (float[]){1, 2, 3, NAN, -0.0f, INFINITY}, 6),
           make(TLM_FLOAT32, (float[]){2, 2, 2, NAN, 0.0f, INFINITY}, 6), 6,
           (const char *[]){"010011", "101100", "100000", "110011", "001000", "011011"});
    expect(make(TLM_INT64, (int64_t[]){INT64_MAX, -1, 5}, 3),
           make(TLM_INT64, (int64_t[]){INT64_MAX - 1, 1, 5}, 3), 3,
           (const char *[]){"001", "110", "010", "011", "100", "101"});
    expect(make(TLM_INT32, (int32_t[]){-1, 7}, 2), make(TLM_UINT32, (uint32_t[]){UINT32_MAX, 7}, 2),
           2, (const char *[]){"01", "10", "10", "11", "00", "01"});
    expect(make(TLM_BOOL, (uint8_t[]){0, 1}, 2), make(TLM_FLOAT32, (float[]){0.5f, 1}, 2), 2,
           (const char *[]){"01", "10", "10", "11", "00", "01"});
    /* (2, 1) against (3) */
    tlm_tensor_t *a, *y;
    tlm_tensor_t *b = make(TLM_FLOAT32, (float[]){1, 2, 3}, 3);
    OK(tlm_tensor_from_data(&a, TLM_FLOAT32, (float[]){2, 3}, (int64_t[]){2, 1}, 2));
    OK(tlm_compare(&y, a, b, TLM_COMPARE_LESS_EQUAL));
    ck_assert_mem_eq(tlm_tensor_data(y), ((uint8_t[]){0, 1, 1, 0, 0, 1}), 6);
    tlm_tensor_free(y);
    y = NULL;
    ck_assert_int_eq(tlm_compare(&y, a, b, 6), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_int_eq(tlm_compare(&y, a, NULL, 0), TLM_ERR_INVALID_ARGUMENT);
    tlm_tensor_t *half = make(TLM_FLOAT16, (uint16_t[]){0}, 1);
    ck_assert_int_eq(tlm_compare(&y, half, b, 0), TLM_ERR_INVALID_ARGUMENT);
    tlm_tensor_t *four = make(TLM_INT32, (int32_t[]){0, 0, 0, 0}, 4);
    ck_assert_int_eq(tlm_compare(&y, four, b, 0), TLM_ERR_SHAPE);
    ck_assert_ptr_null(y);
    tlm_tensor_free(a);
    tlm_tensor_free(b);
    tlm_tensor_free(half);
    tlm_tensor_free(four);
}
END_TEST

/* 0, 1 and 2 (1 of bool) go from every type to every type and back. */
START_TEST(test_convert_round_trips)
{
    for (int32_t from = TLM_FLOAT32; from <= TLM_FLOAT16; from++)
        for (int32_t to = TLM_FLOAT32; to <= TLM_FLOAT16; to++) {
            const float values[] = {0, 1, 1};
            tlm_tensor_t *start = make(TLM_FLOAT32, values, 3), *a, *b, *c;
            float got[3];
            OK(tlm_tensor_convert(&a, start, from));
            OK(tlm_tensor_convert(&b, a, to));
            ck_assert_int_eq(tlm_tensor_dtype(b), to);
            OK(tlm_tensor_convert(&c, b, TLM_FLOAT32));
            OK(tlm_tensor_copy_out(got, 3, c));
            ck_assert_mem_eq(got, values, sizeof(got));
            tlm_tensor_free(start);
            tlm_tensor_free(a);
            tlm_tensor_free(b);
            tlm_tensor_free(c);
        }
}
END_TEST

START_TEST(test_convert_limits)
{
    static const struct {
        float value;
        int32_t dtype;
        bool fits;
    } rows[] = {
        {NAN, TLM_INT32, false},
        {INFINITY, TLM_INT64, false},
        {2147483520.0f, TLM_INT32, true},
        {2147483648.0f, TLM_INT32, false},
        {-2147483648.0f, TLM_INT32, true},
        {-0.9f, TLM_UINT32, true},
        {-1.0f, TLM_UINT32, false},
        {4294967040.0f, TLM_UINT32, true},
        {4294967296.0f, TLM_UINT32, false},
        {0x1p63f, TLM_INT64, false},
        {-0x1p63f, TLM_INT64, true},
        {NAN, TLM_BOOL, true},
        {1e30f, TLM_FLOAT16, true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        tlm_tensor_t *a = make(TLM_FLOAT32, &rows[i].value, 1), *y = NULL;
        ck_assert_int_eq(tlm_tensor_convert(&y, a, rows[i].dtype),
                         rows[i].fits ? TLM_OK : TLM_ERR_RANGE);
        ck_assert_int_eq(y != NULL, rows[i].fits);
        tlm_tensor_free(a);
        tlm_tensor_free(y);
    }
    tlm_tensor_t *a = make(TLM_INT64, (int64_t[]){-7, (int64_t)1 << 40}, 2), *y = NULL;
    ck_assert_int_eq(tlm_tensor_convert(&y, a, TLM_INT32), TLM_ERR_RANGE);
    ck_assert_str_eq(tlm_error_message(), "tensor_convert: element 1, 1099511627776, is no int32");
    ck_assert_int_eq(tlm_tensor_convert(&y, a, 99), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_ptr_null(y);
    tlm_tensor_free(a);
    /* One rounding: through float64, 2^53 + 2^29 + 1 would become a tie. */
    a = make(TLM_INT64, (int64_t[]){((int64_t)1 << 53) + ((int64_t)1 << 29) + 1}, 1);
    OK(tlm_tensor_convert(&y, a, TLM_FLOAT32));
    ck_assert(*(float *)tlm_tensor_data(y) == 0x1p53f + 0x1p30f);
    tlm_tensor_free(a);
    tlm_tensor_free(y);
    /* Cut towards 0; a view; outside the graph. */
    tlm_tensor_t *turned;
    OK(tlm_tensor_from_data(&a, TLM_FLOAT32, (float[]){-1.9f, 1.9f, 2, 3}, (int64_t[]){2, 2}, 2));
    OK(tlm_tensor_set_requires_grad(a, true));
    OK(tlm_transpose(&turned, a, 0, 1));
    OK(tlm_tensor_convert(&y, turned, TLM_INT32));
    ck_assert_mem_eq(tlm_tensor_data(y), ((int32_t[]){-1, 2, 1, 3}), 16);
    tlm_tensor_free(y);
    OK(tlm_tensor_convert(&y, turned, TLM_FLOAT32));
    ck_assert(!tlm_tensor_requires_grad(y) && tlm_tensor_data(y) != tlm_tensor_data(a));
    tlm_tensor_free(a);
    tlm_tensor_free(turned);
    tlm_tensor_free(y);
}
END_TEST

/* Base, exponent, power, and both slopes. */
START_TEST(test_pow_edges)
{
    static const float rows[][5] = {
        {-3, 2, 9, -6, NAN},
        {0, 0, 1, 0, 0},
        {0, 2, 0, 0, 0},
        {-2, 3, -8, 12, NAN},
        {2, -1, 0.5f, -0.25f, 0.34657359f},
        {NAN, 0, 1, 0, NAN},
        {-1, 0.5f, NAN, NAN, NAN},
        {0, -1, INFINITY, -INFINITY, -INFINITY},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        tlm_tensor_t *a = make(TLM_FLOAT32, &rows[i][0], 1), *b = make(TLM_FLOAT32, &rows[i][1], 1);
        tlm_tensor_t *y;
        OK(tlm_tensor_set_requires_grad(a, true));
        OK(tlm_tensor_set_requires_grad(b, true));
        OK(tlm_pow(&y, a, b));
        OK(tlm_tensor_backward(y, NULL));
        const float got[] = {*(float *)tlm_tensor_data(y),
                             *(float *)tlm_tensor_data(tlm_tensor_grad(a)),
                             *(float *)tlm_tensor_data(tlm_tensor_grad(b))};
        for (int k = 0; k < 3; k++)
            ck_assert_msg(got[k] == rows[i][2 + k] || (isnan(got[k]) && isnan(rows[i][2 + k])),
                          "row %d: %d is %.9g", (int)i, k, (double)got[k]);
        tlm_tensor_free(a);
        tlm_tensor_free(b);
        tlm_tensor_free(y);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("elements");
    TCase *tcase = tcase_create("elements");

    tcase_add_test(tcase, test_compare);
    tcase_add_test(tcase, test_convert_round_trips);
    tcase_add_test(tcase, test_convert_limits);
    tcase_add_test(tcase, test_pow_edges);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
