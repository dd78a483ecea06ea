/* Allocation: overflow checks, alignment, growth. */
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/platform.h"
#include "tinylm/runtime.h"

#define HUGE_PAGE  ((size_t)2 << 20)
#define HUGE_BLOCK ((size_t)2 << 20) /* from this size on, huge pages are worth requesting */

bool tlmi_mul_size(size_t *out, size_t a, size_t b)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool tlmi_add_size(size_t *out, size_t a, size_t b)
{
    return !__builtin_add_overflow(a, b, out);
}

/* Computes the bytes of a block: at least one, so that no valid block is NULL. Returns false on
 * overflow. */
static bool block_size(size_t *bytes, size_t count, size_t size)
{
    if (!tlmi_mul_size(bytes, count, size) || *bytes > (size_t)PTRDIFF_MAX)
        return false;
    if (*bytes == 0)
        *bytes = 1;
    return true;
}

static void *out_of_memory(size_t count, size_t size, const char *what)
{
    size_t bytes;
    if (block_size(&bytes, count, size))
        tlmi_fail_memory(bytes, what);
    else
        tlmi_fail_overflow(what);
    return NULL;
}

void *tlmi_alloc(size_t count, size_t size, const char *what)
{
    size_t bytes;
    void *block = block_size(&bytes, count, size) ? malloc(bytes) : NULL;
    return block != NULL ? block : out_of_memory(count, size, what);
}

void *tlmi_calloc(size_t count, size_t size, const char *what)
{
    size_t bytes;
    void *block = block_size(&bytes, count, size) ? calloc(1, bytes) : NULL;
    return block != NULL ? block : out_of_memory(count, size, what);
}

void *tlmi_realloc(void *old, size_t count, size_t size, const char *what)
{
    size_t bytes;
    void *block = block_size(&bytes, count, size) ? realloc(old, bytes) : NULL;
    return block != NULL ? block : out_of_memory(count, size, what);
}

void tlmi_free(void *block)
{
    free(block);
}

void tlm_free(void *pointer)
{
    free(pointer);
}

void *tlmi_alloc_aligned(size_t count, size_t size, const char *what)
{
    size_t bytes;
    if (!block_size(&bytes, count, size))
        return out_of_memory(count, size, what);
    size_t alignment = bytes >= HUGE_BLOCK ? HUGE_PAGE : TLMI_ALIGNMENT;
    void *block = NULL;
    if (posix_memalign(&block, alignment, bytes) != 0)
        return out_of_memory(count, size, what);
    if (bytes >= HUGE_BLOCK)
        tlmi_platform_request_huge_pages(block, bytes / HUGE_PAGE * HUGE_PAGE);
    return block;
}

bool tlmi_grow(void *items_pointer, size_t *capacity, size_t needed, size_t size, const char *what)
{
    if (needed <= *capacity)
        return true;
    size_t larger = *capacity + *capacity / 2 + 8;
    if (larger < needed)
        larger = needed;
    void *items;
    memcpy(&items, items_pointer, sizeof(items)); /* works for any pointer type */
    items = tlmi_realloc(items, larger, size, what);
    if (items == NULL)
        return false;
    memcpy(items_pointer, &items, sizeof(items));
    *capacity = larger;
    return true;
}

void *tlmi_memdup(const void *bytes, size_t size, const char *what)
{
    void *copy = tlmi_alloc(size, 1, what);
    if (copy != NULL && size > 0)
        memcpy(copy, bytes, size);
    return copy;
}

char *tlmi_strdup(const char *text, const char *what)
{
    return tlmi_memdup(text, strlen(text) + 1, what);
}
