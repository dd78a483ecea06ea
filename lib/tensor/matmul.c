/* matmul: matrix products of the last two dimensions, with leading dimensions that broadcast. If b
 * is one matrix and a is row-major, the leading dimensions become rows of one large product. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/thread_pool.h"
#include "tensor/tensor_core.h"
#include "kernels/gemm.h"

/* With at least this many products, each is one task; fewer are parallelized inside. */
enum { PRODUCTS_AS_TASKS = 8 };

/* An operand: a matrix at each index of the leading dimensions. */
typedef struct operand {
    tlmi_matrix_t matrix;
    int64_t strides[TLM_MAX_DIMS]; /* of the leading dimensions, 0 where the operand is repeated */
} operand_t;

/* The leading dimensions of the result. */
typedef struct leading {
    int32_t ndim;
    int64_t shape[TLM_MAX_DIMS];
} leading_t;

/* target (+)= x y at every index of the leading dimensions. Where the target is repeated, products
 * are summed into it in order. */
typedef struct product_job {
    int64_t m, n, k;
    operand_t x, y, target;
    leading_t kept,
        summed; /* dimensions along which the target advances and along which it is repeated */
    int32_t kept_dims[TLM_MAX_DIMS], summed_dims[TLM_MAX_DIMS];
    int64_t num_kept, num_summed;
    bool accumulate;
    bool serial; /* the products run inside a task */
} product_job_t;

static operand_t operand_of(const tlm_tensor_t *tensor, const leading_t *leading)
{
    operand_t operand = {
        {tlmi_floats(tensor), tensor->strides[tensor->ndim - 2], tensor->strides[tensor->ndim - 1]},
        {0}};
    int32_t missing = leading->ndim - (tensor->ndim - 2);
    for (int32_t d = missing; d < leading->ndim; d++)
        operand.strides[d] = tensor->shape[d - missing] == 1 ? 0 : tensor->strides[d - missing];
    return operand;
}

static operand_t transposed(operand_t operand)
{
    int64_t stride = operand.matrix.row_stride;
    operand.matrix.row_stride = operand.matrix.column_stride;
    operand.matrix.column_stride = stride;
    return operand;
}

/* Adds the offsets of an index into some leading dimensions to offsets[0..2] (of x, y, target). */
static void add_offsets(int64_t offsets[3], const product_job_t *job, int64_t index,
                        const leading_t *leading, const int32_t *dims)
{
    for (int32_t i = leading->ndim - 1; i >= 0; i--) {
        int64_t position = index % leading->shape[i];
        index /= leading->shape[i];
        offsets[0] += position * job->x.strides[dims[i]];
        offsets[1] += position * job->y.strides[dims[i]];
        offsets[2] += position * job->target.strides[dims[i]];
    }
}

/* Computes all products that are summed into one target. */
static tlm_status_t run_products(const product_job_t *job, int64_t kept)
{
    for (int64_t s = 0; s < job->num_summed; s++) {
        int64_t offsets[3] = {0};
        add_offsets(offsets, job, kept, &job->kept, job->kept_dims);
        add_offsets(offsets, job, s, &job->summed, job->summed_dims);
        tlmi_matrix_t x = job->x.matrix;
        tlmi_matrix_t y = job->y.matrix;
        x.data += offsets[0];
        y.data += offsets[1];
        float *target = (float *)job->target.matrix.data + offsets[2];
        float beta = s > 0 || job->accumulate ? 1.0f : 0.0f;
        int64_t stride = job->target.matrix.row_stride;
        if (job->serial)
            tlmi_gemm_serial(job->m, job->n, job->k, 1.0f, x, y, beta, target, stride);
        else
            TLMI_TRY(tlmi_gemm(job->m, job->n, job->k, 1.0f, x, y, beta, target, stride));
    }
    return TLM_OK;
}

static void product_task(void *context, int64_t task, int32_t worker)
{
    (void)worker;
    run_products(context, task);
}

