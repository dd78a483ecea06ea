/* The tokenizer in a checkpoint: what was saved comes back, with the model and without it, and a
 * resumed run saves it again. */
#include "model_support.h"
#include "run_suite.h"

#include <sys/stat.h>

#include "formats/safetensors.h"

enum { VOCAB = 300 };

static const tlm_model_options_t small = {.size = sizeof(tlm_model_options_t),
                                          .vocab_size = VOCAB,
                                          .context_length = 4,
                                          .d_model = 4,
                                          .num_layers = 1,
                                          .num_heads = 1,
                                          .d_ff = 4,
                                          .seed = 7};

static tlm_model_t *model;
static tlm_tokenizer_t *tokenizer;

static void set_up(void)
{
    const uint32_t ids[2] = {259, 298}; /* with holes between them */

    ASSERT_OK(tlm_model_create(&model, &small));
    tokenizer = make_small_tokenizer(NULL, "<|end|>", "<|turn|>", ids);
}

static void tear_down(void)
{
    tlm_tokenizer_free(tokenizer);
    tlm_model_free(model);
}

static void save(const char *path, const tlm_tokenizer_t *with)
{
    tlm_checkpoint_options_t options = TLM_CHECKPOINT_OPTIONS_INIT;

    options.tokenizer = with;
    ASSERT_OK(tlm_checkpoint_save_with(model, NULL, 3, path, &options));
}

/* The same tokens, and the same ids of a text with everything in it. */
static void assert_equal(const tlm_tokenizer_t *a, const tlm_tokenizer_t *b)
{
    static const char text[] = "the th\xC3\xA9 <|end|> them<|turn|>\xFF\n  42";
    uint32_t n = tlm_tokenizer_vocab_size(a), *ours, *theirs;
    tlm_bytes_t left, right;
    size_t our_size, their_size;

    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_uint_eq(n, tlm_tokenizer_vocab_size(b));
    ck_assert_uint_eq(tlm_tokenizer_num_merges(a), tlm_tokenizer_num_merges(b));
    ck_assert_uint_eq(tlm_tokenizer_num_special_tokens(a), tlm_tokenizer_num_special_tokens(b));
    for (uint32_t id = 0; id < n; id++) {
        tlm_status_t status = tlm_tokenizer_token(&left, a, id);

        ck_assert_int_eq(status, tlm_tokenizer_token(&right, b, id));
        if (status != TLM_OK)
            continue;
        ck_assert_uint_eq(left.size, right.size);
        ck_assert_mem_eq(left.data, right.data, left.size);
    }
    ASSERT_OK(tlm_tokenizer_encode(&ours, &our_size, a, text, sizeof(text) - 1));
    ASSERT_OK(tlm_tokenizer_encode(&theirs, &their_size, b, text, sizeof(text) - 1));
    ck_assert_uint_eq(our_size, their_size);
    ck_assert_mem_eq(ours, theirs, our_size * sizeof(*ours));
    tlm_free(ours);
    tlm_free(theirs);
}

START_TEST(it_comes_back_alone_and_with_the_model)
{
    tlm_tokenizer_t *alone, *beside;
    tlm_model_t *opened;

    save(test_path("with"), tokenizer);
    ASSERT_OK(tlm_checkpoint_tokenizer(&alone, test_path("with")));
    assert_equal(tokenizer, alone);
    ASSERT_OK(tlm_model_open(&opened, &beside, NULL, test_path("with")));
    assert_equal(tokenizer, beside);
    assert_same(model, opened);
    tlm_model_free(opened);
    ASSERT_OK(tlm_model_open(&opened, NULL, NULL, test_path("with")));
    tlm_model_free(opened);
    ASSERT_OK(tlm_model_load(&opened, test_path("with")));
    assert_same(model, opened);
    tlm_model_free(opened);
    ASSERT_OK(tlm_checkpoint_load(NULL, model, NULL, test_path("with")));
    tlm_tokenizer_free(alone);
    tlm_tokenizer_free(beside);
}
END_TEST

START_TEST(there_need_be_none)
{
    tlm_tokenizer_t *none = tokenizer;
    tlm_model_t *opened;

    save(test_path("without"), NULL);
    ASSERT_OK(tlm_checkpoint_tokenizer(&none, test_path("without")));
    ck_assert_ptr_null(none);
    none = tokenizer;
    ASSERT_OK(tlm_model_open(&opened, &none, NULL, test_path("without")));
    ck_assert_ptr_null(none);
    tlm_model_free(opened);
    none = tokenizer;
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "absent", tlm_checkpoint_tokenizer(&none, test_path("absent")));
    ASSERT_FAILS(TLM_ERR_INVALID_ARGUMENT, "path", tlm_checkpoint_tokenizer(&none, NULL));
    ck_assert_ptr_eq(none, tokenizer);
}
END_TEST

