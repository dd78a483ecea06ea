/* where: chooses each element from one of two tensors by a condition. */
#include "base/error.h"
#include "tensor/tensor_core.h"

typedef struct where_job {
    float *y;
    const uint8_t *condition;
    const float *a;
    const float *b;
} where_job_t;

static void where_run(void *context, const int64_t *offsets, const int64_t *strides, int64_t n)
{
    const where_job_t *job = context;
    float *y = job->y + offsets[0];
    const uint8_t *condition = job->condition + offsets[1];
    const float *a = job->a + offsets[2];
    const float *b = job->b + offsets[3];
    for (int64_t i = 0; i < n; i++)
        y[i] = condition[i * strides[1]] ? a[i * strides[2]] : b[i * strides[3]];
}

/* Computes y, row-major of shape `shape`. */
static void choose(float *y, const int64_t *shape, int32_t ndim, const tlm_tensor_t *condition,
                   const float *a, const int64_t *strides_a, const float *b,
                   const int64_t *strides_b)
{
    int64_t strides_y[TLM_MAX_DIMS];
    tlmi_row_major_strides(strides_y, shape, ndim);
    int64_t strides_condition[TLM_MAX_DIMS];
    tlmi_broadcast_strides(strides_condition, condition, shape, ndim);
    tlmi_loop_t loop;
    where_job_t job = {y, condition->data, a, b};
    tlmi_loop_plan(&loop, shape, ndim, 4,
                   (const int64_t *const[]){strides_y, strides_condition, strides_a, strides_b});
    tlmi_loop_run(&loop, where_run, &job);
}

/* da += dy where the condition is true, db += dy elsewhere; summed where an operand was repeated */
static tlm_status_t where_backward(tlmi_node_t *node, tlm_tensor_t *grad_out)
{
    static const float zero = 0.0f;
    static const int64_t still[TLM_MAX_DIMS];
    for (int32_t i = 1; i < 3; i++) {
        if (!tlmi_wants_grad(node, i))
            continue;
        tlm_tensor_t *full;
        TLMI_TRY(tlmi_tensor_new(&full, TLM_FLOAT32, grad_out->shape, grad_out->ndim));
        bool first = i == 1;
        choose(tlmi_floats(full), full->shape, full->ndim, node->inputs[0],
               first ? tlmi_floats(grad_out) : &zero, first ? grad_out->strides : still,
               first ? &zero : tlmi_floats(grad_out), first ? still : grad_out->strides);
        tlm_status_t status = tlmi_grad_give_summed(node, i, full);
        tlm_tensor_free(full);
        TLMI_TRY(status);
    }
    return TLM_OK;
}

static const tlmi_op_t where_op = {
    .name = "where",
    .input_names = {"condition", "a", "b"},
    .reads = {TLMI_READS_NOTHING, TLMI_READS_INPUT(0), TLMI_READS_INPUT(0)},
    .backward = where_backward};

tlm_status_t tlm_where(tlm_tensor_t **out, tlm_tensor_t *condition, tlm_tensor_t *a,
                       tlm_tensor_t *b)
{
    TLMI_REQUIRE("where", out);
    TLMI_REQUIRE("where", condition);
    TLMI_TRY(tlmi_check_float("where", "a", a));
    TLMI_TRY(tlmi_check_float("where", "b", b));
    if (condition->dtype != TLM_BOOL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "where: condition has type %s, not bool",
                         tlmi_dtype_name(condition->dtype));
    int64_t shape[TLM_MAX_DIMS];
    int32_t ndim = 0;
    tlm_tensor_t *inputs[] = {condition, a, b};
    for (int i = 0; i < 3; i++)
        TLMI_TRY(tlmi_broadcast_shape("where", shape, &ndim, inputs[i]));
    int64_t strides[2][TLM_MAX_DIMS];
    tlmi_broadcast_strides(strides[0], a, shape, ndim);
    tlmi_broadcast_strides(strides[1], b, shape, ndim);
    tlm_tensor_t *result;
    TLMI_TRY(tlmi_tensor_new(&result, TLM_FLOAT32, shape, ndim));
    choose(tlmi_floats(result), shape, ndim, condition, tlmi_floats(a), strides[0], tlmi_floats(b),
           strides[1]);
    if (tlmi_needs_grad(inputs, 3)) {
        tlm_status_t status = tlmi_record(NULL, &where_op, result, inputs, 3, 0);
        if (status != TLM_OK) {
            tlm_tensor_free(result);
            return status;
        }
    }
    *out = result;
    return TLM_OK;
}
