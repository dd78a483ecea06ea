/* Makes the plan of a sweep, and checks all of it before anything runs. */
#include "support/sweep_plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RUNS = 10000, MOST_NAME = 200 };

/* ---- Options of train_lm ---------------------------------------------------------------- */

/* A sweep gives each run its own directory and its share of the threads. */
static const char *const own_options[] = {"output",  "output-dir", "resume",      "stop-step",
                                          "threads", "mpi",        "save-adapter"};

static cli_strings_t kept; /* the texts of the plan */

/* Room for a text of that many bytes, at first empty. */
static char *new_text(size_t size)
{
    char *text = cli_realloc(NULL, size + 1);

    text[0] = '\0';
    kept.texts = cli_realloc(kept.texts, (kept.n + 1) * sizeof(*kept.texts));
    kept.texts[kept.n++] = text;
    return text;
}

static char *copy_text(const char *text, size_t n)
{
    char *copy = new_text(n);

    memcpy(copy, text, n);
    copy[n] = '\0';
    return copy;
}

/* The option of that name, with - or _ between its words. */
static const cli_option_t *find_option(const char *name, size_t length)
{
    char known[64];

    snprintf(known, sizeof(known), "%.*s", (int)(length < sizeof(known) ? length : sizeof(known)),
             name);
    for (char *c = known; *c != '\0'; c++)
        *c = *c == '_' ? '-' : *c;
    for (size_t i = 0; i < sizeof(own_options) / sizeof(own_options[0]); i++)
        if (strcmp(known, own_options[i]) == 0)
            cli_fail_usage("a sweep sets --%s of each run itself", known);
    if (strcmp(known, "range-test") == 0)
        cli_fail_usage("--range-test leaves no losses that a sweep could compare");
    for (size_t i = 0; i < train_program.num_options; i++) {
        const cli_option_t *option = &train_program.options[i];

        if (option->name != NULL && strcmp(known, option->name) == 0)
            return option;
    }
    cli_fail_usage("train_lm has no option --%s", known);
}

/* Adds a setting, in the place of an earlier one of the same option. */
static void add_setting(sweep_settings_t *list, const cli_option_t *option, const char *value)
{
    if (option->kind == CLI_FLAG && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
        cli_fail_usage("--%s must be true or false, not %s", option->name, value);
    if (value[0] == '\0')
        cli_fail_usage("--%s has an empty value", option->name);
    for (size_t i = 0; i < list->n; i++)
        if (list->items[i].option == option) {
            list->items[i].value = value;
            return;
        }
    list->items = cli_realloc(list->items, (list->n + 1) * sizeof(*list->items));
    list->items[list->n++] = (sweep_setting_t){option, value};
}

static void add_settings(sweep_settings_t *list, const sweep_settings_t *more)
{
    for (size_t i = 0; i < more->n; i++)
        add_setting(list, more->items[i].option, more->items[i].value);
}

/* Reads options as a command line has them: --name value, --name=value, or the name of a flag. */
static sweep_settings_t read_given(char *const *given, size_t n)
{
    sweep_settings_t list = {NULL, 0};

    for (size_t i = 0; i < n; i++) {
        const char *word = given[i];

        if (strncmp(word, "--", 2) != 0 || word[2] == '\0')
            cli_fail_usage("%s: not an option of train_lm", word);
        const char *equals = strchr(word, '=');
        const cli_option_t *option =
            find_option(word + 2, equals != NULL ? (size_t)(equals - word) - 2 : strlen(word) - 2);
        const char *value = equals != NULL ? equals + 1 : NULL;

        if (value == NULL && option->kind == CLI_FLAG)
            value = "true";
        else if (value == NULL && ++i < n)
            value = given[i];
        if (value == NULL)
            cli_fail_usage("--%s has no value", option->name);
        add_setting(&list, option, value);
    }
    return list;
}

/* ---- Axes ------------------------------------------------------------------------------- */

static void add_value(sweep_axis_t *axis, const char *value)
{
    for (size_t i = 0; i < axis->n; i++)
        if (strcmp(axis->values[i], value) == 0)
            cli_fail_usage("%s: %s is given twice", axis->name, value);
    axis->values = cli_realloc(axis->values, (axis->n + 1) * sizeof(*axis->values));
    axis->settings = cli_realloc(axis->settings, (axis->n + 1) * sizeof(*axis->settings));
    axis->values[axis->n] = value;
    axis->settings[axis->n++] = (sweep_settings_t){NULL, 0};
}

/* An axis of a text such as "rate=1e-3,3e-3". */
static sweep_axis_t read_axis(const char *text)
{
    const char *equals = strchr(text, '=');

    if (equals == NULL)
        cli_fail_usage("--vary %s: not OPTION=VALUE,VALUE...", text);
    const cli_option_t *option = find_option(text, (size_t)(equals - text));
    sweep_axis_t axis = {.name = option->name};

    for (const char *at = equals + 1;; at++) {
        const size_t length = strcspn(at, ",");

        add_value(&axis, copy_text(at, length));
        add_setting(&axis.settings[axis.n - 1], option, axis.values[axis.n - 1]);
        at += length;
        if (*at == '\0')
            return axis;
    }
}

/* Adds a case of a text such as "slow rate=1e-4 warmup=500" to their axis. */
static void read_case(sweep_axis_t *axis, const char *text)
{
    const char *at = text + strspn(text, " ");
    size_t length = strcspn(at, " ");

    if (length == 0 || memchr(at, '=', length) != NULL)
        cli_fail_usage("--case '%s': it does not begin with a name", text);
    add_value(axis, copy_text(at, length));
    for (at += length; *(at += strspn(at, " ")) != '\0'; at += length) {
        length = strcspn(at, " ");
        const char *equals = memchr(at, '=', length);
        const cli_option_t *option =
            find_option(at, equals != NULL ? (size_t)(equals - at) : length);

        if (equals == NULL && option->kind != CLI_FLAG)
            cli_fail_usage("--case %s: %s has no value", axis->values[axis->n - 1], option->name);
        add_setting(&axis->settings[axis->n - 1], option,
                    equals == NULL ? "true"
                                   : copy_text(equals + 1, (size_t)(at + length - equals - 1)));
    }
}

static void read_axes(sweep_plan_t *plan, const cli_strings_t *vary, const cli_strings_t *cases)
{
    plan->axes = cli_realloc(NULL, (vary->n + 1) * sizeof(*plan->axes));
    if (cases->n > 0) {
        plan->axes[0] = (sweep_axis_t){.name = "case"};
        plan->num_axes = 1;
    }
    for (size_t i = 0; i < cases->n; i++)
        read_case(&plan->axes[0], cases->texts[i]);
    for (size_t i = 0; i < vary->n; i++) {
        plan->axes[plan->num_axes] = read_axis(vary->texts[i]);
        for (size_t k = 0; k < plan->num_axes; k++)
            if (strcmp(plan->axes[k].name, plan->axes[plan->num_axes].name) == 0)
                cli_fail_usage("--vary %s is given twice", plan->axes[k].name);
        plan->num_axes++;
    }
    plan->num_runs = 1;
    for (size_t i = 0; i < plan->num_axes; i++)
        if ((plan->num_runs *= plan->axes[i].n) > MOST_RUNS)
            cli_fail_usage("more than %d runs", MOST_RUNS);
}

/* ---- Runs ------------------------------------------------------------------------------- */

static bool sets(const sweep_settings_t *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->items[i].option->name, name) == 0)
            return true;
    return false;
}

