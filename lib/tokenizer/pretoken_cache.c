/* The table starts small and doubles as it fills, up to a limit. After that, a new entry replaces
 * an older one of its bucket. So the table costs little for a short text and has room for a long
 * one. */
#include "tokenizer/pretoken_cache.h"

#include <stdatomic.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"

#define FIRST_BUCKETS  64
#define MAX_STEPS      4 /* buckets that may hold an entry */
#define BUCKET_SIZE    (2 * sizeof(tlmi_cache_entry_t))
#define STORE_WORDS    8                  /* words of the store per bucket of the largest table */
#define MAX_CACHE_SIZE ((size_t)48 << 20) /* approximate bytes per cache */

#define MAX_IDLE         TLM_MAX_THREADS
#define MAX_IDLE_SCRATCH ((size_t)1 << 20) /* bytes; larger scratch blocks are freed, not kept */

static tlmi_cache_entry_t *make_table(size_t buckets)
{
    tlmi_cache_entry_t *entries = tlmi_alloc_aligned(buckets, BUCKET_SIZE, "a cache of pretokens");

    if (entries != NULL)
        memset(entries, 0, buckets * BUCKET_SIZE);
    return entries;
}

tlmi_pretoken_cache_t *tlmi_pretoken_cache_create(size_t max_size)
{
    tlmi_pretoken_cache_t *cache = tlmi_calloc(1, sizeof(*cache), "a cache of pretokens");

    if (cache == NULL)
        return NULL;
    cache->entries = make_table(FIRST_BUCKETS);
    if (cache->entries == NULL) {
        tlmi_free(cache);
        return NULL;
    }
    cache->mask = FIRST_BUCKETS - 1;
    cache->max_buckets = FIRST_BUCKETS;
    while (2 * cache->max_buckets * (BUCKET_SIZE + STORE_WORDS * sizeof(*cache->store)) <= max_size)
        cache->max_buckets *= 2;
    return cache;
}

void tlmi_pretoken_cache_free(tlmi_pretoken_cache_t *cache)
{
    if (cache == NULL)
        return;
    tlmi_free(cache->entries);
    tlmi_free(cache->store);
    tlmi_free(cache);
}

/* Returns the entry with this key, or the free entry where it belongs; NULL if the buckets that may
 * hold it have neither. */
static tlmi_cache_entry_t *find_place(tlmi_cache_entry_t *entries, size_t mask,
                                      tlmi_pretoken_key_t key, uint64_t hash)
{
    for (size_t i = 0; i < 2 * MAX_STEPS; i++) {
        tlmi_cache_entry_t *entry = &entries[(2 * (size_t)hash + i) & (2 * mask + 1)];

        if (entry->n == 0 || tlmi_cache_entry_differs(entry, key) == 0)
            return entry;
    }
    return NULL;
}

const tlmi_cache_entry_t *tlmi_pretoken_cache_find(const tlmi_pretoken_cache_t *cache,
                                                   tlmi_pretoken_key_t key, uint64_t hash)
{
    const tlmi_cache_entry_t *entry = find_place(cache->entries, cache->mask, key, hash);

    return entry == NULL || entry->n == 0 ? NULL : entry;
}

/* If every place is taken, the entry replaces one of the two in its home bucket. */
static bool insert(tlmi_cache_entry_t *entries, size_t mask, const tlmi_cache_entry_t *entry)
{
    uint64_t hash = tlmi_pretoken_key_hash(entry->key);
    tlmi_cache_entry_t *place = find_place(entries, mask, entry->key, hash);
    bool is_new = place != NULL && place->n == 0;

    if (place == NULL)
        place = &entries[(2 * (size_t)hash + (entry->key.words[0] & 1)) & (2 * mask + 1)];
    *place = *entry;
    return is_new;
}

static void double_table(tlmi_pretoken_cache_t *cache)
{
    size_t buckets = 2 * (cache->mask + 1);
    tlmi_cache_entry_t *entries = make_table(buckets);

    if (entries == NULL) {
        cache->max_buckets = cache->mask + 1;
        return;
    }
    cache->used = 0;
    for (size_t i = 0; i < buckets; i++)
        if (cache->entries[i].n > 0)
            cache->used += insert(entries, buckets - 1, &cache->entries[i]);
    tlmi_free(cache->entries);
    cache->entries = entries;
    cache->mask = buckets - 1;
}

/* Makes room for n words in the store. If they would exceed its limit, the whole cache is
 * cleared first. */
static bool reserve_store(tlmi_pretoken_cache_t *cache, size_t n)
{
    size_t limit = cache->max_buckets * STORE_WORDS;
    size_t needed = cache->store_used + n + TLMI_IDS_AT_ONCE;

    if (needed > limit) {
        memset(cache->entries, 0, (cache->mask + 1) * BUCKET_SIZE);
        cache->used = 0;
        cache->store_used = 0;
        needed = n + TLMI_IDS_AT_ONCE;
    }
    return needed <= limit && tlmi_grow(&cache->store, &cache->store_capacity, needed,
                                        sizeof(*cache->store), "a cache of pretokens");
}

