/* The page of curves, or the drawing without a page, with SVG. */
#include "support/report_page.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/cli_json.h"
#include "support/cost_text.h"
#include "support/report_run.h"

/* ---- Writing ---------------------------------------------------------------------------- */

static const struct {
    const char *title;
    int curve;
} charts[] = {{"Validation loss", REPORT_VALIDATION},
              {"Training loss", REPORT_LOSS},
              {"Learning rate", REPORT_RATE}};

enum { NUM_CHARTS = sizeof(charts) / sizeof(charts[0]) };

#define CHART_STYLE                                                                                \
    "svg { font: 12px system-ui, sans-serif }\n"                                                   \
    "svg text { fill: #555 }\n"                                                                    \
    "svg .grid { stroke: #e4e4e4 }\n"                                                              \
    "svg .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round }\n"
#define DARK_CHART_STYLE "svg text { fill: #aaa } svg .grid { stroke: #333 } "

static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<title>Training report</title>\n<style>\n"
    "body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; "
    "padding: 0 1rem; color: #222; background: #fff; overflow-wrap: anywhere }\n"
    "table { border-collapse: collapse; font-variant-numeric: tabular-nums }\n"
    "th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd }\n"
    "th:first-child, td:first-child { text-align: left }\n"
    "svg { width: 100%; height: auto }\n" CHART_STYLE
    "i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; "
    "margin-right: .5em }\n"
    "dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem } dt { color: #777 } "
    "dd { margin: 0 }\n"
    "blockquote { margin: .5rem 0; padding: .1rem .8rem; border-left: 3px solid #ddd; "
    "white-space: pre-wrap }\n"
    "blockquote b { font-weight: normal; color: #777 }\n"
    /* On a phone each run is a block of lines, and what the drawings say grows. */
    "@media (max-width: 40rem) {\n"
    "table, tbody, tr, td { display: block } tr:first-child { display: none }\n"
    "td { display: flex; justify-content: space-between; padding: .2rem 0; text-align: left }\n"
    "td::before { content: attr(data-name); color: #777; margin-right: 1rem }\n"
    "td:first-child { display: block; font-weight: bold; margin-top: .8rem }\n"
    "svg { font-size: 20px }\n}\n"
    "@media (max-width: 30rem) { svg { font-size: 28px; overflow: visible; width: 94%; "
    "margin: 0 0 .8rem 6% } svg .odd { display: none } svg .name { transform: translateY(16px) } "
    "}\n"
    "@media (prefers-color-scheme: dark) { " DARK_CHART_STYLE
    "body { color: #ddd; background: #181818 } th, td, blockquote { border-color: #333 } "
    "dt, blockquote b, td::before { color: #999 } }\n"
    "</style>\n<h1>Training report</h1>\n";

/* A cell, whose column is named beside it where there is no room for the head of the table. */
static void write_number(FILE *page, const char *column, double value, const char *format)
{
    fprintf(page, "<td data-name=\"%s\">", column);
    if (isnan(value))
        fputs("&ndash;", page);
    else
        fprintf(page, format, value);
}

static void write_table(FILE *page, const report_run_t *runs, size_t n)
{
    fputs("<table>\n<tr><th>run<th>steps<th>tokens<th>training loss<th>validation loss"
          "<th>lowest<th>at step<th>tokens/s<th>processor s\n",
          page);
    for (size_t i = 0; i < n; i++) {
        const report_run_t *run = &runs[i];

        fprintf(page, "<tr><td><i style=\"background:%s\"></i>", line_chart_color(i));
        line_chart_write_text(page, run->name);
        write_number(page, "steps", (double)run->steps, "%.0f");
        write_number(page, "tokens", (double)run->tokens, "%.0f");
        write_number(page, "training loss", report_run_training_loss(run), "%.4f");
        write_number(page, "validation loss", report_run_validation_loss(run), "%.4f");
        write_number(page, "lowest", run->best, "%.4f");
        write_number(page, "at step", isnan(run->best) ? (double)NAN : run->best_step, "%.0f");
        write_number(page, "tokens/s", report_run_speed(run), "%.0f");
        write_number(page, "processor s", run->seconds, "%.1f");
        fputc('\n', page);
    }
    fputs("</table>\n<p>Losses are in nats per token. The training loss is the mean over the last "
          "tenth of the steps, and the processor time is that of the steps. The charts leave out "
          "losses far above where the runs end.</p>\n",
          page);
}

/* ---- Where a run comes from ----------------------------------------------------------------- */

static void write_fact(FILE *page, const char *name, const char *text)
{
    if (text == NULL || text[0] == '\0')
        return;
    fprintf(page, "<dt>%s<dd>", name);
    line_chart_write_text(page, text);
    fputc('\n', page);
}

static void write_data(FILE *page, const char *name, const report_data_t *data)
{
    char count[32], text[1200];

    if (data->path == NULL)
        return;
    snprintf(text, sizeof(text), "%.1000s, %s tokens", data->path,
             cost_with_commas(count, data->tokens));
    write_fact(page, name, text);
}

static void write_model(FILE *page, const report_run_t *run)
{
    char count[32], trained[48] = "", text[256];

    if (run->parameters == 0)
        return;
    if (run->trained_parameters < run->parameters)
        snprintf(trained, sizeof(trained), ", %s of them trained",
                 cost_with_commas(count, run->trained_parameters));
    snprintf(text, sizeof(text),
             "%s parameters%s: %" PRIu64 " layers of width %" PRIu64 ", %" PRIu64
             " heads; vocabulary %" PRIu64 ", context %" PRIu64,
             cost_with_commas(count, run->parameters), trained, run->layers, run->d_model,
             run->heads, run->vocab_size, run->context);
    write_fact(page, "model", text);
}

