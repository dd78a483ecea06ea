/* Merges of byte pairs, the tree they are applied in, and the cache of pretokens seen before. */
#ifndef TLMI_BPE_H
#define TLMI_BPE_H

#include "tokenizer/hash.h"
#include "tinylm/status.h"

/* The merges of a vocabulary, by rank (0 is applied first) and by pair. */

#define TLMI_NO_MERGE UINT32_MAX

typedef struct tlmi_merge {
    uint32_t left, right; /* ids of the two sides */
    uint32_t product;     /* id of their concatenation */
} tlmi_merge_t;

typedef struct tlmi_merge_slot {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank; /* TLMI_NO_MERGE where the slot is free */
    uint32_t reserved;
} tlmi_merge_slot_t;

typedef struct tlmi_merge_table {
    tlmi_merge_t *merges; /* by rank */
    uint32_t size;
    uint32_t capacity;
    tlmi_merge_slot_t *slots;
    size_t mask; /* number of slots - 1 */
} tlmi_merge_table_t;

/* Room for `capacity` merges. A table of zeros may be released. */
tlm_status_t tlmi_merge_table_init(tlmi_merge_table_t *table, size_t capacity);
void tlmi_merge_table_release(tlmi_merge_table_t *table);

/* Adds the next merge, for which there is room; false if the pair is there already. */
bool tlmi_merge_table_add(tlmi_merge_table_t *table, tlmi_merge_t merge);

/* The same with a rank of its own, below the capacity and free. A table filled in another order than
 * that of ranks may have gaps in `merges`; it serves to encode by, no more. */
bool tlmi_merge_table_put(tlmi_merge_table_t *table, uint32_t rank, tlmi_merge_t merge);

/* Rank of the merge of two neighbours, or TLMI_NO_MERGE. */
static inline uint32_t tlmi_merge_rank(const tlmi_merge_table_t *table, uint32_t left,
                                       uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    size_t at = tlmi_hash_word(pair) & table->mask;

    while (table->slots[at].rank != TLMI_NO_MERGE && table->slots[at].pair != pair)
        at = (at + 1) & table->mask;
    return table->slots[at].rank;
}

/* A pretoken of any length while it is merged: which merge comes next, and applying it, each in
 * logarithmic time, in 4.4 bytes for each byte. */

#define TLMI_MERGE_TREE_FAN    16 /* ranks that one rank of the next level stands for */
#define TLMI_MERGE_TREE_LEVELS 16 /* enough for any size */

/* Zeros before its first use, then good for one pretoken after the other. A token stands at the position
 * of its first byte. */
typedef struct tlmi_merge_tree {
    const tlmi_merge_table_t *merges;
    uint32_t *ids; /* (size): of the tokens, by position; the caller's */
    size_t size;
    /* ranks[0][i]: of the merge of the token at i with the next one, or TLMI_NO_MERGE. ranks[k + 1][i]:
     * the lowest of the FAN from ranks[k][FAN * i] on; ranks[levels - 1] has FAN. */
    uint32_t *ranks[TLMI_MERGE_TREE_LEVELS];
    int levels;
    uint64_t
        *starts; /* a bit for each position: whether a token stands there; and one at the end */
    uint32_t *memory; /* of all that */
    size_t capacity;
} tlmi_merge_tree_t;

void tlmi_merge_tree_release(tlmi_merge_tree_t *tree);

/* Begins with a token for each of `size` >= 1 bytes; the ids are borrowed until the work is finished. */
bool tlmi_merge_tree_start(tlmi_merge_tree_t *tree, const tlmi_merge_table_t *merges, uint32_t *ids,
                           size_t size);

/* Rank and position of the next merge: the lowest rank, and of equal ones the leftmost. TLMI_NO_MERGE if
 * there is none. */
uint32_t tlmi_merge_tree_next(size_t *at, const tlmi_merge_tree_t *tree);

/* Applies the merge of this rank at its position. */
void tlmi_merge_tree_apply(tlmi_merge_tree_t *tree, size_t at, uint32_t rank);

/* Keeps the merge at a position from being the next until it is shown again, and as long as both of its
 * tokens are there. */
void tlmi_merge_tree_hide(tlmi_merge_tree_t *tree, size_t at);
void tlmi_merge_tree_show(tlmi_merge_tree_t *tree, size_t at);

/* Moves the ids of the tokens to the front and returns their number. */
size_t tlmi_merge_tree_finish(tlmi_merge_tree_t *tree);

/* Ids of pretokens met before: a hash table of buckets of one cache line, made to be read without
 * a branch on anything but a miss. A cache belongs to one thread at a time; a tokenizer keeps those
 * that are not in use, so that the next text finds them warm. */

#define TLMI_BPE_KEY_BYTES    15  /* longest pretoken that is its own key */
#define TLMI_BPE_CACHED_BYTES 128 /* longest pretoken that is kept */

/* A short pretoken itself, with its size as the last byte; of a longer one, a hash. */
typedef struct tlmi_bpe_key {
    uint64_t words[2];
} tlmi_bpe_key_t;

#define TLMI_BPE_LONG_KEY ((uint64_t)(TLMI_BPE_KEY_BYTES + 1) << 56) /* instead of the size */

/* Up to three ids in place, more in the store. Copied whole where at least as many ids have room:
 * what follows the ids is written over by the next pretoken. */
