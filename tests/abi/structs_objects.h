/* The objects that the calls of test_structs.c work on. */
#ifndef TEST_STRUCTS_OBJECTS_H
#define TEST_STRUCTS_OBJECTS_H

#include "io_support.h"
#include "model_support.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static tlm_tokenizer_t *tokenizer;
static tlm_chat_template_t *chat_template;
static tlm_model_t *model;
static tlm_dataset_t *dataset;
static tlm_loader_t *loader;
static tlm_optimizer_t *optimizer;
static tlm_trainer_t *trainer;
static tlm_generator_t *generator;
static tlm_tensor_t *const *parameters;

static void make_objects(void)
{
    tlm_model_options_t shape = TLM_MODEL_OPTIONS_INIT;
    tlm_loader_options_t loading = TLM_LOADER_OPTIONS_INIT;
    tlm_trainer_options_t training = TLM_TRAINER_OPTIONS_INIT;
    uint32_t ids[32] = {1, 2, 3};
    size_t n;

    shape.vocab_size = 300;
    shape.context_length = 4;
    shape.d_model = 8;
    shape.num_layers = 1;
    shape.num_heads = 2;
    shape.d_ff = 12;
    loading.batch_size = 1;
    loading.context_length = 4;
    training.steps = 1000;
    tokenizer = make_small_tokenizer(NULL, "<a>", "<b>", NULL);
    ASSERT_OK(tlm_chat_template_create(&chat_template, "chatml"));
    ASSERT_OK(tlm_model_create(&model, &shape));
    ASSERT_OK(tlm_model_parameters(&parameters, &n, model));
    ASSERT_OK(tlm_generator_create(&generator, model));
    ASSERT_OK(tlm_dataset_from_ids(&dataset, ids, COUNT(ids)));
    ASSERT_OK(tlm_loader_create(&loader, dataset, &loading));
    ASSERT_OK(tlm_optimizer_create_adamw(&optimizer, NULL));
    ASSERT_OK(tlm_optimizer_add_model(optimizer, model, 0, NULL));
    training.valid = dataset;
    ASSERT_OK(tlm_trainer_create(&trainer, model, optimizer, loader, &training));
    ASSERT_OK(tlm_tokenizer_save(tokenizer, test_path("vocab.json"), test_path("merges.txt")));
    ASSERT_OK(tlm_tokenizer_save_json(tokenizer, test_path("tokenizer.json")));
    ASSERT_OK(tlm_tokenizer_save_tiktoken(tokenizer, test_path("ranks")));
    ASSERT_OK(tlm_model_save_gguf(model, NULL, test_path("model.gguf"), NULL));
}

static void free_objects(void)
{
    tlm_trainer_free(trainer);
    tlm_optimizer_free(optimizer);
    tlm_loader_free(loader);
    tlm_dataset_free(dataset);
    tlm_generator_free(generator);
    tlm_model_free(model);
    tlm_tokenizer_free(tokenizer);
    tlm_chat_template_free(chat_template);
}

#endif
