/* Converts a model's options to transformers' config.json and back. Keys that configure other
 * models are rejected if they would change results; all other unknown keys are ignored. */
#include "interchange/interchange.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/number.h"

/* ---- Writing ---------------------------------------------------------------------------- */

tlm_status_t tlmi_hf_set_text(tlmi_json_t *object, const char *key, const char *text)
{
    return tlmi_json_set(object, key, tlmi_json_new_string(text, strlen(text)));
}

static tlm_status_t set_token(tlmi_json_t *object, const char *key, bool exists, uint32_t id)
{
    return tlmi_json_set(object, key, exists ? tlmi_json_new_int(id) : tlmi_json_new_null());
}

static tlm_status_t append_end_tokens(tlmi_json_t *list, const tlm_model_file_options_t *file)
{
    if (file->has_end_token)
        TLMI_TRY(tlmi_json_append(list, tlmi_json_new_int(file->end_token)));
    for (uint32_t i = 0; i < file->num_more_end_tokens; i++)
        TLMI_TRY(tlmi_json_append(list, tlmi_json_new_int(file->more_end_tokens[i])));
    return TLM_OK;
}

tlm_status_t tlmi_hf_set_tokens(tlmi_json_t *object, const tlm_model_file_options_t *file)
{
    TLMI_TRY(set_token(object, "bos_token_id", file->has_begin_token, file->begin_token));
    if (file->num_more_end_tokens == 0)
        return set_token(object, "eos_token_id", file->has_end_token, file->end_token);
    tlmi_json_t *list = tlmi_json_new_array();
    if (list == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = append_end_tokens(list, file);
    if (status == TLM_OK)
        return tlmi_json_set(object, "eos_token_id", list);
    tlmi_json_free(list);
    return status;
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

/* A key of the family's own is null where the option is 0. */
static tlm_status_t set_option(tlmi_json_t *config, const tlmi_family_t *family,
                               const tlm_model_options_t *options,
                               const tlmi_model_option_t *option)
{
    const char *key = tlmi_family_key(family, option, TLMI_HF);

    if (key == NULL)
        return TLM_OK;
    if (strcmp(option->name, "query_scalar") == 0) { /* transformers wants a whole number */
        const double scalar =
            options->query_scalar == 0.0 ? (double)options->head_dim : options->query_scalar;

        return tlmi_json_set(config, key,
                             scalar == floor(scalar) && scalar < 1e9
                                 ? tlmi_json_new_int((int64_t)scalar)
                                 : tlmi_json_new_number(scalar));
    }
    if (option->type == TLMI_NUMBER && tlmi_option_number(options, option) == 0.0)
        return tlmi_json_set(config, key, tlmi_json_new_null());
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
        TLMI_TRY(set_option(config, family, options, &tlmi_options[i]));
    TLMI_TRY(tlmi_hf_blocks_write(config, family, options));
    TLMI_TRY(tlmi_hf_rope_write(config, family, options));
    TLMI_TRY(tlmi_json_set(config, "attention_dropout", tlmi_json_new_number(0.0)));
    /* Some classes would take an id that small vocabularies do not have. */
    TLMI_TRY(tlmi_json_set(config, "pad_token_id", tlmi_json_new_null()));
    TLMI_TRY(tlmi_json_set(config, "use_cache", tlmi_json_new_bool(true)));
    TLMI_TRY(tlmi_hf_set_tokens(config, file));
    return tlmi_hf_set_text(config, "torch_dtype", tlmi_weight_choices[file->weights].name);
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

tlm_status_t tlmi_config_refuse(const char *path, const char *key, const tlmi_json_t *value,
                                const char *wanted)
{
    char digits[TLMI_NUMBER_SIZE];
    const char *text = "something else";
    size_t size = strlen(text);
    bool flag = false;
    double number = 0.0;

    if (tlmi_json_get_bool(value, &flag))
        text = flag ? "true" : "false";
    else if (tlmi_json_get_number(value, &number))
        text = tlmi_number_text(digits, number, 6);
    else if (tlmi_json_get_string(value, &text, &size))
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: \"%s\" is %.*s, not %s", path, key,
                         size < 64 ? (int)size : 64, text, wanted);
    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: \"%s\" is %s, not %s", path, key, text, wanted);
}

tlm_status_t tlmi_config_bad_key(const char *path, const char *key, const char *wanted)
{
    return tlmi_fail(TLM_ERR_FORMAT, "%s: \"%s\" is not %s", path, key, wanted);
}

tlm_status_t tlmi_config_number(double *out, const tlmi_json_t *object, const char *key,
                                double missing, const char *path)
{
    const tlmi_json_t *value = tlmi_json_member(object, key);
    double number = missing;

    if (tlmi_json_is_null(value) ? missing == TLMI_REQUIRED
                                 : !(tlmi_json_get_number(value, &number) && number > 0.0))
        return tlmi_config_bad_key(path, key, "a number above 0");
    *out = number;
    return TLM_OK;
}

tlm_status_t tlmi_config_flag(bool *out, const tlmi_json_t *object, const char *key, bool missing,
                              const char *path)
{
    const tlmi_json_t *value = tlmi_json_member(object, key);
    bool flag = missing;

    if (!tlmi_json_is_null(value) && !tlmi_json_get_bool(value, &flag))
        return tlmi_config_bad_key(path, key, "true or false");
    *out = flag;
    return TLM_OK;
}

/* A model without its output projection: "LlamaModel", "Gemma3TextModel". */
static bool is_base_class(const char *hf_class, const char *name)
{
    static const char *const ends[] = {"ForCausalLM", "LMHeadModel"};
    static const char *const base_ends[] = {"Model", "TextModel"};

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        const char *end = strstr(hf_class, ends[i]);
        const size_t size = end == NULL ? 0 : (size_t)(end - hf_class);

        if (size > 0 && strncmp(name, hf_class, size) == 0 &&
            (strcmp(name + size, base_ends[0]) == 0 || strcmp(name + size, base_ends[1]) == 0))
            return true;
    }
    return false;
}

