/* Writes a model in another format: checkpoints, folders of Hugging Face's transformers, GGUF files. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support/cli.h"
#include "support/cli_json.h"
#include "support/model_words.h"

typedef enum target { TO_CHECKPOINT, TO_HF, TO_GGUF, TO_ADAPTER } target_t; /* target_words */

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

    cli_progress_watch("scoring", NULL, NULL, 0);
    cli_check(tlm_model_score(&total, NULL, model, ids->ids, ids->n, 0));
    cli_progress_end();
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

static uint64_t written_before;

static uint64_t written(void)
{
    return cli_bytes_written() - written_before;
}

/* Bytes of a file; 0 if it has none. */
static uint64_t size_of(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (uint64_t)info.st_size : 0;
}

/* Bytes of the output: its weights, and what is taken over from another file. What a new tokenizer adds
 * is not counted. */
static uint64_t expected_size(const tlm_model_t *model, target_t to,
                              const tlm_model_file_options_t *file)
{
    const uint64_t elements = tlm_model_num_elements(model);
    uint64_t bytes = 0;

    switch (to) {
    case TO_ADAPTER:
        return tlm_model_num_trained(model) * sizeof(float);
    case TO_CHECKPOINT:
        return elements * sizeof(float);
    case TO_HF:
        return elements * (file->weights == TLM_WEIGHTS_FLOAT32 ? 4 : 2);
    case TO_GGUF:
        break;
    }
    if (tlm_model_gguf_bytes(&bytes, model, file) != TLM_OK)
        return 0; /* saving says why */
    const uint64_t source = file->keys_from != NULL ? size_of(file->keys_from) : 0;
    return bytes + (source > file->weight_bytes ? source - file->weight_bytes : 0);
}

