/* The vector kernels, written once in terms of the operations of simd_helpers.h and compiled once
 * per level. The including file includes simd_<level>.h first.
 *
 * Every loop processes the vector at i while i < n. The last, partial vector goes through the same
 * arithmetic, so that the result of an element does not depend on where a row was split. Reductions
 * keep LANES partial results, with element i in lane i mod LANES, and add them up in a fixed
 * tree. */

/* ---- Reductions ------------------------------------------------------------------------- */

KERNEL float kernel_exp_sum(float *y, const float *x, float shift, int64_t n)
{
    V sums[ACCUMULATORS];
    for (int k = 0; k < ACCUMULATORS; k++)
        sums[k] = v_set(0.0f);
    FOR_VECTORS(n, LANES, {
        for (int k = 0; k < ACCUMULATORS; k++) {
            /* elements past the end read as -inf, whose exp adds 0 */
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

/* ---- Dot products with rows of each element type, and their weighted sums ---------------- */

enum { TILE = WIDTH == 16 ? 4 : 2 }; /* as many sums as the registers can hold */

#define ROW                 float
#define LOAD_ROW(row, i, n) v_load(row, i, n, 0.0f)
#define NAMED(name)         kernel_##name
#define WEIGHTED_ROWS
#include "kernels/dot_kernels.h"

#define ROW                 uint16_t
#define LOAD_ROW(row, i, n) v_load_bf16(row, i, n)
#define NAMED(name)         kernel_##name##_bf16
#include "kernels/dot_kernels.h"

#define ROW                 uint16_t
#define LOAD_ROW(row, i, n) v_load_f16(row, i, n)
#define NAMED(name)         kernel_##name##_f16
#define WEIGHTED_ROWS
#include "kernels/dot_kernels.h"

/* ---- Other sums ------------------------------------------------------------------------- */

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
    const tlmi_adamw_step_t s = *step; /* not in memory that the stores might change */

    FOR_VECTORS(n, WIDTH, {
        V g = v_load(grad, i, end, 0.0f);
        V mean = v_add(v_mul(v_set(s.beta1), v_load(m, i, end, 0.0f)),
                       v_mul(v_set(s.one_minus_beta1), g));
        V square = v_add(v_mul(v_set(s.beta2), v_load(v, i, end, 0.0f)),
                         v_mul(v_set(s.one_minus_beta2), v_mul(g, g)));
        V change = v_div(v_mul(v_set(s.step_size), mean), v_add(v_sqrt(square), v_set(s.eps)));
        v_store(m, i, end, mean);
        v_store(v, i, end, square);
        V decayed = v_mul(v_load(theta, i, end, 0.0f), v_set(s.decay_before));
        v_store(theta, i, end, v_mul(v_sub(decayed, change), v_set(s.decay_after)));
    });
}
