/* The memory of a key-value cache: it grows with the tokens. */
#include "infer/infer_core.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

tlm_status_t tlmi_kv_cache_create(tlmi_kv_cache_t **out, int64_t limit)
{
    tlmi_kv_cache_t *cache = tlmi_calloc(1, sizeof(*cache), "a key-value cache");

    if (cache == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
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

int64_t tlmi_grown_tokens(int64_t tokens, int64_t limit)
{
    int64_t spare = tokens / 2 + 64;

    return limit - tokens < spare ? limit : tokens + spare;
}

static float *alloc_planes(int64_t planes, int64_t capacity, int64_t d_head)
{
    size_t n;

    if (!tlmi_mul_size(&n, (size_t)planes, (size_t)d_head) ||
        !tlmi_mul_size(&n, n, (size_t)capacity))
        n = SIZE_MAX; /* refused by the allocator, with its message */
    return tlmi_alloc_aligned(n, sizeof(float), "a key-value cache");
}

/* Replaces `*rows`, (planes, cache->capacity, d_head), by `larger`, (planes, capacity, d_head), with
 * the same tokens in it. */
static void move_rows(float **rows, float *larger, const tlmi_kv_cache_t *cache, int64_t planes,
                      int64_t capacity, int64_t d_head)
{
    for (int64_t plane = 0; plane < planes && cache->length > 0; plane++)
        memcpy(larger + plane * capacity * d_head, *rows + plane * cache->capacity * d_head,
               (size_t)(cache->length * d_head) * sizeof(float));
    tlmi_free(*rows);
    *rows = larger;
}

tlm_status_t tlmi_kv_cache_reserve(tlmi_kv_cache_t *cache, const tlm_model_t *model, int64_t tokens)
{
    const int64_t planes = model->options.num_layers * model->options.num_kv_heads;
    const int64_t d_head = model->shape.d_head;

    if (tokens <= cache->capacity)
        return TLM_OK;
    const int64_t capacity = tlmi_grown_tokens(tokens, cache->limit);
    float *keys = alloc_planes(planes, capacity, d_head);
    float *values = keys == NULL ? NULL : alloc_planes(planes, capacity, d_head);
    if (values == NULL) {
        tlmi_free(keys);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    move_rows(&cache->keys, keys, cache, planes, capacity, d_head);
    move_rows(&cache->values, values, cache, planes, capacity, d_head);
    cache->capacity = capacity;
    return TLM_OK;
}
