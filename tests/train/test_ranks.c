/* Training on several ranks, here threads of this process, against the trainer alone: the same bits. */
#include "io_support.h"
#include "run_suite.h"

#include <math.h>
#include <pthread.h>
#include <unistd.h>

#include "base/error.h"
#include "optim/optimizer_core.h"
#include "train/train_core.h"

enum { VOCAB = 1200, CONTEXT = 5, IDS = 900, MOST_RANKS = 8, MOST_STEPS = 6 };

typedef enum kind { ADAMW, SGD, MUON, MIXED } kind_t;

/* What the ranks of a run have in common. */
typedef struct plan {
    int32_t ranks; /* 0: without a communicator */
    kind_t kind;
    uint64_t accumulation, steps, until, threads;
    bool irreproducible;
    bool masked; /* most rows of the data have no target that counts */
    int32_t prefetch;
    const char *resume, *save, *directory;
    int32_t odd_rank; /* the one with which something is wrong, if `wrong` is set */
    void (*wrong)(tlm_trainer_options_t *options, tlm_model_t *model);
    tlm_step_callback_t on_step;
} plan_t;

/* What a rank did. */
typedef struct result {
    tlm_status_t status;
    char message[512];
    double losses[MOST_STEPS], norms[MOST_STEPS], evaluation;
    uint64_t steps;
    size_t state_values; /* that this rank keeps */
    float *parameters;
    size_t num_parameters;
} result_t;

typedef struct rank {
    const plan_t *plan;
    tlm_communicator_t *communicator;
    result_t *result;
} rank_t;

static tlm_dataset_t *make_data(uint32_t factor)
{
    tlm_dataset_t *dataset;
    uint32_t ids[IDS];

    for (uint32_t i = 0; i < IDS; i++)
        ids[i] = (i * i * factor + i / 3) % VOCAB;
    ASSERT_OK(tlm_dataset_from_ids(&dataset, ids, IDS));
    return dataset;
}

/* Rows of which every third has two targets that count: some batches, and some ranks, have none. */
static tlm_dataset_t *make_rows(void)
{
    tlm_dataset_t *dataset;
    uint32_t ids[IDS];
    uint8_t counted[IDS];

    for (uint32_t i = 0; i < IDS; i++) {
        ids[i] = (i * i + i / 3) % VOCAB;
        counted[i] = i / (CONTEXT + 1) % 3 == 0 && i % 3 == 2;
    }
    ASSERT_OK(tlm_dataset_from_rows(&dataset, ids, counted, IDS, CONTEXT + 1));
    return dataset;
}

/* The embedding has several pieces of a norm; the gains of norms are far smaller than one. */
static tlm_model_t *make_model(void)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model;

    shape.vocab_size = VOCAB;
    shape.context_length = CONTEXT;
    shape.d_model = 72;
    shape.num_layers = 2;
    shape.num_heads = 2;
    shape.d_ff = 40;
    shape.seed = 3;
    ASSERT_OK(tlm_model_create(&model, &shape));
    return model;
}

/* MIXED: a group of AdamW and one of SGD, with a parameter left out. */
static tlm_optimizer_t *make_optimizer(tlm_model_t *model, kind_t kind)
{
    tlm_optimizer_t *optimizer;
    tlm_tensor_t *const *tensors;
    size_t n;

    if (kind == MUON)
        ASSERT_OK(tlm_optimizer_create_muon(&optimizer, NULL, NULL));
    else if (kind == ADAMW)
        ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    else
        ASSERT_OK(tlm_optimizer_create_sgd(&optimizer, 0.05));
    if (kind != MIXED) {
        ASSERT_OK(tlm_optimizer_add_model(optimizer, model, TLM_NO_DECAY_NORMS, NULL));
        return optimizer;
    }
    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    ASSERT_OK(tlm_optimizer_add_adamw_group(optimizer, tensors + n / 2, n - n / 2, NULL));
    ASSERT_OK(tlm_optimizer_add_group(optimizer, tensors + 1, n / 2 - 1, NULL));
    return optimizer;
}

static const tlm_schedule_options_t cosine = {
    sizeof(cosine), TLM_SCHEDULE_COSINE, 0, 0.01, 0.001, 2, MOST_STEPS, 0};

