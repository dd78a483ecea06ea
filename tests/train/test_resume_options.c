/* A trainer that resumes changes nothing in silence: each field of its options, and of those of its
 * loader and of every kind of optimizer, is changed alone. Where the checkpoint records it, resuming
 * is refused with both values unless resume_changes names it. */
#include "io_support.h"
#include "run_suite.h"
#include "trainer_support.h"

#include <stddef.h>

enum { VOCAB = 13, CONTEXT = 6, BATCH = 4, IDS = 200 };
enum { ADAMW, MUON, LION, ADAFACTOR, SGD, NUM_KINDS };

/* All that makes a run. */
typedef struct setup {
    int32_t kind;
    tlm_trainer_options_t trainer;
    tlm_schedule_options_t schedule; /* unless its kind is negative */
    tlm_loader_options_t loader;
    tlm_adamw_options_t adamw; /* of Muon, that of the rest */
    tlm_muon_options_t muon;
    tlm_lion_options_t lion;
    tlm_adafactor_options_t adafactor;
    double sgd_rate;
    tlm_group_options_t group;
    tlm_schedule_options_t group_schedule; /* of group 0, unless its kind is negative */
} setup_t;

static tlm_dataset_t *train_data, *valid_data;

static setup_t usual(int32_t kind)
{
    setup_t setup = {
        .kind = kind,
        .trainer = TLM_TRAINER_OPTIONS_INIT,
        .schedule = {sizeof(setup.schedule), TLM_SCHEDULE_WSD, 0, 0.02, 0.001, 2, 12, 4},
        .loader = TLM_LOADER_OPTIONS_INIT,
        .adamw = TLM_ADAMW_OPTIONS_INIT,
        .muon = TLM_MUON_OPTIONS_INIT,
        .lion = TLM_LION_OPTIONS_INIT,
        .adafactor = TLM_ADAFACTOR_OPTIONS_INIT,
        .sgd_rate = 0.25,
        .group = TLM_GROUP_OPTIONS_INIT,
        .group_schedule = {sizeof(setup.schedule), -1, 0, 0.0, 0.0, 0, 0, 0},
    };

    setup.trainer.steps = 12;
    setup.trainer.clip_norm = 1.0;
    setup.trainer.accumulation = 2;
    setup.trainer.batch_start = 2;
    setup.trainer.batch_increment = 1;
    setup.trainer.batch_warmup_steps = 5;
    setup.loader.batch_size = BATCH;
    setup.loader.context_length = CONTEXT;
    setup.loader.seed = 5;
    setup.loader.document_end = 3;
    return setup;
}

static tlm_optimizer_t *make_optimizer(const setup_t *setup)
{
    tlm_optimizer_t *out;

    switch (setup->kind) {
    case MUON:
        ASSERT_OK(tlm_optimizer_create_muon(&out, &setup->muon, &setup->adamw));
        break;
    case LION:
        ASSERT_OK(tlm_optimizer_create_lion(&out, &setup->lion));
        break;
    case ADAFACTOR:
        ASSERT_OK(tlm_optimizer_create_adafactor(&out, &setup->adafactor));
        break;
    case SGD:
        ASSERT_OK(tlm_optimizer_create_sgd(&out, setup->sgd_rate));
        break;
    default:
        ASSERT_OK(tlm_optimizer_create_adamw(&out, &setup->adamw));
    }
    return out;
}

