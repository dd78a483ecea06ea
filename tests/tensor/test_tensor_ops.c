/* Every general op against float64: result and gradients, over odd shapes, broadcasts and views. */
#include "gradcheck.h"
#include "run_suite.h"

#include "tinylm/runtime.h"

/* ---- add, mul: broadcasting ------------------------------------------------------------- */

typedef struct broadcast_case {
    int32_t ndim_a, ndim_b;
    int64_t shape_a[4], shape_b[4];
} broadcast_case_t;

static const broadcast_case_t broadcast_cases[] = {
    {1, 1, {1}, {1}},
    {0, 0, {0}, {0}},
    {1, 1, {67}, {67}},
    {2, 2, {5, 7}, {5, 7}},
    {2, 1, {5, 7}, {7}},
    {1, 2, {7}, {5, 7}},
    {2, 2, {5, 7}, {5, 1}},
    {2, 2, {5, 1}, {1, 7}},
    {3, 2, {2, 3, 4}, {3, 1}},
    {3, 3, {2, 1, 4}, {1, 3, 1}},
    {3, 0, {2, 3, 4}, {0}},
    {4, 3, {2, 3, 1, 5}, {3, 4, 1}},
    {2, 2, {0, 3}, {1, 3}},
    {2, 2, {3, 0}, {3, 1}},
    {3, 3, {1, 70, 300}, {1, 1, 300}},
    {3, 3, {1, 70, 300}, {1, 70, 1}},
};

typedef struct binary_user {
    const broadcast_case_t *shapes;
    bool multiply;
} binary_user_t;

static tlm_status_t run_binary(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    const binary_user_t *binary = user;
    return (binary->multiply ? tlm_mul : tlm_add)(out, inputs[0], inputs[1]);
}

/* Two shapes that are broadcast, dimension by dimension. */
typedef struct operands {
    int32_t ndim;
    int64_t a[4], b[4], shape[4], n;
} operands_t;

static operands_t broadcast(const int64_t *shape_a, int32_t ndim_a, const int64_t *shape_b,
                            int32_t ndim_b)
{
    operands_t o = {.ndim = ndim_a > ndim_b ? ndim_a : ndim_b, .n = 1};

    for (int32_t d = 0; d < o.ndim; d++) {
        o.a[d] = d < o.ndim - ndim_a ? 1 : shape_a[d - (o.ndim - ndim_a)];
        o.b[d] = d < o.ndim - ndim_b ? 1 : shape_b[d - (o.ndim - ndim_b)];
        o.shape[d] = o.a[d] == 1 ? o.b[d] : o.a[d];
        o.n *= o.shape[d];
    }
    return o;
}

/* Where element i of the result comes from. */
static void find_operands(int64_t *ia, int64_t *ib, const operands_t *o, int64_t i)
{
    int64_t step_a = 1, step_b = 1;

    *ia = *ib = 0;
    for (int32_t d = o->ndim - 1; d >= 0; d--) {
        int64_t index = i % o->shape[d];
        i /= o->shape[d];
        *ia += o->a[d] == 1 ? 0 : index * step_a;
        *ib += o->b[d] == 1 ? 0 : index * step_b;
        step_a *= o->a[d];
        step_b *= o->b[d];
    }
}

static void reference_binary(double *out, const double *const *inputs, void *user)
{
    const binary_user_t *binary = user;
    const broadcast_case_t *c = binary->shapes;
    const operands_t o = broadcast(c->shape_a, c->ndim_a, c->shape_b, c->ndim_b);
    for (int64_t i = 0; i < o.n; i++) {
        int64_t ia, ib;
        find_operands(&ia, &ib, &o, i);
        out[i] = binary->multiply ? inputs[0][ia] * inputs[1][ib] : inputs[0][ia] + inputs[1][ib];
    }
}

START_TEST(test_binary)
{
    binary_user_t user = {&broadcast_cases[_i / 2], _i % 2 == 1};
    for (int layout = 0; layout < GRADCHECK_NUM_LAYOUTS; layout++) {
        for (int constant = 0; constant < 3; constant++) {
            gradcheck_t check = {.name = user.multiply ? "mul" : "add",
                                 .run = run_binary,
                                 .reference = reference_binary,
                                 .user = &user,
                                 .num_inputs = 2,
                                 .seed = (uint64_t)_i};
            gradcheck_input_t *in = check.inputs;
            in[0].ndim = user.shapes->ndim_a;
            in[1].ndim = user.shapes->ndim_b;
            memcpy(in[0].shape, user.shapes->shape_a, sizeof(user.shapes->shape_a));
            memcpy(in[1].shape, user.shapes->shape_b, sizeof(user.shapes->shape_b));
            in[0].layout = (gradcheck_layout_t)layout;
            in[1].layout = (gradcheck_layout_t)((layout + 1) % GRADCHECK_NUM_LAYOUTS);
            in[0].constant = constant == 1;
            in[1].constant = constant == 2;
            check.max_elements = 40;
            gradcheck(&check);
        }
    }
}
END_TEST

