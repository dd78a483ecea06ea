/* What an optimiser is made of: groups of parameters with their hyper-parameters, and for each
 * parameter the buffers that its kind keeps. Checkpoints read and write all of it. */
#ifndef TLMI_OPTIMIZER_CORE_H
#define TLMI_OPTIMIZER_CORE_H

#include "tinylm/optim.h"
#include "tinylm/tensor.h"

#define TLMI_MAX_STATE_BUFFERS 2

typedef struct tlmi_parameter {
    tlm_tensor_t *tensor; /* retained */
    size_t group;
    float *state[TLMI_MAX_STATE_BUFFERS]; /* numel elements each; kind->num_buffers of them */
} tlmi_parameter_t;

/* One update of one parameter that has a gradient; `step` counts from 1. Cannot fail. */
typedef void (*tlmi_update_fn)(const tlmi_parameter_t *parameter,
                               const tlm_adamw_options_t *options, uint64_t step);

typedef struct tlmi_optimizer_kind {
    const char *name;
    int32_t num_buffers;
    const char *buffer_names[TLMI_MAX_STATE_BUFFERS];
    bool has_group_options; /* hyper-parameters besides the learning rate */
    tlmi_update_fn update;
} tlmi_optimizer_kind_t;

struct tlm_optimizer {
    const tlmi_optimizer_kind_t *kind;
    tlm_adamw_options_t defaults; /* of new groups; SGD uses learning_rate only */
    tlm_adamw_options_t *groups;
    size_t num_groups, group_capacity;
    tlmi_parameter_t *parameters; /* group by group */
    size_t num_parameters, parameter_capacity;
    uint64_t steps;
};

/* Fails unless the tensor, `what` number `index`, is a row-major float32 tensor. */
tlm_status_t tlmi_check_row_major(const char *function, const char *what, size_t index,
                                  const tlm_tensor_t *tensor);

/* The same, and not the result of an op. */
tlm_status_t tlmi_check_leaf(const char *function, const char *what, size_t index,
                             const tlm_tensor_t *tensor);

/* Makes an optimiser without groups. */
tlm_status_t tlmi_optimizer_new(tlm_optimizer_t **out, const tlmi_optimizer_kind_t *kind,
                                const tlm_adamw_options_t *defaults);

/* Takes the last group away again. */
void tlmi_optimizer_remove_group(tlm_optimizer_t *optimizer);

/* Fails, naming the value, unless all are finite and in their ranges. */
tlm_status_t tlmi_adamw_check(const char *function, const tlm_adamw_options_t *options);
tlm_status_t tlmi_check_learning_rate(const char *function, double learning_rate);

/* Reads and checks a caller's schedule. */
tlm_status_t tlmi_schedule_read(tlm_schedule_options_t *known, const char *function,
                                const tlm_schedule_options_t *options);

/* Norms of gradients: in parallel, the same bits on any number of threads. */

/* Sum of squares of n row-major gradients (a parameter without one has NULL), in float64, which
 * cannot overflow: it is finite exactly if all gradients are. Otherwise fails with
 * TLM_ERR_NON_FINITE, naming the first parameter and element that is not. */
tlm_status_t tlmi_gradient_sum_squares(double *out, const char *function,
                                       tlm_tensor_t *const *gradients, size_t n);

#endif