static void keep_parameters(result_t *result, const tlm_model_t *model,
                            const tlm_optimizer_t *optimizer)
{
    tlm_tensor_t *const *tensors;
    size_t n, at = 0;

    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    result->num_parameters = (size_t)tlm_model_num_elements(model);
    result->parameters = malloc(result->num_parameters * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        memcpy(result->parameters + at, tlm_tensor_data(tensors[i]),
               (size_t)tlm_tensor_numel(tensors[i]) * sizeof(float));
        at += (size_t)tlm_tensor_numel(tensors[i]);
    }
    for (size_t i = 0; i < optimizer->num_parameters; i++)
        for (size_t j = 0; j < optimizer->parameters[i].num_states; j++)
            result->state_values += optimizer->parameters[i].states[j].numel;
}

static tlm_status_t train(result_t *result, const plan_t *plan, tlm_trainer_t *trainer)
{
    if (plan->resume != NULL || plan->directory != NULL) {
        tlm_status_t status = tlm_trainer_resume(trainer, plan->resume);
        if (status != TLM_OK && (plan->resume != NULL || status != TLM_ERR_NOT_FOUND))
            return status;
    }
    if (plan->on_step != NULL)
        return tlm_trainer_run(trainer, plan->until);
    while (tlm_trainer_steps(trainer) < plan->until) {
        tlm_train_step_t step = TLM_TRAIN_STEP_INIT;
        uint64_t i = tlm_trainer_steps(trainer);

        TLMI_TRY(tlm_trainer_step(&step, trainer));
        result->losses[i] = step.loss;
        result->norms[i] = step.gradient_norm;
        if (step.communication_seconds > step.seconds || step.communication_seconds < 0.0)
            return TLM_ERR_RANGE;
    }
    tlm_evaluation_t evaluation = TLM_EVALUATION_INIT;
    if (plan->until == plan->steps) /* the checkpoint holds the lowest loss */
        TLMI_TRY(tlm_trainer_evaluate(&evaluation, trainer));
    result->evaluation = evaluation.loss;
    if (plan->save != NULL || plan->directory != NULL)
        TLMI_TRY(tlm_trainer_save(trainer, plan->save));
    return TLM_OK;
}

static void *run_rank(void *argument)
{
    const rank_t *rank = argument;
    const plan_t *plan = rank->plan;
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;
    tlm_dataset_t *data = plan->masked ? make_rows() : make_data(1), *valid = make_data(3);
    tlm_model_t *model = make_model();
    tlm_optimizer_t *optimizer = make_optimizer(model, plan->kind);
    tlm_loader_t *loader;
    tlm_trainer_t *trainer = NULL;

    loading.batch_size = 2;
    loading.context_length = CONTEXT;
    loading.seed = 5;
    loading.prefetch = plan->prefetch;
    ASSERT_OK(tlm_loader_create(&loader, data, &loading));
    options.steps = plan->steps;
    options.schedule = plan->kind == ADAMW ? &cosine : NULL;
    options.clip_norm = 0.5;
    options.accumulation = plan->accumulation;
    options.valid = valid;
    options.communicator = rank->communicator;
    options.irreproducible = plan->irreproducible;
    options.checkpoint_dir = plan->directory;
    options.on_step = plan->on_step;
    options.user = rank->communicator;
    if (plan->wrong != NULL && tlm_communicator_rank(rank->communicator) == plan->odd_rank)
        plan->wrong(&options, model);
    result_t *result = rank->result;
    result->status = tlm_trainer_create(&trainer, model, optimizer, loader, &options);
    if (result->status == TLM_OK)
        result->status = train(result, plan, trainer);
    if (result->status != TLM_OK)
        snprintf(result->message, sizeof(result->message), "%s", tlm_error_message());
    result->steps = tlm_trainer_steps(trainer);
    keep_parameters(result, model, optimizer);
    tlm_trainer_free(trainer);
    tlm_optimizer_free(optimizer);
    tlm_loader_free(loader);
    tlm_model_free(model);
    tlm_dataset_free(data);
    tlm_dataset_free(valid);
    tlm_communicator_free(rank->communicator);
    return NULL;
}

