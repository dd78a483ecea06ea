/* Optimizers, gradient clipping and learning-rate schedules. */
#ifndef TINYLM_OPTIM_H
#define TINYLM_OPTIM_H

#include "options.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** An optimizer over groups of parameters, which it retains. Each group has a learning rate, a
 *  weight decay where its kind knows one, and options of its kind. Not thread-safe: use each
 *  optimizer, and its parameters during a call, from one thread at a time. @since 0.1 */
typedef struct tlm_optimizer tlm_optimizer_t;

/* ---- AdamW ------------------------------------------------------------------------------ */

/* What AdamW computes in step t, from 1, after m = beta1 m + (1 - beta1) g and
 * v = beta2 v + (1 - beta2) g^2, with c1 = 1 - beta1^t and c2 = 1 - beta2^t. @since 0.2 */

/** CS336's Algorithm 1 of 2025: theta -= lr sqrt(c2) / c1 m / (sqrt(v) + eps), and after that
 *  theta -= lr weight_decay theta. */
#define TLM_ADAMW_CS336_2025 0
/** The same with the decay before the step. */
#define TLM_ADAMW_CS336_2026 1
/** As torch.optim.AdamW: theta -= lr weight_decay theta, and after that
 *  theta -= lr (m / c1) / (sqrt(v / c2) + eps). */
#define TLM_ADAMW_PYTORCH 2

/** Options of AdamW. Values are taken as they stand, zeros too: start from TLM_ADAMW_OPTIONS_INIT.
 *  A struct of smaller `size` leaves the fields that it lacks at INIT's values. */
typedef struct tlm_adamw_options {
    /** sizeof(tlm_adamw_options_t). */
    size_t size;
    /** Finite and >= 0, like weight_decay and eps. */
    double learning_rate;
    /** Decay rate of the gradient's moving average, in [0, 1). */
    double beta1;
    /** Decay rate of the squared gradient's moving average, in [0, 1). */
    double beta2;
    /** Keeps the divisor away from 0. */
    double eps;
    /** Share of the parameter taken away per step, times the learning rate. */
    double weight_decay;
    /** TLM_ADAMW_... @since 0.2 */
    int32_t variant;
    int32_t reserved;
} tlm_adamw_options_t;

#define TLM_ADAMW_OPTIONS_INIT                                                                     \
    {                                                                                              \
        sizeof(tlm_adamw_options_t), 1e-3, 0.9, 0.999, 1e-8, 0.01, TLM_ADAMW_CS336_2025, 0         \
    }

/** Creates an AdamW optimizer (Loshchilov & Hutter 2019) without groups; see TLM_ADAMW_... for the
 *  formulas. The options, NULL for the defaults, are those of groups added with
 *  tlm_optimizer_add_group and tlm_optimizer_add_model. Owned by the caller: tlm_optimizer_free.
 *  TLM_ERR_INVALID_ARGUMENT, naming the field, for options out of range. @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_create_adamw(tlm_optimizer_t **out,
                                                const tlm_adamw_options_t *options);

/** Adds a group that is updated by AdamW with these options (NULL: the defaults), in an optimizer
 *  of any kind. See tlm_optimizer_add_group for errors. @since 0.2 */
TLM_API tlm_status_t tlm_optimizer_add_adamw_group(tlm_optimizer_t *optimizer,
                                                   tlm_tensor_t *const *tensors, size_t n,
                                                   const tlm_adamw_options_t *options);

/** Updates n parameters once by AdamW, with all state in the caller's memory, for programs that
 *  keep it themselves. All tensors are row-major float32: parameters[i] a leaf; m[i] and v[i]
 *  (zeros at first) and gradients[i] of its shape; no two share memory. `step` counts from 1;
 *  options may be NULL. On failure nothing has changed: TLM_ERR_SHAPE for another shape,
 *  TLM_ERR_STATE for a parameter that is the result of an op, TLM_ERR_UNSUPPORTED for a view that
 *  is not row-major, TLM_ERR_NON_FINITE for NaN or infinity in a gradient, TLM_ERR_INVALID_ARGUMENT
 *  for step 0 or options out of range. @since 0.2 */
TLM_API tlm_status_t tlm_adamw_update(tlm_tensor_t *const *parameters, tlm_tensor_t *const *m,
                                      tlm_tensor_t *const *v, tlm_tensor_t *const *gradients,
                                      size_t n, uint64_t step, const tlm_adamw_options_t *options);

