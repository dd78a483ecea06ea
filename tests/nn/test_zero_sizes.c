/* Sizes of 0: every op with every set of its dimensions 0, forward and backward, and every other call
 * that takes sizes. An op either gives what a sum over nothing gives or refuses with a status. */
#include "run_suite.h"

#include <math.h>

#include "op_table.h"

/* Elements of a result that nothing went into. */
static void check_result(const op_case_t *op, const char *zero, tlm_tensor_t *const *in,
                         const tlm_tensor_t *out)
{
    bool mean = strncmp(op->name, "mean", 4) == 0, nothing = false;
    for (int i = 0; i < MAX_OPERANDS && in[i] != NULL; i++)
        nothing = nothing || tlm_tensor_numel(in[i]) == 0;
    const float *values = tlm_tensor_data(out);
    for (int64_t i = 0; i < tlm_tensor_numel(out); i++) {
        if (mean && nothing)
            ck_assert_msg(isnan(values[i]), "%s: %g", describe(op, zero), (double)values[i]);
        else if (nothing && strcmp(op->name, "concat") != 0 && strcmp(op->name, "linear_bias") != 0)
            ck_assert_msg(values[i] == 0, "%s: %g", describe(op, zero), (double)values[i]);
        else
            ck_assert_msg(isfinite(values[i]), "%s: %g", describe(op, zero), (double)values[i]);
    }
}

/* Each operand that requires a gradient has one of its shape; of nothing, it is 0. */
static void check_gradients(const op_case_t *op, const char *zero, tlm_tensor_t *const *in,
                            const tlm_tensor_t *out)
{
    for (int i = 0; i < MAX_OPERANDS && in[i] != NULL; i++) {
        if (!tlm_tensor_requires_grad(in[i]))
            continue;
        const tlm_tensor_t *grad = tlm_tensor_grad(in[i]);
        ck_assert_msg(grad != NULL, "%s: operand %d has no gradient", describe(op, zero), i);
        ck_assert_int_eq(tlm_tensor_ndim(grad), tlm_tensor_ndim(in[i]));
        for (int32_t d = 0; d < tlm_tensor_ndim(grad); d++)
            ck_assert_int_eq(tlm_tensor_shape(grad)[d], tlm_tensor_shape(in[i])[d]);
        const float *values = tlm_tensor_data(grad);
        for (int64_t j = 0; j < tlm_tensor_numel(grad); j++)
            ck_assert_msg(tlm_tensor_numel(out) == 0 ? values[j] == 0 : isfinite(values[j]),
                          "%s: operand %d has gradient %g", describe(op, zero), i,
                          (double)values[j]);
    }
}

/* One op with the letters in `zero` 0. Returns whether it was refused. */
static bool try_zero(const op_case_t *op, const char *zero, bool strided, unsigned wants)
{
    tlm_tensor_t *in[MAX_OPERANDS], *out = NULL;
    make_operands(in, op, zero, strided, wants);
    tlm_status_t status = op->run(&out, in);
    if (status == TLM_OK) {
        tlm_tensor_t *rows;
        OK(tlm_contiguous(&rows, out));
        check_result(op, zero, in, rows);
        tlm_tensor_free(rows);
        if (tlm_tensor_requires_grad(out)) {
            tlm_status_t backward = backward_ones(out);
            ck_assert_msg(backward == TLM_OK, "%s: %s", describe(op, zero), tlm_error_message());
            check_gradients(op, zero, in, out);
        }
    } else {
        ck_assert_msg(strpbrk(zero, op->refuses) != NULL &&
                          (status == TLM_ERR_SHAPE || status == TLM_ERR_RANGE),
                      "%s: status %d, %s", describe(op, zero), status, tlm_error_message());
        ck_assert_ptr_null(out);
    }
    tlm_tensor_free(out);
    free_operands(in);
    return status != TLM_OK;
}

/* The distinct letters of an op's operands that are sizes. */
static size_t collect_letters(char *letters, const op_case_t *op)
{
    size_t n = 0;
    letters[0] = '\0';
    for (int i = 0; i < MAX_OPERANDS && op->operands[i] != NULL; i++)
        for (const char *p = dimension_letters(op->operands[i]); *p != '\0'; p++)
            if (*p != '1' && strchr(letters, *p) == NULL) {
                letters[n++] = *p;
                letters[n] = '\0';
            }
    return n;
}

START_TEST(test_table_is_complete)
{
    check_op_table();
}
END_TEST

