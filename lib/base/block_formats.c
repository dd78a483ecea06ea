/* Block formats to float32. */
#include "base/block_formats.h"

#include "base/dtype.h"

static float half_at(const uint8_t *bytes)
{
    return tlmi_half_to_float((uint16_t)tlmi_load_le16(bytes));
}

/* ---- Blocks of 32 ------------------------------------------------------------------------ */

/* x = scale q */
void tlmi_load_q8_0(float *to, const void *from, int64_t n)
{
    const uint8_t *block = from;

    for (int64_t i = 0; i < n; i += TLMI_BLOCK, block += TLMI_Q8_0_BYTES) {
        const float scale = half_at(block);

        for (int64_t j = 0; j < TLMI_BLOCK; j++)
            to[i + j] = scale * (float)(int8_t)block[2 + j];
    }
}

/* Element j of 16 bytes of nibbles. */
static int nibble(const uint8_t *bytes, int64_t j)
{
    return j < TLMI_BLOCK / 2 ? bytes[j] & 15 : bytes[j - TLMI_BLOCK / 2] >> 4;
}

/* Bit j of 32, as the fifth bit of a number. */
static int fifth_bit(uint32_t bits, int64_t j)
{
    return (int)(bits >> j & 1) << 4;
}

/* x = scale (q - 8) */
void tlmi_load_q4_0(float *to, const void *from, int64_t n)
{
    const uint8_t *block = from;

    for (int64_t i = 0; i < n; i += TLMI_BLOCK, block += TLMI_Q4_0_BYTES) {
        const float scale = half_at(block);

        for (int64_t j = 0; j < TLMI_BLOCK; j++)
            to[i + j] = scale * (float)(nibble(block + 2, j) - 8);
    }
}

/* x = scale q + minimum */
void tlmi_load_q4_1(float *to, const void *from, int64_t n)
{
    const uint8_t *block = from;

    for (int64_t i = 0; i < n; i += TLMI_BLOCK, block += TLMI_Q4_1_BYTES) {
        const float scale = half_at(block), minimum = half_at(block + 2);

        for (int64_t j = 0; j < TLMI_BLOCK; j++)
            to[i + j] = scale * (float)nibble(block + 4, j) + minimum;
    }
}

/* x = scale (q - 16) */
void tlmi_load_q5_0(float *to, const void *from, int64_t n)
{
    const uint8_t *block = from;

    for (int64_t i = 0; i < n; i += TLMI_BLOCK, block += TLMI_Q5_0_BYTES) {
        const float scale = half_at(block);
        const uint32_t high = tlmi_load_le32(block + 2);

        for (int64_t j = 0; j < TLMI_BLOCK; j++)
            to[i + j] = scale * (float)((nibble(block + 6, j) | fifth_bit(high, j)) - 16);
    }
}

/* x = scale q + minimum */
void tlmi_load_q5_1(float *to, const void *from, int64_t n)
{
    const uint8_t *block = from;

    for (int64_t i = 0; i < n; i += TLMI_BLOCK, block += TLMI_Q5_1_BYTES) {
        const float scale = half_at(block), minimum = half_at(block + 2);
        const uint32_t high = tlmi_load_le32(block + 4);

        for (int64_t j = 0; j < TLMI_BLOCK; j++)
            to[i + j] = scale * (float)(nibble(block + 8, j) | fifth_bit(high, j)) + minimum;
    }
}

/* ---- Blocks of 256 ------------------------------------------------------------------------ */

