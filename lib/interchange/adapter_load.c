/* Reads a folder of PEFT into a model as adapters. The tensors say which layers have one. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/safetensors.h"
#include "interchange/adapter_files.h"
#include "tensor/tensor_core.h"

static const char prefix[] = "base_model.model.";

/* A tensor's module, and which half of the adapter it is. */
typedef struct half {
    tlmi_module_t module;
    bool is_b;
} half_t;

/* What was found in a folder, by the first parameter of each module. */
typedef struct loading {
    tlm_model_t *model;
    tlmi_convention_t convention;
    tlmi_adapter_config_t config;
    tlmi_safetensors_t file;
    const tlmi_st_tensor_t **a, **b;
    bool *chosen;
    int64_t *ranks;
    double *scales;
    const char *path; /* of the tensors */
} loading_t;

/* ---- Names and shapes ------------------------------------------------------------------- */

static bool read_name(half_t *out, const loading_t *loading, const char *name)
{
    static const char *const halves[] = {".lora_A.weight", ".lora_B.weight"};
    const size_t size = strlen(name), end = strlen(halves[0]), begin = sizeof(prefix) - 1;

    if (size <= begin + end || strncmp(name, prefix, begin) != 0)
        return false;
    const char *half = name + size - end;
    if (strcmp(half, halves[0]) != 0 && strcmp(half, halves[1]) != 0)
        return false;
    out->is_b = strcmp(half, halves[1]) == 0;
    for (size_t i = 0; i < loading->model->shape.num_parameters; i++)
        if (tlmi_module_of(&out->module, loading->model, i, loading->convention.family) &&
            strlen(out->module.name) == size - begin - end &&
            memcmp(out->module.name, name + begin, size - begin - end) == 0)
            return true;
    return false;
}

static tlm_status_t fail_shape(const tlmi_st_tensor_t *tensor, const tlmi_st_tensor_t *a,
                               const char *wanted, const loading_t *loading)
{
    char shape[TLMI_SHAPE_TEXT], other[TLMI_SHAPE_TEXT];

    return tlmi_fail(TLM_ERR_SHAPE, "%s: tensor '%.128s' has shape %s, which does not fit %s%s",
                     loading->path, tensor->name,
                     tlmi_dims_text(shape, tensor->shape, tensor->ndim), wanted,
                     a == NULL ? "" : tlmi_dims_text(other, a->shape, a->ndim));
}

/* Records one tensor of the file. */
static tlm_status_t place(loading_t *loading, const tlmi_st_tensor_t *tensor)
{
    const tlmi_dtype_t *type = tlmi_dtype_of_safetensors(tensor->dtype);
    half_t half;

    if (!read_name(&half, loading, tensor->name))
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: tensor '%.128s' is no adapter of a linear layer of this model",
                         loading->path, tensor->name);
    if (type == NULL || type->load == NULL || type->block != 1)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: tensor '%.128s' is %.16s, not F32, F16, BF16 or F64", loading->path,
                         tensor->name, tensor->dtype);
    if (tensor->ndim != 2 || tensor->shape[0] == 0 || tensor->shape[1] == 0)
        return fail_shape(tensor, NULL, "an adapter", loading);
    (half.is_b ? loading->b : loading->a)[half.module.parameters[0]] = tensor;
    return TLM_OK;
}

/* Checks the two halves of a module against each other and its weight. */
static tlm_status_t check_module(loading_t *loading, const tlmi_module_t *module)
{
    const size_t index = module->parameters[0];
    const tlmi_st_tensor_t *a = loading->a[index], *b = loading->b[index];
    const tlm_model_t *model = loading->model;
    int64_t rows = 0;

    if (a == NULL || b == NULL)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: module '%s' has lora_%s, but no lora_%s",
                         loading->path, module->name, a == NULL ? "B" : "A", a == NULL ? "A" : "B");
    for (int32_t i = 0; i < module->count; i++)
        rows += model->specs[module->parameters[i]].shape[0];
    if (a->shape[1] != model->specs[index].shape[1])
        return fail_shape(a, NULL, "the layer's weight", loading);
    if (b->shape[0] != rows || b->shape[1] != a->shape[0])
        return fail_shape(b, a, "the layer's weight with A of ", loading);
    double scale;
    TLMI_TRY(tlmi_adapter_config_scale(&scale, &loading->config, module->name, a->shape[0],
                                       loading->path));
    for (int32_t i = 0; i < module->count; i++) {
        loading->chosen[module->parameters[i]] = true;
        loading->ranks[module->parameters[i]] = a->shape[0];
        loading->scales[module->parameters[i]] = scale;
    }
    return TLM_OK;
}

