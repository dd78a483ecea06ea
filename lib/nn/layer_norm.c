/* LayerNorm: y = (x - mean) / sqrt(variance + eps) * gain + bias over the last dimension, for models
 * such as GPT-2. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/vector_math.h"
#include "nn/nn_core.h"
#include "tensor/tensor_core.h"

enum { ROWS_PER_TASK = 64 /* fixed, because it determines how sums over rows are grouped */ };

typedef struct norm_context {
    float *statistics; /* (rows, 2): mean, 1 / sqrt(variance + eps); owned */
    float eps;
} norm_context_t;

typedef struct norm_job {
    int64_t rows, d;
    float eps;
    float *y;
    float *statistics; /* may be NULL in forward */
    const float *x, *gain, *bias, *dy;
    float *dx;       /* NULL if not needed */
    float *partials; /* (tasks, 3, d): sums for gain and bias, and a scratch row */
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

float tlmi_layer_norm_row(float *y, float *mean, const float *x, const float *gain,
                          const float *bias, int64_t d, float eps)
{
    float center = tlmi_vec_sum(x, d) / (float)d;

    for (int64_t i = 0; i < d; i++)
        y[i] = x[i] - center;
    float inverse = (float)(1.0 / sqrt(tlmi_vec_sum_squares(y, d) / (double)d + (double)eps));
    for (int64_t i = 0; i < d; i++)
        y[i] = y[i] * inverse * gain[i] + bias[i];
    if (mean != NULL)
        *mean = center;
    return inverse;
}

/* ---- Forward ------------------------------------------------------------------------- */

static void forward_rows(void *context, int64_t task, int32_t worker)
{
    const norm_job_t *job = context;

    (void)worker;
    for (int64_t i = task * ROWS_PER_TASK; i < last_row(job, task); i++) {
        float mean, inverse = tlmi_layer_norm_row(job->y + i * job->d, &mean, job->x + i * job->d,
                                                  job->gain, job->bias, job->d, job->eps);
        if (job->statistics != NULL) {
            job->statistics[2 * i] = mean;
            job->statistics[2 * i + 1] = inverse;
        }
    }
}

/* Computes y, and the statistics unless that is NULL. */
static tlm_status_t norm_forward(float *y, tlm_tensor_t *const inputs[3], float eps,
                                 float *statistics)
{
    tlm_tensor_t *rows[3] = {NULL, NULL, NULL};
    tlm_status_t status = TLM_OK;

    for (int32_t i = 0; i < 3 && status == TLM_OK; i++)
        status = tlmi_contiguous(&rows[i], inputs[i]);
    if (status == TLM_OK && rows[1]->numel > 0) {
        norm_job_t job = {.rows = rows[0]->numel / rows[1]->numel,
                          .d = rows[1]->numel,
                          .eps = eps,
                          .y = y,
                          .statistics = statistics,
                          .x = tlmi_floats(rows[0]),
                          .gain = tlmi_floats(rows[1]),
                          .bias = tlmi_floats(rows[2])};
        tlmi_parallel_for(count_tasks(job.rows), forward_rows, &job);
    }
    for (int32_t i = 0; i < 3; i++)
        tlm_tensor_free(rows[i]);
    return status;
}

static tlm_status_t norm_recompute(const tlmi_node_t *node, float *y)
{
    const norm_context_t *context = tlmi_node_context(node);

    return norm_forward(y, node->inputs, context->eps, NULL);
}

/* ---- Backward ------------------------------------------------------------------------ */

/* With h = (x - mean) r, r = 1 / sqrt(variance + eps), g = dy gain:
 *   dx = r (g - mean(g) - h mean(g h)),   dgain = sum of dy h,   dbias = sum of dy */
static void backward_rows(void *context, int64_t task, int32_t worker)
{
    const norm_job_t *job = context;
    const int64_t d = job->d;
    float *dgain = job->partials + task * 3 * d, *dbias = dgain + d, *h = dbias + d;

    (void)worker;
    memset(dgain, 0, (size_t)(2 * d) * sizeof(float));
    for (int64_t i = task * ROWS_PER_TASK; i < last_row(job, task); i++) {
        const float *x = job->x + i * d, *dy = job->dy + i * d;
        const float mean = job->statistics[2 * i], r = job->statistics[2 * i + 1];
        double sum = 0.0, product = 0.0;

        for (int64_t k = 0; k < d; k++) {
            h[k] = (x[k] - mean) * r;
            sum += (double)(dy[k] * job->gain[k]);
            product += (double)(dy[k] * job->gain[k]) * (double)h[k];
        }
        tlmi_vec_mul_add(dgain, dy, h, d);
        tlmi_vec_add(dbias, dbias, dy, d);
        const float shift = (float)(sum / (double)d), slope = (float)(product / (double)d);
        for (int64_t k = 0; k < d && job->dx != NULL; k++) {
            float *dx = job->dx + i * d + k;
            const float own = r * (dy[k] * job->gain[k] - shift - h[k] * slope);

            *dx = job->accumulate ? *dx + own : own;
        }
    }
}

/* Adds up the partial sums of the gains' gradient (input 1) or the biases' (input 2). */
static tlm_status_t vector_gradient(tlmi_node_t *node, const norm_job_t *job, int32_t input)
{
    float *gradient;
    bool accumulate;

    TLMI_TRY(tlmi_grad_open(&gradient, &accumulate, node, input));
    if (tlmi_dry_run() || job->d == 0)
        return TLM_OK;
    if (!accumulate)
        memset(gradient, 0, (size_t)job->d * sizeof(float));
    for (int64_t task = 0; task < count_tasks(job->rows); task++)
        tlmi_vec_add(gradient, gradient, job->partials + (task * 3 + input - 1) * job->d, job->d);
    return TLM_OK;
}

static tlm_status_t norm_gradients(tlmi_node_t *node, norm_job_t *job)
{
    tlm_status_t status = TLM_OK;

    if (tlmi_wants_grad(node, 0))
        TLMI_TRY(tlmi_grad_open(&job->dx, &job->accumulate, node, 0));
    size_t capacity;
    job->partials = tlmi_buffer_acquire(&capacity, (size_t)(count_tasks(job->rows) * 3 * job->d) *
                                                       sizeof(float));
    if (job->partials == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (job->d > 0)
        tlmi_parallel_for(count_tasks(job->rows), backward_rows, job);
    for (int32_t i = 1; i < 3 && status == TLM_OK; i++)
        if (tlmi_wants_grad(node, i))
            status = vector_gradient(node, job, i);
    tlmi_buffer_release(job->partials, capacity);
    return status;
}

static tlm_status_t norm_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    tlm_tensor_t *x = NULL, *gain = NULL;
    tlm_status_t status = tlmi_contiguous(&x, node->inputs[0]);

    if (status == TLM_OK)
        status = tlmi_contiguous(&gain, node->inputs[1]);
    if (status == TLM_OK) {
        norm_job_t job = {.rows = tlmi_dims_product(x->shape, 0, x->ndim - 1),
                          .d = gain->numel,
                          .statistics = ((norm_context_t *)tlmi_node_context(node))->statistics,
                          .x = tlmi_floats(x),
                          .gain = tlmi_floats(gain),
                          .dy = tlmi_floats(grad_out)};
        status = norm_gradients(node, &job);
    }
    tlm_tensor_free(x);
    tlm_tensor_free(gain);
    return status;
}

static void norm_release(tlmi_node_t *node)
{
    tlmi_cached_free(((norm_context_t *)tlmi_node_context(node))->statistics);
}

/* ---- The op -------------------------------------------------------------------------- */

static const tlmi_op_t norm_op = {
    .name = "layer_norm",
    .input_names = {"x", "gain", "bias"},
    .reads = {TLMI_READS_INPUT(0) | TLMI_READS_INPUT(1), TLMI_READS_INPUT(0), TLMI_READS_NOTHING},
    .backward = norm_backward,
    .release = norm_release,
    .recompute = norm_recompute};

static tlm_status_t check_norm(tlm_tensor_t *const inputs[3])
{
    for (int32_t i = 0; i < 3; i++)
        TLMI_TRY(tlmi_check_float("layer_norm", norm_op.input_names[i], inputs[i]));
    const tlm_tensor_t *x = inputs[0];
    char a[TLMI_SHAPE_TEXT], b[TLMI_SHAPE_TEXT];
    for (int32_t i = 1; i < 3; i++)
        if (x->ndim < 1 || inputs[i]->ndim != 1 || x->shape[x->ndim - 1] != inputs[i]->shape[0])
            return tlmi_fail(TLM_ERR_SHAPE, "layer_norm: x %s does not fit %s %s",
                             tlmi_shape_text(a, x), norm_op.input_names[i],
                             tlmi_shape_text(b, inputs[i]));
    return TLM_OK;
}

/* Puts the node on y, with memory for the statistics. */
static tlm_status_t record_norm(float **statistics, tlm_tensor_t *y, tlm_tensor_t *const inputs[3],
                                float eps)
{
    size_t rows = (size_t)tlmi_dims_product(y->shape, 0, y->ndim - 1);
    float *made = tlmi_cached_alloc(rows, 2 * sizeof(float), "the row statistics of layer_norm");

    if (made == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_node_t *node;
    tlm_status_t status = tlmi_record(&node, &norm_op, y, inputs, 3, sizeof(norm_context_t));
    if (status != TLM_OK) {
        tlmi_cached_free(made);
        return status;
    }
    *(norm_context_t *)tlmi_node_context(node) = (norm_context_t){made, eps};
    *statistics = made;
    return TLM_OK;
}

tlm_status_t tlmi_layer_norm(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *gain,
                             tlm_tensor_t *bias, float eps)
{
    tlm_tensor_t *const inputs[3] = {x, gain, bias};
    float *statistics = NULL;

    TLMI_TRY(check_norm(inputs));
    tlm_tensor_t *y;
    TLMI_TRY(tlmi_tensor_new(&y, TLM_FLOAT32, x->shape, x->ndim));
    tlm_status_t status = TLM_OK;
    if (tlmi_needs_grad(inputs, 3))
        status = record_norm(&statistics, y, inputs, eps);
    if (status == TLM_OK)
        status = norm_forward(tlmi_floats(y), inputs, eps, statistics);
    if (status == TLM_OK)
        *out = y;
    else
        tlm_tensor_free(y);
    return status;
}
