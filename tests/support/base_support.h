/* What the tests of the base layer share: a main function in one call. */
#ifndef TEST_BASE_SUPPORT_H
#define TEST_BASE_SUPPORT_H

#include "io_support.h"
#include "run_suite.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Runs the tests, each in a process of its own (settings of one do not reach another) with a
 * directory for files; the exit status. */
static inline int run_tests(const char *name, const TTest *const *tests, size_t n)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    int failed;

    for (size_t i = 0; i < n; i++)
        tcase_add_test(tcase, tests[i]);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return failed;
}

#endif
