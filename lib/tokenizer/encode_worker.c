/* Encoding on one thread. Special tokens become their ids, and each pretoken is looked up in the
 * thread's cache before the model is called. Nearly all pretokens are in the cache, so that path is
 * the fast one: it handles a batch of pretokens at a time, prefetches their buckets, and makes no
 * function call per pretoken. */
#include "tokenizer/encode.h"

#include <stddef.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"

#define PREPARED    64   /* pretokens whose buckets are prefetched together */
#define MANY_MISSES 4    /* pretokens that were not in the cache, among those prepared together */
#define IDS_AT_ONCE 4096 /* ids to collect before the sink gets them */

void tlmi_encode_worker_init(tlmi_encode_worker_t *worker, const tlmi_encode_plan_t *plan,
                             tlmi_encode_memory_t *memory, tlmi_id_list_t *ids)
{
    *worker = (tlmi_encode_worker_t){.plan = plan, .memory = memory, .ids = ids};
    worker->dropout.probability = plan->dropout;
}

void tlmi_encode_worker_release(tlmi_encode_worker_t *worker)
{
    tlmi_scratch_release(&worker->own_scratch);
}

/* ---- Pretokens that are not in the cache ---- */

/* Calls the model. The list has room for `size` ids, here and below. */
static tlm_status_t encode_anew(tlmi_encode_worker_t *worker, const uint8_t *pretoken, size_t size)
{
    tlmi_scratch_t *scratch =
        worker->memory != NULL ? &worker->memory->scratch : &worker->own_scratch;

    return tlmi_subword_encode(worker->plan->tokenizer->model, scratch, worker->ids, pretoken,
                               size);
}

static tlm_status_t encode_and_remember(tlmi_encode_worker_t *worker, tlmi_pretoken_key_t key,
                                        const uint8_t *pretoken, size_t size)
{
    const tlmi_subword_model_t *model = worker->plan->tokenizer->model;
    tlmi_id_list_t *ids = worker->ids;
    size_t before = ids->n;
    uint32_t word = TLMI_NO_WORD;

    if (model->words != NULL)
        word = tlmi_word_table_find(model->words, key, pretoken, size);
    if (word != TLMI_NO_WORD)
        ids->ids[ids->n++] = word;
    else
        TLMI_TRY(model->kind->encode(model, &worker->memory->scratch, ids, pretoken, size));
    worker->misses++;
    tlmi_pretoken_cache_add(worker->memory->cache, key, pretoken, size, ids->ids + before,
                            ids->n - before);
    return TLM_OK;
}

static void append_ids(tlmi_encode_worker_t *worker, const uint32_t *ids, size_t n)
{
    memcpy(worker->ids->ids + worker->ids->n, ids, n * sizeof(*ids));
    worker->ids->n += n;
}

/* Encodes a pretoken that is too long to be its own key. */
static tlm_status_t encode_hashed(tlmi_encode_worker_t *worker, const uint8_t *pretoken,
                                  size_t size)
{
    tlmi_pretoken_cache_t *cache = worker->memory->cache;

    if (size > TLMI_PRETOKEN_CACHED_BYTES)
        return encode_anew(worker, pretoken, size);
    tlmi_pretoken_key_t key = tlmi_pretoken_long_key(pretoken, size);
    const tlmi_cache_entry_t *entry = NULL;
    if (!tlmi_pretoken_cache_lacks(cache, key))
        entry = tlmi_pretoken_cache_find(cache, key);
    if (entry == NULL || !tlmi_cache_entry_is_long(cache, entry, pretoken, size))
        return encode_and_remember(worker, key, pretoken, size);
    append_ids(worker, tlmi_cache_entry_ids(cache, entry, true), entry->n);
    return TLM_OK;
}

/* The key of a pretoken and its home entry, computed before the lookup. A pretoken too long to be
 * its own key gets a key that no entry has. */
typedef struct lookup {
    tlmi_pretoken_key_t key;
    size_t home;
} lookup_t;

