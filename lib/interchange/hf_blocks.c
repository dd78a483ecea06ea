/* What blocks have, in transformers' config.json, where the table of options has no key for it: which
 * of them have windows or do without RoPE, biases, the activation. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "interchange/interchange.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Which blocks ----------------------------------------------------------------------- */

/* Whether "layer_types" says that the block attends to everything before it; true for blocks past
 * the end of the list. */
static tlm_status_t is_full(bool *out, const tlmi_json_t *types, int64_t layer, const char *path)
{
    const tlmi_json_t *type = tlmi_json_item(types, (size_t)layer);

    *out = tlmi_json_is_text(type, "full_attention");
    if (*out || tlmi_json_is_text(type, "sliding_attention"))
        return TLM_OK;
    return tlmi_config_refuse(path, "layer_types", type, "full_attention or sliding_attention");
}

/* Every period-th block attends to everything; 0: none does. */
static tlm_status_t read_layer_types(tlm_model_options_t *options, const tlmi_json_t *types,
                                     const char *path)
{
    const int64_t n = options->num_layers;
    int64_t period = 0;
    bool full;

    if (!tlmi_json_is_array(types) || tlmi_json_size(types) != (size_t)n)
        return tlmi_config_bad_key(path, "layer_types", "a list with an entry for each layer");
    for (int64_t layer = 0; layer < n && period == 0; layer++) {
        TLMI_TRY(is_full(&full, types, layer, path));
        period = full ? layer + 1 : 0;
    }
    for (int64_t layer = 0; layer < n; layer++) {
        TLMI_TRY(is_full(&full, types, layer, path));
        if (full != (period != 0 && (layer + 1) % period == 0))
            return tlmi_fail(TLM_ERR_UNSUPPORTED,
                             "%s: \"layer_types\" has full attention in layer %" PRId64
                             " and not at regular distances",
                             path, full ? layer : period - 1);
    }
    options->sliding_window = period == 1 ? 0 : options->sliding_window;
    options->window_period = period == 1 ? 0 : period;
    return TLM_OK;
}

/* Reads a whole number above 0; *out is that of a missing key. */
static tlm_status_t read_size(int64_t *out, const tlmi_json_t *config, const char *key,
                              const char *path)
{
    double number;

    TLMI_TRY(tlmi_config_number(&number, config, key, (double)*out, path));
    if (number > 2147483647.0 || number != floor(number))
        return tlmi_config_bad_key(path, key, "a whole number above 0");
    *out = (int64_t)number;
    return TLM_OK;
}

/* Without "layer_types": Qwen has windows from some layer on, Gemma in all except every second or
 * sixth layer, the others in all. */
static tlm_status_t read_pattern(tlm_model_options_t *options, const tlmi_family_t *family,
                                 const tlmi_json_t *config, const char *path)
{
    double first = 28.0;

    if (family->hf_window_switch) {
        TLMI_TRY(tlmi_config_number(&first, config, "max_window_layers", first, path));
        if (first >= (double)options->num_layers)
            options->sliding_window = 0;
        else if (first > 0.0)
            return tlmi_config_refuse(path, "max_window_layers",
                                      tlmi_json_member(config, "max_window_layers"),
                                      "0 or the number of layers");
    } else if (tlmi_family_has(family, "window_period", 6.0)) {
        options->window_period = 6;
        return read_size(&options->window_period, config, "sliding_window_pattern", path);
    } else if (tlmi_family_has(family, "window_period", 2.0)) {
        options->window_period = 2;
    }
    return TLM_OK;
}

/* A family without windows: transformers reads its "sliding_window" only where it is switched on. */
static tlm_status_t check_no_windows(const tlmi_json_t *config, const char *path)
{
    const tlmi_json_t *value = tlmi_json_member(config, "sliding_window");
    const tlmi_json_t *types = tlmi_json_member(config, "layer_types");
    bool used = true;

    TLMI_TRY(tlmi_config_flag(&used, config, "use_sliding_window", true, path));
    if (used && !tlmi_json_is_null(value))
        return tlmi_config_refuse(path, "sliding_window", value, "null");
    for (size_t i = 0; i < tlmi_json_size(types); i++)
        if (!tlmi_json_is_text(tlmi_json_item(types, i), "full_attention"))
            return tlmi_config_refuse(path, "layer_types", tlmi_json_item(types, i),
                                      "full_attention");
    return TLM_OK;
}

