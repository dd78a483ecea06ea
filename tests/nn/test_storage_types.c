/* Element types for storage and exchange. Ops refuse each operand of such a type by the type's name,
 * except those that only move elements, and norms and softmax, which compute in float32 and round the
 * result to the type of x. */
#include <float.h>
#include <math.h>

#include "run_suite.h"

#include "op_table.h"

static const struct {
    int32_t dtype;
    const char *name;
} types[] = {{TLM_BFLOAT16, "bfloat16"}, {TLM_FLOAT16, "float16"}};

static bool moves_elements(const op_case_t *op, int operand)
{
    static const char *const names[] = {"contiguous", "transpose", "slice", "slice_step",
                                        "reshape"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(op->name, names[i]) == 0)
            return true;
    return strcmp(op->name, "take") == 0 && operand == 0;
}

static bool computes_in_float32(const op_case_t *op)
{
    return strcmp(op->name, "rms_norm") == 0 || strcmp(op->name, "layer_norm") == 0 ||
           strcmp(op->name, "softmax") == 0;
}

/* Replaces a tensor of the caller's by its conversion. */
static void convert(tlm_tensor_t **tensor, int32_t dtype)
{
    tlm_tensor_t *converted;

    OK(tlm_tensor_convert(&converted, *tensor, dtype));
    tlm_tensor_free(*tensor);
    *tensor = converted;
}

static void assert_same(const tlm_tensor_t *actual, const tlm_tensor_t *expected)
{
    const size_t n = (size_t)tlm_tensor_numel(expected),
                 bytes = n * tlm_dtype_size(tlm_tensor_dtype(expected));
    void *a = malloc(bytes + 1), *b = malloc(bytes + 1);

    ck_assert_int_eq(tlm_tensor_dtype(actual), tlm_tensor_dtype(expected));
    ck_assert_int_eq(tlm_tensor_ndim(actual), tlm_tensor_ndim(expected));
    OK(tlm_tensor_copy_out(a, n, actual));
    OK(tlm_tensor_copy_out(b, n, expected));
    ck_assert_mem_eq(a, b, bytes);
    free(a);
    free(b);
}

/* The op on operands as they are has the bits of the op on widened ones, rounded. */
static void check_computation(const op_case_t *op, tlm_tensor_t **in)
{
    tlm_tensor_t *wide[MAX_OPERANDS] = {NULL}, *out, *expected;

    for (int i = 0; i < MAX_OPERANDS && in[i] != NULL; i++)
        OK(tlm_tensor_convert(&wide[i], in[i], TLM_FLOAT32));
    OK(op->run(&expected, wide));
    convert(&expected, tlm_tensor_dtype(in[0]));
    OK(op->run(&out, in));
    assert_same(out, expected);
    tlm_tensor_free(out);
    tlm_tensor_free(expected);
    for (int i = 0; i < MAX_OPERANDS; i++)
        tlm_tensor_free(wide[i]);
}

START_TEST(ops_refuse_them_by_name)
{
    const op_case_t *op = &op_cases[_i];

    for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++)
        for (int i = 0; i < MAX_OPERANDS && op->operands[i] != NULL; i++) {
            tlm_tensor_t *in[MAX_OPERANDS], *out = NULL, *stored;

            make_operands(in, op, "", false, 0);
            if (computes_in_float32(op)) {
                convert(&in[i], types[t].dtype);
                check_computation(op, in);
                free_operands(in);
                continue;
            }
            OK(tlm_tensor_create(&stored, types[t].dtype, tlm_tensor_shape(in[i]),
                                 tlm_tensor_ndim(in[i])));
            tlm_tensor_free(in[i]);
            in[i] = stored;
            if (moves_elements(op, i)) {
                OK(op->run(&out, in));
                ck_assert_int_eq(tlm_tensor_dtype(out), types[t].dtype);
            } else {
                tlm_status_t status = op->run(&out, in);

                ck_assert_msg(status == TLM_ERR_INVALID_ARGUMENT, "%s, operand %d: status %d",
                              op->name, i, status);
                ck_assert_msg(strstr(tlm_error_message(), types[t].name) != NULL,
                              "%s, operand %d: %s", op->name, i, tlm_error_message());
                ck_assert_ptr_null(out);
            }
            tlm_tensor_free(out);
            free_operands(in);
        }
}
END_TEST

