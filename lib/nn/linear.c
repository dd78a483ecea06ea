/* Linear layer: y = x W^T, one matrix product over all rows of x, with W of any element type, and
 * with a low-rank change of W, which training may leave as it is: y = x W^T + scale (D(x) A^T) B^T
 * (Hu et al., "LoRA: Low-rank adaptation of large language models", 2021). D is dropout. */
#include "base/error.h"
#include "kernels/gemm.h"
#include "nn/nn_core.h"
#include "tensor/tensor_core.h"
#include "tinylm/nn.h"

enum { IN_X, IN_WEIGHT, IN_A, IN_B, NUM_INPUTS };

/* The fields after the first are of a layer with a low-rank change. */
typedef struct linear_context {
    int32_t products; /* tlm_products() in forward */
    float scale;
    tlmi_drop_rule_t dropout;
    tlm_tensor_t *inner; /* D(x) A^T: (rows, rank); owned */
} linear_context_t;

/* Everything about one layer and its input, contiguous. */
typedef struct linear_job {
    int64_t rows, d_in, d_out, rank; /* rank 0: no change */
    int32_t products;                /* of the layer; its change is computed in float32 */
    tlm_tensor_t *x, *weight, *a, *b;
    float scale;
    const tlmi_drop_rule_t *dropout;
} linear_job_t;

static void release_job(linear_job_t *job)
{
    tlm_tensor_free(job->x);
    tlm_tensor_free(job->weight);
    tlm_tensor_free(job->a);
    tlm_tensor_free(job->b);
}

/* inputs[IN_X] is not made contiguous, and computed again if it was dropped, unless it is read. */
static tlm_status_t prepare_job(linear_job_t *job, tlm_tensor_t *const *inputs, bool changed,
                                bool reads_x)
{
    const tlm_tensor_t *x = inputs[IN_X], *weight = inputs[IN_WEIGHT];

    *job = (linear_job_t){.rows = tlmi_dims_product(x->shape, 0, x->ndim - 1),
                          .d_in = weight->shape[1],
                          .d_out = weight->shape[0]};
    if (reads_x)
        TLMI_TRY(tlmi_contiguous(&job->x, x));
    TLMI_TRY(tlmi_contiguous(&job->weight, weight));
    if (!changed)
        return TLM_OK;
    job->rank = inputs[IN_A]->shape[0];
    TLMI_TRY(tlmi_contiguous(&job->a, inputs[IN_A]));
    return tlmi_contiguous(&job->b, inputs[IN_B]);
}

static tlmi_matrix_t by_rows(const float *data, int64_t columns)
{
    return (tlmi_matrix_t){data, columns, 1};
}

/* The transpose of a row-major matrix with these columns. */
static tlmi_matrix_t by_columns(const float *data, int64_t columns)
{
    return (tlmi_matrix_t){data, 1, columns};
}

/* D(x) as a tensor of its own, or x itself where nothing is dropped. */
static tlm_status_t drop_input(tlm_tensor_t **out, const linear_job_t *job)
{
    const int64_t shape[] = {job->rows, job->d_in};

    if (job->dropout->rate == 0.0) {
        *out = tlm_tensor_retain(job->x);
        return TLM_OK;
    }
    TLMI_TRY(tlmi_tensor_new(out, TLM_FLOAT32, shape, 2));
    tlmi_dropout_rows(tlmi_floats(*out), tlmi_floats(job->x), job->rows, job->d_in, false,
                      job->dropout);
    return TLM_OK;
}

/* ---- Backward --------------------------------------------------------------------------- */

/* dA = dinner^T D(x); dinner is (rows, rank). */
static tlm_status_t give_a(tlmi_node_t *node, const linear_job_t *job, const float *inner_grad)
{
    tlm_tensor_t *dropped;
    float *buffer;
    bool accumulate;

    TLMI_TRY(drop_input(&dropped, job));
    tlm_status_t status = tlmi_grad_open(&buffer, &accumulate, node, IN_A);
    if (status == TLM_OK)
        status = tlmi_gemm(job->rank, job->d_in, job->rows, 1.0f, by_columns(inner_grad, job->rank),
                           by_rows(tlmi_floats(dropped), job->d_in), accumulate, buffer, job->d_in);
    tlm_tensor_free(dropped);
    return status;
}

