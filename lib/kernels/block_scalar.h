/* The operations of block_kernels.h in portable C: the reference for the other versions. Included
 * after simd_scalar.h. */

typedef struct bytes32 {
    int8_t v[32];
} bytes32_t;
typedef struct sums8 {
    int32_t v[8];
} sums8_t;
typedef struct floats8 {
    float v[8];
} floats8_t;

#define Q bytes32_t
#define I sums8_t
#define F floats8_t

INLINE Q q_load(const uint8_t *bytes)
{
    Q q;

    memcpy(q.v, bytes, sizeof(q.v));
    return q;
}

INLINE Q q_nibbles(const uint8_t *bytes)
{
    Q q;

    for (int i = 0; i < 16; i++) {
        q.v[i] = (int8_t)(bytes[i] & 15);
        q.v[16 + i] = (int8_t)(bytes[i] >> 4);
    }
    return q;
}

INLINE Q q_bits(uint32_t bits)
{
    Q q;

    for (int i = 0; i < 32; i++)
        q.v[i] = (int8_t)(bits >> i & 1);
    return q;
}

INLINE Q q_halves(int a, int b)
{
    Q q;

    for (int i = 0; i < 32; i++)
        q.v[i] = (int8_t)(i < 16 ? a : b);
    return q;
}

INLINE Q q_field(Q v, int shift, int mask)
{
    for (int i = 0; i < 32; i++)
        v.v[i] = (int8_t)((uint8_t)v.v[i] >> shift & mask);
    return v;
}

INLINE Q q_join(Q v, Q w, int shift)
{
    for (int i = 0; i < 32; i++)
        v.v[i] = (int8_t)(v.v[i] | w.v[i] << shift);
    return v;
}

INLINE Q q_minus(Q v, int c)
{
    for (int i = 0; i < 32; i++)
        v.v[i] = (int8_t)(v.v[i] - c);
    return v;
}

INLINE I q_dot_halves(Q q, const int16_t *x, int32_t a, int32_t b)
{
    I sums;

    for (int i = 0; i < 8; i++)
        sums.v[i] = a * (q.v[2 * i] * x[2 * i] + q.v[2 * i + 1] * x[2 * i + 1]) +
                    b * (q.v[2 * i + 16] * x[2 * i + 16] + q.v[2 * i + 17] * x[2 * i + 17]);
    return sums;
}

INLINE I q_dot(Q q, const int16_t *x)
{
    return q_dot_halves(q, x, 1, 1);
}

INLINE void q_scaled(float *out, Q q, float a, float b)
{
    for (int i = 0; i < 32; i++)
        out[i] = (i < 16 ? a : b) * (float)q.v[i];
}

INLINE void f_products(float *out, const float *a, const float *b, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = a[i] * b[i];
}

INLINE void halves(float *out, const uint8_t *bytes, int stride, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = tlmi_half_to_float((uint16_t)tlmi_load_le16(bytes + i * stride));
}

INLINE F f_zero(void)
{
    return (F){{0.0f}};
}

INLINE F f_add(F sums, float factor, I products)
{
    for (int i = 0; i < 8; i++)
        sums.v[i] += factor * (float)products.v[i];
    return sums;
}

INLINE float f_sum(F sums)
{
    const float *v = sums.v;

    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

/* The largest magnitude of 32 floats as bits, which are in the order of the numbers; NaN is largest. */
static uint32_t largest_bits(const float *x)
{
    uint32_t largest = 0;

    for (int i = 0; i < 32; i++) {
        const uint32_t bits = tlmi_float_bits(x[i]) & 0x7FFFFFFFu;

        largest = bits > largest ? bits : largest;
    }
    return largest;
}

static void kernel_quantize_row(int16_t *numbers, float *scales, float *sums, const float *x,
                                int64_t n)
{
    for (int64_t i = 0; i < n; i += 32) {
        const tlmi_block_scale_t scale = tlmi_block_scale(largest_bits(x + i));
        int32_t sum = 0;

        for (int j = 0; j < 32; j++) {
            const float number = x[i + j] * scale.inverse;

            numbers[i + j] = scale.is_finite ? (int16_t)v_round(number) : 0;
            sum += numbers[i + j];
        }
        scales[i / 32] = scale.scale;
        sums[i / 32] = scale.scale * (float)sum;
    }
}
