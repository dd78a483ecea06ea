/* Attention against the plain formula in float64: masks, causality, sizes around the tiles, heads,
 * threads and CPU levels. */
#include "gradcheck.h"
#include "run_suite.h"

#include "tinylm/nn.h"

typedef struct attention_case {
    int64_t outer, queries, keys, d_key, d_value;
    bool causal;
    int mask;      /* 0 none, 1 (queries, keys), 2 (outer, queries, keys), 3 (keys) */
    int64_t group; /* query heads, of `outer`, that share a key head */
} attention_case_t;

static const attention_case_t cases[] = {
    {1, 1, 1, 1, 1, false, 0, 1},     {2, 3, 5, 4, 6, false, 0, 1},
    {2, 5, 5, 8, 8, true, 0, 1},      {1, 3, 9, 5, 5, true, 0, 1},
    {1, 9, 3, 5, 5, true, 0, 1},      {2, 6, 7, 3, 17, false, 1, 1},
    {2, 6, 6, 16, 16, true, 2, 1},    {1, 65, 65, 32, 32, true, 0, 1},
    {1, 70, 300, 16, 8, false, 3, 1}, {1, 130, 257, 7, 33, true, 1, 1},
    {1, 2, 2, 128, 256, false, 0, 1}, {17, 4, 4, 2, 2, true, 0, 1},
    {6, 5, 7, 4, 3, false, 0, 3},     {4, 6, 6, 8, 8, true, 2, 2},
    {3, 20, 40, 5, 9, true, 1, 3},    {8, 9, 9, 16, 16, true, 0, 8},
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

static int64_t key_heads(const attention_case_t *c)
{
    return c->outer / c->group;
}

static void reference_attention(double *out, const double *const *in, void *user)
{
    const attention_case_t *c = user;
    for (int64_t s = 0; s < c->outer; s++)
        for (int64_t i = 0; i < c->queries; i++) {
            int64_t key_head = s * key_heads(c) / c->outer;
            reference_row(out + (s * c->queries + i) * c->d_value,
                          in[0] + (s * c->queries + i) * c->d_key,
                          in[1] + key_head * c->keys * c->d_key,
                          in[2] + key_head * c->keys * c->d_value, c, s, i);
        }
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
                                    {.shape = {key_heads(c), c->keys, c->d_key}, .ndim = 3},
                                    {.shape = {key_heads(c), c->keys, c->d_value}, .ndim = 3}}};
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
    attention_case_t c = {2, 6, 6, 5, 5, true, 0, 1};
    gradcheck_t check = make_check(&c);
    check.run = run_self;
    check.reference = reference_self;
    check.num_inputs = 1;
    gradcheck(&check);
}
END_TEST

/* ---- sizes beyond what central differences can do ---- */

static const attention_case_t large_cases[] = {
    {1, 2048, 2048, 16, 16, true, 0, 1}, {2, 1, 300, 256, 256, true, 0, 2},
    {2, 700, 700, 1, 1, true, 0, 2},     {4, 129, 513, 64, 48, false, 0, 4},
    {3, 257, 257, 100, 100, true, 1, 3}, {2, 65, 1030, 256, 128, true, 3, 1},
};

/* Weights of query i of head s, from the formula. */
static void plain_weights(double *p, const double *q, const double *keys, const attention_case_t *c,
                          int64_t s, int64_t i)
{
    double max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < c->keys; j++) {
        p[j] = -INFINITY;
        if (!may_see(c, s, i, j))
            continue;
        p[j] = 0;
        for (int64_t k = 0; k < c->d_key; k++)
            p[j] += q[k] * keys[j * c->d_key + k];
        p[j] /= sqrt((double)c->d_key);
        max = fmax(max, p[j]);
    }
    for (int64_t j = 0; j < c->keys; j++) {
        p[j] = p[j] == -INFINITY ? 0 : exp(p[j] - max);
        sum += p[j];
    }
    for (int64_t j = 0; j < c->keys && sum > 0; j++)
        p[j] /= sum;
}

