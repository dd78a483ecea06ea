/* What ends the main function of each Check program. */
#ifndef TEST_RUN_SUITE_H
#define TEST_RUN_SUITE_H

#include <check.h>

/* Runs all tests; the exit status. CK_NOFORK for those that start threads before a test does. */
static inline int run_suite(Suite *suite, enum fork_status fork_status)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    srunner_set_fork_status(runner, fork_status);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

#endif
