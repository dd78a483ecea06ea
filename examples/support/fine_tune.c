/* Fine-tuning in train_lm. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/fine_tune.h"

#include "support/train_options.h"

/* What comes with the model of --init, whose weights are not needed: its tokenizer, unless there is one
 * already, and its tokens. */
static void read_companions(tlm_tokenizer_t **tokenizer, tlm_model_file_options_t *file)
{
    tlm_tokenizer_t *found = NULL;
    tlm_model_t *model;

    cli_check(tlm_model_open_for_inference(&model, &found, file, settings.init));
    tlm_model_free(model);
    if (*tokenizer == NULL)
        *tokenizer = found;
    else
        tlm_tokenizer_free(found);
}

/* Adapters need no weights that can be written to, so those stay as they are in their file. A
 * checkpoint of a whole model has float32 in any case. */
bool fine_tune_open(tlm_model_t **model, tlm_tokenizer_t **tokenizer,
                    tlm_model_file_options_t *file, const char *resumed)
{
    const bool from_init = resumed == NULL || (settings.init != NULL && settings.lora_rank > 0);
    const bool keep = resumed != NULL || settings.lora_rank > 0;

    cli_check((keep ? tlm_model_open_for_inference
                    : tlm_model_open)(model, tokenizer, file, from_init ? settings.init : resumed));
    if (!from_init && settings.init != NULL)
        read_companions(tokenizer, file);
    return from_init;
}

void fine_tune_prepare(tlm_model_t *model)
{
    tlm_lora_options_t lora = TLM_LORA_OPTIONS_INIT;

    lora.rank = (int64_t)settings.lora_rank;
    lora.alpha = settings.lora_alpha;
    lora.dropout = settings.lora_dropout;
    lora.targets = settings.lora_targets;
    lora.rank_stabilized = settings.lora_rslora;
    lora.seed = settings.seed;
    if (settings.lora_rank > 0)
        cli_check(tlm_model_add_lora(model, &lora));
    if (settings.freeze != NULL)
        cli_check(tlm_model_set_frozen(model, settings.freeze, true));
}

static bool is_token_file(const char *path)
{
    return cli_ends_with(path, ".npy") || cli_ends_with(path, ".u16") ||
           cli_ends_with(path, ".u32");
}

/* An id that is too large says that the vocabulary is, as a rule, given too small. */
static void check_ids(tlm_status_t status)
{
    if (status == TLM_ERR_RANGE && settings.init == NULL && settings.resume == NULL)
        cli_fail("%s; --vocab-size gives its size", tlm_error_message());
    cli_check(status);
}

/* Opens token files whose names have commas between them. */
static tlm_dataset_t *open_token_files(const char *paths, const char *name, uint32_t vocab_size)
{
    size_t n = 1;
    char *names = strdup(paths);

    for (const char *c = paths; *c != '\0'; c++)
        n += *c == ',';
    const char **list = cli_realloc(NULL, n * sizeof(*list));
    if (names == NULL)
        cli_fail("out of memory");
    char *rest = names;
    for (size_t i = 0; i < n; i++) {
        list[i] = strsep(&rest, ",");
        cli_expect(list[i], ROLE_TOKENS, name);
    }
    tlm_dataset_t *dataset;
    check_ids(tlm_dataset_open_files(&dataset, list, n, TLM_TOKENS_AUTO, vocab_size));
    free(list);
    free(names);
    return dataset;
}

/* The template of --chat-template, or of --init; NULL if there is none. */
static tlm_chat_template_t *open_template(void)
{
    tlm_chat_template_t *chat_template = NULL;

    if (settings.chat_template != NULL)
        return cli_open_chat_template(settings.chat_template);
    if (settings.init == NULL)
        return NULL;
    tlm_status_t status = tlm_chat_template_open(&chat_template, settings.init);
    if (status != TLM_ERR_NOT_FOUND)
        cli_check(status);
    return chat_template;
}

/* Sets the tokens around prompts and completions to those of the model in --init. */
static void find_tokens(tlm_chat_data_options_t *options, const tlm_model_file_options_t *file)
{
    options->has_begin_token = file->has_begin_token;
    options->begin_token = file->begin_token;
    options->has_end_token = file->has_end_token;
    options->end_token = file->end_token;
}

static tlm_dataset_t *open_conversations(const char *path, const tlm_tokenizer_t *tokenizer,
                                         const tlm_model_file_options_t *file)
{
    tlm_chat_data_options_t options = TLM_CHAT_DATA_OPTIONS_INIT;
    tlm_chat_template_t *chat_template = open_template();
    tlm_chat_data_t found = TLM_CHAT_DATA_INIT;
    tlm_dataset_t *dataset;

    options.row_length = (int64_t)shape_settings.context_length + 1;
    options.packed = settings.pack;
    find_tokens(&options, file);
    cli_check(tlm_dataset_open_chat(&dataset, &found, path, tokenizer, chat_template, &options));
    tlm_chat_template_free(chat_template);
    cli_say("%s: %" PRIu64 " conversations in %" PRIu64 " rows; %" PRIu64 " cut off, %" PRIu64
            " left out; %" PRIu64 " of %" PRIu64 " tokens count\n",
            path, found.conversations, found.rows, found.truncated, found.left_out, found.counted,
            found.tokens);
    return dataset;
}

tlm_dataset_t *fine_tune_data(const char *path, const tlm_model_options_t *shape,
                              const tlm_tokenizer_t *tokenizer,
                              const tlm_model_file_options_t *file)
{
    const char *name = path == settings.train ? "train" : "valid";
    tlm_dataset_t *dataset;

    if (is_token_file(path) && strchr(path, ',') != NULL && access(path, F_OK) != 0)
        return open_token_files(path, name, (uint32_t)shape->vocab_size);
    cli_expect(path,
               is_token_file(path) || tokenizer == NULL ? ROLE_TOKENS
               : cli_ends_with(path, ".jsonl")          ? ROLE_QUESTIONS
                                                        : ROLE_TEXT,
               name);
    if (is_token_file(path) || tokenizer == NULL)
        check_ids(tlm_dataset_open(&dataset, path, TLM_TOKENS_AUTO, (uint32_t)shape->vocab_size));
    else if (cli_ends_with(path, ".jsonl"))
        dataset = open_conversations(path, tokenizer, file);
    else
        cli_check(tlm_dataset_open_text(&dataset, path, tokenizer));
    return dataset;
}
