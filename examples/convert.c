/* Writes a model in another format: checkpoints, folders of Hugging Face's transformers, GGUF files. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/cli.h"

typedef enum target { TO_CHECKPOINT, TO_HF, TO_GGUF, TO_ADAPTER } target_t;

static const char *const targets[] = {
    [TO_CHECKPOINT] = "checkpoint", [TO_HF] = "hf", [TO_GGUF] = "gguf", [TO_ADAPTER] = "adapter"};
static const char *const weights[] = {
    [TLM_WEIGHTS_FLOAT32] = "float32",   [TLM_WEIGHTS_FLOAT16] = "float16",
    [TLM_WEIGHTS_BFLOAT16] = "bfloat16", [TLM_WEIGHTS_Q8_0] = "q8_0",
    [TLM_WEIGHTS_Q4_0] = "q4_0",         [TLM_WEIGHTS_Q4_1] = "q4_1",
    [TLM_WEIGHTS_Q5_0] = "q5_0",         [TLM_WEIGHTS_Q5_1] = "q5_1",
    [TLM_WEIGHTS_Q4_K_M] = "q4_k_m",     [TLM_WEIGHTS_Q5_K_M] = "q5_k_m",
    [TLM_WEIGHTS_Q6_K] = "q6_k"};
enum { NUM_WEIGHTS = sizeof(weights) / sizeof(weights[0]) };

/* Whether the file is a GGUF file, whose tokenizer another one takes over as it is. */
static bool is_gguf(const char *path)
{
    char magic[4] = {0};
    FILE *file = fopen(path, "rb");
    bool is = file != NULL && fread(magic, 1, sizeof(magic), file) == sizeof(magic) &&
              memcmp(magic, "GGUF", sizeof(magic)) == 0;

    if (file != NULL)
        fclose(file);
    return is;
}

/* ---- Perplexity --------------------------------------------------------------------------- */

typedef struct ids {
    uint32_t *ids;
    size_t n;
} ids_t;

/* The tokens of a file, behind the token that texts of this model begin with. */
static ids_t read_ids(const char *path, const tlm_tokenizer_t *tokenizer,
                      const tlm_model_file_options_t *file)
{
    const size_t begin = file->has_begin_token ? 1 : 0;
    uint32_t *encoded;
    ids_t ids;
    size_t n, size;
    char *text = cli_read_text(&size, path);

    cli_check(tlm_tokenizer_encode(&encoded, &n, tokenizer, text, size));
    ids = (ids_t){cli_realloc(NULL, (n + 1) * sizeof(*encoded)), n + begin};
    ids.ids[0] = file->begin_token;
    if (n > 0)
        memcpy(ids.ids + begin, encoded, n * sizeof(*encoded));
    if (ids.n < 2)
        cli_fail("%s: perplexity needs two tokens at least, not %zu", path, ids.n);
    tlm_free(encoded);
    free(text);
    return ids;
}

static double perplexity(tlm_model_t *model, const ids_t *ids)
{
    double total;

    cli_check(tlm_model_score(&total, NULL, model, ids->ids, ids->n, 0));
    return exp(-total / (double)(ids->n - 1));
}

static double perplexity_of_file(const char *path, const ids_t *ids)
{
    tlm_model_t *model;
    double value;

    cli_check(tlm_model_open_for_inference(&model, NULL, NULL, path));
    value = perplexity(model, ids);
    tlm_model_free(model);
    return value;
}

/* ---- Writing ------------------------------------------------------------------------------ */

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
    else if (to == TO_ADAPTER)
        cli_check(tlm_model_save_adapter(model, path));
    else
        cli_check(tlm_model_save_gguf(model, tokenizer, path, file));
}

/* The chat template of that name or path; or where that is NULL, of the model if it has one. */
static tlm_chat_template_t *open_chat(const char *name, const char *model_path)
{
    tlm_chat_template_t *out = NULL;

    if (name != NULL)
        return cli_open_chat_template(name);
    if (model_path == NULL)
        return NULL;
    tlm_status_t status = tlm_chat_template_open(&out, model_path);
    if (status != TLM_OK && status != TLM_ERR_NOT_FOUND)
        fprintf(stderr, "without the chat template: %s\n", tlm_error_message());
    return out;
}

