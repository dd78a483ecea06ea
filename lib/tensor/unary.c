/* Element-wise functions: exp, log, sqrt, abs, tanh, sigmoid, relu and its square, and gelu in two
 * forms.
 * Each is one row of a table: the function and its derivative, computed from the result or from the
 * argument. */
#include <math.h>

#include "base/error.h"
#include "tensor/tensor_core.h"
#include "kernels/vector_math.h"

typedef void (*map_fn)(float *y, const float *x, int64_t n);

typedef struct unary_op {
    tlmi_op_t op; /* must be first: a node's op points to it */
    map_fn value;
    map_fn slope_of_result; /* one of the two, or neither if the slope is the result itself */
    map_fn slope_of_argument;
} unary_op_t;

/* ---- The functions ------------------------------------------------------------------- */

/* Defines a loop of this name: y = expression, where v is the element of x. */
#define MAP(name, expression)                                                                      \
    static void name(float *y, const float *x, int64_t n)                                          \
    {                                                                                              \
        for (int64_t i = 0; i < n; i++) {                                                          \
            const float v = x[i];                                                                  \
            y[i] = (expression);                                                                   \
        }                                                                                          \
    }

static const float sqrt_half = 0.70710678118654752440f;
static const float normal_peak = 0.39894228040143267794f; /* 1 / sqrt(2 pi) */

MAP(log_value, logf(v))
MAP(log_slope, 1.0f / v)
MAP(sqrt_value, sqrtf(v))
MAP(sqrt_slope, 0.5f / v)
MAP(tanh_value, tanhf(v))
MAP(tanh_slope, (1.0f - v) * (1.0f + v))
MAP(sigmoid_slope, (1.0f - v) * v)
MAP(abs_value, fabsf(v))
MAP(abs_slope, v > 0.0f ? 1.0f : v < 0.0f ? -1.0f : v == 0.0f ? 0.0f : v) /* NaN stays */
MAP(relu_value, v < 0.0f ? 0.0f : v)                                      /* NaN stays */
MAP(relu_slope, v <= 0.0f ? 0.0f : 1.0f)
MAP(relu_squared_slope, v <= 0.0f ? 0.0f : 2.0f * v)
MAP(gelu_value, 0.5f * v * erfcf(-sqrt_half * v))
MAP(gelu_slope, 0.5f * erfcf(-sqrt_half * v) + normal_peak * v * expf(-0.5f * v * v))

/* 1 / (1 + e) or e / (1 + e) with e = exp(-|x|), which does not overflow */
static void sigmoid_value(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = -fabsf(x[i]);
    tlmi_vec_exp(y, y, n);
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] < 0.0f ? y[i] : 1.0f) / (1.0f + y[i]);
}

void tlmi_relu_squared_rows(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] < 0.0f ? 0.0f : x[i] * x[i]; /* NaN stays */
}

static const float gelu_scale = 1.59576912160573071176f; /* 2 sqrt(2 / pi) */
static const float gelu_cube = 0.044715f;

/* s = sigmoid(gelu_scale (x + gelu_cube x^3)); so that tanh is not needed: tanh(u) = 2 sigmoid(2 u)
 * - 1. */
static void gelu_gate(float *s, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        s[i] = -gelu_scale * x[i] * (1.0f + gelu_cube * x[i] * x[i]);
    tlmi_vec_exp(s, s, n);
    for (int64_t i = 0; i < n; i++)
        s[i] = 1.0f / (1.0f + s[i]);
}

enum { GELU_BLOCK = 256 };

void tlmi_gelu_tanh_rows(float *y, const float *x, int64_t n)
{
    float s[GELU_BLOCK];

    for (int64_t begin = 0; begin < n; begin += GELU_BLOCK) {
        int64_t count = n - begin < GELU_BLOCK ? n - begin : GELU_BLOCK;

        gelu_gate(s, x + begin, count);
        tlmi_vec_mul(y + begin, x + begin, s, count);
    }
}

/* s + x s (1 - s) gelu_scale (1 + 3 gelu_cube x^2); where s is 0 or 1, the second term is 0. */
static void gelu_tanh_slope(float *y, const float *x, int64_t n)
{
    float s[GELU_BLOCK];

    for (int64_t begin = 0; begin < n; begin += GELU_BLOCK) {
        int64_t count = n - begin < GELU_BLOCK ? n - begin : GELU_BLOCK;

        gelu_gate(s, x + begin, count);
        for (int64_t i = 0; i < count; i++) {
            const float v = x[begin + i], rest = s[i] * (1.0f - s[i]);
            const float slope = v * rest * gelu_scale * (1.0f + 3.0f * gelu_cube * v * v);

            y[begin + i] = rest == 0.0f ? s[i] : s[i] + slope;
        }
    }
}

/* ---- Forward and backward ------------------------------------------------------------ */

