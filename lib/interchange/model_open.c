/* Opens a model in any format. The content at the path determines the format, never its name. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/options.h"
#include "formats/file_kind.h"
#include "checkpoint/checkpoint_core.h"
#include "interchange/interchange.h"
#include "tinylm/checkpoint.h"
#include "tinylm/tokenizer_files.h"

/* Opens the tokenizer beside a model. Sets *out to NULL if there is none. */
static tlm_status_t open_tokenizer(tlm_tokenizer_t **out, const char *path)
{
    tlm_status_t status = tlm_tokenizer_open(out, path, NULL);

    if (status != TLM_ERR_NOT_FOUND)
        return status;
    *out = NULL;
    return TLM_OK;
}

static tlm_status_t check_tokenizer(const tlm_tokenizer_t *tokenizer,
                                    const tlm_model_options_t *options, const char *path)
{
    uint32_t size = tlm_tokenizer_vocab_size(tokenizer);

    if (size <= options->vocab_size)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_FORMAT,
                     "%s: the tokenizer has %" PRIu32
                     " tokens, but the model has vocab_size %" PRId64,
                     path, size, options->vocab_size);
}

static tlm_status_t open_kind(tlm_model_t **model, tlm_tokenizer_t **tokenizer,
                              tlm_model_file_options_t *file, const char *path, bool keep);

/* The path of the model that is opened becomes the model's own, unless it has one. */
static tlm_status_t set_source(tlm_model_t *model, const tlm_model_file_options_t *file,
                               const char *path)
{
    if (model->source != NULL)
        return TLM_OK;
    model->source = tlmi_strdup(path, "the path of a model");
    model->family = file->family;
    return model->source == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
}

/* Opens the model that adapters in a checkpoint belong to. It is not itself such a checkpoint: a
 * model that was merged has another file. */
static tlm_status_t open_base(tlm_model_t **model, tlm_tokenizer_t **tokenizer,
                              tlm_model_file_options_t *file, const char *base, const char *path,
                              bool keep)
{
    tlmi_file_kind_t kind = TLMI_FILE_GGUF;
    tlmi_safetensors_t inner;
    uint64_t iteration;

    if (!tlmi_is_directory(base))
        TLMI_TRY(tlmi_file_kind_at(&kind, base));
    if (kind != TLMI_FILE_GGUF && tlmi_checkpoint_peek(&inner, &iteration, base) == TLM_OK) {
        const bool adapted = tlmi_checkpoint_has_adapters(&inner);

        tlmi_safetensors_close(&inner);
        if (adapted)
            return tlmi_fail(TLM_ERR_FORMAT,
                             "%s: the adapters belong to %.256s, which holds adapters too", path,
                             base);
    }
    TLMI_TRY(open_kind(model, tokenizer, file, base, keep));
    tlm_status_t status = set_source(*model, file, base);
    if (status != TLM_OK) {
        tlm_model_free(*model);
        *model = NULL;
    }
    return status;
}

/* Opens adapters with the model that they belong to. A tokenizer in the checkpoint comes before that
 * of the model. */
static tlm_status_t open_adapted(tlm_model_t **model, tlm_tokenizer_t **tokenizer,
                                 tlm_model_file_options_t *file, const tlmi_safetensors_t *opened,
                                 const char *path, bool keep)
{
    tlm_tokenizer_t *own = NULL;
    tlm_model_t *made = NULL;
    char *base;

    TLMI_TRY(tlmi_adapter_state_base(&base, opened, path));
    tlm_status_t status;
    TLMI_TRY_OR(fail, open_base(&made, tokenizer, file, base, path, keep));
    const uint64_t without = tlm_model_num_bytes(made);
    TLMI_TRY_OR(fail, tlmi_adapter_state_add(made, opened, path));
    file->weight_bytes += tlm_model_num_bytes(made) - without; /* float32 here and there */
    TLMI_TRY_OR(fail, tlmi_checkpoint_adopt_training(made, opened, path));
    TLMI_TRY_OR(fail, tlm_checkpoint_load(NULL, made, NULL, path));
    if (tokenizer != NULL)
        TLMI_TRY_OR(fail, tlmi_checkpoint_read_tokenizer(&own, opened, path));
    if (own != NULL) {
        tlm_tokenizer_free(*tokenizer);
        *tokenizer = own;
    }
    *model = made;
    tlmi_free(base);
    return TLM_OK;
fail:
    tlm_model_free(made);
    tlmi_free(base);
    return status;
}

