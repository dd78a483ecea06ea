/* reshape, transpose, slice and contiguous, which are views of the same elements where possible,
 * and concat. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "tensor/tensor_core.h"

/* Records `op` on `result` if needed and returns it in *out; frees it on failure. */
static tlm_status_t finish(tlm_tensor_t **out, tlm_tensor_t *result, const tlmi_op_t *op,
                           tlm_tensor_t *a, const void *context, size_t context_size)
{
    if (tlmi_needs_grad(&a, 1)) {
        tlmi_node_t *node;
        tlm_status_t status = tlmi_record(&node, op, result, &a, 1, context_size);
        if (status != TLM_OK) {
            tlm_tensor_free(result);
            return status;
        }
        if (context_size > 0)
            memcpy(tlmi_node_context(node), context, context_size);
    }
    *out = result;
    return TLM_OK;
}

/* ---- reshape and contiguous ---------------------------------------------------------- */

/* Neither changes the row-major order of the elements, so the gradient passes through. */
static tlm_status_t same_order_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    return tlmi_grad_give(node, 0, grad_out);
}

static const tlmi_op_t reshape_op = {.name = "reshape",
                                     .input_names = {"a"},
                                     .reads = {TLMI_READS_NOTHING},
                                     .backward = same_order_backward};
static const tlmi_op_t contiguous_op = {.name = "contiguous",
                                        .input_names = {"a"},
                                        .reads = {TLMI_READS_NOTHING},
                                        .backward = same_order_backward};

/* Replaces -1 by the missing size and checks that the number of elements is that of a. */
static tlm_status_t resolve_shape(int64_t *resolved, const tlm_tensor_t *a, const int64_t *shape,
                                  int32_t ndim)
{
    int32_t missing = -1;
    int64_t known = 1;
    bool fits = true, overflows = false, empty = false;
    for (int32_t d = 0; d < ndim; d++) {
        resolved[d] = shape[d];
        empty = empty || shape[d] == 0;
        if (shape[d] == -1 && missing < 0)
            missing = d;
        else if (shape[d] < 0)
            fits = false;
        else if (shape[d] > 0 && __builtin_mul_overflow(known, shape[d], &known))
            overflows = true;
    }
    known = empty ? 0 : known;
    fits = fits && (empty || !overflows);
    if (fits && missing >= 0) {
        fits = known > 0 && a->numel % known == 0;
        if (fits)
            resolved[missing] = a->numel / known;
    } else if (fits) {
        fits = known == a->numel;
    }
    char from[TLMI_SHAPE_TEXT], to[TLMI_SHAPE_TEXT];
    if (!fits)
        return tlmi_fail(TLM_ERR_SHAPE,
                         "reshape: %s has %" PRId64 " elements, which do not fit shape %s",
                         tlmi_shape_text(from, a), a->numel, tlmi_dims_text(to, shape, ndim));
    return TLM_OK;
}

tlm_status_t tlm_reshape(tlm_tensor_t **out, tlm_tensor_t *a, const int64_t *shape, int32_t ndim)
{
    TLMI_REQUIRE("reshape", out);
    TLMI_REQUIRE("reshape", a);
    TLMI_TRY(tlmi_check_elements("reshape", a));
    if (ndim < 0 || ndim > TLM_MAX_DIMS)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "reshape: ndim %d is not in 0 .. %d", ndim,
                         TLM_MAX_DIMS);
    if (ndim > 0)
        TLMI_REQUIRE("reshape", shape);
    int64_t resolved[TLM_MAX_DIMS], numel;
    TLMI_TRY(resolve_shape(resolved, a, shape, ndim));
    TLMI_TRY(tlmi_check_shape("reshape", &numel, a->dtype, resolved, ndim));
    tlm_tensor_t *rows;
    tlm_tensor_t *result = NULL;
    TLMI_TRY(tlmi_contiguous(&rows, a));
    tlm_status_t status = tlmi_tensor_view(&result, rows, rows->data, resolved, NULL, ndim);
    tlm_tensor_free(rows);
    TLMI_TRY(status);
    return finish(out, result, &reshape_op, a, NULL, 0);
}

tlm_status_t tlm_contiguous(tlm_tensor_t **out, tlm_tensor_t *a)
{
    TLMI_REQUIRE("contiguous", out);
    TLMI_REQUIRE("contiguous", a);
    tlm_tensor_t *result;
    TLMI_TRY(tlmi_contiguous(&result, a));
    if (result == a) {
        *out = result;
        return TLM_OK;
    }
    return finish(out, result, &contiguous_op, a, NULL, 0);
}

/* ---- transpose ----------------------------------------------------------------------- */

typedef struct transpose_context {
    int32_t dim0, dim1;
} transpose_context_t;