static const tlmi_family_t *family_of_class(const char *name)
{
    for (size_t i = 0; i < tlmi_num_families; i++)
        if (strcmp(tlmi_families[i].hf_class, name) == 0 ||
            is_base_class(tlmi_families[i].hf_class, name))
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

    if (tlmi_json_is_array(list) && tlmi_json_size(list) == 0)
        list = NULL;
    if (tlmi_json_is_null(list) && tlmi_json_is_null(type))
        return tlmi_config_bad_key(path, "model_type", "there, nor \"architectures\"");
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

        name = "what is not a string";
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

/* Other names of the family's keys, which transformers reads too. One that contradicts the family's key
 * is refused, as which of them counts depends on their order. */
static tlm_status_t find_alias(const tlmi_json_t **value, const tlmi_family_t *family,
                               const tlmi_model_option_t *option, const char *key,
                               const tlmi_json_t *config, const char *path)
{
    static const char *const named[] = {"context_length", "d_model", "num_layers", "num_heads"};
    const char *common = option->keys[TLMI_HF].key;
    int64_t own = 0, other = 0;
    bool is_named = false;

    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++)
        is_named = is_named || strcmp(option->name, named[i]) == 0;
    if (family->keys == NULL || !is_named || common == NULL || strcmp(common, key) == 0)
        return TLM_OK;
    const tlmi_json_t *alias = tlmi_json_member(config, common);
    if (tlmi_json_is_null(alias))
        return TLM_OK;
    if (tlmi_json_is_null(*value)) {
        *value = alias;
        return TLM_OK;
    }
    if (tlmi_json_get_int(*value, &own) && tlmi_json_get_int(alias, &other) && own == other)
        return TLM_OK;
    char wanted[TLMI_OPTION_TEXT];
    snprintf(wanted, sizeof(wanted), "the value of \"%s\"", key);
    return tlmi_config_refuse(path, common, alias, wanted);
}

/* Returns the option's value when its key is missing. */
static double missing_value(const tlmi_family_t *family, const tlmi_model_option_t *option)
{
    const tlmi_setting_t *missing = tlmi_setting_find(family->missing, option->name);

    return missing == NULL ? option->keys[TLMI_HF].missing : missing->value;
}

static tlm_status_t read_option(tlm_model_options_t *options, const tlmi_model_option_t *option,
                                const char *key, const tlmi_json_t *value, const char *path)
{
    double number;

    if (option->type == TLMI_NUMBER) {
        if (!tlmi_json_get_number(value, &number) || !(number > 0.0))
            return tlmi_config_bad_key(path, key, "a number above 0");
        tlmi_option_set_number(options, option, number);
        return TLM_OK;
    }
    bool flag;
    if (option->type == TLMI_FLAG) {
        if (!tlmi_json_get_bool(value, &flag))
            return tlmi_config_bad_key(path, key, "true or false");
        tlmi_option_set_int(options, option, flag);
        return TLM_OK;
    }
    int64_t size;
    if (!tlmi_json_get_int(value, &size) || size <= 0)
        return tlmi_config_bad_key(path, key, "a whole number above 0");
    tlmi_option_set_int(options, option, size);
    return TLM_OK;
}

