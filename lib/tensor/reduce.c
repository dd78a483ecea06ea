/* sum, mean, and the sums that gradients of broadcast operands need. One function serves all: it
 * merges neighboring dimensions that are both kept or both summed, and sums in float64. */
#include "base/error.h"
#include "base/thread_pool.h"
#include "tensor/tensor_core.h"
#include "kernels/vector_math.h"

enum {
    COLUMNS = 256,   /* neighboring kept elements that are summed together */
    PIECE = 1 << 16, /* elements that one task of a full sum adds */
    MAX_PIECES = 256 /* most tasks of a full sum; longer sums use longer pieces */
};

/* A reduction with merged dimensions: sizes and source strides of those kept and those summed. */
typedef struct reduction {
    int32_t num_kept, num_summed;
    int64_t kept[TLM_MAX_DIMS], kept_stride[TLM_MAX_DIMS];
    int64_t summed[TLM_MAX_DIMS], summed_stride[TLM_MAX_DIMS];
    int64_t total_kept, total_summed;
    int64_t columns; /* size of the last kept dimension if it is the innermost of all, else 1 */
    float *target;
    const float *source;
    bool accumulate;
    float factor;
} reduction_t;

static void plan_reduction(reduction_t *plan, const int64_t *target_shape, const int64_t *shape,
                           int32_t ndim)
{
    int last_kind = -1; /* 0 kept, 1 summed */
    int64_t stride = tlmi_dims_product(shape, 0, ndim);
    plan->total_kept = plan->total_summed = 1;
    for (int32_t d = 0; d < ndim; d++) {
        if (shape[d] == 1)
            continue;
        int kind = target_shape[d] != shape[d];
        stride /= shape[d];
        int32_t *count = kind ? &plan->num_summed : &plan->num_kept;
        int64_t *sizes = kind ? plan->summed : plan->kept;
        int64_t *strides = kind ? plan->summed_stride : plan->kept_stride;
        if (kind != last_kind)
            sizes[(*count)++] = 1;
        sizes[*count - 1] *= shape[d];
        strides[*count - 1] = stride;
        *(kind ? &plan->total_summed : &plan->total_kept) *= shape[d];
        last_kind = kind;
    }
    plan->columns = last_kind == 0 ? plan->kept[plan->num_kept - 1] : 1;
}

static int64_t offset_of(int64_t index, const int64_t *sizes, const int64_t *strides, int32_t n)
{
    int64_t offset = 0;
    for (int32_t d = n - 1; d >= 0; d--) {
        offset += index % sizes[d] * strides[d];
        index /= sizes[d];
    }
    return offset;
}

static double sum_run(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i += 4096)
        sum += tlmi_vec_sum(x + i, n - i < 4096 ? n - i : 4096);
    return sum;
}

/* Computes one element of the target if the innermost summed dimension is a contiguous run. */
static double sum_runs(const reduction_t *plan, const float *source)
{
    int32_t outer = plan->num_summed - 1;
    int64_t run = plan->summed[outer];
    double sum = 0;
    for (int64_t i = 0; i < plan->total_summed / run; i++)
        sum += sum_run(source + offset_of(i, plan->summed, plan->summed_stride, outer), run);
    return sum;
}

static void store(const reduction_t *plan, int64_t i, double sum)
{
    float value = (float)(plan->factor * sum);
    plan->target[i] = plan->accumulate ? plan->target[i] + value : value;
}

/* Computes elements begin .. end-1 of the target, all in one row of columns. */
static void reduce_columns(const reduction_t *plan, int64_t begin, int64_t end)
{
    double sums[COLUMNS] = {0};
    const float *source =
        plan->source + offset_of(begin, plan->kept, plan->kept_stride, plan->num_kept);
    for (int64_t i = 0; i < plan->total_summed; i++) {
        const float *row =
            source + offset_of(i, plan->summed, plan->summed_stride, plan->num_summed);
        for (int64_t j = 0; j < end - begin; j++)
            sums[j] += row[j];
    }
    for (int64_t j = 0; j < end - begin; j++)
        store(plan, begin + j, sums[j]);
}

