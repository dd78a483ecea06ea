/* A block whose intermediate results are not kept: forward runs it without a graph, and backward
 * runs it again with a graph and goes through that graph at once (Chen et al., "Training deep nets
 * with sublinear memory cost", 2016). The operations and their order are those of the plain graph,
 * so the gradients are bit-identical. */
#include <string.h>

#include "base/error.h"
#include "kernels/gemm.h"
#include "model/model_core.h"
#include "tensor/tensor_core.h"

/* The inputs of the node are x, then the parameters of the block, then those of its adapters, then the
 * values where there are some. They
 * serve as the parameters of a model of one block, with x in front. So nothing refers to the
 * caller's model, which may be freed before backward. */
typedef struct recompute_context {
    tlm_model_options_t options;
    tlmi_model_shape_t shape;
    int64_t layer;
    tlmi_drop_state_t drop;
    bool has_values;
    int32_t products; /* tlm_products() in forward */
    bool adapted;
    tlmi_adapter_t adapters[]; /* by place among the inputs, up to the block's last parameter */
} recompute_context_t;

/* Makes a leaf that shares the elements of x. */
static tlm_status_t detach(tlm_tensor_t **leaf, const tlm_tensor_t *x)
{
    TLMI_TRY(tlmi_tensor_view(leaf, x, x->data, x->shape, x->strides, x->ndim));
    (*leaf)->requires_grad = x->requires_grad;
    return TLM_OK;
}

/* Passes on the gradient of a leaf that stood for input i, if it has one. */
static tlm_status_t give(tlmi_node_t *node, int32_t i, const tlm_tensor_t *leaf)
{
    return leaf != NULL && leaf->grad != NULL ? tlmi_grad_give(node, i, leaf->grad) : TLM_OK;
}

static tlm_status_t recompute_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    const recompute_context_t *context = tlmi_node_context(node);
    const int32_t last = node->num_inputs - 1;
    tlm_model_t block = {.options = context->options,
                         .shape = context->shape,
                         .num_parameters = (size_t)node->num_inputs,
                         .parameters = node->inputs,
                         .first_layer = context->layer,
                         .drop = context->drop};
    tlm_tensor_t *x = NULL, *values = NULL, *y = NULL;

    if (context->adapted)
        block.adapters = (tlmi_adapter_t *)(uintptr_t)context->adapters;
    bool former = tlm_set_grad_enabled(true);
    const int32_t former_products = tlmi_products_swap(context->products);
    tlm_status_t status = detach(&x, node->inputs[0]);
    if (status == TLM_OK && context->has_values)
        status = detach(&values, node->inputs[last]);
    if (status == TLM_OK)
        status = tlmi_block_forward(&y, &block, 0, x, values);
    if (status == TLM_OK)
        status = tlm_tensor_backward(y, grad_out);
    tlm_set_grad_enabled(former);
    (void)tlmi_products_swap(former_products);
    tlm_tensor_free(y); /* frees everything that y kept alive */
    if (status == TLM_OK)
        status = give(node, 0, x);
    if (status == TLM_OK)
        status = give(node, last, values);
    tlm_tensor_free(values);
    tlm_tensor_free(x);
    return status;
}

static const tlmi_op_t recompute_op = {
    .name = "recomputed block",
    .reads = {TLMI_READS_INPUTS, TLMI_READS_INPUTS, TLMI_READS_INPUTS, TLMI_READS_INPUTS},
    .backward = recompute_backward};

/* The place of a parameter among n inputs, as the last of them if it is not there yet. */
static size_t place_of(tlm_tensor_t **inputs, size_t *n, tlm_tensor_t *parameter)
{
    for (size_t i = 1; i < *n; i++)
        if (inputs[i] == parameter)
            return i;
    inputs[*n] = parameter;
    return (*n)++;
}

/* Lists the inputs, at most 2 + 3 block_parameters, and their adapters. Returns their number. */
static size_t list_inputs(tlm_tensor_t **inputs, tlmi_adapter_t *adapters, const tlm_model_t *model,
                          int64_t layer, tlm_tensor_t *x, tlm_tensor_t *values)
{
    const size_t count = model->shape.block_parameters;
    const size_t first = model->shape.front_parameters + (size_t)layer * count;
    size_t n = 1 + count;

    inputs[0] = x;
    for (size_t i = 0; i < count; i++)
        inputs[1 + i] = model->parameters[first + i];
    for (size_t i = 0; i < count && model->adapters != NULL; i++) {
        tlmi_adapter_t adapter = model->adapters[first + i];

        if (adapter.b != 0) {
            adapter.a = place_of(inputs, &n, model->parameters[adapter.a]);
            adapter.b = place_of(inputs, &n, model->parameters[adapter.b]);
        }
        adapters[1 + i] = adapter;
    }
    if (values != NULL)
        inputs[n++] = values;
    return n;
}

/* Puts the node on y. */
static tlm_status_t record(tlm_tensor_t *y, const tlm_model_t *model, int64_t layer,
                           tlm_tensor_t *const *inputs, size_t n, bool has_values,
                           const tlmi_adapter_t *adapters)
{
    const bool adapted = model->adapters != NULL;
    const size_t bytes = adapted ? (1 + model->shape.block_parameters) * sizeof(tlmi_adapter_t) : 0;
    tlmi_node_t *node;

    TLMI_TRY(tlmi_record(&node, &recompute_op, y, inputs, (int32_t)n,
                         sizeof(recompute_context_t) + bytes));
    recompute_context_t *context = tlmi_node_context(node);
    context->options = model->options;
    context->shape = model->shape;
    context->shape.front_parameters = 1;
    context->layer = layer;
    context->drop = model->drop;
    context->has_values = has_values;
    context->products = tlm_products();
    context->adapted = adapted;
    if (bytes > 0)
        memcpy(context->adapters, adapters, bytes);
    return TLM_OK;
}

tlm_status_t tlmi_block_recomputed(tlm_tensor_t **out, const tlm_model_t *model, int64_t layer,
                                   tlm_tensor_t *x, tlm_tensor_t *values)
{
    const size_t count = model->shape.block_parameters;
    tlm_tensor_t **inputs =
        tlmi_cached_calloc(3 * count + 2, sizeof(tlm_tensor_t *), "a block's inputs");
    tlmi_adapter_t *adapters =
        tlmi_cached_calloc(count + 1, sizeof(*adapters), "a block's adapters");
    tlm_tensor_t *y = NULL;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (inputs == NULL || adapters == NULL)
        goto done;
    const size_t n = list_inputs(inputs, adapters, model, layer, x, values);
    const bool graph = tlmi_needs_grad(inputs, (int32_t)n);
    const bool former = tlm_set_grad_enabled(false);
    status = tlmi_block_forward(&y, model, layer, x, values);
    tlm_set_grad_enabled(former);
    if (status == TLM_OK && graph)
        status = record(y, model, layer, inputs, n, values != NULL, adapters);
done:
    tlmi_cached_free(adapters);
    tlmi_cached_free(inputs);
    if (status == TLM_OK)
        *out = y;
    else
        tlm_tensor_free(y);
    return status;
}