/* Adds what query i of head s does: y = P V, dV += P^T dy, dS = P (dP - dP . P), dq, dK. */
static void plain_row(double *y, double *const grads[3], const double *const in[3],
                      const double *dy, const attention_case_t *c, int64_t s, int64_t i)
{
    int64_t head = s / c->group, row = s * c->queries + i;
    const double *q = in[0] + row * c->d_key, *keys = in[1] + head * c->keys * c->d_key;
    const double *values = in[2] + head * c->keys * c->d_value;
    double *dkeys = grads[1] + head * c->keys * c->d_key;
    double *dvalues = grads[2] + head * c->keys * c->d_value;
    double *p = malloc((size_t)(2 * c->keys) * sizeof *p), *dp = p + c->keys, delta = 0;
    y += row * c->d_value;
    dy += row * c->d_value;
    plain_weights(p, q, keys, c, s, i);
    for (int64_t j = 0; j < c->keys; j++) {
        dp[j] = 0;
        for (int64_t k = 0; k < c->d_value; k++) {
            y[k] += p[j] * values[j * c->d_value + k];
            dp[j] += dy[k] * values[j * c->d_value + k];
            dvalues[j * c->d_value + k] += p[j] * dy[k];
        }
        delta += p[j] * dp[j];
    }
    for (int64_t j = 0; j < c->keys; j++) {
        double ds = p[j] * (dp[j] - delta) / sqrt((double)c->d_key);
        for (int64_t k = 0; k < c->d_key && p[j] > 0; k++) {
            grads[0][row * c->d_key + k] += ds * keys[j * c->d_key + k];
            dkeys[j * c->d_key + k] += ds * q[k];
        }
    }
    free(p);
}

static void compare_all(const char *what, const float *actual, const double *expected, int64_t n)
{
    double scale = 1e-3;
    for (int64_t i = 0; i < n; i++)
        scale = fmax(scale, fabs(expected[i]));
    for (int64_t i = 0; i < n; i++)
        gradcheck_compare("attention", what, i, (double)actual[i], expected[i], scale, 2e-5);
}

/* Result and gradients of a random problem. */
static void check_large(attention_case_t c, uint64_t state)
{
    static const char *const names[] = {"query", "key", "value", "output"};
    const int64_t shapes[4][3] = {{c.outer, c.queries, c.d_key},
                                  {key_heads(&c), c.keys, c.d_key},
                                  {key_heads(&c), c.keys, c.d_value},
                                  {c.outer, c.queries, c.d_value}};
    double *values[4], *results[4]; /* of inputs and dy; their gradients, and y */
    tlm_tensor_t *tensors[4], *out;
    for (int k = 0; k < 4; k++) {
        int64_t n = shapes[k][0] * shapes[k][1] * shapes[k][2];
        float *floats = malloc((size_t)n * sizeof *floats);
        values[k] = malloc((size_t)n * sizeof **values);
        results[k] = calloc((size_t)n, sizeof **results);
        for (int64_t i = 0; i < n; i++)
            values[k][i] = floats[i] = (float)(4 * gradcheck_uniform(&state) - 2);
        ck_assert_int_eq(tlm_tensor_from_data(&tensors[k], TLM_FLOAT32, floats, shapes[k], 3), 0);
        if (k < 3)
            ck_assert_int_eq(tlm_tensor_set_requires_grad(tensors[k], true), 0);
        free(floats);
    }
    ck_assert_int_eq(run_attention(&out, tensors, &c), TLM_OK);
    ck_assert_int_eq(tlm_tensor_backward(out, tensors[3]), TLM_OK);
    for (int64_t s = 0; s < c.outer; s++)
        for (int64_t i = 0; i < c.queries; i++)
            plain_row(results[3], results, (const double *const *)values, values[3], &c, s, i);
    for (int k = 0; k < 4; k++) {
        const tlm_tensor_t *got = k == 3 ? out : tlm_tensor_grad(tensors[k]);
        compare_all(names[k], tlm_tensor_data(got), results[k], tlm_tensor_numel(got));
        free(values[k]);
        free(results[k]);
    }
    for (int k = 0; k < 4; k++)
        tlm_tensor_free(tensors[k]);
    tlm_tensor_free(out);
}

START_TEST(test_large)
{
    check_large(large_cases[_i], 11);
}
END_TEST

static int64_t random_size(uint64_t *state, int64_t most)
{
    return 1 + (int64_t)(gradcheck_uniform(state) * (double)most);
}

