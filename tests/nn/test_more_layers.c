/* Linear layers with a bias, LayerNorm and dropout against float64, with gradients; uniform initial
 * values. */
#include "gradcheck.h"
#include "run_suite.h"

#include "tinylm/nn.h"

#define OK(call) ck_assert_msg((call) == TLM_OK, "%s: %s", #call, tlm_error_message())

typedef struct rows_user {
    int64_t rows, d, n;
} rows_user_t;

static const rows_user_t cases[] = {{1, 1, 1}, {3, 5, 7}, {70, 33, 2}, {2, 130, 65}};
enum { NUM_CASES = sizeof(cases) / sizeof(*cases) };

/* ---- linear_bias ------------------------------------------------------------------------- */

static tlm_status_t run_linear(tlm_tensor_t **out, tlm_tensor_t **in, void *user)
{
    (void)user;
    return tlm_linear_bias(out, in[0], in[1], in[2]);
}

static void reference_linear(double *out, const double *const *in, void *user)
{
    const rows_user_t *u = user;
    for (int64_t i = 0; i < u->rows; i++)
        for (int64_t j = 0; j < u->n; j++) {
            double sum = in[2][j];
            for (int64_t k = 0; k < u->d; k++)
                sum += in[0][i * u->d + k] * in[1][j * u->d + k];
            out[i * u->n + j] = sum;
        }
}

START_TEST(test_linear_bias)
{
    rows_user_t user = cases[_i];
    for (int layout = 0; layout < GRADCHECK_NUM_LAYOUTS; layout++) {
        gradcheck_t check = {.name = "linear_bias",
                             .run = run_linear,
                             .reference = reference_linear,
                             .user = &user,
                             .num_inputs = 3,
                             .max_elements = 40};
        check.inputs[0] = (gradcheck_input_t){.shape = {user.rows, user.d}, .ndim = 2};
        check.inputs[1] = (gradcheck_input_t){.shape = {user.n, user.d}, .ndim = 2};
        check.inputs[2] = (gradcheck_input_t){.shape = {user.n}, .ndim = 1};
        check.inputs[0].layout = (gradcheck_layout_t)layout;
        check.inputs[2].constant = layout == 2;
        gradcheck(&check);
    }
}
END_TEST

/* ---- layer_norm -------------------------------------------------------------------------- */

static tlm_status_t run_norm(tlm_tensor_t **out, tlm_tensor_t **in, void *user)
{
    (void)user;
    return tlm_layer_norm(out, in[0], in[1], in[2], 1e-3f);
}

static void reference_norm(double *out, const double *const *in, void *user)
{
    const rows_user_t *u = user;
    for (int64_t i = 0; i < u->rows; i++) {
        const double *x = in[0] + i * u->d;
        double mean = 0, variance = 0;
        for (int64_t k = 0; k < u->d; k++)
            mean += x[k] / (double)u->d;
        for (int64_t k = 0; k < u->d; k++)
            variance += (x[k] - mean) * (x[k] - mean) / (double)u->d;
        for (int64_t k = 0; k < u->d; k++)
            out[i * u->d + k] = (x[k] - mean) / sqrt(variance + 1e-3) * in[1][k] + in[2][k];
    }
}

START_TEST(test_layer_norm)
{
    rows_user_t user = cases[_i];
    for (int layout = 0; layout < GRADCHECK_NUM_LAYOUTS; layout++) {
        gradcheck_t check = {.name = "layer_norm",
                             .run = run_norm,
                             .reference = reference_norm,
                             .user = &user,
                             .num_inputs = 3,
                             .max_elements = 40};
        check.inputs[0] = (gradcheck_input_t){.shape = {user.rows, user.d}, .ndim = 2};
        check.inputs[1] = (gradcheck_input_t){.shape = {user.d}, .ndim = 1};
        check.inputs[2] = (gradcheck_input_t){.shape = {user.d}, .ndim = 1};
        check.inputs[0].layout = (gradcheck_layout_t)layout;
        gradcheck(&check);
    }
}
END_TEST

/* ---- dropout ----------------------------------------------------------------------------- */

enum { LARGE = 1 << 18 };

static tlm_tensor_t *ones(int32_t ndim, const int64_t *shape)
{
    tlm_tensor_t *tensor;
    OK(tlm_tensor_create(&tensor, TLM_FLOAT32, shape, ndim));
    for (int64_t i = 0; i < tlm_tensor_numel(tensor); i++)
        ((float *)tlm_tensor_data(tensor))[i] = 1.0f;
    return tensor;
}

START_TEST(test_dropout_share)
{
    static const double rates[] = {0.0, 0.1, 0.5, 0.875};
    tlm_tensor_t *x = ones(2, (int64_t[]){LARGE / 67, 67});
    const double n = (double)tlm_tensor_numel(x);
    for (int r = 0; r < 4; r++) {
        tlm_tensor_t *y;
        int64_t dropped = 0;
        OK(tlm_dropout(&y, x, rates[r], 5, 6));
        for (int64_t i = 0; i < tlm_tensor_numel(y); i++) {
            const float value = ((float *)tlm_tensor_data(y))[i];
            dropped += value == 0.0f;
            ck_assert(value == 0.0f || value == (float)(1.0 / (1.0 - rates[r])));
        }
        /* Five standard deviations of a binomial distribution. */
        ck_assert(fabs((double)dropped / n - rates[r]) <=
                  5 * sqrt(rates[r] * (1 - rates[r]) / n) + 1e-5 * (rates[r] > 0));
        tlm_tensor_free(y);
    }
    tlm_tensor_free(x);
}
END_TEST

/* The gradient goes where values went, with the same factor, whatever the layout and the threads;
 * other seeds and streams drop others. */
