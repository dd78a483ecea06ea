/* The trainer: what one step is. Everything that a step depends on follows from its number, so a
 * run that resumes from a checkpoint has the same bits. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/options.h"
#include "base/process.h"
#include "checkpoint/checkpoint_core.h"
#include "data/data_core.h"
#include "model/model_core.h"
#include "optim/optimizer_core.h"
#include "train/train_core.h"
#include "tinylm/model_info.h"

/* ---- The handle ------------------------------------------------------------------------- */

/* Counts the floating-point operations in the matrix products of a step, forward and backward. */
static tlm_status_t count_flops(tlm_trainer_t *trainer)
{
    tlm_cost_options_t options = TLM_COST_OPTIONS_INIT;
    tlm_cost_t cost = TLM_COST_INIT;

    options.batch = trainer->rows;
    options.time = trainer->context;
    TLMI_TRY(tlm_model_cost(&cost, &trainer->model->options, &options));
    trainer->step_flops = cost.model_flops * (double)trainer->options.accumulation;
    return TLM_OK;
}

static tlm_status_t check_shapes(const tlm_trainer_t *trainer)
{
    const tlm_trainer_options_t *options = &trainer->options;
    int64_t longest = trainer->model->options.context_length;

    if (trainer->context > longest)
        return tlmi_fail(TLM_ERR_RANGE,
                         "trainer_create: rows of %" PRId64
                         " tokens are longer than the model's context of %" PRId64,
                         trainer->context, longest);
    if (options->valid != NULL)
        TLMI_TRY(tlmi_check_windows("trainer_create", options->valid, trainer->context));
    return TLM_OK;
}

/* A tokenizer that cannot be saved is refused before the run, not at its first checkpoint. */
static tlm_status_t check_tokenizer(const tlm_trainer_t *trainer)
{
    char *bytes;
    size_t size;

    if (trainer->options.tokenizer == NULL)
        return TLM_OK;
    TLMI_TRY(tlmi_checkpoint_write_tokenizer(&bytes, &size, "trainer_create", trainer->model,
                                             trainer->options.tokenizer));
    tlmi_free(bytes);
    return TLM_OK;
}

static bool is_of_model(const tlm_model_t *model, const tlm_tensor_t *tensor)
{
    for (size_t i = 0; i < model->num_parameters; i++)
        if (model->parameters[i] == tensor)
            return true;
    return false;
}

static bool is_held(const tlm_optimizer_t *optimizer, const tlm_tensor_t *tensor)
{
    for (size_t i = 0; i < optimizer->num_parameters; i++)
        if (optimizer->parameters[i].tensor == tensor)
            return true;
    return false;
}

/* Lists the model's parameters that the optimizer holds, in the model's order; free the list with
 * tlmi_cached_free. Other parameters are frozen, which is fine; but an optimizer that trains
 * nothing, or another model, is a mistake. */
static tlm_status_t find_trained(tlm_tensor_t ***out, const char *function,
                                 const tlm_model_t *model, const tlm_optimizer_t *optimizer)
{
    size_t n = optimizer->num_parameters, found = 0;

    if (n == 0)
        return tlmi_fail(TLM_ERR_STATE, "%s: the optimizer has no parameters", function);
    for (size_t i = 0; i < n; i++)
        if (!is_of_model(model, optimizer->parameters[i].tensor))
            return tlmi_fail(TLM_ERR_STATE,
                             "%s: parameter %zu of the optimizer's %zu is not one of the model's",
                             function, i, n);
    tlm_tensor_t **trained =
        tlmi_cached_alloc(n, sizeof(tlm_tensor_t *), "the parameters to train");
    if (trained == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < model->num_parameters && found < n; i++)
        if (is_held(optimizer, model->parameters[i]))
            trained[found++] = model->parameters[i];
    *out = trained;
    return TLM_OK;
}

/* Replaces a caller's path, which may be NULL, by a copy. */
static bool own_path(const char **path)
{
    const char *given = *path;

    if (given != NULL)
        *path = tlmi_strdup(given, "the path of a checkpoint");
    return given == NULL || *path != NULL;
}

