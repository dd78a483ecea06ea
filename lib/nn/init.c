/* Initial values of parameters. */
#include <math.h>

#include "base/error.h"
#include "base/number.h"
#include "base/rng.h"
#include "tensor/tensor_core.h"
#include "kernels/vector_math.h"
#include "tinylm/nn.h"

typedef struct init_job {
    float *values;
    double sigma, cut;
    uint64_t seed, stream;
} init_job_t;

typedef struct uniform_job {
    float *values;
    double low, high;
    uint64_t seed, stream;
} uniform_job_t;

static void fill_range(void *context, int64_t begin, int64_t end)
{
    const init_job_t *job = context;
    for (int64_t i = begin; i < end; i++)
        job->values[i] = (float)(job->sigma * tlmi_random_truncated_normal(job->seed, job->stream,
                                                                           (uint64_t)i, job->cut));
}

static void fill_uniform(void *context, int64_t begin, int64_t end)
{
    const uniform_job_t *job = context;
    for (int64_t i = begin; i < end; i++) {
        const double share = tlmi_random_uniform(job->seed, job->stream, (uint64_t)i);
        const float value = (float)(job->low + (job->high - job->low) * share);
        const bool rounded_up = (double)value >= job->high && job->low < job->high;

        job->values[i] = rounded_up ? nextafterf((float)job->high, -INFINITY) : value;
    }
}

static tlm_status_t check_leaf(const char *op, const tlm_tensor_t *tensor)
{
    if (tensor->node != NULL || !tlmi_is_contiguous(tensor))
        return tlmi_fail(TLM_ERR_STATE, "%s: the tensor must be a row-major leaf", op);
    return TLM_OK;
}

tlm_status_t tlm_init_truncated_normal(tlm_tensor_t *tensor, double sigma, double cut_sigmas,
                                       uint64_t seed, uint64_t stream)
{
    TLMI_TRY(tlmi_check_float("init_truncated_normal", "tensor", tensor));
    if (!(sigma >= 0.0 && isfinite(sigma)) || !(cut_sigmas > 0.0))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "init_truncated_normal: sigma %s is not a finite number >= 0, or "
                         "cut_sigmas %s is not above 0",
                         TLMI_G(sigma), TLMI_G(cut_sigmas));
    TLMI_TRY(check_leaf("init_truncated_normal", tensor));
    init_job_t job = {tlmi_floats(tensor), sigma, cut_sigmas, seed, stream};
    tlmi_parallel_ranges(tensor->numel, fill_range, &job);
    tlmi_tensor_written(tensor);
    return TLM_OK;
}

tlm_status_t tlm_init_uniform(tlm_tensor_t *tensor, double low, double high, uint64_t seed,
                              uint64_t stream)
{
    TLMI_TRY(tlmi_check_float("init_uniform", "tensor", tensor));
    if (!(isfinite(low) && isfinite(high) && isfinite(high - low) && low <= high))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "init_uniform: low %s and high %s are not finite numbers in this order",
                         TLMI_G(low), TLMI_G(high));
    TLMI_TRY(check_leaf("init_uniform", tensor));
    uniform_job_t job = {tlmi_floats(tensor), low, high, seed, stream};
    tlmi_parallel_ranges(tensor->numel, fill_uniform, &job);
    tlmi_tensor_written(tensor);
    return TLM_OK;
}
