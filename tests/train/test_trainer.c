/* The trainer against steps written out, and runs that were interrupted against those that were
 * not. */
#include "io_support.h"
#include "run_suite.h"
#include "trainer_support.h"

#include <float.h>
#include <math.h>

enum { VOCAB = 13, CONTEXT = 6, BATCH = 2, IDS = 200 };

static const tlm_model_options_t tiny = {.size = sizeof(tlm_model_options_t),
                                         .vocab_size = VOCAB,
                                         .context_length = CONTEXT,
                                         .d_model = 8,
                                         .num_layers = 2,
                                         .num_heads = 2,
                                         .d_ff = 12,
                                         .seed = 7};
static const tlm_schedule_options_t cosine = {
    sizeof(cosine), TLM_SCHEDULE_COSINE, 0, 0.02, 0.001, 3, 12, 0};

static tlm_dataset_t *make_data(uint32_t factor)
{
    tlm_dataset_t *dataset;
    uint32_t ids[IDS];

    for (uint32_t i = 0; i < IDS; i++)
        ids[i] = (i * i * factor + i / 3) % VOCAB;
    ASSERT_OK(tlm_dataset_from_ids(&dataset, ids, IDS));
    return dataset;
}

static void remove_files(const char *path)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    char file[1024];

    while ((entry = readdir(directory)) != NULL) {
        snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
        unlink(file);
    }
    closedir(directory);
    rmdir(path);
}

