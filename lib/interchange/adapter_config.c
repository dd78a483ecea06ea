/* The adapter_config.json of PEFT. The tensors beside it say which layers have an adapter and of
 * which rank; this file says how they are scaled, and whether it is LoRA as here at all: a key that
 * asks for something else is refused with its value. */
#include "interchange/adapter_files.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/glob.h"
#include "base/number.h"

/* ---- Keys ------------------------------------------------------------------------------- */

/* Keys that do not change what the adapters of a folder compute: some are read elsewhere, some say
 * again what the tensors show, some matter only before training. */
static const char *const harmless[] = {
    "peft_type",
    "task_type",
    "base_model_name_or_path",
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "bias",
    "init_lora_weights",
    "fan_in_fan_out",
    "inference_mode",
    "revision",
    "auto_mapping",
    "peft_version",
    "loftq_config",
    "megatron_core",
    "qalora_group_size",
    "runtime_config",
};

static bool is_harmless(const char *key)
{
    for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
        if (strcmp(key, harmless[i]) == 0)
            return true;
    return false;
}

/* Whether the value asks for nothing: null, false, or empty. */
static bool is_neutral(const tlmi_json_t *value)
{
    const char *text;
    bool flag = false;
    size_t size = 1;

    if (tlmi_json_is_null(value) || (tlmi_json_get_bool(value, &flag) && !flag))
        return true;
    if (tlmi_json_get_string(value, &text, &size))
        return size == 0;
    return (tlmi_json_is_array(value) || tlmi_json_is_object(value)) && tlmi_json_size(value) == 0;
}

/* A string must be one of the words; a missing key or null is fine. */
static tlm_status_t check_word(const tlmi_json_t *config, const char *key, const char *const *words,
                               const char *path)
{
    const tlmi_json_t *value = tlmi_json_member(config, key);

    if (tlmi_json_is_null(value))
        return TLM_OK;
    for (size_t i = 0; words[i] != NULL; i++)
        if (tlmi_json_is_text(value, words[i]))
            return TLM_OK;
    return tlmi_config_refuse(path, key, value, words[0]);
}

static tlm_status_t check_keys(const tlmi_json_t *config, const char *path)
{
    static const char *const types[] = {"LORA", NULL}, *const tasks[] = {"CAUSAL_LM", NULL};
    static const char *const biases[] = {"none", NULL};
    static const char *const starts[] = {"gaussian", "orthogonal", "eva", "lora_ga",
                                         "true",     "false",      NULL};
    const tlmi_json_t *value;
    void *cursor = NULL;
    const char *key;
    bool flag;

    while (tlmi_json_next(config, &cursor, &key, &value))
        if (!is_harmless(key) && !is_neutral(value))
            return tlmi_config_refuse(path, key, value, "what plain LoRA has");
    if (tlmi_json_is_null(tlmi_json_member(config, "peft_type")))
        return tlmi_config_bad_key(path, "peft_type", "there");
    TLMI_TRY(check_word(config, "peft_type", types, path));
    TLMI_TRY(check_word(config, "task_type", tasks, path));
    TLMI_TRY(check_word(config, "bias", biases, path));
    if (tlmi_json_get_bool(tlmi_json_member(config, "init_lora_weights"), &flag))
        return TLM_OK;
    return check_word(config, "init_lora_weights", starts, path);
}

/* ---- Patterns --------------------------------------------------------------------------- */

/* The entry of a pattern fits what a name ends with, as PEFT's regular expressions do for names. */
static bool ends_with_entry(const char *name, const char *entry)
{
    const size_t size = strlen(name), own = strlen(entry);

    return own <= size && memcmp(name + size - own, entry, own) == 0 &&
           (own == size || name[size - own - 1] == '.');
}

/* PEFT takes keys of patterns for regular expressions; those that are more than a name are
 * refused. */
static tlm_status_t check_pattern(const tlmi_json_t *config, const char *key, const char *path)
{
    const tlmi_json_t *pattern = tlmi_json_member(config, key), *value;
    void *cursor = NULL;
    const char *entry;
    double number;

    if (tlmi_json_is_null(pattern))
        return TLM_OK;
    if (!tlmi_json_is_object(pattern))
        return tlmi_config_bad_key(path, key, "an object");
    while (tlmi_json_next(pattern, &cursor, &entry, &value)) {
        if (strpbrk(entry, "*+?[](){}|^$\\") != NULL)
            return tlmi_fail(TLM_ERR_UNSUPPORTED,
                             "%s: \"%s\" has the regular expression \"%.128s\"; only names are "
                             "supported",
                             path, key, entry);
        if (!tlmi_json_get_number(value, &number) || !(number > 0.0))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: \"%.128s\" of \"%s\" is not a number above 0",
                             path, entry, key);
    }
    return TLM_OK;
}

