/* Packing of panels. The widths of BLIS's micro-kernels are constants in the inner loops, so that
 * the compiler unrolls them; other widths take the general loop. */
#include <string.h>

#include "base/cpu.h"
#include "kernels/gemm.h"

#if TLMI_X86
#include <immintrin.h>
#endif

/* Lines of an operand that are asked for ahead of their copying: they lie too far apart for the CPU
 * to foresee. */
enum { AHEAD = 6 };

#define INLINE static inline __attribute__((always_inline))

static void pack_general(float *target, int64_t width, int64_t rows, int64_t depth,
                         const float *source, int64_t stride, int64_t depth_stride)
{
    for (int64_t p = 0; p < depth; p++) {
        for (int64_t i = 0; i < rows; i++)
            target[p * width + i] = source[i * stride + p * depth_stride];
        for (int64_t i = rows; i < width; i++)
            target[p * width + i] = 0.0f;
    }
}

/* Full panels whose rows are neighbours in memory: short copies. A line of the source goes to all
 * panels before the next is begun, so that memory is read in its order. */
INLINE void pack_across(float *target, int64_t panel_size, int64_t panels, int64_t width,
                        int64_t depth, const float *source, int64_t depth_stride)
{
    for (int64_t p = 0; p < depth; p++, source += depth_stride) {
        const char *ahead = (const char *)(source + (p + AHEAD < depth ? AHEAD * depth_stride : 0));
        for (int64_t i = 0; i < panels * width * (int64_t)sizeof(float); i += 64)
            __builtin_prefetch(ahead + i);
        for (int64_t i = 0; i < panels; i++)
            memcpy(target + i * panel_size + p * width, source + i * width,
                   (size_t)width * sizeof(float));
    }
}

#if TLMI_X86
/* Columns p..p+3 of four rows, transposed; `lanes` of the four rows are stored (4 or 2). */
INLINE void transpose_4x4(float *target, int64_t width, const float *source, int64_t stride,
                          int lanes)
{
    __m128 r0 = _mm_loadu_ps(source);
    __m128 r1 = _mm_loadu_ps(source + stride);
    __m128 r2 = lanes == 4 ? _mm_loadu_ps(source + 2 * stride) : r0;
    __m128 r3 = lanes == 4 ? _mm_loadu_ps(source + 3 * stride) : r1;
    _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
    if (lanes == 4) {
        _mm_storeu_ps(target, r0);
        _mm_storeu_ps(target + width, r1);
        _mm_storeu_ps(target + 2 * width, r2);
        _mm_storeu_ps(target + 3 * width, r3);
    } else {
        _mm_storel_pi((__m64 *)target, r0);
        _mm_storel_pi((__m64 *)(target + width), r1);
        _mm_storel_pi((__m64 *)(target + 2 * width), r2);
        _mm_storel_pi((__m64 *)(target + 3 * width), r3);
    }
}
#endif

#if TLMI_X86
/* Columns p..p+3 of eight rows, of which the first `rows` (6 or 8) count, transposed. Eight floats are
 * stored a column: with six rows the next column's go over the last two. */
static inline __attribute__((always_inline)) TLMI_TARGET_AVX2 void
transpose_8x4(float *target, int64_t width, const float *source, int64_t stride, const int rows)
{
    __m256 r[4], t[4];
    for (int i = 0; i < 4; i++)
        r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(source + i * stride)),
                                    _mm_loadu_ps(source + (i + 4 < rows ? i + 4 : i) * stride), 1);
    t[0] = _mm256_unpacklo_ps(r[0], r[1]);
    t[1] = _mm256_unpackhi_ps(r[0], r[1]);
    t[2] = _mm256_unpacklo_ps(r[2], r[3]);
    t[3] = _mm256_unpackhi_ps(r[2], r[3]);
    _mm256_storeu_ps(target, _mm256_shuffle_ps(t[0], t[2], 0x44));
    _mm256_storeu_ps(target + width, _mm256_shuffle_ps(t[0], t[2], 0xee));
    _mm256_storeu_ps(target + 2 * width, _mm256_shuffle_ps(t[1], t[3], 0x44));
    _mm256_storeu_ps(target + 3 * width, _mm256_shuffle_ps(t[1], t[3], 0xee));
}

/* As many columns as leave one for the end, so that nothing is stored beyond the panel; returns how
 * many. The width is 6 or a multiple of 8. */
static TLMI_TARGET_AVX2 int64_t pack_along_avx2(float *target, int64_t width, int64_t depth,
                                                const float *source, int64_t stride)
{
    int64_t p = 0;
    for (; p + 4 < depth; p += 4) {
        if (width == 6)
            transpose_8x4(target + p * 6, 6, source + p, stride, 6);
        else
            for (int64_t i = 0; i < width; i += 8)
                transpose_8x4(target + p * width + i, width, source + i * stride + p, stride, 8);
    }
    return p;
}
#endif

/* A full panel whose depth runs along memory: a transposition. */
INLINE void pack_along(float *target, int64_t width, int64_t depth, const float *source,
                       int64_t stride)
{
    int64_t p = 0;
#if TLMI_X86
    if ((width == 6 || width % 8 == 0) && tlm_cpu_level() >= TLM_CPU_AVX2)
        p = pack_along_avx2(target, width, depth, source, stride);
    for (; p + 4 <= depth; p += 4) {
        int64_t i = 0;
        for (; i + 4 <= width; i += 4)
            transpose_4x4(target + p * width + i, width, source + i * stride + p, stride, 4);
        if (i < width) /* widths are even */
            transpose_4x4(target + p * width + i, width, source + i * stride + p, stride, 2);
    }
#endif
    for (; p < depth; p++)
        for (int64_t i = 0; i < width; i++)
            target[p * width + i] = source[i * stride + p];
}

INLINE void pack_full(float *target, int64_t panel_size, int64_t panels, int64_t width,
                      int64_t depth, const float *source, int64_t stride, int64_t depth_stride)
{
    if (stride == 1) {
        pack_across(target, panel_size, panels, width, depth, source, depth_stride);
        return;
    }
    for (int64_t i = 0; i < panels; i++, target += panel_size, source += width * stride) {
        if (depth_stride == 1)
            pack_along(target, width, depth, source, stride);
        else
            pack_general(target, width, width, depth, source, stride, depth_stride);
    }
}

void tlmi_pack_panels(float *target, int64_t panel_size, int64_t width, int64_t rows, int64_t depth,
                      const float *source, int64_t stride, int64_t depth_stride)
{
    int64_t panels = rows / width;
    switch (width) {
    case 4:
        pack_full(target, panel_size, panels, 4, depth, source, stride, depth_stride);
        break;
    case 6:
        pack_full(target, panel_size, panels, 6, depth, source, stride, depth_stride);
        break;
    case 12:
        pack_full(target, panel_size, panels, 12, depth, source, stride, depth_stride);
        break;
    case 16:
        pack_full(target, panel_size, panels, 16, depth, source, stride, depth_stride);
        break;
    case 32:
        pack_full(target, panel_size, panels, 32, depth, source, stride, depth_stride);
        break;
    default:
        for (int64_t i = 0; i < panels; i++)
            pack_general(target + i * panel_size, width, width, depth, source + i * width * stride,
                         stride, depth_stride);
        break;
    }
    if (rows > panels * width)
        pack_general(target + panels * panel_size, width, rows - panels * width, depth,
                     source + panels * width * stride, stride, depth_stride);
}
