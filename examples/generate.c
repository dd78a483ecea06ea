/* Continues a prompt with a trained model and prints each character as soon as it is complete. Can also
 * generate several continuations at once, or print how well the model predicts a text. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/chat_session.h"
#include "support/cli.h"

static const char *const ends[] = {"running", "length", "end token", "stop",
                                   "stopped", "failed", "context",   "callback"};

static void report(size_t tokens, double seconds, const char *end)
{
    fprintf(stderr, "%zu tokens, %.0f tokens/s%s%s\n", tokens,
            seconds > 0.0 ? (double)tokens / seconds : 0.0, end[0] != '\0' ? ", ended by " : "",
            end);
}

/* Prints text as it comes: the library holds back what may be a stop text. */
static void generate(tlm_model_t *model, const tlm_tokenizer_t *tokenizer, const char *prompt,
                     const tlm_generate_options_t *options)
{
    size_t prompt_length, sequence, running = 1, n, size, printed = 0;
    tlm_generator_t *generator;
    uint32_t *prompt_ids;
    const char *text;
    double seconds;
    int32_t state;

    cli_check(tlm_tokenizer_encode(&prompt_ids, &prompt_length, tokenizer, prompt, strlen(prompt)));
    cli_check(tlm_generator_create(&generator, model));
    cli_check(tlm_generator_add(&sequence, generator, prompt_ids, prompt_length, options));
    cli_print(prompt, strlen(prompt));
    seconds = cli_seconds();
    while (running > 0) {
        cli_check(tlm_generator_step(&running, generator));
        cli_check(tlm_generator_text(&text, &size, generator, sequence));
        cli_print(text + printed, size - printed);
        printed = size;
    }
    seconds = cli_seconds() - seconds;
    cli_print("\n", 1);
    cli_check(tlm_generator_tokens(NULL, NULL, &n, generator, sequence));
    cli_check(tlm_generator_state(&state, generator, sequence));
    report(n, seconds, ends[state]);
    tlm_generator_free(generator);
    tlm_free(prompt_ids);
}

/* Generates several continuations at once, each with its own seed, and prints them one after another. */
static void generate_samples(tlm_model_t *model, const tlm_tokenizer_t *tokenizer,
                             const char *prompt, size_t samples, tlm_generate_options_t options)
{
    size_t prompt_length, sequence, running, n, size, total = 0;
    double seconds = cli_seconds();
    tlm_generator_t *generator;
    uint32_t *prompt_ids;
    const char *text;

    cli_check(tlm_tokenizer_encode(&prompt_ids, &prompt_length, tokenizer, prompt, strlen(prompt)));
    cli_check(tlm_generator_create(&generator, model));
    for (size_t i = 0; i < samples; i++, options.seed++)
        cli_check(tlm_generator_add(&sequence, generator, prompt_ids, prompt_length, &options));
    do
        cli_check(tlm_generator_step(&running, generator));
    while (running > 0);
    seconds = cli_seconds() - seconds;
    for (size_t i = 0; i < samples; i++) {
        cli_check(tlm_generator_tokens(NULL, NULL, &n, generator, i));
        cli_check(tlm_generator_text(&text, &size, generator, i));
        printf("--- %zu\n%s", i + 1, prompt);
        cli_print(text, size);
        cli_print("\n", 1);
        total += n;
    }
    report(total, seconds, "");
    tlm_generator_free(generator);
    tlm_free(prompt_ids);
}

/* How well the model predicts the text: perplexity per token. */
static void score(tlm_model_t *model, const tlm_tokenizer_t *tokenizer, const char *text)
{
    uint32_t *ids;
    double total;
    size_t n;

    cli_check(tlm_tokenizer_encode(&ids, &n, tokenizer, text, strlen(text)));
    cli_check(tlm_model_score(&total, NULL, model, ids, n, 0));
    printf("%zu tokens, log-likelihood %.3f, perplexity %.3f\n", n, total,
           exp(-total / (double)(n - 1)));
    tlm_free(ids);
}

/* The token that ends a text. If `end` is NULL, it is the one of the model's file, or else the usual one, if
 * the tokenizer has it. */
static void find_end_token(tlm_generate_options_t *options, const tlm_tokenizer_t *tokenizer,
                           const tlm_model_file_options_t *file, const char *end)
{
    tlm_bytes_t token = cli_bytes(end == NULL ? CLI_END_TOKEN : end);
    tlm_status_t status;

    options->has_end_token = end == NULL && file->has_end_token;
    options->end_token = file->end_token;
    for (uint32_t i = 0; i < file->num_more_end_tokens && end == NULL; i++)
        options->more_end_tokens[options->num_more_end_tokens++] = file->more_end_tokens[i];
    if (token.size == 0 || options->has_end_token)
        return;
    status = tlm_tokenizer_token_id(&options->end_token, tokenizer, token.data, token.size);
    if (end == NULL && status == TLM_ERR_NOT_FOUND)
        return;
    cli_check(status);
    options->has_end_token = true;
}

/* The stop texts as byte strings. */
static const tlm_bytes_t *list_stops(const cli_strings_t *stops)
{
    tlm_bytes_t *list = cli_realloc(NULL, (stops->n + 1) * sizeof(*list));

    for (size_t i = 0; i < stops->n; i++)
        list[i] = cli_bytes(stops->texts[i]);
    return list;
}

