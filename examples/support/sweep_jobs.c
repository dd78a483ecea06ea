/* The processes of a sweep. Everything about a run is in its directory: arguments.txt, what train_lm
 * printed in output.txt, its logs and checkpoints, and at the end result.json or failure.txt. So a
 * sweep that was interrupted, or killed, goes on where it was. */
#include "support/sweep_jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

enum { MOST_JOBS = 1024 };

const char *sweep_path(const sweep_jobs_t *jobs, const sweep_run_t *run, const char *name)
{
    static char paths[4][4096];
    static int next;
    char *path = paths[next++ % 4];

    if (snprintf(path, sizeof(paths[0]), "%s/%s%s%s", jobs->directory, run->name,
                 name[0] != '\0' ? "/" : "", name) >= (int)sizeof(paths[0]))
        cli_fail("%s: the name is too long", jobs->directory);
    return path;
}

static bool exists(const sweep_jobs_t *jobs, const sweep_run_t *run, const char *name)
{
    return access(sweep_path(jobs, run, name), F_OK) == 0;
}

sweep_state_t sweep_state(const sweep_jobs_t *jobs, const sweep_run_t *run)
{
    return exists(jobs, run, "result.json")   ? SWEEP_DONE
           : exists(jobs, run, "failure.txt") ? SWEEP_FAILED
                                              : SWEEP_OPEN;
}

/* ---- Opening ---------------------------------------------------------------------------- */

static void make_directory(const char *path)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        cli_fail("%s: %s", path, strerror(errno));
}

static void lock(const sweep_jobs_t *jobs)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/.lock", jobs->directory);
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666); /* stays open */
    if (file < 0)
        cli_fail("%s: %s", path, strerror(errno));
    if (flock(file, LOCK_EX | LOCK_NB) != 0)
        cli_fail("%s: another sweep is at work in this directory", jobs->directory);
}

/* Ends the program unless the run was begun with these arguments. */
static void check_arguments(const sweep_jobs_t *jobs, const sweep_run_t *run)
{
    const char *path = sweep_path(jobs, run, "arguments.txt");
    size_t size;
    char *text = cli_read_text(&size, path), *at = text;

    for (size_t i = 0; i <= run->num_arguments; i++) {
        const char *wanted = i < run->num_arguments ? run->arguments[i] : "nothing";
        char *end = strchr(at, '\n');
        const char *found = end != NULL ? at : "nothing";

        if (end != NULL)
            *end = '\0';
        if (strcmp(wanted, found) != 0)
            cli_fail("%s was begun with other options: %s, not %s; choose another directory",
                     sweep_path(jobs, run, ""), found, wanted);
        at = end != NULL ? end + 1 : at;
    }
    free(text);
}

static void write_arguments(const sweep_jobs_t *jobs, const sweep_run_t *run)
{
    const char *path = sweep_path(jobs, run, "arguments.txt");
    const char *aside = sweep_path(jobs, run, "arguments.new");
    FILE *file = fopen(aside, "w");

    if (file == NULL)
        cli_fail("%s: %s", aside, strerror(errno));
    for (size_t i = 0; i < run->num_arguments; i++)
        fprintf(file, "%s\n", run->arguments[i]);
    cli_close_output(file, aside);
    if (rename(aside, path) != 0)
        cli_fail("%s: %s", path, strerror(errno));
}

void sweep_jobs_open(const sweep_jobs_t *jobs, const sweep_plan_t *plan)
{
    make_directory(jobs->directory);
    lock(jobs);
    for (size_t i = 0; i < plan->num_runs; i++)
        if (exists(jobs, &plan->runs[i], "arguments.txt"))
            check_arguments(jobs, &plan->runs[i]);
}

/* ---- Processes -------------------------------------------------------------------------- */

/* The processes that run; 0: none in this place. The handler reads them. */
static volatile pid_t processes[MOST_JOBS];
static volatile sig_atomic_t caught;

/* Tells the runs to save and end: they are in process groups of their own, so that this is the only
 * signal that reaches them. */
static void on_signal(int number)
{
    caught = number;
    for (size_t i = 0; i < MOST_JOBS; i++)
        if (processes[i] > 0)
            kill(processes[i], SIGTERM);
}

