/* A sequence of a generator: its tokens, what belongs to each of them, and how it ends. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "infer/generator_core.h"

/* ---- Creating and freeing ----------------------------------------------------------------- */

static void mark_seen(tlmi_sequence_t *sequence, const uint32_t *ids, size_t n)
{
    for (size_t i = 0; sequence->seen != NULL && i < n; i++)
        sequence->seen[ids[i] >> 3] |= (uint8_t)(1 << (ids[i] & 7));
}

int64_t tlmi_sequence_cache_limit(const tlm_generate_options_t *options, const tlm_model_t *model,
                                  size_t num_tokens)
{
    const int64_t context = model->options.context_length;
    const bool slides = options->past_context == TLM_PAST_CONTEXT_SLIDE;
    const int64_t most = slides ? context + TLMI_CHUNK_TOKENS : context;

    if (num_tokens >= (size_t)most || options->max_tokens >= most - (int64_t)num_tokens)
        return most;
    return (int64_t)num_tokens + options->max_tokens;
}

static tlm_status_t create_cache(tlmi_sequence_t *sequence, const tlm_model_t *model)
{
    const tlm_generate_options_t *options = &sequence->options;

    TLMI_TRY(tlmi_kv_cache_create(&sequence->cache, options->cache_type,
                                  tlmi_sequence_cache_limit(options, model, sequence->num_tokens)));
    if (options->past_context == TLM_PAST_CONTEXT_SLIDE) {
        sequence->cache->context = model->options.context_length;
        sequence->cache->kept = options->kept_tokens;
    }
    return TLM_OK;
}

