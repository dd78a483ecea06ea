/* Options of generation: defaults and checks. */
#include <inttypes.h>
#include <math.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/number.h"
#include "base/options.h"
#include "infer/infer_core.h"

tlm_status_t tlmi_check_ids(const char *function, const char *what, const uint32_t *ids, size_t n,
                            int64_t vocab_size)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= vocab_size)
            return tlmi_fail(TLM_ERR_RANGE,
                             "%s: id %" PRIu32 " at position %zu of the %s is outside the "
                             "vocabulary of %" PRId64,
                             function, ids[i], i, what, vocab_size);
    return TLM_OK;
}

static tlm_status_t check_numbers(const char *function, const tlm_generate_options_t *options)
{
    if (options->max_tokens < 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: max_tokens %" PRId64 " is negative",
                         function, options->max_tokens);
    if (!isfinite(options->temperature) || options->temperature < 0.0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: temperature %s is not a finite number >= 0",
                         function, TLMI_G(options->temperature));
    if (!(options->top_p >= 0.0 && options->top_p <= 1.0))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: top_p %s is not in [0, 1]", function,
                         TLMI_G(options->top_p));
    if (!(options->min_p >= 0.0 && options->min_p <= 1.0))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: min_p %s is not in [0, 1]", function,
                         TLMI_G(options->min_p));
    if (!isfinite(options->repetition_penalty) || options->repetition_penalty < 0.0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: repetition_penalty %s is not a finite number >= 0", function,
                         TLMI_G(options->repetition_penalty));
    return TLM_OK;
}

static tlm_status_t check_end_tokens(const char *function, const tlm_generate_options_t *options,
                                     int64_t vocab_size)
{
    if (options->has_end_token && options->end_token >= vocab_size)
        return tlmi_fail(TLM_ERR_RANGE,
                         "%s: end_token %" PRIu32 " is outside the vocabulary of %" PRId64,
                         function, options->end_token, vocab_size);
    if (options->num_more_end_tokens > TLM_MORE_END_TOKENS)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: num_more_end_tokens %" PRIu32 " is above %d", function,
                         options->num_more_end_tokens, TLM_MORE_END_TOKENS);
    for (uint32_t i = 0; i < options->num_more_end_tokens; i++)
        if (options->more_end_tokens[i] >= vocab_size)
            return tlmi_fail(TLM_ERR_RANGE,
                             "%s: end token %" PRIu32 " is outside the vocabulary of %" PRId64,
                             function, options->more_end_tokens[i], vocab_size);
    return TLM_OK;
}

static tlm_status_t check_stops(const char *function, const tlm_generate_options_t *options,
                                int64_t vocab_size)
{
    if (options->num_stop_sequences > 0)
        TLMI_REQUIRE(function, options->stop_sequences);
    for (size_t i = 0; i < options->num_stop_sequences; i++) {
        const tlm_ids_t *stop = &options->stop_sequences[i];

        if (stop->n == 0 || stop->ids == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: stop sequence %zu is empty", function,
                             i);
        TLMI_TRY(tlmi_check_ids(function, "stop sequence", stop->ids, stop->n, vocab_size));
    }
    if (options->num_stop_strings > 0) {
        TLMI_REQUIRE(function, options->stop_strings);
        if (options->tokenizer == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "%s: %zu stop strings, but no tokenizer that makes text", function,
                             options->num_stop_strings);
    }
    for (size_t i = 0; i < options->num_stop_strings; i++)
        if (options->stop_strings[i].size == 0 || options->stop_strings[i].data == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: stop string %zu is empty", function, i);
    return TLM_OK;
}

static tlm_status_t check_biases(const char *function, const tlm_generate_options_t *options,
                                 int64_t vocab_size)
{
    if (options->num_logit_biases > 0)
        TLMI_REQUIRE(function, options->logit_bias);
    for (size_t i = 0; i < options->num_logit_biases; i++) {
        const tlm_logit_bias_t *bias = &options->logit_bias[i];

        if (bias->id >= vocab_size)
            return tlmi_fail(TLM_ERR_RANGE,
                             "%s: logit bias %zu is for token %" PRIu32
                             ", outside the vocabulary of %" PRId64,
                             function, i, bias->id, vocab_size);
        if (isnan(bias->bias) || bias->bias == INFINITY)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "%s: logit bias %zu, for token %" PRIu32
                             ", is %s, neither finite nor -inf",
                             function, i, bias->id, TLMI_G(bias->bias));
    }
    return TLM_OK;
}

/* Resolves what happens past the context. */
static tlm_status_t set_context_rules(tlm_generate_options_t *options, const char *function,
                                      const tlm_model_options_t *model)
{
    const bool learned = model->position == TLM_POSITION_LEARNED;
    const int64_t context = model->context_length;

    if (options->past_context < TLM_PAST_CONTEXT_DEFAULT ||
        options->past_context > TLM_PAST_CONTEXT_RECOMPUTE)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: past_context %" PRId32 " is unknown",
                         function, options->past_context);
    if (options->past_context == TLM_PAST_CONTEXT_DEFAULT)
        options->past_context = learned ? TLM_PAST_CONTEXT_STOP : TLM_PAST_CONTEXT_SLIDE;
    else if (options->past_context == TLM_PAST_CONTEXT_SLIDE && learned)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: a window cannot slide over the %" PRId64
                         " learned positions of this model; past_context may be "
                         "TLM_PAST_CONTEXT_STOP or TLM_PAST_CONTEXT_RECOMPUTE",
                         function, context);
    if (options->kept_tokens < -1 || options->kept_tokens >= context)
        return tlmi_fail(TLM_ERR_RANGE,
                         "%s: kept_tokens %" PRId64 " is not in -1 .. %" PRId64
                         ", below the context",
                         function, options->kept_tokens, context - 1);
    if (options->kept_tokens == 0)
        options->kept_tokens = context / 2 < TLMI_KEPT_TOKENS ? context / 2 : TLMI_KEPT_TOKENS;
    else if (options->kept_tokens == -1)
        options->kept_tokens = 0;
    if (options->cache_type != TLM_FLOAT32 && options->cache_type != TLM_FLOAT16)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: a key-value cache of %s (cache_type %" PRId32
                         "); it may be float32 or float16",
                         function, tlmi_dtype_name(options->cache_type), options->cache_type);
    return TLM_OK;
}

tlm_status_t tlmi_generate_options_read(tlm_generate_options_t *known, const char *function,
                                        const tlm_generate_options_t *options,
                                        const tlm_model_t *model)
{
    static const tlm_generate_options_t defaults = TLM_GENERATE_OPTIONS_INIT;
    const int64_t vocab_size = model->options.vocab_size;

    *known = defaults;
    if (options != NULL)
        TLMI_TRY(tlmi_options_read(function, known, TLMI_GENERATE_OPTIONS, options));
    TLMI_TRY(check_numbers(function, known));
    TLMI_TRY(check_end_tokens(function, known, vocab_size));
    TLMI_TRY(check_stops(function, known, vocab_size));
    TLMI_TRY(check_biases(function, known, vocab_size));
    return set_context_rules(known, function, &model->options);
}
