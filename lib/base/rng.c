/* Philox4x32-10 and the distributions built on it. */
#include "base/rng.h"

#include <math.h>

#include "base/error.h"

/* Ten rounds on a 128-bit counter with a 64-bit key; the constants are from section 3 of the
 * paper. */
static void philox(uint32_t out[4], uint64_t key, uint64_t low, uint64_t high)
{
    uint32_t c0 = (uint32_t)low, c1 = (uint32_t)(low >> 32);
    uint32_t c2 = (uint32_t)high, c3 = (uint32_t)(high >> 32);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void tlmi_random_block(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t offset)
{
    philox(out, seed, offset, stream);
}

/* Each block of the cipher gives two words: word i is half i % 2 of block i / 2. */
uint64_t tlmi_random_word(uint64_t seed, uint64_t stream, uint64_t offset)
{
    uint32_t block[4];
    philox(block, seed, offset / 2, stream);
    size_t half = (offset & 1) * 2;
    return block[half] | (uint64_t)block[half + 1] << 32;
}

double tlmi_random_uniform(uint64_t seed, uint64_t stream, uint64_t offset)
{
    return (double)(tlmi_random_word(seed, stream, offset) >> 11) * 0x1p-53;
}

/* Takes the high half of word * bound: Lemire's multiply method without the rejection step. */
uint64_t tlmi_random_below(uint64_t seed, uint64_t stream, uint64_t offset, uint64_t bound)
{
    __extension__ typedef unsigned __int128 uint128;
    uint128 product = (uint128)tlmi_random_word(seed, stream, offset) * bound;
    return (uint64_t)(product >> 64);
}

/* A Feistel network permutes the numbers of 2b bits: each round adds a random function of one
 * half to the other. With the smallest 2^2b >= n, at least one in four of these numbers is below
 * n. A result outside [0, n) is fed through the network again until it falls inside. Every such
 * path is part of a cycle, so the whole map permutes [0, n) (Black and Rogaway, "Ciphers with
 * arbitrary finite domains", CT-RSA 2002). */
uint64_t tlmi_random_shuffled(uint64_t seed, uint64_t stream, uint64_t offset, uint64_t n,
                              uint64_t index)
{
    enum { ROUNDS = 8 };
    uint64_t key = tlmi_random_word(seed, stream, offset);
    unsigned bits = 1;
    while (bits < 32 && n > (uint64_t)1 << 2 * bits)
        bits++;
    uint64_t mask = ((uint64_t)1 << bits) - 1;
    do {
        uint64_t left = index >> bits, right = index & mask;
        for (uint64_t round = 0; round < ROUNDS; round++) {
            uint64_t next = left ^ (tlmi_random_word(key, stream + 1 + round, right) & mask);
            left = right;
            right = next;
        }
        index = left << bits | right;
    } while (index >= n);
    return index;
}

/* Rejection sampling: a narrow cut draws uniforms and keeps x with probability exp(-x^2 / 2); a
 * wide cut draws normals with the Box-Muller method and keeps those inside. Both keep more than
 * half of the draws. Successive attempts for one offset lie 2^48 words apart, so offsets do not
 * share numbers. */
double tlmi_random_truncated_normal(uint64_t seed, uint64_t stream, uint64_t offset, double cut)
{
    for (uint64_t attempt = 0;; attempt++) {
        uint64_t at = (attempt << 48) + 2 * offset;
        double u = tlmi_random_uniform(seed, stream, at) + 0x1p-54; /* in (0, 1) */
        double w = tlmi_random_uniform(seed, stream, at + 1);
        double x = cut < 1.0 ? (2.0 * w - 1.0) * cut : sqrt(-2.0 * log(u)) * cos(2.0 * M_PI * w);
        if (cut < 1.0 ? u <= exp(-0.5 * x * x) : fabs(x) <= cut)
            return x;
    }
}

tlm_status_t tlm_random_bits(uint64_t *out, size_t n, uint64_t seed, uint64_t stream,
                             uint64_t offset)
{
    if (n == 0)
        return TLM_OK;
    TLMI_REQUIRE("random_bits", out);
    for (size_t i = 0; i < n; i++)
        out[i] = tlmi_random_word(seed, stream, offset + i);
    return TLM_OK;
}
