/* AdamW in its variants against float64 runs of their formulas. */
#include "optim_support.h"

enum { SIZE = 1003, STEPS = 12 };

/* One step of AdamW in float64, written as include/tinylm/optim.h has it. */
static void adamw_reference(double *theta, double *m, double *v, double g, double t,
                            const tlm_adamw_options_t *o)
{
    double lr = o->learning_rate, decay = lr * o->weight_decay;
    double c1 = 1.0 - pow(o->beta1, t), c2 = 1.0 - pow(o->beta2, t);

    *m = o->beta1 * *m + (1.0 - o->beta1) * g;
    *v = o->beta2 * *v + (1.0 - o->beta2) * g * g;
    switch (o->variant) {
    case TLM_ADAMW_CS336_2025:
        *theta -= lr * sqrt(c2) / c1 * *m / (sqrt(*v) + o->eps);
        *theta -= decay * *theta;
        break;
    case TLM_ADAMW_CS336_2026:
        *theta -= decay * *theta;
        *theta -= lr * sqrt(c2) / c1 * *m / (sqrt(*v) + o->eps);
        break;
    default: /* TLM_ADAMW_PYTORCH */
        *theta -= decay * *theta;
        *theta -= lr * (*m / c1) / (sqrt(*v / c2) + o->eps);
    }
}

/* Trains a parameter of SIZE elements; `theta` becomes what the reference makes of it. */
static tlm_tensor_t *train_adamw(double *theta, const tlm_adamw_options_t *options)
{
    static double m[SIZE], v[SIZE];
    static float gradient[SIZE];
    tlm_tensor_t *parameter = make_parameter(SIZE, 0);
    const float *actual = tlm_tensor_data(parameter);
    tlm_optimizer_t *optimizer;

    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, options));
    ASSERT_OK(tlm_optimizer_add_group(optimizer, &parameter, 1, NULL));
    for (int i = 0; i < SIZE; i++) {
        theta[i] = (double)actual[i];
        m[i] = v[i] = 0.0;
    }
    for (int t = 1; t <= STEPS; t++) {
        for (int i = 0; i < SIZE; i++)
            gradient[i] = i % 7 == 0 ? 0.0f : draw((uint64_t)t, i);
        set_gradient(parameter, gradient);
        ASSERT_OK(tlm_optimizer_step(optimizer));
        for (int i = 0; i < SIZE; i++)
            adamw_reference(&theta[i], &m[i], &v[i], (double)gradient[i], t, options);
    }
    ck_assert_uint_eq(tlm_optimizer_steps(optimizer), STEPS);
    tlm_optimizer_free(optimizer);
    return parameter;
}

START_TEST(adamw_follows_its_formulas)
{
    tlm_adamw_options_t cases[] = {
        TLM_ADAMW_OPTIONS_INIT,
        make_adamw(0.1, 0.9, 0.95, 1e-8, 0.1),
        make_adamw(0.01, 0.0, 0.0, 1e-3, 0.0),
        make_adamw(0.0, 0.9, 0.999, 1e-8, 0.5),
        make_adamw(1e-3, 0.9, 0.9999999, 1e-8, 0.01),
        make_adamw(0.1, 0.9, 0.999, 0.1, 0.5), /* an eps and a decay that tell the variants apart */
    };
    static double theta[SIZE];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        tlm_tensor_t *parameter;

        cases[i].variant = _i;
        parameter = train_adamw(theta, &cases[i]);
        for (int k = 0; k < SIZE; k++)
            assert_close((double)((float *)tlm_tensor_data(parameter))[k], theta[k], 3e-6);
        tlm_tensor_free(parameter);
    }
}
END_TEST

/* Were two of them one, the test above could not tell. */
START_TEST(variants_of_adamw_differ)
{
    tlm_adamw_options_t options = make_adamw(0.1, 0.9, 0.999, 0.1, 0.5);
    static double theta[SIZE];
    tlm_tensor_t *parameters[3];

    for (int32_t variant = 0; variant < 3; variant++) {
        options.variant = variant;
        parameters[variant] = train_adamw(theta, &options);
    }
    for (int i = 0; i < 3; i++) {
        const float *a = tlm_tensor_data(parameters[i]);
        const float *b = tlm_tensor_data(parameters[(i + 1) % 3]);
        float largest = 0.0f;

        for (int k = 0; k < SIZE; k++)
            largest = fmaxf(largest, fabsf(a[k] - b[k]));
        ck_assert(largest > 1e-3f);
    }
    for (int i = 0; i < 3; i++)
        tlm_tensor_free(parameters[i]);
}
END_TEST

