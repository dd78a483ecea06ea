/* Optimizers of the public interface: groups, steps, clipping, and what they refuse. */
#include "optim_support.h"

/* ---- Formulas -------------------------------------------------------------------------------- */

enum { SIZE = 1003, STEPS = 12 };

START_TEST(sgd_follows_its_formula)
{
    static double theta[SIZE];
    static float gradient[SIZE];
    tlm_tensor_t *parameter = make_parameter(SIZE, 0);
    const float *actual = tlm_tensor_data(parameter);
    tlm_optimizer_t *optimizer;
    float *state;
    size_t n;

    ASSERT_OK(tlm_optimizer_create_sgd(&optimizer, 0.5));
    ASSERT_OK(tlm_optimizer_add_group(optimizer, &parameter, 1, NULL));
    for (int i = 0; i < SIZE; i++)
        theta[i] = (double)actual[i];
    for (int t = 0; t < STEPS; t++) {
        for (int i = 0; i < SIZE; i++)
            gradient[i] = draw((uint64_t)t + 1, i);
        set_gradient(parameter, gradient);
        ASSERT_OK(tlm_optimizer_step(optimizer));
        for (int i = 0; i < SIZE; i++)
            theta[i] -= 0.5 / sqrt(t + 1.0) * (double)gradient[i];
    }
    for (int i = 0; i < SIZE; i++)
        assert_close((double)actual[i], theta[i], 3e-6);
    ck_assert_str_eq(tlm_optimizer_kind(optimizer), "sgd");
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "sgd", tlm_optimizer_state(&state, &n, optimizer, 0, "m"));
    tlm_optimizer_free(optimizer);
    tlm_tensor_free(parameter);
}
END_TEST

START_TEST(groups_have_their_own_hyper_parameters)
{
    tlm_group_options_t options = TLM_GROUP_OPTIONS_INIT;
    const float gradient[3] = {1.0f, -2.0f, 0.5f};
    tlm_tensor_t *a = make_parameter(3, 0), *b = make_parameter(3, 0), *c = make_parameter(3, 0);
    const float *values[3] = {tlm_tensor_data(a), tlm_tensor_data(b), tlm_tensor_data(c)};
    float before[3], *state;
    tlm_optimizer_t *optimizer;
    tlm_tensor_t *found;
    double rate;
    size_t n;

    memcpy(before, values[0], sizeof(before));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_group(optimizer, &a, 1, NULL));
    options.has_learning_rate = options.has_weight_decay = true;
    options.learning_rate = 0.25;
    ASSERT_OK(tlm_optimizer_add_group(optimizer, (tlm_tensor_t *[]){b, c}, 2, &options));
    ck_assert_uint_eq(tlm_optimizer_num_groups(optimizer), 2);
    ck_assert_uint_eq(tlm_optimizer_num_parameters(optimizer), 3);
    ASSERT_OK(tlm_optimizer_parameter(&found, optimizer, 2));
    ck_assert_ptr_eq(found, c);
    set_gradient(a, gradient);
    set_gradient(b, gradient);
    ASSERT_OK(tlm_optimizer_step(optimizer));
    for (int i = 0; i < 3; i++) {
        /* The first step of Adam is the sign of the gradient times the rate, nearly. */
        double sign = gradient[i] > 0.0f ? 1.0 : -1.0;
        double theta = (double)before[i];

        assert_close((double)values[0][i], (theta - 1e-3 * sign) * (1.0 - 1e-5), 1e-6);
        assert_close((double)values[1][i], theta - 0.25 * sign, 1e-6);
        ck_assert(values[2][i] == before[i]); /* no gradient: passed over */
    }
    ASSERT_OK(tlm_optimizer_state(&state, &n, optimizer, 1, "v"));
    ck_assert_uint_eq(n, 3);
    assert_close((double)state[1], 4.0 * 0.001, 1e-6);
    ASSERT_OK(tlm_optimizer_learning_rate(&rate, optimizer, 1));
    ck_assert_double_eq(rate, 0.25);
    ASSERT_OK(tlm_optimizer_set_learning_rate(optimizer, TLM_ALL_GROUPS, 0.125));
    ASSERT_OK(tlm_optimizer_set_learning_rate(optimizer, 1, 0.5));
    ASSERT_OK(tlm_optimizer_learning_rate(&rate, optimizer, 0));
    ck_assert_double_eq(rate, 0.125);
    tlm_optimizer_zero_grad(optimizer);
    ck_assert_ptr_null(tlm_tensor_grad(a));
    tlm_optimizer_free(optimizer);
    tlm_tensor_free(a);
    tlm_tensor_free(b);
    tlm_tensor_free(c);
}
END_TEST

