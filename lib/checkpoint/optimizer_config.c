/* An optimizer's kind, hyper-parameters and groups as a JSON object, as checkpoints hold them. The
 * fields follow from the tables of the kinds (optim/optimizer_core.h), so that a new kind needs
 * nothing here. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "checkpoint/checkpoint_core.h"

/* ---- Writing ---------------------------------------------------------------------------- */

static tlm_status_t set_text(tlmi_json_t *object, const char *key, const char *text)
{
    return tlmi_json_set(object, key, tlmi_json_new_string(text, strlen(text)));
}

/* A choice is written by name, and left out where it is the first: files of version 0.1 have
 * none. */
static tlm_status_t set_option(tlmi_json_t *object, const tlmi_optimizer_option_t *option,
                               const void *options)
{
    if (option->choices == NULL)
        return tlmi_json_set(object, option->name,
                             tlmi_json_new_number(tlmi_optimizer_option_number(option, options)));
    int32_t choice = tlmi_optimizer_option_choice(option, options);
    return choice == 0 ? TLM_OK : set_text(object, option->name, option->choices[choice]);
}

static tlm_status_t fill_schedule(tlmi_json_t *object, const tlm_schedule_options_t *schedule)
{
    TLMI_TRY(set_text(object, "kind", tlmi_schedule_kinds[schedule->kind]));
    TLMI_TRY(tlmi_json_set(object, "max_learning_rate",
                           tlmi_json_new_number(schedule->max_learning_rate)));
    TLMI_TRY(tlmi_json_set(object, "min_learning_rate",
                           tlmi_json_new_number(schedule->min_learning_rate)));
    TLMI_TRY(tlmi_json_set(object, "warmup_steps", tlmi_json_new_uint64(schedule->warmup_steps)));
    TLMI_TRY(tlmi_json_set(object, "total_steps", tlmi_json_new_uint64(schedule->total_steps)));
    return tlmi_json_set(object, "decay_steps", tlmi_json_new_uint64(schedule->decay_steps));
}

static tlm_status_t set_schedule(tlmi_json_t *group, const tlm_schedule_options_t *schedule)
{
    tlmi_json_t *object = tlmi_json_new_object();
    tlm_status_t status = object == NULL ? TLM_ERR_OUT_OF_MEMORY : fill_schedule(object, schedule);

    if (status == TLM_OK)
        return tlmi_json_set(group, "schedule", object);
    tlmi_json_free(object);
    return status;
}

static tlm_status_t set_hyper_parameters(tlmi_json_t *object, const tlmi_group_t *group)
{
    const tlmi_optimizer_kind_t *kind = group->kind;

    TLMI_TRY(tlmi_json_set(object, "learning_rate", tlmi_json_new_number(group->learning_rate)));
    for (size_t i = 0; i < kind->num_options; i++)
        TLMI_TRY(set_option(object, &kind->options[i], group->options));
    if (group->rate_factor != 0.0)
        TLMI_TRY(tlmi_json_set(object, "rate_factor", tlmi_json_new_number(group->rate_factor)));
    if (!kind->has_weight_decay)
        return TLM_OK;
    return tlmi_json_set(object, "weight_decay", tlmi_json_new_number(group->weight_decay));
}

/* Appends one group to `groups`: its hyper-parameters and the names of its parameters. */
static tlm_status_t append_group(tlmi_json_t *groups, const tlm_optimizer_t *optimizer,
                                 size_t index, const char *const *names)
{
    const tlmi_group_t *group = &optimizer->groups[index];
    const tlmi_group_schedule_t *schedule = tlmi_group_schedule(optimizer, index);
    tlmi_json_t *object = tlmi_json_new_object();
    tlmi_json_t *list = tlmi_json_new_array();
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (object == NULL || list == NULL)
        goto fail;
    if (group->kind != optimizer->defaults.kind)
        TLMI_TRY_OR(fail, set_text(object, "kind", group->kind->name));
    TLMI_TRY_OR(fail, set_hyper_parameters(object, group));
    if (schedule != NULL)
        TLMI_TRY_OR(fail, set_schedule(object, &schedule->options));
    for (size_t i = 0; i < optimizer->num_parameters; i++)
        if (optimizer->parameters[i].group == index)
            TLMI_TRY_OR(fail,
                        tlmi_json_append(list, tlmi_json_new_string(names[i], strlen(names[i]))));
    status = tlmi_json_set(object, "parameters", list);
    list = NULL;
    if (status != TLM_OK)
        goto fail;
    return tlmi_json_append(groups, object);
fail:
    tlmi_json_free(list);
    tlmi_json_free(object);
    return status;
}

