/* AdamW: its options, and the update in the variants that users compare with. */
#include <math.h>

#include "base/error.h"
#include "base/options.h"
#include "kernels/vector_math.h"
#include "optim/optimizer_core.h"

/* ---- Options ---------------------------------------------------------------------------- */

typedef struct adamw_options {
    double beta1, beta2, eps;
    int32_t variant; /* TLM_ADAMW_... */
} adamw_options_t;

static const char *const variants[] = {"cs336_2025", "cs336_2026", "pytorch"};

static const tlmi_optimizer_option_t adamw_fields[] = {
    {.name = "beta1", .offset = offsetof(adamw_options_t, beta1), .below = 1.0},
    {.name = "beta2", .offset = offsetof(adamw_options_t, beta2), .below = 1.0},
    {.name = "eps", .offset = offsetof(adamw_options_t, eps)},
    {.name = "variant",
     .offset = offsetof(adamw_options_t, variant),
     .choices = variants,
     .num_choices = 3},
};

/* Reads and checks a caller's options, which may be NULL. group->options is *own. */
static tlm_status_t read_options(tlmi_group_t *group, adamw_options_t *own, const char *function,
                                 const tlm_adamw_options_t *options)
{
    tlm_adamw_options_t known = TLM_ADAMW_OPTIONS_INIT;

    if (options != NULL)
        TLMI_TRY(tlmi_options_read(function, &known, TLMI_ADAMW_OPTIONS, options));
    *own = (adamw_options_t){known.beta1, known.beta2, known.eps, known.variant};
    *group = (tlmi_group_t){&tlmi_adamw_kind, known.learning_rate, known.weight_decay, own, 0.0};
    return tlmi_group_check(function, group);
}

/* ---- The update ------------------------------------------------------------------------- */

/* All variants are theta = (before theta - step_size m / (sqrt(v) + eps)) after, where m and v are
 * the new moments. PyTorch divides m by 1 - beta1^t, and sqrt(v) by sqrt(1 - beta2^t) before it
 * adds eps; taking that square root out of the divisor leaves eps sqrt(1 - beta2^t) there. */
static tlmi_adamw_step_t make_step(const tlmi_group_t *group, uint64_t step)
{
    const adamw_options_t *options = group->options;
    double t = (double)step;
    double correction1 = 1.0 - pow(options->beta1, t);
    double root2 = sqrt(1.0 - pow(options->beta2, t));
    bool decay_first = options->variant != TLM_ADAMW_CS336_2025;
    float decay = (float)(1.0 - group->learning_rate * group->weight_decay);

    return (tlmi_adamw_step_t){
        .beta1 = (float)options->beta1,
        .beta2 = (float)options->beta2,
        .one_minus_beta1 = (float)(1.0 - options->beta1),
        .one_minus_beta2 = (float)(1.0 - options->beta2),
        .eps = (float)(options->variant == TLM_ADAMW_PYTORCH ? options->eps * root2 : options->eps),
        .step_size = (float)(group->learning_rate * (root2 / correction1)),
        .decay_before = decay_first ? decay : 1.0f,
        .decay_after = decay_first ? 1.0f : decay,
    };
}

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

static tlm_status_t adamw_add_states(tlmi_parameter_t *parameter, const char *function,
                                     const void *options)
{
    const tlm_tensor_t *tensor = parameter->tensor;

    (void)function, (void)options;
    TLMI_TRY(tlmi_state_add(parameter, "m", tensor->shape, tensor->ndim));
    return tlmi_state_add(parameter, "v", tensor->shape, tensor->ndim);
}

static void adamw_apply(const tlmi_update_t *update)
{
    const tlmi_parameter_t *parameter = update->parameter;
    const tlm_tensor_t *tensor = parameter->tensor;
    tlmi_group_t group = {&tlmi_adamw_kind, update->learning_rate, update->weight_decay,
                          (void *)(uintptr_t)update->options, 0.0};
    adamw_job_t job = {tlmi_floats(tensor) + parameter->begin, parameter->states[0].values,
                       parameter->states[1].values, tlmi_floats(tensor->grad) + parameter->begin,
                       make_step(&group, update->step)};

    tlmi_parallel_ranges(parameter->end - parameter->begin, adamw_range, &job);
}

static tlm_status_t adamw_create(tlm_optimizer_t **out)
{
    return tlm_optimizer_create_adamw(out, NULL);
}

/* The step of an element does not depend on the gradient's size, and a sum over d_in of them grows with
 * d_in. Yang et al. 2022, table 3. */
