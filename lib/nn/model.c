/* The transformer language model: its parameters, their initial values, and the forward pass as a
 * sequence of layer functions. */
#include "model_core.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/rng.h"
#include "cross_entropy.h"
#include "tensor/tensor_core.h"

#define MAX_LAYERS 65536

/* ---- Options ---------------------------------------------------------------------------- */

void tlm_model_options_init(tlm_model_options_t *options)
{
    static const tlm_model_options_t defaults = TLM_MODEL_OPTIONS_INIT;

    if (options != NULL)
        *options = defaults;
}

static tlm_status_t check_sizes(const char *function, const tlm_model_options_t *options)
{
    const struct {
        const char *name;
        int64_t value;
    } sizes[] = {
        {"vocab_size", options->vocab_size}, {"context_length", options->context_length},
        {"d_model", options->d_model},       {"num_layers", options->num_layers},
        {"num_heads", options->num_heads},
    };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (sizes[i].value <= 0 || sizes[i].value > INT32_MAX)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "%s: %s %" PRId64 " is not in 1 .. 2147483647", function,
                             sizes[i].name, sizes[i].value);
    /* Memory for the names alone would be asked for before any limit of the machine shows. */
    if (options->num_layers > MAX_LAYERS)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: num_layers %" PRId64 " is more than %d",
                         function, options->num_layers, MAX_LAYERS);
    if (options->d_ff < 0 || options->d_ff > INT32_MAX)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: d_ff %" PRId64 " is not in 0 .. 2147483647",
                         function, options->d_ff);
    if (options->d_model % (2 * options->num_heads) != 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: d_model %" PRId64 " is not a multiple of 2 * num_heads = %" PRId64,
                         function, options->d_model, 2 * options->num_heads);
    if (!isfinite(options->rope_theta) || options->rope_theta < 0.0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: rope_theta %g is not a finite number >= 0",
                         function, options->rope_theta);
    return TLM_OK;
}

tlm_status_t tlmi_model_check_options(tlm_model_options_t *resolved, size_t *num_parameters,
                                      uint64_t *num_elements, const char *function,
                                      const tlm_model_options_t *options)
{
    tlm_model_options_t known = TLM_MODEL_OPTIONS_INIT;
    size_t per_block, blocks, ends, bytes;

    TLMI_TRY(tlmi_options_read(function, &known, sizeof(known), options));
    TLMI_TRY(check_sizes(function, &known));
    if (known.d_ff == 0)
        known.d_ff = (8 * known.d_model + 191) / 192 * 64;
    if (known.rope_theta == 0.0)
        known.rope_theta = 10000.0;
    /* Sizes are below 2^31, so a product of two fits; beyond that each step is checked. */
    per_block = (size_t)known.d_model * (size_t)known.d_model;
    if (!tlmi_mul_size(&per_block, per_block, 4) ||
        !tlmi_mul_size(&ends, (size_t)known.d_model * (size_t)known.d_ff, 3) ||
        !tlmi_add_size(&per_block, per_block, ends) ||
        !tlmi_add_size(&per_block, per_block, 2 * (size_t)known.d_model) ||
        !tlmi_mul_size(&blocks, per_block, (size_t)known.num_layers) ||
        !tlmi_mul_size(&ends, (size_t)known.vocab_size * (size_t)known.d_model, 2) ||
        !tlmi_add_size(&ends, ends, (size_t)known.d_model) || !tlmi_add_size(&ends, ends, blocks) ||
        !tlmi_mul_size(&bytes, ends, 4 * sizeof(float)))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: a model of vocab_size %" PRId64 ", d_model %" PRId64
                         ", num_layers %" PRId64 ", d_ff %" PRId64 " is too large",
                         function, known.vocab_size, known.d_model, known.num_layers, known.d_ff);
    *resolved = known;
    *num_parameters = 3 + TLMI_BLOCK_PARAMETERS * (size_t)known.num_layers;
    *num_elements = ends;
    return TLM_OK;
}

/* ---- Parameters ------------------------------------------------------------------------- */

/* sigma^2 = 2 / (d_in + d_out), of a matrix (d_out, d_in). */
static double linear_sigma(int64_t d_out, int64_t d_in)
{
    return sqrt(2.0 / (double)(d_in + d_out));
}

