/* Linear, embedding, RMSNorm, SiLU, SwiGLU, RoPE and softmax against float64, with gradients. */
#include "gradcheck.h"
#include "run_suite.h"

#include "tinylm/nn.h"

typedef struct layer_case {
    int64_t outer, time, d_in, d_out;
} layer_case_t;

static const layer_case_t cases[] = {{1, 1, 2, 1}, {2, 3, 4, 5}, {3, 7, 18, 11}, {1, 70, 66, 33}};
#define NUM_CASES (int)(sizeof cases / sizeof *cases)

static void for_layouts(gradcheck_t *check)
{
    for (int layout = 0; layout < GRADCHECK_NUM_LAYOUTS; layout++) {
        for (int i = 0; i < check->num_inputs; i++)
            check->inputs[i].layout = check->inputs[i].ndim >= 2 ? layout : GRADCHECK_CONTIGUOUS;
        gradcheck(check);
    }
}

/* ---- linear ---- */

static tlm_status_t run_linear(tlm_tensor_t **out, tlm_tensor_t **in, void *user)
{
    return tlm_linear(out, in[0], in[1]);
}

static void linear64(double *out, const double *x, const double *w, int64_t rows, int64_t d_in,
                     int64_t d_out)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < d_out; j++) {
            double sum = 0;
            for (int64_t k = 0; k < d_in; k++)
                sum += x[i * d_in + k] * w[j * d_in + k];
            out[i * d_out + j] = sum;
        }
}

static void reference_linear(double *out, const double *const *in, void *user)
{
    const layer_case_t *c = user;
    linear64(out, in[0], in[1], c->outer * c->time, c->d_in, c->d_out);
}

START_TEST(test_linear)
{
    const layer_case_t *c = &cases[_i];
    gradcheck_t check = {.name = "linear",
                         .run = run_linear,
                         .reference = reference_linear,
                         .user = (void *)(uintptr_t)c,
                         .num_inputs = 2,
                         .inputs = {{.shape = {c->outer, c->time, c->d_in}, .ndim = 3},
                                    {.shape = {c->d_out, c->d_in}, .ndim = 2}}};
    for_layouts(&check);
}
END_TEST

/* ---- embedding ---- */

static const uint32_t ids[] = {3, 0, 3, 4, 3, 1};

static tlm_status_t run_embedding(tlm_tensor_t **out, tlm_tensor_t **in, void *user)
{
    tlm_tensor_t *index;
    const int64_t shape[] = {2, 3};
    tlm_status_t status = tlm_tensor_from_data(&index, TLM_UINT32, ids, shape, 2);
    if (status == TLM_OK) {
        status = tlm_embedding(out, in[0], index);
        tlm_tensor_free(index);
    }
    return status;
}

static void reference_embedding(double *out, const double *const *in, void *user)
{
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 7; j++)
            out[i * 7 + j] = in[0][ids[i] * 7 + j];
}

/* A row's result has the same bits whatever rows it stands among, as long as they are at most 4 or at
 * least 5: those two take different kernels, and differ by rounding only. docs/ops.md says so. */
START_TEST(test_linear_rows)
{
    enum { MOST = 60, D_IN = 1100 };
    static const int64_t widths[] = {1, 3, 4, 5, 40};
    for (size_t w = 0; w < sizeof(widths) / sizeof(*widths); w++) {
        tlm_tensor_t *all, *weight;
        float few[40], many[40], got[MOST * 40];
        int64_t d_out = widths[w];
        ck_assert_int_eq(TLM_OK, tlm_tensor_create(&all, TLM_FLOAT32, (int64_t[]){MOST, D_IN}, 2));
        ck_assert_int_eq(TLM_OK,
                         tlm_tensor_create(&weight, TLM_FLOAT32, (int64_t[]){d_out, D_IN}, 2));
        ck_assert_int_eq(TLM_OK, tlm_init_truncated_normal(all, 1, 3, 1, 0));
        ck_assert_int_eq(TLM_OK, tlm_init_truncated_normal(weight, 0.05, 3, 2, 0));
        for (int64_t rows = 1; rows <= MOST; rows++) {
            tlm_tensor_t *x, *y;
            float *want = rows <= 4 ? few : many;
            ck_assert_int_eq(TLM_OK, tlm_slice(&x, all, 0, MOST - rows, MOST));
            ck_assert_int_eq(TLM_OK, tlm_linear(&y, x, weight));
            ck_assert_int_eq(TLM_OK, tlm_tensor_copy_out(got, (size_t)(rows * d_out), y));
            const float *last = got + (rows - 1) * d_out;
            if (rows == 1 || rows == 5)
                memcpy(want, last, (size_t)d_out * sizeof(float));
            ck_assert_mem_eq(last, want, (size_t)d_out * sizeof(float));
            tlm_tensor_free(x);
            tlm_tensor_free(y);
        }
        for (int64_t i = 0; i < d_out; i++)
            ck_assert(fabsf(few[i] - many[i]) <= (d_out <= 4 ? 0 : 1e-5f));
        tlm_tensor_free(all);
        tlm_tensor_free(weight);
    }
}
END_TEST

