/* Each pretoken of the text needs a lookup, so a lookup should touch one cache line and take no
 * branch that is hard to predict. For a batch of pretokens, all keys are made and their buckets
 * prefetched first. Then each key is compared with the first slot of its bucket. Keys that are not
 * there are looked up one by one, and move there if they are more frequent. */
#include "tokenizer/bpe/bpe_train.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "kernels/kernels.h"
#include "tokenizer/hash.h"

#define SLOTS         TLMI_BUCKET_SLOTS
#define LONG_MARK     0xFF
#define BATCH         ((size_t)512)
#define FIRST_BUCKETS ((size_t)256)

/* A place in the table. */
typedef struct slot {
    tlmi_pretoken_bucket_t *bucket;
    size_t index;
} slot_t;

/* A pretoken with its key. The offset of a long one is not used. */
typedef struct counted {
    tlmi_pretoken_count_key_t key;
    tlm_bytes_t bytes; /* used only if it is long */
} counted_t;

void tlmi_pretoken_counts_release(tlmi_pretoken_counts_t *counts)
{
    tlmi_free(counts->bytes);
    tlmi_free(counts->buckets);
    tlmi_free(counts->earlier);
    *counts = (tlmi_pretoken_counts_t){0};
}

/* ---- Keys ---- */

static inline bool is_long(tlmi_pretoken_count_key_t key)
{
    return key.bytes[TLMI_SHORT_PRETOKEN] == LONG_MARK;
}

/* Returns the number of the bucket where a pretoken belongs. */
static size_t home_of(const tlmi_pretoken_counts_t *counts, tlmi_pretoken_count_key_t key)
{
    if (is_long(key))
        key.words[0] = 0;
    return tlmi_pretoken_home(tlmi_pretoken_key_hash(&key), (uint32_t)counts->num_buckets);
}

static tlmi_pretoken_count_key_t long_key(tlm_bytes_t pretoken)
{
    tlmi_pretoken_count_key_t key = {.words = {0, tlmi_hash_bytes(pretoken.data, pretoken.size)}};

    key.bytes[TLMI_SHORT_PRETOKEN] = LONG_MARK;
    return key;
}

static tlm_bytes_t long_bytes(const tlmi_pretoken_counts_t *counts, tlmi_pretoken_count_key_t key)
{
    const uint8_t *record = counts->bytes + key.words[0];
    size_t size;

    memcpy(&size, record, sizeof(size));
    return (tlm_bytes_t){record + sizeof(size), size};
}

/* ---- Slots ---- */

static inline bool is_free(slot_t slot)
{
    return slot.bucket->keys[slot.index].words[1] == 0;
}

static uint64_t *earlier_count(const tlmi_pretoken_counts_t *counts, slot_t slot)
{
    return &counts->earlier[slot.bucket - counts->buckets][slot.index];
}

static uint64_t count_of(const tlmi_pretoken_counts_t *counts, slot_t slot)
{
    return slot.bucket->counts[slot.index] +
           (counts->earlier == NULL ? 0 : *earlier_count(counts, slot));
}

static inline bool has_pretoken(const tlmi_pretoken_counts_t *counts, slot_t slot,
                                const counted_t *pretoken)
{
    tlmi_pretoken_count_key_t key = slot.bucket->keys[slot.index];

    if (key.words[1] != pretoken->key.words[1])
        return false;
    if (!is_long(key))
        return key.words[0] == pretoken->key.words[0];
    tlm_bytes_t bytes = long_bytes(counts, key);
    return bytes.size == pretoken->bytes.size &&
           memcmp(bytes.data, pretoken->bytes.data, bytes.size) == 0;
}

static inline size_t next_bucket(const tlmi_pretoken_counts_t *counts, size_t at)
{
    return at + 1 == counts->num_buckets ? 0 : at + 1;
}

/* Returns the slot of a pretoken, or the free slot where it belongs. */
static slot_t find_slot(const tlmi_pretoken_counts_t *counts, const counted_t *pretoken)
{
    for (size_t at = home_of(counts, pretoken->key);; at = next_bucket(counts, at))
        for (size_t i = 0; i < SLOTS; i++) {
            slot_t slot = {&counts->buckets[at], i};

            if (is_free(slot) || has_pretoken(counts, slot, pretoken))
                return slot;
        }
}

/* Exchanges a slot with the first slot of its pretoken's home if that is less frequent. All buckets
 * between are full, so both are found where they are then. */
