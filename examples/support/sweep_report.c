/* The tables of a sweep's report, as HTML and as Markdown. */
#include "support/sweep_report.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/cli_json.h"
#include "support/line_chart.h"

/* ---- Results ---------------------------------------------------------------------------- */

typedef struct result {
    const sweep_run_t *run;
    sweep_state_t state;
    double loss, perplexity, parameters, seconds; /* NAN: not known */
    char *failure;                                /* NULL: none */
} result_t;

static void set_field(void *user, const cli_member_t *member)
{
    result_t *result = user;
    double *field = strcmp(member->key, "validation_loss") == 0 ? &result->loss
                    : strcmp(member->key, "perplexity") == 0    ? &result->perplexity
                    : strcmp(member->key, "parameters") == 0    ? &result->parameters
                                                                : NULL;

    if (field != NULL)
        *field = strtod(member->text, NULL);
}

static result_t read_result(const sweep_jobs_t *jobs, const sweep_run_t *run)
{
    result_t result = {
        run, sweep_state(jobs, run), (double)NAN, (double)NAN, (double)NAN, (double)NAN, NULL};
    size_t size;

    if (result.state == SWEEP_DONE) {
        const char *path = sweep_path(jobs, run, "result.json");
        char *text = cli_read_text(&size, path);

        cli_read_object(text, size, path, set_field, &result);
        free(text);
        result.seconds = report_processor_seconds(sweep_path(jobs, run, ""));
    } else if (result.state == SWEEP_FAILED) {
        result.failure = cli_read_text(&size, sweep_path(jobs, run, "failure.txt"));
        result.failure[strcspn(result.failure, "\n")] = '\0';
    }
    return result;
}

/* By loss; runs without one come last, in the order of the plan. */
static int compare_results(const void *a, const void *b)
{
    const result_t *left = a, *right = b;

    if (isnan(left->loss) || isnan(right->loss))
        return isnan(left->loss) && isnan(right->loss)
                   ? (left->run > right->run) - (left->run < right->run)
                   : isnan(left->loss) - isnan(right->loss);
    return (left->loss > right->loss) - (left->loss < right->loss);
}

/* ---- Tables ----------------------------------------------------------------------------- */

typedef struct table {
    FILE *file;
    bool html;
} table_t;

static void begin_row(const table_t *table)
{
    fputs(table->html ? "<tr>" : "|", table->file);
}

static void write_cell(const table_t *table, bool head, const char *text)
{
    if (table->html) {
        fputs(head ? "<th>" : "<td>", table->file);
        line_chart_write_text(table->file, text);
        return;
    }
    fputc(' ', table->file);
    for (; *text != '\0'; text++)
        fprintf(table->file, *text == '|' ? "\\%c" : "%c", *text);
    fputs(" |", table->file);
}

static void write_number(const table_t *table, double value, const char *format)
{
    char text[64];

    snprintf(text, sizeof(text), format, value);
    write_cell(table, false, isnan(value) ? "" : text);
}

/* The first row: the axes but `left_out`, and then the columns, up to NULL. */
static void write_head(const table_t *table, const sweep_plan_t *plan, size_t left_out,
                       const char *const *columns)
{
    size_t n = 0;

    fputs(table->html ? "<table>\n" : "", table->file);
    begin_row(table);
    for (size_t i = 0; i < plan->num_axes; i++)
        if (i != left_out && ++n > 0)
            write_cell(table, true, plan->axes[i].name);
    for (; *columns != NULL; columns++, n++)
        write_cell(table, true, *columns);
    fputc('\n', table->file);
    for (size_t i = 0; i < n && !table->html; i++)
        fputs(i == 0 ? "|---|" : "---|", table->file);
    fputs(table->html ? "" : "\n", table->file);
}

static void write_choices(const table_t *table, const sweep_plan_t *plan, const sweep_run_t *run,
                          size_t left_out)
{
    begin_row(table);
    for (size_t i = 0; i < plan->num_axes; i++)
        if (i != left_out)
            write_cell(table, false, plan->axes[i].values[run->choices[i]]);
}

static void end_table(const table_t *table)
{
    fputs(table->html ? "</table>\n" : "\n", table->file);
}

static void write_runs(const table_t *table, const sweep_plan_t *plan, const result_t *results)
{
    static const char *const columns[] = {"validation loss", "perplexity", "parameters",
                                          "processor s",     "state",      NULL};

    write_head(table, plan, SIZE_MAX, columns);
    for (size_t i = 0; i < plan->num_runs; i++) {
        const result_t *result = &results[i];

        write_choices(table, plan, result->run, SIZE_MAX);
        write_number(table, result->loss, "%.4f");
        write_number(table, result->perplexity, "%.2f");
        write_number(table, result->parameters, "%.0f");
        write_number(table, result->seconds, "%.1f");
        write_cell(table, false,
                   result->failure != NULL       ? result->failure
                   : result->state == SWEEP_DONE ? "done"
                                                 : "open");
        fputc('\n', table->file);
    }
    end_table(table);
}

/* ---- Seeds ------------------------------------------------------------------------------ */

static bool same_but(const sweep_plan_t *plan, const sweep_run_t *a, const sweep_run_t *b,
                     size_t axis)
{
    for (size_t i = 0; i < plan->num_axes; i++)
        if (i != axis && a->choices[i] != b->choices[i])
            return false;
    return true;
}