/* target (+)= x y over all indices of `leading`; the target is row-major. */
static tlm_status_t multiply(int64_t m, int64_t n, int64_t k, operand_t x, operand_t y,
                             operand_t target, const leading_t *leading, bool accumulate)
{
    product_job_t job = {.m = m, .n = n, .k = k, .x = x, .y = y, .target = target};
    job.accumulate = accumulate;
    job.num_kept = job.num_summed = 1;
    target.matrix.row_stride = n;
    job.target = target;
    for (int32_t d = 0; d < leading->ndim; d++) {
        if (leading->shape[d] == 1)
            continue;
        bool kept = target.strides[d] != 0;
        leading_t *dims = kept ? &job.kept : &job.summed;
        (kept ? job.kept_dims : job.summed_dims)[dims->ndim] = d;
        dims->shape[dims->ndim++] = leading->shape[d];
        *(kept ? &job.num_kept : &job.num_summed) *= leading->shape[d];
    }
    if (job.num_kept >= PRODUCTS_AS_TASKS) {
        job.serial = true;
        tlmi_parallel_for(job.num_kept, product_task, &job);
        return TLM_OK;
    }
    for (int64_t i = 0; i < job.num_kept; i++)
        TLMI_TRY(run_products(&job, i));
    return TLM_OK;
}

/* ---- The op -------------------------------------------------------------------------- */

typedef struct matmul_shape {
    int64_t m, n, k;
    leading_t leading; /* of the result */
} matmul_shape_t;

static tlm_status_t fail_shapes(const char *what, int64_t left, int64_t right,
                                const tlm_tensor_t *a, const tlm_tensor_t *b)
{
    char text_a[TLMI_SHAPE_TEXT];
    char text_b[TLMI_SHAPE_TEXT];
    return tlmi_fail(TLM_ERR_SHAPE, "matmul: %s %" PRId64 " and %" PRId64 " differ: %s x %s", what,
                     left, right, tlmi_shape_text(text_a, a), tlmi_shape_text(text_b, b));
}

static tlm_status_t matmul_shape_of(matmul_shape_t *shape, const tlm_tensor_t *a,
                                    const tlm_tensor_t *b)
{
    if (a->ndim < 2 || b->ndim < 2) {
        char text_a[TLMI_SHAPE_TEXT];
        char text_b[TLMI_SHAPE_TEXT];
        return tlmi_fail(TLM_ERR_SHAPE, "matmul: both tensors need two or more dimensions: %s x %s",
                         tlmi_shape_text(text_a, a), tlmi_shape_text(text_b, b));
    }
    shape->m = a->shape[a->ndim - 2];
    shape->k = a->shape[a->ndim - 1];
    shape->n = b->shape[b->ndim - 1];
    if (shape->k != b->shape[b->ndim - 2])
        return fail_shapes("inner dimensions", shape->k, b->shape[b->ndim - 2], a, b);
    leading_t *leading = &shape->leading;
    leading->ndim = (a->ndim > b->ndim ? a->ndim : b->ndim) - 2;
    for (int32_t d = 0; d < leading->ndim; d++) {
        int32_t da = d - (leading->ndim - (a->ndim - 2));
        int32_t db = d - (leading->ndim - (b->ndim - 2));
        int64_t size_a = da < 0 ? 1 : a->shape[da];
        int64_t size_b = db < 0 ? 1 : b->shape[db];
        if (size_a != size_b && size_a != 1 && size_b != 1)
            return fail_shapes("leading dimensions", size_a, size_b, a, b);
        leading->shape[d] = size_a == 1 ? size_b : size_a;
    }
    return TLM_OK;
}

/* Turns the leading dimensions into rows of one product if b has none and a is row-major. */
static void flatten(matmul_shape_t *shape, const tlm_tensor_t *a, const tlm_tensor_t *b)
{
    if (b->ndim != 2 || !tlmi_is_contiguous(a))
        return;
    shape->m *= tlmi_dims_product(shape->leading.shape, 0, shape->leading.ndim);
    shape->leading.ndim = 0;
}

/* `tensor` as an operand; if the product was flattened, as one row-major matrix. */
static operand_t place(const tlm_tensor_t *tensor, const leading_t *leading, int64_t columns)
{
    if (leading->ndim == 0 && tensor->ndim > 2)
        return (operand_t){{tlmi_floats(tensor), columns, 1}, {0}};
    return operand_of(tensor, leading);
}