/* dx += D^T(dinner A) */
static tlm_status_t add_inner_to_x(float *dx, const linear_job_t *job, const float *inner_grad)
{
    const tlmi_matrix_t inner = by_rows(inner_grad, job->rank);
    const tlmi_matrix_t a = by_rows(tlmi_floats(job->a), job->d_in);
    const int64_t shape[] = {job->rows, job->d_in};

    if (job->dropout->rate == 0.0)
        return tlmi_gemm(job->rows, job->d_in, job->rank, 1.0f, inner, a, 1.0f, dx, job->d_in);
    tlm_tensor_t *change;
    TLMI_TRY(tlmi_tensor_new(&change, TLM_FLOAT32, shape, 2));
    tlm_status_t status = tlmi_gemm(job->rows, job->d_in, job->rank, 1.0f, inner, a, 0.0f,
                                    tlmi_floats(change), job->d_in);
    if (status == TLM_OK)
        tlmi_dropout_rows(dx, tlmi_floats(change), job->rows, job->d_in, true, job->dropout);
    tlm_tensor_free(change);
    return status;
}

/* The gradients of x, of A and of B that go through the change; dx is NULL if it is not needed. */
static tlm_status_t change_gradients(tlmi_node_t *node, const linear_job_t *job, const float *grad,
                                     float *dx)
{
    const linear_context_t *context = tlmi_node_context(node);
    const int64_t shape[] = {job->rows, job->rank};
    tlm_tensor_t *inner_grad;
    float *buffer;
    bool accumulate;
    tlm_status_t status;

    if (tlmi_wants_grad(node, IN_B)) {
        TLMI_TRY(tlmi_grad_open(&buffer, &accumulate, node, IN_B));
        TLMI_TRY(tlmi_gemm(
            job->d_out, job->rank, job->rows, job->scale, by_columns(grad, job->d_out),
            by_rows(tlmi_floats(context->inner), job->rank), accumulate, buffer, job->rank));
    }
    if (dx == NULL && !tlmi_wants_grad(node, IN_A))
        return TLM_OK;
    TLMI_TRY(tlmi_tensor_new(&inner_grad, TLM_FLOAT32, shape, 2));
    TLMI_TRY_OR(done, tlmi_gemm(job->rows, job->rank, job->d_out, job->scale,
                                by_rows(grad, job->d_out), by_rows(tlmi_floats(job->b), job->rank),
                                0.0f, tlmi_floats(inner_grad), job->rank));
    if (tlmi_wants_grad(node, IN_A))
        TLMI_TRY_OR(done, give_a(node, job, tlmi_floats(inner_grad)));
    status = dx == NULL ? TLM_OK : add_inner_to_x(dx, job, tlmi_floats(inner_grad));
done:
    tlm_tensor_free(inner_grad);
    return status;
}

/* dX = dY W, dW = dY^T X. The product itself adds to a gradient that is already there. */
static tlm_status_t linear_gradients(tlmi_node_t *node, const float *grad, const linear_job_t *job)
{
    float *buffer, *dx = NULL;
    bool accumulate;

    if (tlmi_wants_grad(node, IN_X)) {
        const tlmi_weight_t weight = tlmi_weight_of(job->weight);
        TLMI_TRY(tlmi_grad_open(&dx, &accumulate, node, IN_X));
        TLMI_TRY(tlmi_weight_product_back(dx, job->products, job->rows, grad, &weight, accumulate));
    }
    if (job->rank > 0)
        TLMI_TRY(change_gradients(node, job, grad, dx));
    if (!tlmi_wants_grad(node, IN_WEIGHT))
        return TLM_OK;
    TLMI_TRY(tlmi_grad_open(&buffer, &accumulate, node, IN_WEIGHT));
    tlmi_gemm_as(job->products, job->d_out, job->d_in, job->rows, 1.0f,
                 by_columns(grad, job->d_out), by_rows(tlmi_floats(job->x), job->d_in), accumulate,
                 buffer, job->d_in);
    return TLM_OK;
}

