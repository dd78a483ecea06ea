/* Ops that go element by element, from one table each: functions of one variable, and ops of
 * several operands over random shapes that broadcast. */
#include "gradcheck.h"
#include "run_suite.h"

#include "tinylm/runtime.h"

/* ---- Functions of one variable ---------------------------------------------------------- */

typedef struct function_row {
    const char *name;
    tlm_status_t (*op)(tlm_tensor_t **out, tlm_tensor_t *a);
    double (*value)(double x);
    double low, high; /* where it is smooth */
    double ulp;       /* of the value, over the whole range of float32 */
} function_row_t;

static double sigmoid64(double x)
{
    return 1 / (1 + exp(-x));
}

static double relu64(double x)
{
    return x < 0 ? 0 : x;
}

static double gelu64(double x)
{
    return 0.5 * x * erfc(-sqrt(0.5) * x);
}

static const function_row_t functions[] = {
    {"exp", tlm_exp, exp, -3, 3, 2},
    {"log", tlm_log, log, 0.2, 5, 2},
    {"sqrt", tlm_sqrt, sqrt, 0.2, 5, 1},
    {"tanh", tlm_tanh, tanh, -3, 3, 3},
    {"sigmoid", tlm_sigmoid, sigmoid64, -4, 4, 4},
    {"relu, above", tlm_relu, relu64, 0.01, 2, 1},
    {"relu, below", tlm_relu, relu64, -2, -0.01, 1},
    {"abs, above", tlm_abs, fabs, 0.01, 2, 1},
    {"abs, below", tlm_abs, fabs, -2, -0.01, 1},
    {"gelu", tlm_gelu, gelu64, -3, 3, 0}, /* 0: looked at on its own */
};
enum { NUM_FUNCTIONS = sizeof(functions) / sizeof(*functions) };

static const struct {
    int32_t ndim;
    int64_t shape[4];
} shapes[] = {
    {0, {0}},          {1, {1}},        {1, {67}},         {2, {7, 13}},   {3, {3, 5, 17}},
    {4, {2, 3, 1, 5}}, {2, {1, 40000}}, {3, {2, 300, 70}}, {3, {3, 0, 4}}, {2, {5, 0}},
};
enum { NUM_SHAPES = sizeof(shapes) / sizeof(*shapes) };

typedef struct function_user {
    const function_row_t *row;
    int64_t n;
} function_user_t;

static tlm_status_t run_function(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    return ((const function_user_t *)user)->row->op(out, inputs[0]);
}

static void reference_function(double *out, const double *const *inputs, void *user)
{
    const function_user_t *u = user;
    for (int64_t i = 0; i < u->n; i++)
        out[i] = u->row->value(inputs[0][i]);
}

START_TEST(test_function)
{
    const function_row_t *row = &functions[_i];
    for (int s = 0; s < NUM_SHAPES; s++)
        for (int layout = 0; layout < GRADCHECK_NUM_LAYOUTS; layout++) {
            gradcheck_t check = {.name = row->name,
                                 .run = run_function,
                                 .reference = reference_function,
                                 .num_inputs = 1,
                                 .max_elements = 24,
                                 .seed = (uint64_t)s};
            gradcheck_input_t *in = &check.inputs[0];
            *in = (gradcheck_input_t){.ndim = shapes[s].ndim,
                                      .low = row->low,
                                      .high = row->high,
                                      .layout = (gradcheck_layout_t)layout};
            memcpy(in->shape, shapes[s].shape, sizeof(shapes[s].shape));
            function_user_t user = {row, gradcheck_numel(in)};
            check.user = &user;
            gradcheck(&check);
        }
}
END_TEST

/* f(f's argument used twice): y = f(x) + f(x) x, so that gradients add up. */
static tlm_status_t run_twice(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    const function_user_t *u = user;
    tlm_tensor_t *value = NULL, *product = NULL;
    tlm_status_t status = u->row->op(&value, inputs[0]);
    if (status == TLM_OK)
        status = tlm_mul(&product, inputs[0], value);
    if (status == TLM_OK)
        status = tlm_add(out, value, product);
    tlm_tensor_free(value);
    tlm_tensor_free(product);
    return status;
}

static void reference_twice(double *out, const double *const *inputs, void *user)
{
    reference_function(out, inputs, user);
    for (int64_t i = 0; i < ((const function_user_t *)user)->n; i++)
        out[i] += out[i] * inputs[0][i];
}