START_TEST(test_embedding)
{
    gradcheck_t check = {.name = "embedding",
                         .run = run_embedding,
                         .reference = reference_embedding,
                         .num_inputs = 1,
                         .inputs = {{.shape = {5, 7}, .ndim = 2}}};
    for_layouts(&check);
}
END_TEST

/* ---- rms_norm ---- */

static tlm_status_t run_norm(tlm_tensor_t **out, tlm_tensor_t **in, void *user)
{
    return tlm_rms_norm(out, in[0], in[1], 1e-5f);
}

static void reference_norm(double *out, const double *const *in, void *user)
{
    const layer_case_t *c = user;
    for (int64_t i = 0; i < c->outer * c->time; i++) {
        const double *x = in[0] + i * c->d_in;
        double squares = 0;
        for (int64_t j = 0; j < c->d_in; j++)
            squares += x[j] * x[j];
        double rms = sqrt(squares / (double)c->d_in + (double)1e-5f);
        for (int64_t j = 0; j < c->d_in; j++)
            out[i * c->d_in + j] = x[j] / rms * in[1][j];
    }
}

START_TEST(test_rms_norm)
{
    const layer_case_t *c = &cases[_i];
    gradcheck_t check = {.name = "rms_norm",
                         .run = run_norm,
                         .reference = reference_norm,
                         .user = (void *)(uintptr_t)c,
                         .num_inputs = 2,
                         .inputs = {{.shape = {c->outer, c->time, c->d_in}, .ndim = 3},
                                    {.shape = {c->d_in}, .ndim = 1, .low = 0.5, .high = 1.5}}};
    for_layouts(&check);
}
END_TEST

/* ---- silu, silu_mul, swiglu ---- */

static double silu64(double x)
{
    return x / (1 + exp(-x));
}

static tlm_status_t run_silu(tlm_tensor_t **out, tlm_tensor_t **in, void *user)
{
    return tlm_silu(out, in[0]);
}

static void reference_silu(double *out, const double *const *in, void *user)
{
    for (int i = 0; i < 5 * 37; i++)
        out[i] = silu64(in[0][i]);
}

static tlm_status_t run_silu_mul(tlm_tensor_t **out, tlm_tensor_t **in, void *user)
{
    return tlm_silu_mul(out, in[0], in[user == NULL ? 1 : 0]);
}

static void reference_silu_mul(double *out, const double *const *in, void *user)
{
    for (int i = 0; i < 5 * 37; i++)
        out[i] = silu64(in[0][i]) * in[user == NULL ? 1 : 0][i];
}

START_TEST(test_silu)
{
    gradcheck_t check = {.name = "silu",
                         .run = run_silu,
                         .reference = reference_silu,
                         .num_inputs = 1,
                         .inputs = {{.shape = {5, 37}, .ndim = 2, .low = -9, .high = 9},
                                    {.shape = {5, 37}, .ndim = 2, .low = -3, .high = 3}}};
    for_layouts(&check);
    check.name = "silu_mul";
    check.run = run_silu_mul;
    check.reference = reference_silu_mul;
    check.num_inputs = 2;
    for_layouts(&check);
    for (int i = 0; i < 2; i++) {
        check.inputs[0].constant = i == 0;
        check.inputs[1].constant = i == 1;
        gradcheck(&check);
    }
    check.name = "silu_mul of one tensor";
    check.num_inputs = 1;
    check.inputs[0].constant = false;
    check.user = &check;
    for_layouts(&check);
}
END_TEST

