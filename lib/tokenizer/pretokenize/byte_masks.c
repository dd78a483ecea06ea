/* Portable: a table gives each byte eight bits, one a mask, and a multiplication gathers a bit of
 * each of eight bytes. AVX2: comparisons of 32 bytes, whose signs are gathered by movemask. */
#include "tokenizer/pretokenize/pretokenize.h"

#include "base/cpu.h"

#if TLMI_X86
#include <immintrin.h>
#endif

enum {
    UPPER = 1,
    LOWER = 2,
    NUMBER = 4,
    SPACE = 8,
    BLANK = 16,
    NEWLINE = 32,
    APOSTROPHE = 64,
    SLASH = 128
};

#define U UPPER
#define L LOWER
#define N NUMBER
#define S SPACE
#define B BLANK
#define E NEWLINE
#define A APOSTROPHE
#define H SLASH
static const uint8_t ascii_bits[256] = {
    0,     0, 0, 0, 0, 0, 0, 0, 0, S, S | E, S, S, S | E, 0, 0, /* 00 */
    0,     0, 0, 0, 0, 0, 0, 0, 0, 0, 0,     0, 0, 0,     0, 0, /* 10 */
    S | B, 0, 0, 0, 0, 0, 0, A, 0, 0, 0,     0, 0, 0,     0, H, /* 20 */
    N,     N, N, N, N, N, N, N, N, N, 0,     0, 0, 0,     0, 0, /* 30 */
    0,     U, U, U, U, U, U, U, U, U, U,     U, U, U,     U, U, /* 40 */
    U,     U, U, U, U, U, U, U, U, U, U,     0, 0, 0,     0, 0, /* 50 */
    0,     L, L, L, L, L, L, L, L, L, L,     L, L, L,     L, L, /* 60 */
    L,     L, L, L, L, L, L, L, L, L, L,     0, 0, 0,     0, 0, /* 70 */
};
#undef U
#undef L
#undef N
#undef S
#undef B
#undef E
#undef A
#undef H

/* The lowest bit of each byte, byte i's in bit i. */
static inline uint64_t gather(uint64_t bytes)
{
    return (bytes & 0x0101010101010101u) * 0x0102040810204080u >> 56;
}

void tlmi_byte_masks_portable(tlmi_byte_masks_t *out, const uint8_t *bytes)
{
    *out = (tlmi_byte_masks_t){0};
    for (int i = 0; i < TLMI_MASK_BYTES; i += 8) {
        uint64_t bits = 0, high = 0;

        for (int j = 0; j < 8; j++) {
            bits |= (uint64_t)ascii_bits[bytes[i + j]] << 8 * j;
            high |= (uint64_t)(bytes[i + j] >> 7) << 8 * j;
        }
        out->upper |= gather(bits) << i;
        out->lower |= gather(bits >> 1) << i;
        out->number |= gather(bits >> 2) << i;
        out->space |= gather(bits >> 3) << i;
        out->blank |= gather(bits >> 4) << i;
        out->newline |= gather(bits >> 5) << i;
        out->apostrophe |= gather(bits >> 6) << i;
        out->slash |= gather(bits >> 7) << i;
        out->wide |= gather(high) << i;
    }
}

#if TLMI_X86
TLMI_TARGET_AVX2 static inline uint64_t signs(__m256i low, __m256i high)
{
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high)
                                                     << 32;
}

TLMI_TARGET_AVX2 static inline __m256i equal(__m256i bytes, char value)
{
    return _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(value));
}

/* first <= byte <= last, unsigned. */
TLMI_TARGET_AVX2 static inline __m256i between(__m256i bytes, char first, char last)
{
    __m256i above = _mm256_sub_epi8(bytes, _mm256_set1_epi8(first));

    return _mm256_cmpeq_epi8(_mm256_min_epu8(above, _mm256_set1_epi8((char)(last - first))), above);
}

/* mask = OP(bytes, ...) for both halves */
#define HALVES(op, ...) signs(op(low, __VA_ARGS__), op(high, __VA_ARGS__))

TLMI_TARGET_AVX2 static void byte_masks_avx2(tlmi_byte_masks_t *out, const uint8_t *bytes)
{
    __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)bytes);
    __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(bytes + 32));

    out->upper = HALVES(between, 'A', 'Z');
    out->lower = HALVES(between, 'a', 'z');
    out->number = HALVES(between, '0', '9');
    out->blank = HALVES(equal, ' ');
    out->space = HALVES(between, '\t', '\r') | out->blank;
    out->newline = HALVES(equal, '\n') | HALVES(equal, '\r');
    out->apostrophe = HALVES(equal, '\'');
    out->slash = HALVES(equal, '/');
    out->wide = signs(low, high);
}
#endif

tlmi_byte_masks_fn tlmi_byte_masks_best(void)
{
#if TLMI_X86
    if (tlm_cpu_level() >= TLM_CPU_AVX2)
        return byte_masks_avx2;
#endif
    return tlmi_byte_masks_portable;
}
