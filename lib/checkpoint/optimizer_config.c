/* An optimizer's kind, hyper-parameters and groups as a JSON object, as checkpoints hold them. The
 * fields follow from the tables of the kinds (optim/optimizer_core.h), so that a new kind needs
 * nothing here. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
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
    tlmi_json_t *object = tlmi_json_new_object();
    tlmi_json_t *list = tlmi_json_new_array();
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (object == NULL || list == NULL)
        goto fail;
    if (group->kind != optimizer->defaults.kind)
        TLMI_TRY_OR(fail, set_text(object, "kind", group->kind->name));
    TLMI_TRY_OR(fail, set_hyper_parameters(object, group));
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
    if (optimizer->defaults.kind->checkpoint_version > 1 || optimizer->average_decay > 0.0)
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

/* Reads one group into `group`, a copy of the optimizer's own. `kind` is the file's, of groups
 * without one of their own. */
static tlm_status_t read_group(tlmi_group_t *group, const tlmi_json_t *value, const char *kind,
                               const tlm_optimizer_t *optimizer, const char *const *names,
                               const place_t *place)
{
    size_t size;

    (void)tlmi_json_get_string(tlmi_json_member(value, "kind"), &kind, &size);
    TLMI_TRY(check_kind(kind, group->kind, place->path));
    TLMI_TRY(read_hyper_parameters(group, value, place));
    return check_parameters(value, optimizer, names, place);
}

void tlmi_optimizer_config_free(tlmi_group_t *groups, size_t n)
{
    for (size_t i = 0; groups != NULL && i < n; i++)
        tlmi_group_release(&groups[i]);
    tlmi_free(groups);
}

tlm_status_t tlmi_optimizer_config_read(tlmi_group_t **out, uint64_t *steps,
                                        const tlmi_json_t *object, const tlm_optimizer_t *optimizer,
                                        const char *const *names, const char *path)
{
    const tlmi_json_t *list = tlmi_json_member(object, "groups");
    const char *kind = NULL;
    size_t size, n = 0;

    if (!tlmi_json_get_string(tlmi_json_member(object, "kind"), &kind, &size) ||
        !tlmi_json_get_uint64(tlmi_json_member(object, "steps"), steps) ||
        !tlmi_json_is_array(list))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the optimizer's description is incomplete", path);
    TLMI_TRY(check_kind(kind, optimizer->defaults.kind, path));
    if (tlmi_json_size(list) != optimizer->num_groups)
        return tlmi_fail(TLM_ERR_STATE,
                         "%s: the checkpoint's optimizer has %zu groups, but this one has %zu",
                         path, tlmi_json_size(list), optimizer->num_groups);
    tlmi_group_t *groups =
        tlmi_calloc(optimizer->num_groups, sizeof(*groups), "the groups of an optimizer");
    if (groups == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status;
    while (n < optimizer->num_groups) {
        place_t place = {path, n};

        TLMI_TRY_OR(fail, tlmi_group_copy(&groups[n], &optimizer->groups[n]));
        n++;
        TLMI_TRY_OR(fail, read_group(&groups[place.group], tlmi_json_item(list, place.group), kind,
                                     optimizer, names, &place));
    }
    *out = groups;
    return TLM_OK;
fail:
    tlmi_optimizer_config_free(groups, n);
    return status;
}
