/* The run around the steps: evaluations, checkpoints, callbacks. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/options.h"
#include "checkpoint/checkpoint_core.h"
#include "train/train_core.h"
#include "tinylm/checkpoint.h"

static tlm_status_t evaluate(tlm_evaluation_t *out, tlm_trainer_t *trainer)
{
    if (trainer->options.valid == NULL)
        return tlmi_fail(TLM_ERR_STATE,
                         "trainer_evaluate: the trainer has no data set for evaluation");
    tlm_evaluation_t result;
    const bool averages =
        trainer->options.average_decay > 0.0 && trainer->place.step > 0 && trainer->kept == NULL;
    if (averages)
        TLMI_TRY(tlm_trainer_use_average(trainer, true));
    tlm_status_t status = tlmi_evaluate(&result, "trainer_evaluate", trainer->communicator,
                                        trainer->model, trainer->options.valid, trainer->rows,
                                        trainer->context, trainer->options.eval_tokens);
    if (averages)
        (void)tlm_trainer_use_average(trainer, false);
    if (status != TLM_OK)
        return status;
    result.step = trainer->place.step;
    result.is_best = result.loss < trainer->best_loss;
    if (result.is_best)
        trainer->best_loss = result.loss;
    trainer->last_loss = result.loss;
    trainer->is_evaluated = true;
    *out = result;
    return TLM_OK;
}

tlm_status_t tlm_trainer_evaluate(tlm_evaluation_t *out, tlm_trainer_t *trainer)
{
    TLMI_REQUIRE("trainer_evaluate", trainer);
    TLMI_TRY(tlmi_options_check_out("trainer_evaluate", out, TLMI_EVALUATION));
    tlm_evaluation_t result;
    TLMI_TRY(evaluate(&result, trainer));
    return tlmi_options_write("trainer_evaluate", out, &result, TLMI_EVALUATION);
}

/* ---- Checkpoints ------------------------------------------------------------------------ */

/* What a trainer keeps in the metadata of its checkpoints: {"trained_rows": "960",
 * "trained_tokens": "122880", "run": {"steps": "1200", ...}, "best_validation_loss": 1.25}, the last
 * one once there is one. */
#define BEST_LOSS "best_validation_loss"
#define ROWS      "trained_rows"
#define TOKENS    "trained_tokens"
#define RUN       "run"

/* That of a checkpoint, and the plan that follows from it. */
typedef struct progress {
    tlmi_run_place_t place;
    double best_loss;
    tlmi_batch_plan_t plan;     /* owned */
    tlm_tokenizer_t *tokenizer; /* NULL: none; owned */
} progress_t;

static void progress_free(progress_t *progress)
{
    tlmi_free(progress->plan.stages);
    tlm_tokenizer_free(progress->tokenizer);
}

static tlm_status_t fill_metadata(tlmi_json_t *root, const tlm_trainer_t *trainer)
{
    tlmi_json_t *record;

    TLMI_TRY(tlmi_json_set(root, ROWS, tlmi_json_new_uint64(trainer->place.row)));
    TLMI_TRY(tlmi_json_set(root, TOKENS, tlmi_json_new_uint64(trainer->place.tokens)));
    TLMI_TRY(tlmi_run_record_write(&record, trainer));
    TLMI_TRY(tlmi_json_set(root, RUN, record));
    if (isfinite(trainer->best_loss))
        TLMI_TRY(tlmi_json_set(root, BEST_LOSS, tlmi_json_new_number(trainer->best_loss)));
    return TLM_OK;
}

/* The metadata of a checkpoint. Owned: tlmi_free. */
static tlm_status_t make_metadata(char **out, const tlm_trainer_t *trainer)
{
    tlmi_json_t *root = tlmi_json_new_object();
    tlm_status_t status = root == NULL ? TLM_ERR_OUT_OF_MEMORY : fill_metadata(root, trainer);
    size_t size;

    if (status == TLM_OK)
        status = tlmi_json_dump(out, &size, root);
    tlmi_json_free(root);
    return status;
}

