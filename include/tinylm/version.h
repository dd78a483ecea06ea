/* Version numbers: the one source of truth, read by meson.build as well. */
#ifndef TINYLM_VERSION_H
#define TINYLM_VERSION_H

#include "export.h"

#define TLM_VERSION_MAJOR  0
#define TLM_VERSION_MINOR  2
#define TLM_VERSION_PATCH  0
#define TLM_VERSION_STRING "0.2.0"

/* Bumped only when a program built against an older header could break; it is the soname. */
#define TLM_ABI_VERSION 1

#ifdef __cplusplus
extern "C" {
#endif

/** Version of the library at run time, "major.minor.patch". Static storage, never NULL.
 *  Thread-safe. @since 0.1 */
TLM_API const char *tlm_version(void);

/** ABI number of the library at run time; compare with TLM_ABI_VERSION. @since 0.1 */
TLM_API uint32_t tlm_abi_version(void);

#ifdef __cplusplus
}
#endif
#endif