tlm_status_t tlmi_optimizer_config_write(tlmi_json_t **out, const tlm_optimizer_t *optimizer,
                                         const char *const *names)
{
    tlmi_json_t *object = tlmi_json_new_object();
    tlmi_json_t *groups = tlmi_json_new_array();
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (object == NULL || groups == NULL)
        goto fail;
    TLMI_TRY_OR(fail, set_text(object, "kind", optimizer->defaults.kind->name));
    TLMI_TRY_OR(fail, tlmi_json_set(object, "steps", tlmi_json_new_uint64(optimizer->steps)));
    if (optimizer->average_decay > 0.0)
        TLMI_TRY_OR(fail, tlmi_json_set(object, "average_decay",
                                        tlmi_json_new_number(optimizer->average_decay)));
    for (size_t i = 0; i < optimizer->num_groups; i++)
        TLMI_TRY_OR(fail, append_group(groups, optimizer, i, names));
    status = tlmi_json_set(object, "groups", groups);
    groups = NULL;
    if (status != TLM_OK)
        goto fail;
    *out = object;
    return TLM_OK;
fail:
    tlmi_json_free(groups);
    tlmi_json_free(object);
    return status;
}

/* True if a choice of the group is not the first. */
static bool has_choices(const tlmi_group_t *group)
{
    for (size_t i = 0; i < group->kind->num_options; i++) {
        const tlmi_optimizer_option_t *option = &group->kind->options[i];

        if (option->choices != NULL && tlmi_optimizer_option_choice(option, group->options) != 0)
            return true;
    }
    return false;
}

bool tlmi_optimizer_config_is_first(const tlm_optimizer_t *optimizer)
{
    if (optimizer->defaults.kind->checkpoint_version > 1 || optimizer->average_decay > 0.0 ||
        optimizer->num_schedules > 0)
        return false;
    for (size_t i = 0; i < optimizer->num_groups; i++)
        if (optimizer->groups[i].kind != optimizer->defaults.kind ||
            optimizer->groups[i].rate_factor != 0.0 || has_choices(&optimizer->groups[i]))
            return false;
    return true;
}

/* ---- Reading ---------------------------------------------------------------------------- */

/* Where a group is read from, for messages. */
typedef struct place {
    const char *path;
    size_t group;
} place_t;

static tlm_status_t read_number(double *out, const tlmi_json_t *value, const char *name,
                                const place_t *place)
{
    if (!tlmi_json_get_number(tlmi_json_member(value, name), out))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: group %zu of the optimizer has no %s", place->path,
                         place->group, name);
    return TLM_OK;
}

/* The number of a choice from its name; the first where the file has none. */
static tlm_status_t read_choice(int32_t *out, const tlmi_json_t *value,
                                const tlmi_optimizer_option_t *option, const place_t *place)
{
    const tlmi_json_t *member = tlmi_json_member(value, option->name);

    *out = 0;
    if (member == NULL)
        return TLM_OK;
    const char *name;
    size_t size;
    if (!tlmi_json_get_string(member, &name, &size))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the %s of the optimizer's group %zu is not a string",
                         place->path, option->name, place->group);
    for (int32_t i = 0; i < option->num_choices; i++)
        if (strcmp(name, option->choices[i]) == 0) {
            *out = i;
            return TLM_OK;
        }
    return tlmi_fail(TLM_ERR_UNSUPPORTED,
                     "%s: the %s of the optimizer's group %zu is '%.32s', which this version does "
                     "not know",
                     place->path, option->name, place->group, name);
}

