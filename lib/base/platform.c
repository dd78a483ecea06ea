/* What differs between operating systems. */
#include "base/platform.h"

#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__) || defined(__FreeBSD__)
#include <xlocale.h>
#endif
#if defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

/* ---- CPUs ------------------------------------------------------------------------------- */

#if defined(__linux__)
/* Number of CPUs that the cgroup's quota allows (cgroup v2 cpu.max: "quota period"), or 0 if
 * unlimited. */
static long long quota_cpus(void)
{
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (file == NULL)
        return 0;
    long long quota = 0, period = 0;
    int fields = fscanf(file, "%lld %lld", &quota, &period);
    fclose(file);
    if (fields != 2 || quota <= 0 || period <= 0)
        return 0;
    return quota / period + (quota % period > 0);
}

int32_t tlmi_platform_cpus(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int32_t count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    long long quota = quota_cpus();
    if (quota > 0 && quota < count)
        count = (int32_t)quota;
    return count > 0 ? count : 1;
}
#else
int32_t tlmi_platform_cpus(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count < INT32_MAX ? (int32_t)count : INT32_MAX;
}
#endif

bool tlmi_platform_has_arm_feature(int word, int bit, const char *name)
{
#if defined(__APPLE__)
    char key[64];
    int value = 0;
    size_t size = sizeof(value);

    (void)word, (void)bit;
    if (name == NULL)
        return true;
    snprintf(key, sizeof(key), "hw.optional.%s", name);
    return sysctlbyname(key, &value, &size, NULL, 0) == 0 && value != 0;
#elif defined(__aarch64__) && defined(__FreeBSD__)
    unsigned long words = 0;

    (void)name;
    return elf_aux_info(word == 0 ? AT_HWCAP : AT_HWCAP2, &words, sizeof(words)) == 0 &&
           (words >> bit & 1) != 0;
#elif defined(__aarch64__)
    (void)name;
    return (getauxval(word == 0 ? AT_HWCAP : AT_HWCAP2) >> bit & 1) != 0;
#else
    (void)word, (void)bit, (void)name;
    return false;
#endif
}

/* ---- Threads ---------------------------------------------------------------------------- */

#define LEAST_STACK ((size_t)2 << 20)

bool tlmi_platform_start_thread(pthread_t *thread, void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    sigset_t all, old;
    size_t stack;

    if (pthread_attr_init(&attributes) != 0)
        return false;
    if (pthread_attr_getstacksize(&attributes, &stack) != 0 || stack < LEAST_STACK)
        (void)pthread_attr_setstacksize(&attributes, LEAST_STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    const bool runs = pthread_create(thread, &attributes, run, argument) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    return runs;
}

/* ---- Memory and files ------------------------------------------------------------------- */

void tlmi_platform_request_huge_pages(void *block, size_t bytes)
{
#if defined(MADV_HUGEPAGE)
    (void)madvise(block, bytes, MADV_HUGEPAGE);
#else
    (void)block, (void)bytes;
#endif
}

void tlmi_platform_leave_pages(void *pages, size_t bytes)
{
    (void)madvise(pages, bytes, MADV_DONTNEED);
}

/* On macOS, fsync leaves the data in the drive's own memory. Not every file system there has the
 * other. */
int tlmi_platform_sync(int file)
{
#if defined(F_FULLFSYNC)
    if (fcntl(file, F_FULLFSYNC) == 0)
        return 0;
#endif
    return fsync(file);
}

/* ---- The C library ---------------------------------------------------------------------- */

#if defined(__GLIBC__) && defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 32)
#define HAVE_ENGLISH
#endif
#endif

const char *tlmi_platform_error_text(char *buffer, size_t size, int error)
{
#if defined(HAVE_ENGLISH)
    const char *text = strerrordesc_np(error);

    if (text != NULL)
        return text;
    snprintf(buffer, size, "error %d", error);
    return buffer;
#elif defined(__GLIBC__)
    return strerror_r(error, buffer, size); /* GNU's form, since _GNU_SOURCE is defined */
#else
    return strerror_r(error, buffer, size) == 0 ? buffer : "unknown error";
#endif
}

double tlmi_platform_parse_number(const char *text)
{
#if defined(__linux__)
    /* The C library owns this locale: there is nothing to free, and nothing can fail. */
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
#else
    locale_t c_locale = NULL;               /* stands for it */
#endif
    return strtod_l(text, NULL, c_locale);
}
