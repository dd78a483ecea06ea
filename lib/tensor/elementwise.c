/* add, mul and scale: strided loops over the broadcast shape, whose runs take the vector kernels
 * where both operands advance by 1. */
#include "base/error.h"
#include "tensor/autograd.h"
#include "tensor/reduce.h"
#include "tensor/strided.h"
#include "tensor/vector_math.h"

/* ---- y (+)= a (op) b over any strides --------------------------------------------------- */

typedef enum kind {
    KIND_ADD,    /* y = a + b */
    KIND_MUL,    /* y = a b */
    KIND_MUL_ADD /* y += a b */
} kind_t;

typedef struct map_job {
    kind_t kind;
    float *y;
    const float *a;
    const float *b;
} map_job_t;

static void map_unit_run(kind_t kind, float *y, const float *a, const float *b, int64_t n)
{
    switch (kind) {
    case KIND_ADD:
        tlmi_vec_add(y, a, b, n);
        break;
    case KIND_MUL:
        tlmi_vec_mul(y, a, b, n);
        break;
    case KIND_MUL_ADD:
        tlmi_vec_mul_add(y, a, b, n);
        break;
    }
}

/* y is row-major, so it always advances by 1. */
static void map_run(void *context, const int64_t *offsets, const int64_t *strides, int64_t n)
{
    const map_job_t *job = context;
    float *y = job->y + offsets[0];
    const float *a = job->a + offsets[1];
    const float *b = job->b + offsets[2];
    int64_t step_a = strides[1];
    int64_t step_b = strides[2];
    if (step_a == 1 && step_b == 1) {
        map_unit_run(job->kind, y, a, b, n);
        return;
    }
    switch (job->kind) {
    case KIND_ADD:
        for (int64_t i = 0; i < n; i++)
            y[i] = a[i * step_a] + b[i * step_b];
        break;
    case KIND_MUL:
        for (int64_t i = 0; i < n; i++)
            y[i] = a[i * step_a] * b[i * step_b];
        break;
    case KIND_MUL_ADD:
        for (int64_t i = 0; i < n; i++)
            y[i] += a[i * step_a] * b[i * step_b];
        break;
    }
}

/* y, row-major of shape `shape`, from a and b repeated to that shape. */
static void map(kind_t kind, float *y, const int64_t *shape, int32_t ndim, const tlm_tensor_t *a,
                const tlm_tensor_t *b)
{
    int64_t strides[3][TLM_MAX_DIMS];
    tlmi_row_major_strides(strides[0], shape, ndim);
    tlmi_broadcast_strides(strides[1], a, shape, ndim);
    tlmi_broadcast_strides(strides[2], b, shape, ndim);
    tlmi_loop_t loop;
    map_job_t job = {kind, y, tlmi_floats(a), tlmi_floats(b)};
    tlmi_loop_plan(&loop, shape, ndim, 3,
                   (const int64_t *const[]){strides[0], strides[1], strides[2]});
    tlmi_loop_run(&loop, map_run, &job);
}

/* ---- add and mul ------------------------------------------------------------------------ */

static tlm_status_t broadcast_shape(const char *op, int64_t *shape, int32_t *ndim,
                                    const tlm_tensor_t *a, const tlm_tensor_t *b)
{
    *ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int32_t d = 0; d < *ndim; d++) {
        int32_t da = d - (*ndim - a->ndim);
        int32_t db = d - (*ndim - b->ndim);
        int64_t size_a = da < 0 ? 1 : a->shape[da];
        int64_t size_b = db < 0 ? 1 : b->shape[db];
        if (size_a != size_b && size_a != 1 && size_b != 1) {
            char text_a[TLMI_SHAPE_TEXT];
            char text_b[TLMI_SHAPE_TEXT];
            return tlmi_fail(TLM_ERR_SHAPE, "%s: sizes %lld and %lld do not broadcast: %s and %s",
                             op, (long long)size_a, (long long)size_b, tlmi_shape_text(text_a, a),
                             tlmi_shape_text(text_b, b));
        }
        shape[d] = size_a == 1 ? size_b : size_a;
    }
    return TLM_OK;
}