static void derive(sweep_settings_t *all, const char *name, uint64_t value, const char *rule)
{
    char text[32];

    if (sets(all, name))
        cli_fail_usage("--%s contradicts --%s, which sets it", name, rule);
    snprintf(text, sizeof(text), "%" PRIu64, value);
    const cli_option_t *option = find_option(name, strlen(name));
    add_setting(all, option, copy_text(text, strlen(text)));
    cli_set_value(option, text, "--");
}

/* Ends the program if the library would not make this model. */
static void check_model(void)
{
    const tlm_model_options_t shape = train_model_options();
    tlm_cost_t cost = TLM_COST_INIT;

    if (settings.init == NULL && tlm_model_cost(&cost, &shape, NULL) != TLM_OK)
        cli_fail_usage("%s", tlm_error_message());
}

/* Applies a recipe, in case one is chosen; what is set besides comes after it. */
static void apply_recipe(const sweep_settings_t *all)
{
    const char *names[TRAIN_NUM_RECIPES], *chosen = NULL;

    for (size_t i = 0; i < all->n; i++)
        if (all->items[i].option->value == &settings.recipe)
            chosen = all->items[i].value;
    if (chosen == NULL)
        return;
    for (size_t i = 0; i < TRAIN_NUM_RECIPES; i++)
        names[i] = train_recipes[i].name;
    const int32_t index = cli_choose("recipe", chosen, names, TRAIN_NUM_RECIPES);
    for (const cli_setting_t *own = train_recipes[index].settings; own->option != NULL; own++)
        cli_set_value(find_option(own->option, strlen(own->option)), own->value, "--");
}

