/* The operations of block_kernels.h for 64-bit ARM's Advanced SIMD. The instructions for dot products of
 * bytes (SDOT, USDOT) are not used: x has 16 bits, and taking it as two bytes costs more instructions than
 * they save (docs/platforms.md). Included after TARGET and INLINE are defined. */
#include <arm_neon.h>

typedef struct bytes32 {
    int8x16_t low, high;
} bytes32_t;
typedef struct sums8 {
    int32x4_t low, high;
} sums8_t;
typedef struct floats8 {
    float32x4_t low, high;
} floats8_t;

#define Q bytes32_t
#define I sums8_t
#define F floats8_t

INLINE Q q_load(const uint8_t *bytes)
{
    return (Q){vreinterpretq_s8_u8(vld1q_u8(bytes)), vreinterpretq_s8_u8(vld1q_u8(bytes + 16))};
}

INLINE Q q_nibbles(const uint8_t *bytes)
{
    const uint8x16_t both = vld1q_u8(bytes);

    return (Q){vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15))),
               vreinterpretq_s8_u8(vshrq_n_u8(both, 4))};
}

/* Spreads two bytes over eight places each, and tests another bit in each place. */
INLINE int8x16_t sixteen_bits(uint8x16_t bytes, uint8x16_t places)
{
    static const uint8_t masks[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t set = vtstq_u8(vqtbl1q_u8(bytes, places), vld1q_u8(masks));

    return vreinterpretq_s8_u8(vshrq_n_u8(set, 7));
}

INLINE Q q_bits(uint32_t bits)
{
    const uint8x16_t bytes = vreinterpretq_u8_u32(vdupq_n_u32(bits));
    const uint8x16_t places = vcombine_u8(vdup_n_u8(0), vdup_n_u8(1));

    return (Q){sixteen_bits(bytes, places), sixteen_bits(bytes, vaddq_u8(places, vdupq_n_u8(2)))};
}

INLINE Q q_halves(int a, int b)
{
    return (Q){vdupq_n_s8((int8_t)a), vdupq_n_s8((int8_t)b)};
}

INLINE int8x16_t field_16(int8x16_t v, int shift, int mask)
{
    const uint8x16_t moved = vshlq_u8(vreinterpretq_u8_s8(v), vdupq_n_s8((int8_t)-shift));

    return vreinterpretq_s8_u8(vandq_u8(moved, vdupq_n_u8((uint8_t)mask)));
}

INLINE Q q_field(Q v, int shift, int mask)
{
    return (Q){field_16(v.low, shift, mask), field_16(v.high, shift, mask)};
}

INLINE Q q_join(Q v, Q w, int shift)
{
    const int8x16_t by = vdupq_n_s8((int8_t)shift);

    return (Q){vorrq_s8(v.low, vshlq_s8(w.low, by)), vorrq_s8(v.high, vshlq_s8(w.high, by))};
}

INLINE Q q_minus(Q v, int c)
{
    const int8x16_t all = vdupq_n_s8((int8_t)c);

    return (Q){vsubq_s8(v.low, all), vsubq_s8(v.high, all)};
}

/* ---- Products ------------------------------------------------------------------------------ */

/* Four sums of eight numbers and the eight that are 16 places behind. */
INLINE int32x4_t four_sums(int16x8_t first, int16x8_t second, const int16_t *x)
{
    const int16x8_t y = vld1q_s16(x), z = vld1q_s16(x + 16);
    int32x4_t low = vmull_s16(vget_low_s16(first), vget_low_s16(y));
    int32x4_t high = vmull_high_s16(first, y);

    low = vmlal_s16(low, vget_low_s16(second), vget_low_s16(z));
    high = vmlal_high_s16(high, second, z);
    return vpaddq_s32(low, high);
}

/* The factors are so small that their products with the numbers have 16 bits. */
INLINE I q_dot_halves(Q q, const int16_t *x, int32_t a, int32_t b)
{
    const int16x8_t low = vmulq_n_s16(vmovl_s8(vget_low_s8(q.low)), (int16_t)a);
    const int16x8_t low2 = vmulq_n_s16(vmovl_high_s8(q.low), (int16_t)a);
    const int16x8_t high = vmulq_n_s16(vmovl_s8(vget_low_s8(q.high)), (int16_t)b);
    const int16x8_t high2 = vmulq_n_s16(vmovl_high_s8(q.high), (int16_t)b);

    return (I){four_sums(low, high, x), four_sums(low2, high2, x + 8)};
}

INLINE I q_dot(Q q, const int16_t *x)
{
    return (I){four_sums(vmovl_s8(vget_low_s8(q.low)), vmovl_s8(vget_low_s8(q.high)), x),
               four_sums(vmovl_high_s8(q.low), vmovl_high_s8(q.high), x + 8)};
}

INLINE void scaled_16(float *out, int8x16_t q, float scale)
{
    const int16x8_t low = vmovl_s8(vget_low_s8(q)), high = vmovl_high_s8(q);

    vst1q_f32(out, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), scale));
    vst1q_f32(out + 4, vmulq_n_f32(vcvtq_f32_s32(vmovl_high_s16(low)), scale));
    vst1q_f32(out + 8, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), scale));
    vst1q_f32(out + 12, vmulq_n_f32(vcvtq_f32_s32(vmovl_high_s16(high)), scale));
}