/* All but the trainer. */
static run_t prepare(uint64_t model_seed, int64_t batch)
{
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    tlm_model_options_t shape = tiny;
    run_t run = {make_data(1), make_data(3), NULL, NULL, NULL, NULL};

    shape.seed = model_seed;
    loading.batch_size = batch;
    loading.context_length = CONTEXT;
    loading.seed = 5;
    ASSERT_OK(tlm_loader_create(&run.loader, run.train, &loading));
    ASSERT_OK(tlm_model_create(&run.model, &shape));
    ASSERT_OK(tlm_optimizer_create_adamw(&run.optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_model(run.optimizer, run.model, TLM_NO_DECAY_NORMS, NULL));
    return run;
}

static tlm_trainer_options_t usual_options(const run_t *run)
{
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;

    options.steps = 12;
    options.schedule = &cosine;
    options.clip_norm = 1.0;
    options.valid = run->valid;
    return options;
}

static run_t start(uint64_t model_seed)
{
    run_t run = prepare(model_seed, BATCH);
    tlm_trainer_options_t options = usual_options(&run);

    ASSERT_OK(tlm_trainer_create(&run.trainer, run.model, run.optimizer, run.loader, &options));
    return run;
}

/* The largest difference between two runs' parameters; NaN counts as infinite. */
static double distance(const run_t *a, const run_t *b)
{
    tlm_tensor_t *const *mine, *const *theirs;
    double largest = 0.0;
    size_t n;

    ASSERT_OK(tlm_model_parameters(&mine, &n, a->model));
    ASSERT_OK(tlm_model_parameters(&theirs, &n, b->model));
    for (size_t i = 0; i < n; i++)
        for (int64_t j = 0; j < tlm_tensor_numel(mine[i]); j++) {
            double difference = fabs((double)((float *)tlm_tensor_data(mine[i]))[j] -
                                     (double)((float *)tlm_tensor_data(theirs[i]))[j]);

            if (!(difference <= largest))
                largest = isnan(difference) ? (double)INFINITY : difference;
        }
    return largest;
}

/* ---- Steps ------------------------------------------------------------------------------ */

/* Step `step` of the same run, written out. */
static float step_by_hand(run_t *run, uint64_t step, double *norm, double *rate)
{
    uint32_t inputs[BATCH * CONTEXT], targets[BATCH * CONTEXT];
    tlm_tensor_t *const *tensors;
    tlm_tensor_t *loss;
    float value;
    size_t n;

    ASSERT_OK(tlm_model_parameters(&tensors, &n, run->model));
    ASSERT_OK(tlm_dataset_sample(inputs, targets, run->train, BATCH, CONTEXT, 5, step));
    ASSERT_OK(tlm_cosine_schedule(rate, step + 1, 0.02, 0.001, 3, 12));
    ASSERT_OK(tlm_optimizer_set_learning_rate(run->optimizer, TLM_ALL_GROUPS, *rate));
    tlm_optimizer_zero_grad(run->optimizer);
    ASSERT_OK(tlm_model_loss(&loss, run->model, inputs, targets, BATCH, CONTEXT));
    ASSERT_OK(tlm_tensor_item(&value, loss));
    ASSERT_OK(tlm_tensor_backward(loss, NULL));
    tlm_tensor_free(loss);
    ASSERT_OK(tlm_clip_grad_norm(norm, tensors, n, 1.0));
    ASSERT_OK(tlm_optimizer_step(run->optimizer));
    return value;
}

START_TEST(a_step_is_what_is_written_out)
{
    run_t by_hand = prepare(1, BATCH), run = prepare(1, BATCH);
    tlm_trainer_options_t options = usual_options(&run);
    tlm_train_step_t did = TLM_TRAIN_STEP_INIT;
    double norm, rate;
    float loss;

    options.activation_checkpointing = _i == 1;
    options.peak_flops = 1e9;
    ASSERT_OK(tlm_trainer_create(&run.trainer, run.model, run.optimizer, run.loader, &options));
    for (uint64_t step = 0; step < 12; step++) {
        loss = step_by_hand(&by_hand, step, &norm, &rate);
        ASSERT_OK(tlm_trainer_step(&did, run.trainer));
        ck_assert_uint_eq(did.step, step + 1);
        ck_assert_uint_eq(did.step, tlm_trainer_steps(run.trainer));
        ck_assert_uint_eq(did.tokens, (step + 1) * BATCH * CONTEXT);
        ck_assert(did.loss == (double)loss && did.gradient_norm == norm);
        ck_assert(did.learning_rate == rate);
        ck_assert(did.seconds > 0.0 && did.utilization > 0.0);
        ck_assert(did.tokens_per_second == BATCH * CONTEXT / did.seconds);
        ck_assert(distance(&run, &by_hand) == 0.0);
    }
    ASSERT_FAILS(TLM_ERR_STATE, "all 12 steps are done", tlm_trainer_step(NULL, run.trainer));
    stop(&by_hand);
    stop(&run);
}
END_TEST

/* Three batches of two rows are one of six: the loss the same, the gradient but for rounding. */
START_TEST(accumulated_batches_are_one)
{
    run_t parts = prepare(1, 2), whole = prepare(1, 6);
    tlm_trainer_options_t options = usual_options(&parts);
    tlm_train_step_t mine = TLM_TRAIN_STEP_INIT, theirs = TLM_TRAIN_STEP_INIT;

    ASSERT_OK(
        tlm_trainer_create(&whole.trainer, whole.model, whole.optimizer, whole.loader, &options));
    options.accumulation = 3;
    ASSERT_OK(
        tlm_trainer_create(&parts.trainer, parts.model, parts.optimizer, parts.loader, &options));
    for (int step = 0; step < 4; step++) {
        ASSERT_OK(tlm_trainer_step(&mine, parts.trainer));
        ASSERT_OK(tlm_trainer_step(&theirs, whole.trainer));
        ck_assert_uint_eq(mine.tokens, theirs.tokens);
        ck_assert(fabs(mine.loss - theirs.loss) <= 1e-5);
        ck_assert(fabs(mine.gradient_norm - theirs.gradient_norm) <= 1e-4);
    }
    ck_assert(distance(&parts, &whole) <= 1e-3);
    stop(&parts);
    stop(&whole);
}
END_TEST

START_TEST(without_schedule_and_clipping_the_optimizer_rules)
{
    run_t run = prepare(1, BATCH);
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;
    tlm_train_step_t did = TLM_TRAIN_STEP_INIT;

    options.steps = 1;
    ASSERT_OK(tlm_trainer_create(&run.trainer, run.model, run.optimizer, run.loader, &options));
    ASSERT_OK(tlm_trainer_step(&did, run.trainer));
    ck_assert(did.learning_rate == 1e-3);
    ck_assert(did.gradient_norm > 0.0 && did.gradient_norm <= DBL_MAX);
    ck_assert(did.utilization == 0.0);
    stop(&run);
}
END_TEST

START_TEST(what_is_not_finite_stops_the_step_by_name)
{
    run_t run = start(1), good = start(1);
    tlm_train_step_t did = TLM_TRAIN_STEP_INIT;
    tlm_tensor_t *weight;
    float *values, kept;

    ASSERT_OK(tlm_trainer_run(run.trainer, 4));
    ASSERT_OK(tlm_model_parameter(&weight, run.model, "layers.1.ffn.w2.weight"));
    values = tlm_tensor_data(weight);
    kept = values[9];
    values[9] = NAN;
    did.step = 99;
    ASSERT_FAILS(TLM_ERR_NON_FINITE, "trainer_step: step 5: layers.1.ffn.w2.weight is",
                 tlm_trainer_step(&did, run.trainer));
    ck_assert_uint_eq(did.step, 99);
    ck_assert_uint_eq(tlm_trainer_steps(run.trainer), 4);
    /* Nothing else has changed, and the step may be tried again. */
    values[9] = kept;
    ASSERT_OK(tlm_trainer_run(run.trainer, 0));
    ASSERT_OK(tlm_trainer_run(good.trainer, 0));
    ck_assert(distance(&run, &good) == 0.0);
    /* Finite weights may give infinite logits. */
    ASSERT_OK(tlm_model_parameter(&weight, good.model, "lm_head.weight"));
    for (int64_t i = 0; i < tlm_tensor_numel(weight); i++)
        ((float *)tlm_tensor_data(weight))[i] = FLT_MAX;
    ASSERT_OK(tlm_trainer_save(good.trainer, test_path("good")));
    stop(&run);
    run = start(2);
    ASSERT_OK(tlm_checkpoint_load(NULL, run.model, run.optimizer, test_path("good")));
    ASSERT_FAILS(TLM_ERR_NON_FINITE, "step 1: the loss is", tlm_trainer_step(NULL, run.trainer));
    stop(&run);
    stop(&good);
}
END_TEST

/* ---- Runs ------------------------------------------------------------------------------- */

START_TEST(a_resumed_run_has_the_same_bits)
{
    run_t whole = start(1), first = start(1), second = start(1);
    unsigned char *expected, *actual;
    size_t expected_size, actual_size;

    ASSERT_OK(tlm_trainer_run(whole.trainer, 0));
    ASSERT_OK(tlm_trainer_save(whole.trainer, test_path("whole")));
    ASSERT_OK(tlm_trainer_run(first.trainer, 5));
    ASSERT_OK(tlm_trainer_save(first.trainer, test_path("first")));
    ASSERT_OK(tlm_trainer_run(second.trainer, 9)); /* is forgotten */
    ASSERT_OK(tlm_trainer_resume(second.trainer, test_path("first")));
    ck_assert_uint_eq(tlm_trainer_steps(second.trainer), 5);
    ASSERT_OK(tlm_trainer_run(second.trainer, 0));
    ASSERT_OK(tlm_trainer_save(second.trainer, test_path("second")));
    expected = read_bytes(test_path("whole"), &expected_size);
    actual = read_bytes(test_path("second"), &actual_size);
    ck_assert_uint_eq(expected_size, actual_size);
    ck_assert_mem_eq(expected, actual, actual_size);
    free(expected);
    free(actual);
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "absent",
                 tlm_trainer_resume(second.trainer, test_path("absent")));
    ck_assert_uint_eq(tlm_trainer_steps(second.trainer), 12);
    ASSERT_FAILS(TLM_ERR_STATE, "no path", tlm_trainer_resume(second.trainer, NULL));
    ASSERT_FAILS(TLM_ERR_STATE, "no path", tlm_trainer_save(second.trainer, NULL));
    stop(&whole);
    stop(&first);
    stop(&second);
}
END_TEST

