/* Rotary position embedding as an op. Attention rotates its own queries and keys. */
#include "base/error.h"
#include "base/thread_pool.h"
#include "nn/nn_core.h"
#include "tensor/tensor_core.h"
#include "kernels/vector_math.h"
#include "tinylm/nn.h"

enum { ROWS_PER_TASK = 128 };

typedef struct rope_job {
    const tlmi_rotation_t *rotation;
    float *y;
    const float *x;
    int64_t rows;
    bool inverse, accumulate;
} rope_job_t;

static void rotate_rows(void *context, int64_t task, int32_t worker)
{
    const rope_job_t *job = context;
    int64_t d = job->rotation->d, time = job->rotation->time;
    int64_t end = (task + 1) * ROWS_PER_TASK < job->rows ? (task + 1) * ROWS_PER_TASK : job->rows;
    for (int64_t i = task * ROWS_PER_TASK; i < end; i++) {
        const float *row = tlmi_rotation_row(job->rotation, i / time, i % time);
        const float *x = job->x + i * d;
        float *y = job->y + i * d;
        if (job->accumulate) {
            for (int64_t j = 0; j < d; j += 2) {
                float pair[2];
                tlmi_rotate(pair, x + j, row + j, 2, job->inverse);
                y[j] += pair[0];
                y[j + 1] += pair[1];
            }
        } else
            tlmi_rotate(y, x, row, d, job->inverse);
    }
}

static void run_rope(rope_job_t *job)
{
    if (job->rotation->d > 0)
        tlmi_parallel_for((job->rows + ROWS_PER_TASK - 1) / ROWS_PER_TASK, rotate_rows, job);
}

static tlm_status_t rope_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    rope_job_t job = {.rotation = tlmi_node_context(node),
                      .x = tlmi_floats(grad_out),
                      .rows = tlmi_dims_product(grad_out->shape, 0, grad_out->ndim - 1),
                      .inverse = true};
    TLMI_TRY(tlmi_grad_open(&job.y, &job.accumulate, node, 0));
    run_rope(&job);
    return TLM_OK;
}

static void rope_release(tlmi_node_t *node)
{
    tlmi_rotation_free(tlmi_node_context(node));
}

static const tlmi_op_t rope_op = {.name = "rope",
                                  .input_names = {"x"},
                                  .reads = {TLMI_READS_NOTHING},
                                  .backward = rope_backward,
                                  .release = rope_release};

/* Rotates x into y. If the op is recorded, its node takes over the table. */
static tlm_status_t rope_forward(tlm_tensor_t *y, tlm_tensor_t *x, tlmi_rotation_t *rotation)
{
    tlm_tensor_t *rows;
    TLMI_TRY(tlmi_contiguous(&rows, x));
    rope_job_t job = {.rotation = rotation,
                      .y = tlmi_floats(y),
                      .x = tlmi_floats(rows),
                      .rows = tlmi_dims_product(x->shape, 0, x->ndim - 1)};
    run_rope(&job);
    tlm_tensor_free(rows);
    if (!tlmi_needs_grad(&x, 1))
        return TLM_OK;
    tlmi_node_t *node;
    TLMI_TRY(tlmi_record(&node, &rope_op, y, &x, 1, sizeof(tlmi_rotation_t)));
    *(tlmi_rotation_t *)tlmi_node_context(node) = *rotation;
    rotation->table = NULL;
    return TLM_OK;
}

tlm_status_t tlm_rope(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *positions, double theta)
{
    TLMI_REQUIRE("rope", out);
    TLMI_TRY(tlmi_check_float("rope", "x", x));
    char text[TLMI_SHAPE_TEXT];
    if (x->ndim < 2)
        return tlmi_fail(TLM_ERR_SHAPE, "rope: x %s must be (..., time, d)",
                         tlmi_shape_text(text, x));
    tlmi_rotation_t rotation;
    TLMI_TRY(tlmi_rotation_create(&rotation, "rope", x->shape, x->ndim - 2, x->shape[x->ndim - 2],
                                  x->shape[x->ndim - 1], positions,
                                  &(tlmi_rope_t){.theta = theta}));
    tlm_tensor_t *y;
    tlm_status_t status = tlmi_tensor_new(&y, TLM_FLOAT32, x->shape, x->ndim);
    if (status == TLM_OK) {
        status = rope_forward(y, x, &rotation);
        if (status == TLM_OK)
            *out = y;
        else
            tlm_tensor_free(y);
    }
    tlmi_rotation_free(&rotation);
    return status;
}