static double adamw_width_factor(const void *options, double ratio)
{
    (void)options;
    return 1.0 / ratio;
}

const tlmi_optimizer_kind_t tlmi_adamw_kind = {
    .name = "adamw",
    .options_size = sizeof(adamw_options_t),
    .options = adamw_fields,
    .num_options = sizeof(adamw_fields) / sizeof(adamw_fields[0]),
    .has_weight_decay = true,
    .checkpoint_version = 1,
    .is_elementwise = true,
    .width_factor = adamw_width_factor,
    .flops = 14, /* 3 for m, 4 for v, 5 for the step, 2 for the decay */
    .create = adamw_create,
    .add_states = adamw_add_states,
    .apply = adamw_apply,
};

/* ---- Public functions ------------------------------------------------------------------- */

tlm_status_t tlm_optimizer_create_adamw(tlm_optimizer_t **out, const tlm_adamw_options_t *options)
{
    TLMI_REQUIRE("optimizer_create_adamw", out);
    adamw_options_t own;
    tlmi_group_t group;
    TLMI_TRY(read_options(&group, &own, "optimizer_create_adamw", options));
    return tlmi_optimizer_new(out, "optimizer_create_adamw", &group);
}

tlm_status_t tlmi_optimizer_set_rest(tlm_optimizer_t *optimizer, const char *function,
                                     const tlm_adamw_options_t *options)
{
    adamw_options_t own;
    tlmi_group_t group;

    TLMI_TRY(read_options(&group, &own, function, options));
    return tlmi_group_copy(&optimizer->rest, &group);
}

tlm_status_t tlm_optimizer_add_adamw_group(tlm_optimizer_t *optimizer, tlm_tensor_t *const *tensors,
                                           size_t n, const tlm_adamw_options_t *options)
{
    adamw_options_t own;
    tlmi_group_t group;

    TLMI_TRY(read_options(&group, &own, "optimizer_add_adamw_group", options));
    return tlmi_optimizer_add(optimizer, "optimizer_add_adamw_group", tensors, n, &group);
}

/* Fails unless m, v or a gradient is row-major and of its parameter's shape. */
static tlm_status_t check_companion(const char *what, size_t index, const tlm_tensor_t *tensor,
                                    const tlm_tensor_t *parameter)
{
    TLMI_TRY(tlmi_check_row_major("adamw_update", what, index, tensor));
    char shape[TLMI_SHAPE_TEXT], needed[TLMI_SHAPE_TEXT];
    if (!tlmi_same_shape(tensor, parameter))
        return tlmi_fail(TLM_ERR_SHAPE,
                         "adamw_update: %s %zu has shape %s, but its parameter has shape %s", what,
                         index, tlmi_shape_text(shape, tensor), tlmi_shape_text(needed, parameter));
    return TLM_OK;
}

tlm_status_t tlm_adamw_update(tlm_tensor_t *const *parameters, tlm_tensor_t *const *m,
                              tlm_tensor_t *const *v, tlm_tensor_t *const *gradients, size_t n,
                              uint64_t step, const tlm_adamw_options_t *options)
{
    if (n > 0) {
        TLMI_REQUIRE("adamw_update", parameters);
        TLMI_REQUIRE("adamw_update", m);
        TLMI_REQUIRE("adamw_update", v);
        TLMI_REQUIRE("adamw_update", gradients);
    }
    if (step == 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "adamw_update: step 0; the first is 1");
    adamw_options_t own;
    tlmi_group_t group;
    TLMI_TRY(read_options(&group, &own, "adamw_update", options));
    for (size_t i = 0; i < n; i++) {
        TLMI_TRY(tlmi_check_leaf("adamw_update", "parameter", i, parameters[i]));
        TLMI_TRY(check_companion("m", i, m[i], parameters[i]));
        TLMI_TRY(check_companion("v", i, v[i], parameters[i]));
        TLMI_TRY(check_companion("gradient", i, gradients[i], parameters[i]));
    }
    double sum;
    TLMI_TRY(tlmi_gradient_sum_squares(&sum, "adamw_update", gradients, n));
    for (size_t i = 0; i < n; i++) {
        adamw_job_t job = {tlmi_floats(parameters[i]), tlmi_floats(m[i]), tlmi_floats(v[i]),
                           tlmi_floats(gradients[i]), make_step(&group, step)};

        tlmi_parallel_ranges(parameters[i]->numel, adamw_range, &job);
        tlmi_tensor_written(parameters[i]);
        tlmi_tensor_written(m[i]);
        tlmi_tensor_written(v[i]);
    }
    return TLM_OK;
}
