/* Optimisers of any kind: groups, state, and the step that visits all parameters. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tensor/tensor_core.h"
#include "base/options.h"
#include "optim/optimizer_core.h"

tlm_status_t tlmi_optimizer_new(tlm_optimizer_t **out, const tlmi_optimizer_kind_t *kind,
                                const tlm_adamw_options_t *defaults)
{
    tlm_optimizer_t *optimizer = tlmi_calloc(1, sizeof(*optimizer), "an optimizer");

    if (optimizer == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    optimizer->kind = kind;
    optimizer->defaults = *defaults;
    *out = optimizer;
    return TLM_OK;
}

static void parameter_release(tlmi_parameter_t *parameter)
{
    for (int32_t i = 0; i < TLMI_MAX_STATE_BUFFERS; i++)
        tlmi_free(parameter->state[i]);
    tlm_tensor_free(parameter->tensor);
}

void tlm_optimizer_free(tlm_optimizer_t *optimizer)
{
    if (optimizer == NULL)
        return;
    for (size_t i = 0; i < optimizer->num_parameters; i++)
        parameter_release(&optimizer->parameters[i]);
    tlmi_free(optimizer->parameters);
    tlmi_free(optimizer->groups);
    tlmi_free(optimizer);
}

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

static tlm_status_t check_new_parameter(const tlm_optimizer_t *optimizer,
                                        tlm_tensor_t *const *tensors, size_t index)
{
    const tlm_tensor_t *tensor = tensors[index];

    TLMI_TRY(tlmi_check_leaf("optimizer_add_group", "tensor", index, tensor));
    for (size_t i = 0; i < optimizer->num_parameters; i++)
        if (optimizer->parameters[i].tensor == tensor)
            return tlmi_fail(TLM_ERR_STATE,
                             "optimizer_add_group: tensor %zu is parameter %zu, in group %zu, "
                             "already",
                             index, i, optimizer->parameters[i].group);
    for (size_t i = 0; i < index; i++)
        if (tensors[i] == tensor)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "optimizer_add_group: tensors %zu and %zu are the same", i, index);
    return TLM_OK;
}

static tlm_status_t parameter_init(tlmi_parameter_t *parameter, const tlm_optimizer_t *optimizer,
                                   tlm_tensor_t *tensor)
{
    size_t n = (size_t)tensor->numel;

    memset(parameter, 0, sizeof(*parameter));
    parameter->group = optimizer->num_groups;
    for (int32_t i = 0; i < optimizer->kind->num_buffers; i++) {
        parameter->state[i] = tlmi_alloc_aligned(n, sizeof(float), "the state of an optimizer");
        if (parameter->state[i] == NULL) {
            parameter_release(parameter);
            return TLM_ERR_OUT_OF_MEMORY;
        }
        memset(parameter->state[i], 0, n * sizeof(float));
    }
    parameter->tensor = tlm_tensor_retain(tensor);
    return TLM_OK;
}

/* The hyper-parameters of a new group. */
static tlm_status_t read_group_options(tlm_adamw_options_t *known, const tlm_optimizer_t *optimizer,
                                       const tlm_adamw_options_t *options)
{
    *known = optimizer->defaults;
    if (options == NULL)
        return TLM_OK;
    if (!optimizer->kind->has_group_options)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "optimizer_add_group: options are AdamW's, and the optimizer is %s",
                         optimizer->kind->name);
    TLMI_TRY(tlmi_options_read("optimizer_add_group", known, TLMI_ADAMW_OPTIONS, options));
    return tlmi_adamw_check("optimizer_add_group", known);
}

tlm_status_t tlm_optimizer_add_group(tlm_optimizer_t *optimizer, tlm_tensor_t *const *tensors,
                                     size_t n, const tlm_adamw_options_t *options)
{
    tlm_adamw_options_t known;
    size_t total, added = 0;

    TLMI_REQUIRE("optimizer_add_group", optimizer);
    if (n > 0)
        TLMI_REQUIRE("optimizer_add_group", tensors);
    TLMI_TRY(read_group_options(&known, optimizer, options));
    for (size_t i = 0; i < n; i++)
        TLMI_TRY(check_new_parameter(optimizer, tensors, i));
    if (!tlmi_add_size(&total, optimizer->num_parameters, n))
        return tlmi_fail_memory(SIZE_MAX, "the parameters of an optimizer");
    if (!tlmi_grow(&optimizer->groups, &optimizer->group_capacity, optimizer->num_groups + 1,
                   sizeof(*optimizer->groups), "the groups of an optimizer") ||
        !tlmi_grow(&optimizer->parameters, &optimizer->parameter_capacity, total,
                   sizeof(*optimizer->parameters), "the parameters of an optimizer"))
        return TLM_ERR_OUT_OF_MEMORY;
    for (; added < n; added++) {
        tlmi_parameter_t *fresh = optimizer->parameters + optimizer->num_parameters;

        if (parameter_init(fresh + added, optimizer, tensors[added]) != TLM_OK) {
            while (added-- > 0)
                parameter_release(fresh + added);
            return TLM_ERR_OUT_OF_MEMORY;
        }
    }
    optimizer->num_parameters = total;
    optimizer->groups[optimizer->num_groups++] = known;
    return TLM_OK;
}

void tlmi_optimizer_remove_group(tlm_optimizer_t *optimizer)
{
    size_t last = --optimizer->num_groups, n = optimizer->num_parameters;

    for (; n > 0 && optimizer->parameters[n - 1].group == last; n--)
        parameter_release(&optimizer->parameters[n - 1]);
    optimizer->num_parameters = n;
}

size_t tlm_optimizer_num_groups(const tlm_optimizer_t *optimizer)
{
    return optimizer == NULL ? 0 : optimizer->num_groups;
}