/* ---- Muon ------------------------------------------------------------------------------- */

/* Muon (Jordan et al. 2024) updates a matrix by its momentum M, made orthogonal. From
 * m = momentum m + (1 - momentum) g and M = m (or Nesterov's momentum m + (1 - momentum) g), it
 * takes O = U V^T of the singular value decomposition U S V^T of M, nearly, by a Newton-Schulz
 * iteration with the published coefficients (3.4445, -4.775, 2.0315). It computes theta -= lr
 * weight_decay theta, and after that theta -= lr scale O. @since 0.2 */

/** scale = 0.2 sqrt(max(rows, columns)) (Liu et al. 2025): an element changes about as much as with
 *  AdamW, so both take one learning rate. */
#define TLM_MUON_SCALE_MOONLIGHT 0
/** scale = sqrt(max(1, rows / columns)). */
#define TLM_MUON_SCALE_JORDAN 1

/** Options of Muon. Values are taken as they stand: start from TLM_MUON_OPTIONS_INIT. @since 0.2 */
typedef struct tlm_muon_options {
    /** sizeof(tlm_muon_options_t). */
    size_t size;
    /** Finite and >= 0, like weight_decay and eps. */
    double learning_rate;
    /** Decay rate of the gradient's moving average, in [0, 1). */
    double momentum;
    /** Least Frobenius norm that M is divided by. */
    double eps;
    /** Share of the parameter taken away per step, times the learning rate. */
    double weight_decay;
    /** Steps of the Newton-Schulz iteration, 1 to 100. */
    int32_t iterations;
    /** TLM_MUON_SCALE_... */
    int32_t scale;
    /** Whether the momentum is Nesterov's. */
    bool nesterov;
    uint8_t reserved[7];
} tlm_muon_options_t;

