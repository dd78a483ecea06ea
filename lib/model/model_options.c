/* Functions on a model's options that follow the table of architecture.c: reading and writing
 * values, checks, defaults, and the family of a model. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/number.h"
#include "base/options.h"
#include "model/model_core.h"

#define MAX_LAYERS 65536

/* ---- Values ----------------------------------------------------------------------------- */

const tlmi_model_option_t *tlmi_option_find(const char *name)
{
    size_t i = 0;

    while (strcmp(tlmi_options[i].name, name) != 0)
        i++;
    return &tlmi_options[i];
}

int64_t tlmi_option_int(const tlm_model_options_t *options, const tlmi_model_option_t *option)
{
    const char *field = (const char *)options + option->offset;
    int64_t size = 0;
    int32_t choice = 0;
    uint8_t flag = 0;

    switch (option->type) {
    case TLMI_SIZE:
        memcpy(&size, field, sizeof(size));
        return size;
    case TLMI_CHOICE:
        memcpy(&choice, field, sizeof(choice));
        return choice;
    case TLMI_FLAG:
        memcpy(&flag, field, sizeof(flag));
        return flag;
    default:
        return 0;
    }
}

double tlmi_option_number(const tlm_model_options_t *options, const tlmi_model_option_t *option)
{
    double number;

    memcpy(&number, (const char *)options + option->offset, sizeof(number));
    return number;
}

void tlmi_option_set_int(tlm_model_options_t *options, const tlmi_model_option_t *option,
                         int64_t value)
{
    char *field = (char *)options + option->offset;
    int32_t choice = (int32_t)value;
    bool flag = value != 0;

    if (option->type == TLMI_SIZE)
        memcpy(field, &value, sizeof(value));
    else if (option->type == TLMI_CHOICE)
        memcpy(field, &choice, sizeof(choice));
    else if (option->type == TLMI_FLAG)
        memcpy(field, &flag, sizeof(flag));
}

void tlmi_option_set_number(tlm_model_options_t *options, const tlmi_model_option_t *option,
                            double value)
{
    memcpy((char *)options + option->offset, &value, sizeof(value));
}

void tlmi_option_set(tlm_model_options_t *options, const tlmi_model_option_t *option, double value)
{
    if (option->type == TLMI_NUMBER)
        tlmi_option_set_number(options, option, value);
    else
        tlmi_option_set_int(options, option, (int64_t)value);
}

bool tlmi_option_equal(const tlm_model_options_t *a, const tlm_model_options_t *b,
                       const tlmi_model_option_t *option)
{
    if (option->type == TLMI_NUMBER)
        return tlmi_option_number(a, option) == tlmi_option_number(b, option);
    return tlmi_option_int(a, option) == tlmi_option_int(b, option);
}

bool tlmi_option_is_default(const tlm_model_options_t *options, const tlmi_model_option_t *option)
{
    tlm_model_options_t plain = *options;

    tlmi_option_set(&plain, option, 0.0);
    tlmi_options_set_defaults(&plain);
    return tlmi_option_equal(options, &plain, option);
}

int32_t tlmi_option_num_words(const tlmi_model_option_t *option)
{
    int32_t n = 0;

    while (n < TLMI_MAX_WORDS && option->words[n] != NULL)
        n++;
    return n;
}

const char *tlmi_option_text(char *buffer, const tlm_model_options_t *options,
                             const tlmi_model_option_t *option)
{
    if (option->type == TLMI_NUMBER)
        snprintf(buffer, TLMI_OPTION_TEXT, "%s", TLMI_G(tlmi_option_number(options, option)));
    else if (option->type == TLMI_CHOICE)
        snprintf(buffer, TLMI_OPTION_TEXT, "%s", option->words[tlmi_option_int(options, option)]);
    else
        snprintf(buffer, TLMI_OPTION_TEXT, "%" PRId64, tlmi_option_int(options, option));
    return buffer;
}

/* ---- Checks ----------------------------------------------------------------------------- */

static tlm_status_t check_option(const char *function, const tlm_model_options_t *options,
                                 const tlmi_model_option_t *option)
{
    const bool is_number = option->type == TLMI_NUMBER, is_size = option->type == TLMI_SIZE;
    const int64_t value = is_number ? 0 : tlmi_option_int(options, option);
    const int64_t least = is_size && option->required ? 1 : 0;
    const int64_t most = is_size                       ? INT32_MAX
                         : option->type == TLMI_CHOICE ? tlmi_option_num_words(option) - 1
                                                       : 1;

    if (value < least || value > most)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: %s %" PRId64 " is not in %" PRId64 " .. %" PRId64, function,
                         option->name, value, least, most);
    /* Kernels use numbers as float32. */
    if (is_number && !(isfinite((float)tlmi_option_number(options, option)) &&
                       tlmi_option_number(options, option) >= 0.0))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s %s is not a finite float >= 0", function,
                         option->name, TLMI_G(tlmi_option_number(options, option)));
    if (option->below > 0.0 && tlmi_option_number(options, option) >= option->below)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %s %s is not in [0, %s)", function,
                         option->name, TLMI_G(tlmi_option_number(options, option)),
                         TLMI_G(option->below));
    return TLM_OK;
}