typedef struct unary_job {
    const unary_op_t *op;
    float *y;
    const float *x;
    const float *dy; /* backward only, like dx */
    float *dx;
    bool accumulate;
} unary_job_t;

static void forward_range(void *context, int64_t begin, int64_t end)
{
    const unary_job_t *job = context;
    job->op->value(job->y + begin, job->x + begin, end - begin);
}

/* dx += dy f'(x), in blocks that stay in the cache */
static void backward_range(void *context, int64_t begin, int64_t end)
{
    enum { BLOCK = 1024 };
    const unary_job_t *job = context;
    float slopes[BLOCK];
    for (int64_t i = begin; i < end; i += BLOCK) {
        int64_t n = end - i < BLOCK ? end - i : BLOCK;
        const float *slope = slopes;
        if (job->op->slope_of_result != NULL)
            job->op->slope_of_result(slopes, job->y + i, n);
        else if (job->op->slope_of_argument != NULL)
            job->op->slope_of_argument(slopes, job->x + i, n);
        else
            slope = job->y + i;
        if (job->accumulate)
            tlmi_vec_mul_add(job->dx + i, job->dy + i, slope, n);
        else
            tlmi_vec_mul(job->dx + i, job->dy + i, slope, n);
    }
}

static tlm_status_t unary_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    unary_job_t job = {.op = (const unary_op_t *)node->op,
                       .y = tlmi_floats(node->output),
                       .dy = tlmi_floats(grad_out)};
    tlm_tensor_t *x;
    TLMI_TRY(tlmi_contiguous(&x, node->inputs[0]));
    job.x = tlmi_floats(x);
    tlm_status_t status = tlmi_grad_open(&job.dx, &job.accumulate, node, 0);
    if (status == TLM_OK)
        tlmi_parallel_ranges(x->numel, backward_range, &job);
    tlm_tensor_free(x);
    return status;
}

static tlm_status_t apply(const unary_op_t *op, tlm_tensor_t **out, tlm_tensor_t *a)
{
    TLMI_REQUIRE(op->op.name, out);
    TLMI_TRY(tlmi_check_float(op->op.name, "a", a));
    tlm_tensor_t *rows, *result = NULL;
    TLMI_TRY(tlmi_contiguous(&rows, a));
    tlm_status_t status = tlmi_tensor_new(&result, TLM_FLOAT32, a->shape, a->ndim);
    if (status == TLM_OK) {
        unary_job_t job = {.op = op, .y = tlmi_floats(result), .x = tlmi_floats(rows)};
        tlmi_parallel_ranges(a->numel, forward_range, &job);
        if (tlmi_needs_grad(&a, 1))
            status = tlmi_record(NULL, &op->op, result, &a, 1, 0);
    }
    tlm_tensor_free(rows);
    if (status == TLM_OK)
        *out = result;
    else
        tlm_tensor_free(result);
    return status;
}

/* ---- The ops ------------------------------------------------------------------------- */

#define UNARY_OP(prefix, op_name, value, slope_of_result, slope_of_argument, slope_reads)          \
    tlm_status_t prefix##op_name(tlm_tensor_t **out, tlm_tensor_t *a)                              \
    {                                                                                              \
        static const unary_op_t op = {{.name = #op_name,                                           \
                                       .input_names = {"a"},                                       \
                                       .reads = {slope_reads},                                     \
                                       .backward = unary_backward},                                \
                                      value,                                                       \
                                      slope_of_result,                                             \
                                      slope_of_argument};                                          \
        return apply(&op, out, a);                                                                 \
    }

UNARY_OP(tlm_, exp, tlmi_vec_exp, NULL, NULL, TLMI_READS_RESULT)
UNARY_OP(tlm_, log, log_value, NULL, log_slope, TLMI_READS_INPUT(0))
UNARY_OP(tlm_, sqrt, sqrt_value, sqrt_slope, NULL, TLMI_READS_RESULT)
UNARY_OP(tlm_, tanh, tanh_value, tanh_slope, NULL, TLMI_READS_RESULT)
UNARY_OP(tlm_, sigmoid, sigmoid_value, sigmoid_slope, NULL, TLMI_READS_RESULT)
UNARY_OP(tlm_, relu, relu_value, NULL, relu_slope, TLMI_READS_INPUT(0))
UNARY_OP(tlm_, abs, abs_value, NULL, abs_slope, TLMI_READS_INPUT(0))
UNARY_OP(tlm_, gelu, gelu_value, NULL, gelu_slope, TLMI_READS_INPUT(0))
UNARY_OP(tlmi_, relu_squared, tlmi_relu_squared_rows, NULL, relu_squared_slope, TLMI_READS_INPUT(0))
UNARY_OP(tlmi_, gelu_tanh, tlmi_gelu_tanh_rows, NULL, gelu_tanh_slope, TLMI_READS_INPUT(0))
