/* Names in checkpoints, and opening one. */
#include "checkpoint/checkpoint_core.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

void tlmi_checkpoint_state_name(char out[TLMI_CHECKPOINT_NAME_SIZE], const char *parameter,
                                const char *buffer)
{
    snprintf(out, TLMI_CHECKPOINT_NAME_SIZE, "optimizer.%s.%s", parameter, buffer);
}

size_t tlmi_checkpoint_num_states(const tlm_optimizer_t *optimizer)
{
    size_t n = 0;

    for (size_t i = 0; i < optimizer->num_parameters; i++)
        n += optimizer->parameters[i].num_states;
    return n;
}

tlm_status_t tlmi_checkpoint_name_parameters(const char ***out, const char *function,
                                             const tlm_model_t *model,
                                             const tlm_optimizer_t *optimizer)
{
    const char **names =
        tlmi_calloc(optimizer->num_parameters, sizeof(*names), "the names in a checkpoint");

    if (names == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < optimizer->num_parameters; i++) {
        for (size_t j = 0; names[i] == NULL && j < model->num_parameters; j++)
            if (optimizer->parameters[i].tensor == model->parameters[j])
                names[i] = model->specs[j].name;
        if (names[i] == NULL) {
            tlmi_free(names);
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "%s: parameter %zu of the optimizer is not one of the model's",
                             function, i);
        }
    }
    *out = names;
    return TLM_OK;
}

tlm_status_t tlmi_checkpoint_peek(tlmi_safetensors_t *out, uint64_t *iteration, const char *path)
{
    tlmi_safetensors_t file;

    TLMI_TRY(tlmi_safetensors_open(&file, path));
    const char *format = tlmi_safetensors_metadata(&file, "format");
    const char *version = tlmi_safetensors_metadata(&file, "format_version");
    tlm_status_t status;
    if (format == NULL || strcmp(format, TLMI_CHECKPOINT_FORMAT) != 0 || version == NULL) {
        status = tlmi_fail(TLM_ERR_FORMAT, "%s: this safetensors file is not a checkpoint", path);
        goto fail;
    }
    if (strcmp(version, TLMI_CHECKPOINT_VERSION_FIRST) != 0 &&
        strcmp(version, TLMI_CHECKPOINT_VERSION) != 0 &&
        strcmp(version, TLMI_CHECKPOINT_VERSION_ADAPTERS) != 0) {
        status = tlmi_fail(TLM_ERR_UNSUPPORTED,
                           "%s: checkpoint format %.16s; this library reads up to %s", path,
                           version, TLMI_CHECKPOINT_VERSION_ADAPTERS);
        goto fail;
    }
    if (!tlmi_parse_uint64(tlmi_safetensors_metadata(&file, "iteration"), iteration)) {
        status = tlmi_fail(TLM_ERR_FORMAT, "%s: the checkpoint has no iteration", path);
        goto fail;
    }
    *out = file;
    return TLM_OK;
fail:
    tlmi_safetensors_close(&file);
    return status;
}

tlm_status_t tlmi_checkpoint_open(tlmi_safetensors_t *out, uint64_t *iteration, const char *path)
{
    tlmi_safetensors_t file;

    TLMI_TRY(tlmi_checkpoint_peek(&file, iteration, path));
    tlm_status_t status = tlmi_safetensors_verify(&file, path);
    if (status == TLM_OK)
        *out = file;
    else
        tlmi_safetensors_close(&file);
    return status;
}

tlm_status_t tlmi_checkpoint_parse(tlmi_json_t **out, const tlmi_safetensors_t *file,
                                   const char *key, const char *path)
{
    const char *text = tlmi_safetensors_metadata(file, key);

    if (text == NULL)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the checkpoint has no '%s'", path, key);
    TLMI_TRY(tlmi_json_parse(out, text, strlen(text), path));
    if (tlmi_json_is_object(*out))
        return TLM_OK;
    tlmi_json_free(*out);
    return tlmi_fail(TLM_ERR_FORMAT, "%s: metadata '%s' is not an object", path, key);
}

tlm_status_t tlm_checkpoint_metadata(char **metadata, uint64_t *iteration, const char *path)
{
    TLMI_REQUIRE("checkpoint_metadata", metadata);
    TLMI_REQUIRE("checkpoint_metadata", path);
    tlmi_safetensors_t file;
    uint64_t count;
    TLMI_TRY(tlmi_checkpoint_open(&file, &count, path));
    const char *text = tlmi_safetensors_metadata(&file, TLMI_CHECKPOINT_USER);
    char *copy = tlmi_strdup(text != NULL ? text : "{}", "the metadata of a checkpoint");
    tlmi_safetensors_close(&file);
    if (copy == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    *metadata = copy;
    if (iteration != NULL)
        *iteration = count;
    return TLM_OK;
}
