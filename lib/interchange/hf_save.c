/* Writes a model as a Hugging Face transformers folder. config.json is written last, so a new
 * folder that has it is complete. A new folder that cannot be completed is removed. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "interchange/interchange.h"
#include "formats/safetensors.h"
#include "tensor/tensor_core.h"
#include "tinylm/tokenizer_files.h"
#include "tokenizer/pretokenize/unicode.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Weights ---------------------------------------------------------------------------- */

/* Fills both arrays and returns the number of tensors. */
static size_t describe_weights(tlmi_st_tensor_t *tensors, tlmi_file_tensor_t *files,
                               const tlmi_model_file_t *folder, const tlmi_dtype_t *type)
{
    size_t n = 0;

    for (size_t i = 0; i < folder->model->num_parameters; i++) {
        if (!tlmi_file_tensor(&files[n], folder->model, i, &folder->convention))
            continue;
        tensors[n].name = files[n].name;
        tensors[n].dtype = type->safetensors;
        tensors[n].ndim = files[n].ndim;
        memcpy(tensors[n].shape, files[n].shape, sizeof(files[n].shape));
        tensors[n].bytes =
            (size_t)tlmi_dims_product(files[n].shape, 0, files[n].ndim) * type->bytes;
        n++;
    }
    return n;
}

static tlm_status_t sink(void *user, const void *bytes, size_t size)
{
    return tlmi_st_writer_write(user, bytes, size);
}

