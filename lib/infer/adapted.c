/* Adapters in generation: what a low-rank change adds to a projection. */
#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "infer/infer_core.h"
#include "tensor/tensor_core.h"

enum { OUTPUTS_PER_TASK = 512, GROUP = 16 };

typedef struct change_job {
    float *out; /* (rows, d_out) */
    const float *inner;
    int64_t rows, rank, d_out;
    tlmi_weight_t b;
    float scale;
} change_job_t;

static void change_task(void *context, int64_t task, int32_t worker)
{
    const change_job_t *job = context;
    float sums[TLMI_STEP_ROWS * GROUP];
    const int64_t begin = task * OUTPUTS_PER_TASK;
    const int64_t end = tlmi_min64(begin + OUTPUTS_PER_TASK, job->d_out);

    (void)worker;
    for (int64_t at = begin; at < end; at += GROUP) {
        const int64_t n = tlmi_min64(end - at, GROUP);

        tlmi_weight_dots(sums, GROUP, job->inner, job->rank, job->rows, NULL, &job->b, at, n);
        for (int64_t row = 0; row < job->rows; row++)
            for (int64_t i = 0; i < n; i++)
                job->out[row * job->d_out + at + i] += job->scale * sums[row * GROUP + i];
    }
}

/* Up to TLMI_STEP_ROWS rows, by dot products. */
static void add_by_dots(float *out, float *inner, const float *x, int64_t rows,
                        const tlmi_low_rank_t *change)
{
    const tlmi_weight_t a = tlmi_weight_of(change->a);
    change_job_t job = {.out = out,
                        .inner = inner,
                        .rows = rows,
                        .rank = a.rows,
                        .b = tlmi_weight_of(change->b),
                        .scale = change->scale};

    job.d_out = job.b.rows;
    tlmi_weight_dots(inner, a.rows, x, a.columns, rows, NULL, &a, 0, a.rows);
    tlmi_parallel_for((job.d_out + OUTPUTS_PER_TASK - 1) / OUTPUTS_PER_TASK, change_task, &job);
}

static tlm_status_t add_by_products(float *out, float *inner, const float *x, int64_t rows,
                                    const tlmi_low_rank_t *change)
{
    const tlmi_weight_t a = tlmi_weight_of(change->a), b = tlmi_weight_of(change->b);

    TLMI_TRY(tlmi_weight_product(inner, TLM_PRODUCTS_FLOAT32, rows, x, &a, 0.0f));
    return tlmi_gemm(rows, b.rows, a.rows, change->scale, (tlmi_matrix_t){inner, a.rows, 1},
                     (tlmi_matrix_t){tlmi_floats(change->b), 1, a.rows}, 1.0f, out, b.rows);
}

tlm_status_t tlmi_add_change(float *out, const float *x, int64_t rows,
                             const tlmi_low_rank_t *change, bool step)
{
    const int64_t rank = change->a->shape[0];
    size_t capacity;
    float *inner = tlmi_buffer_acquire(&capacity, (size_t)(rows * rank) * sizeof(float));
    tlm_status_t status = TLM_OK;

    if (inner == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (step)
        add_by_dots(out, inner, x, rows, change);
    else
        status = add_by_products(out, inner, x, rows, change);
    tlmi_buffer_release(inner, capacity);
    return status;
}
