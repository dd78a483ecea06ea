/* Causal multi-head self-attention: three projections, attention over heads that lie side by side
 * in their rows, and the output projection. Nothing is transposed or copied in between. */
#include <string.h>

#include "base/error.h"
#include "nn/attention.h"
#include "tinylm/nn.h"

typedef struct projections {
    tlm_tensor_t *query, *key, *value;
} projections_t;

static tlm_status_t check_weights(const tlm_tensor_t *x, tlm_tensor_t *const weights[4])
{
    static const char *const names[] = {"wq", "wk", "wv", "wo"};
    char a[TLMI_SHAPE_TEXT], b[TLMI_SHAPE_TEXT];
    TLMI_TRY(tlmi_check_float("multi_head_attention", "x", x));
    if (x->ndim < 2)
        return tlmi_fail(TLM_ERR_SHAPE, "multi_head_attention: x %s must be (..., time, d_model)",
                         tlmi_shape_text(a, x));
    for (int i = 0; i < 4; i++) {
        const tlm_tensor_t *w = weights[i];
        TLMI_TRY(tlmi_check_float("multi_head_attention", names[i], w));
        if (w->ndim != 2 || (i == 2 && w->shape[0] != weights[1]->shape[0]) ||
            (i == 3 && w->shape[1] != weights[0]->shape[0]) ||
            (i < 3 && w->shape[1] != x->shape[x->ndim - 1]))
            return tlmi_fail(TLM_ERR_SHAPE, "multi_head_attention: %s %s does not fit x %s",
                             names[i], tlmi_shape_text(b, w), tlmi_shape_text(a, x));
    }
    return TLM_OK;
}

/* *group: how many query heads share a key head; the rows of wk tell how many there are of those. */
static tlm_status_t check_heads(int64_t *group, const tlm_tensor_t *wq, const tlm_tensor_t *wk,
                                int32_t num_heads)
{
    int64_t d_head, key_heads;
    if (num_heads < 1 || wq->shape[0] % num_heads != 0 || wq->shape[0] == 0)
        return tlmi_fail(TLM_ERR_SHAPE, "multi_head_attention: %d heads do not divide %lld",
                         (int)num_heads, (long long)wq->shape[0]);
    d_head = wq->shape[0] / num_heads;
    key_heads = wk->shape[0] / d_head;
    if (key_heads == 0 || wk->shape[0] % d_head != 0 || num_heads % key_heads != 0)
        return tlmi_fail(TLM_ERR_SHAPE,
                         "multi_head_attention: wk has %lld rows, no whole number of heads of %lld "
                         "rows that divides %d heads",
                         (long long)wk->shape[0], (long long)d_head, (int)num_heads);
    *group = num_heads / key_heads;
    return TLM_OK;
}

tlm_status_t tlmi_heads_attention(tlm_tensor_t **out, const char *op, tlm_tensor_t *query,
                                  tlm_tensor_t *key, tlm_tensor_t *value, int32_t num_heads,
                                  int32_t num_kv_heads, double rope_theta, tlm_tensor_t *positions)
{
    int32_t n = query->ndim;
    int64_t time = query->shape[n - 2], d_head = query->shape[n - 1] / num_heads;
    tlmi_rotation_t rotation = {NULL, 0, 0, 0};
    tlmi_attention_t attention = {.outer = tlmi_dims_product(query->shape, 0, n - 2),
                                  .heads = num_heads,
                                  .group = num_heads / num_kv_heads,
                                  .queries = time,
                                  .keys = time,
                                  .d_key = d_head,
                                  .d_value = d_head,
                                  .causal = true};
    if (rope_theta != 0.0) {
        TLMI_TRY(tlmi_rotation_create(&rotation, op, query->shape, n - 2, time, d_head, positions,
                                      rope_theta));
        attention.rotation = &rotation;
    }
    tlm_status_t status = tlmi_attention_op(out, &attention, query, key, value, NULL,
                                            rope_theta != 0.0 ? &rotation : NULL, query->shape, n);
    tlmi_rotation_free(&rotation);
    return status;
}

tlm_status_t tlm_multi_head_attention(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *wq,
                                      tlm_tensor_t *wk, tlm_tensor_t *wv, tlm_tensor_t *wo,
                                      int32_t num_heads, double rope_theta, tlm_tensor_t *positions)
{
    TLMI_REQUIRE("multi_head_attention", out);
    int64_t group = 1;
    TLMI_TRY(check_weights(x, (tlm_tensor_t *const[]){wq, wk, wv, wo}));
    TLMI_TRY(check_heads(&group, wq, wk, num_heads));
    projections_t made = {NULL, NULL, NULL};
    tlm_tensor_t *heads = NULL;
    tlm_status_t status = tlm_linear(&made.query, x, wq);
    if (status == TLM_OK)
        status = tlm_linear(&made.key, x, wk);
    if (status == TLM_OK)
        status = tlm_linear(&made.value, x, wv);
    if (status == TLM_OK)
        status =
            tlmi_heads_attention(&heads, "multi_head_attention", made.query, made.key, made.value,
                                 num_heads, (int32_t)(num_heads / group), rope_theta, positions);
    if (status == TLM_OK)
        status = tlm_linear(out, heads, wo);
    tlm_tensor_free(made.query);
    tlm_tensor_free(made.key);
    tlm_tensor_free(made.value);
    tlm_tensor_free(heads);
    return status;
}
