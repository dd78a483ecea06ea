/* The logs that a run writes to its directory: log.csv, log.jsonl and an event file for TensorBoard, and
 * samples.jsonl. Each of the first three gets one row per step and one per evaluation, flushed at once. */
#ifndef EXAMPLES_RUN_LOG_H
#define EXAMPLES_RUN_LOG_H

#include "tinylm/tinylm.h"

typedef struct run_log run_log_t;

/* Opens the files in an existing directory, to append to. Rows of later steps than `last`, which an
 * interrupted run wrote after its checkpoint, are removed, so that a resumed run neither loses rows nor
 * repeats them. Errors end the program, here and below. */
run_log_t *run_log_open(const char *directory, uint64_t last);

void run_log_step(run_log_t *log, const tlm_train_step_t *step);
/* `tokens`: the tokens of all steps before it. */
void run_log_evaluation(run_log_t *log, const tlm_evaluation_t *evaluation, uint64_t tokens);
/* A row of samples.jsonl: a text that continues the prompt. */
void run_log_sample(run_log_t *log, uint64_t step, const char *prompt, const char *text,
                    size_t size);
void run_log_close(run_log_t *log);

#endif
