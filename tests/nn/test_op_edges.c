/* The edges of the ops. What they refuse: status and message, which holds the shapes, one row a
 * refusal. What they take: every integer type, views of the caller's memory. Sizes of 0 are in
 * test_zero_sizes.c. */
#include "run_suite.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tinylm/tinylm.h"

#define OK(call) ck_assert_msg((call) == TLM_OK, "%s: %s", #call, tlm_error_message())

/* The operands, by shape: f2x3 is float32 (2, 3). */
static tlm_tensor_t *f3, *f4, *f2x3, *f3x4, *f4x5, *f2x3x4, *f0x3, *scalar;
static tlm_tensor_t *i2, *i3, *n3, *u2x3, *b3, *b2x3, *b7, *out, *second;

static tlm_tensor_t *make(int32_t dtype, int32_t ndim, int64_t a, int64_t b, int64_t c)
{
    tlm_tensor_t *tensor;
    OK(tlm_tensor_create(&tensor, dtype, (int64_t[]){a, b, c}, ndim));
    return tensor;
}

static void set_up(void)
{
    f3 = make(TLM_FLOAT32, 1, 3, 0, 0);
    f4 = make(TLM_FLOAT32, 1, 4, 0, 0);
    f2x3 = make(TLM_FLOAT32, 2, 2, 3, 0);
    f3x4 = make(TLM_FLOAT32, 2, 3, 4, 0);
    f4x5 = make(TLM_FLOAT32, 2, 4, 5, 0);
    f2x3x4 = make(TLM_FLOAT32, 3, 2, 3, 4);
    f0x3 = make(TLM_FLOAT32, 2, 0, 3, 0);
    scalar = make(TLM_FLOAT32, 0, 0, 0, 0);
    i2 = make(TLM_INT32, 1, 2, 0, 0);
    i3 = make(TLM_INT64, 1, 3, 0, 0);
    ((int64_t *)tlm_tensor_data(i3))[2] = 9;
    n3 = make(TLM_INT64, 1, 3, 0, 0);
    ((int64_t *)tlm_tensor_data(n3))[1] = -1;
    u2x3 = make(TLM_UINT32, 2, 2, 3, 0);
    b3 = make(TLM_BOOL, 1, 3, 0, 0);
    b2x3 = make(TLM_BOOL, 2, 2, 3, 0);
    b7 = make(TLM_BOOL, 1, 7, 0, 0);
}

static void tear_down(void)
{
    tlm_tensor_t *all[] = {f3, f4, f2x3, f3x4, f4x5, f2x3x4, f0x3, scalar,
                           i2, i3, n3,   u2x3, b3,   b2x3,   b7};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        tlm_tensor_free(all[i]);
}

static int checked;

static void check_row(tlm_status_t got, tlm_status_t want, const char *message, const char *call)
{
    ck_assert_msg(got == want, "%s: status %d, not %d: %s", call, got, want, tlm_error_message());
    ck_assert_msg(strcmp(tlm_error_message(), message) == 0, "%s says \"%s\", not \"%s\"", call,
                  tlm_error_message(), message);
    ck_assert_msg(out == NULL && second == NULL, "%s touched its result", call);
    checked++;
}

/* A row: status, message, call. */
#define ROW(code, message, call) check_row(call, code, message, #call)
#define SHAPE                    TLM_ERR_SHAPE
#define INVALID                  TLM_ERR_INVALID_ARGUMENT
#define RANGE                    TLM_ERR_RANGE

