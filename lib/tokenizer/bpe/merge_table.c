/* Encoding looks up each pair of neighbors, so this open-addressed table is at most half full. */
#include "tokenizer/bpe/bpe.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

tlm_status_t tlmi_merge_table_init(tlmi_merge_table_t *table, size_t capacity)
{
    size_t num_slots = 16;

    *table = (tlmi_merge_table_t){0};
    if (capacity >= TLMI_NO_MERGE / 4)
        return tlmi_fail(TLM_ERR_RANGE, "tokenizer: %zu merges are too many", capacity);
    while (num_slots < 2 * capacity)
        num_slots *= 2;
    table->capacity = (uint32_t)capacity;
    table->mask = num_slots - 1;
    table->merges = tlmi_alloc(capacity, sizeof(*table->merges), "merges");
    table->slots = tlmi_alloc(num_slots, sizeof(*table->slots), "merges");
    if (table->merges == NULL || table->slots == NULL) {
        tlmi_merge_table_release(table);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    memset(table->slots, 0xFF, num_slots * sizeof(*table->slots));
    return TLM_OK;
}

void tlmi_merge_table_release(tlmi_merge_table_t *table)
{
    tlmi_free(table->merges);
    tlmi_free(table->slots);
    *table = (tlmi_merge_table_t){0};
}

bool tlmi_merge_table_put(tlmi_merge_table_t *table, uint32_t rank, tlmi_merge_t merge)
{
    uint64_t pair = (uint64_t)merge.left << 32 | merge.right;
    size_t at = tlmi_hash_word(pair) & table->mask;

    for (; table->slots[at].rank != TLMI_NO_MERGE; at = (at + 1) & table->mask)
        if (table->slots[at].pair == pair)
            return false;
    table->slots[at].pair = pair;
    table->slots[at].rank = rank;
    table->merges[rank] = merge;
    table->size++;
    return true;
}

bool tlmi_merge_table_add(tlmi_merge_table_t *table, tlmi_merge_t merge)
{
    return tlmi_merge_table_put(table, table->size, merge);
}
