/* SGD with the decaying rate lr / sqrt(t + 1). */
#include <math.h>

#include "base/error.h"
#include "optim/optimizer_core.h"
#include "tensor/tensor_core.h"
#include "kernels/vector_math.h"

typedef struct sgd_job {
    float *theta;
    const float *grad;
    float factor;
} sgd_job_t;

static void sgd_range(void *context, int64_t begin, int64_t end)
{
    const sgd_job_t *job = context;

    tlmi_vec_axpy(job->theta + begin, job->factor, job->grad + begin, end - begin);
}

/* `step` counts from 1, so it is t + 1. */
static void sgd_update(const tlmi_parameter_t *parameter, const tlm_adamw_options_t *options,
                       uint64_t step)
{
    sgd_job_t job = {tlmi_floats(parameter->tensor), tlmi_floats(parameter->tensor->grad),
                     (float)(-options->learning_rate / sqrt((double)step))};

    tlmi_parallel_ranges(parameter->tensor->numel, sgd_range, &job);
}

static const tlmi_optimizer_kind_t sgd_kind = {.name = "sgd", .update = sgd_update};

tlm_status_t tlm_optimizer_create_sgd(tlm_optimizer_t **out, double learning_rate)
{
    tlm_adamw_options_t defaults = TLM_ADAMW_OPTIONS_INIT;

    TLMI_REQUIRE("optimizer_create_sgd", out);
    TLMI_TRY(tlmi_check_learning_rate("optimizer_create_sgd", learning_rate));
    defaults.learning_rate = learning_rate;
    return tlmi_optimizer_new(out, &sgd_kind, &defaults);
}
