/* Turns tlm_encode_options_t into a plan. Sets of special tokens work as in tiktoken: a text is
 * first searched for the disallowed ones; then only the allowed ones are split out, and everything
 * else is encoded as plain text. */
#include "tokenizer/encode.h"

#include <inttypes.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/options.h"

static tlm_status_t check_list(const char *function, const char *name, int32_t kind,
                               const tlm_bytes_t *list, size_t n)
{
    if (kind < TLM_SPECIAL_ALL || kind > TLM_SPECIAL_LIST)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: %s_special is %" PRId32 "; all, none and list are 0, 1 and 2",
                         function, name, kind);
    if (kind != TLM_SPECIAL_LIST || n == 0)
        return TLM_OK;
    if (list == NULL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: the list of %zu %s tokens is NULL",
                         function, n, name);
    for (size_t i = 0; i < n; i++)
        if (list[i].size == 0 || list[i].data == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "%s: token %zu of the %zu %s tokens is empty", function, i, n, name);
    return TLM_OK;
}

static tlm_status_t check_options(const char *function, const tlm_encode_options_t *options)
{
    TLMI_TRY(check_list(function, "allowed", options->allowed_special, options->allowed,
                        options->num_allowed));
    TLMI_TRY(check_list(function, "disallowed", options->disallowed_special, options->disallowed,
                        options->num_disallowed));
    if (!(options->dropout >= 0.0 && options->dropout <= 1.0))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: dropout %s is not in [0, 1]", function,
                         TLMI_G(options->dropout));
    return TLM_OK;
}

/* Collects the distinct byte strings of a list. */
static tlm_status_t make_set(tlmi_vocabulary_t *set, const tlm_bytes_t *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (tlmi_vocabulary_find(set, list[i].data, list[i].size) == TLMI_NO_TOKEN)
            TLMI_TRY(tlmi_vocabulary_add(set, list[i].data, list[i].size));
    return TLM_OK;
}

/* Whether a plan that allows only the tokens of `set` finds a token. Ordinary ones are always
 * found. */
static bool is_allowed(const tlm_tokenizer_t *tokenizer, size_t index, const tlmi_vocabulary_t *set)
{
    tlm_bytes_t token = tlmi_special_tokens_get(tokenizer->special, index);

    return (tlmi_special_tokens_flags(tokenizer->special, index) & TLMI_TOKEN_ORDINARY) != 0 ||
           tlmi_vocabulary_find(set, token.data, token.size) != TLMI_NO_TOKEN;
}

/* Makes the set of the tokenizer's special tokens that are allowed, or of those that are not, and
 * their ids (`ids` may be NULL). Sets nothing if there are none. */
static tlm_status_t choose_special(tlmi_special_tokens_t **out, uint32_t **ids,
                                   const tlm_tokenizer_t *tokenizer, const tlmi_vocabulary_t *set,
                                   bool allowed)
{
    size_t count = tlmi_special_tokens_count(tokenizer->special), n = 0;
    tlm_bytes_t *tokens = tlmi_alloc(count, sizeof(*tokens), "special tokens");
    uint32_t *numbers = tlmi_alloc(count, sizeof(*numbers), "special tokens");
    uint8_t *flags = tlmi_alloc(count, 1, "special tokens");
    tlm_status_t status =
        tokens == NULL || numbers == NULL || flags == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;

    for (size_t i = 0; i < count && status == TLM_OK; i++) {
        if (is_allowed(tokenizer, i, set) != allowed)
            continue;
        tokens[n] = tlmi_special_tokens_get(tokenizer->special, i);
        flags[n] = tlmi_special_tokens_flags(tokenizer->special, i);
        numbers[n++] = tokenizer->special_ids[i];
    }
    /* Those that are not allowed are searched for in the raw text, wherever they stand. */
    if (status == TLM_OK && n > 0)
        status = tlmi_special_tokens_create(out, tokens, allowed ? flags : NULL, n,
                                            tokenizer->normalizer, "encode");
    if (status == TLM_OK && n > 0 && ids != NULL) {
        *ids = numbers;
        numbers = NULL;
    }
    tlmi_free(tokens);
    tlmi_free(numbers);
    tlmi_free(flags);
    return status;
}

/* Makes the strings of a set into special tokens. */
static tlm_status_t set_as_special(tlmi_special_tokens_t **out, const tlmi_vocabulary_t *set)
{
    tlm_bytes_t *tokens = tlmi_alloc(set->size, sizeof(*tokens), "special tokens");
    tlm_status_t status;

    if (tokens == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < set->size; i++)
        tokens[i] = tlmi_vocabulary_token(set, i);
    status = tlmi_special_tokens_create(out, tokens, NULL, set->size, NULL, "encode");
    tlmi_free(tokens);
    return status;
}

