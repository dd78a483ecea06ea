/* The page of curves, or the drawing without a page. Reads log.jsonl of each run; draws with SVG. */
#include "support/report_page.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/cli_json.h"
#include "support/line_chart.h"

/* ---- Reading ---------------------------------------------------------------------------- */

/* The curves of a run. */
enum { LOSS, VALIDATION, RATE, NUM_CURVES };

typedef struct run {
    const char *name;
    curve_t curves[NUM_CURVES];
    uint64_t steps, tokens;
    double best, best_step; /* validation loss */
    double speed_sum;       /* of tokens per second, over the points of LOSS */
    double seconds;         /* of processor time; NAN once a step lacks it */
} run_t;

/* A row of log.jsonl; values that it lacks are NAN. */
typedef struct row {
    double step, tokens, loss, learning_rate, validation_loss, tokens_per_second, processor_seconds;
} row_t;

static void set_field(void *user, const cli_member_t *member)
{
    static const struct {
        const char *name;
        size_t offset;
    } fields[] = {
        {"step", offsetof(row_t, step)},
        {"tokens", offsetof(row_t, tokens)},
        {"loss", offsetof(row_t, loss)},
        {"learning_rate", offsetof(row_t, learning_rate)},
        {"validation_loss", offsetof(row_t, validation_loss)},
        {"tokens_per_second", offsetof(row_t, tokens_per_second)},
        {"processor_seconds", offsetof(row_t, processor_seconds)},
    };

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (strcmp(member->key, fields[i].name) == 0)
            *(double *)((char *)user + fields[i].offset) = strtod(member->text, NULL);
}

static void add_row(run_t *run, const row_t *row, report_axis_t axis)
{
    if (isnan(row->step) || isnan(row->tokens))
        return;
    if (!isnan(row->loss))
        run->seconds += row->processor_seconds;
    const double x = axis == REPORT_OVER_STEPS    ? row->step
                     : axis == REPORT_OVER_TOKENS ? row->tokens
                                                  : run->seconds;

    if (isnan(x))
        cli_fail("%s: its log does not say how much processor time a step took", run->name);
    run->steps = (uint64_t)row->step;
    run->tokens = (uint64_t)row->tokens;
    if (!isnan(row->loss)) {
        curve_add(&run->curves[LOSS], x, row->loss);
        run->speed_sum += isnan(row->tokens_per_second) ? 0.0 : row->tokens_per_second;
    }
    if (!isnan(row->learning_rate))
        curve_add(&run->curves[RATE], x, row->learning_rate);
    if (!isnan(row->validation_loss)) {
        curve_add(&run->curves[VALIDATION], x, row->validation_loss);
        if (!(run->best <= row->validation_loss)) {
            run->best = row->validation_loss;
            run->best_step = row->step;
        }
    }
}

static run_t read_run(const char *directory, report_axis_t axis)
{
    const char *slash = strrchr(directory, '/');
    run_t run = {.name = slash != NULL && slash[1] != '\0' ? slash + 1 : directory,
                 .best = (double)NAN};
    char path[4096], *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    FILE *file;

    snprintf(path, sizeof(path), "%s/log.jsonl", directory);
    file = fopen(path, "r");
    if (file == NULL)
        cli_fail("%s: %s", path, strerror(errno));
    while ((size = getline(&line, &capacity, file)) > 0 && line[size - 1] == '\n') {
        row_t row = {(double)NAN, (double)NAN, (double)NAN, (double)NAN,
                     (double)NAN, (double)NAN, (double)NAN};

        cli_read_object(line, (size_t)size, path, set_field, &row);
        add_row(&run, &row, axis);
    }
    free(line);
    fclose(file);
    return run;
}

static void free_run(run_t *run)
{
    for (int curve = 0; curve < NUM_CURVES; curve++)
        free(run->curves[curve].points);
}

double report_processor_seconds(const char *directory)
{
    run_t run = read_run(directory, REPORT_OVER_STEPS);

    free_run(&run);
    return run.seconds;
}

/* ---- Writing ---------------------------------------------------------------------------- */

static const struct {
    const char *title;
    int curve;
} charts[] = {{"Validation loss", VALIDATION}, {"Training loss", LOSS}, {"Learning rate", RATE}};

enum { NUM_CHARTS = sizeof(charts) / sizeof(charts[0]) };

#define CHART_STYLE                                                                                \
    "svg { font: 12px system-ui, sans-serif }\n"                                                   \
    "svg text { fill: #555 }\n"                                                                    \
    "svg .grid { stroke: #e4e4e4 }\n"                                                              \
    "svg .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round }\n"
#define DARK_CHART_STYLE "svg text { fill: #aaa } svg .grid { stroke: #333 } "

static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n<title>Training report</title>\n"
    "<style>\n"
    "body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; "
    "padding: 0 1rem; color: #222; background: #fff }\n"
    "table { border-collapse: collapse; font-variant-numeric: tabular-nums }\n"
    "th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd }\n"
    "th:first-child, td:first-child { text-align: left }\n"
    "svg { width: 100%; height: auto }\n" CHART_STYLE
    "i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; "
    "margin-right: .5em }\n"
    "@media (prefers-color-scheme: dark) { " DARK_CHART_STYLE
    "body { color: #ddd; background: #181818 } th, td { border-color: #333 } }\n"
    "</style>\n<h1>Training report</h1>\n";

static void write_number(FILE *page, double value, const char *format)
{
    fputs("<td>", page);
    if (isnan(value))
        fputs("&ndash;", page);
    else
        fprintf(page, format, value);
}

