/* Bits that must not change: what version 0.2 computed, recorded in golden.txt, and two checkpoints
 * that it wrote. Losses, parameters and generated ids are those of one CPU level with one kernel
 * family; other kernels, and other versions of libm, may round otherwise, so what was not recorded
 * with them is reported as skipped.
 *
 *     test_golden [GROUP]...                      compares; scalar, avx2, avx512, data: all
 *     test_golden --record FILE [GROUP]...        writes what golden.txt has of this CPU
 *     test_golden --write-checkpoints DIRECTORY   writes the two checkpoints
 *
 * After an intended change of bits: record, look at the difference, and replace golden.txt. Never
 * replace the checkpoints: that files of 0.2 can be continued is the point of them. The texts of
 * "data" lie in $TINYLM_TEST_DATA. */
#include <math.h>
#include <unistd.h>

#include "golden_record.h"
#include "golden_support.h"
#include "run_suite.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define ASSERT_OK(call)                                                                            \
    do {                                                                                           \
        tlm_status_t ok_status_ = (call);                                                          \
        ck_assert_msg(ok_status_ == TLM_OK, "%s: %s", #call, tlm_error_message());                 \
    } while (0)

enum { SKIPPED = 77, STEPS = 50, CONTINUED_STEPS = 5, GENERATED = 60, DATA_LENGTH = 20000 };
/* So many tokens that the products of the weights' gradients are summed up in several blocks. */
enum { LARGE_BATCH = 20 };

static char temporary_path[512];

/* Values that belong to one name, as they come. */
typedef struct values {
    uint64_t values[GOLDEN_MAX_VALUES];
    size_t n;
} values_t;

static void add_value(values_t *values, uint64_t value)
{
    ck_assert_uint_lt(values->n, GOLDEN_MAX_VALUES);
    values->values[values->n++] = value;
}

static void check_values(const values_t *values, const char *name, int digits)
{
    golden_check(name, digits, values->values, values->n);
}

/* Loop tests run on one thread and on two; one is enough to record. */
static bool begin_on_threads(int threads)
{
    ASSERT_OK(tlm_set_num_threads(threads));
    return golden_output == NULL || threads == 1;
}

static unsigned char *read_file(size_t *size, const char *path)
{
    FILE *file = fopen(path, "rb");
    unsigned char *bytes;

    ck_assert_msg(file != NULL, "%s cannot be read", path);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(*size + 1);
    ck_assert_uint_eq(fread(bytes, 1, *size, file), *size);
    fclose(file);
    return bytes;
}

/* ---- Models ----------------------------------------------------------------------------- */

/* CS336's structure, of sizes that fill the kernels' tiles. */
static const tlm_model_options_t cs336_shape = {.size = sizeof(tlm_model_options_t),
                                                .vocab_size = 640,
                                                .context_length = 64,
                                                .d_model = 64,
                                                .num_layers = 4,
                                                .num_heads = 4,
                                                .seed = 336};

/* What 0.2 added to it, of sizes that fill no tile. */
static const tlm_model_options_t variant_shape = {.size = sizeof(tlm_model_options_t),
                                                  .vocab_size = 301,
                                                  .context_length = 37,
                                                  .d_model = 60,
                                                  .num_layers = 3,
                                                  .num_heads = 6,
                                                  .num_kv_heads = 2,
                                                  .d_ff = 100,
                                                  .rope_theta = 5000.0,
                                                  .seed = 2,
                                                  .norm = TLM_NORM_POST,
                                                  .tied_embeddings = true};

/* Those of the checkpoints: format version 1, which 0.1 reads too, and version 2. */
static const tlm_model_options_t checkpoint_shapes[2] = {{.size = sizeof(tlm_model_options_t),
                                                          .vocab_size = 48,
                                                          .context_length = 16,
                                                          .d_model = 16,
                                                          .num_layers = 1,
                                                          .num_heads = 2,
                                                          .d_ff = 24,
                                                          .seed = 3},
                                                         {.size = sizeof(tlm_model_options_t),
                                                          .vocab_size = 48,
                                                          .context_length = 16,
                                                          .d_model = 16,
                                                          .num_layers = 2,
                                                          .num_heads = 4,
                                                          .num_kv_heads = 2,
                                                          .d_ff = 16,
                                                          .seed = 4,
                                                          .norm = TLM_NORM_POST,
                                                          .tied_embeddings = true}};

static void check_parameters(const tlm_model_t *model, const char *name)
{
    uint64_t hash;

    ASSERT_OK(golden_hash_parameters(&hash, model));
    golden_check(name, 16, &hash, 1);
}

/* ---- Generation ------------------------------------------------------------------------- */

/* A greedy and a sampled sequence side by side, past the context, so that the window slides. */
static void check_generation(tlm_model_t *model, const char *prefix)
{
    static const char *const names[] = {"greedy", "sampled"};
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    static const uint32_t prompt[] = {5, 17, 41, 2, 30};
    tlm_generator_t *generator;
    size_t sequence, running;
    char name[64];

    options.max_tokens = GENERATED;
    ASSERT_OK(tlm_generator_create(&generator, model));
    ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, COUNT(prompt), &options));
    options.temperature = 0.9;
    options.top_k = 30;
    options.top_p = 0.95;
    options.min_p = 0.001;
    options.repetition_penalty = 1.1;
    options.seed = 11;
    ASSERT_OK(tlm_generator_add(&sequence, generator, prompt, COUNT(prompt), &options));
    do
        ASSERT_OK(tlm_generator_step(&running, generator));
    while (running > 0);
    for (size_t i = 0; i < COUNT(names); i++) {
        values_t ids = {.n = 0}, scores = {.n = 0};
        const float *log_probs;
        const uint32_t *tokens;
        size_t n;

        ASSERT_OK(tlm_generator_tokens(&tokens, &log_probs, &n, generator, i));
        ck_assert_uint_eq(n, GENERATED);
        for (size_t k = 0; k < n; k++) {
            add_value(&ids, tokens[k]);
            add_value(&scores, golden_float_bits(log_probs[k]));
        }
        snprintf(name, sizeof(name), "%s.%s.ids", prefix, names[i]);
        check_values(&ids, name, 3);
        snprintf(name, sizeof(name), "%s.%s.log_probs", prefix, names[i]);
        check_values(&scores, name, 8);
    }
    tlm_generator_free(generator);
}

