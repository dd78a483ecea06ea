/* 16-bit floats: IEEE 754 binary16, and bfloat16, which is the upper half of a float32.
 * Conversions round to nearest, ties to even; NaN stays NaN. */
#ifndef TLMI_HALF_H
#define TLMI_HALF_H

#include <stdint.h>
#include <string.h>

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

#endif
