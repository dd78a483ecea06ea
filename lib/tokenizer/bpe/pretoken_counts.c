/* Each pretoken of the text needs a lookup, so a lookup should touch only one cache line. Most
 * pretokens are short and are stored in the table as their own key. The slots of a whole batch are
 * prefetched before they are used. */
#include "tokenizer/bpe/bpe_train.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/hash.h"

#define SHORT_SIZE  ((size_t)15)
#define LONG_MARK   ((uint64_t)0xFF << 56)
#define BATCH       ((size_t)256)
#define FIRST_SLOTS ((size_t)1024)

typedef struct pretoken_key {
    uint64_t words[2];
    uint64_t hash;
} pretoken_key_t;

void tlmi_pretoken_counts_release(tlmi_pretoken_counts_t *counts)
{
    tlmi_free(counts->bytes);
    tlmi_free(counts->slots);
    *counts = (tlmi_pretoken_counts_t){0};
}

/* ---- Keys ---- */

static inline bool is_long(const uint64_t *key)
{
    return key[1] >> 56 == 0xFF;
}

static inline uint64_t hash_key(const uint64_t *key)
{
    uint64_t first = is_long(key) ? 0 : key[0];

    return tlmi_hash_mix(first ^ 0x9E3779B97F4A7C15u, key[1] ^ 0xD1B54A32D192ED03u);
}

/* Makes the key of a short pretoken. `readable` bytes may be read from its start. */
static inline void short_key(uint64_t *key, const uint8_t *pretoken, size_t size, size_t readable)
{
    uint8_t copy[16];

    if (readable < 16) {
        memset(copy, 0, sizeof(copy));
        memcpy(copy, pretoken, size);
        pretoken = copy;
    }
    key[0] = tlmi_load_word(pretoken);
    key[1] = tlmi_load_word(pretoken + 8);
    if (size < 8) {
        key[0] &= ((uint64_t)1 << 8 * size) - 1;
        key[1] = 0;
    } else {
        key[1] &= ((uint64_t)1 << 8 * (size - 8)) - 1;
    }
    key[1] |= (uint64_t)size << 56;
}

/* Makes the key of a long pretoken, without its offset in `bytes`. */
static void long_key(uint64_t *key, const uint8_t *pretoken, size_t size)
{
    key[0] = 0;
    key[1] = LONG_MARK | tlmi_hash_bytes(pretoken, size) >> 8;
}

static inline void make_key(pretoken_key_t *key, const uint8_t *pretoken, size_t size,
                            size_t readable)
{
    if (size <= SHORT_SIZE)
        short_key(key->words, pretoken, size, readable);
    else
        long_key(key->words, pretoken, size);
    key->hash = hash_key(key->words);
}

static tlm_bytes_t long_bytes(const tlmi_pretoken_counts_t *counts, const uint64_t *key)
{
    const uint8_t *record = counts->bytes + key[0];
    size_t size;

    memcpy(&size, record, sizeof(size));
    return (tlm_bytes_t){record + sizeof(size), size};
}

tlm_bytes_t tlmi_pretoken_bytes(const tlmi_pretoken_counts_t *counts,
                                const tlmi_pretoken_slot_t *slot, uint8_t *room)
{
    if (is_long(slot->key))
        return long_bytes(counts, slot->key);
    for (size_t i = 0; i < 16; i++)
        room[i] = (uint8_t)(slot->key[i / 8] >> 8 * (i % 8));
    return (tlm_bytes_t){room, room[SHORT_SIZE]};
}

/* ---- The table ---- */

/* Returns the slot of a pretoken, or the free slot where it belongs. */
static inline tlmi_pretoken_slot_t *find_slot(const tlmi_pretoken_counts_t *counts,
                                              const pretoken_key_t *key, const uint8_t *pretoken,
                                              size_t size)
{
    size_t mask = counts->num_slots - 1;

    for (size_t at = key->hash & mask;; at = (at + 1) & mask) {
        tlmi_pretoken_slot_t *slot = &counts->slots[at];
        tlm_bytes_t bytes;

        if (slot->count == 0)
            return slot;
        if (slot->key[1] != key->words[1])
            continue;
        if (size <= SHORT_SIZE) {
            if (slot->key[0] == key->words[0])
                return slot;
            continue;
        }
        bytes = long_bytes(counts, slot->key);
        if (bytes.size == size && memcmp(bytes.data, pretoken, size) == 0)
            return slot;
    }
}

static tlmi_pretoken_slot_t *new_slots(size_t num_slots)
{
    tlmi_pretoken_slot_t *slots = tlmi_alloc_aligned(num_slots, sizeof(*slots), "pretoken counts");

    if (slots != NULL)
        memset(slots, 0, num_slots * sizeof(*slots));
    return slots;
}

/* Copies a slot to its place in a table that does not have its pretoken yet. */
static void place_slot(tlmi_pretoken_slot_t *slots, size_t num_slots,
                       const tlmi_pretoken_slot_t *slot)
{
    size_t at = hash_key(slot->key) & (num_slots - 1);

    while (slots[at].count != 0)
        at = (at + 1) & (num_slots - 1);
    slots[at] = *slot;
}

