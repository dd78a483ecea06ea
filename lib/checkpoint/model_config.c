/* A model's options to JSON and back, by tables of the fields. */
#include "checkpoint/checkpoint_core.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define FIELD(name)     #name, offsetof(tlm_model_options_t, name)

typedef struct field {
    const char *name;
    size_t offset;
    bool later; /* than version 0.1: optional when read, 0 if absent */
} field_t;

static const field_t sizes[] = {
    {FIELD(vocab_size), false},  {FIELD(context_length), false}, {FIELD(d_model), false},
    {FIELD(num_layers), false},  {FIELD(num_heads), false},      {FIELD(d_ff), false},
    {FIELD(num_kv_heads), true},
};

static const field_t numbers[] = {{FIELD(rope_theta), false}, {FIELD(norm_eps), true}};

/* Written as the word at the value's index. */
static const struct {
    const char *name;
    size_t offset;
    const char *words[3];
} switches[] = {
    {FIELD(norm), {"pre", "post", "none"}},
    {FIELD(position), {"rope", "none", NULL}},
    {FIELD(ffn), {"swiglu", "silu", NULL}},
};

static int64_t get_size(const tlm_model_options_t *options, const field_t *field)
{
    int64_t size;

    memcpy(&size, (const char *)options + field->offset, sizeof(size));
    return size;
}

static double get_number(const tlm_model_options_t *options, const field_t *field)
{
    double number;

    memcpy(&number, (const char *)options + field->offset, sizeof(number));
    return number;
}

static int32_t get_switch(const tlm_model_options_t *options, size_t index)
{
    int32_t value;

    memcpy(&value, (const char *)options + switches[index].offset, sizeof(value));
    return value;
}

bool tlmi_model_config_is_first(const tlm_model_options_t *options)
{
    for (size_t i = 0; i < COUNT_OF(switches); i++)
        if (get_switch(options, i) != 0)
            return false;
    return !options->tied_embeddings && options->num_kv_heads == options->num_heads &&
           options->norm_eps == 1e-5;
}

/* ---- Writing ---------------------------------------------------------------------------- */

static tlm_status_t write_fields(tlmi_json_t *config, const tlm_model_options_t *options,
                                 bool first)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        if (!first || !sizes[i].later)
            TLMI_TRY(tlmi_json_set(config, sizes[i].name,
                                   tlmi_json_new_int(get_size(options, &sizes[i]))));
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        if (!first || !numbers[i].later)
            TLMI_TRY(tlmi_json_set(config, numbers[i].name,
                                   tlmi_json_new_number(get_number(options, &numbers[i]))));
    TLMI_TRY(tlmi_json_set(config, "seed", tlmi_json_new_uint64(options->seed)));
    if (first)
        return TLM_OK;
    for (size_t i = 0; i < COUNT_OF(switches); i++) {
        const char *word = switches[i].words[get_switch(options, i)];

        TLMI_TRY(tlmi_json_set(config, switches[i].name, tlmi_json_new_string(word, strlen(word))));
    }
    return tlmi_json_set(config, "tied_embeddings", tlmi_json_new_bool(options->tied_embeddings));
}

tlm_status_t tlmi_model_config_write(tlmi_json_t **out, const tlm_model_options_t *options)
{
    tlmi_json_t *config = tlmi_json_new_object();
    tlm_status_t status;

    if (config == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    status = write_fields(config, options, tlmi_model_config_is_first(options));
    if (status == TLM_OK)
        *out = config;
    else
        tlmi_json_free(config);
    return status;
}

/* ---- Reading ---------------------------------------------------------------------------- */

static bool read_size(tlm_model_options_t *options, const tlmi_json_t *config, const field_t *field)
{
    const tlmi_json_t *value = tlmi_json_member(config, field->name);
    int64_t size = 0;

    if (value == NULL)
        return field->later;
    if (!tlmi_json_get_int(value, &size) || size <= 0)
        return false;
    memcpy((char *)options + field->offset, &size, sizeof(size));
    return true;
}

static bool read_number(tlm_model_options_t *options, const tlmi_json_t *config,
                        const field_t *field)
{
    const tlmi_json_t *value = tlmi_json_member(config, field->name);
    double number = 0.0;

    if (value == NULL)
        return field->later;
    if (!tlmi_json_get_number(value, &number) || !(number > 0.0))
        return false;
    memcpy((char *)options + field->offset, &number, sizeof(number));
    return true;
}

static bool read_switch(tlm_model_options_t *options, const tlmi_json_t *config, size_t index)
{
    const tlmi_json_t *value = tlmi_json_member(config, switches[index].name);
    const char *word = NULL;
    size_t size;

    if (value == NULL)
        return true;
    if (!tlmi_json_get_string(value, &word, &size))
        return false;
    for (int32_t i = 0; i < (int32_t)COUNT_OF(switches[index].words); i++)
        if (switches[index].words[i] != NULL && strcmp(word, switches[index].words[i]) == 0) {
            memcpy((char *)options + switches[index].offset, &i, sizeof(i));
            return true;
        }
    return false;
}

static tlm_status_t refuse(const char *path, const char *name)
{
    return tlmi_fail(TLM_ERR_FORMAT, "%s: the model's configuration has no valid %s", path, name);
}

tlm_status_t tlmi_model_config_read(tlm_model_options_t *out, const tlmi_json_t *config,
                                    const char *path)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    const tlmi_json_t *tied = tlmi_json_member(config, "tied_embeddings");

    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        if (!read_size(&options, config, &sizes[i]))
            return refuse(path, sizes[i].name);
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        if (!read_number(&options, config, &numbers[i]))
            return refuse(path, numbers[i].name);
    for (size_t i = 0; i < COUNT_OF(switches); i++)
        if (!read_switch(&options, config, i))
            return refuse(path, switches[i].name);
    if (tied != NULL && !tlmi_json_get_bool(tied, &options.tied_embeddings))
        return refuse(path, "tied_embeddings");
    if (!tlmi_json_get_uint64(tlmi_json_member(config, "seed"), &options.seed))
        return refuse(path, "seed");
    *out = options;
    return TLM_OK;
}

/* ---- Comparing -------------------------------------------------------------------------- */

tlm_status_t tlmi_model_config_compare(const tlm_model_options_t *file,
                                       const tlm_model_options_t *model, const char *path)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        if (get_size(file, &sizes[i]) != get_size(model, &sizes[i]))
            return tlmi_fail(TLM_ERR_SHAPE,
                             "%s: %s is %" PRId64 " in the checkpoint and %" PRId64 " in the model",
                             path, sizes[i].name, get_size(file, &sizes[i]),
                             get_size(model, &sizes[i]));
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        if (get_number(file, &numbers[i]) != get_number(model, &numbers[i]))
            return tlmi_fail(TLM_ERR_SHAPE, "%s: %s is %g in the checkpoint and %g in the model",
                             path, numbers[i].name, get_number(file, &numbers[i]),
                             get_number(model, &numbers[i]));
    for (size_t i = 0; i < COUNT_OF(switches); i++)
        if (get_switch(file, i) != get_switch(model, i))
            return tlmi_fail(TLM_ERR_SHAPE, "%s: %s is %s in the checkpoint and %s in the model",
                             path, switches[i].name, switches[i].words[get_switch(file, i)],
                             switches[i].words[get_switch(model, i)]);
    if (file->tied_embeddings != model->tied_embeddings)
        return tlmi_fail(TLM_ERR_SHAPE,
                         "%s: tied_embeddings is %d in the checkpoint and %d in the model", path,
                         file->tied_embeddings, model->tied_embeddings);
    return TLM_OK;
}
