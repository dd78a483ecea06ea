/* SiLU, SiLU times a gate, and the SwiGLU feed-forward layer made of them. */
#include "base/error.h"
#include "tensor/tensor_core.h"
#include "kernels/vector_math.h"
#include "tinylm/nn.h"

typedef struct activation_job {
    float *y, *dx, *dup;
    const float *x, *up, *dy;
    bool accumulate_x, accumulate_up;
} activation_job_t;

static void silu_range(void *context, int64_t begin, int64_t end)
{
    const activation_job_t *job = context;
    tlmi_vec_silu(job->y + begin, job->x + begin, end - begin);
}

static void silu_backward_range(void *context, int64_t begin, int64_t end)
{
    const activation_job_t *job = context;
    tlmi_vec_silu_backward(job->dx + begin, job->dy + begin, job->x + begin, job->accumulate_x,
                           end - begin);
}

static void silu_mul_range(void *context, int64_t begin, int64_t end)
{
    const activation_job_t *job = context;
    tlmi_vec_silu_mul(job->y + begin, job->x + begin, job->up + begin, end - begin);
}

static tlm_status_t silu_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    tlm_tensor_t *x;
    activation_job_t job = {.dy = tlmi_floats(grad_out)};
    TLMI_TRY(tlmi_contiguous(&x, node->inputs[0]));
    job.x = tlmi_floats(x);
    tlm_status_t status = tlmi_grad_open(&job.dx, &job.accumulate_x, node, 0);
    if (status == TLM_OK)
        tlmi_parallel_ranges(x->numel, silu_backward_range, &job);
    tlm_tensor_free(x);
    return status;
}

static tlm_status_t silu_forward(float *y, const tlm_tensor_t *x)
{
    tlm_tensor_t *rows;
    TLMI_TRY(tlmi_contiguous(&rows, x));
    activation_job_t job = {.y = y, .x = tlmi_floats(rows)};
    tlmi_parallel_ranges(x->numel, silu_range, &job);
    tlm_tensor_free(rows);
    return TLM_OK;
}

static tlm_status_t silu_recompute(const tlmi_node_t *node, float *y)
{
    return silu_forward(y, node->inputs[0]);
}

static const tlmi_op_t silu_op = {.name = "silu",
                                  .input_names = {"x"},
                                  .reads = {TLMI_READS_INPUT(0)},
                                  .backward = silu_backward,
                                  .recompute = silu_recompute};

tlm_status_t tlm_silu(tlm_tensor_t **out, tlm_tensor_t *x)
{
    TLMI_REQUIRE("silu", out);
    TLMI_TRY(tlmi_check_float("silu", "x", x));
    tlm_tensor_t *y;
    TLMI_TRY(tlmi_tensor_new(&y, TLM_FLOAT32, x->shape, x->ndim));
    tlm_status_t status = silu_forward(tlmi_floats(y), x);
    if (status == TLM_OK && tlmi_needs_grad(&x, 1))
        status = tlmi_record(NULL, &silu_op, y, &x, 1, 0);
    if (status == TLM_OK)
        *out = y;
    else
        tlm_tensor_free(y);
    return status;
}

/* ---- silu(gate) * up ----------------------------------------------------------------- */

static void silu_mul_backward_range(void *context, int64_t begin, int64_t end)
{
    const activation_job_t *job = context;
    tlmi_vec_silu_mul_backward(job->dx + begin, job->accumulate_x, job->dup + begin,
                               job->accumulate_up, job->dy + begin, job->x + begin, job->up + begin,
                               end - begin);
}

/* Chooses where the pass writes the gradient of up: over dy if nothing else refers to that, else to
 * the input's gradient. `aside` is used where up needs no gradient or is the same tensor as the
 * gate, and is NULL otherwise. */
static tlm_status_t place_up_gradient(activation_job_t *job, tlmi_node_t *node, bool in_place,
                                      const tlm_tensor_t *grad_out, const tlm_tensor_t *aside)
{
    if (in_place)
        job->dup = tlmi_floats(grad_out);
    else if (aside != NULL)
        job->dup = tlmi_floats(aside);
    else
        return tlmi_grad_open(&job->dup, &job->accumulate_up, node, 1);
    return TLM_OK;
}