static run_t start(const setup_t *setup, const char *changes)
{
    static const tlm_model_options_t tiny = {.size = sizeof(tlm_model_options_t),
                                             .vocab_size = VOCAB,
                                             .context_length = CONTEXT,
                                             .d_model = 8,
                                             .num_layers = 1,
                                             .num_heads = 2,
                                             .d_ff = 12,
                                             .seed = 7};
    tlm_trainer_options_t options = setup->trainer;
    run_t run = {NULL};

    options.schedule = setup->schedule.kind < 0 ? NULL : &setup->schedule;
    options.resume_changes = changes;
    options.valid = valid_data;
    ASSERT_OK(tlm_loader_create(&run.loader, train_data, &setup->loader));
    ASSERT_OK(tlm_model_create(&run.model, &tiny));
    run.optimizer = make_optimizer(setup);
    ASSERT_OK(tlm_optimizer_add_model(run.optimizer, run.model, 0, &setup->group));
    if (setup->group_schedule.kind >= 0)
        ASSERT_OK(tlm_optimizer_set_schedule(run.optimizer, 0, &setup->group_schedule));
    ASSERT_OK(tlm_trainer_create(&run.trainer, run.model, run.optimizer, run.loader, &options));
    return run;
}

/* ---- The fields ------------------------------------------------------------------------- */

typedef enum type { REAL, COUNT, SIGNED, INT, FLAG } field_type_t;

typedef struct change {
    int32_t kind; /* of the optimizer */
    size_t offset;
    field_type_t type;
    double value;
    const char *name;  /* for resume_changes; NULL: the checkpoint does not record it */
    const char *words; /* of the message */
    bool is_scheduled; /* the trainer's schedule stays */
} change_t;

#define FIELD(field) offsetof(setup_t, field)
#define ALSO(field)                                                                                \
    {                                                                                              \
        .offset = FIELD(field), .type = COUNT, .value = -1.0                                       \
    }
#define HONORED(f, t, v)                                                                           \
    {                                                                                              \
        ADAMW, FIELD(f), t, v, NULL, NULL, true                                                    \
    }