START_TEST(test_general_ops)
{
    const float nan = NAN;
    tlm_tensor_t *mixed[] = {f3, i3}, *unlike[] = {f2x3, f3x4}, *hole[] = {f3, NULL};
    ROW(SHAPE, "add: sizes 3 and 4 do not broadcast: (3) and (4)", tlm_add(&out, f3, f4));
    ROW(SHAPE, "sub: sizes 2 and 3 do not broadcast: (2, 3) and (3, 4)", tlm_sub(&out, f2x3, f3x4));
    ROW(SHAPE, "mul: sizes 2 and 4 do not broadcast: (2, 3) and (4, 5)", tlm_mul(&out, f2x3, f4x5));
    ROW(SHAPE, "div: sizes 3 and 4 do not broadcast: (2, 3, 4) and (4, 5)",
        tlm_div(&out, f2x3x4, f4x5));
    ROW(INVALID, "sub: b has type int64, not float32", tlm_sub(&out, f3, i3));
    ROW(INVALID, "div: a is NULL", tlm_div(&out, NULL, f3));
    ROW(INVALID, "scale: a has type bool, not float32", tlm_scale(&out, b3, nan));
    ROW(INVALID, "exp: a has type uint32, not float32", tlm_exp(&out, u2x3));
    ROW(INVALID, "log: a is NULL", tlm_log(&out, NULL));
    ROW(INVALID, "sqrt: out is NULL", tlm_sqrt(NULL, f3));
    ROW(INVALID, "tanh: a has type int64, not float32", tlm_tanh(&out, i3));
    ROW(INVALID, "sigmoid: a has type int32, not float32", tlm_sigmoid(&out, i2));
    ROW(INVALID, "relu: a has type bool, not float32", tlm_relu(&out, b3));
    ROW(INVALID, "gelu: a is NULL", tlm_gelu(&out, NULL));
    ROW(INVALID, "where: condition has type float32, not bool", tlm_where(&out, f3, f3, f3));
    ROW(INVALID, "where: condition is NULL", tlm_where(&out, NULL, f3, f3));
    ROW(INVALID, "where: b has type int64, not float32", tlm_where(&out, b3, f3, i3));
    ROW(SHAPE, "where: sizes 3 and 4 do not broadcast: (2, 3) and (4)",
        tlm_where(&out, b2x3, f4, f3));
    ROW(SHAPE, "where: sizes 2 and 4 do not broadcast: (2, 3) and (4, 5)",
        tlm_where(&out, b3, f2x3, f4x5));
    ROW(SHAPE, "matmul: inner dimensions 3 and 4 differ: (2, 3) x (4, 5)",
        tlm_matmul(&out, f2x3, f4x5));
    ROW(SHAPE, "matmul: both tensors need two or more dimensions: (3) x (3, 4)",
        tlm_matmul(&out, f3, f3x4));
    ROW(SHAPE, "sum_dim: no dimension 2 in shape (2, 3)", tlm_sum_dim(&out, f2x3, 2, false));
    ROW(SHAPE, "mean_dim: no dimension 0 in shape ()", tlm_mean_dim(&out, scalar, 0, false));
    ROW(SHAPE, "max_dim: no dimension -3 in shape (2, 3)",
        tlm_max_dim(&out, &second, f2x3, -3, false));
    ROW(SHAPE, "max_dim: dimension 0 of (0, 3) is empty",
        tlm_max_dim(&out, &second, f0x3, 0, true));
    ROW(INVALID, "max_dim: a has type int64, not float32", tlm_max_dim(&out, &second, i3, 0, true));
    ROW(SHAPE, "concat: (2, 3) and (3, 4) of tensors 0 and 1 do not fit along dimension 0",
        tlm_concat(&out, unlike, 2, 0));
    ROW(SHAPE, "concat: (2, 3) and (3, 4) of tensors 0 and 1 do not fit along dimension 1",
        tlm_concat(&out, unlike, 2, -1));
    ROW(SHAPE, "concat: no dimension 0 in shape ()", tlm_concat(&out, &scalar, 1, 0));
    ROW(INVALID, "concat: types float32 and int64 of tensors 0 and 1 differ",
        tlm_concat(&out, mixed, 2, 0));
    ROW(INVALID, "concat: tensors[1] is NULL", tlm_concat(&out, hole, 2, 0));
    ROW(INVALID, "concat: n 0 is not in 1 .. 2147483647", tlm_concat(&out, NULL, 0, 0));
    ROW(SHAPE, "reshape: (2, 3) has 6 elements, which do not fit shape (4)",
        tlm_reshape(&out, f2x3, (int64_t[]){4}, 1));
    ROW(SHAPE, "reshape: (0, 3) has 0 elements, which do not fit shape (-1, 0)",
        tlm_reshape(&out, f0x3, (int64_t[]){-1, 0}, 2));
    ROW(SHAPE, "transpose: no dimension 2 in shape (2, 3)", tlm_transpose(&out, f2x3, 0, 2));
    ROW(RANGE, "slice: -1 to 2 is not within dimension 1 of (2, 3)",
        tlm_slice(&out, f2x3, 1, -1, 2));
    ROW(INVALID, "contiguous: a is NULL", tlm_contiguous(&out, NULL));
}
END_TEST

