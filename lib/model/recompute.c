/* A block whose intermediate results are not kept: forward runs it without a graph, and backward
 * runs it again with a graph and goes through that graph at once (Chen et al., "Training deep nets
 * with sublinear memory cost", 2016). The operations and their order are those of the plain graph,
 * so the gradients are bit-identical. */
#include "base/error.h"
#include "model/model_core.h"
#include "tensor/tensor_core.h"

/* The inputs of the node are x, then the parameters of the block. They serve as the parameters of a
 * model of one block, with x in front. So nothing refers to the caller's model, which may be freed
 * before backward. */
typedef struct recompute_context {
    tlm_model_options_t options;
    tlmi_model_shape_t shape;
    int64_t layer;
} recompute_context_t;

/* Makes a leaf that shares the elements of x. */
static tlm_status_t detach(tlm_tensor_t **leaf, const tlm_tensor_t *x)
{
    TLMI_TRY(tlmi_tensor_view(leaf, x, x->data, x->shape, x->strides, x->ndim));
    (*leaf)->requires_grad = x->requires_grad;
    return TLM_OK;
}

static tlm_status_t recompute_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    const recompute_context_t *context = tlmi_node_context(node);
    tlm_model_t block = {.options = context->options,
                         .shape = context->shape,
                         .num_parameters = (size_t)node->num_inputs,
                         .parameters = node->inputs,
                         .first_layer = context->layer};
    tlm_tensor_t *x = NULL, *y = NULL;

    TLMI_TRY(detach(&x, node->inputs[0]));
    bool former = tlm_set_grad_enabled(true);
    tlm_status_t status = tlmi_block_forward(&y, &block, 0, x);
    if (status == TLM_OK)
        status = tlm_tensor_backward(y, grad_out);
    tlm_set_grad_enabled(former);
    tlm_tensor_free(y); /* frees everything that y kept alive */
    if (status == TLM_OK && x->grad != NULL)
        status = tlmi_grad_give(node, 0, x->grad);
    tlm_tensor_free(x);
    return status;
}

static const tlmi_op_t recompute_op = {
    .name = "recomputed block",
    .reads = {TLMI_READS_INPUTS, TLMI_READS_INPUTS, TLMI_READS_INPUTS, TLMI_READS_INPUTS},
    .backward = recompute_backward};

tlm_status_t tlmi_block_recomputed(tlm_tensor_t **out, const tlm_model_t *model, int64_t layer,
                                   tlm_tensor_t *x)
{
    size_t count = model->shape.block_parameters;
    tlm_tensor_t **inputs =
        tlmi_cached_calloc(count + 1, sizeof(tlm_tensor_t *), "a block's inputs");
    tlm_tensor_t *y = NULL;

    if (inputs == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    inputs[0] = x;
    for (size_t i = 0; i < count; i++)
        inputs[1 + i] =
            model->parameters[model->shape.front_parameters + (size_t)layer * count + i];
    bool graph = tlmi_needs_grad(inputs, (int32_t)count + 1);
    bool former = tlm_set_grad_enabled(false);
    tlm_status_t status = tlmi_block_forward(&y, model, layer, x);
    tlm_set_grad_enabled(former);
    tlmi_node_t *node;
    if (status == TLM_OK && graph) {
        status = tlmi_record(&node, &recompute_op, y, inputs, (int32_t)count + 1,
                             sizeof(recompute_context_t));
        if (status == TLM_OK) {
            recompute_context_t *context = tlmi_node_context(node);

            *context = (recompute_context_t){model->options, model->shape, layer};
            context->shape.front_parameters = 1;
        }
    }
    tlmi_cached_free(inputs);
    if (status == TLM_OK)
        *out = y;
    else
        tlm_tensor_free(y);
    return status;
}
