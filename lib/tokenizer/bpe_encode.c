/* A pretoken is looked up in the cache, then as a whole token, and merged only then. Short ones,
 * nearly all there are, are merged in two arrays that are searched for the lowest rank; long ones in
 * a linked list with a heap of ranks, so that time stays near-linear. */
#include "bpe_encode.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define SHORT_SIZE 96 /* bytes up to which searching the array beats the heap */
#define PREPARED   64 /* pretokens whose buckets are asked for ahead */

void tlmi_bpe_encoder_init(tlmi_bpe_encoder_t *encoder, const tlm_tokenizer_t *tokenizer,
                           tlmi_bpe_cache_t *cache)
{
    *encoder = (tlmi_bpe_encoder_t){.tokenizer = tokenizer, .cache = cache};
}

void tlmi_bpe_encoder_release(tlmi_bpe_encoder_t *encoder)
{
    tlmi_free(encoder->ids);
    encoder->ids = NULL;
    encoder->n = encoder->capacity = 0;
}

bool tlmi_bpe_reserve(tlmi_bpe_encoder_t *encoder, size_t n)
{
    size_t needed;

    if (!tlmi_add_size(&needed, encoder->n, n) ||
        !tlmi_add_size(&needed, needed, TLMI_BPE_IDS_AT_ONCE)) {
        tlmi_fail_memory(n, "token ids");
        return false;
    }
    return tlmi_grow(&encoder->ids, &encoder->capacity, needed, sizeof(*encoder->ids), "token ids");
}

/* ---- Short pretokens ---- */

static size_t lowest(const uint32_t *ranks, size_t n)
{
    size_t best = 0;

    for (size_t i = 1; i < n; i++)
        if (ranks[i] < ranks[best])
            best = i;
    return best;
}

/* Merges in place; ids holds the n byte tokens. Returns how many remain. */
static size_t merge_short(const tlmi_merge_table_t *merges, uint32_t *ids, size_t n)
{
    uint32_t ranks[SHORT_SIZE]; /* ranks[i]: of the pair ids[i], ids[i + 1] */

    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = tlmi_merge_rank(merges, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t at = lowest(ranks, n - 1);

        if (ranks[at] == TLMI_NO_MERGE)
            break;
        ids[at] = merges->merges[ranks[at]].product;
        n--;
        memmove(ids + at + 1, ids + at + 2, (n - at - 1) * sizeof(*ids));
        if (at + 1 < n) {
            memmove(ranks + at + 1, ranks + at + 2, (n - at - 2) * sizeof(*ranks));
            ranks[at] = tlmi_merge_rank(merges, ids[at], ids[at + 1]);
        }
        if (at > 0)
            ranks[at - 1] = tlmi_merge_rank(merges, ids[at - 1], ids[at]);
    }
    return n;
}

/* ---- Long pretokens ---- */

#define NONE UINT32_MAX

typedef struct symbol {
    uint32_t id;
    uint32_t prev, next; /* NONE at the ends */
    uint32_t rank;       /* of the pair that begins here */
} symbol_t;

/* A binary heap of rank << 32 | position: the lowest rank, and among equals the leftmost. Entries
 * whose pair has changed since are passed over. */
typedef struct long_merge {
    const tlmi_merge_table_t *merges;
    symbol_t *symbols;
    uint64_t *heap;
    size_t heap_size;
} long_merge_t;

static void sift_down(uint64_t *heap, size_t size, size_t at)
{
    uint64_t key = heap[at];

    for (size_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= key)
            break;
        heap[at] = heap[child];
    }
    heap[at] = key;
}

static void heap_push(long_merge_t *work, uint64_t key)
{
    size_t at = work->heap_size++;

    for (size_t parent; at > 0 && work->heap[parent = (at - 1) / 2] > key; at = parent)
        work->heap[at] = work->heap[parent];
    work->heap[at] = key;
}

static uint64_t heap_pop(long_merge_t *work)
{
    uint64_t key = work->heap[0];

    work->heap[0] = work->heap[--work->heap_size];
    if (work->heap_size > 0)
        sift_down(work->heap, work->heap_size, 0);
    return key;
}