/* Views, sizes of 0, and every operand of the type. */
START_TEST(some_compute_in_float32)
{
    for (size_t o = 0; o < NUM_OP_CASES; o++)
        for (int zero = 0; zero < 2 && computes_in_float32(&op_cases[o]); zero++) {
            tlm_tensor_t *in[MAX_OPERANDS];

            make_operands(in, &op_cases[o], zero ? "a" : "", false, 0);
            for (int i = 0; in[i] != NULL; i++)
                convert(&in[i], types[_i].dtype);
            check_computation(&op_cases[o], in);
            free_operands(in);
        }
    /* Squares of 300 and more are no float16; neither is e^12. */
    float values[2 * 40000], ones[40000];
    tlm_tensor_t *in[MAX_OPERANDS] = {NULL}, *turned;

    for (int i = 0; i < 2 * 40000; i++)
        values[i] = (i % 3 == 0 ? -1.0f : 1.0f) * (float)(i * 7 % 60000);
    for (int i = 0; i < 40000; i++)
        ones[i] = 1.0f + (float)(i % 5) / 8.0f;
    OK(tlm_tensor_from_data(&in[0], TLM_FLOAT32, values, (int64_t[]){40000, 2}, 2));
    OK(tlm_tensor_from_data(&in[1], TLM_FLOAT32, ones, (int64_t[]){40000}, 1));
    OK(tlm_tensor_from_data(&in[2], TLM_FLOAT32, ones, (int64_t[]){40000}, 1));
    convert(&in[0], types[_i].dtype);
    convert(&in[1], types[_i].dtype);
    OK(tlm_transpose(&turned, in[0], 0, 1));
    tlm_tensor_free(in[0]);
    in[0] = turned;
    for (size_t o = 0; o < NUM_OP_CASES; o++)
        if (computes_in_float32(&op_cases[o]))
            check_computation(&op_cases[o], in);
    free_operands(in);
}
END_TEST

/* What is no float16 rounds to infinity, and NaN stays NaN. */
START_TEST(results_are_rounded)
{
    static const uint16_t one[] = {0x3F80, 0x3C00}, infinity[] = {0x7F80, 0x7C00};
    const float weights[2] = {FLT_MAX, NAN};
    tlm_tensor_t *x, *weight, *y;
    uint16_t bits[2] = {one[_i], one[_i]};

    OK(tlm_tensor_from_data(&x, types[_i].dtype, bits, (int64_t[]){2}, 1));
    OK(tlm_tensor_from_data(&weight, TLM_FLOAT32, weights, (int64_t[]){2}, 1));
    OK(tlm_rms_norm(&y, x, weight, 0.0f));
    OK(tlm_tensor_copy_out(bits, 2, y));
    ck_assert_uint_eq(bits[0], infinity[_i]);
    ck_assert_uint_gt(bits[1] & 0x7FFF, infinity[_i]);
    tlm_tensor_free(x);
    tlm_tensor_free(weight);
    tlm_tensor_free(y);
}
END_TEST

