/* Long calls ask the caller now and then whether to go on (tlm_set_interrupt). */
#ifndef TLMI_INTERRUPT_H
#define TLMI_INTERRUPT_H

#include "tinylm/runtime.h"

/* Asks, if the thread has a function for that, no more than twenty times per second. Call it between
 * pieces of work, on the thread that made the call, where a failure leaves everything in order.
 * TLM_ERR_CANCELLED, with `function` in the message, if the call is to end. */
tlm_status_t tlmi_check_interrupt(const char *function);

/* Whether anybody would be asked: work that could be done in one go is then cut. */
bool tlmi_is_interruptible(void);

/* Nobody is asked on this thread between these two, which may be nested: for work that must be done
 * whole, as a step of training. */
void tlmi_hold_interrupts(void);
void tlmi_release_interrupts(void);

#endif
