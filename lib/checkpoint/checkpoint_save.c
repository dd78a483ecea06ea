/* Saving checkpoints: a safetensors file with the weights under their names, the optimizer's
 * buffers as "optimizer.<parameter>.<buffer>", and all else as metadata. docs/checkpoints.md
 * describes the format. */
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
#include "tokenizer/formats/token_files.h"
#include "tinylm/version.h"

#define METADATA_MAX_SIZE ((size_t)1 << 20) /* of the user's: headers must stay below 100 MB */

/* What goes into a file. */
typedef struct contents {
    const tlm_model_t *model;
    const tlm_optimizer_t *optimizer; /* NULL: none */
    const char *const *names;         /* of the optimizer's parameters */
    uint64_t iteration;
    tlm_checkpoint_options_t options;
    char *tokenizer; /* as a tokenizer.json; NULL: none */
    size_t tokenizer_size;
} contents_t;

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
    char *text;
    size_t size;

    tlm_status_t status = tlmi_json_dump(&text, &size, value);
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

static tlm_status_t set_optimizer(tlmi_json_t *metadata, const tlm_optimizer_t *optimizer,
                                  const char *const *names)
{
    tlmi_json_t *config;

    TLMI_TRY(tlmi_optimizer_config_write(&config, optimizer, names));
    return set_json(metadata, "optimizer", config);
}

/* The names of the parameters that are frozen; nothing if none is. */
static tlm_status_t set_frozen(tlmi_json_t *metadata, const tlm_model_t *model)
{
    tlmi_json_t *list = tlmi_json_new_array();
    tlm_status_t status = list == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;

    for (size_t i = 0; status == TLM_OK && i < model->num_parameters; i++) {
        const char *name = model->specs[i].name;

        if (!model->parameters[i]->requires_grad)
            status = tlmi_json_append(list, tlmi_json_new_string(name, strlen(name)));
    }
    if (status == TLM_OK && tlmi_json_size(list) > 0)
        return set_json(metadata, "frozen", list);
    tlmi_json_free(list);
    return status;
}

static tlm_status_t set_adapters(tlmi_json_t *metadata, const tlm_model_t *model)
{
    tlmi_json_t *state;

    /* Computing the model's checksums changes nothing else of it. */
    TLMI_TRY(tlmi_adapter_state_write(&state, (tlm_model_t *)(uintptr_t)model));
    return set_json(metadata, TLMI_CHECKPOINT_ADAPTERS, state);
}