/* Groups of several kinds in one optimizer are each updated by their own. */
START_TEST(an_optimizer_may_hold_groups_of_several_kinds)
{
    tlm_adamw_options_t options = make_adamw(0.25, 0.9, 0.999, 1e-8, 0.0);
    const float gradient[3] = {1.0f, -2.0f, 0.5f};
    tlm_tensor_t *a = make_parameter(3, 0), *b = make_parameter(3, 0);
    const float *by_sgd = tlm_tensor_data(a), *by_adamw = tlm_tensor_data(b);
    tlm_optimizer_t *optimizer;
    const char *name = NULL;
    float before[3];
    double value;

    memcpy(before, by_sgd, sizeof(before));
    ASSERT_OK(tlm_optimizer_create_sgd(&optimizer, 0.5));
    ASSERT_OK(tlm_optimizer_add_group(optimizer, &a, 1, NULL));
    ASSERT_OK(tlm_optimizer_add_adamw_group(optimizer, &b, 1, &options));
    set_gradient(a, gradient);
    set_gradient(b, gradient);
    ASSERT_OK(tlm_optimizer_step(optimizer));
    for (int i = 0; i < 3; i++) {
        assert_close((double)by_sgd[i], (double)(before[i] - 0.5f * gradient[i]), 1e-6);
        assert_close((double)by_adamw[i], (double)(before[i] - copysignf(0.25f, gradient[i])),
                     1e-6);
    }
    ck_assert_str_eq(tlm_optimizer_kind(optimizer), "sgd");
    ASSERT_FAILS(TLM_ERR_RANGE, "no buffer 0; there are 0",
                 tlm_optimizer_state_name(&name, optimizer, 0, 0));
    ASSERT_FAILS(TLM_ERR_RANGE, "no parameter 2; there are 2",
                 tlm_optimizer_state_name(&name, optimizer, 2, 0));
    ck_assert_ptr_null(name);
    ASSERT_OK(tlm_optimizer_state_name(&name, optimizer, 1, 1));
    ck_assert_str_eq(name, "v");
    /* One of the groups has no weight decay: neither changes. */
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "sgd",
                 tlm_optimizer_set_weight_decay(optimizer, TLM_ALL_GROUPS, 0.5));
    ASSERT_OK(tlm_optimizer_weight_decay(&value, optimizer, 1));
    ck_assert(value == 0.0);
    ASSERT_OK(tlm_optimizer_set_weight_decay(optimizer, 1, 0.5));
    ASSERT_OK(tlm_optimizer_set_weight_decay(optimizer, 0, 0.0));
    ASSERT_OK(tlm_optimizer_weight_decay(&value, optimizer, 1));
    ck_assert(value == 0.5);
    tlm_optimizer_free(optimizer);
    tlm_tensor_free(a);
    tlm_tensor_free(b);
}
END_TEST

/* ---- Refusals -------------------------------------------------------------------------------- */

