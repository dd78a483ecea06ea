/* y = w[0] a + w[1] b: two tensors of one shape, mixed by weights that are learned. */
#include <string.h>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/vector_math.h"
#include "nn/nn_core.h"
#include "tensor/tensor_core.h"

enum { PIECE = 16384 /* elements per task; fixed, because it determines how sums are grouped */ };

typedef struct mix_job {
    int64_t numel;
    const float *a, *b, *weights;
    float *y;
    const float *dy;
    float *gradients[2]; /* of a and b; NULL: not needed */
    bool accumulate[2];
    double (*sums)[2]; /* (pieces): of the gradients of weights; NULL: not needed */
} mix_job_t;

static int64_t count_pieces(int64_t numel)
{
    return (numel + PIECE - 1) / PIECE;
}

static void mix_piece(void *context, int64_t task, int32_t worker)
{
    const mix_job_t *job = context;
    const int64_t at = task * PIECE, n = tlmi_min64(PIECE, job->numel - at);

    (void)worker;
    tlmi_mix_rows(job->y + at, job->a + at, job->b + at, job->weights, n);
}

void tlmi_mix_rows(float *y, const float *a, const float *b, const float weights[2], int64_t n)
{
    tlmi_vec_scale(y, a, weights[0], n);
    tlmi_vec_axpy(y, weights[1], b, n);
}

static void back_piece(void *context, int64_t task, int32_t worker)
{
    const mix_job_t *job = context;
    const int64_t at = task * PIECE, n = tlmi_min64(PIECE, job->numel - at);
    const float *dy = job->dy + at;

    (void)worker;
    if (job->sums != NULL) {
        job->sums[task][0] = (double)tlmi_vec_dot(dy, job->a + at, n);
        job->sums[task][1] = (double)tlmi_vec_dot(dy, job->b + at, n);
    }
    for (int32_t i = 0; i < 2; i++) {
        float *gradient = job->gradients[i] == NULL ? NULL : job->gradients[i] + at;

        if (gradient != NULL && job->accumulate[i])
            tlmi_vec_axpy(gradient, job->weights[i], dy, n);
        else if (gradient != NULL)
            tlmi_vec_scale(gradient, dy, job->weights[i], n);
    }
}

/* Adds the sums of all pieces, in their order, to the gradient of the weights. */
static tlm_status_t give_weights(tlmi_node_t *node, const mix_job_t *job)
{
    float *gradient;
    bool accumulate;

    TLMI_TRY(tlmi_grad_open(&gradient, &accumulate, node, 2));
    if (tlmi_dry_run())
        return TLM_OK;
    for (int32_t i = 0; i < 2; i++) {
        double sum = accumulate ? (double)gradient[i] : 0.0;

        for (int64_t piece = 0; piece < count_pieces(job->numel); piece++)
            sum += job->sums[piece][i];
        gradient[i] = (float)sum;
    }
    return TLM_OK;
}

static tlm_status_t mix_gradients(tlmi_node_t *node, mix_job_t *job)
{
    tlm_status_t status = TLM_OK;

    for (int32_t i = 0; i < 2; i++)
        if (tlmi_wants_grad(node, i))
            TLMI_TRY(tlmi_grad_open(&job->gradients[i], &job->accumulate[i], node, i));
    if (tlmi_wants_grad(node, 2)) {
        job->sums = tlmi_cached_alloc((size_t)count_pieces(job->numel), sizeof(*job->sums),
                                      "the sums of a mix");
        if (job->sums == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
    }
    tlmi_parallel_for(count_pieces(job->numel), back_piece, job);
    if (job->sums != NULL)
        status = give_weights(node, job);
    tlmi_cached_free(job->sums);
    return status;
}

/* Rows of plain elements of the three inputs; free them in any case. */
static tlm_status_t read_inputs(tlm_tensor_t *own[3], tlm_tensor_t *const *inputs)
{
    for (int32_t i = 0; i < 3; i++)
        own[i] = NULL;
    for (int32_t i = 0; i < 3; i++)
        TLMI_TRY(tlmi_contiguous(&own[i], inputs[i]));
    return TLM_OK;
}

static tlm_status_t mix_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    tlm_tensor_t *own[3];
    tlm_status_t status = read_inputs(own, node->inputs);

    if (status == TLM_OK) {
        mix_job_t job = {.numel = grad_out->numel,
                         .a = tlmi_floats(own[0]),
                         .b = tlmi_floats(own[1]),
                         .weights = tlmi_floats(own[2]),
                         .dy = tlmi_floats(grad_out)};
        status = mix_gradients(node, &job);
    }
    for (int32_t i = 0; i < 3; i++)
        tlm_tensor_free(own[i]);
    return status;
}

static tlm_status_t mix_forward(float *y, tlm_tensor_t *const *inputs)
{
    tlm_tensor_t *own[3];
    tlm_status_t status = read_inputs(own, inputs);

    if (status == TLM_OK) {
        mix_job_t job = {.numel = inputs[0]->numel,
                         .a = tlmi_floats(own[0]),
                         .b = tlmi_floats(own[1]),
                         .weights = tlmi_floats(own[2]),
                         .y = y};
        tlmi_parallel_for(count_pieces(job.numel), mix_piece, &job);
    }
    for (int32_t i = 0; i < 3; i++)
        tlm_tensor_free(own[i]);
    return status;
}

static tlm_status_t mix_recompute(const tlmi_node_t *node, float *y)
{
    return mix_forward(y, node->inputs);
}

static const tlmi_op_t mix_op = {
    .name = "mix",
    .input_names = {"a", "b", "weights"},
    .reads = {TLMI_READS_INPUT(2), TLMI_READS_INPUT(2), TLMI_READS_INPUT(0) | TLMI_READS_INPUT(1)},
    .backward = mix_backward,
    .recompute = mix_recompute};

tlm_status_t tlmi_mix(tlm_tensor_t **out, tlm_tensor_t *a, tlm_tensor_t *b, tlm_tensor_t *weights)
{
    tlm_tensor_t *y, *inputs[] = {a, b, weights};

    TLMI_TRY(tlmi_tensor_new(&y, TLM_FLOAT32, a->shape, a->ndim));
    tlm_status_t status = mix_forward(tlmi_floats(y), inputs);
    if (status == TLM_OK && tlmi_needs_grad(inputs, 3))
        status = tlmi_record(NULL, &mix_op, y, inputs, 3, 0);
    if (status == TLM_OK)
        *out = y;
    else
        tlm_tensor_free(y);
    return status;
}
