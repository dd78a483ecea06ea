/* Every public function that takes a struct with a size, given structs that are too short, too long,
 * or hold something where nothing may be. tests/abi/check_interface.py holds the lists below against
 * the headers; tests/base/test_options.c goes over every byte of every struct. */
#include "structs_objects.h"

#include "run_suite.h"

/* A struct of the caller with room behind it. */
typedef union room {
    size_t size;
    double alignment;
    uint8_t bytes[4096];
} room_t;

/* ---- Options ---------------------------------------------------------------------------- */

/* Defines a call that makes a handle and frees it. */
#define CREATES(handle, function, ...)                                                             \
    static tlm_status_t function##_(const void *options)                                           \
    {                                                                                              \
        tlm_##handle##_t *out = NULL;                                                              \
        tlm_status_t status = tlm_##function(__VA_ARGS__);                                         \
        ck_assert(status == TLM_OK || out == NULL);                                                \
        tlm_##handle##_free(out);                                                                  \
        return status;                                                                             \
    }
/* The same for a call that makes nothing which must be freed. */
#define DOES(function, ...)                                                                        \
    static tlm_status_t function##_(const void *options)                                           \
    {                                                                                              \
        return tlm_##function(__VA_ARGS__);                                                        \
    }

CREATES(bpe_trainer, bpe_trainer_create, &out, options)
CREATES(loader, loader_create, &out, dataset, options)
CREATES(model, model_create, &out, options)
CREATES(optimizer, optimizer_create_adamw, &out, options)
CREATES(optimizer, optimizer_create_adafactor, &out, options)
CREATES(optimizer, optimizer_create_lion, &out, options)
CREATES(optimizer, optimizer_create_muon, &out, options, NULL)
CREATES(tokenizer, tokenizer_load, &out, test_path("vocab.json"), test_path("merges.txt"), options)
CREATES(tokenizer, tokenizer_load_json, &out, test_path("tokenizer.json"), options)
CREATES(tokenizer, tokenizer_load_tiktoken, &out, test_path("ranks"), options)
CREATES(tokenizer, tokenizer_open, &out, test_path("tokenizer.json"), options)
CREATES(trainer, trainer_create, &out, model, optimizer, loader, options)

static uint64_t gguf_bytes;

DOES(adamw_update, NULL, NULL, NULL, NULL, 0, 1, options)
DOES(checkpoint_save_with, model, optimizer, 1, test_path("checkpoint"), options)
DOES(checkpoint_dir_save, model, optimizer, 1, test_directory, 0, options)
DOES(model_gguf_bytes, &gguf_bytes, model, options)
DOES(model_save_gguf, model, NULL, test_path("written.gguf"), options)
DOES(model_save_hf, model, NULL, test_directory, options)
DOES(optimizer_add_adamw_group, optimizer, NULL, 0, options)
DOES(model_set_training, model, options)
DOES(optimizer_add_lion_group, optimizer, NULL, 0, options)
DOES(optimizer_add_muon_group, optimizer, NULL, 0, options)
DOES(optimizer_add_group, optimizer, NULL, 0, options)
DOES(optimizer_set_schedule, optimizer, 0, options)

static tlm_status_t muon_rest_(const void *options)
{
    tlm_optimizer_t *out = NULL;
    tlm_status_t status = tlm_optimizer_create_muon(&out, NULL, options);
    ck_assert(status == TLM_OK || out == NULL);
    tlm_optimizer_free(out);
    return status;
}

static tlm_status_t optimizer_add_model_(const void *options)
{
    tlm_optimizer_t *empty;
    ASSERT_OK(tlm_optimizer_create_adamw(&empty, NULL));
    tlm_status_t status = tlm_optimizer_add_model(empty, model, 0, options);
    tlm_optimizer_free(empty);
    return status;
}

static tlm_status_t add_adafactor_group_(const void *options)
{
    return tlm_optimizer_add_adafactor_group(optimizer, NULL, 0, options);
}

