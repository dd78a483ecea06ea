/* The table of element types: names and numbers are each type's own, and values survive storing. */
#include "run_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"

static const int32_t codes[] = {TLM_FLOAT32,  TLM_INT32,   TLM_INT64,    TLM_UINT32, TLM_BOOL,
                                TLM_BFLOAT16, TLM_FLOAT16, TLMI_FLOAT64, TLMI_INT8,  TLMI_INT16,
                                TLMI_UINT8,   TLMI_UINT16, TLMI_UINT64,  TLM_Q8_0,   TLM_Q4_0,
                                TLM_Q4_1,     TLM_Q5_0,    TLM_Q5_1,     TLM_Q2_K,   TLM_Q3_K,
                                TLM_Q4_K,     TLM_Q5_K,    TLM_Q6_K,     TLM_Q8_K};
enum { NUM_CODES = sizeof(codes) / sizeof(codes[0]) };

/* Each way to look a type up leads back to it: nothing is there twice. */
START_TEST(names_and_numbers_lead_back)
{
    for (size_t i = 0; i < NUM_CODES; i++) {
        const tlmi_dtype_t *type = tlmi_dtype(codes[i]);

        ck_assert_ptr_nonnull(type);
        ck_assert_int_eq(type->code, codes[i]);
        ck_assert_str_eq(tlmi_dtype_name(codes[i]), type->name);
        if (type->dlpack_bits > 0) {
            ck_assert_ptr_eq(tlmi_dtype_of_dlpack(type->dlpack_code, type->dlpack_bits), type);
            ck_assert_uint_eq(type->bytes * 8, type->dlpack_bits);
        }
        if (type->gguf_name != NULL)
            ck_assert_ptr_eq(tlmi_dtype_of_gguf((uint32_t)type->gguf), type);
        if (type->safetensors != NULL)
            ck_assert_ptr_eq(tlmi_dtype_of_safetensors(type->safetensors), type);
        ck_assert_int_eq(tlmi_dtype_is_public(codes[i]), tlm_dtype_size(codes[i]) > 0);
        for (size_t j = 0; j < i; j++)
            ck_assert_str_ne(type->name, tlmi_dtype(codes[j])->name);
    }
    ck_assert_ptr_null(tlmi_dtype(-1));
    ck_assert_ptr_null(tlmi_dtype(7));
    ck_assert_ptr_null(tlmi_dtype_of_dlpack(TLMI_DLPACK_FLOAT, 8));
    ck_assert_ptr_null(tlmi_dtype_of_dlpack(0, 0));
    ck_assert_ptr_null(tlmi_dtype_of_gguf(UINT32_MAX));
    ck_assert_ptr_null(tlmi_dtype_of_safetensors("F33"));
    ck_assert_str_eq(tlmi_dtype_name(7), "unknown");
}
END_TEST

START_TEST(rows_are_whole_blocks)
{
    size_t bytes = 7;

    ck_assert(tlmi_dtype_row_bytes(&bytes, tlmi_dtype(TLM_BFLOAT16), 5));
    ck_assert_uint_eq(bytes, 10);
    ck_assert(tlmi_dtype_row_bytes(&bytes, tlmi_dtype(TLM_Q8_0), 64));
    ck_assert_uint_eq(bytes, 68);
    ck_assert(tlmi_dtype_row_bytes(&bytes, tlmi_dtype(TLM_Q4_0), 64));
    ck_assert_uint_eq(bytes, 36);
    ck_assert(!tlmi_dtype_row_bytes(&bytes, tlmi_dtype(TLM_Q4_0), 33));
    ck_assert(!tlmi_dtype_row_bytes(&bytes, tlmi_dtype(TLM_FLOAT32), -1));
    ck_assert(!tlmi_dtype_row_bytes(&bytes, tlmi_dtype(TLM_INT64), INT64_MAX));
}
END_TEST

/* Stored and loaded at odd addresses; what a type holds exactly comes back. */
START_TEST(values_survive)
{
    static const float values[] = {0.0f, -0.0f, 1.0f, -2.5f, 0.15625f, 96.0f, INFINITY, -INFINITY};
    enum { N = sizeof(values) / sizeof(values[0]) };

    for (size_t i = 0; i < NUM_CODES; i++) {
        const tlmi_dtype_t *type = tlmi_dtype(codes[i]);
        char stored[N * 8 + 1];
        float back[N];

        if (type->store == NULL || type->block > 1)
            continue;
        type->store(stored + 1, values, N);
        type->load(back, stored + 1, N);
        ck_assert_mem_eq(back, values, sizeof(values));
    }
}
END_TEST

/* Blocks written out by the definition of the formats. */
START_TEST(blocks_are_scales_and_numbers)
{
    uint8_t q8[2 * 34], q4[2 * 18];
    float values[64];

    for (int block = 0; block < 2; block++) {
        uint16_t scale = tlmi_float_to_half(block == 0 ? 0.25f : -3.0f);

        memcpy(q8 + 34 * block, &scale, sizeof(scale));
        memcpy(q4 + 18 * block, &scale, sizeof(scale));
        for (int i = 0; i < 32; i++)
            q8[34 * block + 2 + i] = (uint8_t)(i * 9 - 128);
        for (int i = 0; i < 16; i++)
            q4[18 * block + 2 + i] = (uint8_t)(i | (15 - i) << 4);
    }
    tlmi_dtype(TLM_Q8_0)->load(values, q8, 64);
    for (int i = 0; i < 64; i++)
        ck_assert_float_eq(values[i], (i < 32 ? 0.25f : -3.0f) * (float)(int8_t)(i % 32 * 9 - 128));
    tlmi_dtype(TLM_Q4_0)->load(values, q4, 64);
    for (int i = 0; i < 64; i++) {
        int j = i % 32, number = j < 16 ? j : 31 - j;

        ck_assert_float_eq(values[i], (i < 32 ? 0.25f : -3.0f) * (float)(number - 8));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dtype");
    TCase *tcase = tcase_create("dtype");

    tcase_add_test(tcase, names_and_numbers_lead_back);
    tcase_add_test(tcase, rows_are_whole_blocks);
    tcase_add_test(tcase, values_survive);
    tcase_add_test(tcase, blocks_are_scales_and_numbers);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
