/* How the library reports failures: record a one-line message for tlm_error_message and return its
 * code. */
#ifndef TLMI_ERROR_H
#define TLMI_ERROR_H

#include "tinylm/status.h"

/* Records the message (printf format) for this thread and returns `code`. Never allocates. */
tlm_status_t tlmi_fail(tlm_status_t code, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));

/* Number of failures that this thread has recorded. Compare two counts to see whether a call in
 * between left a message. */
uint64_t tlmi_failure_count(void);

/* Fails with TLM_ERR_IO, or with TLM_ERR_NOT_FOUND or TLM_ERR_OUT_OF_MEMORY depending on errno.
 * The message is "<action> <path>: <strerror(errno)>". */
tlm_status_t tlmi_fail_errno(const char *action, const char *path) __attribute__((cold));

/* Fails with TLM_ERR_OUT_OF_MEMORY and "out of memory: <bytes> bytes for <what>". */
tlm_status_t tlmi_fail_memory(size_t bytes, const char *what) __attribute__((cold));

/* The same where the number of bytes overflows. */
tlm_status_t tlmi_fail_overflow(const char *what) __attribute__((cold));

/* Returns from the enclosing function when a call fails. Use it where there is nothing to
 * release. */
#define TLMI_TRY(call)                                                                             \
    do {                                                                                           \
        tlm_status_t try_status_ = (call);                                                         \
        if (try_status_ != TLM_OK)                                                                 \
            return try_status_;                                                                    \
    } while (0)

/* The same, but jumps to a clean-up label. `status` must be a local variable of that name. */
#define TLMI_TRY_OR(label, call)                                                                   \
    do {                                                                                           \
        status = (call);                                                                           \
        if (status != TLM_OK)                                                                      \
            goto label;                                                                            \
    } while (0)

/* Fails with TLM_ERR_INVALID_ARGUMENT, naming the parameter, when a pointer is NULL. */
#define TLMI_REQUIRE(function, pointer)                                                            \
    do {                                                                                           \
        if ((pointer) == NULL)                                                                     \
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s is NULL", function, #pointer);      \
    } while (0)

#endif
