/* The thread pool: every task once, on any number of threads, nested, and from many threads. */
#include "base_support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "base/cpu.h"
#include "base/thread_pool.h"

enum { MAX_TASKS = 1000, MAX_COUNT = 8 };

typedef struct job {
    atomic_int runs[MAX_TASKS];
    atomic_int running[TLM_MAX_THREADS]; /* tasks now at work as each worker */
    atomic_int faults;
} job_t;

static void count_task(void *context, int64_t task, int32_t worker)
{
    job_t *job = context;

    if (worker < 0 || worker >= tlmi_max_workers() || atomic_fetch_add(&job->running[worker], 1))
        atomic_fetch_add(&job->faults, 1);
    atomic_fetch_add(&job->runs[task], 1);
    atomic_fetch_sub(&job->running[worker], 1);
}

static void assert_each_once(job_t *job, int64_t n_tasks)
{
    ck_assert_int_eq(atomic_load(&job->faults), 0);
    for (int64_t i = 0; i < MAX_TASKS; i++)
        ck_assert_int_eq(atomic_load(&job->runs[i]), i < n_tasks);
}

START_TEST(every_task_runs_once)
{
    static const int64_t counts[] = {0, 1, 2, 3, 7, 8, 9, 100, MAX_TASKS};

    for (int32_t threads = 1; threads <= MAX_COUNT; threads++) {
        ASSERT_OK(tlm_set_num_threads(threads));
        ck_assert_int_eq(tlm_num_threads(), threads);
        ck_assert_int_eq(tlmi_max_workers(), threads);
        for (size_t i = 0; i < COUNT(counts); i++)
            for (int round = 0; round < 5; round++) {
                static job_t job;
                memset(&job, 0, sizeof(job));
                tlmi_parallel_for(counts[i], count_task, &job);
                assert_each_once(&job, counts[i]);
            }
    }
}
END_TEST

/* Each task of the outer job runs a whole inner one. */
static void nested_task(void *context, int64_t task, int32_t worker)
{
    atomic_int *sums = context;
    job_t *job = calloc(1, sizeof(*job));
    int sum = 0;

    (void)worker;
    tlmi_parallel_for(10, count_task, job);
    for (int i = 0; i < 10; i++)
        sum += atomic_load(&job->runs[i]);
    atomic_store(&sums[task], sum - 10 + atomic_load(&job->faults));
    free(job);
}

START_TEST(jobs_nest)
{
    atomic_int sums[50];

    for (int32_t threads = 1; threads <= MAX_COUNT; threads++) {
        ASSERT_OK(tlm_set_num_threads(threads));
        for (size_t i = 0; i < COUNT(sums); i++)
            atomic_init(&sums[i], -1);
        tlmi_parallel_for(COUNT(sums), nested_task, sums);
        for (size_t i = 0; i < COUNT(sums); i++)
            ck_assert_int_eq(atomic_load(&sums[i]), 0);
    }
}
END_TEST

static void *run_many_jobs(void *argument)
{
    intptr_t faults = 0;

    (void)argument;
    for (int round = 0; round < 50; round++) {
        job_t *job = calloc(1, sizeof(*job));
        tlmi_parallel_for(64, count_task, job);
        for (int i = 0; i < 64; i++)
            faults += atomic_load(&job->runs[i]) != 1;
        faults += atomic_load(&job->faults);
        free(job);
    }
    return (void *)faults;
}

START_TEST(many_threads_share_the_pool)
{
    pthread_t threads[6];
    void *faults;

    ASSERT_OK(tlm_set_num_threads(3));
    for (size_t i = 0; i < COUNT(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_many_jobs, NULL), 0);
    for (size_t i = 0; i < COUNT(threads); i++) {
        ck_assert_int_eq(pthread_join(threads[i], &faults), 0);
        ck_assert_int_eq((intptr_t)faults, 0);
    }
}
END_TEST

/* The thread sanitizer allows no threads after such a fork, and the address sanitizer's allocator may be
 * locked in the child by a thread that is not there. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FORKS_WITH_THREADS 1
#endif

#ifdef FORKS_WITH_THREADS
static void *change_count(void *argument)
{
    atomic_bool *stop = argument;

    for (int32_t n = 1; !atomic_load(stop); n = n % 4 + 1) {
        static job_t job;

        (void)tlm_set_num_threads(n);
        memset(&job, 0, sizeof(job));
        tlmi_parallel_for(16, count_task, &job);
    }
    return NULL;
}

/* Whatever another thread does to the pool at the time of a fork, the child's pool works. qemu-user keeps
 * memory of each thread that ended, gigabytes here, and its own locks in a child. */
