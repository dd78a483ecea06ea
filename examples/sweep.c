/* Trains a model once for every combination of values of some options of train_lm, several runs at
 * once, and reports all of them together. A sweep that was interrupted goes on where it was. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/sweep_jobs.h"
#include "support/sweep_plan.h"
#include "support/sweep_report.h"

typedef struct options {
    cli_strings_t vary, cases;
    const char *output_dir, *program, *x;
    uint64_t jobs, threads, tokens, evaluations, curves;
    double warmup_share;
    bool retry, dry_run;
} options_t;

static options_t own = {.output_dir = NULL, .x = "steps", .curves = 12, .warmup_share = -1.0};

static const cli_option_t options[] = {
    {"output-dir", CLI_STRING, &own.output_dir, HELP_OUTPUT_DIR ": the runs, a report", true},
    {"vary", CLI_STRINGS, &own.vary,
     "OPTION=VALUE,VALUE... of train_lm; again for each option that varies", false},
    {"case", CLI_STRINGS, &own.cases,
     "\"NAME OPTION=VALUE ...\": options that are set together; again for each case", false},
    {"tokens", CLI_COUNT, &own.tokens,
     "tokens that each run trains on; the steps follow from the batch; 0: as --steps says", false},
    {"warmup-share", CLI_REAL, &own.warmup_share,
     "warm-up of each run as a share of its steps; below 0: as --warmup says", false},
    {"evaluations", CLI_COUNT, &own.evaluations,
     "validations over each run; 0: as --eval-every says", false},
    {"jobs", CLI_COUNT, &own.jobs, "runs at once; 0: one per thread", false},
    {"threads", CLI_COUNT, &own.threads, HELP_THREADS ", for all runs together", false},
    {"retry", CLI_FLAG, &own.retry, "try runs again that ended with an error", false},
    {"dry-run", CLI_FLAG, &own.dry_run, "check everything and list the runs only", false},
    {"x", CLI_STRING, &own.x, "what the curves are drawn over", false},
    {"curves", CLI_COUNT, &own.curves, "runs that are drawn, the best ones", false},
    {"program", CLI_STRING, &own.program, "train_lm; by default the one beside this program",
     false},
};

/* The program that trains, in the directory of this one and with the prefix of its name; tinylm itself,
 * whose command train it is. */
static const char *find_train_lm(const char **command)
{
    static char path[PATH_MAX + 32];
    const ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);

    if (length <= 0)
        cli_fail("/proc/self/exe: %s", strerror(errno));
    path[length] = '\0';
    char *name = strrchr(path, '/') + 1;
    *command = strncmp(name, "tinylm", 6) == 0 && strchr(name, '-') == NULL ? "train" : NULL;
    if (*command == NULL)
        strcpy(name, strncmp(name, "tinylm-", 7) == 0 ? "tinylm-train-lm" : "train_lm");
    return path;
}

typedef struct progress {
    const sweep_jobs_t *jobs;
    const sweep_plan_t *plan;
    report_axis_t axis;
} progress_t;

static size_t count(const progress_t *progress, sweep_state_t state)
{
    size_t n = 0;

    for (size_t i = 0; i < progress->plan->num_runs; i++)
        n += sweep_state(progress->jobs, &progress->plan->runs[i]) == state;
    return n;
}

static void on_end(void *user, const sweep_run_t *run, double seconds)
{
    static const char *const words[] = {"interrupted", "done", "failed"};
    const progress_t *progress = user;
    const size_t open = count(progress, SWEEP_OPEN);

    if (cli_is_json())
        sweep_report_print_json(progress->jobs, run);
    cli_say("%s: %s after %.0f s; %zu of %zu runs to go\n", run->name,
            words[sweep_state(progress->jobs, run)], seconds, open, progress->plan->num_runs);
    sweep_report_write(progress->jobs, progress->plan, progress->axis, (size_t)own.curves);
    fflush(stdout);
}

static void list_runs(const sweep_plan_t *plan)
{
    for (size_t i = 0; i < plan->num_runs; i++) {
        printf("%s:", plan->runs[i].name);
        for (size_t k = 0; k < plan->runs[i].num_arguments; k++)
            printf(" %s", plan->runs[i].arguments[k]);
        putchar('\n');
    }
}

/* Runs at once and their threads, within the budget. */
static void share_threads(sweep_jobs_t *jobs, size_t num_runs)
{
    cli_check_range("threads", own.threads, 0, TLM_MAX_THREADS);
    cli_check(tlm_set_num_threads((int32_t)own.threads));
    const uint64_t budget = (uint64_t)tlm_num_threads();

    if (own.jobs > budget)
        cli_fail_usage("--jobs %" PRIu64 " needs as many threads, and there are %" PRIu64, own.jobs,
                       budget);
    jobs->jobs = own.jobs > 0 ? own.jobs : budget;
    if (jobs->jobs > num_runs)
        jobs->jobs = num_runs;
    jobs->threads = budget / jobs->jobs;
}

static int run(int n, char **operands)
{
    const sweep_rules_t rules = {own.tokens, own.warmup_share, own.evaluations};
    sweep_jobs_t jobs = {.directory = own.output_dir, .retry = own.retry};
    const report_axis_t axis = (report_axis_t)cli_choose_word("x", own.x, report_axis_words);

    jobs.program = own.program != NULL ? own.program : find_train_lm(&jobs.command);
    cli_check_range("curves", own.curves, 1, 1000);
    if (own.warmup_share > 1.0)
        cli_fail_usage("--warmup-share must be at most 1, not %g", own.warmup_share);
    sweep_plan_t plan = sweep_plan_make(&own.vary, &own.cases, operands, (size_t)n, &rules);
    share_threads(&jobs, plan.num_runs);
    int caught = 0;
    if (own.dry_run) {
        list_runs(&plan);
    } else {
        progress_t progress = {&jobs, &plan, axis};

        sweep_jobs_open(&jobs, &plan);
        cli_say("%zu runs, %" PRIu64 " at once with %" PRIu64 " threads each\n", plan.num_runs,
                jobs.jobs, jobs.threads);
        fflush(stdout);
        caught = sweep_jobs_run(&jobs, &plan, on_end, &progress);
        sweep_report_write(&jobs, &plan, axis, (size_t)own.curves);
        cli_say("wrote %s/report.html and report.md\n", own.output_dir);
        if (count(&progress, SWEEP_FAILED) > 0)
            cli_say("%zu runs failed; the report says why\n", count(&progress, SWEEP_FAILED));
    }
    sweep_plan_free(&plan);
    free(own.vary.texts);
    free(own.cases.texts);
    return caught == 0 ? 0 : 128 + caught;
}

static const cli_value_t values[] = {{"output-dir", NULL, ROLE_DIRECTORY},
                                     {"x", report_axis_words, ROLE_NONE},
                                     {"program", NULL, ROLE_FILE},
                                     {NULL, NULL, ROLE_NONE}};

const cli_program_t sweep_program = {
    .operands = "-- [OPTION OF train]...",
    .summary = "Trains with every combination of the values of --vary and --case, and reports all "
               "runs.\nRuns that are there already are not repeated, and interrupted ones go on.",
    .options = options,
    .num_options = sizeof(options) / sizeof(options[0]),
    .has = CLI_HAS_JSON,
    .values = values,
    .name = "sweep",
    .command = "sweep",
    .brief = "train a language model with many values of its options",
    .example =
        "--output-dir rates --vary rate=1e-3,3e-3,1e-2 -- --train train.npy --valid valid.npy "
        "--vocab-size 4096",
    .run = run,
};

CLI_MAIN(sweep_program)
