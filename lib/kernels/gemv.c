/* Matrix times vector, or times a few vectors: one dot product per element of the result. */
#include "base/thread_pool.h"
#include "kernels/gemm.h"
#include "kernels/vector_math.h"

enum {
    MAX_ROWS = 4,
    PIECE = 1 << 16 /* approximate elements of the matrix per task */
};

typedef struct gemv_job {
    int64_t m, n, k;
    float alpha, beta;
    tlmi_matrix_t a, b;
    float *c;
    int64_t c_row_stride, c_column_stride;
    int64_t columns_per_task;
} gemv_job_t;

/* c_ij = alpha a_i . b_j + beta c_ij for the columns of one task; a_i and b_j are contiguous along
 * k. */
static void gemv_task(void *context, int64_t task, int32_t worker)
{
    (void)worker;
    enum { GROUP = 16 };
    const gemv_job_t *job = context;
    int64_t begin = task * job->columns_per_task;
    int64_t end = job->n - begin < job->columns_per_task ? job->n : begin + job->columns_per_task;
    for (int64_t j = begin; j < end; j += GROUP) {
        int64_t group = end - j < GROUP ? end - j : GROUP;
        for (int64_t i = 0; i < job->m; i++) {
            float dots[GROUP];
            tlmi_vec_dot_rows(dots, job->a.data + i * job->a.row_stride,
                              job->b.data + j * job->b.column_stride, job->b.column_stride, group,
                              job->k);
            for (int64_t g = 0; g < group; g++) {
                float *c = job->c + i * job->c_row_stride + (j + g) * job->c_column_stride;
                float sum = job->alpha * dots[g];
                *c = job->beta == 0.0f ? sum : sum + job->beta * *c;
            }
        }
    }
}

bool tlmi_gemv(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a, tlmi_matrix_t b,
               float beta, float *c, int64_t c_row_stride, int64_t c_column_stride, bool serial)
{
    if (n < m) { /* C^T = B^T A^T puts the few vectors on the left */
        tlmi_matrix_t left = {b.data, b.column_stride, b.row_stride};
        tlmi_matrix_t right = {a.data, a.column_stride, a.row_stride};
        return n <= MAX_ROWS && tlmi_gemv(n, m, k, alpha, left, right, beta, c, c_column_stride,
                                          c_row_stride, serial);
    }
    if (m > MAX_ROWS || (a.column_stride != 1 && k > 1) || (b.row_stride != 1 && k > 1))
        return false;
    gemv_job_t job = {m, n, k, alpha, beta, a, b, c, c_row_stride, c_column_stride, n};
    if (!serial && n * k > PIECE) {
        job.columns_per_task = PIECE / k > 0 ? PIECE / k : 1;
        tlmi_parallel_for((n + job.columns_per_task - 1) / job.columns_per_task, gemv_task, &job);
    } else {
        gemv_task(&job, 0, 0);
    }
    return true;
}