void tlmi_pretoken_cache_add(tlmi_pretoken_cache_t *cache, tlmi_pretoken_key_t key,
                             const uint8_t *pretoken, size_t size, const uint32_t *ids, size_t n)
{
    bool is_long = size > TLMI_PRETOKEN_KEY_BYTES;
    tlmi_cache_entry_t entry = {{0, 0, 0}, (uint32_t)n, key};
    size_t words = is_long ? n + (size + 3) / 4 : n;

    if (size > TLMI_PRETOKEN_CACHED_BYTES || n == 0)
        return;
    if (!is_long && n <= 3) {
        memcpy(entry.ids, ids, n * sizeof(*ids));
    } else {
        if (!reserve_store(cache, words))
            return;
        entry.ids[0] = (uint32_t)cache->store_used;
        memcpy(cache->store + cache->store_used, ids, n * sizeof(*ids));
        if (is_long)
            memcpy(cache->store + cache->store_used + n, pretoken, size);
        cache->store_used += words;
    }
    if (2 * cache->used > cache->mask && cache->mask + 1 < cache->max_buckets)
        double_table(cache);
    cache->used += insert(cache->entries, cache->mask, &entry);
}

bool tlmi_cache_entry_is_long(const tlmi_pretoken_cache_t *cache, const tlmi_cache_entry_t *entry,
                              const uint8_t *pretoken, size_t size)
{
    return memcmp(cache->store + entry->ids[0] + entry->n, pretoken, size) == 0;
}

size_t tlmi_pretoken_cache_size(const tlmi_pretoken_cache_t *cache)
{
    return cache == NULL ? 0
                         : sizeof(*cache) + (cache->mask + 1) * BUCKET_SIZE +
                               cache->store_capacity * sizeof(*cache->store);
}

/* ---- Memory between calls ---- */

struct tlmi_memory_pool {
    _Atomic(tlmi_encode_memory_t *) idle[MAX_IDLE];
    atomic_size_t bytes; /* all memory that has been idle, counted even while it is in use */
};

tlm_status_t tlmi_memory_pool_create(tlmi_memory_pool_t **out)
{
    *out = tlmi_calloc(1, sizeof(**out), "caches of pretokens");
    return *out != NULL ? TLM_OK : TLM_ERR_OUT_OF_MEMORY;
}

static size_t memory_size(const tlmi_encode_memory_t *memory)
{
    return sizeof(*memory) + tlmi_pretoken_cache_size(memory->cache) + memory->scratch.size;
}

/* Frees memory that was taken from the pool or made for it. */
static void drop_memory(tlmi_memory_pool_t *pool, tlmi_encode_memory_t *memory)
{
    atomic_fetch_sub_explicit(&pool->bytes, memory->counted, memory_order_relaxed);
    tlmi_pretoken_cache_free(memory->cache);
    tlmi_scratch_release(&memory->scratch);
    tlmi_free(memory);
}

/* As large as is useful, but small enough that every thread's cache can stay idle in the pool. */
static size_t cache_size(void)
{
    size_t share = TLMI_IDLE_BYTES / (size_t)tlmi_max_workers();

    return share < MAX_CACHE_SIZE ? share : MAX_CACHE_SIZE;
}

static tlmi_encode_memory_t *make_memory(void)
{
    tlmi_encode_memory_t *memory = tlmi_calloc(1, sizeof(*memory), "a cache of pretokens");

    if (memory == NULL)
        return NULL;
    memory->cache = tlmi_pretoken_cache_create(cache_size());
    if (memory->cache != NULL)
        return memory;
    tlmi_free(memory);
    return NULL;
}

/* Takes idle memory; NULL if there is none. */
static tlmi_encode_memory_t *take_idle(tlmi_memory_pool_t *pool)
{
    for (int i = 0; i < MAX_IDLE; i++) {
        tlmi_encode_memory_t *memory = atomic_load_explicit(&pool->idle[i], memory_order_relaxed);

        if (memory == NULL)
            continue;
        memory = atomic_exchange_explicit(&pool->idle[i], NULL, memory_order_acquire);
        if (memory != NULL)
            return memory;
    }
    return NULL;
}

tlmi_encode_memory_t *tlmi_memory_pool_take(tlmi_memory_pool_t *pool)
{
    tlmi_encode_memory_t *memory = take_idle(pool);

    return memory != NULL ? memory : make_memory();
}

/* Updates the sum. It changes only when memory has grown, so short texts need no atomic addition.
 * Returns false if the sum is too large. */
static bool count_memory(tlmi_memory_pool_t *pool, tlmi_encode_memory_t *memory)
{
    size_t size = memory_size(memory), more = size - memory->counted;

    memory->counted = size;
    return more == 0 ||
           atomic_fetch_add_explicit(&pool->bytes, more, memory_order_relaxed) + more <=
               TLMI_IDLE_BYTES;
}

void tlmi_memory_pool_give(tlmi_memory_pool_t *pool, tlmi_encode_memory_t *memory)
{
    if (memory == NULL)
        return;
    if (memory->scratch.size > MAX_IDLE_SCRATCH)
        tlmi_scratch_release(&memory->scratch);
    bool is_kept = count_memory(pool, memory);
    for (int i = 0; is_kept && i < MAX_IDLE; i++) {
        tlmi_encode_memory_t *none = NULL;

        if (atomic_compare_exchange_strong_explicit(&pool->idle[i], &none, memory,
                                                    memory_order_release, memory_order_relaxed))
            return;
    }
    drop_memory(pool, memory);
}

void tlmi_memory_pool_trim(tlmi_memory_pool_t *pool)
{
    tlmi_encode_memory_t *memory;

    while ((memory = take_idle(pool)) != NULL)
        drop_memory(pool, memory);
}

size_t tlmi_memory_pool_size(const tlmi_memory_pool_t *pool)
{
    return atomic_load_explicit(&pool->bytes, memory_order_relaxed);
}

void tlmi_memory_pool_free(tlmi_memory_pool_t *pool)
{
    if (pool == NULL)
        return;
    tlmi_memory_pool_trim(pool);
    tlmi_free(pool);
}
