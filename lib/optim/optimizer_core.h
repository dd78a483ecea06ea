/* Optimizers from within. A kind (AdamW, SGD) is a table: its options, the buffers that it keeps
 * for a parameter, and its update. All else is the same for every kind and lives in optimizer.c and
 * optimizer_groups.c: groups, steps, access to state. Checkpoints read the tables and know no kind
 * by name. docs/adding-an-optimizer.md walks through a new one. */
#ifndef TLMI_OPTIMIZER_CORE_H
#define TLMI_OPTIMIZER_CORE_H

#include "tensor/tensor_core.h"
#include "tinylm/optim.h"
#include "tinylm/tensor.h"

/* ---- Parameters and groups -------------------------------------------------------------- */

/* A buffer that a kind keeps for a parameter: float32, row-major, zeros at first. */
typedef struct tlmi_state {
    const char *name; /* static storage; no two of a parameter share one */
    int64_t shape[TLM_MAX_DIMS];
    int32_t ndim;
    size_t numel; /* of the values; fewer than the shape says if divided among ranks */
    float *values;
} tlmi_state_t;

typedef struct tlmi_parameter {
    tlm_tensor_t *tensor; /* retained */
    size_t group;
    int64_t begin, end;   /* the elements that this rank updates: all, unless divided among ranks */
    tlmi_state_t *states; /* in the order in which the kind added them */
    size_t num_states, state_capacity;
} tlmi_parameter_t;

typedef struct tlmi_optimizer_kind tlmi_optimizer_kind_t;

/* What the parameters of a group have in common. Every kind has a learning rate. */
typedef struct tlmi_group {
    const tlmi_optimizer_kind_t *kind;
    double learning_rate;
    double weight_decay; /* 0 where the kind has none */
    void *options;       /* kind->options_size bytes, the kind's own struct; owned */
    double rate_factor;  /* of the learning rate that a schedule gives; 0: 1 */
} tlmi_group_t;

/* Where a checkpoint reads states that are divided among ranks. */
typedef struct tlmi_state_source {
    /* Sets *values to a whole buffer of a parameter, valid until the next call. */
    tlm_status_t (*read)(void *user, const float **values, size_t parameter, size_t state);
    void *user;
} tlmi_state_source_t;

typedef struct tlmi_group_schedule {
    size_t group;
    tlm_schedule_options_t options;
} tlmi_group_schedule_t;

struct tlm_optimizer {
    tlmi_group_t defaults; /* of new groups */
    tlmi_group_t rest; /* of what the kind has no rule for; its kind is NULL if there is no such */
    tlmi_group_t *groups;
    size_t num_groups, group_capacity;
    tlmi_parameter_t *parameters; /* group by group */
    size_t num_parameters, parameter_capacity;
    uint64_t steps;
    int32_t num_ranks;                 /* that the states are divided among; 0: they are whole */
    const tlmi_state_source_t *source; /* while a checkpoint is saved, borrowed; else NULL */
    double average_decay;              /* 0: there are no averages (average.c) */
    tlmi_group_schedule_t *schedules;  /* of groups that have one of their own */
    size_t num_schedules, schedule_capacity;
};

/* ---- Kinds ------------------------------------------------------------------------------ */

/* A field of a kind's options besides learning rate and weight decay: what it may be, and its name
 * in messages and in checkpoints. */
typedef struct tlmi_optimizer_option {
    const char *name;
    size_t offset;              /* in the kind's own struct */
    double below;               /* a double in [0, below); 0: any finite one >= 0 */
    int32_t most;               /* an int32_t in 1 .. most; 0: not a count */
    const char *const *choices; /* the names of an int32_t that is 0, 1, ...; NULL: a number */
    int32_t num_choices;
} tlmi_optimizer_option_t;

/* One update of one parameter. */
typedef struct tlmi_update {
    const tlmi_parameter_t *parameter; /* its tensor has a gradient: row-major, all finite */
    const void *options;               /* the group's, in the kind's own struct */
    double learning_rate;              /* of this step; as the next two */
    double weight_decay;
    uint64_t step; /* counts from 1 */
    void *scratch; /* NULL, or from tlmi_cached_alloc in prepare; the step frees it */
} tlmi_update_t;

