/* Optimisers, gradient clipping and learning-rate schedules. */
#ifndef TINYLM_OPTIM_H
#define TINYLM_OPTIM_H

#include "options.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** An optimiser over groups of parameters, which it retains. Externally synchronised. */
typedef struct tlm_optimizer tlm_optimizer_t;

/** Values are taken as they stand, zeros too: begin with TLM_ADAMW_OPTIONS_INIT. A struct of
 *  smaller `size` leaves the rest at INIT's values. */
typedef struct tlm_adamw_options {
    size_t size; /* sizeof(tlm_adamw_options_t) */
    double learning_rate;
    double beta1;
    double beta2;
    double eps;
    double weight_decay;
} tlm_adamw_options_t;

#define TLM_ADAMW_OPTIONS_INIT                                                                     \
    {                                                                                              \
        sizeof(tlm_adamw_options_t), 1e-3, 0.9, 0.999, 1e-8, 0.01                                  \
    }

/** AdamW (Loshchilov & Hutter 2019, in the form of CS336's Algorithm 1): m and v are moving
 *  averages of g and g^2; alpha_t = lr sqrt(1 - beta2^t) / (1 - beta1^t); theta -= alpha_t m /
 *  (sqrt(v) + eps); theta -= lr weight_decay theta. Without groups at first. options may be NULL.
 *  Owned by the caller. Negative or non-finite values, or betas outside [0, 1), are
 *  TLM_ERR_INVALID_ARGUMENT. @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_create_adamw(tlm_optimizer_t **out,
                                                const tlm_adamw_options_t *options);

/** SGD with a decaying rate (CS336, section 4.2): theta -= lr / sqrt(t + 1) g, t = 0, 1, ...
 *  Without groups at first. Owned by the caller. TLM_ERR_INVALID_ARGUMENT for a negative or
 *  non-finite rate. @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_create_sgd(tlm_optimizer_t **out, double learning_rate);

/** Frees the optimiser and its references to the parameters. NULL is fine. @since 0.1 */
TLM_API void tlm_optimizer_free(tlm_optimizer_t *optimizer);

/** Adds a group of n row-major float32 leaves, retained. options (AdamW only) override those of
 *  creation; NULL keeps them. TLM_ERR_STATE for a tensor that is in a group already or the result
 *  of an op, TLM_ERR_UNSUPPORTED for a view that is not row-major, TLM_ERR_INVALID_ARGUMENT for one
 *  given twice or for options out of range. @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_add_group(tlm_optimizer_t *optimizer,
                                             tlm_tensor_t *const *tensors, size_t n,
                                             const tlm_adamw_options_t *options);

/** Number of groups; 0 of NULL. @since 0.1 */
TLM_API size_t tlm_optimizer_num_groups(const tlm_optimizer_t *optimizer);

#define TLM_ALL_GROUPS SIZE_MAX

/** Sets the learning rate of a group, or of all of them with TLM_ALL_GROUPS. TLM_ERR_RANGE if there
 *  is no such group, TLM_ERR_INVALID_ARGUMENT for a negative or non-finite rate. @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_set_learning_rate(tlm_optimizer_t *optimizer, size_t group,
                                                     double learning_rate);

/** Reads the learning rate of a group. TLM_ERR_RANGE if there is no such group. @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_learning_rate(double *out, const tlm_optimizer_t *optimizer,
                                                 size_t group);

/** One update of every parameter that has a gradient; the gradients stay. TLM_ERR_NON_FINITE,
 *  naming the parameter and with nothing changed, if a gradient holds NaN or infinity.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_step(tlm_optimizer_t *optimizer);

/** Forgets the gradients of all parameters. NULL is fine. @since 0.1 */
TLM_API void tlm_optimizer_zero_grad(tlm_optimizer_t *optimizer);

/** Number of parameters over all groups; 0 of NULL. @since 0.1 */
TLM_API size_t tlm_optimizer_num_parameters(const tlm_optimizer_t *optimizer);

/** Parameter `index`, in order of addition; borrowed until the optimiser is freed. TLM_ERR_RANGE if
 *  there is none. @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_parameter(tlm_tensor_t **out, const tlm_optimizer_t *optimizer,
                                             size_t index);

/** The state of parameter `index`, for checkpoints of one's own: buffer "m" or "v" (AdamW; SGD has
 *  none), *n float32 values, as many as the parameter has. Borrowed until the optimiser is freed,
 *  and may be written. TLM_ERR_NOT_FOUND for another name, TLM_ERR_RANGE for another index.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_state(float **out, size_t *n, tlm_optimizer_t *optimizer,
                                         size_t index, const char *name);

/** Number of steps taken; 0 of NULL. @since 0.1 */
TLM_API uint64_t tlm_optimizer_steps(const tlm_optimizer_t *optimizer);

