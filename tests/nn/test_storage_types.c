/* Element types for storage and exchange: no op computes with them. Each refuses each operand of such a
 * type by the type's name; ops that only move elements take them. */
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

START_TEST(ops_refuse_them_by_name)
{
    const op_case_t *op = &op_cases[_i];

    for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++)
        for (int i = 0; i < MAX_OPERANDS && op->operands[i] != NULL; i++) {
            tlm_tensor_t *in[MAX_OPERANDS], *out = NULL, *stored;

            make_operands(in, op, "", false, ~0u);
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
    tcase_add_test(tcase, elements_are_copied_and_moved);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
