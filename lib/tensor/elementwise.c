/* add, sub, mul, div and scale: strided loops over the broadcast shape. Runs in which both operands
 * have stride 1 use the vector kernels. */
#include "base/error.h"
#include "tensor/tensor_core.h"
#include "kernels/vector_math.h"

/* ---- y (+)= a (op) b over any strides ------------------------------------------------ */

/* y is row-major, so its stride is always 1. */
#define STRIDED(name, assign)                                                                      \
    static inline void name(float *y, const float *a, int64_t step_a, const float *b,              \
                            int64_t step_b, int64_t n)                                             \
    {                                                                                              \
        for (int64_t i = 0; i < n; i++)                                                            \
            y[i] assign b[i * step_b];                                                             \
    }

STRIDED(add_strided, = a[i * step_a] +)
STRIDED(sub_strided, = a[i * step_a] -)
STRIDED(mul_strided, = a[i * step_a] *)
STRIDED(div_strided, = a[i * step_a] /)
STRIDED(mul_add_strided, += a[i * step_a] *)

static void sub_unit(float *y, const float *a, const float *b, int64_t n)
{
    sub_strided(y, a, 1, b, 1, n);
}

static void div_unit(float *y, const float *a, const float *b, int64_t n)
{
    div_strided(y, a, 1, b, 1, n);
}

typedef struct kind {
    void (*unit)(float *y, const float *a, const float *b, int64_t n);
    void (*strided)(float *y, const float *a, int64_t step_a, const float *b, int64_t step_b,
                    int64_t n);
} kind_t;

static const kind_t kind_add = {tlmi_vec_add, add_strided};
static const kind_t kind_sub = {sub_unit, sub_strided};
static const kind_t kind_mul = {tlmi_vec_mul, mul_strided};
static const kind_t kind_div = {div_unit, div_strided};
static const kind_t kind_mul_add = {tlmi_vec_mul_add, mul_add_strided}; /* y += a b */

typedef struct map_job {
    const kind_t *kind;
    float *y;
    const float *a;
    const float *b;
} map_job_t;

static void map_run(void *context, const int64_t *offsets, const int64_t *strides, int64_t n)
{
    const map_job_t *job = context;
    float *y = job->y + offsets[0];
    const float *a = job->a + offsets[1];
    const float *b = job->b + offsets[2];
    if (strides[1] == 1 && strides[2] == 1)
        job->kind->unit(y, a, b, n);
    else
        job->kind->strided(y, a, strides[1], b, strides[2], n);
}

/* Computes y, row-major of shape `shape`, from a and b, which broadcast to that shape. */
static void map(const kind_t *kind, float *y, const int64_t *shape, int32_t ndim,
                const tlm_tensor_t *a, const tlm_tensor_t *b)
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

/* ---- add, sub, mul, div -------------------------------------------------------------- */

static tlm_status_t binary(const tlmi_op_t *op, const kind_t *kind, tlm_tensor_t **out,
                           tlm_tensor_t *a, tlm_tensor_t *b)
{
    TLMI_REQUIRE(op->name, out);
    TLMI_TRY(tlmi_check_float(op->name, "a", a));
    TLMI_TRY(tlmi_check_float(op->name, "b", b));
    int64_t shape[TLM_MAX_DIMS];
    int32_t ndim = 0;
    tlm_tensor_t *inputs[] = {a, b};
    for (int i = 0; i < 2; i++)
        TLMI_TRY(tlmi_broadcast_shape(op->name, shape, &ndim, inputs[i]));
    tlm_tensor_t *result;
    TLMI_TRY(tlmi_tensor_new(&result, TLM_FLOAT32, shape, ndim));
    map(kind, tlmi_floats(result), shape, ndim, a, b);
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

/* Passes on a (op) b as the gradient of input i. a and b have the shape of the result, so it is
 * summed over the places that the input was repeated to. */
static tlm_status_t give(tlmi_node_t *node, int32_t i, const kind_t *kind, const tlm_tensor_t *a,
                         const tlm_tensor_t *b, float factor)
{
    const tlm_tensor_t *result = node->output;
    tlm_tensor_t *gradient;
    TLMI_TRY(tlmi_tensor_new(&gradient, TLM_FLOAT32, result->shape, result->ndim));
    map(kind, tlmi_floats(gradient), gradient->shape, gradient->ndim, a, b);
    if (factor != 1.0f)
        tlmi_strided_scale(tlmi_floats(gradient), gradient->strides, false, factor,
                           tlmi_floats(gradient), gradient->strides, gradient->shape,
                           gradient->ndim);
    tlm_status_t status = tlmi_grad_give_summed(node, i, gradient);
    tlm_tensor_free(gradient);
    return status;
}

/* da += dy, db += dy */
static tlm_status_t add_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    for (int32_t i = 0; i < 2; i++)
        if (tlmi_wants_grad(node, i))
            TLMI_TRY(tlmi_grad_give_summed(node, i, grad_out));
    return TLM_OK;
}

