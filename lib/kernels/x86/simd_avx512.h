/* Vector operations for AVX-512, sixteen floats at a time. Only kernel files may include it,
 * because the names are short. */
#include <immintrin.h>
#include <string.h>

#include "base/cpu.h"

#define TARGET     TLMI_TARGET_AVX512
#define V          __m512
#define WIDTH      16
#define PANEL_ROWS 12
#define INLINE     static inline __attribute__((always_inline)) TARGET

#include "kernels/x86/simd_x86.h"

typedef struct double16 {
    __m512d low, high;
} double16_t;
#define VD double16_t

/* Mask of the elements below n in the vector at i. */
INLINE __mmask16 tail_mask(int64_t i, int64_t n)
{
    int64_t left = n - i;
    return left >= 16 ? 0xffff : left <= 0 ? 0 : (__mmask16)((1u << left) - 1);
}

INLINE V v_set(float x)
{
    return _mm512_set1_ps(x);
}

INLINE V v_add(V a, V b)
{
    return _mm512_add_ps(a, b);
}

INLINE V v_sub(V a, V b)
{
    return _mm512_sub_ps(a, b);
}

INLINE V v_mul(V a, V b)
{
    return _mm512_mul_ps(a, b);
}

INLINE V v_div(V a, V b)
{
    return _mm512_div_ps(a, b);
}

INLINE V v_sqrt(V a)
{
    return _mm512_sqrt_ps(a);
}

INLINE V v_min(V a, V b)
{
    return _mm512_min_ps(a, b);
}

INLINE V v_max(V a, V b)
{
    return _mm512_max_ps(a, b);
}

INLINE V v_fma(V a, V b, V c)
{
    return _mm512_fmadd_ps(a, b, c);
}

INLINE V v_round(V x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

INLINE V v_power2(V p, V n)
{
    return _mm512_scalef_ps(p, n);
}

INLINE V v_load(const float *x, int64_t i, int64_t n, float fill)
{
    if (i + 16 <= n)
        return _mm512_loadu_ps(x + i);
    if (i >= n)
        return v_set(fill);
    return _mm512_mask_loadu_ps(v_set(fill), tail_mask(i, n), x + i);
}

/* Loads 16-bit elements; elements from n on read as 0. */
INLINE __m256i load_16(const uint16_t *x, int64_t i, int64_t n)
{
    if (i + 16 <= n)
        return _mm256_loadu_si256((const __m256i *)(x + i));
    return _mm256_maskz_loadu_epi16(tail_mask(i, n), x + i);
}

INLINE V v_load_bf16(const uint16_t *x, int64_t i, int64_t n)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_16(x, i, n)), 16));
}

INLINE V v_load_f16(const uint16_t *x, int64_t i, int64_t n)
{
    return _mm512_cvtph_ps(load_16(x, i, n));
}

INLINE void v_store(float *y, int64_t i, int64_t n, V v)
{
    if (i + 16 <= n)
        _mm512_storeu_ps(y + i, v);
    else if (i < n)
        _mm512_mask_storeu_ps(y + i, tail_mask(i, n), v);
}

INLINE V v_keep(V v, int64_t i, int64_t n)
{
    return _mm512_maskz_mov_ps(tail_mask(i, n), v);
}

INLINE bool v_has_nan(V v)
{
    return _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q) != 0;
}

INLINE VD vd_zero(void)
{
    return (VD){_mm512_setzero_pd(), _mm512_setzero_pd()};
}

INLINE VD vd_add_square(VD sum, V x)
{
    __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    return (VD){_mm512_fmadd_pd(low, low, sum.low), _mm512_fmadd_pd(high, high, sum.high)};
}

INLINE void vd_store(double *y, VD v)
{
    _mm512_storeu_pd(y, v.low);
    _mm512_storeu_pd(y + 8, v.high);
}

INLINE F4 v_fold(const V *sums)
{
    __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(sums[0]), 1));
    __m256 v = _mm256_add_ps(_mm512_castps512_ps256(sums[0]), high);
    return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
}

/* ---- Bytes ------------------------------------------------------------------------------ */

#define B     __m512i
#define BYTES 64

INLINE B b_load(const uint8_t *bytes)
{
    return _mm512_loadu_si512(bytes);
}

INLINE uint64_t b_high(B bytes)
{
    return _mm512_movepi8_mask(bytes);
}

INLINE uint64_t b_equal(B bytes, char value)
{
    return _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(value));
}

INLINE uint64_t b_between(B bytes, char first, char last)
{
    B above = _mm512_sub_epi8(bytes, _mm512_set1_epi8(first));
    return _mm512_cmple_epu8_mask(above, _mm512_set1_epi8((char)(last - first)));
}

#include "kernels/simd_helpers.h"
