/* The optimizer of train_lm, and its groups of parameters. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/train_options.h"

/* ---- Kinds -------------------------------------------------------------------------------- */

/* Defaults by kind, in the order of TLM_COST_...: those of the library, except that AdamW, also beside
 * Muon, has those of language models. min_rate 0: a tenth of the rate. */
static const struct {
    double rate, min_rate, weight_decay, beta2;
} kinds[] = {
    [TLM_COST_ADAMW] = {6e-3, 6e-4, 0.1, 0.95},   [TLM_COST_SGD] = {CLI_UNSET, 0.0, 0.0, 0.0},
    [TLM_COST_MUON] = {6e-3, 6e-4, 0.1, 0.95},    [TLM_COST_LION] = {1e-4, 0.0, 0.0, 0.99},
    [TLM_COST_ADAFACTOR] = {1e-2, 0.0, 0.0, 0.0},
};

#define OF(kind) (1u << TLM_COST_##kind)

/* Which kinds read an option; all others read all of them. */
static const struct {
    const char *option;
    uint32_t kinds;
} readers[] = {
    {"weight-decay", OF(ADAMW) | OF(MUON) | OF(LION) | OF(ADAFACTOR)},
    {"no-decay", OF(ADAMW) | OF(MUON) | OF(LION) | OF(ADAFACTOR)},
    {"beta1", OF(ADAMW) | OF(MUON) | OF(LION)},
    {"beta2", OF(ADAMW) | OF(MUON) | OF(LION)},
    {"eps", OF(ADAMW) | OF(MUON)},
    {"adamw", OF(ADAMW) | OF(MUON)},
    {"adamw-rate", OF(MUON)},
    {"adamw-decay", OF(MUON)},
    {"momentum", OF(MUON)},
    {"muon-scale", OF(MUON)},
    {"muon-iterations", OF(MUON)},
    {"muon-eps", OF(MUON)},
    {"muon-nesterov", OF(MUON)},
    {"adafactor-power", OF(ADAFACTOR)},
    {"adafactor-eps", OF(ADAFACTOR)},
    {"adafactor-min-rms", OF(ADAFACTOR)},
    {"adafactor-threshold", OF(ADAFACTOR)},
};

static void set_default(double *setting, double value)
{
    if (isnan(*setting))
        *setting = value;
}

void train_check_optimizer(void)
{
    const int32_t kind = cli_choose_word("optimizer", settings.optimizer, optimizer_words);

    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
        if (cli_was_typed(readers[i].option) && (readers[i].kinds & (1u << kind)) == 0)
            cli_fail_usage("--%s means nothing to --optimizer %s", readers[i].option,
                           settings.optimizer);
    set_default(&settings.max_rate, kinds[kind].rate);
    if (isnan(settings.max_rate))
        cli_fail_usage("--optimizer %s needs --rate", settings.optimizer);
    set_default(&settings.min_rate,
                kinds[kind].min_rate > 0.0 ? kinds[kind].min_rate : settings.max_rate / 10.0);
    set_default(&settings.weight_decay, kinds[kind].weight_decay);
    set_default(&settings.beta2, kinds[kind].beta2);
}

static tlm_adamw_options_t adamw_options(void)
{
    tlm_adamw_options_t adamw = TLM_ADAMW_OPTIONS_INIT;

    adamw.learning_rate = settings.max_rate;
    adamw.weight_decay = settings.weight_decay;
    adamw.beta1 = settings.beta1;
    adamw.beta2 = settings.beta2;
    adamw.eps = settings.eps;
    adamw.variant = cli_choose_word("adamw", settings.adamw, train_variants);
    return adamw;
}

/* ---- Groups by name ---------------------------------------------------------------------- */

enum { MOST_GROUPS = 64 };

/* The groups of --group while they are read. */
typedef struct group_rules {
    tlm_group_rule_t rules[MOST_GROUPS];
    tlm_schedule_options_t train_schedules[MOST_GROUPS];
    size_t n;
} group_rules_t;

static double group_number(const char *text, const char *value)
{
    char *end;
    double number = strtod(value, &end);

    if (end == value || *end != '\0')
        cli_fail_usage("--group '%s': '%s' is not a valid number", text, value);
    return number;
}

/* One of the settings of a group: key=value. */
static void read_group_setting(group_rules_t *all, const char *text, const char *key,
                               const char *value)
{
    tlm_group_rule_t *rule = &all->rules[all->n];
    tlm_schedule_options_t *schedule = &all->train_schedules[all->n];

    if (strcmp(key, "rate") == 0) {
        rule->has_learning_rate = true;
        rule->learning_rate = group_number(text, value);
    } else if (strcmp(key, "decay") == 0) {
        rule->has_weight_decay = true;
        rule->weight_decay = group_number(text, value);
    } else if (strcmp(key, "schedule") == 0) {
        *schedule = train_schedule_options();
        schedule->kind = cli_choose_word("group", value, train_schedules);
        rule->schedule = schedule;
    } else {
        cli_fail_usage("--group '%s': '%s' is none of rate, decay, schedule", text, key);
    }
}

