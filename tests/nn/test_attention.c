/* Attention against the plain formula in float64: masks, causality, sizes around the tiles, heads,
 * threads and CPU levels. */
#include "gradcheck.h"

#include "tinylm/nn.h"

typedef struct attention_case {
    int64_t outer, queries, keys, d_key, d_value;
    bool causal;
    int mask; /* 0 none, 1 (queries, keys), 2 (outer, queries, keys), 3 (keys) */
} attention_case_t;

static const attention_case_t cases[] = {
    {1, 1, 1, 1, 1, false, 0},     {2, 3, 5, 4, 6, false, 0},     {2, 5, 5, 8, 8, true, 0},
    {1, 3, 9, 5, 5, true, 0},      {1, 9, 3, 5, 5, true, 0},      {2, 6, 7, 3, 17, false, 1},
    {2, 6, 6, 16, 16, true, 2},    {1, 65, 65, 32, 32, true, 0},  {1, 70, 300, 16, 8, false, 3},
    {1, 130, 257, 7, 33, true, 1}, {1, 2, 2, 128, 256, false, 0}, {17, 4, 4, 2, 2, true, 0},
};
#define NUM_CASES (int)(sizeof cases / sizeof *cases)

/* A fixed pattern; row 1 (if any) sees nothing. */
static bool may_see(const attention_case_t *c, int64_t s, int64_t i, int64_t j)
{
    if (c->causal && j > i + c->keys - c->queries)
        return false;
    switch (c->mask) {
    case 1:
        return i != 1 && (i * 7 + j * 3) % 4 != 0;
    case 2:
        return i != 1 && (s + i + j) % 3 != 0;
    case 3:
        return j % 3 != 1;
    default:
        return true;
    }
}

static tlm_status_t make_mask(tlm_tensor_t **out, const attention_case_t *c)
{
    int64_t outer = c->mask == 2 ? c->outer : 1, queries = c->mask == 3 ? 1 : c->queries;
    int64_t shape[] = {outer, queries, c->keys};
    uint8_t *bytes = malloc((size_t)(outer * queries * c->keys));
    attention_case_t open = *c;
    open.causal = false;
    for (int64_t s = 0; s < outer; s++)
        for (int64_t i = 0; i < queries; i++)
            for (int64_t j = 0; j < c->keys; j++)
                bytes[(s * queries + i) * c->keys + j] = may_see(&open, s, i, j);
    int32_t skip = c->mask == 3 ? 2 : c->mask == 1 ? 1 : 0;
    tlm_status_t status = tlm_tensor_from_data(out, TLM_BOOL, bytes, shape + skip, 3 - skip);
    free(bytes);
    return status;
}

static tlm_status_t run_attention(tlm_tensor_t **out, tlm_tensor_t **in, void *user)
{
    const attention_case_t *c = user;
    tlm_tensor_t *mask = NULL;
    tlm_status_t status = c->mask != 0 ? make_mask(&mask, c) : TLM_OK;
    if (status == TLM_OK)
        status = tlm_attention(out, in[0], in[1], in[2], mask, c->causal);
    tlm_tensor_free(mask);
    return status;
}

/* One query row: weights over the keys it may see, then their mean of values. */
static void reference_row(double *out, const double *q, const double *keys, const double *values,
                          const attention_case_t *c, int64_t s, int64_t i)
{
    double max = -INFINITY, sum = 0;
    double *weights = calloc((size_t)c->keys, sizeof *weights);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t j = 0; j < c->keys; j++) {
            double dot = 0;
            if (!may_see(c, s, i, j))
                continue;
            for (int64_t k = 0; k < c->d_key; k++)
                dot += q[k] * keys[j * c->d_key + k];
            dot /= sqrt((double)c->d_key);
            if (pass == 0)
                max = fmax(max, dot);
            else
                sum += weights[j] = exp(dot - max);
        }
    for (int64_t k = 0; k < c->d_value; k++) {
        out[k] = 0;
        for (int64_t j = 0; j < c->keys && sum > 0; j++)
            out[k] += weights[j] / sum * values[j * c->d_value + k];
    }
    free(weights);
}

static void reference_attention(double *out, const double *const *in, void *user)
{
    const attention_case_t *c = user;
    for (int64_t s = 0; s < c->outer; s++)
        for (int64_t i = 0; i < c->queries; i++)
            reference_row(out + (s * c->queries + i) * c->d_value,
                          in[0] + (s * c->queries + i) * c->d_key, in[1] + s * c->keys * c->d_key,
                          in[2] + s * c->keys * c->d_value, c, s, i);
}

static gradcheck_t make_check(const attention_case_t *c)
{
    return (gradcheck_t){.name = "attention",
                         .run = run_attention,
                         .reference = reference_attention,
                         .user = (void *)(uintptr_t)c,
                         .num_inputs = 3,
                         .max_elements = 40,
                         .inputs = {{.shape = {c->outer, c->queries, c->d_key}, .ndim = 3},
                                    {.shape = {c->outer, c->keys, c->d_key}, .ndim = 3},
                                    {.shape = {c->outer, c->keys, c->d_value}, .ndim = 3}}};
}

