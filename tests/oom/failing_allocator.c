/* malloc and its kin over the C library's own: glibc also exports them as __libc_*, and musl's can be
 * looked up, for which it allocates nothing. A definition in the program comes before the C library's, for
 * shared libraries too.
 *
 * Oniguruma's compiler (6.9.8) damages the heap when memory runs out in it. The library asks for memory
 * before it calls it, and that request can fail here; its own do not: the linker's --wrap puts a function
 * before it, whether Oniguruma is a shared library or a static one. */
#include "failing_allocator.h"

#include <dlfcn.h>
#include <errno.h>
#include <oniguruma.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __GLIBC__
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *block);
#else
/* Sets `next` to a function of the C library: the next one of this name after the program's. */
#define FIND(next, name)                                                                           \
    do {                                                                                           \
        if ((next) == NULL)                                                                        \
            *(void **)&(next) = dlsym(RTLD_NEXT, name);                                            \
    } while (0)

static void *__libc_malloc(size_t size)
{
    static void *(*next)(size_t);

    FIND(next, "malloc");
    return next(size);
}

/* musl's calls malloc, which would be the program's. */
static void *__libc_calloc(size_t count, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    void *block = __libc_malloc(bytes);
    return block == NULL ? NULL : memset(block, 0, bytes);
}

static void *__libc_realloc(void *old, size_t size)
{
    static void *(*next)(void *, size_t);

    FIND(next, "realloc");
    return next(old, size);
}

static void *__libc_memalign(size_t alignment, size_t size)
{
    static void *(*next)(size_t, size_t);

    FIND(next, "aligned_alloc");
    return next(alignment, size);
}

static void __libc_free(void *block)
{
    static void (*next)(void *);

    FIND(next, "free");
    next(block);
}
#endif

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

int __real_onig_new(OnigRegex *out, const OnigUChar *pattern, const OnigUChar *end,
                    OnigOptionType options, OnigEncoding encoding, OnigSyntaxType *syntax,
                    OnigErrorInfo *info);
int __wrap_onig_new(OnigRegex *out, const OnigUChar *pattern, const OnigUChar *end,
                    OnigOptionType options, OnigEncoding encoding, OnigSyntaxType *syntax,
                    OnigErrorInfo *info);

int __wrap_onig_new(OnigRegex *out, const OnigUChar *pattern, const OnigUChar *end,
                    OnigOptionType options, OnigEncoding encoding, OnigSyntaxType *syntax,
                    OnigErrorInfo *info)
{
    exempt = true;
    int code = __real_onig_new(out, pattern, end, options, encoding, syntax, info);
    exempt = false;
    return code;
}