static void reduce_task(void *context, int64_t task, int32_t worker)
{
    (void)worker;
    const reduction_t *plan = context;
    if (plan->columns == 1) {
        int64_t end =
            (task + 1) * COLUMNS < plan->total_kept ? (task + 1) * COLUMNS : plan->total_kept;
        for (int64_t i = task * COLUMNS; i < end; i++)
            store(plan, i,
                  sum_runs(plan, plan->source +
                                     offset_of(i, plan->kept, plan->kept_stride, plan->num_kept)));
        return;
    }
    int64_t pieces = (plan->columns + COLUMNS - 1) / COLUMNS;
    int64_t row = task / pieces * plan->columns;
    int64_t begin = task % pieces * COLUMNS;
    int64_t end = begin + COLUMNS < plan->columns ? begin + COLUMNS : plan->columns;
    reduce_columns(plan, row + begin, row + end);
}

typedef struct total_job {
    const float *source;
    int64_t n, piece;
    double sums[MAX_PIECES];
} total_job_t;

static void total_task(void *context, int64_t task, int32_t worker)
{
    (void)worker;
    total_job_t *job = context;
    int64_t begin = task * job->piece;
    int64_t n = job->n - begin < job->piece ? job->n - begin : job->piece;
    job->sums[task] = sum_run(job->source + begin, n);
}

/* Sums n contiguous elements, in pieces. */
static double sum_total(const float *source, int64_t n)
{
    total_job_t job = {.source = source, .n = n, .piece = PIECE};
    if (n > (int64_t)PIECE * MAX_PIECES)
        job.piece = (n + MAX_PIECES - 1) / MAX_PIECES;
    int64_t pieces = (n + job.piece - 1) / job.piece;
    tlmi_parallel_for(pieces, total_task, &job);
    double sum = 0;
    for (int64_t i = 0; i < pieces; i++)
        sum += job.sums[i];
    return sum;
}

void tlmi_reduce_sum(float *target, const int64_t *target_shape, bool accumulate, float factor,
                     const float *source, const int64_t *shape, int32_t ndim)
{
    int64_t target_numel = tlmi_dims_product(target_shape, 0, ndim);
    int64_t numel = tlmi_dims_product(shape, 0, ndim);
    if (tlmi_dry_run())
        return;
    if (numel == 0) { /* a sum of nothing is 0 */
        for (int64_t i = 0; i < target_numel && !accumulate; i++)
            target[i] = 0.0f;
        return;
    }
    reduction_t plan = {
        .target = target, .source = source, .accumulate = accumulate, .factor = factor};
    plan_reduction(&plan, target_shape, shape, ndim);
    if (plan.total_kept == 1) {
        store(&plan, 0, sum_total(source, numel));
        return;
    }
    int64_t tasks = plan.columns == 1
                        ? (plan.total_kept + COLUMNS - 1) / COLUMNS
                        : plan.total_kept / plan.columns * ((plan.columns + COLUMNS - 1) / COLUMNS);
    if (numel <= PIECE / 4)
        for (int64_t task = 0; task < tasks; task++)
            reduce_task(&plan, task, 0);
    else
        tlmi_parallel_for(tasks, reduce_task, &plan);
}

void tlmi_reduce_to(float *target, const tlm_tensor_t *tensor, bool accumulate, const float *source,
                    const int64_t *shape, int32_t ndim)
{
    int64_t target_shape[TLM_MAX_DIMS];
    for (int32_t d = 0; d < ndim; d++) {
        int32_t own = d - (ndim - tensor->ndim);
        target_shape[d] = own < 0 ? 1 : tensor->shape[own];
    }
    tlmi_reduce_sum(target, target_shape, accumulate, 1.0f, source, shape, ndim);
}

/* ---- sum and mean -------------------------------------------------------------------- */

typedef struct reduce_context {
    float factor; /* 1, or 1 / (number of summed elements) */
    int64_t target_shape[TLM_MAX_DIMS];
} reduce_context_t;

