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

static tlm_status_t check_options(tlm_model_file_options_t *options, const char *function,
                                  const tlm_model_t *model, const tlm_tokenizer_t *tokenizer)
{
    uint32_t size = tlm_tokenizer_vocab_size(tokenizer);

    if (options->weights < TLM_WEIGHTS_FLOAT32 || options->weights >= tlmi_num_weight_choices)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: weights %" PRId32 " is not in 0 .. %" PRId32, function,
                         options->weights, tlmi_num_weight_choices - 1);
    if (size > model->options.vocab_size)
        return tlmi_fail(TLM_ERR_RANGE,
                         "%s: the tokenizer has %" PRIu32
                         " tokens, but the model has vocab_size %" PRId64,
                         function, size, model->options.vocab_size);
    if (!options->has_end_token)
        options->has_end_token = find_end_token(&options->end_token, tokenizer);
    if (options->has_begin_token)
        TLMI_TRY(check_token(function, "begin_token", options->begin_token, model));
    if (options->has_end_token)
        TLMI_TRY(check_token(function, "end_token", options->end_token, model));
    if (options->num_more_end_tokens > TLM_MORE_END_TOKENS)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: num_more_end_tokens %" PRIu32 " is above %d", function,
                         options->num_more_end_tokens, TLM_MORE_END_TOKENS);
    for (uint32_t i = 0; i < options->num_more_end_tokens; i++)
        TLMI_TRY(check_token(function, "end token", options->more_end_tokens[i], model));
    return TLM_OK;
}

/* The family that the caller asks for, if it has the options, or the first that has them. */
static tlm_status_t choose_family(const tlmi_family_t **out, const char *function,
                                  const tlm_model_options_t *options, int32_t asked)
{
    if (asked < TLM_FAMILY_AUTO || (size_t)asked > tlmi_num_families)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: family %" PRId32 " is not in 0 .. %zu",
                         function, asked, tlmi_num_families);
    if (asked == TLM_FAMILY_AUTO)
        return tlmi_family_of(out, function, options);
    const tlmi_family_t *family = &tlmi_families[asked - 1];
    const tlmi_model_option_t *lacking = tlmi_family_lacks(family, options);
    char text[TLMI_OPTION_TEXT];
    if (lacking != NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: %s has no %s (%s)", function,
                         family->names[TLMI_HF], tlmi_option_text(text, options, lacking),
                         lacking->name);
    *out = family;
    return TLM_OK;
}

tlm_status_t tlmi_model_file_prepare(tlmi_model_file_t *out, const char *function,
                                     tlmi_format_t format, const char *path_name, const char *path,
                                     const tlm_model_t *model, const tlm_tokenizer_t *tokenizer,
                                     const tlm_model_file_options_t *options)
{
    tlmi_model_file_t file = {.path = path,
                              .model = model,
                              .tokenizer = tokenizer,
                              .options = TLM_MODEL_FILE_OPTIONS_INIT,
                              .convention = {format, NULL}};

    if (path == NULL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s is NULL", function, path_name);
    TLMI_REQUIRE(function, model);
    if (model->adapters != NULL)
        return tlmi_fail(TLM_ERR_STATE,
                         "%s: the model has adapters; merge them (tlm_model_merge_lora), or save "
                         "them by themselves (tlm_model_save_adapter)",
                         function);
    if (options != NULL)
        TLMI_TRY(tlmi_options_read(function, &file.options, TLMI_MODEL_FILE_OPTIONS, options));
    TLMI_TRY(
        choose_family(&file.convention.family, function, &model->options, file.options.family));
    TLMI_TRY(check_options(&file.options, function, model, tokenizer));
    const tlmi_weight_choice_t *choice = &tlmi_weight_choices[file.options.weights];
    if (format == TLMI_HF && tlmi_dtype(choice->type)->safetensors == NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: safetensors has no weights of type %s", function,
                         choice->name);
    if (format == TLMI_HF && file.options.keys_from != NULL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: keys_from, %s, is for GGUF files only",
                         function, file.options.keys_from);
    *out = file;
    return TLM_OK;
}
