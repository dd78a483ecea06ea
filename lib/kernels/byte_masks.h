/* The ASCII classes of 64 bytes as bit masks, for the tokenizer's scanners. */
#ifndef TLMI_BYTE_MASKS_H
#define TLMI_BYTE_MASKS_H

#include <stdint.h>

#define TLMI_MASK_BYTES 64

/* Bit i stands for byte i. */
typedef struct tlmi_byte_masks {
    uint64_t upper, lower; /* A-Z, a-z */
    uint64_t number;       /* 0-9 */
    uint64_t space;        /* tab, newline, vertical tab, form feed, return, space */
    uint64_t blank;        /* space only */
    uint64_t newline;      /* newline, return */
    uint64_t apostrophe;
    uint64_t slash;
    uint64_t wide; /* not ASCII: 0x80 and above */
} tlmi_byte_masks_t;

/* Computes the masks of bytes[0..64). tlmi_byte_masks_best returns the fastest kernel for the CPU
 * features in use. */
typedef void (*tlmi_byte_masks_fn)(tlmi_byte_masks_t *out, const uint8_t *bytes);
tlmi_byte_masks_fn tlmi_byte_masks_best(void);

#endif
