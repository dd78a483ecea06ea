/* Releases what is held for the whole process: threads, cached memory, and what higher layers
 * have registered. Keeps locks usable in the child of a fork. */
#include "base/process.h"

#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/thread_pool.h"

/* ---- Shutdown --------------------------------------------------------------------------- */

typedef void (*release_fn)(void);
static _Atomic(release_fn) releases[TLMI_MAX_RELEASES];

void tlmi_on_shutdown(release_fn release)
{
    for (int i = 0; i < TLMI_MAX_RELEASES; i++) {
        release_fn there = NULL;
        if (atomic_compare_exchange_strong(&releases[i], &there, release) || there == release)
            return;
    }
}

tlm_status_t tlm_shutdown(void)
{
    TLMI_TRY(tlmi_end_threads());
    for (int i = 0; i < TLMI_MAX_RELEASES; i++) {
        release_fn release = atomic_load(&releases[i]);
        if (release != NULL)
            release();
    }
    tlmi_buffer_cache_clear();
    return TLM_OK;
}

/* ---- Forks ------------------------------------------------------------------------------ */

static _Atomic(pthread_mutex_t *) fork_locks[TLMI_MAX_FORK_LOCKS];
static pthread_mutex_t registering = PTHREAD_MUTEX_INITIALIZER; /* held over a fork too */

static void before_fork(void)
{
    pthread_mutex_lock(&registering);
    for (int i = 0; i < TLMI_MAX_FORK_LOCKS && fork_locks[i] != NULL; i++)
        pthread_mutex_lock(fork_locks[i]);
}

static void after_fork(void)
{
    for (int i = 0; i < TLMI_MAX_FORK_LOCKS && fork_locks[i] != NULL; i++)
        pthread_mutex_unlock(fork_locks[i]);
    pthread_mutex_unlock(&registering);
}

/* Returns the place of the lock, or the first free one. */
static int find_lock(const pthread_mutex_t *lock)
{
    int i = 0;

    while (i < TLMI_MAX_FORK_LOCKS && fork_locks[i] != NULL && fork_locks[i] != lock)
        i++;
    return i;
}

static void register_lock(pthread_mutex_t *lock)
{
    pthread_mutex_lock(&registering);
    int place = find_lock(lock);
    if (place == 0 && fork_locks[0] == NULL)
        pthread_atfork(before_fork, after_fork, after_fork);
    if (place < TLMI_MAX_FORK_LOCKS)
        fork_locks[place] = lock;
    pthread_mutex_unlock(&registering);
}

void tlmi_hold_at_fork(pthread_mutex_t *lock)
{
    int place = find_lock(lock);

    if (place < TLMI_MAX_FORK_LOCKS && fork_locks[place] == NULL)
        register_lock(lock);
}

/* ---- The clock -------------------------------------------------------------------------- */

double tlmi_seconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}