INLINE void q_scaled(float *out, Q q, float a, float b)
{
    scaled_16(out, q.low, a);
    scaled_16(out + 16, q.high, b);
}

/* ---- Floats -------------------------------------------------------------------------------- */

INLINE float half_scale(const uint8_t *bytes)
{
    const uint16x4_t half = vdup_n_u16((uint16_t)tlmi_load_le16(bytes));

    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(half)), 0);
}

INLINE void halves(float *out, const uint8_t *p, int stride, int n)
{
    if (n == 8) {
        const int s = stride;
        const uint16x8_t bits = {
            (uint16_t)tlmi_load_le16(p),         (uint16_t)tlmi_load_le16(p + s),
            (uint16_t)tlmi_load_le16(p + 2 * s), (uint16_t)tlmi_load_le16(p + 3 * s),
            (uint16_t)tlmi_load_le16(p + 4 * s), (uint16_t)tlmi_load_le16(p + 5 * s),
            (uint16_t)tlmi_load_le16(p + 6 * s), (uint16_t)tlmi_load_le16(p + 7 * s)};
        const float16x8_t numbers = vreinterpretq_f16_u16(bits);

        vst1q_f32(out, vcvt_f32_f16(vget_low_f16(numbers)));
        vst1q_f32(out + 4, vcvt_high_f32_f16(numbers));
        return;
    }
    for (int i = 0; i < n; i++)
        out[i] = half_scale(p + i * stride);
}

INLINE void f_products(float *out, const float *a, const float *b, int n)
{
    if (n == 8) {
        vst1q_f32(out, vmulq_f32(vld1q_f32(a), vld1q_f32(b)));
        vst1q_f32(out + 4, vmulq_f32(vld1q_f32(a + 4), vld1q_f32(b + 4)));
        return;
    }
    for (int i = 0; i < n; i++)
        out[i] = a[i] * b[i];
}

INLINE F f_zero(void)
{
    return (F){vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)};
}

/* Without a fused operation, so that the bits are those of the portable version. */
INLINE F f_add(F sums, float factor, I products)
{
    return (F){vaddq_f32(sums.low, vmulq_n_f32(vcvtq_f32_s32(products.low), factor)),
               vaddq_f32(sums.high, vmulq_n_f32(vcvtq_f32_s32(products.high), factor))};
}

INLINE float f_sum(F sums)
{
    const float32x4_t four = vaddq_f32(sums.low, sums.high);

    return vpadds_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)));
}

/* The conversion of NaN is 0, so that numbers are zeros where the scale is not finite. */
static TARGET void kernel_quantize_row(int16_t *numbers, float *scales, float *sums, const float *x,
                                       int64_t n)
{
    for (int64_t i = 0; i < n; i += 32) {
        const uint32x4_t magnitude = vdupq_n_u32(0x7FFFFFFF);
        uint32x4_t most = vdupq_n_u32(0);
        int32x4_t sum = vdupq_n_s32(0);

        for (int k = 0; k < 32; k += 4)
            most =
                vmaxq_u32(most, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i + k)), magnitude));
        const tlmi_block_scale_t scale = tlmi_block_scale(vmaxvq_u32(most));
        for (int k = 0; k < 32; k += 8) {
            const int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i + k), scale.inverse));
            const int32x4_t high =
                vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i + k + 4), scale.inverse));

            vst1q_s16(numbers + i + k, vqmovn_high_s32(vqmovn_s32(low), high));
            sum = vaddq_s32(sum, vaddq_s32(low, high));
        }
        scales[i / 32] = scale.scale;
        sums[i / 32] = scale.scale * (float)vaddvq_s32(sum);
    }
}
