/* RMSNorm: y = x / rms(x) * weight, rms(x) = sqrt(mean(x^2) + eps), over the last dimension. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/number.h"
#include "base/thread_pool.h"
#include "tensor/tensor_core.h"
#include "kernels/vector_math.h"
#include "tinylm/nn.h"

enum { ROWS_PER_TASK = 64 /* fixed, because it determines how sums for dweight are grouped */ };

typedef struct norm_context {
    float *inverse_rms; /* (rows), owned */
    float eps;
} norm_context_t;

typedef struct norm_job {
    int64_t rows, d;
    float eps;
    float *y;           /* (rows, d) */
    float *inverse_rms; /* (rows) */
    const float *x, *weight, *dy;
    float *dx;       /* NULL if not needed */
    float *partials; /* (tasks, 2, d): partial sums for dweight, and a scratch row */
    bool accumulate;
} norm_job_t;

static int64_t count_tasks(int64_t rows)
{
    return (rows + ROWS_PER_TASK - 1) / ROWS_PER_TASK;
}

static int64_t last_row(const norm_job_t *job, int64_t task)
{
    int64_t end = (task + 1) * ROWS_PER_TASK;
    return end < job->rows ? end : job->rows;
}

static void forward_rows(void *context, int64_t task, int32_t worker)
{
    const norm_job_t *job = context;
    int64_t d = job->d;
    for (int64_t i = task * ROWS_PER_TASK; i < last_row(job, task); i++) {
        const float *x = job->x + i * d;
        float *y = job->y + i * d;
        float inverse = (float)(1.0 / sqrt(tlmi_vec_sum_squares(x, d) / (double)d + job->eps));
        tlmi_vec_scale(y, x, inverse, d);
        tlmi_vec_mul(y, y, job->weight, d);
        if (job->inverse_rms != NULL)
            job->inverse_rms[i] = inverse;
    }
}

/* With g = dy * weight and r = 1 / rms(x):
 *   dx = r g - x r^3 (g . x) / d,   dweight = sum over rows of dy x r */
static void backward_rows(void *context, int64_t task, int32_t worker)
{
    const norm_job_t *job = context;
    int64_t d = job->d;
    float *sums = job->partials + task * 2 * d, *g = sums + d;
    memset(sums, 0, (size_t)d * sizeof(float));
    for (int64_t i = task * ROWS_PER_TASK; i < last_row(job, task); i++) {
        const float *x = job->x + i * d, *dy = job->dy + i * d;
        float r = job->inverse_rms[i];
        tlmi_vec_mul(g, dy, x, d);
        tlmi_vec_axpy(sums, r, g, d);
        if (job->dx == NULL)
            continue;
        float *dx = job->dx + i * d;
        float dot = tlmi_vec_dot(g, job->weight, d);
        tlmi_vec_mul(g, dy, job->weight, d);
        tlmi_vec_scale(g, g, r, d);
        tlmi_vec_axpy(g, -r * r * r * dot / (float)d, x, d);
        if (job->accumulate)
            tlmi_vec_add(dx, dx, g, d);
        else
            memcpy(dx, g, (size_t)d * sizeof(float));
    }
}

static tlm_status_t weight_gradient(tlmi_node_t *node, const norm_job_t *job)
{
    float *dweight;
    bool accumulate;
    TLMI_TRY(tlmi_grad_open(&dweight, &accumulate, node, 1));
    if (tlmi_dry_run())
        return TLM_OK;
    if (!accumulate && job->d > 0)
        memset(dweight, 0, (size_t)job->d * sizeof(float));
    for (int64_t task = 0; task < count_tasks(job->rows); task++)
        tlmi_vec_add(dweight, dweight, job->partials + task * 2 * job->d, job->d);
    return TLM_OK;
}

static tlm_status_t norm_gradients(tlmi_node_t *node, norm_job_t *job)
{
    tlm_status_t status = TLM_OK;
    if (tlmi_wants_grad(node, 0))
        TLMI_TRY(tlmi_grad_open(&job->dx, &job->accumulate, node, 0));
    size_t capacity;
    job->partials = tlmi_buffer_acquire(&capacity, (size_t)(count_tasks(job->rows) * 2 * job->d) *
                                                       sizeof(float));
    if (job->partials == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (job->d > 0)
        tlmi_parallel_for(count_tasks(job->rows), backward_rows, job);
    if (tlmi_wants_grad(node, 1))
        status = weight_gradient(node, job);
    tlmi_buffer_release(job->partials, capacity);
    return status;
}

static tlm_status_t norm_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    tlm_tensor_t *x = NULL, *weight = NULL;
    tlm_status_t status = tlmi_contiguous(&x, node->inputs[0]);
    if (status == TLM_OK)
        status = tlmi_contiguous(&weight, node->inputs[1]);
    if (status == TLM_OK) {
        norm_job_t job = {.rows = tlmi_dims_product(x->shape, 0, x->ndim - 1),
                          .d = weight->numel,
                          .inverse_rms = ((norm_context_t *)tlmi_node_context(node))->inverse_rms,
                          .x = tlmi_floats(x),
                          .weight = tlmi_floats(weight),
                          .dy = tlmi_floats(grad_out)};
        status = norm_gradients(node, &job);
    }
    tlm_tensor_free(x);
    tlm_tensor_free(weight);
    return status;
}

