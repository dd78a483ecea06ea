/* Layers of tensors in bfloat16 and float16: they are computed in float32, and the result is rounded to
 * the type of x. */
#include "base/dtype.h"
#include "base/error.h"
#include "nn/nn_core.h"

static bool is_half(int32_t dtype)
{
    return dtype == TLM_BFLOAT16 || dtype == TLM_FLOAT16;
}

tlm_status_t tlmi_check_real(const char *op, const char *name, const tlm_tensor_t *tensor)
{
    if (tensor == NULL || tensor->dtype == TLM_FLOAT32)
        return tlmi_check_float(op, name, tensor);
    if (!is_half(tensor->dtype))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: %s has type %s, not float32, bfloat16 or float16", op, name,
                         tlmi_dtype_name(tensor->dtype));
    return TLM_OK;
}

/* *out = the tensor as float32: itself, retained, if it has that type. */
static tlm_status_t widen(tlm_tensor_t **out, tlm_tensor_t *tensor)
{
    if (tensor->dtype != TLM_FLOAT32)
        return tlm_tensor_convert(out, tensor, TLM_FLOAT32);
    tlm_tensor_retain(tensor);
    *out = tensor;
    return TLM_OK;
}

/* A result that is not float32 could pass no gradient on. */
static tlm_status_t check_gradients(const tlmi_op_t *op, tlm_tensor_t *const *inputs,
                                    int32_t num_inputs)
{
    for (int32_t i = 0; i < num_inputs; i++)
        if (inputs[0]->dtype != TLM_FLOAT32 && tlmi_needs_grad(&inputs[i], 1))
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "%s: %s requires a gradient, but %s has type %s, and gradients exist "
                             "for float32 only",
                             op->name, op->input_names[i], op->input_names[0],
                             tlmi_dtype_name(inputs[0]->dtype));
    return TLM_OK;
}

tlm_status_t tlmi_in_float32(tlm_tensor_t **out, const tlmi_op_t *op, tlmi_layer_fn compute,
                             tlm_tensor_t *const *inputs, int32_t num_inputs, const void *arguments)
{
    tlm_tensor_t *floats[TLMI_MOST_LAYER_INPUTS] = {NULL}, *y = NULL;
    const int32_t dtype = inputs[0]->dtype;
    tlm_status_t status = check_gradients(op, inputs, num_inputs);

    for (int32_t i = 0; i < num_inputs && status == TLM_OK; i++)
        status = widen(&floats[i], inputs[i]);
    if (status == TLM_OK)
        status = compute(&y, floats, arguments);
    if (status == TLM_OK && dtype != TLM_FLOAT32) {
        status = tlm_tensor_convert(out, y, dtype);
        tlm_tensor_free(y);
    } else if (status == TLM_OK) {
        *out = y;
    }
    for (int32_t i = 0; i < num_inputs; i++)
        tlm_tensor_free(floats[i]);
    return status;
}
