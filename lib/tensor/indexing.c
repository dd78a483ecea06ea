/* Elements chosen along a dimension: slice_step, every step-th one, and take, those that a list names. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/vector_math.h"
#include "tensor/tensor_core.h"

/* ---- slice_step ---------------------------------------------------------------------- */

typedef struct step_context {
    int32_t dim;
    int64_t start, step;
} step_context_t;

static tlm_status_t slice_step_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    const step_context_t *context = tlmi_node_context(node);

    return tlmi_grad_add_steps(node, grad_out, context->dim, context->start, context->step);
}

static const tlmi_op_t slice_step_op = {.name = "slice_step",
                                        .input_names = {"a"},
                                        .reads = {TLMI_READS_NOTHING},
                                        .backward = slice_step_backward};

static tlm_status_t check_steps(const tlm_tensor_t *a, int32_t dim, int64_t start, int64_t step,
                                int64_t count)
{
    const int64_t size = a->shape[dim];
    int64_t span, last = 0;
    bool fits = count == 0 || (count > 0 && start >= 0 && start < size);
    if (fits && count > 0)
        fits = !__builtin_mul_overflow(count - 1, step, &span) &&
               !__builtin_add_overflow(start, span, &last) && last >= 0 && last < size;
    char text[TLMI_SHAPE_TEXT];
    if (step == 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "slice_step: step is 0");
    if (!fits)
        return tlmi_fail(TLM_ERR_RANGE,
                         "slice_step: %" PRId64 " elements from %" PRId64 " on in steps of %" PRId64
                         " are not within dimension %d of %s",
                         count, start, step, dim, tlmi_shape_text(text, a));
    return TLM_OK;
}

/* A view, or for a negative step, which no view can have, a copy. */
static tlm_status_t choose_steps(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim, int64_t start,
                                 int64_t step, int64_t count)
{
    int64_t shape[TLM_MAX_DIMS], strides[TLM_MAX_DIMS];
    memcpy(shape, a->shape, sizeof(shape));
    memcpy(strides, a->strides, sizeof(strides));
    const size_t item = tlm_dtype_size(a->dtype);
    char *data = a->data;
    if (data != NULL && count > 0)
        data += (size_t)(start * strides[dim]) * item;
    if (count > 1)
        strides[dim] *= step;
    shape[dim] = count;
    if (count <= 1 || step > 0)
        return tlmi_tensor_view(out, a, data, shape, strides, a->ndim);
    TLMI_TRY(tlmi_tensor_new(out, a->dtype, shape, a->ndim));
    if ((*out)->numel > 0)
        tlmi_strided_copy((*out)->data, (*out)->strides, data, strides, shape, a->ndim, item);
    return TLM_OK;
}

tlm_status_t tlm_slice_step(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim, int64_t start,
                            int64_t step, int64_t count)
{
    TLMI_REQUIRE("slice_step", out);
    TLMI_REQUIRE("slice_step", a);
    TLMI_TRY(tlmi_check_elements("slice_step", a));
    TLMI_TRY(tlmi_check_dim("slice_step", &dim, a));
    TLMI_TRY(check_steps(a, dim, start, step, count));
    tlm_tensor_t *result;
    TLMI_TRY(choose_steps(&result, a, dim, start, step, count));
    if (tlmi_needs_grad(&a, 1)) {
        tlmi_node_t *node;
        tlm_status_t status =
            tlmi_record(&node, &slice_step_op, result, &a, 1, sizeof(step_context_t));
        if (status != TLM_OK) {
            tlm_tensor_free(result);
            return status;
        }
        *(step_context_t *)tlmi_node_context(node) = (step_context_t){dim, start, step};
    }
    *out = result;
    return TLM_OK;
}

/* ---- take ---------------------------------------------------------------------------- */

/* A tensor as (outer, size, inner) around the dimension; the result is (outer, n, inner). */
typedef struct take_job {
    char *to;
    const char *from;
    const int64_t *indices; /* (n), not negative */
    int64_t n, outer, size;
    size_t inner; /* bytes */
    bool accumulate;
} take_job_t;

typedef struct take_context {
    int64_t *indices; /* owned */
    int64_t n;
    int32_t dim;
} take_context_t;

enum { ROWS_PER_TASK = 256 };

static void gather(void *context, int64_t begin, int64_t end)
{
    const take_job_t *job = context;
    for (int64_t i = begin; i < end; i++) {
        const int64_t source = i / job->n * job->size + job->indices[i % job->n];
        memcpy(job->to + (size_t)i * job->inner, job->from + (size_t)source * job->inner,
               job->inner);
    }
}

/* Each task owns some rows of one outer block and adds in the order of positions, so the sums do not
 * depend on threads. */
static void scatter(void *context, int64_t task, int32_t worker)
{
    const take_job_t *job = context;
    const int64_t tasks = (job->size + ROWS_PER_TASK - 1) / ROWS_PER_TASK;
    const int64_t outer = task / tasks, first = task % tasks * ROWS_PER_TASK;
    const int64_t last = first + ROWS_PER_TASK < job->size ? first + ROWS_PER_TASK : job->size;
    const int64_t inner = (int64_t)(job->inner / sizeof(float));
    float *to = (float *)job->to + outer * job->size * inner;
    const float *from = (const float *)job->from + outer * job->n * inner;

    (void)worker;
    if (!job->accumulate)
        memset(to + first * inner, 0, (size_t)((last - first) * inner) * sizeof(float));
    for (int64_t i = 0; i < job->n; i++)
        if (job->indices[i] >= first && job->indices[i] < last) {
            float *row = to + job->indices[i] * inner;
            tlmi_vec_add(row, row, from + i * inner, inner);
        }
}