/* Writes a checkpoint; path is NULL for the directory of the options. */
static tlm_status_t write_checkpoint(const tlm_trainer_t *trainer, const char *path)
{
    tlm_checkpoint_options_t options = TLM_CHECKPOINT_OPTIONS_INIT;
    char *metadata;

    TLMI_TRY(make_metadata(&metadata, trainer));
    options.metadata = metadata;
    options.has_validation_loss = trainer->is_evaluated;
    options.validation_loss = trainer->is_evaluated ? trainer->last_loss : 0.0;
    options.tokenizer =
        trainer->options.tokenizer != NULL ? trainer->options.tokenizer : trainer->tokenizer;
    tlm_status_t status =
        path == NULL ? tlm_checkpoint_dir_save(trainer->model, trainer->optimizer,
                                               trainer->place.step, trainer->options.checkpoint_dir,
                                               trainer->options.keep_last, &options)
                     : tlm_checkpoint_save_with(trainer->model, trainer->optimizer,
                                                trainer->place.step, path, &options);
    tlmi_free(metadata);
    return status;
}

/* Rank 0 writes, and the others give it their states. */
static tlm_status_t write_on_ranks(const tlm_trainer_t *trainer, const char *path)
{
    const tlmi_state_source_t source = {tlmi_division_read_state, trainer->division};
    tlm_status_t status;

    if (tlm_communicator_rank(trainer->communicator) == 0) {
        trainer->optimizer->source = &source;
        status = write_checkpoint(trainer, path);
        trainer->optimizer->source = NULL;
        status = tlmi_division_end(trainer->division, status);
    } else {
        status = tlmi_division_answer(trainer->division);
    }
    return tlmi_agree(trainer->communicator, "trainer_save", status);
}

/* The file that a call without a path means; *path stays NULL for the directory of the options. */
static tlm_status_t choose_path(const char **path, const char *function,
                                const tlm_trainer_t *trainer)
{
    if (*path != NULL || trainer->options.checkpoint_dir != NULL)
        return TLM_OK;
    *path = trainer->options.checkpoint_path;
    if (*path == NULL)
        return tlmi_fail(TLM_ERR_STATE, "%s: no path is given, and the trainer has none", function);
    return TLM_OK;
}

tlm_status_t tlm_trainer_save(tlm_trainer_t *trainer, const char *path)
{
    TLMI_REQUIRE("trainer_save", trainer);
    TLMI_TRY(tlmi_check_not_averaged("trainer_save", trainer)); /* the same on all ranks */
    TLMI_TRY(tlmi_agree(trainer->communicator, "trainer_save",
                        choose_path(&path, "trainer_save", trainer)));
    return trainer->division == NULL ? write_checkpoint(trainer, path)
                                     : write_on_ranks(trainer, path);
}

/* Where the data goes on after a checkpoint without that, of version 0.1 or of a program's own loop:
 * as if all its steps had been full ones of this trainer. */
static tlm_status_t guess_place(tlmi_run_place_t *place, const tlm_trainer_t *trainer,
                                const char *path)
{
    const uint64_t rows = trainer->options.accumulation * (uint64_t)trainer->rows;

    if (place->step > INT64_MAX / rows / (uint64_t)trainer->context)
        return tlmi_fail(TLM_ERR_RANGE,
                         "%s: %" PRIu64 " steps of %" PRIu64 " rows of %" PRId64
                         " tokens are too many to be counted",
                         path, place->step, rows, trainer->context);
    place->row = place->step * rows;
    place->tokens = place->row * (uint64_t)trainer->context;
    return TLM_OK;
}

static tlm_status_t read_count(uint64_t *out, const tlmi_json_t *root, const char *name,
                               const char *path)
{
    if (!tlmi_json_get_uint64(tlmi_json_member(root, name), out) || *out > INT64_MAX)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' in the metadata is not a count below 2^63", path,
                         name);
    return TLM_OK;
}

/* Reads the lowest loss that a checkpoint records, infinity if it records none, and the place, and
 * compares the run that it records with the trainer's. */