static int32_t expect_directory(void *user, const char *path, uint64_t step)
{
    ck_assert_str_eq(path, user);
    return step == 8;
}

/* Into a directory: the last two and the best are kept, and a trainer goes on from the latest,
 * knowing the lowest loss. */
START_TEST(a_directory_is_saved_to_and_resumed_from)
{
    run_t run = prepare(1, BATCH), again = prepare(1, BATCH), whole = start(1);
    tlm_trainer_options_t options = usual_options(&run);
    tlm_evaluation_t evaluation = TLM_EVALUATION_INIT;
    char directory[600], *best = NULL, *latest = NULL;
    double lowest;

    snprintf(directory, sizeof(directory), "%s/checkpoints", test_directory);
    options.checkpoint_dir = directory;
    options.keep_last = 2;
    options.save_every = options.eval_every = 2;
    options.on_save = expect_directory;
    options.user = directory;
    ASSERT_OK(tlm_trainer_create(&run.trainer, run.model, run.optimizer, run.loader, &options));
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "", tlm_trainer_resume(run.trainer, NULL));
    ASSERT_FAILS(TLM_ERR_CANCELLED, "after step 8", tlm_trainer_run(run.trainer, 0));
    ASSERT_OK(tlm_checkpoint_dir_latest(&latest, NULL, directory));
    ck_assert_ptr_nonnull(strstr(latest, "step-00000008"));
    ASSERT_OK(tlm_checkpoint_dir_best(&best, NULL, directory));
    ASSERT_OK(tlm_checkpoint_load(NULL, again.model, NULL, best));
    ASSERT_OK(tlm_model_evaluate(&evaluation, again.model, again.valid, BATCH, 0, 0));
    lowest = evaluation.loss;

    ASSERT_OK(
        tlm_trainer_create(&again.trainer, again.model, again.optimizer, again.loader, &options));
    ASSERT_OK(tlm_trainer_resume(again.trainer, NULL));
    ck_assert_uint_eq(tlm_trainer_steps(again.trainer), 8);
    ck_assert(distance(&run, &again) == 0.0);
    ASSERT_OK(tlm_trainer_evaluate(&evaluation, again.trainer));
    ck_assert(!evaluation.is_best && evaluation.loss >= lowest);
    ASSERT_OK(tlm_trainer_run(again.trainer, 0));
    ASSERT_OK(tlm_trainer_run(whole.trainer, 0));
    ck_assert(distance(&whole, &again) == 0.0);
    tlm_free(best);
    tlm_free(latest);
    stop(&run);
    stop(&again);
    stop(&whole);
    remove_files(directory);
}
END_TEST

