/* The one thread pool: starts lazily, is forgotten in a forked child and started anew there.
 * Work is split into tasks by shape alone, so that no result depends on the number of threads. */
#ifndef TLMI_THREAD_POOL_H
#define TLMI_THREAD_POOL_H

#include "tinylm/runtime.h"

/* Task `task` of a job. No two tasks of one job that run at once have the same `worker`, so it can
 * pick scratch memory: see tlmi_parallel_for_workers for how many there are. */
typedef void (*tlmi_task_fn)(void *context, int64_t task, int32_t worker);

/* Runs tasks 0..n_tasks-1, in any order, and returns when all are done. Called from inside a task,
 * or while another thread's job holds the pool, it runs them on the calling thread. Cannot fail:
 * if threads cannot be started, fewer are used. In a dry run (buffer_cache.h) it runs nothing. */
void tlmi_parallel_for(int64_t n_tasks, tlmi_task_fn run, void *context);

/* The same with `worker` in [0, max_workers), max_workers >= 1. Jobs with memory per worker use
 * this: the number of threads may change, by another thread too, between the moment that sizes the
 * memory and the moment that runs the tasks. */
void tlmi_parallel_for_workers(int64_t n_tasks, int32_t max_workers, tlmi_task_fn run,
                               void *context);

/* As many workers as a job would have now. It may change with each call of tlm_set_num_threads: read
 * it once, and give what was read to tlmi_parallel_for_workers. */
int32_t tlmi_max_workers(void);

/* Ends the threads; the next job starts new ones. TLM_ERR_STATE while a job runs. */
tlm_status_t tlmi_end_threads(void);

#endif
