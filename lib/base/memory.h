/* Allocation with overflow checks. Every allocation of the library goes through here. On failure
 * these functions return NULL and set tlm_error_message; the caller returns
 * TLM_ERR_OUT_OF_MEMORY. */
#ifndef TLMI_MEMORY_H
#define TLMI_MEMORY_H

#include "tinylm/export.h"

#define TLMI_ALIGNMENT 64 /* a cache line, and the widest vector register */

/* Allocates count * size bytes, uninitialized; a zero product gives a valid one-byte block. */
void *tlmi_alloc(size_t count, size_t size, const char *what) __attribute__((malloc));
void *tlmi_calloc(size_t count, size_t size, const char *what) __attribute__((malloc));
/* On failure the old block is untouched. */
void *tlmi_realloc(void *old, size_t count, size_t size, const char *what);
void tlmi_free(void *block);

/* Aligned to TLMI_ALIGNMENT; free with tlmi_free. Blocks of 4 MiB and more request huge pages. */
void *tlmi_alloc_aligned(size_t count, size_t size, const char *what) __attribute__((malloc));

/* Grows *items (capacity *capacity, `size` bytes each) geometrically to hold `needed` items.
 * Returns false on failure and leaves the array untouched. */
bool tlmi_grow(void *items_pointer, size_t *capacity, size_t needed, size_t size, const char *what);

/* Compute a * b and a + b; return false on overflow. */
bool tlmi_mul_size(size_t *out, size_t a, size_t b);
bool tlmi_add_size(size_t *out, size_t a, size_t b);

char *tlmi_strdup(const char *text, const char *what);
void *tlmi_memdup(const void *bytes, size_t size, const char *what);

#endif
