/* The table starts small and doubles as it fills, up to a limit. After that, a new entry replaces
 * an older one. So the table costs little for a short text and has room for a long one. It is
 * sparse, because a key that is not in its home entry costs a mispredicted branch. */
#include "tokenizer/pretoken_cache.h"

#include <stdatomic.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"

#define FIRST_SIZE      128   /* entries */
#define SPARSITY        4     /* entries per key, at least, until the table has its full size */
#define MAX_EXPECTED    65536 /* entries at most before the text shows that it needs more */
#define BYTES_PER_ENTRY 16 /* of an expected text; most texts need more entries than this gives */
#define MAX_STEPS       8  /* entries that may hold a key */
#define STORE_WORDS     4  /* words of the store per entry of the largest table */
#define MAX_CACHE_SIZE  ((size_t)48 << 20) /* approximate bytes per cache */

#define MAX_IDLE         TLM_MAX_THREADS
#define MAX_IDLE_SCRATCH ((size_t)1 << 20) /* bytes; larger scratch blocks are freed, not kept */
#define MAX_IDLE_IDS     ((size_t)1 << 14) /* the same for lists of ids */

static tlmi_cache_entry_t *make_table(size_t size)
{
    tlmi_cache_entry_t *entries =
        tlmi_alloc_aligned(size, sizeof(*entries), "a cache of pretokens");

    if (entries != NULL)
        memset(entries, 0, size * sizeof(*entries));
    return entries;
}

static void set_table(tlmi_pretoken_cache_t *cache, tlmi_cache_entry_t *entries, size_t size)
{
    cache->entries = entries;
    cache->size = size;
    cache->shift = 64 - __builtin_ctzll(size);
    cache->used = 0;
}

