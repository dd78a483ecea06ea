/* Attention as an op: scaled dot-product attention (tlm_attention) and causal multi-head self-
 * attention (tlm_multi_head_attention). Both record the same op, whose computation is in
 * attention_forward.c and attention_backward.c. */
#include "nn/nn_core.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "tensor/tensor_core.h"
#include "tinylm/nn.h"

/* ---- The recorded op ----------------------------------------------------------------- */

typedef struct attention_context {
    tlmi_attention_t attention;
    float *lse;               /* (outer, heads, queries), owned */
    tlmi_rotation_t rotation; /* owned; table NULL: none */
} attention_context_t;

/* The heads of a contiguous (outer, rows, heads * d) tensor, side by side in its rows. */
static tlmi_heads_t side_by_side(float *data, int64_t heads, int64_t rows, int64_t d)
{
    int64_t row = heads * d;
    return (tlmi_heads_t){data, heads, rows * row, d, row};
}

static tlmi_heads_t query_heads(float *data, const tlmi_attention_t *attention)
{
    return side_by_side(data, attention->heads, attention->queries, attention->d_key);
}

static tlmi_heads_t key_heads(float *data, const tlmi_attention_t *attention)
{
    return side_by_side(data, tlmi_key_heads(attention), attention->keys, attention->d_key);
}

static tlmi_heads_t value_heads(float *data, const tlmi_attention_t *attention)
{
    return side_by_side(data, tlmi_key_heads(attention), attention->keys, attention->d_value);
}

static tlmi_heads_t out_heads(float *data, const tlmi_attention_t *attention)
{
    return side_by_side(data, attention->heads, attention->queries, attention->d_value);
}

/* Opens the gradients of query, key and value. The task of a head writes all three, so if one
 * tensor is more than one operand, the later gradients go to tensors of their own (aside), which
 * are added at the end. */
static tlm_status_t open_gradients(float *buffers[3], bool accumulate[3], tlm_tensor_t *aside[3],
                                   tlmi_node_t *node)
{
    for (int32_t i = 0; i < 3; i++) {
        tlm_tensor_t *input = node->inputs[i];
        if (!tlmi_wants_grad(node, i))
            continue;
        if ((i > 0 && input == node->inputs[0]) || (i > 1 && input == node->inputs[1])) {
            TLMI_TRY(tlmi_tensor_new(&aside[i], TLM_FLOAT32, input->shape, input->ndim));
            buffers[i] = tlmi_floats(aside[i]);
        } else
            TLMI_TRY(tlmi_grad_open(&buffers[i], &accumulate[i], node, i));
    }
    return TLM_OK;
}

static tlm_status_t attention_gradients(tlmi_node_t *node, tlm_tensor_t *aside[3],
                                        tlm_tensor_t *const rows[3], const tlm_tensor_t *grad_out)
{
    attention_context_t *context = tlmi_node_context(node);
    tlmi_attention_t *attention = &context->attention;
    float *buffers[3] = {NULL, NULL, NULL};
    bool accumulate[3] = {false, false, false};
    attention->rotation = context->rotation.table != NULL ? &context->rotation : NULL;
    TLMI_TRY(open_gradients(buffers, accumulate, aside, node));
    tlmi_attention_gradients_t gradients = {query_heads(buffers[0], attention),
                                            key_heads(buffers[1], attention),
                                            value_heads(buffers[2], attention),
                                            accumulate[0],
                                            accumulate[1],
                                            accumulate[2]};
    TLMI_TRY(tlmi_attention_backward(
        attention, &gradients, out_heads(tlmi_floats(grad_out), attention),
        out_heads(tlmi_floats(node->output), attention), context->lse,
        query_heads(tlmi_floats(rows[0]), attention), key_heads(tlmi_floats(rows[1]), attention),
        value_heads(tlmi_floats(rows[2]), attention)));
    for (int32_t i = 0; i < 3; i++)
        if (aside[i] != NULL)
            TLMI_TRY(tlmi_grad_give(node, i, aside[i]));
    return TLM_OK;
}

static tlm_status_t attention_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    tlm_tensor_t *aside[3] = {NULL, NULL, NULL}, *rows[3] = {NULL, NULL, NULL};
    tlm_status_t status = TLM_OK;
    for (int32_t i = 0; i < 3 && status == TLM_OK; i++) /* values may have been dropped */
        status = tlmi_contiguous(&rows[i], node->inputs[i]);
    if (status == TLM_OK)
        status = attention_gradients(node, aside, rows, grad_out);
    for (int32_t i = 0; i < 3; i++) {
        tlm_tensor_free(aside[i]);
        tlm_tensor_free(rows[i]);
    }
    return status;
}

