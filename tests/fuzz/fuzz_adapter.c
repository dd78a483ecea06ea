/* The first byte chooses what the rest is: adapter_config.json beside good tensors, adapter_model.safetensors
 * beside a good configuration, a checkpoint with adapters, or conversations. A refusal changes
 * nothing; what is read runs. */
#include <sys/stat.h>

#include "fuzz_support.h"

static char folder[256];
static tlm_model_t *model;
static tlm_tokenizer_t *tokenizer;
static tlm_chat_template_t *chat;
static tlm_bytes_t good_config, good_tensors;

static const char *path_of(const char *name)
{
    static char path[400];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void clean_up(void)
{
    static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors",
                                        "checkpoint", "chat.jsonl", "base"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(path_of(names[i]));
    rmdir(folder);
    tlm_model_free(model);
    tlm_tokenizer_free(tokenizer);
    tlm_chat_template_free(chat);
    fuzz_free(good_config);
    fuzz_free(good_tensors);
}

static void write_file(const char *name, tlm_bytes_t bytes)
{
    const char *path = path_of(name);

    unlink(path); /* some file systems wait for the disk where a file is made empty */
    FILE *file = fopen(path, "wb");
    FUZZ_CHECK(file != NULL && fwrite(bytes.data, 1, bytes.size, file) == bytes.size &&
               fclose(file) == 0);
}

static tlm_bytes_t read_file(const char *name)
{
    static uint8_t bytes[1 << 16];
    FILE *file = fopen(path_of(name), "rb");
    fuzz_input_t input = {bytes, 0};

    FUZZ_CHECK(file != NULL);
    input.size = fread(bytes, 1, sizeof(bytes), file);
    FUZZ_CHECK(fclose(file) == 0);
    return fuzz_take_bytes(&input, input.size);
}

static void make_objects(void)
{
    static const char text[] = "the cat sat on the mat, the rat sat on the cat. ";
    tlm_bpe_trainer_options_t training = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_lora_options_t lora = TLM_LORA_OPTIONS_INIT;
    const char *parent = getenv("TMPDIR");
    tlm_bpe_trainer_t *trainer;

    snprintf(folder, sizeof(folder), "%s/tinylm-fuzz-XXXXXX", parent != NULL ? parent : "/tmp");
    FUZZ_CHECK(mkdtemp(folder) != NULL);
    atexit(clean_up);
    training.vocab_size = 260;
    FUZZ_OK(tlm_bpe_trainer_create(&trainer, &training));
    FUZZ_OK(tlm_bpe_trainer_add_text(trainer, text, sizeof(text) - 1));
    FUZZ_OK(tlm_bpe_trainer_train(&tokenizer, trainer));
    tlm_bpe_trainer_free(trainer);
    FUZZ_OK(tlm_chat_template_create(&chat, "chatml"));
    options.vocab_size = 3;
    options.context_length = 4;
    options.d_model = 2;
    options.num_layers = 1;
    options.num_heads = 1;
    options.d_ff = 2;
    lora.rank = 1;
    lora.targets = "q_proj,down_proj";
    FUZZ_OK(tlm_model_create(&model, &options));
    FUZZ_OK(tlm_model_add_lora(model, &lora));
    FUZZ_OK(tlm_model_save_adapter(model, folder));
    tlm_model_remove_lora(model);
    good_config = read_file("adapter_config.json");
    good_tensors = read_file("adapter_model.safetensors");
}

static void run_model(tlm_model_t *one)
{
    tlm_tensor_t *logits;

    FUZZ_OK(tlm_model_forward(&logits, one, &(uint32_t){0}, 1, 1));
    tlm_tensor_free(logits);
}

static void load_folder(void)
{
    tlm_lora_options_t lora = TLM_LORA_OPTIONS_INIT;

    if (tlm_model_load_adapter(model, folder) == TLM_OK) {
        run_model(model);
        FUZZ_OK(tlm_model_lora(&lora, model));
    } else {
        FUZZ_CHECK(tlm_error_message()[0] != '\0' &&
                   tlm_model_lora(&lora, model) == TLM_ERR_NOT_FOUND);
    }
    tlm_model_remove_lora(model);
}

static void open_checkpoint(void)
{
    tlm_model_t *opened = NULL;

    if (tlm_model_open(&opened, NULL, NULL, path_of("checkpoint")) == TLM_OK)
        run_model(opened);
    else
        FUZZ_CHECK(opened == NULL && tlm_error_message()[0] != '\0');
    tlm_model_free(opened);
}

static void open_conversations(void)
{
    tlm_chat_data_options_t options = TLM_CHAT_DATA_OPTIONS_INIT;
    tlm_chat_data_t found = TLM_CHAT_DATA_INIT;
    tlm_dataset_t *dataset = NULL;

    options.row_length = 16;
    options.packed = true;
    if (tlm_dataset_open_chat(&dataset, &found, path_of("chat.jsonl"), tokenizer, chat, &options) ==
        TLM_OK)
        FUZZ_CHECK(tlm_dataset_length(dataset) == 16 * found.rows && found.counted > 0 &&
                   found.counted < found.tokens);
    else
        FUZZ_CHECK(dataset == NULL && tlm_error_message()[0] != '\0');
    tlm_dataset_free(dataset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input_t input = {data, size};

    if (folder[0] == '\0')
        make_objects();
    const size_t what = fuzz_take(&input, 4);
    const tlm_bytes_t rest = {input.data, input.size};
    if (what < 2) {
        write_file("adapter_config.json", what == 0 ? rest : good_config);
        write_file("adapter_model.safetensors", what == 1 ? rest : good_tensors);
        load_folder();
    } else if (what == 2) {
        write_file("checkpoint", rest);
        open_checkpoint();
    } else {
        write_file("chat.jsonl", rest);
        open_conversations();
    }
    return 0;
}
