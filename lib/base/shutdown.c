/* Releases what is held for the whole process: threads, cached memory, and what higher layers
 * have registered. */
#include "base/shutdown.h"

#include <stdatomic.h>
#include <stddef.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/thread_pool.h"

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
