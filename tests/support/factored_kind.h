/* A kind of optimizer that uses all that a kind may: buffers of other shapes than the parameter's,
 * by parameter; options that are numbers and choices; and a first part that can fail. */
#ifndef TEST_FACTORED_KIND_H
#define TEST_FACTORED_KIND_H

#include <math.h>
#include <string.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "optim/optimizer_core.h"

typedef struct factored_options {
    double rho;
    int32_t rule; /* 1: the change is halved */
} factored_options_t;

static const char *const factored_rules[] = {"whole", "half"};

static const tlmi_optimizer_option_t factored_fields[] = {
    {.name = "rho", .offset = offsetof(factored_options_t, rho), .below = 1.0},
    {.name = "rule",
     .offset = offsetof(factored_options_t, rule),
     .choices = factored_rules,
     .num_choices = 2},
};

/* Number of the call of prepare, from now on, that fails; 0: none. */
static int factored_fails_at;

/* Sums of squares by row and by column of a matrix, and of the whole of anything else. */
static tlm_status_t factored_add_states(tlmi_parameter_t *parameter, const char *function,
                                        const void *options)
{
    const tlm_tensor_t *tensor = parameter->tensor;

    (void)options;
    if (tensor->ndim > 2)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: factored has no rule for %d dimensions",
                         function, (int)tensor->ndim);
    if (tensor->ndim < 2)
        return tlmi_state_add(parameter, "all", NULL, 0);
    TLMI_TRY(tlmi_state_add(parameter, "row", &tensor->shape[0], 1));
    return tlmi_state_add(parameter, "column", &tensor->shape[1], 1);
}

static tlm_status_t factored_prepare(tlmi_update_t *update)
{
    const tlm_tensor_t *tensor = update->parameter->tensor;

    update->scratch = tlmi_cached_alloc((size_t)tensor->numel, sizeof(float), "a change");
    if (update->scratch == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (factored_fails_at > 0 && --factored_fails_at == 0)
        return tlmi_fail(TLM_ERR_RANGE, "factored: told to fail");
    if (!tlmi_dry_run())
        memcpy(update->scratch, tlmi_floats(tensor->grad), (size_t)tensor->numel * sizeof(float));
    return TLM_OK;
}

static void factored_apply(const tlmi_update_t *update)
{
    const factored_options_t *options = update->options;
    const tlmi_parameter_t *parameter = update->parameter;
    const tlmi_state_t *row = &parameter->states[0];
    const tlmi_state_t *column = &parameter->states[parameter->num_states - 1];
    float *theta = tlmi_floats(parameter->tensor), *change = update->scratch;
    float rate = (float)update->learning_rate * (options->rule == 1 ? 0.5f : 1.0f);

    for (size_t i = 0; i < row->numel; i++)
        row->values[i] *= (float)options->rho;
    for (size_t i = 0; column != row && i < column->numel; i++)
        column->values[i] *= (float)options->rho;
    for (int64_t i = 0; i < parameter->tensor->numel; i++) {
        size_t at_row = (size_t)i * row->numel / (size_t)parameter->tensor->numel;
        size_t at_column = (size_t)i % column->numel;

        row->values[at_row] += change[i] * change[i];
        if (column != row)
            column->values[at_column] += change[i] * change[i];
        theta[i] -=
            rate * change[i] / (1e-3f + sqrtf(row->values[at_row] + column->values[at_column]));
        theta[i] -= (float)(update->learning_rate * update->weight_decay) * theta[i];
    }
}

static const tlmi_optimizer_kind_t factored_kind = {
    .name = "factored",
    .options_size = sizeof(factored_options_t),
    .options = factored_fields,
    .num_options = 2,
    .has_weight_decay = true,
    .checkpoint_version = 2,
    .add_states = factored_add_states,
    .prepare = factored_prepare,
    .apply = factored_apply,
};

/* The kinds of the library and, after them, the one above; NULL past the last. */
static inline const tlmi_optimizer_kind_t *kind_at(size_t index)
{
    size_t n = 0;

    while (tlmi_optimizer_kinds[n] != NULL)
        n++;
    return index < n ? tlmi_optimizer_kinds[index] : index == n ? &factored_kind : NULL;
}

/* A group whose numbers are `number`, whose counts are 3 and whose choices are the last; `room` holds
 * its options. */
static inline tlmi_group_t make_group(const tlmi_optimizer_kind_t *kind, double number, void *room)
{
    tlmi_group_t group = {kind, 0.0625, kind->has_weight_decay ? 0.5 : 0.0, room, 0.0};

    memset(room, 0, kind->options_size);
    for (size_t i = 0; i < kind->num_options; i++) {
        int32_t choice = kind->options[i].most > 0 ? 3 : kind->options[i].num_choices - 1;

        if (kind->options[i].choices == NULL && kind->options[i].most == 0)
            memcpy((char *)room + kind->options[i].offset, &number, sizeof(number));
        else
            memcpy((char *)room + kind->options[i].offset, &choice, sizeof(choice));
    }
    return group;
}

#endif