static void attention_release(tlmi_node_t *node)
{
    attention_context_t *context = tlmi_node_context(node);
    tlmi_cached_free(context->lse);
    tlmi_rotation_free(&context->rotation);
}

static const tlmi_op_t attention_op = {.name = "attention",
                                       .input_names = {"query", "key", "value", "mask"},
                                       .backward = attention_backward,
                                       .release = attention_release};

/* Puts the node on y. The node takes over lse and the rotation's table. */
static tlm_status_t record_attention(tlm_tensor_t *y, const tlmi_attention_t *attention,
                                     tlm_tensor_t **inputs, float *lse, tlmi_rotation_t *rotation)
{
    tlmi_node_t *node;
    TLMI_TRY(tlmi_record(&node, &attention_op, y, inputs, 4, sizeof(attention_context_t)));
    attention_context_t *context = tlmi_node_context(node);
    context->attention = *attention;
    context->lse = lse;
    if (rotation != NULL) {
        context->rotation = *rotation;
        rotation->table = NULL;
    }
    return TLM_OK;
}

/* Runs attention over contiguous query, key and value into a new tensor of `shape` and records it.
 * With attention->heads = 1 the operands are (outer, rows, d), key and value (outer / group, rows,
 * d); with more heads they are (outer, rows, heads * d), key and value (outer, rows, heads / group
 * * d). mask may be NULL. A recorded node takes over the table of *rotation, which may be NULL. */
static tlm_status_t run_attention(tlm_tensor_t **out, const tlmi_attention_t *attention,
                                  tlm_tensor_t *query, tlm_tensor_t *key, tlm_tensor_t *value,
                                  tlm_tensor_t *mask, tlmi_rotation_t *rotation,
                                  const int64_t *shape, int32_t ndim)
{
    tlm_tensor_t *y, *inputs[] = {query, key, value, mask};
    bool graph = tlmi_needs_grad(inputs, 3);
    float *lse = NULL;
    TLMI_TRY(tlmi_tensor_new(&y, TLM_FLOAT32, shape, ndim));
    tlm_status_t status = TLM_OK;
    if (graph) {
        size_t rows = (size_t)(attention->outer * attention->heads * attention->queries);
        lse = tlmi_cached_alloc(rows, sizeof(float), "the row sums of attention");
        status = lse == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
    }
    if (status == TLM_OK)
        status = tlmi_attention_forward(attention, out_heads(tlmi_floats(y), attention), lse,
                                        query_heads(tlmi_floats(query), attention),
                                        key_heads(tlmi_floats(key), attention),
                                        value_heads(tlmi_floats(value), attention));
    if (status == TLM_OK && graph) {
        status = record_attention(y, attention, inputs, lse, rotation);
        if (status == TLM_OK)
            lse = NULL;
    }
    tlmi_cached_free(lse);
    if (status == TLM_OK)
        *out = y;
    else
        tlm_tensor_free(y);
    return status;
}

/* ---- tlm_attention ------------------------------------------------------------------- */

/* There must be as many key heads as query heads, or fewer that divide them. */
static bool heads_fit(int64_t query_heads, int64_t key_heads)
{
    return query_heads == key_heads ||
           (query_heads > 0 && key_heads > 0 && query_heads % key_heads == 0);
}

/* Checks the shapes. *group is the number of query heads that share a key head, along the last
 * leading dimension. */
