/* The layers that adapters are asked for: names of linear layers, here and in transformers, and
 * patterns of them. */
#include "model/model_core.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/glob.h"
#include "base/memory.h"

/* ---- Modules ---------------------------------------------------------------------------- */

static bool is_linear(const tlmi_parameter_spec_t *spec)
{
    return spec->role == TLMI_BASE && spec->ndim == 2 && !tlmi_part_is_table(spec->part);
}

bool tlmi_module_of(tlmi_module_t *out, const tlm_model_t *model, size_t index,
                    const tlmi_family_t *family)
{
    const tlmi_parameter_spec_t *spec = &model->specs[index];

    if (!is_linear(spec))
        return false;
    const tlmi_family_tensor_t *own =
        family == NULL ? NULL : tlmi_family_tensor(family, TLMI_HF, spec->part);
    const char *name = own != NULL ? own->name : tlmi_parts[spec->part].names[TLMI_HF];
    const int size = (int)(strlen(name) - strlen(".weight"));
    tlmi_module_t module = {.count = 1, .parameters = {index}};
    if (tlmi_part_is_in_block(spec->part))
        module.suffix = (size_t)snprintf(module.name, sizeof(module.name), "%s%" PRId64 ".",
                                         tlmi_layer_prefix(family, TLMI_HF), spec->layer);
    snprintf(module.name + module.suffix, sizeof(module.name) - module.suffix, "%.*s", size, name);
    for (int32_t i = 0; own != NULL && i < own->count; i++)
        module.parameters[i] = tlmi_part_index(&model->shape, spec->layer, own->parts[i]);
    module.count = own != NULL ? own->count : 1;
    *out = module;
    return true;
}

tlm_status_t tlmi_lora_family(const tlmi_family_t **out, const char *function,
                              const tlm_model_t *model, int32_t asked)
{
    const tlm_model_options_t *options = &model->options;

    *out = NULL;
    if (asked == 0)
        asked = model->family;
    for (size_t i = 0; asked == 0 && *out == NULL && i < tlmi_num_families; i++)
        if (tlmi_family_lacks(&tlmi_families[i], options) == NULL)
            *out = &tlmi_families[i];
    if (asked == 0)
        return TLM_OK;
    *out = &tlmi_families[asked - 1];
    const tlmi_model_option_t *lacking = tlmi_family_lacks(*out, options);
    char text[TLMI_OPTION_TEXT];
    if (lacking != NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: %s has no %s (%s)", function,
                         (*out)->names[TLMI_HF], tlmi_option_text(text, options, lacking),
                         lacking->name);
    return TLM_OK;
}

/* ---- Matching --------------------------------------------------------------------------- */

/* Whether `entry` is the name or what follows one of its dots; a pattern fits the whole name. */
static bool fits(const char *entry, size_t entry_size, const char *name, size_t size)
{
    if (tlmi_is_glob(entry, entry_size))
        return tlmi_glob(entry, entry_size, name, size);
    return entry_size <= size && memcmp(name + size - entry_size, entry, entry_size) == 0 &&
           (entry_size == size || name[size - entry_size - 1] == '.');
}

static bool is_word(const char *entry, size_t size, const char *word)
{
    return size == strlen(word) && memcmp(entry, word, size) == 0;
}

/* Whether parameter `index`, a linear layer, is one that the entry names. */
static bool is_named(const tlm_model_t *model, size_t index, const tlmi_family_t *family,
                     const char *entry, size_t size)
{
    const tlmi_parameter_spec_t *spec = &model->specs[index];
    const size_t whole = strlen(spec->name), own = whole - strlen(".weight");
    tlmi_module_t module;

    if (!tlmi_module_of(&module, model, index, family))
        return false;
    if (is_word(entry, size, "all-linear"))
        return tlmi_part_is_in_block(spec->part);
    return fits(entry, size, spec->name, own) || fits(entry, size, spec->name, whole) ||
           fits(entry, size, module.name, strlen(module.name));
}

/* Whether a parameter that is no linear layer has the name. */
static bool is_other(const tlm_model_t *model, const char *entry, size_t size)
{
    for (size_t i = 0; i < model->shape.num_parameters; i++) {
        const char *name = model->specs[i].name, *dot = strrchr(name, '.');

        if (!is_linear(&model->specs[i]) &&
            (fits(entry, size, name, strlen(name)) ||
             (dot != NULL && fits(entry, size, name, (size_t)(dot - name)))))
            return true;
    }
    return false;
}

static tlm_status_t choose(bool *chosen, const tlm_model_t *model, const tlmi_family_t *family,
                           const char *entry, size_t size)
{
    const int shown = size < 128 ? (int)size : 128;
    bool found = false;

    for (size_t i = 0; i < model->shape.num_parameters; i++)
        if (is_named(model, i, family, entry, size))
            chosen[i] = found = true;
    if (found)
        return TLM_OK;
    if (is_word(entry, size, "lm_head"))
        return tlmi_fail(TLM_ERR_NOT_FOUND,
                         "model_add_lora: target 'lm_head' is the embedding in this model, whose "
                         "embeddings are tied");
    if (is_other(model, entry, size))
        return tlmi_fail(TLM_ERR_NOT_FOUND, "model_add_lora: target '%.*s' is no linear layer",
                         shown, entry);
    return tlmi_fail(
        TLM_ERR_NOT_FOUND,
        "model_add_lora: the model has no linear layer '%.*s'; targets of %s are names "
        "such as q_proj, patterns of them, and all-linear",
        shown, entry, family == NULL ? "this model" : family->names[TLMI_HF]);
}

tlm_status_t tlm_model_add_lora(tlm_model_t *model, const tlm_lora_options_t *options)
{
    const tlmi_family_t *family;
    tlm_lora_options_t known;
    const char *entry, *rest;
    size_t size;

    TLMI_REQUIRE("model_add_lora", model);
    TLMI_TRY(tlmi_lora_options_read(&known, "model_add_lora", options));
    if (model->adapters != NULL)
        return tlmi_fail(TLM_ERR_STATE,
                         "model_add_lora: the model has adapters already, of rank %" PRId64
                         "; merge or remove them first",
                         model->lora.rank);
    TLMI_TRY(tlmi_lora_family(&family, "model_add_lora", model, known.family));
    bool *chosen =
        tlmi_calloc(model->shape.num_parameters, sizeof(*chosen), "the layers of adapters");
    if (chosen == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = TLM_OK;
    rest = known.targets;
    while (status == TLM_OK && tlmi_list_next(&entry, &size, &rest))
        status = choose(chosen, model, family, entry, size);
    if (status == TLM_OK)
        status = tlmi_model_add_adapters(model, &known, chosen, NULL, NULL);
    tlmi_free(chosen);
    return status;
}