static tlm_status_t make_metadata(tlmi_json_t **out, const contents_t *contents)
{
    const tlm_optimizer_t *optimizer = contents->optimizer;
    const tlm_checkpoint_options_t *options = &contents->options;
    bool is_first = tlmi_model_config_is_first(&contents->model->options) &&
                    (optimizer == NULL || tlmi_optimizer_config_is_first(optimizer));
    const char *version = contents->model->adapters != NULL ? TLMI_CHECKPOINT_VERSION_ADAPTERS
                          : is_first                        ? TLMI_CHECKPOINT_VERSION_FIRST
                                                            : TLMI_CHECKPOINT_VERSION;
    tlmi_json_t *metadata = tlmi_json_new_object();

    if (metadata == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status;
    TLMI_TRY_OR(fail, set_text(metadata, "format", TLMI_CHECKPOINT_FORMAT));
    TLMI_TRY_OR(fail, set_text(metadata, "format_version", version));
    TLMI_TRY_OR(fail, set_text(metadata, "library_version", TLM_VERSION_STRING));
    TLMI_TRY_OR(fail, set_uint64(metadata, "iteration", contents->iteration));
    TLMI_TRY_OR(fail, set_config(metadata, &contents->model->options));
    if (optimizer != NULL)
        TLMI_TRY_OR(fail, set_optimizer(metadata, optimizer, contents->names));
    TLMI_TRY_OR(fail, set_text(metadata, "names", "cs336"));
    TLMI_TRY_OR(fail, contents->model->adapters == NULL ? set_frozen(metadata, contents->model)
                                                        : set_adapters(metadata, contents->model));
    if (options->has_validation_loss && isfinite(options->validation_loss))
        TLMI_TRY_OR(fail, set_json(metadata, "validation_loss",
                                   tlmi_json_new_number(options->validation_loss)));
    if (options->metadata != NULL)
        TLMI_TRY_OR(fail, set_text(metadata, TLMI_CHECKPOINT_USER, options->metadata));
    *out = metadata;
    return TLM_OK;
fail:
    tlmi_json_free(metadata);
    return status;
}

/* ---- The file --------------------------------------------------------------------------- */

static void describe(tlmi_st_tensor_t *out, const char *name, const int64_t *shape, int32_t ndim,
                     const float *data)
{
    size_t numel = 1;

    for (int32_t i = 0; i < ndim; i++)
        numel *= (size_t)shape[i];
    out->name = name;
    out->dtype = tlmi_dtype(TLM_FLOAT32)->safetensors;
    out->ndim = ndim;
    if (ndim > 0)
        memcpy(out->shape, shape, (size_t)ndim * sizeof(*shape));
    out->data = data;
    out->bytes = numel * sizeof(float);
}

/* Lists the optimizer's buffers; `names` are those of its parameters, `state_names` room for
 * theirs. */
static void describe_states(tlmi_st_tensor_t *out, const tlm_optimizer_t *optimizer,
                            const char *const *names,
                            char (*state_names)[TLMI_CHECKPOINT_NAME_SIZE])
{
    for (size_t i = 0; i < optimizer->num_parameters; i++) {
        const tlmi_parameter_t *parameter = &optimizer->parameters[i];

        for (size_t j = 0; j < parameter->num_states; j++, out++, state_names++) {
            const tlmi_state_t *state = &parameter->states[j];

            tlmi_checkpoint_state_name(*state_names, names[i], state->name);
            describe(out, *state_names, state->shape, state->ndim, state->values);
        }
    }
}

/* Writes the tensors of a file, of which the optimizer's states are read from their source. */
static tlm_status_t write_tensors(tlmi_st_writer_t *writer, const tlmi_st_tensor_t *tensors,
                                  size_t n, size_t others, const tlm_optimizer_t *optimizer)
{
    const tlmi_state_source_t *source = optimizer->source;
    const tlmi_st_tensor_t *state = tensors + n;

    for (size_t i = 0; i < n; i++)
        TLMI_TRY(tlmi_st_writer_write(writer, tensors[i].data, tensors[i].bytes));
    for (size_t i = 0; i < optimizer->num_parameters; i++)
        for (size_t j = 0; j < optimizer->parameters[i].num_states; j++, state++) {
            const float *values;

            TLMI_TRY(source->read(source->user, &values, i, j));
            TLMI_TRY(tlmi_st_writer_write(writer, values, state->bytes));
        }
    for (size_t i = 0; i < others; i++)
        TLMI_TRY(tlmi_st_writer_write(writer, state[i].data, state[i].bytes));
    return TLM_OK;
}

/* Writes a file of n weights, the optimizer's states, which are divided among ranks, and `others`. */
static tlm_status_t write_from_source(const char *path, const tlmi_st_tensor_t *tensors, size_t n,
                                      size_t others, const tlm_optimizer_t *optimizer,
                                      tlmi_json_t *metadata)
{
    const size_t states = tlmi_checkpoint_num_states(optimizer);
    tlmi_st_writer_t *writer;

    TLMI_TRY(tlmi_st_writer_open(&writer, path, tensors, n + states + others, metadata));
    tlm_status_t status = write_tensors(writer, tensors, n, others, optimizer);
    if (status == TLM_OK)
        return tlmi_st_writer_commit(writer);
    tlmi_st_writer_abort(writer);
    return status;
}

static void describe_tokenizer(tlmi_st_tensor_t *out, const contents_t *contents)
{
    out->name = TLMI_CHECKPOINT_TOKENIZER;
    out->dtype = tlmi_dtype(TLMI_UINT8)->safetensors;
    out->ndim = 1;
    out->shape[0] = (int64_t)contents->tokenizer_size;
    out->data = contents->tokenizer;
    out->bytes = contents->tokenizer_size;
}

/* Lists what goes into the file and writes it. */
static tlm_status_t save(const char *path, const contents_t *contents)
{
    const tlm_model_t *model = contents->model;
    const tlm_optimizer_t *optimizer = contents->optimizer;
    if (model->adapters == NULL)
        TLMI_TRY(tlmi_model_check_float32("checkpoint_save", model));
    size_t n = model->num_parameters, held = 0, others = contents->tokenizer == NULL ? 0 : 1;
    size_t states = optimizer == NULL ? 0 : tlmi_checkpoint_num_states(optimizer);
    tlmi_st_tensor_t *tensors =
        tlmi_calloc(n + states + others, sizeof(*tensors), "the tensors of a checkpoint");
    char(*state_names)[TLMI_CHECKPOINT_NAME_SIZE] =
        tlmi_alloc(states, TLMI_CHECKPOINT_NAME_SIZE, "the names in a checkpoint");
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (tensors == NULL || state_names == NULL)
        goto done;
    for (size_t i = 0; i < n; i++)
        if (tlmi_checkpoint_holds(model, i))
            describe(&tensors[held++], model->specs[i].name, model->parameters[i]->shape,
                     model->parameters[i]->ndim, tlmi_floats(model->parameters[i]));
    if (optimizer != NULL)
        describe_states(tensors + held, optimizer, contents->names, state_names);
    if (contents->tokenizer != NULL)
        describe_tokenizer(&tensors[held + states], contents);
    tlmi_json_t *metadata;
    TLMI_TRY_OR(done, make_metadata(&metadata, contents));
    if (optimizer != NULL && optimizer->source != NULL)
        status = write_from_source(path, tensors, held, others, optimizer, metadata);
    else
        status = tlmi_safetensors_write(path, tensors, held + states + others, metadata);
done:
    tlmi_free(state_names);
    tlmi_free(tensors);
    return status;
}

tlm_status_t tlmi_checkpoint_write_tokenizer(char **out, size_t *out_size, const char *function,
                                             const tlm_model_t *model,
                                             const tlm_tokenizer_t *tokenizer)
{
    const int64_t vocab_size = model->options.vocab_size;
    uint32_t size = tlm_tokenizer_vocab_size(tokenizer);

    if (size > vocab_size)
        return tlmi_fail(TLM_ERR_RANGE,
                         "%s: the tokenizer has %" PRIu32
                         " tokens, but the model has vocab_size %" PRId64,
                         function, size, vocab_size);
    return tlmi_tokenizer_write_json(out, out_size, tokenizer, function);
}

static tlm_status_t read_options(tlm_checkpoint_options_t *known, const char *function,
                                 const tlm_checkpoint_options_t *options)
{
    if (options != NULL)
        TLMI_TRY(tlmi_options_read(function, known, TLMI_CHECKPOINT_OPTIONS, options));
    if (known->metadata == NULL)
        return TLM_OK;
    size_t size = strlen(known->metadata);
    if (size > METADATA_MAX_SIZE)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: metadata of %zu bytes is too long; the limit is %zu", function, size,
                         METADATA_MAX_SIZE);
    char what[64];
    snprintf(what, sizeof(what), "%s: metadata", function);
    tlmi_json_t *metadata;
    TLMI_TRY(tlmi_json_parse(&metadata, known->metadata, size, what));
    bool is_object = tlmi_json_is_object(metadata);
    tlmi_json_free(metadata);
    if (!is_object)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: not a JSON object", what);
    return TLM_OK;
}