/* A diary of callbacks: "s1 e1! v1 ..." for a step, an evaluation (! the best so far), a save. */
typedef struct diary {
    char text[256];
    const char *cancel_at; /* the entry that ends the run */
} diary_t;

static int32_t note(diary_t *diary, char kind, uint64_t step, const char *mark)
{
    char entry[32];

    snprintf(entry, sizeof(entry), "%c%d%s ", kind, (int)step, mark);
    strncat(diary->text, entry, sizeof(diary->text) - strlen(diary->text) - 1);
    return diary->cancel_at != NULL && strcmp(entry, diary->cancel_at) == 0;
}

static int32_t on_step(void *user, const tlm_train_step_t *step)
{
    return note(user, 's', step->step, "");
}

static int32_t on_evaluation(void *user, const tlm_evaluation_t *evaluation)
{
    ck_assert(evaluation->perplexity == exp(evaluation->loss));
    ck_assert_uint_eq(evaluation->tokens, 12);
    return note(user, 'e', evaluation->step, evaluation->is_best ? "!" : "");
}

static int32_t on_save(void *user, const char *path, uint64_t step)
{
    ck_assert_str_eq(path, test_path("latest"));
    return note(user, 'v', step, "");
}

static run_t start_with_diary(diary_t *diary, uint64_t steps, bool save_on_cancel)
{
    run_t run = prepare(1, BATCH);
    tlm_trainer_options_t options = usual_options(&run);
    tlm_schedule_options_t schedule = cosine;
    char path[520];

    snprintf(path, sizeof(path), "%s", test_path("latest"));
    options.schedule = &schedule; /* the trainer keeps copies of both */
    options.steps = steps;
    options.eval_every = 2;
    options.eval_tokens = 12;
    options.save_every = 3;
    options.checkpoint_path = path;
    options.on_step = on_step;
    options.on_evaluation = on_evaluation;
    options.on_save = on_save;
    options.user = diary;
    options.save_on_cancel = save_on_cancel;
    ASSERT_OK(tlm_trainer_create(&run.trainer, run.model, run.optimizer, run.loader, &options));
    schedule.max_learning_rate = -1.0;
    path[0] = '\0';
    return run;
}