/* What is read and saved again is the same file, so that resumed runs keep their bits. */
START_TEST(saved_again_it_has_the_same_bytes)
{
    tlm_tokenizer_t *read;
    unsigned char *first, *second;
    size_t first_size, second_size;

    save(test_path("first"), tokenizer);
    ASSERT_OK(tlm_checkpoint_tokenizer(&read, test_path("first")));
    save(test_path("second"), read);
    first = read_bytes(test_path("first"), &first_size);
    second = read_bytes(test_path("second"), &second_size);
    ck_assert_uint_eq(first_size, second_size);
    ck_assert_mem_eq(first, second, first_size);
    free(first);
    free(second);
    tlm_tokenizer_free(read);
}
END_TEST

START_TEST(what_cannot_be_stored_is_refused)
{
    tlm_checkpoint_options_t options = TLM_CHECKPOINT_OPTIONS_INIT;
    tlm_model_options_t narrow = small;
    tlm_model_t *other;
    tlm_tokenizer_t *words;

    options.tokenizer = tokenizer;
    narrow.vocab_size = 298;
    ASSERT_OK(tlm_model_create(&other, &narrow));
    ASSERT_FAILS(TLM_ERR_RANGE, "299 tokens, but the model has vocab_size 298",
                 tlm_checkpoint_save_with(other, NULL, 0, test_path("refused"), &options));
    write_string(test_path("vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n##m\n");
    ASSERT_OK(tlm_tokenizer_open(&words, test_path("vocab.txt"), NULL));
    options.tokenizer = words;
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "checkpoint_save_with: ",
                 tlm_checkpoint_save_with(model, NULL, 0, test_path("refused"), &options));
    ck_assert_int_ne(access(test_path("refused"), F_OK), 0);
    tlm_tokenizer_free(words);
    tlm_model_free(other);
}
END_TEST

/* Writes a checkpoint of the model whose tokenizer is these bytes. */
static void write_with(const char *path, const char *bytes, size_t size, const char *dtype)
{
    tlmi_safetensors_t file;
    tlmi_st_tensor_t tensors[32] = {{0}};
    tlmi_json_t *metadata = tlmi_json_new_object();
    static const char *const keys[] = {"format", "format_version", "iteration", "config"};

    save(test_path("plain"), NULL);
    ASSERT_OK(tlmi_safetensors_open(&file, test_path("plain")));
    memcpy(tensors, file.tensors, file.num_tensors * sizeof(*tensors));
    for (size_t i = 0; i < 4; i++) {
        const char *text = tlmi_safetensors_metadata(&file, keys[i]);

        ASSERT_OK(tlmi_json_set(metadata, keys[i], tlmi_json_new_string(text, strlen(text))));
    }
    tensors[file.num_tensors] = (tlmi_st_tensor_t){.name = "tokenizer.json",
                                                   .dtype = dtype,
                                                   .shape = {(int64_t)size},
                                                   .ndim = 1,
                                                   .data = bytes,
                                                   .bytes = size};
    ASSERT_OK(tlmi_safetensors_write(path, tensors, file.num_tensors + 1, metadata));
    tlmi_safetensors_close(&file);
}

START_TEST(hostile_bytes_are_refused)
{
    static const struct {
        const char *bytes, *dtype, *message;
    } cases[] = {
        {"", "U8", "hostile"},
        {"{}", "U8", "hostile"},
        {"[1,2]", "U8", "not a JSON object"},
        {"{\"model\":", "U8", "hostile"},
        {"{\"model\":{\"type\":\"Magic\"}}", "U8", "vocab"},
        {"{}", "I8", "no row of bytes"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        tlm_tokenizer_t *made = tokenizer;
        tlm_model_t *opened = model;

        write_with(test_path("hostile"), cases[i].bytes, strlen(cases[i].bytes), cases[i].dtype);
        ck_assert_int_ne(tlm_checkpoint_tokenizer(&made, test_path("hostile")), TLM_OK);
        ck_assert_msg(strstr(tlm_error_message(), cases[i].message) != NULL, "case %zu: %s", i,
                      tlm_error_message());
        ck_assert_ptr_eq(made, tokenizer);
        ck_assert_int_ne(tlm_model_open(&opened, &made, NULL, test_path("hostile")), TLM_OK);
        ck_assert_ptr_eq(opened, model);
        ck_assert_ptr_eq(made, tokenizer);
        ASSERT_OK(tlm_model_open(&opened, NULL, NULL, test_path("hostile")));
        tlm_model_free(opened);
    }
}
END_TEST

/* ---- Trainers --------------------------------------------------------------------------- */

/* Trains to step `until`, after the checkpoint `from`, and saves. */
static void train(const tlm_tokenizer_t *with, const char *from, uint64_t until, const char *to)
{
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    tlm_optimizer_t *optimizer;
    tlm_trainer_t *trainer;
    tlm_dataset_t *data;
    tlm_loader_t *loader;
    uint32_t ids[50];

    for (uint32_t i = 0; i < 50; i++)
        ids[i] = i * i % VOCAB;
    loading.batch_size = 1;
    loading.context_length = 4;
    options.steps = 4;
    options.tokenizer = with;
    ASSERT_OK(tlm_dataset_from_ids(&data, ids, 50));
    ASSERT_OK(tlm_loader_create(&loader, data, &loading));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, TLM_NO_DECAY_NORMS, NULL));
    ASSERT_OK(tlm_trainer_create(&trainer, model, optimizer, loader, &options));
    if (from != NULL)
        ASSERT_OK(tlm_trainer_resume(trainer, from));
    ASSERT_OK(tlm_trainer_run(trainer, until));
    ASSERT_OK(tlm_trainer_save(trainer, to));
    tlm_trainer_free(trainer);
    tlm_optimizer_free(optimizer);
    tlm_loader_free(loader);
    tlm_dataset_free(data);
}