/* 2-bit element i: planes of 32 elements, four to 32 bytes. */
static int two_bits(const uint8_t *numbers, int64_t i)
{
    return numbers[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

/* 4-bit element i: planes of 32 elements, two to 32 bytes. */
static int four_bits(const uint8_t *numbers, int64_t i)
{
    return numbers[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15;
}

/* Bit i: planes of 32 elements, eight to 32 bytes. */
static int one_bit(const uint8_t *numbers, int64_t i)
{
    return numbers[i % 32] >> (i / 32) & 1;
}

/* x = scale scale_j q - minimum minimum_j, j of 16 elements */
void tlmi_load_q2_k(float *to, const void *from, int64_t n)
{
    const uint8_t *block = from;

    for (int64_t at = 0; at < n; at += TLMI_SUPER_BLOCK, block += TLMI_Q2_K_BYTES) {
        const float scale = half_at(block + TLMI_Q2_K_SCALE);
        const float minimum = half_at(block + TLMI_Q2_K_SCALE + 2);

        for (int64_t i = 0; i < TLMI_SUPER_BLOCK; i++) {
            const uint8_t both = block[TLMI_Q2_K_SCALES + i / 16];

            to[at + i] =
                scale * (float)(both & 15) * (float)two_bits(block + TLMI_Q2_K_NUMBERS, i) -
                minimum * (float)(both >> 4);
        }
    }
}

/* x = scale scale_j (q - 4), j of 16 elements */
void tlmi_load_q3_k(float *to, const void *from, int64_t n)
{
    const uint8_t *block = from;

    for (int64_t at = 0; at < n; at += TLMI_SUPER_BLOCK, block += TLMI_Q3_K_BYTES) {
        const float scale = half_at(block + TLMI_Q3_K_SCALE);

        for (int64_t i = 0; i < TLMI_SUPER_BLOCK; i++) {
            const int number =
                two_bits(block + TLMI_Q3_K_NUMBERS, i) | one_bit(block + TLMI_Q3_K_HIGH, i) << 2;

            to[at + i] = scale * (float)tlmi_q3_k_scale(block + TLMI_Q3_K_SCALES, i / 16) *
                         (float)(number - 4);
        }
    }
}

/* x = scale scale_j q - minimum minimum_j, j of 32 elements; `high` is the plane of fifth bits, or
 * NULL. */
static void load_super_block(float *to, const uint8_t *block, const uint8_t *high,
                             const uint8_t *numbers)
{
    const float scale = half_at(block), minimum = half_at(block + 2);
    uint8_t scales[8], minima[8];

    tlmi_k_scales(scales, minima, block + TLMI_Q4_K_SCALES);
    for (int64_t i = 0; i < TLMI_SUPER_BLOCK; i++) {
        const int number = four_bits(numbers, i) | (high == NULL ? 0 : one_bit(high, i) << 4);

        to[i] = scale * (float)scales[i / 32] * (float)number - minimum * (float)minima[i / 32];
    }
}

void tlmi_load_q4_k(float *to, const void *from, int64_t n)
{
    const uint8_t *block = from;

    for (int64_t at = 0; at < n; at += TLMI_SUPER_BLOCK, block += TLMI_Q4_K_BYTES)
        load_super_block(to + at, block, NULL, block + TLMI_Q4_K_NUMBERS);
}

void tlmi_load_q5_k(float *to, const void *from, int64_t n)
{
    const uint8_t *block = from;

    for (int64_t at = 0; at < n; at += TLMI_SUPER_BLOCK, block += TLMI_Q5_K_BYTES)
        load_super_block(to + at, block, block + TLMI_Q5_K_HIGH, block + TLMI_Q5_K_NUMBERS);
}

/* x = scale scale_j (q - 32), j of 16 elements. Two halves: the low four bits of 128 elements are in
 * 64 bytes, their high two bits in 32. */
void tlmi_load_q6_k(float *to, const void *from, int64_t n)
{
    const uint8_t *block = from;

    for (int64_t at = 0; at < n; at += TLMI_SUPER_BLOCK, block += TLMI_Q6_K_BYTES) {
        const float scale = half_at(block + TLMI_Q6_K_SCALE);

        for (int64_t i = 0; i < TLMI_SUPER_BLOCK; i++) {
            const int low = block[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
            const int number = low | two_bits(block + TLMI_Q6_K_HIGH, i) << 4;

            to[at + i] =
                scale * (float)(int8_t)block[TLMI_Q6_K_SCALES + i / 16] * (float)(number - 32);
        }
    }
}

/* x = scale q */
void tlmi_load_q8_k(float *to, const void *from, int64_t n)
{
    const uint8_t *block = from;

    for (int64_t at = 0; at < n; at += TLMI_SUPER_BLOCK, block += TLMI_Q8_K_BYTES) {
        const float scale = tlmi_float_of_bits(tlmi_load_le32(block));

        for (int64_t i = 0; i < TLMI_SUPER_BLOCK; i++)
            to[at + i] = scale * (float)(int8_t)block[4 + i];
    }
}