struct tlmi_optimizer_kind {
    const char *name;
    size_t options_size;
    const tlmi_optimizer_option_t *options; /* every field of the struct */
    size_t num_options;
    bool has_weight_decay;
    bool matrices_only;         /* add_states refuses other tensors */
    int32_t checkpoint_version; /* the first version of the format that has this kind as it is */
    int32_t flops;              /* floating-point operations of an update, per element */
    bool is_relative;           /* the rate is a share of the parameter: the output projection of a
                                   wider model, which begins smaller, needs no other one */
    bool is_elementwise;        /* element i of the parameter and of its states, which have its
                                   shape, depends on element i of these and of the gradient only */

    /* Those of matrix products beside that, for one parameter; NULL: there are none. */
    double (*product_flops)(const tlm_tensor_t *tensor, const void *options);

    /* What the learning rate of a hidden matrix is multiplied by where the model is `ratio` times as
     * wide as the one for which the rate was found (muP); NULL: no rule is known. */
    double (*width_factor)(const void *options, double ratio);

    /* Makes an optimizer of this kind with default options: tlm_model_cost runs steps of it. */
    tlm_status_t (*create)(tlm_optimizer_t **out);

    /* Adds the buffers of a parameter with tlmi_state_add; refuses tensors that the kind has no
     * rule for. NULL: there are none, and any tensor will do. */
    tlm_status_t (*add_states)(tlmi_parameter_t *parameter, const char *function,
                               const void *options);

    /* All that can fail in an update, for instance getting memory. Runs for all parameters before
     * any is changed, and changes neither parameter nor state: what it computes goes to scratch.
     * In a dry run (base/buffer_cache.h) it allocates, but must not read or write elements. NULL:
     * nothing can fail. */
    tlm_status_t (*prepare)(tlmi_update_t *update);

    /* Changes parameter and state; if the kind is elementwise, elements begin .. end - 1 of the
     * parameter, whose states hold these only. The bits must not depend on the number of threads. Not called
     * in a dry run, so it must not allocate. */
    void (*apply)(const tlmi_update_t *update);
};

extern const tlmi_optimizer_kind_t tlmi_adamw_kind, tlmi_sgd_kind, tlmi_muon_kind, tlmi_lion_kind,
    tlmi_adafactor_kind;

/* All kinds, in the order of TLM_COST_ADAMW and the numbers that follow it; NULL at the end. */
extern const tlmi_optimizer_kind_t *const tlmi_optimizer_kinds[];

/* ---- For kinds -------------------------------------------------------------------------- */

/* Adds a buffer of zeros; TLM_ERR_OUT_OF_MEMORY. */
tlm_status_t tlmi_state_add(tlmi_parameter_t *parameter, const char *name, const int64_t *shape,
                            int32_t ndim);

/* Fails, naming the value, unless it is finite and >= 0. */
tlm_status_t tlmi_check_rate(const char *function, const char *name, double value);

/* Read and set a field in the kind's own struct: a number (a double or a count), or a choice. */
double tlmi_optimizer_option_number(const tlmi_optimizer_option_t *option, const void *options);
int32_t tlmi_optimizer_option_choice(const tlmi_optimizer_option_t *option, const void *options);
void tlmi_optimizer_option_set_number(const tlmi_optimizer_option_t *option, void *options,
                                      double number);
void tlmi_optimizer_option_set_choice(const tlmi_optimizer_option_t *option, void *options,
                                      int32_t choice);

/* Fails, naming the first that is not, unless all hyper-parameters are in their ranges. */
tlm_status_t tlmi_group_check(const char *function, const tlmi_group_t *group);

/* Makes an optimizer without groups; `defaults` are checked and copied. */
tlm_status_t tlmi_optimizer_new(tlm_optimizer_t **out, const char *function,
                                const tlmi_group_t *defaults);

/* Has tlm_optimizer_add_model give AdamW, with these options, what the optimizer's kind has no rule
 * for. Only once, for a new optimizer. */
tlm_status_t tlmi_optimizer_set_rest(tlm_optimizer_t *optimizer, const char *function,
                                     const tlm_adamw_options_t *options);

/* Adds a group of n tensors; `group` is checked and copied, and may be of another kind than the
 * optimizer's own. On failure nothing has changed. */
tlm_status_t tlmi_optimizer_add(tlm_optimizer_t *optimizer, const char *function,
                                tlm_tensor_t *const *tensors, size_t n, const tlmi_group_t *group);

