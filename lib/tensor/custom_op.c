/* Custom ops: the backward function of the node is a callback of the caller. The result is a view
 * of the tensor that the caller has computed, which itself stays as it was. */
#include "tinylm/custom_op.h"

#include <stdio.h>

#include "base/error.h"
#include "base/options.h"
#include "tensor/tensor_core.h"

typedef struct custom_context {
    tlmi_op_t op; /* of this node, with the caller's name */
    tlm_custom_op_options_t options;
    char name[64];
    size_t num_saved;
    struct {
        tlm_tensor_t **tensors; /* retained; stored after this struct */
        uint32_t *versions;     /* when the op was recorded; stored after the tensors */
    } saved;
} custom_context_t;

/* ---- Backward ------------------------------------------------------------------------ */

/* Takes the gradient that the callback made for input i. The graph keeps it, so it must be memory
 * of the library that nobody else can write to; anything else is copied. */
static tlm_status_t take_gradient(tlmi_node_t *node, int32_t i, tlm_tensor_t *gradient,
                                  const tlm_tensor_t *grad_out)
{
    TLMI_TRY(tlmi_check_float(node->op->name, "a gradient", gradient));
    char got[TLMI_SHAPE_TEXT], want[TLMI_SHAPE_TEXT];
    if (!tlmi_same_shape(gradient, node->inputs[i]))
        return tlmi_fail(TLM_ERR_SHAPE, "%s: gradient %s for input %d of shape %s", node->op->name,
                         tlmi_shape_text(got, gradient), i, tlmi_shape_text(want, node->inputs[i]));
    bool theirs = gradient->storage->bytes == 0 ||
                  (gradient->storage != grad_out->storage && tlmi_grad_is_shared(gradient));
    if (tlmi_is_contiguous(gradient) && !theirs && !gradient->requires_grad &&
        gradient->grad == NULL)
        return tlmi_grad_give(node, i, gradient);
    tlm_tensor_t *copy;
    TLMI_TRY(tlmi_tensor_new(&copy, TLM_FLOAT32, gradient->shape, gradient->ndim));
    tlmi_strided_copy(copy->data, copy->strides, gradient->data, gradient->strides, copy->shape,
                      copy->ndim, sizeof(float));
    tlm_status_t status = tlmi_grad_give(node, i, copy);
    tlm_tensor_free(copy);
    return status;
}

static bool is_status(tlm_status_t status)
{
    switch (status) {
#define CASE(name, code, text) case name:
        TLM_STATUS_LIST(CASE)
#undef CASE
        return true;
    default:
        return false;
    }
}

static tlm_status_t check_saved(const tlmi_node_t *node)
{
    const custom_context_t *context = tlmi_node_context(node);
    for (size_t i = 0; i < context->num_saved; i++) {
        char what[40];
        snprintf(what, sizeof(what), "saved tensor %zu", i);
        TLMI_TRY(tlmi_check_version(context->name, what, context->saved.tensors[i],
                                    context->saved.versions[i]));
    }
    return TLM_OK;
}

/* Reports a failure of the callback under the op's name, with the message of the library call that
 * failed inside it, if one did. */
static tlm_status_t report(const char *name, tlm_status_t status, uint64_t failures_before)
{
    char message[256] = "";
    if (tlmi_failure_count() != failures_before)
        snprintf(message, sizeof(message), ": %s", tlm_error_message());
    return tlmi_fail(is_status(status) ? status : TLM_ERR_CANCELLED,
                     "%s: backward returned %d, %s%s", name, status, tlm_status_name(status),
                     message);
}

static tlm_status_t custom_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    const custom_context_t *context = tlmi_node_context(node);
    size_t n = (size_t)node->num_inputs;
    tlm_tensor_t **grads =
        tlmi_cached_calloc(n, sizeof(tlm_tensor_t *), "gradients of a custom op");
    if (grads == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    bool recording = tlm_set_grad_enabled(false);
    uint64_t failures = tlmi_failure_count();
    uint32_t version = grad_out->storage->version;
    tlm_status_t status =
        context->options.backward(context->options.user, grads, grad_out, node->inputs, n,
                                  context->saved.tensors, context->num_saved);
    tlm_set_grad_enabled(recording);
    if (status != TLM_OK)
        status = report(context->name, status, failures);
    else if (grad_out->storage->version != version)
        status = tlmi_fail(TLM_ERR_STATE, "%s: backward wrote to grad_out, which others may share",
                           context->name);
    for (size_t i = 0; i < n; i++) {
        if (status == TLM_OK && grads[i] != NULL && tlmi_wants_grad(node, (int32_t)i))
            status = take_gradient(node, (int32_t)i, grads[i], grad_out);
        tlm_tensor_free(grads[i]);
    }
    tlmi_cached_free(grads);
    return status;
}