static tlm_status_t read_option(void *options, const tlmi_json_t *value,
                                const tlmi_optimizer_option_t *option, const place_t *place)
{
    if (option->choices == NULL) {
        double number;
        TLMI_TRY(read_number(&number, value, option->name, place));
        tlmi_optimizer_option_set_number(option, options, number);
        return TLM_OK;
    }
    int32_t choice;
    TLMI_TRY(read_choice(&choice, value, option, place));
    tlmi_optimizer_option_set_choice(option, options, choice);
    return TLM_OK;
}

static tlm_status_t read_hyper_parameters(tlmi_group_t *group, const tlmi_json_t *value,
                                          const place_t *place)
{
    const tlmi_optimizer_kind_t *kind = group->kind;

    TLMI_TRY(read_number(&group->learning_rate, value, "learning_rate", place));
    for (size_t i = 0; i < kind->num_options; i++)
        TLMI_TRY(read_option(group->options, value, &kind->options[i], place));
    if (kind->has_weight_decay)
        TLMI_TRY(read_number(&group->weight_decay, value, "weight_decay", place));
    group->rate_factor = 0.0;
    if (tlmi_json_member(value, "rate_factor") != NULL)
        TLMI_TRY(read_number(&group->rate_factor, value, "rate_factor", place));
    return tlmi_group_check(place->path, group);
}

/* Fails unless the optimizer, or the group, that the file's `kind` tells of is `kind` here. */
static tlm_status_t check_kind(const char *name, const tlmi_optimizer_kind_t *kind,
                               const char *path)
{
    if (strcmp(name, kind->name) == 0)
        return TLM_OK;
    for (size_t i = 0; tlmi_optimizer_kinds[i] != NULL; i++)
        if (strcmp(name, tlmi_optimizer_kinds[i]->name) == 0)
            return tlmi_fail(TLM_ERR_STATE,
                             "%s: the checkpoint was saved from optimizer %s, not %s", path, name,
                             kind->name);
    return tlmi_fail(
        TLM_ERR_UNSUPPORTED,
        "%s: the checkpoint was saved from optimizer %.32s, which this version does not know", path,
        name);
}

/* Fails unless the names in `value` are those of the optimizer's group, in their order. */
static tlm_status_t check_parameters(const tlmi_json_t *value, const tlm_optimizer_t *optimizer,
                                     const char *const *names, const place_t *place)
{
    const tlmi_json_t *list = tlmi_json_member(value, "parameters");
    size_t at = 0, size;
    const char *name;

    for (size_t i = 0; i < optimizer->num_parameters; i++) {
        if (optimizer->parameters[i].group != place->group)
            continue;
        if (!tlmi_json_get_string(tlmi_json_item(list, at++), &name, &size) ||
            strcmp(name, names[i]) != 0)
            return tlmi_fail(TLM_ERR_STATE,
                             "%s: parameter %zu of the optimizer's group %zu is '%s', but the "
                             "checkpoint has another there",
                             place->path, at - 1, place->group, names[i]);
    }
    if (!tlmi_json_is_array(list) || at != tlmi_json_size(list))
        return tlmi_fail(
            TLM_ERR_STATE,
            "%s: group %zu has %zu parameters in the checkpoint and %zu in the optimizer",
            place->path, place->group, tlmi_json_size(list), at);
    return TLM_OK;
}

static tlm_status_t read_count(uint64_t *out, const tlmi_json_t *schedule, const char *name,
                               const place_t *place)
{
    if (!tlmi_json_get_uint64(tlmi_json_member(schedule, name), out))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the schedule of the optimizer's group %zu has no %s",
                         place->path, place->group, name);
    return TLM_OK;
}

