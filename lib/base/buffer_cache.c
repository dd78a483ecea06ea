/* The cache of tensor memory: free lists by size class under one lock.
 *
 * Classes are eighths of powers of two, so a fresh block is at most 1/8 larger than requested. A
 * large request takes the smallest kept block of up to twice its size: memory that one part of a
 * training step frees can then serve the next part, whose blocks have other sizes. The list of a
 * class is threaded through the free blocks themselves, so keeping a block allocates nothing and
 * cannot fail. */
#include <pthread.h>
#include <string.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/process.h"

#if defined(__SANITIZE_ADDRESS__) /* GCC */
#define KEEP_BLOCKS 0             /* lets the sanitizer see every use after free */
#elif defined(__has_feature)      /* Clang */
#define KEEP_BLOCKS (!__has_feature(address_sanitizer))
#else
#define KEEP_BLOCKS 1
#endif

enum {
    MIN_LOG2 = 6, /* smallest class: 64 bytes */
    NUM_CLASSES = TLMI_BUFFER_CLASSES,
    LARGE_CLASS = (16 - MIN_LOG2) * 8, /* class of 64 KiB; below it, a close fit matters more */
    SMALL_TO_TRY = 3,
    CLASSES_TO_TRY = 9,
    LEAST_SPARE = 32 << 20 /* bytes kept beyond the peak, unless half the peak is more */
};

typedef struct free_block {
    struct free_block *next;
} free_block_t;

