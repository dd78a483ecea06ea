/* Maximum along a dimension, with the indices of the maxima. */
#include <math.h>

#include "base/error.h"
#include "base/thread_pool.h"
#include "tensor/tensor_core.h"
#include "tinylm/tensor.h"

enum { SLICES_PER_TASK = 256 };

/* A tensor as slices along one dimension: element k of slice i is at start_of(i) + k * inner. */
typedef struct max_job {
    const float *x;
    float *y;         /* (slices) */
    int64_t *indices; /* (slices) */
    int64_t n, inner, slices;
} max_job_t;

static int64_t start_of(int64_t slice, int64_t n, int64_t inner)
{
    return slice / inner * n * inner + slice % inner;
}

/* Finds the first NaN or, if there is none, the first of the largest elements. */
static void max_task(void *context, int64_t task, int32_t worker)
{
    (void)worker;
    const max_job_t *job = context;
    int64_t end = (task + 1) * SLICES_PER_TASK;
    end = end < job->slices ? end : job->slices;
    for (int64_t slice = task * SLICES_PER_TASK; slice < end; slice++) {
        const float *x = job->x + start_of(slice, job->n, job->inner);
        int64_t best = 0;
        for (int64_t k = 1; k < job->n && !isnan(x[best * job->inner]); k++)
            if (!(x[k * job->inner] <= x[best * job->inner]))
                best = k;
        job->y[slice] = x[best * job->inner];
        job->indices[slice] = best;
    }
}

typedef struct max_context {
    int64_t *indices; /* owned; a copy, since the caller may write to the tensor of indices */
    int32_t dim;
} max_context_t;

/* dx[index] += dy, the rest 0 */
static tlm_status_t max_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    const max_context_t *context = tlmi_node_context(node);
    const tlm_tensor_t *input = node->inputs[0];
    const int64_t *indices = context->indices;
    int64_t n = input->shape[context->dim];
    int64_t inner = tlmi_dims_product(input->shape, context->dim + 1, input->ndim);
    float *grad;
    bool accumulate;
    TLMI_TRY(tlmi_grad_open(&grad, &accumulate, node, 0));
    for (int64_t i = 0; i < input->numel && !accumulate; i++)
        grad[i] = 0.0f;
    for (int64_t slice = 0; slice < grad_out->numel; slice++)
        grad[start_of(slice, n, inner) + indices[slice] * inner] += tlmi_floats(grad_out)[slice];
    return TLM_OK;
}

static void max_release(tlmi_node_t *node)
{
    tlmi_cached_free(((max_context_t *)tlmi_node_context(node))->indices);
}

static const tlmi_op_t max_op = {.name = "max_dim",
                                 .input_names = {"a"},
                                 .reads = {TLMI_READS_NOTHING},
                                 .backward = max_backward,
                                 .release = max_release};

/* Computes y and the indices, which a recorded node takes over. */
static tlm_status_t fill(tlm_tensor_t *y, int64_t **indices, tlm_tensor_t *a, int32_t dim)
{
    tlm_tensor_t *rows;
    TLMI_TRY(tlmi_contiguous(&rows, a));
    max_job_t job = {.x = tlmi_floats(rows),
                     .y = tlmi_floats(y),
                     .indices = *indices,
                     .n = a->shape[dim],
                     .inner = tlmi_dims_product(a->shape, dim + 1, a->ndim),
                     .slices = y->numel};
    tlmi_parallel_for((job.slices + SLICES_PER_TASK - 1) / SLICES_PER_TASK, max_task, &job);
    tlm_tensor_free(rows);
    if (!tlmi_needs_grad(&a, 1))
        return TLM_OK;
    tlmi_node_t *node;
    TLMI_TRY(tlmi_record(&node, &max_op, y, &a, 1, sizeof(max_context_t)));
    *(max_context_t *)tlmi_node_context(node) = (max_context_t){*indices, dim};
    *indices = NULL;
    return TLM_OK;
}

/* Fills y and, unless out is NULL, creates a tensor of the indices, of the shape of y. */
static tlm_status_t max_and_indices(tlm_tensor_t *y, tlm_tensor_t **out, tlm_tensor_t *a,
                                    int32_t dim)
{
    int64_t *indices = tlmi_cached_alloc((size_t)y->numel, sizeof(*indices), "indices of max_dim");
    if (indices == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    int64_t *own = indices; /* valid as long as y, whichever of the two owns it */
    tlm_tensor_t *copy = NULL;
    tlm_status_t status = fill(y, &indices, a, dim);
    if (status == TLM_OK && out != NULL)
        status = tlm_tensor_from_data(&copy, TLM_INT64, own, y->shape, y->ndim);
    if (status == TLM_OK && out != NULL)
        *out = copy;
    tlmi_cached_free(indices);
    return status;
}

tlm_status_t tlm_max_dim(tlm_tensor_t **out, tlm_tensor_t **indices, tlm_tensor_t *a, int32_t dim,
                         bool keep_dim)
{
    TLMI_REQUIRE("max_dim", out);
    TLMI_TRY(tlmi_check_float("max_dim", "a", a));
    TLMI_TRY(tlmi_check_dim("max_dim", &dim, a));
    if (a->shape[dim] == 0) {
        char text[TLMI_SHAPE_TEXT];
        return tlmi_fail(TLM_ERR_SHAPE, "max_dim: dimension %d of %s is empty", dim,
                         tlmi_shape_text(text, a));
    }
    int64_t shape[TLM_MAX_DIMS];
    int32_t ndim = 0;
    for (int32_t d = 0; d < a->ndim; d++)
        if (d != dim || keep_dim)
            shape[ndim++] = d == dim ? 1 : a->shape[d];
    tlm_tensor_t *values;
    TLMI_TRY(tlmi_tensor_new(&values, TLM_FLOAT32, shape, ndim));
    tlm_status_t status = max_and_indices(values, indices, a, dim);
    if (status == TLM_OK)
        *out = values;
    else
        tlm_tensor_free(values);
    return status;
}