static tlm_status_t check_modules(loading_t *loading)
{
    tlmi_module_t module;

    if (loading->file.num_tensors == 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the file has no tensors", loading->path);
    for (size_t i = 0; i < loading->file.num_tensors; i++)
        TLMI_TRY(place(loading, &loading->file.tensors[i]));
    for (size_t i = 0; i < loading->model->shape.num_parameters; i++)
        if ((loading->a[i] != NULL || loading->b[i] != NULL) &&
            tlmi_module_of(&module, loading->model, i, loading->convention.family))
            TLMI_TRY(check_module(loading, &module));
    return TLM_OK;
}

/* ---- Values ----------------------------------------------------------------------------- */

static void load_rows(float *to, const tlmi_st_tensor_t *from, int64_t first, int64_t rows)
{
    const tlmi_dtype_t *type = tlmi_dtype_of_safetensors(from->dtype);
    const size_t row = (size_t)from->shape[1] * type->bytes;

    type->load(to, (const char *)from->data + (size_t)first * row, rows * from->shape[1]);
}

/* Fills the adapters of the module that begins with parameter `index`. */
static void fill_module(const loading_t *loading, const tlmi_module_t *module)
{
    const tlm_model_t *model = loading->model;
    const size_t index = module->parameters[0];
    const tlmi_st_tensor_t *a = loading->a[index], *b = loading->b[index];
    int64_t first = 0;

    load_rows(tlmi_floats(model->parameters[model->adapters[index].a]), a, 0, a->shape[0]);
    for (int32_t i = 0; i < module->count; i++) {
        const size_t own = module->parameters[i];
        float *to = tlmi_floats(model->parameters[model->adapters[own].b]);
        const int64_t rows = model->specs[own].shape[0];

        for (int64_t row = 0; row < rows; row++)
            load_rows(to + tlmi_file_row(model, own, &loading->convention, row) * b->shape[1], b,
                      first + row, 1);
        first += rows;
    }
}

static void fill_all(const loading_t *loading)
{
    tlmi_module_t module;

    for (size_t i = 0; i < loading->model->shape.num_parameters; i++)
        if (loading->a[i] != NULL &&
            tlmi_module_of(&module, loading->model, i, loading->convention.family))
            fill_module(loading, &module);
}

/* ---- The folder ------------------------------------------------------------------------- */

static tlm_status_t add_adapters(loading_t *loading)
{
    const size_t n = loading->model->shape.num_parameters;
    tlm_lora_options_t options = TLM_LORA_OPTIONS_INIT;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    loading->a = tlmi_calloc(n, sizeof(*loading->a), "the tensors of adapters");
    loading->b = tlmi_calloc(n, sizeof(*loading->b), "the tensors of adapters");
    loading->chosen = tlmi_calloc(n, sizeof(*loading->chosen), "the layers of adapters");
    loading->ranks = tlmi_calloc(n, sizeof(*loading->ranks), "the ranks of adapters");
    loading->scales = tlmi_calloc(n, sizeof(*loading->scales), "the scales of adapters");
    if (loading->a == NULL || loading->b == NULL || loading->chosen == NULL ||
        loading->ranks == NULL || loading->scales == NULL)
        goto done;
    TLMI_TRY_OR(done, check_modules(loading));
    TLMI_TRY_OR(done, tlmi_mapping_check(&loading->file.mapping, loading->path));
    options.rank = (int64_t)loading->config.rank;
    options.alpha = loading->config.alpha;
    options.dropout = loading->config.dropout;
    options.rank_stabilized = loading->config.rank_stabilized;
    options.targets = "loaded";
    TLMI_TRY_OR(done, tlmi_model_add_adapters(loading->model, &options, loading->chosen,
                                              loading->ranks, loading->scales));
    fill_all(loading);
done:
    tlmi_free(loading->a);
    tlmi_free(loading->b);
    tlmi_free(loading->chosen);
    tlmi_free(loading->ranks);
    tlmi_free(loading->scales);
    return status;
}

static tlm_status_t load_tensors(loading_t *loading, const char *directory)
{
    char *path = tlmi_path_join(directory, "adapter_model.safetensors");
    char *pickled = tlmi_path_join(directory, "adapter_model.bin");
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (path == NULL || pickled == NULL)
        goto done;
    loading->path = path;
    if (!tlmi_is_regular_file(path) && tlmi_is_regular_file(pickled)) {
        status =
            tlmi_fail(TLM_ERR_UNSUPPORTED,
                      "%s: pickled adapters are not read; save adapter_model.safetensors", pickled);
        goto done;
    }
    TLMI_TRY_OR(done, tlmi_safetensors_open(&loading->file, path));
    status = add_adapters(loading);
    tlmi_safetensors_close(&loading->file);
done:
    tlmi_free(path);
    tlmi_free(pickled);
    return status;
}

tlm_status_t tlm_model_load_adapter(tlm_model_t *model, const char *directory)
{
    loading_t loading = {.model = model, .convention = {.format = TLMI_HF}};
    tlmi_json_t *config;

    TLMI_REQUIRE("model_load_adapter", model);
    TLMI_REQUIRE("model_load_adapter", directory);
    if (model->adapters != NULL)
        return tlmi_fail(TLM_ERR_STATE,
                         "model_load_adapter: the model has adapters already; merge or remove "
                         "them first");
    TLMI_TRY(tlmi_lora_family(&loading.convention.family, "model_load_adapter", model, 0));
    char *path = tlmi_path_join(directory, "adapter_config.json");
    if (path == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = tlmi_hf_read_object(&config, path);
    if (status == TLM_OK) {
        status = tlmi_adapter_config_read(&loading.config, config, path);
        if (status == TLM_OK)
            status = load_tensors(&loading, directory);
        tlmi_json_free(config);
    }
    tlmi_free(path);
    return status;
}
