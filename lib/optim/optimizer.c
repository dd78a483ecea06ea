/* Optimizers of any kind: the handle, steps, and access to what an optimizer holds. */
#include <inttypes.h>
#include <string.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/memory.h"
#include "optim/optimizer_core.h"

const tlmi_optimizer_kind_t *const tlmi_optimizer_kinds[] = {
    &tlmi_adamw_kind, &tlmi_sgd_kind, &tlmi_muon_kind, &tlmi_lion_kind, &tlmi_adafactor_kind, NULL,
};

/* ---- The handle ------------------------------------------------------------------------- */

tlm_status_t tlmi_optimizer_new(tlm_optimizer_t **out, const char *function,
                                const tlmi_group_t *defaults)
{
    TLMI_TRY(tlmi_group_check(function, defaults));
    tlm_optimizer_t *optimizer = tlmi_calloc(1, sizeof(*optimizer), "an optimizer");
    if (optimizer == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = tlmi_group_copy(&optimizer->defaults, defaults);
    if (status != TLM_OK) {
        tlmi_free(optimizer);
        return status;
    }
    *out = optimizer;
    return TLM_OK;
}

void tlm_optimizer_free(tlm_optimizer_t *optimizer)
{
    if (optimizer == NULL)
        return;
    while (optimizer->num_groups > 0)
        tlmi_optimizer_remove_group(optimizer);
    tlmi_free(optimizer->schedules);
    tlmi_free(optimizer->parameters);
    tlmi_free(optimizer->groups);
    tlmi_group_release(&optimizer->defaults);
    tlmi_group_release(&optimizer->rest);
    tlmi_free(optimizer);
}

const char *tlm_optimizer_kind(const tlm_optimizer_t *optimizer)
{
    return optimizer == NULL ? "none" : optimizer->defaults.kind->name;
}

/* ---- Steps ------------------------------------------------------------------------------ */

/* Fails if a gradient holds NaN or infinity: one pass that reads all gradients, cheap beside the
 * update, which reads and writes seven times as much. */
static tlm_status_t check_gradients(const tlm_optimizer_t *optimizer)
{
    tlm_tensor_t **gradients = tlmi_cached_calloc(optimizer->num_parameters, sizeof(tlm_tensor_t *),
                                                  "the gradients of an optimizer step");

    if (gradients == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < optimizer->num_parameters; i++)
        gradients[i] = optimizer->parameters[i].tensor->grad;
    double sum;
    tlm_status_t status =
        tlmi_gradient_sum_squares(&sum, "optimizer_step", gradients, optimizer->num_parameters);
    tlmi_cached_free(gradients);
    return status;
}

/* The updates of a step, of parameters that have a gradient. */
typedef struct updates {
    tlmi_update_t *items;
    size_t n;
} updates_t;

static const tlmi_optimizer_kind_t *kind_of(const tlm_optimizer_t *optimizer,
                                            const tlmi_parameter_t *parameter)
{
    return optimizer->groups[parameter->group].kind;
}

tlmi_group_schedule_t *tlmi_group_schedule(const tlm_optimizer_t *optimizer, size_t group)
{
    for (size_t i = 0; i < optimizer->num_schedules; i++)
        if (optimizer->schedules[i].group == group)
            return &optimizer->schedules[i];
    return NULL;
}

tlm_status_t tlm_optimizer_set_schedule(tlm_optimizer_t *optimizer, size_t group,
                                        const tlm_schedule_options_t *schedule)
{
    tlm_schedule_options_t known = TLM_SCHEDULE_OPTIONS_INIT;

    TLMI_REQUIRE("optimizer_set_schedule", optimizer);
    if (group >= optimizer->num_groups)
        return tlmi_fail(TLM_ERR_RANGE, "optimizer_set_schedule: no group %zu; there are %zu",
                         group, optimizer->num_groups);
    if (schedule != NULL)
        TLMI_TRY(tlmi_schedule_read(&known, "optimizer_set_schedule", schedule));
    tlmi_group_schedule_t *own = tlmi_group_schedule(optimizer, group);
    if (schedule == NULL) {
        if (own != NULL)
            *own = optimizer->schedules[--optimizer->num_schedules];
        return TLM_OK;
    }
    if (own == NULL) {
        if (!tlmi_grow(&optimizer->schedules, &optimizer->schedule_capacity,
                       optimizer->num_schedules + 1, sizeof(*own), "the schedules of groups"))
            return TLM_ERR_OUT_OF_MEMORY;
        own = &optimizer->schedules[optimizer->num_schedules++];
    }
    *own = (tlmi_group_schedule_t){group, known};
    return TLM_OK;
}

/* The learning rate of a group in the next step: by its own schedule, or by the one that gave
 * `learning_rate`, or as it is. */
static double group_rate(const tlm_optimizer_t *optimizer, size_t index,
                         const double *learning_rate)
{
    const tlmi_group_t *group = &optimizer->groups[index];
    const tlmi_group_schedule_t *own = tlmi_group_schedule(optimizer, index);
    double rate = 0.0;

    if (own != NULL) {
        (void)tlm_schedule_learning_rate(&rate, &own->options,
                                         optimizer->steps + 1); /* is checked */
        return rate;
    }
    if (learning_rate == NULL)
        return group->learning_rate;
    return group->rate_factor == 0.0 ? *learning_rate : *learning_rate * group->rate_factor;
}

/* Does all that can fail; `updates` are to be released in any case. */
static tlm_status_t prepare(updates_t *updates, const tlm_optimizer_t *optimizer,
                            const double *learning_rate)
{
    for (size_t i = 0; i < optimizer->num_parameters; i++) {
        const tlmi_parameter_t *parameter = &optimizer->parameters[i];
        const tlmi_group_t *group = &optimizer->groups[parameter->group];
        tlmi_update_t *update = &updates->items[updates->n];

        const bool is_elsewhere = parameter->begin == parameter->end && optimizer->num_ranks > 0;

        if (parameter->tensor->grad == NULL || is_elsewhere)
            continue;
        updates->n++;
        *update = (tlmi_update_t){
            .parameter = parameter,
            .options = group->options,
            .learning_rate = group_rate(optimizer, parameter->group, learning_rate),
            .weight_decay = group->weight_decay,
            .step = optimizer->steps + 1,
        };
        if (group->kind->prepare != NULL)
            TLMI_TRY(group->kind->prepare(update));
    }
    return TLM_OK;
}

static void updates_release(updates_t *updates)
{
    for (size_t i = 0; i < updates->n; i++)
        tlmi_cached_free(updates->items[i].scratch);
    tlmi_cached_free(updates->items);
}

static tlm_status_t step(tlm_optimizer_t *optimizer, const double *learning_rate,
                         tlmi_agree_fn agree, void *user)
{
    updates_t updates = {0};

    updates.items = tlmi_cached_calloc(optimizer->num_parameters, sizeof(*updates.items),
                                       "the updates of an optimizer step");
    tlm_status_t status =
        updates.items == NULL ? TLM_ERR_OUT_OF_MEMORY : prepare(&updates, optimizer, learning_rate);
    if (agree != NULL)
        status = agree(user, status);
    if (status != TLM_OK)
        goto done;
    for (size_t i = 0; i < updates.n && !tlmi_dry_run(); i++) {
        kind_of(optimizer, updates.items[i].parameter)->apply(&updates.items[i]);
        tlmi_tensor_written(updates.items[i].parameter->tensor);
    }
    for (size_t i = 0; i < optimizer->num_groups; i++)
        optimizer->groups[i].learning_rate = group_rate(optimizer, i, learning_rate);
    optimizer->steps++;
    if (!tlmi_dry_run())
        tlmi_average_step(optimizer);
done:
    updates_release(&updates);
    return status;
}

static tlm_status_t check_steps(const tlm_optimizer_t *optimizer)
{
    if (optimizer->steps == UINT64_MAX)
        return tlmi_fail(TLM_ERR_STATE,
                         "optimizer_step: %" PRIu64 " steps are done, which is the limit",
                         optimizer->steps);
    return TLM_OK;
}

tlm_status_t tlmi_optimizer_step(tlm_optimizer_t *optimizer, const double *learning_rate,
                                 bool are_finite)
{
    TLMI_TRY(check_steps(optimizer));
    if (!are_finite)
        TLMI_TRY(check_gradients(optimizer));
    return step(optimizer, learning_rate, NULL, NULL);
}

tlm_status_t tlmi_optimizer_step_agreed(tlm_optimizer_t *optimizer, const double *learning_rate,
                                        tlmi_agree_fn agree, void *user)
{
    tlm_status_t status = check_steps(optimizer); /* the same on all ranks */

    return status != TLM_OK ? status : step(optimizer, learning_rate, agree, user);
}

tlm_status_t tlm_optimizer_step(tlm_optimizer_t *optimizer)
{
    TLMI_REQUIRE("optimizer_step", optimizer);
    TLMI_TRY(tlmi_optimizer_check_whole("optimizer_step", optimizer));
    return tlmi_optimizer_step(optimizer, NULL, false);
}

void tlm_optimizer_zero_grad(tlm_optimizer_t *optimizer)
{
    for (size_t i = 0; optimizer != NULL && i < optimizer->num_parameters; i++)
        tlm_tensor_zero_grad(optimizer->parameters[i].tensor);
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

/* ---- Groups ----------------------------------------------------------------------------- */

size_t tlm_optimizer_num_groups(const tlm_optimizer_t *optimizer)
{
    return optimizer == NULL ? 0 : optimizer->num_groups;
}

static tlm_status_t check_group(const char *function, const tlm_optimizer_t *optimizer,
                                size_t group)
{
    if (group >= optimizer->num_groups)
        return tlmi_fail(TLM_ERR_RANGE, "%s: no group %zu; there are %zu", function, group,
                         optimizer->num_groups);
    return TLM_OK;
}

/* What the public functions read and set by group. */
typedef enum rate { LEARNING_RATE, WEIGHT_DECAY } rate_t;

static const char *const rate_names[] = {"learning_rate", "weight_decay"};

static double *rate_of(tlmi_group_t *group, rate_t rate)
{
    return rate == LEARNING_RATE ? &group->learning_rate : &group->weight_decay;
}

/* Sets the rate of one group or of all; where one of them refuses it, of none. */
static tlm_status_t set_rate(const char *function, tlm_optimizer_t *optimizer, size_t group,
                             rate_t rate, double value)
{
    size_t first = group == TLM_ALL_GROUPS ? 0 : group;

    TLMI_REQUIRE(function, optimizer);
    TLMI_TRY(tlmi_check_rate(function, rate_names[rate], value));
    if (group != TLM_ALL_GROUPS)
        TLMI_TRY(check_group(function, optimizer, group));
    size_t end = group == TLM_ALL_GROUPS ? optimizer->num_groups : group + 1;
    for (size_t i = first; i < end; i++) {
        tlmi_group_t changed = optimizer->groups[i];

        *rate_of(&changed, rate) = value;
        TLMI_TRY(tlmi_group_check(function, &changed));
    }
    for (size_t i = first; i < end; i++)
        *rate_of(&optimizer->groups[i], rate) = value;
    return TLM_OK;
}

static tlm_status_t read_rate(double *out, const char *function, const tlm_optimizer_t *optimizer,
                              size_t group, rate_t rate)
{
    TLMI_REQUIRE(function, out);
    TLMI_REQUIRE(function, optimizer);
    TLMI_TRY(check_group(function, optimizer, group));
    *out = *rate_of(&optimizer->groups[group], rate);
    return TLM_OK;
}

tlm_status_t tlm_optimizer_set_learning_rate(tlm_optimizer_t *optimizer, size_t group,
                                             double learning_rate)
{
    return set_rate("optimizer_set_learning_rate", optimizer, group, LEARNING_RATE, learning_rate);
}

tlm_status_t tlm_optimizer_learning_rate(double *out, const tlm_optimizer_t *optimizer,
                                         size_t group)
{
    return read_rate(out, "optimizer_learning_rate", optimizer, group, LEARNING_RATE);
}

tlm_status_t tlm_optimizer_set_weight_decay(tlm_optimizer_t *optimizer, size_t group,
                                            double weight_decay)
{
    return set_rate("optimizer_set_weight_decay", optimizer, group, WEIGHT_DECAY, weight_decay);
}

tlm_status_t tlm_optimizer_weight_decay(double *out, const tlm_optimizer_t *optimizer, size_t group)
{
    return read_rate(out, "optimizer_weight_decay", optimizer, group, WEIGHT_DECAY);
}

/* ---- Parameters and state --------------------------------------------------------------- */

size_t tlm_optimizer_num_parameters(const tlm_optimizer_t *optimizer)
{
    return optimizer == NULL ? 0 : optimizer->num_parameters;
}

static tlm_status_t check_parameter(const char *function, const tlm_optimizer_t *optimizer,
                                    size_t index)
{
    TLMI_REQUIRE(function, optimizer);
    if (index >= optimizer->num_parameters)
        return tlmi_fail(TLM_ERR_RANGE, "%s: no parameter %zu; there are %zu", function, index,
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
    TLMI_TRY(tlmi_optimizer_check_whole("optimizer_state", optimizer));
    const tlmi_parameter_t *parameter = &optimizer->parameters[index];
    for (size_t i = 0; i < parameter->num_states; i++)
        if (strcmp(name, parameter->states[i].name) == 0) {
            *out = parameter->states[i].values;
            *n = parameter->states[i].numel;
            return TLM_OK;
        }
    return tlmi_fail(TLM_ERR_NOT_FOUND, "optimizer_state: %s has no state buffer '%.32s'",
                     kind_of(optimizer, parameter)->name, name);
}

tlm_status_t tlm_optimizer_state_name(const char **out, const tlm_optimizer_t *optimizer,
                                      size_t index, size_t buffer)
{
    TLMI_REQUIRE("optimizer_state_name", out);
    TLMI_TRY(check_parameter("optimizer_state_name", optimizer, index));
    if (buffer >= optimizer->parameters[index].num_states)
        return tlmi_fail(TLM_ERR_RANGE, "optimizer_state_name: no buffer %zu; there are %zu",
                         buffer, optimizer->parameters[index].num_states);
    *out = optimizer->parameters[index].states[buffer].name;
    return TLM_OK;
}
