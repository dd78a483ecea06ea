/* Linear layer: y = x W^T, one matrix product over all rows of x. */
#include "base/error.h"
#include "tensor/tensor_core.h"
#include "kernels/gemm.h"
#include "tinylm/nn.h"

/* dX = dY W, dW = dY^T X. The product itself adds to a gradient that is already there. */
static tlm_status_t linear_gradients(tlmi_node_t *node, const float *grad, const tlm_tensor_t *x,
                                     const tlm_tensor_t *weight)
{
    int64_t d_out = weight->shape[0], d_in = weight->shape[1];
    int64_t rows = tlmi_dims_product(x->shape, 0, x->ndim - 1);
    float *buffer;
    bool accumulate;
    if (tlmi_wants_grad(node, 0)) {
        const tlmi_weight_t w = tlmi_weight_of(weight);
        TLMI_TRY(tlmi_grad_open(&buffer, &accumulate, node, 0));
        TLMI_TRY(tlmi_weight_product_back(buffer, rows, grad, &w, accumulate));
    }
    if (tlmi_wants_grad(node, 1)) {
        tlmi_matrix_t dy = {grad, 1, d_out}, in = {tlmi_floats(x), d_in, 1};
        TLMI_TRY(tlmi_grad_open(&buffer, &accumulate, node, 1));
        TLMI_TRY(tlmi_gemm(d_out, d_in, rows, 1.0f, dy, in, accumulate, buffer, d_in));
    }
    return TLM_OK;
}

static tlm_status_t linear_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    tlm_tensor_t *x = NULL, *weight = NULL;
    tlm_status_t status = tlmi_contiguous(&x, node->inputs[0]);
    if (status == TLM_OK)
        status = tlmi_contiguous(&weight, node->inputs[1]);
    if (status == TLM_OK)
        status = linear_gradients(node, tlmi_floats(grad_out), x, weight);
    tlm_tensor_free(x);
    tlm_tensor_free(weight);
    return status;
}

static const tlmi_op_t linear_op = {.name = "linear",
                                    .input_names = {"x", "weight"},
                                    .reads = {TLMI_READS_INPUT(1), TLMI_READS_INPUT(0)},
                                    .backward = linear_backward};

static tlm_status_t check_linear(const tlm_tensor_t *x, const tlm_tensor_t *weight)
{
    TLMI_TRY(tlmi_check_float("linear", "x", x));
    TLMI_TRY(tlmi_check_float("linear", "weight", weight));
    char a[TLMI_SHAPE_TEXT], b[TLMI_SHAPE_TEXT];
    if (x->ndim < 1 || weight->ndim != 2 || x->shape[x->ndim - 1] != weight->shape[1])
        return tlmi_fail(TLM_ERR_SHAPE, "linear: x %s does not fit weight %s (d_out, d_in)",
                         tlmi_shape_text(a, x), tlmi_shape_text(b, weight));
    return TLM_OK;
}

static tlm_status_t linear_forward(tlm_tensor_t *y, const tlm_tensor_t *x,
                                   const tlm_tensor_t *weight)
{
    tlm_tensor_t *rows = NULL, *w = NULL;
    tlm_status_t status = tlmi_contiguous(&rows, x);
    if (status == TLM_OK)
        status = tlmi_contiguous(&w, weight);
    if (status == TLM_OK) {
        const tlmi_weight_t matrix = tlmi_weight_of(w);
        status = tlmi_weight_product(tlmi_floats(y), tlmi_dims_product(x->shape, 0, x->ndim - 1),
                                     tlmi_floats(rows), &matrix, 0.0f);
    }
    tlm_tensor_free(rows);
    tlm_tensor_free(w);
    return status;
}

tlm_status_t tlm_linear(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *weight)
{
    TLMI_REQUIRE("linear", out);
    TLMI_TRY(check_linear(x, weight));
    int64_t shape[TLM_MAX_DIMS];
    for (int32_t i = 0; i < x->ndim; i++)
        shape[i] = x->shape[i];
    shape[x->ndim - 1] = weight->shape[0];
    tlm_tensor_t *y, *inputs[] = {x, weight};
    TLMI_TRY(tlmi_tensor_new(&y, TLM_FLOAT32, shape, x->ndim));
    tlm_status_t status = linear_forward(y, x, weight);
    if (status == TLM_OK && tlmi_needs_grad(inputs, 2))
        status = tlmi_record(NULL, &linear_op, y, inputs, 2, 0);
    if (status != TLM_OK) {
        tlm_tensor_free(y);
        return status;
    }
    *out = y;
    return TLM_OK;
}
