/* TLM_API marks every exported function; the types that several headers use across the ABI come
 * from here. */
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

/** A sequence of token ids: `n` of them at `ids`, which may be NULL where n is 0. @since 0.2 */
typedef struct tlm_ids {
    const uint32_t *ids;
    size_t n;
} tlm_ids_t;

#endif
