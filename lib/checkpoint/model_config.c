/* A model's options to JSON and back, by the table of architecture.h. A file says no more than its
 * model needs, so a reader that lacks an option meets it only where it matters. */
#include "checkpoint/checkpoint_core.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"

bool tlmi_model_config_is_first(const tlm_model_options_t *options)
{
    for (size_t i = 0; i < tlmi_num_options; i++)
        if (tlmi_options[i].stored != TLMI_ALWAYS &&
            !tlmi_option_is_default(options, &tlmi_options[i]))
            return false;
    return true;
}

/* ---- Writing ---------------------------------------------------------------------------- */

static tlmi_json_t *new_value(const tlm_model_options_t *options, const tlmi_model_option_t *option)
{
    char text[TLMI_OPTION_TEXT];

    switch (option->type) {
    case TLMI_SEED:
        return tlmi_json_new_uint64(options->seed);
    case TLMI_NUMBER:
        return tlmi_json_new_number(tlmi_option_number(options, option));
    case TLMI_CHOICE:
        tlmi_option_text(text, options, option);
        return tlmi_json_new_string(text, strlen(text));
    case TLMI_FLAG:
        return tlmi_json_new_bool(tlmi_option_int(options, option) != 0);
    default:
        return tlmi_json_new_int(tlmi_option_int(options, option));
    }
}

static tlm_status_t write_options(tlmi_json_t *config, const tlm_model_options_t *options)
{
    const bool first = tlmi_model_config_is_first(options);

    for (size_t i = 0; i < tlmi_num_options; i++) {
        const tlmi_model_option_t *option = &tlmi_options[i];

        if (option->stored == TLMI_ALWAYS || (option->stored == TLMI_IN_VERSION_2 && !first) ||
            !tlmi_option_is_default(options, option))
            TLMI_TRY(tlmi_json_set(config, option->name, new_value(options, option)));
    }
    return TLM_OK;
}

tlm_status_t tlmi_model_config_write(tlmi_json_t **out, const tlm_model_options_t *options)
{
    tlmi_json_t *config = tlmi_json_new_object();

    if (config == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = write_options(config, options);
    if (status == TLM_OK)
        *out = config;
    else
        tlmi_json_free(config);
    return status;
}

/* ---- Reading ---------------------------------------------------------------------------- */

static bool read_word(tlm_model_options_t *options, const tlmi_model_option_t *option,
                      const tlmi_json_t *value)
{
    const char *word;
    size_t size;

    if (!tlmi_json_get_string(value, &word, &size))
        return false;
    for (int32_t i = 0; i < tlmi_option_num_words(option); i++)
        if (strlen(option->words[i]) == size && memcmp(option->words[i], word, size) == 0) {
            tlmi_option_set_int(options, option, i);
            return true;
        }
    return false;
}

/* False if the value is none of the option's type. */
static bool read_value(tlm_model_options_t *options, const tlmi_model_option_t *option,
                       const tlmi_json_t *value)
{
    double number = 0.0;
    int64_t size = 0;
    bool flag = false;

    switch (option->type) {
    case TLMI_SEED:
        return tlmi_json_get_uint64(value, &options->seed);
    case TLMI_CHOICE:
        return read_word(options, option, value);
    case TLMI_NUMBER:
        if (!tlmi_json_get_number(value, &number) || !(number > 0.0))
            return false;
        tlmi_option_set_number(options, option, number);
        return true;
    case TLMI_FLAG:
        if (!tlmi_json_get_bool(value, &flag))
            return false;
        tlmi_option_set_int(options, option, flag);
        return true;
    default:
        if (!tlmi_json_get_int(value, &size) || size <= 0)
            return false;
        tlmi_option_set_int(options, option, size);
        return true;
    }
}

/* An option that this version does not know would change what the weights mean. */
static tlm_status_t check_known(const tlmi_json_t *config, const char *path)
{
    const tlmi_json_t *value;
    void *cursor = NULL;
    const char *key;

    while (tlmi_json_next(config, &cursor, &key, &value)) {
        size_t i = 0;

        while (i < tlmi_num_options && strcmp(tlmi_options[i].name, key) != 0)
            i++;
        if (i == tlmi_num_options)
            return tlmi_fail(TLM_ERR_UNSUPPORTED,
                             "%s: the model has the option %.64s, which this version does not know",
                             path, key);
    }
    return TLM_OK;
}

tlm_status_t tlmi_model_config_read(tlm_model_options_t *out, const tlmi_json_t *config,
                                    const char *path)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;

    for (size_t i = 0; i < tlmi_num_options; i++) {
        const tlmi_model_option_t *option = &tlmi_options[i];
        const tlmi_json_t *value = tlmi_json_member(config, option->name);

        if (value == NULL ? option->stored == TLMI_ALWAYS : !read_value(&options, option, value))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: the model's configuration has no valid %s", path,
                             option->name);
    }
    TLMI_TRY(check_known(config, path));
    *out = options;
    return TLM_OK;
}

/* ---- Comparing -------------------------------------------------------------------------- */

tlm_status_t tlmi_model_config_compare(const tlm_model_options_t *file,
                                       const tlm_model_options_t *model, const char *path)
{
    for (size_t i = 0; i < tlmi_num_options; i++) {
        const tlmi_model_option_t *option = &tlmi_options[i];
        char in_file[TLMI_OPTION_TEXT], own[TLMI_OPTION_TEXT];

        if (!tlmi_option_equal(file, model, option))
            return tlmi_fail(TLM_ERR_SHAPE, "%s: %s is %s in the checkpoint and %s in the model",
                             path, option->name, tlmi_option_text(in_file, file, option),
                             tlmi_option_text(own, model, option));
    }
    /* Beside that, the seed has done its work once there are weights. */
    const bool drops =
        model->dropout > 0.0 || model->attention_dropout > 0.0 || model->embedding_dropout > 0.0;
    if (drops && file->seed != model->seed)
        return tlmi_fail(TLM_ERR_SHAPE,
                         "%s: seed, which dropout uses, is %" PRIu64
                         " in the checkpoint and %" PRIu64 " in the model",
                         path, file->seed, model->seed);
    return TLM_OK;
}
