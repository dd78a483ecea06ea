/* The range test. A loss is that of the weights before the step, so the rate of step t shows in the losses
 * after it. */
#include "support/range_test.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/cli_json.h"
#include "support/line_chart.h"

enum { FEWEST_STEPS = 20, NUM_LINES = 20 };

struct range_test {
    tlm_optimizer_t *optimizer;
    double *shares; /* the rate of each group, over the rate of the test */
    double low, high;
    uint64_t steps, done;
    double *losses, *smooth; /* by step */
    double sum, weights;     /* of the exponential mean */
    double lowest;           /* of the smooth losses */
};

static double rate_of(const range_test_t *test, uint64_t step)
{
    return test->low * pow(test->high / test->low, (double)step / (double)(test->steps - 1));
}

static void set_rates(const range_test_t *test, double rate)
{
    for (size_t i = 0; i < tlm_optimizer_num_groups(test->optimizer); i++)
        cli_check(tlm_optimizer_set_learning_rate(test->optimizer, i, rate * test->shares[i]));
}

range_test_t *range_test_start(tlm_optimizer_t *optimizer, double rate, double low, double high,
                               uint64_t steps)
{
    const size_t n = tlm_optimizer_num_groups(optimizer);

    if (!(low > 0.0 && low < high))
        cli_fail_usage("--range-low %g and --range-high %g: the first must be above 0 and below "
                       "the second",
                       low, high);
    if (steps < FEWEST_STEPS || steps > 1000000)
        cli_fail_usage("--range-test needs %d to 1000000 steps, not %" PRIu64, FEWEST_STEPS, steps);
    if (!(rate > 0.0))
        cli_fail_usage("--range-test needs a --rate above 0: other rates keep their ratio to it");
    range_test_t *test = cli_realloc(NULL, sizeof(*test));
    *test = (range_test_t){.optimizer = optimizer,
                           .shares = cli_realloc(NULL, n * sizeof(double)),
                           .low = low,
                           .high = high,
                           .steps = steps,
                           .losses = cli_realloc(NULL, (size_t)steps * sizeof(double)),
                           .smooth = cli_realloc(NULL, (size_t)steps * sizeof(double)),
                           .lowest = (double)INFINITY};
    for (size_t i = 0; i < n; i++) {
        cli_check(tlm_optimizer_learning_rate(&test->shares[i], optimizer, i));
        test->shares[i] /= rate;
    }
    set_rates(test, low);
    return test;
}

/* The exponential mean of the losses, over about a twentieth of the steps, without a bias to the first. */
static double smooth_loss(range_test_t *test, double loss)
{
    const double keep = 1.0 - 1.0 / fmax(2.0, (double)test->steps / 40.0);

    test->sum = keep * test->sum + loss;
    test->weights = keep * test->weights + 1.0;
    return test->sum / test->weights;
}

bool range_test_step(range_test_t *test, const tlm_train_step_t *step)
{
    if (test->done == test->steps)
        return true;
    test->losses[test->done++] = step->loss;
    const double smooth = smooth_loss(test, step->loss);
    test->smooth[test->done - 1] = smooth;
    test->lowest = fmin(test->lowest, smooth);
    if (test->done < test->steps)
        set_rates(test, rate_of(test, test->done));
    /* Half of what was gained is lost again, and more than at the start counts as well. */
    const double gained = test->smooth[0] - test->lowest;
    return test->done >= test->steps / 10 &&
           (smooth > test->lowest + fmax(0.5 * gained, 0.1 * fabs(test->smooth[0])));
}

/* ---- Results ---------------------------------------------------------------------------- */

/* The step with the lowest smooth loss. */
static uint64_t lowest_step(const range_test_t *test)
{
    uint64_t best = 0;

    for (uint64_t i = 1; i < test->done; i++)
        if (test->smooth[i] < test->smooth[best])
            best = i;
    return best;
}

/* The step before which the smooth loss fell fastest, over a tenth of the steps. */
static uint64_t steepest_step(const range_test_t *test, uint64_t end)
{
    const uint64_t stretch = test->steps / 10;
    uint64_t best = end;
    double most = 0.0;

    for (uint64_t i = stretch; i <= end; i++) {
        const double fall = test->smooth[i - stretch] - test->smooth[i];

        if (fall > most) {
            most = fall;
            best = i - stretch / 2;
        }
    }
    return best;
}

static FILE *open_file(char path[4200], const char *directory, const char *name)
{
    snprintf(path, 4200, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        cli_fail("%s: %s", path, strerror(errno));
    return file;
}

static void write_files(const range_test_t *test, const char *directory)
{
    curve_t losses = {NULL, 0, 0}, smooth = {NULL, 0, 0};
    const curve_t *curves[] = {&losses, &smooth};
    char path[4200];
    FILE *file = open_file(path, directory, "range-test.csv");

    fputs("learning_rate,loss,smooth_loss\n", file);
    for (uint64_t i = 0; i < test->done; i++) {
        fprintf(file, "%.9g,%.9g,%.9g\n", rate_of(test, i), test->losses[i], test->smooth[i]);
        curve_add(&losses, log10(rate_of(test, i)), test->losses[i]);
        curve_add(&smooth, log10(rate_of(test, i)), test->smooth[i]);
    }
    cli_close_output(file, path);
    file = open_file(path, directory, "range-test.svg");
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\">\n"
            "<style>svg { font: 12px system-ui, sans-serif } svg text { fill: #777 } "
            "svg .grid { stroke: #ddd } svg .curve { fill: none; stroke-width: 1.8 }</style>\n",
            LINE_CHART_WIDTH, LINE_CHART_HEIGHT);
    line_chart_write(file, curves, 2, "decimal logarithm of the learning rate", true);
    fputs("</svg>\n", file);
    cli_close_output(file, path);
    free(losses.points);
    free(smooth.points);
}

static void print_json(double steepest, double lowest)
{
    cli_result_t *result = cli_result_new();

    cli_result_add_text(result, "event", "range_test");
    cli_result_add_real(result, "steepest_rate", steepest);
    cli_result_add_real(result, "lowest_rate", lowest);
    cli_result_add_real(result, "suggested_rate", lowest / 10.0);
    cli_result_print(result);
}

void range_test_finish(range_test_t *test, const char *directory)
{
    if (test->done > 0) {
        const uint64_t lowest = lowest_step(test), steepest = steepest_step(test, lowest);
        const uint64_t stride = (test->done + NUM_LINES - 1) / NUM_LINES;

        cli_say("%12s %10s\n", "rate", "loss");
        for (uint64_t i = stride - 1; i < test->done; i += stride)
            cli_say("%12.3g %10.4f\n", rate_of(test, i), test->smooth[i]);
        cli_say("the loss falls fastest near a rate of %.2g, and is lowest at %.2g%s\n",
                rate_of(test, steepest), rate_of(test, lowest),
                lowest + 1 == test->done ? ", the last: try a larger --range-high" : "");
        /* Where the mean turns, the rate is past the largest that still teaches. */
        cli_say("suggested: --rate %.1g, a tenth of the latter; with a warm-up up to %.1g\n",
                rate_of(test, lowest) / 10.0, rate_of(test, lowest) / 3.0);
        if (cli_is_json())
            print_json(rate_of(test, steepest), rate_of(test, lowest));
        if (directory != NULL)
            write_files(test, directory);
    }
    free(test->shares);
    free(test->losses);
    free(test->smooth);
    free(test);
}
