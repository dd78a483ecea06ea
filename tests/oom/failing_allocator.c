/* malloc and its kin over glibc's own, which it also exports as __libc_*. A definition in the program
 * comes before the C library's, for shared libraries too.
 *
 * Oniguruma's compiler (6.9.8) damages the heap when memory runs out in it. The library asks for memory
 * before it calls it, and that request can fail here; its own do not. */
#include "failing_allocator.h"

#include <dlfcn.h>
#include <errno.h>
#include <oniguruma.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *block);

static _Thread_local bool exempt;
static atomic_bool armed, fails_for_good, has_failed;
static atomic_long countdown, live, requests, large;

void fail_allocation(long nth, bool for_good)
{
    atomic_store(&countdown, nth);
    atomic_store(&fails_for_good, for_good);
    atomic_store(&has_failed, false);
    atomic_store(&armed, true);
}

bool stop_failing(void)
{
    atomic_store(&armed, false);
    return atomic_load(&has_failed);
}

long live_blocks(void)
{
    return atomic_load(&live);
}

long all_requests(void)
{
    return atomic_load(&requests);
}

long large_requests(void)
{
    return atomic_load(&large);
}

/* Whether this request is one to refuse. */
static bool refused(size_t size)
{
    atomic_fetch_add(&requests, 1);
    if (size >= LARGE_REQUEST)
        atomic_fetch_add(&large, 1);
    if (!atomic_load(&armed) || exempt)
        return false;
    long left = atomic_fetch_sub(&countdown, 1);
    if (left > 1 || (left < 1 && !atomic_load(&fails_for_good)))
        return false;
    atomic_store(&has_failed, true);
    errno = ENOMEM;
    return true;
}

static void *counted(void *block)
{
    if (block != NULL)
        atomic_fetch_add(&live, 1);
    return block;
}

void *malloc(size_t size)
{
    return refused(size) ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return refused(count * size) ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *old, size_t size)
{
    if (refused(size))
        return NULL;
    void *block = __libc_realloc(old, size);
    if (old == NULL)
        return counted(block);
    if (block == NULL && size == 0) /* glibc frees the block then */
        atomic_fetch_sub(&live, 1);
    return block;
}

void *memalign(size_t alignment, size_t size);

void *memalign(size_t alignment, size_t size)
{
    return refused(size) ? NULL : counted(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *block = memalign(alignment, size);
    if (block == NULL)
        return ENOMEM;
    *out = block;
    return 0;
}

void free(void *block)
{
    if (block != NULL)
        atomic_fetch_sub(&live, 1);
    __libc_free(block);
}

void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset)
{
    if (refused(size))
        return MAP_FAILED;
    void *mapping = (void *)syscall(SYS_mmap, address, size, protection, flags, file, offset);
    return mapping == MAP_FAILED ? mapping : counted(mapping);
}

int munmap(void *address, size_t size)
{
    atomic_fetch_sub(&live, 1);
    return (int)syscall(SYS_munmap, address, size);
}

/* ---- What is exempt ----------------------------------------------------------------------------- */

int onig_new(OnigRegex *out, const OnigUChar *pattern, const OnigUChar *end, OnigOptionType options,
             OnigEncoding encoding, OnigSyntaxType *syntax, OnigErrorInfo *info)
{
    typedef int function_t(OnigRegex *, const OnigUChar *, const OnigUChar *, OnigOptionType,
                           OnigEncoding, OnigSyntaxType *, OnigErrorInfo *);
    function_t *real;

    *(void **)&real = dlsym(RTLD_NEXT, "onig_new");
    exempt = true;
    int code = real(out, pattern, end, options, encoding, syntax, info);
    exempt = false;
    return code;
}
