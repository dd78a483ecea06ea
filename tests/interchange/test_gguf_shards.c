/* Models in several GGUF files: any file opens all of them, and files that are missing, twice or of another
 * model are refused by name. */
#include "model_support.h"
#include "run_suite.h"

#include "base/file.h"
#include "formats/gguf.h"

enum { SHARDS = 3 };

static const tlm_model_options_t tiny = {.size = sizeof(tlm_model_options_t),
                                         .vocab_size = 300,
                                         .context_length = 6,
                                         .d_model = 8,
                                         .num_layers = 2,
                                         .num_heads = 2,
                                         .d_ff = 12,
                                         .seed = 7,
                                         .num_kv_heads = 1};

static tlm_model_t *model;
static tlm_tokenizer_t *tokenizer;

/* The path of file `number`, counted from 0; one of a few static buffers. */
static const char *shard_path(int number)
{
    char name[64];

    snprintf(name, sizeof(name), "model-%05d-of-%05d.gguf", number + 1, SHARDS);
    return test_path(name);
}

static void put_bytes(tlmi_gguf_writer_t *writer, const void *bytes, size_t size)
{
    ASSERT_OK(tlmi_writer_write(writer->file, bytes, size));
}

static size_t tensor_size(const tlmi_gguf_tensor_t *tensor)
{
    size_t size = sizeof(float);

    for (int32_t i = 0; i < tensor->ndim; i++)
        size *= (size_t)tensor->shape[i];
    return size;
}

/* What a file says of itself. */
typedef struct numbers {
    uint32_t number, count, tensors;
} numbers_t;

/* Writes tensors first .. end - 1 of the whole file. */
static void write_shard(const tlmi_gguf_t *whole, const char *path, const numbers_t *numbers,
                        bool with_keys, size_t first, size_t end)
{
    tlmi_gguf_writer_t writer;
    uint64_t place = 0;
    char name[96];

    ASSERT_OK(tlmi_gguf_begin(&writer, path, end - first));
    for (size_t i = 0; with_keys && i < whole->num_values; i++)
        ASSERT_OK(tlmi_gguf_put_copy(&writer, &whole->values[i]));
    ASSERT_OK(tlmi_gguf_put_uint32(&writer, "split.no", numbers->number));
    ASSERT_OK(tlmi_gguf_put_uint32(&writer, "split.count", numbers->count));
    ASSERT_OK(tlmi_gguf_put_uint32(&writer, "split.tensors.count", numbers->tensors));
    for (size_t i = first; i < end; i++) {
        const tlmi_gguf_tensor_t *tensor = &whole->tensors[i];

        snprintf(name, sizeof(name), "%.*s", (int)tensor->name_size, tensor->name);
        ASSERT_OK(
            tlmi_gguf_put_tensor(&writer, name, tensor->shape, tensor->ndim, tensor->type, place));
        place += tlmi_gguf_aligned(tensor_size(tensor));
    }
    for (size_t i = first; i < end; i++) {
        ASSERT_OK(tlmi_gguf_align(&writer));
        put_bytes(&writer, whole->tensors[i].data, tensor_size(&whole->tensors[i]));
    }
    ASSERT_OK(tlmi_gguf_align(&writer));
    ASSERT_OK(tlmi_gguf_commit(&writer));
}

/* Writes file `number` of the model as it should be. */
static void write_usual(const tlmi_gguf_t *whole, int number)
{
    const size_t n = whole->num_tensors;
    const numbers_t numbers = {(uint32_t)number, SHARDS, (uint32_t)n};

    write_shard(whole, shard_path(number), &numbers, number == 0, n * (size_t)number / SHARDS,
                n * (size_t)(number + 1) / SHARDS);
}

static tlmi_gguf_t whole;

static void set_up(void)
{
    ASSERT_OK(tlm_model_create(&model, &tiny));
    tokenizer = make_small_tokenizer(NULL, "<|end|>", "<|turn|>", NULL);
    ASSERT_OK(tlm_model_save_gguf(model, tokenizer, test_path("whole.gguf"), NULL));
    ASSERT_OK(tlmi_gguf_open(&whole, test_path("whole.gguf")));
    for (int i = 0; i < SHARDS; i++)
        write_usual(&whole, i);
}

static void tear_down(void)
{
    tlmi_gguf_close(&whole);
    tlm_tokenizer_free(tokenizer);
    tlm_model_free(model);
}

static void assert_refused(tlm_status_t code, const char *text, int number)
{
    tlm_model_t *opened = model;

    ASSERT_FAILS(code, text, tlm_model_open(&opened, NULL, NULL, shard_path(number)));
    ck_assert_ptr_eq(opened, model);
}

