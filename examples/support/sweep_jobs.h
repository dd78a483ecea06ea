/* Runs train_lm for the runs of a sweep, several at once. */
#ifndef EXAMPLES_SWEEP_JOBS_H
#define EXAMPLES_SWEEP_JOBS_H

#include "support/sweep_plan.h"

typedef enum sweep_state {
    SWEEP_OPEN, /* not run, or interrupted: a later sweep goes on */
    SWEEP_DONE,
    SWEEP_FAILED /* train_lm ended with an error; failure.txt has its last line */
} sweep_state_t;

typedef struct sweep_jobs {
    const char *directory, *program; /* of the sweep; train_lm */
    const char *command;             /* of the program, if it is tinylm; else NULL */
    uint64_t jobs, threads;          /* runs at once; threads of each */
    bool retry;                      /* runs that failed are tried again */
} sweep_jobs_t;

/* The path of a file of a run, or of its directory with "". One of a few static buffers. */
const char *sweep_path(const sweep_jobs_t *jobs, const sweep_run_t *run, const char *name);

/* What is known of a run. */
sweep_state_t sweep_state(const sweep_jobs_t *jobs, const sweep_run_t *run);

/* Takes the lock of the directory, which it makes, for as long as the program runs, and checks that
 * runs that were begun earlier were begun with the same options. Errors end the program. */
void sweep_jobs_open(const sweep_jobs_t *jobs, const sweep_plan_t *plan);

/* Runs what is open. Calls on_end whenever a run has ended. Returns the number of the signal that
 * ended it early, or 0; the runs then were told to save and to end. */
int sweep_jobs_run(const sweep_jobs_t *jobs, const sweep_plan_t *plan,
                   void (*on_end)(void *user, const sweep_run_t *run, double seconds), void *user);

#endif