static void move_home(tlmi_pretoken_counts_t *counts, slot_t slot)
{
    tlmi_pretoken_count_key_t key = slot.bucket->keys[slot.index];
    uint32_t count = slot.bucket->counts[slot.index];
    slot_t first = {&counts->buckets[home_of(counts, key)], 0};

    if (count <= first.bucket->counts[0])
        return;
    slot.bucket->keys[slot.index] = first.bucket->keys[0];
    slot.bucket->counts[slot.index] = first.bucket->counts[0];
    first.bucket->keys[0] = key;
    first.bucket->counts[0] = count;
    if (counts->earlier != NULL) {
        uint64_t earlier = *earlier_count(counts, slot);

        *earlier_count(counts, slot) = *earlier_count(counts, first);
        *earlier_count(counts, first) = earlier;
    }
}

/* ---- Room ---- */

static tlm_status_t reserve_earlier(tlmi_pretoken_counts_t *counts)
{
    if (counts->earlier == NULL)
        counts->earlier =
            tlmi_calloc(counts->num_buckets, sizeof(*counts->earlier), "pretoken counts");
    return counts->earlier != NULL ? TLM_OK : TLM_ERR_OUT_OF_MEMORY;
}

static tlm_status_t make_table(tlmi_pretoken_counts_t *out, size_t num_buckets, bool with_earlier)
{
    tlmi_pretoken_bucket_t *buckets =
        tlmi_alloc_aligned(num_buckets, sizeof(*buckets), "pretoken counts");

    if (buckets == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    memset(buckets, 0, num_buckets * sizeof(*buckets));
    out->buckets = buckets;
    out->num_buckets = num_buckets;
    out->earlier = NULL;
    if (!with_earlier || reserve_earlier(out) == TLM_OK)
        return TLM_OK;
    tlmi_free(buckets);
    return TLM_ERR_OUT_OF_MEMORY;
}

/* Copies a slot of `from` to a table with the same `bytes`, which does not have its pretoken. */
static void place_slot(tlmi_pretoken_counts_t *to, const tlmi_pretoken_counts_t *from, slot_t slot)
{
    tlmi_pretoken_count_key_t key = slot.bucket->keys[slot.index];
    size_t at = home_of(to, key), i = 0;

    while (to->buckets[at].keys[i].words[1] != 0)
        if (++i == SLOTS)
            at = next_bucket(to, at), i = 0;
    slot_t place = {&to->buckets[at], i};
    place.bucket->keys[i] = key;
    place.bucket->counts[i] = slot.bucket->counts[slot.index];
    if (to->earlier != NULL)
        *earlier_count(to, place) = *earlier_count(from, slot);
    move_home(to, place);
}

static slot_t slot_number(const tlmi_pretoken_counts_t *counts, size_t i)
{
    return (slot_t){&counts->buckets[i / SLOTS], i % SLOTS};
}

/* Makes room for a total of n pretokens, with the table at most three quarters full. */
static tlm_status_t reserve_slots(tlmi_pretoken_counts_t *counts, size_t n)
{
    size_t num_buckets = counts->num_buckets == 0 ? FIRST_BUCKETS : counts->num_buckets;
    tlmi_pretoken_counts_t larger = *counts;

    if (n >= (size_t)1 << 31)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "bpe_trainer_add_text: there are more than %zu distinct pretokens",
                         ((size_t)1 << 31) - 1);
    while (num_buckets * SLOTS / 4 * 3 < n)
        num_buckets += num_buckets / 2;
    if (num_buckets == counts->num_buckets)
        return TLM_OK;
    TLMI_TRY(make_table(&larger, num_buckets, counts->earlier != NULL));
    for (size_t i = 0; i < counts->num_buckets * SLOTS; i++)
        if (!is_free(slot_number(counts, i)))
            place_slot(&larger, counts, slot_number(counts, i));
    tlmi_free(counts->buckets);
    tlmi_free(counts->earlier);
    *counts = larger;
    return TLM_OK;
}

