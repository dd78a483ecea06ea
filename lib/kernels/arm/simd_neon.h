/* Vector operations for 64-bit ARM's Advanced SIMD, four floats at a time. Only kernel files may
 * include it, because the names are short. */
#include <arm_neon.h>
#include <string.h>

#include "base/cpu.h"

#define TARGET
#define V          float32x4_t
#define WIDTH      4
#define PANEL_ROWS 6 /* 24 sums, four vectors of a panel and one of A: 29 of 32 registers */
#define INLINE     static inline __attribute__((always_inline)) TARGET

typedef struct double4 {
    float64x2_t low, high;
} double4_t;
#define VD double4_t

INLINE V v_set(float x)
{
    return vdupq_n_f32(x);
}

INLINE V v_add(V a, V b)
{
    return vaddq_f32(a, b);
}

INLINE V v_sub(V a, V b)
{
    return vsubq_f32(a, b);
}

INLINE V v_mul(V a, V b)
{
    return vmulq_f32(a, b);
}

INLINE V v_div(V a, V b)
{
    return vdivq_f32(a, b);
}

INLINE V v_sqrt(V a)
{
    return vsqrtq_f32(a);
}

INLINE V v_min(V a, V b)
{
    return vminq_f32(a, b);
}

INLINE V v_max(V a, V b)
{
    return vmaxq_f32(a, b);
}

INLINE V v_fma(V a, V b, V c)
{
    return vfmaq_f32(c, a, b);
}

INLINE V v_round(V x)
{
    return vrndnq_f32(x);
}

INLINE V power2(int32x4_t n)
{
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}

/* In two steps, because 2^n itself may be outside the range of normal numbers. The first step is
 * exact. */
INLINE V v_power2(V p, V n)
{
    int32x4_t whole = vcvtq_s32_f32(n);
    int32x4_t half = vshrq_n_s32(whole, 1);
    return v_mul(v_mul(p, power2(half)), power2(vsubq_s32(whole, half)));
}

INLINE V v_load(const float *x, int64_t i, int64_t n, float fill)
{
    if (i + 4 <= n)
        return vld1q_f32(x + i);
    V v = v_set(fill);
    if (i < n)
        v = vld1q_lane_f32(x + i, v, 0);
    if (i + 1 < n)
        v = vld1q_lane_f32(x + i + 1, v, 1);
    if (i + 2 < n)
        v = vld1q_lane_f32(x + i + 2, v, 2);
    return v;
}

/* Loads 16-bit elements; elements from n on read as 0. */
INLINE uint16x4_t load_16(const uint16_t *x, int64_t i, int64_t n)
{
    if (i + 4 <= n)
        return vld1_u16(x + i);
    uint16x4_t v = vdup_n_u16(0);
    if (i < n)
        v = vld1_lane_u16(x + i, v, 0);
    if (i + 1 < n)
        v = vld1_lane_u16(x + i + 1, v, 1);
    if (i + 2 < n)
        v = vld1_lane_u16(x + i + 2, v, 2);
    return v;
}

INLINE V v_load_bf16(const uint16_t *x, int64_t i, int64_t n)
{
    return vreinterpretq_f32_u32(vshll_n_u16(load_16(x, i, n), 16));
}

/* The conversion of float16 belongs to every 64-bit ARM CPU; its arithmetic does not. */
INLINE V v_load_f16(const uint16_t *x, int64_t i, int64_t n)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(load_16(x, i, n)));
}

INLINE void v_store(float *y, int64_t i, int64_t n, V v)
{
    if (i + 4 <= n) {
        vst1q_f32(y + i, v);
        return;
    }
    if (i < n)
        vst1q_lane_f32(y + i, v, 0);
    if (i + 1 < n)
        vst1q_lane_f32(y + i + 1, v, 1);
    if (i + 2 < n)
        vst1q_lane_f32(y + i + 2, v, 2);
}

/* The mask is loaded from an offset into a run of ones and zeros. */
INLINE V v_keep(V v, int64_t i, int64_t n)
{
    static const uint32_t run[8] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, 0, 0, 0, 0};
    if (i + 4 <= n)
        return v;
    uint32x4_t mask = vld1q_u32(run + 4 - (i < n ? n - i : 0));
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), mask));
}

INLINE bool v_has_nan(V v)
{
    return vminvq_u32(vceqq_f32(v, v)) == 0;
}

INLINE VD vd_zero(void)
{
    return (VD){vdupq_n_f64(0.0), vdupq_n_f64(0.0)};
}

INLINE VD vd_add_square(VD sum, V x)
{
    float64x2_t low = vcvt_f64_f32(vget_low_f32(x)), high = vcvt_high_f64_f32(x);
    return (VD){vfmaq_f64(sum.low, low, low), vfmaq_f64(sum.high, high, high)};
}

