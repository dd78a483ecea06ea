/* What a run leaves in its directory as it goes: log.csv, log.jsonl and an event file for TensorBoard.
 * Each has a row for a step and one for an evaluation, flushed as it is written. */
#ifndef EXAMPLES_RUN_LOG_H
#define EXAMPLES_RUN_LOG_H

#include "tinylm/tinylm.h"

typedef struct run_log run_log_t;

/* Opens the files in an existing directory, to append to. Rows of later steps than `last`, which an
 * interrupted run wrote after its checkpoint, are cut off: a run that goes on loses no row and writes
 * none twice. Errors end the program, here and below. */
run_log_t *run_log_open(const char *directory, uint64_t last);

void run_log_step(run_log_t *log, const tlm_train_step_t *step);
/* `tokens`: that the steps before it took. */
void run_log_evaluation(run_log_t *log, const tlm_evaluation_t *evaluation, uint64_t tokens);
void run_log_close(run_log_t *log);

#endif
