/* The adapters of a model in a checkpoint. Such a file holds only what is trained, and says which
 * model it belongs to: its path, and a checksum of the parameters that are not trained. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "checkpoint/checkpoint_core.h"
#include "tensor/tensor_core.h"

enum { MAX_PATH = 4096 };

/* ---- Writing ---------------------------------------------------------------------------- */

static tlm_status_t set_text(tlmi_json_t *object, const char *key, const char *text)
{
    return tlmi_json_set(object, key, tlmi_json_new_string(text, strlen(text)));
}

/* The path that the model was opened from, from the root, so that another directory may be the
 * current one when it is needed. */
static tlm_status_t set_base_path(tlmi_json_t *base, const tlm_model_t *model)
{
    char here[MAX_PATH], path[2 * MAX_PATH];

    if (model->source == NULL)
        return TLM_OK;
    if (model->source[0] == '/' || getcwd(here, sizeof(here)) == NULL)
        return set_text(base, "path", model->source);
    if (snprintf(path, sizeof(path), "%s/%s", here, model->source) >= (int)sizeof(path))
        return set_text(base, "path", model->source);
    return set_text(base, "path", path);
}

static tlm_status_t set_base(tlmi_json_t *object, tlm_model_t *model)
{
    const tlmi_fingerprint_t print = tlmi_model_fingerprint(model);
    tlmi_json_t *base = tlmi_json_new_object();

    if (base == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status;
    TLMI_TRY_OR(fail, set_base_path(base, model));
    TLMI_TRY_OR(fail, tlmi_json_set(base, "values", tlmi_json_new_uint64(print.values)));
    TLMI_TRY_OR(fail, tlmi_json_set(base, "types", tlmi_json_new_uint64(print.types)));
    return tlmi_json_set(object, "base", base);
fail:
    tlmi_json_free(base);
    return status;
}

static tlm_status_t append_layer(tlmi_json_t *list, const tlm_model_t *model, size_t index)
{
    const tlmi_adapter_t *adapter = &model->adapters[index];
    const int64_t rank = model->parameters[adapter->a]->shape[0];
    tlmi_json_t *layer = tlmi_json_new_object();

    if (layer == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status;
    TLMI_TRY_OR(fail, set_text(layer, "parameter", model->specs[index].name));
    TLMI_TRY_OR(fail, tlmi_json_set(layer, "rank", tlmi_json_new_int(rank)));
    TLMI_TRY_OR(fail, tlmi_json_set(layer, "scale", tlmi_json_new_number((double)adapter->scale)));
    return tlmi_json_append(list, layer);
fail:
    tlmi_json_free(layer);
    return status;
}

static tlm_status_t set_layers(tlmi_json_t *object, const tlm_model_t *model)
{
    tlmi_json_t *list = tlmi_json_new_array();
    tlm_status_t status = list == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;

    for (size_t i = 0; status == TLM_OK && i < model->shape.num_parameters; i++)
        if (model->adapters[i].b != 0)
            status = append_layer(list, model, i);
    if (status == TLM_OK)
        return tlmi_json_set(object, "layers", list);
    tlmi_json_free(list);
    return status;
}

/* Lists the names of parameters that are trained or not as those of their kind usually are not: of the
 * model's own, which are `trained`, or of adapters, which are not. */
static tlm_status_t set_names(tlmi_json_t *object, const char *key, const tlm_model_t *model,
                              bool trained)
{
    tlmi_json_t *list = tlmi_json_new_array();
    tlm_status_t status = list == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;

    for (size_t i = 0; status == TLM_OK && i < model->num_parameters; i++) {
        const char *name = model->specs[i].name;

        if ((model->specs[i].role == TLMI_BASE) == trained &&
            model->parameters[i]->requires_grad == trained)
            status = tlmi_json_append(list, tlmi_json_new_string(name, strlen(name)));
    }
    if (status == TLM_OK)
        return tlmi_json_set(object, key, list);
    tlmi_json_free(list);
    return status;
}

tlm_status_t tlmi_adapter_state_write(tlmi_json_t **out, tlm_model_t *model)
{
    const tlm_lora_options_t *lora = &model->lora;
    tlmi_json_t *object = tlmi_json_new_object();

    if (object == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status;
    TLMI_TRY_OR(fail, tlmi_json_set(object, "rank", tlmi_json_new_int(lora->rank)));
    TLMI_TRY_OR(fail, tlmi_json_set(object, "alpha", tlmi_json_new_number(lora->alpha)));
    TLMI_TRY_OR(fail, tlmi_json_set(object, "dropout", tlmi_json_new_number(lora->dropout)));
    TLMI_TRY_OR(fail, set_text(object, "targets", lora->targets));
    TLMI_TRY_OR(fail, tlmi_json_set(object, "seed", tlmi_json_new_uint64(lora->seed)));
    TLMI_TRY_OR(fail,
                tlmi_json_set(object, "family",
                              tlmi_json_new_int(lora->family != 0 ? lora->family : model->family)));
    TLMI_TRY_OR(
        fail, tlmi_json_set(object, "rank_stabilized", tlmi_json_new_bool(lora->rank_stabilized)));
    TLMI_TRY_OR(fail, set_layers(object, model));
    TLMI_TRY_OR(fail, set_names(object, "trained", model, true));
    TLMI_TRY_OR(fail, set_names(object, "frozen", model, false));
    TLMI_TRY_OR(fail, set_base(object, model));
    *out = object;
    return TLM_OK;
fail:
    tlmi_json_free(object);
    return status;
}

/* ---- Reading ---------------------------------------------------------------------------- */

bool tlmi_checkpoint_has_adapters(const tlmi_safetensors_t *file)
{
    return tlmi_safetensors_metadata(file, TLMI_CHECKPOINT_ADAPTERS) != NULL;
}

/* Parses what a checkpoint says of its adapters; *out is NULL if it has none. */
static tlm_status_t parse(tlmi_json_t **out, const tlmi_safetensors_t *file, const char *path)
{
    *out = NULL;
    if (!tlmi_checkpoint_has_adapters(file))
        return TLM_OK;
    return tlmi_checkpoint_parse(out, file, TLMI_CHECKPOINT_ADAPTERS, path);
}

tlm_status_t tlmi_adapter_state_base(char **out, const tlmi_safetensors_t *file, const char *path)
{
    tlmi_json_t *state;
    const char *base;
    size_t size;

    TLMI_TRY(parse(&state, file, path));
    if (!tlmi_json_get_string(tlmi_json_member(tlmi_json_member(state, "base"), "path"), &base,
                              &size) ||
        strlen(base) != size) {
        tlmi_json_free(state);
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: the checkpoint holds adapters, but not the path of their model",
                         path);
    }
    *out = tlmi_strdup(base, "the path of a model");
    tlmi_json_free(state);
    return *out == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
}

/* One layer of the list: its parameter, rank and scale. */
typedef struct layer {
    size_t index;
    int64_t rank;
    double scale;
} layer_t;

static tlm_status_t read_layer(layer_t *out, const tlmi_json_t *item, const tlm_model_t *model,
                               const char *path)
{
    const char *name;
    size_t size;

    if (!tlmi_json_get_string(tlmi_json_member(item, "parameter"), &name, &size) ||
        !tlmi_json_get_int(tlmi_json_member(item, "rank"), &out->rank) ||
        !tlmi_json_get_number(tlmi_json_member(item, "scale"), &out->scale) || out->rank <= 0 ||
        out->rank > INT32_MAX)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: a layer of the adapters is incomplete", path);
    tlmi_module_t module;
    for (size_t i = 0; i < model->shape.num_parameters; i++)
        if (strcmp(model->specs[i].name, name) == 0 && tlmi_module_of(&module, model, i, NULL)) {
            out->index = i;
            return TLM_OK;
        }
    return tlmi_fail(TLM_ERR_FORMAT, "%s: the model has no layer '%.128s' for an adapter", path,
                     name);
}

/* Fails unless the model's adapters are those that the file describes. */
static tlm_status_t compare_layers(const tlmi_json_t *state, const tlm_model_t *model,
                                   const char *path)
{
    const tlmi_json_t *list = tlmi_json_member(state, "layers");
    size_t own = 0;
    layer_t layer;

    for (size_t i = 0; i < tlmi_json_size(list); i++) {
        TLMI_TRY(read_layer(&layer, tlmi_json_item(list, i), model, path));
        const tlmi_adapter_t *adapter = &model->adapters[layer.index];
        if (adapter->b == 0 || model->parameters[adapter->a]->shape[0] != layer.rank ||
            adapter->scale != (float)layer.scale)
            return tlmi_fail(TLM_ERR_SHAPE,
                             "%s: the adapter of '%s' has rank %" PRId64
                             " and another scale or place in the checkpoint than in the model",
                             path, model->specs[layer.index].name, layer.rank);
    }
    for (size_t i = 0; i < model->shape.num_parameters; i++)
        own += model->adapters[i].b != 0;
    if (own != tlmi_json_size(list))
        return tlmi_fail(TLM_ERR_SHAPE,
                         "%s: the checkpoint has adapters of %zu layers, but the model of %zu",
                         path, tlmi_json_size(list), own);
    return TLM_OK;
}

/* Fails unless dropout goes on as it would have. */
static tlm_status_t compare_dropout(const tlmi_json_t *state, const tlm_model_t *model,
                                    const char *path)
{
    double dropout;
    uint64_t seed;

    if (!tlmi_json_get_number(tlmi_json_member(state, "dropout"), &dropout) ||
        !tlmi_json_get_uint64(tlmi_json_member(state, "seed"), &seed))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the description of the adapters is incomplete", path);
    if (dropout != model->lora.dropout || (dropout > 0.0 && seed != model->lora.seed))
        return tlmi_fail(TLM_ERR_STATE,
                         "%s: the adapters of the checkpoint have another dropout than the model's",
                         path);
    return TLM_OK;
}

static tlm_status_t compare_base(const tlmi_json_t *state, tlm_model_t *model, bool exact,
                                 const char *path)
{
    const tlmi_json_t *base = tlmi_json_member(state, "base");
    const tlmi_fingerprint_t print = tlmi_model_fingerprint(model);
    uint64_t values, types;

    if (!tlmi_json_get_uint64(tlmi_json_member(base, "values"), &values) ||
        !tlmi_json_get_uint64(tlmi_json_member(base, "types"), &types))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the description of the adapters is incomplete", path);
    if (values != print.values)
        return tlmi_fail(TLM_ERR_STATE,
                         "%s: the weights of the model (checksum %016" PRIx64
                         ") are not those that the adapters were trained with (%016" PRIx64 ")",
                         path, print.values, values);
    if (exact && types != print.types)
        return tlmi_fail(TLM_ERR_STATE,
                         "%s: the run had the weights of the model in other types; open it as the "
                         "run did (tlm_model_open or tlm_model_open_for_inference)",
                         path);
    return TLM_OK;
}

tlm_status_t tlmi_adapter_state_compare(const tlmi_safetensors_t *file, tlm_model_t *model,
                                        bool exact, const char *path)
{
    const bool own = model->adapters != NULL, theirs = tlmi_checkpoint_has_adapters(file);
    tlmi_json_t *state;

    if (own != theirs)
        return tlmi_fail(TLM_ERR_SHAPE, "%s: the checkpoint %s, but the model %s", path,
                         theirs ? "holds adapters" : "holds a whole model",
                         own ? "has adapters" : "has none");
    TLMI_TRY(parse(&state, file, path));
    if (state == NULL)
        return TLM_OK;
    tlm_status_t status = compare_layers(state, model, path);
    if (status == TLM_OK && exact)
        status = compare_dropout(state, model, path);
    if (status == TLM_OK)
        status = compare_base(state, model, exact, path);
    tlmi_json_free(state);
    return status;
}

/* ---- Making them ------------------------------------------------------------------------ */

static tlm_status_t read_options(tlm_lora_options_t *out, const tlmi_json_t *state,
                                 const char *path)
{
    int64_t family = 0;
    size_t size;

    if (!tlmi_json_get_int(tlmi_json_member(state, "rank"), &out->rank) ||
        !tlmi_json_get_number(tlmi_json_member(state, "alpha"), &out->alpha) ||
        !tlmi_json_get_number(tlmi_json_member(state, "dropout"), &out->dropout) ||
        !tlmi_json_get_string(tlmi_json_member(state, "targets"), &out->targets, &size) ||
        !tlmi_json_get_uint64(tlmi_json_member(state, "seed"), &out->seed) ||
        !tlmi_json_get_int(tlmi_json_member(state, "family"), &family) || family < 0 ||
        family > INT32_MAX ||
        !tlmi_json_get_bool(tlmi_json_member(state, "rank_stabilized"), &out->rank_stabilized))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the description of the adapters is incomplete", path);
    out->family = (int32_t)family;
    return tlmi_lora_options_read(out, path, out);
}

/* Fails unless the file holds B of a layer, before memory is taken for it. */
static tlm_status_t check_layer(const layer_t *layer, const tlm_model_t *model,
                                const tlmi_safetensors_t *file, const char *path)
{
    const tlmi_parameter_spec_t *spec = &model->specs[layer->index];
    char name[sizeof(spec->name) + sizeof("lora_B.weight")];

    snprintf(name, sizeof(name), "%.*slora_B.weight", (int)(strlen(spec->name) - strlen("weight")),
             spec->name);
    const tlmi_st_tensor_t *b = tlmi_safetensors_find(file, name);
    if (b != NULL && b->ndim == 2 && b->shape[0] == spec->shape[0] && b->shape[1] == layer->rank)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_FORMAT, "%s: the checkpoint has no tensor '%s' of rank %" PRId64, path,
                     name, layer->rank);
}

/* Trains or freezes the parameters that a list names. */
static tlm_status_t apply_names(tlm_model_t *model, const tlmi_json_t *list, bool frozen,
                                const char *path)
{
    const char *name;
    size_t size;

    for (size_t i = 0; i < tlmi_json_size(list); i++) {
        if (!tlmi_json_get_string(tlmi_json_item(list, i), &name, &size))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: a name of a parameter is not a text", path);
        TLMI_TRY(tlm_model_set_frozen(model, name, frozen));
    }
    return TLM_OK;
}

static tlm_status_t add_adapters(tlm_model_t *model, const tlmi_json_t *state,
                                 const tlmi_safetensors_t *file, const char *path)
{
    const size_t n = model->shape.num_parameters;
    const tlmi_json_t *list = tlmi_json_member(state, "layers");
    tlm_lora_options_t options = TLM_LORA_OPTIONS_INIT;
    bool *chosen = tlmi_calloc(n, sizeof(*chosen), "the layers of adapters");
    int64_t *ranks = tlmi_calloc(n, sizeof(*ranks), "the ranks of adapters");
    double *scales = tlmi_calloc(n, sizeof(*scales), "the scales of adapters");
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;
    layer_t layer;

    if (chosen == NULL || ranks == NULL || scales == NULL)
        goto done;
    TLMI_TRY_OR(done, read_options(&options, state, path));
    for (size_t i = 0; i < tlmi_json_size(list); i++) {
        TLMI_TRY_OR(done, read_layer(&layer, tlmi_json_item(list, i), model, path));
        TLMI_TRY_OR(done, check_layer(&layer, model, file, path));
        chosen[layer.index] = true;
        ranks[layer.index] = layer.rank;
        scales[layer.index] = layer.scale;
    }
    TLMI_TRY_OR(done, tlmi_model_add_adapters(model, &options, chosen, ranks, scales));
    TLMI_TRY_OR(done, apply_names(model, tlmi_json_member(state, "trained"), false, path));
    status = apply_names(model, tlmi_json_member(state, "frozen"), true, path);
done:
    tlmi_free(chosen);
    tlmi_free(ranks);
    tlmi_free(scales);
    return status;
}

tlm_status_t tlmi_adapter_state_add(tlm_model_t *model, const tlmi_safetensors_t *file,
                                    const char *path)
{
    tlmi_json_t *state;

    TLMI_TRY(parse(&state, file, path));
    if (state == NULL)
        return TLM_OK;
    tlm_status_t status = add_adapters(model, state, file, path);
    tlmi_json_free(state);
    return status;
}
