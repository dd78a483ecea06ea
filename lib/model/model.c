/* The transformer language model: its parameters, their names and initial values. */
#include "model/model_core.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/rng.h"
#include "tensor/tensor_core.h"

/* ---- Parameters ------------------------------------------------------------------------- */

static void spec_set(tlmi_parameter_spec_t *spec, const tlmi_model_shape_t *shape, int64_t layer,
                     int32_t part)
{
    const char *name = tlmi_parts[part].names[TLMI_NATIVE];

    if (tlmi_part_is_in_block(part))
        snprintf(spec->name, sizeof(spec->name), "%s%" PRId64 ".%s",
                 tlmi_layer_prefixes[TLMI_NATIVE], layer, name);
    else
        snprintf(spec->name, sizeof(spec->name), "%s", name);
    spec->part = part;
    spec->layer = layer;
    tlmi_part_shape(spec->shape, shape, part);
    spec->ndim = spec->shape[1] == 0 ? 1 : 2;
}

static void describe_parameters(tlmi_parameter_spec_t *specs, const tlm_model_t *model)
{
    const tlmi_model_shape_t *shape = &model->shape;

    for (int32_t part = 0; part < TLMI_NUM_PARTS; part++) {
        const int64_t layers = tlmi_part_is_in_block(part) ? model->options.num_layers : 1;

        for (int64_t layer = 0; tlmi_has_part(shape, part) && layer < layers; layer++)
            spec_set(&specs[tlmi_part_index(shape, layer, part)], shape, layer, part);
    }
}

/* Number of elements of a parameter, padded so that the next parameter is aligned. */
static int64_t padded_elements(const tlmi_parameter_spec_t *spec)
{
    const int64_t unit = TLMI_ALIGNMENT / (int64_t)sizeof(float);

    return (tlmi_dims_product(spec->shape, 0, spec->ndim) + unit - 1) / unit * unit;
}

/* Makes the parameters, all 0, as views of one block of memory. The system can back one large block
 * with huge pages, for which most single matrices are too small, and generation reads all
 * parameters per token. */
static tlm_status_t create_parameters(tlm_model_t *model)
{
    tlm_status_t status = TLM_OK;
    int64_t elements = 0;

    for (size_t i = 0; i < model->num_parameters; i++)
        elements += padded_elements(&model->specs[i]);
    tlm_tensor_t *block;
    TLMI_TRY(tlm_tensor_create(&block, TLM_FLOAT32, &elements, 1));
    float *data = tlmi_floats(block);
    for (size_t i = 0; status == TLM_OK && i < model->num_parameters; i++) {
        const tlmi_parameter_spec_t *spec = &model->specs[i];

        status = tlmi_tensor_part(&model->parameters[i], block, data, spec->shape, spec->ndim);
        if (status == TLM_OK)
            status = tlm_tensor_set_requires_grad(model->parameters[i], true);
        data += padded_elements(spec);
    }
    tlm_tensor_free(block); /* the parameters keep it alive */
    return status;
}

