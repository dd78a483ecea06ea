/* Lion (Chen et al., "Symbolic discovery of optimization algorithms", 2023): a step by the sign of a
 * moving average,
 *
 *   c = beta1 m + (1 - beta1) g;  theta -= lr weight_decay theta;  theta -= lr sign(c)
 *   m = beta2 m + (1 - beta2) g */
#include <stddef.h>

#include "base/error.h"
#include "base/options.h"
#include "kernels/vector_math.h"
#include "optim/optimizer_core.h"

typedef struct lion_options {
    double beta1, beta2;
} lion_options_t;

static const tlmi_optimizer_option_t lion_fields[] = {
    {.name = "beta1", .offset = offsetof(lion_options_t, beta1), .below = 1.0},
    {.name = "beta2", .offset = offsetof(lion_options_t, beta2), .below = 1.0},
};

static tlm_status_t lion_add_states(tlmi_parameter_t *parameter, const char *function,
                                    const void *options)
{
    (void)function, (void)options;
    return tlmi_state_add(parameter, "m", parameter->tensor->shape, parameter->tensor->ndim);
}

typedef struct lion_job {
    float *theta, *m;
    const float *gradient;
    float beta1, one_minus_beta1, beta2, one_minus_beta2;
    float rate, keep; /* keep = 1 - lr weight_decay */
} lion_job_t;

static void lion_range(void *context, int64_t begin, int64_t end)
{
    const lion_job_t *job = context;

    for (int64_t i = begin; i < end; i++) {
        const float g = job->gradient[i];
        const float c = job->beta1 * job->m[i] + job->one_minus_beta1 * g;
        const float sign = (float)((c > 0.0f) - (c < 0.0f));

        job->theta[i] = job->theta[i] * job->keep - job->rate * sign;
        job->m[i] = job->beta2 * job->m[i] + job->one_minus_beta2 * g;
    }
}

static void lion_apply(const tlmi_update_t *update)
{
    const lion_options_t *options = update->options;
    const tlmi_parameter_t *parameter = update->parameter;
    const tlm_tensor_t *tensor = parameter->tensor;
    lion_job_t job = {
        .theta = tlmi_floats(tensor) + parameter->begin,
        .m = parameter->states[0].values,
        .gradient = tlmi_floats(tensor->grad) + parameter->begin,
        .beta1 = (float)options->beta1,
        .one_minus_beta1 = (float)(1.0 - options->beta1),
        .beta2 = (float)options->beta2,
        .one_minus_beta2 = (float)(1.0 - options->beta2),
        .rate = (float)update->learning_rate,
        .keep = (float)(1.0 - update->learning_rate * update->weight_decay),
    };

    tlmi_parallel_ranges(parameter->end - parameter->begin, lion_range, &job);
}

static tlm_status_t lion_create(tlm_optimizer_t **out)
{
    return tlm_optimizer_create_lion(out, NULL);
}

/* As AdamW's: the step of an element does not depend on the gradient's size. */
static double lion_width_factor(const void *options, double ratio)
{
    (void)options;
    return 1.0 / ratio;
}

const tlmi_optimizer_kind_t tlmi_lion_kind = {
    .name = "lion",
    .options_size = sizeof(lion_options_t),
    .options = lion_fields,
    .num_options = sizeof(lion_fields) / sizeof(lion_fields[0]),
    .has_weight_decay = true,
    .checkpoint_version = 2,
    .is_elementwise = true,
    .width_factor = lion_width_factor,
    .flops = 10, /* 3 for c, 2 for the sign and the step, 2 for the decay, 3 for m */
    .create = lion_create,
    .add_states = lion_add_states,
    .apply = lion_apply,
};

/* Reads a caller's options, which may be NULL; group->options is *own. */
static tlm_status_t read_options(tlmi_group_t *group, lion_options_t *own, const char *function,
                                 const tlm_lion_options_t *options)
{
    tlm_lion_options_t known = TLM_LION_OPTIONS_INIT;

    if (options != NULL)
        TLMI_TRY(tlmi_options_read(function, &known, TLMI_LION_OPTIONS, options));
    *own = (lion_options_t){known.beta1, known.beta2};
    *group = (tlmi_group_t){&tlmi_lion_kind, known.learning_rate, known.weight_decay, own, 0.0};
    return TLM_OK;
}

tlm_status_t tlm_optimizer_create_lion(tlm_optimizer_t **out, const tlm_lion_options_t *options)
{
    lion_options_t own;
    tlmi_group_t group;

    TLMI_REQUIRE("optimizer_create_lion", out);
    TLMI_TRY(read_options(&group, &own, "optimizer_create_lion", options));
    return tlmi_optimizer_new(out, "optimizer_create_lion", &group);
}

tlm_status_t tlm_optimizer_add_lion_group(tlm_optimizer_t *optimizer, tlm_tensor_t *const *tensors,
                                          size_t n, const tlm_lion_options_t *options)
{
    lion_options_t own;
    tlmi_group_t group;

    TLMI_TRY(read_options(&group, &own, "optimizer_add_lion_group", options));
    return tlmi_optimizer_add(optimizer, "optimizer_add_lion_group", tensors, n, &group);
}