/* Makes room in the buckets for `more` occurrences of any pretoken. */
static tlm_status_t reserve_counts(tlmi_pretoken_counts_t *counts, uint64_t more)
{
    if (more <= UINT32_MAX - counts->most) {
        counts->most += more;
        return TLM_OK;
    }
    TLMI_TRY(reserve_earlier(counts));
    for (size_t i = 0; i < counts->num_buckets; i++)
        for (size_t k = 0; k < SLOTS; k++) {
            counts->earlier[i][k] += counts->buckets[i].counts[k];
            counts->buckets[i].counts[k] = 0;
        }
    counts->most = more;
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

/* Returns what a pretoken needs besides its slot. */
static size_t bytes_needed(size_t size)
{
    return size <= TLMI_SHORT_PRETOKEN ? 0 : sizeof(size_t) + size;
}

/* Stores a new pretoken in a free slot. The table must have room for its bytes. */
static void take_slot(tlmi_pretoken_counts_t *counts, slot_t slot, const counted_t *pretoken)
{
    tlmi_pretoken_count_key_t key = pretoken->key;
    size_t size = key.bytes[TLMI_SHORT_PRETOKEN];

    if (is_long(key)) {
        uint8_t *record = counts->bytes + counts->bytes_size;

        size = pretoken->bytes.size;
        key.words[0] = counts->bytes_size;
        memcpy(record, &size, sizeof(size));
        memcpy(record + sizeof(size), pretoken->bytes.data, size);
        counts->bytes_size += bytes_needed(size);
    }
    slot.bucket->keys[slot.index] = key;
    slot.bucket->counts[slot.index] = 0;
    if (counts->earlier != NULL)
        *earlier_count(counts, slot) = 0;
    counts->n++;
    counts->total_size += size;
}

/* ---- Counting ---- */

/* Finds the slot of a pretoken and takes one for a new pretoken. There must be room for it. */
static tlm_status_t slot_for(slot_t *out, tlmi_pretoken_counts_t *counts, const counted_t *pretoken)
{
    *out = find_slot(counts, pretoken);
    if (!is_free(*out))
        return TLM_OK;
    if (is_long(pretoken->key) && !reserve_bytes(counts, bytes_needed(pretoken->bytes.size)))
        return TLM_ERR_OUT_OF_MEMORY;
    take_slot(counts, *out, pretoken);
    return TLM_OK;
}

/* Counts one occurrence. There must be room for its slot and count. */
static tlm_status_t add_one(tlmi_pretoken_counts_t *counts, const counted_t *pretoken)
{
    slot_t slot;

    TLMI_TRY(slot_for(&slot, counts, pretoken));
    slot.bucket->counts[slot.index]++;
    move_home(counts, slot);
    return TLM_OK;
}

static counted_t make_counted(const uint8_t *bytes, size_t size)
{
    counted_t pretoken = {.bytes = {bytes, size}};

    if (size > TLMI_SHORT_PRETOKEN)
        pretoken.key = long_key(pretoken.bytes);
    else
        tlmi_pretoken_short_count_key(&pretoken.key, bytes, size);
    return pretoken;
}

static tlm_status_t add_bytes(tlmi_pretoken_counts_t *counts, const uint8_t *bytes, size_t size)
{
    counted_t pretoken = make_counted(bytes, size);

    return add_one(counts, &pretoken);
}

tlm_status_t tlmi_pretoken_counts_add_counted(tlmi_pretoken_counts_t *counts, tlm_bytes_t bytes,
                                              uint64_t count)
{
    counted_t pretoken = make_counted(bytes.data, bytes.size);
    slot_t slot;

    TLMI_TRY(reserve_slots(counts, counts->n + 1));
    if (count > UINT32_MAX)
        TLMI_TRY(reserve_earlier(counts));
    else
        TLMI_TRY(reserve_counts(counts, count));
    TLMI_TRY(slot_for(&slot, counts, &pretoken));
    if (count > UINT32_MAX)
        *earlier_count(counts, slot) += count;
    else
        slot.bucket->counts[slot.index] += (uint32_t)count;
    move_home(counts, slot);
    return TLM_OK;
}

/* Writes the positions of the n lowest bits that are set. Returns their number. There is room for
 * whole words of bits, and those from n on are ignored. */
static size_t list_bits(uint16_t *positions, const uint8_t *bits, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i += 64) {
        uint64_t word = tlmi_load_word(bits + i / 8);

        if (n - i < 64)
            word &= ((uint64_t)1 << (n - i)) - 1;
        for (; word != 0; word &= word - 1)
            positions[count++] = (uint16_t)(i + (size_t)__builtin_ctzll(word));
    }
    return count;
}

