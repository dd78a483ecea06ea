/* A learning-rate range test (Smith 2017): the rate rises from step to step by the same factor, and the
 * losses show which rates teach fast and which are too large. */
#ifndef EXAMPLES_RANGE_TEST_H
#define EXAMPLES_RANGE_TEST_H

#include <stdbool.h>
#include <stdint.h>

#include "tinylm/tinylm.h"

typedef struct range_test range_test_t;

/* Starts a test of `steps` rates from low to high, of the optimizer's groups, which keep their ratios:
 * `rate` is what stands for the rate that groups have now. Ends the program unless 0 < low < high and there
 * are at least 20 steps. */
range_test_t *range_test_start(tlm_optimizer_t *optimizer, double rate, double low, double high,
                               uint64_t steps);

/* Takes the loss of a step and sets the rate of the next. Returns whether the loss has risen so far
 * that the test is over. */
bool range_test_step(range_test_t *test, const tlm_train_step_t *step);

/* Prints losses by rate, and a rate to train with. With a directory, writes range-test.csv and
 * range-test.svg into it. Frees the test. Errors end the program. */
void range_test_finish(range_test_t *test, const char *directory);

#endif
