/* LayerNorm: y = (x - mean) / sqrt(variance + eps) * gain + bias over the last dimension, for models
 * such as GPT-2. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/number.h"
#include "kernels/vector_math.h"
#include "nn/nn_core.h"
#include "nn/norm.h"

enum { NUM_INPUTS = 3 };

float tlmi_layer_norm_row(float *y, float *mean, const float *x, const float *gain,
                          const float *bias, int64_t d, float eps)
{
    float center = tlmi_vec_sum(x, d) / (float)d;

    for (int64_t i = 0; i < d; i++)
        y[i] = x[i] - center;
    float inverse = (float)(1.0 / sqrt(tlmi_vec_sum_squares(y, d) / (double)d + (double)eps));
    for (int64_t i = 0; i < d; i++)
        y[i] = y[i] * inverse * gain[i] + bias[i];
    if (mean != NULL)
        *mean = center;
    return inverse;
}

/* The statistics are mean and 1 / sqrt(variance + eps). */
static void forward_rows(void *context, int64_t task, int32_t worker)
{
    const tlmi_norm_job_t *job = context;
    const int64_t d = job->d;
    int64_t first, end;

    (void)worker;
    tlmi_norm_rows(&first, &end, job, task);
    for (int64_t i = first; i < end; i++) {
        float mean, inverse = tlmi_layer_norm_row(job->y + i * d, &mean, job->x + i * d,
                                                  job->weight, job->bias, d, job->eps);
        if (job->statistics != NULL) {
            job->statistics[2 * i] = mean;
            job->statistics[2 * i + 1] = inverse;
        }
    }
}

/* With h = (x - mean) r, r = 1 / sqrt(variance + eps), g = dy gain:
 *   dx = r (g - mean(g) - h mean(g h)),   dgain = sum of dy h,   dbias = sum of dy */
static void backward_rows(void *context, int64_t task, int32_t worker)
{
    const tlmi_norm_job_t *job = context;
    const int64_t d = job->d;
    float *dgain = job->partials + task * NUM_INPUTS * d, *dbias = dgain + d, *h = dbias + d;
    int64_t first, end;

    (void)worker;
    memset(dgain, 0, (size_t)(2 * d) * sizeof(float));
    tlmi_norm_rows(&first, &end, job, task);
    for (int64_t i = first; i < end; i++) {
        const float *x = job->x + i * d, *dy = job->dy + i * d;
        const float mean = job->statistics[2 * i], r = job->statistics[2 * i + 1];
        double sum = 0.0, product = 0.0;

        for (int64_t k = 0; k < d; k++) {
            h[k] = (x[k] - mean) * r;
            sum += (double)(dy[k] * job->weight[k]);
            product += (double)(dy[k] * job->weight[k]) * (double)h[k];
        }
        tlmi_vec_mul_add(dgain, dy, h, d);
        tlmi_vec_add(dbias, dbias, dy, d);
        const float shift = (float)(sum / (double)d), slope = (float)(product / (double)d);
        for (int64_t k = 0; k < d && job->dx != NULL; k++) {
            float *dx = job->dx + i * d + k;
            const float own = r * (dy[k] * job->weight[k] - shift - h[k] * slope);

            *dx = job->accumulate ? *dx + own : own;
        }
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

static const tlmi_op_t norm_op = {
    .name = "layer_norm",
    .input_names = {"x", "gain", "bias"},
    .reads = {TLMI_READS_INPUT(0) | TLMI_READS_INPUT(1), TLMI_READS_INPUT(0), TLMI_READS_NOTHING},
    .backward = norm_backward,
    .release = tlmi_norm_release,
    .recompute = norm_recompute};

static tlm_status_t check_norm(tlm_tensor_t *const inputs[NUM_INPUTS])
{
    for (int32_t i = 0; i < NUM_INPUTS; i++)
        TLMI_TRY(tlmi_check_real("layer_norm", norm_op.input_names[i], inputs[i]));
    const tlm_tensor_t *x = inputs[0];
    char a[TLMI_SHAPE_TEXT], b[TLMI_SHAPE_TEXT];
    for (int32_t i = 1; i < NUM_INPUTS; i++)
        if (x->ndim < 1 || inputs[i]->ndim != 1 || x->shape[x->ndim - 1] != inputs[i]->shape[0])
            return tlmi_fail(TLM_ERR_SHAPE, "layer_norm: x %s does not fit %s %s",
                             tlmi_shape_text(a, x), norm_op.input_names[i],
                             tlmi_shape_text(b, inputs[i]));
    return TLM_OK;
}

static tlm_status_t apply(tlm_tensor_t **out, tlm_tensor_t *const *inputs, const void *eps)
{
    return tlmi_norm_apply(out, &norm_op, inputs, NUM_INPUTS, 2, *(const float *)eps, forward_rows);
}

tlm_status_t tlmi_layer_norm(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *gain,
                             tlm_tensor_t *bias, float eps)
{
    tlm_tensor_t *const inputs[NUM_INPUTS] = {x, gain, bias};

    TLMI_TRY(check_norm(inputs));
    return tlmi_in_float32(out, &norm_op, apply, inputs, NUM_INPUTS, &eps);
}

tlm_status_t tlm_layer_norm(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *gain,
                            tlm_tensor_t *bias, float eps)
{
    TLMI_REQUIRE("layer_norm", out);
    if (!(eps >= 0.0f && isfinite(eps)))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "layer_norm: eps %s is not a finite number >= 0",
                         TLMI_G(eps));
    return tlmi_layer_norm(out, x, gain, bias, eps);
}
