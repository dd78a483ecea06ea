/* What concerns the whole process: releasing at shutdown, locks across a fork, the clock. */
#ifndef TLMI_PROCESS_H
#define TLMI_PROCESS_H

#include <pthread.h>

#include "tinylm/runtime.h"

/* Makes tlm_shutdown call `release`, a function of a layer above this one; registering it again
 * has no effect. `release` must work when there is nothing to release. Thread-safe; at most
 * TLMI_MAX_RELEASES functions. */
enum { TLMI_MAX_RELEASES = 8 };
void tlmi_on_shutdown(void (*release)(void));

/* Makes every fork hold the lock, which has static storage, so that the child does not find it
 * locked forever by a thread that it does not have. Call this before each use of the lock, without
 * holding any; from the second time on it costs a comparison. Thread-safe; at most
 * TLMI_MAX_FORK_LOCKS locks. */
enum { TLMI_MAX_FORK_LOCKS = 8 };
void tlmi_hold_at_fork(pthread_mutex_t *lock);

/* Seconds on a monotonic clock. */
double tlmi_seconds(void);

#endif
