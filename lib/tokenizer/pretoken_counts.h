/* How often each distinct pretoken occurs. */
#ifndef TLMI_PRETOKEN_COUNTS_H
#define TLMI_PRETOKEN_COUNTS_H

#include "tinylm/tokenizer.h"

/* A pretoken of up to 15 bytes lies in `key` itself. A longer one has 0xFF as its last byte, 56 bits
 * of its hash before it, and in key[0] its place in `bytes`. */
typedef struct tlmi_pretoken_slot {
    uint64_t key[2];
    uint64_t count; /* 0 where the slot is free */
} tlmi_pretoken_slot_t;

/* A table of zeros is empty. */
typedef struct tlmi_pretoken_counts {
    tlmi_pretoken_slot_t *slots; /* open addressing, in no order that means anything */
    size_t num_slots;            /* a power of two, or 0 */
    size_t n;                    /* slots in use */
    size_t total_size;           /* bytes of all distinct pretokens together */
    uint8_t *bytes;              /* of the long ones, each after its size as a size_t */
    size_t bytes_size;
    size_t bytes_capacity;
} tlmi_pretoken_counts_t;

void tlmi_pretoken_counts_release(tlmi_pretoken_counts_t *counts);

/* Counts pretokens that follow each other, as a tlmi_pretokens_fn gets them. */
tlm_status_t tlmi_pretoken_counts_add(tlmi_pretoken_counts_t *counts, const uint8_t *text,
                                      const size_t *ends, size_t n);

/* Adds all of `from`, which is emptied. On failure both are as before. */
tlm_status_t tlmi_pretoken_counts_merge(tlmi_pretoken_counts_t *to, tlmi_pretoken_counts_t *from);

typedef struct tlmi_pretoken_dropped {
    uint64_t pretokens, occurrences;
} tlmi_pretoken_dropped_t;

/* The same, and keeps the `limit` most frequent pretokens; of equal counts those whose bytes are
 * lexicographically greater. Adds to *dropped what that cost. */
tlm_status_t tlmi_pretoken_counts_merge_limited(tlmi_pretoken_dropped_t *dropped,
                                                tlmi_pretoken_counts_t *to,
                                                tlmi_pretoken_counts_t *from, uint64_t limit);

/* The pretoken of a slot in use. A short one is written to `room` (16 bytes). */
tlm_bytes_t tlmi_pretoken_bytes(const tlmi_pretoken_counts_t *counts,
                                const tlmi_pretoken_slot_t *slot, uint8_t *room);

#endif
