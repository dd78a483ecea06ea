/* A cache of the ids of pretokens seen before, for any model, and the memory that a tokenizer keeps
 * between calls. */
#ifndef TLMI_PRETOKEN_CACHE_H
#define TLMI_PRETOKEN_CACHE_H

#include "tokenizer/hash.h"
#include "tokenizer/subword_model.h"

/* A hash table with open addressing. Nearly all keys are in their home entries, so that a lookup
 * compares one key. Not thread-safe: use each cache from one thread at a time. */

#define TLMI_PRETOKEN_KEY_BYTES    15  /* longest pretoken that is its own key */
#define TLMI_PRETOKEN_CACHED_BYTES 128 /* longest pretoken that is kept */

/* A short pretoken is its own key, with its size as the last byte. The key of a longer one is a
 * hash. */
typedef struct tlmi_pretoken_key {
    uint64_t words[2];
} tlmi_pretoken_key_t;

#define TLMI_PRETOKEN_LONG_KEY                                                                     \
    ((uint64_t)(TLMI_PRETOKEN_KEY_BYTES + 1) << 56) /* takes the place of the size */

/* Holds up to TLMI_IDS_IN_PLACE ids of a short pretoken in place; all other ids are in the
 * store. */
#define TLMI_IDS_IN_PLACE 3

typedef struct tlmi_cache_entry {
    tlmi_pretoken_key_t key;         /* zeros if the entry is free */
    uint32_t ids[TLMI_IDS_IN_PLACE]; /* or ids[0]: their offset in the store */
    uint32_t n;                      /* number of ids */
} tlmi_cache_entry_t;

typedef struct tlmi_pretoken_cache {
    tlmi_cache_entry_t *entries; /* (size) */
    size_t size;                 /* a power of two */
    int shift;                   /* hashes are shifted right by this to become positions */
    size_t max_size;
    size_t used;       /* entries in use */
    uint32_t *store;   /* ids that are not in place; of a long pretoken also its bytes */
    size_t store_used; /* TLMI_IDS_AT_ONCE more words always have room after it */
    size_t store_capacity;
} tlmi_pretoken_cache_t;

/* Uses at most about `max_bytes` bytes, and far less at first. Returns NULL if memory is exhausted;
 * then encoding is slower, with the same ids. */
tlmi_pretoken_cache_t *tlmi_pretoken_cache_create(size_t max_bytes);
void tlmi_pretoken_cache_free(tlmi_pretoken_cache_t *cache);

/* Stores the ids of a pretoken that is not in the cache. Does nothing if they do not fit. */
void tlmi_pretoken_cache_add(tlmi_pretoken_cache_t *cache, tlmi_pretoken_key_t key,
                             const uint8_t *pretoken, size_t size, const uint32_t *ids, size_t n);

/* Returns the key of a pretoken of 1 to TLMI_PRETOKEN_KEY_BYTES bytes; TLMI_PRETOKEN_KEY_BYTES + 1
 * bytes at `text` must be readable. */
static inline tlmi_pretoken_key_t tlmi_pretoken_short_key(const uint8_t *text, size_t size)
{
    static const uint64_t low[TLMI_PRETOKEN_KEY_BYTES + 1] = {
        0,
        UINT64_MAX >> 56,
        UINT64_MAX >> 48,
        UINT64_MAX >> 40,
        UINT64_MAX >> 32,
        UINT64_MAX >> 24,
        UINT64_MAX >> 16,
        UINT64_MAX >> 8,
        UINT64_MAX,
        UINT64_MAX,
        UINT64_MAX,
        UINT64_MAX,
        UINT64_MAX,
        UINT64_MAX,
        UINT64_MAX,
        UINT64_MAX,
    };
    static const uint64_t high[TLMI_PRETOKEN_KEY_BYTES + 1] = {
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        UINT64_MAX >> 56,
        UINT64_MAX >> 48,
        UINT64_MAX >> 40,
        UINT64_MAX >> 32,
        UINT64_MAX >> 24,
        UINT64_MAX >> 16,
        UINT64_MAX >> 8,
    };

    return (tlmi_pretoken_key_t){{tlmi_load_word(text) & low[size],
                                  (tlmi_load_word(text + 8) & high[size]) | (uint64_t)size << 56}};
}