/* dx[i] += factor * dy[the element that x[i] was added to] */
static tlm_status_t reduce_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    const reduce_context_t *context = tlmi_node_context(node);
    const tlm_tensor_t *input = node->inputs[0];
    float *grad;
    bool accumulate;
    TLMI_TRY(tlmi_grad_open(&grad, &accumulate, node, 0));
    int64_t strides[TLM_MAX_DIMS];
    int64_t source_strides[TLM_MAX_DIMS];
    tlmi_row_major_strides(strides, input->shape, input->ndim);
    tlmi_row_major_strides(source_strides, context->target_shape, input->ndim);
    for (int32_t d = 0; d < input->ndim; d++)
        if (context->target_shape[d] != input->shape[d])
            source_strides[d] = 0;
    tlmi_strided_scale(grad, strides, accumulate, context->factor, tlmi_floats(grad_out),
                       source_strides, input->shape, input->ndim);
    return TLM_OK;
}

static const tlmi_op_t sum_op = {.name = "sum",
                                 .input_names = {"a"},
                                 .reads = {TLMI_READS_NOTHING},
                                 .backward = reduce_backward};
static const tlmi_op_t mean_op = {.name = "mean",
                                  .input_names = {"a"},
                                  .reads = {TLMI_READS_NOTHING},
                                  .backward = reduce_backward};

/* Sums over dimension `dim`, which is not negative, or over all if dim is -1. */
static tlm_status_t reduce(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim, bool keep_dim,
                           bool mean)
{
    reduce_context_t context = {.factor = 1.0f};
    int64_t out_shape[TLM_MAX_DIMS];
    int32_t out_ndim = 0;
    for (int32_t d = 0; d < a->ndim; d++) {
        bool summed = dim < 0 || d == dim;
        context.target_shape[d] = summed ? 1 : a->shape[d];
        if (!summed || keep_dim)
            out_shape[out_ndim++] = context.target_shape[d];
    }
    int64_t count = dim < 0 ? a->numel : a->shape[dim];
    if (mean) /* the mean of nothing is NaN, as 0 / 0 */
        context.factor = count == 0 ? __builtin_nanf("") : (float)(1.0 / (double)count);

    tlm_tensor_t *rows;
    tlm_tensor_t *result = NULL;
    TLMI_TRY(tlmi_contiguous(&rows, a));
    tlm_status_t status = tlmi_tensor_new(&result, TLM_FLOAT32, out_shape, out_ndim);
    if (status == TLM_OK && mean && count == 0)
        for (int64_t i = 0; i < result->numel; i++)
            tlmi_floats(result)[i] = context.factor;
    else if (status == TLM_OK)
        tlmi_reduce_sum(tlmi_floats(result), context.target_shape, false, context.factor,
                        tlmi_floats(rows), a->shape, a->ndim);
    tlm_tensor_free(rows);
    if (status == TLM_OK && tlmi_needs_grad(&a, 1)) {
        tlmi_node_t *node;
        status = tlmi_record(&node, mean ? &mean_op : &sum_op, result, &a, 1, sizeof(context));
        if (status == TLM_OK)
            *(reduce_context_t *)tlmi_node_context(node) = context;
    }
    if (status != TLM_OK) {
        tlm_tensor_free(result);
        return status;
    }
    *out = result;
    return TLM_OK;
}

static tlm_status_t reduce_dim(const char *op, tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim,
                               bool keep_dim, bool mean)
{
    TLMI_REQUIRE(op, out);
    TLMI_TRY(tlmi_check_float(op, "a", a));
    TLMI_TRY(tlmi_check_dim(op, &dim, a));
    return reduce(out, a, dim, keep_dim, mean);
}

tlm_status_t tlm_sum(tlm_tensor_t **out, tlm_tensor_t *a)
{
    TLMI_REQUIRE("sum", out);
    TLMI_TRY(tlmi_check_float("sum", "a", a));
    return reduce(out, a, -1, false, false);
}

tlm_status_t tlm_mean(tlm_tensor_t **out, tlm_tensor_t *a)
{
    TLMI_REQUIRE("mean", out);
    TLMI_TRY(tlmi_check_float("mean", "a", a));
    return reduce(out, a, -1, false, true);
}

tlm_status_t tlm_sum_dim(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim, bool keep_dim)
{
    return reduce_dim("sum_dim", out, a, dim, keep_dim, false);
}

tlm_status_t tlm_mean_dim(tlm_tensor_t **out, tlm_tensor_t *a, int32_t dim, bool keep_dim)
{
    return reduce_dim("mean_dim", out, a, dim, keep_dim, true);
}
