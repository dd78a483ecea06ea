/* Locks across a fork: a lock that another thread holds at that time is free in the child. */
#include "base_support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/process.h"

enum { FORKS = 20 };

static pthread_mutex_t locks[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static atomic_bool stop, begun;

static void *hold_locks(void *unused)
{
    (void)unused;
    while (!atomic_load(&stop)) {
        for (int i = 0; i < 2; i++)
            tlmi_hold_at_fork(&locks[i]);
        for (int i = 0; i < 2; i++)
            pthread_mutex_lock(&locks[i]);
        atomic_store(&begun, true);
        usleep(3000);
        for (int i = 1; i >= 0; i--)
            pthread_mutex_unlock(&locks[i]);
        usleep(100);
    }
    return NULL;
}

/* Exits with 0 if both locks can be taken, and the next fork works too. */
static void run_child(void)
{
    int status;

    for (int i = 0; i < 2; i++) {
        if (pthread_mutex_trylock(&locks[i]) != 0)
            _exit(1 + i);
        pthread_mutex_unlock(&locks[i]);
    }
    pid_t grandchild = fork();
    if (grandchild == 0)
        _exit(pthread_mutex_trylock(&locks[0]) == 0 ? 0 : 3);
    if (waitpid(grandchild, &status, 0) != grandchild || status != 0)
        _exit(4);
    _exit(0);
}

START_TEST(locks_are_free_in_the_child)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, hold_locks, NULL), 0);
    while (!atomic_load(&begun))
        usleep(100);
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        if (child == 0)
            run_child();
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "fork %d: status %d", i,
                      status);
    }
    atomic_store(&stop, true);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("process");
    TCase *tcase = tcase_create("process");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, locks_are_free_in_the_child);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