START_TEST(test_used_twice)
{
    function_user_t user = {&functions[_i], 35};
    gradcheck_t check = {.name = user.row->name,
                         .run = run_twice,
                         .reference = reference_twice,
                         .user = &user,
                         .num_inputs = 1,
                         .inputs = {{.shape = {5, 7},
                                     .ndim = 2,
                                     .low = user.row->low,
                                     .high = user.row->high,
                                     .layout = GRADCHECK_TRANSPOSED}}};
    gradcheck(&check);
}
END_TEST

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* Distance in units of the last place of `want`; infinite where only one is NaN. */
static double ulps(float got, double want)
{
    float rounded = (float)want;
    if (isnan(rounded) || isnan(got))
        return isnan(rounded) && isnan(got) ? 0 : INFINITY;
    if (got == rounded)
        return 0;
    int exponent;
    frexp(want, &exponent);
    return fabs((double)got - want) / ldexp(1.0, (exponent < -125 ? -125 : exponent) - 24);
}

/* Every 4099th float32 there is, both infinities and all sorts of NaN among them. */
START_TEST(test_function_range)
{
    enum { N = 1 << 20, STRIDE = 4099 };
    const function_row_t *row = &functions[_i];
    float *x = malloc(N * sizeof(float)), *y = malloc(N * sizeof(float));
    double worst = 0;
    for (uint32_t i = 0; i < N; i++)
        x[i] = float_of(i * (uint32_t)STRIDE);
    x[0] = INFINITY;
    x[1] = -INFINITY;
    for (int level = 0; level <= TLM_CPU_AVX512; level++) {
        tlm_tensor_t *input, *result;
        if (tlm_set_cpu_level(level) != TLM_OK)
            continue;
        ck_assert_int_eq(
            tlm_tensor_wrap(&input, TLM_FLOAT32, x, (int64_t[]){N}, NULL, 1, NULL, NULL), TLM_OK);
        ck_assert_int_eq(row->op(&result, input), TLM_OK);
        ck_assert_int_eq(tlm_tensor_copy_out(y, N, result), TLM_OK);
        for (int i = 0; i < N; i++) {
            double want = row->value((double)x[i]), off = ulps(y[i], want);
            if (row->ulp == 0) /* off by its own size at most in the tail, where it vanishes */
                off = fabs((double)y[i] - want) <= 5e-7 * fmax(fabs(want), 0.05) ? 0 : off;
            if (!(off <= row->ulp))
                ck_abort_msg("%s(%.9g) is %.9g, should be %.9g, off by %.2f ulp at level %d",
                             row->name, (double)x[i], (double)y[i], want, off, level);
            worst = off > worst ? off : worst;
        }
        tlm_tensor_free(input);
        tlm_tensor_free(result);
    }
    printf("%s: worst error %.3f ulp\n", row->name, worst);
    free(x);
    free(y);
}
END_TEST

/* ---- Ops of several operands, broadcast ------------------------------------------------- */

typedef struct operands_row {
    const char *name;
    tlm_status_t (*op)(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b);
    double (*value)(double a, double b);
    double low, high;     /* of b */
    double low_a, high_a; /* both 0: -1 to 1 */
} operands_row_t;

static double add64(double a, double b)
{
    return a + b;
}

static double sub64(double a, double b)
{
    return a - b;
}

static double mul64(double a, double b)
{
    return a * b;
}

static double div64(double a, double b)
{
    return a / b;
}

/* where's condition is the third operand, which has no gradient. */
static const operands_row_t operands[] = {
    {"add", tlm_add, add64, -1, 1, 0, 0}, {"sub", tlm_sub, sub64, -1, 1, 0, 0},
    {"mul", tlm_mul, mul64, -1, 1, 0, 0}, {"div", tlm_div, div64, 0.5, 2, 0, 0},
    {"pow", tlm_pow, pow, -3, 3, 0.5, 2}, {"where", NULL, NULL, -1, 1, 0, 0},
};
enum { NUM_OPERANDS = sizeof(operands) / sizeof(*operands) };

typedef struct operands_user {
    const operands_row_t *row;
    gradcheck_input_t *inputs; /* a and b */
    int64_t condition_shape[TLM_MAX_DIMS];
    int32_t condition_ndim;
    bool condition[3000];
    int64_t shape[TLM_MAX_DIMS]; /* of the result */
    int32_t ndim;
} operands_user_t;

/* numpy's rule, written plainly. False where sizes do not fit. */
static bool broadcast(int64_t *shape, int32_t *ndim, const int64_t *other, int32_t other_ndim)
{
    int64_t sizes[TLM_MAX_DIMS];
    int32_t rank = *ndim > other_ndim ? *ndim : other_ndim;
    for (int32_t k = 1; k <= rank; k++) { /* from the last dimension */
        int64_t a = k <= *ndim ? shape[*ndim - k] : 1;
        int64_t b = k <= other_ndim ? other[other_ndim - k] : 1;
        if (a != b && a != 1 && b != 1)
            return false;
        sizes[rank - k] = a == 1 ? b : a;
    }
    memcpy(shape, sizes, sizeof(sizes));
    *ndim = rank;
    return true;
}

