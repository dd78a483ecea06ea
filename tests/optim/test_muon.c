/* Muon against its formula in float64, and the groups that it makes of a model. */
#include "model_support.h"
#include "optim_support.h"
#include "optim/optimizer_core.h"
#include "tinylm/train.h"

enum { MAX_SIDE = 160, STEPS = 4 };

typedef double matrix_t[MAX_SIDE * MAX_SIDE];

typedef struct shape {
    int64_t rows, columns;
} shape_t;

static const shape_t shapes[] = {{96, 96}, {150, 64}, {37, 131}, {1, 20},
                                 {20, 1},  {1, 1},    {129, 129}};

enum { NUM_SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static tlm_tensor_t *make_matrix(int64_t rows, int64_t columns)
{
    tlm_tensor_t *flat = make_parameter(rows * columns, 3), *matrix;

    ASSERT_OK(tlm_tensor_set_requires_grad(flat, false));
    ASSERT_OK(tlm_reshape(&matrix, flat, (const int64_t[]){rows, columns}, 2));
    ASSERT_OK(tlm_tensor_set_requires_grad(matrix, true));
    tlm_tensor_free(flat);
    return matrix;
}

/* C (m, n) = A (m, k) B (k, n); B is given as its transpose if `transposed`. */
static void multiply(double *c, const double *a, const double *b, int64_t m, int64_t n, int64_t k,
                     bool transposed)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0.0;

            for (int64_t p = 0; p < k; p++)
                sum += a[i * k + p] * (transposed ? b[j * k + p] : b[p * n + j]);
            c[i * n + j] = sum;
        }
}

/* X <- (a I + b X X^T + c (X X^T)^2) X, which needs no case for tall matrices: there X X^T is only
 * the longer way. */
static void reference_orthogonalize(double *x, shape_t shape, double eps, int iterations)
{
    static matrix_t gram, square, first, second;
    int64_t n = shape.rows * shape.columns, rows = shape.rows;
    double norm = 0.0;

    for (int64_t i = 0; i < n; i++)
        norm += x[i] * x[i];
    for (int64_t i = 0; i < n; i++)
        x[i] /= fmax(sqrt(norm), eps);
    for (int t = 0; t < iterations; t++) {
        multiply(gram, x, x, rows, rows, shape.columns, true);
        multiply(square, gram, gram, rows, rows, rows, false);
        multiply(first, gram, x, rows, shape.columns, rows, false);
        multiply(second, square, x, rows, shape.columns, rows, false);
        for (int64_t i = 0; i < n; i++)
            x[i] = 3.4445 * x[i] - 4.775 * first[i] + 2.0315 * second[i];
    }
}

typedef struct reference {
    matrix_t theta, m;
} reference_t;

static void reference_step(reference_t *r, const float *gradient, shape_t shape,
                           const tlm_muon_options_t *options)
{
    static matrix_t direction;
    double rows = (double)shape.rows, columns = (double)shape.columns, mu = options->momentum;
    double scale = options->scale == TLM_MUON_SCALE_JORDAN ? sqrt(fmax(1.0, rows / columns))
                                                           : 0.2 * sqrt(fmax(rows, columns));

    for (int64_t i = 0; i < shape.rows * shape.columns; i++) {
        double g = (double)gradient[i];

        r->m[i] = mu * r->m[i] + (1.0 - mu) * g;
        direction[i] = options->nesterov ? mu * r->m[i] + (1.0 - mu) * g : r->m[i];
    }
    reference_orthogonalize(direction, shape, options->eps, options->iterations);
    for (int64_t i = 0; i < shape.rows * shape.columns; i++) {
        r->theta[i] *= 1.0 - options->learning_rate * options->weight_decay;
        r->theta[i] -= options->learning_rate * scale * direction[i];
    }
}

/* Every option away from its default, in turn and together. */
static tlm_muon_options_t options_at(int variant)
{
    tlm_muon_options_t options = TLM_MUON_OPTIONS_INIT;

    options.learning_rate = 0.02;
    if (variant & 1)
        options.nesterov = false;
    if (variant & 2)
        options.scale = TLM_MUON_SCALE_JORDAN;
    if (variant & 4) {
        options.momentum = 0.5;
        options.iterations = 3;
        options.weight_decay = 0.75;
        options.eps = 40.0; /* above the norms here */
    }
    return options;
}

START_TEST(steps_follow_the_formula)
{
    const shape_t shape = shapes[_i % NUM_SHAPES];
    const int64_t n = shape.rows * shape.columns;
    static reference_t reference;
    static float gradient[MAX_SIDE * MAX_SIDE];
    tlm_muon_options_t options = options_at(_i / NUM_SHAPES);
    tlm_tensor_t *parameter = make_matrix(shape.rows, shape.columns);
    const float *actual = tlm_tensor_data(parameter);
    tlm_optimizer_t *optimizer;

    memset(&reference, 0, sizeof(reference));
    ASSERT_OK(tlm_optimizer_create_muon(&optimizer, &options, NULL));
    ASSERT_OK(tlm_optimizer_add_group(optimizer, &parameter, 1, NULL));
    for (int64_t i = 0; i < n; i++)
        reference.theta[i] = (double)actual[i];
    for (uint64_t t = 1; t <= STEPS; t++) {
        for (int64_t i = 0; i < n; i++)
            gradient[i] = draw(t, i);
        set_gradient(parameter, gradient);
        ASSERT_OK(tlm_optimizer_step(optimizer));
        reference_step(&reference, gradient, shape, &options);
    }
    for (int64_t i = 0; i < n; i++)
        assert_close((double)actual[i], reference.theta[i], 2e-6);
    tlm_optimizer_free(optimizer);
    tlm_tensor_free(parameter);
}
END_TEST