static tlm_status_t read_schedule(tlm_schedule_options_t *out, const tlmi_json_t *value,
                                  const place_t *place)
{
    tlm_schedule_options_t schedule = TLM_SCHEDULE_OPTIONS_INIT;
    const tlmi_json_t *kind = tlmi_json_member(value, "kind");

    while (schedule.kind < TLMI_NUM_SCHEDULES &&
           !tlmi_json_is_text(kind, tlmi_schedule_kinds[schedule.kind]))
        schedule.kind++;
    if (schedule.kind == TLMI_NUM_SCHEDULES)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: the schedule of the optimizer's group %zu is of no kind that this "
                         "version knows",
                         place->path, place->group);
    TLMI_TRY(read_number(&schedule.max_learning_rate, value, "max_learning_rate", place));
    TLMI_TRY(read_number(&schedule.min_learning_rate, value, "min_learning_rate", place));
    TLMI_TRY(read_count(&schedule.warmup_steps, value, "warmup_steps", place));
    TLMI_TRY(read_count(&schedule.total_steps, value, "total_steps", place));
    TLMI_TRY(read_count(&schedule.decay_steps, value, "decay_steps", place));
    return tlmi_schedule_read(out, place->path, &schedule);
}

/* ---- What is the file's and what the optimizer's own ------------------------------------ */

static void list_values(tlmi_values_t *out, const tlmi_group_t *group,
                        const tlmi_group_schedule_t *schedule)
{
    const tlmi_optimizer_kind_t *kind = group->kind;

    out->n = 0;
    tlmi_values_add_number(out, "group.", "learning_rate", group->learning_rate);
    tlmi_values_add_number(out, "group.", "weight_decay", group->weight_decay);
    tlmi_values_add_number(out, "group.", "rate_factor",
                           group->rate_factor == 0.0 ? 1.0 : group->rate_factor);
    for (size_t i = 0; i < kind->num_options; i++) {
        const tlmi_optimizer_option_t *option = &kind->options[i];

        if (option->choices == NULL)
            tlmi_values_add_number(out, "group.", option->name,
                                   tlmi_optimizer_option_number(option, group->options));
        else
            tlmi_values_add_text(
                out, "group.", option->name,
                option->choices[tlmi_optimizer_option_choice(option, group->options)]);
    }
    tlmi_values_add_schedule(out, "group.schedule.", schedule == NULL ? NULL : &schedule->options);
}

/* Keeps the optimizer's own values in place of those that were read from the file, unless they differ in
 * what may not change. Learning rates that a schedule gives are the file's. */
static tlm_status_t keep_own(tlmi_group_t *group, const tlmi_group_schedule_t *schedule,
                             const tlm_optimizer_t *optimizer, const place_t *place,
                             const tlmi_resumption_t *how)
{
    const tlmi_group_schedule_t *own_schedule = tlmi_group_schedule(optimizer, place->group);
    const bool follows = how->has_schedule || own_schedule != NULL;
    const double rate = group->learning_rate;
    tlmi_group_t *own = &optimizer->groups[place->group];
    tlmi_values_t values, file;
    char of[48];

    list_values(&file, group, schedule);
    list_values(&values, own, own_schedule);
    if (follows)
        values.items[0] = file.items[0]; /* the learning rate */
    snprintf(of, sizeof(of), " of group %zu", place->group);
    TLMI_TRY(tlmi_values_compare(&values, &file, how->changes, place->path, of));
    void *options = group->options;
    memcpy(options, own->options, group->kind->options_size);
    *group = *own;
    group->options = options;
    if (follows)
        group->learning_rate = rate;
    return TLM_OK;
}

/* Averages begin with the first step, so a load can neither add them nor change their decay. A
 * trainer that resumes may leave them out. */
static tlm_status_t read_average(double *out, const tlmi_json_t *object,
                                 const tlm_optimizer_t *optimizer, const char *path,
                                 const tlmi_resumption_t *how)
{
    const tlmi_json_t *member = tlmi_json_member(object, "average_decay");
    const double own = optimizer->average_decay;
    double decay = 0.0;

    if (member != NULL && (!tlmi_json_get_number(member, &decay) || !(decay > 0.0 && decay < 1.0)))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the optimizer's average_decay is not in (0, 1)",
                         path);
    *out = how == NULL ? decay : own;
    if (decay == own || (how == NULL && decay > 0.0 && own > 0.0) ||
        (how != NULL && own == 0.0 && tlmi_may_change(how->changes, "average_decay")))
        return TLM_OK;
    return tlmi_fail(TLM_ERR_STATE,
                     "%s: average_decay is %s in the checkpoint, but %s here; averages begin with "
                     "the first step, and %s",
                     path, TLMI_G(decay), TLMI_G(own),
                     own > 0.0     ? "cannot be changed later"
                     : how == NULL ? "the optimizer has no room for them"
                                   : "resume_changes does not name them");
}

