/* Batch-size warm-up: how many rows each step has, which rows these are, and that neither threads nor
 * prefetching nor an interruption changes a bit. */
#include "io_support.h"
#include "run_suite.h"
#include "trainer_support.h"

#include <math.h>

#include "checkpoint/checkpoint_core.h"

enum { VOCAB = 13, CONTEXT = 6, BATCH = 8, IDS = 700, STEPS = 12, SEED = 5 };

typedef struct plan {
    int64_t start, increment;
    uint64_t steps, tokens, accumulation;
} plan_t;

static const plan_t plans[] = {{1, 0, 7, 0, 1},  {2, 3, 6, 0, 2},   {5, 0, 1, 0, 1},
                               {4, 4, 11, 0, 2}, {1, 0, 0, 200, 1}, {2, 2, 0, 701, 2},
                               {8, 0, 3, 0, 1},  {7, 1, 40, 0, 1},  {3, 5, 0, 1, 1}};
enum { NUM_PLANS = sizeof(plans) / sizeof(plans[0]) };

static tlm_trainer_options_t options_of(const plan_t *plan)
{
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;

    options.steps = STEPS;
    options.clip_norm = 0.5;
    options.accumulation = plan->accumulation;
    options.batch_start = plan->start;
    options.batch_increment = plan->increment;
    options.batch_warmup_steps = plan->steps;
    options.batch_warmup_tokens = plan->tokens;
    return options;
}

