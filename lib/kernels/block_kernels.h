/* Rows in block formats: dot products, and widening to floats. Written once over the operations of
 * block_scalar.h and x86/block_avx2.h:
 *
 *   Q                              32 small whole numbers
 *   q_load(p)                      32 signed bytes; also bits for q_field
 *   q_nibbles(p)                   the low halves of 16 bytes, then the high halves
 *   q_bits(b)                      the 32 bits of b, each as 0 or 1
 *   q_halves(a, b)                 16 times a, 16 times b
 *   q_field(v, shift, mask)        (v >> shift) & mask, of bytes
 *   q_join(v, w, shift)            v | w << shift
 *   q_minus(v, c)                  v - c
 *   I, q_dot(v, x)                 8 sums: lane i has the products 2i, 2i + 1, 2i + 16, 2i + 17
 *   q_dot_halves(v, x, a, b)       the same with the first 16 products times a, the others times b
 *   F, f_zero f_add(f, c, i)       8 floats: f + c * i, rounded after each operation
 *   f_sum(f)                       of the lanes, in a fixed order
 *   q_scaled(out, v, a, b)         out = a * v for the first 16 numbers, b * v for the others
 *   halves(out, p, stride, n)      8 float16 numbers or 1, each `stride` bytes behind the last
 *   f_products(out, a, b, n)       out_i = a_i b_i, 8 or 1
 *
 * x is quantized to 16 bits per number, so the sums of products within a block are exact integers. The
 * float operations are the same in all versions, in the same order: so are the bits of the results. */
#include "base/block_formats.h"

/* Up to so many x go through a row together, so that it is unpacked once. */
enum { BLOCK_TILE = 4 };

/* The elements of so many parts have their scales read together. */
enum { GROUP_PARTS = 8 };

/* Parts are 32 elements of a row: small blocks, or eighths of a super-block. An element is scale q; with
 * a minimum scale q + minimum; where 16 elements have factors of their own scale a q, then scale b q; with
 * minima scale a q + minimum m. The minima of the K formats count negative. */
typedef struct scales {
    float scale[GROUP_PARTS], minimum[GROUP_PARTS];
} scales_t;

typedef struct part {
    Q numbers;
    int32_t low, high;                 /* a and b */
    int32_t low_minimum, high_minimum; /* m */
} part_t;

/* ---- Small blocks: `row` is the first of 8, or the only one ------------------------------------------- */

HELPER void scales_q8_0(scales_t *scales, const uint8_t *row, int count)
{
    halves(scales->scale, row, TLMI_Q8_0_BYTES, count);
}

HELPER void part_q8_0(part_t *part, const uint8_t *row, int j)
{
    part->numbers = q_load(row + j * TLMI_Q8_0_BYTES + 2);
}

HELPER void scales_q4_0(scales_t *scales, const uint8_t *row, int count)
{
    halves(scales->scale, row, TLMI_Q4_0_BYTES, count);
}

HELPER void part_q4_0(part_t *part, const uint8_t *row, int j)
{
    part->numbers = q_minus(q_nibbles(row + j * TLMI_Q4_0_BYTES + 2), 8);
}

HELPER void scales_q4_1(scales_t *scales, const uint8_t *row, int count)
{
    halves(scales->scale, row, TLMI_Q4_1_BYTES, count);
    halves(scales->minimum, row + 2, TLMI_Q4_1_BYTES, count);
}

HELPER void part_q4_1(part_t *part, const uint8_t *row, int j)
{
    part->numbers = q_nibbles(row + j * TLMI_Q4_1_BYTES + 4);
}

HELPER void scales_q5_0(scales_t *scales, const uint8_t *row, int count)
{
    halves(scales->scale, row, TLMI_Q5_0_BYTES, count);
}

HELPER void part_q5_0(part_t *part, const uint8_t *row, int j)
{
    const uint8_t *block = row + j * TLMI_Q5_0_BYTES;

    part->numbers = q_minus(q_join(q_nibbles(block + 6), q_bits(tlmi_load_le32(block + 2)), 4), 16);
}