START_TEST(test_dropout_places)
{
    const int64_t shape[] = {300, 41};
    static float first[300 * 41], got[300 * 41];
    int32_t threads = tlm_num_threads();
    for (int round = 0; round < 4; round++) {
        tlm_tensor_t *x = ones(2, shape), *y, *sum;
        OK(tlm_tensor_set_requires_grad(x, true));
        OK(tlm_set_num_threads(round + 1));
        OK(tlm_dropout(&y, x, 0.25, 9, round == 3 ? 8 : 7));
        OK(tlm_tensor_copy_out(got, sizeof(got) / sizeof(*got), y));
        if (round == 0)
            memcpy(first, got, sizeof(got));
        else
            ck_assert_int_eq(memcmp(first, got, sizeof(got)) == 0, round < 3);
        OK(tlm_sum(&sum, y));
        OK(tlm_tensor_backward(sum, NULL));
        ck_assert_mem_eq(tlm_tensor_data(tlm_tensor_grad(x)), got, sizeof(got));
        tlm_tensor_free(x);
        tlm_tensor_free(y);
        tlm_tensor_free(sum);
    }
    OK(tlm_set_num_threads(threads));
}
END_TEST

START_TEST(test_dropout_edges)
{
    static const double wrong[] = {-0.1, 1.0, 2.0, NAN, INFINITY};
    const float nan = NAN;
    tlm_tensor_t *x, *y = NULL;
    OK(tlm_tensor_from_data(&x, TLM_FLOAT32, &nan, NULL, 0));
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(tlm_dropout(&y, x, wrong[i], 0, 0), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_ptr_null(y);
    for (uint64_t seed = 0; seed < 20; seed++) { /* dropped is 0, even of NaN */
        OK(tlm_dropout(&y, x, 0.5, seed, 0));
        const float value = *(float *)tlm_tensor_data(y);
        ck_assert(value == 0.0f || isnan(value));
        tlm_tensor_free(y);
    }
    tlm_tensor_free(x);
}
END_TEST

/* ---- Refusals and initial values --------------------------------------------------------- */

START_TEST(test_refusals)
{
    tlm_tensor_t *x = ones(2, (int64_t[]){2, 3}), *w = ones(2, (int64_t[]){4, 3}), *y = NULL;
    tlm_tensor_t *three = ones(1, (int64_t[]){3}), *four = ones(1, (int64_t[]){4});
    ck_assert_int_eq(tlm_linear_bias(&y, x, w, three), TLM_ERR_SHAPE);
    ck_assert_str_eq(tlm_error_message(), "linear_bias: bias (3) does not fit weight (4, 3)");
    ck_assert_int_eq(tlm_linear_bias(&y, w, x, NULL), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_int_eq(tlm_linear_bias(&y, four, w, four), TLM_ERR_SHAPE);
    ck_assert_int_eq(tlm_layer_norm(&y, x, three, four, 1e-5f), TLM_ERR_SHAPE);
    ck_assert_str_eq(tlm_error_message(), "layer_norm: x (2, 3) does not fit bias (4)");
    ck_assert_int_eq(tlm_layer_norm(&y, x, three, three, -1.0f), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_int_eq(tlm_layer_norm(&y, x, three, three, NAN), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_int_eq(tlm_layer_norm(&y, x, NULL, three, 0.0f), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_ptr_null(y);
    tlm_tensor_free(x);
    tlm_tensor_free(w);
    tlm_tensor_free(three);
    tlm_tensor_free(four);
}
END_TEST

START_TEST(test_uniform)
{
    tlm_tensor_t *w = ones(1, (int64_t[]){100003}), *again = ones(1, (int64_t[]){100003});
    const float *values = tlm_tensor_data(w);
    double sum = 0;
    OK(tlm_init_uniform(w, -2, 1, 3, 4));
    OK(tlm_init_uniform(again, -2, 1, 3, 4));
    ck_assert_mem_eq(values, tlm_tensor_data(again), 100003 * sizeof(float));
    for (int i = 0; i < 100003; i++) {
        ck_assert(values[i] >= -2.0f && values[i] < 1.0f);
        sum += (double)values[i];
    }
    ck_assert(fabs(sum / 100003 + 0.5) < 5 * sqrt(9.0 / 12 / 100003));
    /* Numbers whose neighbors among float32 are far apart do not reach the limit. */
    OK(tlm_init_uniform(w, 16777216.0, 16777218.0, 3, 4));
    for (int i = 0; i < 100003; i++)
        ck_assert(values[i] == 16777216.0f);
    OK(tlm_init_uniform(w, 0.5, 0.5, 3, 4));
    ck_assert(values[17] == 0.5f);
    ck_assert_int_eq(tlm_init_uniform(w, 1, 0, 3, 4), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_int_eq(tlm_init_uniform(w, NAN, 0, 3, 4), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_int_eq(tlm_init_uniform(w, 0, INFINITY, 3, 4), TLM_ERR_INVALID_ARGUMENT);
    tlm_tensor_free(w);
    tlm_tensor_free(again);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("more_layers");
    TCase *tests = tcase_create("more_layers");
    tcase_set_timeout(tests, 120);
    suite_add_tcase(suite, tests);
    tcase_add_loop_test(tests, test_linear_bias, 0, NUM_CASES);
    tcase_add_loop_test(tests, test_layer_norm, 0, NUM_CASES);
    tcase_add_test(tests, test_dropout_share);
    tcase_add_test(tests, test_dropout_places);
    tcase_add_test(tests, test_dropout_edges);
    tcase_add_test(tests, test_refusals);
    tcase_add_test(tests, test_uniform);
    return run_suite(suite, CK_NOFORK);
}