static tlm_status_t run_swiglu(tlm_tensor_t **out, tlm_tensor_t **in, void *user)
{
    return tlm_swiglu(out, in[0], in[1], in[2], in[3]);
}

static void reference_swiglu(double *out, const double *const *in, void *user)
{
    const layer_case_t *c = user;
    int64_t rows = c->outer * c->time, n = rows * c->d_out;
    double *gate = malloc((size_t)n * sizeof *gate), *up = malloc((size_t)n * sizeof *up);
    linear64(gate, in[0], in[1], rows, c->d_in, c->d_out);
    linear64(up, in[0], in[3], rows, c->d_in, c->d_out);
    for (int64_t i = 0; i < n; i++)
        gate[i] = silu64(gate[i]) * up[i];
    linear64(out, gate, in[2], rows, c->d_out, c->d_in);
    free(gate);
    free(up);
}

START_TEST(test_swiglu)
{
    const layer_case_t *c = &cases[_i];
    gradcheck_t check = {.name = "swiglu",
                         .run = run_swiglu,
                         .reference = reference_swiglu,
                         .user = (void *)(uintptr_t)c,
                         .num_inputs = 4,
                         .inputs = {{.shape = {c->outer, c->time, c->d_in}, .ndim = 3},
                                    {.shape = {c->d_out, c->d_in}, .ndim = 2},
                                    {.shape = {c->d_in, c->d_out}, .ndim = 2},
                                    {.shape = {c->d_out, c->d_in}, .ndim = 2}}};
    for_layouts(&check);
}
END_TEST

/* ---- rope ---- */

typedef struct rope_case {
    int64_t shape[4];
    int32_t ndim;
    const int64_t *positions; /* NULL: none */
    int64_t positions_shape[3];
    int32_t positions_ndim;
} rope_case_t;

static const int64_t some_positions[] = {5, 0, 100000, 17, 2, 3, 4, 5, 5, 1000, 1, 9};

static const rope_case_t rope_cases[] = {
    {{3, 4}, 2, NULL, {0}, 0},
    {{2, 5, 6}, 3, NULL, {0}, 0},
    {{2, 3, 4, 2}, 4, some_positions, {4}, 1},
    {{2, 3, 2, 6}, 4, some_positions, {2, 3, 2}, 3},
    {{2, 3, 2, 6}, 4, some_positions, {2, 1, 2}, 3},
    {{2, 3, 4, 6}, 4, some_positions, {3, 4}, 2},
};

static tlm_status_t run_rope(tlm_tensor_t **out, tlm_tensor_t **in, void *user)
{
    const rope_case_t *c = user;
    tlm_tensor_t *positions = NULL;
    tlm_status_t status = TLM_OK;
    if (c->positions != NULL)
        status = tlm_tensor_from_data(&positions, TLM_INT64, c->positions, c->positions_shape,
                                      c->positions_ndim);
    if (status == TLM_OK)
        status = tlm_rope(out, in[0], positions, 10000.0);
    tlm_tensor_free(positions);
    return status;
}

/* Position of row `row` of (..., time). */
static int64_t rope_position(const rope_case_t *c, int64_t row)
{
    int64_t index = 0, stride = 1, time = c->shape[c->ndim - 2];
    if (c->positions == NULL)
        return row % time;
    for (int32_t k = 0; k < c->positions_ndim; k++) {
        int64_t size = c->shape[c->ndim - 2 - k];
        int64_t have = c->positions_shape[c->positions_ndim - 1 - k];
        index += have == 1 ? 0 : row % size * stride;
        stride *= have;
        row /= size;
    }
    return c->positions[index];
}

static void reference_rope(double *out, const double *const *in, void *user)
{
    const rope_case_t *c = user;
    int64_t d = c->shape[c->ndim - 1], rows = 1;
    for (int32_t i = 0; i < c->ndim - 1; i++)
        rows *= c->shape[i];
    for (int64_t row = 0; row < rows; row++)
        for (int64_t j = 0; j < d; j += 2) {
            double angle = (double)rope_position(c, row) / pow(10000.0, (double)j / (double)d);
            const double *x = in[0] + row * d + j;
            out[row * d + j] = x[0] * cos(angle) - x[1] * sin(angle);
            out[row * d + j + 1] = x[0] * sin(angle) + x[1] * cos(angle);
        }
}

