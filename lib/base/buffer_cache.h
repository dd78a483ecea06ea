/* Memory for tensor elements. A training step makes and frees the same few hundred blocks each
 * time; fresh pages for them would cost more than many of the ops, so freed blocks are kept for
 * reuse. */
#ifndef TLMI_BUFFER_CACHE_H
#define TLMI_BUFFER_CACHE_H

#include "tinylm/export.h"

/* Returns a block of at least `bytes` (> 0) bytes, uninitialized and aligned to TLMI_ALIGNMENT.
 * *capacity receives its actual size, which the release needs. Returns NULL, with the message set,
 * when out of memory. Thread-safe. */
void *tlmi_buffer_acquire(size_t *capacity, size_t bytes);

/* Gives a block back. The cache keeps blocks while live and kept bytes together stay below the
 * larger of two limits: 1.5 times the peak of live bytes, and that peak plus 32 MiB. Blocks of
 * one phase (gradients, say) must outlast the peak of another; otherwise every step would
 * allocate them anew. When the last live block is released, all memory returns to the system.
 * Thread-safe. */
void tlmi_buffer_release(void *block, size_t capacity);

/* The same for data other than elements, such as tensor headers and lists of ids: blocks of
 * `count` items of `size` bytes. A training step also allocates and frees these on every
 * iteration. Thread-safe. */
void *tlmi_cached_alloc(size_t count, size_t size, const char *what) __attribute__((malloc));
void *tlmi_cached_calloc(size_t count, size_t size, const char *what) __attribute__((malloc));
void tlmi_cached_free(void *block);

/* Returns the kept blocks to the system. Thread-safe. */
void tlmi_buffer_cache_clear(void);

typedef struct tlmi_buffer_stats {
    size_t live_bytes, kept_bytes, peak_live_bytes;
    uint64_t fresh_blocks; /* blocks requested from the system so far */
} tlmi_buffer_stats_t;

tlmi_buffer_stats_t tlmi_buffer_cache_stats(void);

/* The cache's bookkeeping, separate from its memory. Zero-initialized; not thread-safe. */
enum { TLMI_BUFFER_CLASSES = 456 };

typedef struct tlmi_memory_tracker {
    size_t kept[TLMI_BUFFER_CLASSES]; /* number of kept blocks by size class */
    tlmi_buffer_stats_t stats;
    size_t peak_held_bytes; /* peak of live and kept bytes together */
    size_t lasting_bytes;   /* from tlmi_lasting_alloc, which does not use the cache */
} tlmi_memory_tracker_t;

/* ---- Dry runs --------------------------------------------------------------------------- */

/* Between begin and end, this thread's blocks are recorded in the tracker under the cache's rules
 * but have no memory: code runs unchanged, and the tracker shows how much memory it would hold.
 * Nothing may read or write elements during a dry run, so tlmi_parallel_for and similar
 * functions run nothing on this thread, and loops outside them check tlmi_dry_run. Blocks from
 * tlmi_cached_calloc (structs) and blocks of up to TLMI_DRY_MEMORY bytes (scalars) have memory
 * as usual. All blocks of a dry run must be released before it ends. Other threads are not
 * affected. */
enum { TLMI_DRY_MEMORY = 64 };

/* Memory that does not return to the cache, such as the state of an optimizer, which lives as long
 * as the optimizer. It comes from tlmi_alloc_aligned; a dry run only counts it. Free it with the
 * count and size of the allocation. Thread-safe. */
void *tlmi_lasting_alloc(size_t count, size_t size, const char *what) __attribute__((malloc));
void tlmi_lasting_free(void *block, size_t count, size_t size);

void tlmi_dry_run_begin(tlmi_memory_tracker_t *tracker);
void tlmi_dry_run_end(void);

/* Whether this thread is in a dry run. */
bool tlmi_dry_run(void);

/* The capacity that a fresh block for `bytes` bytes would have. */
size_t tlmi_buffer_capacity(size_t bytes);

#endif
