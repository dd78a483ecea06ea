/* A model's parameters as groups of an optimizer: with and without weight decay, and apart where learning
 * rates depend on the model's width. Frozen ones are in none. */
#include <inttypes.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "model/model_core.h"
#include "optim/optimizer_core.h"
#include "tensor/tensor_core.h"
#include "tinylm/train.h"

#define NO_DECAY_ALL (TLM_NO_DECAY_NORMS | TLM_NO_DECAY_EMBEDDINGS)

/* The gains of norms, biases and weights of mixed values are the parameters with one dimension. */
static bool decays(const tlm_model_t *model, size_t parameter, uint32_t no_decay)
{
    if (model->specs[parameter].ndim == 1)
        return (no_decay & TLM_NO_DECAY_NORMS) == 0;
    const int32_t part = model->specs[parameter].part;
    return !tlmi_part_is_table(part) || (no_decay & TLM_NO_DECAY_EMBEDDINGS) == 0;
}

/* Matrices between the embedding and the output projection: what Muon is for. */
static bool is_hidden_matrix(const tlm_model_t *model, size_t parameter)
{
    const int32_t part = model->specs[parameter].part;

    return model->specs[parameter].ndim == 2 && part >= TLMI_FIRST_IN_BLOCK &&
           part < TLMI_FIRST_BEHIND;
}

/* How many times wider the model is than the one for which the rates were found. */
static double width_ratio(const tlm_model_t *model)
{
    const tlm_model_options_t *options = &model->options;

    return options->base_width == 0 ? 1.0 : (double)options->d_model / (double)options->base_width;
}

/* Matrices whose inputs grow with the width: the hidden ones and the output projection. */
static bool is_scaled(const tlm_model_t *model, size_t parameter)
{
    return width_ratio(model) != 1.0 &&
           (is_hidden_matrix(model, parameter) || model->specs[parameter].part == TLMI_LM_HEAD);
}

/* The groups of a model, in their order: of the optimizer's kind, and of the rest where that kind
 * takes only hidden matrices; each without and with a rate scaled by the width, and each of these
 * with and without decay. */
enum { NOT_DECAYING = 1, SCALED = 2, REST = 4, NUM_GROUPS = 8 };

static int group_of(const tlm_optimizer_t *optimizer, const tlm_model_t *model, size_t parameter,
                    uint32_t no_decay)
{
    const bool rest = optimizer->rest.kind != NULL && !is_hidden_matrix(model, parameter);
    /* A kind for hidden matrices has no others from which to tell them apart. */
    const bool scaled =
        is_scaled(model, parameter) && (rest || !optimizer->defaults.kind->matrices_only);

    return (rest ? REST : 0) + (scaled ? SCALED : 0) +
           (decays(model, parameter, no_decay) ? 0 : NOT_DECAYING);
}

/* What the rates of a group are multiplied by. */
static double width_factor(const tlm_optimizer_t *optimizer, const tlm_model_t *model, int index)
{
    const tlmi_group_t *like = index < REST ? &optimizer->defaults : &optimizer->rest;
    const bool scaled = (index & SCALED) != 0 || (index < REST && like->kind->matrices_only);
    const double ratio = width_ratio(model);

    return scaled && ratio != 1.0 ? like->kind->width_factor(like->options, ratio) : 1.0;
}

/* What a group is like: the optimizer's defaults, changed by the caller's options. The rest follows a
 * change of the learning rate, so that both keep their ratio. Where the width changes the rate, the
 * weights still decay as fast. */
static tlmi_group_t make_group(const tlm_optimizer_t *optimizer, int index,
                               const tlm_group_options_t *options, double factor)
{
    const tlmi_group_t *defaults = &optimizer->defaults;
    tlmi_group_t group = index < REST ? *defaults : optimizer->rest;
    bool has_ratio = index >= REST && defaults->learning_rate > 0.0 &&
                     group.learning_rate != defaults->learning_rate;
    double ratio = has_ratio ? group.learning_rate / defaults->learning_rate : 1.0;

    if (options->has_learning_rate)
        group.learning_rate = options->learning_rate * ratio;
    if (options->has_weight_decay)
        group.weight_decay = options->weight_decay;
    if ((index & NOT_DECAYING) != 0)
        group.weight_decay = 0.0;
    group.learning_rate *= factor;
    group.weight_decay /= factor;
    group.rate_factor = options->rate_factor;
    if (has_ratio || factor != 1.0)
        group.rate_factor =
            ratio * factor * (options->rate_factor == 0.0 ? 1.0 : options->rate_factor);
    return group;
}

/* Adds the parameters of group `index`, if there are any; the first group is added in any case.
 * `tensors` has room for all parameters. */
static tlm_status_t add_group(tlm_optimizer_t *optimizer, const tlm_model_t *model, int index,
                              uint32_t no_decay, const tlm_group_options_t *options,
                              tlm_tensor_t **tensors)
{
    size_t n = 0;

    for (size_t i = 0; i < model->num_parameters; i++)
        if (model->parameters[i]->requires_grad && group_of(optimizer, model, i, no_decay) == index)
            tensors[n++] = model->parameters[i];
    if (n == 0 && index != 0)
        return TLM_OK;
    tlmi_group_t group =
        make_group(optimizer, index, options, width_factor(optimizer, model, index));
    return tlmi_optimizer_add(optimizer, "optimizer_add_model", tensors, n, &group);
}

tlm_status_t tlm_optimizer_add_model(tlm_optimizer_t *optimizer, const tlm_model_t *model,
                                     uint32_t no_decay, const tlm_group_options_t *options)
{
    tlm_group_options_t known = TLM_GROUP_OPTIONS_INIT;

    TLMI_REQUIRE("optimizer_add_model", optimizer);
    TLMI_REQUIRE("optimizer_add_model", model);
    if ((no_decay & ~NO_DECAY_ALL) != 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "optimizer_add_model: no_decay 0x%x has bits outside 0x%x", no_decay,
                         NO_DECAY_ALL);
    if (options != NULL)
        TLMI_TRY(tlmi_options_read("optimizer_add_model", &known, TLMI_GROUP_OPTIONS, options));
    if (width_ratio(model) != 1.0 && optimizer->defaults.kind->width_factor == NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "optimizer_add_model: base_width %" PRId64 " and d_model %" PRId64
                         ": %s has no rule for learning rates by width",
                         model->options.base_width, model->options.d_model,
                         optimizer->defaults.kind->name);
    if (!optimizer->defaults.kind->has_weight_decay)
        no_decay = 0;
    if (tlm_model_num_trained(model) == 0)
        return tlmi_fail(TLM_ERR_STATE,
                         "optimizer_add_model: all %zu parameters of the model are frozen",
                         model->num_parameters);
    tlm_tensor_t **tensors =
        tlmi_alloc(model->num_parameters, sizeof(*tensors), "the groups of a model");
    if (tensors == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    size_t before = optimizer->num_groups;
    tlm_status_t status = TLM_OK;
    for (int index = 0; index < NUM_GROUPS && status == TLM_OK; index++)
        status = add_group(optimizer, model, index, no_decay, &known, tensors);
    while (status != TLM_OK && optimizer->num_groups > before)
        tlmi_optimizer_remove_group(optimizer);
    tlmi_free(tensors);
    return status;
}
