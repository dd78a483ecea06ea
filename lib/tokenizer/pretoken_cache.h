/* Ids of pretokens met before, whatever the model, and the memory that a tokenizer keeps between calls. */
#ifndef TLMI_PRETOKEN_CACHE_H
#define TLMI_PRETOKEN_CACHE_H

#include "tokenizer/hash.h"
#include "tokenizer/subword_model.h"

/* A hash table of buckets of one cache line, made to be read without a branch on anything but a miss.
 * A cache belongs to one thread at a time. */

#define TLMI_PRETOKEN_KEY_BYTES    15  /* longest pretoken that is its own key */
#define TLMI_PRETOKEN_CACHED_BYTES 128 /* longest pretoken that is kept */

/* A short pretoken itself, with its size as the last byte; of a longer one, a hash. */
typedef struct tlmi_pretoken_key {
    uint64_t words[2];
} tlmi_pretoken_key_t;

#define TLMI_PRETOKEN_LONG_KEY                                                                     \
    ((uint64_t)(TLMI_PRETOKEN_KEY_BYTES + 1) << 56) /* instead of the size */

/* Up to three ids in place, more in the store. Copied whole where at least as many ids have room:
 * what follows the ids is written over by the next pretoken. */
typedef struct tlmi_cache_entry {
    uint32_t ids[3];         /* or ids[0]: where the store holds them */
    uint32_t n;              /* number of ids */
    tlmi_pretoken_key_t key; /* zeros where the entry is free */
} tlmi_cache_entry_t;

typedef struct tlmi_pretoken_cache {
    tlmi_cache_entry_t *entries; /* (mask + 1, 2): two entries per bucket */
    size_t mask;
    size_t max_buckets;
    size_t used;       /* entries */
    uint32_t *store;   /* ids where more than three; of a long pretoken also its bytes */
    size_t store_used; /* behind it there is always room for TLMI_IDS_AT_ONCE */
    size_t store_capacity;
} tlmi_pretoken_cache_t;

/* At most about `max_size` bytes, far less to begin with. NULL without memory: only speed depends
 * on it. */
tlmi_pretoken_cache_t *tlmi_pretoken_cache_create(size_t max_size);
void tlmi_pretoken_cache_free(tlmi_pretoken_cache_t *cache);

/* Remembers the ids of a pretoken that is not there. What does not fit is not kept. */
void tlmi_pretoken_cache_add(tlmi_pretoken_cache_t *cache, tlmi_pretoken_key_t key,
                             const uint8_t *pretoken, size_t size, const uint32_t *ids, size_t n);

/* Key of 1 to TLMI_PRETOKEN_KEY_BYTES bytes; TLMI_PRETOKEN_KEY_BYTES + 1 bytes at `text` may be read. */
static inline tlmi_pretoken_key_t tlmi_pretoken_short_key(const uint8_t *text, size_t size)
{
    static const uint64_t masks[TLMI_PRETOKEN_KEY_BYTES + 1][2] = {
        {0, 0},
        {UINT64_MAX >> 56, 0},
        {UINT64_MAX >> 48, 0},
        {UINT64_MAX >> 40, 0},
        {UINT64_MAX >> 32, 0},
        {UINT64_MAX >> 24, 0},
        {UINT64_MAX >> 16, 0},
        {UINT64_MAX >> 8, 0},
        {UINT64_MAX, 0},
        {UINT64_MAX, UINT64_MAX >> 56},
        {UINT64_MAX, UINT64_MAX >> 48},
        {UINT64_MAX, UINT64_MAX >> 40},
        {UINT64_MAX, UINT64_MAX >> 32},
        {UINT64_MAX, UINT64_MAX >> 24},
        {UINT64_MAX, UINT64_MAX >> 16},
        {UINT64_MAX, UINT64_MAX >> 8},
    };

    return (tlmi_pretoken_key_t){
        {tlmi_load_word(text) & masks[size][0],
         (tlmi_load_word(text + 8) & masks[size][1]) | (uint64_t)size << 56}};
}

static inline tlmi_pretoken_key_t tlmi_pretoken_long_key(const uint8_t *text, size_t size)
{
    uint64_t hash = tlmi_hash_bytes(text, size);

    return (tlmi_pretoken_key_t){{hash, size | TLMI_PRETOKEN_LONG_KEY}};
}

