/* Low-rank adapters of a model: their options, adding them, and merging them into the weights. */
#include "model/model_core.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/options.h"
#include "base/rng.h"
#include "tensor/tensor_core.h"

/* ---- In the forward pass ---------------------------------------------------------------- */

bool tlmi_model_change(tlmi_low_rank_t *out, const tlm_model_t *model, int64_t layer, int32_t part)
{
    if (model->adapters == NULL || !tlmi_has_part(&model->shape, part))
        return false;
    const tlmi_adapter_t *adapter = &model->adapters[tlmi_part_index(&model->shape, layer, part)];
    if (adapter->b == 0)
        return false;
    *out = (tlmi_low_rank_t){.a = model->parameters[adapter->a],
                             .b = model->parameters[adapter->b],
                             .scale = adapter->scale,
                             .dropout = {.rate = model->drop.enabled ? model->drop.rate : 0.0,
                                         .seed = model->drop.seed,
                                         .stream = adapter->stream,
                                         .first_token = model->drop.first_token}};
    return true;
}

tlm_status_t tlmi_model_linear(tlm_tensor_t **out, const tlm_model_t *model, int64_t layer,
                               int32_t part, tlm_tensor_t *x)
{
    tlmi_low_rank_t change;
    const bool changed = tlmi_model_change(&change, model, layer, part);

    return tlmi_linear(out, x, tlmi_model_block(model, layer, part), changed ? &change : NULL);
}

tlm_status_t tlm_model_set_dropout_row(tlm_model_t *model, uint64_t row)
{
    TLMI_REQUIRE("model_set_dropout_row", model);
    model->has_dropout = row != TLM_NO_DROPOUT;
    model->dropout_row = row;
    return TLM_OK;
}

/* ---- Options ---------------------------------------------------------------------------- */

tlm_status_t tlmi_lora_options_read(tlm_lora_options_t *known, const char *function,
                                    const tlm_lora_options_t *options)
{
    tlm_lora_options_t read = TLM_LORA_OPTIONS_INIT;

    if (options != NULL)
        TLMI_TRY(tlmi_options_read(function, &read, TLMI_LORA_OPTIONS, options));
    if (read.rank < 0 || read.rank > INT32_MAX)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: rank %" PRId64 " is not in 1 .. %d",
                         function, read.rank, INT32_MAX);
    if (!isfinite(read.alpha) || read.alpha < 0.0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: alpha %s is not a finite number above 0",
                         function, TLMI_G(read.alpha));
    if (!(read.dropout >= 0.0 && read.dropout < 1.0))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: dropout %s is not in [0, 1)", function,
                         TLMI_G(read.dropout));
    if (read.family < 0 || (size_t)read.family > tlmi_num_families)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: family %" PRId32 " is not in 0 .. %zu",
                         function, read.family, tlmi_num_families);
    read.rank = read.rank == 0 ? 8 : read.rank;
    read.alpha = read.alpha == 0.0 ? 8.0 : read.alpha;
    read.targets = read.targets == NULL ? "all-linear" : read.targets;
    *known = read;
    return TLM_OK;
}

tlm_status_t tlm_model_lora(tlm_lora_options_t *out, const tlm_model_t *model)
{
    TLMI_REQUIRE("model_lora", model);
    if (model->adapters == NULL)
        return tlmi_fail(TLM_ERR_NOT_FOUND, "model_lora: the model has no adapters");
    return tlmi_options_write("model_lora", out, &model->lora, TLMI_LORA_OPTIONS);
}

/* ---- Adding ----------------------------------------------------------------------------- */

/* What adding builds beside the model, which changes only once all of it is there. */
typedef struct adding {
    tlm_model_t *model;
    const tlm_lora_options_t *options;
    const tlmi_family_t *family; /* NULL: the names of the table */
    tlm_tensor_t **parameters;
    tlmi_parameter_spec_t *specs;
    tlmi_adapter_t *adapters;
    size_t n; /* parameters that are there */
} adding_t;

static void release_adding(adding_t *adding)
{
    for (size_t i = adding->model->num_parameters; i < adding->n; i++)
        tlm_tensor_free(adding->parameters[i]);
    tlmi_free(adding->parameters);
    tlmi_free(adding->specs);
    tlmi_free(adding->adapters);
}

