/* Names, types and order of weights in other projects' formats, and families by name. */
#include "interchange/interchange.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tensor/tensor_core.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "elements are written as they lie in memory, and the formats are little-endian"
#endif

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

const char *tlmi_families_text(char *buffer, tlmi_format_t format)
{
    size_t used = 0;

    for (size_t i = 0; i < tlmi_num_families && used < TLMI_FAMILIES_TEXT; i++)
        used += (size_t)snprintf(buffer + used, TLMI_FAMILIES_TEXT - used, "%s%s",
                                 i == 0                       ? ""
                                 : i + 1 == tlmi_num_families ? " or "
                                                              : ", ",
                                 tlmi_families[i].names[format]);
    return buffer;
}

void tlmi_family_apply(tlm_model_options_t *options, const tlmi_family_t *family)
{
    for (const tlmi_setting_t *fixed = family->fixed; fixed->option != NULL; fixed++)
        tlmi_option_set(options, tlmi_option_find(fixed->option), fixed->value);
}

/* ---- Names ------------------------------------------------------------------------------ */

void tlmi_weight_name(char out[TLMI_WEIGHT_NAME_SIZE], const tlm_model_t *model, size_t index,
                      tlmi_format_t format)
{
    const tlmi_parameter_spec_t *spec = &model->specs[index];
    const char *name = tlmi_parts[spec->part].names[format];

    if (tlmi_part_is_in_block(spec->part))
        snprintf(out, TLMI_WEIGHT_NAME_SIZE, "%s%" PRId64 ".%s", tlmi_layer_prefixes[format],
                 spec->layer, name);
    else
        snprintf(out, TLMI_WEIGHT_NAME_SIZE, "%s", name);
}

/* Returns the number after the layer prefix, or 0 for other names and too large numbers. */
static int64_t read_layer(const tlm_model_t *model, const char *name, size_t size,
                          tlmi_format_t format)
{
    const char *prefix = tlmi_layer_prefixes[format];
    int64_t layer = 0;

    if (size <= strlen(prefix) || memcmp(name, prefix, strlen(prefix)) != 0)
        return 0;
    for (size_t i = strlen(prefix); i < size && name[i] >= '0' && name[i] <= '9'; i++)
        if (layer < model->options.num_layers)
            layer = 10 * layer + (name[i] - '0');
    return layer < model->options.num_layers ? layer : 0;
}

size_t tlmi_weight_find(const tlm_model_t *model, const char *name, size_t size,
                        tlmi_format_t format)
{
    const int64_t layer = read_layer(model, name, size, format);
    char own[TLMI_WEIGHT_NAME_SIZE];

    /* Comparing with the name as it would be written checks the whole name. */
    for (int32_t part = 0; part < TLMI_NUM_PARTS; part++) {
        if (!tlmi_has_part(&model->shape, part))
            continue;
        size_t index = tlmi_part_index(&model->shape, layer, part);
        tlmi_weight_name(own, model, index, format);
        if (strlen(own) == size && memcmp(own, name, size) == 0)
            return index;
    }
    return model->num_parameters;
}

/* ---- Values ----------------------------------------------------------------------------- */

/* A parameter as rows: those of a matrix, or single elements for gains in a head's order. */
typedef struct rows {
    int64_t count, columns;
    int64_t width; /* of heads whose rows the convention reorders; 0: same order */
} rows_t;

static rows_t rows_of(const tlm_model_t *model, size_t index, const tlmi_convention_t *convention)
{
    const tlmi_parameter_spec_t *spec = &model->specs[index];
    const bool reordered =
        tlmi_parts[spec->part].rotated && tlmi_halves(convention->family, convention->format);
    rows_t rows = {1, spec->shape[0], 0};

    if (spec->ndim == 2 || reordered) {
        rows.count = spec->shape[0];
        rows.columns = spec->ndim == 2 ? spec->shape[1] : 1;
    }
    rows.width = reordered ? model->shape.d_head : 0;
    return rows;
}

