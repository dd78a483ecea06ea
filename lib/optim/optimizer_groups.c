/* Groups of an optimizer: hyper-parameters in their ranges, and parameters with the buffers that
 * their kind keeps. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/options.h"
#include "optim/optimizer_core.h"

/* ---- Hyper-parameters ------------------------------------------------------------------- */

/* Fails unless the value is in [0, below), or finite and >= 0 where `below` is 0. */
static tlm_status_t check_number(const char *function, const char *name, double value, double below)
{
    if (isfinite(value) && value >= 0.0 && (below == 0.0 || value < below))
        return TLM_OK;
    if (below == 0.0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s %s is not a finite number >= 0",
                         function, name, TLMI_G(value));
    return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s %s is not in [0, %s)", function, name,
                     TLMI_G(value), TLMI_G(below));
}

tlm_status_t tlmi_check_rate(const char *function, const char *name, double value)
{
    return check_number(function, name, value, 0.0);
}

double tlmi_optimizer_option_number(const tlmi_optimizer_option_t *option, const void *options)
{
    double number;

    if (option->most > 0)
        return tlmi_optimizer_option_choice(option, options);
    memcpy(&number, (const char *)options + option->offset, sizeof(number));
    return number;
}

int32_t tlmi_optimizer_option_choice(const tlmi_optimizer_option_t *option, const void *options)
{
    int32_t choice;

    memcpy(&choice, (const char *)options + option->offset, sizeof(choice));
    return choice;
}

void tlmi_optimizer_option_set_number(const tlmi_optimizer_option_t *option, void *options,
                                      double number)
{
    if (option->most > 0) {
        /* What is no count becomes 0, which tlmi_group_check refuses. */
        bool is_count = number >= 1.0 && number <= option->most && number == floor(number);

        tlmi_optimizer_option_set_choice(option, options, is_count ? (int32_t)number : 0);
        return;
    }
    memcpy((char *)options + option->offset, &number, sizeof(number));
}

void tlmi_optimizer_option_set_choice(const tlmi_optimizer_option_t *option, void *options,
                                      int32_t choice)
{
    memcpy((char *)options + option->offset, &choice, sizeof(choice));
}

static tlm_status_t check_option(const char *function, const tlmi_optimizer_option_t *option,
                                 const void *options)
{
    if (option->choices == NULL && option->most == 0)
        return check_number(function, option->name, tlmi_optimizer_option_number(option, options),
                            option->below);
    int32_t choice = tlmi_optimizer_option_choice(option, options);
    if (option->choices == NULL && (choice < 1 || choice > option->most))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s %" PRId32 " is not in 1 .. %" PRId32,
                         function, option->name, choice, option->most);
    if (option->choices == NULL)
        return TLM_OK;
    if (choice < 0 || choice >= option->num_choices)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s %" PRId32 " is not in 0 .. %" PRId32,
                         function, option->name, choice, option->num_choices - 1);
    return TLM_OK;
}

tlm_status_t tlmi_group_check(const char *function, const tlmi_group_t *group)
{
    const tlmi_optimizer_kind_t *kind = group->kind;

    TLMI_TRY(tlmi_check_rate(function, "learning_rate", group->learning_rate));
    TLMI_TRY(tlmi_check_rate(function, "weight_decay", group->weight_decay));
    TLMI_TRY(tlmi_check_rate(function, "rate_factor", group->rate_factor));
    if (group->weight_decay != 0.0 && !kind->has_weight_decay)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: weight_decay is %s, but %s has no weight decay",
                         function, TLMI_G(group->weight_decay), kind->name);
    for (size_t i = 0; i < kind->num_options; i++)
        TLMI_TRY(check_option(function, &kind->options[i], group->options));
    return TLM_OK;
}