static tlm_status_t read_table(tlm_model_options_t *options, const tlmi_family_t *family,
                               const tlmi_json_t *config, const char *path)
{
    for (size_t i = 0; i < tlmi_num_options; i++) {
        const tlmi_model_option_t *option = &tlmi_options[i];
        const char *key = tlmi_family_key(family, option, TLMI_HF);
        const tlmi_json_t *value = key == NULL ? NULL : tlmi_json_member(config, key);
        const double missing = missing_value(family, option);

        if (key == NULL)
            continue;
        TLMI_TRY(find_alias(&value, family, option, key, config, path));
        if (!tlmi_json_is_null(value) || missing == TLMI_REQUIRED)
            TLMI_TRY(read_option(options, option, key, value, path));
        else if (value == NULL || option->keys[TLMI_HF].key == key)
            tlmi_option_set(options, option, missing);
        else if (option->required)
            return tlmi_config_bad_key(path, key, "a whole number above 0");
        /* else: null for a key of the family's own is no value, and the option stays 0 */
    }
    if (options->query_scalar == (double)options->head_dim)
        options->query_scalar = 0.0;
    tlmi_family_apply(options, family);
    return TLM_OK;
}

/* ---- Tokens ----------------------------------------------------------------------------- */

/* Reads an id. -1 means none, and defaults may be outside the vocabulary: *exists becomes false. */
static tlm_status_t read_id(bool *exists, uint32_t *id, const tlmi_json_t *value, const char *key,
                            int64_t vocab_size, const char *path)
{
    int64_t number;

    if (!tlmi_json_get_int(value, &number))
        return tlmi_config_bad_key(path, key, "an id");
    *exists = number >= 0 && number < vocab_size;
    if (*exists)
        *id = (uint32_t)number;
    return TLM_OK;
}

static tlm_status_t read_begin_token(tlm_model_file_options_t *file, const tlmi_json_t *object,
                                     int64_t vocab_size, const char *path)
{
    static const char key[] = "bos_token_id";
    const tlmi_json_t *value = tlmi_json_member(object, key);

    if (tlmi_json_is_array(value))
        value = tlmi_json_item(value, 0);
    if (tlmi_json_is_null(value) || file->has_begin_token)
        return TLM_OK;
    return read_id(&file->has_begin_token, &file->begin_token, value, key, vocab_size, path);
}

tlm_status_t tlmi_add_end_token(tlm_model_file_options_t *file, uint32_t id, const char *path)
{
    if (!file->has_end_token) {
        file->has_end_token = true;
        file->end_token = id;
        return TLM_OK;
    }
    if (id == file->end_token)
        return TLM_OK;
    for (uint32_t i = 0; i < file->num_more_end_tokens; i++)
        if (id == file->more_end_tokens[i])
            return TLM_OK;
    if (file->num_more_end_tokens == TLM_MORE_END_TOKENS)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: more than %d end tokens", path,
                         TLM_MORE_END_TOKENS + 1);
    file->more_end_tokens[file->num_more_end_tokens++] = id;
    return TLM_OK;
}

tlm_status_t tlmi_hf_tokens_read(tlm_model_file_options_t *file, const tlmi_json_t *object,
                                 int64_t vocab_size, const char *path)
{
    static const char key[] = "eos_token_id";
    const tlmi_json_t *value = tlmi_json_member(object, key);
    const bool is_list = tlmi_json_is_array(value);
    const size_t n = is_list ? tlmi_json_size(value) : tlmi_json_is_null(value) ? 0 : 1;

    TLMI_TRY(read_begin_token(file, object, vocab_size, path));
    for (size_t i = 0; i < n; i++) {
        bool exists = false;
        uint32_t id = 0;

        TLMI_TRY(read_id(&exists, &id, is_list ? tlmi_json_item(value, i) : value, key, vocab_size,
                         path));
        if (exists)
            TLMI_TRY(tlmi_add_end_token(file, id, path));
    }
    return TLM_OK;
}

/* ---- The file --------------------------------------------------------------------------- */

tlm_status_t tlmi_hf_config_read(tlm_model_options_t *out, const tlmi_family_t **family,
                                 tlm_model_file_options_t *file, const tlmi_json_t *config,
                                 const char *path)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_file_options_t tokens = *file;

    TLMI_TRY(find_family(family, config, path));
    TLMI_TRY(read_table(&options, *family, config, path));
    TLMI_TRY(tlmi_hf_blocks_read(&options, *family, config, path));
    TLMI_TRY(tlmi_hf_rope_read(&options, *family, config, path));
    TLMI_TRY(tlmi_hf_tokens_read(&tokens, config, options.vocab_size, path));
    *out = options;
    *file = tokens;
    return TLM_OK;
}
