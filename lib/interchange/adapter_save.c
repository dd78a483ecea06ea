/* Writes the adapters of a model as a folder of PEFT. adapter_config.json is written last, so a new
 * folder that has it is complete. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/safetensors.h"
#include "interchange/adapter_files.h"
#include "tensor/tensor_core.h"

#define PREFIX "base_model.model."
enum { NAME_SIZE = TLMI_MODULE_NAME + 48 };

/* The tensors of a folder, two for each module, and their names. */
typedef struct saving {
    const tlm_model_t *model;
    tlmi_convention_t convention; /* the family may be NULL */
    tlmi_module_t *modules;
    tlmi_st_tensor_t *tensors;
    char (*names)[NAME_SIZE];
    size_t n; /* modules */
} saving_t;

bool tlmi_module_is_adapted(const tlm_model_t *model, const tlmi_module_t *module)
{
    for (int32_t i = 0; i < module->count; i++)
        if (model->adapters[module->parameters[i]].b != 0)
            return true;
    return false;
}

/* The first adapter of a module, which has one; all have the same A. */
static const tlmi_adapter_t *first_adapter(const tlm_model_t *model, const tlmi_module_t *module)
{
    int32_t i = 0;

    while (model->adapters[module->parameters[i]].b == 0)
        i++;
    return &model->adapters[module->parameters[i]];
}

static void describe(saving_t *saving, size_t index, const char *half, int64_t rows,
                     int64_t columns)
{
    tlmi_st_tensor_t *tensor = &saving->tensors[index];

    snprintf(saving->names[index], NAME_SIZE, "%s%s.%s.weight", PREFIX,
             saving->modules[index / 2].name, half);
    *tensor = (tlmi_st_tensor_t){.name = saving->names[index],
                                 .dtype = tlmi_dtype(TLM_FLOAT32)->safetensors,
                                 .shape = {rows, columns},
                                 .ndim = 2,
                                 .bytes = (size_t)rows * (size_t)columns * sizeof(float)};
}

static tlm_status_t list_modules(saving_t *saving)
{
    const tlm_model_t *model = saving->model;
    const size_t most = model->shape.num_parameters;

    saving->modules = tlmi_calloc(most, sizeof(*saving->modules), "the layers of adapters");
    saving->tensors = tlmi_calloc(2 * most, sizeof(*saving->tensors), "the tensors of adapters");
    saving->names = tlmi_alloc(2 * most, NAME_SIZE, "the names of adapters");
    if (saving->modules == NULL || saving->tensors == NULL || saving->names == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < most; i++) {
        tlmi_module_t *module = &saving->modules[saving->n];
        int64_t rows = 0;

        if (!tlmi_module_of(module, model, i, saving->convention.family) ||
            module->parameters[0] != i || !tlmi_module_is_adapted(model, module))
            continue;
        const tlm_tensor_t *a = model->parameters[first_adapter(model, module)->a];
        for (int32_t k = 0; k < module->count; k++)
            rows += model->specs[module->parameters[k]].shape[0];
        describe(saving, 2 * saving->n, "lora_A", a->shape[0], a->shape[1]);
        describe(saving, 2 * saving->n + 1, "lora_B", rows, a->shape[0]);
        saving->n++;
    }
    return TLM_OK;
}

/* Writes the rows of B of all parameters of a module, in the order of the family's files; those
 * without an adapter are 0. */
static tlm_status_t write_b(tlmi_st_writer_t *writer, const saving_t *saving,
                            const tlmi_module_t *module, int64_t rank)
{
    const tlm_model_t *model = saving->model;
    float *zeros = tlmi_calloc((size_t)rank, sizeof(*zeros), "a row of an adapter");
    tlm_status_t status = zeros == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;

    for (int32_t k = 0; k < module->count; k++) {
        const size_t index = module->parameters[k];
        const tlmi_adapter_t *adapter = &model->adapters[index];
        const float *b = adapter->b == 0 ? NULL : tlmi_floats(model->parameters[adapter->b]);

        for (int64_t row = 0; status == TLM_OK && row < model->specs[index].shape[0]; row++) {
            const int64_t own = tlmi_file_row(model, index, &saving->convention, row);

            status = tlmi_st_writer_write(writer, b == NULL ? zeros : b + own * rank,
                                          (size_t)rank * sizeof(float));
        }
    }
    tlmi_free(zeros);
    return status;
}

static tlm_status_t write_tensors(const saving_t *saving, const char *path)
{
    tlmi_json_t *metadata = tlmi_json_new_object();
    tlmi_st_writer_t *writer = NULL;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (metadata == NULL)
        return status;
    status = tlmi_hf_set_text(metadata, "format", "pt");
    if (status != TLM_OK) {
        tlmi_json_free(metadata);
        return status;
    }
    TLMI_TRY(tlmi_st_writer_open(&writer, path, saving->tensors, 2 * saving->n, metadata));
    for (size_t i = 0; i < saving->n; i++) {
        const tlmi_adapter_t *adapter = first_adapter(saving->model, &saving->modules[i]);
        const tlm_tensor_t *a = saving->model->parameters[adapter->a];

        TLMI_TRY_OR(fail,
                    tlmi_st_writer_write(writer, tlmi_floats(a), saving->tensors[2 * i].bytes));
        TLMI_TRY_OR(fail, write_b(writer, saving, &saving->modules[i], a->shape[0]));
    }
    return tlmi_st_writer_commit(writer);
fail:
    tlmi_st_writer_abort(writer);
    return status;
}

static tlm_status_t write_config(const saving_t *saving, const char *path)
{
    tlmi_json_t *config = tlmi_json_new_object();

    if (config == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status =
        tlmi_adapter_config_fill(config, saving->model, saving->convention.family);
    if (status == TLM_OK)
        return tlmi_hf_write_json(path, config);
    tlmi_json_free(config);
    return status;
}

static tlm_status_t save(saving_t *saving, const char *directory)
{
    char *tensors = tlmi_path_join(directory, "adapter_model.safetensors");
    char *config = tlmi_path_join(directory, "adapter_config.json");
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (tensors != NULL && config != NULL)
        status = list_modules(saving);
    if (status == TLM_OK)
        status = tlmi_make_directory(directory);
    if (status == TLM_OK)
        status = write_tensors(saving, tensors);
    if (status == TLM_OK)
        status = write_config(saving, config);
    tlmi_free(tensors);
    tlmi_free(config);
    tlmi_free(saving->modules);
    tlmi_free(saving->tensors);
    tlmi_free(saving->names);
    return status;
}

tlm_status_t tlm_model_save_adapter(const tlm_model_t *model, const char *directory)
{
    saving_t saving = {.model = model, .convention = {.format = TLMI_HF}};

    TLMI_REQUIRE("model_save_adapter", model);
    TLMI_REQUIRE("model_save_adapter", directory);
    if (model->adapters == NULL)
        return tlmi_fail(TLM_ERR_NOT_FOUND, "model_save_adapter: the model has no adapters");
    TLMI_TRY(tlmi_lora_family(&saving.convention.family, "model_save_adapter", model,
                              model->lora.family));
    return save(&saving, directory);
}
