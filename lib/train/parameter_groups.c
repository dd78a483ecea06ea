/* A model's parameters as groups of an optimizer: with and without weight decay, and apart where learning
 * rates depend on the model's width. Frozen ones are in none. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/glob.h"
#include "base/memory.h"
#include "base/options.h"
#include "model/model_core.h"
#include "optim/optimizer_core.h"
#include "tensor/tensor_core.h"
#include "tinylm/train.h"

#define NO_DECAY_ALL (TLM_NO_DECAY_NORMS | TLM_NO_DECAY_EMBEDDINGS)

/* The gains of norms, biases and weights of mixed values are the parameters with one dimension. */
static bool decays(const tlm_model_t *model, size_t parameter, uint32_t no_decay)
{
    if (model->specs[parameter].ndim == 1)
        return (no_decay & TLM_NO_DECAY_NORMS) == 0;
    const int32_t part = model->specs[parameter].part;
    return !tlmi_part_is_table(part) || (no_decay & TLM_NO_DECAY_EMBEDDINGS) == 0;
}

/* Matrices between the embedding and the output projection: what Muon is for. */
static bool is_hidden_matrix(const tlm_model_t *model, size_t parameter)
{
    const int32_t part = model->specs[parameter].part;

    return model->specs[parameter].ndim == 2 && part >= TLMI_FIRST_IN_BLOCK &&
           part < TLMI_FIRST_BEHIND;
}

/* How many times wider the model is than the one for which the rates were found. */
static double width_ratio(const tlm_model_t *model)
{
    const tlm_model_options_t *options = &model->options;

    return options->base_width == 0 ? 1.0 : (double)options->d_model / (double)options->base_width;
}

/* Matrices whose inputs grow with the width: the hidden ones and the output projection. */
static bool is_scaled(const tlm_model_t *model, size_t parameter)
{
    return width_ratio(model) != 1.0 &&
           (is_hidden_matrix(model, parameter) || model->specs[parameter].part == TLMI_LM_HEAD);
}

/* The groups of a model, in their order: of the optimizer's kind, and of the rest where that kind
 * takes only hidden matrices; each without and with a rate scaled by the width, and each of these
 * with and without decay. */
enum { NOT_DECAYING = 1, SCALED = 2, REST = 4, NUM_GROUPS = 8 };

static int group_of(const tlm_optimizer_t *optimizer, const tlm_model_t *model, size_t parameter,
                    uint32_t no_decay)
{
    const bool rest = optimizer->rest.kind != NULL && !is_hidden_matrix(model, parameter);
    const tlmi_optimizer_kind_t *kind = rest ? optimizer->rest.kind : optimizer->defaults.kind;
    const bool is_output = model->specs[parameter].part == TLMI_LM_HEAD;
    /* A kind for hidden matrices has no others from which to tell them apart. */
    const bool scaled =
        is_scaled(model, parameter) && !kind->matrices_only && !(kind->is_relative && is_output);

    return (rest ? REST : 0) + (scaled ? SCALED : 0) +
           (decays(model, parameter, no_decay) ? 0 : NOT_DECAYING);
}

/* What the rates of a group are multiplied by. */
static double width_factor(const tlm_optimizer_t *optimizer, const tlm_model_t *model, int index)
{
    const tlmi_group_t *like = index < REST ? &optimizer->defaults : &optimizer->rest;
    const bool scaled = (index & SCALED) != 0 || (index < REST && like->kind->matrices_only);
    const double ratio = width_ratio(model);

    return scaled && ratio != 1.0 ? like->kind->width_factor(like->options, ratio) : 1.0;
}

/* What a group is like: the optimizer's defaults, changed by the caller's options. The rest follows a
 * change of the learning rate, so that both keep their ratio. Where the width changes the rate, the
 * weights still decay as fast. */
static tlmi_group_t make_group(const tlm_optimizer_t *optimizer, int index,
                               const tlm_group_options_t *options, double factor)
{
    const tlmi_group_t *defaults = &optimizer->defaults;
    tlmi_group_t group = index < REST ? *defaults : optimizer->rest;
    bool has_ratio = index >= REST && defaults->learning_rate > 0.0 &&
                     group.learning_rate != defaults->learning_rate;
    double ratio = has_ratio ? group.learning_rate / defaults->learning_rate : 1.0;

    if (options->has_learning_rate)
        group.learning_rate = options->learning_rate * ratio;
    if (options->has_weight_decay)
        group.weight_decay = options->weight_decay;
    if ((index & NOT_DECAYING) != 0)
        group.weight_decay = 0.0;
    group.learning_rate *= factor;
    group.weight_decay /= factor;
    group.rate_factor = options->rate_factor;
    if (has_ratio || factor != 1.0)
        group.rate_factor =
            ratio * factor * (options->rate_factor == 0.0 ? 1.0 : options->rate_factor);
    return group;
}