INLINE void vd_store(double *y, VD v)
{
    vst1q_f64(y, v.low);
    vst1q_f64(y + 2, v.high);
}

/* ---- Sums of four -------------------------------------------------------------------------- */

#define F4 float32x4_t

INLINE F4 v_fold(const V *sums)
{
    return vaddq_f32(vaddq_f32(sums[0], sums[2]), vaddq_f32(sums[1], sums[3]));
}

/* a0 + a2, a1 + a3, and the same of b. */
INLINE F4 halves_added(F4 a, F4 b)
{
    float64x2_t x = vreinterpretq_f64_f32(a), y = vreinterpretq_f64_f32(b);
    return vaddq_f32(vreinterpretq_f32_f64(vzip1q_f64(x, y)),
                     vreinterpretq_f32_f64(vzip2q_f64(x, y)));
}

INLINE void f4_sums(float *out, F4 a, F4 b, F4 c, F4 d)
{
    vst1q_f32(out, vpaddq_f32(halves_added(a, b), halves_added(c, d)));
}

INLINE float f4_sum(F4 a)
{
    return vpadds_f32(vadd_f32(vget_low_f32(a), vget_high_f32(a)));
}

/* ---- Packing ------------------------------------------------------------------------------- */

INLINE void transpose_4x4(float *target, int64_t width, float32x4_t a, float32x4_t b, float32x4_t c,
                          float32x4_t d)
{
    float64x2_t low_ab = vreinterpretq_f64_f32(vzip1q_f32(a, b)); /* a0 b0 a1 b1 */
    float64x2_t high_ab = vreinterpretq_f64_f32(vzip2q_f32(a, b));
    float64x2_t low_cd = vreinterpretq_f64_f32(vzip1q_f32(c, d));
    float64x2_t high_cd = vreinterpretq_f64_f32(vzip2q_f32(c, d));
    vst1q_f32(target, vreinterpretq_f32_f64(vzip1q_f64(low_ab, low_cd)));
    vst1q_f32(target + width, vreinterpretq_f32_f64(vzip2q_f64(low_ab, low_cd)));
    vst1q_f32(target + 2 * width, vreinterpretq_f32_f64(vzip1q_f64(high_ab, high_cd)));
    vst1q_f32(target + 3 * width, vreinterpretq_f32_f64(vzip2q_f64(high_ab, high_cd)));
}

/* Transposes 4, 6 or 8 rows. For 6 rows it writes eight floats per column, the last four of each
 * first: the next column's first four replace the surplus. */
INLINE void v_transpose(float *target, int64_t width, const float *source, int64_t stride,
                        const int rows)
{
    float32x4_t r[8];
    for (int i = 0; i < (rows == 4 ? 4 : 8); i++)
        r[i] = vld1q_f32(source + (i < rows ? i : 0) * stride);
    if (rows > 4)
        transpose_4x4(target + 4, width, r[4], r[5], r[6], r[7]);
    transpose_4x4(target, width, r[0], r[1], r[2], r[3]);
}

/* ---- Bytes --------------------------------------------------------------------------------- */

/* 64 bytes: byte i is in vector i mod 4, so that shifts bring the bits of four bytes together. */
#define B     uint8x16x4_t
#define BYTES 64

INLINE B b_load(const uint8_t *bytes)
{
    return vld4q_u8(bytes);
}

/* Gathers the highest bit of each byte. In the first two steps the bits of bytes 4 i to 4 i + 3 come
 * to the upper half of byte i, then those of two bytes into one. */
INLINE uint64_t b_high(B bytes)
{
    uint8x16_t first = vsriq_n_u8(bytes.val[1], bytes.val[0], 1);
    uint8x16_t last = vsriq_n_u8(bytes.val[3], bytes.val[2], 1);
    uint8x16_t all = vsriq_n_u8(last, first, 2);
    all = vsriq_n_u8(all, all, 4);
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(all), 4)), 0);
}

INLINE uint64_t b_equal(B bytes, char value)
{
    for (int k = 0; k < 4; k++)
        bytes.val[k] = vceqq_u8(bytes.val[k], vdupq_n_u8((uint8_t)value));
    return b_high(bytes);
}

INLINE uint64_t b_between(B bytes, char first, char last)
{
    for (int k = 0; k < 4; k++)
        bytes.val[k] = vcleq_u8(vsubq_u8(bytes.val[k], vdupq_n_u8((uint8_t)first)),
                                vdupq_n_u8((uint8_t)(last - first)));
    return b_high(bytes);
}

#include "kernels/simd_helpers.h"
