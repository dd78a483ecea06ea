/* Float32 to blocks of 32. The order of the operations is that of GGML's reference, so the bits are the
 * same. */
#include <math.h>
#include <string.h>

#include "base/block_formats.h"
#include "base/dtype.h"

/* The element that is farthest from 0, the first of several. */
static float extreme_of(const float *values)
{
    float extreme = 0.0f;

    for (int64_t j = 0; j < TLMI_BLOCK; j++)
        if (fabsf(values[j]) > fabsf(extreme))
            extreme = values[j];
    return extreme;
}

typedef struct range {
    float low, high;
} range_t;

static range_t range_of(const float *values)
{
    range_t range = {values[0], values[0]};

    for (int64_t j = 1; j < TLMI_BLOCK; j++) {
        range.low = values[j] < range.low ? values[j] : range.low;
        range.high = values[j] > range.high ? values[j] : range.high;
    }
    return range;
}

static float inverse(float scale)
{
    return scale == 0.0f ? 0.0f : 1.0f / scale;
}

/* The whole number in [low, high] that a float holds; NaN is low. */
static int clamp(float value, int low, int high)
{
    return !(value > (float)low) ? low : value > (float)high ? high : (int)value;
}

static void put_half(uint8_t *to, float value)
{
    tlmi_store_le16(to, tlmi_float_to_half(value));
}

/* Writes nibbles, and the fifth bits of numbers that have them. */
static void put_numbers(uint8_t *nibbles, uint8_t *fifth_bits, const int *numbers)
{
    uint32_t bits = 0;

    for (int j = 0; j < TLMI_BLOCK / 2; j++)
        nibbles[j] = (uint8_t)((numbers[j] & 15) | (numbers[j + TLMI_BLOCK / 2] & 15) << 4);
    for (int j = 0; j < TLMI_BLOCK; j++)
        bits |= (uint32_t)(numbers[j] >> 4) << j;
    if (fifth_bits != NULL)
        tlmi_store_le32(fifth_bits, bits);
}

void tlmi_store_q8_0(void *to, const float *from, int64_t n)
{
    uint8_t *block = to;

    for (int64_t i = 0; i < n; i += TLMI_BLOCK, block += TLMI_Q8_0_BYTES) {
        const float scale = fabsf(extreme_of(from + i)) / 127.0f, factor = inverse(scale);

        put_half(block, scale);
        for (int64_t j = 0; j < TLMI_BLOCK; j++)
            block[2 + j] = (uint8_t)(int8_t)clamp(roundf(from[i + j] * factor), -127, 127);
    }
}

/* Numbers around `middle`, which the extreme element maps to 0: Q4_0 and Q5_0. */
static float quantize_around(int *numbers, const float *values, int middle)
{
    const float scale = extreme_of(values) / (float)-middle, factor = inverse(scale);

    for (int j = 0; j < TLMI_BLOCK; j++)
        numbers[j] = clamp(values[j] * factor + ((float)middle + 0.5f), 0, 2 * middle - 1);
    return scale;
}

/* Numbers from the least element upwards: Q4_1 and Q5_1. Returns the scale. */
static float quantize_above(int *numbers, float *minimum, const float *values, int most)
{
    const range_t range = range_of(values);
    const float scale = (range.high - range.low) / (float)most, factor = inverse(scale);

    for (int j = 0; j < TLMI_BLOCK; j++)
        numbers[j] = clamp((values[j] - range.low) * factor + 0.5f, 0, most);
    *minimum = range.low;
    return scale;
}

void tlmi_store_q4_0(void *to, const float *from, int64_t n)
{
    uint8_t *block = to;
    int numbers[TLMI_BLOCK];

    for (int64_t i = 0; i < n; i += TLMI_BLOCK, block += TLMI_Q4_0_BYTES) {
        put_half(block, quantize_around(numbers, from + i, 8));
        put_numbers(block + 2, NULL, numbers);
    }
}

void tlmi_store_q5_0(void *to, const float *from, int64_t n)
{
    uint8_t *block = to;
    int numbers[TLMI_BLOCK];

    for (int64_t i = 0; i < n; i += TLMI_BLOCK, block += TLMI_Q5_0_BYTES) {
        put_half(block, quantize_around(numbers, from + i, 16));
        put_numbers(block + 6, block + 2, numbers);
    }
}

void tlmi_store_q4_1(void *to, const float *from, int64_t n)
{
    uint8_t *block = to;
    int numbers[TLMI_BLOCK];
    float minimum;

    for (int64_t i = 0; i < n; i += TLMI_BLOCK, block += TLMI_Q4_1_BYTES) {
        put_half(block, quantize_above(numbers, &minimum, from + i, 15));
        put_half(block + 2, minimum);
        put_numbers(block + 4, NULL, numbers);
    }
}

void tlmi_store_q5_1(void *to, const float *from, int64_t n)
{
    uint8_t *block = to;
    int numbers[TLMI_BLOCK];
    float minimum;

    for (int64_t i = 0; i < n; i += TLMI_BLOCK, block += TLMI_Q5_1_BYTES) {
        put_half(block, quantize_above(numbers, &minimum, from + i, 31));
        put_half(block + 2, minimum);
        put_numbers(block + 8, block + 4, numbers);
    }
}