#define TLM_MUON_OPTIONS_INIT                                                                      \
    {                                                                                              \
        sizeof(tlm_muon_options_t), 1e-3, 0.95, 1e-7, 0.1, 5, TLM_MUON_SCALE_MOONLIGHT, true,      \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

/** Creates a Muon optimizer without groups. tlm_optimizer_add_model gives it a model's hidden
 *  matrices, and everything else (embeddings, the output projection, gains, biases) to AdamW with
 *  the options `rest`; the two learning rates keep their ratio under a trainer's schedule. Both
 *  options may be NULL: AdamW then has Muon's learning rate and weight decay, and beta2 = 0.95.
 *  Owned by the caller: tlm_optimizer_free. TLM_ERR_INVALID_ARGUMENT, naming the field, for options
 *  out of range. @since 0.2 */
TLM_API tlm_status_t tlm_optimizer_create_muon(tlm_optimizer_t **out,
                                               const tlm_muon_options_t *options,
                                               const tlm_adamw_options_t *rest);

/** Adds a group that is updated by Muon with these options (NULL: the defaults), in an optimizer of
 *  any kind. TLM_ERR_UNSUPPORTED, giving the shape, for a tensor that is not a matrix; see
 *  tlm_optimizer_add_group for other errors. @since 0.2 */
TLM_API tlm_status_t tlm_optimizer_add_muon_group(tlm_optimizer_t *optimizer,
                                                  tlm_tensor_t *const *tensors, size_t n,
                                                  const tlm_muon_options_t *options);

/* ---- Lion ------------------------------------------------------------------------------- */

/** Options of Lion. Values are taken as they stand: start from TLM_LION_OPTIONS_INIT. @since 0.2 */
typedef struct tlm_lion_options {
    /** sizeof(tlm_lion_options_t). */
    size_t size;
    /** Finite and >= 0, like weight_decay. */
    double learning_rate;
    /** Weight of the moving average in the step, in [0, 1). */
    double beta1;
    /** Decay rate of the moving average, in [0, 1). */
    double beta2;
    /** Share of the parameter taken away per step, times the learning rate. */
    double weight_decay;
} tlm_lion_options_t;

#define TLM_LION_OPTIONS_INIT                                                                      \
    {                                                                                              \
        sizeof(tlm_lion_options_t), 1e-4, 0.9, 0.99, 0.0                                           \
    }

/** Creates a Lion optimizer (Chen et al. 2023) without groups: c = beta1 m + (1 - beta1) g;
 *  theta -= lr weight_decay theta; theta -= lr sign(c); m = beta2 m + (1 - beta2) g. options may be
 *  NULL. Owned by the caller: tlm_optimizer_free. TLM_ERR_INVALID_ARGUMENT, naming the field, for
 *  options out of range. @since 0.2 */
TLM_API tlm_status_t tlm_optimizer_create_lion(tlm_optimizer_t **out,
                                               const tlm_lion_options_t *options);

/** Adds a group that is updated by Lion, in an optimizer of any kind. See tlm_optimizer_add_group
 *  for errors. @since 0.2 */
TLM_API tlm_status_t tlm_optimizer_add_lion_group(tlm_optimizer_t *optimizer,
                                                  tlm_tensor_t *const *tensors, size_t n,
                                                  const tlm_lion_options_t *options);

/* ---- Adafactor -------------------------------------------------------------------------- */

/** Options of Adafactor. Values are taken as they stand: start from TLM_ADAFACTOR_OPTIONS_INIT.
 *  @since 0.2 */
typedef struct tlm_adafactor_options {
    /** sizeof(tlm_adafactor_options_t). */
    size_t size;
    /** At most 1 / sqrt(t) is used in step t; times the root mean square of the parameter. */
    double learning_rate;
    /** New squares of the gradient weigh t^-power in step t. */
    double power;
    /** Keeps the divisor away from 0. */
    double eps;
    /** The least root mean square that a parameter is taken to have. */
    double min_rms;
    /** The most that the update's may be; 0: no limit. */
    double threshold;
    /** Share of the parameter taken away per step, times learning_rate. */
    double weight_decay;
} tlm_adafactor_options_t;

#define TLM_ADAFACTOR_OPTIONS_INIT                                                                 \
    {                                                                                              \
        sizeof(tlm_adafactor_options_t), 1e-2, 0.8, 1.1920928955078125e-07, 1e-3, 1.0, 0.0         \
    }

/** Creates an Adafactor optimizer (Shazeer & Stern 2018) without groups, with the formulas of
 *  torch.optim.Adafactor. A matrix needs one number per row and per column, other tensors one per
 *  element. options may be NULL. Owned by the caller: tlm_optimizer_free. TLM_ERR_INVALID_ARGUMENT,
 *  naming the field, for options out of range. @since 0.2 */
TLM_API tlm_status_t tlm_optimizer_create_adafactor(tlm_optimizer_t **out,
                                                    const tlm_adafactor_options_t *options);

/** Adds a group that is updated by Adafactor, in an optimizer of any kind. See
 *  tlm_optimizer_add_group for errors. @since 0.2 */
TLM_API tlm_status_t tlm_optimizer_add_adafactor_group(tlm_optimizer_t *optimizer,
                                                       tlm_tensor_t *const *tensors, size_t n,
                                                       const tlm_adafactor_options_t *options);

/* ---- SGD -------------------------------------------------------------------------------- */

/** Creates an SGD optimizer with a decaying rate, without groups (CS336, section 4.2):
 *  theta -= lr / sqrt(t + 1) g for t = 0, 1, ... It has no weight decay. Owned by the caller:
 *  tlm_optimizer_free. TLM_ERR_INVALID_ARGUMENT for a negative or non-finite rate. @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_create_sgd(tlm_optimizer_t **out, double learning_rate);

/* ---- Optimizers of any kind ------------------------------------------------------------- */

/** Frees the optimizer and its references to the parameters. NULL is fine. @since 0.1 */
TLM_API void tlm_optimizer_free(tlm_optimizer_t *optimizer);

/** The kind of new groups: "adamw", "muon" or "sgd"; "none" for NULL. Static storage. @since 0.1 */
TLM_API const char *tlm_optimizer_kind(const tlm_optimizer_t *optimizer);

/** What a group has of its own, whatever its kind. @since 0.2 */
typedef struct tlm_group_options {
    /** sizeof(tlm_group_options_t). */
    size_t size;
    /** Used if has_learning_rate; otherwise that of the optimizer's creation. */
    double learning_rate;
    /** Used if has_weight_decay; otherwise that of the optimizer's creation. */
    double weight_decay;
    /** Whether learning_rate is set. */
    bool has_learning_rate;
    /** Whether weight_decay is set. */
    bool has_weight_decay;
    uint8_t reserved[6];
    /** The learning rate of the group is this times what a trainer's schedule gives; 0: 1. */
    double rate_factor;
} tlm_group_options_t;

#define TLM_GROUP_OPTIONS_INIT TLM_SIZED(tlm_group_options_t)

/** Adds a group of n row-major float32 leaves, retained, of the optimizer's kind and with the
 *  options of its creation, except for what `options` (may be NULL) sets. On failure nothing has
 *  changed: TLM_ERR_STATE for a tensor that is in a group already or the result of an op,
 *  TLM_ERR_UNSUPPORTED for a view that is not row-major or a weight decay that the kind does not
 *  have, TLM_ERR_INVALID_ARGUMENT for a tensor given twice or options out of range. @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_add_group(tlm_optimizer_t *optimizer,
                                             tlm_tensor_t *const *tensors, size_t n,
                                             const tlm_group_options_t *options);

/** Number of groups; 0 for NULL. @since 0.1 */
TLM_API size_t tlm_optimizer_num_groups(const tlm_optimizer_t *optimizer);

/** In place of the number of a group. */
#define TLM_ALL_GROUPS SIZE_MAX

/** Sets the learning rate of a group, or of all of them with TLM_ALL_GROUPS. TLM_ERR_RANGE if there
 *  is no such group, TLM_ERR_INVALID_ARGUMENT for a negative or non-finite rate. @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_set_learning_rate(tlm_optimizer_t *optimizer, size_t group,
                                                     double learning_rate);

/** Reads the learning rate of a group. TLM_ERR_RANGE if there is no such group. @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_learning_rate(double *out, const tlm_optimizer_t *optimizer,
                                                 size_t group);

/** Keeps an exponential moving average of the parameters from the first step on, as one more state
 *  of each, which checkpoints hold too: with decay d, an older step's weight is d that of the
 *  next. 0: keeps none, as at first. Polyak & Juditsky 1992. TLM_ERR_INVALID_ARGUMENT unless 0 <=
 *  decay < 1; TLM_ERR_STATE if steps were done with another decay. @since 0.2 */
TLM_API tlm_status_t tlm_optimizer_set_average(tlm_optimizer_t *optimizer, double decay);

/** Writes the averages over the parameters, which are lost unless the caller has kept them: see
 *  tlm_trainer_use_average. TLM_ERR_STATE if there are none yet. @since 0.2 */
TLM_API tlm_status_t tlm_optimizer_take_average(tlm_optimizer_t *optimizer);

/** Sets the weight decay of a group, or of all of them with TLM_ALL_GROUPS, those included that
 *  were added without any. TLM_ERR_UNSUPPORTED, with nothing changed, for a value other than 0
 *  where a group's kind has no weight decay; see tlm_optimizer_set_learning_rate for other errors.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_optimizer_set_weight_decay(tlm_optimizer_t *optimizer, size_t group,
                                                    double weight_decay);

/** Reads the weight decay of a group: 0 where its kind has none. TLM_ERR_RANGE if there is no such
 *  group. @since 0.2 */
TLM_API tlm_status_t tlm_optimizer_weight_decay(double *out, const tlm_optimizer_t *optimizer,
                                                size_t group);

/** Updates every parameter that has a gradient once; the gradients stay. On failure nothing has
 *  changed: TLM_ERR_NON_FINITE, naming the parameter, for a gradient with NaN or infinity,
 *  TLM_ERR_OUT_OF_MEMORY. @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_step(tlm_optimizer_t *optimizer);

/** Drops the gradients of all parameters. NULL is fine. @since 0.1 */
TLM_API void tlm_optimizer_zero_grad(tlm_optimizer_t *optimizer);

/** Number of steps taken; 0 for NULL. @since 0.1 */
TLM_API uint64_t tlm_optimizer_steps(const tlm_optimizer_t *optimizer);

/** Sets that number: the next step is `steps` + 1. @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_set_steps(tlm_optimizer_t *optimizer, uint64_t steps);

/** Number of parameters over all groups; 0 for NULL. @since 0.1 */
TLM_API size_t tlm_optimizer_num_parameters(const tlm_optimizer_t *optimizer);

/** Parameter `index`, in order of addition; borrowed until the optimizer is freed. TLM_ERR_RANGE if
 *  there is none. @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_parameter(tlm_tensor_t **out, const tlm_optimizer_t *optimizer,
                                             size_t index);

/** A state buffer of parameter `index`, for checkpoints of the caller's own: *n float32 values.
 *  AdamW keeps "m" and "v", and Muon "m", as many values each as the parameter has; SGD keeps none.
 *  Borrowed until the optimizer is freed, and may be written. TLM_ERR_NOT_FOUND for another name,
 *  TLM_ERR_RANGE for another index. @since 0.1 */
TLM_API tlm_status_t tlm_optimizer_state(float **out, size_t *n, tlm_optimizer_t *optimizer,
                                         size_t index, const char *name);

/** The name of buffer 0, 1, ... of parameter `index`. Static storage. TLM_ERR_RANGE past the last,
 *  or if there is no such parameter. @since 0.2 */
TLM_API tlm_status_t tlm_optimizer_state_name(const char **out, const tlm_optimizer_t *optimizer,
                                              size_t index, size_t buffer);

/* ---- Clipping --------------------------------------------------------------------------- */

/** Scales all gradients by max_norm / (norm + 1e-6) if their joint L2 norm is >= max_norm (Pascanu
 *  et al. 2013). *norm (may be NULL) is the norm before. Tensors without a gradient are skipped;
 *  none may be given twice. On failure nothing is scaled: TLM_ERR_NON_FINITE, naming the tensor,
 *  for NaN or infinity in a gradient, TLM_ERR_INVALID_ARGUMENT for a max_norm that is negative or
 *  not finite. @since 0.1 */
TLM_API tlm_status_t tlm_clip_grad_norm(double *norm, tlm_tensor_t *const *tensors, size_t n,
                                        double max_norm);

/** The same for n tensors that are the gradients themselves, in the caller's memory: row-major
 *  float32, or TLM_ERR_UNSUPPORTED. @since 0.2 */
TLM_API tlm_status_t tlm_clip_norm(double *norm, tlm_tensor_t *const *tensors, size_t n,
                                   double max_norm);

/* ---- Schedules -------------------------------------------------------------------------- */

/** Cosine schedule with linear warm-up (CS336, section 4.4): step / warmup * max below warmup; then
 *  min + (1 + cos(pi (step - warmup) / (cycle - warmup))) / 2 (max - min) up to cycle; min after.
 *  TLM_ERR_INVALID_ARGUMENT for negative or non-finite rates or cycle < warmup. Thread-safe.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_cosine_schedule(double *out, uint64_t step, double max_learning_rate,
                                         double min_learning_rate, uint64_t warmup_steps,
                                         uint64_t cycle_steps);

/* What the learning rate does after the warm-up. @since 0.2 */
/** It stays at its maximum. */
#define TLM_SCHEDULE_CONSTANT 0
/** It falls to its minimum in half a cosine wave. */
#define TLM_SCHEDULE_COSINE 1
/** It falls to its minimum in a straight line. */
#define TLM_SCHEDULE_LINEAR 2
/** It stays at its maximum, then falls in a straight line over the last decay_steps. */
#define TLM_SCHEDULE_WSD 3

/** A learning rate for each step. @since 0.2 */
typedef struct tlm_schedule_options {
    /** sizeof(tlm_schedule_options_t). */
    size_t size;
    /** TLM_SCHEDULE_... */
    int32_t kind;
    int32_t reserved;
    /** There is no default. */
    double max_learning_rate;
    /** The rate at total_steps and after them; not used by a constant rate. */
    double min_learning_rate;
    /** Steps over which the rate rises from 0 in a straight line. */
    uint64_t warmup_steps;
    /** Steps in all, warm-up and decay included; not used by a constant rate. */
    uint64_t total_steps;
    /** Steps over which the rate of TLM_SCHEDULE_WSD falls. */
    uint64_t decay_steps;
} tlm_schedule_options_t;

#define TLM_SCHEDULE_OPTIONS_INIT TLM_SIZED(tlm_schedule_options_t)

/** Has a group follow a schedule of its own, which is copied: its step n, counted from 1, has the
 *  rate of the schedule's step n, whatever its rate was and whatever a trainer's schedule says.
 *  NULL: no longer. Checkpoints hold it. TLM_ERR_RANGE if there is no such group;
 *  TLM_ERR_INVALID_ARGUMENT, naming the field, for a schedule out of range. @since 0.2 */
TLM_API tlm_status_t tlm_optimizer_set_schedule(tlm_optimizer_t *optimizer, size_t group,
                                                const tlm_schedule_options_t *schedule);

/** Computes the learning rate of `step`; TLM_SCHEDULE_COSINE gives what tlm_cosine_schedule gives.
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