static inline tlmi_pretoken_key_t tlmi_pretoken_long_key(const uint8_t *text, size_t size)
{
    uint64_t hash = tlmi_hash_bytes(text, size);

    return (tlmi_pretoken_key_t){{hash, size | TLMI_PRETOKEN_LONG_KEY}};
}

/* Returns the position of a key's home entry: the high bits of a sum of products. */
static inline size_t tlmi_pretoken_cache_home(const tlmi_pretoken_cache_t *cache,
                                              tlmi_pretoken_key_t key)
{
    uint64_t hash = key.words[0] * 0x9E3779B97F4A7C15u + key.words[1] * 0xD1B54A32D192ED03u;

    return (size_t)(hash >> cache->shift);
}

static inline bool tlmi_cache_entry_has(const tlmi_cache_entry_t *entry, tlmi_pretoken_key_t key)
{
    return entry->key.words[0] == key.words[0] && entry->key.words[1] == key.words[1];
}

/* Returns the entry with this key, wherever it is, or NULL. Brings it closer to its home, because
 * pretokens that were frequent tend to stay so. */
const tlmi_cache_entry_t *tlmi_pretoken_cache_find(tlmi_pretoken_cache_t *cache,
                                                   tlmi_pretoken_key_t key);

/* Returns the ids of an entry. */
static inline const uint32_t *tlmi_cache_entry_ids(const tlmi_pretoken_cache_t *cache,
                                                   const tlmi_cache_entry_t *entry, bool is_long)
{
    return is_long || entry->n > TLMI_IDS_IN_PLACE ? cache->store + entry->ids[0] : entry->ids;
}

/* Returns whether an entry with the key of a long pretoken belongs to this pretoken. */
bool tlmi_cache_entry_is_long(const tlmi_pretoken_cache_t *cache, const tlmi_cache_entry_t *entry,
                              const uint8_t *pretoken, size_t size);

/* Returns the size of the cache in bytes. */
size_t tlmi_pretoken_cache_size(const tlmi_pretoken_cache_t *cache);

/* ---- Memory between calls ---- */

/* The memory of one encoding thread. A tokenizer keeps idle ones, so that the next text finds a
 * warm cache. */
typedef struct tlmi_encode_memory {
    tlmi_pretoken_cache_t *cache;
    tlmi_scratch_t scratch;
    tlmi_id_list_t ids; /* empty, with room for those of a small text */
    size_t counted;     /* its bytes that the pool's sum includes */
} tlmi_encode_memory_t;

/* Maximum number of bytes that a tokenizer keeps as idle memory. */
#define TLMI_IDLE_BYTES ((size_t)256 << 20)

/* Thread-safe: any number of threads may use a pool at once. */
typedef struct tlmi_memory_pool tlmi_memory_pool_t;

tlm_status_t tlmi_memory_pool_create(tlmi_memory_pool_t **out);
void tlmi_memory_pool_free(tlmi_memory_pool_t *pool);

/* Returns idle memory, or new memory if none is idle. Returns NULL if memory is exhausted; then
 * encoding is slower, with the same ids. */
tlmi_encode_memory_t *tlmi_memory_pool_take(tlmi_memory_pool_t *pool);

/* Returns memory to the pool, which frees it if it is full. NULL is fine. */
void tlmi_memory_pool_give(tlmi_memory_pool_t *pool, tlmi_encode_memory_t *memory);

/* Frees all idle memory. */
void tlmi_memory_pool_trim(tlmi_memory_pool_t *pool);

/* Returns the number of bytes that are idle or were idle before they were taken. */
size_t tlmi_memory_pool_size(const tlmi_memory_pool_t *pool);

#endif
