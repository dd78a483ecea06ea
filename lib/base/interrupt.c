/* Each thread's function that long calls ask whether to go on. */
#include "base/interrupt.h"

#include "base/error.h"
#include "base/process.h"

#define SECONDS_APART 0.05 /* between two questions: a person does not notice, nor does a call */

static _Thread_local struct {
    tlm_interrupt_callback_t callback;
    void *user;
    double next; /* when to ask again */
    int held;
} asker;

void tlm_set_interrupt(tlm_interrupt_callback_t callback, void *user)
{
    asker.callback = callback;
    asker.user = user;
    asker.next = 0.0;
}

bool tlmi_is_interruptible(void)
{
    return asker.callback != NULL && asker.held == 0;
}

tlm_status_t tlmi_check_interrupt(const char *function)
{
    if (!tlmi_is_interruptible())
        return TLM_OK;
    double now = tlmi_seconds();
    if (now < asker.next)
        return TLM_OK;
    asker.next = now + SECONDS_APART;
    if (asker.callback(asker.user) == 0)
        return TLM_OK;
    asker.next = 0.0; /* if the caller goes on nevertheless, it is asked at once */
    return tlmi_fail(TLM_ERR_CANCELLED, "%s: interrupted", function);
}

void tlmi_hold_interrupts(void)
{
    asker.held++;
}

void tlmi_release_interrupts(void)
{
    asker.held--;
}