/* transformers requires the metadata to name the framework that saved the tensors. */
static tlm_status_t make_metadata(tlmi_json_t **out)
{
    tlmi_json_t *metadata = tlmi_json_new_object();

    if (metadata == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = tlmi_hf_set_text(metadata, "format", "pt");
    if (status == TLM_OK)
        *out = metadata;
    else
        tlmi_json_free(metadata);
    return status;
}

static tlm_status_t save_weights(const tlmi_model_file_t *folder, const char *path)
{
    const tlmi_dtype_t *type = tlmi_dtype(tlmi_weight_choices[folder->options.weights].type);
    const tlm_model_t *model = folder->model;
    const size_t most = model->num_parameters;
    tlmi_st_tensor_t *tensors = tlmi_calloc(most, sizeof(*tensors), "the tensors of a model");
    tlmi_file_tensor_t *files = tlmi_alloc(most, sizeof(*files), "the names of a model's tensors");
    tlmi_st_writer_t *writer = NULL;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (tensors == NULL || files == NULL)
        goto done;
    const size_t n = describe_weights(tensors, files, folder, type);
    tlmi_json_t *metadata;
    TLMI_TRY_OR(done, make_metadata(&metadata));
    TLMI_TRY_OR(done, tlmi_st_writer_open(&writer, path, tensors, n, metadata));
    for (size_t i = 0; i < n; i++)
        TLMI_TRY_OR(done, tlmi_weight_write(model, &files[i], &folder->convention, type, path, sink,
                                            writer));
    status = tlmi_st_writer_commit(writer);
    writer = NULL;
done:
    tlmi_st_writer_abort(writer);
    tlmi_free(files);
    tlmi_free(tensors);
    return status;
}

/* ---- JSON ------------------------------------------------------------------------------- */

/* Sets `key` to the text of token `id`, or to null if there is no such token or its
 * text is not valid UTF-8. */
static tlm_status_t set_token_text(tlmi_json_t *object, const char *key,
                                   const tlm_tokenizer_t *tokenizer, bool exists, uint32_t id)
{
    tlm_bytes_t token = {NULL, 0};

    if (exists && id < tlm_tokenizer_vocab_size(tokenizer))
        TLMI_TRY(tlm_tokenizer_token(&token, tokenizer, id));
    if (token.size == 0 || !tlmi_utf8_valid(token.data, token.size))
        return tlmi_json_set(object, key, tlmi_json_new_null());
    return tlmi_json_set(object, key, tlmi_json_new_string((const char *)token.data, token.size));
}

static tlm_status_t fill_tokenizer_config(tlmi_json_t *object, const tlmi_model_file_t *folder)
{
    const tlm_model_file_options_t *options = &folder->options;

    TLMI_TRY(tlmi_hf_set_text(object, "tokenizer_class", "PreTrainedTokenizerFast"));
    TLMI_TRY(tlmi_json_set(object, "model_max_length",
                           tlmi_json_new_int(folder->model->options.context_length)));
    TLMI_TRY(set_token_text(object, "bos_token", folder->tokenizer, options->has_begin_token,
                            options->begin_token));
    TLMI_TRY(set_token_text(object, "eos_token", folder->tokenizer, options->has_end_token,
                            options->end_token));
    return tlmi_json_set(object, "clean_up_tokenization_spaces", tlmi_json_new_bool(false));
}

static tlm_status_t fill_generation_config(tlmi_json_t *object, const tlmi_model_file_t *folder)
{
    TLMI_TRY(tlmi_json_set(object, "_from_model_config", tlmi_json_new_bool(true)));
    return tlmi_hf_set_tokens(object, &folder->options);
}

tlm_status_t tlmi_hf_write_json(const char *path, tlmi_json_t *value)
{
    tlmi_writer_t *writer = NULL;
    char *text = NULL;
    tlm_status_t status;
    size_t size;

    TLMI_TRY_OR(done, tlmi_json_dump(&text, &size, value));
    TLMI_TRY_OR(done, tlmi_writer_open(&writer, path));
    TLMI_TRY_OR(done, tlmi_writer_write(writer, text, size));
    TLMI_TRY_OR(done, tlmi_writer_write(writer, "\n", 1));
    status = tlmi_writer_commit(writer);
    writer = NULL;
done:
    tlmi_writer_abort(writer);
    tlmi_free(text);
    tlmi_json_free(value);
    return status;
}

static tlm_status_t save_object(const tlmi_model_file_t *folder, const char *path,
                                tlm_status_t (*fill)(tlmi_json_t *, const tlmi_model_file_t *))
{
    tlmi_json_t *object = tlmi_json_new_object();

    if (object == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = fill(object, folder);
    if (status == TLM_OK)
        return tlmi_hf_write_json(path, object);
    tlmi_json_free(object);
    return status;
}

/* ---- The folder ------------------------------------------------------------------------- */

static tlm_status_t save_tokenizer(const tlmi_model_file_t *folder, const char *path)
{
    return tlm_tokenizer_save_json(folder->tokenizer, path);
}

static tlm_status_t save_tokenizer_config(const tlmi_model_file_t *folder, const char *path)
{
    return save_object(folder, path, fill_tokenizer_config);
}

static tlm_status_t save_chat_template(const tlmi_model_file_t *folder, const char *path)
{
    tlmi_writer_t *writer;
    const char *source;
    size_t size;

    if (folder->options.chat_template == NULL)
        return TLM_OK;
    TLMI_TRY(tlm_chat_template_source(&source, &size, folder->options.chat_template));
    TLMI_TRY(tlmi_writer_open(&writer, path));
    tlm_status_t status = tlmi_writer_write(writer, source, size);
    if (status == TLM_OK)
        return tlmi_writer_commit(writer);
    tlmi_writer_abort(writer);
    return status;
}

static tlm_status_t save_generation_config(const tlmi_model_file_t *folder, const char *path)
{
    return save_object(folder, path, fill_generation_config);
}

static tlm_status_t save_config(const tlmi_model_file_t *folder, const char *path)
{
    tlmi_json_t *config;

    TLMI_TRY(tlmi_hf_config_write(&config, folder->convention.family, &folder->model->options,
                                  &folder->options));
    return tlmi_hf_write_json(path, config);
}

/* The files, in the order in which they are written. */
static const struct {
    const char *name;
    tlm_status_t (*save)(const tlmi_model_file_t *folder, const char *path);
    bool of_tokenizer;
} files[] = {
    {"tokenizer.json", save_tokenizer, true},
    {"tokenizer_config.json", save_tokenizer_config, true},
    {"chat_template.jinja", save_chat_template, true},
    {"generation_config.json", save_generation_config, false},
    {"model.safetensors", save_weights, false},
    {"config.json", save_config, false},
};

static tlm_status_t save_folder(const tlmi_model_file_t *folder)
{
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        if (files[i].of_tokenizer && folder->tokenizer == NULL)
            continue;
        char *path = tlmi_path_join(folder->path, files[i].name);
        if (path == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
        tlm_status_t status = files[i].save(folder, path);
        tlmi_free(path);
        TLMI_TRY(status);
    }
    return TLM_OK;
}

/* Removes a new folder, as far as possible. */
static void remove_folder(const char *directory)
{
    int at = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    for (size_t i = 0; i < COUNT_OF(files) && at >= 0; i++)
        (void)unlinkat(at, files[i].name, 0);
    if (at >= 0)
        close(at);
    (void)rmdir(directory);
}

tlm_status_t tlm_model_save_hf(const tlm_model_t *model, const tlm_tokenizer_t *tokenizer,
                               const char *directory, const tlm_model_file_options_t *options)
{
    tlmi_model_file_t folder;
    TLMI_TRY(tlmi_model_file_prepare(&folder, "model_save_hf", TLMI_HF, "directory", directory,
                                     model, tokenizer, options));
    bool is_new = mkdir(directory, 0777) == 0;
    if (!is_new && errno != EEXIST)
        return tlmi_fail_errno("create", directory);
    tlm_status_t status = save_folder(&folder);
    if (status != TLM_OK && is_new)
        remove_folder(directory);
    return status;
}