static tlm_status_t check_group(const char *function, const tlm_optimizer_t *optimizer,
                                size_t group)
{
    if (group >= optimizer->num_groups)
        return tlmi_fail(TLM_ERR_RANGE, "%s: group %zu of %zu", function, group,
                         optimizer->num_groups);
    return TLM_OK;
}

tlm_status_t tlm_optimizer_set_learning_rate(tlm_optimizer_t *optimizer, size_t group,
                                             double learning_rate)
{
    TLMI_REQUIRE("optimizer_set_learning_rate", optimizer);
    TLMI_TRY(tlmi_check_learning_rate("optimizer_set_learning_rate", learning_rate));
    if (group == TLM_ALL_GROUPS) {
        for (size_t i = 0; i < optimizer->num_groups; i++)
            optimizer->groups[i].learning_rate = learning_rate;
        return TLM_OK;
    }
    TLMI_TRY(check_group("optimizer_set_learning_rate", optimizer, group));
    optimizer->groups[group].learning_rate = learning_rate;
    return TLM_OK;
}

tlm_status_t tlm_optimizer_learning_rate(double *out, const tlm_optimizer_t *optimizer,
                                         size_t group)
{
    TLMI_REQUIRE("optimizer_learning_rate", out);
    TLMI_REQUIRE("optimizer_learning_rate", optimizer);
    TLMI_TRY(check_group("optimizer_learning_rate", optimizer, group));
    *out = optimizer->groups[group].learning_rate;
    return TLM_OK;
}

/* Fails if a gradient holds NaN or infinity: one pass that reads all gradients, cheap beside the
 * update, which reads and writes seven times as much. */
static tlm_status_t check_gradients(const tlm_optimizer_t *optimizer)
{
    tlm_tensor_t **gradients = tlmi_cached_alloc(optimizer->num_parameters, sizeof(tlm_tensor_t *),
                                                 "the gradients of an optimizer step");
    tlm_status_t status;
    double sum;

    if (gradients == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < optimizer->num_parameters; i++)
        gradients[i] = optimizer->parameters[i].tensor->grad;
    status =
        tlmi_gradient_sum_squares(&sum, "optimizer_step", gradients, optimizer->num_parameters);
    tlmi_cached_free(gradients);
    return status;
}

tlm_status_t tlm_optimizer_step(tlm_optimizer_t *optimizer)
{
    TLMI_REQUIRE("optimizer_step", optimizer);
    if (optimizer->steps == UINT64_MAX)
        return tlmi_fail(TLM_ERR_STATE, "optimizer_step: %" PRIu64 " steps are done, the most",
                         optimizer->steps);
    TLMI_TRY(check_gradients(optimizer));
    optimizer->steps++;
    for (size_t i = 0; i < optimizer->num_parameters; i++) {
        const tlmi_parameter_t *parameter = &optimizer->parameters[i];

        if (parameter->tensor->grad == NULL)
            continue;
        optimizer->kind->update(parameter, &optimizer->groups[parameter->group], optimizer->steps);
        tlmi_tensor_written(parameter->tensor);
    }
    return TLM_OK;
}

void tlm_optimizer_zero_grad(tlm_optimizer_t *optimizer)
{
    for (size_t i = 0; optimizer != NULL && i < optimizer->num_parameters; i++)
        tlm_tensor_zero_grad(optimizer->parameters[i].tensor);
}

size_t tlm_optimizer_num_parameters(const tlm_optimizer_t *optimizer)
{
    return optimizer == NULL ? 0 : optimizer->num_parameters;
}

static tlm_status_t check_parameter(const char *function, const tlm_optimizer_t *optimizer,
                                    size_t index)
{
    TLMI_REQUIRE(function, optimizer);
    if (index >= optimizer->num_parameters)
        return tlmi_fail(TLM_ERR_RANGE, "%s: parameter %zu of %zu", function, index,
                         optimizer->num_parameters);
    return TLM_OK;
}

tlm_status_t tlm_optimizer_parameter(tlm_tensor_t **out, const tlm_optimizer_t *optimizer,
                                     size_t index)
{
    TLMI_REQUIRE("optimizer_parameter", out);
    TLMI_TRY(check_parameter("optimizer_parameter", optimizer, index));
    *out = optimizer->parameters[index].tensor;
    return TLM_OK;
}

tlm_status_t tlm_optimizer_state(float **out, size_t *n, tlm_optimizer_t *optimizer, size_t index,
                                 const char *name)
{
    TLMI_REQUIRE("optimizer_state", out);
    TLMI_REQUIRE("optimizer_state", n);
    TLMI_REQUIRE("optimizer_state", name);
    TLMI_TRY(check_parameter("optimizer_state", optimizer, index));
    for (int32_t i = 0; i < optimizer->kind->num_buffers; i++)
        if (strcmp(name, optimizer->kind->buffer_names[i]) == 0) {
            *out = optimizer->parameters[index].state[i];
            *n = (size_t)optimizer->parameters[index].tensor->numel;
            return TLM_OK;
        }
    return tlmi_fail(TLM_ERR_NOT_FOUND, "optimizer_state: %s keeps no buffer '%.32s'",
                     optimizer->kind->name, name);
}

uint64_t tlm_optimizer_steps(const tlm_optimizer_t *optimizer)
{
    return optimizer == NULL ? 0 : optimizer->steps;
}

tlm_status_t tlm_optimizer_set_steps(tlm_optimizer_t *optimizer, uint64_t steps)
{
    TLMI_REQUIRE("optimizer_set_steps", optimizer);
    optimizer->steps = steps;
    return TLM_OK;
}

const char *tlm_optimizer_kind(const tlm_optimizer_t *optimizer)
{
    return optimizer == NULL ? "none" : optimizer->kind->name;
}