static const change_t changes[] = {
    {ADAMW, FIELD(trainer.steps), COUNT, 13, "steps", "steps is 12 in the checkpoint, but 13 here",
     true},
    {ADAMW, FIELD(trainer.clip_norm), REAL, 0.5, "clip_norm", "clip_norm is 1 in the", true},
    {ADAMW, FIELD(trainer.accumulation), COUNT, 4, "accumulation", "is 2 in the checkpoint, but 4",
     true},
    {ADAMW, FIELD(trainer.batch_start), SIGNED, 1, "batch_start", "is 2 in the checkpoint, but 1",
     true},
    {ADAMW, FIELD(trainer.batch_increment), SIGNED, 2, "batch_increment",
     "is 1 in the checkpoint, but 2", true},
    {ADAMW, FIELD(trainer.batch_warmup_steps), COUNT, 7, "batch_warmup_steps",
     "is 5 in the checkpoint, but 7", true},
    {ADAMW, FIELD(trainer.products), INT, TLM_PRODUCTS_BFLOAT16_EMULATED, "products",
     "products is float32 in the checkpoint, but bfloat16_emulated here", true},
    {ADAMW, FIELD(trainer.average_decay), REAL, 0.5, NULL, NULL, true}, /* see below */
    {ADAMW, FIELD(schedule.kind), INT, TLM_SCHEDULE_LINEAR, "schedule.kind",
     "schedule.kind is wsd in the checkpoint, but linear here", true},
    {ADAMW, FIELD(schedule.kind), INT, -1, "schedule.kind, group.learning_rate",
     "schedule.kind is wsd in the checkpoint, but none here", true},
    {ADAMW, FIELD(schedule.max_learning_rate), REAL, 0.03, "schedule.*", "is 0.02 in the", true},
    {ADAMW, FIELD(schedule.min_learning_rate), REAL, 0.0, "schedule.min_learning_rate",
     "is 0.001 in the checkpoint, but 0 here", true},
    {ADAMW, FIELD(schedule.warmup_steps), COUNT, 3, "*warmup_steps", "is 2 in the", true},
    {ADAMW, FIELD(schedule.total_steps), COUNT, 13, "schedule.*_steps", "is 12 in the", true},
    {ADAMW, FIELD(schedule.decay_steps), COUNT, 5, "schedule.decay_steps", "is 4 in the", true},
    {ADAMW, FIELD(loader.batch_size), SIGNED, 5, "loader.batch_size", "is 4 in the", true},
    {ADAMW, FIELD(loader.context_length), SIGNED, 5, "loader.context_length", "is 6 in", true},
    {ADAMW, FIELD(loader.seed), COUNT, 6, "loader.seed", "is 5 in the checkpoint, but 6", true},
    {ADAMW, FIELD(loader.order), INT, TLM_ORDER_SHUFFLED, "loader.order",
     "loader.order is random in the checkpoint, but shuffled here", true},
    {ADAMW, FIELD(loader.has_document_end), FLAG, 1, "loader.document_end",
     "is none in the checkpoint, but 3 here", true},
    {ADAMW, FIELD(adamw.learning_rate), REAL, 0.5, "group.learning_rate",
     "group.learning_rate of group 0 is 0.001 in the checkpoint, but 0.5 here", false},
    {ADAMW, FIELD(adamw.beta1), REAL, 0.8, "group.beta1", "is 0.9 in the", true},
    {ADAMW, FIELD(adamw.beta2), REAL, 0.95, "group.beta2",
     "group.beta2 of group 0 is 0.999 in the checkpoint, but 0.95 here", true},
    {ADAMW, FIELD(adamw.eps), REAL, 1e-7, "group.eps", "is 1e-08 in the", true},
    {ADAMW, FIELD(adamw.weight_decay), REAL, 0.1, "group.weight_decay", "is 0.01 in the", true},
    {ADAMW, FIELD(adamw.variant), INT, TLM_ADAMW_PYTORCH, "group.variant",
     "is cs336_2025 in the checkpoint, but pytorch here", true},
    {MUON, FIELD(muon.learning_rate), REAL, 0.25, "group.learning_rate, group.rate_factor",
     "of group 0 is 0.001 in the", false},
    {MUON, FIELD(muon.momentum), REAL, 0.9, "group.momentum", "is 0.95 in the", true},
    {MUON, FIELD(muon.eps), REAL, 1e-6, "group.eps", "of group 0 is 1e-07 in the", true},
    {MUON, FIELD(muon.weight_decay), REAL, 0.0, "group.weight_decay", "is 0.1 in the", true},
    {MUON, FIELD(muon.iterations), INT, 6, "group.iterations", "is 5 in the", true},
    {MUON, FIELD(muon.scale), INT, TLM_MUON_SCALE_JORDAN, "group.scale",
     "group.scale of group 0 is moonlight in the checkpoint, but jordan here", true},
    {MUON, FIELD(muon.nesterov), FLAG, 0, "group.momentum_rule", "nesterov in the", true},
    {MUON, FIELD(adamw.learning_rate), REAL, 0.5, "group.rate_factor",
     "group.rate_factor of group 1 is 1 in the checkpoint, but 500 here", true},
    {MUON, FIELD(adamw.beta2), REAL, 0.95, "group.beta?", "group.beta2 of group 1", true},
    {LION, FIELD(lion.learning_rate), REAL, 0.5, "group.learning_rate", "is 0.0001 in", false},
    {LION, FIELD(lion.beta1), REAL, 0.8, "group.beta1", "is 0.9 in the", true},
    {LION, FIELD(lion.beta2), REAL, 0.95, "group.beta2", "is 0.99 in the", true},
    {LION, FIELD(lion.weight_decay), REAL, 0.1, "group.weight_decay", "is 0 in the", true},
    {ADAFACTOR, FIELD(adafactor.learning_rate), REAL, 0.5, "group.learning_rate", "is 0.01 in",
     false},
    {ADAFACTOR, FIELD(adafactor.power), REAL, 0.7, "group.power", "is 0.8 in the", true},
    {ADAFACTOR, FIELD(adafactor.eps), REAL, 1e-8, "group.eps", "is 1.1920928955078125e-07", true},
    {ADAFACTOR, FIELD(adafactor.min_rms), REAL, 0.01, "group.min_rms", "is 0.001 in", true},
    {ADAFACTOR, FIELD(adafactor.threshold), REAL, 2.0, "group.threshold", "is 1 in the", true},
    {ADAFACTOR, FIELD(adafactor.weight_decay), REAL, 0.1, "group.weight_decay", "is 0 in", true},
    {SGD, FIELD(sgd_rate), REAL, 0.5, "group.learning_rate", "is 0.25 in the", false},
    {ADAMW, FIELD(group.rate_factor), REAL, 2.0, "group.rate_factor", "is 1 in the", true},
    {ADAMW, FIELD(group_schedule.kind), INT, TLM_SCHEDULE_CONSTANT, "group.schedule.*",
     "group.schedule.kind of group 0 is none in the checkpoint, but constant here", true},
    HONORED(trainer.eval_every, COUNT, 2),
    HONORED(trainer.eval_tokens, COUNT, 20),
    HONORED(trainer.peak_flops, REAL, 1e9),
    HONORED(trainer.activation_checkpointing, FLAG, 1),
    HONORED(trainer.save_on_cancel, FLAG, 1),
    HONORED(trainer.keep_last, INT, 2),
    HONORED(trainer.irreproducible, FLAG, 1),
    HONORED(loader.prefetch, INT, 2),
    HONORED(loader.document_end, INT, 5),
    /* Where the calls of a run go, and pointers that start() sets. */
    ALSO(trainer.schedule),
    ALSO(trainer.valid),
    ALSO(trainer.checkpoint_path),
    ALSO(trainer.save_every),
    ALSO(trainer.on_step),
    ALSO(trainer.on_evaluation),
    ALSO(trainer.on_save),
    ALSO(trainer.user),
    ALSO(trainer.checkpoint_dir),
    ALSO(trainer.tokenizer),
    ALSO(trainer.communicator),
    ALSO(trainer.batch_warmup_tokens), /* excludes batch_warmup_steps: see below */
    ALSO(trainer.resume_changes),
};

