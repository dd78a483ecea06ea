/* The memory of a key-value cache: it grows with the tokens, up to a window that then slides. */
#include <stdatomic.h>
#include <string.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/memory.h"
#include "infer/infer_core.h"

tlm_status_t tlmi_kv_cache_create(tlmi_kv_cache_t **out, int32_t dtype, int64_t limit)
{
    tlmi_kv_cache_t *cache = tlmi_calloc(1, sizeof(*cache), "a key-value cache");

    if (cache == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    cache->dtype = dtype;
    cache->limit = limit;
    *out = cache;
    return TLM_OK;
}

void tlmi_kv_cache_free(tlmi_kv_cache_t *cache)
{
    if (cache == NULL)
        return;
    tlmi_free(cache->keys);
    tlmi_free(cache->values);
    tlmi_free(cache);
}

/* ---- Forgetting --------------------------------------------------------------------------- */

void tlmi_kv_cache_clear(tlmi_kv_cache_t *cache)
{
    cache->length = cache->shift = 0;
    cache->is_window = false;
    atomic_store_explicit(&cache->too_large, false, memory_order_relaxed);
}

void tlmi_kv_cache_truncate(tlmi_kv_cache_t *cache, int64_t length)
{
    /* the first position behind the kept ones that the token at `length` sees */
    const int64_t needed = length + 1 - (cache->context - cache->kept);
    const bool useless =
        cache->is_window || atomic_load_explicit(&cache->too_large, memory_order_relaxed);

    if (length >= cache->length && !useless)
        return;
    if (useless || (cache->shift > 0 && cache->kept + cache->shift > needed))
        tlmi_kv_cache_clear(cache);
    else
        cache->length = length;
}

tlm_status_t tlmi_kv_cache_check(const tlmi_kv_cache_t *cache, const char *function, size_t index)
{
    if (!atomic_load_explicit(&cache->too_large, memory_order_relaxed))
        return TLM_OK;
    return tlmi_fail(TLM_ERR_RANGE,
                     "%s: a key or value of sequence %zu is above 65504 or NaN, which its float16 "
                     "cache cannot hold; cache_type may be TLM_FLOAT32",
                     function, index);
}

/* ---- Rows --------------------------------------------------------------------------------- */

int64_t tlmi_grown_tokens(int64_t tokens, int64_t limit)
{
    int64_t spare = tokens / 2 + 64;

    return limit - tokens < spare ? limit : tokens + spare;
}

static size_t element_size(const tlmi_kv_cache_t *cache)
{
    return tlmi_dtype(cache->dtype)->bytes;
}

static void *alloc_planes(const tlmi_kv_cache_t *cache, int64_t planes, int64_t capacity,
                          int64_t d_head)
{
    size_t n;

    if (!tlmi_mul_size(&n, (size_t)planes, (size_t)d_head) ||
        !tlmi_mul_size(&n, n, (size_t)capacity))
        n = SIZE_MAX; /* refused by the allocator, with its message */
    return tlmi_alloc_aligned(n, element_size(cache), "a key-value cache");
}

/* Replaces `*rows`, (planes, cache->capacity, row_bytes), by `larger`, (planes, capacity,
 * row_bytes), with the same tokens in it. */
static void move_rows(void **rows, char *larger, const tlmi_kv_cache_t *cache, int64_t planes,
                      int64_t capacity, size_t row_bytes)
{
    const size_t used = (size_t)tlmi_kv_cache_rows(cache) * row_bytes;

    for (int64_t plane = 0; plane < planes && used > 0; plane++)
        memcpy(larger + (size_t)(plane * capacity) * row_bytes,
               (const char *)*rows + (size_t)(plane * cache->capacity) * row_bytes, used);
    tlmi_free(*rows);
    *rows = larger;
}

tlm_status_t tlmi_kv_cache_reserve(tlmi_kv_cache_t *cache, const tlm_model_t *model, int64_t rows)
{
    const int64_t planes = model->options.num_layers * model->options.num_kv_heads;
    const int64_t d_head = model->shape.d_head;

    if (rows <= cache->capacity)
        return TLM_OK;
    const int64_t capacity = tlmi_grown_tokens(rows, cache->limit);
    const size_t row_bytes = (size_t)d_head * element_size(cache);
    void *keys = alloc_planes(cache, planes, capacity, d_head);
    void *values = keys == NULL ? NULL : alloc_planes(cache, planes, capacity, d_head);
    if (values == NULL) {
        tlmi_free(keys);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    move_rows(&cache->keys, keys, cache, planes, capacity, row_bytes);
    move_rows(&cache->values, values, cache, planes, capacity, row_bytes);
    cache->capacity = capacity;
    return TLM_OK;
}

/* Drops the rows behind the kept ones that neither the next token sees nor the last one, in case it
 * is computed again. */
static void drop_oldest(tlmi_kv_cache_t *cache, const tlm_model_t *model)
{
    const int64_t planes = model->options.num_layers * model->options.num_kv_heads;
    const size_t row_bytes = (size_t)model->shape.d_head * element_size(cache);
    const int64_t dropped = tlmi_kv_cache_rows(cache) - cache->context;
    const size_t moved = (size_t)(cache->context - cache->kept) * row_bytes;

    for (int64_t plane = 0; plane < planes; plane++) {
        const size_t first = (size_t)(plane * cache->capacity + cache->kept) * row_bytes;
        const size_t from = first + (size_t)dropped * row_bytes;

        memmove((char *)cache->keys + first, (const char *)cache->keys + from, moved);
        memmove((char *)cache->values + first, (const char *)cache->values + from, moved);
    }
    cache->shift += dropped;
}

void tlmi_kv_cache_slide(tlmi_kv_cache_t *cache, const tlm_model_t *model, int64_t n)
{
    if (cache->context > 0 && tlmi_kv_cache_rows(cache) + n > cache->limit)
        drop_oldest(cache, model);
}
