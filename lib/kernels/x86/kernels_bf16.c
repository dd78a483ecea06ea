/* Products in bfloat16 for AVX-512 BF16: a tile of 32 columns and 12 rows in 24 registers, sixteen
 * pairs per instruction. */
#include "kernels/kernels.h"

#if TLMI_X86
#include <immintrin.h>

enum { TILE_COLUMNS = 32, TILE_ROWS = 12 };

TLMI_TARGET_BF16
static void kernel_pair_tile(int64_t m, int64_t n, int64_t k, float alpha, const uint32_t *a,
                             const uint32_t *b, float beta, float *c, int64_t c_row_stride,
                             int64_t c_column_stride)
{
    __m512 sums[TILE_ROWS][2];

    (void)c_row_stride; /* 1: the tile is column-major */
    for (int j = 0; j < TILE_ROWS; j++)
        sums[j][0] = sums[j][1] = _mm512_setzero_ps();
    for (int64_t p = 0; p < k; p++, a += TILE_COLUMNS, b += TILE_ROWS) {
        const __m512bh first = (__m512bh)_mm512_loadu_si512(a);
        const __m512bh second = (__m512bh)_mm512_loadu_si512(a + 16);

        _mm_prefetch((const char *)(a + 8 * TILE_COLUMNS), _MM_HINT_T0);
        _mm_prefetch((const char *)(a + 8 * TILE_COLUMNS + 16), _MM_HINT_T0);
#pragma GCC unroll 12
        for (int j = 0; j < TILE_ROWS; j++) {
            const __m512bh factor = (__m512bh)_mm512_set1_epi32((int32_t)b[j]);

            sums[j][0] = _mm512_dpbf16_ps(sums[j][0], first, factor);
            sums[j][1] = _mm512_dpbf16_ps(sums[j][1], second, factor);
        }
    }
    const __mmask16 masks[2] = {m >= 16 ? 0xffff : (__mmask16)((1u << m) - 1),
                                m >= 32   ? 0xffff
                                : m <= 16 ? 0
                                          : (__mmask16)((1u << (m - 16)) - 1)};
    const __m512 factor = _mm512_set1_ps(alpha), kept = _mm512_set1_ps(beta);
    for (int j = 0; j < TILE_ROWS && j < n; j++, c += c_column_stride)
        for (int half = 0; half < 2; half++) {
            __m512 values = _mm512_mul_ps(factor, sums[j][half]);

            if (beta != 0.0f)
                values = _mm512_add_ps(
                    values, _mm512_mul_ps(kept, _mm512_maskz_loadu_ps(masks[half], c + 16 * half)));
            _mm512_mask_storeu_ps(c + 16 * half, masks[half], values);
        }
}

/* By integers: the conversion of AVX-512 BF16 would make subnormal numbers zero. */
TLMI_TARGET_BF16
static __m512i round_up(__m512i bits)
{
    const __m512i lowest = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_add_epi32(bits, _mm512_add_epi32(lowest, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmpgt_epi32_mask(
        _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff)), _mm512_set1_epi32(0x7f800000));

    return _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
}

TLMI_TARGET_BF16
static void kernel_round_pairs(uint32_t *pairs, const float *rows, int64_t width, int64_t num_pairs)
{
    for (int64_t p = 0; p < num_pairs; p++, rows += 2 * width, pairs += width)
        for (int64_t i = 0; i < width; i += 16) {
            const __mmask16 mask = width - i >= 16 ? 0xffff : (__mmask16)((1u << (width - i)) - 1);
            const __m512i first = round_up(_mm512_maskz_loadu_epi32(mask, rows + i));
            const __m512i second = round_up(_mm512_maskz_loadu_epi32(mask, rows + width + i));

            /* The upper half of `second`, and that of `first` below it. */
            _mm512_mask_storeu_epi32(
                pairs + i, mask,
                _mm512_mask_blend_epi16(0x55555555u, second, _mm512_srli_epi32(first, 16)));
        }
}

void tlmi_kernels_fill_bf16(tlmi_kernels_t *table)
{
    TLMI_PAIR_KERNELS(TLMI_SET_KERNEL)
    table->pairs =
        (tlmi_gemm_shape_t){"avx512_bf16", TILE_COLUMNS, TILE_ROWS, TLMI_PAIR_DEPTH, true, 1};
}
#else
typedef int tlmi_no_bf16_t; /* a file must declare something */
#endif