static run_t prepare(int32_t prefetch, int64_t batch, bool masked)
{
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    uint32_t ids[IDS];
    uint8_t counted[IDS];
    run_t run = {NULL};

    for (uint32_t i = 0; i < IDS; i++) {
        ids[i] = (i * i + i / 3) % VOCAB;
        counted[i] = i % 5 != 0;
    }
    if (masked)
        ASSERT_OK(tlm_dataset_from_rows(&run.train, ids, counted, IDS, CONTEXT + 1));
    else
        ASSERT_OK(tlm_dataset_from_ids(&run.train, ids, IDS));
    loading.batch_size = batch;
    loading.context_length = CONTEXT;
    loading.seed = SEED;
    loading.prefetch = prefetch;
    ASSERT_OK(tlm_loader_create(&run.loader, run.train, &loading));
    shape.vocab_size = VOCAB;
    shape.context_length = CONTEXT;
    shape.d_model = 8;
    shape.num_layers = 2;
    shape.num_heads = 2;
    shape.d_ff = 12;
    shape.seed = 7;
    shape.dropout = 0.25; /* which depends on the rows */
    ASSERT_OK(tlm_model_create(&run.model, &shape));
    ASSERT_OK(tlm_optimizer_create_adamw(&run.optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_model(run.optimizer, run.model, 0, NULL));
    return run;
}

static run_t start_with(const plan_t *plan, int32_t prefetch, bool masked)
{
    tlm_trainer_options_t options = options_of(plan);
    run_t run = prepare(prefetch, BATCH, masked);

    ASSERT_OK(tlm_trainer_create(&run.trainer, run.model, run.optimizer, run.loader, &options));
    return run;
}

static run_t start(const plan_t *plan)
{
    return start_with(plan, 0, false);
}

static void assert_same(const run_t *a, const run_t *b)
{
    tlm_tensor_t *const *mine, *const *theirs;
    size_t n;

    ASSERT_OK(tlm_model_parameters(&mine, &n, a->model));
    ASSERT_OK(tlm_model_parameters(&theirs, &n, b->model));
    for (size_t i = 0; i < n; i++)
        ck_assert_mem_eq(tlm_tensor_data(mine[i]), tlm_tensor_data(theirs[i]),
                         (size_t)tlm_tensor_numel(mine[i]) * sizeof(float));
}

/* The rows of each batch, from the definition: a straight line, rounded down to increments. */
static int64_t rows_of(const plan_t *plan, uint64_t step, uint64_t tokens)
{
    const int64_t increment = plan->increment == 0 ? 1 : plan->increment;
    const double share = plan->steps > 0 ? (double)step / (double)plan->steps
                                         : (double)tokens / (double)plan->tokens;
    const int64_t growths = (BATCH - plan->start) / increment;
    const int64_t done = share >= 1.0 ? growths : (int64_t)floor(share * (double)growths + 1e-9);

    return plan->start + done * increment;
}

/* ---- What a step has -------------------------------------------------------------------- */

START_TEST(batches_grow_in_a_straight_line)
{
    const plan_t *plan = &plans[_i];
    run_t run = start(plan);
    uint64_t tokens = 0;

    for (uint64_t i = 0; i < STEPS; i++) {
        const uint64_t rows = plan->accumulation * (uint64_t)rows_of(plan, i, tokens);
        tlm_train_step_t step = TLM_TRAIN_STEP_INIT;

        ASSERT_OK(tlm_trainer_step(&step, run.trainer));
        ck_assert_uint_eq(step.step_tokens, rows * CONTEXT);
        tokens += rows * CONTEXT;
        ck_assert_uint_eq(step.tokens, tokens);
    }
    stop(&run);
}
END_TEST

/* A step of the same run, written out: rows `row` on of the data, each of them a sample of its own. */
static void step_by_hand(run_t *run, uint64_t row, int64_t rows)
{
    uint32_t inputs[BATCH * CONTEXT], targets[BATCH * CONTEXT];
    tlm_tensor_t *const *tensors;
    tlm_tensor_t *loss;
    size_t n;

    for (int64_t i = 0; i < rows; i++)
        ASSERT_OK(tlm_dataset_sample(inputs + i * CONTEXT, targets + i * CONTEXT, run->train, 1,
                                     CONTEXT, SEED, row + (uint64_t)i));
    ASSERT_OK(tlm_model_parameters(&tensors, &n, run->model));
    tlm_optimizer_zero_grad(run->optimizer);
    ASSERT_OK(tlm_model_set_dropout_row(run->model, row));
    ASSERT_OK(tlm_model_loss(&loss, run->model, inputs, targets, rows, CONTEXT));
    ASSERT_OK(tlm_tensor_backward(loss, NULL));
    ASSERT_OK(tlm_clip_grad_norm(NULL, tensors, n, 0.5));
    ASSERT_OK(tlm_optimizer_step(run->optimizer));
    tlm_tensor_free(loss);
}

START_TEST(steps_are_those_of_a_loop_that_changes_the_batch)
{
    static const plan_t own[] = {{1, 0, 7, 0, 1}, {2, 3, 0, 150, 1}, {5, 0, 1, 0, 1}};
    const plan_t *plan = &own[_i];
    run_t run = start_with(plan, 2, false), hand = prepare(0, BATCH, false);
    uint64_t row = 0;

    for (uint64_t i = 0; i < STEPS; i++) {
        const int64_t rows = rows_of(plan, i, row * CONTEXT);

        ASSERT_OK(tlm_trainer_step(NULL, run.trainer));
        step_by_hand(&hand, row, rows);
        row += (uint64_t)rows;
        assert_same(&run, &hand);
    }
    stop(&run);
    stop(&hand);
}
END_TEST

START_TEST(threads_and_prefetching_change_nothing)
{
    const plan_t *plan = &plans[_i % NUM_PLANS];
    const bool masked = _i >= NUM_PLANS;

    ASSERT_OK(tlm_set_num_threads(1));
    run_t one = start_with(plan, 0, masked);
    ASSERT_OK(tlm_trainer_run(one.trainer, 0));
    for (int32_t threads = 1; threads <= 3; threads++) {
        ASSERT_OK(tlm_set_num_threads(threads));
        run_t other = start_with(plan, threads, masked);
        ASSERT_OK(tlm_trainer_run(other.trainer, 0));
        assert_same(&one, &other);
        stop(&other);
    }
    ASSERT_OK(tlm_set_num_threads(1));
    stop(&one);
}
END_TEST

/* ---- Going on --------------------------------------------------------------------------- */

START_TEST(a_run_goes_on_from_each_step)
{
    const char *whole = test_path("whole"), *part = test_path("part"), *end = test_path("end");
    const plan_t *plan = &plans[_i];
    run_t run = start(plan);

    ASSERT_OK(tlm_trainer_run(run.trainer, 0));
    ASSERT_OK(tlm_trainer_save(run.trainer, whole));
    for (uint64_t i = 0; i < STEPS; i++) {
        run_t first = start(plan), second = start_with(plan, 1, false);
        tlm_train_step_t step = TLM_TRAIN_STEP_INIT;

        if (i > 0) /* 0 means all */
            ASSERT_OK(tlm_trainer_run(first.trainer, i));
        ASSERT_OK(tlm_trainer_save(first.trainer, part));
        ASSERT_OK(tlm_trainer_step(NULL, second.trainer)); /* elsewhere in its data */
        ASSERT_OK(tlm_trainer_resume(second.trainer, part));
        while (tlm_trainer_steps(second.trainer) < STEPS)
            ASSERT_OK(tlm_trainer_step(&step, second.trainer));
        ASSERT_OK(tlm_trainer_save(second.trainer, end));
        assert_same_files(whole, end);
        stop(&first);
        stop(&second);
    }
    stop(&run);
    unlink(whole);
    unlink(part);
    unlink(end);
}
END_TEST

/* As the same steps by hand, from the row on that the checkpoint gives. */
START_TEST(another_batch_goes_on_where_the_data_stopped)
{
    static const plan_t first_plan = {2, 0, 8, 0, 1}, second_plan = {0, 0, 0, 0, 1};
    const char *path = test_path("other");
    run_t first = start(&first_plan), second, hand = prepare(0, BATCH, false);
    tlm_train_step_t step = TLM_TRAIN_STEP_INIT;
    tlm_trainer_options_t options = options_of(&second_plan);

    options.resume_changes = "batch_*, loader.batch_size";
    for (int i = 0; i < 3; i++)
        ASSERT_OK(tlm_trainer_step(&step, first.trainer));
    ck_assert_uint_eq(step.tokens, (2 + 2 + 3) * CONTEXT);
    ASSERT_OK(tlm_trainer_save(first.trainer, path));
    second = prepare(0, 3, false);
    ASSERT_OK(tlm_trainer_create(&second.trainer, second.model, second.optimizer, second.loader,
                                 &options));
    ASSERT_OK(tlm_trainer_resume(second.trainer, path));
    ASSERT_OK(tlm_checkpoint_load(NULL, hand.model, hand.optimizer, path));
    for (uint64_t row = 7; row < 16; row += 3) {
        ASSERT_OK(tlm_trainer_step(&step, second.trainer));
        ck_assert_uint_eq(step.tokens, (row + 3) * CONTEXT);
        step_by_hand(&hand, row, 3);
        assert_same(&second, &hand);
    }
    stop(&first);
    stop(&second);
    stop(&hand);
    unlink(path);
}
END_TEST

/* A checkpoint that records no rows is one after full steps. */
START_TEST(a_checkpoint_of_version_01_goes_on)
{
    const char *path = test_path("old");
    const plan_t *plan = &plans[3];
    run_t run = start(plan);
    tlm_train_step_t step = TLM_TRAIN_STEP_INIT;

    ASSERT_OK(tlm_checkpoint_save(run.model, run.optimizer, 5, path));
    ASSERT_OK(tlm_trainer_resume(run.trainer, path));
    ASSERT_OK(tlm_trainer_step(&step, run.trainer));
    ck_assert_uint_eq(step.tokens - step.step_tokens, 5 * 2 * BATCH * CONTEXT);
    ck_assert_uint_eq(step.step_tokens, 2 * 4 * CONTEXT);
    ASSERT_OK(tlm_checkpoint_save(run.model, run.optimizer, UINT64_MAX / 4, path));
    ASSERT_FAILS(TLM_ERR_RANGE, "4611686018427387903 steps of 16 rows",
                 tlm_trainer_resume(run.trainer, path));
    ck_assert_uint_eq(tlm_trainer_steps(run.trainer), 6);
    stop(&run);
    unlink(path);
}
END_TEST

START_TEST(wrong_metadata_is_refused)
{
    static const char *const wrong[] = {
        "{\"trained_rows\":\"9223372036854775808\",\"trained_tokens\":\"1\"}",
        "{\"trained_rows\":\"-1\",\"trained_tokens\":\"1\"}",
        "{\"trained_rows\":3,\"trained_tokens\":\"1\"}",
        "{\"trained_rows\":\"3\"}",
        "{\"trained_tokens\":\"3\"}",
        "{\"trained_rows\":\"3\",\"trained_tokens\":\"1e3\"}"};
    const char *path = test_path("wrong");
    run_t run = start(&plans[0]);

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        tlm_checkpoint_options_t options = TLM_CHECKPOINT_OPTIONS_INIT;

        options.metadata = wrong[i];
        ASSERT_OK(tlm_checkpoint_save_with(run.model, run.optimizer, 5, path, &options));
        ASSERT_FAILS(TLM_ERR_FORMAT, "is not a count below 2^63",
                     tlm_trainer_resume(run.trainer, path));
    }
    /* The largest counts leave no row. */
    tlm_checkpoint_options_t options = TLM_CHECKPOINT_OPTIONS_INIT;
    options.metadata = "{\"trained_rows\":\"9223372036854775807\",\"trained_tokens\":\"1\"}";
    ASSERT_OK(tlm_checkpoint_save_with(run.model, run.optimizer, 5, path, &options));
    ASSERT_OK(tlm_trainer_resume(run.trainer, path));
    ASSERT_FAILS(TLM_ERR_RANGE, "is past the last one", tlm_trainer_step(NULL, run.trainer));
    stop(&run);
    unlink(path);
}
END_TEST