static tlm_status_t read_metadata(progress_t *out, const tlm_trainer_t *trainer,
                                  const tlmi_safetensors_t *file, const char *path)
{
    const char *metadata = tlmi_safetensors_metadata(file, TLMI_CHECKPOINT_USER);
    tlmi_json_t *root = NULL;
    tlm_status_t status;

    out->best_loss = (double)INFINITY;
    if (metadata != NULL)
        TLMI_TRY(tlmi_json_parse(&root, metadata, strlen(metadata), path));
    (void)tlmi_json_get_number(tlmi_json_member(root, BEST_LOSS), &out->best_loss);
    if (tlmi_json_member(root, ROWS) == NULL && tlmi_json_member(root, TOKENS) == NULL) {
        status = guess_place(&out->place, trainer, path);
    } else {
        status = read_count(&out->place.row, root, ROWS, path);
        if (status == TLM_OK)
            status = read_count(&out->place.tokens, root, TOKENS, path);
    }
    if (status == TLM_OK && tlmi_json_member(root, RUN) != NULL)
        status = tlmi_run_record_compare(tlmi_json_member(root, RUN), trainer, path);
    tlmi_json_free(root);
    return status;
}

/* Reads what a checkpoint holds beside the state of the training, which checks the whole file. */
static tlm_status_t read_beside(progress_t *out, const tlm_trainer_t *trainer, const char *path)
{
    tlmi_safetensors_t file;

    TLMI_TRY(tlmi_checkpoint_open(&file, &out->place.step, path));
    tlm_status_t status = read_metadata(out, trainer, &file, path);
    if (status == TLM_OK)
        status = tlmi_batch_plan_create(&out->plan, trainer, &out->place);
    if (status == TLM_OK && trainer->options.tokenizer == NULL)
        status = tlmi_checkpoint_read_tokenizer(&out->tokenizer, &file, path);
    tlmi_safetensors_close(&file);
    return status;
}

/* Every rank checks the file before one of them loads it, so that none does if one cannot. */
static tlm_status_t resume(tlm_trainer_t *trainer, const char *path)
{
    const tlmi_resumption_t how = {trainer->options.resume_changes,
                                   trainer->options.schedule != NULL};
    progress_t progress = {.tokenizer = NULL};

    tlm_status_t status =
        tlmi_agree(trainer->communicator, "trainer_resume", read_beside(&progress, trainer, path));
    if (status == TLM_OK)
        status = tlmi_agree(trainer->communicator, "trainer_resume",
                            tlmi_checkpoint_load(&progress.place.step, trainer->model,
                                                 trainer->optimizer, path, &how));
    if (status != TLM_OK) {
        progress_free(&progress);
        return status;
    }
    tlm_tokenizer_free(trainer->tokenizer);
    tlmi_free(trainer->plan.stages);
    trainer->tokenizer = progress.tokenizer;
    trainer->plan = progress.plan;
    trainer->place = progress.place;
    trainer->best_loss = progress.best_loss;
    trainer->is_evaluated = false;
    return trainer->communicator == NULL ? TLM_OK
                                         : tlmi_ranks_compare_state(trainer, "trainer_resume");
}

/* Finds the latest checkpoint of the directory, on rank 0 for all, since another rank might see
 * another one. Owned. */
static tlm_status_t find_latest(char **out, const tlm_trainer_t *trainer)
{
    tlm_communicator_t *communicator = trainer->communicator;
    const bool is_first = tlm_communicator_rank(communicator) == 0;
    tlm_status_t status = TLM_OK;
    char *path = NULL;
    size_t size = 0;

    if (is_first)
        status = tlm_checkpoint_dir_latest(&path, NULL, trainer->options.checkpoint_dir);
    if (communicator == NULL) {
        *out = path;
        return status;
    }
    TLMI_TRY(tlmi_agree(communicator, "trainer_resume", status));
    if (is_first)
        size = strlen(path) + 1;
    TLMI_TRY_OR(fail, tlm_communicator_broadcast(&size, sizeof(size), communicator, 0));
    if (!is_first) {
        path = tlmi_alloc(size, 1, "the path of a checkpoint");
        status = path == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
    }
    TLMI_TRY_OR(fail, tlmi_agree(communicator, "trainer_resume", status));
    TLMI_TRY_OR(fail, tlm_communicator_broadcast(path, size, communicator, 0));
    *out = path;
    return TLM_OK;
fail:
    tlmi_free(path);
    return status;
}