/* Returns the library's row for row `row` of the file. */
static int64_t own_row(int64_t row, int64_t width)
{
    int64_t j = width == 0 ? 0 : row % width;

    return width == 0 ? row : row - j + 2 * (j % (width / 2)) + j / (width / 2);
}

/* Indexed by TLM_WEIGHTS_... */
static const int32_t weight_types[] = {
    [TLM_WEIGHTS_FLOAT32] = TLM_FLOAT32,   [TLM_WEIGHTS_FLOAT16] = TLM_FLOAT16,
    [TLM_WEIGHTS_BFLOAT16] = TLM_BFLOAT16, [TLM_WEIGHTS_Q8_0] = TLM_Q8_0,
    [TLM_WEIGHTS_Q4_0] = TLM_Q4_0,
};
enum { NUM_CHOICES = sizeof(weight_types) / sizeof(weight_types[0]) };

const tlmi_dtype_t *tlmi_weights_type(int32_t weights)
{
    return tlmi_dtype(weight_types[weights]);
}

int32_t tlmi_weights_choice(const tlmi_dtype_t *type)
{
    for (int32_t i = 0; i < NUM_CHOICES; i++)
        if (type != NULL && weight_types[i] == type->code)
            return i;
    return TLM_WEIGHTS_FLOAT32;
}

/* Returns whether a finite number became infinite. `back` has room for n floats. */
static bool overflows(float *back, const void *stored, const float *values, int64_t n,
                      const tlmi_dtype_t *type)
{
    type->load(back, stored, n);
    for (int64_t i = 0; i < n; i++)
        if (isinf(back[i]) && !isinf(values[i]))
            return true;
    return false;
}

tlm_status_t tlmi_weight_write(const tlm_model_t *model, size_t index,
                               const tlmi_convention_t *convention, const tlmi_dtype_t *type,
                               const char *path, tlmi_weight_sink_t sink, void *user)
{
    const rows_t rows = rows_of(model, index, convention);
    const tlmi_weight_t weight =
        tlmi_weight_make(model->parameters[index]->dtype, tlm_tensor_data(model->parameters[index]),
                         rows.count, rows.columns);
    const size_t size = (size_t)(rows.columns / type->block) * type->bytes;
    float *row_room = tlmi_alloc((size_t)rows.columns, sizeof(*row_room), "a row of weights");
    float *back = tlmi_alloc((size_t)rows.columns, sizeof(*back), "a row of weights");
    void *stored = tlmi_alloc(size, 1, "a row of weights");
    tlm_status_t status = TLM_OK;

    if (row_room == NULL || back == NULL || stored == NULL)
        status = TLM_ERR_OUT_OF_MEMORY;
    for (int64_t row = 0; row < rows.count && status == TLM_OK; row++) {
        const float *own = tlmi_weight_row(&weight, own_row(row, rows.width), row_room);

        if (type->code == TLM_FLOAT32) {
            status = sink(user, own, size);
            continue;
        }
        type->store(stored, own, rows.columns);
        if (overflows(back, stored, own, rows.columns, type))
            status = tlmi_fail(TLM_ERR_RANGE, "%s: parameter '%s' has a weight too large for %s",
                               path, model->specs[index].name, type->name);
        else
            status = sink(user, stored, size);
    }
    tlmi_free(row_room);
    tlmi_free(stored);
    tlmi_free(back);
    return status;
}

/* ---- Reading ----------------------------------------------------------------------------- */

/* Lets go of the pages of a mapped file that have been read: they would count towards the memory of
 * the process beside the model that they were copied to. */
static void leave(const tlmi_found_weight_t *from, const uint8_t *begin, const uint8_t *end)
{
    tlmi_mapping_leave(from->file, (size_t)(begin - from->file->data),
                       (size_t)(end - from->file->data));
}