static void swap_dims(int64_t *values, int32_t dim0, int32_t dim1)
{
    int64_t value = values[dim0];
    values[dim0] = values[dim1];
    values[dim1] = value;
}

/* dx += dy with the two dimensions swapped back */
static tlm_status_t transpose_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    const transpose_context_t *context = tlmi_node_context(node);
    const tlm_tensor_t *input = node->inputs[0];
    int64_t strides[TLM_MAX_DIMS];
    tlmi_row_major_strides(strides, input->shape, input->ndim);
    int64_t source_strides[TLM_MAX_DIMS];
    tlmi_row_major_strides(source_strides, grad_out->shape, grad_out->ndim);
    swap_dims(source_strides, context->dim0, context->dim1);
    float *grad;
    bool accumulate;
    TLMI_TRY(tlmi_grad_open(&grad, &accumulate, node, 0));
    tlmi_strided_scale(grad, strides, accumulate, 1.0f, tlmi_floats(grad_out), source_strides,
                       input->shape, input->ndim);
    return TLM_OK;
}

static const tlmi_op_t transpose_op = {.name = "transpose",
                                       .input_names = {"a"},
                                       .reads = {TLMI_READS_NOTHING},
                                       .backward = transpose_backward};

tlm_status_t tlm_transpose(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim0, int32_t dim1)
{
    TLMI_REQUIRE("transpose", out);
    TLMI_REQUIRE("transpose", a);
    TLMI_TRY(tlmi_check_elements("transpose", a));
    TLMI_TRY(tlmi_check_dim("transpose", &dim0, a));
    TLMI_TRY(tlmi_check_dim("transpose", &dim1, a));
    int64_t shape[TLM_MAX_DIMS];
    int64_t strides[TLM_MAX_DIMS];
    memcpy(shape, a->shape, sizeof(shape));
    memcpy(strides, a->strides, sizeof(strides));
    swap_dims(shape, dim0, dim1);
    swap_dims(strides, dim0, dim1);
    tlm_tensor_t *result;
    TLMI_TRY(tlmi_tensor_view(&result, a, a->data, shape, strides, a->ndim));
    transpose_context_t context = {dim0, dim1};
    return finish(out, result, &transpose_op, a, &context, sizeof(context));
}

/* ---- slice --------------------------------------------------------------------------- */

typedef struct slice_context {
    int32_t dim;
    int64_t start;
} slice_context_t;

tlm_status_t tlmi_grad_add_steps(tlmi_node_t *node, tlm_tensor_t *grad_out, int32_t dim,
                                 int64_t start, int64_t step)
{
    const tlm_tensor_t *input = node->inputs[0];
    float *grad;
    bool accumulate;
    TLMI_TRY(tlmi_grad_open(&grad, &accumulate, node, 0));
    if (tlmi_dry_run())
        return TLM_OK;
    if (!accumulate && input->numel > 0)
        memset(grad, 0, (size_t)input->numel * sizeof(float));
    if (grad_out->numel == 0)
        return TLM_OK;
    int64_t strides[TLM_MAX_DIMS];
    tlmi_row_major_strides(strides, input->shape, input->ndim);
    grad += start * strides[dim];
    if (grad_out->shape[dim] > 1)
        strides[dim] *= step;
    tlmi_strided_scale(grad, strides, accumulate, 1.0f, tlmi_floats(grad_out), grad_out->strides,
                       grad_out->shape, grad_out->ndim);
    return TLM_OK;
}

static tlm_status_t slice_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    const slice_context_t *context = tlmi_node_context(node);

    return tlmi_grad_add_steps(node, grad_out, context->dim, context->start, 1);
}

static const tlmi_op_t slice_op = {.name = "slice",
                                   .input_names = {"a"},
                                   .reads = {TLMI_READS_NOTHING},
                                   .backward = slice_backward};

tlm_status_t tlm_slice(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim, int64_t start,
                       int64_t stop)
{
    TLMI_REQUIRE("slice", out);
    TLMI_REQUIRE("slice", a);
    TLMI_TRY(tlmi_check_elements("slice", a));
    TLMI_TRY(tlmi_check_dim("slice", &dim, a));
    if (start < 0 || stop < start || stop > a->shape[dim]) {
        char text[TLMI_SHAPE_TEXT];
        return tlmi_fail(TLM_ERR_RANGE,
                         "slice: %" PRId64 " to %" PRId64 " is not within dimension %d of %s",
                         start, stop, dim, tlmi_shape_text(text, a));
    }
    int64_t shape[TLM_MAX_DIMS];
    memcpy(shape, a->shape, sizeof(shape));
    shape[dim] = stop - start;
    char *data = a->data;
    if (data != NULL && start < a->shape[dim])
        data += (size_t)(start * a->strides[dim]) * tlm_dtype_size(a->dtype);
    tlm_tensor_t *result;
    TLMI_TRY(tlmi_tensor_view(&result, a, data, shape, a->strides, a->ndim));
    slice_context_t context = {dim, start};
    return finish(out, result, &slice_op, a, &context, sizeof(context));
}