/* Mean of the last tenth of a curve, since the loss of one step is noise. */
static double last_tenth(const curve_t *curve)
{
    size_t n = curve->n / 10 + 1;
    double sum = 0.0;

    if (curve->n == 0)
        return (double)NAN;
    for (size_t i = curve->n - n; i < curve->n; i++)
        sum += curve->points[i].y;
    return sum / (double)n;
}

static void write_table(FILE *page, const run_t *runs, size_t n)
{
    fputs("<table>\n<tr><th>run<th>steps<th>tokens<th>training loss<th>validation loss"
          "<th>lowest<th>at step<th>tokens/s<th>processor s\n",
          page);
    for (size_t i = 0; i < n; i++) {
        const run_t *run = &runs[i];
        const curve_t *loss = &run->curves[LOSS], *valid = &run->curves[VALIDATION];

        fprintf(page, "<tr><td><i style=\"background:%s\"></i>", line_chart_color(i));
        line_chart_write_text(page, run->name);
        fprintf(page, "<td>%" PRIu64 "<td>%" PRIu64, run->steps, run->tokens);
        write_number(page, last_tenth(loss), "%.4f");
        write_number(page, valid->n > 0 ? valid->points[valid->n - 1].y : (double)NAN, "%.4f");
        write_number(page, run->best, "%.4f");
        write_number(page, isnan(run->best) ? (double)NAN : run->best_step, "%.0f");
        write_number(page, loss->n > 0 ? run->speed_sum / (double)loss->n : (double)NAN, "%.0f");
        write_number(page, run->seconds, "%.1f");
        fputc('\n', page);
    }
    fputs("</table>\n<p>Losses are in nats per token. The training loss is the mean over the last "
          "tenth of the steps, and the processor time is that of the steps. The charts leave out "
          "losses far above where the runs end.</p>\n",
          page);
}

static void write_chart(FILE *page, const run_t *runs, size_t n, int curve, const char *x_name)
{
    const curve_t **curves = cli_realloc(NULL, n * sizeof(const curve_t *));

    for (size_t i = 0; i < n; i++)
        curves[i] = &runs[i].curves[curve];
    line_chart_write(page, curves, n, x_name, curve != RATE);
    free(curves);
}

static void write_page(FILE *page, const run_t *runs, size_t n, const char *x_name,
                       report_heading_t heading, void *user)
{
    fputs(head, page);
    if (heading != NULL)
        heading(page, user);
    write_table(page, runs, n);
    for (size_t i = 0; i < NUM_CHARTS; i++) {
        fprintf(page, "<h2>%s</h2>\n", charts[i].title);
        write_chart(page, runs, n, charts[i].curve, x_name);
    }
}

/* One line per run in its color, then the charts below each other. */
static void write_drawing(FILE *page, const run_t *runs, size_t n, const char *x_name)
{
    enum { LEGEND_ROW = 20, TITLE_ROW = 28, MARGIN = 10 };
    int y = MARGIN, chart = LINE_CHART_HEIGHT + TITLE_ROW;

    fprintf(page,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\">\n"
            "<style>\n" CHART_STYLE "@media (prefers-color-scheme: dark) { " DARK_CHART_STYLE
            "}\n</style>\n",
            LINE_CHART_WIDTH, MARGIN + (int)n * LEGEND_ROW + NUM_CHARTS * chart);
    for (size_t i = 0; i < n; i++, y += LEGEND_ROW) {
        fprintf(page,
                "<rect x=\"64\" y=\"%d\" width=\"10\" height=\"10\" rx=\"2\" fill=\"%s\"/>"
                "<text x=\"82\" y=\"%d\">",
                y, line_chart_color(i), y + 10);
        line_chart_write_text(page, runs[i].name);
        if (!isnan(runs[i].best))
            fprintf(page, ": lowest validation loss %.4f, at step %.0f", runs[i].best,
                    runs[i].best_step);
        fputs("</text>\n", page);
    }
    for (size_t i = 0; i < NUM_CHARTS; i++, y += chart) {
        fprintf(page, "<text x=\"64\" y=\"%d\" font-weight=\"bold\">%s</text>\n", y + TITLE_ROW - 8,
                charts[i].title);
        fprintf(page, "<svg y=\"%d\" width=\"%d\" height=\"%d\">\n", y + TITLE_ROW,
                LINE_CHART_WIDTH, LINE_CHART_HEIGHT);
        write_chart(page, runs, n, charts[i].curve, x_name);
        fputs("</svg>\n", page);
    }
    fputs("</svg>\n", page);
}

const char *const report_axis_words[REPORT_NUM_AXES] = {"steps", "tokens", "processor"};

void report_page_write(const char *path, const char *const *directories, size_t n,
                       report_axis_t axis, report_heading_t heading, void *user)
{
    static const char *const names[REPORT_NUM_AXES] = {"steps", "tokens",
                                                       "seconds of processor time"};
    run_t *runs = cli_realloc(NULL, n * sizeof(*runs));

    for (size_t i = 0; i < n; i++)
        runs[i] = read_run(directories[i], axis);
    FILE *page = fopen(path, "w");
    if (page == NULL)
        cli_fail("%s: %s", path, strerror(errno));
    if (cli_ends_with(path, ".svg"))
        write_drawing(page, runs, n, names[axis]);
    else
        write_page(page, runs, n, names[axis], heading, user);
    cli_close_output(page, path);
    for (size_t i = 0; i < n; i++)
        free_run(&runs[i]);
    free(runs);
}
