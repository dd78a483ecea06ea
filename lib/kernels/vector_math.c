/* The vector loops of the table in use, and the splitting of long rows over the threads. */
#include "base/buffer_cache.h"
#include "base/thread_pool.h"
#include "kernels/kernels.h"

void tlmi_vec_exp(float *y, const float *x, int64_t n)
{
    tlmi_kernels()->exp(y, x, n);
}

float tlmi_vec_exp_sum(float *y, const float *x, float shift, int64_t n)
{
    return tlmi_kernels()->exp_sum(y, x, shift, n);
}

float tlmi_vec_max(const float *x, int64_t n)
{
    return tlmi_kernels()->max(x, n);
}

float tlmi_vec_sum(const float *x, int64_t n)
{
    return tlmi_kernels()->sum(x, n);
}

float tlmi_vec_dot(const float *x, const float *y, int64_t n)
{
    return tlmi_kernels()->dot(x, y, n);
}

void tlmi_vec_dot_rows(float *out, const float *x, const float *rows, int64_t stride,
                       int64_t num_rows, int64_t n)
{
    tlmi_kernels()->dot_rows(out, x, rows, stride, num_rows, n);
}

void tlmi_vec_dot_tile(float *out, int64_t out_stride, const float *x, int64_t x_stride,
                       int64_t num_x, const float *rows, int64_t stride, int64_t num_rows,
                       int64_t n)
{
    tlmi_kernels()->dot_tile(out, out_stride, x, x_stride, num_x, rows, stride, num_rows, n);
}

void tlmi_vec_weighted_rows(float *out, const float *weights, const float *rows, int64_t stride,
                            int64_t num_rows, int64_t n)
{
    tlmi_kernels()->weighted_rows(out, weights, rows, stride, num_rows, n);
}

void tlmi_vec_weighted_rows_f16(float *out, const float *weights, const uint16_t *rows,
                                int64_t stride, int64_t num_rows, int64_t n)
{
    tlmi_kernels()->weighted_rows_f16(out, weights, rows, stride, num_rows, n);
}

double tlmi_vec_sum_squares(const float *x, int64_t n)
{
    return tlmi_kernels()->sum_squares(x, n);
}

void tlmi_vec_add(float *y, const float *a, const float *b, int64_t n)
{
    tlmi_kernels()->add(y, a, b, n);
}

void tlmi_vec_mul(float *y, const float *a, const float *b, int64_t n)
{
    tlmi_kernels()->mul(y, a, b, n);
}

void tlmi_vec_mul_add(float *y, const float *a, const float *b, int64_t n)
{
    tlmi_kernels()->mul_add(y, a, b, n);
}

void tlmi_vec_scale(float *y, const float *a, float factor, int64_t n)
{
    tlmi_kernels()->scale(y, a, factor, n);
}

void tlmi_vec_axpy(float *y, float factor, const float *x, int64_t n)
{
    tlmi_kernels()->axpy(y, factor, x, n);
}

void tlmi_vec_silu(float *y, const float *x, int64_t n)
{
    tlmi_kernels()->silu(y, x, n);
}

void tlmi_vec_silu_backward(float *dx, const float *dy, const float *x, bool accumulate, int64_t n)
{
    tlmi_kernels()->silu_backward(dx, dy, x, accumulate, n);
}

void tlmi_vec_silu_mul(float *y, const float *gate, const float *up, int64_t n)
{
    tlmi_kernels()->silu_mul(y, gate, up, n);
}

void tlmi_vec_silu_mul_backward(float *dgate, bool accumulate_gate, float *dup, bool accumulate_up,
                                const float *dy, const float *gate, const float *up, int64_t n)
{
    tlmi_kernels()->silu_mul_backward(dgate, accumulate_gate, dup, accumulate_up, dy, gate, up, n);
}

void tlmi_vec_adamw(float *theta, float *m, float *v, const float *grad,
                    const tlmi_adamw_step_t *step, int64_t n)
{
    tlmi_kernels()->adamw(theta, m, v, grad, step, n);
}

/* ---- Parallel ranges -------------------------------------------------------------------- */

enum { RANGE = 16384 /* 64 KiB of float32 */ };

typedef struct range_job {
    void (*run)(void *context, int64_t begin, int64_t end);
    void *context;
    int64_t n;
} range_job_t;

static void run_range(void *context, int64_t task, int32_t worker)
{
    (void)worker;
    const range_job_t *job = context;
    int64_t begin = task * RANGE;
    int64_t end = job->n - begin < RANGE ? job->n : begin + RANGE;
    job->run(job->context, begin, end);
}

void tlmi_parallel_ranges(int64_t n, void (*run)(void *context, int64_t begin, int64_t end),
                          void *context)
{
    if (n <= 0 || tlmi_dry_run())
        return;
    range_job_t job = {run, context, n};
    if (n <= RANGE)
        run(context, 0, n);
    else
        tlmi_parallel_for((n + RANGE - 1) / RANGE, run_range, &job);
}