/* ---- scale, sum, mean, reshape, transpose, slice, contiguous ---------------------------- */

typedef struct unary_case {
    const char *name;
    tlm_status_t (*run)(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user);
    void (*reference)(double *out, const double *const *inputs, void *user);
    int32_t dim, dim1;
    bool flag;
} unary_case_t;

typedef struct unary_user {
    const unary_case_t *op;
    int64_t shape[4];
    int32_t ndim;
} unary_user_t;

static int64_t product(const int64_t *shape, int32_t first, int32_t last)
{
    int64_t n = 1;
    for (int32_t d = first; d < last; d++)
        n *= shape[d];
    return n;
}

static tlm_status_t run_scale(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    return tlm_scale(out, inputs[0], -2.5f);
}

static void reference_scale(double *out, const double *const *inputs, void *user)
{
    const unary_user_t *u = user;
    for (int64_t i = 0; i < product(u->shape, 0, u->ndim); i++)
        out[i] = -2.5 * inputs[0][i];
}

static tlm_status_t run_sum(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    const unary_user_t *u = user;
    return (u->op->flag ? tlm_mean : tlm_sum)(out, inputs[0]);
}

static void reference_sum(double *out, const double *const *inputs, void *user)
{
    const unary_user_t *u = user;
    int64_t n = product(u->shape, 0, u->ndim);
    out[0] = 0;
    for (int64_t i = 0; i < n; i++)
        out[0] += inputs[0][i];
    out[0] /= u->op->flag ? (double)n : 1.0;
}

static tlm_status_t run_sum_dim(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    const unary_user_t *u = user;
    return (u->op->flag ? tlm_mean_dim : tlm_sum_dim)(out, inputs[0], u->op->dim, u->op->dim1 != 0);
}

static void reference_sum_dim(double *out, const double *const *inputs, void *user)
{
    const unary_user_t *u = user;
    int32_t dim = u->op->dim < 0 ? u->op->dim + u->ndim : u->op->dim;
    int64_t outer = product(u->shape, 0, dim);
    int64_t inner = product(u->shape, dim + 1, u->ndim);
    int64_t n = u->shape[dim];
    for (int64_t i = 0; i < outer; i++) {
        for (int64_t j = 0; j < inner; j++) {
            double sum = 0;
            for (int64_t k = 0; k < n; k++)
                sum += inputs[0][(i * n + k) * inner + j];
            out[i * inner + j] = u->op->flag ? sum / (double)n : sum;
        }
    }
}

static tlm_status_t run_reshape(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    const unary_user_t *u = user;
    int64_t shape[] = {u->shape[u->ndim - 1], -1};
    if (product(u->shape, 0, u->ndim) == 0)
        shape[1] = product(u->shape, 0, u->ndim - 1);
    return tlm_reshape(out, inputs[0], shape, 2);
}

static tlm_status_t run_contiguous(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    return tlm_contiguous(out, inputs[0]);
}

static void reference_same(double *out, const double *const *inputs, void *user)
{
    const unary_user_t *u = user;
    memcpy(out, inputs[0], (size_t)product(u->shape, 0, u->ndim) * sizeof(double));
}

static tlm_status_t run_transpose(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    const unary_user_t *u = user;
    return tlm_transpose(out, inputs[0], u->op->dim, u->op->dim1);
}

/* Element (i0, .., i3) with places dim and dim1 exchanged. */
static void reference_transpose(double *out, const double *const *inputs, void *user)
{
    const unary_user_t *u = user;
    int32_t dim = u->op->dim + (u->op->dim < 0 ? u->ndim : 0);
    int32_t dim1 = u->op->dim1 + (u->op->dim1 < 0 ? u->ndim : 0);
    int64_t shape[4];
    memcpy(shape, u->shape, sizeof(shape));
    shape[dim] = u->shape[dim1];
    shape[dim1] = u->shape[dim];
    for (int64_t i = 0; i < product(shape, 0, u->ndim); i++) {
        int64_t index[4], rest = i, from = 0;
        for (int32_t d = u->ndim - 1; d >= 0; d--) {
            index[d] = rest % shape[d];
            rest /= shape[d];
        }
        int64_t swap = index[dim];
        index[dim] = index[dim1];
        index[dim1] = swap;
        for (int32_t d = 0; d < u->ndim; d++)
            from = from * u->shape[d] + index[d];
        out[i] = inputs[0][from];
    }
}