/* Encodes a pretoken that is not in its home entry. */
static __attribute__((noinline)) tlm_status_t encode_rare(tlmi_encode_worker_t *worker,
                                                          tlmi_pretoken_key_t key,
                                                          const uint8_t *pretoken, size_t size)
{
    tlmi_pretoken_cache_t *cache = worker->memory->cache;

    if (size > TLMI_PRETOKEN_KEY_BYTES)
        return encode_hashed(worker, pretoken, size);
    const tlmi_cache_entry_t *entry = NULL;
    if (!tlmi_pretoken_cache_lacks(cache, key))
        entry = tlmi_pretoken_cache_find(cache, key);
    if (entry == NULL)
        return encode_and_remember(worker, key, pretoken, size);
    append_ids(worker, tlmi_cache_entry_ids(cache, entry, false), entry->n);
    return TLM_OK;
}

/* ---- Pretokens through the cache ---- */

/* Computes the keys of n pretokens and prefetches their home entries. At least TLMI_PRETOKEN_KEY_BYTES +
 * 1 bytes must be readable from the start of each pretoken. */
static inline __attribute__((always_inline)) void prepare(lookup_t *lookups,
                                                          const tlmi_pretoken_cache_t *cache,
                                                          const uint8_t *text, size_t start,
                                                          const size_t *ends, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *pretoken = text + start;
        size_t size = ends[i] - start;

        start = ends[i];
        if (size > TLMI_PRETOKEN_KEY_BYTES) {
            lookups[i] = (lookup_t){{{0, UINT64_MAX}}, 0};
            continue;
        }
        lookups[i].key = tlmi_pretoken_short_key(pretoken, size);
        lookups[i].home = tlmi_pretoken_cache_home(cache, lookups[i].key);
        __builtin_prefetch(&cache->entries[lookups[i].home]);
    }
}

/* The same for one of the last pretokens of a text, which has fewer readable bytes after its
 * start. */
static inline __attribute__((always_inline)) void prepare_last(lookup_t *lookup,
                                                               const tlmi_pretoken_cache_t *cache,
                                                               const uint8_t *pretoken, size_t size)
{
    uint8_t copy[TLMI_PRETOKEN_KEY_BYTES + 1] = {0};

    memcpy(copy, pretoken, size < sizeof(copy) ? size : sizeof(copy));
    prepare(lookup, cache, copy, 0, &size, 1);
}

/* Prefetches the words of pretokens that are not in the cache, which pays off while it is filled. */
static __attribute__((noinline)) void prefetch_words(tlmi_encode_worker_t *worker,
                                                     const lookup_t *lookups, size_t n)
{
    const tlmi_word_table_t *words = worker->plan->tokenizer->model->words;
    const tlmi_cache_entry_t *entries = worker->memory->cache->entries;

    for (size_t i = 0; i < n && words != NULL; i++)
        if (!tlmi_cache_entry_has(&entries[lookups[i].home], lookups[i].key))
            __builtin_prefetch(tlmi_word_table_home(words, lookups[i].key));
    worker->misses = 0;
}

/* Copies ids that are not in place. */
static inline void copy_stored(uint32_t *to, const uint32_t *ids, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += TLMI_IDS_AT_ONCE)
        memcpy(to + i, ids + i, TLMI_IDS_AT_ONCE * sizeof(*ids));
}

/* Appends the ids of n prepared pretokens. The list has room for as many ids as the pretokens have
 * bytes, and for TLMI_IDS_AT_ONCE more, so ids are copied at a constant size: the next pretoken
 * overwrites what is too much. A home that was computed before the table grew has another key. */
