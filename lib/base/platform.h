/* What differs between operating systems, in one place: Linux with glibc or musl, macOS, FreeBSD.
 * docs/platforms.md says which of them are tested. */
#ifndef TLMI_PLATFORM_H
#define TLMI_PLATFORM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* meson refuses other machines in one line; this is for builds without it. */
#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "libtinylm needs a little-endian machine: files are mapped and written as they lie in memory"
#endif
_Static_assert(sizeof(void *) == 8 && sizeof(size_t) == 8, "libtinylm needs a 64-bit machine");

/* Number of CPUs that the process may use, at least 1: of its affinity mask and its cgroup's quota on
 * Linux, else those that are on line. */
int32_t tlmi_platform_cpus(void);

/* Whether a 64-bit ARM CPU has a feature: bit `bit` of the word `word` (0 or 1) in which Linux and
 * FreeBSD report features, or what macOS calls hw.optional.<name>; NULL: every CPU that it runs on. */
bool tlmi_platform_has_arm_feature(int word, int bit, const char *name);

/* Starts a thread that leaves all signals to the program's own threads. It has the system's usual stack,
 * but never less than 2 MiB, as musl (128 KiB) and macOS (512 KiB) would give: functions of the program,
 * such as those of its communicator, run on it. Returns whether it runs. */
bool tlmi_platform_start_thread(pthread_t *thread, void *(*run)(void *), void *argument);

/* Advice that costs nothing but speed where it is not taken. The block or range begins on a page: ask
 * for huge pages; let go of pages of a mapped file, which are read again when they are used. */
void tlmi_platform_request_huge_pages(void *block, size_t bytes);
void tlmi_platform_leave_pages(void *pages, size_t bytes);

/* Writes a file through to its medium. Returns 0, or -1 with errno. */
int tlmi_platform_sync(int file);

/* The text of an errno: in English whatever the locale, if the C library can do that. It may be in the
 * buffer. */
const char *tlmi_platform_error_text(char *buffer, size_t size, int error);

/* strtod in the C locale. */
double tlmi_platform_parse_number(const char *text);

#endif
