/* The merges of a vocabulary, by rank (0 is applied first) and by pair. */
#ifndef TLMI_MERGE_TABLE_H
#define TLMI_MERGE_TABLE_H

#include "hash.h"
#include "tinylm/status.h"

#define TLMI_NO_MERGE UINT32_MAX

typedef struct tlmi_merge {
    uint32_t left, right; /* ids of the two sides */
    uint32_t product;     /* id of their concatenation */
} tlmi_merge_t;

typedef struct tlmi_merge_slot {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank; /* TLMI_NO_MERGE where the slot is free */
    uint32_t reserved;
} tlmi_merge_slot_t;

typedef struct tlmi_merge_table {
    tlmi_merge_t *merges; /* by rank */
    uint32_t size;
    uint32_t capacity;
    tlmi_merge_slot_t *slots;
    size_t mask; /* number of slots - 1 */
} tlmi_merge_table_t;

/* Room for `capacity` merges. A table of zeros may be released. */
tlm_status_t tlmi_merge_table_init(tlmi_merge_table_t *table, size_t capacity);
void tlmi_merge_table_release(tlmi_merge_table_t *table);

/* Adds the next merge, for which there is room; false if the pair is there already. */
bool tlmi_merge_table_add(tlmi_merge_table_t *table, tlmi_merge_t merge);

/* The same with a rank of its own, below the capacity and free. A table filled in another order than
 * that of ranks may have gaps in `merges`; it serves to encode by, no more. */
bool tlmi_merge_table_put(tlmi_merge_table_t *table, uint32_t rank, tlmi_merge_t merge);

/* Rank of the merge of two neighbours, or TLMI_NO_MERGE. */
static inline uint32_t tlmi_merge_rank(const tlmi_merge_table_t *table, uint32_t left,
                                       uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    size_t at = tlmi_hash_word(pair) & table->mask;

    while (table->slots[at].rank != TLMI_NO_MERGE && table->slots[at].pair != pair)
        at = (at + 1) & table->mask;
    return table->slots[at].rank;
}

#endif