static uint64_t rank_symbol(long_merge_t *work, uint32_t at)
{
    symbol_t *symbol = &work->symbols[at];

    symbol->rank = symbol->next == NONE
                       ? TLMI_NO_MERGE
                       : tlmi_merge_rank(work->merges, symbol->id, work->symbols[symbol->next].id);
    return (uint64_t)symbol->rank << 32 | at;
}

static void apply_merge(long_merge_t *work, uint32_t at)
{
    symbol_t *symbol = &work->symbols[at];
    symbol_t *gone = &work->symbols[symbol->next];
    uint64_t key;

    symbol->id = work->merges->merges[symbol->rank].product;
    symbol->next = gone->next;
    gone->rank = TLMI_NO_MERGE;
    if (symbol->next != NONE)
        work->symbols[symbol->next].prev = at;
    key = rank_symbol(work, at);
    if (symbol->rank != TLMI_NO_MERGE)
        heap_push(work, key);
    if (symbol->prev == NONE)
        return;
    key = rank_symbol(work, symbol->prev);
    if (work->symbols[symbol->prev].rank != TLMI_NO_MERGE)
        heap_push(work, key);
}

static void start_long(long_merge_t *work, const uint32_t *byte_ids, const uint8_t *pretoken,
                       uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        work->symbols[i] =
            (symbol_t){byte_ids[pretoken[i]], i - 1, i + 1 < size ? i + 1 : NONE, TLMI_NO_MERGE};
    work->symbols[0].prev = NONE;
    for (uint32_t i = 0; i < size; i++) {
        uint64_t key = rank_symbol(work, i);

        if (work->symbols[i].rank != TLMI_NO_MERGE)
            work->heap[work->heap_size++] = key;
    }
    for (size_t i = work->heap_size / 2; i-- > 0;)
        sift_down(work->heap, work->heap_size, i);
}

static void merge_long(long_merge_t *work)
{
    while (work->heap_size > 0) {
        uint64_t key = heap_pop(work);

        if (work->symbols[(uint32_t)key].rank == key >> 32)
            apply_merge(work, (uint32_t)key);
    }
}

static tlm_status_t encode_long(tlmi_bpe_encoder_t *encoder, const uint8_t *pretoken, size_t size)
{
    long_merge_t work = {.merges = &encoder->tokenizer->merges};
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (size >= NONE / 4)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "a pretoken of %zu bytes is longer than %u", size,
                         NONE / 4 - 1);
    work.symbols = tlmi_alloc(size, sizeof(*work.symbols), "a long pretoken");
    /* Each merge takes one entry and leaves at most two. */
    work.heap = tlmi_alloc(2 * size, sizeof(*work.heap), "a long pretoken");
    if (work.symbols == NULL || work.heap == NULL)
        goto done;
    start_long(&work, encoder->tokenizer->byte_ids, pretoken, (uint32_t)size);
    merge_long(&work);
    for (uint32_t at = 0; at != NONE; at = work.symbols[at].next)
        encoder->ids[encoder->n++] = work.symbols[at].id;
    status = TLM_OK;
done:
    tlmi_free(work.symbols);
    tlmi_free(work.heap);
    return status;
}

/* ---- Any pretoken ---- */

/* There is room for `size` ids. */
static tlm_status_t merge_reserved(tlmi_bpe_encoder_t *encoder, const uint8_t *pretoken,
                                   size_t size)
{
    uint32_t *ids = encoder->ids + encoder->n;

    if (size > SHORT_SIZE)
        return encode_long(encoder, pretoken, size);
    for (size_t i = 0; i < size; i++)
        ids[i] = encoder->tokenizer->byte_ids[pretoken[i]];
    encoder->n += merge_short(&encoder->tokenizer->merges, ids, size);
    return TLM_OK;
}

tlm_status_t tlmi_bpe_merge(tlmi_bpe_encoder_t *encoder, const uint8_t *pretoken, size_t size)
{
    if (!tlmi_bpe_reserve(encoder, size))
        return TLM_ERR_OUT_OF_MEMORY;
    return merge_reserved(encoder, pretoken, size);
}