static tlm_status_t read_windows(tlm_model_options_t *options, const tlmi_family_t *family,
                                 const tlmi_json_t *config, const char *path)
{
    const tlmi_json_t *value = tlmi_json_member(config, "sliding_window");
    const tlmi_json_t *types = tlmi_json_member(config, "layer_types");
    const double missing = value == NULL ? family->hf_window : 0.0;
    bool used = !family->hf_window_switch;
    double window = 0.0;

    if (!tlmi_family_has(family, "sliding_window", 1.0))
        return check_no_windows(config, path);
    if (family->hf_window_switch) /* others do not read the key */
        TLMI_TRY(tlmi_config_flag(&used, config, "use_sliding_window", used, path));
    if (!used)
        return TLM_OK;
    TLMI_TRY(tlmi_config_number(&window, config, "sliding_window", missing, path));
    if (window == 0.0)
        return TLM_OK;
    if (window > 2147483647.0 || window != floor(window))
        return tlmi_config_bad_key(path, "sliding_window", "a number of tokens");
    options->sliding_window = (int64_t)window;
    if (family->hf_layer_types && !tlmi_json_is_null(types))
        return read_layer_types(options, types, path);
    return read_pattern(options, family, config, path);
}

/* "no_rope_layers" has 0 for a block without RoPE, and 1 for the others. */
static tlm_status_t read_unrotated(tlm_model_options_t *options, const tlmi_family_t *family,
                                   const tlmi_json_t *config, const char *path)
{
    const tlmi_json_t *list = tlmi_json_member(config, "no_rope_layers");
    int64_t flag, period = 0;

    if (!tlmi_family_has(family, "unrotated_period", 1.0))
        return TLM_OK;
    options->unrotated_period = 4;
    TLMI_TRY(read_size(&options->unrotated_period, config, "no_rope_layer_interval", path));
    if (tlmi_json_is_null(list))
        return TLM_OK;
    if (!tlmi_json_is_array(list) || tlmi_json_size(list) < (size_t)options->num_layers)
        return tlmi_config_bad_key(path, "no_rope_layers", "a list with an entry for each layer");
    for (int64_t i = 0; i < options->num_layers && period == 0; i++)
        if (!tlmi_json_get_int(tlmi_json_item(list, (size_t)i), &flag) || flag == 0)
            period = i + 1;
    for (int64_t i = 0; i < options->num_layers; i++)
        if (!tlmi_json_get_int(tlmi_json_item(list, (size_t)i), &flag) ||
            flag != (period == 0 || (i + 1) % period != 0))
            return tlmi_fail(TLM_ERR_UNSUPPORTED,
                             "%s: \"no_rope_layers\" has layer %" PRId64
                             " out of the regular distances of the first",
                             path, i);
    options->unrotated_period = period;
    return TLM_OK;
}

/* ---- Biases and activation -------------------------------------------------------------- */

static tlm_status_t read_biases(tlm_model_options_t *options, const tlmi_family_t *family,
                                const tlmi_json_t *config, const char *path)
{
    bool attention = false, mlp = false;

    TLMI_TRY(tlmi_config_flag(&attention, config, "attention_bias", false, path));
    TLMI_TRY(tlmi_config_flag(&mlp, config, "mlp_bias", false, path));
    /* A family that always has biases does not read the keys. */
    if (!tlmi_family_has(family, "attention_bias", TLM_ATTENTION_BIAS_NONE))
        return TLM_OK;
    if (attention && !tlmi_family_has(family, "attention_bias", TLM_ATTENTION_BIAS_ALL))
        return tlmi_config_refuse(path, "attention_bias",
                                  tlmi_json_member(config, "attention_bias"), "false");
    if (mlp && !tlmi_family_has(family, "ffn_bias", 1.0))
        return tlmi_config_refuse(path, "mlp_bias", tlmi_json_member(config, "mlp_bias"), "false");
    options->attention_bias = attention ? TLM_ATTENTION_BIAS_ALL : TLM_ATTENTION_BIAS_NONE;
    options->ffn_bias = mlp;
    return TLM_OK;
}

static tlm_status_t check_activation(const tlmi_family_t *family, const tlmi_json_t *config,
                                     const char *path)
{
    static const char *const silu[] = {"silu", "swish"};
    static const char *const gelu[] = {"gelu_pytorch_tanh", "gelu_new"};
    const bool is_silu = tlmi_family_has(family, "ffn", TLM_FFN_SWIGLU);
    const char *const *words = is_silu ? silu : gelu;
    const char *key = family->hf_activation == NULL ? "hidden_act" : family->hf_activation;
    const tlmi_json_t *value = tlmi_json_member(config, key);

    if (tlmi_json_is_null(value) || tlmi_json_is_text(value, words[0]) ||
        tlmi_json_is_text(value, words[1]))
        return TLM_OK;
    return tlmi_config_refuse(path, key, value, words[0]);
}

/* ---- All of it -------------------------------------------------------------------------- */

