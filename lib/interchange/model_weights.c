/* Names, types and order of weights in other projects' formats, and families by name. */
#include "interchange/interchange.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "tensor/tensor_core.h"

/* ---- Families --------------------------------------------------------------------------- */

const tlmi_family_t *tlmi_family_find(tlmi_format_t format, const char *name, size_t size)
{
    for (size_t i = 0; i < tlmi_num_families; i++) {
        const char *own = tlmi_families[i].names[format];

        if (strlen(own) == size && memcmp(own, name, size) == 0)
            return &tlmi_families[i];
    }
    return NULL;
}

/* Whether an earlier family has the same name: Mistral's models are "llama" in GGUF. */
static bool is_repeated(size_t family, tlmi_format_t format)
{
    const char *name = tlmi_families[family].names[format];

    return tlmi_family_find(format, name, strlen(name)) != &tlmi_families[family];
}

const char *tlmi_families_text(char *buffer, tlmi_format_t format)
{
    size_t used = 0;

    for (size_t i = 0; i < tlmi_num_families && used < TLMI_FAMILIES_TEXT; i++)
        if (!is_repeated(i, format))
            used += (size_t)snprintf(buffer + used, TLMI_FAMILIES_TEXT - used, "%s%s",
                                     i == 0                       ? ""
                                     : i + 1 == tlmi_num_families ? " or "
                                                                  : ", ",
                                     tlmi_families[i].names[format]);
    return buffer;
}

const tlmi_setting_t *tlmi_setting_find(const tlmi_setting_t *settings, const char *option)
{
    for (; settings->option != NULL; settings++)
        if (strcmp(settings->option, option) == 0)
            return settings;
    return NULL;
}

void tlmi_family_apply(tlm_model_options_t *options, const tlmi_family_t *family)
{
    /* Backwards, so that the first value of an option stays. */
    for (int32_t i = TLMI_MAX_SETTINGS - 1; i >= 0; i--)
        if (family->fixed[i].option != NULL && family->fixed[i].value != TLMI_ANY)
            tlmi_option_set(options, tlmi_option_find(family->fixed[i].option),
                            family->fixed[i].value);
}

/* ---- Names ------------------------------------------------------------------------------ */

/* Sets the shape: the rows of all parameters, transposed or not. */
static void set_shape(tlmi_file_tensor_t *tensor, const tlm_model_t *model)
{
    const tlmi_parameter_spec_t *spec = &model->specs[tensor->parameters[0]];
    int64_t rows = 0;

    for (int32_t i = 0; i < tensor->count; i++)
        rows += model->specs[tensor->parameters[i]].shape[0];
    tensor->ndim = spec->ndim;
    tensor->shape[tensor->transposed ? 1 : 0] = rows;
    tensor->shape[tensor->transposed ? 0 : 1] = spec->shape[1];
}

bool tlmi_file_tensor(tlmi_file_tensor_t *out, const tlm_model_t *model, size_t index,
                      const tlmi_convention_t *convention)
{
    const tlmi_parameter_spec_t *spec = &model->specs[index];
    const tlmi_family_tensor_t *own =
        tlmi_family_tensor(convention->family, convention->format, spec->part);
    const char *name = own != NULL ? own->name : tlmi_parts[spec->part].names[convention->format];
    tlmi_file_tensor_t tensor = {.count = 1, .parameters = {index}};

    if (own != NULL && own->parts[0] != spec->part)
        return false;
    if (own != NULL) {
        tensor.count = own->count;
        tensor.transposed = own->transposed;
        for (int32_t i = 1; i < own->count; i++)
            tensor.parameters[i] = tlmi_part_index(&model->shape, spec->layer, own->parts[i]);
    }
    if (tlmi_part_is_in_block(spec->part))
        snprintf(tensor.name, sizeof(tensor.name), "%s%" PRId64 ".%s",
                 tlmi_layer_prefix(convention->family, convention->format), spec->layer, name);
    else
        snprintf(tensor.name, sizeof(tensor.name), "%s", name);
    set_shape(&tensor, model);
    *out = tensor;
    return true;
}

