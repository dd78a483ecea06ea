/* Scaled dot-product attention: checks of shapes and masks around the op. */
#include "nn/attention.h"

#include <string.h>

#include "base/error.h"
#include "tinylm/nn.h"

/* As many key heads as query heads, or fewer that divide them. */
static bool heads_fit(int64_t query_heads, int64_t key_heads)
{
    return query_heads == key_heads ||
           (query_heads > 0 && key_heads > 0 && query_heads % key_heads == 0);
}

/* *group: how many query heads, along the last leading dimension, share a key head. */
static tlm_status_t check_operands(int64_t *group, const tlm_tensor_t *query,
                                   const tlm_tensor_t *key, const tlm_tensor_t *value)
{
    char q[TLMI_SHAPE_TEXT], k[TLMI_SHAPE_TEXT], v[TLMI_SHAPE_TEXT];
    TLMI_TRY(tlmi_check_float("attention", "query", query));
    TLMI_TRY(tlmi_check_float("attention", "key", key));
    TLMI_TRY(tlmi_check_float("attention", "value", value));
    int32_t n = query->ndim;
    bool fits = n >= 2 && key->ndim == n && value->ndim == n &&
                query->shape[n - 1] == key->shape[n - 1] &&
                key->shape[n - 2] == value->shape[n - 2];
    for (int32_t i = 0; fits && i < n - 2; i++)
        fits = key->shape[i] == value->shape[i] &&
               (i == n - 3 ? heads_fit(query->shape[i], key->shape[i])
                           : query->shape[i] == key->shape[i]);
    if (!fits)
        return tlmi_fail(TLM_ERR_SHAPE, "attention: query %s, key %s and value %s do not fit",
                         tlmi_shape_text(q, query), tlmi_shape_text(k, key),
                         tlmi_shape_text(v, value));
    if (query->shape[n - 1] == 0)
        return tlmi_fail(TLM_ERR_SHAPE, "attention: query %s has an empty last dimension",
                         tlmi_shape_text(q, query));
    *group = n > 2 && key->shape[n - 3] > 0 ? query->shape[n - 3] / key->shape[n - 3] : 1;
    return TLM_OK;
}

/* The mask as strides over (leading..., queries, keys), 0 where it broadcasts. */
static tlm_status_t read_mask(tlmi_mask_t *out, const tlm_tensor_t *query, const tlm_tensor_t *key,
                              const tlm_tensor_t *mask)
{
    char a[TLMI_SHAPE_TEXT], b[TLMI_SHAPE_TEXT];
    int32_t n = query->ndim;
    int64_t shape[TLM_MAX_DIMS], strides[TLM_MAX_DIMS] = {0};
    memcpy(shape, query->shape, sizeof shape);
    shape[n - 1] = key->shape[n - 2];
    if (mask->dtype != TLM_BOOL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "attention: mask has type %s, not bool",
                         tlmi_dtype_name(mask->dtype));
    bool fits = mask->ndim <= n;
    for (int32_t i = 0; fits && i < mask->ndim; i++) {
        int32_t dim = n - mask->ndim + i;
        fits = mask->shape[i] == shape[dim] || mask->shape[i] == 1;
        strides[dim] = mask->shape[i] == 1 ? 0 : mask->strides[i];
    }
    if (!fits)
        return tlmi_fail(TLM_ERR_SHAPE, "attention: mask %s does not broadcast to %s",
                         tlmi_shape_text(a, mask), tlmi_dims_text(b, shape, n));
    out->data = mask->data;
    out->leading = n - 2;
    memcpy(out->shape, shape, sizeof shape);
    memcpy(out->strides, strides, sizeof strides);
    out->query_stride = strides[n - 2];
    out->key_stride = strides[n - 1];
    return TLM_OK;
}

tlm_status_t tlm_attention(tlm_tensor_t **out, tlm_tensor_t *query, tlm_tensor_t *key,
                           tlm_tensor_t *value, tlm_tensor_t *mask, bool causal)
{
    TLMI_REQUIRE("attention", out);
    int64_t group = 1;
    TLMI_TRY(check_operands(&group, query, key, value));
    int32_t n = query->ndim;
    tlmi_attention_t attention = {.outer = tlmi_dims_product(query->shape, 0, n - 2),
                                  .heads = 1,
                                  .group = group,
                                  .queries = query->shape[n - 2],
                                  .keys = key->shape[n - 2],
                                  .d_key = query->shape[n - 1],
                                  .d_value = value->shape[n - 1],
                                  .causal = causal};
    if (mask != NULL)
        TLMI_TRY(read_mask(&attention.mask, query, key, mask));
    int64_t shape[TLM_MAX_DIMS];
    memcpy(shape, query->shape, sizeof shape);
    shape[n - 1] = attention.d_value;
    tlm_tensor_t *q = NULL, *k = NULL, *v = NULL;
    tlm_status_t status = tlm_contiguous(&q, query);
    if (status == TLM_OK)
        status = tlm_contiguous(&k, key);
    if (status == TLM_OK)
        status = tlm_contiguous(&v, value);
    if (status == TLM_OK)
        status = tlmi_attention_op(out, &attention, q, k, v, mask, NULL, shape, n);
    tlm_tensor_free(q);
    tlm_tensor_free(k);
    tlm_tensor_free(v);
    return status;
}
