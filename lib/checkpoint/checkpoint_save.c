/* Saving checkpoints: a safetensors file with the weights under their names, the optimiser's buffers as
 * "optimizer.<parameter>.<buffer>", and all else as metadata. docs/checkpoints.md describes the
 * format. */
#include "tinylm/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "checkpoint/checkpoint_core.h"
#include "tensor/tensor_core.h"
#include "tinylm/version.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors are written as they lie in memory, and the format is little-endian"
#endif

#define METADATA_MAX_SIZE ((size_t)1 << 20) /* of the user's: a header must stay below 100 MB */

/* ---- Metadata --------------------------------------------------------------------------- */

static tlm_status_t set_text(tlmi_json_t *object, const char *key, const char *text)
{
    return tlmi_json_set(object, key, tlmi_json_new_string(text, strlen(text)));
}

/* 64-bit counters are written as text. */
static tlm_status_t set_uint64(tlmi_json_t *object, const char *key, uint64_t value)
{
    return tlmi_json_set(object, key, tlmi_json_new_uint64(value));
}

/* Sets metadata `key` to the text of `value`, which is consumed. */
static tlm_status_t set_json(tlmi_json_t *metadata, const char *key, tlmi_json_t *value)
{
    tlm_status_t status;
    char *text;
    size_t size;

    status = tlmi_json_dump(&text, &size, value);
    tlmi_json_free(value);
    if (status != TLM_OK)
        return status;
    status = tlmi_json_set(metadata, key, tlmi_json_new_string(text, size));
    tlmi_free(text);
    return status;
}

static tlm_status_t set_config(tlmi_json_t *metadata, const tlm_model_options_t *options)
{
    tlmi_json_t *config;

    TLMI_TRY(tlmi_model_config_write(&config, options));
    return set_json(metadata, "config", config);
}

/* One group: its hyper-parameters and the names of its parameters. Appended to `groups`. */
static tlm_status_t append_group(tlmi_json_t *groups, const tlm_optimizer_t *optimizer,
                                 size_t group, const char *const *names)
{
    tlmi_json_t *object = tlmi_json_new_object();
    tlmi_json_t *list = tlmi_json_new_array();
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (object == NULL || list == NULL)
        goto fail;
    for (size_t i = 0; i < TLMI_GROUP_NUMBERS; i++) {
        double value;

        memcpy(&value, (const char *)&optimizer->groups[group] + tlmi_group_numbers[i].offset,
               sizeof(value));
        TLMI_TRY_OR(fail,
                    tlmi_json_set(object, tlmi_group_numbers[i].name, tlmi_json_new_number(value)));
    }
    for (size_t i = 0; i < optimizer->num_parameters; i++)
        if (optimizer->parameters[i].group == group)
            TLMI_TRY_OR(fail,
                        tlmi_json_append(list, tlmi_json_new_string(names[i], strlen(names[i]))));
    status = tlmi_json_set(object, "parameters", list);
    list = NULL;
    if (status != TLM_OK)
        goto fail;
    return tlmi_json_append(groups, object);
fail:
    tlmi_json_free(list);
    tlmi_json_free(object);
    return status;
}

static tlm_status_t set_optimizer(tlmi_json_t *metadata, const tlm_optimizer_t *optimizer,
                                  const char *const *names)
{
    tlmi_json_t *object = tlmi_json_new_object();
    tlmi_json_t *groups = tlmi_json_new_array();
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (object == NULL || groups == NULL)
        goto fail;
    TLMI_TRY_OR(fail, set_text(object, "kind", optimizer->kind->name));
    TLMI_TRY_OR(fail, set_uint64(object, "steps", optimizer->steps));
    for (size_t i = 0; i < optimizer->num_groups; i++)
        TLMI_TRY_OR(fail, append_group(groups, optimizer, i, names));
    status = tlmi_json_set(object, "groups", groups);
    groups = NULL;
    if (status != TLM_OK)
        goto fail;
    return set_json(metadata, "optimizer", object);
fail:
    tlmi_json_free(groups);
    tlmi_json_free(object);
    return status;
}

