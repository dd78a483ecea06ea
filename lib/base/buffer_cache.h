/* Memory for tensor elements. A training step makes and frees the same few hundred blocks each
 * time; fresh pages for them would cost more than many of the ops, so freed blocks are kept for
 * reuse. */
#ifndef TLMI_BUFFER_CACHE_H
#define TLMI_BUFFER_CACHE_H

#include "tinylm/export.h"

/* A block of at least `bytes` (> 0) bytes, uninitialized, aligned to TLMI_ALIGNMENT; *capacity gets
 * its real size, which the release needs. NULL, with the message set, when memory is out.
 * Thread-safe. */
void *tlmi_buffer_acquire(size_t *capacity, size_t bytes);

/* Gives a block back. Blocks are kept while live and kept bytes together stay below 1.5 times the
 * most that was ever live, or that and 32 MiB: blocks of one phase (gradients, say) must outlast the peak of another,
 * or every step would fetch them anew. When the last live block goes, all memory returns to the
 * system. Thread-safe. */
void tlmi_buffer_release(void *block, size_t capacity);

/* The same for what is not elements, such as the heads of tensors and lists of ids: blocks of count *
 * size bytes, from which and back to which a train step also goes in each round. Thread-safe. */
void *tlmi_cached_alloc(size_t count, size_t size, const char *what) __attribute__((malloc));
void *tlmi_cached_calloc(size_t count, size_t size, const char *what) __attribute__((malloc));
void tlmi_cached_free(void *block);

/* Returns the kept blocks to the system. Thread-safe. */
void tlmi_buffer_cache_clear(void);

typedef struct tlmi_buffer_stats {
    size_t live_bytes, kept_bytes, peak_live_bytes;
    uint64_t fresh_blocks; /* blocks asked of the system so far */
} tlmi_buffer_stats_t;

tlmi_buffer_stats_t tlmi_buffer_cache_stats(void);

/* The cache's bookkeeping, apart from its memory. Zero-initialized; not thread-safe. */
enum { TLMI_BUFFER_CLASSES = 456 };

typedef struct tlmi_buffer_book {
    size_t kept[TLMI_BUFFER_CLASSES]; /* blocks, by size class */
    tlmi_buffer_stats_t stats;
    size_t peak_held_bytes; /* most that was live and kept together */
} tlmi_buffer_book_t;

/* ---- Dry runs --------------------------------------------------------------------------- */

/* Between begin and end this thread's blocks are entered in the book, by the cache's rules, and have no
 * memory: code runs as it is and the book tells what it would hold. Nothing may read or write elements then,
 * so tlmi_parallel_for and its like run nothing on this thread, and loops outside of them ask tlmi_dry_run. Blocks
 * of tlmi_cached_calloc (structs), and those of up to TLMI_DRY_MEMORY bytes (scalars), have memory as ever. All
 * blocks of a dry run must be given back before its end. Other threads do not notice. */
enum { TLMI_DRY_MEMORY = 64 };

void tlmi_dry_run_begin(tlmi_buffer_book_t *book);
void tlmi_dry_run_end(void);

/* Whether this thread is in a dry run. */
bool tlmi_dry_run(void);

/* The capacity that a fresh block for so many bytes would have. */
size_t tlmi_buffer_capacity(size_t bytes);

#endif
