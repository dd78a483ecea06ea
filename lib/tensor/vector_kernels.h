/* The vector kernels, written once over a small set of vector operations and compiled once a CPU
 * level. The including file defines, before it includes this one:
 *
 *   TARGET                    attribute of every function (the instruction set)
 *   KERNEL_TABLE              name of the table made at the end
 *   V, WIDTH                  a vector of WIDTH floats; WIDTH divides LANES
 *   v_set v_add v_sub v_mul v_div v_sqrt v_min v_max
 *   v_fma(a, b, c)            a b + c, rounded once or twice
 *   v_round(x)                to the nearest integer, |x| < 2^21
 *   v_power2(p, n)            p 2^n for integral n, |n| <= 256, rounded once
 *   v_load(x, i, n, fill)     x[i..], elements from n on read as `fill`
 *   v_store(y, i, n, v)       to y[i..], nothing from n on
 *   v_keep(v, i, n)           v, elements from n on made 0
 *   v_has_nan(x)              true if any element is NaN
 *   VD, vd_zero vd_add_square vd_store    WIDTH doubles: acc + x x in float64
 *
 * v_min(a, b) and v_max(a, b) are b where either is NaN, as the instructions are.
 *
 * Every loop takes the vector at i while i < n; the last, partial one goes through the same
 * arithmetic, so that an element's result does not depend on where a row was cut. Reductions keep
 * LANES partial results, element i in lane i mod LANES, and add them up in a fixed tree. */

#define KERNEL static TARGET
#define HELPER static inline __attribute__((always_inline)) TARGET

enum { LANES = 16, ACCUMULATORS = LANES / WIDTH };

/* Runs the body with i = 0, step, 2 step, ... below n. Loads and stores in it take `end` for n: in
 * the rounds that lie within n it is a constant that no index reaches, so that their checks vanish.
 */
#define FOR_VECTORS(n, step, ...)                                                                  \
    do {                                                                                           \
        int64_t i = 0;                                                                             \
        for (; i + (step) <= (n); i += (step)) {                                                   \
            const int64_t end = INT64_MAX;                                                         \
            __VA_ARGS__                                                                            \
        }                                                                                          \
        if (i < (n)) {                                                                             \
            const int64_t end = (n);                                                               \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    } while (0)

/* ---- Elementary functions --------------------------------------------------------------- */

/* exp(x) = 2^n e^r with n = round(x / ln 2) and |r| <= ln 2 / 2. ln 2 is cut in two parts, the
 * first of which has few enough bits that n times it is exact. e^r = 1 + r + r^2 Q(r); Q is the
 * polynomial of degree 4 with the least relative error of e^r (3.1e-9), found by reweighted least
 * squares. */
HELPER V exp_v(V x)
{
    x = v_max(v_set(-104.0f), v_min(v_set(89.0f), x)); /* beyond: 0 and infinity */
    V n = v_round(v_mul(x, v_set(0x1.715476p+0f)));
    V r = v_fma(n, v_set(-0x1.63p-1f), x);
    r = v_fma(n, v_set(0x1.bd0106p-13f), r);
    V q = v_fma(v_set(0x1.6a23d0p-10f), r, v_set(0x1.123a20p-7f));
    q = v_fma(q, r, v_set(0x1.5558f2p-5f));
    q = v_fma(q, r, v_set(0x1.555492p-3f));
    q = v_fma(q, r, v_set(0x1.fffffcp-2f));
    q = v_fma(v_mul(r, r), q, r);
    return v_power2(v_add(q, v_set(1.0f)), n);
}

/* 1 / (1 + exp(-x)) */
HELPER V sigmoid_v(V x)
{
    V e = exp_v(v_sub(v_set(0.0f), x));
    return v_div(v_set(1.0f), v_add(v_set(1.0f), e));
}

/* d silu(x) / dx = s (1 + x (1 - s)), s = sigmoid(x) */
HELPER V silu_slope_v(V x, V s)
{
    V one = v_set(1.0f);
    return v_mul(s, v_fma(x, v_sub(one, s), one));
}

HELPER void put(float *y, int64_t i, int64_t n, V v, bool accumulate)
{
    v_store(y, i, n, accumulate ? v_add(v_load(y, i, n, 0.0f), v) : v);
}

/* Adds up LANES partial sums in a fixed tree. */
HELPER float sum_lanes(const V *sums)
{
    float lanes[LANES];
    for (int k = 0; k < ACCUMULATORS; k++)
        v_store(lanes, k * WIDTH, LANES, sums[k]);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int k = 0; k < half; k++)
            lanes[k] += lanes[k + half];
    return lanes[0];
}

/* ---- Reductions ------------------------------------------------------------------------- */