/* Where element `index` of the broadcast shape lies in a row-major operand. */
static int64_t place(const operands_user_t *u, int64_t index, const int64_t *shape, int32_t ndim)
{
    int64_t at = 0, step = 1;
    for (int32_t k = 1; k <= u->ndim; k++) {
        int64_t i = index % u->shape[u->ndim - k];
        index /= u->shape[u->ndim - k];
        if (k <= ndim) {
            at += shape[ndim - k] == 1 ? 0 : i * step;
            step *= shape[ndim - k];
        }
    }
    return at;
}

static tlm_status_t run_operands(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    const operands_user_t *u = user;
    if (u->row->op != NULL)
        return u->row->op(out, inputs[0], inputs[1]);
    tlm_tensor_t *condition;
    tlm_status_t status = tlm_tensor_from_data(&condition, TLM_BOOL, u->condition,
                                               u->condition_shape, u->condition_ndim);
    if (status != TLM_OK)
        return status;
    status = tlm_where(out, condition, inputs[0], inputs[1]);
    tlm_tensor_free(condition);
    return status;
}

static void reference_operands(double *out, const double *const *inputs, void *user)
{
    const operands_user_t *u = user;
    int64_t n = 1;
    for (int32_t d = 0; d < u->ndim; d++)
        n *= u->shape[d];
    for (int64_t i = 0; i < n; i++) {
        double a = inputs[0][place(u, i, u->inputs[0].shape, u->inputs[0].ndim)];
        double b = inputs[1][place(u, i, u->inputs[1].shape, u->inputs[1].ndim)];
        if (u->row->value != NULL)
            out[i] = u->row->value(a, b);
        else
            out[i] = u->condition[place(u, i, u->condition_shape, u->condition_ndim)] ? a : b;
    }
}

static int64_t draw(uint64_t *random, int64_t n)
{
    return (int64_t)(gradcheck_uniform(random) * (double)n);
}

/* An operand of the shape `full`: leading dimensions dropped, some sizes made 1, at times one that
 * does not fit. */
static void draw_shape(int64_t *shape, int32_t *ndim, const int64_t *full, int32_t rank,
                       uint64_t *random)
{
    int32_t skip = draw(random, 3) == 0 ? (int32_t)draw(random, rank + 1) : 0;
    *ndim = rank - skip;
    for (int32_t d = 0; d < *ndim; d++) {
        shape[d] = draw(random, 3) == 0 ? 1 : full[skip + d];
        if (draw(random, 15) == 0)
            shape[d]++;
    }
}

START_TEST(test_broadcast)
{
    static const int64_t sizes[] = {1, 2, 3, 4, 7, 0};
    static operands_user_t user;
    uint64_t random = (uint64_t)_i + 1;
    int fitting = 0, refused = 0;
    for (int round = 0; round < 150; round++) {
        gradcheck_t check = {.name = operands[_i].name,
                             .run = run_operands,
                             .reference = reference_operands,
                             .user = &user,
                             .num_inputs = 2,
                             .max_elements = 6,
                             .seed = (uint64_t)round};
        user.row = &operands[_i];
        user.inputs = check.inputs;
        int64_t full[5];
        int32_t rank = (int32_t)draw(&random, 6);
        for (int32_t d = 0; d < rank; d++)
            full[d] = sizes[draw(&random, draw(&random, 8) == 0 ? 6 : 5)];
        for (int i = 0; i < 2; i++) {
            draw_shape(check.inputs[i].shape, &check.inputs[i].ndim, full, rank, &random);
            check.inputs[i].layout = (gradcheck_layout_t)draw(&random, GRADCHECK_NUM_LAYOUTS);
            check.inputs[i].constant = draw(&random, 5) == 0;
        }
        check.inputs[0].low = user.row->low_a;
        check.inputs[0].high = user.row->high_a;
        check.inputs[1].low = user.row->low;
        check.inputs[1].high = user.row->high;
        draw_shape(user.condition_shape, &user.condition_ndim, full, rank, &random);
        if (user.row->op != NULL)
            user.condition_ndim = 0;
        for (size_t i = 0; i < sizeof(user.condition); i++)
            user.condition[i] = draw(&random, 2) == 0;
        user.ndim = 0;
        bool fits = broadcast(user.shape, &user.ndim, user.condition_shape, user.condition_ndim);
        for (int i = 0; i < 2; i++)
            fits = fits &&
                   broadcast(user.shape, &user.ndim, check.inputs[i].shape, check.inputs[i].ndim);
        if (fits) {
            gradcheck(&check);
            fitting++;
            continue;
        }
        tlm_tensor_t *inputs[2], *out = NULL;
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(tlm_tensor_create(&inputs[i], TLM_FLOAT32, check.inputs[i].shape,
                                               check.inputs[i].ndim),
                             TLM_OK);
        ck_assert_int_eq(run_operands(&out, inputs, &user), TLM_ERR_SHAPE);
        ck_assert_ptr_nonnull(strstr(tlm_error_message(), "do not broadcast: ("));
        ck_assert_ptr_null(out);
        tlm_tensor_free(inputs[0]);
        tlm_tensor_free(inputs[1]);
        refused++;
    }
    ck_assert_msg(fitting > 50 && refused > 5, "%d fit, %d do not", fitting, refused);
}
END_TEST