/* Text without the spaces around it, which is changed. */
static char *trim(char *text)
{
    char *end = text + strlen(text);

    while (end > text && end[-1] == ' ')
        *--end = '\0';
    return text + strspn(text, " ");
}

/* Reads "PATTERNS: key=value, ...", whose copy lives as long as the program. */
static void read_group(group_rules_t *all, const char *text)
{
    char *own = strdup(text), *colon = own == NULL ? NULL : strchr(own, ':'), *setting;

    if (colon == NULL)
        cli_fail_usage("--group '%s' has no colon after the patterns", text);
    if (all->n == MOST_GROUPS)
        cli_fail_usage("--group: more than %d", MOST_GROUPS);
    *colon = '\0';
    all->rules[all->n] = (tlm_group_rule_t)TLM_GROUP_RULE_INIT;
    all->rules[all->n].patterns = own;
    for (char *rest = colon + 1; (setting = strsep(&rest, ",")) != NULL;) {
        char *value = strchr(setting, '=');

        if (value == NULL)
            cli_fail_usage("--group '%s': '%s' is not of the form key=value", text, trim(setting));
        *value = '\0';
        read_group_setting(all, text, trim(setting), trim(value + 1));
    }
    tlm_group_rule_t *rule = &all->rules[all->n];
    if (rule->schedule != NULL && !rule->has_learning_rate)
        cli_fail_usage("--group '%s': a schedule needs a rate", text);
    if (rule->schedule != NULL) {
        tlm_schedule_options_t *schedule = &all->train_schedules[all->n];

        schedule->min_learning_rate *= rule->learning_rate / schedule->max_learning_rate;
        schedule->max_learning_rate = rule->learning_rate;
    }
    all->n++;
}

/* The optimizer without parameters. Options that are not for its kind are not read. */
static tlm_optimizer_t *create_optimizer(void)
{
    tlm_adafactor_options_t adafactor = TLM_ADAFACTOR_OPTIONS_INIT;
    tlm_lion_options_t lion = TLM_LION_OPTIONS_INIT;
    tlm_muon_options_t muon = TLM_MUON_OPTIONS_INIT;
    tlm_adamw_options_t adamw = adamw_options();
    tlm_optimizer_t *optimizer;

    switch (cli_choose_word("optimizer", settings.optimizer, optimizer_words)) {
    case TLM_COST_MUON:
        muon.learning_rate = settings.max_rate;
        muon.weight_decay = settings.weight_decay;
        muon.momentum = settings.momentum;
        muon.scale = cli_choose_word("muon-scale", settings.muon_scale, train_muon_scales);
        muon.iterations = (int32_t)settings.muon_iterations;
        muon.eps = settings.muon_eps;
        muon.nesterov = settings.muon_nesterov;
        if (settings.adamw_rate != 0.0)
            adamw.learning_rate = settings.adamw_rate;
        if (settings.adamw_decay >= 0.0)
            adamw.weight_decay = settings.adamw_decay;
        cli_check(tlm_optimizer_create_muon(&optimizer, &muon, &adamw));
        break;
    case TLM_COST_LION:
        lion.learning_rate = settings.max_rate;
        lion.weight_decay = settings.weight_decay;
        lion.beta1 = settings.beta1;
        lion.beta2 = settings.beta2;
        cli_check(tlm_optimizer_create_lion(&optimizer, &lion));
        break;
    case TLM_COST_ADAFACTOR:
        adafactor.learning_rate = settings.max_rate;
        adafactor.weight_decay = settings.weight_decay;
        adafactor.power = settings.adafactor_power;
        if (settings.adafactor_eps >= 0.0)
            adafactor.eps = settings.adafactor_eps;
        adafactor.min_rms = settings.adafactor_min_rms;
        adafactor.threshold = settings.adafactor_threshold;
        cli_check(tlm_optimizer_create_adafactor(&optimizer, &adafactor));
        break;
    case TLM_COST_SGD:
        cli_check(tlm_optimizer_create_sgd(&optimizer, settings.max_rate));
        break;
    default:
        cli_check(tlm_optimizer_create_adamw(&optimizer, &adamw));
    }
    return optimizer;
}

tlm_optimizer_t *train_create_optimizer(const tlm_model_t *model)
{
    uint32_t no_decay = (uint32_t)cli_choose_word("no-decay", settings.no_decay, train_no_decays);
    tlm_optimizer_t *optimizer = create_optimizer();

    static group_rules_t groups;
    for (size_t i = 0; i < settings.groups.n; i++)
        read_group(&groups, settings.groups.texts[i]);
    cli_check(
        tlm_optimizer_add_model_with(optimizer, model, no_decay, NULL, groups.rules, groups.n));
    return optimizer;
}