tlm_status_t tlmi_group_copy(tlmi_group_t *out, const tlmi_group_t *from)
{
    tlmi_group_t copy = *from;
    size_t size = from->kind->options_size;

    copy.options = tlmi_alloc(1, size, "the options of an optimizer");
    if (copy.options == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (size > 0)
        memcpy(copy.options, from->options, size);
    *out = copy;
    return TLM_OK;
}

void tlmi_group_release(tlmi_group_t *group)
{
    tlmi_free(group->options);
}

/* ---- Parameters ------------------------------------------------------------------------- */

tlm_status_t tlmi_check_row_major(const char *function, const char *what, size_t index,
                                  const tlm_tensor_t *tensor)
{
    char name[48];

    snprintf(name, sizeof(name), "%s %zu", what, index);
    TLMI_TRY(tlmi_check_float(function, name, tensor));
    if (!tlmi_is_contiguous(tensor))
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: %s is a view that is not row-major", function,
                         name);
    return TLM_OK;
}

tlm_status_t tlmi_check_leaf(const char *function, const char *what, size_t index,
                             const tlm_tensor_t *tensor)
{
    TLMI_TRY(tlmi_check_row_major(function, what, index, tensor));
    if (tensor->node != NULL)
        return tlmi_fail(TLM_ERR_STATE, "%s: %s %zu is the result of an op, not a leaf", function,
                         what, index);
    return TLM_OK;
}

/* A tensor, and its place among the optimizer's parameters and the new tensors after them. */
typedef struct listed {
    const tlm_tensor_t *tensor;
    size_t place;
} listed_t;

static int compare_listed(const void *a, const void *b)
{
    const listed_t *left = a, *right = b;

    if (left->tensor != right->tensor)
        return (uintptr_t)left->tensor < (uintptr_t)right->tensor ? -1 : 1;
    return left->place < right->place ? -1 : left->place > right->place;
}

/* Fails if a new tensor is a parameter already, or given twice: with a sorted list, because models
 * may have very many parameters. */
static tlm_status_t check_distinct(const char *function, const tlm_optimizer_t *optimizer,
                                   tlm_tensor_t *const *tensors, size_t total)
{
    size_t old = optimizer->num_parameters, again = total, first = 0;
    listed_t *list = tlmi_alloc(total, sizeof(*list), "the parameters of an optimizer");

    if (list == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < total; i++)
        list[i] = (listed_t){i < old ? optimizer->parameters[i].tensor : tensors[i - old], i};
    qsort(list, total, sizeof(*list), compare_listed);
    for (size_t i = 1; i < total; i++)
        if (list[i].tensor == list[i - 1].tensor && list[i].place < again) {
            again = list[i].place;
            first = list[i - 1].place;
        }
    tlmi_free(list);
    if (again == total)
        return TLM_OK;
    if (first < old)
        return tlmi_fail(TLM_ERR_STATE, "%s: tensor %zu is already parameter %zu, in group %zu",
                         function, again - old, first, optimizer->parameters[first].group);
    return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: tensors %zu and %zu are the same", function,
                     first - old, again - old);
}