/* A loader that a program uses by itself in between gives full batches, and the trainer finds back. */
START_TEST(a_loader_that_is_used_elsewhere)
{
    const plan_t *plan = &plans[_i];
    run_t run = start_with(plan, 1, false), other = start(plan);
    uint32_t inputs[CONTEXT], targets[CONTEXT];
    const uint32_t *x, *y;
    uint64_t row = 0;

    for (uint64_t i = 0; i < STEPS; i++) {
        tlm_train_step_t step = TLM_TRAIN_STEP_INIT;

        ASSERT_OK(tlm_trainer_step(&step, run.trainer));
        ASSERT_OK(tlm_trainer_step(NULL, other.trainer));
        row += step.step_tokens / CONTEXT;
        ck_assert_uint_eq(tlm_loader_position(run.loader), row / BATCH);
        if (i % 3 == 2) {
            ASSERT_OK(tlm_loader_next(&x, &y, run.loader));
            for (uint64_t k = 0; k < BATCH; k++) {
                ASSERT_OK(
                    tlm_dataset_sample(inputs, targets, run.train, 1, CONTEXT, SEED, row + k));
                ck_assert_mem_eq(x + k * CONTEXT, inputs, sizeof(inputs));
                ck_assert_mem_eq(y + k * CONTEXT, targets, sizeof(targets));
            }
        }
        if (i % 3 == 1)
            ASSERT_OK(tlm_loader_seek(run.loader, i));
    }
    assert_same(&run, &other);
    stop(&run);
    stop(&other);
}
END_TEST

