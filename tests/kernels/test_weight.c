/* Weights of each element type: products give what they give with the weight's values as floats. */
#include "run_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "kernels/gemm.h"
#include "kernels/vector_math.h"
#include "tinylm/runtime.h"

static const int32_t types[] = {TLM_FLOAT32, TLM_BFLOAT16, TLM_FLOAT16, TLM_Q8_0, TLM_Q4_0,
                                TLM_Q4_1,    TLM_Q5_0,     TLM_Q5_1,    TLM_Q2_K, TLM_Q3_K,
                                TLM_Q4_K,    TLM_Q5_K,     TLM_Q6_K,    TLM_Q8_K};
enum { NUM_TYPES = sizeof(types) / sizeof(types[0]) };

static float *random_floats(int64_t n, uint32_t seed)
{
    float *values = malloc((size_t)(n + 1) * sizeof(*values));

    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        values[i] = (float)(seed >> 8) / (1 << 23) - 1.0f;
    }
    return values;
}

/* Blocks of any bits, except that their scales and minima are small. */
static void fill_blocks(uint8_t *blocks, size_t bytes, const tlmi_dtype_t *type)
{
    static const struct {
        int32_t dtype, places[2]; /* of float16 numbers */
    } halves[] = {{TLM_Q4_1, {0, 2}},     {TLM_Q5_1, {0, 2}}, {TLM_Q2_K, {80, 82}},
                  {TLM_Q3_K, {108, 108}}, {TLM_Q4_K, {0, 2}}, {TLM_Q5_K, {0, 2}},
                  {TLM_Q6_K, {208, 208}}};
    int32_t first = 0, second = 0;

    for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]); i++)
        if (halves[i].dtype == type->code) {
            first = halves[i].places[0];
            second = halves[i].places[1];
        }
    for (size_t i = 0; i < bytes; i++)
        blocks[i] = (uint8_t)((i * 2654435761u) >> 13);
    for (size_t i = 0; i < bytes; i += type->bytes) {
        const float scale = 0.01f + (float)(i % 7) * 0.001f;
        const uint16_t half = tlmi_float_to_half(type->block > 32 ? scale / 32 : scale);
        const float small = scale / 16;

        memcpy(blocks + i + first, &half, sizeof(half));
        memcpy(blocks + i + second, &half, sizeof(half));
        if (type->code == TLM_Q8_K)
            memcpy(blocks + i, &small, sizeof(small));
    }
}

/* A weight of that type, and its values as floats; both are freed by the caller. */
static tlmi_weight_t make_weight(void **data, float **values, int32_t dtype, int64_t rows,
                                 int64_t columns)
{
    const tlmi_dtype_t *type = tlmi_dtype(dtype);
    const int64_t n = rows * columns;
    const size_t bytes = (size_t)(n / type->block) * type->bytes;

    *values = random_floats(n, 1);
    *data = malloc(bytes + 1);
    if (type->store != NULL)
        type->store(*data, *values, n);
    else
        fill_blocks(*data, bytes, type);
    type->load(*values, *data, n);
    return tlmi_weight_make(dtype, *data, rows, columns);
}

static void assert_near(const float *a, const float *b, int64_t n, double tolerance)
{
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(fabs((double)a[i] - (double)b[i]) <=
                          tolerance * fmax(1.0, fabs((double)b[i])),
                      "element %d: %g, not %g", (int)i, (double)a[i], (double)b[i]);
}

/* Products with x as whole numbers: near those of floats, and the same bits beside other x, with each
 * set of CPU features. */
