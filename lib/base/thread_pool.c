/* The thread pool. One job at a time: its tasks are handed out by an atomic counter, so threads
 * differ only in which tasks they take, never in what a task is.
 *
 * Jobs come microseconds apart in a training step, so workers spin for a moment before they sleep.
 */
#include "base/thread_pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/buffer_cache.h"
#include "base/cpu.h"
#include "base/error.h"

#define SPIN_NANOSECONDS 60000

typedef struct job {
    tlmi_task_fn run;
    void *context;
    int64_t n_tasks;
    int32_t max_workers; /* threads from this number on take no part */
} job_t;

static struct {
    pthread_mutex_t lock; /* guards wake-ups and `started` */
    pthread_cond_t wake;  /* a new job, or an end of the threads */
    pthread_cond_t done;  /* `active` fell to 0 */
    atomic_flag busy;     /* a job holds the pool */
    job_t job;
    atomic_uint generation; /* counts jobs; workers wait for it to change */
    atomic_llong next_task;
    atomic_int active; /* workers that have not finished the current job */
    atomic_bool stopping;
    int32_t started; /* worker threads that run */
    pthread_t threads[TLM_MAX_THREADS];
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER,
          .busy = ATOMIC_FLAG_INIT};

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static atomic_int wanted_threads; /* 0: not decided yet */
static _Thread_local bool inside_task;

static int32_t default_threads(void)
{
    const char *wish = getenv("TINYLM_NUM_THREADS");
    if (wish != NULL) {
        char *end;
        errno = 0;
        long n = strtol(wish, &end, 10);
        if (errno == 0 && end != wish && *end == '\0' && n >= 1 && n <= TLM_MAX_THREADS)
            return (int32_t)n;
    }
    return tlmi_cpu_count();
}

int32_t tlm_num_threads(void)
{
    int n = atomic_load_explicit(&wanted_threads, memory_order_relaxed);
    if (n == 0) {
        n = default_threads();
        atomic_store_explicit(&wanted_threads, n, memory_order_relaxed);
    }
    return n;
}

int32_t tlmi_max_workers(void)
{
    return tlm_num_threads();
}

static int64_t now_nanoseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void pause_cpu(void)
{
#if TLMI_X86
    __builtin_ia32_pause();
#endif
}

static void run_tasks(const job_t *job, int32_t worker)
{
    inside_task = true;
    for (;;) {
        int64_t task = atomic_fetch_add_explicit(&pool.next_task, 1, memory_order_relaxed);
        if (task >= job->n_tasks)
            break;
        job->run(job->context, task, worker);
    }
    inside_task = false;
}

/* Spins, then sleeps, until the generation differs from `seen`; returns the new one. */
static unsigned wait_for_job(unsigned seen)
{
    int64_t limit = now_nanoseconds() + SPIN_NANOSECONDS;
    do {
        for (int i = 0; i < 64; i++) {
            unsigned now = atomic_load_explicit(&pool.generation, memory_order_acquire);
            if (now != seen)
                return now;
            pause_cpu();
        }
    } while (now_nanoseconds() < limit);
    pthread_mutex_lock(&pool.lock);
    unsigned now;
    while ((now = atomic_load_explicit(&pool.generation, memory_order_acquire)) == seen)
        pthread_cond_wait(&pool.wake, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
    return now;
}

static void finish_job(void)
{
    if (atomic_fetch_sub_explicit(&pool.active, 1, memory_order_acq_rel) == 1) {
        pthread_mutex_lock(&pool.lock);
        pthread_cond_signal(&pool.done);
        pthread_mutex_unlock(&pool.lock);
    }
}

static void *worker_main(void *argument)
{
    int32_t worker = (int32_t)(intptr_t)argument;
    /* A thread is started while its starter holds `busy`: the generation cannot move in between. */
    unsigned seen = atomic_load_explicit(&pool.generation, memory_order_acquire);
    finish_job();
    for (;;) {
        seen = wait_for_job(seen);
        if (atomic_load_explicit(&pool.stopping, memory_order_acquire))
            return NULL;
        if (worker < pool.job.max_workers)
            run_tasks(&pool.job, worker);
        finish_job();
    }
}

/* Waits until all workers have finished the current job (or their start). */
static void wait_for_workers(void)
{
    int64_t limit = now_nanoseconds() + SPIN_NANOSECONDS;
    do {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(&pool.active, memory_order_acquire) == 0)
                return;
            pause_cpu();
        }
    } while (now_nanoseconds() < limit);
    pthread_mutex_lock(&pool.lock);
    while (atomic_load_explicit(&pool.active, memory_order_acquire) != 0)
        pthread_cond_wait(&pool.done, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
}