tlm_status_t tlm_trainer_create(tlm_trainer_t **out, tlm_model_t *model, tlm_optimizer_t *optimizer,
                                tlm_loader_t *loader, const tlm_trainer_options_t *options)
{
    tlm_trainer_t trainer = {.best_loss = (double)INFINITY};

    TLMI_REQUIRE("trainer_create", out);
    TLMI_REQUIRE("trainer_create", model);
    TLMI_REQUIRE("trainer_create", optimizer);
    TLMI_REQUIRE("trainer_create", loader);
    TLMI_TRY(tlmi_trainer_options_read(&trainer.options, &trainer.schedule, options));
    trainer.model = model;
    trainer.optimizer = optimizer;
    trainer.loader = loader;
    tlmi_loader_shape(&trainer.rows, &trainer.context, loader);
    TLMI_TRY(check_shapes(&trainer));
    TLMI_TRY(check_tokenizer(&trainer));
    TLMI_TRY(count_flops(&trainer));
    tlm_tensor_t **trained;
    TLMI_TRY(find_trained(&trained, "trainer_create", model, optimizer));
    tlmi_cached_free(trained);
    tlm_trainer_t *made = tlmi_memdup(&trainer, sizeof(trainer), "a trainer");
    if (made == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (made->options.schedule != NULL)
        made->options.schedule = &made->schedule;
    if (!own_path(&made->options.checkpoint_path) || !own_path(&made->options.checkpoint_dir)) {
        tlm_trainer_free(made);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    if (trainer.options.activation_checkpointing)
        (void)tlm_model_set_checkpointing(model, true);
    *out = made;
    return TLM_OK;
}

void tlm_trainer_free(tlm_trainer_t *trainer)
{
    if (trainer == NULL)
        return;
    tlmi_free((char *)(uintptr_t)trainer->options.checkpoint_path);
    tlmi_free((char *)(uintptr_t)trainer->options.checkpoint_dir);
    tlm_tokenizer_free(trainer->tokenizer);
    tlmi_free(trainer);
}

uint64_t tlm_trainer_steps(const tlm_trainer_t *trainer)
{
    return trainer == NULL ? 0 : trainer->step;
}

/* ---- A step ----------------------------------------------------------------------------- */

/* Fails with the number of the step and the first parameter that holds a value that is not finite;
 * if all are finite, with `what` and its value. */
static tlm_status_t fail_non_finite(const tlm_trainer_t *trainer, const char *what, double value)
{
    char where[64];

    snprintf(where, sizeof(where), "trainer_step: step %" PRIu64, trainer->step + 1);
    TLMI_TRY(tlmi_check_finite(where, trainer->model));
    return tlmi_fail(TLM_ERR_NON_FINITE, "%s: %s is %s, but all parameters are finite", where, what,
                     TLMI_G(value));
}

/* Adds the gradient of one batch, divided by the number of batches in a step, and adds its loss to
 * *sum. */
static tlm_status_t add_batch(tlm_trainer_t *trainer, double *sum)
{
    tlm_tensor_t *loss = NULL, *share = NULL;
    const uint32_t *inputs, *targets;
    const uint64_t batch = tlm_loader_position(trainer->loader);

    TLMI_TRY(tlm_model_set_dropout_row(trainer->model, batch * (uint64_t)trainer->rows));
    TLMI_TRY(tlm_loader_next(&inputs, &targets, trainer->loader));
    TLMI_TRY(
        tlm_model_loss(&loss, trainer->model, inputs, targets, trainer->rows, trainer->context));
    float value;
    (void)tlm_tensor_item(&value, loss); /* a scalar */
    tlm_status_t status;
    if (!isfinite(value)) {
        status = fail_non_finite(trainer, "the loss", (double)value);
        goto done;
    }
    *sum += (double)value;
    if (trainer->options.accumulation > 1) {
        TLMI_TRY_OR(done, tlm_scale(&share, loss, 1.0f / (float)trainer->options.accumulation));
        status = tlm_tensor_backward(share, NULL);
    } else {
        status = tlm_tensor_backward(loss, NULL);
    }
done:
    tlm_tensor_free(share);
    tlm_tensor_free(loss);
    return status;
}

/* Clips the gradients of the trained parameters and updates them. */
static tlm_status_t update(tlm_trainer_t *trainer, tlm_tensor_t *const *trained, double *norm)
{
    double max_norm = trainer->options.clip_norm > 0.0 ? trainer->options.clip_norm : DBL_MAX;
    const tlm_schedule_options_t *schedule = trainer->options.schedule;
    tlm_status_t status =
        tlm_clip_grad_norm(norm, trained, trainer->optimizer->num_parameters, max_norm);

    if (status == TLM_ERR_NON_FINITE)
        return fail_non_finite(trainer, "the gradients' norm", (double)NAN);
    if (status != TLM_OK)
        return status;
    /* Clipping has checked that all gradients are finite. */
    if (schedule == NULL)
        return tlmi_optimizer_step(trainer->optimizer, NULL, true);
    /* Counted from 1: a rate of 0 would waste the first step. */
    double rate;
    TLMI_TRY(tlm_schedule_learning_rate(&rate, schedule, trainer->step + 1));
    return tlmi_optimizer_step(trainer->optimizer, &rate, true);
}

/* Fills in what the step did. */
static tlm_status_t describe(tlm_train_step_t *out, const tlm_trainer_t *trainer, double loss,
                             double norm, double seconds)
{
    double batch_tokens = (double)trainer->rows * (double)trainer->context;
    double step_tokens = batch_tokens * (double)trainer->options.accumulation;
    tlm_train_step_t step = TLM_TRAIN_STEP_INIT;

    step.step = trainer->step;
    step.tokens = trainer->step * trainer->options.accumulation *
                  ((uint64_t)trainer->rows * (uint64_t)trainer->context);
    step.loss = loss;
    step.gradient_norm = norm;
    step.seconds = seconds;
    if (tlm_optimizer_num_groups(trainer->optimizer) > 0)
        (void)tlm_optimizer_learning_rate(&step.learning_rate, trainer->optimizer, 0);
    if (seconds > 0.0) {
        step.tokens_per_second = step_tokens / seconds;
        if (trainer->options.peak_flops > 0.0)
            step.utilization = trainer->step_flops / seconds / trainer->options.peak_flops;
    }
    return tlmi_options_write("trainer_step", out, &step, TLMI_TRAIN_STEP);
}

/* One step over the parameters in `trained`; see tlm_trainer_step. */
static tlm_status_t take_step(tlm_train_step_t *out, tlm_trainer_t *trainer,
                              tlm_tensor_t *const *trained)
{
    uint64_t first = trainer->step * trainer->options.accumulation;
    double begin = tlmi_seconds(), sum = 0.0;

    if (tlm_loader_position(trainer->loader) != first)
        TLMI_TRY(tlm_loader_seek(trainer->loader, first));
    tlm_model_zero_grad(trainer->model);
    for (uint64_t i = 0; i < trainer->options.accumulation; i++)
        TLMI_TRY(add_batch(trainer, &sum));
    double norm;
    TLMI_TRY(update(trainer, trained, &norm));
    trainer->step++;
    trainer->is_evaluated = false;
    return describe(out, trainer, sum / (double)trainer->options.accumulation, norm,
                    tlmi_seconds() - begin);
}

tlm_status_t tlm_trainer_step(tlm_train_step_t *out, tlm_trainer_t *trainer)
{
    tlm_train_step_t scratch = TLM_TRAIN_STEP_INIT;

    TLMI_REQUIRE("trainer_step", trainer);
    if (out == NULL)
        out = &scratch;
    TLMI_TRY(tlmi_options_check_out("trainer_step", out, TLMI_TRAIN_STEP));
    if (trainer->step >= trainer->options.steps)
        return tlmi_fail(TLM_ERR_STATE, "trainer_step: all %" PRIu64 " steps are done",
                         trainer->options.steps);
    tlm_tensor_t **trained;
    TLMI_TRY(find_trained(&trained, "trainer_step", trainer->model, trainer->optimizer));
    tlm_status_t status = take_step(out, trainer, trained);
    tlmi_cached_free(trained);
    return status;
}