START_TEST(hyper_parameters_are_checked)
{
    static const double bad[] = {-1e-9, (double)NAN, (double)INFINITY, -(double)INFINITY};
    static const size_t fields[] = {
        offsetof(tlm_adamw_options_t, learning_rate), offsetof(tlm_adamw_options_t, beta1),
        offsetof(tlm_adamw_options_t, beta2),         offsetof(tlm_adamw_options_t, eps),
        offsetof(tlm_adamw_options_t, weight_decay),
    };
    tlm_adamw_options_t options;
    tlm_optimizer_t *optimizer = NULL, *good;
    double rate = 7.0;

    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < 5; j++) {
            options = (tlm_adamw_options_t)TLM_ADAMW_OPTIONS_INIT;
            memcpy((char *)&options + fields[j], &bad[i], sizeof(double));
            ck_assert_int_eq(tlm_optimizer_create_adamw(&optimizer, &options),
                             TLM_ERR_INVALID_ARGUMENT);
        }
        ck_assert_int_eq(tlm_optimizer_create_sgd(&optimizer, bad[i]), TLM_ERR_INVALID_ARGUMENT);
        ck_assert_int_eq(tlm_cosine_schedule(&rate, 0, bad[i], 0.0, 1, 2),
                         TLM_ERR_INVALID_ARGUMENT);
        ck_assert_int_eq(tlm_cosine_schedule(&rate, 0, 1.0, bad[i], 1, 2),
                         TLM_ERR_INVALID_ARGUMENT);
        ck_assert_int_eq(tlm_clip_grad_norm(&rate, NULL, 0, bad[i]), TLM_ERR_INVALID_ARGUMENT);
    }
    for (int32_t variant = -1; variant <= 3; variant += 4) {
        options = (tlm_adamw_options_t)TLM_ADAMW_OPTIONS_INIT;
        options.variant = variant;
        ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "is not in 0 .. 2",
                     tlm_optimizer_create_adamw(&optimizer, &options));
        ck_assert_int_eq(tlm_adamw_update(NULL, NULL, NULL, NULL, 0, 1, &options),
                         TLM_ERR_INVALID_ARGUMENT);
    }
    options = (tlm_adamw_options_t)TLM_ADAMW_OPTIONS_INIT;
    options.reserved = 1;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "reserved",
                 tlm_optimizer_create_adamw(&optimizer, &options));
    options = (tlm_adamw_options_t)TLM_ADAMW_OPTIONS_INIT;
    options.beta2 = 1.0;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "beta2 1",
                 tlm_optimizer_create_adamw(&optimizer, &options));
    ck_assert_ptr_null(optimizer);
    ck_assert(rate == 7.0);
    ASSERT_OK(tlm_optimizer_create_adamw(&good, NULL));
    ASSERT_FAILS(TLM_ERR_RANGE, "no group 0; there are 0",
                 tlm_optimizer_set_learning_rate(good, 0, 1.0));
    ASSERT_FAILS(TLM_ERR_RANGE, "no group 0; there are 0",
                 tlm_optimizer_learning_rate(&rate, good, 0));
    ASSERT_FAILS(TLM_ERR_RANGE, "no group 0; there are 0",
                 tlm_optimizer_set_weight_decay(good, 0, 1.0));
    ASSERT_FAILS(TLM_ERR_RANGE, "no group 0; there are 0",
                 tlm_optimizer_weight_decay(&rate, good, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "learning_rate nan",
                 tlm_optimizer_set_learning_rate(good, TLM_ALL_GROUPS, (double)NAN));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "weight_decay nan",
                 tlm_optimizer_set_weight_decay(good, TLM_ALL_GROUPS, (double)NAN));
    tlm_optimizer_free(good);
}
END_TEST

START_TEST(groups_are_checked)
{
    tlm_group_options_t options = TLM_GROUP_OPTIONS_INIT;
    const int64_t shape[2] = {2, 3};
    tlm_tensor_t *a = make_parameter(3, 0), *b = make_parameter(4, 0), *sum, *ids, *matrix, *turned;
    tlm_optimizer_t *optimizer, *sgd;

    ASSERT_OK(tlm_add(&sum, a, a));
    ASSERT_OK(tlm_tensor_create(&ids, TLM_INT32, shape, 2));
    ASSERT_OK(tlm_tensor_create(&matrix, TLM_FLOAT32, shape, 2));
    ASSERT_OK(tlm_transpose(&turned, matrix, 0, 1));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_create_sgd(&sgd, 1.0));
    ASSERT_OK(tlm_optimizer_add_group(optimizer, &a, 1, NULL));
    ASSERT_FAILS(TLM_ERR_STATE, "tensor 1 is already parameter 0",
                 tlm_optimizer_add_group(optimizer, (tlm_tensor_t *[]){b, a}, 2, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "tensors 0 and 1",
                 tlm_optimizer_add_group(optimizer, (tlm_tensor_t *[]){b, b}, 2, NULL));
    ASSERT_FAILS(TLM_ERR_STATE, "not a leaf", tlm_optimizer_add_group(optimizer, &sum, 1, NULL));
    ck_assert_int_lt(tlm_optimizer_add_group(optimizer, &ids, 1, NULL), 0);
    ck_assert_int_lt(tlm_optimizer_add_group(optimizer, (tlm_tensor_t *[]){NULL}, 1, NULL), 0);
    ck_assert_int_lt(tlm_optimizer_add_group(optimizer, &turned, 1, NULL), 0);
    options.has_weight_decay = true;
    options.weight_decay = 0.5;
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "sgd", tlm_optimizer_add_group(sgd, &b, 1, &options));
    options.weight_decay = -0.5;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "weight_decay -0.5",
                 tlm_optimizer_add_group(optimizer, &b, 1, &options));
    options.has_weight_decay = false;
    options.reserved[5] = 1;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "reserved",
                 tlm_optimizer_add_group(optimizer, &b, 1, &options));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL",
                 tlm_optimizer_add_adamw_group(NULL, &b, 1, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_optimizer_add_group(NULL, &b, 1, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "NULL", tlm_optimizer_add_group(sgd, NULL, 1, NULL));
    ck_assert_uint_eq(tlm_optimizer_num_groups(optimizer), 1);
    ck_assert_uint_eq(tlm_optimizer_num_parameters(optimizer), 1);
    ASSERT_OK(tlm_optimizer_add_group(optimizer, NULL, 0, NULL));
    ck_assert_uint_eq(tlm_optimizer_num_groups(optimizer), 2);
    tlm_optimizer_free(sgd);
    tlm_optimizer_free(optimizer);
    tlm_optimizer_free(NULL);
    tlm_tensor_free(turned);
    tlm_tensor_free(matrix);
    tlm_tensor_free(ids);
    tlm_tensor_free(sum);
    tlm_tensor_free(a);
    tlm_tensor_free(b);
}
END_TEST

