/* The operations of block_kernels.h for AVX2, and with BLOCK_VNNI for AVX-512 VNNI, which adds the
 * products in one instruction. Included after TARGET and INLINE are defined. */

#define Q __m256i
#define I __m256i
#define F __m256

INLINE Q q_load(const uint8_t *bytes)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)bytes);
}

INLINE Q q_field(Q v, int shift, int mask)
{
    return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128(shift)),
                            _mm256_set1_epi8((char)mask));
}

INLINE Q q_nibbles(const uint8_t *bytes)
{
    const __m128i both = _mm_loadu_si128((const __m128i *)(const void *)bytes);
    const __m128i high = _mm_srli_epi16(both, 4);

    return _mm256_and_si256(_mm256_set_m128i(high, both), _mm256_set1_epi8(15));
}

INLINE Q q_bits(uint32_t bits)
{
    const __m256i places =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i masks = _mm256_set1_epi64x((int64_t)0x8040201008040201u);
    const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32((int32_t)bits), places);
    const __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, masks), masks);

    return _mm256_and_si256(is_set, _mm256_set1_epi8(1));
}

INLINE Q q_halves(int a, int b)
{
    return _mm256_set_m128i(_mm_set1_epi8((char)b), _mm_set1_epi8((char)a));
}

/* The bits of w stay within their bytes. */
INLINE Q q_join(Q v, Q w, int shift)
{
    return _mm256_or_si256(v, _mm256_sll_epi16(w, _mm_cvtsi32_si128(shift)));
}

INLINE Q q_minus(Q v, int c)
{
    return _mm256_sub_epi8(v, _mm256_set1_epi8((char)c));
}

INLINE I products_16(I sums, __m128i q, const int16_t *x)
{
    const __m256i wide = _mm256_cvtepi8_epi16(q);
    const __m256i others = _mm256_loadu_si256((const __m256i *)(const void *)x);
#ifdef BLOCK_VNNI
    return _mm256_dpwssd_epi32(sums, wide, others);
#else
    return _mm256_add_epi32(sums, _mm256_madd_epi16(wide, others));
#endif
}

INLINE I q_dot(Q q, const int16_t *x)
{
    const I sums = products_16(_mm256_setzero_si256(), _mm256_castsi256_si128(q), x);

    return products_16(sums, _mm256_extracti128_si256(q, 1), x + 16);
}

INLINE I q_dot_halves(Q q, const int16_t *x, int32_t a, int32_t b)
{
    const I none = _mm256_setzero_si256();
    const I first = products_16(none, _mm256_castsi256_si128(q), x);
    const I second = products_16(none, _mm256_extracti128_si256(q, 1), x + 16);

    return _mm256_add_epi32(_mm256_mullo_epi32(first, _mm256_set1_epi32(a)),
                            _mm256_mullo_epi32(second, _mm256_set1_epi32(b)));
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