tlm_status_t tlmi_model_resolve(tlm_model_options_t *resolved, tlmi_model_shape_t *shape,
                                const char *function, const tlm_model_options_t *options)
{
    tlm_model_options_t known = TLM_MODEL_OPTIONS_INIT;

    TLMI_TRY(tlmi_options_read(function, &known, TLMI_MODEL_OPTIONS, options));
    for (size_t i = 0; i < tlmi_num_options; i++)
        TLMI_TRY(check_option(function, &known, &tlmi_options[i]));
    /* Without a limit, the names alone could use all memory before any other limit is checked. */
    if (known.num_layers > MAX_LAYERS)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: num_layers %" PRId64 " is more than %d",
                         function, known.num_layers, MAX_LAYERS);
    tlmi_options_set_defaults(&known);
    TLMI_TRY(tlmi_architecture_wire(shape, function, &known));
    *resolved = known;
    return TLM_OK;
}

tlm_status_t tlm_model_set_training(tlm_model_t *model, const tlm_model_options_t *options)
{
    tlm_model_options_t known = TLM_MODEL_OPTIONS_INIT;

    TLMI_REQUIRE("model_set_training", model);
    TLMI_TRY(tlmi_options_read("model_set_training", &known, TLMI_MODEL_OPTIONS, options));
    for (size_t i = 0; i < tlmi_num_options; i++)
        if (tlmi_options[i].training)
            TLMI_TRY(check_option("model_set_training", &known, &tlmi_options[i]));
    for (size_t i = 0; i < tlmi_num_options; i++)
        if (tlmi_options[i].training)
            tlmi_option_set_number(&model->options, &tlmi_options[i],
                                   tlmi_option_number(&known, &tlmi_options[i]));
    model->options.seed = known.seed;
    return TLM_OK;
}

/* ---- Families --------------------------------------------------------------------------- */

bool tlmi_family_has(const tlmi_family_t *family, const char *option, double value)
{
    bool listed = false;

    for (const tlmi_setting_t *fixed = family->fixed; fixed->option != NULL; fixed++)
        if (strcmp(fixed->option, option) == 0) {
            listed = true;
            if (fixed->value == value || fixed->value == TLMI_ANY)
                return true;
        }
    return !listed && value == 0.0;
}

/* The entry of the family's own list of keys, or NULL. */
static const tlmi_family_key_t *find_key(const tlmi_family_t *family,
                                         const tlmi_model_option_t *option, tlmi_format_t format)
{
    const tlmi_family_key_t *key = family->keys;

    while (key != NULL && key->option != NULL)
        if (key->format == format && strcmp(key->option, option->name) == 0)
            return key;
        else
            key++;
    return NULL;
}

const char *tlmi_family_key(const tlmi_family_t *family, const tlmi_model_option_t *option,
                            tlmi_format_t format)
{
    const tlmi_family_key_t *own = find_key(family, option, format);

    return own != NULL ? own->key : option->keys[format].key;
}

const tlmi_model_option_t *tlmi_family_lacks(const tlmi_family_t *family,
                                             const tlm_model_options_t *options)
{
    for (size_t i = 0; i < tlmi_num_options; i++) {
        const tlmi_model_option_t *option = &tlmi_options[i];
        const double value = option->type == TLMI_NUMBER ? tlmi_option_number(options, option)
                                                         : (double)tlmi_option_int(options, option);

        if (option->written_apart || option->training || option->type == TLMI_SEED ||
            tlmi_family_key(family, option, TLMI_HF) != NULL)
            continue;
        /* The table's key is one that the family does without: then the value follows from others. */
        if (option->keys[TLMI_HF].key != NULL ? !tlmi_option_is_default(options, option)
                                              : !tlmi_family_has(family, option->name, value))
            return option;
    }
    return NULL;
}

tlm_status_t tlmi_family_of(const tlmi_family_t **out, const char *function,
                            const tlm_model_options_t *options)
{
    const tlmi_model_option_t *lacking = NULL;

    for (size_t i = 0; i < tlmi_num_families; i++) {
        const tlmi_model_option_t *own = tlmi_family_lacks(&tlmi_families[i], options);

        if (own == NULL) {
            *out = &tlmi_families[i];
            return TLM_OK;
        }
        lacking = lacking == NULL ? own : lacking;
    }
    char text[TLMI_OPTION_TEXT];
    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: no architecture known to such files has %s (%s)",
                     function, tlmi_option_text(text, options, lacking), lacking->name);
}
