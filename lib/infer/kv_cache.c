/* The memory of a key-value cache. */
#include "infer/infer_core.h"

#include "base/error.h"
#include "base/memory.h"

tlm_status_t tlmi_kv_cache_create(tlmi_kv_cache_t **out, const tlm_model_t *model, int64_t capacity)
{
    tlmi_kv_cache_t *cache = tlmi_calloc(1, sizeof(*cache), "a key-value cache");
    size_t n;

    if (cache == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    cache->capacity = capacity;
    if (!tlmi_mul_size(&n, (size_t)capacity, (size_t)model->options.num_layers) ||
        !tlmi_mul_size(&n, n, (size_t)model->shape.kv_width))
        n = SIZE_MAX; /* refused by the allocator, with its message */
    cache->keys = tlmi_alloc_aligned(n, sizeof(float), "a key-value cache");
    if (cache->keys != NULL)
        cache->values = tlmi_alloc_aligned(n, sizeof(float), "a key-value cache");
    if (cache->values == NULL) {
        tlmi_kv_cache_free(cache);
        return TLM_ERR_OUT_OF_MEMORY;
    }
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
