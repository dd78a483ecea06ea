/* What ends the main function of each Check program. */
#ifndef TEST_RUN_SUITE_H
#define TEST_RUN_SUITE_H

#include <check.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The locale that the environment asks for, where run_in_locales.sh runs the suite: its numbers must have
 * something else than a point. Those of musl, which knows the names of locales alone, never do: status 77. */
static inline void use_test_locale(void)
{
    const char *name = getenv("TINYLM_TEST_LOCALE");

    if (name == NULL)
        return;
    if (setlocale(LC_ALL, name) == NULL || strcmp(localeconv()->decimal_point, ".") == 0) {
#if defined(__linux__) && !defined(__GLIBC__)
        printf("skipped: this C library has no locale without a decimal point\n");
        exit(77);
#endif
        fprintf(stderr, "no locale %s, or one with a decimal point\n", name);
        exit(2);
    }
}

/* Runs all tests; the exit status. CK_NOFORK for those that start threads before a test does. */
static inline int run_suite(Suite *suite, enum fork_status fork_status)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    use_test_locale();
    srunner_set_fork_status(runner, fork_status);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

#endif
