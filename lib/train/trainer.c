/* The trainer: what one step is. Everything that a step depends on follows from its number, so a
 * run that resumes from a checkpoint has the same bits. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/buffer_cache.h"
#include "base/error.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/options.h"
#include "base/process.h"
#include "checkpoint/checkpoint_core.h"
#include "data/data_core.h"
#include "kernels/gemm.h"
#include "model/model_core.h"
#include "optim/optimizer_core.h"
#include "train/train_core.h"

/* ---- The handle ------------------------------------------------------------------------- */

/* Whether the trainer's own calls exchange anything. */
static bool is_shared(const tlm_communicator_t *communicator)
{
    return tlm_communicator_num_ranks(communicator) > 1;
}

/* Chooses the batches of a step that are this rank's. */
static void choose_share(tlm_trainer_t *trainer)
{
    const uint64_t ranks = (uint64_t)tlm_communicator_num_ranks(trainer->communicator);
    const uint64_t rank = (uint64_t)tlm_communicator_rank(trainer->communicator);
    const uint64_t all = trainer->options.accumulation;

    trainer->first = all * rank / ranks;
    trainer->count = all * (rank + 1) / ranks - trainer->first;
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

/* Replaces the caller's texts, each of which may be NULL, by copies. */
static bool own_texts(tlm_trainer_options_t *options)
{
    const char **texts[] = {&options->checkpoint_path, &options->checkpoint_dir,
                            &options->resume_changes};
    bool is_whole = true;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *given = *texts[i];

        if (given != NULL)
            *texts[i] = tlmi_strdup(given, "the options of a trainer");
        is_whole = is_whole && (given == NULL || *texts[i] != NULL);
    }
    return is_whole;
}

/* Reads and checks all that this rank can check alone. */
static tlm_status_t trainer_init(tlm_trainer_t *trainer, const tlm_trainer_options_t *options)
{
    TLMI_TRY(tlmi_trainer_options_read(&trainer->options, &trainer->schedule, options));
    tlmi_loader_shape(&trainer->rows, &trainer->context, trainer->loader);
    TLMI_TRY(tlmi_trainer_options_check_rows(&trainer->options, trainer->rows, trainer->context));
    TLMI_TRY(check_shapes(trainer));
    TLMI_TRY(check_tokenizer(trainer));
    trainer->step_flops = tlmi_model_flops(trainer->model, trainer->rows, trainer->context) *
                          (double)trainer->options.accumulation;
    tlm_tensor_t **trained;
    TLMI_TRY(find_trained(&trained, "trainer_create", trainer->model, trainer->optimizer));
    tlmi_cached_free(trained);
    return TLM_OK;
}

static tlm_status_t divide(tlm_trainer_t *trainer)
{
    tlm_tensor_t **trained;

    TLMI_TRY(find_trained(&trained, "trainer_create", trainer->model, trainer->optimizer));
    tlm_status_t status =
        tlmi_division_create(&trainer->division, trainer->communicator, trainer->optimizer, trained,
                             !trainer->options.irreproducible);
    tlmi_cached_free(trained);
    return status == TLM_OK ? tlmi_gradient_sums_create(&trainer->sums, trainer->division) : status;
}

/* Makes the ranks one run: they agree on it, and each takes its share. */
static tlm_status_t join(tlm_trainer_t *trainer)
{
    const uint64_t others = trainer->options.accumulation - trainer->count;

    TLMI_TRY(tlmi_ranks_compare(trainer));
    TLMI_TRY(tlm_loader_set_share(trainer->loader, trainer->count, others));
    return tlmi_agree(trainer->communicator, "trainer_create", divide(trainer));
}

