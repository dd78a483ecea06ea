/* How often each distinct pretoken occurs. */
#ifndef TLMI_PRETOKEN_COUNTS_H
#define TLMI_PRETOKEN_COUNTS_H

#include "tinylm/status.h"

typedef struct tlmi_pretoken_count {
    size_t start; /* in `bytes` */
    size_t size;
    uint64_t count;
    uint32_t hash;
} tlmi_pretoken_count_t;

typedef struct tlmi_pretoken_slot {
    uint32_t hash;
    uint32_t index; /* of the entry, or UINT32_MAX where the slot is free */
} tlmi_pretoken_slot_t;

/* A table of zeros is empty. */
typedef struct tlmi_pretoken_counts {
    uint8_t *bytes; /* of all pretokens, one after the other */
    size_t bytes_size;
    size_t bytes_capacity;
    tlmi_pretoken_count_t *entries; /* in order of first occurrence */
    size_t n;
    size_t capacity;
    tlmi_pretoken_slot_t *slots;
    size_t num_slots; /* a power of two, or 0 */
} tlmi_pretoken_counts_t;

void tlmi_pretoken_counts_release(tlmi_pretoken_counts_t *counts);
tlm_status_t tlmi_pretoken_counts_add(tlmi_pretoken_counts_t *counts, const uint8_t *pretoken,
                                      size_t size, uint64_t count);

/* Adds all of `from`, which is emptied. On failure both are as before. */
tlm_status_t tlmi_pretoken_counts_merge(tlmi_pretoken_counts_t *to, tlmi_pretoken_counts_t *from);

#endif
