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

/* Makes room for the distinct pretokens that a text of `size` bytes is expected to have, so that the
 * table need not grow step by step. Does nothing if it cannot. */
void tlmi_pretoken_cache_expect(tlmi_pretoken_cache_t *cache, size_t size);

/* Stores the ids of a pretoken that is not in the cache. Does nothing if they do not fit. */
void tlmi_pretoken_cache_add(tlmi_pretoken_cache_t *cache, tlmi_pretoken_key_t key,
                             const uint8_t *pretoken, size_t size, const uint32_t *ids, size_t n);

#define TLMI_NO_WORD UINT32_MAX

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

/* Returns the key of a pretoken of any size, of which only its own bytes are read: a short one is
 * loaded as two parts that overlap. */
static inline tlmi_pretoken_key_t tlmi_pretoken_exact_key(const uint8_t *text, size_t size)
{
    uint64_t top = (uint64_t)size << 56, low;

    if (size > TLMI_PRETOKEN_KEY_BYTES)
        return tlmi_pretoken_long_key(text, size);

    if (size > 8)
        return (tlmi_pretoken_key_t){
            {tlmi_load_word(text), tlmi_load_word(text + size - 8) >> (128 - 8 * size) | top}};
    if (size >= 4)
        low = tlmi_load_half(text) | (uint64_t)tlmi_load_half(text + size - 4) << 8 * (size - 4);
    else
        low = text[0] | (uint64_t)text[size / 2] << 8 * (size / 2) |
              (uint64_t)text[size - 1] << 8 * (size - 1);
    return (tlmi_pretoken_key_t){{low, top}};
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

/* Whether a key's home entry is free, so that no entry has the key. */
static inline bool tlmi_pretoken_cache_lacks(const tlmi_pretoken_cache_t *cache,
                                             tlmi_pretoken_key_t key)
{
    return cache->entries[tlmi_pretoken_cache_home(cache, key)].n == 0;
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

/* ---- Words: pretokens that are one token ---- */

/* A hash table with open addressing that a model makes once and all threads share. A word is found
 * by its key, usually in the first entry that is looked at. */

typedef struct tlmi_word {
    tlmi_pretoken_key_t key; /* zeros if the entry is free */
    uint32_t id;
} tlmi_word_t;

typedef struct tlmi_word_table {
    const struct tlmi_vocabulary *vocabulary; /* borrowed */
    size_t max_size;                          /* of a word in bytes */
    tlmi_word_t *words; /* those of a home are at it or after it; the last one is free */
    uint32_t num_homes;
} tlmi_word_table_t;

/* Makes a table of the tokens with is_word[id] != 0, the first `size` of a vocabulary, that
 * tlmi_vocabulary_find finds. Sets NULL if there are none, or if they collide too much to be worth a
 * table. */
tlm_status_t tlmi_word_table_create(tlmi_word_table_t **out,
                                    const struct tlmi_vocabulary *vocabulary,
                                    const uint8_t *is_word, uint32_t size);
void tlmi_word_table_free(tlmi_word_table_t *table); /* accepts NULL */

static inline const tlmi_word_t *tlmi_word_table_home(const tlmi_word_table_t *table,
                                                      tlmi_pretoken_key_t key)
{
    uint64_t hash =
        tlmi_hash_mix(key.words[0] ^ 0x9E3779B97F4A7C15u, key.words[1] ^ 0xD1B54A32D192ED03u);

    return table->words + (size_t)((hash >> 32) * table->num_homes >> 32);
}

/* Whether a word with the key of a long pretoken is this pretoken. */
bool tlmi_word_is_long(const tlmi_word_table_t *table, const tlmi_word_t *word,
                       const uint8_t *pretoken, size_t size);

/* Returns the id of a pretoken with its key, or TLMI_NO_WORD. */
static inline uint32_t tlmi_word_table_find(const tlmi_word_table_t *table, tlmi_pretoken_key_t key,
                                            const uint8_t *pretoken, size_t size)
{
    const tlmi_word_t *word = tlmi_word_table_home(table, key);

    for (; word->key.words[1] != 0; word++)
        if (word->key.words[0] == key.words[0] && word->key.words[1] == key.words[1] &&
            (size <= TLMI_PRETOKEN_KEY_BYTES || tlmi_word_is_long(table, word, pretoken, size)))
            return word->id;
    return TLMI_NO_WORD;
}

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

/* Returns idle memory, or new memory if none is idle, for about `size` bytes of text. Returns NULL if
 * memory is exhausted; then encoding is slower, with the same ids. */
tlmi_encode_memory_t *tlmi_memory_pool_take(tlmi_memory_pool_t *pool, size_t size);

/* Returns memory to the pool, which frees it if it is full. NULL is fine. */
void tlmi_memory_pool_give(tlmi_memory_pool_t *pool, tlmi_encode_memory_t *memory);

/* Frees all idle memory. */
void tlmi_memory_pool_trim(tlmi_memory_pool_t *pool);

/* Returns the number of bytes that are idle or were idle before they were taken. */
size_t tlmi_memory_pool_size(const tlmi_memory_pool_t *pool);

#endif