/* ---- Options ---------------------------------------------------------------------------- */

START_TEST(options_out_of_range_are_refused)
{
    static const struct {
        plan_t plan;
        const char *text;
    } cases[] = {
        {{-1, 0, 5, 0, 1}, "batch_start -1 and batch_increment 0 must not be negative"},
        {{1, INT64_MIN, 5, 0, 1}, "batch_increment -9223372036854775808 must not"},
        {{0, 0, 5, 0, 1}, "batch_start is 0, but batch_warmup_steps is 5"},
        {{0, 0, 0, 6, 1}, "batch_warmup_tokens 6"},
        {{0, 2, 0, 0, 1}, "batch_increment 2"},
        {{2, 0, 0, 0, 1}, "batch_start 2 needs either batch_warmup_steps, which is 0"},
        {{2, 0, 3, 4, 1}, "which is 3, or batch_warmup_tokens, which is 4, but not both"},
        {{2, 0, UINT64_MAX, 0, 1}, "batch_warmup_steps 18446744073709551615"},
        {{2, 0, 0, UINT64_MAX, 1}, "batch_warmup_tokens 18446744073709551615 is more than"},
        {{9, 0, 5, 0, 1}, "batch_start 9 is more than the loader's batch_size 8"},
        {{INT64_MAX, 0, 5, 0, 1}, "batch_start 9223372036854775807 is more"},
        {{2, 4, 5, 0, 1},
         "to the loader's batch_size 8 are 6 rows, which is no multiple of "
         "batch_increment 4"},
        {{2, INT64_MAX, 5, 0, 1}, "batch_increment 9223372036854775807"},
    };
    tlm_trainer_options_t options = options_of(&cases[_i].plan);
    run_t run = prepare(0, BATCH, false);

    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, cases[_i].text,
                 tlm_trainer_create(&run.trainer, run.model, run.optimizer, run.loader, &options));
    stop(&run);
}
END_TEST

START_TEST(the_longest_warmups)
{
    static const plan_t longest[] = {{1, 0, INT64_MAX, 0, 1},
                                     {1, 0, 0, INT64_MAX, 1},
                                     {1, 7, INT64_MAX, 0, 3},
                                     {1, 7, 0, INT64_MAX, 3}};
    const plan_t *plan = &longest[_i];
    run_t run = start(plan);

    for (int i = 0; i < 3; i++) {
        tlm_train_step_t step = TLM_TRAIN_STEP_INIT;

        ASSERT_OK(tlm_trainer_step(&step, run.trainer));
        ck_assert_uint_eq(step.step_tokens, plan->accumulation * CONTEXT);
    }
    stop(&run);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("batch_warmup");
    TCase *tests = tcase_create("batch_warmup");

    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, batches_grow_in_a_straight_line, 0, NUM_PLANS);
    tcase_add_loop_test(tests, steps_are_those_of_a_loop_that_changes_the_batch, 0, 3);
    tcase_add_loop_test(tests, threads_and_prefetching_change_nothing, 0, 2 * NUM_PLANS);
    tcase_add_loop_test(tests, a_run_goes_on_from_each_step, 0, NUM_PLANS);
    tcase_add_test(tests, another_batch_goes_on_where_the_data_stopped);
    tcase_add_test(tests, a_checkpoint_of_version_01_goes_on);
    tcase_add_test(tests, wrong_metadata_is_refused);
    tcase_add_loop_test(tests, a_loader_that_is_used_elsewhere, 0, NUM_PLANS);
    tcase_add_loop_test(tests, options_out_of_range_are_refused, 0, 13);
    tcase_add_loop_test(tests, the_longest_warmups, 0, 4);
    suite_add_tcase(suite, tests);
    make_test_directory();
    int status = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return status;
}