static void forget_marks(char *text)
{
    char *to = text;

    for (; *text != '\0'; text++)
        if (*text != '!')
            *to++ = *text;
    *to = '\0';
}

START_TEST(callbacks_come_in_order)
{
    diary_t diary = {"", NULL};
    run_t run = start_with_diary(&diary, 7, false);

    ASSERT_OK(tlm_trainer_run(run.trainer, 4));
    ck_assert_ptr_nonnull(strstr(diary.text, "e2! ")); /* the first is the best */
    forget_marks(diary.text);
    ck_assert_str_eq(diary.text, "s1 s2 e2 s3 v3 s4 e4 v4 ");
    diary.text[0] = '\0';
    ASSERT_OK(tlm_trainer_run(run.trainer, 100));
    forget_marks(diary.text);
    ck_assert_str_eq(diary.text, "s5 s6 e6 v6 s7 e7 v7 ");
    diary.text[0] = '\0';
    ASSERT_OK(tlm_trainer_run(run.trainer, 0));
    ck_assert_str_eq(diary.text, "");
    stop(&run);
}
END_TEST

START_TEST(each_callback_can_end_the_run)
{
    static const struct {
        const char *at, *diary, *message;
        bool save;
    } cases[] = {
        {"s1 ", "s1 ", "after step 1", false},
        {"s2 ", "s1 s2 e2 v2 ", "after step 2", true},
        {"e2! ", "s1 s2 e2 ", "after step 2", false},
        {"e2! ", "s1 s2 e2 v2 ", "after step 2", true},
        {"v3 ", "s1 s2 e2 s3 v3 ", "after step 3", true},
    };
    diary_t diary = {"", cases[_i].at};
    run_t run = start_with_diary(&diary, 12, cases[_i].save), whole = start(1);

    ASSERT_FAILS(TLM_ERR_CANCELLED, cases[_i].message, tlm_trainer_run(run.trainer, 0));
    forget_marks(diary.text);
    ck_assert_str_eq(diary.text, cases[_i].diary);
    diary.cancel_at = NULL; /* goes on as if nothing had been */
    ASSERT_OK(tlm_trainer_run(run.trainer, 0));
    ASSERT_OK(tlm_trainer_run(whole.trainer, 0));
    ck_assert(distance(&run, &whole) == 0.0);
    stop(&run);
    stop(&whole);
}
END_TEST

/* ---- Evaluation ------------------------------------------------------------------------- */