static inline uint64_t tlmi_pretoken_key_hash(tlmi_pretoken_key_t key)
{
    return tlmi_hash_mix(key.words[0] ^ 0x9E3779B97F4A7C15u, key.words[1] ^ 0xD1B54A32D192ED03u);
}

static inline const tlmi_cache_entry_t *
tlmi_pretoken_cache_bucket(const tlmi_pretoken_cache_t *cache, uint64_t hash)
{
    return &cache->entries[2 * (hash & cache->mask)];
}

/* How a key differs from that of an entry: 0 if not at all. */
static inline uint64_t tlmi_cache_entry_differs(const tlmi_cache_entry_t *entry,
                                                tlmi_pretoken_key_t key)
{
    return (entry->key.words[0] ^ key.words[0]) | (entry->key.words[1] ^ key.words[1]);
}

/* The entry with this key in its own bucket, where nearly all are; else NULL. Which of the two it is
 * cannot be predicted, so there is no branch for that. */
static inline const tlmi_cache_entry_t *
tlmi_pretoken_cache_glance(const tlmi_pretoken_cache_t *cache, tlmi_pretoken_key_t key,
                           uint64_t hash)
{
    const tlmi_cache_entry_t *bucket = tlmi_pretoken_cache_bucket(cache, hash);
    uint64_t second = tlmi_cache_entry_differs(&bucket[0], key) != 0;

    if ((tlmi_cache_entry_differs(&bucket[1], key) & -second) != 0)
        return NULL;
    return bucket + second;
}

/* The entry with this key wherever it is, or NULL. */
const tlmi_cache_entry_t *tlmi_pretoken_cache_find(const tlmi_pretoken_cache_t *cache,
                                                   tlmi_pretoken_key_t key, uint64_t hash);

/* Where the ids of an entry are; by masks, since a branch could not be predicted. */
static inline const uint32_t *tlmi_cache_entry_ids(const tlmi_pretoken_cache_t *cache,
                                                   const tlmi_cache_entry_t *entry)
{
    uintptr_t stored = (uintptr_t)cache->store + entry->ids[0] * sizeof(uint32_t);
    uintptr_t is_stored = -(uintptr_t)(entry->n > 3);

    return (const uint32_t *)((stored & is_stored) | ((uintptr_t)entry->ids & ~is_stored));
}

/* Whether an entry with the key of a long pretoken is of this one. */
bool tlmi_cache_entry_is_long(const tlmi_pretoken_cache_t *cache, const tlmi_cache_entry_t *entry,
                              const uint8_t *pretoken, size_t size);

/* Bytes that the cache holds. */
size_t tlmi_pretoken_cache_size(const tlmi_pretoken_cache_t *cache);

/* ---- Memory between calls ---- */

/* What one thread encodes with: a tokenizer keeps those that are idle, so that the next text finds the
 * cache warm. */
typedef struct tlmi_encode_memory {
    tlmi_pretoken_cache_t *cache;
    tlmi_scratch_t scratch;
    size_t counted; /* bytes of it in the pool's sum */
} tlmi_encode_memory_t;

/* The most bytes that a tokenizer keeps as idle memory. */
#define TLMI_IDLE_BYTES ((size_t)256 << 20)

/* May be used by any number of threads at once. */
typedef struct tlmi_memory_pool tlmi_memory_pool_t;

tlm_status_t tlmi_memory_pool_create(tlmi_memory_pool_t **out);
void tlmi_memory_pool_free(tlmi_memory_pool_t *pool);

/* Idle memory or new; NULL if memory is exhausted: only speed depends on it. */
tlmi_encode_memory_t *tlmi_memory_pool_take(tlmi_memory_pool_t *pool);

/* Keeps it, or frees it where the pool is full. NULL is fine. */
void tlmi_memory_pool_give(tlmi_memory_pool_t *pool, tlmi_encode_memory_t *memory);

/* Frees all that is idle. */
void tlmi_memory_pool_trim(tlmi_memory_pool_t *pool);

/* Bytes that are idle, or were when they were taken. */
size_t tlmi_memory_pool_size(const tlmi_memory_pool_t *pool);

#endif