START_TEST(test_layers)
{
    ROW(SHAPE, "linear: x (2, 3) does not fit weight (3, 4) (d_out, d_in)",
        tlm_linear(&out, f2x3, f3x4));
    ROW(SHAPE, "embedding: weight (3) must be (vocab, d) for ids (2, 3)",
        tlm_embedding(&out, f3, u2x3));
    ROW(RANGE, "embedding: id 9 at position 2 is outside the vocabulary of 3",
        tlm_embedding(&out, f3x4, i3));
    ROW(RANGE, "embedding: id -1 at position 1 is outside the vocabulary of 3",
        tlm_embedding(&out, f3x4, n3));
    ROW(INVALID, "embedding: ids has type float32, not an integer type",
        tlm_embedding(&out, f3x4, f3));
    ROW(SHAPE, "rms_norm: x (2, 3) does not fit weight (4)", tlm_rms_norm(&out, f2x3, f4, 1e-5f));
    ROW(INVALID, "rms_norm: eps -1 is not a finite number >= 0", tlm_rms_norm(&out, f2x3, f3, -1));
    ROW(INVALID, "rms_norm: eps nan is not a finite number >= 0",
        tlm_rms_norm(&out, f2x3, f3, NAN));
    ROW(INVALID, "silu: x has type bool, not float32", tlm_silu(&out, b3));
    ROW(SHAPE, "silu_mul: gate (2, 3) and up (3) differ", tlm_silu_mul(&out, f2x3, f3));
    ROW(SHAPE, "linear: x (2, 3) does not fit weight (3, 4) (d_out, d_in)",
        tlm_swiglu(&out, f2x3, f3x4, f3x4, f3x4));
    ROW(SHAPE, "rope: x (3) must be (..., time, d)", tlm_rope(&out, f3, NULL, 10));
    ROW(SHAPE, "rope: the last dimension, 3, must be even", tlm_rope(&out, f2x3, NULL, 10));
    ROW(SHAPE, "rope: positions (2) do not broadcast to (2, 3)", tlm_rope(&out, f2x3x4, i2, 10));
    ROW(RANGE, "rope: position -1 in row 1 is negative", tlm_rope(&out, f2x3x4, n3, 10));
    ROW(INVALID, "rope: positions has type float32, not an integer type",
        tlm_rope(&out, f2x3x4, f3, 10));
    ROW(INVALID, "rope: theta 0 is not a finite number > 0", tlm_rope(&out, f2x3x4, NULL, 0));
    ROW(INVALID, "rope: theta inf is not a finite number > 0",
        tlm_rope(&out, f2x3x4, NULL, INFINITY));
    ROW(SHAPE, "softmax: no dimension 2 in (2, 3)", tlm_softmax(&out, f2x3, 2));
    ROW(SHAPE, "attention: query (2, 3), key (3, 4) and value (3, 4) do not fit",
        tlm_attention(&out, f2x3, f3x4, f3x4, NULL, true));
    ROW(SHAPE, "attention: mask (7) does not broadcast to (2, 2)",
        tlm_attention(&out, f2x3, f2x3, f2x3, b7, true));
    ROW(INVALID, "attention: mask has type float32, not bool",
        tlm_attention(&out, f2x3, f2x3, f2x3, f2x3, true));
    ROW(SHAPE, "multi_head_attention: x (3) must be (..., time, d_model)",
        tlm_multi_head_attention(&out, f3, f3x4, f3x4, f3x4, f3x4, 1, 0, NULL));
    ROW(SHAPE, "cross_entropy: logits (2, 3) with 3 classes do not fit targets (3)",
        tlm_cross_entropy(&out, f2x3, i3));
    ROW(RANGE, "cross_entropy: target 9 at position 2 is not one of 4 classes",
        tlm_cross_entropy(&out, f3x4, i3));
    ROW(INVALID, "cross_entropy: targets has type float32, not an integer type",
        tlm_cross_entropy(&out, f3x4, f3));
    ROW(SHAPE, "cross_entropy: logits () have no dimension of classes",
        tlm_cross_entropy(&out, scalar, i3));
}
END_TEST

