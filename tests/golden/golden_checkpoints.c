/* Two checkpoints that version 0.2 wrote: they are continued, read and made again. */
#include <unistd.h>

#include "golden_cases.h"

enum { CONTINUED_STEPS = 5 };

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

static const char *temporary_path(void)
{
    static char path[512];
    const char *parent = getenv("TMPDIR");

    snprintf(path, sizeof(path), "%s/tinylm-golden-%ld.safetensors",
             parent != NULL ? parent : "/tmp", (long)getpid());
    return path;
}

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
    save_checkpoint(temporary_path(), model, optimizer, CONTINUED_STEPS, which);
    assert_same_checkpoint(temporary_path(), fixture_path(which));
    run_steps(&losses, model, optimizer, CONTINUED_STEPS, 2 * CONTINUED_STEPS);
    snprintf(name, sizeof(name), "checkpoint_%d.losses", which + 1);
    check_values(&losses, name, 8);
    save_checkpoint(temporary_path(), model, optimizer, UINT64_C(2) * CONTINUED_STEPS, which);
    bytes = comparable_bytes(&size, temporary_path());
    hash = golden_hash(GOLDEN_HASH_START, bytes, size);
    snprintf(name, sizeof(name), "checkpoint_%d.file", which + 1);
    golden_check(name, 16, &hash, 1);
    free(bytes);
    unlink(temporary_path());
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
        golden_check_generation(model, prefix);
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
        make_checkpoint(temporary_path(), which);
        assert_same_checkpoint(temporary_path(), fixture_path(which));
        unlink(temporary_path());
    }
}
END_TEST

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

void golden_add_checkpoints(TCase *tcase, bool made_again)
{
    tcase_add_loop_test(tcase, checkpoints_of_0_2_are_continued, 1, 3);
    tcase_add_loop_test(tcase, models_of_0_2_checkpoints_generate_the_same, 1, 3);
    tcase_add_test(tcase, metadata_of_0_2_is_read);
    if (made_again)
        tcase_add_test(tcase, checkpoints_are_made_again);
}

void golden_add_checkpoint_writer(TCase *tcase, const char *directory)
{
    checkpoint_directory = directory;
    tcase_add_test(tcase, write_both_checkpoints);
}
