/* Keys of llama.cpp that models here have no option for: a file may have them with the value that changes
 * nothing. Any other value, and any other key of the architecture, is refused with both. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/number.h"
#include "interchange/interchange.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { TEXT_SIZE = 96 };

/* Values that change nothing; `other` may stand for them too. */
static const struct neutral {
    const char *name;
    double value, other;
} neutrals[] = {
    {"attention.causal", 1, 1},
    {"attention.clamp_kqv", 0, 0},
    {"attention.max_alibi_bias", 0, 0},
    {"attention.output_scale", 0, 1},
    {"attention.scale", 0, 0},
    {"attention.shared_kv_layers", 0, 0},
    {"attention.temperature_length", 0, 0},
    {"attention.temperature_scale", 0, 0},
    {"embedding_scale", 0, 1},
    {"expert_count", 0, 0},
    {"expert_feed_forward_length", 0, 0},
    {"expert_group_count", 0, 0},
    {"expert_shared_count", 0, 0},
    {"expert_used_count", 0, 0},
    {"interleave_moe_layer_step", 0, 0},
    {"leading_dense_block_count", 0, 0},
    {"logit_scale", 0, 1},
    {"n_deepstack_layers", 0, 0},
    {"nextn_predict_layers", 0, 0},
    {"pooling_type", 0, 0},
    {"residual_scale", 0, 1},
    {"rope.scaling.yarn_attn_factor", 1, 1},
    {"rope.scaling.yarn_ext_factor", 1, -1},
    {"rope.scaling.yarn_log_multiplier", 0, 0},
    {"router_logit_softcapping", 0, 0},
    {"swin_norm", 0, 0},
    {"use_parallel_residual", 0, 0},
};

static bool get_any_number(double *out, const tlmi_gguf_value_t *value)
{
    int64_t whole;

    if (!value->is_array && value->type == TLMI_GGUF_BOOL) {
        *out = value->data[0] != 0;
        return true;
    }
    if (tlmi_gguf_get_int(value, &whole)) {
        *out = (double)whole;
        return true;
    }
    return tlmi_gguf_get_number(value, out);
}

/* Writes a value for a message and returns the buffer. */
static const char *value_text(char text[TEXT_SIZE], const tlmi_gguf_value_t *value)
{
    char digits[TLMI_NUMBER_SIZE];
    const char *string;
    double number;
    size_t size;

    if (value->is_array)
        snprintf(text, TEXT_SIZE, "an array of %zu", value->count);
    else if (tlmi_gguf_get_string(value, &string, &size))
        snprintf(text, TEXT_SIZE, "%.*s", size < 64 ? (int)size : 64, string);
    else if (value->type == TLMI_GGUF_BOOL)
        snprintf(text, TEXT_SIZE, "%s", value->data[0] != 0 ? "true" : "false");
    else if (get_any_number(&number, value))
        snprintf(text, TEXT_SIZE, "%s", tlmi_number_text(digits, number, 9));
    else
        snprintf(text, TEXT_SIZE, "a number that does not fit");
    return text;
}

/* Every period-th block has no window: as that number, or as a flag for each block. */
static bool is_pattern(const tlmi_gguf_value_t *value, int64_t period)
{
    int64_t number;

    if (!value->is_array)
        return tlmi_gguf_get_int(value, &number) && number == period;
    if (value->type != TLMI_GGUF_BOOL)
        return false;
    for (size_t i = 0; i < value->count; i++)
        if ((value->data[i] != 0) != ((int64_t)(i + 1) % period != 0))
            return false;
    return true;
}

/* The value that llama.cpp takes for granted of an option of the family; 0 for none. */
static double fixed_value(const tlmi_family_t *family, const char *option)
{
    const tlmi_setting_t *fixed = tlmi_setting_find(family->gguf_fixed, option);

    return fixed == NULL ? 0.0 : fixed->value;
}

/* Keys that newer files repeat what follows from the architecture with. */
static bool is_repeated(const tlmi_gguf_value_t *value, const tlmi_family_t *family,
                        const char *name)
{
    const double period = fixed_value(family, "window_period");
    double number;

    if (strcmp(name, "attention.sliding_window_pattern") == 0)
        return period > 0.0 && is_pattern(value, (int64_t)period);
    if (strcmp(name, "rope.freq_base_swa") == 0)
        return get_any_number(&number, value) && number == fixed_value(family, "window_rope_theta");
    return false;
}

tlm_status_t tlmi_gguf_check_key(const tlmi_gguf_value_t *value, const tlmi_family_t *family,
                                 const char *path)
{
    const size_t prefix = strlen(family->names[TLMI_GGUF]) + 1;
    char name[TEXT_SIZE], text[TEXT_SIZE], digits[TLMI_NUMBER_SIZE];
    const int shown = value->key_size < 128 ? (int)value->key_size : 128;
    double number;

    snprintf(name, sizeof(name), "%.*s",
             (int)(value->key_size - prefix < 90 ? value->key_size - prefix : 90),
             value->key + prefix);
    if (is_repeated(value, family, name))
        return TLM_OK;
    for (size_t i = 0; i < COUNT_OF(neutrals); i++) {
        if (strcmp(neutrals[i].name, name) != 0)
            continue;
        if (get_any_number(&number, value) &&
            (number == neutrals[i].value || number == neutrals[i].other))
            return TLM_OK;
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: '%.*s' is %s; only %s is supported", path, shown,
                         value->key, value_text(text, value),
                         tlmi_number_text(digits, neutrals[i].value, 6));
    }
    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: '%.*s' is not supported (it is %s)", path, shown,
                     value->key, value_text(text, value));
}

tlm_status_t tlmi_gguf_check_general(const tlmi_gguf_t *file, const char *path)
{
    const tlmi_gguf_value_t *value = tlmi_gguf_find(file, "general.type");
    char text[TEXT_SIZE];
    const char *type;
    size_t size;

    if (value == NULL ||
        (tlmi_gguf_get_string(value, &type, &size) && size == 5 && memcmp(type, "model", 5) == 0))
        return TLM_OK;
    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: 'general.type' is %s, not model", path,
                     value_text(text, value));
}
