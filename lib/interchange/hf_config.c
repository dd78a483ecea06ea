/* Converts a model's options to transformers' config.json and back. Keys that configure other
 * models are rejected if they would change results; all other unknown keys are ignored. */
#include "interchange/interchange.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Writing ---------------------------------------------------------------------------- */

tlm_status_t tlmi_hf_set_text(tlmi_json_t *object, const char *key, const char *text)
{
    return tlmi_json_set(object, key, tlmi_json_new_string(text, strlen(text)));
}

static tlm_status_t set_token(tlmi_json_t *object, const char *key, bool exists, uint32_t id)
{
    return tlmi_json_set(object, key, exists ? tlmi_json_new_int(id) : tlmi_json_new_null());
}

tlm_status_t tlmi_hf_set_tokens(tlmi_json_t *object, const tlm_model_file_options_t *file)
{
    TLMI_TRY(set_token(object, "bos_token_id", file->has_begin_token, file->begin_token));
    return set_token(object, "eos_token_id", file->has_end_token, file->end_token);
}

static tlm_status_t set_architecture(tlmi_json_t *config, const tlmi_family_t *family)
{
    tlmi_json_t *list = tlmi_json_new_array();

    if (list == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status =
        tlmi_json_append(list, tlmi_json_new_string(family->hf_class, strlen(family->hf_class)));
    if (status != TLM_OK) {
        tlmi_json_free(list);
        return status;
    }
    TLMI_TRY(tlmi_json_set(config, "architectures", list));
    return tlmi_hf_set_text(config, "model_type", family->names[TLMI_HF]);
}

static tlm_status_t set_option(tlmi_json_t *config, const tlm_model_options_t *options,
                               const tlmi_model_option_t *option)
{
    const char *key = option->keys[TLMI_HF].key;

    if (option->type == TLMI_NUMBER)
        return tlmi_json_set(config, key,
                             tlmi_json_new_number(tlmi_option_number(options, option)));
    if (option->type == TLMI_FLAG)
        return tlmi_json_set(config, key,
                             tlmi_json_new_bool(tlmi_option_int(options, option) != 0));
    return tlmi_json_set(config, key, tlmi_json_new_int(tlmi_option_int(options, option)));
}

static tlm_status_t set_all(tlmi_json_t *config, const tlmi_family_t *family,
                            const tlm_model_options_t *options,
                            const tlm_model_file_options_t *file)
{
    TLMI_TRY(set_architecture(config, family));
    for (size_t i = 0; i < tlmi_num_options; i++)
        if (tlmi_options[i].keys[TLMI_HF].key != NULL)
            TLMI_TRY(set_option(config, options, &tlmi_options[i]));
    TLMI_TRY(tlmi_hf_set_text(config, "hidden_act", "silu"));
    TLMI_TRY(tlmi_json_set(config, "rope_scaling", tlmi_json_new_null()));
    TLMI_TRY(tlmi_json_set(config, "attention_bias", tlmi_json_new_bool(false)));
    TLMI_TRY(tlmi_json_set(config, "attention_dropout", tlmi_json_new_number(0.0)));
    TLMI_TRY(tlmi_json_set(config, "mlp_bias", tlmi_json_new_bool(false)));
    TLMI_TRY(tlmi_json_set(config, "use_cache", tlmi_json_new_bool(true)));
    TLMI_TRY(tlmi_hf_set_tokens(config, file));
    return tlmi_hf_set_text(config, "torch_dtype", tlmi_weights_type(file->weights)->name);
}

tlm_status_t tlmi_hf_config_write(tlmi_json_t **out, const tlmi_family_t *family,
                                  const tlm_model_options_t *options,
                                  const tlm_model_file_options_t *file)
{
    tlmi_json_t *config = tlmi_json_new_object();

    if (config == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = set_all(config, family, options, file);
    if (status == TLM_OK)
        *out = config;
    else
        tlmi_json_free(config);
    return status;
}

/* ---- Reading ---------------------------------------------------------------------------- */

static tlm_status_t refuse(const char *path, const char *key, const char *reason)
{
    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: \"%s\" %s", path, key, reason);
}

static tlm_status_t fail_key(const char *path, const char *key, const char *wanted)
{
    return tlmi_fail(TLM_ERR_FORMAT, "%s: \"%s\" is not %s", path, key, wanted);
}

/* Returns whether the member is missing, null, or equal to this text. */
static bool is_absent_or(const tlmi_json_t *object, const char *key, const char *text)
{
    const tlmi_json_t *value = tlmi_json_member(object, key);
    const char *own;
    size_t size;

    return tlmi_json_is_null(value) || (tlmi_json_get_string(value, &own, &size) &&
                                        size == strlen(text) && memcmp(own, text, size) == 0);
}

static const tlmi_family_t *family_of_class(const char *name)
{
    for (size_t i = 0; i < tlmi_num_families; i++)
        if (strcmp(tlmi_families[i].hf_class, name) == 0)
            return &tlmi_families[i];
    return NULL;
}

/* Finds the family from "model_type" and the classes in "architectures". The two must agree; either
 * may be missing. */
static tlm_status_t find_family(const tlmi_family_t **out, const tlmi_json_t *config,
                                const char *path)
{
    const tlmi_json_t *type = tlmi_json_member(config, "model_type");
    const tlmi_json_t *list = tlmi_json_member(config, "architectures");
    const tlmi_family_t *family = NULL;
    const char *name = "?";
    size_t size = 0;

    if (tlmi_json_is_null(list) && tlmi_json_is_null(type))
        return fail_key(path, "model_type", "there, nor \"architectures\"");
    char names[TLMI_FAMILIES_TEXT];
    if (!tlmi_json_is_null(type)) {
        if (tlmi_json_get_string(type, &name, &size))
            family = tlmi_family_find(TLMI_HF, name, size);
        if (family == NULL)
            return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: \"model_type\" is %.64s, not %s", path, name,
                             tlmi_families_text(names, TLMI_HF));
    }
    for (size_t i = 0; !tlmi_json_is_null(list) && (i < tlmi_json_size(list) || i == 0); i++) {
        const tlmi_family_t *own = NULL;

        if (tlmi_json_get_string(tlmi_json_item(list, i), &name, &size))
            own = family_of_class(name);
        if (own == NULL || (family != NULL && own != family))
            return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: \"architectures\" has %.64s, not %s", path,
                             name, family == NULL ? "a known one" : family->hf_class);
        family = own;
    }
    *out = family;
    return TLM_OK;
}