START_TEST(test_attention)
{
    gradcheck_t check = make_check(&cases[_i]);
    for (int level = 0; level <= TLM_CPU_AVX512; level++) {
        if (tlm_set_cpu_level(level) != TLM_OK)
            continue;
        gradcheck(&check);
    }
    check.inputs[0].layout = GRADCHECK_TRANSPOSED;
    check.inputs[2].layout = GRADCHECK_SLICED;
    check.inputs[1].constant = true;
    gradcheck(&check);
}
END_TEST

/* Query, key and value are one tensor. */
static tlm_status_t run_self(tlm_tensor_t **out, tlm_tensor_t **in, void *user)
{
    return tlm_attention(out, in[0], in[0], in[0], NULL, true);
}

static void reference_self(double *out, const double *const *in, void *user)
{
    const double *same[] = {in[0], in[0], in[0]};
    reference_attention(out, same, user);
}

START_TEST(test_self)
{
    attention_case_t c = {2, 6, 6, 5, 5, true, 0};
    gradcheck_t check = make_check(&c);
    check.run = run_self;
    check.reference = reference_self;
    check.num_inputs = 1;
    gradcheck(&check);
}
END_TEST

/* ---- multi-head attention ---- */

typedef struct heads_case {
    int64_t batch, time, d_model;
    int32_t heads;
    double theta;
    bool positions;
} heads_case_t;

static const heads_case_t heads_cases[] = {
    {1, 1, 2, 1, 0, false},     {2, 5, 8, 2, 0, false},    {2, 5, 8, 2, 10000, false},
    {2, 7, 12, 3, 10000, true}, {1, 70, 16, 2, 100, true}, {3, 9, 64, 16, 10000, false},
};

static int32_t positions_of(int64_t b, int64_t t)
{
    return (int32_t)((b * 5 + t * 3) % 11);
}

static tlm_status_t run_heads(tlm_tensor_t **out, tlm_tensor_t **in, void *user)
{
    const heads_case_t *c = user;
    tlm_tensor_t *positions = NULL;
    if (c->positions) {
        int32_t list[512];
        const int64_t shape[] = {c->batch, c->time};
        for (int64_t i = 0; i < c->batch * c->time; i++)
            list[i] = positions_of(i / c->time, i % c->time);
        tlm_status_t status = tlm_tensor_from_data(&positions, TLM_INT32, list, shape, 2);
        if (status != TLM_OK)
            return status;
    }
    tlm_status_t status = tlm_multi_head_attention(out, in[0], in[1], in[2], in[3], in[4], c->heads,
                                                   c->theta, positions);
    tlm_tensor_free(positions);
    return status;
}

static void project(double *out, const double *x, const double *w, int64_t rows, int64_t d)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < d; j++) {
            out[i * d + j] = 0;
            for (int64_t k = 0; k < d; k++)
                out[i * d + j] += x[i * d + k] * w[j * d + k];
        }
}

static void rotate(double *x, const heads_case_t *c)
{
    int64_t d = c->d_model, d_head = d / c->heads;
    for (int64_t i = 0; i < c->batch * c->time; i++)
        for (int64_t j = 0; j < d; j += 2) {
            int64_t t = c->positions ? positions_of(i / c->time, i % c->time) : i % c->time;
            double angle = (double)t / pow(c->theta, (double)(j % d_head) / (double)d_head);
            double *pair = x + i * d + j, a = pair[0], b = pair[1];
            pair[0] = a * cos(angle) - b * sin(angle);
            pair[1] = a * sin(angle) + b * cos(angle);
        }
}

static void reference_heads(double *out, const double *const *in, void *user)
{
    const heads_case_t *c = user;
    int64_t d = c->d_model, rows = c->batch * c->time, d_head = d / c->heads, time = c->time;
    double *p[3], *joined = malloc((size_t)(rows * d) * sizeof *joined);
    double *one = malloc((size_t)(4 * time * d_head) * sizeof *one);
    attention_case_t head = {1, time, time, d_head, d_head, true, 0};
    for (int i = 0; i < 3; i++) {
        p[i] = malloc((size_t)(rows * d) * sizeof **p);
        project(p[i], in[0], in[1 + i], rows, d);
        if (i < 2 && c->theta != 0)
            rotate(p[i], c);
    }
    for (int64_t b = 0; b < c->batch; b++)
        for (int64_t h = 0; h < c->heads; h++) {
            for (int i = 0; i < 3; i++)
                for (int64_t t = 0; t < time; t++)
                    memcpy(one + (i * time + t) * d_head, p[i] + (b * time + t) * d + h * d_head,
                           (size_t)d_head * sizeof *one);
            const double *operands[] = {one, one + time * d_head, one + 2 * time * d_head};
            double *result = one + 3 * time * d_head;
            reference_attention(result, operands, &head);
            for (int64_t t = 0; t < time; t++)
                memcpy(joined + (b * time + t) * d + h * d_head, result + t * d_head,
                       (size_t)d_head * sizeof *one);
        }
    project(out, joined, in[4], rows, d);
    for (int i = 0; i < 3; i++)
        free(p[i]);
    free(joined);
    free(one);
}

