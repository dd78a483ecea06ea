/* AdamW: the update and its hyper-parameters. */
#include <math.h>

#include "base/error.h"
#include "base/options.h"
#include "optimizer_core.h"
#include "tensor/tensor_core.h"
#include "tensor/vector_math.h"

typedef struct adamw_job {
    const tlmi_parameter_t *parameter;
    tlmi_adamw_step_t step;
} adamw_job_t;

static void adamw_range(void *context, int64_t begin, int64_t end)
{
    const adamw_job_t *job = context;
    const tlmi_parameter_t *parameter = job->parameter;

    tlmi_vec_adamw(tlmi_floats(parameter->tensor) + begin, parameter->state[0] + begin,
                   parameter->state[1] + begin, tlmi_floats(parameter->tensor->grad) + begin,
                   &job->step, end - begin);
}

static void adamw_update(const tlmi_parameter_t *parameter, const tlm_adamw_options_t *options,
                         uint64_t step)
{
    double t = (double)step;
    double correction = sqrt(1.0 - pow(options->beta2, t)) / (1.0 - pow(options->beta1, t));
    adamw_job_t job = {
        parameter,
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

    tlmi_parallel_ranges(parameter->tensor->numel, adamw_range, &job);
}

static const tlmi_optimizer_kind_t adamw_kind = {
    .name = "adamw",
    .num_buffers = 2,
    .buffer_names = {"m", "v"},
    .has_group_options = true,
    .update = adamw_update,
};

TLMI_OPTIONS_INIT_FUNCTIONS(adamw, TLM_ADAMW_OPTIONS_INIT, weight_decay)

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
        TLMI_TRY(tlmi_options_read("optimizer_create_adamw", &known, sizeof(known), options));
    TLMI_TRY(tlmi_adamw_check("optimizer_create_adamw", &known));
    return tlmi_optimizer_new(out, &adamw_kind, &known);
}
