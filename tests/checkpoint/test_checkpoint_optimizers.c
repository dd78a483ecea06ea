/* Checkpoints of every kind of optimizer: what a kind adds to a file, and runs that go on with the
 * same bits. */
#include "factored_kind.h"
#include "io_support.h"
#include "run_suite.h"

#include "checkpoint/checkpoint_core.h"

static const tlm_model_options_t tiny = {.size = sizeof(tlm_model_options_t),
                                         .vocab_size = 13,
                                         .context_length = 6,
                                         .d_model = 8,
                                         .num_layers = 1,
                                         .num_heads = 2,
                                         .d_ff = 12,
                                         .seed = 7};

typedef struct run {
    tlm_model_t *model;
    tlm_optimizer_t *optimizer;
} run_t;

/* Of `tensors`, the matrices or the others. */
static size_t choose(tlm_tensor_t **chosen, tlm_tensor_t *const *tensors, size_t n, bool matrices)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        if ((tlm_tensor_ndim(tensors[i]) == 2) == matrices)
            chosen[count++] = tensors[i];
    return count;
}

/* Adds a group; what a kind of matrices only does not take goes to one of AdamW. */
static void add_group(tlm_optimizer_t *optimizer, tlm_tensor_t *const *tensors, size_t n,
                      const tlmi_group_t *group)
{
    tlm_tensor_t *chosen[64] = {NULL};
    _Alignas(16) char room[256];
    tlmi_group_t vectors = make_group(&tlmi_adamw_kind, 0.5, room);

    if (!group->kind->matrices_only) {
        ASSERT_OK(tlmi_optimizer_add(optimizer, "test", tensors, n, group));
        return;
    }
    ASSERT_OK(
        tlmi_optimizer_add(optimizer, "test", chosen, choose(chosen, tensors, n, true), group));
    ASSERT_OK(
        tlmi_optimizer_add(optimizer, "test", chosen, choose(chosen, tensors, n, false), &vectors));
}

/* A model with an optimizer of a kind: half of the parameters in a group of the kind, the rest in
 * one of `other`. */
static run_t start(const tlmi_optimizer_kind_t *kind, const tlmi_optimizer_kind_t *other,
                   double number)
{
    _Alignas(16) char room[256], other_room[256];
    tlmi_group_t group = make_group(kind, number, room);
    tlmi_group_t other_group = make_group(other, number, other_room);
    tlm_tensor_t *const *tensors;
    run_t run;
    size_t n;

    ASSERT_OK(tlm_model_create(&run.model, &tiny));
    ASSERT_OK(tlm_model_parameters(&tensors, &n, run.model));
    ASSERT_OK(tlmi_optimizer_new(&run.optimizer, "test", &group));
    group.rate_factor = 0.75;
    add_group(run.optimizer, tensors, n / 2, &group);
    add_group(run.optimizer, tensors + n / 2, n - n / 2, &other_group);
    return run;
}

static void stop(run_t *run)
{
    tlm_optimizer_free(run->optimizer);
    tlm_model_free(run->model);
}

static void train(run_t *run, uint32_t first, uint32_t last)
{
    for (uint32_t step = first; step < last; step++) {
        const uint32_t ids[7] = {1 + step, 2, 3 + step, 4, 5, 6, 7};
        tlm_tensor_t *loss;

        tlm_model_zero_grad(run->model);
        ASSERT_OK(tlm_model_loss(&loss, run->model, ids, ids + 1, 1, 6));
        ASSERT_OK(tlm_tensor_backward(loss, NULL));
        tlm_tensor_free(loss);
        ASSERT_OK(tlm_optimizer_set_learning_rate(run->optimizer, TLM_ALL_GROUPS,
                                                  0.01 / (double)(step + 1)));
        ASSERT_OK(tlm_optimizer_step(run->optimizer));
    }
}

/* Writes the checkpoint of a run and gives its bytes; freed by the caller. */
static unsigned char *save(const run_t *run, size_t *size)
{
    ASSERT_OK(tlm_checkpoint_save(run->model, run->optimizer, 9, test_path("file")));
    return read_bytes(test_path("file"), size);
}

/* Resumed runs end in the same file, byte for byte. The second run starts with other numbers in its
 * options, which the file replaces. */