/* The number that a pattern has for a module, or `otherwise`. */
static double look_up(const tlmi_json_t *pattern, const char *module, double otherwise)
{
    const tlmi_json_t *value;
    void *cursor = NULL;
    const char *entry;
    double number;

    while (tlmi_json_is_object(pattern) && tlmi_json_next(pattern, &cursor, &entry, &value))
        if (ends_with_entry(module, entry) && tlmi_json_get_number(value, &number))
            return number;
    return otherwise;
}

/* ---- Reading ---------------------------------------------------------------------------- */

tlm_status_t tlmi_adapter_config_read(tlmi_adapter_config_t *out, const tlmi_json_t *config,
                                      const char *path)
{
    tlmi_adapter_config_t read = {.config = config};
    const tlmi_json_t *dropout = tlmi_json_member(config, "lora_dropout");

    TLMI_TRY(check_keys(config, path));
    TLMI_TRY(tlmi_config_number(&read.rank, config, "r", 8.0, path));
    TLMI_TRY(tlmi_config_number(&read.alpha, config, "lora_alpha", 8.0, path));
    TLMI_TRY(tlmi_config_flag(&read.rank_stabilized, config, "use_rslora", false, path));
    if (!tlmi_json_is_null(dropout) && !(tlmi_json_get_number(dropout, &read.dropout) &&
                                         read.dropout >= 0.0 && read.dropout < 1.0))
        return tlmi_config_bad_key(path, "lora_dropout", "in [0, 1)");
    if (read.rank != floor(read.rank) || read.rank > INT32_MAX)
        return tlmi_config_bad_key(path, "r", "a whole number of 32 bits");
    TLMI_TRY(check_pattern(config, "rank_pattern", path));
    TLMI_TRY(check_pattern(config, "alpha_pattern", path));
    *out = read;
    return TLM_OK;
}

tlm_status_t tlmi_adapter_config_scale(double *out, const tlmi_adapter_config_t *config,
                                       const char *module, int64_t rank, const char *path)
{
    const tlmi_json_t *ranks = tlmi_json_member(config->config, "rank_pattern");
    const tlmi_json_t *alphas = tlmi_json_member(config->config, "alpha_pattern");
    const double own = look_up(ranks, module, config->rank);
    const double alpha = look_up(alphas, module, config->alpha);

    if (own != (double)rank)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: the rank of '%s' is %s, but its tensors have %" PRId64, path, module,
                         TLMI_G(own), rank);
    *out = alpha / tlmi_lora_divisor((double)rank, config->rank_stabilized);
    return TLM_OK;
}

/* ---- Writing ---------------------------------------------------------------------------- */

/* Whether every linear layer of the blocks whose module ends with `suffix` has an adapter, so that
 * this ending alone names them. */
static bool names_all(const tlm_model_t *model, const tlmi_family_t *family, const char *suffix)
{
    tlmi_module_t module;

    for (size_t i = 0; i < model->shape.num_parameters; i++)
        if (tlmi_module_of(&module, model, i, family) && ends_with_entry(module.name, suffix) &&
            !tlmi_module_is_adapted(model, &module))
            return false;
    return true;
}

/* The shortest ending of the module's name that names only layers with an adapter. */
static const char *ending_of(const tlm_model_t *model, const tlmi_family_t *family,
                             const tlmi_module_t *module)
{
    const char *last = strrchr(module->name, '.');

    last = last == NULL ? module->name : last + 1;
    if (names_all(model, family, last))
        return last;
    return names_all(model, family, module->name + module->suffix) ? module->name + module->suffix
                                                                   : module->name;
}

static bool has_string(const tlmi_json_t *list, const char *text)
{
    for (size_t i = 0; i < tlmi_json_size(list); i++)
        if (tlmi_json_is_text(tlmi_json_item(list, i), text))
            return true;
    return false;
}

static tlm_status_t set_targets(tlmi_json_t *config, const tlm_model_t *model,
                                const tlmi_family_t *family)
{
    tlmi_json_t *list = tlmi_json_new_array();
    tlm_status_t status = list == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
    tlmi_module_t module;

    for (size_t i = 0; status == TLM_OK && i < model->shape.num_parameters; i++) {
        if (!tlmi_module_of(&module, model, i, family) || !tlmi_module_is_adapted(model, &module))
            continue;
        const char *name = ending_of(model, family, &module);
        if (!has_string(list, name))
            status = tlmi_json_append(list, tlmi_json_new_string(name, strlen(name)));
    }
    if (status != TLM_OK) {
        tlmi_json_free(list);
        return status;
    }
    return tlmi_json_set(config, "target_modules", list);
}

