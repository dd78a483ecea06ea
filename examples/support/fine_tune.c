/* Fine-tuning in train_lm. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/fine_tune.h"

#include "support/train_options.h"

/* The tokenizer of the model at `path`, whose weights are not needed. */
static tlm_tokenizer_t *open_tokenizer(const char *path)
{
    tlm_tokenizer_t *tokenizer;

    if (tlm_tokenizer_open(&tokenizer, path, NULL) != TLM_OK)
        return NULL;
    return tokenizer;
}

/* Adapters need no weights that can be written to, so those stay as they are in their file. A
 * checkpoint of a whole model has float32 in any case. */
bool fine_tune_open(tlm_model_t **model, tlm_tokenizer_t **tokenizer, const char *resumed)
{
    const bool from_init = resumed == NULL || (settings.init != NULL && settings.lora_rank > 0);
    const bool keep = resumed != NULL || settings.lora_rank > 0;

    cli_check((keep ? tlm_model_open_for_inference
                    : tlm_model_open)(model, tokenizer, NULL, from_init ? settings.init : resumed));
    if (*tokenizer == NULL && settings.init != NULL)
        *tokenizer = open_tokenizer(settings.init);
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

/* Opens token files whose names have commas between them. */
static tlm_dataset_t *open_token_files(const char *paths, uint32_t vocab_size)
{
    size_t n = 1;
    char *names = strdup(paths);

    for (const char *c = paths; *c != '\0'; c++)
        n += *c == ',';
    const char **list = cli_realloc(NULL, n * sizeof(*list));
    if (names == NULL)
        cli_fail("out of memory");
    char *rest = names;
    for (size_t i = 0; i < n; i++)
        list[i] = strsep(&rest, ",");
    tlm_dataset_t *dataset;
    cli_check(tlm_dataset_open_files(&dataset, list, n, TLM_TOKENS_AUTO, vocab_size));
    free(list);
    free(names);
    return dataset;
}

tlm_dataset_t *fine_tune_data(const char *path, const tlm_model_options_t *shape,
                              const tlm_tokenizer_t *tokenizer)
{
    tlm_dataset_t *dataset;

    if (is_token_file(path) && strchr(path, ',') != NULL && access(path, F_OK) != 0)
        return open_token_files(path, (uint32_t)shape->vocab_size);
    if (is_token_file(path) || tokenizer == NULL)
        cli_check(tlm_dataset_open(&dataset, path, TLM_TOKENS_AUTO, (uint32_t)shape->vocab_size));
    else
        cli_check(tlm_dataset_open_text(&dataset, path, tokenizer));
    return dataset;
}
