/* Version numbers. meson.build reads them from here too. */
#ifndef TINYLM_VERSION_H
#define TINYLM_VERSION_H

#include "export.h"

/** Grows with each release that may break programs, from 1.0 on. */
#define TLM_VERSION_MAJOR 0
/** Grows with new functions; before 1.0 the interface may change with it. */
#define TLM_VERSION_MINOR 2
/** Grows with corrections. */
#define TLM_VERSION_PATCH 0
/** The three as text. */
#define TLM_VERSION_STRING "0.2.0"

/** The number in the soname. It grows only when a program built with older headers could break. */
#define TLM_ABI_VERSION 1

#ifdef __cplusplus
extern "C" {
#endif

/** Version of the library at run time, "major.minor.patch". Static storage, never NULL.
 *  Thread-safe. @since 0.1 */
TLM_API const char *tlm_version(void);

/** ABI number of the library at run time, to be compared with TLM_ABI_VERSION. Thread-safe.
 *  @since 0.1 */
TLM_API uint32_t tlm_abi_version(void);

#ifdef __cplusplus
}
#endif
#endif
