/* Writes a model as a GGUF file with the architecture name of its family. */
#include "base/error.h"
#include "interchange/interchange.h"
#include "tensor/tensor_core.h"
#include "tokenizer/formats/token_files.h"

/* Sizes fit in 31 bits; tlm_model_create ensures this. */
static tlm_status_t put_option(tlmi_gguf_writer_t *writer, const char *key,
                               const tlm_model_options_t *options,
                               const tlmi_model_option_t *option)
{
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
                             (uint32_t)tlmi_weights_type(file->options.weights)->gguf_file_type));
    char key[TLMI_GGUF_KEY_SIZE];
    for (size_t i = 0; i < tlmi_num_options; i++)
        if (tlmi_options[i].keys[TLMI_GGUF].key != NULL)
            TLMI_TRY(put_option(writer,
                                tlmi_gguf_key(key, family, tlmi_options[i].keys[TLMI_GGUF].key),
                                &model->options, &tlmi_options[i]));
    for (size_t i = 0; i < TLMI_GGUF_NUM_HEAD_WIDTHS; i++)
        TLMI_TRY(tlmi_gguf_put_uint32(writer, tlmi_gguf_key(key, family, tlmi_gguf_head_widths[i]),
                                      (uint32_t)model->shape.d_head));
    return TLM_OK;
}

static tlm_status_t put_tokens(tlmi_gguf_writer_t *writer, const tlm_model_file_options_t *file)
{
    if (file->has_begin_token)
        TLMI_TRY(tlmi_gguf_put_uint32(writer, "tokenizer.ggml.bos_token_id", file->begin_token));
    if (file->has_end_token)
        TLMI_TRY(tlmi_gguf_put_uint32(writer, "tokenizer.ggml.eos_token_id", file->end_token));
    /* If this key is missing, some pretokenizers add the begin token. */
    return tlmi_gguf_put_bool(writer, "tokenizer.ggml.add_bos_token", false);
}

/* Gains are float32 in every file. Matrices whose rows are not whole blocks are float16, as in the
 * files of other programs. */
static const tlmi_dtype_t *type_of(const tlm_model_t *model, size_t index, int32_t weights)
{
    const tlmi_parameter_spec_t *spec = &model->specs[index];
    const tlmi_dtype_t *type = tlmi_weights_type(spec->ndim == 1 ? TLM_WEIGHTS_FLOAT32 : weights);

    return spec->shape[spec->ndim - 1] % type->block == 0 ? type : tlmi_dtype(TLM_FLOAT16);
}

static tlm_status_t describe_weights(tlmi_gguf_writer_t *writer, const tlm_model_t *model,
                                     int32_t weights)
{
    uint64_t place = 0;

    for (size_t i = 0; i < model->num_parameters; i++) {
        const tlmi_parameter_spec_t *spec = &model->specs[i];
        const tlmi_dtype_t *type = type_of(model, i, weights);
        uint64_t numel = (uint64_t)tlmi_dims_product(spec->shape, 0, spec->ndim);
        char name[TLMI_WEIGHT_NAME_SIZE];

        tlmi_weight_name(name, model, i, TLMI_GGUF);
        TLMI_TRY(tlmi_gguf_put_tensor(writer, name, spec->shape, spec->ndim, (uint32_t)type->gguf,
                                      place));
        place += tlmi_gguf_aligned(numel / (uint64_t)type->block * type->bytes);
    }
    return TLM_OK;
}

static tlm_status_t sink(void *user, const void *bytes, size_t size)
{
    return tlmi_writer_write(user, bytes, size);
}

static tlm_status_t put_all(tlmi_gguf_writer_t *writer, const tlmi_model_file_t *file)
{
    const tlm_model_t *model = file->model;
    int32_t weights = file->options.weights;

    TLMI_TRY(put_options(writer, file));
    TLMI_TRY(tlmi_gguf_put_tokenizer(writer, file->tokenizer, model->options.vocab_size));
    TLMI_TRY(put_tokens(writer, &file->options));
    TLMI_TRY(describe_weights(writer, model, weights));
    for (size_t i = 0; i < model->num_parameters; i++) {
        TLMI_TRY(tlmi_gguf_align(writer));
        TLMI_TRY(tlmi_weight_write(model, i, &file->convention, type_of(model, i, weights),
                                   file->path, sink, writer->file));
    }
    return tlmi_gguf_align(writer);
}

tlm_status_t tlm_model_save_gguf(const tlm_model_t *model, const tlm_tokenizer_t *tokenizer,
                                 const char *path, const tlm_model_file_options_t *options)
{
    tlmi_model_file_t file;
    TLMI_TRY(tlmi_model_file_prepare(&file, "model_save_gguf", TLMI_GGUF, "path", path, model,
                                     tokenizer, options));
    tlmi_gguf_writer_t writer;
    TLMI_TRY(tlmi_gguf_begin(&writer, path, model->num_parameters));
    tlm_status_t status = put_all(&writer, &file);
    if (status == TLM_OK)
        return tlmi_gguf_commit(&writer);
    tlmi_gguf_abort(&writer);
    return status;
}