static void spec_set(tlmi_parameter_spec_t *spec, const char *name, int64_t d_out, int64_t d_in,
                     double sigma)
{
    snprintf(spec->name, sizeof(spec->name), "%s.weight", name);
    spec->ndim = d_in == 0 ? 1 : 2;
    spec->shape[0] = d_out;
    spec->shape[1] = d_in;
    spec->sigma = sigma;
}

static void specs_of_block(tlmi_parameter_spec_t *specs, const tlm_model_options_t *options,
                           int64_t layer)
{
    const int64_t d = options->d_model, f = options->d_ff;
    const struct {
        const char *name;
        int64_t d_out, d_in; /* d_in 0: a vector of gains */
    } parts[TLMI_BLOCK_PARAMETERS] = {
        [TLMI_ATTN_Q] = {"attn.q_proj", d, d},
        [TLMI_ATTN_K] = {"attn.k_proj", d, d},
        [TLMI_ATTN_V] = {"attn.v_proj", d, d},
        [TLMI_ATTN_OUTPUT] = {"attn.output_proj", d, d},
        [TLMI_LN1] = {"ln1", d, 0},
        [TLMI_FFN_W1] = {"ffn.w1", f, d},
        [TLMI_FFN_W2] = {"ffn.w2", d, f},
        [TLMI_FFN_W3] = {"ffn.w3", f, d},
        [TLMI_LN2] = {"ln2", d, 0},
    };

    for (int32_t i = 0; i < TLMI_BLOCK_PARAMETERS; i++) {
        char name[48];
        bool is_gain = parts[i].d_in == 0;

        snprintf(name, sizeof(name), "layers.%" PRId64 ".%s", layer, parts[i].name);
        spec_set(&specs[i], name, parts[i].d_out, parts[i].d_in,
                 is_gain ? 0.0 : linear_sigma(parts[i].d_out, parts[i].d_in));
    }
}

static void specs_of_model(tlmi_parameter_spec_t *specs, const tlm_model_options_t *options)
{
    const int64_t v = options->vocab_size, d = options->d_model;

    spec_set(specs++, "token_embeddings", v, d, 1.0);
    for (int64_t layer = 0; layer < options->num_layers; layer++) {
        specs_of_block(specs, options, layer);
        specs += TLMI_BLOCK_PARAMETERS;
    }
    spec_set(specs++, "ln_final", d, 0, 0.0);
    spec_set(specs, "lm_head", v, d, linear_sigma(v, d));
}