static tlm_status_t add_model_with(const tlm_group_options_t *options,
                                   const tlm_group_rule_t *rules, size_t n)
{
    tlm_optimizer_t *empty;
    ASSERT_OK(tlm_optimizer_create_adamw(&empty, NULL));
    tlm_status_t status = tlm_optimizer_add_model_with(empty, model, 0, options, rules, n);
    tlm_optimizer_free(empty);
    return status;
}

static tlm_status_t optimizer_add_model_with_(const void *options)
{
    return add_model_with(options, NULL, 0);
}

static tlm_status_t rule_(const void *options)
{
    return add_model_with(NULL, options, 1);
}

static tlm_status_t encode_files_(const void *options)
{
    const char *texts[] = {test_path("merges.txt")};
    return tlm_tokenizer_encode_files(NULL, tokenizer, texts, 1, test_path("ids.u32"), options);
}

static tlm_status_t communicator_create_(const void *options)
{
    tlm_communicator_t *communicator = NULL;
    tlm_status_t status = tlm_communicator_create(&communicator, options);
    tlm_communicator_free(communicator);
    return status;
}

static tlm_status_t custom_op_record_(const void *options)
{
    tlm_tensor_t *out = NULL;
    tlm_status_t status = tlm_custom_op_record(&out, parameters[0], NULL, 0, NULL, 0, options);
    tlm_tensor_free(out);
    return status;
}

static tlm_status_t tokenizer_create_(const void *options)
{
    static const tlm_bytes_t none[1];
    tlm_tokenizer_t *out = NULL;
    tlm_status_t status = tlm_tokenizer_create(&out, none, 0, none, 0, options);
    tlm_tokenizer_free(out);
    return status;
}

static const tlm_bytes_t texts[2] = {{(const uint8_t *)"the", 3}, {(const uint8_t *)"hat", 3}};

static const tlm_chat_message_t hello = {"user", "hello", 5};

static tlm_status_t chat_template_render_(const void *options)
{
    size_t size;
    char *text;
    tlm_status_t status = tlm_chat_template_render(&text, &size, chat_template, &hello, 1, options);

    if (status == TLM_OK)
        tlm_free(text);
    return status;
}

static tlm_status_t open_chat(void *found, const void *options)
{
    static const char line[] = "{\"prompt\":\"a\",\"completion\":\"b\"}\n";
    tlm_dataset_t *made = NULL;

    write_string(test_path("chat.jsonl"), line);
    tlm_status_t status = tlm_dataset_open_chat(&made, found, test_path("chat.jsonl"), tokenizer,
                                                chat_template, options);
    tlm_dataset_free(made);
    return status;
}

static const tlm_chat_data_options_t chat_rows = {.size = sizeof(chat_rows), .row_length = 4};

static tlm_status_t open_chat_(const void *options)
{
    return open_chat(NULL, options);
}

static tlm_status_t open_chat_found(void *found)
{
    return open_chat(found, &chat_rows);
}

static tlm_status_t chat_template_encode_(const void *options)
{
    uint32_t *ids;
    size_t n;
    tlm_status_t status =
        tlm_chat_template_encode(&ids, NULL, &n, chat_template, tokenizer, &hello, 1, options);

    if (status == TLM_OK)
        tlm_free(ids);
    return status;
}

static tlm_status_t tokenizer_encode_with_(const void *options)
{
    uint32_t *ids = NULL;
    size_t n;
    tlm_status_t status = tlm_tokenizer_encode_with(&ids, &n, tokenizer, "the hat", 7, options);
    tlm_free(ids);
    return status;
}

static tlm_status_t tokenizer_encode_batch_(const void *options)
{
    uint32_t *ids = NULL;
    size_t *offsets = NULL;
    tlm_status_t status = tlm_tokenizer_encode_batch(&ids, &offsets, tokenizer, texts, 2, options);
    tlm_free(ids);
    tlm_free(offsets);
    return status;
}