START_TEST(every_kind_goes_on_with_the_same_bits)
{
    for (size_t k = 0; kind_at(k) != NULL; k++)
        for (size_t other = 0; kind_at(other) != NULL; other++) {
            run_t whole = start(kind_at(k), kind_at(other), 0.5);
            run_t part = start(kind_at(k), kind_at(other), 0.5);
            run_t rest = start(kind_at(k), kind_at(other), 0.25);
            unsigned char *expected, *actual;
            uint64_t iteration;
            size_t size, n;

            train(&whole, 0, 5);
            train(&part, 0, 3);
            ASSERT_OK(tlm_checkpoint_save(part.model, part.optimizer, 3, test_path("part")));
            ASSERT_OK(
                tlm_checkpoint_load(&iteration, rest.model, rest.optimizer, test_path("part")));
            ck_assert_uint_eq(iteration, 3);
            train(&rest, 3, 5);
            expected = save(&whole, &size);
            actual = save(&rest, &n);
            ck_assert_uint_eq(n, size);
            ck_assert_mem_eq(actual, expected, n);
            free(expected);
            free(actual);
            stop(&whole);
            stop(&part);
            stop(&rest);
        }
}
END_TEST

/* A file of one kind is refused by an optimizer of another, in the first group or in the second,
 * and changes nothing. */
START_TEST(another_kind_is_refused)
{
    for (size_t k = 0; kind_at(k) != NULL; k++)
        for (size_t other = 0; kind_at(other) != NULL; other++) {
            /* The factored kind is in no table: its files are of a kind that nobody knows. */
            tlm_status_t expected =
                kind_at(k) == &factored_kind ? TLM_ERR_UNSUPPORTED : TLM_ERR_STATE;
            /* Where vectors have a group of their own, the number of groups tells first. */
            tlm_status_t expected_mixed = kind_at(other)->matrices_only ? TLM_ERR_STATE : expected;
            run_t saved = start(kind_at(k), kind_at(k), 0.5);
            run_t run = start(kind_at(other), kind_at(other), 0.5);
            run_t mixed = start(kind_at(k), kind_at(other), 0.5);
            unsigned char *before, *after;
            size_t size, n;

            if (k != other) {
                ASSERT_OK(tlm_checkpoint_save(saved.model, saved.optimizer, 1, test_path("other")));
                train(&run, 0, 1);
                before = save(&run, &size);
                ck_assert_int_eq(
                    tlm_checkpoint_load(NULL, run.model, run.optimizer, test_path("other")),
                    expected);
                ck_assert_int_eq(
                    tlm_checkpoint_load(NULL, mixed.model, mixed.optimizer, test_path("other")),
                    expected_mixed);
                after = save(&run, &n);
                ck_assert_uint_eq(n, size);
                ck_assert_mem_eq(after, before, n);
                free(before);
                free(after);
            }
            stop(&saved);
            stop(&run);
            stop(&mixed);
        }
}
END_TEST

static void set_variant(run_t *run, int32_t variant)
{
    tlm_adamw_options_t options = TLM_ADAMW_OPTIONS_INIT;
    tlm_tensor_t *const *tensors;
    size_t n;

    options.variant = variant;
    ASSERT_OK(tlm_model_create(&run->model, &tiny));
    ASSERT_OK(tlm_model_parameters(&tensors, &n, run->model));
    ASSERT_OK(tlm_optimizer_create_adamw(&run->optimizer, &options));
    ASSERT_OK(tlm_optimizer_add_group(run->optimizer, tensors, n, NULL));
}

/* What stands in a file of `run` for the optimizer, or for the format's version. */
static bool file_says(const run_t *run, const char *text)
{
    size_t size;
    unsigned char *bytes = save(run, &size);
    bool found = memmem(bytes, size, text, strlen(text)) != NULL;

    free(bytes);
    return found;
}

/* The first variant is what files of 0.1 and 0.2 mean, which say nothing of it; a reader of those
 * versions must not overlook another. */
START_TEST(the_variant_of_adamw_is_kept)
{
    static const char *const names[] = {"cs336_2025", "cs336_2026", "pytorch"};
    run_t first;

    set_variant(&first, TLM_ADAMW_CS336_2025);
    ck_assert(!file_says(&first, "variant"));
    ck_assert(file_says(&first, "\"format_version\":\"1\""));
    for (int32_t variant = 1; variant < 3; variant++) {
        run_t run, loaded;

        set_variant(&run, variant);
        set_variant(&loaded, TLM_ADAMW_CS336_2025);
        ck_assert(file_says(&run, "variant"));
        ck_assert(file_says(&run, names[variant]));
        ck_assert(file_says(&run, "\"format_version\":\"2\""));
        ASSERT_OK(tlm_checkpoint_load(NULL, loaded.model, loaded.optimizer, test_path("file")));
        ck_assert(file_says(&loaded, names[variant]));
        /* And back: a file without a variant is of the first. */
        ck_assert(!file_says(&first, "variant"));
        ASSERT_OK(tlm_checkpoint_load(NULL, loaded.model, loaded.optimizer, test_path("file")));
        ck_assert(!file_says(&loaded, "variant"));
        stop(&run);
        stop(&loaded);
    }
    stop(&first);
}
END_TEST

