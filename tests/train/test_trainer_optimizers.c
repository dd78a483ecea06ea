/* The trainer and its optimizer: what is trained, steps that fail, and how often gradients are
 * read. */
#include "factored_kind.h"
#include "io_support.h"
#include "run_suite.h"

enum { VOCAB = 13, CONTEXT = 6, IDS = 60 };

static const tlm_model_options_t tiny = {.size = sizeof(tlm_model_options_t),
                                         .vocab_size = VOCAB,
                                         .context_length = CONTEXT,
                                         .d_model = 8,
                                         .num_layers = 1,
                                         .num_heads = 2,
                                         .d_ff = 12,
                                         .seed = 7};

static const tlm_schedule_options_t linear = {.size = sizeof(linear),
                                              .kind = TLM_SCHEDULE_LINEAR,
                                              .max_learning_rate = 0.5,
                                              .min_learning_rate = 0.125,
                                              .warmup_steps = 1,
                                              .total_steps = 9};

/* The linker puts this in the place of the library's function (see meson.build), to count its
 * calls. Where the library's objects are linked to one another first, it is not called at all. */
static int num_sums;
tlm_status_t __real_tlmi_gradient_sum_squares(double *out, const char *function,
                                              tlm_tensor_t *const *gradients, size_t n);
tlm_status_t __wrap_tlmi_gradient_sum_squares(double *out, const char *function,
                                              tlm_tensor_t *const *gradients, size_t n);
tlm_status_t __wrap_tlmi_gradient_sum_squares(double *out, const char *function,
                                              tlm_tensor_t *const *gradients, size_t n)
{
    num_sums++;
    return __real_tlmi_gradient_sum_squares(out, function, gradients, n);
}

typedef struct run {
    tlm_dataset_t *data;
    tlm_loader_t *loader;
    tlm_model_t *model;
    tlm_tensor_t *const *tensors;
    size_t n;
    tlm_optimizer_t *optimizer; /* without groups */
    tlm_trainer_t *trainer;     /* none yet */
} run_t;

static run_t start(void)
{
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    uint32_t ids[IDS];
    run_t run = {0};

    for (uint32_t i = 0; i < IDS; i++)
        ids[i] = (i * i + i / 3) % VOCAB;
    loading.batch_size = 2;
    loading.context_length = CONTEXT;
    ASSERT_OK(tlm_dataset_from_ids(&run.data, ids, IDS));
    ASSERT_OK(tlm_loader_create(&run.loader, run.data, &loading));
    ASSERT_OK(tlm_model_create(&run.model, &tiny));
    ASSERT_OK(tlm_model_parameters(&run.tensors, &run.n, run.model));
    ASSERT_OK(tlm_optimizer_create_adamw(&run.optimizer, NULL));
    return run;
}

static tlm_status_t make_trainer(run_t *run, const tlm_schedule_options_t *schedule)
{
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;

    options.steps = 9;
    options.schedule = schedule;
    options.clip_norm = 0.25;
    return tlm_trainer_create(&run->trainer, run->model, run->optimizer, run->loader, &options);
}

static void stop(run_t *run)
{
    tlm_trainer_free(run->trainer);
    tlm_optimizer_free(run->optimizer);
    tlm_model_free(run->model);
    tlm_loader_free(run->loader);
    tlm_dataset_free(run->data);
}

/* Model and optimizer as bytes of a checkpoint; freed by the caller. */
static unsigned char *snapshot(const run_t *run, size_t *size)
{
    ASSERT_OK(tlm_checkpoint_save(run->model, run->optimizer, 0, test_path("now")));
    return read_bytes(test_path("now"), size);
}

START_TEST(an_optimizer_that_trains_nothing_is_refused)
{
    run_t run = start();

    ASSERT_FAILS(TLM_ERR_STATE, "the optimizer has no parameters", make_trainer(&run, NULL));
    ASSERT_OK(tlm_optimizer_add_group(run.optimizer, NULL, 0, NULL));
    ASSERT_FAILS(TLM_ERR_STATE, "the optimizer has no parameters", make_trainer(&run, NULL));
    ck_assert_ptr_null(run.trainer);
    stop(&run);
}
END_TEST