START_TEST(a_resumed_run_keeps_it)
{
    unsigned char *whole, *parts;
    size_t whole_size, parts_size;
    tlm_tokenizer_t *saved;
    tlm_model_t *first = model;

    train(tokenizer, NULL, 0, test_path("whole"));
    ASSERT_OK(tlm_model_create(&model, &small));
    train(tokenizer, NULL, 2, test_path("half"));
    train(NULL, test_path("half"), 0, test_path("parts"));
    ASSERT_OK(tlm_checkpoint_tokenizer(&saved, test_path("parts")));
    assert_equal(tokenizer, saved);
    whole = read_bytes(test_path("whole"), &whole_size);
    parts = read_bytes(test_path("parts"), &parts_size);
    ck_assert_uint_eq(whole_size, parts_size);
    ck_assert_mem_eq(whole, parts, whole_size);
    free(whole);
    free(parts);
    tlm_tokenizer_free(saved);
    tlm_model_free(first);
}
END_TEST

START_TEST(a_trainer_refuses_at_once_what_it_could_not_save)
{
    tlm_trainer_options_t options = TLM_TRAINER_OPTIONS_INIT;
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    tlm_optimizer_t *optimizer;
    tlm_trainer_t *trainer = NULL;
    tlm_dataset_t *data;
    tlm_loader_t *loader;

    write_string(test_path("vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n##m\n");
    tlm_tokenizer_free(tokenizer);
    ASSERT_OK(tlm_tokenizer_open(&tokenizer, test_path("vocab.txt"), NULL));
    loading.batch_size = 1;
    loading.context_length = 4;
    options.steps = 4;
    options.tokenizer = tokenizer;
    ASSERT_OK(tlm_dataset_from_ids(&data, (const uint32_t[]){1, 2, 3, 4, 5, 6}, 6));
    ASSERT_OK(tlm_loader_create(&loader, data, &loading));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, TLM_NO_DECAY_NORMS, NULL));
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "trainer_create: ",
                 tlm_trainer_create(&trainer, model, optimizer, loader, &options));
    ck_assert_ptr_null(trainer);
    tlm_optimizer_free(optimizer);
    tlm_loader_free(loader);
    tlm_dataset_free(data);
}
END_TEST

/* ---- Directories ------------------------------------------------------------------------ */

START_TEST(a_directory_is_opened_at_its_latest)
{
    tlm_checkpoint_options_t options = TLM_CHECKPOINT_OPTIONS_INIT;
    char run[300], inner[320], file[400];
    tlm_tokenizer_t *beside;
    tlm_model_t *opened;

    snprintf(run, sizeof(run), "%s", test_path("run"));
    snprintf(inner, sizeof(inner), "%s/checkpoints", run);
    ck_assert_int_eq(mkdir(run, 0777), 0);
    ASSERT_FAILS(TLM_ERR_NOT_FOUND, "neither config.json nor an intact checkpoint",
                 tlm_model_open(&opened, NULL, NULL, run));
    options.tokenizer = tokenizer;
    ASSERT_OK(tlm_checkpoint_dir_save(model, NULL, 1, inner, 0, NULL));
    ASSERT_OK(tlm_checkpoint_dir_save(model, NULL, 2, inner, 0, &options));
    snprintf(file, sizeof(file), "%s/config.json", run);
    write_string(file, "{\"steps\": 2}"); /* that of train_lm */
    for (int i = 0; i < 2; i++) {
        ASSERT_OK(tlm_model_open(&opened, &beside, NULL, i == 0 ? run : inner));
        assert_same(model, opened);
        assert_equal(tokenizer, beside);
        tlm_tokenizer_free(beside);
        tlm_model_free(opened);
    }
    unlink(file);
    for (int i = 1; i <= 2; i++) {
        snprintf(file, sizeof(file), "%s/step-%08d.safetensors", inner, i);
        ck_assert_int_eq(unlink(file), 0);
    }
    rmdir(inner);
    rmdir(run);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checkpoint tokenizer");
    TCase *tcase = tcase_create("checkpoint tokenizer");
    int failed;

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, it_comes_back_alone_and_with_the_model);
    tcase_add_test(tcase, there_need_be_none);
    tcase_add_test(tcase, saved_again_it_has_the_same_bytes);
    tcase_add_test(tcase, what_cannot_be_stored_is_refused);
    tcase_add_test(tcase, hostile_bytes_are_refused);
    tcase_add_test(tcase, a_resumed_run_keeps_it);
    tcase_add_test(tcase, a_trainer_refuses_at_once_what_it_could_not_save);
    tcase_add_test(tcase, a_directory_is_opened_at_its_latest);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return failed;
}