static take_job_t plan_take(const tlm_tensor_t *a, int32_t dim, const int64_t *indices, int64_t n)
{
    return (take_job_t){.indices = indices,
                        .n = n,
                        .outer = tlmi_dims_product(a->shape, 0, dim),
                        .size = a->shape[dim],
                        .inner = (size_t)tlmi_dims_product(a->shape, dim + 1, a->ndim) *
                                 tlm_dtype_size(a->dtype)};
}

/* dx[..., indices[i], ...] += dy[..., i, ...] */
static tlm_status_t take_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    const take_context_t *context = tlmi_node_context(node);
    const tlm_tensor_t *input = node->inputs[0];
    take_job_t job = plan_take(input, context->dim, context->indices, context->n);
    float *grad;
    TLMI_TRY(tlmi_grad_open(&grad, &job.accumulate, node, 0));
    job.to = (char *)grad;
    job.from = grad_out->data;
    if (input->numel > 0)
        tlmi_parallel_for(job.outer * ((job.size + ROWS_PER_TASK - 1) / ROWS_PER_TASK), scatter,
                          &job);
    return TLM_OK;
}

static void take_release(tlmi_node_t *node)
{
    tlmi_cached_free(((take_context_t *)tlmi_node_context(node))->indices);
}

static const tlmi_op_t take_op = {.name = "take",
                                  .input_names = {"a"},
                                  .reads = {TLMI_READS_NOTHING},
                                  .backward = take_backward,
                                  .release = take_release};

/* Negative indices count from the end. */
static tlm_status_t resolve_indices(int64_t *indices, int64_t n, const tlm_tensor_t *a, int32_t dim)
{
    const int64_t size = a->shape[dim];
    for (int64_t i = 0; i < n; i++) {
        if (indices[i] < -size || indices[i] >= size) {
            char text[TLMI_SHAPE_TEXT];
            return tlmi_fail(TLM_ERR_RANGE,
                             "take: index %" PRId64 " at position %" PRId64
                             " is not within dimension %d of %s",
                             indices[i], i, dim, tlmi_shape_text(text, a));
        }
        indices[i] += indices[i] < 0 ? size : 0;
    }
    return TLM_OK;
}

/* The shape of the result: that of `indices` in the place of the dimension. */
static tlm_status_t take_shape(int64_t *shape, const tlm_tensor_t *a, int32_t dim,
                               const tlm_tensor_t *indices)
{
    char one[TLMI_SHAPE_TEXT], two[TLMI_SHAPE_TEXT];
    if (a->ndim - 1 + indices->ndim > TLM_MAX_DIMS)
        return tlmi_fail(TLM_ERR_SHAPE, "take: %s with indices %s has more than %d dimensions",
                         tlmi_shape_text(one, a), tlmi_shape_text(two, indices), TLM_MAX_DIMS);
    int32_t ndim = 0;
    for (int32_t d = 0; d < dim; d++)
        shape[ndim++] = a->shape[d];
    for (int32_t d = 0; d < indices->ndim; d++)
        shape[ndim++] = indices->shape[d];
    for (int32_t d = dim + 1; d < a->ndim; d++)
        shape[ndim++] = a->shape[d];
    return TLM_OK;
}

/* Copies the elements to y. If the op is recorded, its node takes over *indices. */
static tlm_status_t take_forward(tlm_tensor_t *y, tlm_tensor_t *a, int32_t dim, int64_t **indices,
                                 int64_t n)
{
    TLMI_TRY(resolve_indices(*indices, n, a, dim));
    tlm_tensor_t *rows;
    TLMI_TRY(tlmi_contiguous(&rows, a));
    take_job_t job = plan_take(a, dim, *indices, n);
    job.to = y->data;
    job.from = rows->data;
    if (y->numel > 0)
        tlmi_parallel_ranges(job.outer * n, gather, &job);
    tlm_tensor_free(rows);
    if (!tlmi_needs_grad(&a, 1))
        return TLM_OK;
    tlmi_node_t *node;
    TLMI_TRY(tlmi_record(&node, &take_op, y, &a, 1, sizeof(take_context_t)));
    *(take_context_t *)tlmi_node_context(node) = (take_context_t){*indices, n, dim};
    *indices = NULL;
    return TLM_OK;
}

tlm_status_t tlm_take(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim, tlm_tensor_t *indices)
{
    TLMI_REQUIRE("take", out);
    TLMI_REQUIRE("take", a);
    TLMI_TRY(tlmi_check_elements("take", a));
    TLMI_TRY(tlmi_check_dim("take", &dim, a));
    TLMI_TRY(tlmi_check_index("take", "indices", indices));
    int64_t shape[TLM_MAX_DIMS], *list = NULL;
    TLMI_TRY(take_shape(shape, a, dim, indices));
    tlm_tensor_t *y = NULL;
    tlm_status_t status;
    TLMI_TRY_OR(done, tlmi_read_indices(&list, indices));
    TLMI_TRY_OR(done, tlmi_tensor_new(&y, a->dtype, shape, a->ndim - 1 + indices->ndim));
    TLMI_TRY_OR(done, take_forward(y, a, dim, &list, indices->numel));
    *out = y;
    y = NULL;
done:
    tlmi_cached_free(list);
    tlm_tensor_free(y);
    return status;
}
