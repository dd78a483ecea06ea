/* SGD with the decaying rate lr / sqrt(t + 1). */
#include <math.h>

#include "base/error.h"
#include "kernels/vector_math.h"
#include "optim/optimizer_core.h"

typedef struct sgd_job {
    float *theta;
    const float *gradient;
    float factor;
} sgd_job_t;

static void sgd_range(void *context, int64_t begin, int64_t end)
{
    const sgd_job_t *job = context;

    tlmi_vec_axpy(job->theta + begin, job->factor, job->gradient + begin, end - begin);
}

/* theta -= lr / sqrt(t + 1) g; steps count from 1, so `step` is t + 1. */
static void sgd_apply(const tlmi_update_t *update)
{
    const tlmi_parameter_t *parameter = update->parameter;
    const tlm_tensor_t *tensor = parameter->tensor;
    sgd_job_t job = {tlmi_floats(tensor) + parameter->begin,
                     tlmi_floats(tensor->grad) + parameter->begin,
                     (float)(-update->learning_rate / sqrt((double)update->step))};

    tlmi_parallel_ranges(parameter->end - parameter->begin, sgd_range, &job);
}

static tlm_status_t sgd_create(tlm_optimizer_t **out)
{
    return tlm_optimizer_create_sgd(out, 0.0);
}

const tlmi_optimizer_kind_t tlmi_sgd_kind = {
    .name = "sgd",
    .checkpoint_version = 2,
    .is_elementwise = true,
    .flops = 2,
    .create = sgd_create,
    .apply = sgd_apply,
};

tlm_status_t tlm_optimizer_create_sgd(tlm_optimizer_t **out, double learning_rate)
{
    tlmi_group_t defaults = {.kind = &tlmi_sgd_kind, .learning_rate = learning_rate};

    TLMI_REQUIRE("optimizer_create_sgd", out);
    return tlmi_optimizer_new(out, "optimizer_create_sgd", &defaults);
}