/** Sets that number: the next step is `steps` + 1. @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_set_steps(tlm_optimizer_t *optimizer, uint64_t steps);

/** "adamw" or "sgd"; "none" of NULL. Static storage. @since 0.1 */
TLM_API const char *tlm_optimizer_kind(const tlm_optimizer_t *optimizer);

/** One update of n parameters by the formula of tlm_optimizer_create_adamw, all state the caller's:
 *  for programs that keep parameters, moments and gradients in memory of their own. All are
 *  row-major float32, parameters[i] a leaf and m[i], v[i] (zeros at first) and gradients[i] of its
 *  shape; no two share memory. `step` counts from 1. options may be NULL. TLM_ERR_SHAPE for
 *  another shape, TLM_ERR_STATE for a parameter that is the result of an op, TLM_ERR_UNSUPPORTED
 *  for a view that is not row-major, TLM_ERR_NON_FINITE as of tlm_optimizer_step,
 *  TLM_ERR_INVALID_ARGUMENT for step 0 or options out of range; nothing is changed then.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_adamw_update(tlm_tensor_t *const *parameters, tlm_tensor_t *const *m,
                                      tlm_tensor_t *const *v, tlm_tensor_t *const *gradients,
                                      size_t n, uint64_t step, const tlm_adamw_options_t *options);

/** Scales all gradients by max_norm / (norm + 1e-6) if their joint L2 norm is >= max_norm; *norm
 *  (may be NULL) is the norm before. Tensors without a gradient are passed over; none may be given
 *  twice. A gradient that is not finite is TLM_ERR_NON_FINITE, naming its tensor, and scales
 *  nothing; a max_norm that is negative or not finite is TLM_ERR_INVALID_ARGUMENT. Pascanu et al.
 *  2013. @since 0.1 */
TLM_API tlm_status_t tlm_clip_grad_norm(double *norm, tlm_tensor_t *const *tensors, size_t n,
                                        double max_norm);

/** The same for n tensors that are themselves the gradients, in the caller's memory: row-major
 *  float32, or TLM_ERR_UNSUPPORTED. @since 0.2 */
TLM_API tlm_status_t tlm_clip_norm(double *norm, tlm_tensor_t *const *tensors, size_t n,
                                   double max_norm);

/** Cosine schedule with linear warm-up (CS336, section 4.4): step / warmup * max below warmup; then
 *  min + (1 + cos(pi (step - warmup) / (cycle - warmup))) / 2 (max - min) up to cycle; min after.
 *  TLM_ERR_INVALID_ARGUMENT for negative or non-finite rates or cycle < warmup. Thread-safe.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_cosine_schedule(double *out, uint64_t step, double max_learning_rate,
                                         double min_learning_rate, uint64_t warmup_steps,
                                         uint64_t cycle_steps);

/* How the learning rate goes on after the warm-up. @since 0.2 */
#define TLM_SCHEDULE_CONSTANT 0 /* stays at its maximum */
#define TLM_SCHEDULE_COSINE   1 /* falls to its minimum in half a cosine wave */
#define TLM_SCHEDULE_LINEAR   2 /* falls to its minimum in a straight line */
#define TLM_SCHEDULE_WSD      3 /* stays, then falls in a straight line over the last decay_steps */

/** A learning rate for each step. @since 0.2 */
typedef struct tlm_schedule_options {
    size_t size;
    int32_t kind; /* TLM_SCHEDULE_... */
    int32_t reserved;
    double max_learning_rate; /* there is no default */
    double min_learning_rate; /* at total_steps and after them; a constant rate has none */
    uint64_t warmup_steps;    /* over which the rate rises from 0 in a straight line */
    uint64_t total_steps;     /* warm-up and decay included; a constant rate has no end */
    uint64_t decay_steps;     /* of TLM_SCHEDULE_WSD */
} tlm_schedule_options_t;

#define TLM_SCHEDULE_OPTIONS_INIT TLM_SIZED(tlm_schedule_options_t)

/** The learning rate of `step`; TLM_SCHEDULE_COSINE gives what tlm_cosine_schedule gives.
 *  TLM_ERR_INVALID_ARGUMENT, naming the field, for an unknown kind, for rates that are negative or
 *  not finite, and unless warmup_steps (+ decay_steps) <= total_steps. Thread-safe. Sources:
 *  Loshchilov & Hutter 2017 (cosine), Hu et al. 2024 (warm-up, stable, decay; there the decay is
 *  exponential), Haegele et al. 2024 (the same with a linear one). @since 0.2 */
TLM_API tlm_status_t tlm_schedule_learning_rate(double *out, const tlm_schedule_options_t *options,
                                                uint64_t step);

#ifdef __cplusplus
}
#endif
#endif