START_TEST(test_rope)
{
    const rope_case_t *c = &rope_cases[_i];
    gradcheck_t check = {.name = "rope",
                         .run = run_rope,
                         .reference = reference_rope,
                         .user = (void *)(uintptr_t)c,
                         .num_inputs = 1,
                         .inputs = {{.ndim = c->ndim}}};
    memcpy(check.inputs[0].shape, c->shape, sizeof c->shape);
    for_layouts(&check);
}
END_TEST

/* ---- softmax ---- */

static tlm_status_t run_softmax(tlm_tensor_t **out, tlm_tensor_t **in, void *user)
{
    return tlm_softmax(out, in[0], *(int32_t *)user);
}

static void reference_softmax(double *out, const double *const *in, void *user)
{
    static const int64_t shape[] = {3, 17, 5};
    int32_t dim = *(int32_t *)user < 0 ? *(int32_t *)user + 3 : *(int32_t *)user;
    int64_t inner = dim == 2 ? 1 : dim == 1 ? 5 : 85, n = shape[dim];
    for (int64_t i = 0; i < 255; i++) {
        if (i / inner % n != 0)
            continue;
        double max = -INFINITY, sum = 0;
        for (int64_t k = 0; k < n; k++)
            max = fmax(max, in[0][i + k * inner]);
        for (int64_t k = 0; k < n; k++)
            sum += exp(in[0][i + k * inner] - max);
        for (int64_t k = 0; k < n; k++)
            out[i + k * inner] = exp(in[0][i + k * inner] - max) / sum;
    }
}

START_TEST(test_softmax)
{
    int32_t dim = _i - 3;
    gradcheck_t check = {.name = "softmax",
                         .run = run_softmax,
                         .reference = reference_softmax,
                         .user = &dim,
                         .num_inputs = 1,
                         .inputs = {{.shape = {3, 17, 5}, .ndim = 3, .low = -4, .high = 4}}};
    for_layouts(&check);
}
END_TEST

START_TEST(test_softmax_extremes)
{
    const float values[] = {1e4f, -1e4f, 1e4f, -INFINITY};
    const int64_t shape[] = {1, 4};
    tlm_tensor_t *x, *y;
    ck_assert_int_eq(tlm_tensor_from_data(&x, TLM_FLOAT32, values, shape, 2), TLM_OK);
    ck_assert_int_eq(tlm_softmax(&y, x, 1), TLM_OK);
    const float *p = tlm_tensor_data(y);
    ck_assert(p[0] == 0.5f && p[1] == 0.0f && p[2] == 0.5f && p[3] == 0.0f);
    tlm_tensor_free(x);
    tlm_tensor_free(y);
}
END_TEST

/* ---- refusals ---- */

#define REFUSED(code, call, message)                                                               \
    do {                                                                                           \
        tlm_tensor_t *made = NULL;                                                                 \
        tlm_tensor_t **out = &made;                                                                \
        (void)out;                                                                                 \
        ck_assert_int_eq((call), (code));                                                          \
        ck_assert_ptr_null(made);                                                                  \
        ck_assert_msg(strstr(tlm_error_message(), message) != NULL, "message: %s",                 \
                      tlm_error_message());                                                        \
    } while (0)