/* One prompt by one call, and the score of what it gave. */
static void check_one_call(tlm_model_t *model, const char *prefix)
{
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;
    static const uint32_t prompt[] = {9, 1};
    values_t values = {.n = 0};
    uint64_t total_bits;
    double total;
    char name[64];
    uint32_t *ids;
    size_t n;

    options.max_tokens = 2 * GENERATED;
    options.temperature = 1.0;
    options.seed = 23;
    ASSERT_OK(tlm_model_generate(&ids, &n, model, prompt, COUNT(prompt), &options, NULL, NULL));
    for (size_t i = 0; i < n; i++)
        add_value(&values, ids[i]);
    snprintf(name, sizeof(name), "%s.one_call.ids", prefix);
    check_values(&values, name, 3);
    ASSERT_OK(tlm_model_score(&total, NULL, model, ids, n, 0));
    total_bits = golden_double_bits(total);
    snprintf(name, sizeof(name), "%s.one_call.score", prefix);
    golden_check(name, 16, &total_bits, 1);
    tlm_free(ids);
}

/* ---- Training --------------------------------------------------------------------------- */

START_TEST(training_keeps_its_bits)
{
    golden_run_t run = {NULL, 4, cs336_shape.context_length, 7, STEPS, 0.01};
    values_t losses = {.n = 0}, norms = {.n = 0};
    tlm_optimizer_t *optimizer;
    tlm_dataset_t *data;
    tlm_model_t *model;

    if (!begin_on_threads(_i))
        return;
    ASSERT_OK(golden_make_data(&data, DATA_LENGTH, (uint32_t)cs336_shape.vocab_size, 1));
    ASSERT_OK(tlm_model_create(&model, &cs336_shape));
    check_parameters(model, "train.fresh_parameters");
    ASSERT_OK(golden_make_optimizer(&optimizer, model, 0));
    run.data = data;
    for (uint64_t step = 0; step < STEPS; step++) {
        double norm;
        float loss;

        ASSERT_OK(golden_step(&loss, &norm, model, optimizer, &run, step));
        add_value(&losses, golden_float_bits(loss));
        add_value(&norms, golden_double_bits(norm));
    }
    check_values(&losses, "train.losses", 8);
    check_values(&norms, "train.gradient_norms", 16);
    check_parameters(model, "train.parameters");
    check_generation(model, "train");
    check_one_call(model, "train");
    run.batch = LARGE_BATCH;
    losses.n = 0;
    for (uint64_t step = STEPS; step < STEPS + 3; step++) {
        double norm;
        float loss;

        ASSERT_OK(golden_step(&loss, &norm, model, optimizer, &run, step));
        add_value(&losses, golden_float_bits(loss));
    }
    check_values(&losses, "train.large_batch.losses", 8);
    check_parameters(model, "train.large_batch.parameters");
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    tlm_dataset_free(data);
}
END_TEST