static inline __attribute__((always_inline)) tlm_status_t look_up(tlmi_encode_worker_t *worker,
                                                                  const lookup_t *lookups,
                                                                  const uint8_t *text, size_t start,
                                                                  const size_t *ends, size_t n)
{
    tlmi_id_list_t *list = worker->ids;
    const tlmi_cache_entry_t *entries = worker->memory->cache->entries;
    const uint32_t *store = worker->memory->cache->store;
    uint32_t *to = list->ids + list->n;

    for (size_t i = 0; i < n; i++) {
        const tlmi_cache_entry_t *entry = &entries[lookups[i].home];

        if (!tlmi_cache_entry_has(entry, lookups[i].key)) {
            size_t from = i == 0 ? start : ends[i - 1];

            list->n = (size_t)(to - list->ids);
            TLMI_TRY(encode_rare(worker, lookups[i].key, text + from, ends[i] - from));
            to = list->ids + list->n;
            entries = worker->memory->cache->entries;
            store = worker->memory->cache->store;
            continue;
        }
        memcpy(to, (const uint8_t *)entry + offsetof(tlmi_cache_entry_t, ids),
               TLMI_IDS_AT_ONCE * sizeof(*to)); /* the last one is no id, but n */
        if (entry->n > TLMI_IDS_IN_PLACE)
            copy_stored(to, store + entry->ids[0], entry->n);
        to += entry->n;
    }
    list->n = (size_t)(to - list->ids);
    return TLM_OK;
}

static inline __attribute__((always_inline)) tlm_status_t
encode_batch(tlmi_encode_worker_t *worker, const uint8_t *text, const size_t *ends, size_t n)
{
    lookup_t lookups[PREPARED];
    size_t i = 0, start = 0, far = n; /* pretokens that begin far enough from the end of the text */

    while (far > 0 && ends[n - 1] - (far == 1 ? 0 : ends[far - 2]) <= TLMI_PRETOKEN_KEY_BYTES)
        far--;
    for (size_t count; i < far; i += count, start = ends[i - 1]) {
        count = far - i < PREPARED ? far - i : PREPARED;
        prepare(lookups, worker->memory->cache, text, start, ends + i, count);
        if (worker->misses > 0)
            prefetch_words(worker, lookups, count);
        TLMI_TRY(look_up(worker, lookups, text, start, ends + i, count));
    }
    for (; i < n; start = ends[i++]) {
        prepare_last(lookups, worker->memory->cache, text + start, ends[i] - start);
        TLMI_TRY(look_up(worker, lookups, text, start, ends + i, 1));
    }
    return TLM_OK;
}

#if TLMI_X86
static TLMI_TARGET_BITS __attribute__((noinline)) tlm_status_t
encode_cached_bits(tlmi_encode_worker_t *worker, const uint8_t *text, const size_t *ends, size_t n)
{
    return encode_batch(worker, text, ends, n);
}
#endif

static tlm_status_t encode_cached(tlmi_encode_worker_t *worker, const uint8_t *text,
                                  const size_t *ends, size_t n)
{
#if TLMI_X86
    if (tlmi_has_features(tlm_cpu_features(), TLMI_NEEDS_BITS))
        return encode_cached_bits(worker, text, ends, n);
#endif
    return encode_batch(worker, text, ends, n);
}

/* ---- What the pipeline finds ---- */

static tlm_status_t encode_with_dropout(tlmi_encode_worker_t *worker, const uint8_t *text,
                                        const size_t *ends, size_t n)
{
    const tlmi_subword_model_t *model = worker->plan->tokenizer->model;
    size_t start = 0;

    for (size_t i = 0; i < n; start = ends[i++]) {
        TLMI_TRY(model->kind->encode_with_dropout(model, &worker->own_scratch, worker->ids,
                                                  text + start, ends[i] - start, &worker->dropout));
        worker->dropout.position += ends[i] - start;
    }
    return TLM_OK;
}

static tlm_status_t encode_uncached(tlmi_encode_worker_t *worker, const uint8_t *text,
                                    const size_t *ends, size_t n)
{
    size_t start = 0;

    for (size_t i = 0; i < n; start = ends[i++])
        TLMI_TRY(encode_anew(worker, text + start, ends[i] - start));
    return TLM_OK;
}

tlm_status_t tlmi_encode_worker_flush(tlmi_encode_worker_t *worker)
{
    size_t n = worker->ids->n;

    worker->ids->n = 0;
    return n > 0 ? worker->sink->take(worker->sink->context, worker->ids->ids, n) : TLM_OK;
}

static tlm_status_t flush_many(tlmi_encode_worker_t *worker)
{
    return worker->sink == NULL || worker->ids->n < IDS_AT_ONCE ? TLM_OK
                                                                : tlmi_encode_worker_flush(worker);
}

