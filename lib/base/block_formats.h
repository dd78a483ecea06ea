/* GGML's block formats: some elements share a scale, and often a minimum. The layouts and the order
 * of the operations are those of the formats' definition, so the floats are the same bits everywhere.
 * Private to dtype.c and the kernels. */
#ifndef TLMI_BLOCK_FORMATS_H
#define TLMI_BLOCK_FORMATS_H

#include <stddef.h>
#include <stdint.h>

enum {
    TLMI_BLOCK = 32,        /* elements of a small block */
    TLMI_SUPER_BLOCK = 256, /* of a block of the formats named K */
};

/* A small block: scale (float16), minimum (float16, in Q4_1 and Q5_1), fifth bits (4 bytes, in Q5_0
 * and Q5_1), then numbers. Nibbles: the low ones of the 16 bytes are elements 0 to 15, the high ones
 * 16 to 31. */
enum {
    TLMI_Q8_0_BYTES = 2 + 32,
    TLMI_Q4_0_BYTES = 2 + 16,
    TLMI_Q4_1_BYTES = 2 + 2 + 16,
    TLMI_Q5_0_BYTES = 2 + 4 + 16,
    TLMI_Q5_1_BYTES = 2 + 2 + 4 + 16,
};

/* The bytes of a super-block, and where its parts begin. Bits are spread over planes: each 32 bytes
 * hold the low bits of 32 elements, then the next bits of the following 32, and so on. */
enum {
    TLMI_Q2_K_BYTES = 84,
    TLMI_Q2_K_SCALES = 0, /* 16 x (4-bit scale, 4-bit minimum) */
    TLMI_Q2_K_NUMBERS = 16,
    TLMI_Q2_K_SCALE = 80, /* float16 scale, float16 minimum */

    TLMI_Q3_K_BYTES = 110,
    TLMI_Q3_K_HIGH = 0, /* third bits */
    TLMI_Q3_K_NUMBERS = 32,
    TLMI_Q3_K_SCALES = 96, /* 16 6-bit scales */
    TLMI_Q3_K_SCALE = 108,

    TLMI_Q4_K_BYTES = 144,
    TLMI_Q4_K_SCALES = 4, /* behind two float16: 8 6-bit scales and 8 6-bit minima */
    TLMI_Q4_K_NUMBERS = 16,

    TLMI_Q5_K_BYTES = 176,
    TLMI_Q5_K_HIGH = 16,
    TLMI_Q5_K_NUMBERS = 48,

    TLMI_Q6_K_BYTES = 210,
    TLMI_Q6_K_HIGH = 128,
    TLMI_Q6_K_SCALES = 192, /* 16 signed bytes */
    TLMI_Q6_K_SCALE = 208,

    TLMI_Q8_K_BYTES = 292, /* float32 scale, 256 signed bytes, 16 sums */
};

/* Reads the 8 6-bit scales and minima of Q4_K and Q5_K. */
static inline void tlmi_k_scales(uint8_t scales[8], uint8_t minima[8], const uint8_t *packed)
{
    for (int i = 0; i < 4; i++) {
        const uint8_t scale = packed[i], minimum = packed[4 + i], both = packed[8 + i];

        scales[i] = scale & 63;
        minima[i] = minimum & 63;
        scales[4 + i] = (uint8_t)((both & 15) | (scale >> 2 & 48));
        minima[4 + i] = (uint8_t)(both >> 4 | (minimum >> 2 & 48));
    }
}

/* Scale i of the 16 of Q3_K: four low bits in the first 8 bytes, two high bits in the last 4. */
static inline int tlmi_q3_k_scale(const uint8_t *scales, int64_t i)
{
    const int low = scales[i % 8] >> (i / 8 * 4) & 15, high = scales[8 + i % 4] >> (i / 4 * 2) & 3;

    return (low | high << 4) - 32;
}

/* n is a multiple of the block's elements. */
void tlmi_load_q8_0(float *to, const void *from, int64_t n);
void tlmi_load_q4_0(float *to, const void *from, int64_t n);
void tlmi_load_q4_1(float *to, const void *from, int64_t n);
void tlmi_load_q5_0(float *to, const void *from, int64_t n);
void tlmi_load_q5_1(float *to, const void *from, int64_t n);
void tlmi_load_q2_k(float *to, const void *from, int64_t n);
void tlmi_load_q3_k(float *to, const void *from, int64_t n);
void tlmi_load_q4_k(float *to, const void *from, int64_t n);
void tlmi_load_q5_k(float *to, const void *from, int64_t n);
void tlmi_load_q6_k(float *to, const void *from, int64_t n);
void tlmi_load_q8_k(float *to, const void *from, int64_t n);

/* Quantize as GGML's reference does, bit for bit, if the values are finite. */
void tlmi_store_q8_0(void *to, const float *from, int64_t n);
void tlmi_store_q4_0(void *to, const float *from, int64_t n);
void tlmi_store_q4_1(void *to, const float *from, int64_t n);
void tlmi_store_q5_0(void *to, const float *from, int64_t n);
void tlmi_store_q5_1(void *to, const float *from, int64_t n);

/* Quantize with a search for the scales that leave the least squared error, if the values are
 * finite. The same values always give the same bits. */
void tlmi_store_q4_k(void *to, const float *from, int64_t n);
void tlmi_store_q5_k(void *to, const float *from, int64_t n);
void tlmi_store_q6_k(void *to, const float *from, int64_t n);

#endif