/* Grouped queries, post-norm, tied embeddings; by a trainer, with prefetched batches of shuffled
 * windows, accumulated gradients and activation checkpointing. */
START_TEST(the_variant_keeps_its_bits)
{
    tlm_schedule_options_t schedule = TLM_SCHEDULE_OPTIONS_INIT;
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    values_t losses = {.n = 0}, norms = {.n = 0};
    tlm_evaluation_t evaluation = TLM_EVALUATION_INIT;
    tlm_dataset_t *data, *valid;
    tlm_optimizer_t *optimizer;
    tlm_trainer_t *trainer;
    tlm_loader_t *loader;
    tlm_model_t *model;
    uint64_t bits;

    if (!begin_on_threads(_i))
        return;
    ASSERT_OK(golden_make_data(&data, DATA_LENGTH, (uint32_t)variant_shape.vocab_size, 2));
    ASSERT_OK(golden_make_data(&valid, 1000, (uint32_t)variant_shape.vocab_size, 3));
    ASSERT_OK(tlm_model_create(&model, &variant_shape));
    ASSERT_OK(golden_make_optimizer(&optimizer, model, TLM_NO_DECAY_NORMS));
    loading.batch_size = 3;
    loading.context_length = variant_shape.context_length;
    loading.seed = 13;
    loading.order = TLM_ORDER_SHUFFLED;
    loading.prefetch = 2;
    ASSERT_OK(tlm_loader_create(&loader, data, &loading));
    schedule.kind = TLM_SCHEDULE_COSINE;
    schedule.max_learning_rate = 0.01;
    schedule.min_learning_rate = 0.001;
    schedule.warmup_steps = 4;
    schedule.total_steps = STEPS;
    options.steps = STEPS;
    options.schedule = &schedule;
    options.clip_norm = 0.5;
    options.accumulation = 2;
    options.valid = valid;
    options.activation_checkpointing = true;
    ASSERT_OK(tlm_trainer_create(&trainer, model, optimizer, loader, &options));
    for (int step = 0; step < STEPS; step++) {
        tlm_train_step_t done = TLM_TRAIN_STEP_INIT;

        ASSERT_OK(tlm_trainer_step(&done, trainer));
        add_value(&losses, golden_double_bits(done.loss));
        add_value(&norms, golden_double_bits(done.gradient_norm));
    }
    check_values(&losses, "variant.losses", 16);
    check_values(&norms, "variant.gradient_norms", 16);
    check_parameters(model, "variant.parameters");
    ASSERT_OK(tlm_trainer_evaluate(&evaluation, trainer));
    bits = golden_double_bits(evaluation.loss);
    golden_check("variant.evaluation", 16, &bits, 1);
    check_generation(model, "variant");
    check_one_call(model, "variant");
    tlm_trainer_free(trainer);
    tlm_loader_free(loader);
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    tlm_dataset_free(valid);
    tlm_dataset_free(data);
}
END_TEST

/* ---- Checkpoints ------------------------------------------------------------------------ */

static const char checkpoint_metadata[] = "{\"note\": \"written by 0.2\"}";

static const char *fixture_path(int which)
{
    return which == 0 ? GOLDEN_DIRECTORY "/checkpoint_1.safetensors"
                      : GOLDEN_DIRECTORY "/checkpoint_2.safetensors";
}