HELPER void scales_q5_1(scales_t *scales, const uint8_t *row, int count)
{
    halves(scales->scale, row, TLMI_Q5_1_BYTES, count);
    halves(scales->minimum, row + 2, TLMI_Q5_1_BYTES, count);
}

HELPER void part_q5_1(part_t *part, const uint8_t *row, int j)
{
    const uint8_t *block = row + j * TLMI_Q5_1_BYTES;

    part->numbers = q_join(q_nibbles(block + 8), q_bits(tlmi_load_le32(block + 4)), 4);
}

/* ---- Super-blocks: `row` is one, of 8 parts ------------------------------------------------ */

HELPER float half_at(const uint8_t *bytes)
{
    return tlmi_half_to_float((uint16_t)tlmi_load_le16(bytes));
}

HELPER void same_scales(scales_t *scales, float scale, float minimum)
{
    for (int j = 0; j < GROUP_PARTS; j++) {
        scales->scale[j] = scale;
        scales->minimum[j] = minimum;
    }
}

HELPER void scales_q2_k(scales_t *scales, const uint8_t *row, int count)
{
    (void)count;
    same_scales(scales, half_at(row + TLMI_Q2_K_SCALE), -half_at(row + TLMI_Q2_K_SCALE + 2));
}

HELPER void part_q2_k(part_t *part, const uint8_t *row, int j)
{
    const uint8_t *both = row + TLMI_Q2_K_SCALES + 2 * j;

    part->low = both[0] & 15;
    part->high = both[1] & 15;
    part->low_minimum = both[0] >> 4;
    part->high_minimum = both[1] >> 4;
    part->numbers = q_field(q_load(row + TLMI_Q2_K_NUMBERS + j / 4 * 32), j % 4 * 2, 3);
}

HELPER void scales_q3_k(scales_t *scales, const uint8_t *row, int count)
{
    (void)count;
    same_scales(scales, half_at(row + TLMI_Q3_K_SCALE), 0.0f);
}

HELPER void part_q3_k(part_t *part, const uint8_t *row, int j)
{
    const Q high = q_field(q_load(row + TLMI_Q3_K_HIGH), j, 1);
    const Q low = q_field(q_load(row + TLMI_Q3_K_NUMBERS + j / 4 * 32), j % 4 * 2, 3);

    part->low = tlmi_q3_k_scale(row + TLMI_Q3_K_SCALES, 2 * j);
    part->high = tlmi_q3_k_scale(row + TLMI_Q3_K_SCALES, 2 * j + 1);
    part->numbers = q_minus(q_join(low, high, 2), 4);
}

HELPER void scales_q4_k(scales_t *scales, const uint8_t *row, int count)
{
    const float scale = half_at(row), minimum = -half_at(row + 2);
    uint8_t factors[GROUP_PARTS], minima[GROUP_PARTS];

    (void)count;
    tlmi_k_scales(factors, minima, row + TLMI_Q4_K_SCALES);
    for (int j = 0; j < GROUP_PARTS; j++) {
        scales->scale[j] = scale * (float)factors[j];
        scales->minimum[j] = minimum * (float)minima[j];
    }
}

HELPER void part_q4_k(part_t *part, const uint8_t *row, int j)
{
    part->numbers = q_field(q_load(row + TLMI_Q4_K_NUMBERS + j / 2 * 32), j % 2 * 4, 15);
}

HELPER void part_q5_k(part_t *part, const uint8_t *row, int j)
{
    const Q high = q_field(q_load(row + TLMI_Q5_K_HIGH), j, 1);

    part->numbers =
        q_join(q_field(q_load(row + TLMI_Q5_K_NUMBERS + j / 2 * 32), j % 2 * 4, 15), high, 4);
}

HELPER void scales_q6_k(scales_t *scales, const uint8_t *row, int count)
{
    (void)count;
    same_scales(scales, half_at(row + TLMI_Q6_K_SCALE), 0.0f);
}

