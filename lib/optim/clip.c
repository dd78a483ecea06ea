/* Gradient clipping by the joint L2 norm (Pascanu et al. 2013). */
#include "tinylm/optim.h"

#include <math.h>

#include "base/error.h"
#include "gradient_norm.h"
#include "tensor/tensor_core.h"
#include "tensor/vector_math.h"

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

tlm_status_t tlm_clip_grad_norm(double *norm, tlm_tensor_t *const *tensors, size_t n,
                                double max_norm)
{
    double sum, total;

    if (n > 0)
        TLMI_REQUIRE("clip_grad_norm", tensors);
    if (!isfinite(max_norm) || max_norm < 0.0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "clip_grad_norm: max_norm %g is not a finite number >= 0", max_norm);
    for (size_t i = 0; i < n; i++)
        if (tensors[i] == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "clip_grad_norm: tensor %zu is NULL", i);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if (tensors[i] == tensors[j])
                return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                                 "clip_grad_norm: tensors %zu and %zu are the same", j, i);
    TLMI_TRY(tlmi_gradient_sum_squares(&sum, "clip_grad_norm", tensors, n));
    total = sqrt(sum);
    for (size_t i = 0; total >= max_norm && i < n; i++) {
        const tlm_tensor_t *grad = tensors[i]->grad;
        scale_job_t job = {NULL, (float)(max_norm / (total + CLIP_EPS))};

        if (grad == NULL)
            continue;
        job.values = tlmi_floats(grad);
        tlmi_parallel_ranges(grad->numel, scale_range, &job);
    }
    if (norm != NULL)
        *norm = total;
    return TLM_OK;
}