KERNEL float kernel_exp_sum(float *y, const float *x, float shift, int64_t n)
{
    V sums[ACCUMULATORS];
    for (int k = 0; k < ACCUMULATORS; k++)
        sums[k] = v_set(0.0f);
    FOR_VECTORS(n, LANES, {
        for (int k = 0; k < ACCUMULATORS; k++) {
            /* what lies past the end reads as -inf, whose exp adds 0 */
            int64_t j = i + k * WIDTH;
            V e = exp_v(v_sub(v_load(x, j, end, -__builtin_inff()), v_set(shift)));
            v_store(y, j, end, e);
            sums[k] = v_add(sums[k], v_keep(e, j, end));
        }
    });
    return sum_lanes(sums);
}

KERNEL float kernel_max(const float *x, int64_t n)
{
    V best = v_set(-__builtin_inff());
    bool nan = false;
    FOR_VECTORS(n, WIDTH, {
        V v = v_load(x, i, end, -__builtin_inff());
        nan |= v_has_nan(v);
        best = v_max(v, best);
    });
    if (nan)
        return __builtin_nanf("");
    float lanes[WIDTH];
    v_store(lanes, 0, WIDTH, best);
    for (int k = 1; k < WIDTH; k++)
        lanes[0] = lanes[k] > lanes[0] ? lanes[k] : lanes[0];
    return lanes[0];
}

KERNEL float kernel_sum(const float *x, int64_t n)
{
    V sums[ACCUMULATORS];
    for (int k = 0; k < ACCUMULATORS; k++)
        sums[k] = v_set(0.0f);
    FOR_VECTORS(n, LANES, {
        for (int k = 0; k < ACCUMULATORS; k++)
            sums[k] = v_add(sums[k], v_load(x, i + k * WIDTH, end, 0.0f));
    });
    return sum_lanes(sums);
}

KERNEL float kernel_dot(const float *x, const float *y, int64_t n)
{
    V sums[ACCUMULATORS];
    for (int k = 0; k < ACCUMULATORS; k++)
        sums[k] = v_set(0.0f);
    FOR_VECTORS(n, LANES, {
        for (int k = 0; k < ACCUMULATORS; k++) {
            int64_t j = i + k * WIDTH;
            sums[k] = v_fma(v_load(x, j, end, 0.0f), v_load(y, j, end, 0.0f), sums[k]);
        }
    });
    return sum_lanes(sums);
}

/* Four dot products at once: x is read once, and the four chains of additions overlap. Each has the
 * operations of kernel_dot in the same order. */
KERNEL void kernel_dot4(float *out, const float *x, const float *rows, int64_t stride, int64_t n)
{
    V sums[4][ACCUMULATORS];
    for (int r = 0; r < 4; r++)
        for (int k = 0; k < ACCUMULATORS; k++)
            sums[r][k] = v_set(0.0f);
    FOR_VECTORS(n, LANES, {
        for (int k = 0; k < ACCUMULATORS; k++) {
            int64_t j = i + k * WIDTH;
            V v = v_load(x, j, end, 0.0f);
            for (int r = 0; r < 4; r++)
                sums[r][k] = v_fma(v, v_load(rows + r * stride, j, end, 0.0f), sums[r][k]);
        }
    });
    for (int r = 0; r < 4; r++)
        out[r] = sum_lanes(sums[r]);
}

KERNEL void kernel_dot_rows(float *out, const float *x, const float *rows, int64_t stride,
                            int64_t num_rows, int64_t n)
{
    int64_t r = 0;
    for (; r + 4 <= num_rows; r += 4)
        kernel_dot4(out + r, x, rows + r * stride, stride, n);
    for (; r < num_rows; r++)
        out[r] = kernel_dot(x, rows + r * stride, n);
}

KERNEL double kernel_sum_squares(const float *x, int64_t n)
{
    VD sums[ACCUMULATORS];
    double lanes[LANES];
    for (int k = 0; k < ACCUMULATORS; k++)
        sums[k] = vd_zero();
    FOR_VECTORS(n, LANES, {
        for (int k = 0; k < ACCUMULATORS; k++)
            sums[k] = vd_add_square(sums[k], v_load(x, i + k * WIDTH, end, 0.0f));
    });
    for (int k = 0; k < ACCUMULATORS; k++)
        vd_store(lanes + k * WIDTH, sums[k]);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int k = 0; k < half; k++)
            lanes[k] += lanes[k + half];
    return lanes[0];
}

/* ---- Element by element ----------------------------------------------------------------- */

KERNEL void kernel_exp(float *y, const float *x, int64_t n)
{
    FOR_VECTORS(n, WIDTH, { v_store(y, i, end, exp_v(v_load(x, i, end, 0.0f))); });
}