enum { NUM_CHANGES = sizeof(changes) / sizeof(changes[0]) };

static setup_t base_of(const change_t *change)
{
    setup_t setup = usual(change->kind);

    if (!change->is_scheduled)
        setup.schedule.kind = -1;
    return setup;
}

static setup_t changed(const change_t *change)
{
    setup_t setup = base_of(change);
    char *at = (char *)&setup + change->offset;

    switch (change->type) {
    case REAL:
        memcpy(at, &change->value, sizeof(double));
        break;
    case COUNT:
    case SIGNED:
        memcpy(at, &(int64_t){(int64_t)change->value}, sizeof(int64_t));
        break;
    case INT:
        memcpy(at, &(int32_t){(int32_t)change->value}, sizeof(int32_t));
        break;
    default:
        *at = (char)change->value;
    }
    return setup;
}

static size_t size_of(const change_t *change)
{
    return change->type == INT ? sizeof(int32_t) : change->type == FLAG ? 1 : sizeof(int64_t);
}

/* Each byte of an options struct is in a field above, except for its size and what is reserved. */
START_TEST(every_field_is_changed)
{
    static const struct {
        const char *name;
        size_t begin, size, reserved; /* bytes */
    } structs[] = {
        {"trainer", FIELD(trainer), sizeof(tlm_trainer_options_t), 6 + 4 + 3},
        {"schedule", FIELD(schedule), sizeof(tlm_schedule_options_t), 4},
        {"loader", FIELD(loader), sizeof(tlm_loader_options_t), 3},
        {"adamw", FIELD(adamw), sizeof(tlm_adamw_options_t), 4},
        {"muon", FIELD(muon), sizeof(tlm_muon_options_t), 7},
        {"lion", FIELD(lion), sizeof(tlm_lion_options_t), 0},
        {"adafactor", FIELD(adafactor), sizeof(tlm_adafactor_options_t), 0},
    };
    static bool is_covered[sizeof(setup_t)];

    for (size_t i = 0; i < NUM_CHANGES; i++)
        for (size_t k = 0; k < size_of(&changes[i]); k++)
            is_covered[changes[i].offset + k] = true;
    for (size_t i = 0; i < sizeof(structs) / sizeof(structs[0]); i++) {
        size_t covered = 0;

        for (size_t k = 0; k < structs[i].size; k++)
            covered += is_covered[structs[i].begin + k];
        ck_assert_msg(covered + structs[i].reserved + sizeof(size_t) == structs[i].size,
                      "%s: %zu of %zu bytes are in fields", structs[i].name, covered,
                      structs[i].size);
    }
}
END_TEST