static void norm_release(tlmi_node_t *node)
{
    tlmi_cached_free(((norm_context_t *)tlmi_node_context(node))->inverse_rms);
}

static tlm_status_t check_norm(const tlm_tensor_t *x, const tlm_tensor_t *weight, float eps)
{
    TLMI_TRY(tlmi_check_float("rms_norm", "x", x));
    TLMI_TRY(tlmi_check_float("rms_norm", "weight", weight));
    char a[TLMI_SHAPE_TEXT], b[TLMI_SHAPE_TEXT];
    if (x->ndim < 1 || weight->ndim != 1 || x->shape[x->ndim - 1] != weight->shape[0])
        return tlmi_fail(TLM_ERR_SHAPE, "rms_norm: x %s does not fit weight %s",
                         tlmi_shape_text(a, x), tlmi_shape_text(b, weight));
    if (!(eps >= 0.0f && isfinite(eps)))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "rms_norm: eps %s is not a finite number >= 0",
                         TLMI_G(eps));
    return TLM_OK;
}

/* Computes y, and inverse_rms unless that is NULL. */
static tlm_status_t norm_forward(float *y, const tlm_tensor_t *x, const tlm_tensor_t *weight,
                                 float eps, float *inverse_rms)
{
    tlm_tensor_t *rows = NULL, *w = NULL;
    tlm_status_t status = tlmi_contiguous(&rows, x);
    if (status == TLM_OK)
        status = tlmi_contiguous(&w, weight);
    if (status == TLM_OK && w->numel > 0) {
        norm_job_t job = {.rows = x->numel / w->numel,
                          .d = w->numel,
                          .eps = eps,
                          .y = y,
                          .inverse_rms = inverse_rms,
                          .x = tlmi_floats(rows),
                          .weight = tlmi_floats(w)};
        tlmi_parallel_for(count_tasks(job.rows), forward_rows, &job);
    }
    tlm_tensor_free(rows);
    tlm_tensor_free(w);
    return status;
}

static tlm_status_t norm_recompute(const tlmi_node_t *node, float *y)
{
    const norm_context_t *context = tlmi_node_context(node);
    return norm_forward(y, node->inputs[0], node->inputs[1], context->eps, NULL);
}

static const tlmi_op_t norm_op = {.name = "rms_norm",
                                  .input_names = {"x", "weight"},
                                  .reads = {TLMI_READS_INPUTS, TLMI_READS_INPUT(0)},
                                  .backward = norm_backward,
                                  .release = norm_release,
                                  .recompute = norm_recompute};

tlm_status_t tlm_rms_norm(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *weight, float eps)
{
    TLMI_REQUIRE("rms_norm", out);
    TLMI_TRY(check_norm(x, weight, eps));
    tlm_tensor_t *y, *inputs[] = {x, weight};
    float *inverse_rms = NULL;
    tlmi_node_t *node;
    TLMI_TRY(tlmi_tensor_new(&y, TLM_FLOAT32, x->shape, x->ndim));
    tlm_status_t status = TLM_OK;
    if (tlmi_needs_grad(inputs, 2)) {
        size_t rows = (size_t)tlmi_dims_product(x->shape, 0, x->ndim - 1);
        inverse_rms = tlmi_cached_alloc(rows, sizeof(float), "the row norms of rms_norm");
        status = inverse_rms == NULL
                     ? TLM_ERR_OUT_OF_MEMORY
                     : tlmi_record(&node, &norm_op, y, inputs, 2, sizeof(norm_context_t));
        if (status == TLM_OK)
            *(norm_context_t *)tlmi_node_context(node) = (norm_context_t){inverse_rms, eps};
        else
            tlmi_cached_free(inverse_rms);
    }
    if (status == TLM_OK)
        status = norm_forward(tlmi_floats(y), x, weight, eps, inverse_rms);
    if (status == TLM_OK)
        *out = y;
    else
        tlm_tensor_free(y);
    return status;
}
