/* The operations of block_kernels.h for AVX2, and with BLOCK_VNNI for AVX-512 VNNI, which adds the
 * products in one instruction. Included after TARGET and INLINE are defined. */

/* 32 numbers of 16 bits. */
typedef struct wide {
    __m256i low, high;
} wide_t;

#define Q wide_t
#define I __m256i
#define F __m256

INLINE __m128i load_16_bytes(const uint8_t *bytes)
{
    return _mm_loadu_si128((const __m128i *)(const void *)bytes);
}

INLINE Q q_load(const uint8_t *bytes)
{
    return (Q){_mm256_cvtepi8_epi16(load_16_bytes(bytes)),
               _mm256_cvtepi8_epi16(load_16_bytes(bytes + 16))};
}

/* The bits of the sign lie beyond those of any field. */
INLINE Q q_field(Q v, int shift, int mask)
{
    const __m256i bits = _mm256_set1_epi16((int16_t)mask);

    return (Q){_mm256_and_si256(_mm256_srli_epi16(v.low, shift), bits),
               _mm256_and_si256(_mm256_srli_epi16(v.high, shift), bits)};
}

INLINE Q q_nibbles(const uint8_t *bytes)
{
    const __m256i both = _mm256_cvtepu8_epi16(load_16_bytes(bytes));

    return (Q){_mm256_and_si256(both, _mm256_set1_epi16(15)), _mm256_srli_epi16(both, 4)};
}

INLINE Q q_bits(uint32_t bits)
{
    const __m256i masks = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096,
                                            8192, 16384, INT16_MIN);
    const __m256i low = _mm256_and_si256(_mm256_set1_epi16((int16_t)(bits & 0xFFFF)), masks);
    const __m256i high = _mm256_and_si256(_mm256_set1_epi16((int16_t)(bits >> 16)), masks);

    return (Q){_mm256_srli_epi16(_mm256_cmpeq_epi16(low, masks), 15),
               _mm256_srli_epi16(_mm256_cmpeq_epi16(high, masks), 15)};
}

INLINE Q q_halves(int a, int b)
{
    return (Q){_mm256_set1_epi16((int16_t)a), _mm256_set1_epi16((int16_t)b)};
}

INLINE Q q_join(Q v, Q w, int shift)
{
    return (Q){_mm256_or_si256(v.low, _mm256_slli_epi16(w.low, shift)),
               _mm256_or_si256(v.high, _mm256_slli_epi16(w.high, shift))};
}

INLINE Q q_minus(Q v, int c)
{
    const __m256i all = _mm256_set1_epi16((int16_t)c);

    return (Q){_mm256_sub_epi16(v.low, all), _mm256_sub_epi16(v.high, all)};
}

INLINE I products_16(I sums, __m256i q, const int16_t *x)
{
    const __m256i others = _mm256_loadu_si256((const __m256i *)(const void *)x);
#ifdef BLOCK_VNNI
    return _mm256_dpwssd_epi32(sums, q, others);
#else
    return _mm256_add_epi32(sums, _mm256_madd_epi16(q, others));
#endif
}

INLINE I q_dot(Q q, const int16_t *x)
{
    return products_16(products_16(_mm256_setzero_si256(), q.low, x), q.high, x + 16);
}

INLINE I q_dot_halves(Q q, const int16_t *x, int32_t a, int32_t b)
{
    const I none = _mm256_setzero_si256();
    const I first = products_16(none, q.low, x), second = products_16(none, q.high, x + 16);

    return _mm256_add_epi32(_mm256_mullo_epi32(first, _mm256_set1_epi32(a)),
                            _mm256_mullo_epi32(second, _mm256_set1_epi32(b)));
}

INLINE void scaled_16(float *out, __m256i q, float scale)
{
    const __m256 factor = _mm256_set1_ps(scale);
    const __m256i first = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(q));
    const __m256i second = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(q, 1));

    _mm256_storeu_ps(out, _mm256_mul_ps(factor, _mm256_cvtepi32_ps(first)));
    _mm256_storeu_ps(out + 8, _mm256_mul_ps(factor, _mm256_cvtepi32_ps(second)));
}

INLINE void q_scaled(float *out, Q q, float a, float b)
{
    scaled_16(out, q.low, a);
    scaled_16(out + 16, q.high, b);
}