tlm_status_t tlmi_model_create_empty(tlm_model_t **out, const tlm_model_options_t *options)
{
    tlm_model_options_t resolved;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;
    uint64_t num_elements;
    tlm_model_t *model;
    size_t n;

    TLMI_TRY(tlmi_model_check_options(&resolved, &n, &num_elements, "model_create", options));
    model = tlmi_calloc(1, sizeof(*model), "a model");
    if (model == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    model->options = resolved;
    model->specs = tlmi_calloc(n, sizeof(*model->specs), "the names of a model's parameters");
    model->parameters = tlmi_calloc(n, sizeof(tlm_tensor_t *), "a model's parameters");
    if (model->specs == NULL || model->parameters == NULL)
        goto fail;
    model->num_parameters = n;
    specs_of_model(model->specs, &resolved);
    for (size_t i = 0; i < n; i++) {
        const tlmi_parameter_spec_t *spec = &model->specs[i];

        TLMI_TRY_OR(fail,
                    tlm_tensor_create(&model->parameters[i], TLM_FLOAT32, spec->shape, spec->ndim));
        TLMI_TRY_OR(fail, tlm_tensor_set_requires_grad(model->parameters[i], true));
    }
    *out = model;
    return TLM_OK;
fail:
    tlm_model_free(model);
    return status;
}

static tlm_status_t parameter_init(tlm_tensor_t *tensor, const tlmi_parameter_spec_t *spec,
                                   uint64_t seed, size_t index)
{
    if (spec->sigma > 0.0)
        return tlm_init_truncated_normal(tensor, spec->sigma, 3.0, seed, TLMI_STREAM_INIT + index);
    for (int64_t i = 0; i < tensor->numel; i++)
        tlmi_floats(tensor)[i] = 1.0f;
    return TLM_OK;
}

tlm_status_t tlm_model_create(tlm_model_t **out, const tlm_model_options_t *options)
{
    tlm_model_t *model;
    tlm_status_t status;

    TLMI_REQUIRE("model_create", out);
    TLMI_TRY(tlmi_model_create_empty(&model, options));
    for (size_t i = 0; i < model->num_parameters; i++)
        TLMI_TRY_OR(fail,
                    parameter_init(model->parameters[i], &model->specs[i], model->options.seed, i));
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
    for (size_t i = 0; i < model->num_parameters; i++)
        tlm_tensor_free(model->parameters[i]);
    tlmi_free(model->parameters);
    tlmi_free(model->specs);
    tlmi_free(model);
}

tlm_status_t tlm_model_get_options(tlm_model_options_t *out, const tlm_model_t *model)
{
    TLMI_REQUIRE("model_get_options", model);
    return tlmi_options_write("model_get_options", out, &model->options, sizeof(model->options));
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
        return tlmi_fail(TLM_ERR_RANGE, "model_parameter_name: parameter %zu of %zu", index,
                         model->num_parameters);
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

tlm_status_t tlm_model_set_parameter(tlm_model_t *model, const char *name, const float *values,
                                     const int64_t *shape, int32_t ndim)
{
    const tlmi_parameter_spec_t *spec;
    char own[TLMI_SHAPE_TEXT], given[TLMI_SHAPE_TEXT];
    size_t index = 0;

    TLMI_TRY(find_parameter(&index, "model_set_parameter", model, name));
    TLMI_REQUIRE("model_set_parameter", values);
    TLMI_REQUIRE("model_set_parameter", shape);
    if (ndim < 0 || ndim > TLM_MAX_DIMS)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "model_set_parameter: ndim %d is not in 0 .. %d",
                         ndim, TLM_MAX_DIMS);
    spec = &model->specs[index];
    if (ndim != spec->ndim || memcmp(shape, spec->shape, (size_t)ndim * sizeof(*shape)) != 0)
        return tlmi_fail(TLM_ERR_SHAPE, "model_set_parameter: '%s' has shape %s, the values %s",
                         spec->name, tlmi_dims_text(own, spec->shape, spec->ndim),
                         tlmi_dims_text(given, shape, ndim));
    return tlm_tensor_copy_in(model->parameters[index], values,
                              (size_t)model->parameters[index]->numel);
}

void tlm_model_zero_grad(tlm_model_t *model)
{
    for (size_t i = 0; model != NULL && i < model->num_parameters; i++)
        tlm_tensor_zero_grad(model->parameters[i]);
}

/* ---- Forward ---------------------------------------------------------------------------- */

/* Frees *tensor and puts `next` in its place: the old one lives on in the graph if that needs it.
 */
static void replace(tlm_tensor_t **tensor, tlm_tensor_t *next)
{
    tlm_tensor_free(*tensor);
    *tensor = next;
}

/* *x += attention(norm(*x)) */
static tlm_status_t attention_sublayer(tlm_tensor_t **x, const tlm_model_t *model, int64_t layer)
{
    tlm_tensor_t *normed = NULL, *attended = NULL, *sum;
    tlm_status_t status;

    TLMI_TRY_OR(done, tlm_rms_norm(&normed, *x, tlmi_model_block(model, layer, TLMI_LN1),
                                   TLMI_RMS_NORM_EPS));
    TLMI_TRY_OR(done, tlm_multi_head_attention(
                          &attended, normed, tlmi_model_block(model, layer, TLMI_ATTN_Q),
                          tlmi_model_block(model, layer, TLMI_ATTN_K),
                          tlmi_model_block(model, layer, TLMI_ATTN_V),
                          tlmi_model_block(model, layer, TLMI_ATTN_OUTPUT),
                          (int32_t)model->options.num_heads, model->options.rope_theta, NULL));
    TLMI_TRY_OR(done, tlm_add(&sum, *x, attended));
    replace(x, sum);
done:
    tlm_tensor_free(attended);
    tlm_tensor_free(normed);
    return status;
}

/* *x += swiglu(norm(*x)) */
static tlm_status_t feed_forward_sublayer(tlm_tensor_t **x, const tlm_model_t *model, int64_t layer)
{
    tlm_tensor_t *normed = NULL, *fed = NULL, *sum;
    tlm_status_t status;

    TLMI_TRY_OR(done, tlm_rms_norm(&normed, *x, tlmi_model_block(model, layer, TLMI_LN2),
                                   TLMI_RMS_NORM_EPS));
    TLMI_TRY_OR(done, tlm_swiglu(&fed, normed, tlmi_model_block(model, layer, TLMI_FFN_W1),
                                 tlmi_model_block(model, layer, TLMI_FFN_W2),
                                 tlmi_model_block(model, layer, TLMI_FFN_W3)));
    TLMI_TRY_OR(done, tlm_add(&sum, *x, fed));
    replace(x, sum);
done:
    tlm_tensor_free(fed);
    tlm_tensor_free(normed);
    return status;
}

static tlm_status_t check_input(const char *function, const tlm_model_t *model, const uint32_t *ids,
                                int64_t batch, int64_t time)
{
    TLMI_REQUIRE(function, model);
    TLMI_REQUIRE(function, ids);
    if (batch <= 0 || time <= 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: batch %" PRId64 " and time %" PRId64 " must be positive", function,
                         batch, time);
    if (time > model->options.context_length)
        return tlmi_fail(TLM_ERR_RANGE,
                         "%s: %" PRId64 " tokens are more than the context length of %" PRId64,
                         function, time, model->options.context_length);
    if (batch > INT64_MAX / (int64_t)sizeof(float) / time)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: a batch of (%" PRId64 ", %" PRId64 ") is too large", function, batch,
                         time);
    for (int64_t i = 0; i < batch * time; i++)
        if (ids[i] >= model->options.vocab_size)
            return tlmi_fail(TLM_ERR_RANGE,
                             "%s: id %" PRIu32 " in row %" PRId64 " at position %" PRId64
                             " is outside the vocabulary of %" PRId64,
                             function, ids[i], i / time, i % time, model->options.vocab_size);
    return TLM_OK;
}