/* Returns the number after the layer prefix, or 0 for other names and too large numbers. */
static int64_t read_layer(const tlm_model_t *model, const char *name, size_t size,
                          const tlmi_convention_t *convention)
{
    const char *prefix = tlmi_layer_prefix(convention->family, convention->format);
    int64_t layer = 0;

    if (size <= strlen(prefix) || memcmp(name, prefix, strlen(prefix)) != 0)
        return 0;
    for (size_t i = strlen(prefix); i < size && name[i] >= '0' && name[i] <= '9'; i++)
        if (layer < model->options.num_layers)
            layer = 10 * layer + (name[i] - '0');
    return layer < model->options.num_layers ? layer : 0;
}

/* Finds the tensor with that name. Returns false if the model has none. */
static bool find_tensor(tlmi_file_tensor_t *out, const tlm_model_t *model, const char *name,
                        size_t size, const tlmi_convention_t *convention)
{
    const int64_t layer = read_layer(model, name, size, convention);

    /* Comparing with the name as it would be written checks the whole name. */
    for (int32_t part = 0; part < TLMI_NUM_PARTS; part++)
        if (tlmi_has_part(&model->shape, part) &&
            tlmi_file_tensor(out, model, tlmi_part_index(&model->shape, layer, part), convention) &&
            strlen(out->name) == size && memcmp(out->name, name, size) == 0)
            return true;
    return false;
}

/* ---- Values ----------------------------------------------------------------------------- */

tlmi_rows_t tlmi_rows_of(const tlm_model_t *model, size_t index,
                         const tlmi_convention_t *convention)
{
    const tlmi_parameter_spec_t *spec = &model->specs[index];
    const bool reordered =
        tlmi_parts[spec->part].rotated && tlmi_halves(convention->family, convention->format);
    tlmi_rows_t rows = {1, spec->shape[0], 0};

    if (spec->ndim == 2 || reordered) {
        rows.count = spec->shape[0];
        rows.columns = spec->ndim == 2 ? spec->shape[1] : 1;
    }
    rows.width = reordered ? model->shape.d_head : 0;
    return rows;
}

float tlmi_gain_offset(const tlm_model_t *model, size_t index, const tlmi_convention_t *convention)
{
    const tlmi_part_t *part = &tlmi_parts[model->specs[index].part];
    const bool is_gain = part->initial == TLMI_INIT_ONES;

    return is_gain && convention->format == TLMI_HF && convention->family->hf_gains_less_1 ? 1.0f
                                                                                           : 0.0f;
}

/* ---- Reading ----------------------------------------------------------------------------- */

/* Lets go of the pages of a mapped file that have been read: they would count towards the memory of
 * the process beside the model that they were copied to. */
static void leave(const tlmi_found_weight_t *from, const uint8_t *begin, const uint8_t *end)
{
    tlmi_mapping_leave(from->file, (size_t)(begin - from->file->data),
                       (size_t)(end - from->file->data));
}

/* Takes the parameter's columns of the file's rows. */
static void read_transposed(float *values, const tlmi_rows_t *rows, const tlmi_found_weight_t *from)
{
    const tlmi_dtype_t *type = from->type;
    const uint8_t *bytes = (const uint8_t *)from->data + (size_t)from->first * type->bytes;

    for (int64_t column = 0; column < rows->columns; column++)
        for (int64_t row = 0; row < rows->count; row++)
            type->load(values + tlmi_own_row(row, rows->width) * rows->columns + column,
                       bytes + (size_t)(column * from->columns + row) * type->bytes, 1);
}

static void read_weight(tlm_model_t *model, size_t index, const tlmi_convention_t *convention,
                        const tlmi_found_weight_t *from)
{
    enum { LEAVE_EVERY = 4 << 20 };
    float *values = tlmi_floats(model->parameters[index]);
    const tlmi_rows_t rows = tlmi_rows_of(model, index, convention);
    const size_t size = (size_t)(rows.columns / from->type->block) * from->type->bytes;
    const float offset = tlmi_gain_offset(model, index, convention);
    const uint8_t *bytes = from->data, *left = bytes;

    if (from->transposed) {
        read_transposed(values, &rows, from);
        return;
    }
    for (int64_t row = 0; row < rows.count; row++, bytes += size) {
        from->type->load(values + tlmi_own_row(row, rows.width) * rows.columns, bytes,
                         rows.columns);
        if (bytes - left >= LEAVE_EVERY) {
            leave(from, left, bytes);
            left = bytes;
        }
    }
    leave(from, left, bytes);
    for (int64_t i = 0; i < rows.count * rows.columns && offset != 0.0f; i++)
        values[i] += offset;
}

