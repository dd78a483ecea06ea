/* Releasing what is held for the whole process. */
#ifndef TLMI_SHUTDOWN_H
#define TLMI_SHUTDOWN_H

#include "tinylm/runtime.h"

/* Makes tlm_shutdown call `release`, a function of a layer above this one; registering it again
 * has no effect. `release` must work when there is nothing to release. Thread-safe; at most
 * TLMI_MAX_RELEASES functions. */
enum { TLMI_MAX_RELEASES = 8 };
void tlmi_on_shutdown(void (*release)(void));

#endif
