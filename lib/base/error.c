/* Status names and the thread-local error message. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/platform.h"
#include "tinylm/version.h"

/* One line; longer messages are truncated. The buffer is fixed so that reporting a failure cannot
 * fail. */
static _Thread_local char message[512];
static _Thread_local uint64_t failures;

/* Keeps a message to one printable line, whatever names and bytes went into it. */
static void clean_message(void)
{
    for (unsigned char *c = (unsigned char *)message; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
}

tlm_status_t tlmi_fail(tlm_status_t code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    clean_message();
    failures++;
    return code;
}

tlm_status_t tlm_set_error(tlm_status_t status, const char *text)
{
    return tlmi_fail(status, "%s", text != NULL ? text : tlm_status_text(status));
}

uint64_t tlmi_failure_count(void)
{
    return failures;
}

tlm_status_t tlmi_fail_errno(const char *action, const char *path)
{
    int error = errno;
    char text[128];
    const char *reason = tlmi_platform_error_text(text, sizeof(text), error);
    tlm_status_t code = error == ENOENT   ? TLM_ERR_NOT_FOUND
                        : error == ENOMEM ? TLM_ERR_OUT_OF_MEMORY
                                          : TLM_ERR_IO;
    return tlmi_fail(code, "%s %s: %s", action, path, reason);
}

tlm_status_t tlmi_fail_memory(size_t bytes, const char *what)
{
    return tlmi_fail(TLM_ERR_OUT_OF_MEMORY, "out of memory: %zu bytes for %s", bytes, what);
}

tlm_status_t tlmi_fail_overflow(const char *what)
{
    return tlmi_fail(TLM_ERR_OUT_OF_MEMORY, "out of memory: %s would exceed the address space",
                     what);
}

const char *tlm_error_message(void)
{
    return message;
}

const char *tlm_status_name(tlm_status_t status)
{
    switch (status) {
#define CASE(name, code, text)                                                                     \
    case name:                                                                                     \
        return #name;
        TLM_STATUS_LIST(CASE)
#undef CASE
    default:
        return "TLM_ERR_UNKNOWN";
    }
}

const char *tlm_status_text(tlm_status_t status)
{
    switch (status) {
#define CASE(name, code, text)                                                                     \
    case name:                                                                                     \
        return text;
        TLM_STATUS_LIST(CASE)
#undef CASE
    default:
        return "unknown status";
    }
}

const char *tlm_version(void)
{
    return TLM_VERSION_STRING;
}

uint32_t tlm_abi_version(void)
{
    return TLM_ABI_VERSION;
}