/* Room for all parameters with up to two more for each of the architecture. */
static tlm_status_t begin_adding(adding_t *adding)
{
    const size_t base = adding->model->num_parameters;

    adding->parameters = tlmi_calloc(3 * base, sizeof(tlm_tensor_t *), "a model's parameters");
    adding->specs =
        tlmi_calloc(3 * base, sizeof(*adding->specs), "the names of a model's parameters");
    adding->adapters = tlmi_calloc(base, sizeof(*adding->adapters), "the adapters of a model");
    adding->n = base;
    if (adding->parameters == NULL || adding->specs == NULL || adding->adapters == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    memcpy(adding->parameters, adding->model->parameters, base * sizeof(tlm_tensor_t *));
    memcpy(adding->specs, adding->model->specs, base * sizeof(*adding->specs));
    return TLM_OK;
}

/* Adds a parameter of zeros with the name of parameter `index`. */
static tlm_status_t append(adding_t *adding, size_t index, tlmi_role_t role, int64_t rows,
                           int64_t columns)
{
    tlmi_parameter_spec_t *spec = &adding->specs[adding->n];
    const size_t size = strlen(adding->specs[index].name) - strlen("weight");
    const int64_t shape[] = {rows, columns};

    *spec = adding->specs[index];
    spec->role = role;
    spec->shape[0] = rows;
    spec->shape[1] = columns;
    snprintf(spec->name + size, sizeof(spec->name) - size, "%s",
             role == TLMI_LORA_A ? "lora_A.weight" : "lora_B.weight");
    TLMI_TRY(tlm_tensor_create(&adding->parameters[adding->n], TLM_FLOAT32, shape, 2));
    adding->parameters[adding->n++]->requires_grad = true;
    return TLM_OK;
}

/* The uniform distribution of PyTorch's Linear, which PEFT uses for A: Kaiming's with
 * a = sqrt(5). */
static void fill_a(const adding_t *adding, size_t index)
{
    tlm_tensor_t *a = adding->parameters[index];
    const double bound = 1.0 / sqrt((double)a->shape[1]);

    for (int64_t i = 0; i < a->numel && !tlmi_dry_run(); i++)
        tlmi_floats(a)[i] =
            (float)(bound * (2.0 * tlmi_random_uniform(adding->options->seed,
                                                       TLMI_STREAM_INIT + index, (uint64_t)i) -
                             1.0));
}

/* Adds the adapter of parameter `index`, with the A of another one in the same tensor of the
 * family's files if that has one. */
static tlm_status_t add_adapter(adding_t *adding, size_t index, int64_t rank, double scale)
{
    const tlmi_parameter_spec_t *spec = &adding->specs[index];
    tlmi_adapter_t *adapter = &adding->adapters[index];
    size_t a = 0;
    tlmi_module_t module;

    if (tlmi_module_of(&module, adding->model, index, adding->family))
        for (int32_t i = 0; i < module.count && a == 0; i++)
            a = adding->adapters[module.parameters[i]].a;
    if (a == 0) {
        a = adding->n;
        TLMI_TRY(append(adding, index, TLMI_LORA_A, rank, spec->shape[1]));
        fill_a(adding, a);
    }
    const size_t b = adding->n;
    TLMI_TRY(append(adding, index, TLMI_LORA_B, spec->shape[0], rank));
    *adapter = (tlmi_adapter_t){a, b, (float)scale, TLMI_STREAM_ADAPTER_DROPOUT + a};
    return TLM_OK;
}

/* Puts what was built in place. */
static void adopt(tlm_model_t *model, adding_t *adding, char *targets)
{
    for (size_t i = 0; i < model->num_parameters; i++) {
        model->parameters[i]->requires_grad = false;
        tlm_tensor_zero_grad(model->parameters[i]);
    }
    tlmi_free(model->parameters);
    tlmi_free(model->specs);
    model->parameters = adding->parameters;
    model->specs = adding->specs;
    model->adapters = adding->adapters;
    model->num_parameters = adding->n;
    model->lora = *adding->options;
    model->lora.targets = targets;
    model->drop.rate = model->lora.dropout;
    model->drop.seed = model->lora.seed;
    model->fingerprint.known = false;
}

tlm_status_t tlmi_model_add_adapters(tlm_model_t *model, const tlm_lora_options_t *options,
                                     const bool *chosen, const int64_t *ranks, const double *scales)
{
    adding_t adding = {.model = model, .options = options};
    char *targets = tlmi_strdup(options->targets, "the targets of adapters");
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (targets == NULL)
        goto fail;
    TLMI_TRY_OR(fail, tlmi_lora_family(&adding.family, "model_add_lora", model, options->family));
    TLMI_TRY_OR(fail, begin_adding(&adding));
    for (size_t i = 0; i < model->shape.num_parameters; i++) {
        if (!chosen[i])
            continue;
        const int64_t rank = ranks == NULL ? options->rank : ranks[i];
        const double scale =
            scales != NULL
                ? scales[i]
                : options->alpha / tlmi_lora_divisor((double)rank, options->rank_stabilized);
        TLMI_TRY_OR(fail, add_adapter(&adding, i, rank, scale));
    }
    adopt(model, &adding, targets);
    return TLM_OK;
fail:
    release_adding(&adding);
    tlmi_free(targets);
    return status;
}

/* ---- Removing and merging --------------------------------------------------------------- */

void tlm_model_remove_lora(tlm_model_t *model)
{
    if (model == NULL || model->adapters == NULL)
        return;
    for (size_t i = model->shape.num_parameters; i < model->num_parameters; i++)
        tlm_tensor_free(model->parameters[i]);
    model->num_parameters = model->shape.num_parameters;
    tlmi_free(model->adapters);
    model->adapters = NULL;
    tlmi_free((char *)(uintptr_t)model->lora.targets);
    model->lora = (tlm_lora_options_t)TLM_LORA_OPTIONS_INIT;
    model->drop = (tlmi_drop_state_t){.enabled = false};
    model->fingerprint.known = false;
}

/* A float32 tensor with the values of a weight of any type. */
static tlm_status_t widen(tlm_tensor_t **out, const tlm_tensor_t *tensor)
{
    const tlmi_weight_t weight = tlmi_weight_of(tensor);

    TLMI_TRY(tlm_tensor_create(out, TLM_FLOAT32, tensor->shape, tensor->ndim));
    for (int64_t row = 0; row < weight.rows && !tlmi_dry_run(); row++)
        tlmi_weight_load_row(tlmi_floats(*out) + row * weight.columns, &weight, row);
    return TLM_OK;
}

/* The weights that have adapters, as float32: those of the model where they are that. */
static tlm_status_t widen_all(tlm_tensor_t **widened, const tlm_model_t *model)
{
    for (size_t i = 0; i < model->shape.num_parameters; i++) {
        if (model->adapters[i].b == 0)
            continue;
        if (model->parameters[i]->dtype == TLM_FLOAT32)
            widened[i] = tlm_tensor_retain(model->parameters[i]);
        else
            TLMI_TRY(widen(&widened[i], model->parameters[i]));
    }
    return TLM_OK;
}

/* W += scale B A. A product needs no memory that it could lack. */
static void merge_one(tlm_tensor_t *weight, const tlm_tensor_t *a, const tlm_tensor_t *b,
                      float scale)
{
    const int64_t rank = a->shape[0], rows = weight->shape[0], columns = weight->shape[1];
    const tlmi_matrix_t left = {tlmi_floats(b), rank, 1}, right = {tlmi_floats(a), columns, 1};

    (void)tlmi_gemm(rows, columns, rank, scale, left, right, 1.0f, tlmi_floats(weight), columns);
    tlmi_tensor_written(weight);
}

tlm_status_t tlm_model_merge_lora(tlm_model_t *model)
{
    TLMI_REQUIRE("model_merge_lora", model);
    if (model->adapters == NULL)
        return tlmi_fail(TLM_ERR_NOT_FOUND, "model_merge_lora: the model has no adapters");
    const size_t n = model->shape.num_parameters;
    tlm_tensor_t **widened = tlmi_calloc(n, sizeof(*widened), "the weights of a model");
    if (widened == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = widen_all(widened, model);
    for (size_t i = 0; i < n && status == TLM_OK; i++) {
        const tlmi_adapter_t *adapter = &model->adapters[i];

        if (adapter->b == 0)
            continue;
        merge_one(widened[i], model->parameters[adapter->a], model->parameters[adapter->b],
                  adapter->scale);
        tlm_tensor_t *former = model->parameters[i];
        model->parameters[i] = widened[i];
        widened[i] = former;
    }
    for (size_t i = 0; i < n; i++)
        tlm_tensor_free(widened[i]);
    tlmi_free(widened);
    if (status == TLM_OK)
        tlm_model_remove_lora(model);
    return status;
}