static const uint32_t some_ids[] = {'a', 'b'};

static tlm_status_t tokenizer_decode_with_(const void *options)
{
    uint8_t *bytes = NULL;
    size_t size;
    tlm_status_t status = tlm_tokenizer_decode_with(&bytes, &size, tokenizer, some_ids, 2, options);
    tlm_free(bytes);
    return status;
}

static tlm_status_t decoder_create_with_(const void *options)
{
    tlm_decoder_t *decoder = NULL;
    tlm_status_t status = tlm_decoder_create_with(&decoder, tokenizer, options);
    tlm_decoder_free(decoder);
    return status;
}

static tlm_status_t tokenizer_decode_batch_(const void *options)
{
    static const tlm_ids_t rows[] = {{some_ids, 2}, {some_ids, 1}};
    uint8_t *bytes = NULL;
    size_t *offsets = NULL;
    tlm_status_t status = tlm_tokenizer_decode_batch(&bytes, &offsets, tokenizer, rows, 2, options);
    tlm_free(bytes);
    tlm_free(offsets);
    return status;
}

static tlm_status_t encode_padded(const void *options, const void *pad)
{
    uint32_t *ids = NULL;
    size_t length;
    tlm_status_t status =
        tlm_tokenizer_encode_padded(&ids, NULL, NULL, &length, tokenizer, texts, 2, options, pad);
    tlm_free(ids);
    return status;
}

static tlm_status_t tokenizer_encode_padded_(const void *options)
{
    return encode_padded(options, NULL);
}

static tlm_status_t pad_(const void *options)
{
    return encode_padded(NULL, options);
}

static tlm_status_t model_generate_(const void *options)
{
    static const uint32_t prompt[1];
    uint32_t *ids = NULL;
    size_t n;
    tlm_status_t status = tlm_model_generate(&ids, &n, model, prompt, 1, options, NULL, NULL);
    tlm_free(ids);
    return status;
}

static tlm_status_t generator_add_(const void *options)
{
    static const uint32_t prompt[1];
    size_t sequence;
    return tlm_generator_add(&sequence, generator, prompt, 1, options);
}

/* With the defaults it goes as far as finding no tokenizer in them. */
static tlm_status_t model_generate_text_(const void *options)
{
    static const uint32_t prompt[1];
    char *text = NULL;
    size_t size;
    tlm_status_t status =
        tlm_model_generate_text(&text, &size, NULL, model, prompt, 1, options, NULL, NULL);
    tlm_free(text);
    return status == TLM_ERR_STATE ? TLM_OK : status;
}

static tlm_status_t generator_extend_(const void *options)
{
    static const uint32_t prompt[1];
    size_t sequence;
    tlm_status_t status = tlm_generator_add(&sequence, generator, prompt, 1, NULL);

    if (status == TLM_OK)
        status = tlm_generator_stop(generator, sequence);
    return status == TLM_OK ? tlm_generator_extend(generator, sequence, SIZE_MAX, NULL, 0, options)
                            : status;
}

/* With the defaults it goes as far as finding no file. */
static tlm_status_t generator_load_(const void *options)
{
    size_t sequence;
    tlm_status_t status = tlm_generator_load(&sequence, generator, "no such file", options);

    return status == TLM_ERR_NOT_FOUND ? TLM_OK : status;
}

static tlm_status_t model_cost_(const void *options)
{
    tlm_cost_t cost = TLM_COST_INIT;
    return tlm_model_cost(&cost, options, NULL);
}

static tlm_status_t add_lora_(const void *options)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *adapted;

    ASSERT_OK(tlm_model_get_options(&shape, model));
    ASSERT_OK(tlm_model_create(&adapted, &shape));
    tlm_status_t status = tlm_model_add_lora(adapted, options);
    tlm_model_free(adapted);
    return status;
}