static bool has_ordinary(const tlm_tokenizer_t *tokenizer)
{
    for (size_t i = 0; i < tlmi_special_tokens_count(tokenizer->special); i++)
        if ((tlmi_special_tokens_flags(tokenizer->special, i) & TLMI_TOKEN_ORDINARY) != 0)
            return true;
    return false;
}

/* Plans the special tokens unless all of them are allowed. */
static tlm_status_t plan_special(tlmi_encode_plan_t *plan, const tlm_encode_options_t *options)
{
    bool refuse_list = options->disallowed_special == TLM_SPECIAL_LIST;
    tlmi_vocabulary_t allowed = {0}, disallowed = {0};
    tlm_status_t status = TLM_OK;

    if (options->allowed_special == TLM_SPECIAL_LIST)
        TLMI_TRY_OR(done, make_set(&allowed, options->allowed, options->num_allowed));
    if (options->allowed_special != TLM_SPECIAL_ALL &&
        (allowed.size > 0 || has_ordinary(plan->tokenizer))) {
        TLMI_TRY_OR(done, choose_special(&plan->own_allowed, &plan->own_special_ids,
                                         plan->tokenizer, &allowed, true));
        plan->special_ids = plan->own_special_ids;
    }
    if (options->allowed_special != TLM_SPECIAL_ALL)
        plan->pipeline.special = plan->own_allowed;
    if (refuse_list) {
        TLMI_TRY_OR(done, make_set(&disallowed, options->disallowed, options->num_disallowed));
        if (disallowed.size > 0)
            TLMI_TRY_OR(done, set_as_special(&plan->own_disallowed, &disallowed));
    } else if (options->disallowed_special == TLM_SPECIAL_ALL &&
               options->allowed_special != TLM_SPECIAL_ALL) {
        TLMI_TRY_OR(done,
                    choose_special(&plan->own_disallowed, NULL, plan->tokenizer, &allowed, false));
    }
    plan->disallowed = plan->own_disallowed;
done:
    tlmi_vocabulary_release(&allowed);
    tlmi_vocabulary_release(&disallowed);
    return status;
}

static tlmi_text_pipeline_t plain_pipeline(const tlm_tokenizer_t *tokenizer)
{
    return (tlmi_text_pipeline_t){NULL, tokenizer->normalizer, tokenizer->pretokenizer, NULL};
}

void tlmi_encode_plan_init_default(tlmi_encode_plan_t *plan, const char *function,
                                   const tlm_tokenizer_t *tokenizer)
{
    *plan = (tlmi_encode_plan_t){.function = function,
                                 .tokenizer = tokenizer,
                                 .pipeline = plain_pipeline(tokenizer),
                                 .special_ids = tokenizer->special_ids};
    plan->pipeline.special = tokenizer->special;
    plan->dropout = tokenizer->dropout;
    if (tokenizer->limits.truncates || tokenizer->limits.pads)
        plan->limits = &tokenizer->limits;
}

tlm_status_t tlmi_encode_plan_init(tlmi_encode_plan_t *plan, const char *function,
                                   const tlm_tokenizer_t *tokenizer,
                                   const tlm_encode_options_t *options)
{
    tlm_encode_options_t known = TLM_ENCODE_OPTIONS_INIT;
    tlm_status_t status;

    tlmi_encode_plan_init_default(plan, function, tokenizer);
    if (options == NULL)
        return TLM_OK;
    TLMI_TRY(tlmi_options_read(function, &known, TLMI_ENCODE_OPTIONS, options));
    TLMI_TRY(check_options(function, &known));
    if (known.dropout > 0.0 && tokenizer->model->kind->encode_with_dropout == NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: dropout is %s, but a %s model has no dropout",
                         function, TLMI_G(known.dropout), tokenizer->model->kind->name);
    if (known.dropout > 0.0)
        plan->dropout = known.dropout;
    if (known.whole_texts)
        plan->limits = NULL;
    plan->seed = known.seed;
    plan->template = known.add_special_tokens ? tokenizer->template : NULL;
    status = plan_special(plan, &known);
    if (status != TLM_OK)
        tlmi_encode_plan_release(plan);
    return status;
}

void tlmi_encode_plan_release(tlmi_encode_plan_t *plan)
{
    tlmi_special_tokens_free(plan->own_allowed);
    tlmi_free(plan->own_special_ids);
    tlmi_special_tokens_free(plan->own_disallowed);
}

bool tlmi_encode_plan_may_cut(const tlmi_encode_plan_t *plan)
{
    const tlmi_text_pipeline_t *pipeline = &plan->pipeline;

    return (pipeline->normalizer == NULL || pipeline->normalizer == &tlmi_nfc) &&
           pipeline->guard == NULL && plan->dropout == 0.0 &&
           tlmi_pretokenizer_is_local(pipeline->pretokenizer);
}