/* Computes both gradients in one pass. */
static tlm_status_t silu_mul_gradients(tlmi_node_t *node, activation_job_t *job,
                                       tlm_tensor_t *grad_out)
{
    tlm_tensor_t *aside = NULL, *up = node->inputs[1];
    bool same = node->inputs[0] == up, wants_gate = tlmi_wants_grad(node, 0);
    bool wants_up = tlmi_wants_grad(node, 1) && !same;
    bool in_place = wants_gate && wants_up && up->grad == NULL && !tlmi_grad_is_shared(grad_out);
    if (!wants_gate || !wants_up)
        TLMI_TRY(tlmi_tensor_new(&aside, TLM_FLOAT32, grad_out->shape, grad_out->ndim));
    tlm_status_t status = TLM_OK;
    if (wants_gate)
        status = tlmi_grad_open(&job->dx, &job->accumulate_x, node, 0);
    else
        job->dx = tlmi_floats(aside);
    if (status == TLM_OK)
        status = place_up_gradient(job, node, in_place, grad_out, wants_up ? NULL : aside);
    if (status == TLM_OK) {
        tlmi_parallel_ranges(grad_out->numel, silu_mul_backward_range, job);
        if (in_place)
            status = tlmi_grad_give(node, 1, grad_out);
        else if (same)
            status = tlmi_grad_give(node, 1, aside);
    }
    tlm_tensor_free(aside);
    return status;
}

static tlm_status_t silu_mul_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    tlm_tensor_t *gate = NULL, *up = NULL;
    activation_job_t job = {.dy = tlmi_floats(grad_out)};
    tlm_status_t status = tlmi_contiguous(&gate, node->inputs[0]);
    if (status == TLM_OK)
        status = tlmi_contiguous(&up, node->inputs[1]);
    if (status == TLM_OK) {
        job.x = tlmi_floats(gate);
        job.up = tlmi_floats(up);
        status = silu_mul_gradients(node, &job, grad_out);
    }
    tlm_tensor_free(gate);
    tlm_tensor_free(up);
    return status;
}

static tlm_status_t silu_mul_forward(float *y, const tlm_tensor_t *gate, const tlm_tensor_t *up)
{
    tlm_tensor_t *a = NULL, *b = NULL;
    tlm_status_t status = tlmi_contiguous(&a, gate);
    if (status == TLM_OK)
        status = tlmi_contiguous(&b, up);
    if (status == TLM_OK) {
        activation_job_t job = {.y = y, .x = tlmi_floats(a), .up = tlmi_floats(b)};
        tlmi_parallel_ranges(gate->numel, silu_mul_range, &job);
    }
    tlm_tensor_free(a);
    tlm_tensor_free(b);
    return status;
}

static tlm_status_t silu_mul_recompute(const tlmi_node_t *node, float *y)
{
    return silu_mul_forward(y, node->inputs[0], node->inputs[1]);
}

static const tlmi_op_t silu_mul_op = {.name = "silu_mul",
                                      .input_names = {"gate", "up"},
                                      .reads = {TLMI_READS_INPUTS, TLMI_READS_INPUTS},
                                      .backward = silu_mul_backward,
                                      .recompute = silu_mul_recompute};

tlm_status_t tlm_silu_mul(tlm_tensor_t **out, tlm_tensor_t *gate, tlm_tensor_t *up)
{
    TLMI_REQUIRE("silu_mul", out);
    TLMI_TRY(tlmi_check_float("silu_mul", "gate", gate));
    TLMI_TRY(tlmi_check_float("silu_mul", "up", up));
    char a[TLMI_SHAPE_TEXT], b[TLMI_SHAPE_TEXT];
    if (!tlmi_same_shape(gate, up))
        return tlmi_fail(TLM_ERR_SHAPE, "silu_mul: gate %s and up %s differ",
                         tlmi_shape_text(a, gate), tlmi_shape_text(b, up));
    tlm_tensor_t *y, *inputs[] = {gate, up};
    TLMI_TRY(tlmi_tensor_new(&y, TLM_FLOAT32, gate->shape, gate->ndim));
    tlm_status_t status = silu_mul_forward(tlmi_floats(y), gate, up);
    if (status == TLM_OK && tlmi_needs_grad(inputs, 2))
        status = tlmi_record(NULL, &silu_mul_op, y, inputs, 2, 0);
    if (status == TLM_OK)
        *out = y;
    else
        tlm_tensor_free(y);
    return status;
}

tlm_status_t tlm_swiglu(tlm_tensor_t **out, tlm_tensor_t *x, tlm_tensor_t *w1, tlm_tensor_t *w2,
                        tlm_tensor_t *w3)
{
    TLMI_REQUIRE("swiglu", out);
    tlm_tensor_t *gate = NULL, *up = NULL, *hidden = NULL;
    tlm_status_t status = tlm_linear(&gate, x, w1);
    if (status == TLM_OK)
        status = tlm_linear(&up, x, w3);
    if (status == TLM_OK)
        status = tlm_silu_mul(&hidden, gate, up);
    if (status == TLM_OK)
        status = tlm_linear(out, hidden, w2);
    if (status == TLM_OK)
        tlmi_tensor_drop(hidden); /* computed again from gate and up in backward */
    tlm_tensor_free(gate);
    tlm_tensor_free(up);
    tlm_tensor_free(hidden);
    return status;
}