int main(int argc, char **argv)
{
    const char *to = NULL, *type = "float32", *text = NULL;
    const char *path = NULL, *vocab = NULL, *merges = NULL, *end = NULL;
    const char *adapter = NULL, *template = NULL;
    bool no_tokenizer = false, merge = false;
    const cli_option_t options[] = {
        {"to", CLI_STRING, &to, "checkpoint, hf or gguf; or adapter, a folder of PEFT", true},
        {"weights", CLI_STRING, &type,
         "float32, float16, bfloat16, or in GGUF q8_0, q6_k, q5_k_m, q5_1, q5_0, q4_k_m, q4_1 or "
         "q4_0; checkpoints and adapters are float32",
         false},
        {"text", CLI_STRING, &text,
         "a file: prints how likely the model finds it, before and after", false},
        {"tokenizer", CLI_STRING, &path,
         "tokenizer.json, rank file, or directory; else the model's own", false},
        {"vocab", CLI_STRING, &vocab, "or: vocab.json of its tokenizer", false},
        {"merges", CLI_STRING, &merges, "and merges.txt", false},
        {"end-token", CLI_STRING, &end,
         "special token of that tokenizer, '' for none; " CLI_END_TOKEN " if there is one", false},
        {"adapter", CLI_STRING, &adapter, "folder of PEFT whose adapters are merged into the model",
         false},
        {"merge", CLI_FLAG, &merge, "merge the adapters that MODEL, a checkpoint, has", false},
        {"chat-template", CLI_STRING, &template,
         "name or path of a chat template for the output; else the model's own", false},
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
    target_t target = (target_t)cli_choose("to", to, targets, 4);

    if (argc - first != 2)
        cli_fail("a model and an output path are needed, not %d paths", argc - first);
    const char *source = argv[first], *output = argv[first + 1];
    const bool has_own = path == NULL && vocab == NULL && merges == NULL && !no_tokenizer;
    const bool copies = target == TO_GGUF && has_own && is_gguf(source);
    const int32_t kind = cli_choose("weights", type, weights, NUM_WEIGHTS);
    if ((target == TO_CHECKPOINT || target == TO_ADAPTER) && kind != TLM_WEIGHTS_FLOAT32)
        cli_fail_usage("%ss are float32, not %s", targets[target], type);
    if (target == TO_ADAPTER && text != NULL)
        cli_fail_usage("--text is for models, not for adapters");
    cli_open_model(&model, no_tokenizer || (copies && text == NULL) ? NULL : &tokenizer, &file,
                   source, path, vocab, merges, end, target != TO_CHECKPOINT);
    if (adapter != NULL)
        cli_check(tlm_model_load_adapter(model, adapter));
    if (merge || (adapter != NULL && target != TO_ADAPTER))
        cli_check(tlm_model_merge_lora(model));
    file.weights = kind;
    file.keys_from = copies ? source : NULL;
    if (text != NULL && tokenizer == NULL)
        cli_fail("there is no tokenizer for the text of --text");
    const ids_t ids = text == NULL ? (ids_t){NULL, 0} : read_ids(text, tokenizer, &file);
    const double before = text == NULL ? 0.0 : perplexity(model, &ids);
    tlm_chat_template_t *chat = open_chat(template, has_own && !copies ? source : NULL);
    file.chat_template = chat;
    save(output, target, model, copies ? NULL : tokenizer, &file);
    tlm_chat_template_free(chat);
    printf("%s: %llu parameters, %s tokenizer\n", output,
           (unsigned long long)tlm_model_num_elements(model),
           copies              ? "the same"
           : tokenizer != NULL ? "with a"
                               : "no");
    tlm_model_free(model);
    if (text == NULL)
        printf("perplexity: not measured, for want of --text\n");
    else
        printf("perplexity of %s, %zu tokens: %.4f before, %.4f after\n", text, ids.n, before,
               perplexity_of_file(output, &ids));
    free(ids.ids);
    tlm_tokenizer_free(tokenizer);
    return 0;
}