HELPER void part_q6_k(part_t *part, const uint8_t *row, int j)
{
    const Q low = q_field(q_load(row + j / 4 * 64 + j % 2 * 32), j % 4 / 2 * 4, 15);
    const Q high = q_field(q_load(row + TLMI_Q6_K_HIGH + j / 4 * 32), j % 4 * 2, 3);

    part->low = (int8_t)row[TLMI_Q6_K_SCALES + 2 * j];
    part->high = (int8_t)row[TLMI_Q6_K_SCALES + 2 * j + 1];
    part->numbers = q_minus(q_join(low, high, 4), 32);
}

/* ---- Rows -------------------------------------------------------------------------------- */

typedef void (*scales_fn)(scales_t *scales, const uint8_t *row, int count);
typedef void (*part_fn)(part_t *part, const uint8_t *row, int j);

/* What a format is made of; constant, so that each kernel is compiled for its own. */
typedef struct format {
    scales_fn scales;
    part_fn part;
    int group_bytes; /* of 8 parts in the file */
    bool halves, minimum, minima;
} format_t;

/* Sums of one row with several x. */
typedef struct sums {
    F sums[BLOCK_TILE];
    float offsets[BLOCK_TILE];
} sums_t;

/* Adds the products of 8 parts, or of 1, from part `first` of the row on. */
HELPER void add_group(sums_t *sums, const tlmi_quantized_rows_t *x, int64_t t, const int count,
                      const uint8_t *group, int64_t first, const int parts, int64_t n,
                      const format_t format)
{
    float factors[BLOCK_TILE][GROUP_PARTS], minima[BLOCK_TILE][GROUP_PARTS];
    scales_t scales;
    part_t part;

    format.scales(&scales, group, parts);
    for (int k = 0; k < count; k++) {
        const int64_t place = (t + k) * (n / TLMI_BLOCK) + first;

        f_products(factors[k], scales.scale, x->scales + place, parts);
        if (format.minima)
            f_products(minima[k], scales.minimum, x->scales + place, parts);
        for (int j = 0; j < parts && format.minimum; j++)
            sums->offsets[k] += scales.minimum[j] * x->sums[place + j];
    }
#pragma GCC unroll 8
    for (int j = 0; j < parts; j++) {
        format.part(&part, group, j);
        for (int k = 0; k < count; k++) {
            const int16_t *numbers = x->numbers + (t + k) * n + (first + j) * TLMI_BLOCK;
            const I products = format.halves
                                   ? q_dot_halves(part.numbers, numbers, part.low, part.high)
                                   : q_dot(part.numbers, numbers);

            sums->sums[k] = f_add(sums->sums[k], factors[k][j], products);
            if (format.minima)
                sums->sums[k] =
                    f_add(sums->sums[k], minima[k][j],
                          q_dot(q_halves(part.low_minimum, part.high_minimum), numbers));
        }
    }
}

/* out[t * out_stride] = x_t . row for `count` x from x_t on. */
HELPER void dots_of_row(float *out, int64_t out_stride, const tlmi_quantized_rows_t *x, int64_t t,
                        const int count, const uint8_t *row, int64_t n, const format_t format)
{
    const int64_t parts = n / TLMI_BLOCK;
    sums_t sums;
    int64_t i = 0;

    for (int k = 0; k < count; k++) {
        sums.sums[k] = f_zero();
        sums.offsets[k] = 0.0f;
    }
    for (; i + GROUP_PARTS <= parts; i += GROUP_PARTS, row += format.group_bytes)
        add_group(&sums, x, t, count, row, i, GROUP_PARTS, n, format);
    for (; i < parts; i++, row += format.group_bytes / GROUP_PARTS) /* not of super-blocks */
        add_group(&sums, x, t, count, row, i, 1, n, format);
    for (int k = 0; k < count; k++)
        out[k * out_stride] = f_sum(sums.sums[k]) + sums.offsets[k];
}

