/* Softmax along one dimension. */
#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/vector_math.h"
#include "nn/nn_core.h"

enum { SLICES_PER_TASK = 64 };

typedef struct softmax_job {
    int64_t n;      /* elements per slice */
    int64_t inner;  /* stride between them */
    int64_t slices; /* outer * inner */
    float *y;
    const float *x;  /* forward: the input; backward: the result of forward */
    const float *dy; /* backward only */
    float *scratch;  /* (tasks, 2, n) */
    bool accumulate;
} softmax_job_t;

static int64_t slice_start(const softmax_job_t *job, int64_t slice)
{
    return slice / job->inner * job->n * job->inner + slice % job->inner;
}

static void gather(float *row, const float *x, const softmax_job_t *job)
{
    for (int64_t i = 0; i < job->n; i++)
        row[i] = x[i * job->inner];
}

static int64_t last_slice(const softmax_job_t *job, int64_t task)
{
    int64_t end = (task + 1) * SLICES_PER_TASK;
    return end < job->slices ? end : job->slices;
}

static void forward_slices(void *context, int64_t task, int32_t worker)
{
    const softmax_job_t *job = context;
    float *row = job->scratch + task * 2 * job->n;
    for (int64_t slice = task * SLICES_PER_TASK; slice < last_slice(job, task); slice++) {
        int64_t start = slice_start(job, slice);
        gather(row, job->x + start, job);
        float sum = tlmi_vec_exp_sum(row, row, tlmi_vec_max(row, job->n), job->n);
        for (int64_t i = 0; i < job->n; i++)
            job->y[start + i * job->inner] = row[i] / sum;
    }
}

/* dx = y (dy - y . dy) */
static void backward_slices(void *context, int64_t task, int32_t worker)
{
    const softmax_job_t *job = context;
    float *y = job->scratch + task * 2 * job->n, *dy = y + job->n;
    for (int64_t slice = task * SLICES_PER_TASK; slice < last_slice(job, task); slice++) {
        int64_t start = slice_start(job, slice);
        gather(y, job->x + start, job);
        gather(dy, job->dy + start, job);
        float dot = tlmi_vec_dot(y, dy, job->n);
        for (int64_t i = 0; i < job->n; i++) {
            float *dx = job->y + start + i * job->inner;
            float gradient = y[i] * (dy[i] - dot);
            *dx = job->accumulate ? *dx + gradient : gradient;
        }
    }
}

static softmax_job_t make_job(const tlm_tensor_t *x, int32_t dim)
{
    softmax_job_t job = {.n = x->shape[dim],
                         .inner = tlmi_dims_product(x->shape, dim + 1, x->ndim)};
    job.slices = tlmi_dims_product(x->shape, 0, dim) * job.inner;
    return job;
}

static tlm_status_t run_softmax(softmax_job_t *job, tlmi_task_fn run)
{
    int64_t tasks = (job->slices + SLICES_PER_TASK - 1) / SLICES_PER_TASK;
    if (job->n == 0 || tasks == 0)
        return TLM_OK;
    job->scratch =
        tlmi_cached_alloc((size_t)tasks * 2, (size_t)job->n * sizeof(float), "the rows of softmax");
    if (job->scratch == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_parallel_for(tasks, run, job);
    tlmi_cached_free(job->scratch);
    return TLM_OK;
}

static tlm_status_t softmax_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    const int32_t *dim = tlmi_node_context(node);
    softmax_job_t job = make_job(grad_out, *dim);
    job.x = tlmi_floats(node->output);
    job.dy = tlmi_floats(grad_out);
    TLMI_TRY(tlmi_grad_open(&job.y, &job.accumulate, node, 0));
    return run_softmax(&job, backward_slices);
}

static const tlmi_op_t softmax_op = {.name = "softmax",
                                     .input_names = {"x"},
                                     .reads = {TLMI_READS_RESULT},
                                     .backward = softmax_backward};

static tlm_status_t softmax_forward(tlm_tensor_t *y, tlm_tensor_t *x, int32_t dim)
{
    tlm_tensor_t *rows;
    TLMI_TRY(tlmi_contiguous(&rows, x));
    softmax_job_t job = make_job(x, dim);
    job.x = tlmi_floats(rows);
    job.y = tlmi_floats(y);
    tlm_status_t status = run_softmax(&job, forward_slices);
    tlm_tensor_free(rows);
    tlmi_node_t *node;
    if (status != TLM_OK || !tlmi_needs_grad(&x, 1))
        return status;
    TLMI_TRY(tlmi_record(&node, &softmax_op, y, &x, 1, sizeof(int32_t)));
    *(int32_t *)tlmi_node_context(node) = dim;
    return TLM_OK;
}

static tlm_status_t apply(tlm_tensor_t **out, tlm_tensor_t *const *inputs, const void *dim)
{
    tlm_tensor_t *y;
    TLMI_TRY(tlmi_tensor_new(&y, TLM_FLOAT32, inputs[0]->shape, inputs[0]->ndim));
    tlm_status_t status = softmax_forward(y, inputs[0], *(const int32_t *)dim);
    if (status == TLM_OK)
        *out = y;
    else
        tlm_tensor_free(y);
    return status;
}

tlm_status_t tlm_softmax(tlm_tensor_t **out, tlm_tensor_t *x, int32_t dim)
{
    TLMI_REQUIRE("softmax", out);
    TLMI_TRY(tlmi_check_real("softmax", "x", x));
    char text[TLMI_SHAPE_TEXT];
    if (dim < -x->ndim || dim >= x->ndim)
        return tlmi_fail(TLM_ERR_SHAPE, "softmax: no dimension %d in %s", (int)dim,
                         tlmi_shape_text(text, x));
    if (dim < 0)
        dim += x->ndim;
    return tlmi_in_float32(out, &softmax_op, apply, &x, 1, &dim);
}
