/* Continues a prompt with a trained model, printing each character as soon as it is whole. */
#include <inttypes.h>
#include <string.h>

#include "cli.h"

static int32_t print_token(void *user, uint32_t id)
{
    const char *text;
    size_t size;

    cli_check(tlm_decoder_push(&text, &size, user, id));
    cli_print(text, size);
    return 0;
}

static void generate(tlm_model_t *model, const tlm_tokenizer_t *tokenizer, const char *prompt,
                     const tlm_generate_options_t *options)
{
    tlm_decoder_t *decoder;
    uint32_t *prompt_ids, *ids;
    size_t prompt_length, n, size;
    double seconds;
    const char *text;

    cli_check(tlm_tokenizer_encode(&prompt_ids, &prompt_length, tokenizer, prompt, strlen(prompt)));
    cli_check(tlm_decoder_create(&decoder, tokenizer));
    cli_print(prompt, strlen(prompt));
    seconds = cli_seconds();
    cli_check(tlm_model_generate(&ids, &n, model, prompt_ids, prompt_length, options, print_token,
                                 decoder));
    seconds = cli_seconds() - seconds;
    cli_check(tlm_decoder_finish(&text, &size, decoder));
    cli_print(text, size);
    cli_print("\n", 1);
    fprintf(stderr, "%zu tokens, %.0f tokens/s\n", n, seconds > 0.0 ? (double)n / seconds : 0.0);
    tlm_free(ids);
    tlm_free(prompt_ids);
    tlm_decoder_free(decoder);
}

int main(int argc, char **argv)
{
    const char *model_path = NULL, *vocab = NULL, *merges = NULL, *prompt = "Once upon a time";
    const char *end = "<|endoftext|>";
    uint64_t max_tokens = 256, top_k = 0, seed = 0, threads = 0;
    tlm_generate_options_t generation = TLM_GENERATE_OPTIONS_INIT;
    const cli_option_t options[] = {
        {"model", CLI_STRING, &model_path, "checkpoint to load", true},
        {"vocab", CLI_STRING, &vocab, "vocab.json of its tokenizer", true},
        {"merges", CLI_STRING, &merges, "merges.txt of its tokenizer", true},
        {"prompt", CLI_STRING, &prompt, "text to continue", false},
        {"max-tokens", CLI_COUNT, &max_tokens, "new tokens at most", false},
        {"temperature", CLI_REAL, &generation.temperature, "0: always the likeliest token", false},
        {"top-k", CLI_COUNT, &top_k, "draw from the k likeliest; 0: from all", false},
        {"top-p", CLI_REAL, &generation.top_p, "nucleus sampling, up to 1; 0: from all", false},
        {"end-token", CLI_STRING, &end, "stop at this token; '' for none", false},
        {"seed", CLI_COUNT, &seed, "same seed, same text", false},
        {"threads", CLI_COUNT, &threads, "threads; 0: one a CPU", false},
    };
    const cli_program_t program = {NULL, "Continues a prompt with a trained model.", options,
                                   sizeof(options) / sizeof(options[0])};
    tlm_tokenizer_t *tokenizer;
    tlm_model_t *model;

    cli_parse(argc, argv, &program);
    cli_check_range("max-tokens", max_tokens, 0, INT32_MAX);
    cli_check_range("top-k", top_k, 0, UINT32_MAX);
    cli_check_range("threads", threads, 0, TLM_MAX_THREADS);
    cli_check(tlm_set_num_threads((int32_t)threads));
    tokenizer = cli_load_tokenizer(vocab, merges, end);
    cli_check(tlm_model_load(&model, model_path));
    generation.max_tokens = (int64_t)max_tokens;
    generation.top_k = (uint32_t)top_k;
    generation.seed = seed;
    generation.has_end_token = end[0] != '\0';
    if (generation.has_end_token)
        cli_check(tlm_tokenizer_token_id(&generation.end_token, tokenizer, end, strlen(end)));
    generate(model, tokenizer, prompt, &generation);
    tlm_model_free(model);
    tlm_tokenizer_free(tokenizer);
    return 0;
}
