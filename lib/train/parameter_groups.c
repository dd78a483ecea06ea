/* A model's parameters as groups of an optimizer, with and without weight decay. */
#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "model/model_core.h"
#include "optim/optimizer_core.h"
#include "tinylm/train.h"

#define NO_DECAY_ALL (TLM_NO_DECAY_NORMS | TLM_NO_DECAY_EMBEDDINGS)

/* The gains of norms, and biases, are the only parameters with one dimension. */
static bool decays(const tlm_model_t *model, size_t parameter, uint32_t no_decay)
{
    if (model->specs[parameter].ndim == 1)
        return (no_decay & TLM_NO_DECAY_NORMS) == 0;
    const int32_t part = model->specs[parameter].part;
    return (part != TLMI_EMBEDDING && part != TLMI_POSITIONS) ||
           (no_decay & TLM_NO_DECAY_EMBEDDINGS) == 0;
}

tlm_status_t tlm_optimizer_add_model(tlm_optimizer_t *optimizer, const tlm_model_t *model,
                                     uint32_t no_decay, const tlm_group_options_t *options)
{
    tlm_group_options_t known = TLM_GROUP_OPTIONS_INIT;
    size_t with = 0, without = 0;

    TLMI_REQUIRE("optimizer_add_model", optimizer);
    TLMI_REQUIRE("optimizer_add_model", model);
    if ((no_decay & ~NO_DECAY_ALL) != 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "optimizer_add_model: no_decay 0x%x has bits outside 0x%x", no_decay,
                         NO_DECAY_ALL);
    if (options != NULL)
        TLMI_TRY(tlmi_options_read("optimizer_add_model", &known, TLMI_GROUP_OPTIONS, options));
    if (!optimizer->defaults.kind->has_weight_decay)
        no_decay = 0;
    size_t n = model->num_parameters;
    tlm_tensor_t **tensors = tlmi_alloc(n, sizeof(*tensors), "the groups of a model");
    if (tensors == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++)
        if (decays(model, i, no_decay))
            tensors[with++] = model->parameters[i];
    for (size_t i = 0; i < n; i++)
        if (!decays(model, i, no_decay))
            tensors[with + without++] = model->parameters[i];
    tlm_status_t status;
    TLMI_TRY_OR(done, tlm_optimizer_add_group(optimizer, tensors, with, &known));
    if (without > 0) {
        known.has_weight_decay = true;
        known.weight_decay = 0.0;
        status = tlm_optimizer_add_group(optimizer, tensors + with, without, &known);
        if (status != TLM_OK)
            tlmi_optimizer_remove_group(optimizer);
    }
done:
    tlmi_free(tensors);
    return status;
}