START_TEST(the_pool_works_in_children)
{
    atomic_bool stop = false;
    pthread_t thread;

    if (is_emulated())
        return;
    ck_assert_int_eq(pthread_create(&thread, NULL, change_count, &stop), 0);
    for (int i = 0; i < 300; i++) {
        pid_t child = fork();
        int status;

        if (child == 0) {
            static job_t job;

            (void)tlm_set_num_threads(3);
            for (int round = 0; round < 3; round++) {
                memset(&job, 0, sizeof(job));
                tlmi_parallel_for(64, count_task, &job);
            }
            (void)tlm_set_num_threads(1);
            (void)tlm_set_num_threads(2);
            tlmi_parallel_for(64, count_task, &job);
            _exit(atomic_load(&job.faults) == 0 && atomic_load(&job.runs[0]) == 2 ? 0 : 1);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "fork %d: status %d", i,
                      status);
    }
    atomic_store(&stop, true);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST
#endif

static void wait_for_help(void *context, int64_t task, int32_t worker)
{
    atomic_bool *helped = context;

    (void)task;
    if (worker > 0)
        atomic_store(helped, true);
    while (!atomic_load(helped))
        usleep(1000);
}

/* The job that threads are started for is their first, even if it begins before they run. It would never end
 * otherwise. */
START_TEST(new_threads_help_with_the_job_that_started_them)
{
    for (int round = 0; round < 3; round++) {
        atomic_bool helped = false;

        ASSERT_OK(tlm_set_num_threads(1));
        ASSERT_OK(tlm_set_num_threads(3));
        tlmi_parallel_for(100, wait_for_help, &helped);
        ck_assert(atomic_load(&helped));
    }
}
END_TEST

/* Writes to 1 MiB of a worker's stack, from the top down. */
static void use_stack(void *context, int64_t task, int32_t worker)
{
    if (worker > 0) {
        volatile char block[1 << 20];

        for (size_t i = sizeof(block); i > 0; i--)
            block[i - 1] = (char)i;
    }
    wait_for_help(context, task, worker);
}

/* 128 KiB is what a thread has by default with musl. */
START_TEST(threads_have_a_stack_for_the_functions_of_a_program)
{
    atomic_bool helped = false;

    ASSERT_OK(tlm_set_num_threads(1));
    ASSERT_OK(tlm_set_num_threads(3));
    tlmi_parallel_for(100, use_stack, &helped);
    ck_assert(atomic_load(&helped));
}
END_TEST

/* Many short jobs on more threads than there are CPUs: each task once, and a job ends without those that have
 * not got a CPU. */
START_TEST(threads_may_outnumber_cpus)
{
    static job_t job;

    ASSERT_OK(tlm_set_num_threads(32));
    for (int round = 0; round < 3000; round++) {
        memset(&job, 0, sizeof(job));
        tlmi_parallel_for(round % 40, count_task, &job);
        assert_each_once(&job, round % 40);
    }
}
END_TEST

static void set_inside(void *context, int64_t task, int32_t worker)
{
    (void)worker;
    ((tlm_status_t *)context)[task] = tlm_set_num_threads(1);
}

START_TEST(the_count_is_checked)
{
    tlm_status_t statuses[8];

    ASSERT_OK(tlm_set_num_threads(2));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "-1", tlm_set_num_threads(-1));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "257", tlm_set_num_threads(TLM_MAX_THREADS + 1));
    ck_assert_int_eq(tlm_num_threads(), 2);
    tlmi_parallel_for(8, set_inside, statuses);
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(statuses[i], TLM_ERR_STATE);
    ck_assert_int_eq(tlm_num_threads(), 2);
    ASSERT_OK(tlm_set_num_threads(TLM_MAX_THREADS));
    ck_assert_int_eq(tlm_num_threads(), TLM_MAX_THREADS);
    ASSERT_OK(tlm_set_num_threads(0));
}
END_TEST

/* These two run in processes of their own, before any count is decided. */
START_TEST(the_environment_gives_the_default)
{
    setenv("TINYLM_NUM_THREADS", "5", 1);
    ASSERT_OK(tlm_check_environment());
    ck_assert_int_eq(tlm_num_threads(), 5);
    ASSERT_OK(tlm_set_num_threads(3));
    ck_assert_int_eq(tlm_num_threads(), 3);
    ASSERT_OK(tlm_set_num_threads(0));
    ck_assert_int_eq(tlm_num_threads(), 5);
}
END_TEST

START_TEST(nonsense_in_the_environment_is_passed_over)
{
    static const char *const nonsense[] = {"", "0", "-2", "x", "3x", "257", "99999999999999999999"};

    unsetenv("TINYLM_NUM_THREADS");
    ASSERT_OK(tlm_check_environment());
    ck_assert_int_eq(tlm_num_threads(), tlmi_cpu_count());
    for (size_t i = 0; i < COUNT(nonsense); i++) {
        setenv("TINYLM_NUM_THREADS", nonsense[i], 1);
        ASSERT_OK(tlm_set_num_threads(0));
        ck_assert_int_eq(tlm_num_threads(), tlmi_cpu_count());
        ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "is not a number in 1 .. 256",
                     tlm_check_environment());
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        every_task_runs_once,
        jobs_nest,
        many_threads_share_the_pool,
#ifdef FORKS_WITH_THREADS
        the_pool_works_in_children,
#endif
        new_threads_help_with_the_job_that_started_them,
        threads_have_a_stack_for_the_functions_of_a_program,
        threads_may_outnumber_cpus,
        the_count_is_checked,
        the_environment_gives_the_default,
        nonsense_in_the_environment_is_passed_over,
    };
    return run_tests("thread pool", tests, COUNT(tests));
}
