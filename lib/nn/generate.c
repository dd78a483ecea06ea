/* Generation: prompt in, new tokens out. Each token follows from the logits of the last
 * context_length tokens, exactly as tlm_model_forward gives them for that window. Up to
 * context_length the cache makes a token cost one token's work; past it every position in the
 * window moves, rotary angles and keys with it, so the window is computed anew. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/rng.h"
#include "kv_cache.h"
#include "model_core.h"
#include "sampling.h"

TLMI_OPTIONS_INIT_FUNCTIONS(generate, TLM_GENERATE_OPTIONS_INIT, seed)

static tlm_status_t check_options(const tlm_generate_options_t *options, const tlm_model_t *model)
{
    if ((options->reserved[0] | options->reserved[1] | options->reserved[2]) != 0 ||
        options->reserved2 != 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "model_generate: a reserved field is not 0");
    if (options->max_tokens < 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "model_generate: max_tokens %" PRId64 " is negative", options->max_tokens);
    if (!isfinite(options->temperature) || options->temperature < 0.0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "model_generate: temperature %g is not a finite number >= 0",
                         options->temperature);
    if (!(options->top_p >= 0.0 && options->top_p <= 1.0))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "model_generate: top_p %g is not in [0, 1]",
                         options->top_p);
    if (options->has_end_token && options->end_token >= model->options.vocab_size)
        return tlmi_fail(TLM_ERR_RANGE,
                         "model_generate: end_token %" PRIu32
                         " is outside the vocabulary of %" PRId64,
                         options->end_token, model->options.vocab_size);
    return TLM_OK;
}

static tlm_status_t check_prompt(const uint32_t *prompt, size_t n, const tlm_model_t *model)
{
    if (n == 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "model_generate: the prompt is empty");
    TLMI_REQUIRE("model_generate", prompt);
    for (size_t i = 0; i < n; i++)
        if (prompt[i] >= model->options.vocab_size)
            return tlmi_fail(TLM_ERR_RANGE,
                             "model_generate: id %" PRIu32
                             " at position %zu is outside the vocabulary of %" PRId64,
                             prompt[i], i, model->options.vocab_size);
    return TLM_OK;
}

/* One call's state. */
typedef struct generation {
    const tlm_model_t *model;
    tlmi_kv_cache_t *cache;
    tlmi_sampler_t sampler;
    float *logits;
    uint32_t *tokens; /* the end of the prompt, then the new ones */
    size_t num_tokens, capacity;
} generation_t;

static void generation_release(generation_t *state)
{
    tlmi_kv_cache_free(state->cache);
    tlmi_sampler_release(&state->sampler);
    tlmi_free(state->logits);
    tlmi_free(state->tokens);
}

static tlm_status_t generation_append(generation_t *state, const uint32_t *ids, size_t n)
{
    if (!tlmi_grow(&state->tokens, &state->capacity, state->num_tokens + n, sizeof(*ids),
                   "generated tokens"))
        return TLM_ERR_OUT_OF_MEMORY;
    memcpy(state->tokens + state->num_tokens, ids, n * sizeof(*ids));
    state->num_tokens += n;
    return TLM_OK;
}

static tlm_status_t generation_begin(generation_t *state, const tlm_generate_options_t *options,
                                     const uint32_t *prompt, size_t prompt_length)
{
    const tlm_model_options_t *sizes = &state->model->options;

    TLMI_TRY(tlmi_kv_cache_create(&state->cache, state->model));
    TLMI_TRY(tlmi_sampler_init(&state->sampler, sizes->vocab_size, options));
    state->logits =
        tlmi_alloc_aligned((size_t)sizes->vocab_size, sizeof(float), "the logits of generation");
    if (state->logits == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    return generation_append(state, prompt, prompt_length);
}

/* Logits of the last context_length tokens. */
static tlm_status_t generation_logits(generation_t *state)
{
    int64_t context = state->model->options.context_length;
    int64_t known = tlmi_kv_cache_length(state->cache);
    int64_t fresh = (int64_t)state->num_tokens - known;

    if ((int64_t)state->num_tokens > context) {
        tlmi_kv_cache_reset(state->cache);
        fresh = context;
    }
    return tlmi_kv_cache_advance(state->logits, state->cache,
                                 state->tokens + state->num_tokens - fresh, fresh);
}

static tlm_status_t generation_run(generation_t *state, const tlm_generate_options_t *options,
                                   tlm_token_callback_t callback, void *user)
{
    for (int64_t i = 0; i < options->max_tokens; i++) {
        double uniform = tlmi_random_uniform(options->seed, TLMI_STREAM_SAMPLE, (uint64_t)i);
        uint32_t id;

        TLMI_TRY(generation_logits(state));
        TLMI_TRY(tlmi_sampler_pick(&id, &state->sampler, state->logits, uniform));
        if (options->has_end_token && id == options->end_token)
            break;
        TLMI_TRY(generation_append(state, &id, 1));
        if (callback != NULL && callback(user, id) != 0)
            break;
    }
    return TLM_OK;
}

tlm_status_t tlm_model_generate(uint32_t **ids, size_t *n, tlm_model_t *model,
                                const uint32_t *prompt, size_t prompt_length,
                                const tlm_generate_options_t *options,
                                tlm_token_callback_t callback, void *user)
{
    tlm_generate_options_t known = TLM_GENERATE_OPTIONS_INIT;
    generation_t state;
    tlm_status_t status;
    size_t skipped;

    TLMI_REQUIRE("model_generate", ids);
    TLMI_REQUIRE("model_generate", n);
    TLMI_REQUIRE("model_generate", model);
    if (options != NULL)
        TLMI_TRY(tlmi_options_read("model_generate", &known, sizeof(known), options));
    TLMI_TRY(check_options(&known, model));
    TLMI_TRY(check_prompt(prompt, prompt_length, model));
    memset(&state, 0, sizeof(state));
    state.model = model;
    /* Of the prompt only the last window counts. */
    skipped = prompt_length > (size_t)model->options.context_length
                  ? prompt_length - (size_t)model->options.context_length
                  : 0;
    prompt_length -= skipped;
    TLMI_TRY_OR(done, generation_begin(&state, &known, prompt + skipped, prompt_length));
    TLMI_TRY_OR(done, generation_run(&state, &known, callback, user));
    *n = state.num_tokens - prompt_length;
    memmove(state.tokens, state.tokens + prompt_length, *n * sizeof(*state.tokens));
    *ids = state.tokens;
    state.tokens = NULL;
done:
    generation_release(&state);
    return status;
}