static struct {
    pthread_mutex_t lock;
    free_block_t *lists[NUM_CLASSES];
    tlmi_memory_tracker_t tracker;
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void lock_cache(void)
{
    tlmi_hold_at_fork(&cache.lock);
    pthread_mutex_lock(&cache.lock);
}

static void unlock_cache(void)
{
    pthread_mutex_unlock(&cache.lock);
}

/* Returns the number and size of the smallest class that holds `bytes`; size 0 if there is none. */
static int size_class(size_t *size, size_t bytes)
{
    if (bytes <= (size_t)1 << MIN_LOG2) {
        *size = (size_t)1 << MIN_LOG2;
        return 0;
    }
    /* 2^log2 < bytes <= 2^(log2 + 1), divided into eight steps */
    int log2 = 63 - __builtin_clzll(bytes - 1);
    if (log2 >= 62) {
        *size = 0;
        return 0;
    }
    size_t base = (size_t)1 << log2;
    size_t step = base >> 3;
    size_t eighths = (bytes - base + step - 1) / step;
    *size = base + eighths * step;
    return (log2 - MIN_LOG2) * 8 + (int)eighths;
}

static size_t class_size(int index)
{
    size_t base = (size_t)1 << (MIN_LOG2 + index / 8);
    return base + (size_t)(index % 8) * (base >> 3);
}

/* ---- The tracker: bookkeeping without memory -------------------------------------------- */

/* Takes a kept block for a request of class `index` out of the tracker and returns its class, or -1
 * if there is none. */
static int take_kept(tlmi_memory_tracker_t *tracker, size_t *capacity, int index)
{
    int end = index + (index < LARGE_CLASS ? SMALL_TO_TRY : CLASSES_TO_TRY);
    for (int i = index; i < NUM_CLASSES && i < end; i++)
        if (tracker->kept[i] > 0) {
            tracker->kept[i]--;
            *capacity = class_size(i);
            tracker->stats.kept_bytes -= *capacity;
            return i;
        }
    return -1;
}

static void count_live(tlmi_memory_tracker_t *tracker, size_t capacity)
{
    tracker->stats.live_bytes += capacity;
    if (tracker->stats.live_bytes > tracker->stats.peak_live_bytes)
        tracker->stats.peak_live_bytes = tracker->stats.live_bytes;
}

/* Returns the class in which a released block is kept, or -1 if it goes back to the system. */
static int put_back(tlmi_memory_tracker_t *tracker, size_t capacity)
{
    tlmi_buffer_stats_t *stats = &tracker->stats;
    stats->live_bytes -= capacity;
    size_t spare = stats->peak_live_bytes / 2;
    size_t limit = stats->peak_live_bytes + (spare > LEAST_SPARE ? spare : LEAST_SPARE);
    bool fits = stats->kept_bytes + stats->live_bytes + capacity <= limit;
    if (!KEEP_BLOCKS || !fits || stats->live_bytes == 0)
        return -1;
    size_t size;
    int index = size_class(&size, capacity);
    tracker->kept[index]++;
    stats->kept_bytes += capacity;
    return index;
}

static void forget_kept(tlmi_memory_tracker_t *tracker)
{
    memset(tracker->kept, 0, sizeof(tracker->kept));
    tracker->stats.kept_bytes = 0;
    tracker->stats.peak_live_bytes = tracker->stats.live_bytes;
}

/* Returns the capacity of the block that a request gets. */
static size_t tracker_take(tlmi_memory_tracker_t *tracker, size_t bytes)
{
    size_t size;
    int index = size_class(&size, bytes);

    if (!KEEP_BLOCKS)
        size = bytes;
    if (take_kept(tracker, &size, index) < 0)
        tracker->stats.fresh_blocks++;
    count_live(tracker, size);
    if (tracker->stats.live_bytes + tracker->stats.kept_bytes > tracker->peak_held_bytes)
        tracker->peak_held_bytes = tracker->stats.live_bytes + tracker->stats.kept_bytes;
    return size;
}

static void tracker_give(tlmi_memory_tracker_t *tracker, size_t capacity)
{
    put_back(tracker, capacity);
    if (tracker->stats.live_bytes == 0)
        forget_kept(tracker);
}

size_t tlmi_buffer_capacity(size_t bytes)
{
    size_t size;

    size_class(&size, bytes);
    return KEEP_BLOCKS ? size : bytes;
}

/* ---- Dry runs --------------------------------------------------------------------------- */

static _Thread_local tlmi_memory_tracker_t *dry_tracker;

void tlmi_dry_run_begin(tlmi_memory_tracker_t *tracker)
{
    dry_tracker = tracker;
}

void tlmi_dry_run_end(void)
{
    dry_tracker = NULL;
}

bool tlmi_dry_run(void)
{
    return dry_tracker != NULL;
}

/* Returns a block with `memory` bytes of actual memory (at least one, so that it has an
 * address). */
static void *acquire_dry(size_t *capacity, size_t bytes, size_t memory, const char *what)
{
    void *block = tlmi_alloc_aligned(memory == 0 ? 1 : memory, 1, what);

    if (block != NULL)
        *capacity = tracker_take(dry_tracker, bytes);
    return block;
}

void *tlmi_lasting_alloc(size_t count, size_t size, const char *what)
{
    size_t bytes;

    if (dry_tracker == NULL || !tlmi_mul_size(&bytes, count, size))
        return tlmi_alloc_aligned(count, size, what);
    void *block = tlmi_alloc(1, 1, what);
    if (block != NULL)
        dry_tracker->lasting_bytes += bytes;
    return block;
}

void tlmi_lasting_free(void *block, size_t count, size_t size)
{
    if (block != NULL && dry_tracker != NULL)
        dry_tracker->lasting_bytes -= count * size;
    tlmi_free(block);
}

/* ---- The blocks -------------------------------------------------------------------------- */

/* Unlinks all kept blocks. Call it with the lock held, then free the list without the lock. */
static free_block_t *take_all(void)
{
    free_block_t *all = NULL;
    for (int i = 0; i < NUM_CLASSES; i++) {
        while (cache.lists[i] != NULL) {
            free_block_t *block = cache.lists[i];
            cache.lists[i] = block->next;
            block->next = all;
            all = block;
        }
    }
    forget_kept(&cache.tracker);
    return all;
}

static void free_all(free_block_t *list)
{
    while (list != NULL) {
        free_block_t *next = list->next;
        tlmi_free(list);
        list = next;
    }
}

/* In a dry run, only `memory` bytes of the block have actual memory. */
static void *acquire(size_t *capacity, size_t bytes, size_t memory, const char *what)
{
    size_t size;
    int index = size_class(&size, bytes);
    if (size == 0) {
        tlmi_fail_overflow(what);
        return NULL;
    }
    if (dry_tracker != NULL)
        return acquire_dry(capacity, bytes, memory, what);
    if (!KEEP_BLOCKS)
        size = bytes;

    lock_cache();
    free_block_t *block = NULL;
    int from = take_kept(&cache.tracker, &size, index);
    if (from >= 0) {
        block = cache.lists[from];
        cache.lists[from] = block->next;
        count_live(&cache.tracker, size);
    }
    unlock_cache();

    if (block == NULL) {
        block = tlmi_alloc_aligned(size, 1, what);
        if (block == NULL && tlmi_buffer_cache_stats().kept_bytes > 0) {
            tlmi_buffer_cache_clear(); /* kept blocks of other sizes may hold the memory we need */
            block = tlmi_alloc_aligned(size, 1, what);
        }
        if (block == NULL)
            return NULL;
        lock_cache();
        count_live(&cache.tracker, size);
        cache.tracker.stats.fresh_blocks++;
        unlock_cache();
    }
    *capacity = size;
    return block;
}

void *tlmi_buffer_acquire(size_t *capacity, size_t bytes)
{
    return acquire(capacity, bytes, bytes <= TLMI_DRY_MEMORY ? bytes : 0, "tensor elements");
}

void tlmi_buffer_release(void *block, size_t capacity)
{
    if (block == NULL)
        return;
    if (dry_tracker != NULL) {
        tracker_give(dry_tracker, capacity);
        tlmi_free(block);
        return;
    }
    free_block_t *unwanted = NULL;
    lock_cache();
    int to = put_back(&cache.tracker, capacity);
    if (to >= 0) {
        free_block_t *kept = block;
        kept->next = cache.lists[to];
        cache.lists[to] = kept;
        block = NULL;
    } else if (cache.tracker.stats.live_bytes == 0) {
        unwanted = take_all();
    }
    unlock_cache();
    free_all(unwanted);
    tlmi_free(block);
}

/* ---- Blocks that know their size -------------------------------------------------------- */

/* The header of such a block. It takes a full cache line to keep the alignment. */
typedef union header {
    size_t capacity;
    char line[TLMI_ALIGNMENT];
} header_t;

static void *acquire_known(size_t count, size_t size, bool has_memory, const char *what)
{
    size_t bytes;
    if (!tlmi_mul_size(&bytes, count, size) || !tlmi_add_size(&bytes, bytes, sizeof(header_t)))
        bytes = SIZE_MAX;
    has_memory = has_memory || bytes <= sizeof(header_t) + TLMI_DRY_MEMORY;
    size_t capacity;
    header_t *header = acquire(&capacity, bytes, has_memory ? bytes : sizeof(header_t), what);
    if (header == NULL)
        return NULL;
    header->capacity = capacity;
    return header + 1;
}

void *tlmi_cached_alloc(size_t count, size_t size, const char *what)
{
    return acquire_known(count, size, false, what);
}

void *tlmi_cached_calloc(size_t count, size_t size, const char *what)
{
    void *block = acquire_known(count, size, true, what);
    if (block != NULL)
        memset(block, 0, count * size);
    return block;
}

void tlmi_cached_free(void *block)
{
    if (block != NULL)
        tlmi_buffer_release((header_t *)block - 1, ((header_t *)block - 1)->capacity);
}

/* ---- The cache as a whole --------------------------------------------------------------- */

void tlmi_buffer_cache_clear(void)
{
    lock_cache();
    free_block_t *unwanted = take_all();
    unlock_cache();
    free_all(unwanted);
}

tlmi_buffer_stats_t tlmi_buffer_cache_stats(void)
{
    lock_cache();
    tlmi_buffer_stats_t stats = cache.tracker.stats;
    unlock_cache();
    return stats;
}
