/* Recording attention: what the node keeps, and where operands and gradients lie. */
#include "nn/attention.h"

#include "base/error.h"
#include "tensor/tensor_core.h"

typedef struct attention_context {
    tlmi_attention_t attention;
    float *lse;               /* (outer, heads, queries), owned */
    tlmi_rotation_t rotation; /* owned; table NULL: none */
} attention_context_t;

/* Heads side by side in the rows of a contiguous (outer, rows, heads * d). */
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

/* Opens the gradients of query, key and value. The task of a head writes all three, so where one
 * tensor is several operands, the later ones go to a tensor aside, given at the end. */
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
                                        const tlm_tensor_t *grad_out)
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
    TLMI_TRY(tlmi_attention_backward(attention, &gradients,
                                     out_heads(tlmi_floats(grad_out), attention),
                                     out_heads(tlmi_floats(node->output), attention), context->lse,
                                     query_heads(tlmi_floats(node->inputs[0]), attention),
                                     key_heads(tlmi_floats(node->inputs[1]), attention),
                                     value_heads(tlmi_floats(node->inputs[2]), attention)));
    for (int32_t i = 0; i < 3; i++)
        if (aside[i] != NULL)
            TLMI_TRY(tlmi_grad_give(node, i, aside[i]));
    return TLM_OK;
}

static tlm_status_t attention_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    tlm_tensor_t *aside[3] = {NULL, NULL, NULL};
    tlm_status_t status = attention_gradients(node, aside, grad_out);
    for (int32_t i = 0; i < 3; i++)
        tlm_tensor_free(aside[i]);
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

/* Puts the node on y; takes lse, and the rotation's table. */
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

tlm_status_t tlmi_attention_op(tlm_tensor_t **out, const tlmi_attention_t *attention,
                               tlm_tensor_t *query, tlm_tensor_t *key, tlm_tensor_t *value,
                               tlm_tensor_t *mask, tlmi_rotation_t *rotation, const int64_t *shape,
                               int32_t ndim)
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