START_TEST(test_ops)
{
    const op_case_t *op = &op_cases[_i];
    char letters[16], zero[16];
    size_t n = collect_letters(letters, op);
    for (unsigned set = 0; set < 1u << n; set++) {
        size_t used = 0;
        for (size_t i = 0; i < n; i++)
            if (set >> i & 1)
                zero[used++] = letters[i];
        zero[used] = '\0';
        for (int strided = 0; strided < 2; strided++) {
            bool refused = try_zero(op, zero, strided, ~0u);
            ck_assert_msg(refused || used != 1 || strchr(op->refuses, zero[0]) == NULL,
                          "%s is not refused", describe(op, zero));
            try_zero(op, zero, strided, 0);
            for (int i = 0; i < MAX_OPERANDS && op->operands[i] != NULL; i++)
                try_zero(op, zero, strided, 1u << i);
        }
    }
}
END_TEST

/* ---- Tensors ---------------------------------------------------------------------------- */

START_TEST(test_tensors)
{
    static const int32_t types[] = {TLM_FLOAT32, TLM_INT32,    TLM_INT64,  TLM_UINT32,
                                    TLM_BOOL,    TLM_BFLOAT16, TLM_FLOAT16};
    for (int t = 0; t < 7; t++)
        for (int d = 0; d < 3; d++) {
            int64_t shape[] = {2, 3, 4};
            shape[d] = 0;
            tlm_tensor_t *made[6];
            struct DLManagedTensor *managed;
            OK(tlm_tensor_create(&made[0], types[t], shape, 3));
            OK(tlm_tensor_from_data(&made[1], types[t], NULL, shape, 3));
            OK(tlm_tensor_wrap(&made[2], types[t], NULL, shape, NULL, 3, NULL, NULL));
            OK(tlm_tensor_detach(&made[3], made[0]));
            OK(tlm_tensor_to_dlpack(&managed, made[0]));
            OK(tlm_tensor_from_dlpack(&made[4], managed));
            OK(tlm_concat(&made[5], made, 5, d));
            for (int i = 0; i < 6; i++) {
                ck_assert_int_eq(tlm_tensor_numel(made[i]), 0);
                ck_assert_ptr_null(tlm_tensor_data(made[i]));
                OK(tlm_tensor_copy_in(made[i], NULL, 0));
                OK(tlm_tensor_copy_out(NULL, 0, made[i]));
                ck_assert_int_eq(tlm_tensor_copy_in(made[i], "", 1), TLM_ERR_SHAPE);
                float value;
                if (types[t] == TLM_FLOAT32)
                    ck_assert_int_eq(tlm_tensor_item(&value, made[i]), TLM_ERR_SHAPE);
                tlm_tensor_free(made[i]);
            }
        }
}
END_TEST

/* The sizes other than 0 are multiplied too: too large a product is refused everywhere. */
START_TEST(test_huge_beside_zero)
{
    static const int64_t shapes[][3] = {
        {0, INT64_MAX, 2}, {INT64_MAX, 2, 0}, {2, 0, INT64_MAX}, {INT64_MAX, INT64_MAX, 0}};
    static const float value = 1.0f;
    tlm_tensor_t *empty, *out = NULL, *tall, *wide, *long_row;
    int64_t none = 0, far = (int64_t)1 << 40;
    OK(tlm_tensor_create(&empty, TLM_FLOAT32, &none, 1));
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(tlm_reshape(&out, empty, shapes[i], 3), TLM_ERR_RANGE);
        ck_assert_int_eq(tlm_tensor_create(&out, TLM_INT64, shapes[i], 3), TLM_ERR_RANGE);
        ck_assert_int_eq(tlm_tensor_from_data(&out, TLM_INT32, NULL, shapes[i], 3), TLM_ERR_RANGE);
        ck_assert_int_eq(tlm_tensor_wrap(&out, TLM_BOOL, NULL, shapes[i], NULL, 3, NULL, NULL),
                         TLM_ERR_RANGE);
    }
    OK(tlm_reshape(&out, empty, (int64_t[]){0, INT64_MAX >> 5, 1}, 3));
    tlm_tensor_free(out);
    out = NULL;
    /* One element repeated 2^40 times either way: results that cannot be counted. */
    void *memory = (void *)(uintptr_t)&value;
    OK(tlm_tensor_wrap(&tall, TLM_FLOAT32, memory, (int64_t[]){far, 1}, (int64_t[]){0, INT64_MAX},
                       2, NULL, NULL));
    OK(tlm_tensor_wrap(&wide, TLM_FLOAT32, memory, (int64_t[]){1, far}, (int64_t[]){INT64_MAX, 0},
                       2, NULL, NULL));
    OK(tlm_tensor_wrap(&long_row, TLM_INT64, NULL, (int64_t[]){0, far}, NULL, 2, NULL, NULL));
    ck_assert_int_eq(tlm_add(&out, tall, wide), TLM_ERR_RANGE);
    ck_assert_int_eq(tlm_matmul(&out, tall, wide), TLM_ERR_RANGE);
    ck_assert_int_eq(tlm_linear(&out, tall, tall), TLM_ERR_RANGE);
    ck_assert_int_eq(tlm_attention(&out, tall, tall, wide, NULL, false), TLM_ERR_SHAPE);
    ck_assert_int_eq(tlm_embedding(&out, wide, long_row), TLM_ERR_RANGE);
    ck_assert_ptr_null(out);
    tlm_tensor_free(empty);
    tlm_tensor_free(tall);
    tlm_tensor_free(wide);
    tlm_tensor_free(long_row);
}
END_TEST