static void slice_bounds(const unary_user_t *u, int32_t *dim, int64_t *start, int64_t *stop)
{
    *dim = u->op->dim + (u->op->dim < 0 ? u->ndim : 0);
    *start = u->shape[*dim] / 3;
    *stop = u->op->flag ? *start : u->shape[*dim] - u->shape[*dim] / 4;
}

static tlm_status_t run_slice(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    int32_t dim;
    int64_t start, stop;
    slice_bounds(user, &dim, &start, &stop);
    return tlm_slice(out, inputs[0], dim, start, stop);
}

static void reference_slice(double *out, const double *const *inputs, void *user)
{
    const unary_user_t *u = user;
    int32_t dim;
    int64_t start, stop;
    slice_bounds(u, &dim, &start, &stop);
    int64_t outer = product(u->shape, 0, dim);
    int64_t inner = product(u->shape, dim + 1, u->ndim);
    for (int64_t i = 0; i < outer; i++)
        for (int64_t k = start; k < stop; k++)
            for (int64_t j = 0; j < inner; j++)
                *out++ = inputs[0][(i * u->shape[dim] + k) * inner + j];
}

/* x + x x + 3 x through a chain that uses x four times, once through a view. */
static tlm_status_t run_reuse(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    tlm_tensor_t *square = NULL, *turned = NULL, *back = NULL, *scaled = NULL, *sum = NULL;
    tlm_status_t status = tlm_mul(&square, inputs[0], inputs[0]);
    if (status == TLM_OK)
        status = tlm_transpose(&turned, inputs[0], 0, -1);
    if (status == TLM_OK)
        status = tlm_scale(&scaled, turned, 3.0f);
    if (status == TLM_OK)
        status = tlm_transpose(&back, scaled, 0, -1);
    if (status == TLM_OK)
        status = tlm_add(&sum, square, inputs[0]);
    if (status == TLM_OK)
        status = tlm_add(out, sum, back);
    tlm_tensor_free(square);
    tlm_tensor_free(turned);
    tlm_tensor_free(scaled);
    tlm_tensor_free(back);
    tlm_tensor_free(sum);
    return status;
}

static void reference_reuse(double *out, const double *const *inputs, void *user)
{
    const unary_user_t *u = user;
    for (int64_t i = 0; i < product(u->shape, 0, u->ndim); i++)
        out[i] = inputs[0][i] * inputs[0][i] + 4 * inputs[0][i];
}

static const unary_case_t unary_cases[] = {
    {"scale", run_scale, reference_scale, 0, 0, false},
    {"sum", run_sum, reference_sum, 0, 0, false},
    {"mean", run_sum, reference_sum, 0, 0, true},
    {"sum_dim(0)", run_sum_dim, reference_sum_dim, 0, 0, false},
    {"sum_dim(-1)", run_sum_dim, reference_sum_dim, -1, 1, false},
    {"sum_dim(-2)", run_sum_dim, reference_sum_dim, -2, 1, false},
    {"mean_dim(0)", run_sum_dim, reference_sum_dim, 0, 1, true},
    {"mean_dim(-1)", run_sum_dim, reference_sum_dim, -1, 0, true},
    {"reshape", run_reshape, reference_same, 0, 0, false},
    {"contiguous", run_contiguous, reference_same, 0, 0, false},
    {"transpose(0, -1)", run_transpose, reference_transpose, 0, -1, false},
    {"transpose(-2, -1)", run_transpose, reference_transpose, -2, -1, false},
    {"transpose(1, 1)", run_transpose, reference_transpose, 1, 1, false},
    {"slice(0)", run_slice, reference_slice, 0, 0, false},
    {"slice(-1)", run_slice, reference_slice, -1, 0, false},
    {"slice(-2), empty", run_slice, reference_slice, -2, 0, true},
    {"x used four times", run_reuse, reference_reuse, 0, 0, false},
};

static const struct {
    int32_t ndim;
    int64_t shape[4];
} unary_shapes[] = {
    {2, {1, 1}},       {2, {7, 13}},    {3, {3, 5, 17}},   {4, {2, 3, 4, 5}},
    {4, {1, 3, 1, 5}}, {2, {130, 257}}, {3, {2, 300, 70}}, {3, {3, 0, 4}},
    {2, {5, 0}},       {3, {0, 3, 2}},  {2, {1, 40000}},   {2, {40000, 1}},
};