START_TEST(evaluation_is_the_mean_over_windows)
{
    run_t run = start(1);
    tlm_evaluation_t all = TLM_EVALUATION_INIT, other = TLM_EVALUATION_INIT;
    uint32_t inputs[CONTEXT], targets[CONTEXT];
    double sum = 0.0;

    for (uint64_t window = 0; window < 33; window++) { /* 33 windows of 6 and one id more */
        tlm_tensor_t *loss;
        float value;

        ASSERT_OK(tlm_dataset_read(inputs, CONTEXT, run.valid, window * CONTEXT));
        ASSERT_OK(tlm_dataset_read(targets, CONTEXT, run.valid, window * CONTEXT + 1));
        ASSERT_OK(tlm_model_loss(&loss, run.model, inputs, targets, 1, CONTEXT));
        ASSERT_OK(tlm_tensor_item(&value, loss));
        tlm_tensor_free(loss);
        sum += (double)value;
    }
    for (int64_t batch = 1; batch < 40; batch += 6) {
        ASSERT_OK(tlm_model_evaluate(&all, run.model, run.valid, batch, 0, 0));
        ck_assert_uint_eq(all.tokens, 33 * CONTEXT);
        ck_assert(fabs(all.loss - sum / 33.0) <= 1e-5);
        ck_assert(all.perplexity == exp(all.loss) && all.seconds > 0.0);
    }
    ASSERT_OK(tlm_trainer_evaluate(&other, run.trainer));
    ck_assert(other.is_best && fabs(other.loss - all.loss) <= 1e-5);
    ASSERT_OK(tlm_trainer_evaluate(&other, run.trainer));
    ck_assert(!other.is_best);
    ck_assert(tlm_grad_enabled());
    ASSERT_OK(tlm_model_evaluate(&other, run.model, run.valid, 4, 2, 7));
    ck_assert_uint_eq(other.tokens, 8); /* whole windows */
    stop(&run);
}
END_TEST