static void release_mapping(void *mapping)
{
    tlmi_unmap_file(mapping);
    tlmi_free(mapping);
}

/* The parameter becomes the tensor's bytes in the file. */
static tlm_status_t keep_in_file(tlm_model_t *model, size_t index, const tlmi_found_weight_t *from)
{
    const tlmi_parameter_spec_t *spec = &model->specs[index];
    tlmi_mapping_t *mapping = tlmi_alloc(1, sizeof(*mapping), "the file of a model");

    if (mapping == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = tlmi_mapping_share(mapping, from->file);
    if (status != TLM_OK) {
        tlmi_free(mapping);
        return status;
    }
    status = tlmi_tensor_of_weight(&model->parameters[index], from->type->code,
                                   (void *)(uintptr_t)from->data, spec->shape, spec->ndim,
                                   release_mapping, mapping);
    if (status != TLM_OK)
        release_mapping(mapping);
    return status;
}

/* The parameter becomes a copy of the tensor's rows, in the library's order. */
static tlm_status_t keep_copied(tlm_model_t *model, size_t index, const tlmi_rows_t *rows,
                                const tlmi_found_weight_t *from)
{
    const tlmi_parameter_spec_t *spec = &model->specs[index];
    const size_t size = (size_t)(rows->columns / from->type->block) * from->type->bytes;
    const uint8_t *bytes = from->data;
    uint8_t *copy = tlmi_alloc_aligned((size_t)rows->count * size, 1, "the weights of a model");

    if (copy == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (int64_t row = 0; row < rows->count; row++, bytes += size)
        memcpy(copy + (size_t)tlmi_own_row(row, rows->width) * size, bytes, size);
    leave(from, from->data, bytes);
    tlm_status_t status = tlmi_tensor_of_weight(&model->parameters[index], from->type->code, copy,
                                                spec->shape, spec->ndim, tlmi_free, copy);
    if (status != TLM_OK)
        tlmi_free(copy);
    return status;
}

/* Types with products that are as fast as reading the weight. */
static bool is_kept(const tlmi_dtype_t *type)
{
    return type->code == TLM_FLOAT32 || type->code == TLM_FLOAT16 || type->code == TLM_BFLOAT16 ||
           (tlmi_dtype_is_blocks(type->code) && type->code != TLM_Q8_K);
}

static tlm_status_t keep_weight(tlm_model_t *model, size_t index,
                                const tlmi_convention_t *convention,
                                const tlmi_found_weight_t *from)
{
    const tlmi_parameter_spec_t *spec = &model->specs[index];
    const tlmi_rows_t rows = tlmi_rows_of(model, index, convention);
    const size_t unit = from->type->block == 1 ? from->type->bytes : 1;

    if (spec->ndim == 2 && is_kept(from->type) && !from->transposed)
        return rows.width == 0 && (uintptr_t)from->data % unit == 0
                   ? keep_in_file(model, index, from)
                   : keep_copied(model, index, &rows, from);
    TLMI_TRY(tlm_tensor_create(&model->parameters[index], TLM_FLOAT32, spec->shape, spec->ndim));
    read_weight(model, index, convention, from);
    return TLM_OK;
}

tlm_status_t tlmi_weights_begin(tlm_model_t **model, tlmi_found_weight_t **found,
                                const tlm_model_options_t *options, bool keep, size_t num_tensors,
                                size_t bytes, const char *path)
{
    tlm_model_options_t resolved;
    tlmi_model_shape_t shape;

    TLMI_TRY(tlmi_model_resolve(&resolved, &shape, path, options));
    /* Rejects only files with far too little data; missing tensors, or tensors of an unsupported
     * type, are named later. */
    if (shape.num_parameters / 2 > num_tensors + 32 || shape.num_elements / 8 > bytes)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: the model has %zu tensors and %" PRIu64
                         " elements, but the file holds only %zu tensors and %zu bytes",
                         path, shape.num_parameters, shape.num_elements, num_tensors, bytes);
    *found = tlmi_calloc(shape.num_parameters, sizeof(**found), "the tensors of a model");
    if (*found == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = keep ? tlmi_model_create_described(model, options)
                               : tlmi_model_create_empty(model, options);
    if (status != TLM_OK) {
        tlmi_free(*found);
        *found = NULL;
    }
    return status;
}

/* Records the parameters of a tensor, each with its part of the tensor. */
static void place_parts(tlmi_found_weight_t *found, const tlm_model_t *model,
                        const tlmi_file_tensor_t *own, const tlmi_found_weight_t *tensor)
{
    const uint8_t *bytes = tensor->data;
    int64_t first = 0;

    for (int32_t i = 0; i < own->count; i++) {
        const tlmi_parameter_spec_t *spec = &model->specs[own->parameters[i]];
        const int64_t numel = tlmi_dims_product(spec->shape, 0, spec->ndim);
        tlmi_found_weight_t *one = &found[own->parameters[i]];

        *one = *tensor;
        if (own->transposed) {
            one->transposed = true;
            one->first = first;
            one->columns = own->shape[1];
            first += spec->shape[0];
        } else {
            one->data = bytes;
            bytes += (size_t)(numel / tensor->type->block) * tensor->type->bytes;
        }
    }
}

tlm_status_t tlmi_weight_place(tlmi_found_weight_t *found, const tlm_model_t *model,
                               const tlmi_convention_t *convention, const char *name, size_t size,
                               const tlmi_found_weight_t *tensor, const char *path)
{
    const int shown = size < 128 ? (int)size : 128;
    tlmi_file_tensor_t own;

    if (!find_tensor(&own, model, name, size, convention))
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: tensor '%.*s' is not one of the model's", path,
                         shown, name);
    if (found[own.parameters[0]].data != NULL)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: tensor '%.*s' appears twice", path, shown, name);
    char wanted[TLMI_SHAPE_TEXT], given[TLMI_SHAPE_TEXT];
    if (tensor->ndim != own.ndim ||
        memcmp(tensor->shape, own.shape, (size_t)own.ndim * sizeof(*own.shape)) != 0)
        return tlmi_fail(TLM_ERR_SHAPE,
                         "%s: tensor '%.*s' has shape %s, but the model's has shape %s", path,
                         shown, name, tlmi_dims_text(given, tensor->shape, tensor->ndim),
                         tlmi_dims_text(wanted, own.shape, own.ndim));
    if ((own.ndim == 1 || own.transposed) && tensor->type->block > 1)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: tensor '%.*s' is a %s of type %s", path, shown,
                         name, own.ndim == 1 ? "vector" : "transposed matrix", tensor->type->name);
    place_parts(found, model, &own, tensor);
    return TLM_OK;
}