HELPER void dots_of_rows(float *out, int64_t out_stride, const tlmi_quantized_rows_t *x,
                         int64_t num_x, const uint8_t *rows, int64_t num_rows, int64_t n,
                         const format_t format)
{
    const int64_t row_bytes = n / TLMI_BLOCK * format.group_bytes / GROUP_PARTS;

    for (int64_t r = 0; r < num_rows; r++, rows += row_bytes) {
        int64_t t = 0;

        for (; t + BLOCK_TILE <= num_x; t += BLOCK_TILE)
            dots_of_row(out + r + t * out_stride, out_stride, x, t, BLOCK_TILE, rows, n, format);
        for (; t < num_x; t++)
            dots_of_row(out + r + t * out_stride, out_stride, x, t, 1, rows, n, format);
    }
}

/* ---- Widening ---------------------------------------------------------------------------- */

/* The operations of the format's tlmi_load_..., in the same order. */
HELPER void widen_group(float *out, const uint8_t *group, const int parts, const format_t format)
{
    scales_t scales;
    part_t part;

    format.scales(&scales, group, parts);
    for (int j = 0; j < parts; j++, out += TLMI_BLOCK) {
        const float scale = scales.scale[j], minimum = scales.minimum[j];

        format.part(&part, group, j);
        if (format.halves)
            q_scaled(out, part.numbers, scale * (float)part.low, scale * (float)part.high);
        else
            q_scaled(out, part.numbers, scale, scale);
        for (int i = 0; i < TLMI_BLOCK && format.minimum; i++)
            out[i] += minimum;
        for (int i = 0; i < TLMI_BLOCK && format.minima; i++)
            out[i] += minimum * (float)(i < 16 ? part.low_minimum : part.high_minimum);
    }
}

HELPER void widen_row(float *out, const uint8_t *row, int64_t n, const format_t format)
{
    const int64_t parts = n / TLMI_BLOCK;
    int64_t i = 0;

    for (; i + GROUP_PARTS <= parts; i += GROUP_PARTS, row += format.group_bytes)
        widen_group(out + i * TLMI_BLOCK, row, GROUP_PARTS, format);
    for (; i < parts; i++, row += format.group_bytes / GROUP_PARTS)
        widen_group(out + i * TLMI_BLOCK, row, 1, format);
}

#define FORMAT(name, ...)                                                                          \
    KERNEL void kernel_dots_##name(float *out, int64_t out_stride, const tlmi_quantized_rows_t *x, \
                                   int64_t num_x, const uint8_t *rows, int64_t num_rows,           \
                                   int64_t n)                                                      \
    {                                                                                              \
        const format_t format = {__VA_ARGS__};                                                     \
        dots_of_rows(out, out_stride, x, num_x, rows, num_rows, n, format);                        \
    }                                                                                              \
    KERNEL void kernel_widen_##name(float *out, const uint8_t *row, int64_t n)                     \
    {                                                                                              \
        const format_t format = {__VA_ARGS__};                                                     \
        widen_row(out, row, n, format);                                                            \
    }

FORMAT(q8_0, scales_q8_0, part_q8_0, 8 * TLMI_Q8_0_BYTES, false, false, false)
FORMAT(q4_0, scales_q4_0, part_q4_0, 8 * TLMI_Q4_0_BYTES, false, false, false)
FORMAT(q4_1, scales_q4_1, part_q4_1, 8 * TLMI_Q4_1_BYTES, false, true, false)
FORMAT(q5_0, scales_q5_0, part_q5_0, 8 * TLMI_Q5_0_BYTES, false, false, false)
FORMAT(q5_1, scales_q5_1, part_q5_1, 8 * TLMI_Q5_1_BYTES, false, true, false)
FORMAT(q2_k, scales_q2_k, part_q2_k, TLMI_Q2_K_BYTES, true, false, true)
FORMAT(q3_k, scales_q3_k, part_q3_k, TLMI_Q3_K_BYTES, true, false, false)
FORMAT(q4_k, scales_q4_k, part_q4_k, TLMI_Q4_K_BYTES, false, true, false)
FORMAT(q5_k, scales_q4_k, part_q5_k, TLMI_Q5_K_BYTES, false, true, false)
FORMAT(q6_k, scales_q6_k, part_q6_k, TLMI_Q6_K_BYTES, true, false, false)
#undef FORMAT
