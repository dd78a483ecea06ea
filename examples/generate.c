/* Continues a prompt with a trained model and prints each character as soon as it is complete. Can also
 * generate several continuations at once, or print how well the model predicts a text. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/chat_session.h"
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/generation_options.h"

static const char *prompt = "Once upon a time", *scored;
static chat_settings_t chat_settings;
static uint64_t samples = 1;
static bool chat;

static const cli_option_t options[] = {
    GENERATION_SOURCE_OPTIONS,
    {"prompt", CLI_STRING, &prompt, HELP_PROMPT, false},
    {"samples", CLI_COUNT, &samples, "number of continuations, with consecutive seeds", false},
    {"score", CLI_STRING, &scored, "print the perplexity of this text instead", false},
    GENERATION_SAMPLING_OPTIONS,
    {"chat", CLI_FLAG, &chat,
     "answer each line of standard input, in a conversation by the model's chat template", false},
    CHAT_OPTIONS(chat_settings, "with --chat: "),
};

static const char *const ends[] = {"running", "length", "end token", "stop",
                                   "stopped", "failed", "context",   "callback"};

static void report(size_t tokens, double seconds, const char *end)
{
    cli_note("%zu tokens, %.0f tokens/s%s%s\n", tokens,
             seconds > 0.0 ? (double)tokens / seconds : 0.0, end[0] != '\0' ? ", ended by " : "",
             end);
}

/* ---- Results as JSON ---- */

/* The new tokens of a sequence with their log-probabilities, and the text. */
static void add_sample(cli_result_t *list, const tlm_generator_t *generator, size_t sequence,
                       uint64_t seed)
{
    cli_result_t *sample = cli_result_add_object(list, NULL), *ids_list, *log_prob_list;
    const float *log_probs;
    const uint32_t *ids;
    const char *text;
    size_t n, size;
    int32_t state;

    cli_check(tlm_generator_text(&text, &size, generator, sequence));
    cli_check(tlm_generator_tokens(&ids, &log_probs, &n, generator, sequence));
    cli_check(tlm_generator_state(&state, generator, sequence));
    cli_result_add_count(sample, "seed", seed);
    cli_result_add_bytes(sample, "text", text, size);
    cli_result_add_text(sample, "ended_by", ends[state]);
    ids_list = cli_result_add_list(sample, "ids");
    log_prob_list = cli_result_add_list(sample, "log_probs");
    for (size_t i = 0; i < n; i++) {
        cli_result_add_count(ids_list, NULL, ids[i]);
        cli_result_add_real(log_prob_list, NULL, log_probs[i]);
    }
}

static void print_json(const tlm_generator_t *generator, uint64_t seed, size_t num_prompt,
                       double seconds)
{
    cli_result_t *result = cli_result_new(), *list;
    size_t n, total = 0;

    cli_result_add_text(result, "prompt", prompt);
    cli_result_add_count(result, "prompt_tokens", num_prompt);
    list = cli_result_add_list(result, "samples");
    for (size_t i = 0; i < samples; i++) {
        add_sample(list, generator, i, seed + i);
        cli_check(tlm_generator_tokens(NULL, NULL, &n, generator, i));
        total += n;
    }
    cli_result_add_real(result, "tokens_per_second", seconds > 0.0 ? (double)total / seconds : 0.0);
    cli_result_print(result);
}

/* ---- Generation ---- */

/* Prints text as it comes: the library holds back what may be a stop text. */
static void stream(tlm_generator_t *generator)
{
    size_t running = 1, printed = 0, size;
    const char *text;

    if (!cli_is_json())
        cli_print(prompt, strlen(prompt));
    while (running > 0) {
        cli_check(tlm_generator_step(&running, generator));
        cli_check(tlm_generator_text(&text, &size, generator, 0));
        if (!cli_is_json())
            cli_print(text + printed, size - printed);
        printed = size;
    }
    if (!cli_is_json())
        cli_print("\n", 1);
}

