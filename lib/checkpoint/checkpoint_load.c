/* Loading checkpoints takes two passes: the first checks everything against the file, the second
 * copies and cannot fail. So a model and its optimizer are loaded completely or not changed. */
#include "tinylm/checkpoint.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "checkpoint/checkpoint_core.h"
#include "tensor/tensor_core.h"
#include "tokenizer/formats/token_files.h"

/* ---- Loading: checks -------------------------------------------------------------------- */

/* Reads the configuration in the file, without defaults. */
static tlm_status_t read_config(tlm_model_options_t *out, const tlmi_safetensors_t *file,
                                const char *path)
{
    tlmi_json_t *config = NULL;

    TLMI_TRY(tlmi_checkpoint_parse(&config, file, "config", path));
    tlm_status_t status = tlmi_model_config_read(out, config, path);
    tlmi_json_free(config);
    return status;
}

/* Finds the float32 tensor `name` in the file, which must have this shape. */
static tlm_status_t require_tensor(const tlmi_st_tensor_t **out, const tlmi_safetensors_t *file,
                                   const char *name, const int64_t *shape, int32_t ndim,
                                   const char *path)
{
    const tlmi_st_tensor_t *found = tlmi_safetensors_find(file, name);

    if (found == NULL)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the checkpoint has no tensor '%s'", path, name);
    if (strcmp(found->dtype, tlmi_dtype(TLM_FLOAT32)->safetensors) != 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: tensor '%s' is %.16s, not F32", path, name,
                         found->dtype);
    char own[TLMI_SHAPE_TEXT], given[TLMI_SHAPE_TEXT];
    if (found->ndim != ndim || memcmp(found->shape, shape, (size_t)ndim * sizeof(*shape)) != 0)
        return tlmi_fail(
            TLM_ERR_SHAPE, "%s: tensor '%s' has shape %s, but the model's has shape %s", path, name,
            tlmi_dims_text(given, found->shape, found->ndim), tlmi_dims_text(own, shape, ndim));
    *out = found;
    return TLM_OK;
}

/* Where a tensor of the file goes. */
typedef struct copy {
    float *to;
    const tlmi_st_tensor_t *from;
    size_t first, bytes; /* the part of it, from element `first` on */
} copy_t;

/* *n becomes the number of parameters that the file holds. */
static tlm_status_t plan_weights(copy_t *copies, size_t *n, const tlmi_safetensors_t *file,
                                 const tlm_model_t *model, const char *path)
{
    if (model->adapters == NULL)
        TLMI_TRY(tlmi_model_check_float32(path, model));
    *n = 0;
    for (size_t i = 0; i < model->num_parameters; i++) {
        const tlmi_parameter_spec_t *spec = &model->specs[i];
        copy_t *copy = &copies[*n];

        if (!tlmi_checkpoint_holds(model, i))
            continue;
        copy->to = tlmi_floats(model->parameters[i]);
        TLMI_TRY(require_tensor(&copy->from, file, spec->name, spec->shape, spec->ndim, path));
        copy->first = 0;
        copy->bytes = copy->from->bytes;
        (*n)++;
    }
    return TLM_OK;
}

static tlm_status_t plan_states(copy_t *copies, const tlmi_safetensors_t *file,
                                const tlm_optimizer_t *optimizer, const char *const *names,
                                const char *path)
{
    for (size_t i = 0; i < optimizer->num_parameters; i++) {
        const tlmi_parameter_t *parameter = &optimizer->parameters[i];

        for (size_t j = 0; j < parameter->num_states; j++, copies++) {
            const tlmi_state_t *state = &parameter->states[j];
            char name[TLMI_CHECKPOINT_NAME_SIZE];

            tlmi_checkpoint_state_name(name, names[i], state->name);
            copies->to = state->values;
            TLMI_TRY(require_tensor(&copies->from, file, name, state->shape, state->ndim, path));
            copies->bytes = state->numel * sizeof(float); /* this rank's, if they are divided */
            copies->first = copies->bytes < copies->from->bytes ? (size_t)parameter->begin : 0;
        }
    }
    return TLM_OK;
}

/* Fails unless the file's configuration is the model's in everything that shapes and results depend
 * on. */
static tlm_status_t check_config(const tlmi_safetensors_t *file, const tlm_model_t *model,
                                 const char *path)
{
    tlm_model_options_t options;

    TLMI_TRY(read_config(&options, file, path));
    tlmi_model_shape_t shape;
    TLMI_TRY(tlmi_model_resolve(&options, &shape, path, &options));
    return tlmi_model_config_compare(&options, &model->options, path);
}

