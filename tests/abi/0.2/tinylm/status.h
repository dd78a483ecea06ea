/* Status codes and the error message: how every call of the library reports failure.
 *
 * Besides the codes that its comment names, a call that returns tlm_status_t may return
 * TLM_ERR_INVALID_ARGUMENT for a NULL pointer that it needs and TLM_ERR_OUT_OF_MEMORY if it
 * allocates. When it fails, its out-parameters are untouched and there is nothing to free. The
 * library never aborts, exits or prints. Functions that free accept NULL; accessors accept NULL,
 * and each documents what it then returns. */
#ifndef TINYLM_STATUS_H
#define TINYLM_STATUS_H

#include "export.h"

#ifdef __cplusplus
extern "C" {
#endif

/** X(name, code, text) for every status. Codes are part of the ABI: new ones may come, and none
 *  changes its number. */
#define TLM_STATUS_LIST(X)                                                                         \
    X(TLM_OK, 0, "success")                                                                        \
    X(TLM_ERR_INVALID_ARGUMENT, -1, "invalid argument")                                            \
    X(TLM_ERR_SHAPE, -2, "shapes do not fit")                                                      \
    X(TLM_ERR_OUT_OF_MEMORY, -3, "out of memory")                                                  \
    X(TLM_ERR_IO, -4, "input/output error")                                                        \
    X(TLM_ERR_FORMAT, -5, "malformed data")                                                        \
    X(TLM_ERR_NOT_FOUND, -6, "not found")                                                          \
    X(TLM_ERR_UNSUPPORTED, -7, "not supported")                                                    \
    X(TLM_ERR_RANGE, -8, "value out of range")                                                     \
    X(TLM_ERR_STATE, -9, "call not allowed in this state")                                         \
    X(TLM_ERR_REGEX, -10, "regular expression error")                                              \
    X(TLM_ERR_NON_FINITE, -11, "NaN or infinity")                                                  \
    X(TLM_ERR_CANCELLED, -12, "cancelled by a callback")                                           \
    X(TLM_ERR_SPECIAL_TOKEN, -13, "special token not allowed") /* since 0.2 */

/** TLM_OK or one of the codes above. @since 0.1 */
typedef int32_t tlm_status_t;

enum {
#define TLM_STATUS_ENUM(name, code, text) name = code,
    TLM_STATUS_LIST(TLM_STATUS_ENUM)
#undef TLM_STATUS_ENUM
};

/** Name of a status code, such as "TLM_ERR_SHAPE"; "TLM_ERR_UNKNOWN" for a code that the library
 *  does not know. Static storage, never NULL. Thread-safe. @since 0.1 */
TLM_API const char *tlm_status_name(tlm_status_t status);

/** Short English text of a status code. Static storage, never NULL. Thread-safe. @since 0.1 */
TLM_API const char *tlm_status_text(tlm_status_t status);

/** One line about the latest failed call of the calling thread, with the numbers that matter. Never
 *  NULL; "" before the first failure. A call that succeeds does not clear it. Borrowed until the
 *  next failing call of this thread. Each thread has its own. @since 0.1 */
TLM_API const char *tlm_error_message(void);

/** Sets the calling thread's error message to `message` (NULL: the text of the status) and returns
 *  `status`: for callbacks and for libraries over this one, which so fail as its own calls do. The
 *  message is cut to 511 bytes, and control characters become '?'. @since 0.2 */
TLM_API tlm_status_t tlm_set_error(tlm_status_t status, const char *message);

#ifdef __cplusplus
}
#endif
#endif