/* Copies what is checked to the handle. */
static tlm_status_t trainer_make(tlm_trainer_t **out, const tlm_trainer_t *trainer)
{
    tlm_trainer_t *made = tlmi_memdup(trainer, sizeof(*trainer), "a trainer");

    if (made == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (made->options.schedule != NULL)
        made->options.schedule = &made->schedule;
    choose_share(made);
    if (!own_texts(&made->options) ||
        tlmi_batch_plan_create(&made->plan, made, &made->place) != TLM_OK) {
        tlm_trainer_free(made);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    *out = made;
    return TLM_OK;
}

tlm_status_t tlm_trainer_create(tlm_trainer_t **out, tlm_model_t *model, tlm_optimizer_t *optimizer,
                                tlm_loader_t *loader, const tlm_trainer_options_t *options)
{
    tlm_trainer_t trainer = {.best_loss = (double)INFINITY};
    tlm_trainer_t *made = NULL;

    TLMI_REQUIRE("trainer_create", out);
    TLMI_REQUIRE("trainer_create", model);
    TLMI_REQUIRE("trainer_create", optimizer);
    TLMI_REQUIRE("trainer_create", loader);
    trainer.model = model;
    trainer.optimizer = optimizer;
    trainer.loader = loader;
    const double former_decay = optimizer->average_decay;
    tlm_status_t status = trainer_init(&trainer, options);
    if (is_shared(trainer.options.communicator))
        trainer.communicator = trainer.options.communicator;
    else if (status == TLM_OK)
        status = tlmi_optimizer_check_whole("trainer_create", optimizer);
    if (status == TLM_OK && trainer.options.average_decay > 0.0)
        status = tlm_optimizer_set_average(optimizer, trainer.options.average_decay);
    if (status == TLM_OK)
        status = trainer_make(&made, &trainer);
    status = tlmi_agree(trainer.communicator, "trainer_create", status);
    if (status == TLM_OK && trainer.communicator != NULL)
        status = join(made);
    if (status != TLM_OK) {
        tlm_trainer_free(made);
        /* That takes memory away, if anything. */
        if (optimizer->average_decay != former_decay && optimizer->num_ranks == 0)
            (void)tlm_optimizer_set_average(optimizer, former_decay);
        return status;
    }
    if (made->options.activation_checkpointing)
        (void)tlm_model_set_checkpointing(model, true);
    *out = made;
    return TLM_OK;
}

void tlm_trainer_free(tlm_trainer_t *trainer)
{
    if (trainer == NULL)
        return;
    tlmi_gradient_sums_free(trainer->sums);
    tlmi_division_free(trainer->division);
    tlmi_free(trainer->kept);
    tlmi_free(trainer->plan.stages);
    tlmi_free((char *)(uintptr_t)trainer->options.checkpoint_path);
    tlmi_free((char *)(uintptr_t)trainer->options.checkpoint_dir);
    tlmi_free((char *)(uintptr_t)trainer->options.resume_changes);
    tlm_tokenizer_free(trainer->tokenizer);
    tlmi_free(trainer);
}

uint64_t tlm_trainer_steps(const tlm_trainer_t *trainer)
{
    return trainer == NULL ? 0 : trainer->place.step;
}

/* ---- A step ----------------------------------------------------------------------------- */

/* How messages about a step begin. */
static const char *step_text(char out[64], const tlm_trainer_t *trainer)
{
    snprintf(out, 64, "trainer_step: step %" PRIu64, trainer->place.step + 1);
    return out;
}

/* Fails with the number of the step and the first parameter that holds a value that is not finite;
 * if all are finite, with `what` and its value. */
static tlm_status_t fail_non_finite(const tlm_trainer_t *trainer, const char *what, double value)
{
    char where[64];

    TLMI_TRY(tlmi_check_finite(step_text(where, trainer), trainer->model));
    return tlmi_fail(TLM_ERR_NON_FINITE, "%s: %s is %s, but all parameters are finite", where, what,
                     TLMI_G(value));
}

/* A step while its gradients are computed. */
typedef struct step {
    tlm_trainer_t *trainer;
    double *losses;   /* (accumulation), of this rank's batches */
    int64_t rows;     /* of each batch */
    uint64_t counted; /* targets that count in the whole step */
} step_t;

/* Whether all targets of the step count, so that its batches have equal shares. */
static bool counts_all(const step_t *step)
{
    const tlm_trainer_t *trainer = step->trainer;

    return step->counted ==
           trainer->options.accumulation * (uint64_t)step->rows * (uint64_t)trainer->context;
}

/* The first row of a batch of the step. */
static uint64_t first_row(const step_t *step, uint64_t number)
{
    return step->trainer->place.row + number * (uint64_t)step->rows;
}

/* The targets of a batch that count. */
static uint64_t counted_in(const step_t *step, uint64_t number)
{
    return tlmi_loader_counted(step->trainer->loader, first_row(step, number),
                               (uint64_t)step->rows);
}

/* Goes back from the loss of a batch. With the last one of this rank, gradients can be summed over the
 * ranks as soon as they are final. */
static tlm_status_t go_back(const tlm_trainer_t *trainer, uint64_t number, tlm_tensor_t *loss,
                            const tlmi_kept_gradients_t *kept)
{
    tlmi_leaf_watch_t watch;

    if (trainer->sums == NULL || number + 1 < trainer->first + trainer->count)
        return tlm_tensor_backward(loss, NULL);
    tlmi_gradient_sums_watch(&watch, trainer->sums, kept);
    return tlmi_tensor_backward(loss, NULL, &watch);
}

/* Computes the gradient of a batch of the step, times its share. */
static tlm_status_t compute_batch(void *user, uint64_t number, const tlmi_kept_gradients_t *kept)
{
    const step_t *step = user;
    tlm_trainer_t *trainer = step->trainer;
    tlm_tensor_t *loss = NULL, *share = NULL;
    const uint32_t *inputs, *targets;
    const uint64_t batches = trainer->options.accumulation;
    const bool equal = counts_all(step);
    /* In the step's mean: by the targets that count. */
    const double part =
        equal ? 1.0 / (double)batches : (double)counted_in(step, number) / (double)step->counted;

    TLMI_TRY(tlmi_loader_next(&inputs, &targets, trainer->loader));
    step->losses[number] = 0.0;
    if (part == 0.0)
        return TLM_OK;
    TLMI_TRY(tlm_model_set_dropout_row(trainer->model, first_row(step, number)));
    tlm_status_t status =
        tlm_model_loss(&loss, trainer->model, inputs, targets, step->rows, trainer->context);
    (void)tlm_model_set_dropout_row(trainer->model, TLM_NO_DROPOUT);
    if (status != TLM_OK)
        return status;
    float value;
    (void)tlm_tensor_item(&value, loss); /* a scalar */
    if (!isfinite(value)) {
        status = fail_non_finite(trainer, "the loss", (double)value);
        goto done;
    }
    /* Such that the mean over the batches is that over the targets. */
    step->losses[number] = equal ? (double)value : (double)value * part * (double)batches;
    if (part != 1.0) {
        TLMI_TRY_OR(done, tlm_scale(&share, loss, equal ? 1.0f / (float)batches : (float)part));
        status = go_back(trainer, number, share, kept);
    } else {
        status = go_back(trainer, number, loss, kept);
    }
done:
    tlm_tensor_free(share);
    tlm_tensor_free(loss);
    return status;
}

/* Computes the sum of the gradients of this rank's batches, and their losses. */
static tlm_status_t compute_gradients(tlm_trainer_t *trainer, tlm_tensor_t *const *trained,
                                      double *losses)
{
    const uint64_t batches = trainer->options.accumulation;
    const uint64_t first =
        (trainer->place.step - trainer->plan.first_step) * batches + trainer->first;
    step_t step = {trainer, losses, tlmi_batch_plan_rows(trainer), 0};

    if (losses == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (uint64_t i = 0; i < batches; i++)
        step.counted += counted_in(&step, i);
    char where[64];
    if (step.counted == 0)
        return tlmi_fail(TLM_ERR_STATE, "%s: none of its targets counts",
                         step_text(where, trainer));
    if (!tlmi_loader_is_at(trainer->loader, first_row(&step, trainer->first), (uint64_t)step.rows))
        TLMI_TRY(tlmi_loader_follow(trainer->loader, trainer->plan.stages, trainer->plan.num_stages,
                                    first));
    tlm_model_zero_grad(trainer->model);
    return tlmi_sum_gradients(trained, trainer->optimizer->num_parameters, trainer->first,
                              trainer->count, compute_batch, &step);
}

static double max_norm(const tlm_trainer_t *trainer)
{
    return trainer->options.clip_norm > 0.0 ? trainer->options.clip_norm : DBL_MAX;
}

/* Sets *rate to the learning rate of the next step, or to NULL if the rates stay. */
static tlm_status_t next_rate(const double **rate, double *value, const tlm_trainer_t *trainer)
{
    *rate = NULL;
    if (trainer->options.schedule == NULL)
        return TLM_OK;
    *rate = value;
    /* Counted from 1: a rate of 0 would waste the first step. */
    return tlm_schedule_learning_rate(value, trainer->options.schedule, trainer->place.step + 1);
}

/* Clips the gradients of the trained parameters and updates them. */
static tlm_status_t update(tlm_trainer_t *trainer, tlm_tensor_t *const *trained, double *norm)
{
    tlm_status_t status =
        tlm_clip_grad_norm(norm, trained, trainer->optimizer->num_parameters, max_norm(trainer));

    if (status == TLM_ERR_NON_FINITE)
        return fail_non_finite(trainer, "the gradients' norm", (double)NAN);
    if (status != TLM_OK)
        return status;
    /* Clipping has checked that all gradients are finite. */
    const double *rate;
    double value;
    TLMI_TRY(next_rate(&rate, &value, trainer));
    return tlmi_optimizer_step(trainer->optimizer, rate, true);
}

static tlm_status_t agree(void *user, tlm_status_t status)
{
    return tlmi_agree(((const tlm_trainer_t *)user)->communicator, "trainer_step", status);
}

/* The same over the ranks, whose gradients are summed: each updates its segments. */
static tlm_status_t update_on_ranks(tlm_trainer_t *trainer, double *norm)
{
    tlmi_division_t *division = trainer->division;
    const double *rate;
    double value, sum;

    TLMI_TRY(tlmi_division_sum_squares(&sum, division));
    if (!isfinite(sum)) { /* only the rank that has the element knows it */
        char where[64];

        TLMI_TRY(agree(trainer, tlmi_check_finite(step_text(where, trainer), trainer->model)));
        return fail_non_finite(trainer, "the gradients' norm", (double)NAN);
    }
    *norm = sqrt(sum);
    if (*norm >= max_norm(trainer))
        tlmi_division_scale(division, tlmi_clip_factor(*norm, max_norm(trainer)));
    TLMI_TRY(next_rate(&rate, &value, trainer));
    return tlmi_optimizer_step_agreed(trainer->optimizer, rate, agree, trainer);
}

static double full_step_tokens(const tlm_trainer_t *trainer)
{
    return (double)trainer->options.accumulation *
           ((double)trainer->rows * (double)trainer->context);
}

/* Fills in what the step did. */
static tlm_status_t describe(tlm_train_step_t *out, const tlm_trainer_t *trainer,
                             const tlm_train_step_t *known)
{
    tlm_train_step_t step = *known;

    step.step = trainer->place.step;
    step.tokens = trainer->place.tokens;
    if (tlm_optimizer_num_groups(trainer->optimizer) > 0)
        (void)tlm_optimizer_learning_rate(&step.learning_rate, trainer->optimizer, 0);
    if (step.seconds > 0.0) {
        const double share = (double)step.step_tokens / full_step_tokens(trainer);

        step.tokens_per_second = (double)step.step_tokens / step.seconds;
        if (trainer->options.peak_flops > 0.0)
            step.utilization =
                share * trainer->step_flops / step.seconds / trainer->options.peak_flops;
    }
    return tlmi_options_write("trainer_step", out, &step, TLMI_TRAIN_STEP);
}

/* Seconds since *last, which becomes now. */
static double lap(double *last)
{
    const double now = tlmi_seconds(), passed = now - *last;

    *last = now;
    return passed;
}

/* What follows the computation of gradients, where ranks share it. */
static tlm_status_t step_on_ranks(tlm_train_step_t *known, tlm_trainer_t *trainer, double *losses,
                                  tlm_status_t status, double *last)
{
    TLMI_TRY(tlmi_gradient_sums_end(&known->overlap_seconds, trainer->sums, status));
    known->reduce_scatter_seconds = lap(last);
    TLMI_TRY(tlmi_ranks_gather_losses(losses, trainer));
    TLMI_TRY(update_on_ranks(trainer, &known->gradient_norm));
    known->update_seconds = lap(last);
    TLMI_TRY(tlmi_division_share(trainer->division));
    tlm_model_zero_grad(trainer->model); /* what is left is only a part of the sums */
    known->gather_seconds = lap(last);
    return TLM_OK;
}

/* One step over the parameters in `trained`, with room for the losses of its batches; `status` is
 * how it went so far. */
static tlm_status_t take_step(tlm_train_step_t *known, tlm_trainer_t *trainer,
                              tlm_tensor_t *const *trained, double *losses, tlm_status_t status)
{
    const uint64_t n = trainer->options.accumulation;
    const int64_t rows = tlmi_batch_plan_rows(trainer);
    double last = tlmi_seconds();

    if (status == TLM_OK) {
        const int32_t former = tlmi_products_swap(trainer->options.products);

        status = compute_gradients(trainer, trained, losses);
        (void)tlmi_products_swap(former);
    }
    known->compute_seconds = lap(&last);
    if (trainer->division == NULL) {
        TLMI_TRY(status);
        TLMI_TRY(update(trainer, trained, &known->gradient_norm));
        known->update_seconds = lap(&last);
    } else {
        TLMI_TRY(step_on_ranks(known, trainer, losses, status, &last));
    }
    double sum = 0.0;
    for (uint64_t i = 0; i < n; i++)
        sum += losses[i];
    known->loss = sum / (double)n;
    known->step_tokens = n * (uint64_t)rows * (uint64_t)trainer->context;
    trainer->place.step++;
    trainer->place.row += n * (uint64_t)rows;
    trainer->place.tokens += known->step_tokens;
    trainer->is_evaluated = false;
    return TLM_OK;
}

/* Checks whether a step can be taken, and finds what it trains. */
static tlm_status_t begin_step(tlm_tensor_t ***trained, const tlm_trainer_t *trainer)
{
    if (trainer->place.step >= trainer->options.steps)
        return tlmi_fail(TLM_ERR_STATE, "trainer_step: all %" PRIu64 " steps are done",
                         trainer->options.steps);
    TLMI_TRY(tlmi_check_not_averaged("trainer_step", trainer));
    TLMI_TRY(find_trained(trained, "trainer_step", trainer->model, trainer->optimizer));
    if (trainer->division == NULL)
        return tlmi_optimizer_check_whole("trainer_step", trainer->optimizer);
    return tlmi_division_check("trainer_step", trainer->division, *trained,
                               trainer->optimizer->num_parameters);
}

tlm_status_t tlm_trainer_step(tlm_train_step_t *out, tlm_trainer_t *trainer)
{
    tlm_train_step_t scratch = TLM_TRAIN_STEP_INIT, known = TLM_TRAIN_STEP_INIT;
    tlm_tensor_t **trained = NULL;

    TLMI_REQUIRE("trainer_step", trainer);
    if (out == NULL)
        out = &scratch;
    TLMI_TRY(tlmi_options_check_out("trainer_step", out, TLMI_TRAIN_STEP));
    double begin = tlmi_seconds(), waited = tlm_communicator_seconds(trainer->communicator);
    double *losses = tlmi_cached_alloc((size_t)trainer->options.accumulation, sizeof(*losses),
                                       "the losses of a step");
    tlmi_hold_interrupts();
    tlm_status_t status = begin_step(&trained, trainer);
    status = take_step(&known, trainer, trained, losses, status);
    tlmi_release_interrupts();
    tlmi_cached_free(trained);
    tlmi_cached_free(losses);
    if (status != TLM_OK)
        return status;
    known.seconds = tlmi_seconds() - begin;
    known.communication_seconds =
        tlm_communicator_seconds(trainer->communicator) - waited - known.overlap_seconds;
    return describe(out, trainer, &known);
}
