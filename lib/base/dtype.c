/* The table of element types. */
#include "base/dtype.h"

#include <string.h>

#include "base/block_formats.h"
#include "base/memory.h"

/* ---- Loading and storing ---------------------------------------------------------------- */

static void load_float32(float *to, const void *from, int64_t n)
{
    memcpy(to, from, (size_t)n * sizeof(*to));
}

static void store_float32(void *to, const float *from, int64_t n)
{
    memcpy(to, from, (size_t)n * sizeof(*from));
}

/* The 16 bits of element i. */
static uint16_t bits_at(const void *from, int64_t i)
{
    uint16_t bits;

    memcpy(&bits, (const char *)from + i * (int64_t)sizeof(bits), sizeof(bits));
    return bits;
}

static void put_bits(void *to, int64_t i, uint16_t bits)
{
    memcpy((char *)to + i * (int64_t)sizeof(bits), &bits, sizeof(bits));
}

static void load_float16(float *to, const void *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = tlmi_half_to_float(bits_at(from, i));
}

static void store_float16(void *to, const float *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        put_bits(to, i, tlmi_float_to_half(from[i]));
}

static void load_bfloat16(float *to, const void *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = tlmi_bfloat16_to_float(bits_at(from, i));
}

static void store_bfloat16(void *to, const float *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        put_bits(to, i, tlmi_float_to_bfloat16(from[i]));
}

static void load_float64(float *to, const void *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double value;

        memcpy(&value, (const char *)from + i * (int64_t)sizeof(value), sizeof(value));
        to[i] = (float)value;
    }
}

/* ---- The table -------------------------------------------------------------------------- */

/* clang-format off: one type per line */
static const tlmi_dtype_t dtypes[] = {
    /* name, code, block, bytes, DLPack, GGUF, safetensors, NumPy, load, store */
    {"float32", TLM_FLOAT32, 1, 4, TLMI_DLPACK_FLOAT, 32, 0, "F32", "F32", "<f4", load_float32,
     store_float32},
    {"int32", TLM_INT32, 1, 4, TLMI_DLPACK_INT, 32, 26, "I32", "I32", "<i4", NULL, NULL},
    {"int64", TLM_INT64, 1, 8, TLMI_DLPACK_INT, 64, 27, "I64", "I64", "<i8", NULL, NULL},
    {"uint32", TLM_UINT32, 1, 4, TLMI_DLPACK_UINT, 32, TLMI_NO_GGUF_TYPE, NULL, "U32", "<u4", NULL,
     NULL},
    {"bool", TLM_BOOL, 1, 1, TLMI_DLPACK_BOOL, 8, TLMI_NO_GGUF_TYPE, NULL, "BOOL", "|b1", NULL,
     NULL},
    {"bfloat16", TLM_BFLOAT16, 1, 2, TLMI_DLPACK_BFLOAT, 16, 30, "BF16", "BF16", NULL,
     load_bfloat16, store_bfloat16},
    {"float16", TLM_FLOAT16, 1, 2, TLMI_DLPACK_FLOAT, 16, 1, "F16", "F16", "<f2", load_float16,
     store_float16},
    {"float64", TLMI_FLOAT64, 1, 8, TLMI_DLPACK_FLOAT, 64, 28, "F64", "F64", "<f8", load_float64,
     NULL},
    {"int8", TLMI_INT8, 1, 1, TLMI_DLPACK_INT, 8, 24, "I8", "I8", "|i1", NULL, NULL},
    {"int16", TLMI_INT16, 1, 2, TLMI_DLPACK_INT, 16, 25, "I16", "I16", "<i2", NULL, NULL},
    {"uint8", TLMI_UINT8, 1, 1, TLMI_DLPACK_UINT, 8, TLMI_NO_GGUF_TYPE, NULL, "U8", "|u1", NULL,
     NULL},
    {"uint16", TLMI_UINT16, 1, 2, TLMI_DLPACK_UINT, 16, TLMI_NO_GGUF_TYPE, NULL, "U16", "<u2", NULL,
     NULL},
    {"uint64", TLMI_UINT64, 1, 8, TLMI_DLPACK_UINT, 64, TLMI_NO_GGUF_TYPE, NULL, "U64", "<u8", NULL,
     NULL},
    {"q8_0", TLM_Q8_0, TLMI_BLOCK, TLMI_Q8_0_BYTES, 0, 0, 8, "Q8_0", NULL, NULL, tlmi_load_q8_0,
     tlmi_store_q8_0},
    {"q4_0", TLM_Q4_0, TLMI_BLOCK, TLMI_Q4_0_BYTES, 0, 0, 2, "Q4_0", NULL, NULL, tlmi_load_q4_0,
     tlmi_store_q4_0},
    {"q4_1", TLM_Q4_1, TLMI_BLOCK, TLMI_Q4_1_BYTES, 0, 0, 3, "Q4_1", NULL, NULL, tlmi_load_q4_1,
     tlmi_store_q4_1},
    {"q5_0", TLM_Q5_0, TLMI_BLOCK, TLMI_Q5_0_BYTES, 0, 0, 6, "Q5_0", NULL, NULL, tlmi_load_q5_0,
     tlmi_store_q5_0},
    {"q5_1", TLM_Q5_1, TLMI_BLOCK, TLMI_Q5_1_BYTES, 0, 0, 7, "Q5_1", NULL, NULL, tlmi_load_q5_1,
     tlmi_store_q5_1},
    {"q2_k", TLM_Q2_K, TLMI_SUPER_BLOCK, TLMI_Q2_K_BYTES, 0, 0, 10, "Q2_K", NULL, NULL,
     tlmi_load_q2_k, NULL},
    {"q3_k", TLM_Q3_K, TLMI_SUPER_BLOCK, TLMI_Q3_K_BYTES, 0, 0, 11, "Q3_K", NULL, NULL,
     tlmi_load_q3_k, NULL},
    {"q4_k", TLM_Q4_K, TLMI_SUPER_BLOCK, TLMI_Q4_K_BYTES, 0, 0, 12, "Q4_K", NULL, NULL,
     tlmi_load_q4_k, tlmi_store_q4_k},
    {"q5_k", TLM_Q5_K, TLMI_SUPER_BLOCK, TLMI_Q5_K_BYTES, 0, 0, 13, "Q5_K", NULL, NULL,
     tlmi_load_q5_k, tlmi_store_q5_k},
    {"q6_k", TLM_Q6_K, TLMI_SUPER_BLOCK, TLMI_Q6_K_BYTES, 0, 0, 14, "Q6_K", NULL, NULL,
     tlmi_load_q6_k, tlmi_store_q6_k},
    {"q8_k", TLM_Q8_K, TLMI_SUPER_BLOCK, TLMI_Q8_K_BYTES, 0, 0, 15, "Q8_K", NULL, NULL,
     tlmi_load_q8_k, NULL},
};
/* clang-format on */