static void check_quantized(const float *expected, const float *x, int64_t m,
                            const tlmi_weight_t *weight)
{
    static const int32_t levels[] = {TLM_CPU_SCALAR, TLM_CPU_AVX2, TLM_CPU_AVX512};
    const int64_t rows = weight->rows, columns = weight->columns;
    const int32_t level = tlm_cpu_level();
    float *room = random_floats(m * columns, 6), *first = random_floats(m * rows, 7);
    float *actual = random_floats(m * rows, 7), one;
    tlmi_quantized_rows_t quantized;

    if (tlmi_weight_takes_quantized(weight)) {
        for (size_t l = 0; l < 3; l++) {
            if (tlm_set_cpu_level(levels[l]) != TLM_OK)
                continue;
            tlmi_quantize_rows(&quantized, room, x, m, columns);
            tlmi_weight_dots(actual, rows, x, columns, m, &quantized, weight, 0, rows);
            if (l == 0)
                memcpy(first, actual, (size_t)(m * rows) * sizeof(float));
            ck_assert_mem_eq(actual, first, (size_t)(m * rows) * sizeof(float));
            assert_near(actual, expected, m * rows, 5e-4);
            for (int64_t t = 0; t < m; t++) {
                tlmi_quantize_rows(&quantized, room, x + t * columns, 1, columns);
                tlmi_weight_dots(&one, 1, x, columns, 1, &quantized, weight, rows - 1, 1);
                ck_assert_mem_eq(&one, &actual[t * rows + rows - 1], sizeof(one));
            }
        }
        ck_assert_int_eq(tlm_set_cpu_level(level), TLM_OK);
    }
    free(room);
    free(first);
    free(actual);
}

/* The largest error of products with quantized x, as a part of the largest product; the exact ones are
 * sums in double of the weight's values. */
static double error_of_quantized(const tlmi_weight_t *weight, const float *values, uint32_t seed)
{
    const int64_t rows = weight->rows, n = weight->columns;
    float *x = random_floats(n, seed), *room = random_floats(n, 1), *out = random_floats(rows, 1);
    tlmi_quantized_rows_t quantized;
    double error = 0.0, largest = 0.0;

    tlmi_quantize_rows(&quantized, room, x, 1, n);
    tlmi_weight_dots(out, rows, x, n, 1, &quantized, weight, 0, rows);
    for (int64_t r = 0; r < rows; r++) {
        double exact = 0.0;

        for (int64_t i = 0; i < n; i++)
            exact += (double)x[i] * (double)values[r * n + i];
        error = fmax(error, fabs((double)out[r] - exact));
        largest = fmax(largest, fabs(exact));
    }
    free(x);
    free(room);
    free(out);
    return error / largest;
}

/* docs/quantization.md gives this figure. */
START_TEST(integers_are_close)
{
    void *data;
    float *values;
    const tlmi_weight_t weight = make_weight(&data, &values, types[_i], 300, 1536);
    double error = 0.0;

    for (uint32_t seed = 1; seed <= 20 && tlmi_weight_takes_quantized(&weight); seed++)
        error = fmax(error, error_of_quantized(&weight, values, seed));
    if (getenv("TINYLM_PRINT_ERRORS") != NULL)
        printf("%s: %.2g of the largest\n", tlmi_dtype_name(types[_i]), error);
    ck_assert_msg(error <= 2.5e-5, "%s: %g", tlmi_dtype_name(types[_i]), error);
    free(data);
    free(values);
}
END_TEST