/* Makes room for a total of n pretokens, with the table at most three quarters full. */
static tlm_status_t reserve_slots(tlmi_pretoken_counts_t *counts, size_t n)
{
    size_t num_slots = counts->num_slots == 0 ? FIRST_SLOTS : counts->num_slots;
    tlmi_pretoken_slot_t *slots;

    if (n >= (size_t)1 << 31)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "bpe_trainer_add_text: there are more than %zu distinct pretokens",
                         ((size_t)1 << 31) - 1);
    while (num_slots / 4 * 3 < n)
        num_slots *= 2;
    if (num_slots == counts->num_slots)
        return TLM_OK;
    slots = new_slots(num_slots);
    if (slots == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < counts->num_slots; i++)
        if (counts->slots[i].count != 0)
            place_slot(slots, num_slots, &counts->slots[i]);
    tlmi_free(counts->slots);
    counts->slots = slots;
    counts->num_slots = num_slots;
    return TLM_OK;
}

static bool reserve_bytes(tlmi_pretoken_counts_t *counts, size_t size)
{
    size_t needed;

    if (!tlmi_add_size(&needed, counts->bytes_size, size)) {
        tlmi_fail_memory(size, "pretokens");
        return false;
    }
    return tlmi_grow(&counts->bytes, &counts->bytes_capacity, needed, 1, "pretokens");
}

/* Returns the bytes that a pretoken needs besides its slot. */
static size_t bytes_needed(size_t size)
{
    return size <= SHORT_SIZE ? 0 : sizeof(size_t) + size;
}

/* Stores a new pretoken in a free slot. The table must have room for its bytes. */
static void take_slot(tlmi_pretoken_counts_t *counts, tlmi_pretoken_slot_t *slot,
                      const pretoken_key_t *key, const uint8_t *pretoken, size_t size,
                      uint64_t count)
{
    *slot = (tlmi_pretoken_slot_t){{key->words[0], key->words[1]}, count};
    if (size > SHORT_SIZE) {
        uint8_t *record = counts->bytes + counts->bytes_size;

        slot->key[0] = counts->bytes_size;
        memcpy(record, &size, sizeof(size));
        memcpy(record + sizeof(size), pretoken, size);
        counts->bytes_size += bytes_needed(size);
    }
    counts->n++;
    counts->total_size += size;
}

/* ---- Counting ---- */

/* A slot may span two cache lines. */
static inline void prefetch_slot(const tlmi_pretoken_slot_t *slot)
{
    __builtin_prefetch(slot, 1);
    __builtin_prefetch(&slot->count, 1);
}

static tlm_status_t add_batch(tlmi_pretoken_counts_t *counts, const uint8_t *text, size_t start,
                              const size_t *ends, size_t n, size_t text_size)
{
    pretoken_key_t keys[BATCH];
    size_t at = start;

    TLMI_TRY(reserve_slots(counts, counts->n + n));
    for (size_t i = 0; i < n; i++) {
        make_key(&keys[i], text + at, ends[i] - at, text_size - at);
        prefetch_slot(&counts->slots[keys[i].hash & (counts->num_slots - 1)]);
        at = ends[i];
    }
    for (size_t i = 0; i < n; i++) {
        size_t size = ends[i] - start;
        tlmi_pretoken_slot_t *slot = find_slot(counts, &keys[i], text + start, size);

        if (slot->count != 0) {
            slot->count++;
        } else {
            if (size > SHORT_SIZE && !reserve_bytes(counts, bytes_needed(size)))
                return TLM_ERR_OUT_OF_MEMORY;
            take_slot(counts, slot, &keys[i], text + start, size, 1);
        }
        start = ends[i];
    }
    return TLM_OK;
}

tlm_status_t tlmi_pretoken_counts_add(tlmi_pretoken_counts_t *counts, const uint8_t *text,
                                      const size_t *ends, size_t n)
{
    size_t start = 0;

    for (size_t i = 0; i < n; i += BATCH) {
        size_t count = n - i < BATCH ? n - i : BATCH;

        TLMI_TRY(add_batch(counts, text, start, ends + i, count, ends[n - 1]));
        start = ends[i + count - 1];
    }
    return TLM_OK;
}

/* ---- Merging and limiting ---- */

/* Returns the slot in `to` for a pretoken of `from`. *bytes is valid until `room` changes. */
static tlmi_pretoken_slot_t *slot_of_other(pretoken_key_t *key, tlm_bytes_t *bytes, uint8_t *room,
                                           const tlmi_pretoken_counts_t *to,
                                           const tlmi_pretoken_counts_t *from, size_t index)
{
    const tlmi_pretoken_slot_t *slot = &from->slots[index];

    *bytes = tlmi_pretoken_bytes(from, slot, room);
    *key = (pretoken_key_t){{slot->key[0], slot->key[1]}, hash_key(slot->key)};
    return find_slot(to, key, bytes->data, bytes->size);
}

/* A first pass finds how much room the new pretokens of `from` need, so that nothing can fail once
 * counts have changed. Slots are in the order of their hashes, so both passes read both tables
 * nearly in order. */
