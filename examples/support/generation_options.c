/* The options of generation, and what they open. */
#include "support/generation_options.h"

#include <stdlib.h>
#include <unistd.h>

generation_settings_t generation = {.past = "default", .cache = "float32", .max_tokens = 256};

const char *const cache_words[] = {"float32", "float16", NULL};

/* The token that ends a text. Without --end-token it is the one of the model's file, or else the usual one,
 * if the tokenizer has it. */
static void find_end_token(tlm_generate_options_t *how, const tlm_tokenizer_t *tokenizer,
                           const tlm_model_file_options_t *file, const char *end)
{
    tlm_bytes_t token = cli_bytes(end == NULL ? CLI_END_TOKEN : end);
    tlm_status_t status;

    how->has_end_token = end == NULL && file->has_end_token;
    how->end_token = file->end_token;
    for (uint32_t i = 0; i < file->num_more_end_tokens && end == NULL; i++)
        how->more_end_tokens[how->num_more_end_tokens++] = file->more_end_tokens[i];
    if (token.size == 0 || how->has_end_token)
        return;
    status = tlm_tokenizer_token_id(&how->end_token, tokenizer, token.data, token.size);
    if (end == NULL && status == TLM_ERR_NOT_FOUND)
        return;
    cli_check(status);
    how->has_end_token = true;
}

/* The stop texts as byte strings. */
static const tlm_bytes_t *list_stops(const cli_strings_t *stops)
{
    tlm_bytes_t *list = cli_realloc(NULL, (stops->n + 1) * sizeof(*list));

    for (size_t i = 0; i < stops->n; i++)
        list[i] = cli_bytes(stops->texts[i]);
    return list;
}

static void set_options(tlm_generate_options_t *how, const tlm_tokenizer_t *tokenizer)
{
    how->max_tokens = (int64_t)generation.max_tokens;
    how->temperature = generation.temperature;
    how->top_k = (uint32_t)generation.top_k;
    how->top_p = generation.top_p;
    how->min_p = generation.min_p;
    how->repetition_penalty = generation.repetition_penalty;
    how->seed = generation.seed;
    how->past_context = cli_choose_word("past-context", generation.past, past_words);
    how->cache_type =
        cli_choose_word("cache", generation.cache, cache_words) == 0 ? TLM_FLOAT32 : TLM_FLOAT16;
    how->keeps_cache = generation.prompt_cache != NULL;
    how->tokenizer = tokenizer;
    how->stop_strings = list_stops(&generation.stops);
    how->num_stop_strings = generation.stops.n;
}

void generation_open(generation_t *out)
{
    tlm_model_file_options_t file = TLM_MODEL_FILE_OPTIONS_INIT;

    cli_check_range("max-tokens", generation.max_tokens, 0, INT32_MAX);
    cli_check_range("top-k", generation.top_k, 0, UINT32_MAX);
    *out = (generation_t){.how = TLM_GENERATE_OPTIONS_INIT};
    cli_open_model(&out->model, &out->tokenizer, &file, generation.model, generation.tokenizer,
                   generation.vocab, generation.merges, generation.end, true);
    if (generation.adapter != NULL)
        cli_check(tlm_model_load_adapter(out->model, generation.adapter));
    if (out->tokenizer == NULL) /* ends the program, and says what is missing */
        out->tokenizer = cli_load_tokenizer(generation.tokenizer, generation.vocab,
                                            generation.merges, generation.end);
    set_options(&out->how, out->tokenizer);
    find_end_token(&out->how, out->tokenizer, &file, generation.end);
}

void generation_close(generation_t *opened)
{
    free((void *)(uintptr_t)opened->how.stop_strings);
    free(generation.stops.texts);
    tlm_model_free(opened->model);
    tlm_tokenizer_free(opened->tokenizer);
}

void generation_begin(tlm_generator_t *generator, const uint32_t *prompt, size_t n,
                      const tlm_generate_options_t *how, size_t *kept)
{
    const char *path = generation.prompt_cache;
    const uint32_t *known;
    size_t sequence, num_known, keep = 0;

    *kept = 0;
    if (path == NULL || access(path, F_OK) != 0) {
        cli_check(tlm_generator_add(&sequence, generator, prompt, n, how));
        return;
    }
    cli_check(tlm_generator_load(&sequence, generator, path, how));
    cli_check(tlm_generator_stop(generator, sequence));
    cli_check(tlm_generator_context(&known, &num_known, generator, sequence));
    while (keep < num_known && keep + 1 < n && known[keep] == prompt[keep])
        keep++;
    cli_check(tlm_generator_extend(generator, sequence, keep, prompt + keep, n - keep, how));
    *kept = keep;
}

void generation_save_cache(const tlm_generator_t *generator)
{
    if (generation.prompt_cache != NULL)
        cli_check(tlm_generator_save(generator, 0, generation.prompt_cache));
}
