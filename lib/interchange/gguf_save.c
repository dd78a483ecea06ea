/* Writes a model as a GGUF file with the architecture name of its family. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "interchange/interchange.h"
#include "tensor/tensor_core.h"
#include "tokenizer/formats/token_files.h"

/* Sizes fit in 31 bits; tlm_model_create ensures this. */
static tlm_status_t put_option(tlmi_gguf_writer_t *writer, const char *key,
                               const tlmi_model_file_t *file, const tlmi_model_option_t *option)
{
    const tlm_model_options_t *options = &file->model->options;
    const bool is_window = strcmp(option->name, "sliding_window") == 0;

    if (is_window && !file->convention.family->gguf_windows)
        return TLM_OK; /* it is wider than the context: tlmi_gguf_check */
    if (option->type == TLMI_NUMBER ? tlmi_option_number(options, option) == 0.0
                                    : tlmi_option_int(options, option) == 0)
        return TLM_OK;
    if (option->type == TLMI_NUMBER)
        return tlmi_gguf_put_float32(writer, key, (float)tlmi_option_number(options, option));
    return tlmi_gguf_put_uint32(writer, key, (uint32_t)tlmi_option_int(options, option));
}

static tlm_status_t put_options(tlmi_gguf_writer_t *writer, const tlmi_model_file_t *file)
{
    const tlm_model_t *model = file->model;
    const tlmi_family_t *family = file->convention.family;
    const char *name = family->names[TLMI_GGUF];

    TLMI_TRY(tlmi_gguf_put_string(writer, "general.architecture", name));
    TLMI_TRY(tlmi_gguf_put_string(writer, "general.type", "model"));
    TLMI_TRY(tlmi_gguf_put_uint32(writer, "general.alignment", TLMI_GGUF_ALIGNMENT));
    TLMI_TRY(
        tlmi_gguf_put_uint32(writer, "general.file_type",
                             (uint32_t)tlmi_weight_choices[file->options.weights].gguf_file_type));
    if (tlmi_dtype_is_blocks(tlmi_weight_choices[file->options.weights].type))
        TLMI_TRY(tlmi_gguf_put_uint32(writer, "general.quantization_version", 2));
    char key[TLMI_GGUF_KEY_SIZE];
    for (size_t i = 0; i < tlmi_num_options; i++) {
        const char *own = tlmi_family_key(family, &tlmi_options[i], TLMI_GGUF);

        if (own != NULL)
            TLMI_TRY(put_option(writer, tlmi_gguf_key(key, family, own), file, &tlmi_options[i]));
    }
    TLMI_TRY(tlmi_gguf_put_rope(writer, family, &model->options));
    if (!tlmi_family_has(family, "position", TLM_POSITION_ROPE))
        return TLM_OK;
    for (size_t i = 0; i < TLMI_GGUF_NUM_HEAD_WIDTHS; i++)
        TLMI_TRY(tlmi_gguf_put_uint32(writer, tlmi_gguf_key(key, family, tlmi_gguf_head_widths[i]),
                                      (uint32_t)model->shape.d_head));
    return TLM_OK;
}