/* Steps `from` to `to` of the run that the checkpoints belong to. */
static void run_steps(values_t *losses, tlm_model_t *model, tlm_optimizer_t *optimizer,
                      uint64_t from, uint64_t to)
{
    golden_run_t run = {NULL, 2, 16, 19, 2 * CONTINUED_STEPS, 0.01};
    tlm_dataset_t *data;

    ASSERT_OK(golden_make_data(&data, 500, 48, 4));
    run.data = data;
    for (uint64_t step = from; step < to; step++) {
        double norm;
        float loss;

        ASSERT_OK(golden_step(&loss, &norm, model, optimizer, &run, step));
        add_value(losses, golden_float_bits(loss));
    }
    tlm_dataset_free(data);
}

static void save_checkpoint(const char *path, const tlm_model_t *model, tlm_optimizer_t *optimizer,
                            uint64_t iteration, int which)
{
    tlm_checkpoint_options_t options = TLM_CHECKPOINT_OPTIONS_INIT;

    if (which == 0) {
        ASSERT_OK(tlm_checkpoint_save(model, optimizer, iteration, path));
    } else {
        options.metadata = checkpoint_metadata;
        options.has_validation_loss = true;
        options.validation_loss = 2.5;
        ASSERT_OK(tlm_checkpoint_save_with(model, optimizer, iteration, path, &options));
    }
}

/* A checkpoint after five steps from fresh parameters. */
static void make_checkpoint(const char *path, int which)
{
    values_t losses = {.n = 0};
    tlm_optimizer_t *optimizer;
    tlm_model_t *model;

    ASSERT_OK(tlm_model_create(&model, &checkpoint_shapes[which]));
    ASSERT_OK(golden_make_optimizer(&optimizer, model, which == 0 ? 0 : TLM_NO_DECAY_NORMS));
    run_steps(&losses, model, optimizer, 0, CONTINUED_STEPS);
    save_checkpoint(path, model, optimizer, CONTINUED_STEPS, which);
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
}

/* Overwrites what follows `key` in a header, up to the next quote. */
static void blank_value(char *header, const char *key, const char *path)
{
    char *value = strstr(header, key);

    ck_assert_msg(value != NULL, "%s has no %s", path, key);
    for (value += strlen(key); *value != '"' && *value != '\0'; value++)
        *value = '-';
}

/* The bytes of a checkpoint with two values blanked that change with the library's version: the
 * version itself and the checksum, which includes it. The loader verifies the checksum. */
static unsigned char *comparable_bytes(size_t *size, const char *path)
{
    unsigned char *bytes = read_file(size, path);
    uint64_t length = 0;
    char *header;

    for (int i = 7; i >= 0; i--)
        length = length << 8 | bytes[i];
    ck_assert_uint_lt(length, *size - 8);
    header = strndup((char *)bytes + 8, length);
    blank_value(header, "\"library_version\":\"", path);
    blank_value(header, "\"checksum\":\"crc64xz:", path);
    memcpy(bytes + 8, header, length);
    free(header);
    return bytes;
}

static void assert_same_checkpoint(const char *path, const char *expected_path)
{
    size_t size, expected_size;
    unsigned char *bytes = comparable_bytes(&size, path);
    unsigned char *expected = comparable_bytes(&expected_size, expected_path);

    ck_assert_uint_eq(size, expected_size);
    for (size_t i = 0; i < size; i++)
        ck_assert_msg(bytes[i] == expected[i], "byte %zu is not that of %s", i, expected_path);
    free(expected);
    free(bytes);
}

static void load_fixture(tlm_model_t **model, tlm_optimizer_t **optimizer, int which)
{
    uint64_t iteration;

    ASSERT_OK(tlm_model_create(model, &checkpoint_shapes[which]));
    ASSERT_OK(golden_make_optimizer(optimizer, *model, which == 0 ? 0 : TLM_NO_DECAY_NORMS));
    ASSERT_OK(tlm_checkpoint_load(&iteration, *model, *optimizer, fixture_path(which)));
    ck_assert_uint_eq(iteration, CONTINUED_STEPS);
}