/* Fails unless the tensor, `what` number `index`, is a row-major float32 tensor. */
tlm_status_t tlmi_check_row_major(const char *function, const char *what, size_t index,
                                  const tlm_tensor_t *tensor);

/* The same, and not the result of an op. */
tlm_status_t tlmi_check_leaf(const char *function, const char *what, size_t index,
                             const tlm_tensor_t *tensor);

/* ---- For checkpoints and the trainer ---------------------------------------------------- */

/* A copy with options of its own, and the end of one. */
tlm_status_t tlmi_group_copy(tlmi_group_t *out, const tlmi_group_t *from);
void tlmi_group_release(tlmi_group_t *group);

/* Takes the last group away again. */
void tlmi_optimizer_remove_group(tlm_optimizer_t *optimizer);

/* tlm_optimizer_step with a learning rate that all groups then have, unless that is NULL. Gradients
 * that the caller knows to be finite are not checked again. On failure nothing has changed, the
 * learning rates neither. */
tlm_status_t tlmi_optimizer_step(tlm_optimizer_t *optimizer, const double *learning_rate,
                                 bool are_finite);

/* Divides the states among ranks: this one keeps those of elements begins[i] .. ends[i] - 1 of
 * parameter i, all or none where the kind is not elementwise. On failure nothing has changed. */
tlm_status_t tlmi_optimizer_divide(tlm_optimizer_t *optimizer, int32_t num_ranks,
                                   const int64_t *begins, const int64_t *ends);

/* Fails if the states are divided among ranks: `function` needs them whole. */
tlm_status_t tlmi_optimizer_check_whole(const char *function, const tlm_optimizer_t *optimizer);

/* Adds the average to the states of a new parameter. */
tlm_status_t tlmi_average_add(tlmi_parameter_t *parameter);

/* Continues the averages after a step, if there are any. */
void tlmi_average_step(const tlm_optimizer_t *optimizer);

/* Writes them over the parameters, of ranks each its own elements. */
tlm_status_t tlmi_average_take(const char *function, const tlm_optimizer_t *optimizer);

/* Called between all that can fail in a step and the update, with the status so far; what it
 * returns counts. */
typedef tlm_status_t (*tlmi_agree_fn)(void *user, tlm_status_t status);

/* tlmi_optimizer_step of finite gradients, on ranks that all must be able to take it. */
tlm_status_t tlmi_optimizer_step_agreed(tlm_optimizer_t *optimizer, const double *learning_rate,
                                        tlmi_agree_fn agree, void *user);

/* The schedule of a group's own, or NULL. */
tlmi_group_schedule_t *tlmi_group_schedule(const tlm_optimizer_t *optimizer, size_t group);

/* The names of TLM_SCHEDULE_..., in the order of the numbers. */
enum { TLMI_NUM_SCHEDULES = 4 };
extern const char *const tlmi_schedule_kinds[TLMI_NUM_SCHEDULES];

/* Reads and checks a caller's schedule. */
tlm_status_t tlmi_schedule_read(tlm_schedule_options_t *known, const char *function,
                                const tlm_schedule_options_t *options);

/* Gradients' norms are summed over pieces of this many elements, cut from each gradient's first. */
enum { TLMI_NORM_PIECE = 32768 /* 128 KiB, a part of the L2 cache */ };

/* A row-major run of elements of a gradient. */
typedef struct tlmi_gradient_run {
    const float *values;
    int64_t n;
} tlmi_gradient_run_t;

/* The sums of squares of the pieces of each run, one after another; *count may be 0. Free *sums
 * with tlmi_cached_free. */
tlm_status_t tlmi_gradient_piece_sums(double **sums, size_t *count, const tlmi_gradient_run_t *runs,
                                      size_t n);

/* Multiplies n elements by a factor. */
void tlmi_gradient_scale(float *values, float factor, int64_t n);

/* The factor that brings a norm down to max_norm. */
float tlmi_clip_factor(double norm, double max_norm);

/* Sum of squares of n row-major gradients (a parameter without one has NULL), in float64, which
 * cannot overflow: it is finite exactly if all gradients are. Otherwise fails with
 * TLM_ERR_NON_FINITE, naming the first parameter and element that is not. In parallel, the same
 * bits on any number of threads. */
tlm_status_t tlmi_gradient_sum_squares(double *out, const char *function,
                                       tlm_tensor_t *const *gradients, size_t n);

#endif