/* All ways to use a weight, for some x. */
static void check_weight(int32_t dtype, int64_t m, int64_t rows, int64_t columns)
{
    void *data;
    float *values;
    const tlmi_weight_t weight = make_weight(&data, &values, dtype, rows, columns);
    float *x = random_floats(m * columns, 2), *y = random_floats(m * rows, 3);
    float *expected = random_floats(m * (rows + columns), 4);
    float *actual = random_floats(m * (rows + columns), 4), *row = random_floats(columns, 5);
    const bool is_plain = tlmi_dtype(dtype)->block == 1;

    for (int beta = 0; beta < 2; beta++) {
        tlmi_gemm(m, rows, columns, 1.0f, (tlmi_matrix_t){x, columns, 1},
                  (tlmi_matrix_t){values, 1, columns}, (float)beta, expected, rows);
        ck_assert_int_eq(
            tlmi_weight_product(actual, TLM_PRODUCTS_FLOAT32, m, x, &weight, (float)beta), TLM_OK);
        ck_assert_mem_eq(actual, expected, (size_t)(m * rows) * sizeof(float));
        tlmi_gemm(m, columns, rows, 1.0f, (tlmi_matrix_t){y, rows, 1},
                  (tlmi_matrix_t){values, columns, 1}, (float)beta, expected, columns);
        ck_assert_int_eq(
            tlmi_weight_product_back(actual, TLM_PRODUCTS_FLOAT32, m, y, &weight, (float)beta),
            TLM_OK);
        assert_near(actual, expected, m * columns, 1e-4);
        memcpy(actual, expected, (size_t)(m * (rows + columns)) * sizeof(float));
    }
    if (rows > 0 && columns > 0) {
        tlmi_vec_dot_tile(expected, rows, x, columns, m, values, columns, rows, columns);
        tlmi_weight_dots(actual, rows, x, columns, m, NULL, &weight, 0, rows);
        assert_near(actual, expected, m * rows, is_plain ? 0.0 : 1e-4);
        check_quantized(expected, x, m, &weight);
        tlmi_weight_dots(actual, 1, x, columns, m > 0, NULL, &weight, rows - 1, 1);
        assert_near(actual, expected + rows - 1, m > 0, is_plain ? 0.0 : 1e-4);
        tlmi_weight_load_row(row, &weight, rows / 2);
        ck_assert_mem_eq(row, values + rows / 2 * columns, (size_t)columns * sizeof(float));
        ck_assert_mem_eq(tlmi_weight_row(&weight, rows - 1, row), values + (rows - 1) * columns,
                         (size_t)columns * sizeof(float));
    }
    free(data);
    free(values);
    free(x);
    free(y);
    free(expected);
    free(actual);
    free(row);
}

START_TEST(products_are_those_of_the_values)
{
    static const int64_t sizes[][3] = {{1, 1, 32},    {1, 100, 64}, {3, 7, 96},     {6, 40, 1056},
                                       {20, 33, 64},  {2, 300, 32}, {9, 2500, 512}, {0, 5, 32},
                                       {5, 11, 1280}, {3, 0, 32},   {3, 5, 0}};
    for (int32_t threads = 1; threads <= 3; threads += 2) {
        ck_assert_int_eq(tlm_set_num_threads(threads), TLM_OK);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
            if (sizes[i][2] % tlmi_dtype(types[_i])->block == 0)
                check_weight(types[_i], sizes[i][0], sizes[i][1], sizes[i][2]);
    }
}
END_TEST

/* Every value of 16 bits, as a row of one: the kernels load what the table of types loads. */
START_TEST(all_values_of_16_bits)
{
    static uint16_t bits[1 << 16];
    static const int32_t levels[] = {TLM_CPU_SCALAR, TLM_CPU_AVX2, TLM_CPU_AVX512};
    const tlmi_dtype_t *type = tlmi_dtype(types[_i]);
    float one[16] = {1.0f}, value, loaded;

    for (int i = 0; i < 1 << 16; i++)
        bits[i] = (uint16_t)i;
    for (size_t l = 0; l < 3; l++) {
        if (tlm_set_cpu_level(levels[l]) != TLM_OK)
            continue;
        for (int i = 0; i < 1 << 16; i++) {
            const uint16_t row[16] = {bits[i]};
            const tlmi_weight_t weight = tlmi_weight_make(types[_i], row, 1, 16);

            tlmi_weight_dots(&value, 1, one, 16, 1, NULL, &weight, 0, 1);
            type->load(&loaded, &bits[i], 1);
            ck_assert_msg(value == loaded || (isnan(value) && isnan(loaded)), "%04x: %g, not %g",
                          (unsigned)i, (double)value, (double)loaded);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("weight");
    TCase *tcase = tcase_create("weight");

    tcase_add_loop_test(tcase, products_are_those_of_the_values, 0, NUM_TYPES);
    tcase_add_loop_test(tcase, integers_are_close, 0, NUM_TYPES);
    tcase_add_loop_test(tcase, all_values_of_16_bits, 1, 3);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