/* x / x and x - x: one tensor as both operands. */
static tlm_status_t run_same(tlm_tensor_t **out, tlm_tensor_t **inputs, void *user)
{
    tlm_tensor_t *both[] = {inputs[0], inputs[0]};
    return run_operands(out, both, user);
}

static void reference_same(double *out, const double *const *inputs, void *user)
{
    const double *const both[] = {inputs[0], inputs[0]};
    reference_operands(out, both, user);
}

START_TEST(test_same_operand)
{
    static operands_user_t user;
    gradcheck_t check = {.name = operands[_i].name,
                         .run = run_same,
                         .reference = reference_same,
                         .user = &user,
                         .num_inputs = 1,
                         .inputs = {{.shape = {5, 7}, .ndim = 2, .low = 0.5, .high = 2},
                                    {.shape = {5, 7}, .ndim = 2}}};
    user.row = &operands[_i];
    user.inputs = check.inputs;
    user.ndim = user.condition_ndim = 2;
    user.shape[0] = user.condition_shape[0] = 5;
    user.shape[1] = user.condition_shape[1] = 7;
    for (int i = 0; i < 35; i++)
        user.condition[i] = i % 3 == 0;
    gradcheck(&check);
}
END_TEST

/* What is not chosen does not count: NaN neither comes through nor into the gradient. */
START_TEST(test_where_hides)
{
    const float values[] = {1, NAN, 3, INFINITY};
    const bool condition[] = {true, false, true, false};
    tlm_tensor_t *a, *b, *c, *y, *loss;
    float got[4];
    ck_assert_int_eq(tlm_tensor_from_data(&a, TLM_FLOAT32, values, (int64_t[]){4}, 1), TLM_OK);
    ck_assert_int_eq(tlm_tensor_create(&b, TLM_FLOAT32, NULL, 0), TLM_OK);
    ck_assert_int_eq(tlm_tensor_from_data(&c, TLM_BOOL, condition, (int64_t[]){4}, 1), TLM_OK);
    ck_assert_int_eq(tlm_tensor_set_requires_grad(a, true), TLM_OK);
    ck_assert_int_eq(tlm_tensor_set_requires_grad(b, true), TLM_OK);
    ck_assert_int_eq(tlm_where(&y, c, a, b), TLM_OK);
    ck_assert_int_eq(tlm_tensor_copy_out(got, 4, y), TLM_OK);
    ck_assert(got[0] == 1 && got[1] == 0 && got[2] == 3 && got[3] == 0);
    ck_assert_int_eq(tlm_sum(&loss, y), TLM_OK);
    ck_assert_int_eq(tlm_tensor_backward(loss, NULL), TLM_OK);
    ck_assert_int_eq(tlm_tensor_copy_out(got, 4, tlm_tensor_grad(a)), TLM_OK);
    ck_assert(got[0] == 1 && got[1] == 0 && got[2] == 1 && got[3] == 0);
    ck_assert_int_eq(tlm_tensor_item(got, tlm_tensor_grad(b)), TLM_OK);
    ck_assert(got[0] == 2);
    tlm_tensor_free(a);
    tlm_tensor_free(b);
    tlm_tensor_free(c);
    tlm_tensor_free(y);
    tlm_tensor_free(loss);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("elementwise");
    TCase *tcase = tcase_create("float64");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, test_function, 0, NUM_FUNCTIONS);
    tcase_add_loop_test(tcase, test_used_twice, 0, NUM_FUNCTIONS);
    tcase_add_loop_test(tcase, test_function_range, 0, NUM_FUNCTIONS);
    tcase_add_loop_test(tcase, test_broadcast, 0, NUM_OPERANDS);
    tcase_add_loop_test(tcase, test_same_operand, 0, NUM_OPERANDS);
    tcase_add_test(tcase, test_where_hides);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, CK_NOFORK);
}