/* ---- Rules ------------------------------------------------------------------------------ */

enum { NO_RULE = -1 };

/* Whether the rule has a pattern that the name fits. */
static bool fits(const tlm_group_rule_t *rule, const char *name)
{
    const char *pattern, *rest = rule->patterns;
    size_t size;

    while (tlmi_list_next(&pattern, &size, &rest))
        if (tlmi_glob(pattern, size, name, strlen(name)))
            return true;
    return false;
}

/* Fails unless each pattern of the rule fits a parameter that is trained. */
static tlm_status_t check_patterns(const tlm_group_rule_t *rule, size_t number,
                                   const tlm_model_t *model)
{
    const char *pattern, *rest = rule->patterns;
    size_t size;

    while (tlmi_list_next(&pattern, &size, &rest)) {
        bool found = false;

        for (size_t i = 0; i < model->num_parameters && !found; i++)
            found = model->parameters[i]->requires_grad &&
                    tlmi_glob(pattern, size, model->specs[i].name, strlen(model->specs[i].name));
        if (!found)
            return tlmi_fail(
                TLM_ERR_NOT_FOUND,
                "optimizer_add_model_with: no trained parameter fits '%.*s' of rule %zu",
                size < 128 ? (int)size : 128, pattern, number);
    }
    return TLM_OK;
}

/* Finds the rule of each parameter. */
static tlm_status_t choose_rules(int64_t *chosen, const tlm_model_t *model,
                                 const tlm_group_rule_t *rules, size_t n)
{
    for (size_t i = 0; i < model->num_parameters; i++)
        chosen[i] = NO_RULE;
    for (size_t r = 0; r < n; r++) {
        TLMI_TRY(check_patterns(&rules[r], r, model));
        for (size_t i = 0; i < model->num_parameters; i++) {
            if (!fits(&rules[r], model->specs[i].name))
                continue;
            if (chosen[i] != NO_RULE)
                return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                                 "optimizer_add_model_with: '%s' fits rule %" PRId64
                                 " ('%.64s') and rule %zu ('%.64s')",
                                 model->specs[i].name, chosen[i], rules[chosen[i]].patterns, r,
                                 rules[r].patterns);
            chosen[i] = (int64_t)r;
        }
    }
    return TLM_OK;
}

/* Changes what make_group made to what the rule says. */
static void apply_rule(tlmi_group_t *group, const tlm_optimizer_t *optimizer,
                       const tlm_group_rule_t *rule, double factor)
{
    const double whole = optimizer->defaults.learning_rate;

    if (rule->has_learning_rate) {
        group->learning_rate = rule->learning_rate * factor;
        if (whole > 0.0)
            group->rate_factor = group->learning_rate / whole;
    }
    if (rule->has_weight_decay)
        group->weight_decay = rule->weight_decay / factor;
}

/* ---- Groups ----------------------------------------------------------------------------- */

/* A model on its way into groups. */
typedef struct plan {
    const tlm_model_t *model;
    uint32_t no_decay;
    const tlm_group_options_t *options;
    const tlm_group_rule_t *rules;
    int64_t *chosen;        /* the rule of each parameter, or NO_RULE */
    tlm_tensor_t **tensors; /* room for all parameters */
} plan_t;

/* Adds the parameters of group `index` that follow a rule (or NO_RULE), if there are any; the first
 * group is added in any case. */
static tlm_status_t add_group(tlm_optimizer_t *optimizer, const plan_t *plan, int64_t rule,
                              int index)
{
    const tlm_model_t *model = plan->model;
    size_t n = 0;

    for (size_t i = 0; i < model->num_parameters; i++)
        if (model->parameters[i]->requires_grad && plan->chosen[i] == rule &&
            group_of(optimizer, model, i, plan->no_decay) == index)
            plan->tensors[n++] = model->parameters[i];
    if (n == 0 && (index != 0 || rule != NO_RULE))
        return TLM_OK;
    const double factor = width_factor(optimizer, model, index);
    tlmi_group_t group = make_group(optimizer, index, plan->options, factor);
    if (rule != NO_RULE)
        apply_rule(&group, optimizer, &plan->rules[rule], factor);
    TLMI_TRY(tlmi_optimizer_add(optimizer, "optimizer_add_model", plan->tensors, n, &group));
    if (rule == NO_RULE || plan->rules[rule].schedule == NULL)
        return TLM_OK;
    return tlm_optimizer_set_schedule(optimizer, optimizer->num_groups - 1,
                                      plan->rules[rule].schedule);
}

