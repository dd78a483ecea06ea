/* Options of generation: defaults and checks. */
#include <inttypes.h>
#include <math.h>

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

static tlm_status_t check_options(const char *function, const tlm_generate_options_t *options,
                                  int64_t vocab_size)
{
    TLMI_TRY(check_numbers(function, options));
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
    if (options->num_stop_sequences > 0)
        TLMI_REQUIRE(function, options->stop_sequences);
    for (size_t i = 0; i < options->num_stop_sequences; i++) {
        const tlm_ids_t *stop = &options->stop_sequences[i];

        if (stop->n == 0 || stop->ids == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: stop sequence %zu is empty", function,
                             i);
        TLMI_TRY(tlmi_check_ids(function, "stop sequence", stop->ids, stop->n, vocab_size));
    }
    return TLM_OK;
}

tlm_status_t tlmi_generate_options_read(tlm_generate_options_t *known, const char *function,
                                        const tlm_generate_options_t *options, int64_t vocab_size)
{
    static const tlm_generate_options_t defaults = TLM_GENERATE_OPTIONS_INIT;

    *known = defaults;
    if (options != NULL)
        TLMI_TRY(tlmi_options_read(function, known, TLMI_GENERATE_OPTIONS, options));
    return check_options(function, known, vocab_size);
}