static void read_weight(tlm_model_t *model, size_t index, const tlmi_convention_t *convention,
                        const tlmi_found_weight_t *from)
{
    enum { LEAVE_EVERY = 4 << 20 };
    float *values = tlmi_floats(model->parameters[index]);
    const rows_t rows = rows_of(model, index, convention);
    const size_t size = (size_t)(rows.columns / from->type->block) * from->type->bytes;
    const uint8_t *bytes = from->data, *left = bytes;

    for (int64_t row = 0; row < rows.count; row++, bytes += size) {
        from->type->load(values + own_row(row, rows.width) * rows.columns, bytes, rows.columns);
        if (bytes - left >= LEAVE_EVERY) {
            leave(from, left, bytes);
            left = bytes;
        }
    }
    leave(from, left, bytes);
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
static tlm_status_t keep_copied(tlm_model_t *model, size_t index, const rows_t *rows,
                                const tlmi_found_weight_t *from)
{
    const tlmi_parameter_spec_t *spec = &model->specs[index];
    const size_t size = (size_t)(rows->columns / from->type->block) * from->type->bytes;
    const uint8_t *bytes = from->data;
    uint8_t *copy = tlmi_alloc_aligned((size_t)rows->count * size, 1, "the weights of a model");

    if (copy == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (int64_t row = 0; row < rows->count; row++, bytes += size)
        memcpy(copy + (size_t)own_row(row, rows->width) * size, bytes, size);
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
    const rows_t rows = rows_of(model, index, convention);
    const size_t unit = from->type->block == 1 ? from->type->bytes : 1;

    if (spec->ndim == 2 && is_kept(from->type))
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

tlm_status_t tlmi_weight_place(tlmi_found_weight_t *found, const tlm_model_t *model,
                               tlmi_format_t format, const char *name, size_t size,
                               const tlmi_found_weight_t *tensor, const char *path)
{
    const size_t index = tlmi_weight_find(model, name, size, format);
    const int shown = size < 128 ? (int)size : 128;

    if (index == model->num_parameters)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: tensor '%.*s' is not one of the model's", path,
                         shown, name);
    if (found[index].data != NULL)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: tensor '%.*s' appears twice", path, shown, name);
    const tlmi_parameter_spec_t *spec = &model->specs[index];
    char own[TLMI_SHAPE_TEXT], given[TLMI_SHAPE_TEXT];
    if (tensor->ndim != spec->ndim ||
        memcmp(tensor->shape, spec->shape, (size_t)spec->ndim * sizeof(*spec->shape)) != 0)
        return tlmi_fail(TLM_ERR_SHAPE,
                         "%s: tensor '%.*s' has shape %s, but the model's has shape %s", path,
                         shown, name, tlmi_dims_text(given, tensor->shape, tensor->ndim),
                         tlmi_dims_text(own, spec->shape, spec->ndim));
    if (spec->ndim == 1 && tensor->type->block > 1)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: tensor '%.*s' is a vector of type %s", path,
                         shown, name, tensor->type->name);
    found[index] = *tensor;
    return TLM_OK;
}

tlm_status_t tlmi_weights_fill(tlm_model_t *model, const tlmi_found_weight_t *found,
                               const tlmi_convention_t *convention, const char *path)
{
    char name[TLMI_WEIGHT_NAME_SIZE];

    for (size_t i = 0; i < model->num_parameters; i++)
        if (found[i].data == NULL) {
            tlmi_weight_name(name, model, i, convention->format);
            return tlmi_fail(TLM_ERR_FORMAT, "%s: the file has no tensor '%s'", path, name);
        }
    for (size_t i = 0; i < model->num_parameters; i++) {
        TLMI_TRY(tlmi_mapping_check(found[i].file, path));
        if (model->parameters[i] == NULL)
            TLMI_TRY(keep_weight(model, i, convention, &found[i]));
        else
            read_weight(model, i, convention, &found[i]);
    }
    return TLM_OK;
}
