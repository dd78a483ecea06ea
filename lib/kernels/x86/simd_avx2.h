/* Vector operations for AVX2 and FMA, eight floats at a time. Only kernel files may include it,
 * because the names are short. */
#include <immintrin.h>
#include <string.h>

#include "base/cpu.h"

#define TARGET     TLMI_TARGET_AVX2
#define V          __m256
#define WIDTH      8
#define PANEL_ROWS 6
#define INLINE     static inline __attribute__((always_inline)) TARGET

#include "kernels/x86/simd_x86.h"

typedef struct double8 {
    __m256d low, high;
} double8_t;
#define VD double8_t

/* Mask of the elements below n in the vector at i, loaded from an offset into a run of ones and
 * zeros. */
static const int32_t mask_run[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

INLINE __m256i tail_mask(int64_t i, int64_t n)
{
    int64_t left = n - i;
    left = left < 0 ? 0 : left > 8 ? 8 : left;
    return _mm256_loadu_si256((const __m256i *)(mask_run + 8 - left));
}

INLINE V v_set(float x)
{
    return _mm256_set1_ps(x);
}

INLINE V v_add(V a, V b)
{
    return _mm256_add_ps(a, b);
}

INLINE V v_sub(V a, V b)
{
    return _mm256_sub_ps(a, b);
}

INLINE V v_mul(V a, V b)
{
    return _mm256_mul_ps(a, b);
}

INLINE V v_div(V a, V b)
{
    return _mm256_div_ps(a, b);
}

INLINE V v_sqrt(V a)
{
    return _mm256_sqrt_ps(a);
}

INLINE V v_min(V a, V b)
{
    return _mm256_min_ps(a, b);
}

INLINE V v_max(V a, V b)
{
    return _mm256_max_ps(a, b);
}

INLINE V v_fma(V a, V b, V c)
{
    return _mm256_fmadd_ps(a, b, c);
}

INLINE V v_round(V x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

INLINE V power2(__m256i n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

/* In two steps, because 2^n itself may be outside the range of normal numbers. The first step is
 * exact. */
INLINE V v_power2(V p, V n)
{
    __m256i whole = _mm256_cvtps_epi32(n);
    __m256i half = _mm256_srai_epi32(whole, 1);
    return v_mul(v_mul(p, power2(half)), power2(_mm256_sub_epi32(whole, half)));
}

INLINE V v_load(const float *x, int64_t i, int64_t n, float fill)
{
    if (i + 8 <= n)
        return _mm256_loadu_ps(x + i);
    if (i >= n)
        return v_set(fill);
    __m256i mask = tail_mask(i, n);
    return _mm256_blendv_ps(v_set(fill), _mm256_maskload_ps(x + i, mask),
                            _mm256_castsi256_ps(mask));
}

/* Loads 16-bit elements and widens them to 32 bits; elements from n on read as 0. */
INLINE __m256i load_16(const uint16_t *x, int64_t i, int64_t n)
{
    uint16_t some[8] = {0};
    if (i + 8 <= n)
        return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(x + i)));
    if (i < n)
        memcpy(some, x + i, (size_t)(n - i) * sizeof(*x));
    return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)some));
}

INLINE V v_load_bf16(const uint16_t *x, int64_t i, int64_t n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(load_16(x, i, n), 16));
}

/* The exponent biases differ by 112: multiplying by 2^112 corrects this, for subnormal numbers too.
 * This avoids the conversion instruction, so that F16C is not required. */
INLINE V v_load_f16(const uint16_t *x, int64_t i, int64_t n)
{
    __m256i bits = load_16(x, i, n), exponent = _mm256_set1_epi32(0x7C00);
    __m256i sign = _mm256_slli_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(0x8000)), 16);
    __m256i rest = _mm256_slli_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(0x7FFF)), 13);
    __m256i is_special = _mm256_cmpeq_epi32(_mm256_and_si256(bits, exponent), exponent);
    __m256i special = _mm256_and_si256(is_special, _mm256_set1_epi32(0x7F800000));
    __m256 value = _mm256_mul_ps(_mm256_castsi256_ps(rest), _mm256_set1_ps(0x1p112f));
    return _mm256_or_ps(value, _mm256_castsi256_ps(_mm256_or_si256(sign, special)));
}

INLINE void v_store(float *y, int64_t i, int64_t n, V v)
{
    if (i + 8 <= n)
        _mm256_storeu_ps(y + i, v);
    else if (i < n)
        _mm256_maskstore_ps(y + i, tail_mask(i, n), v);
}

INLINE V v_keep(V v, int64_t i, int64_t n)
{
    return i + 8 <= n ? v : _mm256_and_ps(v, _mm256_castsi256_ps(tail_mask(i, n)));
}

INLINE bool v_has_nan(V v)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)) != 0;
}

INLINE VD vd_zero(void)
{
    return (VD){_mm256_setzero_pd(), _mm256_setzero_pd()};
}

INLINE VD vd_add_square(VD sum, V x)
{
    __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(x));
    __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
    return (VD){_mm256_fmadd_pd(low, low, sum.low), _mm256_fmadd_pd(high, high, sum.high)};
}

INLINE void vd_store(double *y, VD v)
{
    _mm256_storeu_pd(y, v.low);
    _mm256_storeu_pd(y + 4, v.high);
}

INLINE F4 v_fold(const V *sums)
{
    V v = _mm256_add_ps(sums[0], sums[1]);
    return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
}

/* ---- Bytes ------------------------------------------------------------------------------ */

#define B     __m256i
#define BYTES 32

INLINE B b_load(const uint8_t *bytes)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)bytes);
}

INLINE uint64_t b_high(B bytes)
{
    return (uint32_t)_mm256_movemask_epi8(bytes);
}

INLINE uint64_t b_equal(B bytes, char value)
{
    return b_high(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(value)));
}

INLINE uint64_t b_between(B bytes, char first, char last)
{
    B above = _mm256_sub_epi8(bytes, _mm256_set1_epi8(first));
    B most = _mm256_set1_epi8((char)(last - first));
    return b_high(_mm256_cmpeq_epi8(_mm256_min_epu8(above, most), above));
}

#include "kernels/simd_helpers.h"
