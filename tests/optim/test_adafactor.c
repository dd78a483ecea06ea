/* Adafactor against its formula in float64. */
#include "optim_support.h"

enum { MOST = 20000, STEPS = 12 };

/* A tensor of `matrices` matrices, or a vector if rows is 0; the options; and how large gradients are. */
typedef struct adafactor_case {
    int64_t matrices, rows, columns;
    double rate, power, min_rms, threshold, decay;
    float size;
} adafactor_case_t;

static const adafactor_case_t cases[] = {
    {1, 7, 5, 0.01, 0.8, 1e-3, 1.0, 0.0, 1.0f},    {1, 1, 300, 0.5, 0.8, 1e-3, 1.0, 0.1, 1.0f},
    {1, 300, 1, 0.5, 0.5, 10.0, 0.25, 0.0, 1e-3f}, {1, 40, 333, 0.05, 0.8, 1e-3, 2.0, 0.5, 1e3f},
    {3, 5, 130, 0.05, 1.0, 1e-3, 0.5, 0.0, 1.0f},  {1, 0, 9, 0.01, 0.8, 1e-3, 1.0, 0.1, 1.0f},
    {1, 0, 9000, 0.5, 0.9, 1e-3, 0.1, 0.0, 1.0f},  {1, 1, 1, 0.01, 0.8, 1e-3, 0.0, 0.0, 1.0f}};

/* Updates v, what is divided by the root of, from the states and the gradient. */
static void estimate(double *v, double *row, double *column, const adafactor_case_t *c,
                     const float *g, double weight)
{
    const int64_t m = c->rows, n = c->columns;

    for (int64_t i = 0; i < n && m == 0; i++) {
        row[i] += weight * ((double)g[i] * (double)g[i] - row[i]);
        v[i] = row[i];
    }
    for (int64_t b = 0; b < c->matrices && m > 0; b++) {
        double *r = row + b * m, *q = column + b * n, mean = 0.0;

        for (int64_t i = 0; i < m; i++) {
            double sum = 0.0;

            for (int64_t j = 0; j < n; j++)
                sum += pow((double)g[(b * m + i) * n + j], 2.0);
            r[i] += weight * (sum / (double)n - r[i]);
            mean += r[i] / (double)m;
        }
        for (int64_t j = 0; j < n; j++) {
            double sum = 0.0;

            for (int64_t i = 0; i < m; i++)
                sum += pow((double)g[(b * m + i) * n + j], 2.0);
            q[j] += weight * (sum / (double)m - q[j]);
        }
        for (int64_t k = 0; k < m * n; k++)
            v[b * m * n + k] = r[k / n] * q[k % n] / mean;
    }
}

static double rms(const double *x, int64_t n)
{
    double sum = 0.0;

    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sqrt(sum / (double)n);
}

/* One step of the formula. */
static void reference_step(double *theta, double *row, double *column, const adafactor_case_t *c,
                           const float *g, int64_t n, int t)
{
    static double v[MOST], u[MOST];
    const double alpha = fmax(c->min_rms, rms(theta, n)) * fmin(c->rate, 1.0 / sqrt((double)t));

    estimate(v, row, column, c, g, pow((double)t, -c->power));
    for (int64_t i = 0; i < n; i++)
        u[i] = (double)g[i] / sqrt(fmax(v[i], pow(1.1920928955078125e-07, 2.0)));
    const double excess = c->threshold > 0.0 ? fmax(1.0, rms(u, n) / c->threshold) : 1.0;
    for (int64_t i = 0; i < n; i++)
        theta[i] = theta[i] * (1.0 - c->rate * c->decay) - alpha * u[i] / excess;
}

START_TEST(adafactor_follows_its_formula)
{
    static double theta[MOST], row[MOST], column[MOST];
    static float gradient[MOST];
    const adafactor_case_t *c = &cases[_i];
    const int64_t shape[] = {c->matrices, c->rows, c->columns};
    const int32_t ndim = c->rows == 0 ? 1 : (c->matrices > 1 ? 3 : 2);
    const int64_t n = c->matrices * (c->rows == 0 ? 1 : c->rows) * c->columns;
    tlm_adafactor_options_t options = TLM_ADAFACTOR_OPTIONS_INIT;
    tlm_optimizer_t *optimizer;
    tlm_tensor_t *parameter;

    ASSERT_OK(tlm_tensor_create(&parameter, TLM_FLOAT32, shape + 3 - ndim, ndim));
    ASSERT_OK(tlm_tensor_set_requires_grad(parameter, true));
    float *actual = tlm_tensor_data(parameter);
    for (int64_t i = 0; i < n; i++) {
        actual[i] = draw(0, i);
        theta[i] = (double)actual[i];
    }
    memset(row, 0, sizeof(row));
    memset(column, 0, sizeof(column));
    options.learning_rate = c->rate;
    options.power = c->power;
    options.min_rms = c->min_rms;
    options.threshold = c->threshold;
    options.weight_decay = c->decay;
    ASSERT_OK(tlm_optimizer_create_adafactor(&optimizer, &options));
    ck_assert_str_eq(tlm_optimizer_kind(optimizer), "adafactor");
    ASSERT_OK(tlm_optimizer_add_group(optimizer, &parameter, 1, NULL));
    for (int t = 1; t <= STEPS; t++) {
        for (int64_t i = 0; i < n; i++)
            gradient[i] = c->size * draw((uint64_t)t, i);
        set_gradient(parameter, gradient);
        ASSERT_OK(tlm_optimizer_step(optimizer));
        reference_step(theta, row, column, c, gradient, n, t);
    }
    for (int64_t i = 0; i < n; i++)
        assert_close((double)actual[i], theta[i], 1e-5);
    tlm_optimizer_free(optimizer);
    tlm_tensor_free(parameter);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("adafactor");
    TCase *tcase = tcase_create("adafactor");

    tcase_add_loop_test(tcase, adafactor_follows_its_formula, 0,
                        (int)(sizeof(cases) / sizeof(cases[0])));
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_FORK_GETENV);
}