static tlm_status_t linear_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    const linear_context_t *context = tlmi_node_context(node);
    const bool changed = node->num_inputs > IN_A;
    const bool reads_x =
        tlmi_wants_grad(node, IN_WEIGHT) || (changed && tlmi_wants_grad(node, IN_A));
    linear_job_t job;

    tlm_status_t status = prepare_job(&job, node->inputs, changed, reads_x);
    job.products = context->products;
    if (changed) {
        job.scale = context->scale;
        job.dropout = &context->dropout;
    }
    if (status == TLM_OK)
        status = linear_gradients(node, tlmi_floats(grad_out), &job);
    release_job(&job);
    return status;
}

static void linear_release(tlmi_node_t *node)
{
    if (node->num_inputs > IN_A)
        tlm_tensor_free(((linear_context_t *)tlmi_node_context(node))->inner);
}

static const tlmi_op_t linear_op = {
    .name = "linear",
    .input_names = {"x", "weight", "A", "B"},
    .reads = {TLMI_READS_INPUT(IN_WEIGHT) | TLMI_READS_INPUT(IN_A) | TLMI_READS_INPUT(IN_B),
              TLMI_READS_INPUT(IN_X), TLMI_READS_INPUT(IN_X) | TLMI_READS_INPUT(IN_B),
              TLMI_READS_NOTHING},
    .backward = linear_backward,
    .release = linear_release};

/* ---- Forward ---------------------------------------------------------------------------- */

static tlm_status_t check_linear(const tlm_tensor_t *x, const tlm_tensor_t *weight)
{
    TLMI_TRY(tlmi_check_float("linear", "x", x));
    char a[TLMI_SHAPE_TEXT], b[TLMI_SHAPE_TEXT];
    if (x->ndim < 1 || weight->ndim != 2 || x->shape[x->ndim - 1] != weight->shape[1])
        return tlmi_fail(TLM_ERR_SHAPE, "linear: x %s does not fit weight %s (d_out, d_in)",
                         tlmi_shape_text(a, x), tlmi_shape_text(b, weight));
    return TLM_OK;
}

/* y += scale (D(x) A^T) B^T; *inner gets D(x) A^T. */
static tlm_status_t add_change(tlm_tensor_t *y, tlm_tensor_t **inner, const linear_job_t *job)
{
    const int64_t shape[] = {job->rows, job->rank};
    tlm_tensor_t *dropped, *product = NULL;

    TLMI_TRY(drop_input(&dropped, job));
    tlm_status_t status;
    TLMI_TRY_OR(done, tlmi_tensor_new(&product, TLM_FLOAT32, shape, 2));
    TLMI_TRY_OR(done, tlmi_gemm(job->rows, job->rank, job->d_in, 1.0f,
                                by_rows(tlmi_floats(dropped), job->d_in),
                                by_columns(tlmi_floats(job->a), job->d_in), 0.0f,
                                tlmi_floats(product), job->rank));
    TLMI_TRY_OR(done, tlmi_gemm(job->rows, job->d_out, job->rank, job->scale,
                                by_rows(tlmi_floats(product), job->rank),
                                by_columns(tlmi_floats(job->b), job->rank), 1.0f, tlmi_floats(y),
                                job->d_out));
    *inner = product;
    product = NULL;
done:
    tlm_tensor_free(product);
    tlm_tensor_free(dropped);
    return status;
}

