/* AdamW: the update and its hyper-parameters. */
#include <math.h>

#include "base/error.h"
#include "base/options.h"
#include "optim/optimizer_core.h"
#include "tensor/tensor_core.h"
#include "kernels/vector_math.h"

typedef struct adamw_job {
    float *theta, *m, *v;
    const float *gradient;
    tlmi_adamw_step_t step;
} adamw_job_t;

static void adamw_range(void *context, int64_t begin, int64_t end)
{
    const adamw_job_t *job = context;

    tlmi_vec_adamw(job->theta + begin, job->m + begin, job->v + begin, job->gradient + begin,
                   &job->step, end - begin);
}

static void update(const tlm_tensor_t *parameter, float *m, float *v, const tlm_tensor_t *gradient,
                   const tlm_adamw_options_t *options, uint64_t step)
{
    double t = (double)step;
    double correction = sqrt(1.0 - pow(options->beta2, t)) / (1.0 - pow(options->beta1, t));
    adamw_job_t job = {
        tlmi_floats(parameter),
        m,
        v,
        tlmi_floats(gradient),
        {
            .beta1 = (float)options->beta1,
            .beta2 = (float)options->beta2,
            .one_minus_beta1 = (float)(1.0 - options->beta1),
            .one_minus_beta2 = (float)(1.0 - options->beta2),
            .eps = (float)options->eps,
            .step_size = (float)(options->learning_rate * correction),
            .decay = (float)(1.0 - options->learning_rate * options->weight_decay),
        },
    };

    tlmi_parallel_ranges(parameter->numel, adamw_range, &job);
}

static void update_parameter(const tlmi_parameter_t *parameter, const tlm_adamw_options_t *options,
                             uint64_t step)
{
    update(parameter->tensor, parameter->state[0], parameter->state[1], parameter->tensor->grad,
           options, step);
}

static const tlmi_optimizer_kind_t adamw_kind = {
    .name = "adamw",
    .num_buffers = 2,
    .buffer_names = {"m", "v"},
    .has_group_options = true,
    .update = update_parameter,
};

tlm_status_t tlmi_check_learning_rate(const char *function, double learning_rate)
{
    if (!isfinite(learning_rate) || learning_rate < 0.0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: learning rate %g is not a finite number >= 0", function,
                         learning_rate);
    return TLM_OK;
}

tlm_status_t tlmi_adamw_check(const char *function, const tlm_adamw_options_t *options)
{
    const struct {
        const char *name;
        double value;
        bool below_one;
    } rules[] = {
        {"beta1", options->beta1, true},
        {"beta2", options->beta2, true},
        {"eps", options->eps, false},
        {"weight_decay", options->weight_decay, false},
    };

    TLMI_TRY(tlmi_check_learning_rate(function, options->learning_rate));
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (!isfinite(rules[i].value) || rules[i].value < 0.0 ||
            (rules[i].below_one && rules[i].value >= 1.0))
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s %g is not %s", function,
                             rules[i].name, rules[i].value,
                             rules[i].below_one ? "in [0, 1)" : "a finite number >= 0");
    }
    return TLM_OK;
}

tlm_status_t tlm_optimizer_create_adamw(tlm_optimizer_t **out, const tlm_adamw_options_t *options)
{
    tlm_adamw_options_t known = TLM_ADAMW_OPTIONS_INIT;

    TLMI_REQUIRE("optimizer_create_adamw", out);
    if (options != NULL)
        TLMI_TRY(tlmi_options_read("optimizer_create_adamw", &known, TLMI_ADAMW_OPTIONS, options));
    TLMI_TRY(tlmi_adamw_check("optimizer_create_adamw", &known));
    return tlmi_optimizer_new(out, &adamw_kind, &known);
}

/* Fails unless m, v or a gradient is row-major and of its parameter's shape. */
static tlm_status_t check_companion(const char *what, size_t index, const tlm_tensor_t *tensor,
                                    const tlm_tensor_t *parameter)
{
    char shape[TLMI_SHAPE_TEXT], needed[TLMI_SHAPE_TEXT];

    TLMI_TRY(tlmi_check_row_major("adamw_update", what, index, tensor));
    if (!tlmi_same_shape(tensor, parameter))
        return tlmi_fail(TLM_ERR_SHAPE, "adamw_update: %s %zu is %s, its parameter %s", what, index,
                         tlmi_shape_text(shape, tensor), tlmi_shape_text(needed, parameter));
    return TLM_OK;
}

tlm_status_t tlm_adamw_update(tlm_tensor_t *const *parameters, tlm_tensor_t *const *m,
                              tlm_tensor_t *const *v, tlm_tensor_t *const *gradients, size_t n,
                              uint64_t step, const tlm_adamw_options_t *options)
{
    tlm_adamw_options_t known = TLM_ADAMW_OPTIONS_INIT;
    double sum;

    if (n > 0) {
        TLMI_REQUIRE("adamw_update", parameters);
        TLMI_REQUIRE("adamw_update", m);
        TLMI_REQUIRE("adamw_update", v);
        TLMI_REQUIRE("adamw_update", gradients);
    }
    if (step == 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "adamw_update: step 0; the first is 1");
    if (options != NULL)
        TLMI_TRY(tlmi_options_read("adamw_update", &known, TLMI_ADAMW_OPTIONS, options));
    TLMI_TRY(tlmi_adamw_check("adamw_update", &known));
    for (size_t i = 0; i < n; i++) {
        TLMI_TRY(tlmi_check_leaf("adamw_update", "parameter", i, parameters[i]));
        TLMI_TRY(check_companion("m", i, m[i], parameters[i]));
        TLMI_TRY(check_companion("v", i, v[i], parameters[i]));
        TLMI_TRY(check_companion("gradient", i, gradients[i], parameters[i]));
    }
    TLMI_TRY(tlmi_gradient_sum_squares(&sum, "adamw_update", gradients, n));
    for (size_t i = 0; i < n; i++) {
        update(parameters[i], tlmi_floats(m[i]), tlmi_floats(v[i]), gradients[i], &known, step);
        tlmi_tensor_written(parameters[i]);
        tlmi_tensor_written(m[i]);
        tlmi_tensor_written(v[i]);
    }
    return TLM_OK;
}
