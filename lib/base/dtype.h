/* Element types. Everything that the library knows about a type is one row of the table in
 * dtype.c. Tensors, DLPack, file readers and writers, and weights use this table, so adding a type
 * means adding one row. Also the formats of single numbers in files. */
#ifndef TLMI_DTYPE_H
#define TLMI_DTYPE_H

#include <string.h>

#include "tinylm/tensor.h"

/* Types that tensors cannot have, in addition to TLM_FLOAT32 and the other public types. */
enum {
    TLMI_FLOAT64 = 64,
    TLMI_INT8,
    TLMI_INT16,
    TLMI_UINT8,
    TLMI_UINT16,
    TLMI_UINT64,
};

/* DLPack's type codes. */
enum {
    TLMI_DLPACK_INT = 0,
    TLMI_DLPACK_UINT = 1,
    TLMI_DLPACK_FLOAT = 2,
    TLMI_DLPACK_BFLOAT = 4,
    TLMI_DLPACK_BOOL = 6 /* since 0.8 */
};

enum { TLMI_NO_GGUF_TYPE = -1 };

typedef struct tlmi_dtype {
    const char *name; /* as in PyTorch and NumPy; used in messages and in config.json */
    int32_t code;     /* TLM_... or TLMI_... */
    int32_t block;    /* elements stored together: 1, or more in block formats */
    size_t bytes;     /* of a block */
    uint8_t dlpack_code, dlpack_bits; /* 0 bits: not in DLPack */
    int32_t gguf;                     /* TLMI_NO_GGUF_TYPE: not in GGUF */
    const char *gguf_name;            /* NULL: not in GGUF */
    const char *safetensors;          /* NULL: not in safetensors */
    const char *numpy;                /* "descr" in .npy files; NULL: not in NumPy */
    /* Convert n elements (whole blocks) to and from float32; `from` and `to` may have any
     * alignment. NULL if the type cannot hold weights or is never written. */
    void (*load)(float *to, const void *from, int64_t n);
    void (*store)(void *to, const float *from, int64_t n);
} tlmi_dtype_t;

/* Whether it is TLM_FLOAT32 or another type that programs can create tensors of. */
static inline bool tlmi_dtype_is_public(int32_t code)
{
    return code >= 0 && code < TLM_Q8_0;
}

/* Whether it is one of the block formats, which only weights from files have. */
static inline bool tlmi_dtype_is_blocks(int32_t code)
{
    return code >= TLM_Q8_0 && code < TLMI_FLOAT64;
}

/* NULL if there is no such type. */
const tlmi_dtype_t *tlmi_dtype(int32_t code);
const tlmi_dtype_t *tlmi_dtype_of_dlpack(int32_t code, int32_t bits);
const tlmi_dtype_t *tlmi_dtype_of_gguf(uint32_t type);
const tlmi_dtype_t *tlmi_dtype_of_safetensors(const char *name);

/* "unknown" if there is no such type. */
const char *tlmi_dtype_name(int32_t code);

/* Computes the bytes of n elements in a row. Returns false if n is not a whole number of blocks or
 * if the product overflows. */
bool tlmi_dtype_row_bytes(size_t *out, const tlmi_dtype_t *type, int64_t n);

/* ---- 16-bit floats ----------------------------------------------------------------------- */

/* IEEE 754 binary16, and bfloat16, which is the upper half of a float32. Conversions round to
 * nearest, ties to even; NaN stays NaN. */

static inline uint32_t tlmi_float_bits(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline float tlmi_float_of_bits(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline uint16_t tlmi_float_to_half(float value)
{
    uint32_t bits = tlmi_float_bits(value), sign = bits >> 16 & 0x8000u;
    uint32_t magnitude = bits & 0x7FFFFFFFu;

    if (magnitude > 0x7F800000u)
        return (uint16_t)(sign | 0x7E00u | (magnitude >> 13 & 0x3FFu));
    if (magnitude >= 0x477FF000u) /* 65520, which rounds to 65536, is the first to overflow */
        return (uint16_t)(sign | 0x7C00u);
    /* Below 2^-14, halves are multiples of 2^-24, as floats from 0.5 to 1 are, so the addition
     * does the rounding. */
    if (magnitude < 0x38800000u)
        return (uint16_t)(sign | (tlmi_float_bits(tlmi_float_of_bits(magnitude) + 0.5f) -
                                  tlmi_float_bits(0.5f)));
    return (uint16_t)(sign | (magnitude + 0xFFFu + (magnitude >> 13 & 1u) - 0x38000000u) >> 13);
}

static inline float tlmi_half_to_float(uint16_t half)
{
    uint32_t sign = (half & 0x8000u) << 16, magnitude = half & 0x7FFFu;

    if (magnitude < 0x400u) /* zero and subnormal */
        return tlmi_float_of_bits(sign | tlmi_float_bits((float)magnitude * 0x1p-24f));
    if (magnitude >= 0x7C00u)
        return tlmi_float_of_bits(sign | 0x7F800000u | (magnitude & 0x3FFu) << 13);
    return tlmi_float_of_bits(sign | ((magnitude << 13) + 0x38000000u));
}

static inline uint16_t tlmi_float_to_bfloat16(float value)
{
    uint32_t bits = tlmi_float_bits(value);

    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

static inline float tlmi_bfloat16_to_float(uint16_t bfloat16)
{
    return tlmi_float_of_bits((uint32_t)bfloat16 << 16);
}

/* ---- Little-endian integers -------------------------------------------------------------- */

/* At any address; compilers turn each into one load or store. */

static inline uint32_t tlmi_load_le16(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8;
}

static inline uint32_t tlmi_load_le32(const uint8_t *bytes)
{
    return tlmi_load_le16(bytes) | tlmi_load_le16(bytes + 2) << 16;
}

static inline uint64_t tlmi_load_le64(const uint8_t *bytes)
{
    return tlmi_load_le32(bytes) | (uint64_t)tlmi_load_le32(bytes + 4) << 32;
}

static inline void tlmi_store_le16(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)value;
    bytes[1] = (uint8_t)(value >> 8);
}

static inline void tlmi_store_le32(uint8_t *bytes, uint32_t value)
{
    tlmi_store_le16(bytes, value);
    tlmi_store_le16(bytes + 2, value >> 16);
}

static inline void tlmi_store_le64(uint8_t *bytes, uint64_t value)
{
    tlmi_store_le32(bytes, (uint32_t)value);
    tlmi_store_le32(bytes + 4, (uint32_t)(value >> 32));
}

#endif