/* Opens the gradient of input i as an operand that looks like the input, but row-major. */
static tlm_status_t open_target(operand_t *target, bool *accumulate, tlmi_node_t *node, int32_t i,
                                const leading_t *leading)
{
    const tlm_tensor_t *input = node->inputs[i];
    tlm_tensor_t layout = {.ndim = input->ndim};
    memcpy(layout.shape, input->shape, sizeof(layout.shape));
    int64_t stride = 1;
    for (int32_t d = input->ndim - 1; d >= 0; d--) {
        layout.strides[d] = stride;
        stride *= input->shape[d];
    }
    float *grad;
    TLMI_TRY(tlmi_grad_open(&grad, accumulate, node, i));
    layout.data = grad;
    *target = place(&layout, leading, input->shape[input->ndim - 1]);
    return TLM_OK;
}

/* Sets a gradient to 0 if the products are empty. */
static void clear_if_empty(float *grad, const tlm_tensor_t *grad_out, const tlm_tensor_t *input,
                           bool accumulate)
{
    if (grad_out->numel == 0 && input->numel > 0 && !accumulate && !tlmi_dry_run())
        memset(grad, 0, (size_t)input->numel * sizeof(float));
}

/* da += dc b^T and db += a^T dc, summed over the dimensions along which an input was repeated */
static tlm_status_t matmul_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    const tlm_tensor_t *a = node->inputs[0];
    const tlm_tensor_t *b = node->inputs[1];
    matmul_shape_t shape;
    TLMI_TRY(matmul_shape_of(&shape, a, b));
    flatten(&shape, a, b);
    const leading_t *leading = &shape.leading;
    operand_t dc = place(grad_out, leading, shape.n);
    operand_t target;
    bool accumulate;
    if (tlmi_wants_grad(node, 0)) {
        TLMI_TRY(open_target(&target, &accumulate, node, 0, leading));
        clear_if_empty((float *)target.matrix.data, grad_out, a, accumulate);
        if (grad_out->numel > 0)
            TLMI_TRY(multiply(shape.m, shape.k, shape.n, dc, transposed(place(b, leading, shape.n)),
                              target, leading, accumulate));
    }
    if (tlmi_wants_grad(node, 1)) {
        TLMI_TRY(open_target(&target, &accumulate, node, 1, leading));
        clear_if_empty((float *)target.matrix.data, grad_out, b, accumulate);
        if (grad_out->numel > 0)
            TLMI_TRY(multiply(shape.k, shape.n, shape.m, transposed(place(a, leading, shape.k)), dc,
                              target, leading, accumulate));
    }
    return TLM_OK;
}

static const tlmi_op_t matmul_op = {.name = "matmul",
                                    .input_names = {"a", "b"},
                                    .reads = {TLMI_READS_INPUT(1), TLMI_READS_INPUT(0)},
                                    .backward = matmul_backward};

tlm_status_t tlm_matmul(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b)
{
    TLMI_REQUIRE("matmul", out);
    TLMI_TRY(tlmi_check_float("matmul", "a", a));
    TLMI_TRY(tlmi_check_float("matmul", "b", b));
    matmul_shape_t shape;
    TLMI_TRY(matmul_shape_of(&shape, a, b));
    int64_t out_shape[TLM_MAX_DIMS];
    int32_t ndim = shape.leading.ndim + 2;
    memcpy(out_shape, shape.leading.shape, sizeof(out_shape));
    out_shape[ndim - 2] = shape.m;
    out_shape[ndim - 1] = shape.n;
    tlm_tensor_t *result;
    TLMI_TRY(tlmi_tensor_new(&result, TLM_FLOAT32, out_shape, ndim));

    flatten(&shape, a, b);
    tlm_status_t status = TLM_OK;
    if (result->numel > 0)
        status = multiply(shape.m, shape.n, shape.k, place(a, &shape.leading, shape.k),
                          place(b, &shape.leading, shape.n), place(result, &shape.leading, shape.n),
                          &shape.leading, false);
    tlm_tensor_t *inputs[] = {a, b};
    if (status == TLM_OK && tlmi_needs_grad(inputs, 2))
        status = tlmi_record(NULL, &matmul_op, result, inputs, 2, 0);
    if (status != TLM_OK) {
        tlm_tensor_free(result);
        return status;
    }
    *out = result;
    return TLM_OK;
}