/* Any sizes, masks and groups, at every CPU level. */
START_TEST(test_random_cases)
{
    uint64_t state = 100 + (uint64_t)_i;
    attention_case_t c = {.group = random_size(&state, 3)};
    c.outer = c.group * random_size(&state, 2);
    c.queries = random_size(&state, 150);
    c.keys = random_size(&state, 300);
    c.d_key = random_size(&state, _i % 3 == 0 ? 256 : 40);
    c.d_value = random_size(&state, _i % 3 == 1 ? 256 : 40);
    c.causal = random_size(&state, 2) == 1;
    c.mask = (int)random_size(&state, 4) - 1;
    for (int level = 0; level <= TLM_CPU_AVX512; level++)
        if (tlm_set_cpu_level(level) == TLM_OK)
            check_large(c, state);
}
END_TEST

/* ---- multi-head attention ---- */

typedef struct heads_case {
    int64_t batch, time, d_model;
    int32_t heads;
    double theta;
    bool positions;
    int32_t key_heads;
} heads_case_t;

static const heads_case_t heads_cases[] = {
    {1, 1, 2, 1, 0, false, 1},     {2, 5, 8, 2, 0, false, 2},     {2, 5, 8, 2, 10000, false, 2},
    {2, 7, 12, 3, 10000, true, 3}, {1, 70, 16, 2, 100, true, 2},  {3, 9, 64, 16, 10000, false, 16},
    {2, 5, 12, 6, 10000, true, 2}, {1, 70, 16, 4, 100, false, 1}, {2, 6, 9, 3, 0, false, 1},
};

/* Width of the keys. */
static int64_t key_width(const heads_case_t *c)
{
    return c->d_model / c->heads * c->key_heads;
}

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

static void project(double *out, const double *x, const double *w, int64_t rows, int64_t d_out,
                    int64_t d)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < d_out; j++) {
            out[i * d_out + j] = 0;
            for (int64_t k = 0; k < d; k++)
                out[i * d_out + j] += x[i * d + k] * w[j * d + k];
        }
}

static void rotate(double *x, const heads_case_t *c, int64_t width)
{
    int64_t d_head = c->d_model / c->heads;
    for (int64_t i = 0; i < c->batch * c->time; i++)
        for (int64_t j = 0; j < width; j += 2) {
            int64_t t = c->positions ? positions_of(i / c->time, i % c->time) : i % c->time;
            double angle = (double)t / pow(c->theta, (double)(j % d_head) / (double)d_head);
            double *pair = x + i * width + j, a = pair[0], b = pair[1];
            pair[0] = a * cos(angle) - b * sin(angle);
            pair[1] = a * sin(angle) + b * cos(angle);
        }
}

