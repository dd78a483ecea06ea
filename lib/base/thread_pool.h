/* The one thread pool: starts lazily, is forgotten in a forked child and started anew there.
 * Work is split into tasks by shape alone, so that no result depends on the number of threads. */
#ifndef TLMI_THREAD_POOL_H
#define TLMI_THREAD_POOL_H

#include "tinylm/runtime.h"

/* Task `task` of a job; `worker` is in [0, tlmi_max_workers()) and no two tasks of one job that run
 * at once share it: use it to pick scratch memory. */
typedef void (*tlmi_task_fn)(void *context, int64_t task, int32_t worker);

/* Runs tasks 0..n_tasks-1, in any order, and returns when all are done. Called from inside a task,
 * or while another thread's job holds the pool, it runs them on the calling thread. Cannot fail:
 * if threads cannot be started, fewer are used. In a dry run (buffer_cache.h) it runs nothing. */
void tlmi_parallel_for(int64_t n_tasks, tlmi_task_fn run, void *context);

int32_t tlmi_max_workers(void);

#endif
