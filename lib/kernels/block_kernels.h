/* Dot products with rows in block formats, written once over the operations of block_scalar.h and
 * x86/block_avx2.h:
 *
 *   Q                              32 numbers of 8 bits
 *   q_load(p)                      32 bytes
 *   q_nibbles(p)                   the low halves of 16 bytes, then the high halves
 *   q_bits(b)                      the 32 bits of b, each as 0 or 1
 *   q_halves(a, b)                 16 times a, 16 times b
 *   q_field(v, shift, mask)        (v >> shift) & mask, byte by byte
 *   q_join(v, w, shift)            v | w << shift
 *   q_minus(v, c)                  v - c
 *   I, q_dot(v, x)                 8 sums: lane i has the products 2i, 2i + 1, 2i + 16, 2i + 17
 *   q_dot_halves(v, x, a, b)       the same with the first 16 products times a, the others times b
 *   F, f_zero f_add(f, c, i)       8 floats: f + c * i, rounded after each operation
 *   f_sum(f)                       of the lanes, in a fixed order
 *
 * x is quantized to 16 bits per number, so the sums of products within a block are exact integers. The
 * float operations are the same in all versions, in the same order: so are the bits of the results. */
#include "base/block_formats.h"

/* Up to so many x go through a row together, so that it is unpacked once. */
enum { BLOCK_TILE = 4 };

/* A float16 number as float, exact. */
HELPER float half_scale(const uint8_t *bytes)
{
    const uint32_t half = tlmi_load_le16(bytes), rest = (half & 0x7FFFu) << 13;
    const float value = tlmi_float_of_bits(rest) * 0x1p112f;

    if (rest >= 0x0F800000u)
        return tlmi_half_to_float((uint16_t)half);
    return tlmi_float_of_bits(tlmi_float_bits(value) | (half & 0x8000u) << 16);
}

/* 32 elements of a row: x is scale q + minimum; with halves scale a q and scale b q; with minima
 * scale a q + minimum m. */
typedef struct part {
    Q numbers, minima;
    float scale, minimum;
    int32_t low, high;
} part_t;

/* The scales of a super-block, read once. */
typedef struct super {
    float scale, minimum;
    uint8_t scales[8], minima[8];
} super_t;

/* ---- Small blocks ------------------------------------------------------------------------ */

HELPER void part_q8_0(part_t *part, const super_t *super, const uint8_t *block, int j)
{
    (void)super, (void)j;
    part->scale = half_scale(block);
    part->numbers = q_load(block + 2);
}

HELPER void part_q4_0(part_t *part, const super_t *super, const uint8_t *block, int j)
{
    (void)super, (void)j;
    part->scale = half_scale(block);
    part->numbers = q_minus(q_nibbles(block + 2), 8);
}

HELPER void part_q4_1(part_t *part, const super_t *super, const uint8_t *block, int j)
{
    (void)super, (void)j;
    part->scale = half_scale(block);
    part->minimum = half_scale(block + 2);
    part->numbers = q_nibbles(block + 4);
}

HELPER void part_q5_0(part_t *part, const super_t *super, const uint8_t *block, int j)
{
    (void)super, (void)j;
    part->scale = half_scale(block);
    part->numbers = q_minus(q_join(q_nibbles(block + 6), q_bits(tlmi_load_le32(block + 2)), 4), 16);
}

HELPER void part_q5_1(part_t *part, const super_t *super, const uint8_t *block, int j)
{
    (void)super, (void)j;
    part->scale = half_scale(block);
    part->minimum = half_scale(block + 2);
    part->numbers = q_join(q_nibbles(block + 8), q_bits(tlmi_load_le32(block + 4)), 4);
}

/* ---- Super-blocks ------------------------------------------------------------------------ */

HELPER void super_none(super_t *super, const uint8_t *block)
{
    (void)super, (void)block;
}

HELPER void super_q2_k(super_t *super, const uint8_t *block)
{
    super->scale = half_scale(block + TLMI_Q2_K_SCALE);
    super->minimum = -half_scale(block + TLMI_Q2_K_SCALE + 2);
}

