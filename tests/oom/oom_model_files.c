/* Models in others' files. */
#include "oom_scenarios.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "failing_allocator.h"

static const tlm_model_options_t tiny = {.size = sizeof(tlm_model_options_t),
                                         .vocab_size = 262,
                                         .context_length = 6,
                                         .d_model = 8,
                                         .num_layers = 1,
                                         .num_heads = 2,
                                         .d_ff = 12,
                                         .seed = 5};

static tlm_model_t *model;
static tlm_tokenizer_t *tokenizer;

static const char *const names[] = {"folder/tokenizer.json", "folder/tokenizer_config.json",
                                    "folder/generation_config.json", "folder/model.safetensors",
                                    "folder/config.json"};

static void remove_folder(void)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(path_of(names[i]));
    rmdir(path_of("folder"));
}

static void prepare(void)
{
    static const char text[] = "the cat sat on the mat, the rat sat on the cat. ";
    tlm_bpe_trainer_options_t options = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlm_bytes_t special = {(const uint8_t *)"<|endoftext|>", 13};
    tlm_bpe_trainer_t *trainer;

    options.vocab_size = 262;
    options.special_tokens = &special;
    options.num_special_tokens = 1;
    MUST(tlm_bpe_trainer_create(&trainer, &options));
    MUST(tlm_bpe_trainer_add_text(trainer, text, strlen(text)));
    MUST(tlm_bpe_trainer_train(&tokenizer, trainer));
    tlm_bpe_trainer_free(trainer);
    MUST(tlm_model_create(&model, &tiny));
}

static void clean_up(void)
{
    remove_folder();
    tlm_tokenizer_free(tokenizer);
    tlm_model_free(model);
}

/* A new folder is whole, or not there. */
static tlm_status_t save_hf(void)
{
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT;
    struct stat what;
    tlm_status_t status;

    options.weights = TLM_WEIGHTS_FLOAT16;
    status = tlm_model_save_hf(model, tokenizer, path_of("folder"), &options);
    stop_failing();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if ((stat(path_of(names[i]), &what) == 0) != (status == TLM_OK))
            fault("a folder is neither whole nor gone");
    if ((stat(path_of("folder"), &what) == 0) != (status == TLM_OK))
        fault("a folder was left behind");
    remove_folder();
    return status;
}

static void prepare_folder(void)
{
    prepare();
    MUST(tlm_model_save_hf(model, tokenizer, path_of("folder"), NULL));
}

static tlm_status_t open_hf(void)
{
    tlm_tokenizer_t *opened_tokenizer = NULL;
    tlm_model_t *opened = NULL;
    tlm_status_t status = tlm_model_open(&opened, &opened_tokenizer, NULL, path_of("folder"));

    if (status == TLM_OK && opened_tokenizer == NULL)
        fault("the tokenizer was left out");
    tlm_tokenizer_free(opened_tokenizer);
    tlm_model_free(opened);
    return status;
}

static tlm_status_t save_gguf(void)
{
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT;

    options.weights = TLM_WEIGHTS_FLOAT16;
    return tlm_model_save_gguf(model, tokenizer, path_of("gguf"), &options);
}

static void prepare_gguf(void)
{
    prepare();
    MUST(save_gguf());
}

static tlm_status_t open_gguf(void)
{
    tlm_tokenizer_t *opened_tokenizer = NULL;
    tlm_model_t *opened = NULL;
    tlm_status_t status = tlm_model_open(&opened, &opened_tokenizer, NULL, path_of("gguf"));

    tlm_tokenizer_free(opened_tokenizer);
    tlm_model_free(opened);
    return status;
}

/* Blocks, and the keys of another file. */
static tlm_status_t save_quantized(void)
{
    tlm_model_file_options_t options = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_status_t status;

    options.weights = TLM_WEIGHTS_Q4_K_M;
    options.keys_from = path_of("gguf");
    status = tlm_model_save_gguf(model, NULL, path_of("quantized"), &options);
    unlink(path_of("quantized"));
    return status;
}

static tlm_status_t open_kept(const char *path)
{
    tlm_model_t *opened = NULL;
    tlm_status_t status = tlm_model_open_for_inference(&opened, NULL, NULL, path);

    tlm_model_free(opened);
    return status;
}

static tlm_status_t open_kept_gguf(void)
{
    return open_kept(path_of("gguf"));
}

static tlm_status_t open_kept_hf(void)
{
    return open_kept(path_of("folder"));
}

/* ---- Checkpoints with a tokenizer -------------------------------------------------------- */

static tlm_status_t save_checkpoint(void)
{
    tlm_checkpoint_options_t options = TLM_CHECKPOINT_OPTIONS_INIT;

    options.tokenizer = tokenizer;
    return tlm_checkpoint_save_with(model, NULL, 1, path_of("told"), &options);
}

static void prepare_checkpoint(void)
{
    prepare();
    MUST(save_checkpoint());
}

static tlm_status_t open_checkpoint(void)
{
    tlm_tokenizer_t *opened_tokenizer = NULL, *alone = NULL;
    tlm_model_t *opened = NULL;
    tlm_status_t status = tlm_model_open(&opened, &opened_tokenizer, NULL, path_of("told"));

    if (status == TLM_OK)
        status = tlm_checkpoint_tokenizer(&alone, path_of("told"));
    tlm_tokenizer_free(opened_tokenizer);
    tlm_tokenizer_free(alone);
    tlm_model_free(opened);
    return status;
}

const scenario_t model_file_scenarios[] = {
    {"save_hf", prepare, save_hf, clean_up, false},
    {"open_hf", prepare_folder, open_hf, clean_up, false},
    {"save_gguf", prepare, save_gguf, clean_up, false},
    {"save_quantized", prepare_gguf, save_quantized, clean_up, false},
    {"open_gguf", prepare_gguf, open_gguf, clean_up, false},
    {"open_kept_gguf", prepare_gguf, open_kept_gguf, clean_up, false},
    {"open_kept_hf", prepare_folder, open_kept_hf, clean_up, false},
    {"save_checkpoint_with_tokenizer", prepare, save_checkpoint, clean_up, false},
    {"open_checkpoint_with_tokenizer", prepare_checkpoint, open_checkpoint, clean_up, false},
    {0},
};