/* The singular values of an orthogonal factor are near 1, however small those of the gradient are:
 * then the squares of all elements sum to about the shorter side. */
START_TEST(directions_are_orthogonal)
{
    tlm_muon_options_t options = TLM_MUON_OPTIONS_INIT;
    tlm_tensor_t *parameter = make_matrix(48, 120);
    static float gradient[48 * 120];
    tlm_optimizer_t *optimizer;
    double sum = 0.0;

    options.learning_rate = 1.0;
    options.weight_decay = 1.0; /* so that the parameter becomes the step */
    options.scale = TLM_MUON_SCALE_JORDAN;
    for (int i = 0; i < 48 * 120; i++)
        gradient[i] = 1e-12f * draw(5, i);
    options.eps = 0.0;
    ASSERT_OK(tlm_optimizer_create_muon(&optimizer, &options, NULL));
    ASSERT_OK(tlm_optimizer_add_group(optimizer, &parameter, 1, NULL));
    set_gradient(parameter, gradient);
    ASSERT_OK(tlm_optimizer_step(optimizer));
    for (int i = 0; i < 48 * 120; i++) {
        double step = (double)((const float *)tlm_tensor_data(parameter))[i];

        sum += step * step;
    }
    ck_assert(sum > 0.5 * 48.0 && sum < 1.5 * 48.0);
    tlm_optimizer_free(optimizer);
    tlm_tensor_free(parameter);
}
END_TEST

/* A gradient of zeros has no direction; the matrix only decays. With eps = 0 too. */
START_TEST(zero_gradients_do_not_become_nan)
{
    static const float zeros[12 * 7];

    for (int i = 0; i < 2; i++) {
        tlm_muon_options_t options = TLM_MUON_OPTIONS_INIT;
        tlm_tensor_t *parameter = make_matrix(12, 7);
        float before = ((float *)tlm_tensor_data(parameter))[5];
        tlm_optimizer_t *optimizer;

        options.eps = i == 0 ? options.eps : 0.0;
        options.learning_rate = 0.5;
        ASSERT_OK(tlm_optimizer_create_muon(&optimizer, &options, NULL));
        ASSERT_OK(tlm_optimizer_add_group(optimizer, &parameter, 1, NULL));
        set_gradient(parameter, zeros);
        ASSERT_OK(tlm_optimizer_step(optimizer));
        assert_close((double)((float *)tlm_tensor_data(parameter))[5], 0.95 * (double)before, 1e-6);
        tlm_optimizer_free(optimizer);
        tlm_tensor_free(parameter);
    }
}
END_TEST

START_TEST(other_tensors_are_refused)
{
    static const int64_t cube[3] = {2, 3, 4};
    tlm_tensor_t *vector = make_parameter(8, 1), *tensor;
    tlm_optimizer_t *optimizer;

    ASSERT_OK(tlm_tensor_create(&tensor, TLM_FLOAT32, cube, 3));
    ASSERT_OK(tlm_optimizer_create_muon(&optimizer, NULL, NULL));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "shape (8)",
                 tlm_optimizer_add_group(optimizer, &vector, 1, NULL));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "shape (2, 3, 4)",
                 tlm_optimizer_add_muon_group(optimizer, &tensor, 1, NULL));
    ck_assert_uint_eq(tlm_optimizer_num_groups(optimizer), 0);
    ASSERT_OK(tlm_optimizer_add_adamw_group(optimizer, &vector, 1, NULL));
    tlm_optimizer_free(optimizer);
    tlm_tensor_free(vector);
    tlm_tensor_free(tensor);
}
END_TEST

START_TEST(a_matrix_without_elements_is_fine)
{
    static const int64_t sizes[][2] = {{0, 3}, {3, 0}, {0, 0}};

    for (int i = 0; i < 3; i++) {
        tlm_tensor_t *parameter, *sum;
        tlm_optimizer_t *optimizer;

        ASSERT_OK(tlm_tensor_create(&parameter, TLM_FLOAT32, sizes[i], 2));
        ASSERT_OK(tlm_tensor_set_requires_grad(parameter, true));
        ASSERT_OK(tlm_sum(&sum, parameter));
        ASSERT_OK(tlm_tensor_backward(sum, NULL));
        tlm_tensor_free(sum);
        ASSERT_OK(tlm_optimizer_create_muon(&optimizer, NULL, NULL));
        ASSERT_OK(tlm_optimizer_add_group(optimizer, &parameter, 1, NULL));
        ASSERT_OK(tlm_optimizer_step(optimizer));
        tlm_optimizer_free(optimizer);
        tlm_tensor_free(parameter);
    }
}
END_TEST

