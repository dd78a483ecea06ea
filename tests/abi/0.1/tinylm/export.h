/* TLM_API marks every exported function; the fixed-width types used across the ABI come from
 * here. */
#ifndef TINYLM_EXPORT_H
#define TINYLM_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define TLM_API __attribute__((visibility("default")))
#else
#define TLM_API
#endif

#endif