/* A dimension of size 1 may have any stride: it is never multiplied into an offset. */
START_TEST(test_strides_of_single_rows)
{
    float memory[8] = {1, 2, 3, 4, 5, 6, 7, 8}, sum;
    tlm_tensor_t *x, *y[5];
    OK(tlm_tensor_wrap(&x, TLM_FLOAT32, memory, (int64_t[]){1, 4, 1},
                       (int64_t[]){INT64_MAX, 2, INT64_MAX}, 3, NULL, NULL));
    OK(tlm_tensor_set_requires_grad(x, true));
    OK(tlm_transpose(&y[0], x, 0, 1));
    OK(tlm_slice(&y[1], y[0], 1, 0, 1));
    OK(tlm_mul(&y[2], x, x));
    OK(tlm_matmul(&y[3], x, y[1]));
    OK(tlm_sum(&y[4], y[3]));
    OK(tlm_tensor_item(&sum, y[4]));
    ck_assert(sum == 16 * 16);
    OK(tlm_tensor_backward(y[4], NULL));
    for (int i = 0; i < 5; i++)
        tlm_tensor_free(y[i]);
    tlm_tensor_free(x);
}
END_TEST

/* ---- Optimizers ------------------------------------------------------------------------- */

/* A parameter without elements is one like others. */
START_TEST(test_optimizers)
{
    int64_t shape[] = {0, 3};
    double norm = -1;
    for (int sgd = 0; sgd < 2; sgd++) {
        tlm_tensor_t *x, *sum;
        tlm_optimizer_t *optimizer;
        OK(tlm_tensor_create(&x, TLM_FLOAT32, shape, 2));
        OK(tlm_init_truncated_normal(x, 1, 3, 1, 0));
        OK(tlm_tensor_set_requires_grad(x, true));
        OK(sgd ? tlm_optimizer_create_sgd(&optimizer, 1)
               : tlm_optimizer_create_adamw(&optimizer, NULL));
        OK(tlm_optimizer_add_group(optimizer, &x, 1, NULL));
        OK(tlm_sum(&sum, x));
        OK(tlm_tensor_backward(sum, NULL));
        OK(tlm_clip_grad_norm(&norm, &x, 1, 1));
        ck_assert(norm == 0);
        OK(tlm_clip_norm(&norm, &x, 1, 1));
        OK(tlm_optimizer_step(optimizer));
        OK(tlm_adamw_update(&x, &x, &x, &x, 0, 1, NULL));
        tlm_optimizer_free(optimizer);
        tlm_tensor_free(sum);
        tlm_tensor_free(x);
    }
}
END_TEST

/* ---- The model -------------------------------------------------------------------------- */

START_TEST(test_model)
{
    static const uint32_t ids[4] = {0, 1, 2, 3};
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model = NULL;
    tlm_tensor_t *out = NULL;
    options.vocab_size = options.context_length = 8;
    options.d_model = 4;
    options.num_layers = options.num_heads = 2;
    int64_t *sizes[] = {&options.vocab_size, &options.context_length, &options.d_model,
                        &options.num_layers, &options.num_heads};
    for (int i = 0; i < 5; i++) {
        int64_t size = *sizes[i];
        *sizes[i] = 0;
        ck_assert_int_eq(tlm_model_create(&model, &options), TLM_ERR_INVALID_ARGUMENT);
        ck_assert_ptr_null(model);
        *sizes[i] = size;
    }
    OK(tlm_model_create(&model, &options));
    for (int i = 0; i < 4; i++) {
        int64_t batch = i == 0 ? 2 : 0, time = i == 1 ? 2 : i == 3 ? -1 : 0;
        ck_assert_int_eq(tlm_model_forward(&out, model, ids, batch, time),
                         TLM_ERR_INVALID_ARGUMENT);
        ck_assert_int_eq(tlm_model_loss(&out, model, ids, ids, batch, time),
                         TLM_ERR_INVALID_ARGUMENT);
    }
    ck_assert_ptr_null(out);
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("zero sizes");
    TCase *ops = tcase_create("ops"), *calls = tcase_create("calls");
    tcase_add_test(ops, test_table_is_complete);
    tcase_add_loop_test(ops, test_ops, 0, NUM_OP_CASES);
    tcase_add_test(calls, test_tensors);
    tcase_add_test(calls, test_huge_beside_zero);
    tcase_add_test(calls, test_strides_of_single_rows);
    tcase_add_test(calls, test_optimizers);
    tcase_add_test(calls, test_model);
    suite_add_tcase(suite, ops);
    suite_add_tcase(suite, calls);
    return run_suite(suite, CK_NOFORK);
}