START_TEST(an_optimizer_of_another_model_is_refused)
{
    run_t run = start(), other = start();

    ASSERT_OK(tlm_optimizer_add_model(run.optimizer, other.model, 0, NULL));
    ASSERT_FAILS(TLM_ERR_STATE, "parameter 0 of the optimizer", make_trainer(&run, NULL));
    tlm_optimizer_free(run.optimizer);
    ASSERT_OK(tlm_optimizer_create_adamw(&run.optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_model(run.optimizer, run.model, 0, NULL));
    ASSERT_OK(make_trainer(&run, NULL));
    ASSERT_OK(tlm_trainer_step(NULL, run.trainer));
    /* Nor may one come later. */
    ASSERT_OK(tlm_optimizer_add_group(run.optimizer, other.tensors, 1, NULL));
    ASSERT_FAILS(TLM_ERR_STATE, "is not one of the model's", tlm_trainer_step(NULL, run.trainer));
    ck_assert_uint_eq(tlm_trainer_steps(run.trainer), 1);
    stop(&run);
    stop(&other);
}
END_TEST

/* What the optimizer does not hold stays as it is, and its gradient counts for nothing. */
START_TEST(parameters_that_the_optimizer_lacks_are_frozen)
{
    tlm_train_step_t all = TLM_TRAIN_STEP_INIT, part = TLM_TRAIN_STEP_INIT;
    run_t whole = start(), run = start();
    size_t bytes = (size_t)tlm_tensor_numel(run.tensors[0]) * sizeof(float);
    float *before = malloc(bytes), *gradient;
    double sum = 0.0;

    memcpy(before, tlm_tensor_data(run.tensors[0]), bytes);
    ASSERT_OK(tlm_optimizer_add_model(whole.optimizer, whole.model, 0, NULL));
    ASSERT_OK(make_trainer(&whole, NULL));
    ASSERT_OK(tlm_trainer_step(&all, whole.trainer));
    ASSERT_OK(tlm_optimizer_add_group(run.optimizer, run.tensors + 1, run.n - 1, NULL));
    ASSERT_OK(make_trainer(&run, NULL));
    ASSERT_OK(tlm_trainer_step(&part, run.trainer));
    ck_assert_mem_eq(tlm_tensor_data(run.tensors[0]), before, bytes);
    gradient = tlm_tensor_data(tlm_tensor_grad(run.tensors[0])); /* not scaled by clipping */
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        sum += (double)gradient[i] * (double)gradient[i];
    ck_assert(part.gradient_norm < all.gradient_norm);
    ck_assert(fabs(sqrt(part.gradient_norm * part.gradient_norm + sum) - all.gradient_norm) <=
              1e-5 * all.gradient_norm);
    free(before);
    stop(&run);
    stop(&whole);
}
END_TEST

/* With a schedule, whose rate of the step must not stay behind, and without. */
START_TEST(a_failed_step_changes_nothing)
{
    _Alignas(16) char room[64];
    tlmi_group_t group = make_group(&factored_kind, 0.5, room);
    run_t run = start();
    unsigned char *before, *after;
    size_t size, n;
    double rate;

    ASSERT_OK(tlmi_optimizer_add(run.optimizer, "test", run.tensors, 3, &group));
    ASSERT_OK(tlm_optimizer_add_group(run.optimizer, run.tensors + 3, run.n - 3, NULL));
    ASSERT_OK(make_trainer(&run, _i == 0 ? &linear : NULL));
    ASSERT_OK(tlm_trainer_step(NULL, run.trainer));
    before = snapshot(&run, &size);
    for (int at = 1; at <= 3; at++) {
        factored_fails_at = at;
        ASSERT_FAILS(TLM_ERR_RANGE, "told to fail", tlm_trainer_step(NULL, run.trainer));
        ck_assert_uint_eq(tlm_trainer_steps(run.trainer), 1);
        after = snapshot(&run, &n);
        ck_assert_uint_eq(n, size);
        ck_assert_mem_eq(after, before, n);
        free(after);
    }
    free(before);
    ASSERT_OK(tlm_trainer_step(NULL, run.trainer));
    ASSERT_OK(tlm_optimizer_learning_rate(&rate, run.optimizer, 1));
    ck_assert(_i == 0 ? rate < 0.5 && rate > 0.125 : rate == 1e-3);
    stop(&run);
}
END_TEST

START_TEST(gradients_are_summed_once_a_step)
{
    run_t run = start();

    ASSERT_OK(tlm_optimizer_add_model(run.optimizer, run.model, 0, NULL));
    ASSERT_OK(make_trainer(&run, &linear));
    num_sums = 0;
    ASSERT_OK(tlm_trainer_run(run.trainer, 3));
    ck_assert_msg(num_sums == 3 || num_sums == 0, "%d sums in 3 steps", num_sums);
    stop(&run);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trainer_optimizers");
    TCase *tcase = tcase_create("trainer_optimizers");
    int result;

    tcase_add_test(tcase, an_optimizer_that_trains_nothing_is_refused);
    tcase_add_test(tcase, an_optimizer_of_another_model_is_refused);
    tcase_add_test(tcase, parameters_that_the_optimizer_lacks_are_frozen);
    tcase_add_loop_test(tcase, a_failed_step_changes_nothing, 0, 2);
    tcase_add_test(tcase, gradients_are_summed_once_a_step);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    result = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return result;
}