/* Copies what the options point to. */
static tlm_status_t copy_options(tlmi_sequence_t *sequence)
{
    tlm_generate_options_t *options = &sequence->options;
    const size_t n = options->num_logit_biases;

    TLMI_TRY(tlmi_matcher_of_ids(&sequence->stops, options->stop_sequences,
                                 options->num_stop_sequences));
    if (options->tokenizer != NULL)
        TLMI_TRY(tlmi_text_create(&sequence->text, options));
    if (n > 0) {
        sequence->logit_bias = tlmi_alloc(n, sizeof(*sequence->logit_bias), "logit biases");
        if (sequence->logit_bias == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
        memcpy(sequence->logit_bias, options->logit_bias, n * sizeof(*sequence->logit_bias));
    }
    options->logit_bias = sequence->logit_bias;
    options->stop_sequences = NULL; /* the caller's may be gone */
    options->stop_strings = NULL;
    return TLM_OK;
}

/* Fills a sequence whose options are set. */
static tlm_status_t fill(tlmi_sequence_t *sequence, const tlm_model_t *model,
                         const uint32_t *tokens, size_t n)
{
    const tlm_generate_options_t *options = &sequence->options;
    const size_t vocab_size = (size_t)model->options.vocab_size;

    TLMI_TRY(copy_options(sequence));
    sequence->num_top =
        options->num_top_log_probs < vocab_size ? options->num_top_log_probs : vocab_size;
    if (options->repetition_penalty != 0.0 && options->repetition_penalty != 1.0) {
        sequence->seen = tlmi_calloc(vocab_size / 8 + 1, 1, "the tokens of a sequence");
        if (sequence->seen == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
        mark_seen(sequence, tokens, n);
    }
    if (!tlmi_grow(&sequence->tokens, &sequence->token_capacity, n, sizeof(*tokens),
                   "generated tokens"))
        return TLM_ERR_OUT_OF_MEMORY;
    memcpy(sequence->tokens, tokens, n * sizeof(*tokens));
    sequence->prompt_length = sequence->num_tokens = n;
    if (options->max_tokens == 0 && !options->keeps_cache)
        sequence->state = TLM_GENERATION_LENGTH;
    else
        TLMI_TRY(create_cache(sequence, model));
    return TLM_OK;
}

tlm_status_t tlmi_sequence_create(tlmi_sequence_t **out, const char *function,
                                  const tlm_model_t *model, const uint32_t *tokens, size_t n,
                                  const tlm_generate_options_t *options)
{
    const int64_t context = model->options.context_length;

    if (options->past_context == TLM_PAST_CONTEXT_STOP && n > (size_t)context)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: the prompt of %zu tokens is longer than the context of %" PRId64
                         ", at which the options stop%s",
                         function, n, context,
                         model->options.position == TLM_POSITION_LEARNED
                             ? " because positions are learned"
                             : "");
    tlmi_sequence_t *made = tlmi_calloc(1, sizeof(*made), "a sequence");
    if (made == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    made->options = *options;
    tlm_status_t status = fill(made, model, tokens, n);
    if (status == TLM_OK)
        *out = made;
    else
        tlmi_sequence_free(made);
    return status;
}

void tlmi_sequence_free(tlmi_sequence_t *sequence)
{
    if (sequence == NULL)
        return;
    tlmi_kv_cache_free(sequence->cache);
    tlmi_matcher_release(&sequence->stops);
    tlmi_text_free(sequence->text);
    tlmi_free(sequence->logit_bias);
    tlmi_free(sequence->tokens);
    tlmi_free(sequence->log_probs);
    tlmi_free(sequence->top_ids);
    tlmi_free(sequence->top_log_probs);
    tlmi_free(sequence->seen);
    tlmi_free(sequence);
}

/* ---- Tokens ------------------------------------------------------------------------------- */

tlm_status_t tlmi_sequence_reserve_new(tlmi_sequence_t *sequence, size_t n)
{
    size_t top = 0, all = 0;

    if (!tlmi_mul_size(&top, n, sequence->num_top) ||
        !tlmi_add_size(&all, sequence->prompt_length, n))
        return tlmi_fail_overflow("log-probabilities");
    if (!tlmi_grow(&sequence->tokens, &sequence->token_capacity, all, sizeof(*sequence->tokens),
                   "generated tokens") ||
        !tlmi_grow(&sequence->log_probs, &sequence->log_prob_capacity, n,
                   sizeof(*sequence->log_probs), "log-probabilities") ||
        !tlmi_grow(&sequence->top_ids, &sequence->top_id_capacity, top, sizeof(*sequence->top_ids),
                   "log-probabilities") ||
        !tlmi_grow(&sequence->top_log_probs, &sequence->top_log_prob_capacity, top,
                   sizeof(*sequence->top_log_probs), "log-probabilities"))
        return TLM_ERR_OUT_OF_MEMORY;
    return TLM_OK;
}

tlm_status_t tlmi_sequence_reserve(tlmi_sequence_t *sequence)
{
    return tlmi_sequence_reserve_new(sequence, tlmi_num_new(sequence) + 1);
}

void tlmi_sequence_append(tlmi_sequence_t *sequence, uint32_t id)
{
    sequence->tokens[sequence->num_tokens++] = id;
    mark_seen(sequence, &id, 1);
    if (!tlmi_matcher_is_decided(&sequence->stops))
        tlmi_matcher_feed(&sequence->stops, id);
}

/* ---- Ending ------------------------------------------------------------------------------- */

/* The first num_new new tokens are all that remain. */
static void end(tlmi_sequence_t *sequence, size_t num_new, int32_t state)
{
    sequence->num_tokens = sequence->prompt_length + num_new;
    sequence->num_settled = num_new;
    sequence->state = state;
    sequence->ending = TLM_GENERATION_RUNNING;
    if (sequence->options.keeps_cache && sequence->cache != NULL) {
        tlmi_kv_cache_truncate(sequence->cache, (int64_t)sequence->num_tokens);
    } else {
        tlmi_kv_cache_free(sequence->cache);
        sequence->cache = NULL;
    }
}

/* What the end is called if a stop lies before it: a caller's own end stays one. */
static int32_t state_at_stop(int32_t ending)
{
    const bool by_caller = ending == TLM_GENERATION_STOPPED || ending == TLM_GENERATION_CALLBACK ||
                           ending == TLM_GENERATION_FAILED;

    return by_caller ? ending : TLM_GENERATION_STOP;
}

/* Ends a sequence at the first of its stops if it has one, otherwise after its last token. */
static tlm_status_t settle_end(tlmi_sequence_t *sequence)
{
    size_t n = tlmi_num_new(sequence);
    int32_t state = sequence->ending;

    if (sequence->stops.found != SIZE_MAX) {
        n = sequence->stops.found;
        state = state_at_stop(state);
    }
    if (sequence->text != NULL) {
        TLMI_TRY(tlmi_text_catch_up(sequence->text, sequence->tokens, sequence->prompt_length, n));
        TLMI_TRY(tlmi_text_finish(sequence->text));
        if (sequence->text->stops.found != SIZE_MAX) {
            TLMI_TRY(tlmi_text_tokens_before_stop(&n, sequence->text, sequence->tokens,
                                                  sequence->prompt_length));
            state = state_at_stop(sequence->ending);
        }
    }
    end(sequence, n, state);
    return TLM_OK;
}

tlm_status_t tlmi_sequence_settle(tlmi_sequence_t *sequence)
{
    if (sequence->state != TLM_GENERATION_RUNNING)
        return TLM_OK;
    size_t certain = tlmi_matcher_certain(&sequence->stops);
    if (tlmi_matcher_is_decided(&sequence->stops) && sequence->ending == TLM_GENERATION_RUNNING)
        sequence->ending = TLM_GENERATION_STOP;
    if (sequence->ending != TLM_GENERATION_RUNNING)
        return settle_end(sequence);
    if (sequence->text != NULL) {
        TLMI_TRY(
            tlmi_text_catch_up(sequence->text, sequence->tokens, sequence->prompt_length, certain));
        if (tlmi_matcher_is_decided(&sequence->text->stops)) {
            sequence->ending = TLM_GENERATION_STOP;
            return settle_end(sequence);
        }
        if (sequence->options.num_stop_strings > 0)
            certain = tlmi_text_certain_tokens(sequence->text);
    }
    sequence->num_settled = certain;
    return TLM_OK;
}

tlm_status_t tlmi_sequence_resume(tlmi_sequence_t *sequence, int32_t state)
{
    const size_t n = tlmi_num_new(sequence);

    if (state == TLM_GENERATION_RUNNING) {
        if (sequence->options.max_tokens == 0 ||
            (uint64_t)sequence->options.max_tokens > (uint64_t)n)
            return tlmi_sequence_settle(sequence);
        state = TLM_GENERATION_LENGTH;
    }
    /* Its tokens are those that remained: they are not searched again. */
    if (sequence->text != NULL) {
        TLMI_TRY(tlmi_text_catch_up(sequence->text, sequence->tokens, sequence->prompt_length, n));
        TLMI_TRY(tlmi_text_finish(sequence->text));
    }
    end(sequence, n, state);
    return TLM_OK;
}