tlm_status_t tlmi_checkpoint_adopt_training(tlm_model_t *model, const tlmi_safetensors_t *file,
                                            const char *path)
{
    tlm_model_options_t options;

    TLMI_TRY(read_config(&options, file, path));
    tlmi_model_shape_t shape;
    TLMI_TRY(tlmi_model_resolve(&options, &shape, path, &options));
    return tlm_model_set_training(model, &options);
}

/* ---- Loading: copies -------------------------------------------------------------------- */

static void perform(const copy_t *copies, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (copies[i].bytes > 0)
            memcpy(copies[i].to, (const float *)copies[i].from->data + copies[i].first,
                   copies[i].bytes);
}

static tlm_status_t load_weights(const tlmi_safetensors_t *file, tlm_model_t *model,
                                 const char *path)
{
    copy_t *copies = tlmi_alloc(model->num_parameters, sizeof(*copies), "the plan of a load");

    if (copies == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    size_t n;
    tlm_status_t status = plan_weights(copies, &n, file, model, path);
    if (status == TLM_OK)
        status = tlmi_mapping_check(&file->mapping, path);
    if (status == TLM_OK)
        perform(copies, n);
    tlmi_free(copies);
    return status;
}

/* Puts what was read of the optimizer in place; what was there before is left in `config`. */
static void adopt(tlm_optimizer_t *optimizer, tlmi_optimizer_config_t *config)
{
    tlmi_group_schedule_t *old_schedules = optimizer->schedules;

    for (size_t i = 0; i < optimizer->num_groups; i++) {
        tlmi_group_t old = optimizer->groups[i];

        optimizer->groups[i] = config->groups[i];
        config->groups[i] = old;
    }
    optimizer->num_schedules = config->num_schedules;
    if (config->num_schedules > 0) {
        optimizer->schedules = config->schedules;
        optimizer->schedule_capacity = optimizer->num_groups;
        config->schedules = old_schedules;
    }
    optimizer->average_decay = config->average_decay;
    optimizer->steps = config->steps;
}

static tlm_status_t load_all(const tlmi_safetensors_t *file, tlm_model_t *model,
                             tlm_optimizer_t *optimizer, const char *path,
                             const tlmi_resumption_t *how)
{
    const size_t states = tlmi_checkpoint_num_states(optimizer);
    copy_t *copies =
        tlmi_alloc(model->num_parameters + states, sizeof(*copies), "the plan of a load");
    size_t n = 0;
    tlmi_optimizer_config_t config = {0};
    tlmi_json_t *object = NULL;
    const char **names = NULL;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (copies == NULL)
        return status;
    TLMI_TRY_OR(done, tlmi_checkpoint_name_parameters(&names, "checkpoint_load", model, optimizer));
    TLMI_TRY_OR(done, tlmi_checkpoint_parse(&object, file, "optimizer", path));
    TLMI_TRY_OR(done, tlmi_optimizer_config_read(&config, object, optimizer, names, path, how));
    TLMI_TRY_OR(done, plan_weights(copies, &n, file, model, path));
    TLMI_TRY_OR(done, plan_states(copies + n, file, optimizer, names, path));
    TLMI_TRY_OR(done, tlmi_mapping_check(&file->mapping, path));
    perform(copies, n + states);
    adopt(optimizer, &config);
done:
    tlmi_optimizer_config_free(&config);
    tlmi_json_free(object);
    tlmi_free(names);
    tlmi_free(copies);
    return status;
}

tlm_status_t tlmi_checkpoint_load(uint64_t *iteration, tlm_model_t *model,
                                  tlm_optimizer_t *optimizer, const char *path,
                                  const tlmi_resumption_t *how)
{
    tlmi_safetensors_t file;
    uint64_t count;
    TLMI_TRY(tlmi_checkpoint_open(&file, &count, path));
    tlm_status_t status;
    TLMI_TRY_OR(done, check_config(&file, model, path));
    TLMI_TRY_OR(done, tlmi_adapter_state_compare(&file, model, optimizer != NULL, path));
    TLMI_TRY_OR(done, optimizer == NULL ? load_weights(&file, model, path)
                                        : load_all(&file, model, optimizer, path, how));
    for (size_t i = 0; i < model->num_parameters; i++)
        tlmi_tensor_written(model->parameters[i]);
    if (iteration != NULL)
        *iteration = count;
done:
    tlmi_safetensors_close(&file);
    return status;
}

tlm_status_t tlm_checkpoint_load(uint64_t *iteration, tlm_model_t *model,
                                 tlm_optimizer_t *optimizer, const char *path)
{
    TLMI_REQUIRE("checkpoint_load", path);
    TLMI_REQUIRE("checkpoint_load", model);
    return tlmi_checkpoint_load(iteration, model, optimizer, path, NULL);
}

/* Freezes the parameters that were frozen when the file was saved. */
static tlm_status_t load_frozen(const tlmi_safetensors_t *file, tlm_model_t *model,
                                const char *path)
{
    const char *text = tlmi_safetensors_metadata(file, "frozen"), *name;
    tlmi_json_t *list;
    size_t size;

    if (text == NULL)
        return TLM_OK;
    TLMI_TRY(tlmi_json_parse(&list, text, strlen(text), path));
    tlm_status_t status = TLM_OK;
    for (size_t i = 0; status == TLM_OK && i < tlmi_json_size(list); i++) {
        tlm_tensor_t *tensor = NULL;

        if (!tlmi_json_get_string(tlmi_json_item(list, i), &name, &size))
            status = tlmi_fail(TLM_ERR_FORMAT, "%s: an entry of 'frozen' is not a name", path);
        else
            status = tlm_model_parameter(&tensor, model, name);
        if (status == TLM_OK)
            tensor->requires_grad = false;
    }
    tlmi_json_free(list);
    return status;
}

/* Refuses a configuration that the file's tensors cannot fill, before any memory is allocated. */
static tlm_status_t check_amount(const tlm_model_options_t *options, const tlmi_safetensors_t *file,
                                 const char *path)
{
    size_t data = file->mapping.size;

    tlm_model_options_t resolved;
    tlmi_model_shape_t shape;
    TLMI_TRY(tlmi_model_resolve(&resolved, &shape, path, options));
    if (shape.num_parameters > file->num_tensors || shape.num_elements > data / sizeof(float))
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: the model has %zu tensors and %" PRIu64
                         " elements, but the file holds only %zu tensors and %zu bytes",
                         path, shape.num_parameters, shape.num_elements, file->num_tensors, data);
    return TLM_OK;
}