int main(int argc, char **argv)
{
    static const char *const past_words[] = {"default", "slide", "stop", "recompute"};
    static const char *const cache_words[] = {"float32", "float16"};
    const char *model_path = NULL, *adapter = NULL;
    const char *path = NULL, *vocab = NULL, *merges = NULL;
    const char *prompt = "Once upon a time", *end = NULL, *scored = NULL;
    const char *past = "default", *cache = "float32";
    chat_settings_t settings = {0};
    bool chat = false;
    cli_strings_t stops = {NULL, 0};
    uint64_t max_tokens = 256, top_k = 0, seed = 0, samples = 1, threads = 0;
    tlm_generate_options_t generation = TLM_GENERATE_OPTIONS_INIT;
    const cli_option_t options[] = {
        {"model", CLI_STRING, &model_path, "checkpoint, folder of transformers or GGUF file", true},
        {"adapter", CLI_STRING, &adapter, "folder of PEFT with adapters of the model", false},
        {"tokenizer", CLI_STRING, &path,
         "tokenizer.json, rank file, or directory; else the model's own", false},
        {"vocab", CLI_STRING, &vocab, "or: vocab.json of its tokenizer", false},
        {"merges", CLI_STRING, &merges, "and merges.txt", false},
        {"prompt", CLI_STRING, &prompt, "text to continue", false},
        {"chat", CLI_FLAG, &chat,
         "answer each line of standard input, in a conversation by the model's chat template",
         false},
        {"system", CLI_STRING, &settings.system_message, "with --chat: a system message", false},
        {"chat-template", CLI_STRING, &settings.template,
         "with --chat: a name such as chatml or llama3, or the path of another template", false},
        {"chat-variables", CLI_STRING, &settings.variables,
         "with --chat: variables of the template as JSON, such as {\"enable_thinking\": false}",
         false},
        {"max-tokens", CLI_COUNT, &max_tokens, "the most new tokens", false},
        {"temperature", CLI_REAL, &generation.temperature, "0: always the likeliest token", false},
        {"top-k", CLI_COUNT, &top_k, "draw from the k likeliest; 0: from all", false},
        {"top-p", CLI_REAL, &generation.top_p, "nucleus sampling, up to 1; 0: from all", false},
        {"min-p", CLI_REAL, &generation.min_p,
         "drop tokens below this share of the likeliest; 0: keep all", false},
        {"repetition-penalty", CLI_REAL, &generation.repetition_penalty,
         "above 1: favor tokens that have not occurred; 0: none", false},
        {"stop", CLI_STRINGS, &stops, "end before this text; may be given several times", false},
        {"past-context", CLI_STRING, &past,
         "at the end of the context: slide, stop or recompute; default: what the model can", false},
        {"cache", CLI_STRING, &cache, "type of the key-value cache: float32 or float16", false},
        {"samples", CLI_COUNT, &samples, "number of continuations, with consecutive seeds", false},
        {"score", CLI_STRING, &scored, "print the perplexity of this text instead", false},
        {"end-token", CLI_STRING, &end,
         "stop at this token, '' for none; " CLI_END_TOKEN " if there is one", false},
        {"seed", CLI_COUNT, &seed, "same seed, same text", false},
        {"threads", CLI_COUNT, &threads, "threads; 0: one per CPU", false},
    };
    const cli_program_t program = {NULL, "Continues a prompt with a trained model.", options,
                                   sizeof(options) / sizeof(options[0])};
    tlm_model_file_options_t file = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer;
    tlm_model_t *model;

    cli_parse(argc, argv, &program);
    cli_check_range("max-tokens", max_tokens, 0, INT32_MAX);
    cli_check_range("top-k", top_k, 0, UINT32_MAX);
    cli_check_range("samples", samples, 1, 1 << 16);
    cli_check_range("threads", threads, 0, TLM_MAX_THREADS);
    cli_check(tlm_set_num_threads((int32_t)threads));
    cli_open_model(&model, &tokenizer, &file, model_path, path, vocab, merges, end, true);
    if (adapter != NULL)
        cli_check(tlm_model_load_adapter(model, adapter));
    if (tokenizer == NULL) /* ends the program, and says what is missing */
        tokenizer = cli_load_tokenizer(path, vocab, merges, end);
    generation.max_tokens = (int64_t)max_tokens;
    generation.top_k = (uint32_t)top_k;
    generation.seed = seed;
    generation.past_context = cli_choose("past-context", past, past_words, 4);
    generation.cache_type =
        cli_choose("cache", cache, cache_words, 2) == 0 ? TLM_FLOAT32 : TLM_FLOAT16;
    generation.tokenizer = tokenizer;
    generation.stop_strings = list_stops(&stops);
    generation.num_stop_strings = stops.n;
    find_end_token(&generation, tokenizer, &file, end);
    settings.model_path = model_path;
    settings.how = generation;
    if (chat)
        run_chat(model, tokenizer, &settings);
    else if (scored != NULL)
        score(model, tokenizer, scored);
    else if (samples > 1)
        generate_samples(model, tokenizer, prompt, (size_t)samples, generation);
    else
        generate(model, tokenizer, prompt, &generation);
    free((void *)(uintptr_t)generation.stop_strings);
    free(stops.texts);
    tlm_model_free(model);
    tlm_tokenizer_free(tokenizer);
    return 0;
}