/* Everything before the output projection: (batch, time, d_model). */
static tlm_status_t hidden_states(tlm_tensor_t **out, const tlm_model_t *model, const uint32_t *ids,
                                  int64_t batch, int64_t time)
{
    const int64_t shape[2] = {batch, time};
    tlm_tensor_t *id_tensor = NULL, *x = NULL;
    tlm_status_t status;

    TLMI_TRY_OR(done, tlm_tensor_from_data(&id_tensor, TLM_UINT32, ids, shape, 2));
    TLMI_TRY_OR(done, tlm_embedding(&x, tlmi_model_embedding(model), id_tensor));
    for (int64_t layer = 0; layer < model->options.num_layers; layer++) {
        TLMI_TRY_OR(done, attention_sublayer(&x, model, layer));
        TLMI_TRY_OR(done, feed_forward_sublayer(&x, model, layer));
    }
    TLMI_TRY_OR(done, tlm_rms_norm(out, x, tlmi_model_final_norm(model), TLMI_RMS_NORM_EPS));
done:
    tlm_tensor_free(x);
    tlm_tensor_free(id_tensor);
    return status;
}

tlm_status_t tlm_model_forward(tlm_tensor_t **logits, tlm_model_t *model, const uint32_t *ids,
                               int64_t batch, int64_t time)
{
    tlm_tensor_t *hidden;
    tlm_status_t status;

    TLMI_REQUIRE("model_forward", logits);
    TLMI_TRY(check_input("model_forward", model, ids, batch, time));
    TLMI_TRY(hidden_states(&hidden, model, ids, batch, time));
    status = tlm_linear(logits, hidden, tlmi_model_output(model));
    tlm_tensor_free(hidden);
    return status;
}

tlm_status_t tlm_model_loss(tlm_tensor_t **loss, tlm_model_t *model, const uint32_t *inputs,
                            const uint32_t *targets, int64_t batch, int64_t time)
{
    const int64_t shape[2] = {batch, time};
    tlm_tensor_t *hidden = NULL, *target_tensor = NULL;
    tlm_status_t status;

    TLMI_REQUIRE("model_loss", loss);
    TLMI_TRY(check_input("model_loss", model, inputs, batch, time));
    TLMI_TRY(check_input("model_loss", model, targets, batch, time));
    TLMI_TRY_OR(done, tlm_tensor_from_data(&target_tensor, TLM_UINT32, targets, shape, 2));
    TLMI_TRY_OR(done, hidden_states(&hidden, model, inputs, batch, time));
    status = tlmi_linear_cross_entropy(loss, hidden, tlmi_model_output(model), target_tensor);
done:
    tlm_tensor_free(target_tensor);
    tlm_tensor_free(hidden);
    return status;
}