/* A result of the type cannot pass a gradient on; a float32 result of such a weight can. */
START_TEST(gradients_are_those_of_float32)
{
    const float x_values[] = {1.0f, -2.0f, 0.5f, 3.0f}, gains[] = {1.5f, 0.25f};
    tlm_tensor_t *x, *weight, *half, *y = NULL, *sum;
    float gradients[2][4];

    OK(tlm_tensor_from_data(&x, TLM_FLOAT32, x_values, (int64_t[]){2, 2}, 2));
    OK(tlm_tensor_convert(&half, x, types[_i].dtype));
    OK(tlm_tensor_from_data(&weight, TLM_FLOAT32, gains, (int64_t[]){2}, 1));
    OK(tlm_tensor_set_requires_grad(weight, true));
    ck_assert_int_eq(tlm_rms_norm(&y, half, weight, 1e-5f), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_msg(strstr(tlm_error_message(), "weight requires a gradient") != NULL &&
                      strstr(tlm_error_message(), types[_i].name) != NULL,
                  "%s", tlm_error_message());
    ck_assert_int_eq(tlm_layer_norm(&y, half, weight, weight, 1e-5f), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_ptr_null(y);
    OK(tlm_tensor_set_requires_grad(weight, false));
    OK(tlm_tensor_set_requires_grad(x, true));
    for (int i = 0; i < 2; i++) {
        OK(tlm_rms_norm(&y, x, weight, 1e-5f));
        ck_assert_int_eq(tlm_tensor_dtype(y), TLM_FLOAT32);
        OK(tlm_sum(&sum, y));
        OK(tlm_tensor_backward(sum, NULL));
        OK(tlm_tensor_copy_out(gradients[i], 4, tlm_tensor_grad(x)));
        tlm_tensor_zero_grad(x);
        tlm_tensor_free(y);
        tlm_tensor_free(sum);
        convert(&weight, types[_i].dtype); /* these gains are exact in both types */
    }
    ck_assert_mem_eq(gradients[0], gradients[1], sizeof(gradients[0]));
    ck_assert(gradients[0][0] != 0.0f);
    tlm_tensor_free(x);
    tlm_tensor_free(half);
    tlm_tensor_free(weight);
}
END_TEST

START_TEST(elements_are_copied_and_moved)
{
    static const uint16_t bits[6] = {1, 2, 3, 0x3F80, 0x7FC0, 0xFFFF};

    for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
        tlm_tensor_t *tensor, *turned, *rows, *joined, *pair[2];
        uint16_t back[12];

        OK(tlm_tensor_from_data(&tensor, types[t].dtype, bits, (int64_t[]){2, 3}, 2));
        OK(tlm_transpose(&turned, tensor, 0, 1));
        OK(tlm_contiguous(&rows, turned));
        OK(tlm_tensor_copy_out(back, 6, rows));
        for (int i = 0; i < 6; i++)
            ck_assert_uint_eq(back[i], bits[i % 2 * 3 + i / 2]);
        pair[0] = tensor;
        pair[1] = tensor;
        OK(tlm_concat(&joined, pair, 2, 0));
        OK(tlm_tensor_copy_out(back, 12, joined));
        ck_assert_mem_eq(back, bits, sizeof(bits));
        ck_assert_mem_eq(back + 6, bits, sizeof(bits));
        OK(tlm_tensor_copy_in(rows, bits, 6));
        OK(tlm_tensor_copy_out(back, 6, rows));
        ck_assert_mem_eq(back, bits, sizeof(bits));
        ck_assert_int_eq(tlm_tensor_set_requires_grad(tensor, true), TLM_ERR_INVALID_ARGUMENT);
        tlm_tensor_free(tensor);
        tlm_tensor_free(turned);
        tlm_tensor_free(rows);
        tlm_tensor_free(joined);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("storage_types");
    TCase *tcase = tcase_create("storage_types");

    tcase_add_loop_test(tcase, ops_refuse_them_by_name, 0, NUM_OP_CASES);
    tcase_add_loop_test(tcase, some_compute_in_float32, 0, 2);
    tcase_add_loop_test(tcase, results_are_rounded, 0, 2);
    tcase_add_loop_test(tcase, gradients_are_those_of_float32, 0, 2);
    tcase_add_test(tcase, elements_are_copied_and_moved);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
