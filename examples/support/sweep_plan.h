/* The runs of a sweep: every combination of the values of some options of train_lm. */
#ifndef EXAMPLES_SWEEP_PLAN_H
#define EXAMPLES_SWEEP_PLAN_H

#include "support/train_options.h"

/* An option of train_lm with a value as a command line gives it. */
typedef struct sweep_setting {
    const cli_option_t *option;
    const char *value;
} sweep_setting_t;

typedef struct sweep_settings {
    sweep_setting_t *items;
    size_t n;
} sweep_settings_t;

/* What varies: the values of an option, or cases, each of which sets several options. */
typedef struct sweep_axis {
    const char *name;
    const char **values;        /* of the option, or the names of the cases */
    sweep_settings_t *settings; /* what each value sets */
    size_t n;
} sweep_axis_t;

typedef struct sweep_run {
    char *name;       /* of its directory */
    size_t *choices;  /* the value of each axis */
    char **arguments; /* of train_lm, without the directory and the number of threads */
    size_t num_arguments;
} sweep_run_t;

typedef struct sweep_plan {
    sweep_axis_t *axes;
    size_t num_axes;
    sweep_run_t *runs;
    size_t num_runs;
} sweep_plan_t;

/* What is derived for each run. */
typedef struct sweep_rules {
    uint64_t tokens;      /* steps follow from it and from the batch; 0: steps are given */
    double warmup_share;  /* of the steps; < 0: the warm-up is given */
    uint64_t evaluations; /* over the run; 0: eval-every is given */
} sweep_rules_t;

/* Makes the plan. `vary` has texts such as "rate=1e-3,3e-3", `cases` such as "slow rate=1e-4
 * warmup=500", and `given` the options of all runs as train_lm takes them. Ends the program, naming
 * it, for an option that train_lm does not have or that a sweep sets itself, and for a value that
 * train_lm would refuse. */
sweep_plan_t sweep_plan_make(const cli_strings_t *vary, const cli_strings_t *cases,
                             char *const *given, size_t num_given, const sweep_rules_t *rules);

void sweep_plan_free(sweep_plan_t *plan);

#endif
