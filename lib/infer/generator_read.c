/* What a generator tells about its sequences. */
#include "base/error.h"
#include "infer/generator_core.h"

tlm_status_t tlmi_generator_find(tlmi_sequence_t **out, const char *function,
                                 const tlm_generator_t *generator, size_t index)
{
    TLMI_REQUIRE(function, generator);
    if (index >= generator->num_sequences)
        return tlmi_fail(TLM_ERR_RANGE, "%s: no sequence %zu; there are %zu", function, index,
                         generator->num_sequences);
    *out = generator->sequences[index];
    return TLM_OK;
}

tlm_status_t tlm_generator_tokens(const uint32_t **ids, const float **log_probs, size_t *n,
                                  const tlm_generator_t *generator, size_t sequence)
{
    tlmi_sequence_t *found = NULL;

    TLMI_REQUIRE("generator_tokens", n);
    TLMI_TRY(tlmi_generator_find(&found, "generator_tokens", generator, sequence));
    if (ids != NULL)
        *ids = found->tokens + found->prompt_length;
    if (log_probs != NULL)
        *log_probs = found->log_probs;
    *n = found->num_settled;
    return TLM_OK;
}

tlm_status_t tlm_generator_top_log_probs(const uint32_t **ids, const float **log_probs, size_t *n,
                                         const tlm_generator_t *generator, size_t sequence,
                                         size_t position)
{
    tlmi_sequence_t *found = NULL;

    TLMI_REQUIRE("generator_top_log_probs", n);
    TLMI_TRY(tlmi_generator_find(&found, "generator_top_log_probs", generator, sequence));
    if (position >= found->num_settled)
        return tlmi_fail(TLM_ERR_RANGE,
                         "generator_top_log_probs: no settled token %zu; there are %zu", position,
                         found->num_settled);
    if (ids != NULL)
        *ids = found->top_ids + position * found->num_top;
    if (log_probs != NULL)
        *log_probs = found->top_log_probs + position * found->num_top;
    *n = found->num_top;
    return TLM_OK;
}

tlm_status_t tlmi_generator_text(const char **text, size_t *size, const tlm_generator_t *generator,
                                 size_t sequence, const char *function)
{
    tlmi_sequence_t *found = NULL;

    TLMI_TRY(tlmi_generator_find(&found, function, generator, sequence));
    if (found->text == NULL)
        return tlmi_fail(TLM_ERR_STATE, "%s: the options of sequence %zu have no tokenizer",
                         function, sequence);
    *text = (const char *)found->text->text;
    *size = found->text->size;
    return TLM_OK;
}

tlm_status_t tlm_generator_text(const char **text, size_t *size, const tlm_generator_t *generator,
                                size_t sequence)
{
    TLMI_REQUIRE("generator_text", text);
    TLMI_REQUIRE("generator_text", size);
    return tlmi_generator_text(text, size, generator, sequence, "generator_text");
}

tlm_status_t tlm_generator_context(const uint32_t **ids, size_t *n,
                                   const tlm_generator_t *generator, size_t sequence)
{
    tlmi_sequence_t *found = NULL;

    TLMI_REQUIRE("generator_context", ids);
    TLMI_REQUIRE("generator_context", n);
    TLMI_TRY(tlmi_generator_find(&found, "generator_context", generator, sequence));
    *ids = found->tokens;
    *n = found->prompt_length + found->num_settled;
    return TLM_OK;
}

tlm_status_t tlm_generator_state(int32_t *state, const tlm_generator_t *generator, size_t sequence)
{
    tlmi_sequence_t *found = NULL;

    TLMI_REQUIRE("generator_state", state);
    TLMI_TRY(tlmi_generator_find(&found, "generator_state", generator, sequence));
    *state = found->state;
    return TLM_OK;
}

tlm_status_t tlm_generator_stop(tlm_generator_t *generator, size_t sequence)
{
    tlmi_sequence_t *found = NULL;

    TLMI_TRY(tlmi_generator_find(&found, "generator_stop", generator, sequence));
    if (found->state == TLM_GENERATION_RUNNING && found->ending == TLM_GENERATION_RUNNING)
        found->ending = TLM_GENERATION_STOPPED;
    return tlmi_sequence_settle(found);
}