tlm_status_t tlmi_checkpoint_save(const char *function, const char *path, const tlm_model_t *model,
                                  const tlm_optimizer_t *optimizer, uint64_t iteration,
                                  const tlm_checkpoint_options_t *options)
{
    contents_t contents = {.model = model,
                           .optimizer = optimizer,
                           .iteration = iteration,
                           .options = TLM_CHECKPOINT_OPTIONS_INIT};
    const char **names = NULL;

    TLMI_REQUIRE(function, path);
    TLMI_REQUIRE(function, model);
    TLMI_TRY(read_options(&contents.options, function, options));
    if (optimizer != NULL && optimizer->source == NULL)
        TLMI_TRY(tlmi_optimizer_check_whole(function, optimizer));
    tlm_status_t status;
    if (contents.options.tokenizer != NULL)
        TLMI_TRY_OR(done,
                    tlmi_checkpoint_write_tokenizer(&contents.tokenizer, &contents.tokenizer_size,
                                                    function, model, contents.options.tokenizer));
    if (optimizer != NULL)
        TLMI_TRY_OR(done, tlmi_checkpoint_name_parameters(&names, function, model, optimizer));
    contents.names = names;
    status = save(path, &contents);
done:
    tlmi_free(names);
    tlmi_free(contents.tokenizer);
    return status;
}

tlm_status_t tlm_checkpoint_save(const tlm_model_t *model, const tlm_optimizer_t *optimizer,
                                 uint64_t iteration, const char *path)
{
    return tlmi_checkpoint_save("checkpoint_save", path, model, optimizer, iteration, NULL);
}

tlm_status_t tlm_checkpoint_save_with(const tlm_model_t *model, const tlm_optimizer_t *optimizer,
                                      uint64_t iteration, const char *path,
                                      const tlm_checkpoint_options_t *options)
{
    return tlmi_checkpoint_save("checkpoint_save_with", path, model, optimizer, iteration, options);
}
