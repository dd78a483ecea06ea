/* Encoding looks up each pair of neighbors, so this open-addressed table is at most half full. */
#include "tokenizer/bpe/bpe.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define MAX_FILTER ((size_t)1 << 24) /* bits: what the hash gives */

/* Makes the slots of an empty table. */
static tlm_status_t init_slots(tlmi_merge_table_t *table, size_t capacity)
{
    size_t num_slots = 16;

    *table = (tlmi_merge_table_t){0};
    if (capacity > TLMI_MAX_MERGES)
        return tlmi_fail(TLM_ERR_RANGE, "tokenizer: %zu merges are more than %zu", capacity,
                         TLMI_MAX_MERGES);
    while (num_slots < 2 * capacity)
        num_slots *= 2;
    table->mask = num_slots - 1;
    table->filter_mask = 4 * num_slots < MAX_FILTER ? 4 * num_slots - 1 : MAX_FILTER - 1;
    table->slots = tlmi_alloc_aligned(num_slots + 1, sizeof(*table->slots), "merges");
    table->filter = tlmi_calloc(table->filter_mask / 64 + 1, sizeof(*table->filter), "merges");
    if (table->slots == NULL || table->filter == NULL) {
        tlmi_merge_table_release(table);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    memset(table->slots, 0xFF, (num_slots + 1) * sizeof(*table->slots));
    return TLM_OK;
}

tlm_status_t tlmi_merge_table_init(tlmi_merge_table_t *table, size_t capacity)
{
    TLMI_TRY(init_slots(table, capacity));
    table->capacity = (uint32_t)capacity;
    table->merges = tlmi_alloc(capacity, sizeof(*table->merges), "merges");
    if (table->merges != NULL)
        return TLM_OK;
    tlmi_merge_table_release(table);
    return TLM_ERR_OUT_OF_MEMORY;
}

tlm_status_t tlmi_merge_table_init_shared(tlmi_merge_table_t *table, size_t capacity)
{
    TLMI_TRY(init_slots(table, capacity));
    table->shares_ranks = true;
    return TLM_OK;
}

void tlmi_merge_table_release(tlmi_merge_table_t *table)
{
    tlmi_free(table->merges);
    tlmi_free(table->slots);
    tlmi_free(table->filter);
    *table = (tlmi_merge_table_t){0};
}

/* Returns the slot of a pair, or the free slot where it belongs. */
static tlmi_merge_slot_t *find_slot(tlmi_merge_table_t *table, const tlmi_merge_t *merge)
{
    uint64_t pair = (uint64_t)merge->left << 32 | merge->right;

    return &table->slots[tlmi_merge_place(table, pair, tlmi_merge_hash(merge->left, merge->right))];
}

static void fill_slot(tlmi_merge_table_t *table, tlmi_merge_slot_t *slot, uint32_t rank,
                      const tlmi_merge_t *merge)
{
    size_t bit = tlmi_merge_bit(table, tlmi_merge_hash(merge->left, merge->right));

    table->filter[bit / 64] |= (uint64_t)1 << bit % 64;
    slot->pair = (uint64_t)merge->left << 32 | merge->right;
    slot->rank = rank;
    slot->product = merge->product;
}

bool tlmi_merge_table_put(tlmi_merge_table_t *table, uint32_t rank, tlmi_merge_t merge)
{
    tlmi_merge_slot_t *slot = find_slot(table, &merge);

    if (slot->rank != TLMI_NO_MERGE)
        return false;
    fill_slot(table, slot, rank, &merge);
    table->merges[rank] = merge;
    table->size++;
    return true;
}

bool tlmi_merge_table_add(tlmi_merge_table_t *table, tlmi_merge_t merge)
{
    return tlmi_merge_table_put(table, table->size, merge);
}

void tlmi_merge_table_replace(tlmi_merge_table_t *table, tlmi_merge_t merge)
{
    fill_slot(table, find_slot(table, &merge), table->size, &merge);
    table->merges[table->size++] = merge;
}

bool tlmi_merge_table_share(tlmi_merge_table_t *table, uint32_t rank, tlmi_merge_t merge)
{
    tlmi_merge_slot_t *slot = find_slot(table, &merge);

    if (slot->rank != TLMI_NO_MERGE)
        return false;
    fill_slot(table, slot, rank, &merge);
    return true;
}

/* ---- Merges of files ---- */

static tlm_status_t find_side(uint32_t *id, const char *what, const tlmi_vocabulary_t *vocabulary,
                              const uint8_t *is_added, tlm_bytes_t token, const char *name,
                              size_t index)
{
    int length = token.size < 100 ? (int)token.size : 100;

    *id = tlmi_vocabulary_find(vocabulary, token.data, token.size);
    if (*id != TLMI_NO_TOKEN && (is_added == NULL || is_added[*id] == 0))
        return TLM_OK;
    return tlmi_fail(TLM_ERR_FORMAT, "%s: merge %zu: its %s '%.*s' is not in the vocabulary", what,
                     index, name, length, (const char *)token.data);
}

tlm_status_t tlmi_bpe_add_merge(tlmi_merge_table_t *table, const char *what,
                                const tlmi_vocabulary_t *vocabulary, const uint8_t *is_added,
                                size_t prefix_size, tlm_bytes_t left, tlm_bytes_t right,
                                size_t index, tlmi_scratch_t *joined)
{
    tlmi_merge_t merge;
    tlm_bytes_t product;

    TLMI_TRY(find_side(&merge.left, what, vocabulary, is_added, left, "left side", index));
    TLMI_TRY(find_side(&merge.right, what, vocabulary, is_added, right, "right side", index));
    if (right.size < prefix_size)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: merge %zu: its right side '%.*s' is shorter than the "
                         "continuing_subword_prefix",
                         what, index, (int)right.size, (const char *)right.data);
    product.size = left.size + right.size - prefix_size;
    uint8_t *bytes = tlmi_scratch_reserve(joined, product.size);
    if (bytes == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    memcpy(bytes, left.data, left.size);
    memcpy(bytes + left.size, right.data + prefix_size, right.size - prefix_size);
    product.data = bytes;
    TLMI_TRY(find_side(&merge.product, what, vocabulary, is_added, product, "product", index));
    tlmi_merge_table_replace(table, merge);
    return TLM_OK;
}