/* ---- A group, and all ------------------------------------------------------------------- */

/* Reads one group into `group`, a copy of the optimizer's own, and its schedule, if it has one, behind
 * those of the groups before it. `kind` is the file's, of groups without one of their own. */
static tlm_status_t read_group(tlmi_optimizer_config_t *out, tlmi_group_t *group,
                               const tlmi_json_t *value, const char *kind,
                               const tlm_optimizer_t *optimizer, const char *const *names,
                               const place_t *place, const tlmi_resumption_t *how)
{
    const tlmi_json_t *schedule = tlmi_json_member(value, "schedule");
    tlmi_group_schedule_t *own = &out->schedules[out->num_schedules];
    size_t size;

    (void)tlmi_json_get_string(tlmi_json_member(value, "kind"), &kind, &size);
    TLMI_TRY(check_kind(kind, group->kind, place->path));
    TLMI_TRY(read_hyper_parameters(group, value, place));
    TLMI_TRY(check_parameters(value, optimizer, names, place));
    own->group = place->group;
    if (schedule != NULL)
        TLMI_TRY(read_schedule(&own->options, schedule, place));
    if (how != NULL) {
        TLMI_TRY(keep_own(group, schedule == NULL ? NULL : own, optimizer, place, how));
        const tlmi_group_schedule_t *kept = tlmi_group_schedule(optimizer, place->group);

        if (kept != NULL)
            *own = *kept;
        out->num_schedules += kept != NULL;
        return TLM_OK;
    }
    out->num_schedules += schedule != NULL;
    return TLM_OK;
}

void tlmi_optimizer_config_free(tlmi_optimizer_config_t *config)
{
    for (size_t i = 0; i < config->num_groups; i++)
        tlmi_group_release(&config->groups[i]);
    tlmi_free(config->groups);
    tlmi_free(config->schedules);
}

tlm_status_t tlmi_optimizer_config_read(tlmi_optimizer_config_t *out, const tlmi_json_t *object,
                                        const tlm_optimizer_t *optimizer, const char *const *names,
                                        const char *path, const tlmi_resumption_t *how)
{
    const tlmi_json_t *list = tlmi_json_member(object, "groups");
    const size_t n = optimizer->num_groups;
    const char *kind = NULL;
    size_t size;

    *out = (tlmi_optimizer_config_t){0};
    if (!tlmi_json_get_string(tlmi_json_member(object, "kind"), &kind, &size) ||
        !tlmi_json_get_uint64(tlmi_json_member(object, "steps"), &out->steps) ||
        !tlmi_json_is_array(list))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the optimizer's description is incomplete", path);
    TLMI_TRY(check_kind(kind, optimizer->defaults.kind, path));
    if (tlmi_json_size(list) != n)
        return tlmi_fail(TLM_ERR_STATE,
                         "%s: the checkpoint's optimizer has %zu groups, but this one has %zu",
                         path, tlmi_json_size(list), n);
    TLMI_TRY(read_average(&out->average_decay, object, optimizer, path, how));
    out->groups = tlmi_calloc(n, sizeof(*out->groups), "the groups of an optimizer");
    out->schedules = tlmi_calloc(n, sizeof(*out->schedules), "the schedules of groups");
    if (out->groups == NULL || out->schedules == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++) {
        const place_t place = {path, i};

        TLMI_TRY(tlmi_group_copy(&out->groups[i], &optimizer->groups[i]));
        out->num_groups++;
        TLMI_TRY(read_group(out, &out->groups[i], tlmi_json_item(list, i), kind, optimizer, names,
                            &place, how));
    }
    return TLM_OK;
}
