/* TLM_API, which marks every exported function, and the types that several headers use. */
#ifndef TINYLM_EXPORT_H
#define TINYLM_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Marks an exported function. */
#if defined(__GNUC__) || defined(__clang__)
#define TLM_API __attribute__((visibility("default")))
#else
#define TLM_API
#endif

/** A sequence of token ids. @since 0.2 */
typedef struct tlm_ids {
    /** n ids; may be NULL if n is 0. */
    const uint32_t *ids;
    /** Number of ids. */
    size_t n;
} tlm_ids_t;

#endif