static void write_facts(FILE *page, const report_run_t *run)
{
    char text[512];

    fputs("<h2>", page);
    line_chart_write_text(page, run->name);
    fputs("</h2>\n<dl>\n", page);
    write_model(page, run);
    write_fact(page, "begins with", run->init);
    write_data(page, "trained on", &run->train);
    write_data(page, "validated on", &run->valid);
    if (run->planned_steps > 0) {
        snprintf(text, sizeof(text), "%" PRIu64 " steps of %" PRIu64 " sequences, %s",
                 run->planned_steps, run->batch, run->optimizer != NULL ? run->optimizer : "");
        write_fact(page, "training", text);
    }
    write_fact(page, "recipe", run->recipe);
    if (run->host != NULL) {
        snprintf(text, sizeof(text), "%.200s%s%.200s, %" PRIu64 " threads", run->host,
                 run->processor != NULL ? ": " : "", run->processor != NULL ? run->processor : "",
                 run->threads);
        write_fact(page, "host", text);
    }
    if (run->ranks > 1) {
        snprintf(text, sizeof(text), "%" PRIu64, run->ranks);
        write_fact(page, "ranks", text);
    }
    write_fact(page, "started", run->date);
    write_fact(page, "libtinylm", run->version);
    fputs("</dl>\n", page);
}

/* The first sample and the last ones: what the model wrote at the beginning, and what it writes now. */
static void write_samples(FILE *page, const report_run_t *run)
{
    if (run->num_samples == 0)
        return;
    fputs("<h3>What it writes</h3>\n", page);
    for (size_t i = 0; i < run->num_samples; i++) {
        const report_sample_t *sample = &run->samples[i];

        if (i > 0 && i + REPORT_LAST_SAMPLES < run->num_samples)
            continue;
        fprintf(page, "<p>After step %" PRIu64 ":</p>\n<blockquote><b>", sample->step);
        line_chart_write_text(page, sample->prompt);
        fputs("</b>", page);
        line_chart_write_text(page, sample->text);
        fputs("</blockquote>\n", page);
    }
}

/* ---- Drawings ------------------------------------------------------------------------------- */

static void write_chart(FILE *page, const report_run_t *runs, size_t n, int curve,
                        const char *x_name)
{
    const curve_t **curves = cli_realloc(NULL, n * sizeof(const curve_t *));

    for (size_t i = 0; i < n; i++)
        curves[i] = &runs[i].curves[curve];
    line_chart_write(page, curves, n, x_name, curve != REPORT_RATE);
    free(curves);
}

static void write_page(FILE *page, const report_run_t *runs, size_t n, const char *x_name,
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
    for (size_t i = 0; i < n; i++) {
        if (runs[i].host == NULL && runs[i].num_samples == 0)
            continue;
        write_facts(page, &runs[i]);
        write_samples(page, &runs[i]);
    }
}

/* One line per run in its color, then the charts below each other. */
static void write_drawing(FILE *page, const report_run_t *runs, size_t n, const char *x_name)
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

const char *const report_axis_words[] = {"steps", "tokens", "processor", NULL};

void report_page_write(const char *path, const char *const *directories, size_t n,
                       report_axis_t axis, report_heading_t heading, void *user)
{
    static const char *const names[REPORT_NUM_AXES] = {"steps", "tokens",
                                                       "seconds of processor time"};
    report_run_t *runs = cli_realloc(NULL, n * sizeof(*runs));

    for (size_t i = 0; i < n; i++)
        report_run_read(&runs[i], directories[i], axis);
    FILE *page = fopen(path, "w");
    if (page == NULL)
        cli_fail("%s: %s", path, strerror(errno));
    if (cli_ends_with(path, ".svg"))
        write_drawing(page, runs, n, names[axis]);
    else
        write_page(page, runs, n, names[axis], heading, user);
    cli_close_output(page, path);
    for (size_t i = 0; i < n; i++)
        report_run_free(&runs[i]);
    free(runs);
}

void report_page_print_json(const char *path, const char *const *directories, size_t n)
{
    cli_result_t *result = cli_result_new(), *list;

    cli_result_add_text(result, "output", path);
    list = cli_result_add_list(result, "runs");
    for (size_t i = 0; i < n; i++) {
        cli_result_t *row = cli_result_add_object(list, NULL);
        report_run_t run;

        report_run_read(&run, directories[i], REPORT_OVER_STEPS);
        cli_result_add_text(row, "directory", directories[i]);
        cli_result_add_count(row, "steps", run.steps);
        cli_result_add_count(row, "tokens", run.tokens);
        cli_result_add_real(row, "training_loss", report_run_training_loss(&run));
        cli_result_add_real(row, "validation_loss", report_run_validation_loss(&run));
        cli_result_add_real(row, "lowest_validation_loss", run.best);
        cli_result_add_real(row, "lowest_at_step", isnan(run.best) ? (double)NAN : run.best_step);
        cli_result_add_real(row, "tokens_per_second", report_run_speed(&run));
        cli_result_add_real(row, "processor_seconds", run.seconds);
        report_run_free(&run);
    }
    cli_result_print(result);
}