/* Sets rank_pattern and alpha_pattern: layers that differ from the options of the adapters. */
static tlm_status_t fill_patterns(tlmi_json_t *ranks, tlmi_json_t *alphas, const tlm_model_t *model,
                                  const tlmi_family_t *family)
{
    tlmi_module_t module;

    for (size_t i = 0; i < model->shape.num_parameters; i++) {
        if (model->adapters[i].b == 0 || !tlmi_module_of(&module, model, i, family) ||
            !tlmi_json_is_null(tlmi_json_member(ranks, module.name)) ||
            !tlmi_json_is_null(tlmi_json_member(alphas, module.name)))
            continue;
        const double rank = (double)model->parameters[model->adapters[i].a]->shape[0];
        const double unit = tlmi_lora_divisor(rank, model->lora.rank_stabilized);
        const double alpha = model->lora.alpha;

        if (rank != (double)model->lora.rank)
            TLMI_TRY(tlmi_json_set(ranks, module.name, tlmi_json_new_int((int64_t)rank)));
        if ((float)(alpha / unit) != model->adapters[i].scale)
            TLMI_TRY(tlmi_json_set(alphas, module.name,
                                   tlmi_json_new_number((double)model->adapters[i].scale * unit)));
    }
    return TLM_OK;
}

static tlm_status_t set_patterns(tlmi_json_t *config, const tlm_model_t *model,
                                 const tlmi_family_t *family)
{
    tlmi_json_t *ranks = tlmi_json_new_object(), *alphas = tlmi_json_new_object();
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (ranks == NULL || alphas == NULL)
        goto fail;
    TLMI_TRY_OR(fail, fill_patterns(ranks, alphas, model, family));
    status = tlmi_json_set(config, "rank_pattern", ranks);
    ranks = NULL;
    if (status == TLM_OK) {
        status = tlmi_json_set(config, "alpha_pattern", alphas);
        alphas = NULL;
    }
fail:
    tlmi_json_free(ranks);
    tlmi_json_free(alphas);
    return status;
}

/* A whole number is written as one: PEFT's r must be, and alpha usually is. */
static tlmi_json_t *new_number(double value)
{
    return value == floor(value) && value < 1e15 ? tlmi_json_new_int((int64_t)value)
                                                 : tlmi_json_new_number(value);
}

tlm_status_t tlmi_adapter_config_fill(tlmi_json_t *config, const tlm_model_t *model,
                                      const tlmi_family_t *family)
{
    const tlm_lora_options_t *lora = &model->lora;
    const tlmi_family_tensor_t *output =
        family == NULL ? NULL : tlmi_family_tensor(family, TLMI_HF, TLMI_ATTN_OUTPUT);
    const bool transposed = output != NULL && output->transposed;

    TLMI_TRY(tlmi_hf_set_text(config, "peft_type", "LORA"));
    TLMI_TRY(tlmi_hf_set_text(config, "task_type", "CAUSAL_LM"));
    TLMI_TRY(model->source != NULL
                 ? tlmi_hf_set_text(config, "base_model_name_or_path", model->source)
                 : tlmi_json_set(config, "base_model_name_or_path", tlmi_json_new_null()));
    TLMI_TRY(tlmi_json_set(config, "r", tlmi_json_new_int(lora->rank)));
    TLMI_TRY(tlmi_json_set(config, "lora_alpha", new_number(lora->alpha)));
    TLMI_TRY(tlmi_json_set(config, "lora_dropout", tlmi_json_new_number(lora->dropout)));
    TLMI_TRY(tlmi_json_set(config, "use_rslora", tlmi_json_new_bool(lora->rank_stabilized)));
    TLMI_TRY(tlmi_hf_set_text(config, "bias", "none"));
    TLMI_TRY(tlmi_json_set(config, "fan_in_fan_out", tlmi_json_new_bool(transposed)));
    TLMI_TRY(tlmi_json_set(config, "inference_mode", tlmi_json_new_bool(true)));
    TLMI_TRY(tlmi_json_set(config, "init_lora_weights", tlmi_json_new_bool(true)));
    TLMI_TRY(set_patterns(config, model, family));
    return set_targets(config, model, family);
}