tlm_status_t tlmi_weights_fill(tlm_model_t *model, const tlmi_found_weight_t *found,
                               const tlmi_convention_t *convention, const char *path)
{
    tlmi_file_tensor_t tensor;

    for (size_t i = 0; i < model->num_parameters; i++)
        if (found[i].data == NULL && tlmi_file_tensor(&tensor, model, i, convention))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: the file has no tensor '%s'", path, tensor.name);
    for (size_t i = 0; i < model->num_parameters; i++) {
        TLMI_TRY(tlmi_check_interrupt("model_open"));
        TLMI_TRY(tlmi_mapping_check(found[i].file, path));
        if (model->parameters[i] == NULL)
            TLMI_TRY(keep_weight(model, i, convention, &found[i]));
        else
            read_weight(model, i, convention, &found[i]);
    }
    return TLM_OK;
}

uint64_t tlmi_weight_bytes(const tlmi_dtype_t *type, const int64_t *shape, int32_t ndim)
{
    return (uint64_t)tlmi_dims_product(shape, 0, ndim) / (uint64_t)type->block * type->bytes;
}

uint64_t tlmi_weights_bytes(const tlm_model_t *model, const tlmi_found_weight_t *found)
{
    uint64_t total = 0;

    for (size_t i = 0; i < model->num_parameters; i++) {
        const tlmi_parameter_spec_t *spec = &model->specs[i];

        total += tlmi_weight_bytes(found[i].type, spec->shape, spec->ndim);
    }
    return total;
}
