/* Counts the bytes that the program holds: the linker's --wrap puts these functions before malloc and its
 * kin (link_args: count_memory_args of tests/meson.build). */
#ifndef TEST_COUNT_MEMORY_H
#define TEST_COUNT_MEMORY_H

#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>

static atomic_llong memory_held, memory_most_held; /* bytes */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
int __real_posix_memalign(void **out, size_t alignment, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size);
void __wrap_free(void *block);

/* One thread allocates at a time, so the most is exact enough. */
static void *count_block(void *block)
{
    long long size = (long long)malloc_usable_size(block);
    long long now = atomic_fetch_add(&memory_held, size) + size;

    if (now > atomic_load(&memory_most_held))
        atomic_store(&memory_most_held, now);
    return block;
}

static void uncount_block(void *block)
{
    atomic_fetch_sub(&memory_held, (long long)malloc_usable_size(block));
}

void *__wrap_malloc(size_t size)
{
    return count_block(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return count_block(__real_calloc(count, size));
}

void *__wrap_realloc(void *old, size_t size)
{
    uncount_block(old);
    return count_block(__real_realloc(old, size));
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t size)
{
    int result = __real_posix_memalign(out, alignment, size);

    if (result == 0)
        count_block(*out);
    return result;
}

void __wrap_free(void *block)
{
    uncount_block(block);
    __real_free(block);
}

/* Starts counting the most held anew; returns what is held now. */
static inline long long start_memory_count(void)
{
    long long held = atomic_load(&memory_held);

    atomic_store(&memory_most_held, held);
    return held;
}

/* The most held since, beyond what was held at the start. */
static inline long long most_memory_since(long long start)
{
    return atomic_load(&memory_most_held) - start;
}

#endif