/* On failure nothing has changed. */
static tlm_status_t add_groups(tlm_optimizer_t *optimizer, const plan_t *plan, size_t num_rules)
{
    const size_t before = optimizer->num_groups;
    tlm_status_t status = choose_rules(plan->chosen, plan->model, plan->rules, num_rules);

    for (int64_t rule = NO_RULE; rule < (int64_t)num_rules; rule++)
        for (int index = 0; index < NUM_GROUPS && status == TLM_OK; index++)
            status = add_group(optimizer, plan, rule, index);
    while (status != TLM_OK && optimizer->num_groups > before)
        tlmi_optimizer_remove_group(optimizer);
    return status;
}

static tlm_status_t check_model(const tlm_optimizer_t *optimizer, const tlm_model_t *model,
                                uint32_t no_decay)
{
    if ((no_decay & ~NO_DECAY_ALL) != 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "optimizer_add_model: no_decay 0x%x has bits outside 0x%x", no_decay,
                         NO_DECAY_ALL);
    if (width_ratio(model) != 1.0 && optimizer->defaults.kind->width_factor == NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "optimizer_add_model: base_width %" PRId64 " and d_model %" PRId64
                         ": %s has no rule for learning rates by width",
                         model->options.base_width, model->options.d_model,
                         optimizer->defaults.kind->name);
    if (tlm_model_num_trained(model) == 0)
        return tlmi_fail(TLM_ERR_STATE,
                         "optimizer_add_model: all %zu parameters of the model are frozen",
                         model->num_parameters);
    return TLM_OK;
}

/* Copies of a caller's rules, checked; the caller frees *out. */
static tlm_status_t read_rules(tlm_group_rule_t **out, const tlm_group_rule_t *rules, size_t n)
{
    tlm_group_rule_t *known = tlmi_calloc(n, sizeof(*known), "the rules of groups");
    tlm_status_t status = known == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;

    for (size_t i = 0; i < n && status == TLM_OK; i++) {
        known[i] = (tlm_group_rule_t)TLM_GROUP_RULE_INIT;
        status = tlmi_options_read("optimizer_add_model_with", &known[i], TLMI_GROUP_RULE,
                                   (const char *)rules + i * rules[0].size);
        if (status == TLM_OK && known[i].patterns == NULL)
            status = tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                               "optimizer_add_model_with: patterns of rule %zu is NULL", i);
        if (status == TLM_OK && known[i].has_learning_rate && known[i].learning_rate == 0.0)
            status = tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                               "optimizer_add_model_with: learning_rate of rule %zu is 0; freeze "
                               "its parameters instead",
                               i);
    }
    if (status == TLM_OK)
        *out = known;
    else
        tlmi_free(known);
    return status;
}

tlm_status_t tlm_optimizer_add_model_with(tlm_optimizer_t *optimizer, const tlm_model_t *model,
                                          uint32_t no_decay, const tlm_group_options_t *options,
                                          const tlm_group_rule_t *rules, size_t n)
{
    tlm_group_options_t known = TLM_GROUP_OPTIONS_INIT;
    tlm_group_rule_t *own = NULL;
    plan_t plan = {.model = model, .options = &known};

    TLMI_REQUIRE("optimizer_add_model", optimizer);
    TLMI_REQUIRE("optimizer_add_model", model);
    TLMI_TRY(check_model(optimizer, model, no_decay));
    if (options != NULL)
        TLMI_TRY(tlmi_options_read("optimizer_add_model", &known, TLMI_GROUP_OPTIONS, options));
    if (n > 0)
        TLMI_REQUIRE("optimizer_add_model_with", rules);
    TLMI_TRY(read_rules(&own, rules, n));
    plan.no_decay = optimizer->defaults.kind->has_weight_decay ? no_decay : 0;
    plan.rules = own;
    plan.tensors = tlmi_alloc(model->num_parameters, sizeof(tlm_tensor_t *), "a model's groups");
    plan.chosen = tlmi_alloc(model->num_parameters, sizeof(*plan.chosen), "a model's groups");
    tlm_status_t status = plan.tensors == NULL || plan.chosen == NULL
                              ? TLM_ERR_OUT_OF_MEMORY
                              : add_groups(optimizer, &plan, n);
    tlmi_free(plan.tensors);
    tlmi_free(plan.chosen);
    tlmi_free(own);
    return status;
}

tlm_status_t tlm_optimizer_add_model(tlm_optimizer_t *optimizer, const tlm_model_t *model,
                                     uint32_t no_decay, const tlm_group_options_t *options)
{
    return tlm_optimizer_add_model_with(optimizer, model, no_decay, options, NULL, 0);
}
