/* The thread pool runs one job at a time. An atomic counter hands out its tasks, so threads
 * differ only in which tasks they take, never in what a task is.
 *
 * In a training step, jobs are microseconds apart, so a waiting thread spins briefly before it
 * sleeps: only as long as spinning pays off, and not at all when there are more threads than
 * CPUs. A job ends when its tasks are done; it does not wait for workers that have not gotten a
 * CPU by then. */
#include "base/thread_pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/buffer_cache.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/platform.h"

#define MOST_SPIN  60000 /* nanoseconds */
#define LEAST_SPIN 2000

typedef struct job {
    tlmi_task_fn run;
    void *context;
    int64_t n_tasks;
    int32_t max_workers; /* workers with this number or a higher one take no part */
} job_t;

/* The gate of a job, in a single word so that entering and closing cannot race: the upper half
 * holds the job's number, the lower half whether the gate is closed and how many workers are
 * inside. */
#define GATE_NEXT    ((uint64_t)1 << 32)
#define GATE_CLOSED  ((uint64_t)1 << 31)
#define GATE_WORKERS (GATE_CLOSED - 1)

static struct {
    pthread_mutex_t lock; /* guards wake-ups and `started` */
    pthread_cond_t wake;  /* signals a new job, or that the threads are to end */
    pthread_cond_t done;  /* signals that the last worker has left a closed job */
    atomic_flag busy;     /* set while a job holds the pool */
    job_t job;
    atomic_uint_least64_t gate;
    atomic_llong next_task;
    atomic_bool stopping;
    atomic_bool spins; /* each thread can have its own CPU, so waits may spin */
    int32_t started;   /* number of running worker threads */
    pthread_t threads[TLM_MAX_THREADS];
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER,
          .busy = ATOMIC_FLAG_INIT,
          .gate = GATE_CLOSED};

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static atomic_int wanted_threads; /* 0: not decided yet */
static _Thread_local bool inside_task;
static _Thread_local int64_t spin = MOST_SPIN; /* how long this thread's next wait spins */

int32_t tlmi_parse_threads(const char *text)
{
    char *end;

    errno = 0;
    const long n = strtol(text, &end, 10);
    const bool is_number = errno == 0 && end != text && *end == '\0';
    return is_number && n >= 1 && n <= TLM_MAX_THREADS ? (int32_t)n : 0;
}

