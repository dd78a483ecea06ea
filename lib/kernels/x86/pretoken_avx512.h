/* Keys of pretokens for AVX-512, four at a time in one register. For kernels_avx512.c alone. */

/* Loads 16 bytes from each of four addresses. */
INLINE __m512i load_four(const void *a, const void *b, const void *c, const void *d)
{
    __m512i four = _mm512_castsi128_si512(_mm_loadu_si128(a));

    four = _mm512_inserti64x2(four, _mm_loadu_si128(b), 1);
    four = _mm512_inserti64x2(four, _mm_loadu_si128(c), 2);
    return _mm512_inserti64x2(four, _mm_loadu_si128(d), 3);
}

/* Makes the keys of the four pretokens at cuts; sizes[order] are theirs, each twice. */
INLINE __m512i four_keys(const uint8_t *text, const size_t *cuts, __m512i sizes, __m512i order)
{
    const __m512i places =
        _mm512_broadcast_i32x4(_mm_set_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
    __m512i bytes = load_four(text + cuts[0], text + cuts[1], text + cuts[2], text + cuts[3]);
    /* In all 16 bytes of its key, the size of the pretoken. */
    __m512i size =
        _mm512_shuffle_epi8(_mm512_permutexvar_epi64(order, sizes), _mm512_setzero_si512());

    bytes = _mm512_maskz_mov_epi8(_mm512_cmplt_epu8_mask(places, size), bytes);
    return _mm512_mask_mov_epi8(bytes, 0x8000800080008000u, size);
}

/* Returns the buckets of eight keys, in order. */
INLINE __m512i eight_homes(__m512i first, __m512i last, const tlmi_pretoken_bucket_t *buckets,
                           uint32_t num_buckets)
{
    const __m512i factors = _mm512_set_epi64(
        (long long)TLMI_KEY_FACTOR_1, (long long)TLMI_KEY_FACTOR_0, (long long)TLMI_KEY_FACTOR_1,
        (long long)TLMI_KEY_FACTOR_0, (long long)TLMI_KEY_FACTOR_1, (long long)TLMI_KEY_FACTOR_0,
        (long long)TLMI_KEY_FACTOR_1, (long long)TLMI_KEY_FACTOR_0);
    const __m512i order = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0);
    __m512i a = _mm512_mullo_epi64(first, factors), b = _mm512_mullo_epi64(last, factors);
    __m512i hash = _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));

    hash = _mm512_xor_si512(hash, _mm512_srli_epi64(hash, 32));
    hash = _mm512_mullo_epi64(hash, _mm512_set1_epi64((long long)TLMI_KEY_FACTOR_2));
    hash = _mm512_mul_epu32(_mm512_srli_epi64(hash, 32), _mm512_set1_epi64(num_buckets));
    hash = _mm512_permutexvar_epi64(order, _mm512_srli_epi64(hash, 32));
    hash = _mm512_slli_epi64(hash, 6);
    return _mm512_add_epi64(hash, _mm512_set1_epi64((long long)(uintptr_t)buckets));
}

KERNEL void kernel_pretoken_keys(tlmi_pretoken_count_key_t *keys, tlmi_pretoken_bucket_t **homes,
                                 uint8_t *longs, const uint8_t *text, const size_t *cuts, size_t n,
                                 tlmi_pretoken_bucket_t *buckets, uint32_t num_buckets)
{
    const __m512i first = _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0);
    const __m512i last = _mm512_set_epi64(7, 7, 6, 6, 5, 5, 4, 4);

    _Static_assert(sizeof(*buckets) == 1 << 6 && sizeof(*homes) == 8, "eight_homes");
    for (size_t i = 0; i < n; i += 8) {
        __m512i sizes =
            _mm512_sub_epi64(_mm512_loadu_si512(cuts + i + 1), _mm512_loadu_si512(cuts + i));
        __m512i a = four_keys(text, cuts + i, sizes, first);
        __m512i b = four_keys(text, cuts + i + 4, sizes, last);

        _mm512_storeu_si512(keys + i, a);
        _mm512_storeu_si512(keys + i + 4, b);
        _mm512_storeu_si512(homes + i, eight_homes(a, b, buckets, num_buckets));
        /* Those of the group before: these are still on their way to memory. */
        for (size_t k = 0; k < 8 && i > 0; k++)
            __builtin_prefetch(homes[i - 8 + k], 1);
        unsigned bits = _mm512_cmpgt_epu64_mask(sizes, _mm512_set1_epi64(TLMI_SHORT_PRETOKEN));
        longs[i / 8] = (uint8_t)bits;
        for (; bits != 0; bits &= bits - 1)
            keys[i + (size_t)__builtin_ctz(bits)] = (tlmi_pretoken_count_key_t){.words = {0, 0}};
    }
    for (size_t k = 0; k < 8 && n > 0; k++)
        __builtin_prefetch(homes[n - 8 + k], 1);
}

/* Counts four keys. In the result, two bits per key are set if its home has it. */
INLINE unsigned count_four(tlmi_pretoken_bucket_t *const *homes,
                           const tlmi_pretoken_count_key_t *keys)
{
    __m512i there = load_four(homes[0], homes[1], homes[2], homes[3]);

    for (int k = 0; k < 4; k++)
        homes[k]->counts[0]++;
    return _mm512_cmpeq_epi64_mask(there, _mm512_loadu_si512(keys));
}

KERNEL void kernel_count_keys(uint8_t *missed, tlmi_pretoken_bucket_t *const *homes,
                              const tlmi_pretoken_count_key_t *keys, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        unsigned equal = count_four(homes + i, keys + i) | count_four(homes + i + 4, keys + i + 4)
                                                               << 8;

        missed[i / 8] = (uint8_t)~_pext_u32(equal & equal >> 1, 0x5555);
    }
}