START_TEST(a_step_with_a_bad_gradient_changes_nothing)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static float gradient[SIZE], before[SIZE];
    tlm_tensor_t *parameters[2] = {make_parameter(5, 0), make_parameter(SIZE, 1)};
    const float five[5] = {1, 1, 1, 1, 1};
    tlm_optimizer_t *optimizer;
    float *m;
    size_t n;

    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_group(optimizer, parameters, 2, NULL));
    memcpy(before, tlm_tensor_data(parameters[1]), sizeof(before));
    for (int i = 0; i < SIZE; i++)
        gradient[i] = 1e30f; /* large, and its square beyond float32, but finite */
    gradient[777] = bad[_i];
    set_gradient(parameters[0], five);
    set_gradient(parameters[1], gradient);
    ASSERT_FAILS(TLM_ERR_NON_FINITE, "parameter 1", tlm_optimizer_step(optimizer));
    ck_assert_ptr_nonnull(strstr(tlm_error_message(), "777"));
    ck_assert_int_eq(memcmp(before, tlm_tensor_data(parameters[1]), sizeof(before)), 0);
    ASSERT_OK(tlm_optimizer_state(&m, &n, optimizer, 0, "m"));
    ck_assert(m[0] == 0.0f);
    ck_assert_uint_eq(tlm_optimizer_steps(optimizer), 0);
    ASSERT_FAILS(TLM_ERR_NON_FINITE, "parameter 1", tlm_clip_grad_norm(NULL, parameters, 2, 1.0));
    ck_assert(((float *)tlm_tensor_data(tlm_tensor_grad(parameters[0])))[0] == 1.0f);
    tlm_optimizer_free(optimizer);
    tlm_tensor_free(parameters[0]);
    tlm_tensor_free(parameters[1]);
}
END_TEST

/* ---- Clipping ------------------------------------------------------------------- */

START_TEST(clipping_scales_to_the_norm)
{
    static float gradient[100000];
    tlm_tensor_t *tensors[3] = {make_parameter(100000, 0), make_parameter(2, 1),
                                make_parameter(4, 2)};
    const float two[2] = {3.0f, -4.0f};
    const float *clipped;
    double sum = 25.0, norm, expected;

    for (int i = 0; i < 100000; i++) {
        gradient[i] = draw(9, i);
        sum += (double)gradient[i] * (double)gradient[i];
    }
    set_gradient(tensors[0], gradient);
    set_gradient(tensors[1], two); /* the third has none */
    expected = sqrt(sum);
    ASSERT_OK(tlm_clip_grad_norm(&norm, tensors, 3, expected + 1.0));
    assert_close(norm, expected, 1e-12);
    clipped = tlm_tensor_data(tlm_tensor_grad(tensors[1]));
    ck_assert(clipped[0] == 3.0f && clipped[1] == -4.0f);
    ASSERT_OK(tlm_clip_grad_norm(NULL, tensors, 3, 0.5));
    assert_close((double)clipped[1], -4.0 * 0.5 / (expected + 1e-6), 1e-7);
    ASSERT_OK(tlm_clip_grad_norm(&norm, tensors, 3, 1e9));
    assert_close(norm, 0.5, 1e-5);
    ck_assert_ptr_null(tlm_tensor_grad(tensors[2]));
    ASSERT_OK(tlm_clip_grad_norm(&norm, NULL, 0, 1.0));
    ck_assert(norm == 0.0);
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "tensors 0 and 1",
                 tlm_clip_grad_norm(&norm, (tlm_tensor_t *[]){tensors[0], tensors[0]}, 2, 1.0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "tensor 0 is NULL",
                 tlm_clip_grad_norm(&norm, (tlm_tensor_t *[]){NULL}, 1, 1.0));
    for (int i = 0; i < 3; i++)
        tlm_tensor_free(tensors[i]);
}
END_TEST