/* Adds what the rules say, and has train_lm's own checks look at all of it. */
static void complete(sweep_settings_t *all, const sweep_rules_t *rules)
{
    apply_recipe(all);
    for (size_t i = 0; i < all->n; i++)
        cli_set_value(all->items[i].option, all->items[i].value, "--");
    train_check_options();
    if (rules->tokens > 0 && settings.batch_start > 0)
        cli_fail_usage("--tokens counts full batches, so it excludes --batch-start of train_lm; "
                       "give --steps");
    const double per_step = (double)settings.batch * (double)settings.accumulate *
                            (double)shape_settings.context_length;
    if (rules->tokens > 0)
        derive(all, "steps", (uint64_t)fmax(1.0, floor((double)rules->tokens / per_step)),
               "tokens");
    if (rules->warmup_share >= 0.0)
        derive(all, "warmup", (uint64_t)llround(rules->warmup_share * (double)settings.steps),
               "warmup-share");
    if (rules->evaluations > 0)
        derive(all, "eval-every",
               settings.steps / rules->evaluations + (settings.steps % rules->evaluations != 0),
               "evaluations");
    for (size_t i = 0; i < train_program.num_options; i++)
        if (train_program.options[i].required &&
            *(const char **)train_program.options[i].value == NULL)
            cli_fail_usage("--%s of train_lm is missing", train_program.options[i].name);
    check_model();
}

static void add_argument(sweep_run_t *run, const sweep_setting_t *setting)
{
    const size_t room = strlen(setting->option->name) + strlen(setting->value) + 4;
    char *argument = new_text(room);

    snprintf(argument, room, "--%s=%s", setting->option->name, setting->value);
    run->arguments =
        cli_realloc(run->arguments, (run->num_arguments + 1) * sizeof(*run->arguments));
    run->arguments[run->num_arguments++] = argument;
}

/* A directory's name such as "rate-1e-3,batch-4", of what varies; cases stand for themselves. */
static char *make_name(const sweep_plan_t *plan, const size_t *choices)
{
    char name[MOST_NAME + 1];
    size_t used = 0;

    for (size_t i = 0; i < plan->num_axes && used <= MOST_NAME; i++) {
        const sweep_axis_t *axis = &plan->axes[i];
        const char *label = strcmp(axis->name, "case") == 0 ? "" : axis->name;

        used += (size_t)snprintf(name + used, sizeof(name) - used, "%s%s%s%s", i > 0 ? "," : "",
                                 label, label[0] != '\0' ? "-" : "", axis->values[choices[i]]);
    }
    if (plan->num_axes == 0)
        used = (size_t)snprintf(name, sizeof(name), "run");
    if (used > MOST_NAME || name[0] == '.')
        cli_fail_usage("'%s' cannot be the name of a run's directory", name);
    for (char *c = name; *c != '\0'; c++)
        *c = *c == '/' ? '_' : *c;
    return copy_text(name, used);
}

static void make_run(sweep_run_t *run, const sweep_plan_t *plan, size_t index,
                     const sweep_settings_t *base, const sweep_rules_t *rules)
{
    const train_settings_t defaults = settings;
    sweep_settings_t all = {NULL, 0};

    *run = (sweep_run_t){.choices = cli_realloc(NULL, plan->num_axes * sizeof(*run->choices))};
    for (size_t i = plan->num_axes; i-- > 0; index /= plan->axes[i].n)
        run->choices[i] = index % plan->axes[i].n;
    add_settings(&all, base);
    for (size_t i = 0; i < plan->num_axes; i++)
        add_settings(&all, &plan->axes[i].settings[run->choices[i]]);
    complete(&all, rules);
    run->name = make_name(plan, run->choices);
    for (size_t i = 0; i < all.n; i++)
        add_argument(run, &all.items[i]);
    free(all.items);
    settings = defaults;
}

sweep_plan_t sweep_plan_make(const cli_strings_t *vary, const cli_strings_t *cases,
                             char *const *given, size_t num_given, const sweep_rules_t *rules)
{
    sweep_plan_t plan = {NULL, 0, NULL, 0};

    read_axes(&plan, vary, cases);
    sweep_settings_t base = read_given(given, num_given);
    plan.runs = cli_realloc(NULL, plan.num_runs * sizeof(*plan.runs));
    for (size_t i = 0; i < plan.num_runs; i++) {
        make_run(&plan.runs[i], &plan, i, &base, rules);
        for (size_t k = 0; k < i; k++)
            if (strcmp(plan.runs[i].name, plan.runs[k].name) == 0)
                cli_fail_usage("two runs would be named %s", plan.runs[i].name);
    }
    free(base.items);
    return plan;
}

void sweep_plan_free(sweep_plan_t *plan)
{
    for (size_t i = 0; i < plan->num_runs; i++) {
        free(plan->runs[i].arguments);
        free(plan->runs[i].choices);
    }
    for (size_t i = 0; i < plan->num_axes; i++) {
        for (size_t k = 0; k < plan->axes[i].n; k++)
            free(plan->axes[i].settings[k].items);
        free(plan->axes[i].values);
        free(plan->axes[i].settings);
    }
    for (size_t i = 0; i < kept.n; i++)
        free((char *)kept.texts[i]);
    free(kept.texts);
    kept = (cli_strings_t){NULL, 0};
    free(plan->axes);
    free(plan->runs);
}