/* Counts n <= BATCH consecutive pretokens. From where each of them ends, 16 bytes may be read. */
static tlm_status_t add_batch(tlmi_pretoken_counts_t *counts, const uint8_t *text, size_t start,
                              const size_t *ends, size_t n)
{
    const tlmi_kernels_t *kernels = tlmi_kernels();
    _Alignas(64) tlmi_pretoken_count_key_t keys[BATCH];
    _Alignas(64) tlmi_pretoken_bucket_t *homes[BATCH];
    size_t cuts[BATCH + 1], rounded = n;
    uint8_t longs[BATCH / 8], missed[BATCH / 8];
    uint16_t some[BATCH];

    /* Empty pretokens fill the last eight. */
    cuts[0] = start;
    memcpy(cuts + 1, ends, n * sizeof(*cuts));
    for (; rounded % 8 != 0; rounded++)
        cuts[rounded + 1] = cuts[rounded];
    kernels->pretoken_keys(keys, homes, longs, text, cuts, rounded, counts->buckets,
                           (uint32_t)counts->num_buckets);
    kernels->count_keys(missed, homes, keys, rounded);
    for (size_t i = n; i < rounded; i++)
        homes[i]->counts[0]--;
    size_t num_missed = list_bits(some, missed, n);
    for (size_t i = 0; i < num_missed; i++) /* before any moves */
        homes[some[i]]->counts[0]--;
    for (size_t i = 0; i < num_missed; i++)
        if (keys[some[i]].words[1] != 0)
            TLMI_TRY(add_one(counts, &(counted_t){.key = keys[some[i]]}));
    size_t num_longs = list_bits(some, longs, n);
    for (size_t i = 0; i < num_longs; i++)
        TLMI_TRY(add_bytes(counts, text + cuts[some[i]], cuts[some[i] + 1] - cuts[some[i]]));
    return TLM_OK;
}

tlm_status_t tlmi_pretoken_counts_add(tlmi_pretoken_counts_t *counts, const uint8_t *text,
                                      const size_t *ends, size_t n, size_t readable)
{
    size_t start = 0;

    while (n > 0) {
        size_t count = n < BATCH ? n : BATCH, fast = count;

        TLMI_TRY(reserve_slots(counts, counts->n + count));
        TLMI_TRY(reserve_counts(counts, count));
        while (fast > 0 && readable - ends[fast - 1] < sizeof(tlmi_pretoken_count_key_t))
            fast--;
        if (fast > 0)
            TLMI_TRY(add_batch(counts, text, start, ends, fast));
        for (size_t i = fast; i < count; i++) {
            size_t from = i == 0 ? start : ends[i - 1];

            TLMI_TRY(add_bytes(counts, text + from, ends[i] - from));
        }
        start = ends[count - 1];
        ends += count;
        n -= count;
    }
    return TLM_OK;
}

/* ---- Reading ---- */

static tlm_bytes_t read_bytes(uint8_t *room, const tlmi_pretoken_counts_t *counts, slot_t slot)
{
    tlmi_pretoken_count_key_t key = slot.bucket->keys[slot.index];

    if (is_long(key))
        return long_bytes(counts, key);
    memcpy(room, key.bytes, sizeof(key.bytes));
    return (tlm_bytes_t){room, key.bytes[TLMI_SHORT_PRETOKEN]};
}

bool tlmi_pretoken_counts_next(tlmi_counted_pretoken_t *out, const tlmi_pretoken_counts_t *counts)
{
    for (; out->slot < counts->num_buckets * SLOTS; out->slot++) {
        slot_t slot = slot_number(counts, out->slot);

        if (is_free(slot))
            continue;
        out->bytes = read_bytes(out->room, counts, slot);
        out->count = count_of(counts, slot);
        out->slot++;
        return true;
    }
    return false;
}

/* ---- Merging and limiting ---- */

static counted_t pretoken_of(const tlmi_pretoken_counts_t *counts, slot_t slot)
{
    counted_t pretoken = {.key = slot.bucket->keys[slot.index]};

    if (is_long(pretoken.key))
        pretoken.bytes = long_bytes(counts, pretoken.key);
    return pretoken;
}

/* Adds the count of a slot of another table. There must be room for it. */
static void add_slot(tlmi_pretoken_counts_t *to, const tlmi_pretoken_counts_t *from, slot_t slot)
{
    counted_t pretoken = pretoken_of(from, slot);
    slot_t place = find_slot(to, &pretoken);

    if (is_free(place))
        take_slot(to, place, &pretoken);
    place.bucket->counts[place.index] += slot.bucket->counts[slot.index];
    if (from->earlier != NULL)
        *earlier_count(to, place) += *earlier_count(from, slot);
    move_home(to, place);
}

/* Makes room for all counts of another table. */
static tlm_status_t reserve_table(tlmi_pretoken_counts_t *to, const tlmi_pretoken_counts_t *from,
                                  size_t new_pretokens, size_t new_bytes)
{
    if (!reserve_bytes(to, new_bytes))
        return TLM_ERR_OUT_OF_MEMORY;
    TLMI_TRY(reserve_slots(to, to->n + new_pretokens));
    if (from->earlier != NULL)
        TLMI_TRY(reserve_earlier(to));
    return reserve_counts(to, from->most);
}