static tlm_status_t merge_smaller(tlmi_pretoken_counts_t *to, tlmi_pretoken_counts_t *from)
{
    size_t new_pretokens = 0, new_bytes = 0;
    pretoken_key_t key;
    tlm_bytes_t bytes;
    uint8_t room[16];

    for (size_t i = 0; i < from->num_slots; i++)
        if (from->slots[i].count != 0 &&
            slot_of_other(&key, &bytes, room, to, from, i)->count == 0) {
            new_pretokens++;
            new_bytes += bytes_needed(bytes.size);
        }
    if (!reserve_bytes(to, new_bytes))
        return TLM_ERR_OUT_OF_MEMORY;
    TLMI_TRY(reserve_slots(to, to->n + new_pretokens));
    for (size_t i = 0; i < from->num_slots; i++) {
        tlmi_pretoken_slot_t *slot;

        if (from->slots[i].count == 0)
            continue;
        slot = slot_of_other(&key, &bytes, room, to, from, i);
        if (slot->count == 0)
            take_slot(to, slot, &key, bytes.data, bytes.size, from->slots[i].count);
        else
            slot->count += from->slots[i].count;
    }
    tlmi_pretoken_counts_release(from);
    return TLM_OK;
}

static void swap(tlmi_pretoken_counts_t *a, tlmi_pretoken_counts_t *b)
{
    tlmi_pretoken_counts_t kept = *a;

    *a = *b;
    *b = kept;
}

tlm_status_t tlmi_pretoken_counts_merge(tlmi_pretoken_counts_t *to, tlmi_pretoken_counts_t *from)
{
    bool swapped = to->n < from->n;
    tlm_status_t status;

    if (swapped)
        swap(to, from);
    if (from->n == 0) {
        tlmi_pretoken_counts_release(from);
        return TLM_OK;
    }
    status = merge_smaller(to, from);
    if (status != TLM_OK && swapped)
        swap(to, from);
    return status;
}

/* A slot, with the table that is needed to compare it. */
typedef struct ranked_slot {
    const tlmi_pretoken_counts_t *counts;
    const tlmi_pretoken_slot_t *slot;
} ranked_slot_t;

/* Orders the most frequent pretoken first. */
static int compare_slots(const void *a, const void *b)
{
    const ranked_slot_t *x = a, *y = b;
    uint8_t x_room[16], y_room[16];
    tlm_bytes_t left, right;
    int order;

    if (x->slot->count != y->slot->count)
        return x->slot->count > y->slot->count ? -1 : 1;
    left = tlmi_pretoken_bytes(x->counts, x->slot, x_room);
    right = tlmi_pretoken_bytes(y->counts, y->slot, y_room);
    order = memcmp(right.data, left.data, left.size < right.size ? left.size : right.size);
    return order != 0 ? order : (right.size > left.size) - (right.size < left.size);
}

/* Copies the `limit` most frequent pretokens of `counts` to `kept`, which must have room. */
static void keep_most_frequent(tlmi_pretoken_dropped_t *dropped, tlmi_pretoken_counts_t *kept,
                               const tlmi_pretoken_counts_t *counts, size_t limit,
                               ranked_slot_t *ranked)
{
    size_t n = 0;

    for (size_t i = 0; i < counts->num_slots; i++)
        if (counts->slots[i].count != 0)
            ranked[n++] = (ranked_slot_t){counts, &counts->slots[i]};
    qsort(ranked, n, sizeof(*ranked), compare_slots);
    for (size_t i = 0; i < n; i++) {
        pretoken_key_t key;
        tlm_bytes_t bytes;
        uint8_t room[16];

        if (i >= limit) {
            dropped->pretokens++;
            dropped->occurrences += ranked[i].slot->count;
            continue;
        }
        bytes = tlmi_pretoken_bytes(counts, ranked[i].slot, room);
        make_key(&key, bytes.data, bytes.size, bytes.size);
        take_slot(kept, find_slot(kept, &key, bytes.data, bytes.size), &key, bytes.data, bytes.size,
                  ranked[i].slot->count);
    }
}

tlm_status_t tlmi_pretoken_counts_merge_limited(tlmi_pretoken_dropped_t *dropped,
                                                tlmi_pretoken_counts_t *to,
                                                tlmi_pretoken_counts_t *from, uint64_t limit)
{
    tlmi_pretoken_counts_t kept = {0};
    size_t n = to->n + from->n;
    ranked_slot_t *ranked;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (n <= limit)
        return tlmi_pretoken_counts_merge(to, from);
    ranked = tlmi_alloc(n, sizeof(*ranked), "pretokens by count");
    if (ranked != NULL && reserve_bytes(&kept, to->bytes_size + from->bytes_size))
        status = reserve_slots(&kept, (size_t)limit);
    if (status == TLM_OK)
        status = tlmi_pretoken_counts_merge(to, from);
    if (status == TLM_OK && to->n > limit) {
        keep_most_frequent(dropped, &kept, to, (size_t)limit, ranked);
        swap(to, &kept);
    }
    tlmi_pretoken_counts_release(&kept);
    tlmi_free(ranked);
    return status;
}