static void generate(const generation_t *opened)
{
    size_t prompt_length, n, kept;
    tlm_generator_t *generator;
    uint32_t *prompt_ids;
    double seconds;
    int32_t state;

    cli_check(tlm_tokenizer_encode(&prompt_ids, &prompt_length, opened->tokenizer, prompt,
                                   strlen(prompt)));
    cli_check(tlm_generator_create(&generator, opened->model));
    generation_begin(generator, prompt_ids, prompt_length, &opened->how, &kept);
    seconds = cli_seconds();
    stream(generator);
    seconds = cli_seconds() - seconds;
    generation_save_cache(generator);
    cli_check(tlm_generator_tokens(NULL, NULL, &n, generator, 0));
    cli_check(tlm_generator_state(&state, generator, 0));
    if (cli_is_json())
        print_json(generator, opened->how.seed, prompt_length, seconds);
    else
        report(n, seconds, ends[state]);
    if (kept > 0)
        cli_note("(%zu of %zu tokens of the prompt were in the cache)\n", kept, prompt_length);
    tlm_generator_free(generator);
    tlm_free(prompt_ids);
}

static void print_samples(const tlm_generator_t *generator, double seconds)
{
    size_t n, size, total = 0;
    const char *text;

    for (size_t i = 0; i < samples; i++) {
        cli_check(tlm_generator_tokens(NULL, NULL, &n, generator, i));
        cli_check(tlm_generator_text(&text, &size, generator, i));
        printf("--- %zu\n%s", i + 1, prompt);
        cli_print(text, size);
        cli_print("\n", 1);
        total += n;
    }
    report(total, seconds, "");
}

/* Generates several continuations at once, each with its own seed, and prints them one after another. */
static void generate_samples(const generation_t *opened)
{
    tlm_generate_options_t how = opened->how;
    size_t prompt_length, sequence, running;
    double seconds = cli_seconds();
    tlm_generator_t *generator;
    uint32_t *prompt_ids;

    cli_check(tlm_tokenizer_encode(&prompt_ids, &prompt_length, opened->tokenizer, prompt,
                                   strlen(prompt)));
    cli_check(tlm_generator_create(&generator, opened->model));
    for (size_t i = 0; i < samples; i++, how.seed++)
        cli_check(tlm_generator_add(&sequence, generator, prompt_ids, prompt_length, &how));
    do
        cli_check(tlm_generator_step(&running, generator));
    while (running > 0);
    seconds = cli_seconds() - seconds;
    if (cli_is_json())
        print_json(generator, opened->how.seed, prompt_length, seconds);
    else
        print_samples(generator, seconds);
    tlm_generator_free(generator);
    tlm_free(prompt_ids);
}

/* How well the model predicts the text: perplexity per token. */
static void score(const generation_t *opened)
{
    uint32_t *ids;
    double total;
    size_t n;

    cli_check(tlm_tokenizer_encode(&ids, &n, opened->tokenizer, scored, strlen(scored)));
    cli_check(tlm_model_score(&total, NULL, opened->model, ids, n, 0));
    const double perplexity = exp(-total / (double)(n - 1));
    tlm_free(ids);
    cli_say("%zu tokens, log-likelihood %.3f, perplexity %.3f\n", n, total, perplexity);
    if (!cli_is_json())
        return;
    cli_result_t *result = cli_result_new();
    cli_result_add_text(result, "text", scored);
    cli_result_add_count(result, "tokens", n);
    cli_result_add_real(result, "log_likelihood", total);
    cli_result_add_real(result, "perplexity", perplexity);
    cli_result_print(result);
}

static int run(int n, char **operands)
{
    generation_t opened;

    (void)n;
    (void)operands;
    cli_check_range("samples", samples, 1, 1 << 16);
    if (samples > 1 && generation.prompt_cache != NULL)
        cli_fail_usage("--prompt-cache keeps one sequence, not %" PRIu64 " samples", samples);
    if (chat && cli_is_json())
        cli_fail_usage("--chat prints answers as they come, not JSON");
    generation_open(&opened);
    if (chat)
        run_chat(opened.model, opened.tokenizer, &opened.how, &chat_settings);
    else if (scored != NULL)
        score(&opened);
    else if (samples > 1)
        generate_samples(&opened);
    else
        generate(&opened);
    generation_close(&opened);
    return 0;
}

static const cli_value_t values[] = {
    GENERATION_VALUES, {"chat-template", NULL, ROLE_FILE}, {NULL, NULL, ROLE_NONE}};

const cli_program_t generate_program = {
    .summary = "Continues a prompt with a trained model.",
    .options = options,
    .num_options = sizeof(options) / sizeof(options[0]),
    .has = CLI_HAS_THREADS | CLI_HAS_JSON | CLI_HAS_QUIET,
    .values = values,
    .name = "generate",
    .command = "generate",
    .brief = "continue a prompt with a language model",
    .example = "--model model.safetensors --prompt 'One day' --temperature 0.8 --top-p 0.95",
    .run = run,
};

CLI_MAIN(generate_program)