static tlm_status_t cost_(const void *options)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    tlm_cost_t cost = TLM_COST_INIT;
    ASSERT_OK(tlm_model_get_options(&shape, model));
    return tlm_model_cost(&cost, &shape, options);
}

static tlm_status_t schedule_learning_rate_(const void *options)
{
    double rate;
    return tlm_schedule_learning_rate(&rate, options, 1);
}

static tlm_status_t schedule_(const void *options)
{
    tlm_trainer_options_t training = TLM_TRAINER_OPTIONS_INIT;
    training.steps = 1;
    training.schedule = options;
    return trainer_create_(&training);
}

static const struct {
    const char *function;
    tlm_status_t (*call)(const void *options);
    const char *type;
} readers[] = {
    {"tlm_adamw_update", adamw_update_, "tlm_adamw_options_t"},
    {"tlm_bpe_trainer_create", bpe_trainer_create_, "tlm_bpe_trainer_options_t"},
    {"tlm_checkpoint_dir_save", checkpoint_dir_save_, "tlm_checkpoint_options_t"},
    {"tlm_checkpoint_save_with", checkpoint_save_with_, "tlm_checkpoint_options_t"},
    {"tlm_communicator_create", communicator_create_, "tlm_communicator_options_t"},
    {"tlm_custom_op_record", custom_op_record_, "tlm_custom_op_options_t"},
    {"tlm_decoder_create_with", decoder_create_with_, "tlm_decode_options_t"},
    {"tlm_generator_add", generator_add_, "tlm_generate_options_t"},
    {"tlm_loader_create", loader_create_, "tlm_loader_options_t"},
    {"tlm_model_add_lora", add_lora_, "tlm_lora_options_t"},
    {"tlm_model_cost", cost_, "tlm_cost_options_t"},
    {"tlm_model_cost", model_cost_, "tlm_model_options_t"},
    {"tlm_model_create", model_create_, "tlm_model_options_t"},
    {"tlm_generator_extend", generator_extend_, "tlm_generate_options_t"},
    {"tlm_generator_load", generator_load_, "tlm_generate_options_t"},
    {"tlm_model_generate", model_generate_, "tlm_generate_options_t"},
    {"tlm_model_generate_text", model_generate_text_, "tlm_generate_options_t"},
    {"tlm_model_gguf_bytes", model_gguf_bytes_, "tlm_model_file_options_t"},
    {"tlm_model_save_gguf", model_save_gguf_, "tlm_model_file_options_t"},
    {"tlm_model_save_hf", model_save_hf_, "tlm_model_file_options_t"},
    {"tlm_model_set_training", model_set_training_, "tlm_model_options_t"},
    {"tlm_optimizer_add_adafactor_group", add_adafactor_group_, "tlm_adafactor_options_t"},
    {"tlm_optimizer_add_adamw_group", optimizer_add_adamw_group_, "tlm_adamw_options_t"},
    {"tlm_optimizer_add_lion_group", optimizer_add_lion_group_, "tlm_lion_options_t"},
    {"tlm_optimizer_add_muon_group", optimizer_add_muon_group_, "tlm_muon_options_t"},
    {"tlm_optimizer_add_group", optimizer_add_group_, "tlm_group_options_t"},
    {"tlm_optimizer_add_model", optimizer_add_model_, "tlm_group_options_t"},
    {"tlm_optimizer_add_model_with", optimizer_add_model_with_, "tlm_group_options_t"},
    {"tlm_optimizer_add_model_with", rule_, "tlm_group_rule_t"},
    {"tlm_optimizer_create_adafactor", optimizer_create_adafactor_, "tlm_adafactor_options_t"},
    {"tlm_optimizer_create_lion", optimizer_create_lion_, "tlm_lion_options_t"},
    {"tlm_optimizer_set_schedule", optimizer_set_schedule_, "tlm_schedule_options_t"},
    {"tlm_optimizer_create_adamw", optimizer_create_adamw_, "tlm_adamw_options_t"},
    {"tlm_optimizer_create_muon", optimizer_create_muon_, "tlm_muon_options_t"},
    {"tlm_optimizer_create_muon", muon_rest_, "tlm_adamw_options_t"},
    {"tlm_schedule_learning_rate", schedule_learning_rate_, "tlm_schedule_options_t"},
    {"tlm_tokenizer_create", tokenizer_create_, "tlm_tokenizer_options_t"},
    {"tlm_tokenizer_decode_batch", tokenizer_decode_batch_, "tlm_decode_options_t"},
    {"tlm_tokenizer_decode_with", tokenizer_decode_with_, "tlm_decode_options_t"},
    {"tlm_chat_template_render", chat_template_render_, "tlm_chat_options_t"},
    {"tlm_chat_template_encode", chat_template_encode_, "tlm_chat_options_t"},
    {"tlm_dataset_open_chat", open_chat_, "tlm_chat_data_options_t"},
    {"tlm_tokenizer_encode_batch", tokenizer_encode_batch_, "tlm_encode_options_t"},
    {"tlm_tokenizer_encode_files", encode_files_, "tlm_encode_files_options_t"},
    {"tlm_tokenizer_encode_padded", pad_, "tlm_pad_options_t"},
    {"tlm_tokenizer_encode_padded", tokenizer_encode_padded_, "tlm_encode_options_t"},
    {"tlm_tokenizer_encode_with", tokenizer_encode_with_, "tlm_encode_options_t"},
    {"tlm_tokenizer_load", tokenizer_load_, "tlm_tokenizer_options_t"},
    {"tlm_tokenizer_load_json", tokenizer_load_json_, "tlm_tokenizer_options_t"},
    {"tlm_tokenizer_load_tiktoken", tokenizer_load_tiktoken_, "tlm_tokenizer_options_t"},
    {"tlm_tokenizer_open", tokenizer_open_, "tlm_tokenizer_options_t"},
    {"tlm_trainer_create", schedule_, "tlm_schedule_options_t"},
    {"tlm_trainer_create", trainer_create_, "tlm_trainer_options_t"},
};