/* As tlmi_half_to_float: the exponents' biases differ by 112. */
INLINE __m256 eight_halves(__m128i numbers)
{
    const __m256i bits = _mm256_cvtepu16_epi32(numbers), exponent = _mm256_set1_epi32(0x7C00);
    const __m256i sign = _mm256_slli_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(0x8000)), 16);
    const __m256i rest = _mm256_slli_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(0x7FFF)), 13);
    const __m256i is_special = _mm256_cmpeq_epi32(_mm256_and_si256(bits, exponent), exponent);
    const __m256i special = _mm256_and_si256(is_special, _mm256_set1_epi32(0x7F800000));
    const __m256 value = _mm256_mul_ps(_mm256_castsi256_ps(rest), _mm256_set1_ps(0x1p112f));

    return _mm256_or_ps(value, _mm256_castsi256_ps(_mm256_or_si256(sign, special)));
}

INLINE float half_scale(const uint8_t *bytes)
{
    const uint32_t half = tlmi_load_le16(bytes), rest = (half & 0x7FFFu) << 13;
    const float value = tlmi_float_of_bits(rest) * 0x1p112f;

    if (rest >= 0x0F800000u)
        return tlmi_half_to_float((uint16_t)half);
    return tlmi_float_of_bits(tlmi_float_bits(value) | (half & 0x8000u) << 16);
}

INLINE void halves(float *out, const uint8_t *p, int stride, int n)
{
    if (n == 8) {
        const int s = stride;

        _mm256_storeu_ps(
            out, eight_halves(_mm_setr_epi16(
                     (int16_t)tlmi_load_le16(p), (int16_t)tlmi_load_le16(p + s),
                     (int16_t)tlmi_load_le16(p + 2 * s), (int16_t)tlmi_load_le16(p + 3 * s),
                     (int16_t)tlmi_load_le16(p + 4 * s), (int16_t)tlmi_load_le16(p + 5 * s),
                     (int16_t)tlmi_load_le16(p + 6 * s), (int16_t)tlmi_load_le16(p + 7 * s))));
        return;
    }
    for (int i = 0; i < n; i++)
        out[i] = half_scale(p + i * stride);
}

/* The barrier has each product read from memory by the instruction that spreads it over a register:
 * compilers would take it out of a register by two others. */
INLINE void f_products(float *out, const float *a, const float *b, int n)
{
    if (n == 8) {
        _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_loadu_ps(a), _mm256_loadu_ps(b)));
        __asm__ volatile("" : : "r"(out) : "memory");
        return;
    }
    for (int i = 0; i < n; i++)
        out[i] = a[i] * b[i];
}

INLINE F f_zero(void)
{
    return _mm256_setzero_ps();
}

/* Without a fused operation, so that the bits are those of the portable version. */
INLINE F f_add(F sums, float factor, I products)
{
    return _mm256_add_ps(sums, _mm256_mul_ps(_mm256_set1_ps(factor), _mm256_cvtepi32_ps(products)));
}

INLINE float f_sum(F sums)
{
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));

    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

INLINE uint32_t largest_lane(__m256i v)
{
    __m128i most = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0x4E));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epi32(most, _mm_shuffle_epi32(most, 0xB1)));
}

INLINE int32_t sum_of_lanes(__m256i v)
{
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1)));
}

static TARGET void kernel_quantize_row(int16_t *numbers, float *scales, float *sums, const float *x,
                                       int64_t n)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);

    for (int64_t i = 0; i < n; i += 32) {
        __m256i most = _mm256_setzero_si256(), q[4];

        for (int k = 0; k < 4; k++)
            most = _mm256_max_epi32(
                most,
                _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x + i + 8 * k)), magnitude));
        const tlmi_block_scale_t scale = tlmi_block_scale(largest_lane(most));
        const __m256i keep = _mm256_set1_epi32(scale.is_finite ? -1 : 0);
        const __m256 inverse = _mm256_set1_ps(scale.inverse);
        for (int k = 0; k < 4; k++)
            q[k] = _mm256_and_si256(
                keep, _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i + 8 * k), inverse)));
        for (int k = 0; k < 4; k += 2) {
            const __m256i packed = _mm256_packs_epi32(q[k], q[k + 1]); /* in halves of 128 bits */

            _mm256_storeu_si256((__m256i *)(void *)(numbers + i + 8 * k),
                                _mm256_permute4x64_epi64(packed, 0xD8));
        }
        const __m256i sum =
            _mm256_add_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3]));
        scales[i / 32] = scale.scale;
        sums[i / 32] = scale.scale * (float)sum_of_lanes(sum);
    }
}