/* Runs all ranks of a plan; free the results with release. */
static void run(result_t *results, const plan_t *plan)
{
    tlm_communicator_t *communicators[MOST_RANKS] = {NULL};
    const int32_t n = plan->ranks == 0 ? 1 : plan->ranks;
    pthread_t threads[MOST_RANKS];
    rank_t ranks[MOST_RANKS];

    memset(results, 0, MOST_RANKS * sizeof(*results));
    if (plan->ranks > 0)
        ASSERT_OK(tlm_communicator_create_local(communicators, n));
    ASSERT_OK(tlm_set_num_threads(plan->threads == 0 ? 1 : (int32_t)plan->threads));
    for (int32_t i = 0; i < n; i++) {
        ranks[i] = (rank_t){plan, communicators[i], &results[i]};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_rank, &ranks[i]), 0);
    }
    for (int32_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

static void release(result_t *results)
{
    for (int32_t i = 0; i < MOST_RANKS; i++)
        free(results[i].parameters);
}

static void assert_same(const result_t *a, const result_t *b)
{
    ck_assert_msg(a->status == TLM_OK, "%s", a->message);
    ck_assert_msg(b->status == TLM_OK, "%s", b->message);
    ck_assert_int_eq(memcmp(a->losses, b->losses, sizeof(a->losses)), 0);
    ck_assert_int_eq(memcmp(a->norms, b->norms, sizeof(a->norms)), 0);
    ck_assert_int_eq(memcmp(&a->evaluation, &b->evaluation, sizeof(double)), 0);
    ck_assert_int_eq(memcmp(a->parameters, b->parameters, a->num_parameters * sizeof(float)), 0);
}

static plan_t usual(int32_t ranks, kind_t kind, uint64_t accumulation)
{
    return (plan_t){.ranks = ranks,
                    .kind = kind,
                    .accumulation = accumulation,
                    .steps = MOST_STEPS,
                    .until = MOST_STEPS};
}

/* ---- The same bits ---------------------------------------------------------------------- */

START_TEST(any_number_of_ranks_gives_the_same_bits)
{
    static const struct {
        kind_t kind;
        uint64_t accumulation;
        int32_t ranks[4];
    } cases[] = {{ADAMW, 8, {1, 2, 4, 8}}, {ADAMW, 4, {1, 2, 4, 4}}, {ADAMW, 6, {1, 2, 2, 1}},
                 {SGD, 12, {1, 2, 4, 4}},  {MUON, 8, {1, 2, 4, 8}},  {MIXED, 8, {1, 2, 4, 8}},
                 {ADAMW, 1, {1, 1, 1, 1}}, {ADAMW, 7, {1, 1, 1, 1}}};
    result_t alone[MOST_RANKS], shared[MOST_RANKS];
    plan_t plan = usual(0, cases[_i].kind, cases[_i].accumulation);

    run(alone, &plan);
    for (size_t i = 0; i < 4; i++)
        for (int32_t prefetch = 0; prefetch < 3; prefetch += 2) {
            plan = usual(cases[_i].ranks[i], cases[_i].kind, cases[_i].accumulation);
            plan.threads = 1 + i % 3;
            plan.prefetch = prefetch;
            run(shared, &plan);
            for (int32_t rank = 0; rank < plan.ranks; rank++)
                assert_same(&alone[0], &shared[rank]);
            release(shared);
        }
    release(alone);
}
END_TEST

START_TEST(targets_that_do_not_count_give_the_same_bits)
{
    const kind_t kinds[] = {ADAMW, SGD, MUON, MIXED};
    result_t alone[MOST_RANKS], shared[MOST_RANKS];
    plan_t plan = usual(0, kinds[_i], 8);

    plan.masked = true;
    run(alone, &plan);
    for (plan.ranks = 2; plan.ranks <= MOST_RANKS; plan.ranks *= 2) {
        run(shared, &plan);
        for (int32_t rank = 0; rank < plan.ranks; rank++)
            assert_same(&alone[0], &shared[rank]);
        release(shared);
    }
    plan.ranks = 3;
    plan.irreproducible = true;
    run(shared, &plan);
    ck_assert_msg(shared[2].status == TLM_OK, "%s", shared[2].message);
    release(shared);
    release(alone);
}
END_TEST

START_TEST(the_states_are_divided)
{
    result_t alone[MOST_RANKS], shared[MOST_RANKS];
    plan_t plan = usual(0, ADAMW, 8);
    size_t sum = 0;

    run(alone, &plan);
    plan.ranks = 4;
    run(shared, &plan);
    for (int32_t rank = 0; rank < 4; rank++) {
        sum += shared[rank].state_values;
        ck_assert_uint_lt(shared[rank].state_values, alone[0].state_values * 2 / 5);
    }
    ck_assert_uint_eq(sum, alone[0].state_values);
    release(alone);
    release(shared);
}
END_TEST

/* ---- Checkpoints ------------------------------------------------------------------------ */

static void assert_same_files(const char *a, const char *b)
{
    size_t size, other;
    unsigned char *mine = read_bytes(a, &size), *theirs = read_bytes(b, &other);

    ck_assert_uint_eq(size, other);
    ck_assert_int_eq(memcmp(mine, theirs, size), 0);
    free(mine);
    free(theirs);
}

/* Stops after some steps, and goes on with another number of ranks. */
START_TEST(a_run_goes_on_with_another_number_of_ranks)
{
    static const int32_t ranks[][2] = {{0, 2}, {2, 4}, {4, 0}, {4, 1}, {2, 8}, {8, 2}};
    const kind_t kinds[] = {ADAMW, MIXED, MUON}, kind = kinds[_i % 3];
    const char *whole = test_path("whole"), *first = test_path("first");
    const char *second = test_path("second");
    result_t results[MOST_RANKS];
    plan_t plan = usual(0, kind, 8);

    plan.save = whole;
    run(results, &plan);
    release(results);
    plan.ranks = ranks[_i][0];
    plan.until = 3;
    plan.save = first;
    run(results, &plan);
    ck_assert_msg(results[0].status == TLM_OK, "%s", results[0].message);
    release(results);
    plan = usual(ranks[_i][1], kind, 8);
    plan.resume = first;
    plan.save = second;
    run(results, &plan);
    ck_assert_msg(results[0].status == TLM_OK, "%s", results[0].message);
    release(results);
    assert_same_files(whole, second);
    unlink(whole);
    unlink(first);
    unlink(second);
}
END_TEST

/* ---- Failures --------------------------------------------------------------------------- */

/* All ranks fail, the others with what rank 1 says. */
static void assert_all_fail(const plan_t *plan, tlm_status_t status, const char *text)
{
    result_t results[MOST_RANKS];

    run(results, plan);
    for (int32_t rank = 0; rank < plan->ranks; rank++) {
        ck_assert_msg(results[rank].status == status, "rank %d: %d, %s", rank,
                      (int)results[rank].status, results[rank].message);
        ck_assert_msg(strstr(results[rank].message, text) != NULL, "rank %d: %s", rank,
                      results[rank].message);
        if (plan->wrong != NULL && rank != plan->odd_rank && strstr(text, "rank") == NULL)
            ck_assert_msg(strstr(results[rank].message, "rank 1: ") != NULL, "rank %d: %s", rank,
                          results[rank].message);
    }
    release(results);
}

static void no_steps(tlm_trainer_options_t *options, tlm_model_t *model)
{
    options->steps = 0;
}

static void more_steps(tlm_trainer_options_t *options, tlm_model_t *model)
{
    options->steps = 77;
}

static void another_norm(tlm_trainer_options_t *options, tlm_model_t *model)
{
    options->clip_norm = 2.0;
}

static float *first_parameter(tlm_model_t *model)
{
    tlm_tensor_t *const *tensors;
    size_t n;

    ASSERT_OK(tlm_model_parameters(&tensors, &n, model));
    return tlm_tensor_data(tensors[0]);
}

static void another_parameter(tlm_trainer_options_t *options, tlm_model_t *model)
{
    first_parameter(model)[0] += 1.0f;
}

START_TEST(what_is_wrong_on_one_rank_fails_on_all)
{
    static const struct {
        void (*wrong)(tlm_trainer_options_t *options, tlm_model_t *model);
        tlm_status_t status;
        const char *text;
    } cases[] = {
        {no_steps, TLM_ERR_INVALID_ARGUMENT, "steps is 0"},
        {more_steps, TLM_ERR_STATE, "steps is 77 on rank 1, but 6 on rank 0"},
        {another_norm, TLM_ERR_STATE, "the value of clip_norm of rank 1 differs from rank 0's"},
        {another_parameter, TLM_ERR_STATE, "the parameters of rank 1 differ"},
    };
    plan_t plan = usual(4, ADAMW, 8);

    plan.wrong = cases[_i].wrong;
    plan.odd_rank = 1;
    assert_all_fail(&plan, cases[_i].status, cases[_i].text);
}
END_TEST

START_TEST(numbers_of_ranks_that_cannot_share_are_refused)
{
    plan_t plan = usual(3, ADAMW, 6);

    assert_all_fail(&plan, TLM_ERR_INVALID_ARGUMENT, "3 ranks cannot share the 6 batches");
    assert_all_fail(&plan, TLM_ERR_INVALID_ARGUMENT, "powers of two up to 2 can");
    plan = usual(4, ADAMW, 6);
    assert_all_fail(&plan, TLM_ERR_INVALID_ARGUMENT, "powers of two up to 2 can");
    plan = usual(3, ADAMW, 2);
    plan.irreproducible = true;
    assert_all_fail(&plan, TLM_ERR_INVALID_ARGUMENT, "accumulation 2 is less than one batch");
}
END_TEST

static int32_t stop_rank_2(void *user, const tlm_train_step_t *step)
{
    return step->step == 2 && tlm_communicator_rank(user) == 2;
}

START_TEST(a_callback_of_one_rank_ends_all_at_the_same_step)
{
    result_t results[MOST_RANKS];
    plan_t plan = usual(4, ADAMW, 4);

    plan.on_step = stop_rank_2;
    run(results, &plan);
    for (int32_t rank = 0; rank < 4; rank++) {
        ck_assert_int_eq(results[rank].status, TLM_ERR_CANCELLED);
        ck_assert_uint_eq(results[rank].steps, 2);
    }
    release(results);
}
END_TEST

START_TEST(a_missing_checkpoint_is_missing_for_all)
{
    plan_t plan = usual(2, ADAMW, 4);

    plan.resume = "/nonexistent/file.safetensors";
    assert_all_fail(&plan, TLM_ERR_NOT_FOUND, "/nonexistent/file.safetensors");
    plan.resume = NULL;
    plan.save = "/nonexistent/file.safetensors";
    assert_all_fail(&plan, TLM_ERR_NOT_FOUND, "/nonexistent/");
}
END_TEST

/* ---- The engine's own sums -------------------------------------------------------------- */

START_TEST(any_number_of_ranks_trains_irreproducibly)
{
    result_t alone[MOST_RANKS], shared[MOST_RANKS];
    plan_t plan = usual(0, ADAMW, 7);
    double largest = 0.0;

    run(alone, &plan);
    plan.ranks = _i;
    plan.irreproducible = true;
    run(shared, &plan);
    for (int32_t rank = 0; rank < plan.ranks; rank++) {
        ck_assert_msg(shared[rank].status == TLM_OK, "%s", shared[rank].message);
        ck_assert_int_eq(memcmp(shared[rank].parameters, shared[0].parameters,
                                shared[0].num_parameters * sizeof(float)),
                         0);
    }
    for (int32_t i = 0; i < MOST_STEPS; i++) {
        double difference = fabs(shared[0].losses[i] - alone[0].losses[i]);
        largest = difference > largest || isnan(difference) ? difference : largest;
    }
    ck_assert_msg(largest < 1e-4, "losses differ by %g", largest);
    release(alone);
    release(shared);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ranks");
    TCase *tests = tcase_create("ranks");

    tcase_set_timeout(tests, 600);
    tcase_add_loop_test(tests, any_number_of_ranks_gives_the_same_bits, 0, 8);
    tcase_add_loop_test(tests, targets_that_do_not_count_give_the_same_bits, 0, 4);
    tcase_add_test(tests, the_states_are_divided);
    tcase_add_loop_test(tests, a_run_goes_on_with_another_number_of_ranks, 0, 6);
    tcase_add_loop_test(tests, what_is_wrong_on_one_rank_fails_on_all, 0, 4);
    tcase_add_test(tests, numbers_of_ranks_that_cannot_share_are_refused);
    tcase_add_test(tests, a_callback_of_one_rank_ends_all_at_the_same_step);
    tcase_add_test(tests, a_missing_checkpoint_is_missing_for_all);
    tcase_add_loop_test(tests, any_number_of_ranks_trains_irreproducibly, 2, 6);
    suite_add_tcase(suite, tests);
    make_test_directory();
    int status = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    return status;
}
