/* Keys of pretokens, and the hash table that counts them (tokenizer/bpe/pretoken_counts.c). */
#ifndef TLMI_PRETOKEN_KEYS_H
#define TLMI_PRETOKEN_KEYS_H

#include <stdint.h>
#include <string.h>

/* A pretoken of up to 15 bytes is its own key: its bytes, zeros, and its size. For a longer one,
 * words[0] is its offset in the table's bytes, and words[1] is made of its hash. */
typedef union tlmi_pretoken_count_key {
    uint8_t bytes[16];
    uint64_t words[2]; /* words[1] is 0 if the slot is free */
} tlmi_pretoken_count_key_t;

#define TLMI_SHORT_PRETOKEN ((size_t)15)
#define TLMI_BUCKET_SLOTS   3

/* One cache line of the table. Its slots are taken in order, and the first one holds the most
 * frequent pretoken that belongs there, so that most lookups compare one key. */
typedef struct tlmi_pretoken_bucket {
    tlmi_pretoken_count_key_t keys[TLMI_BUCKET_SLOTS];
    uint32_t counts[TLMI_BUCKET_SLOTS];
    uint32_t unused;
} tlmi_pretoken_bucket_t;

#define TLMI_KEY_FACTOR_0 0x9E3779B97F4A7C15u
#define TLMI_KEY_FACTOR_1 0xD1B54A32D192ED03u
#define TLMI_KEY_FACTOR_2 0x8CB92BA72F3D8DD7u

static inline uint64_t tlmi_pretoken_key_hash(const tlmi_pretoken_count_key_t *key)
{
    uint64_t sum = key->words[0] * TLMI_KEY_FACTOR_0 + key->words[1] * TLMI_KEY_FACTOR_1;

    return (sum ^ sum >> 32) * TLMI_KEY_FACTOR_2;
}

/* Returns the bucket of n where a hash belongs; a greater hash belongs to no lower one. */
static inline size_t tlmi_pretoken_home(uint64_t hash, uint32_t n)
{
    return (size_t)((hash >> 32) * n >> 32);
}

static inline void tlmi_pretoken_short_count_key(tlmi_pretoken_count_key_t *out,
                                                 const uint8_t *pretoken, size_t size)
{
    *out = (tlmi_pretoken_count_key_t){.words = {0, 0}};
    memcpy(out->bytes, pretoken, size);
    out->bytes[TLMI_SHORT_PRETOKEN] = (uint8_t)size;
}

#endif
