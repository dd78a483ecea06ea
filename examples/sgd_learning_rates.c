/* How the learning rate affects SGD: ten steps on the mean of squares of a 10 x 10 matrix that starts
 * as 5 * randn, with rates 1, 10, 100 and 1000.
 *
 * The gradient of mean(w^2) is w / 50 and the rate decays, so step t multiplies w by
 * 1 - rate / (50 sqrt(t + 1)). This is a little below 1 for rate 1, and further below for 10. For 100 it
 * is -1 at first, which does not change the loss, and then rises to 0 at t = 3: the fastest decay of all.
 * For 1000 it starts at -19 and stays far below -1, so the weights grow without bound. */
#include <math.h>

#include "support/cli.h"

enum { SIDE = 10, STEPS = 10 };

/* mean(w^2) at each step, before the update. */
static void run(double losses[STEPS], double learning_rate, uint64_t seed)
{
    static const int64_t shape[2] = {SIDE, SIDE};
    tlm_tensor_t *weights, *squares, *loss;
    tlm_optimizer_t *optimizer;

    cli_check(tlm_tensor_create(&weights, TLM_FLOAT32, shape, 2));
    /* For 100 numbers, a normal distribution cut at 8 sigma is as good as one that is not cut. */
    cli_check(tlm_init_truncated_normal(weights, 5.0, 8.0, seed, 0));
    cli_check(tlm_tensor_set_requires_grad(weights, true));
    cli_check(tlm_optimizer_create_sgd(&optimizer, learning_rate));
    cli_check(tlm_optimizer_add_group(optimizer, &weights, 1, NULL));
    for (int t = 0; t < STEPS; t++) {
        float value;

        tlm_optimizer_zero_grad(optimizer);
        cli_check(tlm_mul(&squares, weights, weights));
        cli_check(tlm_mean(&loss, squares));
        cli_check(tlm_tensor_item(&value, loss));
        losses[t] = (double)value;
        cli_check(tlm_tensor_backward(loss, NULL));
        cli_check(tlm_optimizer_step(optimizer));
        tlm_tensor_free(loss);
        tlm_tensor_free(squares);
    }
    tlm_optimizer_free(optimizer);
    tlm_tensor_free(weights);
}

static uint64_t seed;

static const cli_option_t options[] = {
    {"seed", CLI_COUNT, &seed, HELP_SEED ", of the initial weights", false}};

static int compare_rates(int n, char **operands)
{
    static const double rates[] = {1.0, 10.0, 100.0, 1000.0};
    enum { RATES = sizeof(rates) / sizeof(rates[0]) };
    double losses[RATES][STEPS];

    (void)n;
    (void)operands;
    printf("step");
    for (int i = 0; i < RATES; i++) {
        run(losses[i], rates[i], seed);
        printf("   rate %-5g", rates[i]);
    }
    putchar('\n');
    for (int t = 0; t < STEPS; t++) {
        printf("%4d", t);
        for (int i = 0; i < RATES; i++)
            printf("  %11.4g", losses[i][t]);
        putchar('\n');
    }
    for (int i = 0; i < RATES; i++) {
        double ratio = losses[i][STEPS - 1] / losses[i][0];

        printf("rate %-4g: the loss %s, to %.3g of its first value\n", rates[i],
               ratio < 1.0 ? "decays" : "diverges", ratio);
    }
    return 0;
}

const cli_program_t sgd_learning_rates_program = {
    .summary = "Shows how SGD decays or diverges with the learning rate.",
    .options = options,
    .num_options = sizeof(options) / sizeof(options[0]),
    .name = "sgd_learning_rates",
    .brief = "show how SGD decays or diverges with the learning rate",
    .run = compare_rates,
};

CLI_MAIN(sgd_learning_rates_program)