/* Ids, targets and positions of the three integer types give the same bits. */
START_TEST(test_index_types)
{
    static const int32_t types[] = {TLM_INT32, TLM_INT64, TLM_UINT32};
    float first[4][24], got[24];
    for (int t = 0; t < 3; t++) {
        tlm_tensor_t *ids = make(types[t], 1, 3, 0, 0), *y[4];
        for (int i = 0; i < 3; i++) {
            int64_t wide = 2 - i;
            int32_t narrow = 2 - i;
            memcpy((char *)tlm_tensor_data(ids) + (size_t)i * tlm_dtype_size(types[t]),
                   types[t] == TLM_INT64 ? (void *)&wide : (void *)&narrow,
                   tlm_dtype_size(types[t]));
        }
        OK(tlm_init_truncated_normal(f3x4, 1, 3, 1, 0));
        OK(tlm_init_truncated_normal(f2x3x4, 1, 3, 2, 0));
        tlm_tensor_t *w = make(TLM_FLOAT32, 2, 4, 4, 0);
        OK(tlm_init_truncated_normal(w, 1, 3, 3, 0));
        OK(tlm_embedding(&y[0], f3x4, ids));
        OK(tlm_cross_entropy(&y[1], f3x4, ids));
        OK(tlm_rope(&y[2], f2x3x4, ids, 10));
        OK(tlm_multi_head_attention(&y[3], f2x3x4, w, w, w, w, 2, 10, ids));
        for (int k = 0; k < 4; k++) {
            size_t n = (size_t)tlm_tensor_numel(y[k]);
            OK(tlm_tensor_copy_out(got, n, y[k]));
            if (t == 0)
                memcpy(first[k], got, n * sizeof(float));
            ck_assert_mem_eq(first[k], got, n * sizeof(float));
            tlm_tensor_free(y[k]);
        }
        tlm_tensor_free(ids);
        tlm_tensor_free(w);
    }
}
END_TEST

