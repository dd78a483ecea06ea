/* Writes a model in another format: checkpoints, folders of Hugging Face's transformers, GGUF files. */
#include <stdlib.h>
#include <string.h>

#include "support/cli.h"

typedef enum target { TO_CHECKPOINT, TO_HF, TO_GGUF } target_t;

static const char *const targets[] = {
    [TO_CHECKPOINT] = "checkpoint", [TO_HF] = "hf", [TO_GGUF] = "gguf"};
static const char *const weights[] = {[TLM_WEIGHTS_FLOAT32] = "float32",
                                      [TLM_WEIGHTS_FLOAT16] = "float16",
                                      [TLM_WEIGHTS_BFLOAT16] = "bfloat16",
                                      [TLM_WEIGHTS_Q8_0] = "q8_0",
                                      [TLM_WEIGHTS_Q4_0] = "q4_0"};

static void save_checkpoint(const char *path, const tlm_model_t *model,
                            const tlm_tokenizer_t *tokenizer)
{
    tlm_checkpoint_options_t options = TLM_CHECKPOINT_OPTIONS_INIT;

    options.tokenizer = tokenizer;
    cli_check(tlm_checkpoint_save_with(model, NULL, 0, path, &options));
}

static void save(const char *path, target_t to, const tlm_model_t *model,
                 const tlm_tokenizer_t *tokenizer, const tlm_model_file_options_t *file)
{
    if (to == TO_CHECKPOINT)
        save_checkpoint(path, model, tokenizer);
    else if (to == TO_HF)
        cli_check(tlm_model_save_hf(model, tokenizer, path, file));
    else
        cli_check(tlm_model_save_gguf(model, tokenizer, path, file));
}

int main(int argc, char **argv)
{
    const char *to = NULL, *type = "float32";
    const char *path = NULL, *vocab = NULL, *merges = NULL, *end = NULL;
    bool no_tokenizer = false;
    const cli_option_t options[] = {
        {"to", CLI_STRING, &to, "checkpoint, hf or gguf", true},
        {"weights", CLI_STRING, &type,
         "float32, float16, bfloat16, or in GGUF q8_0 or q4_0; checkpoints are float32", false},
        {"tokenizer", CLI_STRING, &path,
         "tokenizer.json, rank file, or directory; else the model's own", false},
        {"vocab", CLI_STRING, &vocab, "or: vocab.json of its tokenizer", false},
        {"merges", CLI_STRING, &merges, "and merges.txt", false},
        {"end-token", CLI_STRING, &end,
         "special token of that tokenizer, '' for none; " CLI_END_TOKEN " if there is one", false},
        {"no-tokenizer", CLI_FLAG, &no_tokenizer, "write the model alone", false},
    };
    const cli_program_t program = {"MODEL OUTPUT",
                                   "Writes a model, and the tokenizer stored with it, in another "
                                   "format.\nMODEL is a checkpoint, a folder of transformers or a "
                                   "GGUF file.",
                                   options, sizeof(options) / sizeof(options[0])};
    tlm_model_file_options_t file = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer = NULL;
    tlm_model_t *model;
    int first = cli_parse(argc, argv, &program);
    target_t target = (target_t)cli_choose("to", to, targets, 3);

    if (argc - first != 2)
        cli_fail("a model and an output path are needed, not %d paths", argc - first);
    cli_open_model(&model, no_tokenizer ? NULL : &tokenizer, &file, argv[first], path, vocab,
                   merges, end, target != TO_CHECKPOINT);
    file.weights = cli_choose("weights", type, weights, 5);
    save(argv[first + 1], target, model, tokenizer, &file);
    printf("%s: %llu parameters, %s tokenizer\n", argv[first + 1],
           (unsigned long long)tlm_model_num_elements(model), tokenizer != NULL ? "with a" : "no");
    tlm_tokenizer_free(tokenizer);
    tlm_model_free(model);
    return 0;
}