tlm_status_t tlmi_model_create_described(tlm_model_t **out, const tlm_model_options_t *options)
{
    tlm_model_options_t resolved;
    tlmi_model_shape_t shape;

    TLMI_TRY(tlmi_model_resolve(&resolved, &shape, "model_create", options));
    size_t n = shape.num_parameters;
    tlm_model_t *model = tlmi_calloc(1, sizeof(*model), "a model");
    if (model == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    model->options = resolved;
    model->shape = shape;
    model->specs = tlmi_calloc(n, sizeof(*model->specs), "the names of a model's parameters");
    model->parameters = tlmi_calloc(n, sizeof(tlm_tensor_t *), "a model's parameters");
    if (model->specs == NULL || model->parameters == NULL) {
        tlm_model_free(model);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    model->num_parameters = n;
    describe_parameters(model->specs, model);
    *out = model;
    return TLM_OK;
}

tlm_status_t tlmi_model_create_empty(tlm_model_t **out, const tlm_model_options_t *options)
{
    tlm_model_t *model;

    TLMI_TRY(tlmi_model_create_described(&model, options));
    tlm_status_t status = create_parameters(model);
    if (status == TLM_OK)
        *out = model;
    else
        tlm_model_free(model);
    return status;
}

static void free_block(void *block)
{
    tlm_tensor_free(block);
}

/* Makes a parameter without values; matrices get the type. */
static tlm_status_t create_kept(tlm_tensor_t **out, const tlmi_parameter_spec_t *spec,
                                int32_t dtype)
{
    const tlmi_dtype_t *type = tlmi_dtype(dtype);

    if (spec->ndim == 1)
        return tlm_tensor_create(out, TLM_FLOAT32, spec->shape, 1);
    if (type == NULL || type->load == NULL || spec->shape[1] % type->block != 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "model_cost: rows of '%s' of %" PRId64 " elements have no type %" PRId32,
                         spec->name, spec->shape[1], dtype);
    const tlmi_weight_t weight = tlmi_weight_make(dtype, NULL, spec->shape[0], spec->shape[1]);
    const int64_t bytes = weight.rows * (int64_t)weight.row_bytes;
    tlm_tensor_t *block;
    TLMI_TRY(tlm_tensor_create(&block, TLM_BOOL, &bytes, 1));
    tlm_status_t status = tlmi_tensor_of_weight(out, dtype, tlm_tensor_data(block), spec->shape, 2,
                                                free_block, block);
    if (status != TLM_OK)
        tlm_tensor_free(block);
    return status;
}

tlm_status_t tlmi_model_create_kept(tlm_model_t **out, const tlm_model_options_t *options,
                                    int32_t dtype)
{
    tlm_model_t *model;

    TLMI_TRY(tlmi_model_create_described(&model, options));
    tlm_status_t status = TLM_OK;
    for (size_t i = 0; status == TLM_OK && i < model->num_parameters; i++)
        status = create_kept(&model->parameters[i], &model->specs[i], dtype);
    if (status == TLM_OK)
        *out = model;
    else
        tlm_model_free(model);
    return status;
}

/* Standard deviation of a linear weight: that of CS336, which falls with the root of the width; that of
 * the output projection falls with the width itself where the options say for which width the
 * learning rates were found. */
static double linear_sigma(const tlm_model_t *model, const tlmi_parameter_spec_t *spec)
{
    const double rows = (double)spec->shape[0], columns = (double)spec->shape[1];
    const double base = (double)model->options.base_width;

    if (spec->part != TLMI_LM_HEAD || base == 0.0)
        return sqrt(2.0 / (columns + rows));
    return sqrt(2.0 / (base + rows)) * base / columns;
}

/* Standard deviation of the normal distribution of a part's initial values; 0: all are the same. */
static double initial_sigma(const tlm_model_t *model, const tlmi_parameter_spec_t *spec)
{
    const tlmi_initial_t initial = tlmi_parts[spec->part].initial;
    const bool to_residual = spec->part == TLMI_ATTN_OUTPUT || spec->part == TLMI_FFN_W2;

    if (spec->ndim == 1)
        return 0.0;
    if (initial == TLMI_INIT_VALUES ||
        (initial == TLMI_INIT_EMBEDDING && tlmi_has_part(&model->shape, TLMI_LM_HEAD)))
        return 1.0;
    const double sigma = linear_sigma(model, spec);
    if (to_residual && model->options.output_init == TLM_OUTPUT_INIT_ZERO)
        return 0.0;
    if (to_residual && model->options.output_init == TLM_OUTPUT_INIT_DEPTH)
        return sigma / sqrt(2.0 * (double)model->options.num_layers);
    return sigma;
}

static tlm_status_t parameter_init(tlm_model_t *model, size_t index)
{
    tlm_tensor_t *tensor = model->parameters[index];
    const double sigma = initial_sigma(model, &model->specs[index]);

    if (sigma > 0.0)
        return tlm_init_truncated_normal(tensor, sigma, 3.0, model->options.seed,
                                         TLMI_STREAM_INIT + index);
    const tlmi_initial_t initial = tlmi_parts[model->specs[index].part].initial;
    const float value = initial == TLMI_INIT_ONES     ? 1.0f
                        : initial == TLMI_INIT_HALVES ? 0.5f
                                                      : 0.0f;
    for (int64_t i = 0; i < tensor->numel; i++)
        tlmi_floats(tensor)[i] = value;
    return TLM_OK;
}

tlm_status_t tlm_model_create(tlm_model_t **out, const tlm_model_options_t *options)
{
    TLMI_REQUIRE("model_create", out);
    tlm_model_t *model;
    TLMI_TRY(tlmi_model_create_empty(&model, options));
    tlm_status_t status;
    for (size_t i = 0; i < model->num_parameters; i++) {
        TLMI_TRY_OR(fail, tlmi_check_interrupt("model_create"));
        TLMI_TRY_OR(fail, parameter_init(model, i));
    }
    *out = model;
    return TLM_OK;
fail:
    tlm_model_free(model);
    return status;
}

void tlm_model_free(tlm_model_t *model)
{
    if (model == NULL)
        return;
    tlm_model_remove_lora(model);
    for (size_t i = 0; i < model->num_parameters; i++)
        tlm_tensor_free(model->parameters[i]);
    tlmi_free(model->parameters);
    tlmi_free(model->specs);
    tlmi_free(model->source);
    tlmi_free(model);
}

tlm_status_t tlm_model_get_options(tlm_model_options_t *out, const tlm_model_t *model)
{
    TLMI_REQUIRE("model_get_options", model);
    return tlmi_options_write("model_get_options", out, &model->options, TLMI_MODEL_OPTIONS);
}

size_t tlm_model_num_parameters(const tlm_model_t *model)
{
    return model == NULL ? 0 : model->num_parameters;
}

uint64_t tlm_model_num_elements(const tlm_model_t *model)
{
    uint64_t total = 0;

    for (size_t i = 0; model != NULL && i < model->num_parameters; i++)
        total += (uint64_t)model->parameters[i]->numel;
    return total;
}

uint64_t tlm_model_num_bytes(const tlm_model_t *model)
{
    uint64_t total = 0;

    for (size_t i = 0; model != NULL && i < model->num_parameters; i++) {
        const tlmi_weight_t weight = tlmi_weight_of(model->parameters[i]);

        total += (uint64_t)weight.rows * weight.row_bytes;
    }
    return total;
}

tlm_status_t tlm_model_parameters(tlm_tensor_t *const **tensors, size_t *n,
                                  const tlm_model_t *model)
{
    TLMI_REQUIRE("model_parameters", tensors);
    TLMI_REQUIRE("model_parameters", n);
    TLMI_REQUIRE("model_parameters", model);
    *tensors = model->parameters;
    *n = model->num_parameters;
    return TLM_OK;
}

tlm_status_t tlm_model_parameter_name(const char **name, const tlm_model_t *model, size_t index)
{
    TLMI_REQUIRE("model_parameter_name", name);
    TLMI_REQUIRE("model_parameter_name", model);
    if (index >= model->num_parameters)
        return tlmi_fail(TLM_ERR_RANGE, "model_parameter_name: no parameter %zu; there are %zu",
                         index, model->num_parameters);
    *name = model->specs[index].name;
    return TLM_OK;
}

static tlm_status_t find_parameter(size_t *index, const char *function, const tlm_model_t *model,
                                   const char *name)
{
    TLMI_REQUIRE(function, model);
    TLMI_REQUIRE(function, name);
    for (size_t i = 0; i < model->num_parameters; i++)
        if (strcmp(model->specs[i].name, name) == 0) {
            *index = i;
            return TLM_OK;
        }
    return tlmi_fail(TLM_ERR_NOT_FOUND, "%s: the model has no parameter '%.128s'", function, name);
}

tlm_status_t tlm_model_parameter(tlm_tensor_t **out, const tlm_model_t *model, const char *name)
{
    size_t index = 0;

    TLMI_REQUIRE("model_parameter", out);
    TLMI_TRY(find_parameter(&index, "model_parameter", model, name));
    *out = model->parameters[index];
    return TLM_OK;
}

tlm_status_t tlmi_model_check_float32(const char *function, const tlm_model_t *model)
{
    for (size_t i = 0; i < model->num_parameters; i++)
        if (model->parameters[i]->dtype != TLM_FLOAT32)
            return tlmi_fail(
                TLM_ERR_UNSUPPORTED,
                "%s: parameter '%s' is kept as %s, not as float32; open the model with "
                "tlm_model_open for that",
                function, model->specs[i].name, tlmi_dtype_name(model->parameters[i]->dtype));
    return TLM_OK;
}

tlm_status_t tlm_model_set_parameter(tlm_model_t *model, const char *name, const float *values,
                                     const int64_t *shape, int32_t ndim)
{
    size_t index = 0;

    TLMI_TRY(find_parameter(&index, "model_set_parameter", model, name));
    TLMI_TRY(tlmi_check_float("model_set_parameter", name, model->parameters[index]));
    TLMI_REQUIRE("model_set_parameter", values);
    TLMI_REQUIRE("model_set_parameter", shape);
    if (ndim < 0 || ndim > TLM_MAX_DIMS)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "model_set_parameter: ndim %d is not in 0 .. %d",
                         ndim, TLM_MAX_DIMS);
    const tlmi_parameter_spec_t *spec = &model->specs[index];
    char own[TLMI_SHAPE_TEXT], given[TLMI_SHAPE_TEXT];
    if (ndim != spec->ndim || memcmp(shape, spec->shape, (size_t)ndim * sizeof(*shape)) != 0)
        return tlmi_fail(TLM_ERR_SHAPE,
                         "model_set_parameter: '%s' has shape %s, but the values have shape %s",
                         spec->name, tlmi_dims_text(own, spec->shape, spec->ndim),
                         tlmi_dims_text(given, shape, ndim));
    return tlm_tensor_copy_in(model->parameters[index], values,
                              (size_t)model->parameters[index]->numel);
}

tlm_status_t tlm_model_set_checkpointing(tlm_model_t *model, bool enabled)
{
    TLMI_REQUIRE("model_set_checkpointing", model);
    model->checkpointing = enabled;
    return TLM_OK;
}

void tlm_model_zero_grad(tlm_model_t *model)
{
    for (size_t i = 0; model != NULL && i < model->num_parameters; i++)
        tlm_tensor_zero_grad(model->parameters[i]);
}