START_TEST(readers_refuse_structs_that_they_do_not_know)
{
    static const size_t impossible[] = {0, 7, 4097, SIZE_MAX};
    size_t size = 512; /* more than any struct of this version */
    room_t given;

    make_objects();
    for (size_t i = 0; i < COUNT(readers); i++) {
        ASSERT_OK(tlm_options_init(&given, size, readers[i].type));
        tlm_status_t usual = readers[i].call(&given);
        for (size_t k = 0; k < COUNT(impossible); k++) {
            given.size = impossible[k];
            ck_assert_msg(readers[i].call(&given) == TLM_ERR_INVALID_ARGUMENT &&
                              strstr(tlm_error_message(), readers[i].type) != NULL,
                          "%s: size %zu: %s", readers[i].function, given.size, tlm_error_message());
        }
        given.size = size;
        given.bytes[size - 1] = 1;
        ck_assert_msg(readers[i].call(&given) == TLM_ERR_INVALID_ARGUMENT &&
                          strstr(tlm_error_message(), "nonzero byte 511") != NULL,
                      "%s: a tail: %s", readers[i].function, tlm_error_message());
        given.size = sizeof(size_t);
        ck_assert_msg(readers[i].call(&given) == usual, "%s: no field: %s", readers[i].function,
                      tlm_error_message());
    }
    free_objects();
}
END_TEST

/* ---- Results ---------------------------------------------------------------------------- */

static tlm_status_t get_options(void *out)
{
    return tlm_model_get_options(out, model);
}

static tlm_status_t get_lora(void *out)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *adapted;

    ASSERT_OK(tlm_model_get_options(&shape, model));
    ASSERT_OK(tlm_model_create(&adapted, &shape));
    ASSERT_OK(tlm_model_add_lora(adapted, NULL));
    tlm_status_t status = tlm_model_lora(out, adapted);
    tlm_model_free(adapted);
    return status;
}