/* Logits of +-1e4, and a query that sees nothing: weights are exact, gradients finite. */
START_TEST(test_attention_extremes)
{
    static const float q_values[] = {100, -100, 7}, k_values[] = {100, -100, 98},
                       v_values[] = {1, 2, 3};
    static const bool seen[] = {true, true, true, true, true, true, false, false, false};
    tlm_tensor_t *q, *k, *v, *mask, *y, *loss;
    float got[3];
    OK(tlm_tensor_from_data(&q, TLM_FLOAT32, q_values, (int64_t[]){3, 1}, 2));
    OK(tlm_tensor_from_data(&k, TLM_FLOAT32, k_values, (int64_t[]){3, 1}, 2));
    OK(tlm_tensor_from_data(&v, TLM_FLOAT32, v_values, (int64_t[]){3, 1}, 2));
    OK(tlm_tensor_from_data(&mask, TLM_BOOL, seen, (int64_t[]){3, 3}, 2));
    tlm_tensor_t *inputs[] = {q, k, v};
    for (int i = 0; i < 3; i++)
        OK(tlm_tensor_set_requires_grad(inputs[i], true));
    OK(tlm_attention(&y, q, k, v, mask, false));
    OK(tlm_tensor_copy_out(got, 3, y));
    ck_assert(got[0] == 1 && got[1] == 2 && got[2] == 0);
    OK(tlm_sum(&loss, y));
    OK(tlm_tensor_backward(loss, NULL));
    OK(tlm_tensor_copy_out(got, 3, tlm_tensor_grad(v)));
    ck_assert(got[0] == 1 && got[1] == 1 && got[2] >= 0 && got[2] < 1e-30f);
    for (int i = 0; i < 2; i++) {
        OK(tlm_tensor_copy_out(got, 3, tlm_tensor_grad(inputs[i])));
        for (int j = 0; j < 3; j++)
            ck_assert(fabsf(got[j]) < 1e-30f);
    }
    for (int i = 0; i < 3; i++)
        tlm_tensor_free(inputs[i]);
    tlm_tensor_free(mask);
    tlm_tensor_free(y);
    tlm_tensor_free(loss);
}
END_TEST

/* A float32 view of the caller's memory, every third element, goes through ops like a plain tensor:
 * the same bits, and nothing is written to it. */
START_TEST(test_callers_memory)
{
    float memory[3 * 12], copy[3 * 12], plain[12];
    for (int i = 0; i < 36; i++)
        copy[i] = memory[i] = i % 3 == 0 ? (float)(i - 18) / 7 : NAN;
    for (int i = 0; i < 12; i++)
        plain[i] = memory[3 * i];
    tlm_tensor_t *x[2], *y[2][4], *loss;
    OK(tlm_tensor_from_data(&x[0], TLM_FLOAT32, plain, (int64_t[]){3, 4}, 2));
    OK(tlm_tensor_wrap(&x[1], TLM_FLOAT32, memory, (int64_t[]){3, 4}, (int64_t[]){12, 3}, 2, NULL,
                       NULL));
    for (int k = 0; k < 2; k++) {
        OK(tlm_tensor_set_requires_grad(x[k], true));
        OK(tlm_attention(&y[k][0], x[k], x[k], x[k], NULL, true));
        OK(tlm_silu(&y[k][1], x[k]));
        OK(tlm_mul(&y[k][2], y[k][0], y[k][1]));
        OK(tlm_softmax(&y[k][3], y[k][2], -1));
        OK(tlm_max_dim(&out, NULL, y[k][3], -1, false));
        OK(tlm_sum(&loss, out));
        OK(tlm_tensor_backward(loss, NULL));
        tlm_tensor_free(loss);
        tlm_tensor_free(out);
        out = NULL;
    }
    float got[2][12];
    for (int k = 0; k < 2; k++)
        OK(tlm_tensor_copy_out(got[k], 12, y[k][3]));
    ck_assert_mem_eq(got[0], got[1], sizeof(got[0]));
    for (int k = 0; k < 2; k++)
        OK(tlm_tensor_copy_out(got[k], 12, tlm_tensor_grad(x[k])));
    for (int i = 0; i < 12; i++) /* added up in another order */
        ck_assert(fabsf(got[0][i] - got[1][i]) <= 1e-6f * (1 + fabsf(got[0][i])));
    ck_assert_mem_eq(memory, copy, sizeof(memory));
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 4; i++)
            tlm_tensor_free(y[k][i]);
        tlm_tensor_free(x[k]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("op_edges");
    TCase *tcase = tcase_create("edges");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, test_general_ops);
    tcase_add_test(tcase, test_layers);
    tcase_add_test(tcase, test_index_types);
    tcase_add_test(tcase, test_attention_extremes);
    tcase_add_test(tcase, test_callers_memory);
    suite_add_tcase(suite, tcase);
    int failed = run_suite(suite, CK_NOFORK);
    printf("%d refusals\n", checked);
    return failed;
}