static tlm_status_t take_pretokens(void *context, const uint8_t *text, const size_t *ends, size_t n)
{
    tlmi_encode_worker_t *worker = context;

    if (!tlmi_id_list_reserve(worker->ids, ends[n - 1]))
        return TLM_ERR_OUT_OF_MEMORY;
    if (worker->plan->dropout > 0.0)
        TLMI_TRY(encode_with_dropout(worker, text, ends, n));
    else if (worker->memory != NULL)
        TLMI_TRY(encode_cached(worker, text, ends, n));
    else
        TLMI_TRY(encode_uncached(worker, text, ends, n));
    return flush_many(worker);
}

static tlm_status_t take_special(void *context, size_t index)
{
    tlmi_encode_worker_t *worker = context;
    const tlmi_encode_plan_t *plan = worker->plan;

    if (!tlmi_id_list_reserve(worker->ids, 1))
        return TLM_ERR_OUT_OF_MEMORY;
    worker->ids->ids[worker->ids->n++] = plan->special_ids[index];
    worker->dropout.position += tlmi_special_tokens_get(plan->pipeline.special, index).size;
    return flush_many(worker);
}

tlmi_pretoken_sink_t tlmi_encode_worker_sink(tlmi_encode_worker_t *worker)
{
    return (tlmi_pretoken_sink_t){take_pretokens, take_special, worker};
}

/* ---- Texts ---- */

static tlm_status_t refuse_disallowed(const tlmi_encode_plan_t *plan, const uint8_t *text,
                                      size_t start, size_t end, size_t index)
{
    tlmi_special_match_t match;
    const char *name;
    int length;

    if (plan->disallowed == NULL ||
        !tlmi_special_tokens_find(&match, plan->disallowed, TLMI_RAW_TEXT, text, end, start, start,
                                  true, NULL))
        return TLM_OK;
    length = match.end - match.start < 100 ? (int)(match.end - match.start) : 100;
    name = (const char *)text + match.start;
    if (plan->many)
        return tlmi_fail(TLM_ERR_SPECIAL_TOKEN,
                         "%s: text %zu holds the disallowed special token '%.*s' at byte %zu",
                         plan->function, index, length, name, match.start);
    return tlmi_fail(TLM_ERR_SPECIAL_TOKEN,
                     "%s: the text holds the disallowed special token '%.*s' at byte %zu",
                     plan->function, length, name, match.start);
}

static tlm_status_t encode_part(tlmi_encode_worker_t *worker, const tlm_bytes_t *text, size_t start,
                                size_t end, size_t index)
{
    const tlmi_encode_plan_t *plan = worker->plan;

    TLMI_TRY(refuse_disallowed(plan, text->data, start, end, index));
    worker->dropout.position = start;
    worker->dropout.seed = plan->seed + index;
    tlmi_pretoken_sink_t sink = tlmi_encode_worker_sink(worker);
    int part = (start == 0 ? TLMI_PIECE_BEGINS : 0) | (end == text->size ? TLMI_PIECE_ENDS : 0);
    return tlmi_split_text(&plan->pipeline, text->data + start, end - start, part, &sink);
}

/* Appends ids of the template. */
static tlm_status_t put_ids(tlmi_encode_worker_t *worker, const uint32_t *ids, size_t n)
{
    if (!tlmi_id_list_reserve(worker->ids, n))
        return TLM_ERR_OUT_OF_MEMORY;
    append_ids(worker, ids, n);
    return flush_many(worker);
}

tlm_status_t tlmi_encode_worker_text(tlmi_encode_worker_t *worker, const tlm_bytes_t *text,
                                     size_t start, size_t end, size_t index)
{
    const tlmi_encode_plan_t *plan = worker->plan;
    const tlmi_template_t *around = plan->limits != NULL ? NULL : plan->template;

    if (around != NULL && start == 0)
        TLMI_TRY(put_ids(worker, around->before, around->num_before));
    if (start < end)
        TLMI_TRY(encode_part(worker, text, start, end, index));
    if (around != NULL && end == text->size)
        TLMI_TRY(put_ids(worker, around->after, around->num_after));
    return TLM_OK;
}