static void continue_checkpoint(int which)
{
    values_t losses = {.n = 0};
    tlm_optimizer_t *optimizer;
    tlm_model_t *model;
    unsigned char *bytes;
    uint64_t hash;
    char name[64];
    size_t size;

    load_fixture(&model, &optimizer, which);
    save_checkpoint(temporary_path, model, optimizer, CONTINUED_STEPS, which);
    assert_same_checkpoint(temporary_path, fixture_path(which));
    run_steps(&losses, model, optimizer, CONTINUED_STEPS, 2 * CONTINUED_STEPS);
    snprintf(name, sizeof(name), "checkpoint_%d.losses", which + 1);
    check_values(&losses, name, 8);
    save_checkpoint(temporary_path, model, optimizer, UINT64_C(2) * CONTINUED_STEPS, which);
    bytes = comparable_bytes(&size, temporary_path);
    hash = golden_hash(GOLDEN_HASH_START, bytes, size);
    snprintf(name, sizeof(name), "checkpoint_%d.file", which + 1);
    golden_check(name, 16, &hash, 1);
    free(bytes);
    unlink(temporary_path);
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
}

START_TEST(checkpoints_of_0_2_are_continued)
{
    if (!begin_on_threads(_i))
        return;
    for (int which = 0; which < 2; which++)
        continue_checkpoint(which);
}
END_TEST

START_TEST(models_of_0_2_checkpoints_generate_the_same)
{
    if (!begin_on_threads(_i))
        return;
    for (int which = 0; which < 2; which++) {
        const char *prefix = which == 0 ? "checkpoint_1" : "checkpoint_2";
        tlm_model_t *model;

        ASSERT_OK(tlm_model_load(&model, fixture_path(which)));
        check_generation(model, prefix);
        check_one_call(model, prefix);
        tlm_model_free(model);
    }
}
END_TEST

START_TEST(metadata_of_0_2_is_read)
{
    uint64_t iteration;
    char *metadata;

    ASSERT_OK(tlm_checkpoint_metadata(&metadata, &iteration, fixture_path(1)));
    ck_assert_str_eq(metadata, checkpoint_metadata);
    ck_assert_uint_eq(iteration, CONTINUED_STEPS);
    tlm_free(metadata);
}
END_TEST

/* They were made on the scalar level. */
START_TEST(checkpoints_are_made_again)
{
    for (int which = 0; which < 2; which++) {
        make_checkpoint(temporary_path, which);
        assert_same_checkpoint(temporary_path, fixture_path(which));
        unlink(temporary_path);
    }
}
END_TEST

/* ---- Tokenizer -------------------------------------------------------------------------- */

static const tlm_bytes_t end_of_text = {(const uint8_t *)"<|endoftext|>", 13};
static const char *const training_texts[] = {"corpus.en", "tinyshakespeare.txt",
                                             "wikitext2_valid.txt"};
static const char *const all_texts[] = {"address.txt",         "corpus.en",
                                        "german.txt",          "stories_like.txt",
                                        "tinyshakespeare.txt", "tinystories_sample.txt",
                                        "wikitext2_valid.txt"};

static const char *data_path(const char *name)
{
    static char paths[4][600];
    static int next;
    const char *directory = getenv("TINYLM_TEST_DATA");
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", directory != NULL ? directory : TEST_DATA_DEFAULT,
             name);
    return path;
}

static bool has_data(const char *name)
{
    return access(data_path(name), R_OK) == 0;
}

/* How many ids the text has, and their hash. */
static void add_ids(values_t *values, const tlm_tokenizer_t *tokenizer, const char *text_name)
{
    size_t size, n;
    unsigned char *text = read_file(&size, data_path(text_name));
    uint32_t *ids;

    ASSERT_OK(tlm_tokenizer_encode(&ids, &n, tokenizer, text, size));
    add_value(values, n);
    add_value(values, golden_hash(GOLDEN_HASH_START, ids, n * sizeof(*ids)));
    tlm_free(ids);
    free(text);
}

/* How many merges there are, and the hash of their sides, each behind its length. */
static void add_merges(values_t *values, const tlm_tokenizer_t *tokenizer)
{
    uint32_t n = tlm_tokenizer_num_merges(tokenizer);
    uint64_t hash = GOLDEN_HASH_START;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t sides[2];

        ASSERT_OK(tlm_tokenizer_merge(&sides[0], &sides[1], tokenizer, i));
        for (int side = 0; side < 2; side++) {
            tlm_bytes_t bytes;
            uint32_t length;

            ASSERT_OK(tlm_tokenizer_token(&bytes, tokenizer, sides[side]));
            length = (uint32_t)bytes.size;
            hash = golden_hash(hash, &length, sizeof(length));
            hash = golden_hash(hash, bytes.data, bytes.size);
        }
    }
    add_value(values, n);
    add_value(values, hash);
}

