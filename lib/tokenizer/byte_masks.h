/* The ASCII classes of 64 bytes at once, as bit masks: bit i is byte i. */
#ifndef TLMI_BYTE_MASKS_H
#define TLMI_BYTE_MASKS_H

#include "tinylm/export.h"

#define TLMI_MASK_BYTES 64

typedef struct tlmi_byte_masks {
    uint64_t upper, lower; /* A-Z, a-z */
    uint64_t number;       /* 0-9 */
    uint64_t space;        /* tab, newline, vertical tab, form feed, return, space */
    uint64_t blank;        /* the space alone */
    uint64_t newline;      /* newline and return */
    uint64_t apostrophe;
    uint64_t slash;
    uint64_t wide; /* not ASCII: 0x80 and above */
} tlmi_byte_masks_t;

typedef void (*tlmi_byte_masks_fn)(tlmi_byte_masks_t *out, const uint8_t *bytes);

/* Portable C, the reference for the one below. */
void tlmi_byte_masks_portable(tlmi_byte_masks_t *out, const uint8_t *bytes);

/* The fastest for the current CPU level. */
tlmi_byte_masks_fn tlmi_byte_masks_best(void);

#endif