START_TEST(test_refusals)
{
    const int64_t shape[] = {2, 3}, odd[] = {4, 5}, one[] = {3};
    const uint32_t bad_ids[] = {1, 2, 7};
    tlm_tensor_t *a, *b, *v, *index;
    ck_assert_int_eq(tlm_tensor_create(&a, TLM_FLOAT32, shape, 2), TLM_OK);
    ck_assert_int_eq(tlm_tensor_create(&b, TLM_FLOAT32, odd, 2), TLM_OK);
    ck_assert_int_eq(tlm_tensor_create(&v, TLM_FLOAT32, one, 1), TLM_OK);
    ck_assert_int_eq(tlm_tensor_from_data(&index, TLM_UINT32, bad_ids, one, 1), TLM_OK);
    REFUSED(TLM_ERR_SHAPE, tlm_linear(out, a, b), "(2, 3) does not fit weight (4, 5)");
    REFUSED(TLM_ERR_INVALID_ARGUMENT, tlm_linear(out, NULL, b), "x");
    REFUSED(TLM_ERR_INVALID_ARGUMENT, tlm_linear(NULL, a, b), "out");
    REFUSED(TLM_ERR_RANGE, tlm_embedding(out, b, index), "id 7 at position 2");
    REFUSED(TLM_ERR_INVALID_ARGUMENT, tlm_embedding(out, b, a), "ids");
    REFUSED(TLM_ERR_SHAPE, tlm_rms_norm(out, b, v, 1e-5f), "(4, 5) does not fit weight (3)");
    REFUSED(TLM_ERR_INVALID_ARGUMENT, tlm_rms_norm(out, a, v, NAN), "eps");
    REFUSED(TLM_ERR_SHAPE, tlm_silu_mul(out, a, b), "(2, 3) and up (4, 5)");
    REFUSED(TLM_ERR_SHAPE, tlm_rope(out, a, NULL, 10000.0), "dimension, 3, must be even");
    REFUSED(TLM_ERR_INVALID_ARGUMENT, tlm_rope(out, a, NULL, NAN), "");
    REFUSED(TLM_ERR_SHAPE, tlm_softmax(out, a, 2), "no dimension 2 in (2, 3)");
    REFUSED(TLM_ERR_SHAPE, tlm_swiglu(out, a, b, b, b), "linear");
    tlm_tensor_free(a);
    tlm_tensor_free(b);
    tlm_tensor_free(v);
    tlm_tensor_free(index);
}
END_TEST

START_TEST(test_init)
{
    const int64_t shape[] = {300, 401};
    tlm_tensor_t *w, *again;
    ck_assert_int_eq(tlm_tensor_create(&w, TLM_FLOAT32, shape, 2), TLM_OK);
    ck_assert_int_eq(tlm_tensor_create(&again, TLM_FLOAT32, shape, 2), TLM_OK);
    ck_assert_int_eq(tlm_init_truncated_normal(w, 0.5, 3.0, 7, 1), TLM_OK);
    ck_assert_int_eq(tlm_set_num_threads(3), TLM_OK);
    ck_assert_int_eq(tlm_init_truncated_normal(again, 0.5, 3.0, 7, 1), TLM_OK);
    ck_assert_int_eq(tlm_set_num_threads(0), TLM_OK);
    size_t n = 300 * 401;
    const float *values = tlm_tensor_data(w);
    ck_assert_mem_eq(values, tlm_tensor_data(again), n * sizeof(float));
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        ck_assert(fabsf(values[i]) <= 1.5f);
        sum += values[i];
        squares += (double)values[i] * values[i];
    }
    ck_assert(fabs(sum / (double)n) < 0.01);
    /* A normal cut at 3 sigma keeps 0.9733 of its variance. */
    ck_assert(fabs(squares / (double)n / 0.25 - 0.9733) < 0.02);
    ck_assert_int_eq(tlm_init_truncated_normal(w, -1.0, 3.0, 7, 1), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_int_eq(tlm_init_truncated_normal(w, NAN, 3.0, 7, 1), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_int_eq(tlm_init_truncated_normal(w, 1.0, NAN, 7, 1), TLM_ERR_INVALID_ARGUMENT);
    tlm_tensor_free(w);
    tlm_tensor_free(again);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("layers");
    TCase *tests = tcase_create("layers");
    tcase_set_timeout(tests, 120);
    suite_add_tcase(suite, tests);
    tcase_add_loop_test(tests, test_linear, 0, NUM_CASES);
    tcase_add_test(tests, test_linear_rows);
    tcase_add_test(tests, test_embedding);
    tcase_add_loop_test(tests, test_rms_norm, 0, NUM_CASES);
    tcase_add_test(tests, test_silu);
    tcase_add_loop_test(tests, test_swiglu, 0, NUM_CASES);
    tcase_add_loop_test(tests, test_rope, 0, (int)(sizeof rope_cases / sizeof *rope_cases));
    tcase_add_loop_test(tests, test_softmax, 0, 6);
    tcase_add_test(tests, test_softmax_extremes);
    tcase_add_test(tests, test_refusals);
    tcase_add_test(tests, test_init);
    return run_suite(suite, CK_NOFORK);
}
