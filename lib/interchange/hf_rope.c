/* RoPE in transformers' config.json: "rope_scaling" beside "rope_theta", and since transformers 5
 * "rope_parameters", which holds both. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "interchange/interchange.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* By TLM_ROPE_SCALING_... */
static const char *const types[] = {"default", "linear", "dynamic", "llama3", "yarn"};

/* ---- Reading ---------------------------------------------------------------------------- */

/* Sets *scaling from "rope_type", or "type", of an object; it stays without one. */
static tlm_status_t read_type(int32_t *scaling, const tlmi_json_t *rope, const char *key,
                              const char *path)
{
    const tlmi_json_t *value = tlmi_json_member(rope, "rope_type");
    const char *text = "?";
    size_t size = 1;

    if (tlmi_json_is_null(value))
        value = tlmi_json_member(rope, "type");
    if (tlmi_json_is_null(value))
        return TLM_OK;
    if (tlmi_json_get_string(value, &text, &size))
        for (size_t i = 0; i < COUNT_OF(types); i++)
            if (strlen(types[i]) == size && memcmp(types[i], text, size) == 0) {
                *scaling = (int32_t)i;
                return TLM_OK;
            }
    return tlmi_fail(TLM_ERR_UNSUPPORTED,
                     "%s: \"%s\" is of type %.*s, not default, linear, dynamic, llama3 or yarn",
                     path, key, size < 64 ? (int)size : 64, text);
}

/* What YaRN multiplies queries and keys by, from the weights of its two parts, which DeepSeek's
 * models give. */
static double yarn_magnitude(double factor, double weight)
{
    return factor <= 1.0 ? 1.0 : 0.1 * weight * log(factor) + 1.0;
}

/* 0, like a missing key, means that there is none. */
static tlm_status_t read_weight(double *out, const tlmi_json_t *rope, const char *key,
                                const char *path)
{
    double number;

    if (tlmi_json_get_number(tlmi_json_member(rope, key), &number) && number == 0.0)
        return TLM_OK;
    return tlmi_config_number(out, rope, key, 0.0, path);
}

static tlm_status_t read_yarn(tlm_model_options_t *options, const tlmi_json_t *rope,
                              const char *path)
{
    double part = 0.0, all = 0.0;
    bool truncate = true;

    TLMI_TRY(tlmi_config_number(&options->rope_high_turns, rope, "beta_fast", 32.0, path));
    TLMI_TRY(tlmi_config_number(&options->rope_low_turns, rope, "beta_slow", 1.0, path));
    TLMI_TRY(read_weight(&part, rope, "mscale", path));
    TLMI_TRY(read_weight(&all, rope, "mscale_all_dim", path));
    TLMI_TRY(tlmi_config_flag(&truncate, rope, "truncate", true, path));
    if (!truncate)
        return tlmi_config_refuse(path, "truncate", tlmi_json_member(rope, "truncate"), "true");
    if (part > 0.0 && all > 0.0)
        options->rope_magnitude =
            yarn_magnitude(options->rope_factor, part) / yarn_magnitude(options->rope_factor, all);
    return tlmi_config_number(&options->rope_magnitude, rope, "attention_factor",
                              options->rope_magnitude, path);
}

/* Reads what the type of scaling has besides itself. */
static tlm_status_t read_scaling(tlm_model_options_t *options, const tlmi_json_t *rope,
                                 const tlmi_json_t *config, const char *path)
{
    double context = 0.0;

    if (options->rope_scaling == TLM_ROPE_SCALING_NONE)
        return TLM_OK;
    TLMI_TRY(tlmi_config_number(&options->rope_factor, rope, "factor", TLMI_REQUIRED, path));
    if (options->rope_factor < 1.0)
        return tlmi_config_refuse(path, "factor", tlmi_json_member(rope, "factor"), "at least 1");
    if (options->rope_scaling < TLM_ROPE_SCALING_LLAMA3)
        return TLM_OK;
    TLMI_TRY(tlmi_config_number(&context, rope, "original_max_position_embeddings", 0.0, path));
    TLMI_TRY(
        tlmi_config_number(&context, config, "original_max_position_embeddings", context, path));
    if (context > 2147483647.0)
        return tlmi_config_bad_key(path, "original_max_position_embeddings", "a number of tokens");
    options->rope_original_context = (int64_t)context;
    if (options->rope_scaling == TLM_ROPE_SCALING_YARN)
        return read_yarn(options, rope, path);
    TLMI_TRY(
        tlmi_config_number(&options->rope_low_turns, rope, "low_freq_factor", TLMI_REQUIRED, path));
    TLMI_TRY(tlmi_config_number(&options->rope_high_turns, rope, "high_freq_factor", TLMI_REQUIRED,
                                path));
    if (!(options->rope_high_turns > options->rope_low_turns))
        return tlmi_config_refuse(path, "high_freq_factor",
                                  tlmi_json_member(rope, "high_freq_factor"),
                                  "above \"low_freq_factor\"");
    return TLM_OK;
}

static tlm_status_t check_whole(const tlmi_json_t *object, const char *path)
{
    double part;

    TLMI_TRY(tlmi_config_number(&part, object, "partial_rotary_factor", 1.0, path));
    if (part != 1.0)
        return tlmi_config_refuse(path, "partial_rotary_factor",
                                  tlmi_json_member(object, "partial_rotary_factor"), "1");
    return TLM_OK;
}