static tlm_status_t check_operands(int64_t *group, const tlm_tensor_t *query,
                                   const tlm_tensor_t *key, const tlm_tensor_t *value)
{
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
    char q[TLMI_SHAPE_TEXT], k[TLMI_SHAPE_TEXT], v[TLMI_SHAPE_TEXT];
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

/* Checks the mask and describes it by strides over (leading..., queries, keys), 0 where it
 * broadcasts. */
static tlm_status_t read_mask(tlmi_mask_t *out, const tlm_tensor_t *query, const tlm_tensor_t *key,
                              const tlm_tensor_t *mask)
{
    int32_t n = query->ndim;
    int64_t shape[TLM_MAX_DIMS], strides[TLM_MAX_DIMS] = {0};
    memcpy(shape, query->shape, sizeof(shape));
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
    char a[TLMI_SHAPE_TEXT], b[TLMI_SHAPE_TEXT];
    if (!fits)
        return tlmi_fail(TLM_ERR_SHAPE, "attention: mask %s does not broadcast to %s",
                         tlmi_shape_text(a, mask), tlmi_dims_text(b, shape, n));
    out->data = mask->data;
    out->leading = n - 2;
    memcpy(out->shape, shape, sizeof(shape));
    memcpy(out->strides, strides, sizeof(strides));
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
    memcpy(shape, query->shape, sizeof(shape));
    shape[n - 1] = attention.d_value;
    tlm_tensor_t *q = NULL, *k = NULL, *v = NULL;
    tlm_status_t status = tlm_contiguous(&q, query);
    if (status == TLM_OK)
        status = tlm_contiguous(&k, key);
    if (status == TLM_OK)
        status = tlm_contiguous(&v, value);
    if (status == TLM_OK)
        status = run_attention(out, &attention, q, k, v, mask, NULL, shape, n);
    tlm_tensor_free(q);
    tlm_tensor_free(k);
    tlm_tensor_free(v);
    return status;
}

/* ---- tlm_multi_head_attention -------------------------------------------------------- */

/* Three projections, attention over heads that lie side by side in the rows, and the output
 * projection. Nothing is transposed or copied in between. */
typedef struct projections {
    tlm_tensor_t *query, *key, *value;
} projections_t;

static tlm_status_t check_weights(const tlm_tensor_t *x, tlm_tensor_t *const weights[4])
{
    static const char *const names[] = {"wq", "wk", "wv", "wo"};
    TLMI_TRY(tlmi_check_float("multi_head_attention", "x", x));
    char a[TLMI_SHAPE_TEXT];
    if (x->ndim < 2)
        return tlmi_fail(TLM_ERR_SHAPE, "multi_head_attention: x %s must be (..., time, d_model)",
                         tlmi_shape_text(a, x));
    char b[TLMI_SHAPE_TEXT];
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

/* Checks the heads. *group is the number of query heads that share a key head; the number of key
 * heads follows from the rows of wk. */
static tlm_status_t check_heads(int64_t *group, const tlm_tensor_t *wq, const tlm_tensor_t *wk,
                                int32_t num_heads)
{
    if (num_heads < 1 || wq->shape[0] % num_heads != 0 || wq->shape[0] == 0)
        return tlmi_fail(TLM_ERR_SHAPE,
                         "multi_head_attention: the %d heads do not divide the %" PRId64
                         " rows of wq",
                         (int)num_heads, wq->shape[0]);
    int64_t d_head = wq->shape[0] / num_heads;
    int64_t key_heads = wk->shape[0] / d_head;
    if (key_heads == 0 || wk->shape[0] % d_head != 0 || num_heads % key_heads != 0)
        return tlmi_fail(TLM_ERR_SHAPE,
                         "multi_head_attention: wk has %" PRId64
                         " rows, which is no number of heads of %" PRId64
                         " rows that divides num_heads = %d",
                         wk->shape[0], d_head, (int)num_heads);
    *group = num_heads / key_heads;
    return TLM_OK;
}

tlm_status_t tlmi_heads_attention(tlm_tensor_t **out, const char *op, tlm_tensor_t *query,
                                  tlm_tensor_t *key, tlm_tensor_t *value, int32_t num_heads,
                                  int32_t num_kv_heads, const tlmi_score_rules_t *rules,
                                  tlm_tensor_t *positions)
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
                                  .causal = true,
                                  .window = rules->window,
                                  .scale = rules->scale,
                                  .softcap = rules->softcap,
                                  .dropout = rules->dropout};
    const bool rotates = rules->rope.theta != 0.0;
    if (rotates) {
        TLMI_TRY(tlmi_rotation_create(&rotation, op, query->shape, n - 2, time, d_head, positions,
                                      &rules->rope));
        attention.rotation = &rotation;
    }
    tlm_status_t status = run_attention(out, &attention, query, key, value, NULL,
                                        rotates ? &rotation : NULL, query->shape, n);
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
                                 num_heads, (int32_t)(num_heads / group),
                                 &(tlmi_score_rules_t){.rope = {.theta = rope_theta}}, positions);
    if (status == TLM_OK)
        status = tlm_linear(out, heads, wo);
    tlm_tensor_free(made.query);
    tlm_tensor_free(made.key);
    tlm_tensor_free(made.value);
    tlm_tensor_free(heads);
    return status;
}