/* The group that a description of an AdamW optimizer with one group reads as. */
static tlm_status_t read_group(const char *group)
{
    const char *names[64] = {NULL};
    char text[1024], list[512] = "";
    tlmi_optimizer_config_t config;
    tlmi_json_t *object;
    tlm_status_t status;
    run_t run;

    set_variant(&run, TLM_ADAMW_CS336_2025);
    for (size_t i = 0; i < run.optimizer->num_parameters; i++) {
        names[i] = "w";
        strcat(list, i == 0 ? "\"w\"" : ",\"w\"");
    }
    snprintf(text, sizeof(text),
             "{\"kind\":\"adamw\",\"steps\":\"1\",\"groups\":[{%s,\"parameters\":[%s]}]}", group,
             list);
    ASSERT_OK(tlmi_json_parse(&object, text, strlen(text), "test"));
    status = tlmi_optimizer_config_read(&config, object, run.optimizer, names, "test", NULL);
    tlmi_optimizer_config_free(&config);
    tlmi_json_free(object);
    stop(&run);
    return status;
}

START_TEST(groups_that_make_no_sense_are_refused)
{
#define RATES   "\"learning_rate\":0.5,\"beta1\":0.5,\"beta2\":0.5,\"eps\":0.5"
#define DECAY   ",\"weight_decay\":0.5"
#define VARIANT ",\"variant\":"
    ASSERT_OK(read_group(RATES DECAY));
    ASSERT_OK(read_group(RATES DECAY ",\"unknown\":1"));
    ASSERT_OK(read_group(RATES DECAY VARIANT "\"pytorch\""));
    ASSERT_OK(read_group("\"kind\":\"adamw\"," RATES DECAY));
    ASSERT_FAILS(TLM_ERR_FORMAT, "group 0 of the optimizer has no weight_decay", read_group(RATES));
    ASSERT_FAILS(TLM_ERR_FORMAT, "variant of the optimizer's group 0 is not a string",
                 read_group(RATES DECAY VARIANT "1"));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "variant of the optimizer's group 0 is 'cs336_2030'",
                 read_group(RATES DECAY VARIANT "\"cs336_2030\""));
    ASSERT_FAILS(TLM_ERR_STATE, "sgd", read_group("\"kind\":\"sgd\"," RATES DECAY));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "sophia", read_group("\"kind\":\"sophia\"," RATES DECAY));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "test: beta1 1.5",
                 read_group("\"learning_rate\":0,\"beta1\":1.5,\"beta2\":0,\"eps\":0" DECAY));
}
END_TEST

START_TEST(schedules_that_make_no_sense_are_refused)
{
#define SCHEDULE(kind) RATES DECAY ",\"schedule\":{\"kind\":" kind ",\"max_learning_rate\":1"
#define MINIMUM        ",\"min_learning_rate\":0.5"
#define STEPS          ",\"warmup_steps\":\"1\",\"total_steps\":\"9\""
    ASSERT_OK(read_group(SCHEDULE("\"wsd\"") MINIMUM STEPS ",\"decay_steps\":\"2\"}"));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "do not fit in total_steps 9",
                 read_group(SCHEDULE("\"wsd\"") MINIMUM STEPS ",\"decay_steps\":\"9\"}"));
    ASSERT_FAILS(TLM_ERR_FORMAT, "the schedule of the optimizer's group 0 has no decay_steps",
                 read_group(SCHEDULE("\"wsd\"") MINIMUM STEPS "}"));
    ASSERT_FAILS(TLM_ERR_FORMAT, "has no decay_steps",
                 read_group(SCHEDULE("\"wsd\"") MINIMUM STEPS ",\"decay_steps\":2}"));
    ASSERT_FAILS(TLM_ERR_FORMAT, "has no min_learning_rate",
                 read_group(SCHEDULE("\"wsd\"") STEPS ",\"decay_steps\":\"2\"}"));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "schedule of the optimizer's group 0 is of no kind",
                 read_group(SCHEDULE("\"sawtooth\"") MINIMUM STEPS ",\"decay_steps\":\"2\"}"));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "is of no kind", read_group(SCHEDULE("1") "}"));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "is of no kind",
                 read_group(RATES DECAY ",\"schedule\":\"cosine\""));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint_optimizers");
    TCase *tcase = tcase_create("checkpoint_optimizers");
    int result;

    tcase_add_test(tcase, every_kind_goes_on_with_the_same_bits);
    tcase_add_test(tcase, another_kind_is_refused);
    tcase_add_test(tcase, the_variant_of_adamw_is_kept);
    tcase_add_test(tcase, groups_that_make_no_sense_are_refused);
    tcase_add_test(tcase, schedules_that_make_no_sense_are_refused);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    result = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return result;
}