START_TEST(any_file_opens_the_model)
{
    for (int i = 0; i < SHARDS; i++)
        for (int kept = 0; kept < 2; kept++) {
            tlm_tokenizer_t *beside;
            tlm_model_t *opened;

            ASSERT_OK((kept ? tlm_model_open_for_inference : tlm_model_open)(&opened, &beside, NULL,
                                                                             shard_path(i)));
            assert_same(model, opened);
            ck_assert_uint_eq(tlm_tokenizer_vocab_size(beside), 261);
            tlm_tokenizer_free(beside);
            tlm_model_free(opened);
        }
}
END_TEST

/* Whichever file is named, the keys of the first are the model's. */
START_TEST(any_file_gives_the_keys)
{
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT;

    for (int i = 0; i < SHARDS; i++) {
        tlm_tokenizer_t *copied;
        tlm_model_t *opened;

        options.keys_from = shard_path(i);
        ASSERT_OK(tlm_model_save_gguf(model, NULL, test_path("copy.gguf"), &options));
        ASSERT_OK(tlm_model_open(&opened, &copied, NULL, test_path("copy.gguf")));
        ck_assert_uint_eq(tlm_tokenizer_vocab_size(copied), 261);
        tlm_tokenizer_free(copied);
        tlm_model_free(opened);
    }
}
END_TEST

START_TEST(a_missing_file_is_named)
{
    ck_assert_int_eq(unlink(shard_path(1)), 0);
    assert_refused(TLM_ERR_NOT_FOUND, "model-00002-of-00003.gguf", 0);
    assert_refused(TLM_ERR_NOT_FOUND, "model-00002-of-00003.gguf", 2);
    write_usual(&whole, 1);
    ck_assert_int_eq(unlink(shard_path(0)), 0);
    assert_refused(TLM_ERR_NOT_FOUND, "model-00001-of-00003.gguf", 2);
}
END_TEST

START_TEST(files_of_other_places_and_models_are_refused)
{
    const uint32_t n = (uint32_t)whole.num_tensors;

    write_shard(&whole, shard_path(1), &(numbers_t){2, SHARDS, n}, false, 5, 9);
    assert_refused(TLM_ERR_FORMAT, "should be number 1 of 3", 0);
    write_shard(&whole, shard_path(1), &(numbers_t){1, 4, n}, false, 5, 9);
    assert_refused(TLM_ERR_FORMAT, "'split.count' is 4", 0);
    write_shard(&whole, shard_path(1), &(numbers_t){1, SHARDS, n + 1}, false, n / 3, 2 * n / 3);
    assert_refused(TLM_ERR_FORMAT, "'split.tensors.count'", 0);
    write_shard(&whole, shard_path(1), &(numbers_t){1, SHARDS, n}, false, n / 3, n / 3 + 1);
    assert_refused(TLM_ERR_FORMAT, "files have", 0);
    /* As many tensors, but one of them twice. */
    write_shard(&whole, shard_path(1), &(numbers_t){1, SHARDS, n}, false, n / 3 - 1, 2 * n / 3 - 1);
    assert_refused(TLM_ERR_FORMAT, "appears twice", 0);
    ASSERT_OK(tlm_model_save_gguf(model, NULL, shard_path(1), NULL));
    assert_refused(TLM_ERR_FORMAT, "'split.no' is -1", 0);
    write_string(shard_path(1), "no model");
    assert_refused(TLM_ERR_FORMAT, "not a GGUF file", 0);
}
END_TEST

START_TEST(names_that_tell_nothing_are_refused)
{
    const uint32_t n = (uint32_t)whole.num_tensors;
    static const char *const names[] = {"model.gguf", "-00001-of-00003.gguf.part",
                                        "model-00002-of-00003.gguf", "model-1-of-3.gguf"};
    tlm_model_t *opened;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        write_shard(&whole, test_path(names[i]), &(numbers_t){0, SHARDS, n}, true, 0, 2);
        ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "split.count",
                     tlm_model_open(&opened, NULL, NULL, test_path(names[i])));
    }
    write_shard(&whole, test_path("far.gguf"), &(numbers_t){7, 3, n}, true, 0, 2);
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "'split.no' is 7",
                 tlm_model_open(&opened, NULL, NULL, test_path("far.gguf")));
    write_shard(&whole, test_path("many.gguf"), &(numbers_t){0, UINT32_MAX, n}, true, 0, 2);
    ASSERT_FAILS(TLM_ERR_UNSUPPORTED, "4294967295",
                 tlm_model_open(&opened, NULL, NULL, test_path("many.gguf")));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("GGUF shards");
    TCase *tcase = tcase_create("GGUF shards");
    int failed;

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, any_file_opens_the_model);
    tcase_add_test(tcase, any_file_gives_the_keys);
    tcase_add_test(tcase, a_missing_file_is_named);
    tcase_add_test(tcase, files_of_other_places_and_models_are_refused);
    tcase_add_test(tcase, names_that_tell_nothing_are_refused);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    failed = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return failed;
}