START_TEST(evaluation_refuses_nonsense)
{
    run_t run = start(1);
    tlm_evaluation_t result = TLM_EVALUATION_INIT;
    static const uint32_t few[CONTEXT] = {0};
    tlm_dataset_t *small;
    tlm_tensor_t *weight;

    ASSERT_OK(tlm_dataset_from_ids(&small, few, CONTEXT));
    ASSERT_FAILS(TLM_ERR_RANGE, "6 ids", tlm_model_evaluate(&result, run.model, small, 1, 0, 0));
    ASSERT_FAILS(TLM_ERR_RANGE, "context 7 is longer",
                 tlm_model_evaluate(&result, run.model, run.valid, 1, 7, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "batch 0",
                 tlm_model_evaluate(&result, run.model, run.valid, 0, 0, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "model is NULL",
                 tlm_model_evaluate(&result, NULL, run.valid, 1, 0, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "too large",
                 tlm_model_evaluate(&result, run.model, run.valid, INT64_MAX, 0, 0));
    ASSERT_OK(tlm_model_parameter(&weight, run.model, "lm_head.weight"));
    ((float *)tlm_tensor_data(weight))[3] = NAN;
    ASSERT_FAILS(TLM_ERR_NON_FINITE, "the loss is",
                 tlm_model_evaluate(&result, run.model, run.valid, 1, 0, 0));
    result.size = 3;
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "size is 3",
                 tlm_model_evaluate(&result, run.model, run.valid, 1, 0, 0));
    ck_assert(result.tokens == 0 && tlm_grad_enabled());
    tlm_dataset_free(small);
    stop(&run);
}
END_TEST

/* ---- Options ---------------------------------------------------------------------------- */

START_TEST(options_are_checked)
{
    run_t run = prepare(1, BATCH);
    tlm_trainer_options_t good = usual_options(&run), bad;
    tlm_schedule_options_t broken = cosine;
    static const uint32_t few[CONTEXT] = {0};
    tlm_dataset_t *small;
    tlm_trainer_t *trainer = NULL;

    ASSERT_OK(tlm_dataset_from_ids(&small, few, CONTEXT));
    broken.warmup_steps = 13;
#define REFUSED(field, value, code, text)                                                          \
    bad = good;                                                                                    \
    bad.field = (value);                                                                           \
    ASSERT_FAILS(code, text,                                                                       \
                 tlm_trainer_create(&trainer, run.model, run.optimizer, run.loader, &bad))
    REFUSED(steps, 0, TLM_ERR_INVALID_ARGUMENT, "steps is 0");
    REFUSED(steps, UINT64_MAX, TLM_ERR_INVALID_ARGUMENT, "steps 18446744073709551615");
    REFUSED(schedule, &broken, TLM_ERR_INVALID_ARGUMENT, "warmup_steps 13");
    REFUSED(clip_norm, -1.0, TLM_ERR_INVALID_ARGUMENT, "clip_norm -1");
    REFUSED(clip_norm, (double)NAN, TLM_ERR_INVALID_ARGUMENT, "clip_norm");
    REFUSED(peak_flops, (double)INFINITY, TLM_ERR_INVALID_ARGUMENT, "peak_flops");
    REFUSED(accumulation, UINT64_MAX, TLM_ERR_INVALID_ARGUMENT, "accumulation");
    REFUSED(save_every, 1, TLM_ERR_INVALID_ARGUMENT, "save_every is 1");
    REFUSED(average_decay, 1.0, TLM_ERR_INVALID_ARGUMENT, "average_decay 1 is not in [0, 1)");
    REFUSED(keep_last, -1, TLM_ERR_INVALID_ARGUMENT, "keep_last -1");
    REFUSED(reserved[5], 1, TLM_ERR_INVALID_ARGUMENT, "reserved");
    REFUSED(reserved2[3], 1, TLM_ERR_INVALID_ARGUMENT, "reserved");
    good.checkpoint_path = "file";
    REFUSED(checkpoint_dir, "directory", TLM_ERR_INVALID_ARGUMENT, "both given");
    good.checkpoint_path = NULL;
    REFUSED(valid, small, TLM_ERR_RANGE, "6 ids");
    REFUSED(size, 9, TLM_ERR_INVALID_ARGUMENT, "size is 9");
    good.valid = NULL;
    REFUSED(eval_every, 1, TLM_ERR_INVALID_ARGUMENT, "eval_every is 1");
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "options is NULL",
                 tlm_trainer_create(&trainer, run.model, run.optimizer, run.loader, NULL));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "loader is NULL",
                 tlm_trainer_create(&trainer, run.model, run.optimizer, NULL, &good));
    ck_assert_ptr_null(trainer);
    ASSERT_OK(tlm_trainer_create(&trainer, run.model, run.optimizer, run.loader, &good));
    ASSERT_FAILS(
        TLM_ERR_STATE, "no data set",
        tlm_trainer_evaluate(&(tlm_evaluation_t){.size = sizeof(tlm_evaluation_t)}, trainer));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "trainer is NULL", tlm_trainer_run(NULL, 0));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "trainer is NULL", tlm_trainer_step(NULL, NULL));
    ck_assert_uint_eq(tlm_trainer_steps(NULL), 0);
    tlm_trainer_free(NULL);
    run.trainer = trainer;
    tlm_dataset_free(small);
    stop(&run);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trainer");
    TCase *tcase = tcase_create("trainer");
    int failed;

    make_test_directory();
    tcase_add_loop_test(tcase, a_step_is_what_is_written_out, 0, 2);
    tcase_add_test(tcase, accumulated_batches_are_one);
    tcase_add_test(tcase, without_schedule_and_clipping_the_optimizer_rules);
    tcase_add_test(tcase, what_is_not_finite_stops_the_step_by_name);
    tcase_add_test(tcase, a_resumed_run_has_the_same_bits);
    tcase_add_test(tcase, a_directory_is_saved_to_and_resumed_from);
    tcase_add_test(tcase, callbacks_come_in_order);
    tcase_add_loop_test(tcase, each_callback_can_end_the_run, 0, 5);
    tcase_add_test(tcase, evaluation_is_the_mean_over_windows);
    tcase_add_test(tcase, evaluation_refuses_nonsense);
    tcase_add_test(tcase, options_are_checked);
    suite_add_tcase(suite, tcase);
    failed = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return failed;
}