/* Returns the option's value when its key is missing. */
static double missing_value(const tlmi_family_t *family, const tlmi_model_option_t *option)
{
    for (const tlmi_setting_t *missing = family->missing; missing->option != NULL; missing++)
        if (strcmp(missing->option, option->name) == 0)
            return missing->value;
    return option->keys[TLMI_HF].missing;
}

static tlm_status_t read_option(tlm_model_options_t *options, const tlmi_model_option_t *option,
                                const tlmi_json_t *value, const char *path)
{
    const char *key = option->keys[TLMI_HF].key;
    double number;

    if (option->type == TLMI_NUMBER) {
        if (!tlmi_json_get_number(value, &number) || !(number > 0.0))
            return fail_key(path, key, "a number above 0");
        tlmi_option_set_number(options, option, number);
        return TLM_OK;
    }
    bool flag;
    if (option->type == TLMI_FLAG) {
        if (!tlmi_json_get_bool(value, &flag))
            return fail_key(path, key, "true or false");
        tlmi_option_set_int(options, option, flag);
        return TLM_OK;
    }
    int64_t size;
    if (!tlmi_json_get_int(value, &size) || size <= 0)
        return fail_key(path, key, "a whole number above 0");
    tlmi_option_set_int(options, option, size);
    return TLM_OK;
}

static tlm_status_t read_table(tlm_model_options_t *options, const tlmi_family_t *family,
                               const tlmi_json_t *config, const char *path)
{
    for (size_t i = 0; i < tlmi_num_options; i++) {
        const tlmi_model_option_t *option = &tlmi_options[i];
        const char *key = option->keys[TLMI_HF].key;
        const tlmi_json_t *value = key == NULL ? NULL : tlmi_json_member(config, key);
        const double missing = missing_value(family, option);

        if (key == NULL)
            continue;
        if (!tlmi_json_is_null(value) || missing == TLMI_REQUIRED)
            TLMI_TRY(read_option(options, option, value, path));
        else
            tlmi_option_set(options, option, missing);
    }
    tlmi_family_apply(options, family);
    return TLM_OK;
}

