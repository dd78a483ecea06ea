/* RMSNorm: y = x / rms(x) * weight, rms(x) = sqrt(mean(x^2) + eps), over the last dimension. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/number.h"
#include "kernels/vector_math.h"
#include "nn/nn_core.h"
#include "nn/norm.h"
#include "tinylm/nn.h"

enum { NUM_INPUTS = 2 };

/* The statistics are 1 / rms(x). */
static void forward_rows(void *context, int64_t task, int32_t worker)
{
    const tlmi_norm_job_t *job = context;
    int64_t d = job->d, first, end;

    (void)worker;
    tlmi_norm_rows(&first, &end, job, task);
    for (int64_t i = first; i < end; i++) {
        const float *x = job->x + i * d;
        float *y = job->y + i * d;
        float inverse = (float)(1.0 / sqrt(tlmi_vec_sum_squares(x, d) / (double)d + job->eps));

        tlmi_vec_scale(y, x, inverse, d);
        tlmi_vec_mul(y, y, job->weight, d);
        if (job->statistics != NULL)
            job->statistics[i] = inverse;
    }
}

/* With g = dy * weight and r = 1 / rms(x):
 *   dx = r g - x r^3 (g . x) / d,   dweight = sum over rows of dy x r */
static void backward_rows(void *context, int64_t task, int32_t worker)
{
    const tlmi_norm_job_t *job = context;
    int64_t d = job->d, first, end;
    float *sums = job->partials + task * NUM_INPUTS * d, *g = sums + d;

    (void)worker;
    memset(sums, 0, (size_t)d * sizeof(float));
    tlmi_norm_rows(&first, &end, job, task);
    for (int64_t i = first; i < end; i++) {
        const float *x = job->x + i * d, *dy = job->dy + i * d;
        float r = job->statistics[i];

        tlmi_vec_mul(g, dy, x, d);
        tlmi_vec_axpy(sums, r, g, d);
        if (job->dx == NULL)
            continue;
        float *dx = job->dx + i * d;
        float dot = tlmi_vec_dot(g, job->weight, d);
        tlmi_vec_mul(g, dy, job->weight, d);
        tlmi_vec_scale(g, g, r, d);
        tlmi_vec_axpy(g, -r * r * r * dot / (float)d, x, d);
        if (job->accumulate)
            tlmi_vec_add(dx, dx, g, d);
        else
            memcpy(dx, g, (size_t)d * sizeof(float));
    }
}

static tlm_status_t norm_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    return tlmi_norm_backward(node, grad_out, NUM_INPUTS, backward_rows);
}

static tlm_status_t norm_recompute(const tlmi_node_t *node, float *y)
{
    return tlmi_norm_recompute(node, y, NUM_INPUTS, forward_rows);
}

static const tlmi_op_t norm_op = {.name = "rms_norm",
                                  .input_names = {"x", "weight"},
                                  .reads = {TLMI_READS_INPUTS, TLMI_READS_INPUT(0)},
                                  .backward = norm_backward,
                                  .release = tlmi_norm_release,
                                  .recompute = norm_recompute};

static tlm_status_t check_norm(const tlm_tensor_t *x, const tlm_tensor_t *weight, float eps)
{
    TLMI_TRY(tlmi_check_real("rms_norm", "x", x));
    TLMI_TRY(tlmi_check_real("rms_norm", "weight", weight));
    char a[TLMI_SHAPE_TEXT], b[TLMI_SHAPE_TEXT];
    if (x->ndim < 1 || weight->ndim != 1 || x->shape[x->ndim - 1] != weight->shape[0])
        return tlmi_fail(TLM_ERR_SHAPE, "rms_norm: x %s does not fit weight %s",
                         tlmi_shape_text(a, x), tlmi_shape_text(b, weight));
    if (!(eps >= 0.0f && isfinite(eps)))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "rms_norm: eps %s is not a finite number >= 0",
                         TLMI_G(eps));
    return TLM_OK;
}

static tlm_status_t apply(tlm_tensor_t **out, tlm_tensor_t *const *inputs, const void *eps)
{
    return tlmi_norm_apply(out, &norm_op, inputs, NUM_INPUTS, 1, *(const float *)eps, forward_rows);
}

tlm_status_t tlm_rms_norm(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *weight, float eps)
{
    TLMI_REQUIRE("rms_norm", out);
    TLMI_TRY(check_norm(x, weight, eps));
    return tlmi_in_float32(out, &norm_op, apply, (tlm_tensor_t *[]){x, weight}, NUM_INPUTS, &eps);
}
