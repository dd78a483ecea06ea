/* Hashes of byte strings and of pairs of ids. Folding a 64 x 64 -> 128-bit product to 64 bits mixes
 * eight bytes at a time. Not resistant to an adversary with time to search for collisions. */
#ifndef TLMI_HASH_H
#define TLMI_HASH_H

#include <string.h>

#include "tinylm/export.h"

/* Loads eight bytes from any address, the first as the lowest. */
static inline uint64_t tlmi_load_word(const uint8_t *bytes)
{
    uint64_t word;

    memcpy(&word, bytes, sizeof(word));
    return word;
}

/* The same for four bytes. */
static inline uint32_t tlmi_load_half(const uint8_t *bytes)
{
    uint32_t half;

    memcpy(&half, bytes, sizeof(half));
    return half;
}

static inline uint64_t tlmi_hash_mix(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t tlmi_hash_word(uint64_t word)
{
    return tlmi_hash_mix(word ^ 0x9E3779B97F4A7C15u, 0xD1B54A32D192ED03u);
}

static inline uint64_t tlmi_hash_bytes(const uint8_t *bytes, size_t size)
{
    uint64_t hash = size * 0x9E3779B97F4A7C15u, word;

    for (; size >= 8; bytes += 8, size -= 8) {
        memcpy(&word, bytes, 8);
        hash = tlmi_hash_mix(hash ^ word, 0xD1B54A32D192ED03u);
    }
    word = 0;
    for (size_t i = 0; i < size; i++)
        word = word << 8 | bytes[i];
    return tlmi_hash_mix(hash ^ word, 0x8CB92BA72F3D8DD7u);
}

#endif