/* ---- Resuming --------------------------------------------------------------------------- */

/* Writes the checkpoint of a run after three steps. */
static void save_run(const setup_t *setup, const char *path)
{
    run_t run = start(setup, NULL);

    ASSERT_OK(tlm_trainer_run(run.trainer, 3));
    ASSERT_OK(tlm_trainer_save(run.trainer, path));
    stop(&run);
}

/* The next steps of a run that resumes, as a checkpoint. */
static void go_on(const setup_t *setup, const char *from, const char *to)
{
    run_t run = start(setup, NULL);

    ASSERT_OK(tlm_trainer_resume(run.trainer, from));
    ASSERT_OK(tlm_trainer_run(run.trainer, 8));
    ASSERT_OK(tlm_trainer_save(run.trainer, to));
    stop(&run);
}

START_TEST(a_change_is_refused_or_counts)
{
    const change_t *change = &changes[_i];
    const setup_t base = base_of(change), other = changed(change);
    const char *saved = test_path("saved"), *now = test_path("now"), *later = test_path("later");

    if (change->value == -1.0 && change->type == COUNT)
        return;
    if (change->offset == FIELD(trainer.average_decay))
        return;
    save_run(&base, saved);
    run_t run = start(&other, change->name);
    if (change->name != NULL) {
        run_t strict = start(&other, "none, such");

        ASSERT_OK(tlm_trainer_save(strict.trainer, now));
        ASSERT_FAILS(TLM_ERR_STATE, change->words, tlm_trainer_resume(strict.trainer, saved));
        ASSERT_OK(tlm_trainer_save(strict.trainer, later));
        assert_same_files(now, later); /* nothing has changed */
        stop(&strict);
    }
    ASSERT_OK(tlm_trainer_resume(run.trainer, saved));
    ck_assert_uint_eq(tlm_trainer_steps(run.trainer), 3);
    ASSERT_OK(tlm_trainer_save(run.trainer, now));
    ASSERT_OK(tlm_trainer_run(run.trainer, 8));
    ASSERT_OK(tlm_trainer_save(run.trainer, later));
    stop(&run);
    /* The new value is the run's: one that has it goes on with the same bits, and only it. */
    go_on(&other, now, test_path("again"));
    assert_same_files(later, test_path("again"));
    if (change->name != NULL) {
        run = start(&base, NULL);
        ck_assert_int_eq(tlm_trainer_resume(run.trainer, now), TLM_ERR_STATE);
        stop(&run);
    }
}
END_TEST

START_TEST(a_warmup_over_tokens_is_compared)
{
    const setup_t base = usual(ADAMW);
    const char *saved = test_path("saved");
    setup_t other = base;

    other.trainer.batch_warmup_steps = 0;
    other.trainer.batch_warmup_tokens = 90;
    save_run(&base, saved);
    run_t run = start(&other, "batch_warmup_steps");
    ASSERT_FAILS(TLM_ERR_STATE, "batch_warmup_tokens is 0 in the checkpoint, but 90 here",
                 tlm_trainer_resume(run.trainer, saved));
    stop(&run);
    run = start(&other, " batch_warmup_* ");
    ASSERT_OK(tlm_trainer_resume(run.trainer, saved));
    stop(&run);
}
END_TEST