typedef struct tlmi_bpe_entry {
    uint32_t ids[3];    /* or ids[0]: where the store holds them */
    uint32_t n;         /* number of ids */
    tlmi_bpe_key_t key; /* zeros where the entry is free */
} tlmi_bpe_entry_t;

#define TLMI_BPE_IDS_AT_ONCE 4 /* copied without a look at their number */

typedef struct tlmi_bpe_cache {
    tlmi_bpe_entry_t *entries; /* (mask + 1, 2): two entries a bucket */
    size_t mask;
    size_t max_buckets;
    size_t used;       /* entries */
    uint32_t *store;   /* ids where more than three; of a long pretoken also its bytes */
    size_t store_used; /* behind it there is always room for TLMI_BPE_IDS_AT_ONCE */
    size_t store_capacity;
} tlmi_bpe_cache_t;

/* At most about `max_size` bytes, far less to begin with. NULL without memory: only speed depends
 * on it. */
tlmi_bpe_cache_t *tlmi_bpe_cache_create(size_t max_size);
void tlmi_bpe_cache_free(tlmi_bpe_cache_t *cache);

/* Remembers the ids of a pretoken that is not there. What does not fit is not kept. */
void tlmi_bpe_cache_add(tlmi_bpe_cache_t *cache, tlmi_bpe_key_t key, const uint8_t *pretoken,
                        size_t size, const uint32_t *ids, size_t n);

/* Key of 1 to TLMI_BPE_KEY_BYTES bytes; TLMI_BPE_KEY_BYTES + 1 bytes at `text` may be read. */
static inline tlmi_bpe_key_t tlmi_bpe_short_key(const uint8_t *text, size_t size)
{
    static const uint64_t masks[TLMI_BPE_KEY_BYTES + 1][2] = {
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

    return (tlmi_bpe_key_t){{tlmi_load_word(text) & masks[size][0],
                             (tlmi_load_word(text + 8) & masks[size][1]) | (uint64_t)size << 56}};
}

static inline tlmi_bpe_key_t tlmi_bpe_long_key(const uint8_t *text, size_t size)
{
    uint64_t hash = tlmi_hash_bytes(text, size);

    return (tlmi_bpe_key_t){{hash, size | TLMI_BPE_LONG_KEY}};
}

static inline uint64_t tlmi_bpe_key_hash(tlmi_bpe_key_t key)
{
    return tlmi_hash_mix(key.words[0] ^ 0x9E3779B97F4A7C15u, key.words[1] ^ 0xD1B54A32D192ED03u);
}

static inline const tlmi_bpe_entry_t *tlmi_bpe_cache_bucket(const tlmi_bpe_cache_t *cache,
                                                            uint64_t hash)
{
    return &cache->entries[2 * (hash & cache->mask)];
}

/* How a key differs from that of an entry: 0 if not at all. */
static inline uint64_t tlmi_bpe_entry_differs(const tlmi_bpe_entry_t *entry, tlmi_bpe_key_t key)
{
    return (entry->key.words[0] ^ key.words[0]) | (entry->key.words[1] ^ key.words[1]);
}

/* The entry with this key in its own bucket, where nearly all are; else NULL. Which of the two it is
 * cannot be predicted, so there is no branch for that. */
static inline const tlmi_bpe_entry_t *tlmi_bpe_cache_glance(const tlmi_bpe_cache_t *cache,
                                                            tlmi_bpe_key_t key, uint64_t hash)
{
    const tlmi_bpe_entry_t *bucket = tlmi_bpe_cache_bucket(cache, hash);
    uint64_t second = tlmi_bpe_entry_differs(&bucket[0], key) != 0;

    if ((tlmi_bpe_entry_differs(&bucket[1], key) & -second) != 0)
        return NULL;
    return bucket + second;
}

/* The entry with this key wherever it is, or NULL. */
const tlmi_bpe_entry_t *tlmi_bpe_cache_find(const tlmi_bpe_cache_t *cache, tlmi_bpe_key_t key,
                                            uint64_t hash);

/* Where the ids of an entry are; by masks, since a branch could not be predicted. */
static inline const uint32_t *tlmi_bpe_entry_ids(const tlmi_bpe_cache_t *cache,
                                                 const tlmi_bpe_entry_t *entry)
{
    uintptr_t stored = (uintptr_t)cache->store + entry->ids[0] * sizeof(uint32_t);
    uintptr_t is_stored = -(uintptr_t)(entry->n > 3);

    return (const uint32_t *)((stored & is_stored) | ((uintptr_t)entry->ids & ~is_stored));
}

/* Whether an entry with the key of a long pretoken is of this one. */
bool tlmi_bpe_entry_is_long(const tlmi_bpe_cache_t *cache, const tlmi_bpe_entry_t *entry,
                            const uint8_t *pretoken, size_t size);

/* ---- Caches that are not in use ---- */

/* May be used by any number of threads at once. */
typedef struct tlmi_bpe_cache_pool tlmi_bpe_cache_pool_t;

tlm_status_t tlmi_bpe_cache_pool_create(tlmi_bpe_cache_pool_t **out);
void tlmi_bpe_cache_pool_free(tlmi_bpe_cache_pool_t *pool);

/* An idle cache or a new one; NULL without memory. */
tlmi_bpe_cache_t *tlmi_bpe_cache_take(tlmi_bpe_cache_pool_t *pool);
void tlmi_bpe_cache_give(tlmi_bpe_cache_pool_t *pool, tlmi_bpe_cache_t *cache);

#endif