START_TEST(test_unary)
{
    for (size_t s = 0; s < sizeof(unary_shapes) / sizeof(*unary_shapes); s++) {
        for (int layout = 0; layout < GRADCHECK_NUM_LAYOUTS; layout++) {
            unary_user_t user = {.op = &unary_cases[_i], .ndim = unary_shapes[s].ndim};
            memcpy(user.shape, unary_shapes[s].shape, sizeof(user.shape));
            gradcheck_t check = {.name = user.op->name,
                                 .run = user.op->run,
                                 .reference = user.op->reference,
                                 .user = &user,
                                 .num_inputs = 1,
                                 .max_elements = 24,
                                 .seed = s};
            check.inputs[0].ndim = user.ndim;
            check.inputs[0].layout = (gradcheck_layout_t)layout;
            memcpy(check.inputs[0].shape, user.shape, sizeof(user.shape));
            gradcheck(&check);
        }
    }
}
END_TEST

/* ---- matmul ----------------------------------------------------------------------------- */

static const struct {
    int32_t ndim_a, ndim_b;
    int64_t a[5], b[5];
} matmul_cases[] = {
    {2, 2, {1, 1}, {1, 1}},
    {2, 2, {3, 4}, {4, 5}},
    {2, 2, {17, 33}, {33, 29}},
    {2, 2, {1, 70}, {70, 9}},
    {2, 2, {9, 70}, {70, 1}},
    {3, 2, {2, 3, 4}, {4, 5}},
    {2, 3, {3, 4}, {2, 4, 5}},
    {3, 3, {2, 3, 4}, {2, 4, 5}},
    {3, 3, {9, 3, 4}, {9, 4, 5}},
    {3, 3, {1, 3, 4}, {9, 4, 5}},
    {4, 4, {2, 1, 3, 4}, {1, 5, 4, 2}},
    {4, 3, {2, 3, 3, 4}, {3, 4, 5}},
    {5, 2, {2, 1, 2, 3, 4}, {4, 6}},
    {2, 2, {3, 0}, {0, 5}},
    {2, 2, {0, 4}, {4, 5}},
    {2, 2, {3, 4}, {4, 0}},
    {3, 3, {0, 3, 4}, {1, 4, 5}},
    {3, 2, {0, 3, 4}, {4, 5}},
};

static tlm_status_t run_matmul(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    return tlm_matmul(out, inputs[0], inputs[1]);
}

static void reference_matmul(double *out, const double *const *inputs, void *user)
{
    int c = *(const int *)user;
    int32_t ndim_a = matmul_cases[c].ndim_a, ndim_b = matmul_cases[c].ndim_b;
    const int64_t *shape_a = matmul_cases[c].a, *shape_b = matmul_cases[c].b;
    int64_t m = shape_a[ndim_a - 2], k = shape_a[ndim_a - 1], n = shape_b[ndim_b - 1];
    const operands_t o = broadcast(shape_a, ndim_a - 2, shape_b, ndim_b - 2);
    for (int64_t t = 0; t < o.n; t++) {
        int64_t ia, ib;
        find_operands(&ia, &ib, &o, t);
        const double *x = inputs[0] + ia * m * k, *y = inputs[1] + ib * k * n;
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0;
                for (int64_t p = 0; p < k; p++)
                    sum += x[i * k + p] * y[p * n + j];
                out[(t * m + i) * n + j] = sum;
            }
    }
}

START_TEST(test_matmul)
{
    for (int layout = 0; layout < GRADCHECK_NUM_LAYOUTS * GRADCHECK_NUM_LAYOUTS; layout++) {
        gradcheck_t check = {.name = "matmul",
                             .run = run_matmul,
                             .reference = reference_matmul,
                             .user = &_i,
                             .num_inputs = 2,
                             .max_elements = 40,
                             .seed = (uint64_t)_i};
        check.inputs[0].ndim = matmul_cases[_i].ndim_a;
        check.inputs[1].ndim = matmul_cases[_i].ndim_b;
        memcpy(check.inputs[0].shape, matmul_cases[_i].a, sizeof(matmul_cases[_i].a));
        memcpy(check.inputs[1].shape, matmul_cases[_i].b, sizeof(matmul_cases[_i].b));
        check.inputs[0].layout = (gradcheck_layout_t)(layout % GRADCHECK_NUM_LAYOUTS);
        check.inputs[1].layout = (gradcheck_layout_t)(layout / GRADCHECK_NUM_LAYOUTS);
        check.inputs[0].constant = layout % 4 == 1;
        check.inputs[1].constant = layout % 4 == 2;
        gradcheck(&check);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tensor_ops");
    TCase *tcase = tcase_create("float64");
    tcase_set_timeout(tcase, 120);
    int n_binary = 2 * (int)(sizeof(broadcast_cases) / sizeof(*broadcast_cases));
    tcase_add_loop_test(tcase, test_binary, 0, n_binary);
    tcase_add_loop_test(tcase, test_unary, 0, (int)(sizeof(unary_cases) / sizeof(*unary_cases)));
    tcase_add_loop_test(tcase, test_matmul, 0, (int)(sizeof(matmul_cases) / sizeof(*matmul_cases)));
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