/* Without the cache; there is room for `size` ids, here and below. */
static tlm_status_t encode_anew(tlmi_bpe_encoder_t *encoder, const uint8_t *pretoken, size_t size)
{
    const tlm_tokenizer_t *tokenizer = encoder->tokenizer;
    uint32_t id = tlmi_vocabulary_find(&tokenizer->vocabulary, pretoken, size);

    if (id == TLMI_NO_TOKEN || !tokenizer->is_whole[id])
        return merge_reserved(encoder, pretoken, size);
    encoder->ids[encoder->n++] = id;
    return TLM_OK;
}

static tlm_status_t encode_and_remember(tlmi_bpe_encoder_t *encoder, tlmi_bpe_key_t key,
                                        const uint8_t *pretoken, size_t size)
{
    size_t before = encoder->n;

    TLMI_TRY(encode_anew(encoder, pretoken, size));
    tlmi_bpe_cache_add(encoder->cache, key, pretoken, size, encoder->ids + before,
                       encoder->n - before);
    return TLM_OK;
}

/* A pretoken that is not its own key. */
static tlm_status_t encode_hashed(tlmi_bpe_encoder_t *encoder, const uint8_t *pretoken, size_t size)
{
    const tlmi_bpe_entry_t *entry;
    tlmi_bpe_key_t key;

    if (size > TLMI_BPE_CACHED_BYTES)
        return encode_anew(encoder, pretoken, size);
    key = tlmi_bpe_long_key(pretoken, size);
    entry = tlmi_bpe_cache_find(encoder->cache, key, tlmi_bpe_key_hash(key));
    if (entry == NULL || !tlmi_bpe_entry_is_long(encoder->cache, entry, pretoken, size))
        return encode_and_remember(encoder, key, pretoken, size);
    memcpy(encoder->ids + encoder->n, encoder->cache->store + entry->ids[0],
           entry->n * sizeof(*encoder->ids));
    encoder->n += entry->n;
    return TLM_OK;
}

tlm_status_t tlmi_bpe_is_whole(bool *out, tlmi_bpe_encoder_t *encoder, uint32_t id)
{
    tlm_bytes_t token = tlmi_vocabulary_token(&encoder->tokenizer->vocabulary, id);
    size_t before = encoder->n;

    *out = false;
    if (token.size == 0)
        return TLM_OK;
    TLMI_TRY(tlmi_bpe_merge(encoder, token.data, token.size));
    *out = encoder->n == before + 1 && encoder->ids[before] == id;
    encoder->n = before;
    return TLM_OK;
}

/* ---- Many pretokens ---- */

/* What is known of a pretoken before it is looked up. */
typedef struct lookup {
    tlmi_bpe_key_t key; /* one that no entry has where the pretoken is not its own key */
    uint64_t hash;
} lookup_t;

/* Makes the keys of n pretokens and asks for their buckets. At least TLMI_BPE_KEY_BYTES + 1 bytes of
 * the text may be read from the start of each. */
static void prepare(lookup_t *lookups, const tlmi_bpe_cache_t *cache, const uint8_t *text,
                    size_t start, const size_t *ends, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *pretoken = text + start;
        size_t size = ends[i] - start;

        start = ends[i];
        lookups[i].key.words[1] = UINT64_MAX;
        if (size > TLMI_BPE_KEY_BYTES)
            continue;
        lookups[i].key = tlmi_bpe_short_key(pretoken, size);
        lookups[i].hash = tlmi_bpe_key_hash(lookups[i].key);
        __builtin_prefetch(tlmi_bpe_cache_bucket(cache, lookups[i].hash));
    }
}

/* The same for one of the last pretokens of a text, which ends before so many bytes. */
static void prepare_last(lookup_t *lookup, const tlmi_bpe_cache_t *cache, const uint8_t *pretoken,
                         size_t size)
{
    uint8_t copy[TLMI_BPE_KEY_BYTES + 1] = {0};

    memcpy(copy, pretoken, size < sizeof(copy) ? size : sizeof(copy));
    prepare(lookup, cache, copy, 0, &size, 1);
}