static tlm_status_t make_metadata(tlmi_json_t **out, const tlm_model_t *model,
                                  const tlm_optimizer_t *optimizer, const char *const *names,
                                  uint64_t iteration, const tlm_checkpoint_options_t *options)
{
    const char *version = tlmi_model_config_is_first(&model->options)
                              ? TLMI_CHECKPOINT_VERSION_FIRST
                              : TLMI_CHECKPOINT_VERSION;
    tlmi_json_t *metadata = tlmi_json_new_object();
    tlm_status_t status;

    if (metadata == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    TLMI_TRY_OR(fail, set_text(metadata, "format", TLMI_CHECKPOINT_FORMAT));
    TLMI_TRY_OR(fail, set_text(metadata, "format_version", version));
    TLMI_TRY_OR(fail, set_text(metadata, "library_version", TLM_VERSION_STRING));
    TLMI_TRY_OR(fail, set_uint64(metadata, "iteration", iteration));
    TLMI_TRY_OR(fail, set_config(metadata, &model->options));
    if (optimizer != NULL)
        TLMI_TRY_OR(fail, set_optimizer(metadata, optimizer, names));
    TLMI_TRY_OR(fail, set_text(metadata, "names", "cs336"));
    if (options->has_validation_loss && isfinite(options->validation_loss))
        TLMI_TRY_OR(fail, set_json(metadata, "validation_loss",
                                   tlmi_json_new_number(options->validation_loss)));
    if (options->metadata != NULL)
        TLMI_TRY_OR(fail, set_text(metadata, "user", options->metadata));
    *out = metadata;
    return TLM_OK;
fail:
    tlmi_json_free(metadata);
    return status;
}

/* ---- The file --------------------------------------------------------------------------- */

static void describe(tlmi_st_tensor_t *out, const char *name, const tlm_tensor_t *tensor,
                     const float *data)
{
    out->name = name;
    out->dtype = "F32";
    out->ndim = tensor->ndim;
    memcpy(out->shape, tensor->shape, sizeof(out->shape));
    out->data = data;
    out->bytes = (size_t)tensor->numel * sizeof(float);
}

/* Lists what goes into the file and writes it. */
static tlm_status_t save(const char *path, const tlm_model_t *model,
                         const tlm_optimizer_t *optimizer, const char *const *names,
                         uint64_t iteration, const tlm_checkpoint_options_t *options)
{
    size_t buffers = optimizer == NULL ? 0 : (size_t)optimizer->kind->num_buffers;
    size_t states = optimizer == NULL ? 0 : optimizer->num_parameters * buffers;
    size_t n = model->num_parameters;
    tlmi_st_tensor_t *tensors =
        tlmi_calloc(n + states, sizeof(*tensors), "the tensors of a checkpoint");
    char(*state_names)[TLMI_CHECKPOINT_NAME_SIZE] =
        tlmi_alloc(states, TLMI_CHECKPOINT_NAME_SIZE, "the names in a checkpoint");
    tlmi_json_t *metadata;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (tensors == NULL || state_names == NULL)
        goto done;
    for (size_t i = 0; i < n; i++)
        describe(&tensors[i], model->specs[i].name, model->parameters[i],
                 tlmi_floats(model->parameters[i]));
    for (size_t i = 0; i < states; i++) {
        const tlmi_parameter_t *parameter = &optimizer->parameters[i / buffers];

        tlmi_checkpoint_state_name(state_names[i], names[i / buffers],
                                   optimizer->kind->buffer_names[i % buffers]);
        describe(&tensors[n + i], state_names[i], parameter->tensor, parameter->state[i % buffers]);
    }
    TLMI_TRY_OR(done, make_metadata(&metadata, model, optimizer, names, iteration, options));
    status = tlmi_safetensors_write(path, tensors, n + states, metadata);
done:
    tlmi_free(state_names);
    tlmi_free(tensors);
    return status;
}

static tlm_status_t read_options(tlm_checkpoint_options_t *known, const char *function,
                                 const tlm_checkpoint_options_t *options)
{
    tlmi_json_t *metadata;
    char what[64];
    bool is_object;
    size_t size;

    if (options != NULL)
        TLMI_TRY(tlmi_options_read(function, known, TLMI_CHECKPOINT_OPTIONS, options));
    if (known->metadata == NULL)
        return TLM_OK;
    size = strlen(known->metadata);
    if (size > METADATA_MAX_SIZE)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: metadata of %zu bytes; at most %zu",
                         function, size, METADATA_MAX_SIZE);
    snprintf(what, sizeof(what), "%s: metadata", function);
    TLMI_TRY(tlmi_json_parse(&metadata, known->metadata, size, what));
    is_object = tlmi_json_is_object(metadata);
    tlmi_json_free(metadata);
    if (!is_object)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: not a JSON object", what);
    return TLM_OK;
}

tlm_status_t tlmi_checkpoint_save(const char *function, const char *path, const tlm_model_t *model,
                                  const tlm_optimizer_t *optimizer, uint64_t iteration,
                                  const tlm_checkpoint_options_t *options)
{
    tlm_checkpoint_options_t known = TLM_CHECKPOINT_OPTIONS_INIT;
    const char **names = NULL;
    tlm_status_t status;

    TLMI_REQUIRE(function, path);
    TLMI_REQUIRE(function, model);
    TLMI_TRY(read_options(&known, function, options));
    if (optimizer != NULL)
        TLMI_TRY(tlmi_checkpoint_name_parameters(&names, function, model, optimizer));
    status = save(path, model, optimizer, names, iteration, &known);
    tlmi_free(names);
    return status;
}

tlm_status_t tlm_checkpoint_save(const char *path, const tlm_model_t *model,
                                 tlm_optimizer_t *optimizer, uint64_t iteration)
{
    return tlmi_checkpoint_save("checkpoint_save", path, model, optimizer, iteration, NULL);
}

tlm_status_t tlm_checkpoint_save_with(const char *path, const tlm_model_t *model,
                                      tlm_optimizer_t *optimizer, uint64_t iteration,
                                      const tlm_checkpoint_options_t *options)
{
    return tlmi_checkpoint_save("checkpoint_save_with", path, model, optimizer, iteration, options);
}