START_TEST(clipping_of_tensors_themselves)
{
    static float gradient[70000];
    tlm_tensor_t *parameters[2] = {make_parameter(70000, 0), make_parameter(3, 1)};
    tlm_tensor_t *tensors[2], *view;
    double norm, expected;

    for (int i = 0; i < 70000; i++)
        gradient[i] = draw(2, i);
    for (int i = 0; i < 2; i++) {
        set_gradient(parameters[i], gradient);
        ASSERT_OK(tlm_tensor_from_data(&tensors[i], TLM_FLOAT32, gradient,
                                       tlm_tensor_shape(parameters[i]), 1));
    }
    ASSERT_OK(tlm_clip_grad_norm(&expected, parameters, 2, 0.5));
    ASSERT_OK(tlm_clip_norm(&norm, tensors, 2, 0.5));
    ck_assert(norm == expected);
    for (int i = 0; i < 2; i++)
        ck_assert_mem_eq(tlm_tensor_data(tensors[i]),
                         tlm_tensor_data(tlm_tensor_grad(parameters[i])),
                         sizeof(float) * (size_t)tlm_tensor_numel(tensors[i]));
    ASSERT_OK(tlm_clip_norm(NULL, NULL, 0, 1.0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "max_norm -1", tlm_clip_norm(NULL, tensors, 2, -1.0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "tensor 0 is NULL",
                 tlm_clip_norm(NULL, (tlm_tensor_t *[]){NULL}, 1, 1.0));
    ASSERT_OK(tlm_reshape(&view, tensors[0], (const int64_t[]){700, 100}, 2));
    tlm_tensor_free(parameters[0]);
    ASSERT_OK(tlm_transpose(&parameters[0], view, 0, 1));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "tensor 0 is a view",
                 tlm_clip_norm(NULL, parameters, 1, 1.0));
    ((float *)tlm_tensor_data(tensors[1]))[1] = NAN;
    ASSERT_FAILS(TLM_ERR_NON_FINITE, "parameter 1 is nan at element 1",
                 tlm_clip_norm(NULL, tensors, 2, 1.0));
    tlm_tensor_free(view);
    for (int i = 0; i < 2; i++) {
        tlm_tensor_free(parameters[i]);
        tlm_tensor_free(tensors[i]);
    }
}
END_TEST

/* Several updates with clipping, on a number of threads. */
static void train(float *out, int64_t n, int32_t threads)
{
    tlm_tensor_t *parameter = make_parameter(n, 0);
    float *gradient = malloc((size_t)n * sizeof(float));
    tlm_optimizer_t *optimizer;

    ASSERT_OK(tlm_set_num_threads(threads));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_group(optimizer, &parameter, 1, NULL));
    for (uint64_t t = 1; t <= 4; t++) {
        for (int64_t i = 0; i < n; i++)
            gradient[i] = draw(t, i);
        set_gradient(parameter, gradient);
        ASSERT_OK(tlm_clip_grad_norm(NULL, &parameter, 1, 1.0));
        ASSERT_OK(tlm_optimizer_step(optimizer));
    }
    memcpy(out, tlm_tensor_data(parameter), (size_t)n * sizeof(float));
    ASSERT_OK(tlm_set_num_threads(0));
    free(gradient);
    tlm_optimizer_free(optimizer);
    tlm_tensor_free(parameter);
}

START_TEST(threads_do_not_change_a_bit)
{
    enum { N = 150001 };
    static float one[N], other[N];

    train(one, N, 1);
    for (int32_t threads = 2; threads <= 4; threads++) {
        train(other, N, threads);
        ck_assert_int_eq(memcmp(one, other, sizeof(one)), 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("optimizer");
    TCase *tcase = tcase_create("optimizer");

    tcase_add_test(tcase, sgd_follows_its_formula);
    tcase_add_test(tcase, groups_have_their_own_hyper_parameters);
    tcase_add_test(tcase, an_optimizer_may_hold_groups_of_several_kinds);
    tcase_add_test(tcase, hyper_parameters_are_checked);
    tcase_add_test(tcase, groups_are_checked);
    tcase_add_loop_test(tcase, a_step_with_a_bad_gradient_changes_nothing, 0, 3);
    tcase_add_test(tcase, clipping_scales_to_the_norm);
    tcase_add_test(tcase, clipping_of_tensors_themselves);
    tcase_add_test(tcase, threads_do_not_change_a_bit);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
