/* The process's only thread pool. It starts lazily; a forked child forgets it and starts a new
 * one. Work is split into tasks by shape alone, so no result depends on the number of threads. */
#ifndef TLMI_THREAD_POOL_H
#define TLMI_THREAD_POOL_H

#include "tinylm/runtime.h"

/* Runs task `task` of a job. No two tasks of a job that run at once have the same `worker`, so a
 * task can use it to select scratch memory; see tlmi_parallel_for_workers for how many there
 * are. */
typedef void (*tlmi_task_fn)(void *context, int64_t task, int32_t worker);

/* Runs tasks 0..n_tasks-1, in any order, and returns when all are done. When called inside a
 * task, or while another thread's job holds the pool, it runs them on the calling thread. It
 * cannot fail: if threads cannot be started, it uses fewer. In a dry run (buffer_cache.h) it
 * runs nothing. */
void tlmi_parallel_for(int64_t n_tasks, tlmi_task_fn run, void *context);

/* The same with `worker` in [0, max_workers), max_workers >= 1. Jobs with memory per worker use
 * this, because the number of threads may change, even from another thread, between sizing the
 * memory and running the tasks. */
void tlmi_parallel_for_workers(int64_t n_tasks, int32_t max_workers, tlmi_task_fn run,
                               void *context);

/* Number of workers that a job would have now. Any call of tlm_set_num_threads may change it, so
 * read it once and pass that value to tlmi_parallel_for_workers. */
int32_t tlmi_max_workers(void);

/* The number of threads that TINYLM_NUM_THREADS gives; 0 if the text is none. */
int32_t tlmi_parse_threads(const char *text);

/* Ends the threads; the next job starts new ones. Fails with TLM_ERR_STATE while a job runs. */
tlm_status_t tlmi_end_threads(void);

#endif