/* ---- concat -------------------------------------------------------------------------- */

/* dx of each input += its part of dy */
static tlm_status_t concat_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    int32_t dim = *(const int32_t *)tlmi_node_context(node);
    const float *part = tlmi_floats(grad_out);
    for (int32_t i = 0; i < node->num_inputs; i++) {
        const tlm_tensor_t *input = node->inputs[i];
        if (tlmi_wants_grad(node, i)) {
            int64_t strides[TLM_MAX_DIMS];
            tlmi_row_major_strides(strides, input->shape, input->ndim);
            float *grad;
            bool accumulate;
            TLMI_TRY(tlmi_grad_open(&grad, &accumulate, node, i));
            tlmi_strided_scale(grad, strides, accumulate, 1.0f, part, grad_out->strides,
                               input->shape, input->ndim);
        }
        if (grad_out->numel > 0)
            part += input->shape[dim] * grad_out->strides[dim];
    }
    return TLM_OK;
}

static const tlmi_op_t concat_op = {
    .name = "concat",
    .reads = {TLMI_READS_NOTHING, TLMI_READS_NOTHING, TLMI_READS_NOTHING, TLMI_READS_NOTHING},
    .backward = concat_backward};

/* Computes the shape of the result; a negative *dim is counted from the end. */
static tlm_status_t concat_shape(int64_t *shape, int32_t *dim, tlm_tensor_t *const *tensors,
                                 size_t n)
{
    if (n == 0 || n > INT32_MAX)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "concat: n %zu is not in 1 .. %d", n, INT32_MAX);
    TLMI_REQUIRE("concat", tensors);
    for (size_t i = 0; i < n; i++)
        if (tensors[i] == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "concat: tensors[%zu] is NULL", i);
    TLMI_TRY(tlmi_check_elements("concat", tensors[0]));
    TLMI_TRY(tlmi_check_dim("concat", dim, tensors[0]));
    memcpy(shape, tensors[0]->shape, sizeof(tensors[0]->shape));
    char text[TLMI_SHAPE_TEXT], first[TLMI_SHAPE_TEXT];
    for (size_t i = 1; i < n; i++) {
        const tlm_tensor_t *tensor = tensors[i];
        if (tensor->dtype != tensors[0]->dtype)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "concat: types %s and %s of tensors 0 and %zu differ",
                             tlmi_dtype_name(tensors[0]->dtype), tlmi_dtype_name(tensor->dtype), i);
        bool fits = tensor->ndim == tensors[0]->ndim;
        for (int32_t d = 0; fits && d < tensor->ndim; d++)
            fits = d == *dim || tensor->shape[d] == shape[d];
        if (!fits || __builtin_add_overflow(shape[*dim], tensor->shape[*dim], &shape[*dim]))
            return tlmi_fail(TLM_ERR_SHAPE,
                             "concat: %s and %s of tensors 0 and %zu do not fit along dimension %d",
                             tlmi_shape_text(first, tensors[0]), tlmi_shape_text(text, tensor), i,
                             *dim);
    }
    return TLM_OK;
}

tlm_status_t tlm_concat(tlm_tensor_t **out, tlm_tensor_t *const *tensors, size_t n, int32_t dim)
{
    TLMI_REQUIRE("concat", out);
    int64_t shape[TLM_MAX_DIMS];
    TLMI_TRY(concat_shape(shape, &dim, tensors, n));
    tlm_tensor_t *result;
    TLMI_TRY(tlmi_tensor_new(&result, tensors[0]->dtype, shape, tensors[0]->ndim));
    size_t item = tlm_dtype_size(result->dtype);
    char *part = result->data;
    for (size_t i = 0; i < n && result->numel > 0; i++) {
        tlmi_strided_copy(part, result->strides, tensors[i]->data, tensors[i]->strides,
                          tensors[i]->shape, tensors[i]->ndim, item);
        part += (size_t)(tensors[i]->shape[dim] * result->strides[dim]) * item;
    }
    if (tlmi_needs_grad(tensors, (int32_t)n)) {
        tlmi_node_t *node;
        tlm_status_t status =
            tlmi_record(&node, &concat_op, result, tensors, (int32_t)n, sizeof(dim));
        if (status != TLM_OK) {
            tlm_tensor_free(result);
            return status;
        }
        *(int32_t *)tlmi_node_context(node) = dim;
    }
    *out = result;
    return TLM_OK;
}