static tlm_status_t open_checkpoint(tlm_model_t **model, tlm_tokenizer_t **tokenizer,
                                    tlm_model_file_options_t *options, const char *path, bool keep)
{
    tlmi_safetensors_t file;
    uint64_t iteration;
    tlm_status_t status;

    TLMI_TRY(tlmi_checkpoint_open(&file, &iteration, path));
    if (tlmi_checkpoint_has_adapters(&file)) {
        status = open_adapted(model, tokenizer, options, &file, path, keep);
    } else {
        status = tlmi_checkpoint_read_model(model, &file, path);
        if (status == TLM_OK && tokenizer != NULL)
            status = tlmi_checkpoint_read_tokenizer(tokenizer, &file, path);
        if (status == TLM_OK)
            options->weight_bytes = tlm_model_num_bytes(*model);
    }
    tlmi_safetensors_close(&file);
    return status;
}

static tlm_status_t has_file(bool *out, const char *directory, const char *name)
{
    char *path = tlmi_path_join(directory, name);

    if (path == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    *out = tlmi_is_regular_file(path);
    tlmi_free(path);
    return TLM_OK;
}

/* Finds the latest whole checkpoint of a run: in its directory, or in the directory `checkpoints`
 * there. The caller owns it. */
static tlm_status_t find_checkpoint(char **out, const char *directory)
{
    char *inner = tlmi_path_join(directory, "checkpoints");

    if (inner == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status =
        tlm_checkpoint_dir_latest(out, NULL, tlmi_is_directory(inner) ? inner : directory);
    tlmi_free(inner);
    return status;
}

/* A folder of transformers has config.json and weights; a run has a config.json of its own. */
static tlm_status_t open_directory(tlm_model_t **model, tlm_tokenizer_t **tokenizer,
                                   tlm_model_file_options_t *file, const char *path, bool keep)
{
    bool has_config, has_weights, has_index;
    tlm_status_t status = TLM_ERR_NOT_FOUND;
    char *checkpoint;

    TLMI_TRY(has_file(&has_config, path, "config.json"));
    TLMI_TRY(has_file(&has_weights, path, "model.safetensors"));
    TLMI_TRY(has_file(&has_index, path, "model.safetensors.index.json"));
    if (!has_config || (!has_weights && !has_index))
        status = find_checkpoint(&checkpoint, path);
    if (status == TLM_OK) {
        status = open_checkpoint(model, tokenizer, file, checkpoint, keep);
        tlmi_free(checkpoint);
        return status;
    }
    if (status != TLM_ERR_NOT_FOUND)
        return status;
    if (!has_config)
        return tlmi_fail(TLM_ERR_NOT_FOUND,
                         "%s: the folder has neither config.json nor an intact checkpoint", path);
    TLMI_TRY(tlmi_hf_load(model, file, path, keep));
    return tokenizer == NULL ? TLM_OK : open_tokenizer(tokenizer, path);
}

/* `tokenizer` may be NULL. *tokenizer is unchanged for a format without a tokenizer. */
static tlm_status_t open_kind(tlm_model_t **model, tlm_tokenizer_t **tokenizer,
                              tlm_model_file_options_t *file, const char *path, bool keep)
{
    if (tlmi_is_directory(path))
        return open_directory(model, tokenizer, file, path, keep);
    tlmi_file_kind_t kind;
    TLMI_TRY(tlmi_file_kind_at(&kind, path));
    return kind == TLMI_FILE_GGUF ? tlmi_gguf_load(model, tokenizer, file, path, keep)
                                  : open_checkpoint(model, tokenizer, file, path, keep);
}

static tlm_status_t open_model(tlm_model_t **out, tlm_tokenizer_t **tokenizer,
                               tlm_model_file_options_t *file, const char *path, bool keep)
{
    tlm_model_file_options_t own = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_tokenizer_t *own_tokenizer = NULL;
    tlm_model_t *model = NULL;

    TLMI_REQUIRE("model_open", out);
    TLMI_REQUIRE("model_open", path);
    tlm_status_t status;
    TLMI_TRY_OR(fail,
                open_kind(&model, tokenizer == NULL ? NULL : &own_tokenizer, &own, path, keep));
    TLMI_TRY_OR(fail, set_source(model, &own, path));
    TLMI_TRY_OR(fail, tlm_model_get_options(&options, model));
    TLMI_TRY_OR(fail, check_tokenizer(own_tokenizer, &options, path));
    if (file != NULL)
        TLMI_TRY_OR(fail, tlmi_options_write("model_open", file, &own, TLMI_MODEL_FILE_OPTIONS));
    if (tokenizer != NULL)
        *tokenizer = own_tokenizer;
    *out = model;
    return TLM_OK;
fail:
    tlm_tokenizer_free(own_tokenizer);
    tlm_model_free(model);
    return status;
}

tlm_status_t tlm_model_open(tlm_model_t **out, tlm_tokenizer_t **tokenizer,
                            tlm_model_file_options_t *file, const char *path)
{
    return open_model(out, tokenizer, file, path, false);
}

tlm_status_t tlm_model_open_for_inference(tlm_model_t **out, tlm_tokenizer_t **tokenizer,
                                          tlm_model_file_options_t *file, const char *path)
{
    return open_model(out, tokenizer, file, path, true);
}