static tlm_status_t read_object(tlm_model_options_t *options, const tlmi_json_t *rope,
                                const char *key, const tlmi_json_t *config, const char *path)
{
    if (!tlmi_json_is_object(rope))
        return tlmi_config_bad_key(path, key, "an object");
    TLMI_TRY(check_whole(rope, path));
    TLMI_TRY(read_type(&options->rope_scaling, rope, key, path));
    TLMI_TRY(
        tlmi_config_number(&options->rope_theta, rope, "rope_theta", options->rope_theta, path));
    return read_scaling(options, rope, config, path);
}

/* RoPE of blocks with a window, where it has an object of its own: only its base may differ. */
static tlm_status_t read_window_rope(tlm_model_options_t *options, const tlmi_json_t *rope,
                                     const char *path)
{
    static const char key[] = "sliding_attention";
    int32_t scaling = TLM_ROPE_SCALING_NONE;

    if (tlmi_json_is_null(rope))
        return TLM_OK;
    if (!tlmi_json_is_object(rope))
        return tlmi_config_bad_key(path, key, "an object");
    TLMI_TRY(check_whole(rope, path));
    TLMI_TRY(read_type(&scaling, rope, key, path));
    if (scaling != TLM_ROPE_SCALING_NONE)
        return tlmi_config_refuse(path, key, tlmi_json_member(rope, "rope_type"), "default");
    return tlmi_config_number(&options->window_rope_theta, rope, "rope_theta",
                              options->window_rope_theta, path);
}

/* Where windows have a RoPE of their own, transformers takes no notice of what stands beside
 * "full_attention" and "sliding_attention", nor of the old name of "rope_type". */
static tlm_status_t check_apart(const tlmi_json_t *rope, const char *key, const char *path)
{
    const bool is_new = strcmp(key, "rope_parameters") == 0;
    static const char *const keys[] = {"rope_type", "type", "rope_theta", "factor"};

    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (!tlmi_json_is_null(tlmi_json_member(rope, keys[i])) &&
            (is_new || strcmp(keys[i], "type") == 0))
            return tlmi_fail(
                TLM_ERR_UNSUPPORTED, "%s: \"%s\" has \"%s\"; it must be %s", path, key, keys[i],
                is_new ? "in \"full_attention\" or \"sliding_attention\"" : "\"rope_type\"");
    return TLM_OK;
}

tlm_status_t tlmi_hf_rope_read(tlm_model_options_t *options, const tlmi_family_t *family,
                               const tlmi_json_t *config, const char *path)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    const bool apart = tlmi_family_has(family, "window_rope_theta", 1.0);

    if (!tlmi_family_has(family, "position", TLM_POSITION_ROPE))
        return TLM_OK;
    TLMI_TRY(check_whole(config, path));
    if (apart)
        TLMI_TRY(tlmi_config_number(&options->window_rope_theta, config, "rope_local_base_freq",
                                    1e4, path));
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        const tlmi_json_t *rope = tlmi_json_member(config, keys[i]);
        const tlmi_json_t *full = apart ? tlmi_json_member(rope, "full_attention") : NULL;

        if (tlmi_json_is_null(rope))
            continue;
        if (apart && tlmi_json_is_object(rope)) {
            TLMI_TRY(check_apart(rope, keys[i], path));
            TLMI_TRY(read_window_rope(options, tlmi_json_member(rope, "sliding_attention"), path));
        }
        TLMI_TRY(
            read_object(options, tlmi_json_is_null(full) ? rope : full, keys[i], config, path));
    }
    if (options->sliding_window == 0)
        options->window_rope_theta = 0.0;
    return TLM_OK;
}

/* ---- Writing ---------------------------------------------------------------------------- */

static tlm_status_t set_number(tlmi_json_t *object, const char *key, double number)
{
    return tlmi_json_set(object, key, tlmi_json_new_number(number));
}

static tlm_status_t fill_scaling(tlmi_json_t *rope, const tlm_model_options_t *options)
{
    const bool yarn = options->rope_scaling == TLM_ROPE_SCALING_YARN;

    TLMI_TRY(tlmi_hf_set_text(rope, "rope_type", types[options->rope_scaling]));
    TLMI_TRY(set_number(rope, "factor", options->rope_factor));
    if (options->rope_scaling < TLM_ROPE_SCALING_LLAMA3)
        return TLM_OK;
    TLMI_TRY(set_number(rope, yarn ? "beta_slow" : "low_freq_factor", options->rope_low_turns));
    TLMI_TRY(set_number(rope, yarn ? "beta_fast" : "high_freq_factor", options->rope_high_turns));
    if (yarn)
        TLMI_TRY(set_number(rope, "attention_factor", options->rope_magnitude));
    return tlmi_json_set(rope, "original_max_position_embeddings",
                         tlmi_json_new_int(options->rope_original_context));
}

tlm_status_t tlmi_hf_rope_write(tlmi_json_t *config, const tlmi_family_t *family,
                                const tlm_model_options_t *options)
{
    if (!tlmi_family_has(family, "position", TLM_POSITION_ROPE))
        return TLM_OK;
    if (tlmi_family_has(family, "window_rope_theta", 1.0))
        TLMI_TRY(set_number(config, "rope_local_base_freq",
                            options->window_rope_theta != 0.0 ? options->window_rope_theta
                                                              : options->rope_theta));
    if (options->rope_scaling == TLM_ROPE_SCALING_NONE)
        return tlmi_json_set(config, "rope_scaling", tlmi_json_new_null());
    tlmi_json_t *rope = tlmi_json_new_object();
    if (rope == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = fill_scaling(rope, options);
    if (status == TLM_OK)
        return tlmi_json_set(config, "rope_scaling", rope);
    tlmi_json_free(rope);
    return status;
}
