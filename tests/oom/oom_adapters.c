/* Fine-tuning: adapters, their folders and checkpoints, and data that is text or conversations. */
#include "oom_scenarios.h"

#include <string.h>
#include <unistd.h>

#include "failing_allocator.h"

static const tlm_model_options_t tiny = {.size = sizeof(tlm_model_options_t),
                                         .vocab_size = 300,
                                         .context_length = 6,
                                         .d_model = 8,
                                         .num_layers = 1,
                                         .num_heads = 2,
                                         .d_ff = 12,
                                         .seed = 5};
static const uint32_t ids[] = {1, 2, 3, 4, 5, 6, 7};
static tlm_tokenizer_t *tokenizer;
static tlm_chat_template_t *chat;

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "w");

    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
        fault("a file could not be written");
}

static void prepare(void)
{
    static const char text[] = "the cat sat on the mat, the rat sat on the cat. ";
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bpe_trainer_t *trainer;
    tlm_model_t *model;

    options.vocab_size = 260;
    MUST(tlm_bpe_trainer_create(&trainer, &options));
    MUST(tlm_bpe_trainer_add_text(trainer, text, strlen(text)));
    MUST(tlm_bpe_trainer_train(&tokenizer, trainer));
    tlm_bpe_trainer_free(trainer);
    MUST(tlm_chat_template_create(&chat, "chatml"));
    write_text("text.txt", text);
    write_text("chat.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":"
                             "\"assistant\",\"content\":\"b\"}]}\n"
                             "{\"prompt\":\"a\",\"completion\":\"b\"}\n");
    MUST(tlm_model_create(&model, &tiny));
    MUST(tlm_checkpoint_save(model, NULL, 0, path_of("base")));
    tlm_model_free(model);
    MUST(tlm_model_open(&model, NULL, NULL, path_of("base")));
    MUST(tlm_model_add_lora(model, NULL));
    MUST(tlm_model_save_adapter(model, path_of("adapter")));
    MUST(tlm_checkpoint_save(model, NULL, 3, path_of("adapters")));
    tlm_model_free(model);
}

static void clean_up(void)
{
    static const char *const names[] = {"text.txt",
                                        "chat.jsonl",
                                        "base",
                                        "adapters",
                                        "adapter/adapter_config.json",
                                        "adapter/adapter_model.safetensors"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(path_of(names[i]));
    rmdir(path_of("adapter"));
    tlm_chat_template_free(chat);
    tlm_tokenizer_free(tokenizer);
}

/* A step over adapters with dropout, one of them of the output projection; then they are merged. */
static tlm_status_t train(void)
{
    tlm_lora_options_t lora = TLM_LORA_OPTIONS_INIT;
    tlm_optimizer_t *optimizer = NULL;
    tlm_tensor_t *loss = NULL;
    tlm_model_t *model = NULL;
    tlm_status_t status;

    lora.targets = "all-linear,lm_head";
    lora.dropout = 0.5;
    TRY(tlm_model_create(&model, &tiny));
    TRY(tlm_model_add_lora(model, &lora));
    TRY(tlm_model_set_frozen(model, "*.w1.lora_*", true));
    TRY(tlm_model_set_checkpointing(model, true));
    TRY(tlm_model_set_dropout_row(model, 7));
    TRY(tlm_optimizer_create_adamw(&optimizer, NULL));
    TRY(tlm_optimizer_add_model(optimizer, model, 0, NULL));
    TRY(tlm_model_loss(&loss, model, ids, ids + 1, 1, 6));
    TRY(tlm_tensor_backward(loss, NULL));
    TRY(tlm_optimizer_step(optimizer));
    TRY(tlm_model_merge_lora(model));
done:
    tlm_tensor_free(loss);
    tlm_optimizer_free(optimizer);
    tlm_model_free(model);
    return status;
}

static tlm_status_t use_folder(void)
{
    tlm_model_t *model = NULL;
    uint32_t *out = NULL;
    tlm_status_t status;
    size_t n;

    TRY(tlm_model_open_for_inference(&model, NULL, NULL, path_of("base")));
    TRY(tlm_model_load_adapter(model, path_of("adapter")));
    TRY(tlm_model_save_adapter(model, path_of("adapter")));
    TRY(tlm_model_generate(&out, &n, model, ids, 2, NULL, NULL, NULL));
done:
    tlm_free(out);
    tlm_model_free(model);
    return status;
}

static tlm_status_t use_checkpoint(void)
{
    tlm_model_t *model = NULL;
    tlm_status_t status;

    TRY(tlm_model_open(&model, NULL, NULL, path_of("adapters")));
    TRY(tlm_checkpoint_save(model, NULL, 3, path_of("adapters")));
    TRY(tlm_checkpoint_load(NULL, model, NULL, path_of("adapters")));
done:
    tlm_model_free(model);
    return status;
}

static tlm_status_t open_data(void)
{
    tlm_chat_data_options_t options = TLM_CHAT_DATA_OPTIONS_INIT;
    tlm_dataset_t *text = NULL, *conversations = NULL;
    tlm_status_t status;

    options.row_length = 64;
    TRY(tlm_dataset_open_text(&text, path_of("text.txt"), tokenizer));
    TRY(tlm_dataset_open_chat(&conversations, NULL, path_of("chat.jsonl"), tokenizer, chat,
                              &options));
done:
    tlm_dataset_free(text);
    tlm_dataset_free(conversations);
    return status;
}

/* The tokenizer keeps what it needs to encode, from its first text on. */
static void prepare_data(void)
{
    prepare();
    MUST(open_data());
}

const scenario_t adapter_scenarios[] = {
    {"adapters_train", NULL, train, NULL, false},
    {"adapters_folder", prepare, use_folder, clean_up, false},
    {"adapters_checkpoint", prepare, use_checkpoint, clean_up, false},
    {"text_and_conversations", prepare_data, open_data, clean_up, false},
    {NULL, NULL, NULL, NULL, false},
};