HELPER void part_q2_k(part_t *part, const super_t *super, const uint8_t *block, int j)
{
    const uint8_t *both = block + TLMI_Q2_K_SCALES + 2 * j;

    part->scale = super->scale;
    part->minimum = super->minimum;
    part->low = both[0] & 15;
    part->high = both[1] & 15;
    part->minima = q_halves(both[0] >> 4, both[1] >> 4);
    part->numbers = q_field(q_load(block + TLMI_Q2_K_NUMBERS + j / 4 * 32), j % 4 * 2, 3);
}

HELPER void super_q3_k(super_t *super, const uint8_t *block)
{
    super->scale = half_scale(block + TLMI_Q3_K_SCALE);
}

HELPER void part_q3_k(part_t *part, const super_t *super, const uint8_t *block, int j)
{
    const Q high = q_field(q_load(block + TLMI_Q3_K_HIGH), j, 1);
    const Q low = q_field(q_load(block + TLMI_Q3_K_NUMBERS + j / 4 * 32), j % 4 * 2, 3);

    part->scale = super->scale;
    part->low = tlmi_q3_k_scale(block + TLMI_Q3_K_SCALES, 2 * j);
    part->high = tlmi_q3_k_scale(block + TLMI_Q3_K_SCALES, 2 * j + 1);
    part->numbers = q_minus(q_join(low, high, 2), 4);
}

HELPER void super_q4_k(super_t *super, const uint8_t *block)
{
    super->scale = half_scale(block);
    super->minimum = -half_scale(block + 2);
    tlmi_k_scales(super->scales, super->minima, block + TLMI_Q4_K_SCALES);
}

HELPER void part_q4_k(part_t *part, const super_t *super, const uint8_t *block, int j)
{
    part->scale = super->scale * (float)super->scales[j];
    part->minimum = super->minimum * (float)super->minima[j];
    part->numbers = q_field(q_load(block + TLMI_Q4_K_NUMBERS + j / 2 * 32), j % 2 * 4, 15);
}

HELPER void part_q5_k(part_t *part, const super_t *super, const uint8_t *block, int j)
{
    const Q high = q_field(q_load(block + TLMI_Q5_K_HIGH), j, 1);

    part->scale = super->scale * (float)super->scales[j];
    part->minimum = super->minimum * (float)super->minima[j];
    part->numbers =
        q_join(q_field(q_load(block + TLMI_Q5_K_NUMBERS + j / 2 * 32), j % 2 * 4, 15), high, 4);
}

HELPER void super_q6_k(super_t *super, const uint8_t *block)
{
    super->scale = half_scale(block + TLMI_Q6_K_SCALE);
}

HELPER void part_q6_k(part_t *part, const super_t *super, const uint8_t *block, int j)
{
    const Q low = q_field(q_load(block + j / 4 * 64 + j % 2 * 32), j % 4 / 2 * 4, 15);
    const Q high = q_field(q_load(block + TLMI_Q6_K_HIGH + j / 4 * 32), j % 4 * 2, 3);

    part->scale = super->scale;
    part->low = (int8_t)block[TLMI_Q6_K_SCALES + 2 * j];
    part->high = (int8_t)block[TLMI_Q6_K_SCALES + 2 * j + 1];
    part->numbers = q_minus(q_join(low, high, 4), 32);
}

/* ---- Rows -------------------------------------------------------------------------------- */

typedef void (*super_fn)(super_t *super, const uint8_t *block);
typedef void (*part_fn)(part_t *part, const super_t *super, const uint8_t *block, int j);

/* What a format is made of; constant, so that each kernel is compiled for its own. */
typedef struct format {
    super_fn super;
    part_fn part;
    int parts, bytes; /* of a block: of 32 elements, in the file */
    bool halves, minimum, minima;
} format_t;