static int32_t default_threads(void)
{
    const char *wish = getenv("TINYLM_NUM_THREADS");
    const int32_t n = wish != NULL ? tlmi_parse_threads(wish) : 0;

    return n > 0 ? n : tlmi_cpu_count();
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
#elif TLMI_ARM64
    __asm__ volatile("isb"); /* waits about as long; yield is no operation on most CPUs */
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

typedef bool (*gate_test_t)(uint64_t gate, uint64_t seen);

static bool gate_is(gate_test_t test, uint64_t seen)
{
    return test(atomic_load_explicit(&pool.gate, memory_order_acquire), seen);
}

/* Spins until the gate satisfies `test` or this thread's spin time is over. Returns whether the
 * gate satisfies `test`. */
static bool spin_until(gate_test_t test, uint64_t seen, int64_t begin)
{
    if (!atomic_load_explicit(&pool.spins, memory_order_relaxed))
        return gate_is(test, seen);
    do {
        for (int i = 0; i < 64; i++) {
            if (gate_is(test, seen))
                return true;
            pause_cpu();
        }
    } while (now_nanoseconds() < begin + spin);
    return false;
}

/* Waits, first spinning and then asleep, until the gate satisfies `test` or the threads are to
 * end. If spinning could have covered this wait, the next one spins for the full time; a longer
 * wait halves the time, because the thread we wait for may need this CPU. */
static void wait_until(gate_test_t test, uint64_t seen, pthread_cond_t *changed)
{
    int64_t begin = now_nanoseconds();
    if (spin_until(test, seen, begin))
        return;
    pthread_mutex_lock(&pool.lock);
    while (!gate_is(test, seen) && !atomic_load_explicit(&pool.stopping, memory_order_acquire))
        pthread_cond_wait(changed, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
    spin = now_nanoseconds() - begin <= MOST_SPIN ? MOST_SPIN
           : spin > 2 * LEAST_SPIN                ? spin / 2
                                                  : LEAST_SPIN;
}

static bool is_another_job(uint64_t gate, uint64_t seen)
{
    return gate / GATE_NEXT != seen / GATE_NEXT;
}

static bool is_empty(uint64_t gate, uint64_t seen)
{
    (void)seen;
    return (gate & GATE_WORKERS) == 0;
}

/* Enters the current job unless its gate is closed; *seen is set to the gate's value. */
static bool enter(uint64_t *seen)
{
    uint64_t gate = atomic_load_explicit(&pool.gate, memory_order_acquire);
    while ((gate & GATE_CLOSED) == 0 &&
           !atomic_compare_exchange_weak_explicit(&pool.gate, &gate, gate + 1, memory_order_acq_rel,
                                                  memory_order_acquire))
        ;
    *seen = gate;
    return (gate & GATE_CLOSED) == 0;
}

static void leave(void)
{
    uint64_t before = atomic_fetch_sub_explicit(&pool.gate, 1, memory_order_acq_rel);
    if ((before & GATE_CLOSED) != 0 && (before & GATE_WORKERS) == 1) {
        pthread_mutex_lock(&pool.lock);
        pthread_cond_signal(&pool.done);
        pthread_mutex_unlock(&pool.lock);
    }
}

static void *worker_main(void *argument)
{
    int32_t worker = (int32_t)(intptr_t)argument;
    /* No job that this thread has seen: it helps with the one that it was started for, even if that
     * began before this point. */
    uint64_t seen = atomic_load_explicit(&pool.gate, memory_order_acquire) - GATE_NEXT;
    for (;;) {
        wait_until(is_another_job, seen, &pool.wake);
        if (atomic_load_explicit(&pool.stopping, memory_order_acquire))
            return NULL;
        if (!enter(&seen))
            continue;
        if (worker < pool.job.max_workers)
            run_tasks(&pool.job, worker);
        leave();
    }
}

/* Closes the gate to more workers, and waits for those inside. */
static void close_job(void)
{
    uint64_t gate = atomic_fetch_or_explicit(&pool.gate, GATE_CLOSED, memory_order_acq_rel);
    if ((gate & GATE_WORKERS) != 0)
        wait_until(is_empty, 0, &pool.done);
}

/* Opens the gate of the next job, and wakes as many workers as it has tasks for. */
static void open_job(int64_t n_wanted)
{
    pthread_mutex_lock(&pool.lock);
    uint64_t number =
        atomic_load_explicit(&pool.gate, memory_order_relaxed) / GATE_NEXT * GATE_NEXT + GATE_NEXT;
    atomic_store_explicit(&pool.gate, number, memory_order_release);
    if (n_wanted >= pool.started)
        pthread_cond_broadcast(&pool.wake);
    else
        for (int64_t i = 0; i < n_wanted; i++)
            pthread_cond_signal(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
}

/* A forked child has none of the parent's threads, whatever they were doing: running a job or
 * ending. */
static void forget_threads(void)
{
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pthread_cond_init(&pool.done, NULL);
    pool.started = 0;
    atomic_store(&pool.stopping, false);
    atomic_store(&pool.gate, GATE_CLOSED);
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
    pthread_mutex_lock(&pool.lock);
    atomic_store_explicit(&pool.stopping, true, memory_order_release);
    atomic_fetch_add_explicit(&pool.gate, GATE_NEXT, memory_order_release); /* stays closed */
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
    for (int32_t i = 0; i < pool.started; i++)
        pthread_join(pool.threads[i], NULL);
    pool.started = 0;
    atomic_store(&pool.stopping, false);
}

/* Called with `busy` held. Starts `n` worker threads, or as many as the system allows. */
static void start_threads(int32_t n)
{
    while (pool.started < n) {
        /* Worker 0 is the caller. */
        void *argument = (void *)(intptr_t)(pool.started + 1);
        if (!tlmi_platform_start_thread(&pool.threads[pool.started], worker_main, argument))
            break;
        pool.started++;
    }
    atomic_store_explicit(&pool.spins, pool.started < tlmi_cpu_count(), memory_order_relaxed);
}

/* Ends the threads with the library, so that it can be unloaded. */
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
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "set_num_threads: num_threads %d is not in 0 .. %d", (int)num_threads,
                         TLM_MAX_THREADS);
    if (inside_task || atomic_flag_test_and_set(&pool.busy))
        return tlmi_fail(TLM_ERR_STATE, "set_num_threads: another call is using the threads");
    int32_t wanted = num_threads == 0 ? default_threads() : num_threads;
    if (pool.started > wanted - 1)
        stop_threads();
    atomic_store(&wanted_threads, wanted);
    atomic_flag_clear(&pool.busy);
    return TLM_OK;
}

tlm_status_t tlmi_end_threads(void)
{
    if (inside_task || atomic_flag_test_and_set(&pool.busy))
        return tlmi_fail(TLM_ERR_STATE, "shutdown: another call is using the threads");
    stop_threads();
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
    open_job(max_workers > pool.started ? n_tasks - 1 : pool.started);
    run_tasks(&pool.job, 0);
    close_job();
    atomic_flag_clear(&pool.busy);
}