tlm_status_t tlmi_state_add(tlmi_parameter_t *parameter, const char *name, const int64_t *shape,
                            int32_t ndim)
{
    tlmi_state_t state = {.name = name, .ndim = ndim, .numel = 1};

    for (int32_t i = 0; i < ndim; i++) {
        state.shape[i] = shape[i];
        if (!tlmi_mul_size(&state.numel, state.numel, (size_t)shape[i]))
            return tlmi_fail_overflow("the state of an optimizer");
    }
    if (!tlmi_grow(&parameter->states, &parameter->state_capacity, parameter->num_states + 1,
                   sizeof(state), "the states of a parameter"))
        return TLM_ERR_OUT_OF_MEMORY;
    state.values = tlmi_lasting_alloc(state.numel, sizeof(float), "the state of an optimizer");
    if (state.values == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (!tlmi_dry_run())
        memset(state.values, 0, state.numel * sizeof(float));
    parameter->states[parameter->num_states++] = state;
    return TLM_OK;
}

static void parameter_release(tlmi_parameter_t *parameter)
{
    for (size_t i = 0; i < parameter->num_states; i++)
        tlmi_lasting_free(parameter->states[i].values, parameter->states[i].numel, sizeof(float));
    tlmi_free(parameter->states);
    tlm_tensor_free(parameter->tensor);
}

static tlm_status_t parameter_init(tlmi_parameter_t *out, const char *function,
                                   tlm_tensor_t *tensor, size_t index, const tlmi_group_t *group,
                                   bool has_average)
{
    tlmi_parameter_t parameter = {
        .tensor = tlm_tensor_retain(tensor), .group = index, .end = tensor->numel};
    tlm_status_t status = TLM_OK;

    if (group->kind->add_states != NULL)
        status = group->kind->add_states(&parameter, function, group->options);
    if (status == TLM_OK && has_average)
        status = tlmi_average_add(&parameter);
    if (status == TLM_OK)
        *out = parameter;
    else
        parameter_release(&parameter);
    return status;
}

/* ---- Groups ----------------------------------------------------------------------------- */

tlm_status_t tlmi_optimizer_add(tlm_optimizer_t *optimizer, const char *function,
                                tlm_tensor_t *const *tensors, size_t n, const tlmi_group_t *group)
{
    size_t added = 0;

    TLMI_REQUIRE(function, optimizer);
    TLMI_TRY(tlmi_optimizer_check_whole(function, optimizer));
    if (n > 0)
        TLMI_REQUIRE(function, tensors);
    TLMI_TRY(tlmi_group_check(function, group));
    for (size_t i = 0; i < n; i++)
        TLMI_TRY(tlmi_check_leaf(function, "tensor", i, tensors[i]));
    size_t total;
    if (!tlmi_add_size(&total, optimizer->num_parameters, n))
        return tlmi_fail_overflow("the parameters of an optimizer");
    TLMI_TRY(check_distinct(function, optimizer, tensors, total));
    if (!tlmi_grow(&optimizer->groups, &optimizer->group_capacity, optimizer->num_groups + 1,
                   sizeof(*optimizer->groups), "the groups of an optimizer") ||
        !tlmi_grow(&optimizer->parameters, &optimizer->parameter_capacity, total,
                   sizeof(*optimizer->parameters), "the parameters of an optimizer"))
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_group_t copy;
    TLMI_TRY(tlmi_group_copy(&copy, group));
    tlmi_parameter_t *fresh = optimizer->parameters + optimizer->num_parameters;
    tlm_status_t status;
    for (; added < n; added++)
        TLMI_TRY_OR(fail,
                    parameter_init(&fresh[added], function, tensors[added], optimizer->num_groups,
                                   group, optimizer->average_decay > 0.0));
    optimizer->num_parameters = total;
    optimizer->groups[optimizer->num_groups++] = copy;
    return TLM_OK;
fail:
    while (added-- > 0)
        parameter_release(&fresh[added]);
    tlmi_group_release(&copy);
    return status;
}

void tlmi_optimizer_remove_group(tlm_optimizer_t *optimizer)
{
    size_t last = optimizer->num_groups - 1, n = optimizer->num_parameters;

    for (; n > 0 && optimizer->parameters[n - 1].group == last; n--)
        parameter_release(&optimizer->parameters[n - 1]);
    optimizer->num_parameters = n;
    (void)tlm_optimizer_set_schedule(optimizer, last, NULL);
    tlmi_group_release(&optimizer->groups[last]);
    optimizer->num_groups--;
}

tlm_status_t tlm_optimizer_add_group(tlm_optimizer_t *optimizer, tlm_tensor_t *const *tensors,
                                     size_t n, const tlm_group_options_t *options)
{
    tlm_group_options_t known = TLM_GROUP_OPTIONS_INIT;

    TLMI_REQUIRE("optimizer_add_group", optimizer);
    if (options != NULL)
        TLMI_TRY(tlmi_options_read("optimizer_add_group", &known, TLMI_GROUP_OPTIONS, options));
    tlmi_group_t group = optimizer->defaults;
    if (known.has_learning_rate)
        group.learning_rate = known.learning_rate;
    if (known.has_weight_decay)
        group.weight_decay = known.weight_decay;
    group.rate_factor = known.rate_factor;
    return tlmi_optimizer_add(optimizer, "optimizer_add_group", tensors, n, &group);
}
