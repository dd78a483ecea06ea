/* Options for models in other projects' formats, and their checks. */
#include "interchange/interchange.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"

char *tlmi_path_join(const char *directory, const char *name)
{
    size_t size = strlen(directory) + strlen(name) + 2;
    char *path = tlmi_alloc(size, 1, "a path");

    if (path != NULL)
        snprintf(path, size, "%s/%s", directory, name);
    return path;
}

/* Finds the special token <|endoftext|>, which ends texts in all of the library's examples. */
static bool find_end_token(uint32_t *id, const tlm_tokenizer_t *tokenizer)
{
    static const char text[] = "<|endoftext|>";
    uint32_t n = tlm_tokenizer_num_special_tokens(tokenizer);
    tlm_bytes_t token;

    for (uint32_t i = 0; i < n; i++)
        if (tlm_tokenizer_special_token(id, tokenizer, i) == TLM_OK &&
            tlm_tokenizer_token(&token, tokenizer, *id) == TLM_OK &&
            token.size == sizeof(text) - 1 && memcmp(token.data, text, token.size) == 0)
            return true;
    return false;
}

static tlm_status_t check_token(const char *function, const char *name, uint32_t id,
                                const tlm_model_t *model)
{
    if (id < model->options.vocab_size)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_RANGE, "%s: %s %" PRIu32 " is not below vocab_size %" PRId64, function,
                     name, id, model->options.vocab_size);
}

tlm_status_t tlmi_model_file_prepare(tlm_model_file_options_t *out, const tlmi_family_t **family,
                                     const char *function, const tlm_model_t *model,
                                     const tlm_tokenizer_t *tokenizer,
                                     const tlm_model_file_options_t *options)
{
    tlm_model_file_options_t known = TLM_MODEL_FILE_OPTIONS_INIT;
    uint32_t size = tlm_tokenizer_vocab_size(tokenizer);

    if (options != NULL)
        TLMI_TRY(tlmi_options_read(function, &known, TLMI_MODEL_FILE_OPTIONS, options));
    if (known.weights < TLM_WEIGHTS_FLOAT32 || known.weights > TLM_WEIGHTS_BFLOAT16)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: weights %" PRId32 " is not in 0 .. 2",
                         function, known.weights);
    TLMI_TRY(tlmi_family_of(family, function, &model->options));
    if (size > model->options.vocab_size)
        return tlmi_fail(TLM_ERR_RANGE,
                         "%s: the tokenizer has %" PRIu32
                         " tokens, but the model has vocab_size %" PRId64,
                         function, size, model->options.vocab_size);
    if (!known.has_end_token)
        known.has_end_token = find_end_token(&known.end_token, tokenizer);
    if (known.has_begin_token)
        TLMI_TRY(check_token(function, "begin_token", known.begin_token, model));
    if (known.has_end_token)
        TLMI_TRY(check_token(function, "end_token", known.end_token, model));
    *out = known;
    return TLM_OK;
}
