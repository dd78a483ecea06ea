/* A model's parameters as an optimiser's groups, with and without weight decay. */
#include "base/error.h"
#include "base/memory.h"
#include "model/model_core.h"
#include "optim/optimizer_core.h"
#include "tinylm/train.h"

#define NO_DECAY_ALL (TLM_NO_DECAY_NORMS | TLM_NO_DECAY_EMBEDDINGS)

/* Gains of norms are a model's only parameters of one dimension; the embedding is the first. */
static bool decays(const tlm_model_t *model, size_t parameter, uint32_t no_decay)
{
    if (model->specs[parameter].ndim == 1)
        return (no_decay & TLM_NO_DECAY_NORMS) == 0;
    return parameter != 0 || (no_decay & TLM_NO_DECAY_EMBEDDINGS) == 0;
}

/* Adds the second group; `options` are those of the first, as the caller gave them. */
static tlm_status_t add_without_decay(tlm_optimizer_t *optimizer, tlm_tensor_t *const *tensors,
                                      size_t n)
{
    tlm_adamw_options_t options = optimizer->groups[optimizer->num_groups - 1];
    tlm_status_t status;

    options.weight_decay = 0.0;
    status = tlm_optimizer_add_group(optimizer, tensors, n, &options);
    if (status != TLM_OK)
        tlmi_optimizer_remove_group(optimizer);
    return status;
}

tlm_status_t tlm_optimizer_add_model(tlm_optimizer_t *optimizer, const tlm_model_t *model,
                                     uint32_t no_decay, const tlm_adamw_options_t *options)
{
    size_t n, with = 0, without = 0;
    tlm_tensor_t **tensors;
    tlm_status_t status;

    TLMI_REQUIRE("optimizer_add_model", optimizer);
    TLMI_REQUIRE("optimizer_add_model", model);
    if ((no_decay & ~NO_DECAY_ALL) != 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "optimizer_add_model: no_decay 0x%x has bits beyond 0x%x", no_decay,
                         NO_DECAY_ALL);
    if (!optimizer->kind->has_group_options)
        no_decay = 0;
    n = model->num_parameters;
    tensors = tlmi_alloc(n, sizeof(*tensors), "the groups of a model");
    if (tensors == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++)
        if (decays(model, i, no_decay))
            tensors[with++] = model->parameters[i];
    for (size_t i = 0; i < n; i++)
        if (!decays(model, i, no_decay))
            tensors[with + without++] = model->parameters[i];
    status = tlm_optimizer_add_group(optimizer, tensors, with, options);
    if (status == TLM_OK && without > 0)
        status = add_without_decay(optimizer, tensors + with, without);
    tlmi_free(tensors);
    return status;
}
