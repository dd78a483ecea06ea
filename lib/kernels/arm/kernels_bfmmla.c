/* Products in bfloat16 for 64-bit ARM with FEAT_BF16: a tile of 8 rows and 12 columns in 24
 * registers. One BFMMLA adds the products of two rows and two columns over two pairs.
 *
 * Its arithmetic is not that of the other kernels: it rounds to odd (the last bit is set if anything
 * was cut off) the sum of the two products of each pair, then the sum of that with what was there,
 * and it takes subnormal numbers as zero. So a step may be off by one unit in the last place, where
 * the others are off by half of one, and the bits differ from theirs. */
#include "kernels/kernels.h"

#if TLMI_ARM64
#include <arm_neon.h>

enum { TILE_ROWS = 8, TILE_COLUMNS = 12, GROUP = 2 };

TLMI_TARGET_BFMMLA
static inline bfloat16x8_t load_two_rows(const uint32_t *pairs)
{
    return vreinterpretq_bf16_u32(vld1q_u32(pairs));
}

/* Not inlined, so that the registers of the caller are those of its loop. */
static __attribute__((noinline)) void store_tile(int64_t m, int64_t n, float alpha,
                                                 const float *values, float beta, float *c,
                                                 int64_t c_row_stride)
{
    for (int64_t i = 0; i < m; i++, c += c_row_stride, values += TILE_COLUMNS)
        for (int64_t j = 0; j < n; j++) {
            const float product = alpha * values[j];

            c[j] = beta == 0.0f ? product : product + beta * c[j];
        }
}

TLMI_TARGET_BFMMLA
static void kernel_pair_tile(int64_t m, int64_t n, int64_t k, float alpha, const uint32_t *a,
                             const uint32_t *b, float beta, float *c, int64_t c_row_stride,
                             int64_t c_column_stride)
{
    float32x4_t sums[TILE_ROWS / 2][TILE_COLUMNS / 2]; /* blocks of two by two */

    (void)c_column_stride; /* 1: the tile is row-major */
    for (int i = 0; i < TILE_ROWS / 2; i++)
        for (int j = 0; j < TILE_COLUMNS / 2; j++)
            sums[i][j] = vdupq_n_f32(0.0f);
    for (int64_t p = 0; p < k; p += GROUP, a += GROUP * TILE_ROWS, b += GROUP * TILE_COLUMNS) {
        bfloat16x8_t left[TILE_ROWS / 2];

        for (int i = 0; i < TILE_ROWS / 2; i++)
            left[i] = load_two_rows(a + 2 * GROUP * i);
        for (int j = 0; j < TILE_COLUMNS / 2; j++) {
            const bfloat16x8_t right = load_two_rows(b + 2 * GROUP * j);

            for (int i = 0; i < TILE_ROWS / 2; i++)
                sums[i][j] = vbfmmlaq_f32(sums[i][j], left[i], right);
            /* The next load waits for this: GCC would load all of B first and lack registers. */
            __asm__(""
                    : "+r"(b)
                    : "w"(sums[0][j]), "w"(sums[1][j]), "w"(sums[2][j]), "w"(sums[3][j]));
        }
    }
    float values[TILE_ROWS][TILE_COLUMNS];
    for (int i = 0; i < TILE_ROWS; i += 2)
        for (int j = 0; j < TILE_COLUMNS; j += 2) {
            vst1_f32(&values[i][j], vget_low_f32(sums[i / 2][j / 2]));
            vst1_f32(&values[i + 1][j], vget_high_f32(sums[i / 2][j / 2]));
        }
    store_tile(m, n, alpha, &values[0][0], beta, c, c_row_stride);
}

TLMI_TARGET_BFMMLA
static void kernel_round_pairs(uint32_t *pairs, const float *rows, int64_t width, int64_t num_pairs)
{
    for (int64_t p = 0; p < num_pairs; p += GROUP, rows += 4 * width, pairs += GROUP * width) {
        int64_t i = 0;

        for (; i + 4 <= width; i += 4) {
            uint16x4x4_t rounded;

            for (int q = 0; q < 4; q++)
                rounded.val[q] =
                    vreinterpret_u16_bf16(vcvt_bf16_f32(vld1q_f32(rows + q * width + i)));
            vst4_u16((uint16_t *)(pairs + GROUP * i), rounded);
        }
        for (; i < width; i++)
            for (int q = 0; q < GROUP; q++)
                pairs[GROUP * i + q] =
                    tlmi_float_to_bfloat16(rows[2 * q * width + i]) |
                    (uint32_t)tlmi_float_to_bfloat16(rows[(2 * q + 1) * width + i]) << 16;
    }
}

void tlmi_kernels_fill_bfmmla(tlmi_kernels_t *table)
{
    TLMI_PAIR_KERNELS(TLMI_SET_KERNEL)
    table->pairs =
        (tlmi_gemm_shape_t){"bfmmla", TILE_ROWS, TILE_COLUMNS, TLMI_PAIR_DEPTH, false, GROUP};
}
#else
typedef int tlmi_no_bfmmla_t; /* a file must declare something */
#endif