/* Keys that change what a model computes and that no model here has. */
static tlm_status_t check_others(const tlmi_family_t *family, const tlmi_json_t *config,
                                 const char *path)
{
    static const char softcap[] = "attn_logit_softcapping";
    static const char *const falses[] = {"use_bidirectional_attention", "add_cross_attention",
                                         "scale_attn_by_inverse_layer_idx"};
    bool flag;

    for (size_t i = 0; i < COUNT_OF(falses); i++) {
        TLMI_TRY(tlmi_config_flag(&flag, config, falses[i], false, path));
        if (flag)
            return tlmi_config_refuse(path, falses[i], tlmi_json_member(config, falses[i]),
                                      "false");
    }
    TLMI_TRY(tlmi_config_flag(&flag, config, "scale_attn_weights", true, path));
    if (!flag)
        return tlmi_config_refuse(path, "scale_attn_weights",
                                  tlmi_json_member(config, "scale_attn_weights"), "true");
    if (!tlmi_json_is_null(tlmi_json_member(config, softcap)) && family->hf_gains_less_1 &&
        tlmi_family_key(family, tlmi_option_find("attention_softcap"), TLMI_HF) == NULL)
        return tlmi_config_refuse(path, softcap, tlmi_json_member(config, softcap), "null");
    if (!tlmi_json_is_null(tlmi_json_member(config, "quantization_config")))
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: \"quantization_config\" is not supported", path);
    return TLM_OK;
}

tlm_status_t tlmi_hf_blocks_read(tlm_model_options_t *options, const tlmi_family_t *family,
                                 const tlmi_json_t *config, const char *path)
{
    TLMI_TRY(check_others(family, config, path));
    TLMI_TRY(check_activation(family, config, path));
    TLMI_TRY(read_biases(options, family, config, path));
    TLMI_TRY(read_windows(options, family, config, path));
    return read_unrotated(options, family, config, path);
}

/* ---- Writing ---------------------------------------------------------------------------- */

/* Sets a list with an entry for each block, from what `make` says of it. */
static tlm_status_t
set_list(tlmi_json_t *config, const char *key, const tlm_model_options_t *options,
         tlmi_json_t *(*make)(const tlm_model_options_t *options, int64_t layer))
{
    tlmi_json_t *list = tlmi_json_new_array();

    if (list == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (int64_t layer = 0; layer < options->num_layers; layer++) {
        tlm_status_t status = tlmi_json_append(list, make(options, layer));

        if (status != TLM_OK) {
            tlmi_json_free(list);
            return status;
        }
    }
    return tlmi_json_set(config, key, list);
}

static tlmi_json_t *layer_type(const tlm_model_options_t *options, int64_t layer)
{
    const char *text = tlmi_has_window(options, layer) ? "sliding_attention" : "full_attention";

    return tlmi_json_new_string(text, strlen(text));
}

static tlmi_json_t *rope_flag(const tlm_model_options_t *options, int64_t layer)
{
    return tlmi_json_new_int((layer + 1) % options->unrotated_period != 0);
}

static tlm_status_t write_windows(tlmi_json_t *config, const tlmi_family_t *family,
                                  const tlm_model_options_t *options)
{
    const int64_t window = options->sliding_window;

    if (!tlmi_family_has(family, "sliding_window", 1.0))
        return TLM_OK;
    TLMI_TRY(tlmi_json_set(config, "sliding_window",
                           window == 0 ? tlmi_json_new_null() : tlmi_json_new_int(window)));
    if (family->hf_window_switch) {
        TLMI_TRY(tlmi_json_set(config, "use_sliding_window", tlmi_json_new_bool(window != 0)));
        TLMI_TRY(tlmi_json_set(config, "max_window_layers",
                               tlmi_json_new_int(window == 0 ? options->num_layers : 0)));
    }
    return family->hf_layer_types ? set_list(config, "layer_types", options, layer_type) : TLM_OK;
}

tlm_status_t tlmi_hf_blocks_write(tlmi_json_t *config, const tlmi_family_t *family,
                                  const tlm_model_options_t *options)
{
    const bool silu = tlmi_family_has(family, "ffn", TLM_FFN_SWIGLU);
    const char *key = family->hf_activation == NULL ? "hidden_act" : family->hf_activation;

    TLMI_TRY(tlmi_hf_set_text(config, key, silu ? "silu" : "gelu_pytorch_tanh"));
    if (tlmi_family_has(family, "attention_bias", TLM_ATTENTION_BIAS_NONE)) {
        const bool all = options->attention_bias == TLM_ATTENTION_BIAS_ALL;

        TLMI_TRY(tlmi_json_set(config, "attention_bias", tlmi_json_new_bool(all)));
        TLMI_TRY(tlmi_json_set(config, "mlp_bias", tlmi_json_new_bool(options->ffn_bias)));
    }
    TLMI_TRY(write_windows(config, family, options));
    if (options->unrotated_period == 0)
        return TLM_OK;
    TLMI_TRY(tlmi_json_set(config, "no_rope_layer_interval",
                           tlmi_json_new_int(options->unrotated_period)));
    return set_list(config, "no_rope_layers", options, rope_flag);
}