static tlm_status_t cost(void *out)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    ASSERT_OK(tlm_model_get_options(&shape, model));
    return tlm_model_cost(out, &shape, NULL);
}

static tlm_status_t evaluate(void *out)
{
    return tlm_model_evaluate(out, model, dataset, 1, 0, 8);
}

static tlm_status_t evaluate_on_ranks(void *out)
{
    return tlm_model_evaluate_on_ranks(out, model, NULL, dataset, 1, 0, 8);
}

static tlm_status_t trainer_evaluate(void *out)
{
    return tlm_trainer_evaluate(out, trainer);
}

static tlm_status_t trainer_step(void *out)
{
    return tlm_trainer_step(out, trainer);
}

static tlm_status_t open_model(void *out)
{
    tlm_model_t *opened = NULL;
    tlm_status_t status = tlm_model_open(&opened, NULL, out, test_path("model.gguf"));
    ck_assert((status == TLM_OK) == (opened != NULL));
    tlm_model_free(opened);
    return status;
}

static tlm_status_t open_for_inference(void *out)
{
    tlm_model_t *opened = NULL;
    tlm_status_t status = tlm_model_open_for_inference(&opened, NULL, out, test_path("model.gguf"));
    ck_assert((status == TLM_OK) == (opened != NULL));
    tlm_model_free(opened);
    return status;
}

static const struct {
    const char *function;
    tlm_status_t (*call)(void *out);
    const char *type;
} writers[] = {
    {"tlm_dataset_open_chat", open_chat_found, "tlm_chat_data_t"},
    {"tlm_model_cost", cost, "tlm_cost_t"},
    {"tlm_model_evaluate", evaluate, "tlm_evaluation_t"},
    {"tlm_model_evaluate_on_ranks", evaluate_on_ranks, "tlm_evaluation_t"},
    {"tlm_model_get_options", get_options, "tlm_model_options_t"},
    {"tlm_model_lora", get_lora, "tlm_lora_options_t"},
    {"tlm_model_open", open_model, "tlm_model_file_options_t"},
    {"tlm_model_open_for_inference", open_for_inference, "tlm_model_file_options_t"},
    {"tlm_trainer_evaluate", trainer_evaluate, "tlm_evaluation_t"},
    {"tlm_trainer_step", trainer_step, "tlm_train_step_t"},
};

START_TEST(writers_fill_what_the_caller_has)
{
    room_t out, same;

    make_objects();
    for (size_t i = 0; i < COUNT(writers); i++) {
        for (size_t size = sizeof(size_t); size <= 512; size += 63 * sizeof(size_t)) {
            memset(&out, 0xA5, sizeof(out));
            out.size = size;
            ck_assert_msg(writers[i].call(&out) == TLM_OK, "%s: size %zu: %s", writers[i].function,
                          size, tlm_error_message());
            ck_assert_uint_eq(out.size, size);
            ck_assert_uint_eq(out.bytes[size], 0xA5);
            ck_assert(size == sizeof(size_t) || out.bytes[size - 1] == 0);
        }
        out.size = 3;
        same = out;
        ck_assert_msg(writers[i].call(&out) == TLM_ERR_INVALID_ARGUMENT &&
                          strstr(tlm_error_message(), writers[i].type) != NULL,
                      "%s: size 3: %s", writers[i].function, tlm_error_message());
        ck_assert_mem_eq(&out, &same, sizeof(out));
    }
    free_objects();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("structs");
    TCase *tcase = tcase_create("structs");

    tcase_add_test(tcase, readers_refuse_structs_that_they_do_not_know);
    tcase_add_test(tcase, writers_fill_what_the_caller_has);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    make_test_directory();
    int failed = run_suite(suite, CK_FORK_GETENV);
    remove_test_directory();
    return failed;
}
