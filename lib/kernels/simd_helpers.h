/* The operations that vector loops are written with, once for all CPU levels. simd_scalar.h,
 * x86/simd_avx2.h, x86/simd_avx512.h and arm/simd_neon.h each define the operations of their level,
 * then include this file:
 *
 *   TARGET                    attribute of every function (the instruction set)
 *   V, WIDTH                  a vector of WIDTH floats; WIDTH divides LANES
 *   PANEL_ROWS                rows of a register tile of 16 columns
 *   v_set v_add v_sub v_mul v_div v_sqrt v_min v_max
 *   v_fma(a, b, c)            a b + c, rounded once or twice
 *   v_round(x)                to the nearest integer, |x| < 2^21
 *   v_power2(p, n)            p 2^n for integral n, |n| <= 256, rounded once
 *   v_load(x, i, n, fill)     x[i..]; elements from n on read as `fill`
 *   v_load_bf16(x, i, n)      the same for bfloat16 and float16 in uint16_t; 0 from n on
 *   v_load_f16(x, i, n)
 *   v_store(y, i, n, v)       stores to y[i..], nothing from n on
 *   v_keep(v, i, n)           v with elements from n on set to 0
 *   v_has_nan(x)              true if any element is NaN
 *   VD, vd_zero vd_add_square vd_store    WIDTH doubles: acc + x x in float64
 *   F4, v_fold(sums)          adds LANES partial sums up to four: lane k + 8, then k + 4 to lane k
 *   f4_sum f4_sums            the rest of that tree, for one F4 or for four at once
 *   W, W_WIDTH, w_set w_add w_fma w_load(x) w_store(y, w)    the vector of register tiles; W_WIDTH
 *                             divides LANES; W is V where it is not defined
 *   v_transpose(t, w, s, stride, rows)    t[p w + i] = s[i stride + p] for p < 4 and i < rows (4, 6
 *                             or 8, a constant); six rows may write eight floats per p
 *   B, BYTES                  a vector of BYTES bytes; BYTES divides 64. Not at the scalar level.
 *   b_load(bytes)             loads a vector; the next three return masks, bit i for byte i:
 *   b_equal(b, value) b_between(b, first, last) b_high(b)    unsigned; b_high: 0x80 and above
 *
 * If a or b is NaN, v_min(a, b) and v_max(a, b) return b, as the x86 instructions do, or NaN, as
 * ARM's do.
 *
 * A file of kernels is a template: one .c file per level includes it after one of these headers and
 * puts its functions into the table (kernels.h). */

#define KERNEL static TARGET
#define HELPER static inline __attribute__((always_inline)) TARGET

enum { LANES = 16, ACCUMULATORS = LANES / WIDTH };

/* Runs the body for i = 0, step, 2 step, ... below n. Its loads and stores take `end` as their n.
 * In iterations that lie fully within n, `end` is a constant that no index reaches, so that the
 * compiler drops their bounds checks. */
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

#ifndef W
#define W              V
#define W_WIDTH        WIDTH
#define w_set(x)       v_set(x)
#define w_add(a, b)    v_add(a, b)
#define w_fma(a, b, c) v_fma(a, b, c)
#define w_load(x)      v_load(x, 0, INT64_MAX, 0.0f)
#define w_store(y, w)  v_store(y, 0, INT64_MAX, w)
#endif

/* ---- Elementary functions --------------------------------------------------------------- */

/* exp(x) = 2^n e^r with n = round(x / ln 2) and |r| <= ln 2 / 2. ln 2 is split in two parts, the
 * first with few enough bits that its product with n is exact. e^r = 1 + r + r^2 Q(r), where Q is
 * the polynomial of degree 4 with the least relative error of e^r (3.1e-9), found by reweighted
 * least squares. */
HELPER V exp_v(V x)
{
    x = v_max(v_set(-104.0f), v_min(v_set(89.0f), x)); /* beyond these: 0 and infinity */
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

/* Adds up LANES partial sums in a fixed tree: lane k + 8 to lane k, then k + 4, k + 2, k + 1. */
HELPER float sum_lanes(const V *sums)
{
    return f4_sum(v_fold(sums));
}
