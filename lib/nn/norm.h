/* What RMSNorm and LayerNorm share: norms over the last dimension with one or two learned vectors,
 * computed in tasks of rows, each of which has partial sums of its own for the vectors' gradients. */
#ifndef TLMI_NORM_H
#define TLMI_NORM_H

#include "base/thread_pool.h"
#include "tensor/tensor_core.h"

typedef struct tlmi_norm_job {
    int64_t rows, d;
    float eps;
    float *y;          /* (rows, d) */
    float *statistics; /* of each row, for backward; may be NULL in forward */
    const float *x, *weight, *bias, *dy;
    float *dx;       /* NULL if not needed */
    float *partials; /* (tasks, 1 + vectors, d): sums for the vectors, and a scratch row */
    bool accumulate;
} tlmi_norm_job_t;

/* The rows of a task: *first .. *end - 1. */
void tlmi_norm_rows(int64_t *first, int64_t *end, const tlmi_norm_job_t *job, int64_t task);

/* Makes *out = the norm of inputs x (..., d), weight (d) and, of three, bias (d), which have been
 * checked: runs forward_rows, whose context is a job, and records `op` if gradients are needed, with
 * num_statistics floats per row. */
tlm_status_t tlmi_norm_apply(tlm_tensor_t **out, const tlmi_op_t *op, tlm_tensor_t *const *inputs,
                             int32_t num_inputs, int32_t num_statistics, float eps,
                             tlmi_task_fn forward_rows);

/* For the table of the op. */
tlm_status_t tlmi_norm_recompute(const tlmi_node_t *node, float *y, int32_t num_inputs,
                                 tlmi_task_fn forward_rows);
tlm_status_t tlmi_norm_backward(tlmi_node_t *node, tlm_tensor_t *grad_out, int32_t num_inputs,
                                tlmi_task_fn backward_rows);
void tlmi_norm_release(tlmi_node_t *node);

#endif