/* da += dy, db -= dy */
static tlm_status_t sub_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    if (tlmi_wants_grad(node, 0))
        TLMI_TRY(tlmi_grad_give_summed(node, 0, grad_out));
    if (!tlmi_wants_grad(node, 1))
        return TLM_OK;
    tlm_tensor_t *negative;
    TLMI_TRY(tlmi_tensor_new(&negative, TLM_FLOAT32, grad_out->shape, grad_out->ndim));
    tlmi_strided_scale(tlmi_floats(negative), negative->strides, false, -1.0f,
                       tlmi_floats(grad_out), grad_out->strides, grad_out->shape, grad_out->ndim);
    tlm_status_t status = tlmi_grad_give_summed(node, 1, negative);
    tlm_tensor_free(negative);
    return status;
}

/* da += dy b, db += dy a */
static tlm_status_t mul_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    for (int32_t i = 0; i < 2; i++) {
        if (!tlmi_wants_grad(node, i))
            continue;
        const tlm_tensor_t *input = node->inputs[i], *other = node->inputs[1 - i];
        if (input->grad == NULL || !tlmi_same_shape(input, grad_out)) {
            TLMI_TRY(give(node, i, &kind_mul, grad_out, other, 1.0f));
            continue;
        }
        float *grad;
        bool accumulate;
        TLMI_TRY(tlmi_grad_open(&grad, &accumulate, node, i));
        map(&kind_mul_add, grad, grad_out->shape, grad_out->ndim, grad_out, other);
    }
    return TLM_OK;
}

/* da += dy / b, db -= dy y / b */
static tlm_status_t div_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    const tlm_tensor_t *b = node->inputs[1];
    tlm_tensor_t *quotient; /* dy / b */
    TLMI_TRY(tlmi_tensor_new(&quotient, TLM_FLOAT32, grad_out->shape, grad_out->ndim));
    map(&kind_div, tlmi_floats(quotient), grad_out->shape, grad_out->ndim, grad_out, b);
    tlm_status_t status = TLM_OK;
    if (tlmi_wants_grad(node, 1))
        status = give(node, 1, &kind_mul, quotient, node->output, -1.0f);
    if (status == TLM_OK && tlmi_wants_grad(node, 0))
        status = tlmi_grad_give_summed(node, 0, quotient);
    tlm_tensor_free(quotient);
    return status;
}

static const tlmi_op_t add_op = {.name = "add",
                                 .input_names = {"a", "b"},
                                 .reads = {TLMI_READS_NOTHING, TLMI_READS_NOTHING},
                                 .backward = add_backward};
static const tlmi_op_t sub_op = {.name = "sub",
                                 .input_names = {"a", "b"},
                                 .reads = {TLMI_READS_NOTHING, TLMI_READS_NOTHING},
                                 .backward = sub_backward};
static const tlmi_op_t mul_op = {.name = "mul",
                                 .input_names = {"a", "b"},
                                 .reads = {TLMI_READS_INPUT(1), TLMI_READS_INPUT(0)},
                                 .backward = mul_backward};
static const tlmi_op_t div_op = {
    .name = "div",
    .input_names = {"a", "b"},
    .reads = {TLMI_READS_INPUT(1), TLMI_READS_INPUT(1) | TLMI_READS_RESULT},
    .backward = div_backward};

tlm_status_t tlm_add(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b)
{
    return binary(&add_op, &kind_add, out, a, b);
}

tlm_status_t tlm_sub(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b)
{
    return binary(&sub_op, &kind_sub, out, a, b);
}

tlm_status_t tlm_mul(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b)
{
    return binary(&mul_op, &kind_mul, out, a, b);
}

tlm_status_t tlm_div(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b)
{
    return binary(&div_op, &kind_div, out, a, b);
}

/* ---- scale --------------------------------------------------------------------------- */

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

static const tlmi_op_t scale_op = {.name = "scale",
                                   .input_names = {"a"},
                                   .reads = {TLMI_READS_NOTHING},
                                   .backward = scale_backward};

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