static void check_trained_tokenizer(const char *text_name)
{
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    values_t merges = {.n = 0}, ids = {.n = 0};
    tlm_tokenizer_t *tokenizer;
    tlm_bpe_trainer_t *trainer;
    char name[64];

    options.vocab_size = 2000;
    options.special_tokens = &end_of_text;
    options.num_special_tokens = 1;
    ASSERT_OK(tlm_bpe_trainer_create(&trainer, &options));
    ASSERT_OK(tlm_bpe_trainer_add_file(trainer, data_path(text_name)));
    ASSERT_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
    add_merges(&merges, tokenizer);
    snprintf(name, sizeof(name), "merges.%s", text_name);
    check_values(&merges, name, 16);
    add_ids(&ids, tokenizer, text_name);
    snprintf(name, sizeof(name), "own_ids.%s", text_name);
    check_values(&ids, name, 16);
    tlm_tokenizer_free(tokenizer);
    tlm_bpe_trainer_free(trainer);
}

START_TEST(merges_of_real_texts_stay)
{
    if (!begin_on_threads(_i))
        return;
    for (size_t i = 0; i < COUNT(training_texts); i++)
        if (has_data(training_texts[i]))
            check_trained_tokenizer(training_texts[i]);
}
END_TEST

START_TEST(ids_of_real_texts_stay)
{
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer;

    if (!begin_on_threads(_i))
        return;
    options.special_tokens = &end_of_text;
    options.num_special_tokens = 1;
    ASSERT_OK(tlm_tokenizer_load(&tokenizer, data_path("gpt2_vocab.json"),
                                 data_path("gpt2_merges.txt"), &options));
    for (size_t i = 0; i < COUNT(all_texts); i++) {
        values_t ids = {.n = 0};
        char name[64];

        if (!has_data(all_texts[i]))
            continue;
        add_ids(&ids, tokenizer, all_texts[i]);
        snprintf(name, sizeof(name), "gpt2_ids.%s", all_texts[i]);
        check_values(&ids, name, 16);
    }
    tlm_tokenizer_free(tokenizer);
}
END_TEST

/* ---- Groups ----------------------------------------------------------------------------- */

static int run_cases(TCase *tcase)
{
    Suite *suite = suite_create(golden_group);

    tcase_set_timeout(tcase, 300);
    suite_add_tcase(suite, tcase);
    return run_suite(suite, golden_output != NULL ? CK_NOFORK : CK_FORK_GETENV);
}

/* A hash of what libm gives where the library calls it: its results are not the same everywhere. */
static uint64_t hash_libm(void)
{
    uint64_t hash = GOLDEN_HASH_START;

    for (int i = 1; i <= 3000; i++) {
        double x = i / 97.0;
        double wide[] = {exp(-x), log(x), cos(x), sin(x), pow(10000.0, -x / 31.0), pow(0.95, i)};
        float narrow[] = {expf((float)-x), logf((float)x)};

        hash = golden_hash(hash, wide, sizeof(wide));
        hash = golden_hash(hash, narrow, sizeof(narrow));
    }
    return hash;
}

/* False, with the reason printed, if nothing was recorded of this libm. */
static bool libm_is_recorded(void)
{
    uint64_t recorded[GOLDEN_MAX_VALUES], hash = hash_libm();
    bool found;
    size_t n = golden_find(recorded, &found, "common/libm");

    for (size_t i = 0; i < n; i++)
        if (recorded[i] == hash)
            return true;
    printf("skipped: nothing is recorded of a libm with the results of this one\n");
    return false;
}