tlmi_pretoken_cache_t *tlmi_pretoken_cache_create(size_t max_bytes)
{
    tlmi_pretoken_cache_t *cache = tlmi_calloc(1, sizeof(*cache), "a cache of pretokens");
    tlmi_cache_entry_t *entries;

    if (cache == NULL)
        return NULL;
    entries = make_table(FIRST_SIZE);
    if (entries == NULL) {
        tlmi_free(cache);
        return NULL;
    }
    set_table(cache, entries, FIRST_SIZE);
    cache->max_size = FIRST_SIZE;
    while (2 * cache->max_size * (sizeof(*entries) + STORE_WORDS * sizeof(*cache->store)) <=
           max_bytes)
        cache->max_size *= 2;
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

/* Returns the entry with this key, or the free entry where it belongs; NULL if the places that may
 * hold it have neither. */
static tlmi_cache_entry_t *find_place(const tlmi_pretoken_cache_t *cache, tlmi_pretoken_key_t key)
{
    size_t home = tlmi_pretoken_cache_home(cache, key);

    for (size_t i = 0; i < MAX_STEPS; i++) {
        tlmi_cache_entry_t *entry = &cache->entries[(home + i) & (cache->size - 1)];

        if (entry->n == 0 || tlmi_cache_entry_has(entry, key))
            return entry;
    }
    return NULL;
}

/* Whether an entry may be at `place`, which is `steps` after where it is. */
static bool may_move(const tlmi_pretoken_cache_t *cache, const tlmi_cache_entry_t *entry,
                     size_t steps)
{
    size_t home = tlmi_pretoken_cache_home(cache, entry->key);
    size_t from_home = ((size_t)(entry - cache->entries) - home) & (cache->size - 1);

    return from_home + steps < MAX_STEPS;
}

const tlmi_cache_entry_t *tlmi_pretoken_cache_find(tlmi_pretoken_cache_t *cache,
                                                   tlmi_pretoken_key_t key)
{
    tlmi_cache_entry_t *entry = find_place(cache, key), *home;

    if (entry == NULL || entry->n == 0)
        return NULL;
    home = &cache->entries[tlmi_pretoken_cache_home(cache, key)];
    if (entry == home || !may_move(cache, home, (size_t)(entry - home) & (cache->size - 1)))
        return entry;
    tlmi_cache_entry_t moved = *home;
    *home = *entry;
    *entry = moved;
    return home;
}

/* If every place is taken, the entry replaces the one in its home. */
static void insert(tlmi_pretoken_cache_t *cache, const tlmi_cache_entry_t *entry)
{
    tlmi_cache_entry_t *place = find_place(cache, entry->key);

    if (place == NULL)
        place = &cache->entries[tlmi_pretoken_cache_home(cache, entry->key)];
    else if (place->n == 0)
        cache->used++;
    *place = *entry;
}

static void grow_table(tlmi_pretoken_cache_t *cache, size_t to)
{
    size_t size = cache->size;
    tlmi_cache_entry_t *before = cache->entries, *entries = make_table(to);

    if (entries == NULL) {
        cache->max_size = size;
        return;
    }
    set_table(cache, entries, to);
    for (size_t i = 0; i < size; i++)
        if (before[i].n > 0)
            insert(cache, &before[i]);
    tlmi_free(before);
}

void tlmi_pretoken_cache_expect(tlmi_pretoken_cache_t *cache, size_t size)
{
    size_t wanted = size / BYTES_PER_ENTRY, to = cache->size;

    while (to < wanted && to < MAX_EXPECTED && 2 * to <= cache->max_size)
        to *= 2;
    if (to > cache->size)
        grow_table(cache, to);
}

/* Makes room for n words in the store. If they would exceed its limit, the whole cache is
 * cleared first. */
static bool reserve_store(tlmi_pretoken_cache_t *cache, size_t n)
{
    size_t limit = cache->max_size * STORE_WORDS;
    size_t needed = cache->store_used + n + TLMI_IDS_AT_ONCE;

    if (needed > limit) {
        memset(cache->entries, 0, cache->size * sizeof(*cache->entries));
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
    tlmi_cache_entry_t entry = {.key = key, .n = (uint32_t)n};
    size_t words = is_long ? n + (size + 3) / 4 : n;

    if (size > TLMI_PRETOKEN_CACHED_BYTES || n == 0)
        return;
    if (!is_long && n <= TLMI_IDS_IN_PLACE) {
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
    if (SPARSITY * (cache->used + 1) > cache->size && cache->size < cache->max_size)
        grow_table(cache, 2 * cache->size);
    insert(cache, &entry);
}

bool tlmi_cache_entry_is_long(const tlmi_pretoken_cache_t *cache, const tlmi_cache_entry_t *entry,
                              const uint8_t *pretoken, size_t size)
{
    return memcmp(cache->store + entry->ids[0] + entry->n, pretoken, size) == 0;
}

size_t tlmi_pretoken_cache_size(const tlmi_pretoken_cache_t *cache)
{
    return cache == NULL ? 0
                         : sizeof(*cache) + cache->size * sizeof(*cache->entries) +
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
    return sizeof(*memory) + tlmi_pretoken_cache_size(memory->cache) + memory->scratch.size +
           memory->ids.capacity * sizeof(*memory->ids.ids);
}

/* Frees memory that was taken from the pool or made for it. */
static void drop_memory(tlmi_memory_pool_t *pool, tlmi_encode_memory_t *memory)
{
    atomic_fetch_sub_explicit(&pool->bytes, memory->counted, memory_order_relaxed);
    tlmi_pretoken_cache_free(memory->cache);
    tlmi_scratch_release(&memory->scratch);
    tlmi_id_list_release(&memory->ids);
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

tlmi_encode_memory_t *tlmi_memory_pool_take(tlmi_memory_pool_t *pool, size_t size)
{
    tlmi_encode_memory_t *memory = take_idle(pool);

    if (memory == NULL)
        memory = make_memory();
    if (memory != NULL)
        tlmi_pretoken_cache_expect(memory->cache, size);
    return memory;
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
    if (memory->ids.capacity > MAX_IDLE_IDS)
        tlmi_id_list_release(&memory->ids);
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