tlm_status_t tlmi_checkpoint_read_model(tlm_model_t **out, const tlmi_safetensors_t *file,
                                        const char *path)
{
    tlm_model_options_t options;
    tlm_model_t *model;

    if (tlmi_checkpoint_has_adapters(file))
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: the checkpoint holds only adapters; tlm_model_open opens it with the "
                         "model that they belong to",
                         path);
    TLMI_TRY(read_config(&options, file, path));
    TLMI_TRY(check_amount(&options, file, path));
    TLMI_TRY(tlmi_model_create_empty(&model, &options));
    tlm_status_t status = load_weights(file, model, path);
    if (status == TLM_OK)
        status = load_frozen(file, model, path);
    if (status == TLM_OK)
        *out = model;
    else
        tlm_model_free(model);
    return status;
}

tlm_status_t tlmi_checkpoint_read_tokenizer(tlm_tokenizer_t **out, const tlmi_safetensors_t *file,
                                            const char *path)
{
    static const char name[] = TLMI_CHECKPOINT_TOKENIZER;
    const tlmi_st_tensor_t *tensor = tlmi_safetensors_find(file, name);

    *out = NULL;
    if (tensor == NULL)
        return TLM_OK;
    if (strcmp(tensor->dtype, tlmi_dtype(TLMI_UINT8)->safetensors) != 0 || tensor->ndim != 1)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: tensor '%s' is no row of bytes", path, name);
    return tlmi_tokenizer_read_json(out, tensor->data, tensor->bytes, path);
}

/* ---- Making what a file holds ----------------------------------------------------------- */

tlm_status_t tlm_model_load(tlm_model_t **out, const char *path)
{
    TLMI_REQUIRE("model_load", out);
    TLMI_REQUIRE("model_load", path);
    tlmi_safetensors_t file;
    uint64_t iteration;
    TLMI_TRY(tlmi_checkpoint_open(&file, &iteration, path));
    tlm_status_t status = tlmi_checkpoint_read_model(out, &file, path);
    tlmi_safetensors_close(&file);
    return status;
}

tlm_status_t tlm_checkpoint_tokenizer(tlm_tokenizer_t **out, const char *path)
{
    TLMI_REQUIRE("checkpoint_tokenizer", out);
    TLMI_REQUIRE("checkpoint_tokenizer", path);
    tlmi_safetensors_t file;
    uint64_t iteration;
    TLMI_TRY(tlmi_checkpoint_open(&file, &iteration, path));
    tlm_tokenizer_t *tokenizer;
    tlm_status_t status = tlmi_checkpoint_read_tokenizer(&tokenizer, &file, path);
    if (status == TLM_OK)
        *out = tokenizer;
    tlmi_safetensors_close(&file);
    return status;
}