static tlm_model_t *make_model(void)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model;

    options.vocab_size = 11;
    options.context_length = 8;
    options.d_model = 16;
    options.num_layers = 2;
    options.num_heads = 2;
    options.d_ff = 24;
    ASSERT_OK(tlm_model_create(&model, &options));
    return model;
}

static const tlmi_group_t *group_of(const tlm_optimizer_t *optimizer, const tlm_tensor_t *tensor)
{
    for (size_t i = 0; i < optimizer->num_parameters; i++)
        if (optimizer->parameters[i].tensor == tensor)
            return &optimizer->groups[optimizer->parameters[i].group];
    ck_abort_msg("a parameter is in no group");
}

/* Hidden matrices go to Muon, and all else to AdamW, each with its options. */
START_TEST(a_model_is_divided)
{
    tlm_adamw_options_t rest = TLM_ADAMW_OPTIONS_INIT;
    tlm_muon_options_t options = TLM_MUON_OPTIONS_INIT;
    tlm_model_t *model = make_model();
    tlm_tensor_t *const *tensors;
    tlm_optimizer_t *optimizer;
    double rate = 0.5;
    size_t n, muon = 0;

    options.learning_rate = 0.02;
    rest.learning_rate = 0.005;
    rest.weight_decay = 0.25;
    ASSERT_OK(tlm_optimizer_create_muon(&optimizer, &options, &rest));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, TLM_NO_DECAY_NORMS, NULL));
    ck_assert_uint_eq(tlm_optimizer_num_groups(optimizer), 3); /* Muon decays all that it has */
    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    for (size_t i = 0; i < n; i++) {
        const char *name;
        ASSERT_OK(tlm_model_parameter_name(&name, model, i));
        const tlmi_group_t *group = group_of(optimizer, tensors[i]);
        bool hidden = strncmp(name, "layers.", 7) == 0 && tlm_tensor_ndim(tensors[i]) == 2;

        ck_assert_msg((group->kind == &tlmi_muon_kind) == hidden, "%s", name);
        ck_assert_msg(hidden || group->kind == &tlmi_adamw_kind, "%s", name);
        ck_assert(group->learning_rate == (hidden ? 0.02 : 0.005));
        ck_assert(group->weight_decay == (hidden                             ? 0.1
                                          : tlm_tensor_ndim(tensors[i]) == 1 ? 0.0
                                                                             : 0.25));
        muon += hidden;
    }
    ck_assert_uint_eq(muon, 2 * 7);
    /* A schedule's rate is Muon's; AdamW keeps the ratio. */
    ASSERT_OK(tlmi_optimizer_step(optimizer, &rate, true));
    for (size_t i = 0; i < optimizer->num_groups; i++) {
        double factor = optimizer->groups[i].kind == &tlmi_muon_kind ? 1.0 : 0.25;

        ck_assert(optimizer->groups[i].learning_rate == 0.5 * factor);
    }
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
}
END_TEST

/* Changes of the group's options reach both kinds; without options for the rest it follows Muon. */
START_TEST(options_of_groups_reach_the_rest)
{
    tlm_group_options_t options = TLM_GROUP_OPTIONS_INIT;
    tlm_model_t *model = make_model();
    tlm_optimizer_t *optimizer;
    double rate = 1.0;

    options.has_learning_rate = options.has_weight_decay = true;
    options.learning_rate = 0.125;
    options.weight_decay = 0.5;
    options.rate_factor = 3.0;
    ASSERT_OK(tlm_optimizer_create_muon(&optimizer, NULL, NULL));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, 0, &options));
    ck_assert_uint_eq(optimizer->num_groups, 2);
    for (size_t i = 0; i < 2; i++) {
        ck_assert(optimizer->groups[i].learning_rate == 0.125);
        ck_assert(optimizer->groups[i].weight_decay == 0.5);
    }
    ASSERT_OK(tlmi_optimizer_step(optimizer, &rate, true));
    for (size_t i = 0; i < 2; i++)
        ck_assert(optimizer->groups[i].learning_rate == 3.0);
    /* What fails leaves no group behind. */
    ASSERT_FAILS(TLM_ERR_STATE, "already", tlm_optimizer_add_model(optimizer, model, 0, NULL));
    ck_assert_uint_eq(optimizer->num_groups, 2);
    options.rate_factor = -1.0;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "rate_factor -1",
                 tlm_optimizer_add_group(optimizer, NULL, 0, &options));
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("muon");
    TCase *tcase = tcase_create("muon");

    tcase_add_loop_test(tcase, steps_follow_the_formula, 0, 8 * NUM_SHAPES);
    tcase_add_test(tcase, directions_are_orthogonal);
    tcase_add_test(tcase, zero_gradients_do_not_become_nan);
    tcase_add_test(tcase, other_tensors_are_refused);
    tcase_add_test(tcase, a_matrix_without_elements_is_fine);
    tcase_add_test(tcase, a_model_is_divided);
    tcase_add_test(tcase, options_of_groups_reach_the_rest);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