enum { NUM_DTYPES = sizeof(dtypes) / sizeof(dtypes[0]) };

const tlmi_dtype_t *tlmi_dtype(int32_t code)
{
    for (size_t i = 0; i < NUM_DTYPES; i++)
        if (dtypes[i].code == code)
            return &dtypes[i];
    return NULL;
}

const tlmi_dtype_t *tlmi_dtype_of_dlpack(int32_t code, int32_t bits)
{
    for (size_t i = 0; i < NUM_DTYPES; i++)
        if (dtypes[i].dlpack_bits > 0 && dtypes[i].dlpack_code == code &&
            dtypes[i].dlpack_bits == bits)
            return &dtypes[i];
    return NULL;
}

const tlmi_dtype_t *tlmi_dtype_of_gguf(uint32_t type)
{
    for (size_t i = 0; i < NUM_DTYPES; i++)
        if (dtypes[i].gguf_name != NULL && dtypes[i].gguf == (int64_t)type)
            return &dtypes[i];
    return NULL;
}

const tlmi_dtype_t *tlmi_dtype_of_safetensors(const char *name)
{
    for (size_t i = 0; i < NUM_DTYPES; i++)
        if (dtypes[i].safetensors != NULL && strcmp(dtypes[i].safetensors, name) == 0)
            return &dtypes[i];
    return NULL;
}

const char *tlmi_dtype_name(int32_t code)
{
    const tlmi_dtype_t *type = tlmi_dtype(code);

    return type == NULL ? "unknown" : type->name;
}

bool tlmi_dtype_row_bytes(size_t *out, const tlmi_dtype_t *type, int64_t n)
{
    return n >= 0 && n % type->block == 0 &&
           tlmi_mul_size(out, (size_t)(n / type->block), type->bytes);
}
