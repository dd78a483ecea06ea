/* A page of curves: training loss, validation loss and learning rate of runs, side by side, with what was
 * trained where, and samples of what it writes. One HTML file that includes its drawings and needs no
 * network; or only the drawings, as SVG. */
#ifndef EXAMPLES_REPORT_PAGE_H
#define EXAMPLES_REPORT_PAGE_H

#include <stddef.h>
#include <stdio.h>

/* What curves are drawn over. */
typedef enum report_axis {
    REPORT_OVER_STEPS,
    REPORT_OVER_TOKENS,
    REPORT_OVER_PROCESSOR_TIME, /* seconds, of all threads together, without validations */
    REPORT_NUM_AXES
} report_axis_t;

extern const char *const report_axis_words[]; /* for options, up to NULL */

/* Writes what stands above the table of the runs. */
typedef void (*report_heading_t)(FILE *page, void *user);

/* Draws the runs whose directories (with log.jsonl) are given. A path that ends in .svg gets only the
 * drawing. `heading` may be NULL. Errors end the program. */
void report_page_write(const char *path, const char *const *directories, size_t n,
                       report_axis_t axis, report_heading_t heading, void *user);

/* Processor time that the steps of a run took, in seconds; NAN where its log does not say. */
double report_processor_seconds(const char *directory);

/* Prints the last numbers of the runs, and the path of their page, as JSON. */
void report_page_print_json(const char *path, const char *const *directories, size_t n);

#endif
