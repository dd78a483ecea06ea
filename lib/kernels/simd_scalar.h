/* Vector operations in portable C, one float at a time: the reference for the other levels. Only
 * kernel files may include it, because the names are short. */
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/dtype.h"

#define TARGET
#define V          float
#define VD         double
#define WIDTH      1
#define PANEL_ROWS 4
#define INLINE     static inline __attribute__((always_inline))

INLINE V v_set(float x)
{
    return x;
}

INLINE V v_add(V a, V b)
{
    return a + b;
}

INLINE V v_sub(V a, V b)
{
    return a - b;
}

INLINE V v_mul(V a, V b)
{
    return a * b;
}

INLINE V v_div(V a, V b)
{
    return a / b;
}

INLINE V v_sqrt(V a)
{
    return sqrtf(a);
}

INLINE V v_min(V a, V b)
{
    return a < b ? a : b;
}

INLINE V v_max(V a, V b)
{
    return a > b ? a : b;
}

INLINE V v_fma(V a, V b, V c)
{
    return a * b + c;
}

/* Adding 1.5 * 2^23 leaves no bits for a fraction, so it rounds to an integer. */
INLINE V v_round(V x)
{
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

INLINE float power2(int32_t n)
{
    uint32_t bits = (uint32_t)(n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof(power));
    return power;
}

/* In two steps, because 2^n itself may be outside the range of normal numbers. The first step is
 * exact. */
INLINE V v_power2(V p, V n)
{
    if (!(n == n))
        return n;
    int32_t whole = (int32_t)n;
    int32_t half = whole / 2;
    return p * power2(half) * power2(whole - half);
}

INLINE V v_load(const float *x, int64_t i, int64_t n, float fill)
{
    return i < n ? x[i] : fill;
}

INLINE V v_load_bf16(const uint16_t *x, int64_t i, int64_t n)
{
    return i < n ? tlmi_bfloat16_to_float(x[i]) : 0.0f;
}

INLINE V v_load_f16(const uint16_t *x, int64_t i, int64_t n)
{
    return i < n ? tlmi_half_to_float(x[i]) : 0.0f;
}

INLINE void v_store(float *y, int64_t i, int64_t n, V v)
{
    if (i < n)
        y[i] = v;
}

INLINE V v_keep(V v, int64_t i, int64_t n)
{
    return i < n ? v : 0.0f;
}

INLINE bool v_has_nan(V v)
{
    return !(v == v);
}

INLINE VD vd_zero(void)
{
    return 0.0;
}

INLINE VD vd_add_square(VD sum, V x)
{
    return sum + (double)x * (double)x;
}

INLINE void vd_store(double *y, VD v)
{
    *y = v;
}

typedef struct float4 {
    float lanes[4];
} float4_t;
#define F4 float4_t

INLINE float f4_sum(F4 a)
{
    return (a.lanes[0] + a.lanes[2]) + (a.lanes[1] + a.lanes[3]);
}

INLINE void f4_sums(float *out, F4 a, F4 b, F4 c, F4 d)
{
    out[0] = f4_sum(a);
    out[1] = f4_sum(b);
    out[2] = f4_sum(c);
    out[3] = f4_sum(d);
}

INLINE F4 v_fold(const V *sums)
{
    F4 folded;
    for (int k = 0; k < 4; k++)
        folded.lanes[k] = (sums[k] + sums[k + 8]) + (sums[k + 4] + sums[k + 12]);
    return folded;
}

/* The vector of register tiles: four floats, which the compiler maps to the vector registers of the
 * CPU. */
typedef float wide4_t __attribute__((vector_size(16)));
#define W       wide4_t
#define W_WIDTH 4

INLINE W w_set(float x)
{
    return (W){x, x, x, x};
}

INLINE W w_add(W a, W b)
{
    return a + b;
}

INLINE W w_fma(W a, W b, W c)
{
    return a * b + c;
}

INLINE W w_load(const float *x)
{
    W w;
    memcpy(&w, x, sizeof(w));
    return w;
}

INLINE void w_store(float *y, W w)
{
    memcpy(y, &w, sizeof(w));
}

/* Takes any number of rows and writes no more than these. */
INLINE void v_transpose(float *target, int64_t width, const float *source, int64_t stride,
                        const int rows)
{
    for (int p = 0; p < 4; p++)
        for (int i = 0; i < rows; i++)
            target[p * width + i] = source[i * stride + p];
}

#include "kernels/simd_helpers.h"
