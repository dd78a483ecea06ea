/* Counting happens once for each pretoken of the text, so the table compares 32 bits of the hash
 * before it follows an index to the bytes. */
#include "pretoken_counts.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "hash.h"

#define FREE UINT32_MAX

void tlmi_pretoken_counts_release(tlmi_pretoken_counts_t *counts)
{
    tlmi_free(counts->bytes);
    tlmi_free(counts->entries);
    tlmi_free(counts->slots);
    *counts = (tlmi_pretoken_counts_t){0};
}

static uint32_t hash_pretoken(const uint8_t *pretoken, size_t size)
{
    return (uint32_t)(tlmi_hash_bytes(pretoken, size) >> 32);
}

/* The slot of a pretoken, or the free one where it belongs. */
static tlmi_pretoken_slot_t *find_slot(const tlmi_pretoken_counts_t *counts,
                                       const uint8_t *pretoken, size_t size, uint32_t hash)
{
    size_t mask = counts->num_slots - 1;

    for (size_t at = hash & mask;; at = (at + 1) & mask) {
        tlmi_pretoken_slot_t *slot = &counts->slots[at];
        const tlmi_pretoken_count_t *entry;

        if (slot->index == FREE)
            return slot;
        if (slot->hash != hash)
            continue;
        entry = &counts->entries[slot->index];
        if (entry->size == size && memcmp(counts->bytes + entry->start, pretoken, size) == 0)
            return slot;
    }
}

static tlm_status_t grow_slots(tlmi_pretoken_counts_t *counts, size_t n)
{
    size_t num_slots = counts->num_slots == 0 ? 1024 : counts->num_slots;
    tlmi_pretoken_slot_t *slots;

    while (num_slots < 2 * n)
        num_slots *= 2;
    if (num_slots == counts->num_slots)
        return TLM_OK;
    slots = tlmi_alloc(num_slots, sizeof(*slots), "pretoken counts");
    if (slots == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    memset(slots, 0xFF, num_slots * sizeof(*slots));
    for (size_t i = 0; i < counts->n; i++) {
        uint32_t hash = counts->entries[i].hash;
        size_t at = hash & (num_slots - 1);

        while (slots[at].index != FREE)
            at = (at + 1) & (num_slots - 1);
        slots[at] = (tlmi_pretoken_slot_t){hash, (uint32_t)i};
    }
    tlmi_free(counts->slots);
    counts->slots = slots;
    counts->num_slots = num_slots;
    return TLM_OK;
}

/* Makes room for `n` more pretokens of `size` bytes together. */
static tlm_status_t reserve(tlmi_pretoken_counts_t *counts, size_t n, size_t size)
{
    size_t bytes_size;

    if (counts->n + n >= FREE / 2)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "more than %u distinct pretokens", FREE / 2 - 1);
    if (!tlmi_add_size(&bytes_size, counts->bytes_size, size))
        return tlmi_fail_memory(size, "pretokens");
    if (!tlmi_grow(&counts->bytes, &counts->bytes_capacity, bytes_size, 1, "pretokens") ||
        !tlmi_grow(&counts->entries, &counts->capacity, counts->n + n, sizeof(*counts->entries),
                   "pretoken counts"))
        return TLM_ERR_OUT_OF_MEMORY;
    return grow_slots(counts, counts->n + n);
}

/* Takes a new pretoken, for which there is room, into a free slot. */
static void append(tlmi_pretoken_counts_t *counts, tlmi_pretoken_slot_t *slot,
                   const uint8_t *pretoken, size_t size, uint32_t hash, uint64_t count)
{
    *slot = (tlmi_pretoken_slot_t){hash, (uint32_t)counts->n};
    counts->entries[counts->n++] = (tlmi_pretoken_count_t){counts->bytes_size, size, count, hash};
    memcpy(counts->bytes + counts->bytes_size, pretoken, size);
    counts->bytes_size += size;
}

tlm_status_t tlmi_pretoken_counts_add(tlmi_pretoken_counts_t *counts, const uint8_t *pretoken,
                                      size_t size, uint64_t count)
{
    uint32_t hash = hash_pretoken(pretoken, size);

    if (counts->num_slots > 0) {
        tlmi_pretoken_slot_t *slot = find_slot(counts, pretoken, size, hash);

        if (slot->index != FREE) {
            counts->entries[slot->index].count += count;
            return TLM_OK;
        }
    }
    TLMI_TRY(reserve(counts, 1, size));
    append(counts, find_slot(counts, pretoken, size, hash), pretoken, size, hash, count);
    return TLM_OK;
}

tlm_status_t tlmi_pretoken_counts_merge(tlmi_pretoken_counts_t *to, tlmi_pretoken_counts_t *from)
{
    size_t new_entries = 0, new_bytes = 0;

    if (to->n == 0) {
        tlmi_pretoken_counts_release(to);
        *to = *from;
        *from = (tlmi_pretoken_counts_t){0};
        return TLM_OK;
    }
    for (size_t i = 0; i < from->n; i++) {
        const tlmi_pretoken_count_t *entry = &from->entries[i];

        if (find_slot(to, from->bytes + entry->start, entry->size, entry->hash)->index == FREE) {
            new_entries++;
            new_bytes += entry->size;
        }
    }
    TLMI_TRY(reserve(to, new_entries, new_bytes));
    for (size_t i = 0; i < from->n; i++) {
        const tlmi_pretoken_count_t *entry = &from->entries[i];
        const uint8_t *pretoken = from->bytes + entry->start;
        tlmi_pretoken_slot_t *slot = find_slot(to, pretoken, entry->size, entry->hash);

        if (slot->index == FREE)
            append(to, slot, pretoken, entry->size, entry->hash, entry->count);
        else
            to->entries[slot->index].count += entry->count;
    }
    tlmi_pretoken_counts_release(from);
    return TLM_OK;
}