START_TEST(an_older_options_struct_keeps_the_other_defaults)
{
    tlm_adamw_options_t options = {offsetof(tlm_adamw_options_t, beta1), 0.5, 9, 9, 9, 9, 9, 9};
    struct {
        tlm_adamw_options_t known;
        double future;
    } larger = {TLM_ADAMW_OPTIONS_INIT, 0.0};
    tlm_optimizer_t *optimizer;

    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, &options));
    tlm_optimizer_free(optimizer);
    larger.known.size = sizeof(larger);
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, &larger.known));
    tlm_optimizer_free(optimizer);
    larger.future = 1.0;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "64 bytes",
                 tlm_optimizer_create_adamw(&optimizer, &larger.known));
    options.size = 0;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "size is 0",
                 tlm_optimizer_create_adamw(&optimizer, &options));
    options.size = SIZE_MAX;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "size",
                 tlm_optimizer_create_adamw(&optimizer, &options));
}
END_TEST

/* tlm_adamw_update on memory of the caller's is the optimizer's step, to the bit. */
START_TEST(adamw_update_is_the_step)
{
    enum { LARGE = 70001, SMALL = 5 };
    static float gradient[LARGE];
    tlm_adamw_options_t options = make_adamw(0.01, 0.9, 0.95, 1e-8, 0.1);
    const int64_t sizes[2] = {LARGE, SMALL};
    tlm_tensor_t *expected[2], *parameters[2], *m[2], *v[2], *gradients[2];
    tlm_optimizer_t *optimizer;

    options.variant = _i;
    for (int i = 0; i < 2; i++) {
        expected[i] = make_parameter(sizes[i], (uint64_t)i);
        parameters[i] = make_parameter(sizes[i], (uint64_t)i);
        ASSERT_OK(tlm_tensor_create(&m[i], TLM_FLOAT32, &sizes[i], 1));
        ASSERT_OK(tlm_tensor_create(&v[i], TLM_FLOAT32, &sizes[i], 1));
        ASSERT_OK(tlm_tensor_create(&gradients[i], TLM_FLOAT32, &sizes[i], 1));
    }
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, &options));
    ASSERT_OK(tlm_optimizer_add_group(optimizer, expected, 2, NULL));
    for (uint64_t step = 1; step <= 4; step++) {
        for (int i = 0; i < LARGE; i++)
            gradient[i] = draw(10 + step, i);
        for (int i = 0; i < 2; i++) {
            set_gradient(expected[i], gradient);
            ASSERT_OK(tlm_tensor_copy_in(gradients[i], gradient, (size_t)sizes[i]));
        }
        ASSERT_OK(tlm_optimizer_step(optimizer));
        ASSERT_OK(tlm_adamw_update(parameters, m, v, gradients, 2, step, &options));
    }
    for (int i = 0; i < 2; i++)
        ck_assert_mem_eq(tlm_tensor_data(parameters[i]), tlm_tensor_data(expected[i]),
                         sizeof(float) * (size_t)sizes[i]);

    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "step 0",
                 tlm_adamw_update(parameters, m, v, gradients, 2, 0, NULL));
    ASSERT_FAILS(TLM_ERR_SHAPE, "v 0 has shape (5), but its parameter has shape (70001)",
                 tlm_adamw_update(parameters, m, &v[1], gradients, 1, 1, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "gradient 0",
                 tlm_adamw_update(parameters, m, v, (tlm_tensor_t *[]){NULL}, 1, 1, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "m",
                 tlm_adamw_update(parameters, NULL, v, gradients, 1, 1, NULL));
    ASSERT_OK(tlm_adamw_update(NULL, NULL, NULL, NULL, 0, 1, NULL));
    tlm_tensor_t *result;
    ASSERT_OK(tlm_scale(&result, parameters[0], 2.0f));
    ASSERT_FAILS(TLM_ERR_STATE, "parameter 0 is the result of an op",
                 tlm_adamw_update(&result, m, v, gradients, 1, 1, NULL));
    tlm_tensor_free(result);
    ((float *)tlm_tensor_data(gradients[1]))[4] = INFINITY;
    ASSERT_FAILS(TLM_ERR_NON_FINITE, "parameter 1 is inf at element 4",
                 tlm_adamw_update(parameters, m, v, gradients, 2, 5, &options));
    ck_assert_mem_eq(tlm_tensor_data(parameters[0]), tlm_tensor_data(expected[0]),
                     sizeof(float) * LARGE);
    tlm_optimizer_free(optimizer);
    for (int i = 0; i < 2; i++) {
        tlm_tensor_free(expected[i]);
        tlm_tensor_free(parameters[i]);
        tlm_tensor_free(m[i]);
        tlm_tensor_free(v[i]);
        tlm_tensor_free(gradients[i]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("adamw");
    TCase *tcase = tcase_create("adamw");

    tcase_add_loop_test(tcase, adamw_follows_its_formulas, 0, 3);
    tcase_add_test(tcase, variants_of_adamw_differ);
    tcase_add_test(tcase, an_older_options_struct_keeps_the_other_defaults);
    tcase_add_loop_test(tcase, adamw_update_is_the_step, 0, 3);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