/* An average can be left out, but it begins with the first step. */
START_TEST(averages_are_compared)
{
    static const struct {
        double before, after;
        const char *changes, *words; /* NULL: it succeeds */
    } cases[] = {
        {0.5, 0.5, NULL, NULL},
        {0.5, 0.0, NULL, "average_decay is 0.5 in the checkpoint, but 0 here"},
        {0.5, 0.0, "average_decay", NULL},
        {0.0, 0.5, NULL, "average_decay is 0 in the checkpoint, but 0.5 here"},
        {0.0, 0.5, "*", "averages begin with the first step, and cannot be changed later"},
        {0.5, 0.25, "*", "average_decay is 0.5 in the checkpoint, but 0.25 here"},
    };
    const char *saved = test_path("saved");
    setup_t setup = usual(ADAMW);

    setup.trainer.average_decay = cases[_i].before;
    save_run(&setup, saved);
    setup.trainer.average_decay = cases[_i].after;
    run_t run = start(&setup, cases[_i].changes);
    if (cases[_i].words == NULL) {
        ASSERT_OK(tlm_trainer_resume(run.trainer, saved));
        ASSERT_OK(tlm_trainer_run(run.trainer, 5));
        ck_assert_int_eq(tlm_optimizer_take_average(run.optimizer),
                         cases[_i].after > 0.0 ? TLM_OK : TLM_ERR_STATE);
    } else {
        ASSERT_FAILS(TLM_ERR_STATE, cases[_i].words, tlm_trainer_resume(run.trainer, saved));
    }
    stop(&run);
}
END_TEST

/* tlm_checkpoint_load takes the file's schedules, and those that it does not have away. */
START_TEST(checkpoints_hold_the_schedules_of_groups)
{
    const char *saved = test_path("saved"), *now = test_path("now");
    setup_t with = usual(ADAMW), without = usual(ADAMW);

    with.group_schedule = (tlm_schedule_options_t){
        sizeof(with.schedule), _i % 4, 0, 0.5, 0.125, 1, 9, _i % 4 == TLM_SCHEDULE_WSD ? 2 : 0};
    const setup_t *from = _i < 4 ? &with : &without, *to = _i < 4 ? &without : &with;
    run_t first = start(from, NULL), second = start(to, NULL);
    ASSERT_OK(tlm_trainer_run(first.trainer, 3));
    ASSERT_OK(tlm_checkpoint_save(first.model, first.optimizer, 3, saved));
    ASSERT_OK(tlm_checkpoint_load(NULL, second.model, second.optimizer, saved));
    ASSERT_OK(tlm_checkpoint_save(second.model, second.optimizer, 3, now));
    assert_same_files(saved, now);
    stop(&first);
    stop(&second);
    if (_i < 4) {
        save_run(&with, saved);
        second = start(&without, NULL);
        ASSERT_FAILS(TLM_ERR_STATE, "group.schedule.kind of group 0 is ",
                     tlm_trainer_resume(second.trainer, saved));
        stop(&second);
        go_on(&with, saved, now);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("resume_options");
    TCase *tests = tcase_create("resume_options");
    uint32_t ids[IDS];

    for (uint32_t i = 0; i < IDS; i++)
        ids[i] = (i * i + i / 3) % VOCAB;
    if (tlm_dataset_from_ids(&train_data, ids, IDS) != TLM_OK ||
        tlm_dataset_from_ids(&valid_data, ids, IDS / 2) != TLM_OK)
        return 1;
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, every_field_is_changed);
    tcase_add_loop_test(tests, a_change_is_refused_or_counts, 0, NUM_CHANGES);
    tcase_add_test(tests, a_warmup_over_tokens_is_compared);
    tcase_add_loop_test(tests, averages_are_compared, 0, 6);
    tcase_add_loop_test(tests, checkpoints_hold_the_schedules_of_groups, 0, 8);
    suite_add_tcase(suite, tests);
    make_test_directory();
    int status = run_suite(suite, CK_NOFORK);
    remove_test_directory();
    tlm_dataset_free(train_data);
    tlm_dataset_free(valid_data);
    return status;
}