/* out[t * out_stride] = x_t . row for `count` x from x_t on. */
HELPER void dots_of_row(float *out, int64_t out_stride, const tlmi_quantized_rows_t *x, int64_t t,
                        const int count, const uint8_t *row, int64_t n, const format_t format)
{
    const int64_t parts = n / TLMI_BLOCK;
    float offsets[BLOCK_TILE] = {0.0f};
    F sums[BLOCK_TILE];
    super_t super;
    part_t part;

    for (int k = 0; k < count; k++)
        sums[k] = f_zero();
    for (int64_t i = 0; i < parts; row += format.bytes) {
        format.super(&super, row);
        for (int j = 0; j < format.parts; j++, i++) {
            format.part(&part, &super, row, j);
            for (int k = 0; k < count; k++) {
                const int16_t *numbers = x->numbers + (t + k) * n + i * TLMI_BLOCK;
                const float scale = x->scales[(t + k) * parts + i];
                const I products = format.halves
                                       ? q_dot_halves(part.numbers, numbers, part.low, part.high)
                                       : q_dot(part.numbers, numbers);

                sums[k] = f_add(sums[k], part.scale * scale, products);
                if (format.minima)
                    sums[k] = f_add(sums[k], part.minimum * scale, q_dot(part.minima, numbers));
                if (format.minimum)
                    offsets[k] += part.minimum * x->sums[(t + k) * parts + i];
            }
        }
    }
    for (int k = 0; k < count; k++)
        out[k * out_stride] = f_sum(sums[k]) + offsets[k];
}

HELPER void dots_of_rows(float *out, int64_t out_stride, const tlmi_quantized_rows_t *x,
                         int64_t num_x, const uint8_t *rows, int64_t num_rows, int64_t n,
                         const format_t format)
{
    const int64_t row_bytes = n / TLMI_BLOCK / format.parts * format.bytes;

    for (int64_t r = 0; r < num_rows; r++, rows += row_bytes) {
        int64_t t = 0;

        for (; t + BLOCK_TILE <= num_x; t += BLOCK_TILE)
            dots_of_row(out + r + t * out_stride, out_stride, x, t, BLOCK_TILE, rows, n, format);
        for (; t < num_x; t++)
            dots_of_row(out + r + t * out_stride, out_stride, x, t, 1, rows, n, format);
    }
}

#define DOTS(name, ...)                                                                            \
    KERNEL void kernel_dots_##name(float *out, int64_t out_stride, const tlmi_quantized_rows_t *x, \
                                   int64_t num_x, const uint8_t *rows, int64_t num_rows,           \
                                   int64_t n)                                                      \
    {                                                                                              \
        const format_t format = {__VA_ARGS__};                                                     \
        dots_of_rows(out, out_stride, x, num_x, rows, num_rows, n, format);                        \
    }

DOTS(q8_0, super_none, part_q8_0, 1, TLMI_Q8_0_BYTES, false, false, false)
DOTS(q4_0, super_none, part_q4_0, 1, TLMI_Q4_0_BYTES, false, false, false)
DOTS(q4_1, super_none, part_q4_1, 1, TLMI_Q4_1_BYTES, false, true, false)
DOTS(q5_0, super_none, part_q5_0, 1, TLMI_Q5_0_BYTES, false, false, false)
DOTS(q5_1, super_none, part_q5_1, 1, TLMI_Q5_1_BYTES, false, true, false)
DOTS(q2_k, super_q2_k, part_q2_k, 8, TLMI_Q2_K_BYTES, true, false, true)
DOTS(q3_k, super_q3_k, part_q3_k, 8, TLMI_Q3_K_BYTES, true, false, false)
DOTS(q4_k, super_q4_k, part_q4_k, 8, TLMI_Q4_K_BYTES, false, true, false)
DOTS(q5_k, super_q4_k, part_q5_k, 8, TLMI_Q5_K_BYTES, false, true, false)
DOTS(q6_k, super_q6_k, part_q6_k, 8, TLMI_Q6_K_BYTES, true, false, false)
#undef DOTS