static tlm_status_t check_switches(const tlmi_json_t *config, const char *path)
{
    static const char *const biases[] = {"attention_bias", "mlp_bias"};
    static const char *const nulls[] = {"sliding_window", "quantization_config"};
    bool is_set = false;

    for (size_t i = 0; i < COUNT_OF(biases); i++) {
        const tlmi_json_t *value = tlmi_json_member(config, biases[i]);
        if (!tlmi_json_is_null(value) && !tlmi_json_get_bool(value, &is_set))
            return fail_key(path, biases[i], "true or false");
        if (is_set)
            return refuse(path, biases[i], "is true, and models here have no biases");
    }
    for (size_t i = 0; i < COUNT_OF(nulls); i++)
        if (!tlmi_json_is_null(tlmi_json_member(config, nulls[i])))
            return refuse(path, nulls[i], "is not supported");
    if (!is_absent_or(config, "hidden_act", "silu") && !is_absent_or(config, "hidden_act", "swish"))
        return refuse(path, "hidden_act", "is not silu");
    return TLM_OK;
}

/* Reads a positive number. Sets *out to `missing` if the key is missing or null. */
static tlm_status_t read_number(double *out, const tlmi_json_t *object, const char *key,
                                double missing, const char *path)
{
    const tlmi_json_t *value = tlmi_json_member(object, key);

    *out = missing;
    if (tlmi_json_is_null(value) || (tlmi_json_get_number(value, out) && *out > 0.0))
        return TLM_OK;
    return fail_key(path, key, "a number above 0");
}

/* Since transformers 5, "rope_parameters" holds all RoPE settings. Earlier versions used
 * "rope_scaling" beside "rope_theta", which *theta already holds. */
static tlm_status_t read_rope(double *theta, const tlmi_json_t *config, const char *path)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    double part;

    TLMI_TRY(read_number(&part, config, "partial_rotary_factor", 1.0, path));
    if (part != 1.0)
        return refuse(path, "partial_rotary_factor", "is not 1");
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        const tlmi_json_t *rope = tlmi_json_member(config, keys[i]);

        if (tlmi_json_is_null(rope))
            continue;
        if (!tlmi_json_is_object(rope))
            return fail_key(path, keys[i], "an object");
        if (!is_absent_or(rope, "rope_type", "default") || !is_absent_or(rope, "type", "default"))
            return refuse(path, keys[i], "is of a type other than default");
        TLMI_TRY(read_number(theta, rope, "rope_theta", *theta, path));
        TLMI_TRY(read_number(&part, rope, "partial_rotary_factor", 1.0, path));
        if (part != 1.0)
            return refuse(path, "partial_rotary_factor", "is not 1");
    }
    return TLM_OK;
}

/* Reads an id. If the value is a list, reads its first id. */
static tlm_status_t read_token(bool *exists, uint32_t *id, const tlmi_json_t *config,
                               const char *key, int64_t vocab_size, const char *path)
{
    const tlmi_json_t *value = tlmi_json_member(config, key);

    if (tlmi_json_is_array(value))
        value = tlmi_json_item(value, 0);
    *exists = !tlmi_json_is_null(value);
    if (!*exists)
        return TLM_OK;
    int64_t number;
    if (!tlmi_json_get_int(value, &number))
        return fail_key(path, key, "an id");
    *exists = number >= 0 && number < vocab_size; /* -1 means none; defaults may be out of range */
    if (*exists)
        *id = (uint32_t)number;
    return TLM_OK;
}

tlm_status_t tlmi_hf_config_read(tlm_model_options_t *out, const tlmi_family_t **family,
                                 tlm_model_file_options_t *file, const tlmi_json_t *config,
                                 const char *path)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_file_options_t tokens = *file;

    TLMI_TRY(find_family(family, config, path));
    TLMI_TRY(read_table(&options, *family, config, path));
    TLMI_TRY(check_switches(config, path));
    TLMI_TRY(read_rope(&options.rope_theta, config, path));
    TLMI_TRY(read_token(&tokens.has_begin_token, &tokens.begin_token, config, "bos_token_id",
                        options.vocab_size, path));
    TLMI_TRY(read_token(&tokens.has_end_token, &tokens.end_token, config, "eos_token_id",
                        options.vocab_size, path));
    *out = options;
    *file = tokens;
    return TLM_OK;
}