START_TEST(test_multi_head)
{
    const heads_case_t *c = &heads_cases[_i];
    gradcheck_t check = {.name = "multi_head_attention",
                         .run = run_heads,
                         .reference = reference_heads,
                         .user = (void *)(uintptr_t)c,
                         .num_inputs = 5,
                         .max_elements = 30,
                         .inputs = {{.shape = {c->batch, c->time, c->d_model}, .ndim = 3}}};
    for (int i = 1; i < 5; i++)
        check.inputs[i] = (gradcheck_input_t){.shape = {c->d_model, c->d_model}, .ndim = 2};
    gradcheck(&check);
}
END_TEST

/* ---- bits ---- */

static void run_bits(float *out, float *grad, int32_t threads)
{
    const int64_t shape[] = {3, 70, 32};
    float values[3 * 70 * 32];
    uint64_t state = 5;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        values[i] = (float)(gradcheck_uniform(&state) - 0.5);
    tlm_tensor_t *x, *y, *loss;
    ck_assert_int_eq(tlm_set_num_threads(threads), TLM_OK);
    ck_assert_int_eq(tlm_tensor_from_data(&x, TLM_FLOAT32, values, shape, 3), TLM_OK);
    ck_assert_int_eq(tlm_tensor_set_requires_grad(x, true), TLM_OK);
    ck_assert_int_eq(tlm_attention(&y, x, x, x, NULL, true), TLM_OK);
    ck_assert_int_eq(tlm_tensor_copy_out(y, out, sizeof values / sizeof *values), TLM_OK);
    ck_assert_int_eq(tlm_sum(&loss, y), TLM_OK);
    ck_assert_int_eq(tlm_tensor_backward(loss, NULL), TLM_OK);
    ck_assert_int_eq(tlm_tensor_copy_out(tlm_tensor_grad(x), grad, sizeof values / sizeof *values),
                     TLM_OK);
    tlm_tensor_free(x);
    tlm_tensor_free(y);
    tlm_tensor_free(loss);
}

START_TEST(test_threads)
{
    enum { N = 3 * 70 * 32 };
    static float out[2][N], grad[2][N];
    run_bits(out[0], grad[0], 1);
    for (int32_t threads = 2; threads <= 5; threads++) {
        run_bits(out[1], grad[1], threads);
        ck_assert_mem_eq(out[0], out[1], sizeof out[0]);
        ck_assert_mem_eq(grad[0], grad[1], sizeof grad[0]);
    }
    ck_assert_int_eq(tlm_set_num_threads(0), TLM_OK);
}
END_TEST

START_TEST(test_refusals)
{
    const int64_t a_shape[] = {2, 3, 4}, b_shape[] = {2, 5, 6}, m_shape[] = {7};
    tlm_tensor_t *a, *b, *mask, *out = NULL;
    ck_assert_int_eq(tlm_tensor_create(&a, TLM_FLOAT32, a_shape, 3), TLM_OK);
    ck_assert_int_eq(tlm_tensor_create(&b, TLM_FLOAT32, b_shape, 3), TLM_OK);
    ck_assert_int_eq(tlm_tensor_create(&mask, TLM_BOOL, m_shape, 1), TLM_OK);
    ck_assert_int_eq(tlm_attention(&out, a, b, b, NULL, false), TLM_ERR_SHAPE);
    ck_assert_ptr_nonnull(strstr(tlm_error_message(), "(2, 3, 4), key (2, 5, 6)"));
    ck_assert_int_eq(tlm_attention(&out, a, a, a, mask, false), TLM_ERR_SHAPE);
    ck_assert_ptr_nonnull(strstr(tlm_error_message(), "mask (7) does not broadcast to (2, 3, 3)"));
    ck_assert_int_eq(tlm_attention(&out, a, a, a, a, false), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_int_eq(tlm_attention(&out, a, a, NULL, NULL, false), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_ptr_null(out);
    tlm_tensor_free(a);
    tlm_tensor_free(b);
    tlm_tensor_free(mask);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("attention");
    TCase *tests = tcase_create("attention");
    tcase_set_timeout(tests, 120);
    suite_add_tcase(suite, tests);
    tcase_add_loop_test(tests, test_attention, 0, NUM_CASES);
    tcase_add_test(tests, test_self);
    tcase_add_loop_test(tests, test_multi_head, 0, (int)(sizeof heads_cases / sizeof *heads_cases));
    tcase_add_test(tests, test_threads);
    tcase_add_test(tests, test_refusals);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
