/* What RMSNorm and LayerNorm share. */
#include "nn/norm.h"

#include <string.h>

#include "base/error.h"
#include "kernels/vector_math.h"

enum {
    ROWS_PER_TASK = 64, /* fixed, because it determines how sums over rows are grouped */
    MAX_INPUTS = 3
};

typedef struct norm_context {
    float *statistics; /* owned */
    float eps;
} norm_context_t;

static int64_t count_tasks(int64_t rows)
{
    return (rows + ROWS_PER_TASK - 1) / ROWS_PER_TASK;
}

void tlmi_norm_rows(int64_t *first, int64_t *end, const tlmi_norm_job_t *job, int64_t task)
{
    *first = task * ROWS_PER_TASK;
    *end = *first + ROWS_PER_TASK < job->rows ? *first + ROWS_PER_TASK : job->rows;
}

/* Statistics may be NULL. */
static tlm_status_t forward(float *y, tlm_tensor_t *const *inputs, int32_t num_inputs, float eps,
                            float *statistics, tlmi_task_fn forward_rows)
{
    tlm_tensor_t *own[MAX_INPUTS] = {NULL, NULL, NULL};
    tlm_status_t status = TLM_OK;

    for (int32_t i = 0; i < num_inputs && status == TLM_OK; i++)
        status = tlmi_contiguous(&own[i], inputs[i]);
    if (status == TLM_OK && own[1]->numel > 0) {
        tlmi_norm_job_t job = {.rows = own[0]->numel / own[1]->numel,
                               .d = own[1]->numel,
                               .eps = eps,
                               .y = y,
                               .statistics = statistics,
                               .x = tlmi_floats(own[0]),
                               .weight = tlmi_floats(own[1]),
                               .bias = num_inputs < 3 ? NULL : tlmi_floats(own[2])};
        tlmi_parallel_for(count_tasks(job.rows), forward_rows, &job);
    }
    for (int32_t i = 0; i < num_inputs; i++)
        tlm_tensor_free(own[i]);
    return status;
}

tlm_status_t tlmi_norm_recompute(const tlmi_node_t *node, float *y, int32_t num_inputs,
                                 tlmi_task_fn forward_rows)
{
    const norm_context_t *context = tlmi_node_context(node);

    return forward(y, node->inputs, num_inputs, context->eps, NULL, forward_rows);
}

/* Puts the node on y, with memory for the statistics, which belong to the node. */
static tlm_status_t record(float **statistics, const tlmi_op_t *op, tlm_tensor_t *y,
                           tlm_tensor_t *const *inputs, int32_t num_inputs, int32_t num_statistics,
                           float eps)
{
    size_t rows = (size_t)tlmi_dims_product(y->shape, 0, y->ndim - 1);
    float *made = tlmi_cached_alloc(rows, (size_t)num_statistics * sizeof(float),
                                    "the statistics of a norm's rows");

    if (made == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_node_t *node;
    tlm_status_t status = tlmi_record(&node, op, y, inputs, num_inputs, sizeof(norm_context_t));
    if (status != TLM_OK) {
        tlmi_cached_free(made);
        return status;
    }
    *(norm_context_t *)tlmi_node_context(node) = (norm_context_t){made, eps};
    *statistics = made;
    return TLM_OK;
}

tlm_status_t tlmi_norm_apply(tlm_tensor_t **out, const tlmi_op_t *op, tlm_tensor_t *const *inputs,
                             int32_t num_inputs, int32_t num_statistics, float eps,
                             tlmi_task_fn forward_rows)
{
    float *statistics = NULL;
    tlm_tensor_t *y;

    TLMI_TRY(tlmi_tensor_new(&y, TLM_FLOAT32, inputs[0]->shape, inputs[0]->ndim));
    tlm_status_t status = TLM_OK;
    if (tlmi_needs_grad(inputs, num_inputs))
        status = record(&statistics, op, y, inputs, num_inputs, num_statistics, eps);
    if (status == TLM_OK)
        status = forward(tlmi_floats(y), inputs, num_inputs, eps, statistics, forward_rows);
    if (status == TLM_OK)
        *out = y;
    else
        tlm_tensor_free(y);
    return status;
}

void tlmi_norm_release(tlmi_node_t *node)
{
    tlmi_cached_free(((norm_context_t *)tlmi_node_context(node))->statistics);
}

/* Adds up the partial sums of the gradient of input 1 or 2. */
static tlm_status_t vector_gradient(tlmi_node_t *node, const tlmi_norm_job_t *job, int32_t input,
                                    int32_t num_inputs)
{
    float *gradient;
    bool accumulate;

    TLMI_TRY(tlmi_grad_open(&gradient, &accumulate, node, input));
    if (tlmi_dry_run() || job->d == 0)
        return TLM_OK;
    if (!accumulate)
        memset(gradient, 0, (size_t)job->d * sizeof(float));
    for (int64_t task = 0; task < count_tasks(job->rows); task++)
        tlmi_vec_add(gradient, gradient, job->partials + (task * num_inputs + input - 1) * job->d,
                     job->d);
    return TLM_OK;
}

static tlm_status_t gradients(tlmi_node_t *node, tlmi_norm_job_t *job, int32_t num_inputs,
                              tlmi_task_fn backward_rows)
{
    tlm_status_t status = TLM_OK;

    if (tlmi_wants_grad(node, 0))
        TLMI_TRY(tlmi_grad_open(&job->dx, &job->accumulate, node, 0));
    size_t capacity;
    job->partials = tlmi_buffer_acquire(
        &capacity, (size_t)(count_tasks(job->rows) * num_inputs * job->d) * sizeof(float));
    if (job->partials == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (job->d > 0)
        tlmi_parallel_for(count_tasks(job->rows), backward_rows, job);
    for (int32_t i = 1; i < num_inputs && status == TLM_OK; i++)
        if (tlmi_wants_grad(node, i))
            status = vector_gradient(node, job, i, num_inputs);
    tlmi_buffer_release(job->partials, capacity);
    return status;
}

tlm_status_t tlmi_norm_backward(tlmi_node_t *node, tlm_tensor_t *grad_out, int32_t num_inputs,
                                tlmi_task_fn backward_rows)
{
    tlm_tensor_t *x = NULL, *weight = NULL;
    tlm_status_t status = tlmi_contiguous(&x, node->inputs[0]);

    if (status == TLM_OK)
        status = tlmi_contiguous(&weight, node->inputs[1]);
    if (status == TLM_OK) {
        tlmi_norm_job_t job = {.rows = tlmi_dims_product(x->shape, 0, x->ndim - 1),
                               .d = weight->numel,
                               .statistics =
                                   ((norm_context_t *)tlmi_node_context(node))->statistics,
                               .x = tlmi_floats(x),
                               .weight = tlmi_floats(weight),
                               .dy = tlmi_floats(grad_out)};
        status = gradients(node, &job, num_inputs, backward_rows);
    }
    tlm_tensor_free(x);
    tlm_tensor_free(weight);
    return status;
}
