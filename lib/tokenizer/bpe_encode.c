/* Short pretokens, nearly all there are, live in two arrays that are searched for the lowest rank;
 * long ones in a linked list with a heap of ranks, so that time stays near-linear. */
#include "bpe_encode.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define SHORT_SIZE 96 /* bytes up to which searching the array beats the heap */

void tlmi_bpe_encoder_init(tlmi_bpe_encoder_t *encoder, const tlm_tokenizer_t *tokenizer,
                           size_t text_size)
{
    size_t entries = 256;

    *encoder = (tlmi_bpe_encoder_t){.tokenizer = tokenizer};
    if (text_size < 8192)
        return;
    while (entries < 8192 && entries < text_size / 64)
        entries *= 2;
    /* Only speed depends on the cache, so there may be none. */
    encoder->cache = tlmi_calloc(entries, sizeof(*encoder->cache), "a cache of pretokens");
    encoder->cache_mask = entries - 1;
}

void tlmi_bpe_encoder_release(tlmi_bpe_encoder_t *encoder)
{
    tlmi_free(encoder->ids);
    tlmi_free(encoder->cache);
    encoder->ids = NULL;
    encoder->cache = NULL;
}

static bool reserve_ids(tlmi_bpe_encoder_t *encoder, size_t n)
{
    return tlmi_grow(&encoder->ids, &encoder->capacity, encoder->n + n, sizeof(*encoder->ids),
                     "token ids");
}

tlm_status_t tlmi_bpe_append(tlmi_bpe_encoder_t *encoder, uint32_t id)
{
    if (!reserve_ids(encoder, 1))
        return TLM_ERR_OUT_OF_MEMORY;
    encoder->ids[encoder->n++] = id;
    return TLM_OK;
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
    size_t n = 0;

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
        n++;
    if (!reserve_ids(encoder, n))
        goto done;
    for (uint32_t at = 0; at != NONE; at = work.symbols[at].next)
        encoder->ids[encoder->n++] = work.symbols[at].id;
    status = TLM_OK;
done:
    tlmi_free(work.symbols);
    tlmi_free(work.heap);
    return status;
}

/* ---- Any pretoken ---- */

tlm_status_t tlmi_bpe_merge(tlmi_bpe_encoder_t *encoder, const uint8_t *pretoken, size_t size)
{
    uint32_t *ids;

    if (size > SHORT_SIZE)
        return encode_long(encoder, pretoken, size);
    if (!reserve_ids(encoder, size))
        return TLM_ERR_OUT_OF_MEMORY;
    ids = encoder->ids + encoder->n;
    for (size_t i = 0; i < size; i++)
        ids[i] = encoder->tokenizer->byte_ids[pretoken[i]];
    encoder->n += merge_short(&encoder->tokenizer->merges, ids, size);
    return TLM_OK;
}

static tlm_status_t encode_cached(tlmi_bpe_encoder_t *encoder, const uint8_t *pretoken, size_t size)
{
    tlmi_bpe_cache_entry_t *entry =
        &encoder->cache[tlmi_hash_bytes(pretoken, size) & encoder->cache_mask];
    size_t before = encoder->n, n;

    if (entry->size == size && memcmp(entry->bytes, pretoken, size) == 0) {
        if (!reserve_ids(encoder, entry->num_ids))
            return TLM_ERR_OUT_OF_MEMORY;
        memcpy(encoder->ids + before, entry->ids, entry->num_ids * sizeof(*entry->ids));
        encoder->n += entry->num_ids;
        return TLM_OK;
    }
    TLMI_TRY(tlmi_bpe_merge(encoder, pretoken, size));
    n = encoder->n - before;
    if (n <= sizeof(entry->ids) / sizeof(entry->ids[0])) {
        entry->size = (uint8_t)size;
        entry->num_ids = (uint8_t)n;
        memcpy(entry->bytes, pretoken, size);
        memcpy(entry->ids, encoder->ids + before, n * sizeof(*entry->ids));
    }
    return TLM_OK;
}

tlm_status_t tlmi_bpe_encode(tlmi_bpe_encoder_t *encoder, const uint8_t *pretoken, size_t size)
{
    const tlm_tokenizer_t *tokenizer = encoder->tokenizer;
    uint32_t id = tlmi_vocabulary_find(&tokenizer->vocabulary, pretoken, size);

    if (id != TLMI_NO_TOKEN && tokenizer->is_whole[id])
        return tlmi_bpe_append(encoder, id);
    if (encoder->cache != NULL && size <= sizeof(encoder->cache->bytes))
        return encode_cached(encoder, pretoken, size);
    return tlmi_bpe_merge(encoder, pretoken, size);
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

tlm_status_t tlmi_bpe_encode_pretokens(void *encoder, const uint8_t *text, const size_t *ends,
                                       size_t n)
{
    size_t start = 0;

    for (size_t i = 0; i < n; i++) {
        TLMI_TRY(tlmi_bpe_encode(encoder, text + start, ends[i] - start));
        start = ends[i];
    }
    return TLM_OK;
}

tlm_status_t tlmi_bpe_encode_special(void *context, size_t index)
{
    tlmi_bpe_encoder_t *encoder = context;

    return tlmi_bpe_append(encoder, encoder->tokenizer->special_ids[index]);
}
