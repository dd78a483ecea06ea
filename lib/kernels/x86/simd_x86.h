/* Operations that all x86 levels share, on registers of four or eight floats. Only simd_<level>.h
 * may include it, after defining INLINE for its instruction set. */

/* Four folded sums. f4_sums does the last two steps of four trees at once, transposed so that each
 * tree is a column. */
#define F4 __m128

INLINE void f4_sums(float *out, F4 a, F4 b, F4 c, F4 d)
{
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(out, _mm_add_ps(_mm_add_ps(a, c), _mm_add_ps(b, d)));
}

INLINE float f4_sum(F4 a)
{
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_shuffle_ps(a, a, 1)));
}

INLINE void transpose_4x4(float *target, int64_t width, const float *source, int64_t stride)
{
    __m128 r0 = _mm_loadu_ps(source);
    __m128 r1 = _mm_loadu_ps(source + stride);
    __m128 r2 = _mm_loadu_ps(source + 2 * stride);
    __m128 r3 = _mm_loadu_ps(source + 3 * stride);
    _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
    _mm_storeu_ps(target, r0);
    _mm_storeu_ps(target + width, r1);
    _mm_storeu_ps(target + 2 * width, r2);
    _mm_storeu_ps(target + 3 * width, r3);
}

/* Transposes 4, 6 or 8 rows; for 6 rows it writes eight floats per column. */
INLINE void v_transpose(float *target, int64_t width, const float *source, int64_t stride,
                        const int rows)
{
    if (rows == 4) {
        transpose_4x4(target, width, source, stride);
        return;
    }
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