/* The row of the finished runs that differ from this one in their seeds only. */
static void write_group(const table_t *table, const sweep_plan_t *plan, const result_t *results,
                        const sweep_run_t *first, size_t seeds)
{
    double n = 0.0, sum = 0.0, squares = 0.0, low = (double)INFINITY, high = (double)-INFINITY;

    for (size_t i = 0; i < plan->num_runs; i++)
        if (!isnan(results[i].loss) && same_but(plan, results[i].run, first, seeds)) {
            n++;
            sum += results[i].loss;
            low = fmin(low, results[i].loss);
            high = fmax(high, results[i].loss);
        }
    for (size_t i = 0; i < plan->num_runs; i++)
        if (!isnan(results[i].loss) && same_but(plan, results[i].run, first, seeds))
            squares += (results[i].loss - sum / n) * (results[i].loss - sum / n);
    write_choices(table, plan, first, seeds);
    write_number(table, n, "%.0f");
    write_number(table, n > 0.0 ? sum / n : (double)NAN, "%.4f");
    write_number(table, n > 1.0 ? sqrt(squares / (n - 1.0)) : (double)NAN, "%.4f");
    write_number(table, n > 0.0 ? low : (double)NAN, "%.4f");
    write_number(table, n > 0.0 ? high : (double)NAN, "%.4f");
    fputc('\n', table->file);
}

/* Where the seed varies: mean and spread over the seeds. */
static void write_groups(const table_t *table, const sweep_plan_t *plan, const result_t *results)
{
    static const char *const columns[] = {"seeds",  "mean loss", "standard deviation",
                                          "lowest", "highest",   NULL};
    size_t seeds = 0;

    while (seeds < plan->num_axes && strcmp(plan->axes[seeds].name, "seed") != 0)
        seeds++;
    if (seeds == plan->num_axes)
        return;
    write_head(table, plan, seeds, columns);
    for (size_t i = 0; i < plan->num_runs; i++)
        if (plan->runs[i].choices[seeds] == 0)
            write_group(table, plan, results, &plan->runs[i], seeds);
    end_table(table);
}

/* ---- Files ------------------------------------------------------------------------------ */

typedef struct report {
    const sweep_plan_t *plan;
    const result_t *results;
} report_t;

static void write_heading(FILE *page, void *user)
{
    const report_t *report = user;
    const table_t table = {page, true};

    fputs("<h2>Runs by loss</h2>\n", page);
    write_runs(&table, report->plan, report->results);
    write_groups(&table, report->plan, report->results);
    fputs("<h2>Curves</h2>\n", page);
}

static void write_markdown(const report_t *report, const char *path, bool has_curves)
{
    const table_t table = {fopen(path, "w"), false};

    if (table.file == NULL)
        cli_fail("%s: %s", path, strerror(errno));
    fputs("# Sweep\n\n", table.file);
    write_runs(&table, report->plan, report->results);
    write_groups(&table, report->plan, report->results);
    if (has_curves)
        fputs("![Curves of the best runs](curves.svg)\n\n", table.file);
    fputs("Losses are in nats per token, over the whole validation text. The processor time is "
          "that of the steps.\n",
          table.file);
    cli_close_output(table.file, path);
}

static void in_sweep(char path[4200], const sweep_jobs_t *jobs, const char *name)
{
    snprintf(path, 4200, "%s/%s", jobs->directory, name);
}

static void write_files(const sweep_jobs_t *jobs, const report_t *report, report_axis_t axis,
                        size_t most_curves)
{
    const char **directories = cli_realloc(NULL, most_curves * sizeof(*directories));
    char path[4200];
    size_t n = 0;

    for (size_t i = 0; i < report->plan->num_runs && n < most_curves; i++)
        if (report->results[i].state == SWEEP_DONE) {
            const char *directory = sweep_path(jobs, report->results[i].run, "");
            char *copy = cli_realloc(NULL, strlen(directory) + 1);

            strcpy(copy, directory);
            directories[n++] = copy;
        }
    in_sweep(path, jobs, "report.html");
    report_page_write(path, directories, n, axis, write_heading, (void *)report);
    in_sweep(path, jobs, "curves.svg");
    if (n > 0)
        report_page_write(path, directories, n, axis, NULL, NULL);
    in_sweep(path, jobs, "report.md");
    write_markdown(report, path, n > 0);
    for (size_t i = 0; i < n; i++)
        free((char *)directories[i]);
    free(directories);
}

void sweep_report_write(const sweep_jobs_t *jobs, const sweep_plan_t *plan, report_axis_t axis,
                        size_t most_curves)
{
    result_t *results = cli_realloc(NULL, plan->num_runs * sizeof(*results));

    for (size_t i = 0; i < plan->num_runs; i++)
        results[i] = read_result(jobs, &plan->runs[i]);
    qsort(results, plan->num_runs, sizeof(*results), compare_results);
    const report_t report = {plan, results};
    write_files(jobs, &report, axis, most_curves);
    for (size_t i = 0; i < plan->num_runs; i++)
        free(results[i].failure);
    free(results);
}

void sweep_report_print_json(const sweep_jobs_t *jobs, const sweep_run_t *run)
{
    static const char *const words[] = {"interrupted", "done", "failed"};
    const result_t result = read_result(jobs, run);
    cli_result_t *row = cli_result_new();

    cli_result_add_text(row, "run", run->name);
    cli_result_add_text(row, "state", words[result.state]);
    cli_result_add_real(row, "validation_loss", result.loss);
    cli_result_add_real(row, "perplexity", result.perplexity);
    cli_result_add_real(row, "parameters", result.parameters);
    cli_result_add_real(row, "processor_seconds", result.seconds);
    cli_result_add_text(row, "failure", result.failure);
    cli_result_print(row);
    free(result.failure);
}