static tlm_status_t put_tokens(tlmi_gguf_writer_t *writer, const tlm_model_file_options_t *file)
{
    if (file->has_begin_token)
        TLMI_TRY(tlmi_gguf_put_uint32(writer, "tokenizer.ggml.bos_token_id", file->begin_token));
    static const char *const more[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    if (file->has_end_token)
        TLMI_TRY(tlmi_gguf_put_uint32(writer, "tokenizer.ggml.eos_token_id", file->end_token));
    for (uint32_t i = 0; i < file->num_more_end_tokens && i < 2; i++)
        TLMI_TRY(tlmi_gguf_put_uint32(writer, more[i], file->more_end_tokens[i]));
    /* If this key is missing, some pretokenizers add the begin token. */
    return tlmi_gguf_put_bool(writer, "tokenizer.ggml.add_bos_token", false);
}

/* Bytes of a tensor, and its type. */
static uint64_t tensor_bytes(const tlmi_dtype_t **type, const tlmi_model_file_t *file,
                             const tlmi_file_tensor_t *tensor)
{
    *type = tlmi_weight_type(file->model, tensor, &file->convention, file->options.weights);
    return tlmi_weight_bytes(*type, tensor->shape, tensor->ndim);
}

static tlm_status_t describe_weights(tlmi_gguf_writer_t *writer, const tlmi_model_file_t *file)
{
    const tlm_model_t *model = file->model;
    tlmi_file_tensor_t tensor;
    uint64_t place = 0;

    for (size_t i = 0; i < model->num_parameters; i++) {
        if (!tlmi_file_tensor(&tensor, model, i, &file->convention))
            continue;
        const tlmi_dtype_t *type;
        const uint64_t bytes = tensor_bytes(&type, file, &tensor);
        TLMI_TRY(tlmi_gguf_put_tensor(writer, tensor.name, tensor.shape, tensor.ndim,
                                      (uint32_t)type->gguf, place));
        place += tlmi_gguf_aligned(bytes);
    }
    if (file->num_rope_factors > 0)
        return tlmi_gguf_put_tensor(writer, tlmi_gguf_rope_factors, &file->num_rope_factors, 1,
                                    (uint32_t)tlmi_dtype(TLM_FLOAT32)->gguf, place);
    return TLM_OK;
}

/* ---- Keys of another file ---------------------------------------------------------------- */

static bool has_prefix(const tlmi_gguf_value_t *value, const char *prefix)
{
    return value->key_size > strlen(prefix) && memcmp(value->key, prefix, strlen(prefix)) == 0;
}

static bool has_key(const tlmi_gguf_value_t *value, const char *key)
{
    return value->key_size == strlen(key) && memcmp(value->key, key, value->key_size) == 0;
}

/* Whether it says nothing of the weights or of their place in the file, and is not replaced. */
static bool is_copied(const tlmi_gguf_value_t *value, const tlm_model_file_options_t *options)
{
    static const char *const own[] = {"general.architecture", "general.type", "general.alignment",
                                      "general.file_type", "general.quantization_version"};

    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        if (has_key(value, own[i]))
            return false;
    if (options->chat_template != NULL && has_key(value, "tokenizer.chat_template"))
        return false;
    return has_prefix(value, "tokenizer.") || has_prefix(value, "general.");
}

static tlm_status_t copy_keys(tlmi_gguf_writer_t *writer, const tlmi_model_file_t *file)
{
    const char *path = file->options.keys_from;
    tlmi_gguf_shards_t shards;

    TLMI_TRY(tlmi_gguf_shards_open(&shards, path));
    const tlmi_gguf_t *source = &shards.whole;
    const tlmi_gguf_value_t *tokens = tlmi_gguf_find(source, "tokenizer.ggml.tokens");
    const int64_t vocab_size = file->model->options.vocab_size;
    tlm_status_t status = TLM_OK;
    if (tokens != NULL && (int64_t)tokens->count != vocab_size)
        status = tlmi_fail(TLM_ERR_RANGE,
                           "model_save_gguf: %s has %zu tokens, but the model has vocab_size "
                           "%" PRId64,
                           path, tokens->count, vocab_size);
    for (size_t i = 0; i < source->num_values && status == TLM_OK; i++)
        if (is_copied(&source->values[i], &file->options))
            status = tlmi_gguf_put_copy(writer, &source->values[i]);
    if (status == TLM_OK)
        status = tlmi_mapping_check(&shards.files[0].mapping, shards.paths[0]);
    tlmi_gguf_shards_close(&shards);
    return status;
}

static tlm_status_t sink(void *user, const void *bytes, size_t size)
{
    return tlmi_writer_write(user, bytes, size);
}

static tlm_status_t write_weights(tlmi_gguf_writer_t *writer, const tlmi_model_file_t *file)
{
    const tlm_model_t *model = file->model;
    tlmi_file_tensor_t tensor;

    for (size_t i = 0; i < model->num_parameters; i++) {
        if (!tlmi_file_tensor(&tensor, model, i, &file->convention))
            continue;
        TLMI_TRY(tlmi_gguf_align(writer));
        TLMI_TRY(tlmi_weight_write(
            model, &tensor, &file->convention,
            tlmi_weight_type(model, &tensor, &file->convention, file->options.weights), file->path,
            sink, writer->file));
    }
    if (file->num_rope_factors > 0) {
        TLMI_TRY(tlmi_gguf_align(writer));
        TLMI_TRY(tlmi_writer_write(writer->file, file->rope_factors,
                                   (size_t)file->num_rope_factors * sizeof(float)));
    }
    return tlmi_gguf_align(writer);
}

static tlm_status_t put_chat_template(tlmi_gguf_writer_t *writer,
                                      const tlm_chat_template_t *chat_template)
{
    const char *source;
    size_t size;

    if (chat_template == NULL)
        return TLM_OK;
    TLMI_TRY(tlm_chat_template_source(&source, &size, chat_template));
    return tlmi_gguf_put_string(writer, "tokenizer.chat_template", source);
}

static tlm_status_t put_all(tlmi_gguf_writer_t *writer, const tlmi_model_file_t *file)
{
    TLMI_TRY(put_options(writer, file));
    TLMI_TRY(put_chat_template(writer, file->options.chat_template));
    if (file->options.keys_from != NULL) {
        TLMI_TRY(copy_keys(writer, file));
    } else {
        TLMI_TRY(tlmi_gguf_put_tokenizer(writer, file->tokenizer, file->model->options.vocab_size));
        TLMI_TRY(put_tokens(writer, &file->options));
    }
    TLMI_TRY(describe_weights(writer, file));
    return write_weights(writer, file);
}

static size_t count_tensors(const tlmi_model_file_t *file)
{
    size_t n = file->num_rope_factors > 0 ? 1 : 0;
    tlmi_file_tensor_t tensor;

    for (size_t i = 0; i < file->model->num_parameters; i++)
        n += tlmi_file_tensor(&tensor, file->model, i, &file->convention) ? 1 : 0;
    return n;
}

tlm_status_t tlm_model_save_gguf(const tlm_model_t *model, const tlm_tokenizer_t *tokenizer,
                                 const char *path, const tlm_model_file_options_t *options)
{
    tlmi_model_file_t file;
    TLMI_TRY(tlmi_model_file_prepare(&file, "model_save_gguf", TLMI_GGUF, "path", path, model,
                                     tokenizer, options));
    if (file.options.keys_from != NULL && tokenizer != NULL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "model_save_gguf: both a tokenizer and keys_from, %s",
                         file.options.keys_from);
    TLMI_TRY(tlmi_gguf_check("model_save_gguf", file.convention.family, &model->options));
    TLMI_TRY(tlmi_gguf_make_factors(&file.rope_factors, &file.num_rope_factors, &model->options));
    tlmi_gguf_writer_t writer;
    tlm_status_t status = tlmi_gguf_begin(&writer, path, count_tensors(&file));
    if (status == TLM_OK) {
        status = put_all(&writer, &file);
        if (status == TLM_OK)
            status = tlmi_gguf_commit(&writer);
        else
            tlmi_gguf_abort(&writer);
    }
    tlmi_free(file.rope_factors);
    return status;
}

tlm_status_t tlm_model_gguf_bytes(uint64_t *bytes, const tlm_model_t *model,
                                  const tlm_model_file_options_t *options)
{
    tlmi_file_tensor_t tensor;
    tlmi_model_file_t file;
    uint64_t total = 0;

    TLMI_REQUIRE("model_gguf_bytes", bytes);
    TLMI_TRY(tlmi_model_file_prepare(&file, "model_gguf_bytes", TLMI_GGUF, "path", "", model, NULL,
                                     options));
    TLMI_TRY(tlmi_gguf_check("model_gguf_bytes", file.convention.family, &model->options));
    for (size_t i = 0; i < model->num_parameters; i++) {
        const tlmi_dtype_t *type;

        if (tlmi_file_tensor(&tensor, model, i, &file.convention))
            total += tensor_bytes(&type, &file, &tensor);
    }
    *bytes = total;
    return TLM_OK;
}