static int run_level(int32_t level)
{
    const char *name = tlm_cpu_level_name(level);
    TCase *tcase;

    if (tlm_set_cpu_level(level) != TLM_OK) {
        printf("%s skipped: %s\n", name, tlm_error_message());
        return SKIPPED;
    }
    snprintf(golden_group, sizeof(golden_group), "%s/%s", name, tlm_gemm_kernel_name());
    if (golden_output == NULL && !golden_group_is_recorded()) {
        printf("%s skipped: nothing is recorded of its kernel family %s\n", name,
               tlm_gemm_kernel_name());
        return SKIPPED;
    }
    if (golden_output == NULL && !libm_is_recorded())
        return SKIPPED;
    tcase = tcase_create(golden_group);
    tcase_add_loop_test(tcase, training_keeps_its_bits, 1, 3);
    tcase_add_loop_test(tcase, the_variant_keeps_its_bits, 1, 3);
    tcase_add_loop_test(tcase, checkpoints_of_0_2_are_continued, 1, 3);
    tcase_add_loop_test(tcase, models_of_0_2_checkpoints_generate_the_same, 1, 3);
    tcase_add_test(tcase, metadata_of_0_2_is_read);
    if (level == TLM_CPU_SCALAR)
        tcase_add_test(tcase, checkpoints_are_made_again);
    return run_cases(tcase);
}

/* Merges and ids are the same on all levels. */
static int run_data(void)
{
    TCase *tcase = tcase_create("data");
    bool complete = true;

    snprintf(golden_group, sizeof(golden_group), "data");
    for (size_t i = 0; i < COUNT(all_texts); i++)
        if (!has_data(all_texts[i])) {
            printf("%s skipped: there is no such file\n", data_path(all_texts[i]));
            complete = false;
        }
    tcase_add_loop_test(tcase, merges_of_real_texts_stay, 1, 3);
    if (has_data("gpt2_vocab.json") && has_data("gpt2_merges.txt"))
        tcase_add_loop_test(tcase, ids_of_real_texts_stay, 1, 3);
    else
        complete = false;
    return run_cases(tcase) != 0 ? 1 : complete ? 0 : SKIPPED;
}

/* All groups, or those of the arguments: 1 if one failed, SKIPPED if none failed and one was
 * skipped. */
static int run_groups(char **names, int n)
{
    int result = 0;

    for (int32_t group = TLM_CPU_SCALAR; group <= TLM_CPU_AVX512 + 1; group++) {
        const char *name = group <= TLM_CPU_AVX512 ? tlm_cpu_level_name(group) : "data";
        bool wanted = n == 0;
        int status = 0;

        for (int i = 0; i < n; i++)
            wanted |= strcmp(names[i], name) == 0;
        if (wanted)
            status = group <= TLM_CPU_AVX512 ? run_level(group) : run_data();
        if (status == 1 || result == 0)
            result = status;
    }
    return result;
}

/* ---- Recording -------------------------------------------------------------------------- */

static int record(const char *path, char **groups, int n)
{
    int status;

    golden_output = fopen(path, "w");
    if (golden_output == NULL) {
        perror(path);
        return 2;
    }
    fprintf(golden_output,
            "# Made by test_golden --record with libtinylm %s; see the top of test_golden.c.\n"
            "# Names are level/kernel family/what; float32 bits have 8 digits, float64 bits and\n"
            "# hashes 16. Of the texts: how many ids or merges there are, and their hash.\n"
            "common/libm:\n    %016" PRIx64 "\n",
            tlm_version(), hash_libm());
    status = run_groups(groups, n);
    return fclose(golden_output) == 0 ? status : 2;
}

static const char *checkpoint_directory;

/* A case, because the macros of Check work in one only. */
START_TEST(write_both_checkpoints)
{
    char path[600];

    ASSERT_OK(tlm_set_cpu_level(TLM_CPU_SCALAR));
    for (int which = 0; which < 2; which++) {
        snprintf(path, sizeof(path), "%s/checkpoint_%d.safetensors", checkpoint_directory,
                 which + 1);
        make_checkpoint(path, which);
    }
}
END_TEST

static int write_checkpoints(const char *directory)
{
    TCase *tcase = tcase_create("write_checkpoints");

    checkpoint_directory = directory;
    tcase_add_test(tcase, write_both_checkpoints);
    return run_cases(tcase);
}

int main(int argc, char **argv)
{
    const char *parent = getenv("TMPDIR");

    snprintf(temporary_path, sizeof(temporary_path), "%s/tinylm-golden-%ld.safetensors",
             parent != NULL ? parent : "/tmp", (long)getpid());
    if (argc >= 3 && strcmp(argv[1], "--record") == 0)
        return record(argv[2], argv + 3, argc - 3);
    if (argc == 3 && strcmp(argv[1], "--write-checkpoints") == 0)
        return write_checkpoints(argv[2]);
    return run_groups(argv + 1, argc - 1);
}
