/* Vectorized float32 loops on plain rows, dispatched on tlm_cpu_level(); the scalar level is the
 * reference. Within a level, results depend neither on threads nor on how a row is split at
 * multiples of 16. Pointers may alias exactly (in place) but must not overlap otherwise. */
#ifndef TLMI_VECTOR_MATH_H
#define TLMI_VECTOR_MATH_H

#include "tinylm/export.h"

/* y[i] = exp(x[i]), within 2 ulp; overflow gives inf, NaN gives NaN. */
void tlmi_vec_exp(float *y, const float *x, int64_t n);

/* y[i] = exp(x[i] - shift); returns the sum (float32 lanes, fixed order). */
float tlmi_vec_exp_sum(float *y, const float *x, float shift, int64_t n);

float tlmi_vec_max(const float *x, int64_t n); /* -inf where n is 0; NaN if any is NaN */
float tlmi_vec_sum(const float *x, int64_t n); /* fixed order of 16 lanes */
float tlmi_vec_dot(const float *x, const float *y, int64_t n);
/* out[r] = x . rows[r * stride ..] for r < num_rows, bit-identical to tlmi_vec_dot */
void tlmi_vec_dot_rows(float *out, const float *x, const float *rows, int64_t stride,
                       int64_t num_rows, int64_t n);
/* out[t * out_stride + r] = x_t . row_r for t < num_x and r < num_rows, bit-identical to
 * tlmi_vec_dot; x_t is at x + t * x_stride. */
void tlmi_vec_dot_tile(float *out, int64_t out_stride, const float *x, int64_t x_stride,
                       int64_t num_x, const float *rows, int64_t stride, int64_t num_rows,
                       int64_t n);
/* out[j] = sum over r of weights[r] rows[r * stride + j] for j < n; 0 if there are no rows */
void tlmi_vec_weighted_rows(float *out, const float *weights, const float *rows, int64_t stride,
                            int64_t num_rows, int64_t n);
/* The same with rows of float16: the bits of the rows converted to floats. */
void tlmi_vec_weighted_rows_f16(float *out, const float *weights, const uint16_t *rows,
                                int64_t stride, int64_t num_rows, int64_t n);
double tlmi_vec_sum_squares(const float *x, int64_t n); /* float64 lanes */

void tlmi_vec_add(float *y, const float *a, const float *b, int64_t n);
void tlmi_vec_mul(float *y, const float *a, const float *b, int64_t n);
void tlmi_vec_mul_add(float *y, const float *a, const float *b, int64_t n); /* y += a b */
void tlmi_vec_scale(float *y, const float *a, float factor, int64_t n);
void tlmi_vec_axpy(float *y, float factor, const float *x, int64_t n); /* y += factor x */

/* y = x sigmoid(x); its gradient is dx (+)= dy * d silu(x). */
void tlmi_vec_silu(float *y, const float *x, int64_t n);
void tlmi_vec_silu_backward(float *dx, const float *dy, const float *x, bool accumulate, int64_t n);

/* y = silu(gate) up; its two gradients are written or added. */
void tlmi_vec_silu_mul(float *y, const float *gate, const float *up, int64_t n);
void tlmi_vec_silu_mul_backward(float *dgate, bool accumulate_gate, float *dup, bool accumulate_up,
                                const float *dy, const float *gate, const float *up, int64_t n);

/* One AdamW update of n elements: theta = (decay_before theta - step_size m / (sqrt(v) + eps))
 * decay_after, with m and v updated first. lib/optim/adamw.c chooses the factors. */
typedef struct tlmi_adamw_step {
    float beta1, beta2;
    /* Rounded from float64: 1 - beta2 in float32 is inaccurate. */
    float one_minus_beta1, one_minus_beta2;
    float eps;
    float step_size;
    float decay_before, decay_after; /* one of them is 1 */
} tlmi_adamw_step_t;
void tlmi_vec_adamw(float *theta, float *m, float *v, const float *grad,
                    const tlmi_adamw_step_t *step, int64_t n);

/* Runs `run(context, begin, end)` over [0, n) in parallel, in pieces whose size depends only on n
 * (a multiple of 16 elements, about 64 KiB each); a small n runs on the calling thread. */
void tlmi_parallel_ranges(int64_t n, void (*run)(void *context, int64_t begin, int64_t end),
                          void *context);

#endif