static void save(const char *path, target_t to, const tlm_model_t *model,
                 const tlm_tokenizer_t *tokenizer, const tlm_model_file_options_t *file)
{
    written_before = cli_bytes_written();
    cli_progress_watch("writing", "B", written, expected_size(model, to, file));
    if (to == TO_CHECKPOINT)
        save_checkpoint(path, model, tokenizer);
    else if (to == TO_HF)
        cli_check(tlm_model_save_hf(model, tokenizer, path, file));
    else if (to == TO_ADAPTER)
        cli_check(tlm_model_save_adapter(model, path));
    else
        cli_check(tlm_model_save_gguf(model, tokenizer, path, file));
    cli_progress_end();
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

/* ---- The program -------------------------------------------------------------------------- */

static const char *to, *type = "float32", *text, *model_path, *output_path;
static const char *tokenizer_path, *vocab, *merges, *special, *adapter, *template;
static bool no_tokenizer, merge;

static const cli_option_t options[] = {
    {"to", CLI_STRING, &to, "format to write; adapter is a folder of PEFT", true},
    {"model", CLI_STRING, &model_path, HELP_MODEL ", in place of the first operand", false},
    {"output", CLI_STRING, &output_path, HELP_OUTPUT ", in place of the second operand", false},
    {"weights", CLI_STRING, &type,
     HELP_WEIGHTS ", those from q8_0 on in GGUF only; checkpoints and adapters are float32", false},
    {"text", CLI_STRING, &text, "a file: prints how likely the model finds it, before and after",
     false},
    {"tokenizer", CLI_STRING, &tokenizer_path, HELP_TOKENIZER "; else the model's own", false},
    {"vocab", CLI_STRING, &vocab, HELP_VOCAB, false},
    {"merges", CLI_STRING, &merges, HELP_MERGES, false},
    {"special", CLI_STRING, &special, HELP_LOADED_SPECIAL, false},
    {"adapter", CLI_STRING, &adapter,
     HELP_ADAPTER ", which are merged into it, except by --to adapter", false},
    {"merge", CLI_FLAG, &merge, "merge the adapters that MODEL, a checkpoint, has", false},
    {"chat-template", CLI_STRING, &template,
     HELP_CHAT_TEMPLATE ", for the output; else the model's own", false},
    {"no-tokenizer", CLI_FLAG, &no_tokenizer, "write the model alone", false},
};

/* What was converted, for the lines or the JSON that say so. */
typedef struct conversion {
    const char *source, *output, *tokenizer; /* tokenizer: what the output has */
    uint64_t parameters;
    size_t num_tokens; /* of --text */
    double before, after;
} conversion_t;

static void print_results(const conversion_t *done)
{
    if (cli_is_json()) {
        cli_result_t *result = cli_result_new();

        cli_result_add_text(result, "model", done->source);
        cli_result_add_text(result, "output", done->output);
        cli_result_add_text(result, "format", to);
        cli_result_add_text(result, "weights", type);
        cli_result_add_count(result, "parameters", done->parameters);
        cli_result_add_text(result, "tokenizer", done->tokenizer);
        if (text != NULL) {
            cli_result_add_count(result, "text_tokens", done->num_tokens);
            cli_result_add_real(result, "perplexity_before", done->before);
            cli_result_add_real(result, "perplexity_after", done->after);
        }
        cli_result_print(result);
        return;
    }
    printf("%s: %" PRIu64 " parameters, %s tokenizer\n", done->output, done->parameters,
           done->tokenizer);
    if (text == NULL)
        printf("perplexity: not measured, for want of --text\n");
    else
        printf("perplexity of %s, %zu tokens: %.4f before, %.4f after\n", text, done->num_tokens,
               done->before, done->after);
}

static void check_options(target_t target, int32_t kind)
{
    if ((target == TO_CHECKPOINT || target == TO_ADAPTER) && kind != TLM_WEIGHTS_FLOAT32)
        cli_fail_usage("%ss are float32, not %s", to, type);
    if (target == TO_ADAPTER && text != NULL)
        cli_fail_usage("--text is for models, not for adapters");
}

/* The two paths, each of which is an option or an operand. */
static void find_paths(conversion_t *conversion, int n, char **paths)
{
    const int wanted = (model_path == NULL) + (output_path == NULL);

    if (n != wanted)
        cli_fail_usage("a model and an output path are needed, not %d paths", n + 2 - wanted);
    conversion->source = model_path != NULL ? model_path : *paths++;
    conversion->output = output_path != NULL ? output_path : *paths;
    cli_expect(conversion->source, ROLE_MODEL, CLI_OPERANDS);
}

static int run(int n, char **paths)
{
    tlm_model_file_options_t file = TLM_MODEL_FILE_OPTIONS_INIT;
    conversion_t conversion = {0};
    tlm_tokenizer_t *tokenizer = NULL;
    tlm_model_t *model;
    const target_t target = (target_t)cli_choose_word("to", to, target_words);
    const int32_t kind = cli_choose_word("weights", type, weight_words);

    find_paths(&conversion, n, paths);
    check_options(target, kind);
    cli_check_special(special, tokenizer_path, vocab);
    const char *source = conversion.source;
    const bool has_own = tokenizer_path == NULL && vocab == NULL && merges == NULL && !no_tokenizer;
    const bool copies = target == TO_GGUF && has_own && is_gguf(source);
    cli_progress_watch("reading", NULL, NULL, 0);
    cli_open_model(&model, no_tokenizer || (copies && text == NULL) ? NULL : &tokenizer, &file,
                   source, tokenizer_path, vocab, merges, special, target != TO_CHECKPOINT);
    if (adapter != NULL)
        cli_check(tlm_model_load_adapter(model, adapter));
    if (merge || (adapter != NULL && target != TO_ADAPTER))
        cli_check(tlm_model_merge_lora(model));
    cli_progress_end();
    file.weights = kind;
    file.keys_from = copies ? source : NULL;
    if (text != NULL && tokenizer == NULL)
        cli_fail("there is no tokenizer for the text of --text");
    const ids_t ids = text == NULL ? (ids_t){NULL, 0} : read_ids(text, tokenizer, &file);
    conversion.num_tokens = ids.n;
    conversion.before = text == NULL ? 0.0 : perplexity(model, &ids);
    tlm_chat_template_t *chat = open_chat(template, has_own && !copies ? source : NULL);
    file.chat_template = chat;
    save(conversion.output, target, model, copies ? NULL : tokenizer, &file);
    tlm_chat_template_free(chat);
    conversion.parameters = tlm_model_num_elements(model);
    conversion.tokenizer = copies ? "the same" : tokenizer != NULL ? "with a" : "no";
    tlm_model_free(model);
    conversion.after = text == NULL ? 0.0 : perplexity_of_file(conversion.output, &ids);
    print_results(&conversion);
    free(ids.ids);
    tlm_tokenizer_free(tokenizer);
    return 0;
}

static const cli_value_t values[] = {{CLI_OPERANDS, NULL, ROLE_FILE},
                                     {"to", target_words, ROLE_NONE},
                                     {"weights", weight_words, ROLE_NONE},
                                     {"text", NULL, ROLE_TEXT},
                                     SOURCE_VALUES,
                                     {"output", NULL, ROLE_OUTPUT},
                                     {"chat-template", NULL, ROLE_FILE},
                                     {NULL, NULL, ROLE_NONE}};

const cli_program_t convert_program = {
    .operands = "MODEL OUTPUT",
    .summary = "Writes a model, and the tokenizer stored with it, in another format.\nMODEL is a "
               "checkpoint, a folder of transformers or a GGUF file.",
    .options = options,
    .num_options = sizeof(options) / sizeof(options[0]),
    .has = CLI_HAS_THREADS | CLI_HAS_JSON | CLI_HAS_QUIET,
    .values = values,
    .name = "convert",
    .command = "convert",
    .brief = "write a language model in another format",
    .example = "--to gguf --weights q4_k_m model.safetensors model.gguf",
    .run = run,
};

CLI_MAIN(convert_program)