static tlm_status_t linear_forward(tlm_tensor_t *y, tlm_tensor_t **inner,
                                   tlm_tensor_t *const *inputs, const tlmi_low_rank_t *change)
{
    linear_job_t job;

    tlm_status_t status = prepare_job(&job, inputs, change != NULL, true);
    if (status == TLM_OK) {
        const tlmi_weight_t weight = tlmi_weight_of(job.weight);
        status = tlmi_weight_product(tlmi_floats(y), tlm_products(), job.rows, tlmi_floats(job.x),
                                     &weight, 0.0f);
    }
    if (status == TLM_OK && change != NULL) {
        job.scale = change->scale;
        job.dropout = &change->dropout;
        status = add_change(y, inner, &job);
    }
    release_job(&job);
    return status;
}

/* Records the layer; with a change, the node takes over *inner. */
static tlm_status_t record(tlm_tensor_t *y, tlm_tensor_t **inner, tlm_tensor_t *const *inputs,
                           const tlmi_low_rank_t *change)
{
    const int32_t num_inputs = change == NULL ? IN_A : NUM_INPUTS;
    tlmi_node_t *node;

    TLMI_TRY(tlmi_record(&node, &linear_op, y, inputs, num_inputs, sizeof(linear_context_t)));
    linear_context_t *context = tlmi_node_context(node);
    *context = (linear_context_t){.products = tlm_products()};
    if (change != NULL) {
        context->scale = change->scale;
        context->dropout = change->dropout;
        context->inner = *inner;
        *inner = NULL;
    }
    return TLM_OK;
}

tlm_status_t tlmi_linear(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *weight,
                         const tlmi_low_rank_t *change)
{
    TLMI_TRY(check_linear(x, weight));
    int64_t shape[TLM_MAX_DIMS];
    for (int32_t i = 0; i < x->ndim; i++)
        shape[i] = x->shape[i];
    shape[x->ndim - 1] = weight->shape[0];
    tlm_tensor_t *y, *inner = NULL;
    tlm_tensor_t *inputs[NUM_INPUTS] = {x, weight, change == NULL ? NULL : change->a,
                                        change == NULL ? NULL : change->b};
    TLMI_TRY(tlmi_tensor_new(&y, TLM_FLOAT32, shape, x->ndim));
    tlm_status_t status = linear_forward(y, &inner, inputs, change);
    if (status == TLM_OK && tlmi_needs_grad(inputs, NUM_INPUTS))
        status = record(y, &inner, inputs, change);
    tlm_tensor_free(inner);
    if (status != TLM_OK) {
        tlm_tensor_free(y);
        return status;
    }
    *out = y;
    return TLM_OK;
}

tlm_status_t tlm_linear(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *weight)
{
    TLMI_REQUIRE("linear", out);
    TLMI_TRY(tlmi_check_float("linear", "x", x));
    TLMI_TRY(tlmi_check_float("linear", "weight", weight));
    return tlmi_linear(out, x, weight, NULL);
}

tlm_status_t tlm_linear_bias(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *weight,
                             tlm_tensor_t *bias)
{
    TLMI_REQUIRE("linear_bias", out);
    TLMI_TRY(tlmi_check_float("linear_bias", "x", x));
    TLMI_TRY(tlmi_check_float("linear_bias", "weight", weight));
    TLMI_TRY(tlmi_check_float("linear_bias", "bias", bias));
    char a[TLMI_SHAPE_TEXT], b[TLMI_SHAPE_TEXT];
    if (weight->ndim != 2 || bias->ndim != 1 || bias->shape[0] != weight->shape[0])
        return tlmi_fail(TLM_ERR_SHAPE, "linear_bias: bias %s does not fit weight %s",
                         tlmi_shape_text(a, bias), tlmi_shape_text(b, weight));
    tlm_tensor_t *product;
    TLMI_TRY(tlmi_linear(&product, x, weight, NULL));
    tlm_status_t status = tlm_add(out, product, bias);
    if (status == TLM_OK)
        tlmi_tensor_drop(product); /* a sum does not read its operands in backward */
    tlm_tensor_free(product);
    return status;
}
