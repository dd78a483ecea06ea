/* pow: powers with an exponent for each element. */
#include <math.h>

#include "base/error.h"
#include "tensor/tensor_core.h"

static inline float power(float a, float b)
{
    return b == 2.0f ? a * a : powf(a, b);
}

/* b a^(b - 1); of a^0, which is 1 everywhere, 0. */
static inline float slope_of_base(float a, float b)
{
    return b == 0.0f ? 0.0f : b * power(a, b - 1.0f);
}

/* a^b ln a; of 0^b with b >= 0, the limit from above, 0. */
static inline float slope_of_exponent(float a, float b)
{
    return a == 0.0f && b >= 0.0f ? 0.0f : power(a, b) * logf(a);
}

typedef struct power_job {
    float *y;
    const float *a, *b, *dy; /* dy NULL: the power, else dy times a slope */
    bool of_exponent;
} power_job_t;

static void power_run(void *context, const int64_t *offsets, const int64_t *strides, int64_t n)
{
    const power_job_t *job = context;
    float *y = job->y + offsets[0];
    const float *a = job->a + offsets[1], *b = job->b + offsets[2];
    if (job->dy == NULL) {
        for (int64_t i = 0; i < n; i++)
            y[i] = power(a[i * strides[1]], b[i * strides[2]]);
        return;
    }
    const float *dy = job->dy + offsets[3];
    if (job->of_exponent)
        for (int64_t i = 0; i < n; i++)
            y[i] = dy[i] * slope_of_exponent(a[i * strides[1]], b[i * strides[2]]);
    else
        for (int64_t i = 0; i < n; i++)
            y[i] = dy[i] * slope_of_base(a[i * strides[1]], b[i * strides[2]]);
}

/* Computes job->y, row-major of shape `shape`, like dy. */
static void run(power_job_t *job, const tlm_tensor_t *a, const tlm_tensor_t *b,
                const int64_t *shape, int32_t ndim)
{
    int64_t strides[3][TLM_MAX_DIMS];
    tlmi_row_major_strides(strides[0], shape, ndim);
    tlmi_broadcast_strides(strides[1], a, shape, ndim);
    tlmi_broadcast_strides(strides[2], b, shape, ndim);
    job->a = tlmi_floats(a);
    job->b = tlmi_floats(b);
    tlmi_loop_t loop;
    tlmi_loop_plan(&loop, shape, ndim, 4,
                   (const int64_t *const[]){strides[0], strides[1], strides[2], strides[0]});
    tlmi_loop_run(&loop, power_run, job);
}

static tlm_status_t power_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    for (int32_t i = 0; i < 2; i++) {
        if (!tlmi_wants_grad(node, i))
            continue;
        tlm_tensor_t *full;
        TLMI_TRY(tlmi_tensor_new(&full, TLM_FLOAT32, grad_out->shape, grad_out->ndim));
        power_job_t job = {
            .y = tlmi_floats(full), .dy = tlmi_floats(grad_out), .of_exponent = i == 1};
        run(&job, node->inputs[0], node->inputs[1], full->shape, full->ndim);
        tlm_status_t status = tlmi_grad_give_summed(node, i, full);
        tlm_tensor_free(full);
        TLMI_TRY(status);
    }
    return TLM_OK;
}

static const tlmi_op_t power_op = {.name = "pow",
                                   .input_names = {"a", "b"},
                                   .reads = {TLMI_READS_INPUTS, TLMI_READS_INPUTS},
                                   .backward = power_backward};

tlm_status_t tlm_pow(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b)
{
    TLMI_REQUIRE("pow", out);
    TLMI_TRY(tlmi_check_float("pow", "a", a));
    TLMI_TRY(tlmi_check_float("pow", "b", b));
    int64_t shape[TLM_MAX_DIMS];
    int32_t ndim = 0;
    tlm_tensor_t *inputs[] = {a, b};
    for (int i = 0; i < 2; i++)
        TLMI_TRY(tlmi_broadcast_shape("pow", shape, &ndim, inputs[i]));
    tlm_tensor_t *result;
    TLMI_TRY(tlmi_tensor_new(&result, TLM_FLOAT32, shape, ndim));
    power_job_t job = {.y = tlmi_floats(result)};
    run(&job, a, b, shape, ndim);
    tlm_status_t status = TLM_OK;
    if (tlmi_needs_grad(inputs, 2))
        status = tlmi_record(NULL, &power_op, result, inputs, 2, 0);
    if (status == TLM_OK)
        *out = result;
    else
        tlm_tensor_free(result);
    return status;
}