tlm_status_t tlm_trainer_resume(tlm_trainer_t *trainer, const char *path)
{
    TLMI_REQUIRE("trainer_resume", trainer);
    TLMI_TRY(tlmi_check_not_averaged("trainer_resume", trainer));
    TLMI_TRY(tlmi_agree(trainer->communicator, "trainer_resume",
                        choose_path(&path, "trainer_resume", trainer)));
    if (path != NULL)
        return resume(trainer, path);
    char *latest;
    TLMI_TRY(find_latest(&latest, trainer));
    tlm_status_t status = resume(trainer, latest);
    tlm_free(latest);
    return status;
}

/* ---- The run ---------------------------------------------------------------------------- */

static bool is_due(uint64_t step, uint64_t every)
{
    return every > 0 && step % every == 0;
}

/* Sets *cancelled on all ranks if it is set on one. */
static tlm_status_t share_cancelled(const tlm_trainer_t *trainer, bool *cancelled)
{
    tlm_communicator_t *communicator = trainer->communicator;
    int32_t own = *cancelled;

    if (communicator == NULL)
        return TLM_OK;
    TLMI_TRY(tlmi_all_gather_equal(communicator, "trainer_run", &own, communicator->statuses,
                                   sizeof(own)));
    for (int32_t i = 0; i < communicator->engine.num_ranks; i++)
        *cancelled = *cancelled || communicator->statuses[i] != 0;
    return TLM_OK;
}

/* Evaluates after a step; sets *cancelled if a callback ends the run or the evaluation. */
static tlm_status_t run_evaluation(tlm_trainer_t *trainer, bool *cancelled)
{
    const tlm_trainer_options_t *options = &trainer->options;
    tlm_evaluation_t evaluation;

    tlm_status_t status = evaluate(&evaluation, trainer);
    if (status != TLM_OK && status != TLM_ERR_CANCELLED)
        return status;
    if (status == TLM_ERR_CANCELLED ||
        (options->on_evaluation != NULL && options->on_evaluation(options->user, &evaluation) != 0))
        *cancelled = true;
    return share_cancelled(trainer, cancelled);
}

static const char *place(const tlm_trainer_options_t *options)
{
    return options->checkpoint_dir != NULL ? options->checkpoint_dir : options->checkpoint_path;
}

static tlm_status_t run_save(tlm_trainer_t *trainer, bool *cancelled)
{
    const tlm_trainer_options_t *options = &trainer->options;

    tlmi_hold_interrupts(); /* what ends the run, ends it before or after a save */
    tlm_status_t status = tlm_trainer_save(trainer, NULL);
    tlmi_release_interrupts();
    if (status != TLM_OK)
        return status;
    if (options->on_save != NULL &&
        options->on_save(options->user, place(options), trainer->place.step) != 0)
        *cancelled = true;
    return share_cancelled(trainer, cancelled);
}

/* Takes one step, with its evaluation, save and callbacks. The last step of a run is always
 * saved. */
static tlm_status_t run_step(tlm_trainer_t *trainer, uint64_t last, bool *cancelled)
{
    const tlm_trainer_options_t *options = &trainer->options;
    tlm_train_step_t step = TLM_TRAIN_STEP_INIT;

    TLMI_TRY(tlm_trainer_step(&step, trainer));
    if (options->on_step != NULL && options->on_step(options->user, &step) != 0)
        *cancelled = true;
    TLMI_TRY(share_cancelled(trainer, cancelled));
    if (options->eval_every > 0 &&
        (is_due(step.step, options->eval_every) || step.step == options->steps))
        TLMI_TRY(run_evaluation(trainer, cancelled));
    if (place(options) != NULL && (is_due(step.step, options->save_every) || step.step == last ||
                                   (*cancelled && options->save_on_cancel)))
        TLMI_TRY(run_save(trainer, cancelled));
    return TLM_OK;
}

tlm_status_t tlm_trainer_run(tlm_trainer_t *trainer, uint64_t until)
{
    bool cancelled = false;

    TLMI_REQUIRE("trainer_run", trainer);
    if (until == 0 || until > trainer->options.steps)
        until = trainer->options.steps;
    while (trainer->place.step < until) {
        TLMI_TRY(run_step(trainer, until, &cancelled));
        if (cancelled)
            return tlmi_fail(TLM_ERR_CANCELLED,
                             "trainer_run: a callback ended the run after step %" PRIu64,
                             trainer->place.step);
    }
    return TLM_OK;
}