static void announce(void)
{
    pthread_mutex_lock(&pool.lock);
    atomic_fetch_add_explicit(&pool.generation, 1, memory_order_release);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
}

/* The child of a fork has none of the parent's threads. */
static void forget_threads(void)
{
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pthread_cond_init(&pool.done, NULL);
    pool.started = 0;
    atomic_store(&pool.active, 0);
    atomic_flag_clear(&pool.busy);
    inside_task = false;
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget_threads);
}

/* Called with `busy` held. Ends all worker threads. */
static void stop_threads(void)
{
    if (pool.started == 0)
        return;
    atomic_store_explicit(&pool.stopping, true, memory_order_release);
    announce();
    for (int32_t i = 0; i < pool.started; i++)
        pthread_join(pool.threads[i], NULL);
    pool.started = 0;
    atomic_store(&pool.stopping, false);
}

/* Called with `busy` held. Has `n` worker threads run, or as many as the system gives. Signals are
 * left to the program's own threads. */
static void start_threads(int32_t n)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (pool.started < n) {
        atomic_fetch_add(&pool.active, 1);
        /* Worker 0 is the caller. */
        void *argument = (void *)(intptr_t)(pool.started + 1);
        if (pthread_create(&pool.threads[pool.started], NULL, worker_main, argument) != 0) {
            atomic_fetch_sub(&pool.active, 1);
            break;
        }
        pool.started++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    wait_for_workers();
}

/* The threads end with the library, so that it can be unloaded. */
__attribute__((destructor)) static void end_pool(void)
{
    if (!atomic_flag_test_and_set(&pool.busy)) {
        stop_threads();
        atomic_flag_clear(&pool.busy);
    }
}

tlm_status_t tlm_set_num_threads(int32_t num_threads)
{
    if (num_threads < 0 || num_threads > TLM_MAX_THREADS)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "set_num_threads: %d is not in 0 to %d",
                         (int)num_threads, TLM_MAX_THREADS);
    if (inside_task || atomic_flag_test_and_set(&pool.busy))
        return tlmi_fail(TLM_ERR_STATE, "set_num_threads: another call is using the threads");
    int32_t wanted = num_threads == 0 ? default_threads() : num_threads;
    if (pool.started > wanted - 1)
        stop_threads();
    atomic_store(&wanted_threads, wanted);
    atomic_flag_clear(&pool.busy);
    return TLM_OK;
}

static void run_inline(int64_t n_tasks, tlmi_task_fn run, void *context)
{
    for (int64_t task = 0; task < n_tasks; task++)
        run(context, task, 0);
}

void tlmi_parallel_for(int64_t n_tasks, tlmi_task_fn run, void *context)
{
    tlmi_parallel_for_workers(n_tasks, TLM_MAX_THREADS, run, context);
}

void tlmi_parallel_for_workers(int64_t n_tasks, int32_t max_workers, tlmi_task_fn run,
                               void *context)
{
    int32_t threads = tlm_num_threads() < max_workers ? tlm_num_threads() : max_workers;
    if (tlmi_dry_run())
        return;
    if (n_tasks <= 1 || threads <= 1 || inside_task || atomic_flag_test_and_set(&pool.busy)) {
        run_inline(n_tasks, run, context);
        return;
    }
    if (pool.started < threads - 1) {
        pthread_once(&fork_once, watch_forks);
        start_threads(threads - 1);
    }
    pool.job = (job_t){run, context, n_tasks, max_workers};
    atomic_store_explicit(&pool.next_task, 0, memory_order_relaxed);
    atomic_store_explicit(&pool.active, pool.started, memory_order_relaxed);
    announce();
    run_tasks(&pool.job, 0);
    wait_for_workers();
    atomic_flag_clear(&pool.busy);
}
