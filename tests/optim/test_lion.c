/* Lion against its formula in float64. */
#include "optim_support.h"

START_TEST(lion_follows_its_formula)
{
    enum { SIZE = 203, STEPS = 20 };
    static const double cases[][4] = {/* rate, beta1, beta2, decay */
                                      {0.01, 0.9, 0.99, 0.5},
                                      {0.1, 0.0, 0.0, 0.0},
                                      {0.003, 0.95, 0.5, 0.25}};
    const double lr = cases[_i][0], beta1 = cases[_i][1], beta2 = cases[_i][2];
    const double decay = cases[_i][3];
    double theta[SIZE], m[SIZE] = {0};
    tlm_tensor_t *parameter = make_parameter(SIZE, 0);
    const float *actual = tlm_tensor_data(parameter);
    tlm_lion_options_t options = TLM_LION_OPTIONS_INIT;
    tlm_optimizer_t *optimizer;
    float gradient[SIZE];

    options.learning_rate = lr;
    options.beta1 = beta1;
    options.beta2 = beta2;
    options.weight_decay = decay;
    ASSERT_OK(tlm_optimizer_create_lion(&optimizer, NULL));
    ck_assert_str_eq(tlm_optimizer_kind(optimizer), "lion");
    ASSERT_OK(tlm_optimizer_add_lion_group(optimizer, &parameter, 1, &options));
    for (int i = 0; i < SIZE; i++)
        theta[i] = (double)actual[i];
    for (int t = 1; t <= STEPS; t++) {
        for (int i = 0; i < SIZE; i++)
            gradient[i] = i % 50 == 7 ? 0.0f : draw((uint64_t)t, i);
        set_gradient(parameter, gradient);
        ASSERT_OK(tlm_optimizer_step(optimizer));
        for (int i = 0; i < SIZE; i++) {
            double c = beta1 * m[i] + (1.0 - beta1) * (double)gradient[i];

            theta[i] -= lr * decay * theta[i];
            theta[i] -= lr * (double)((c > 0.0) - (c < 0.0));
            m[i] = beta2 * m[i] + (1.0 - beta2) * (double)gradient[i];
        }
    }
    for (int i = 0; i < SIZE; i++)
        assert_close((double)actual[i], theta[i], 3e-6);
    tlm_optimizer_free(optimizer);
    tlm_tensor_free(parameter);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lion");
    TCase *tcase = tcase_create("lion");

    tcase_add_loop_test(tcase, lion_follows_its_formula, 0, 3);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