static void reference_heads(double *out, const double *const *in, void *user)
{
    const heads_case_t *c = user;
    int64_t d = c->d_model, rows = c->batch * c->time, d_head = d / c->heads, time = c->time;
    int64_t widths[] = {d, key_width(c), key_width(c)};
    double *p[3], *joined = malloc((size_t)(rows * d) * sizeof *joined);
    double *one = malloc((size_t)(4 * time * d_head) * sizeof *one);
    attention_case_t head = {1, time, time, d_head, d_head, true, 0, 1};
    for (int i = 0; i < 3; i++) {
        p[i] = malloc((size_t)(rows * widths[i]) * sizeof **p);
        project(p[i], in[0], in[1 + i], rows, widths[i], d);
        if (i < 2 && c->theta != 0)
            rotate(p[i], c, widths[i]);
    }
    for (int64_t b = 0; b < c->batch; b++)
        for (int64_t h = 0; h < c->heads; h++) {
            for (int i = 0; i < 3; i++)
                for (int64_t t = 0; t < time; t++)
                    memcpy(one + (i * time + t) * d_head,
                           p[i] + (b * time + t) * widths[i] + h * widths[i] / d * d_head,
                           (size_t)d_head * sizeof *one);
            const double *operands[] = {one, one + time * d_head, one + 2 * time * d_head};
            double *result = one + 3 * time * d_head;
            reference_attention(result, operands, &head);
            for (int64_t t = 0; t < time; t++)
                memcpy(joined + (b * time + t) * d + h * d_head, result + t * d_head,
                       (size_t)d_head * sizeof *one);
        }
    project(out, joined, in[4], rows, d, d);
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
        check.inputs[i] = (gradcheck_input_t){
            .shape = {i == 2 || i == 3 ? key_width(c) : c->d_model, c->d_model}, .ndim = 2};
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
    ck_assert_int_eq(tlm_tensor_copy_out(out, sizeof values / sizeof *values, y), TLM_OK);
    ck_assert_int_eq(tlm_sum(&loss, y), TLM_OK);
    ck_assert_int_eq(tlm_tensor_backward(loss, NULL), TLM_OK);
    ck_assert_int_eq(tlm_tensor_copy_out(grad, sizeof values / sizeof *values, tlm_tensor_grad(x)),
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
    const int64_t three_shape[] = {3, 1, 1};
    tlm_tensor_t *a, *b, *mask, *three, *two, *out = NULL;
    ck_assert_int_eq(tlm_tensor_create(&three, TLM_FLOAT32, three_shape, 3), TLM_OK);
    ck_assert_int_eq(tlm_tensor_create(&a, TLM_FLOAT32, a_shape, 3), TLM_OK);
    ck_assert_int_eq(tlm_tensor_create(&b, TLM_FLOAT32, b_shape, 3), TLM_OK);
    ck_assert_int_eq(tlm_tensor_create(&mask, TLM_BOOL, m_shape, 1), TLM_OK);
    ck_assert_int_eq(tlm_attention(&out, a, b, b, NULL, false), TLM_ERR_SHAPE);
    ck_assert_ptr_nonnull(strstr(tlm_error_message(), "(2, 3, 4), key (2, 5, 6)"));
    ck_assert_int_eq(tlm_attention(&out, a, a, a, mask, false), TLM_ERR_SHAPE);
    ck_assert_ptr_nonnull(strstr(tlm_error_message(), "mask (7) does not broadcast to (2, 3, 3)"));
    ck_assert_int_eq(tlm_slice(&two, three, 0, 0, 2), TLM_OK);
    ck_assert_int_eq(tlm_attention(&out, three, two, two, NULL, false), TLM_ERR_SHAPE);
    ck_assert_ptr_nonnull(strstr(tlm_error_message(), "(3, 1, 1), key (2, 1, 1)"));
    ck_assert_int_eq(tlm_attention(&out, two, three, three, NULL, false), TLM_ERR_SHAPE);
    ck_assert_int_eq(tlm_attention(&out, a, a, a, a, false), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_int_eq(tlm_attention(&out, a, a, NULL, NULL, false), TLM_ERR_INVALID_ARGUMENT);
    ck_assert_ptr_null(out);
    tlm_tensor_free(a);
    tlm_tensor_free(b);
    tlm_tensor_free(mask);
    tlm_tensor_free(three);
    tlm_tensor_free(two);
}
END_TEST

/* wk and wv tell the number of key heads, which must divide that of query heads. */
START_TEST(test_head_refusals)
{
    const int64_t x_shape[] = {2, 3, 12}, sizes[] = {12, 6, 8, 5, 0};
    tlm_tensor_t *x, *w[5], *out = NULL;
    ck_assert_int_eq(tlm_tensor_create(&x, TLM_FLOAT32, x_shape, 3), TLM_OK);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(tlm_tensor_create(&w[i], TLM_FLOAT32, (int64_t[]){sizes[i], 12}, 2), 0);
    for (int i = 2; i < 5; i++) { /* of 6 heads of 2: 4 key heads, 2.5, none */
        ck_assert_int_eq(tlm_multi_head_attention(&out, x, w[0], w[i], w[i], w[0], 6, 0, NULL),
                         TLM_ERR_SHAPE);
        ck_assert_ptr_nonnull(strstr(tlm_error_message(), "wk has"));
    }
    ck_assert_int_eq(tlm_multi_head_attention(&out, x, w[0], w[1], w[0], w[0], 6, 0, NULL),
                     TLM_ERR_SHAPE);
    ck_assert_ptr_nonnull(strstr(tlm_error_message(), "wv (12, 12)"));
    ck_assert_ptr_null(out);
    ck_assert_int_eq(tlm_multi_head_attention(&out, x, w[0], w[1], w[1], w[0], 6, 0, NULL), TLM_OK);
    tlm_tensor_free(out);
    tlm_tensor_free(x);
    for (int i = 0; i < 5; i++)
        tlm_tensor_free(w[i]);
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
    tcase_add_loop_test(tests, test_large, 0, (int)(sizeof large_cases / sizeof *large_cases));
    tcase_add_loop_test(tests, test_random_cases, 0, 16);
    tcase_add_loop_test(tests, test_multi_head, 0, (int)(sizeof heads_cases / sizeof *heads_cases));
    tcase_add_test(tests, test_threads);
    tcase_add_test(tests, test_refusals);
    tcase_add_test(tests, test_head_refusals);
    return run_suite(suite, CK_NOFORK);
}