/* A pretoken that is not in its own bucket. */
static __attribute__((noinline)) tlm_status_t encode_rare(tlmi_bpe_encoder_t *encoder,
                                                          const lookup_t *lookup,
                                                          const uint8_t *pretoken, size_t size)
{
    const tlmi_bpe_entry_t *entry;

    if (size > TLMI_BPE_KEY_BYTES)
        return encode_hashed(encoder, pretoken, size);
    entry = tlmi_bpe_cache_find(encoder->cache, lookup->key, lookup->hash);
    if (entry == NULL)
        return encode_and_remember(encoder, lookup->key, pretoken, size);
    memcpy(encoder->ids + encoder->n, tlmi_bpe_entry_ids(encoder->cache, entry),
           entry->n * sizeof(*encoder->ids));
    encoder->n += entry->n;
    return TLM_OK;
}

/* The ids of n prepared pretokens; there is room for as many as they have bytes, and
 * TLMI_BPE_IDS_AT_ONCE more. */
static tlm_status_t look_up(tlmi_bpe_encoder_t *encoder, const lookup_t *lookups,
                            const uint8_t *text, size_t start, const size_t *ends, size_t n)
{
    tlmi_bpe_cache_t cache = *encoder->cache; /* a copy, which the ids cannot lie over */
    uint32_t *to = encoder->ids + encoder->n;

    for (size_t i = 0; i < n; i++) {
        tlmi_bpe_key_t key = lookups[i].key;
        const tlmi_bpe_entry_t *entry = tlmi_bpe_cache_glance(&cache, key, lookups[i].hash);
        const uint32_t *ids;

        if (entry == NULL) {
            size_t from = i == 0 ? start : ends[i - 1];

            encoder->n = (size_t)(to - encoder->ids);
            TLMI_TRY(encode_rare(encoder, &lookups[i], text + from, ends[i] - from));
            to = encoder->ids + encoder->n;
            cache = *encoder->cache;
            continue;
        }
        ids = tlmi_bpe_entry_ids(&cache, entry);
        memcpy(to, ids, TLMI_BPE_IDS_AT_ONCE * sizeof(*ids));
        if (entry->n > TLMI_BPE_IDS_AT_ONCE)
            memcpy(to, ids, entry->n * sizeof(*ids));
        to += entry->n;
    }
    encoder->n = (size_t)(to - encoder->ids);
    return TLM_OK;
}

static tlm_status_t encode_cached(tlmi_bpe_encoder_t *encoder, const uint8_t *text,
                                  const size_t *ends, size_t n)
{
    lookup_t lookups[PREPARED];
    size_t i = 0, start = 0, far = n; /* pretokens that begin far enough from the end of the text */

    while (far > 0 && ends[n - 1] - (far == 1 ? 0 : ends[far - 2]) <= TLMI_BPE_KEY_BYTES)
        far--;
    for (size_t count; i < far; i += count, start = ends[i - 1]) {
        count = far - i < PREPARED ? far - i : PREPARED;
        prepare(lookups, encoder->cache, text, start, ends + i, count);
        TLMI_TRY(look_up(encoder, lookups, text, start, ends + i, count));
    }
    for (; i < n; start = ends[i++]) {
        prepare_last(lookups, encoder->cache, text + start, ends[i] - start);
        TLMI_TRY(look_up(encoder, lookups, text, start, ends + i, 1));
    }
    return TLM_OK;
}

tlm_status_t tlmi_bpe_encode_pretokens(void *context, const uint8_t *text, const size_t *ends,
                                       size_t n)
{
    tlmi_bpe_encoder_t *encoder = context;
    size_t start = 0;

    if (!tlmi_bpe_reserve(encoder, ends[n - 1]))
        return TLM_ERR_OUT_OF_MEMORY;
    if (encoder->cache != NULL)
        return encode_cached(encoder, text, ends, n);
    for (size_t i = 0; i < n; start = ends[i++])
        TLMI_TRY(encode_anew(encoder, text + start, ends[i] - start));
    return TLM_OK;
}

tlm_status_t tlmi_bpe_encode_special(void *context, size_t index)
{
    tlmi_bpe_encoder_t *encoder = context;

    if (!tlmi_bpe_reserve(encoder, 1))
        return TLM_ERR_OUT_OF_MEMORY;
    encoder->ids[encoder->n++] = encoder->tokenizer->special_ids[index];
    return TLM_OK;
}