static void set_signals(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* Makes the directory. Returns whether an earlier try began there, from which train_lm goes on. */
static bool prepare(const sweep_jobs_t *jobs, const sweep_run_t *run)
{
    const char *failure = sweep_path(jobs, run, "failure.txt");

    make_directory(sweep_path(jobs, run, ""));
    if (!exists(jobs, run, "arguments.txt"))
        write_arguments(jobs, run);
    if (unlink(failure) != 0 && errno != ENOENT)
        cli_fail("%s: %s", failure, strerror(errno));
    return exists(jobs, run, "config.json");
}

/* Replaces this process, a child, with train_lm. */
static _Noreturn void become_train_lm(const sweep_jobs_t *jobs, const sweep_run_t *run,
                                      char *const *arguments)
{
    int file = open(sweep_path(jobs, run, "output.txt"), O_WRONLY | O_CREAT | O_TRUNC, 0666);

    if (file >= 0 && dup2(file, STDOUT_FILENO) >= 0 && dup2(file, STDERR_FILENO) >= 0) {
        execv(jobs->program, arguments);
        dprintf(STDERR_FILENO, "%s: %s\n", jobs->program, strerror(errno));
    }
    _exit(127);
}

static pid_t start(const sweep_jobs_t *jobs, const sweep_run_t *run)
{
    const bool resumes = prepare(jobs, run);
    char **arguments = cli_realloc(NULL, (run->num_arguments + 6) * sizeof(*arguments));
    char threads[64], output[4200], resume[4200];
    size_t n = 0;

    snprintf(threads, sizeof(threads), "--threads=%llu", (unsigned long long)jobs->threads);
    snprintf(output, sizeof(output), "--output-dir=%s", sweep_path(jobs, run, ""));
    snprintf(resume, sizeof(resume), "--resume=%s", sweep_path(jobs, run, ""));
    arguments[n++] = (char *)jobs->program;
    if (jobs->command != NULL)
        arguments[n++] = (char *)jobs->command;
    for (size_t i = 0; i < run->num_arguments; i++)
        arguments[n++] = run->arguments[i];
    arguments[n++] = threads;
    arguments[n++] = output;
    if (resumes)
        arguments[n++] = resume;
    arguments[n] = NULL;
    fflush(NULL);
    pid_t parent = getpid(), process = fork();
    if (process < 0)
        cli_fail("%s cannot be started: %s", jobs->program, strerror(errno));
    if (process == 0) {
        setpgid(0, 0);
        set_signals(SIG_DFL);
#ifdef __linux__
        prctl(PR_SET_PDEATHSIG, SIGTERM); /* so that no run outlives a sweep that was killed */
        if (getppid() != parent)
            _exit(127);
#endif
        become_train_lm(jobs, run, arguments);
    }
    (void)parent;
    free(arguments);
    return process;
}

/* Cuts line breaks off the end. */
static void cut_end(char *text)
{
    size_t size = strlen(text);

    while (size > 0 && text[size - 1] == '\n')
        text[--size] = '\0';
}

/* The last line of what train_lm printed, without the one about --help. The caller frees it. */
static char *last_line(const sweep_jobs_t *jobs, const sweep_run_t *run)
{
    size_t size;
    char *text = cli_read_text(&size, sweep_path(jobs, run, "output.txt"));

    cut_end(text);
    char *newline = strrchr(text, '\n');
    if (newline != NULL && strncmp(newline, "\nTry '", 6) == 0) {
        *newline = '\0';
        newline = strrchr(text, '\n');
    }
    if (newline != NULL)
        memmove(text, newline + 1, strlen(newline));
    return text;
}

static void note_failure(const sweep_jobs_t *jobs, const sweep_run_t *run)
{
    char *line = last_line(jobs, run);
    FILE *file = fopen(sweep_path(jobs, run, "failure.txt"), "w");

    if (file == NULL)
        cli_fail("%s: %s", sweep_path(jobs, run, "failure.txt"), strerror(errno));
    fprintf(file, "%s\n", line);
    cli_close_output(file, sweep_path(jobs, run, "failure.txt"));
    free(line);
}

/* The processes at work and what they run. */
typedef struct pool {
    const sweep_run_t *runs[MOST_JOBS];
    double began[MOST_JOBS];
    uint64_t busy;
} pool_t;

static void start_next(pool_t *pool, const sweep_jobs_t *jobs, const sweep_run_t *run)
{
    size_t place = 0;

    while (processes[place] != 0)
        place++;
    pool->runs[place] = run;
    pool->began[place] = cli_seconds();
    processes[place] = start(jobs, run);
    pool->busy++;
    if (caught != 0) /* the signal came before the process was in its place */
        kill(processes[place], SIGTERM);
}

/* Waits for a process to end. Returns its place, or MOST_JOBS after a signal. */
static size_t wait_for_one(pool_t *pool, const sweep_jobs_t *jobs)
{
    int status;
    pid_t process = waitpid(-1, &status, 0);

    if (process < 0 && errno != EINTR)
        cli_fail("waiting for train_lm: %s", strerror(errno));
    for (size_t place = 0; place < MOST_JOBS && process > 0; place++) {
        if (processes[place] != process)
            continue;
        processes[place] = 0;
        pool->busy--;
        const bool ended = WIFEXITED(status) && WEXITSTATUS(status) < 128;
        if (ended && WEXITSTATUS(status) == 127)
            cli_fail("%s did not start: see %s", jobs->program,
                     sweep_path(jobs, pool->runs[place], "output.txt"));
        if (ended && WEXITSTATUS(status) != 0)
            note_failure(jobs, pool->runs[place]);
        return place;
    }
    return MOST_JOBS;
}

int sweep_jobs_run(const sweep_jobs_t *jobs, const sweep_plan_t *plan,
                   void (*on_end)(void *user, const sweep_run_t *run, double seconds), void *user)
{
    static pool_t pool;
    size_t next = 0;

    cli_check_range("jobs", jobs->jobs, 1, MOST_JOBS);
    set_signals(on_signal);
    while (caught == 0 || pool.busy > 0) {
        for (; next < plan->num_runs && pool.busy < jobs->jobs && caught == 0; next++) {
            sweep_state_t state = sweep_state(jobs, &plan->runs[next]);

            if (state == SWEEP_OPEN || (state == SWEEP_FAILED && jobs->retry))
                start_next(&pool, jobs, &plan->runs[next]);
        }
        if (pool.busy == 0)
            break;
        size_t place = wait_for_one(&pool, jobs);
        if (place < MOST_JOBS)
            on_end(user, pool.runs[place], cli_seconds() - pool.began[place]);
    }
    set_signals(SIG_DFL);
    return caught;
}
