/* Gradient clipping by the joint L2 norm (Pascanu et al. 2013). */
#include "tinylm/optim.h"

#include <math.h>

#include "base/error.h"
#include "base/number.h"
#include "optim/optimizer_core.h"
#include "tensor/tensor_core.h"
#include "kernels/vector_math.h"

#define CLIP_EPS 1e-6

typedef struct scale_job {
    float *values;
    float factor;
} scale_job_t;

static void scale_range(void *context, int64_t begin, int64_t end)
{
    const scale_job_t *job = context;

    tlmi_vec_scale(job->values + begin, job->values + begin, job->factor, end - begin);
}

void tlmi_gradient_scale(float *values, float factor, int64_t n)
{
    scale_job_t job = {values, factor};

    tlmi_parallel_ranges(n, scale_range, &job);
}

float tlmi_clip_factor(double norm, double max_norm)
{
    return (float)(max_norm / (norm + CLIP_EPS));
}

/* Scales n gradients to a joint norm of at most max_norm. Parameters without a gradient have
 * NULL. */
static tlm_status_t clip(double *norm, const char *function, tlm_tensor_t *const *gradients,
                         size_t n, double max_norm)
{
    double sum;
    TLMI_TRY(tlmi_gradient_sum_squares(&sum, function, gradients, n));
    double total = sqrt(sum);
    for (size_t i = 0; total >= max_norm && i < n; i++) {
        if (gradients[i] == NULL)
            continue;
        tlmi_gradient_scale(tlmi_floats(gradients[i]), tlmi_clip_factor(total, max_norm),
                            gradients[i]->numel);
        tlmi_tensor_written(gradients[i]);
    }
    if (norm != NULL)
        *norm = total;
    return TLM_OK;
}

static tlm_status_t check_arguments(const char *function, tlm_tensor_t *const *tensors, size_t n,
                                    double max_norm)
{
    if (n > 0)
        TLMI_REQUIRE(function, tensors);
    if (!isfinite(max_norm) || max_norm < 0.0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: max_norm %s is not a finite number >= 0",
                         function, TLMI_G(max_norm));
    for (size_t i = 0; i < n; i++)
        if (tensors[i] == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: tensor %zu is NULL", function, i);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if (tensors[i] == tensors[j])
                return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: tensors %zu and %zu are the same",
                                 function, j, i);
    return TLM_OK;
}

tlm_status_t tlm_clip_grad_norm(double *norm, tlm_tensor_t *const *tensors, size_t n,
                                double max_norm)
{
    TLMI_TRY(check_arguments("clip_grad_norm", tensors, n, max_norm));
    tlm_tensor_t **gradients =
        tlmi_cached_alloc(n, sizeof(tlm_tensor_t *), "the gradients to clip");
    if (gradients == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++)
        gradients[i] = tensors[i]->grad;
    tlm_status_t status = clip(norm, "clip_grad_norm", gradients, n, max_norm);
    tlmi_cached_free(gradients);
    return status;
}

tlm_status_t tlm_clip_norm(double *norm, tlm_tensor_t *const *tensors, size_t n, double max_norm)
{
    TLMI_TRY(check_arguments("clip_norm", tensors, n, max_norm));
    for (size_t i = 0; i < n; i++)
        TLMI_TRY(tlmi_check_row_major("clip_norm", "tensor", i, tensors[i]));
    return clip(norm, "clip_norm", tensors, n, max_norm);
}