static tlm_status_t binary(const tlmi_op_t *op, kind_t kind, tlm_tensor_t **out, tlm_tensor_t *a,
                           tlm_tensor_t *b)
{
    TLMI_REQUIRE(op->name, out);
    TLMI_TRY(tlmi_check_float(op->name, "a", a));
    TLMI_TRY(tlmi_check_float(op->name, "b", b));
    int64_t shape[TLM_MAX_DIMS];
    int32_t ndim;
    TLMI_TRY(broadcast_shape(op->name, shape, &ndim, a, b));
    tlm_tensor_t *result;
    TLMI_TRY(tlmi_tensor_new(&result, TLM_FLOAT32, shape, ndim));
    map(kind, tlmi_floats(result), shape, ndim, a, b);
    tlm_tensor_t *inputs[] = {a, b};
    if (tlmi_needs_grad(inputs, 2)) {
        tlm_status_t status = tlmi_record(NULL, op, result, inputs, 2, 0);
        if (status != TLM_OK) {
            tlm_tensor_free(result);
            return status;
        }
    }
    *out = result;
    return TLM_OK;
}

/* da += dy, summed over the dimensions a was repeated along; db likewise */
static tlm_status_t add_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    for (int32_t i = 0; i < 2; i++) {
        if (!tlmi_wants_grad(node, i))
            continue;
        if (tlmi_same_shape(node->inputs[i], grad_out)) {
            TLMI_TRY(tlmi_grad_give(node, i, grad_out));
            continue;
        }
        float *grad;
        bool accumulate;
        TLMI_TRY(tlmi_grad_open(&grad, &accumulate, node, i));
        tlmi_reduce_to(grad, node->inputs[i], accumulate, tlmi_floats(grad_out), grad_out->shape,
                       grad_out->ndim);
    }
    return TLM_OK;
}

/* da += dy b, summed over the dimensions a was repeated along; db likewise */
static tlm_status_t mul_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    for (int32_t i = 0; i < 2; i++) {
        if (!tlmi_wants_grad(node, i))
            continue;
        const tlm_tensor_t *other = node->inputs[1 - i];
        bool direct = tlmi_same_shape(node->inputs[i], grad_out);
        tlm_tensor_t *product = NULL;
        if (!direct)
            TLMI_TRY(tlmi_tensor_new(&product, TLM_FLOAT32, grad_out->shape, grad_out->ndim));
        float *grad;
        bool accumulate;
        tlm_status_t status = tlmi_grad_open(&grad, &accumulate, node, i);
        if (status != TLM_OK) {
            tlm_tensor_free(product);
            return status;
        }
        map(direct && accumulate ? KIND_MUL_ADD : KIND_MUL, direct ? grad : tlmi_floats(product),
            grad_out->shape, grad_out->ndim, grad_out, other);
        if (!direct)
            tlmi_reduce_to(grad, node->inputs[i], accumulate, tlmi_floats(product), grad_out->shape,
                           grad_out->ndim);
        tlm_tensor_free(product);
    }
    return TLM_OK;
}

static const tlmi_op_t add_op = {"add", add_backward, NULL};
static const tlmi_op_t mul_op = {"mul", mul_backward, NULL};

tlm_status_t tlm_add(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b)
{
    return binary(&add_op, KIND_ADD, out, a, b);
}

tlm_status_t tlm_mul(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b)
{
    return binary(&mul_op, KIND_MUL, out, a, b);
}

/* ---- scale ------------------------------------------------------------------------------ */

/* da += factor dy */
static tlm_status_t scale_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    float factor = *(const float *)tlmi_node_context(node);
    float *grad;
    bool accumulate;
    TLMI_TRY(tlmi_grad_open(&grad, &accumulate, node, 0));
    tlmi_strided_scale(grad, grad_out->strides, accumulate, factor, tlmi_floats(grad_out),
                       grad_out->strides, grad_out->shape, grad_out->ndim);
    return TLM_OK;
}

static const tlmi_op_t scale_op = {"scale", scale_backward, NULL};

tlm_status_t tlm_scale(tlm_tensor_t **out, tlm_tensor_t *a, float factor)
{
    TLMI_REQUIRE("scale", out);
    TLMI_TRY(tlmi_check_float("scale", "a", a));
    tlm_tensor_t *result;
    TLMI_TRY(tlmi_tensor_new(&result, TLM_FLOAT32, a->shape, a->ndim));
    tlmi_strided_scale(tlmi_floats(result), result->strides, false, factor, tlmi_floats(a),
                       a->strides, a->shape, a->ndim);
    if (tlmi_needs_grad(&a, 1)) {
        tlmi_node_t *node;
        tlm_status_t status = tlmi_record(&node, &scale_op, result, &a, 1, sizeof(float));
        if (status != TLM_OK) {
            tlm_tensor_free(result);
            return status;
        }
        *(float *)tlmi_node_context(node) = factor;
    }
    *out = result;
    return TLM_OK;
}