static void custom_release(tlmi_node_t *node)
{
    custom_context_t *context = tlmi_node_context(node);
    for (size_t i = 0; i < context->num_saved; i++)
        tlm_tensor_free(context->saved.tensors[i]);
    if (context->options.release != NULL)
        context->options.release(context->options.user);
}

/* ---- Recording ----------------------------------------------------------------------- */

static const char CALL[] = "custom_op_record";

static tlm_status_t check_tensors(const char *name, tlm_tensor_t *const *tensors, size_t n)
{
    if (n > INT32_MAX)
        return tlmi_fail(TLM_ERR_RANGE, "%s: %zu %s are too many; the limit is %d", CALL, n, name,
                         INT32_MAX);
    if (n > 0 && tensors == NULL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s is NULL", CALL, name);
    for (size_t i = 0; i < n; i++)
        if (tensors[i] == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s[%zu] is NULL", CALL, name, i);
    return TLM_OK;
}

static tlm_status_t record(tlm_tensor_t *out, tlm_tensor_t *const *inputs, size_t num_inputs,
                           tlm_tensor_t *const *saved, size_t num_saved,
                           const tlm_custom_op_options_t *options)
{
    static const tlmi_op_t unnamed = {
        .name = CALL,
        .reads = {TLMI_READS_INPUTS, TLMI_READS_INPUTS, TLMI_READS_INPUTS, TLMI_READS_INPUTS},
        .backward = custom_backward,
        .check_saved = check_saved,
        .release = custom_release,
    };
    tlmi_node_t *node;
    TLMI_TRY(tlmi_record(&node, &unnamed, out, inputs, (int32_t)num_inputs,
                         sizeof(custom_context_t) +
                             num_saved * (sizeof(tlm_tensor_t *) + sizeof(uint32_t))));
    custom_context_t *context = tlmi_node_context(node);
    snprintf(context->name, sizeof(context->name), "%s",
             options->name != NULL ? options->name : "custom op");
    context->op = unnamed;
    context->op.name = context->name;
    context->options = *options;
    context->num_saved = num_saved;
    context->saved.tensors = (tlm_tensor_t **)(context + 1);
    context->saved.versions = (uint32_t *)(context->saved.tensors + num_saved);
    for (size_t i = 0; i < num_saved; i++) {
        context->saved.tensors[i] = tlm_tensor_retain(saved[i]);
        context->saved.versions[i] = saved[i]->storage->version;
    }
    node->op = &context->op;
    return TLM_OK;
}

tlm_status_t tlm_custom_op_record(tlm_tensor_t **out, const tlm_tensor_t *result,
                                  tlm_tensor_t *const *inputs, size_t num_inputs,
                                  tlm_tensor_t *const *saved, size_t num_saved,
                                  const tlm_custom_op_options_t *options)
{
    tlm_custom_op_options_t known = TLM_CUSTOM_OP_OPTIONS_INIT;
    TLMI_REQUIRE(CALL, out);
    TLMI_TRY(tlmi_check_float(CALL, "result", result));
    TLMI_TRY(check_tensors("inputs", inputs, num_inputs));
    TLMI_TRY(check_tensors("saved", saved, num_saved));
    TLMI_TRY(tlmi_options_read(CALL, &known, TLMI_CUSTOM_OP_OPTIONS, options));
    if (known.backward == NULL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: options->backward is NULL", CALL);
    tlm_tensor_t *tensor;
    TLMI_TRY(tlm_tensor_detach(&tensor, result));
    if (tlmi_needs_grad(inputs, (int32_t)num_inputs)) {
        tlm_status_t status = record(tensor, inputs, num_inputs, saved, num_saved, &known);
        if (status != TLM_OK) {
            tlm_tensor_free(tensor);
            return status;
        }
    } else if (known.release != NULL) {
        known.release(known.user);
    }
    *out = tensor;
    return TLM_OK;
}
