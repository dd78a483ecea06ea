/* The report of a sweep: report.md and report.html, with tables of the runs and their curves. */
#ifndef EXAMPLES_SWEEP_REPORT_H
#define EXAMPLES_SWEEP_REPORT_H

#include "support/report_page.h"
#include "support/sweep_jobs.h"

/* Writes both files, and curves.svg, into the sweep's directory: all runs in the order of their losses,
 * what runs of several seeds have in common, and the curves of the best runs, at most `most_curves`.
 * Errors end the program. */
void sweep_report_write(const sweep_jobs_t *jobs, const sweep_plan_t *plan, report_axis_t axis,
                        size_t most_curves);

/* Prints what came of a run as a line of JSON. */
void sweep_report_print_json(const sweep_jobs_t *jobs, const sweep_run_t *run);

#endif