/* A first pass finds how much room the new pretokens of `from` need, so that nothing can fail once
 * counts have changed. Slots are nearly in the order of their hashes, so both passes read both
 * tables nearly in order. */
static tlm_status_t merge_smaller(tlmi_pretoken_counts_t *to, tlmi_pretoken_counts_t *from)
{
    size_t new_pretokens = 0, new_bytes = 0;

    for (size_t i = 0; i < from->num_buckets * SLOTS; i++) {
        slot_t slot = slot_number(from, i);

        if (is_free(slot))
            continue;
        counted_t pretoken = pretoken_of(from, slot);
        if (is_free(find_slot(to, &pretoken))) {
            new_pretokens++;
            new_bytes += is_long(pretoken.key) ? bytes_needed(pretoken.bytes.size) : 0;
        }
    }
    TLMI_TRY(reserve_table(to, from, new_pretokens, new_bytes));
    for (size_t i = 0; i < from->num_buckets * SLOTS; i++)
        if (!is_free(slot_number(from, i)))
            add_slot(to, from, slot_number(from, i));
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

    if (swapped)
        swap(to, from);
    if (from->n == 0) {
        tlmi_pretoken_counts_release(from);
        return TLM_OK;
    }
    tlm_status_t status = merge_smaller(to, from);
    if (status != TLM_OK && swapped)
        swap(to, from);
    return status;
}

/* A slot, with the table that is needed to compare it. */
typedef struct ranked_slot {
    const tlmi_pretoken_counts_t *counts;
    size_t number;
    uint64_t count;
} ranked_slot_t;

/* Orders the most frequent pretoken first. */
static int compare_slots(const void *a, const void *b)
{
    const ranked_slot_t *x = a, *y = b;
    uint8_t x_room[16], y_room[16];

    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    tlm_bytes_t left = read_bytes(x_room, x->counts, slot_number(x->counts, x->number));
    tlm_bytes_t right = read_bytes(y_room, y->counts, slot_number(y->counts, y->number));
    int order = memcmp(right.data, left.data, left.size < right.size ? left.size : right.size);
    return order != 0 ? order : (right.size > left.size) - (right.size < left.size);
}

/* Makes room for `limit` pretokens of two tables that are about to be merged. */
static tlm_status_t reserve_kept(tlmi_pretoken_counts_t *kept, const tlmi_pretoken_counts_t *to,
                                 const tlmi_pretoken_counts_t *from, size_t limit)
{
    TLMI_TRY(reserve_slots(kept, limit));
    if (!reserve_bytes(kept, to->bytes_size + from->bytes_size))
        return TLM_ERR_OUT_OF_MEMORY;
    if (to->earlier == NULL && from->earlier == NULL && to->most <= UINT32_MAX - from->most)
        return TLM_OK;
    return reserve_earlier(kept);
}

/* Copies the `limit` most frequent pretokens of `counts` to `kept`, which must have room. */
static void keep_most_frequent(tlmi_pretoken_dropped_t *dropped, tlmi_pretoken_counts_t *kept,
                               const tlmi_pretoken_counts_t *counts, size_t limit,
                               ranked_slot_t *ranked)
{
    tlmi_counted_pretoken_t pretoken = {.slot = 0};
    size_t n = 0;

    for (; tlmi_pretoken_counts_next(&pretoken, counts); n++)
        ranked[n] = (ranked_slot_t){counts, pretoken.slot - 1, pretoken.count};
    qsort(ranked, n, sizeof(*ranked), compare_slots);
    kept->most = counts->most;
    for (size_t i = 0; i < limit; i++)
        add_slot(kept, counts, slot_number(counts, ranked[i].number));
    dropped->pretokens += n - limit;
    for (size_t i = limit; i < n; i++)
        dropped->occurrences += ranked[i].count;
}

tlm_status_t tlmi_pretoken_counts_merge_limited(tlmi_pretoken_dropped_t *dropped,
                                                tlmi_pretoken_counts_t *to,
                                                tlmi_pretoken_counts_t *from, uint64_t limit)
{
    tlmi_pretoken_counts_t kept = {0};
    size_t n = to->n + from->n;

    if (n <= limit)
        return tlmi_pretoken_counts_merge(to, from);
    ranked_slot_t *ranked = tlmi_alloc(n, sizeof(*ranked), "pretokens by count");
    if (ranked == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = reserve_kept(&kept, to, from, (size_t)limit);
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
