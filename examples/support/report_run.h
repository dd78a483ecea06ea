/* A run as its directory tells it. */
#ifndef EXAMPLES_REPORT_RUN_H
#define EXAMPLES_REPORT_RUN_H

#include "support/cli_json.h"
#include "support/line_chart.h"
#include "support/report_page.h"

enum { REPORT_LOSS, REPORT_VALIDATION, REPORT_RATE, REPORT_NUM_CURVES };
enum { REPORT_LAST_SAMPLES = 3 }; /* samples shown, besides the first */

typedef struct report_data {
    const char *path; /* NULL: not known */
    uint64_t tokens;
} report_data_t;

typedef struct report_sample {
    cli_object_t *row; /* holds the texts */
    uint64_t step;
    const char *prompt, *text;
} report_sample_t;

typedef struct report_run {
    const char *name;
    curve_t curves[REPORT_NUM_CURVES];
    uint64_t steps, tokens;
    double best, best_step; /* validation loss */
    double speed_sum;       /* of tokens per second, over the points of REPORT_LOSS */
    double seconds;         /* of processor time; NAN once a step lacks it */
    /* NULL or 0 where the run does not say. */
    cli_object_t *info; /* holds the texts */
    const char *version, *date, *host, *processor, *init, *recipe, *optimizer;
    uint64_t threads, ranks, parameters, trained_parameters, layers, d_model, heads, vocab_size,
        context, batch, planned_steps;
    report_data_t train, valid;
    report_sample_t *samples;
    size_t num_samples;
} report_run_t;

/* Errors end the program. */
void report_run_read(report_run_t *run, const char *directory, report_axis_t axis);
void report_run_free(report_run_t *run);

/* NAN where there is none. */
double report_run_training_loss(const report_run_t *run);
double report_run_validation_loss(const report_run_t *run);
double report_run_speed(const report_run_t *run); /* tokens per second */

#endif
