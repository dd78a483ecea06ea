/* A pretoken is looked up in the cache, then as a whole token, and merged only then. Short ones,
 * nearly all there are, are merged in two arrays that are searched for the lowest rank; long ones with
 * a tree of ranks, so that time stays near-linear. */
#include "tokenizer/bpe/bpe_encode.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/bpe/bpe.h"

#define SHORT_SIZE 96 /* bytes up to which searching the array beats the tree */
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

/* ---- Any pretoken ---- */

static tlm_status_t merge_long(size_t *left, const tlmi_merge_table_t *merges, uint32_t *ids,
                               size_t n)
{
    tlmi_merge_tree_t tree = {0};
    uint32_t rank;
    size_t at;

    if (!tlmi_merge_tree_start(&tree, merges, ids, n))
        return TLM_ERR_OUT_OF_MEMORY;
    while ((rank = tlmi_merge_tree_next(&at, &tree)) != TLMI_NO_MERGE)
        tlmi_merge_tree_apply(&tree, at, rank);
    *left = tlmi_merge_tree_finish(&tree);
    tlmi_merge_tree_release(&tree);
    return TLM_OK;
}

/* There is room for `size` ids. */
static tlm_status_t merge_reserved(tlmi_bpe_encoder_t *encoder, const uint8_t *pretoken,
                                   size_t size)
{
    const tlmi_merge_table_t *merges = &encoder->tokenizer->merges;
    uint32_t *ids = encoder->ids + encoder->n;

    for (size_t i = 0; i < size; i++)
        ids[i] = encoder->tokenizer->byte_ids[pretoken[i]];
    if (size > SHORT_SIZE)
        TLMI_TRY(merge_long(&size, merges, ids, size));
    else
        size = merge_short(merges, ids, size);
    encoder->n += size;
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
