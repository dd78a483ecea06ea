/* Element types. Everything that the library knows about a type is one row of the table in
 * dtype.c. Tensors, DLPack, file readers and writers, and weights use this table, so adding a type
 * means adding one row. */
#ifndef TLMI_DTYPE_H
#define TLMI_DTYPE_H

#include "tinylm/tensor.h"

/* Types that tensors cannot have, in addition to TLM_FLOAT32 and the other public types. */
enum {
    TLMI_FLOAT64 = 64,
    TLMI_INT8,
    TLMI_INT16,
    TLMI_UINT8,
    TLMI_UINT16,
    TLMI_UINT64,
    TLMI_Q8_0, /* blocks of 32: a float16 scale and 32 signed bytes */
    TLMI_Q4_0, /* blocks of 32: a float16 scale and 32 4-bit numbers, offset by 8 */
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
    int32_t gguf_file_type;  /* "general.file_type" of a file of such weights; -1: never written */
    const char *safetensors; /* NULL: not in safetensors */
    const char *numpy;       /* "descr" in .npy files; NULL: not in NumPy */
    /* Convert n elements (whole blocks) to and from float32; `from` and `to` may have any
     * alignment. NULL if the type cannot hold weights or is never written. */
    void (*load)(float *to, const void *from, int64_t n);
    void (*store)(void *to, const float *from, int64_t n);
} tlmi_dtype_t;

/* Whether it is TLM_FLOAT32 or another type that tensors can have. */
static inline bool tlmi_dtype_is_public(int32_t code)
{
    return code >= 0 && code < TLMI_FLOAT64;
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

#endif
