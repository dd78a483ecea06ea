/* Generation with everything that its options have: text, stops, biases, a callback, caches that are kept,
 * saved and loaded. */
#include "failing_allocator.h"
#include "oom_scenarios.h"

#include <string.h>

enum { VOCAB = 256, NEW = 30 };

static const uint32_t prompt[5] = {3, 1, 4, 1, 5};
static tlm_tokenizer_t *tokenizer;
static tlm_model_t *model;

static void prepare(void)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    static uint8_t bytes[VOCAB];
    tlm_bytes_t vocab[VOCAB];

    for (size_t i = 0; i < VOCAB; i++) {
        bytes[i] = (uint8_t)i;
        vocab[i] = (tlm_bytes_t){&bytes[i], 1};
    }
    MUST(tlm_tokenizer_create(&tokenizer, vocab, VOCAB, NULL, 0, NULL));
    options.vocab_size = VOCAB;
    options.context_length = 12;
    options.d_model = 8;
    options.num_layers = 2;
    options.num_heads = 2;
    options.seed = 3;
    MUST(tlm_model_create(&model, &options));
}

static void clean_up(void)
{
    tlm_tokenizer_free(tokenizer);
    tlm_model_free(model);
}

static int32_t look(void *user, size_t sequence, const uint32_t *ids, size_t n, float *logits,
                    size_t vocab_size, uint32_t *token)
{
    (void)user;
    (void)sequence;
    (void)ids;
    (void)token;
    logits[n % vocab_size] = -1.0f;
    return 0;
}

static tlm_generate_options_t options_with(const tlm_bytes_t *stop, const tlm_logit_bias_t *bias)
{
    tlm_generate_options_t options = TLM_GENERATE_OPTIONS_INIT;

    options.max_tokens = NEW;
    options.temperature = 1.0;
    options.tokenizer = tokenizer;
    options.stop_strings = stop;
    options.num_stop_strings = 1;
    options.logit_bias = bias;
    options.num_logit_biases = 1;
    options.on_logits = look;
    options.keeps_cache = true;
    options.cache_type = TLM_FLOAT16;
    options.num_top_log_probs = 2;
    return options;
}

static tlm_status_t step_to_the_end(tlm_generator_t *made)
{
    tlm_status_t status;
    size_t running;

    do
        TRY(tlm_generator_step(&running, made));
    while (running > 0);
done:
    return status;
}

/* After a failure a sequence goes on to the same text. */
static tlm_status_t generation_of_text(void)
{
    const tlm_bytes_t stop = {(const uint8_t *)"never there", 11};
    const tlm_logit_bias_t bias = {7, 1.0f};
    const tlm_generate_options_t options = options_with(&stop, &bias);
    tlm_generator_t *made = NULL, *other = NULL;
    const char *text, *other_text;
    tlm_status_t status;
    size_t sequence, added = 0, size, other_size;

    TRY(tlm_generator_create(&made, model));
    TRY(tlm_generator_add(&sequence, made, prompt, 5, &options));
    added = 1;
    TRY(step_to_the_end(made));
done:
    if (added > 0) {
        stop_failing();
        MUST(step_to_the_end(made));
        MUST(tlm_generator_create(&other, model));
        MUST(tlm_generator_add(&sequence, other, prompt, 5, &options));
        MUST(step_to_the_end(other));
        MUST(tlm_generator_text(&text, &size, made, 0));
        MUST(tlm_generator_text(&other_text, &other_size, other, 0));
        if (size != other_size || memcmp(text, other_text, size) != 0)
            fault("a failure changed the text of a sequence");
    }
    tlm_generator_free(other);
    tlm_generator_free(made);
    return status;
}

static tlm_status_t prompt_cache(void)
{
    const tlm_bytes_t stop = {(const uint8_t *)"x", 1};
    const tlm_logit_bias_t bias = {7, 1.0f};
    const tlm_generate_options_t options = options_with(&stop, &bias);
    tlm_generator_t *made = NULL;
    size_t sequence, running, size;
    int32_t state;
    tlm_status_t status;
    char *text = NULL;

    TRY(tlm_generator_create(&made, model));
    TRY(tlm_generator_add(&sequence, made, prompt, 5, &options));
    TRY(tlm_generator_step(&running, made));
    TRY(tlm_generator_save(made, sequence, path_of("sequence")));
    TRY(tlm_generator_load(&sequence, made, path_of("sequence"), &options));
    TRY(tlm_generator_stop(made, sequence));
    TRY(tlm_generator_extend(made, sequence, SIZE_MAX, prompt, 5, &options));
    TRY(tlm_generator_step(&running, made));
    TRY(tlm_model_generate_text(&text, &size, &state, model, prompt, 5, &options, NULL, NULL));
done:
    tlm_free(text);
    tlm_generator_free(made);
    return status;
}

const scenario_t generation_scenarios[] = {
    {"generation_of_text", prepare, generation_of_text, clean_up, false},
    {"prompt_cache", prepare, prompt_cache, clean_up, false},
    {NULL, NULL, NULL, NULL, false},
};