KERNEL void kernel_add(float *y, const float *a, const float *b, int64_t n)
{
    FOR_VECTORS(n, WIDTH,
                { v_store(y, i, end, v_add(v_load(a, i, end, 0.0f), v_load(b, i, end, 0.0f))); });
}

KERNEL void kernel_mul(float *y, const float *a, const float *b, int64_t n)
{
    FOR_VECTORS(n, WIDTH,
                { v_store(y, i, end, v_mul(v_load(a, i, end, 0.0f), v_load(b, i, end, 0.0f))); });
}

KERNEL void kernel_mul_add(float *y, const float *a, const float *b, int64_t n)
{
    FOR_VECTORS(n, WIDTH,
                { put(y, i, end, v_mul(v_load(a, i, end, 0.0f), v_load(b, i, end, 0.0f)), true); });
}

KERNEL void kernel_scale(float *y, const float *a, float factor, int64_t n)
{
    FOR_VECTORS(n, WIDTH, { v_store(y, i, end, v_mul(v_set(factor), v_load(a, i, end, 0.0f))); });
}

KERNEL void kernel_axpy(float *y, float factor, const float *x, int64_t n)
{
    FOR_VECTORS(n, WIDTH, { put(y, i, end, v_mul(v_set(factor), v_load(x, i, end, 0.0f)), true); });
}

KERNEL void kernel_silu(float *y, const float *x, int64_t n)
{
    FOR_VECTORS(n, WIDTH, {
        V v = v_load(x, i, end, 0.0f);
        v_store(y, i, end, v_mul(v, sigmoid_v(v)));
    });
}

KERNEL void kernel_silu_backward(float *dx, const float *dy, const float *x, bool accumulate,
                                 int64_t n)
{
    FOR_VECTORS(n, WIDTH, {
        V v = v_load(x, i, end, 0.0f);
        V slope = silu_slope_v(v, sigmoid_v(v));
        put(dx, i, end, v_mul(v_load(dy, i, end, 0.0f), slope), accumulate);
    });
}

KERNEL void kernel_silu_mul(float *y, const float *gate, const float *up, int64_t n)
{
    FOR_VECTORS(n, WIDTH, {
        V g = v_load(gate, i, end, 0.0f);
        v_store(y, i, end, v_mul(v_mul(g, sigmoid_v(g)), v_load(up, i, end, 0.0f)));
    });
}

KERNEL void kernel_silu_mul_backward(float *dgate, bool accumulate_gate, float *dup,
                                     bool accumulate_up, const float *dy, const float *gate,
                                     const float *up, int64_t n)
{
    FOR_VECTORS(n, WIDTH, {
        V g = v_load(gate, i, end, 0.0f);
        V u = v_load(up, i, end, 0.0f);
        V d = v_load(dy, i, end, 0.0f);
        V s = sigmoid_v(g);
        put(dgate, i, end, v_mul(v_mul(d, u), silu_slope_v(g, s)), accumulate_gate);
        put(dup, i, end, v_mul(d, v_mul(g, s)), accumulate_up);
    });
}

/* One step of AdamW: m and v are the moving averages of the gradient and its square. */
KERNEL void kernel_adamw(float *theta, float *m, float *v, const float *grad,
                         const tlmi_adamw_step_t *step, int64_t n)
{
    FOR_VECTORS(n, WIDTH, {
        V g = v_load(grad, i, end, 0.0f);
        V mean = v_add(v_mul(v_set(step->beta1), v_load(m, i, end, 0.0f)),
                       v_mul(v_set(step->one_minus_beta1), g));
        V square = v_add(v_mul(v_set(step->beta2), v_load(v, i, end, 0.0f)),
                         v_mul(v_set(step->one_minus_beta2), v_mul(g, g)));
        V change =
            v_div(v_mul(v_set(step->step_size), mean), v_add(v_sqrt(square), v_set(step->eps)));
        v_store(m, i, end, mean);
        v_store(v, i, end, square);
        v_store(theta, i, end,
                v_mul(v_sub(v_load(theta, i, end, 0.0f), change), v_set(step->decay)));
    });
}

const tlmi_vector_ops_t KERNEL_TABLE = {
    .exp = kernel_exp,
    .exp_sum = kernel_exp_sum,
    .max = kernel_max,
    .sum = kernel_sum,
    .dot = kernel_dot,
    .dot_rows = kernel_dot_rows,
    .sum_squares = kernel_sum_squares,
    .add = kernel_add,
    .mul = kernel_mul,
    .mul_add = kernel_mul_add,
    .scale = kernel_scale,
    .axpy = kernel_axpy,
    .silu = kernel_silu,
    .silu_backward = kernel_silu_backward,
    .silu_mul = kernel_silu_mul,
    .silu_mul_backward = kernel_silu_mul_backward,
    .adamw = kernel_adamw,
};
