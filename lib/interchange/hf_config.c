/* A model's options to transformers' config.json and back. Keys of configurations that other models
 * have are refused where they would change results; all others are passed over. */
#include "interchange/interchange.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
    const char *key;
    size_t offset;
    int64_t missing; /* what transformers takes where the key is missing; -1: that is an error */
} sizes[] = {
    {"vocab_size", offsetof(tlm_model_options_t, vocab_size), -1},
    {"hidden_size", offsetof(tlm_model_options_t, d_model), -1},
    {"intermediate_size", offsetof(tlm_model_options_t, d_ff), -1},
    {"num_hidden_layers", offsetof(tlm_model_options_t, num_layers), -1},
    {"num_attention_heads", offsetof(tlm_model_options_t, num_heads), -1},
    {"num_key_value_heads", offsetof(tlm_model_options_t, num_kv_heads), 0},
    {"max_position_embeddings", offsetof(tlm_model_options_t, context_length), 2048},
};

static const char *const dtypes[] = {
    [TLM_WEIGHTS_FLOAT32] = "float32",
    [TLM_WEIGHTS_FLOAT16] = "float16",
    [TLM_WEIGHTS_BFLOAT16] = "bfloat16",
};

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

static tlm_status_t set_architecture(tlmi_json_t *config)
{
    static const char name[] = "LlamaForCausalLM";
    tlmi_json_t *list = tlmi_json_new_array();

    if (list == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    TLMI_TRY(tlmi_json_set(config, "architectures", list)); /* the object's from here on */
    TLMI_TRY(tlmi_json_append(list, tlmi_json_new_string(name, sizeof(name) - 1)));
    return tlmi_hf_set_text(config, "model_type", "llama");
}

static tlm_status_t set_all(tlmi_json_t *config, const tlm_model_options_t *options,
                            const tlm_model_file_options_t *file)
{
    TLMI_TRY(set_architecture(config));
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        int64_t size;

        memcpy(&size, (const char *)options + sizes[i].offset, sizeof(size));
        TLMI_TRY(tlmi_json_set(config, sizes[i].key, tlmi_json_new_int(size)));
    }
    TLMI_TRY(tlmi_json_set(config, "head_dim",
                           tlmi_json_new_int(options->d_model / options->num_heads)));
    TLMI_TRY(tlmi_hf_set_text(config, "hidden_act", "silu"));
    TLMI_TRY(tlmi_json_set(config, "rms_norm_eps", tlmi_json_new_number(options->norm_eps)));
    TLMI_TRY(tlmi_json_set(config, "rope_theta", tlmi_json_new_number(options->rope_theta)));
    TLMI_TRY(tlmi_json_set(config, "rope_scaling", tlmi_json_new_null()));
    TLMI_TRY(tlmi_json_set(config, "attention_bias", tlmi_json_new_bool(false)));
    TLMI_TRY(tlmi_json_set(config, "attention_dropout", tlmi_json_new_number(0.0)));
    TLMI_TRY(tlmi_json_set(config, "mlp_bias", tlmi_json_new_bool(false)));
    TLMI_TRY(
        tlmi_json_set(config, "tie_word_embeddings", tlmi_json_new_bool(options->tied_embeddings)));
    TLMI_TRY(tlmi_json_set(config, "use_cache", tlmi_json_new_bool(true)));
    TLMI_TRY(tlmi_hf_set_tokens(config, file));
    return tlmi_hf_set_text(config, "torch_dtype", dtypes[file->weights]);
}

tlm_status_t tlmi_hf_config_write(tlmi_json_t **out, const tlm_model_options_t *options,
                                  const tlm_model_file_options_t *file)
{
    tlmi_json_t *config = tlmi_json_new_object();
    tlm_status_t status;

    if (config == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    status = set_all(config, options, file);
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

/* Whether the member is missing, null, or this text. */
static bool is_absent_or(const tlmi_json_t *object, const char *key, const char *text)
{
    const tlmi_json_t *value = tlmi_json_member(object, key);
    const char *own;
    size_t size;

    return tlmi_json_is_null(value) || (tlmi_json_get_string(value, &own, &size) &&
                                        size == strlen(text) && memcmp(own, text, size) == 0);
}

static tlm_status_t check_architecture(const tlmi_json_t *config, const char *path)
{
    static const char wanted[] = "LlamaForCausalLM";
    const tlmi_json_t *list = tlmi_json_member(config, "architectures");
    const char *name = "?";
    size_t size;

    if (tlmi_json_is_null(list) && tlmi_json_is_null(tlmi_json_member(config, "model_type")))
        return fail_key(path, "model_type", "there, nor \"architectures\"");
    if (!is_absent_or(config, "model_type", "llama")) {
        (void)tlmi_json_get_string(tlmi_json_member(config, "model_type"), &name, &size);
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: \"model_type\" is %.64s, not llama", path, name);
    }
    if (tlmi_json_is_null(list))
        return TLM_OK;
    for (size_t i = 0; i < tlmi_json_size(list) || i == 0; i++)
        if (!tlmi_json_get_string(tlmi_json_item(list, i), &name, &size) ||
            strcmp(name, wanted) != 0)
            return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: \"architectures\" has %.64s, not %s", path,
                             name, wanted);
    return TLM_OK;
}

static tlm_status_t read_sizes(tlm_model_options_t *options, const tlmi_json_t *config,
                               const char *path)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        const tlmi_json_t *value = tlmi_json_member(config, sizes[i].key);
        int64_t size = sizes[i].missing;

        if (!(tlmi_json_is_null(value) && size >= 0) &&
            (!tlmi_json_get_int(value, &size) || size <= 0))
            return fail_key(path, sizes[i].key, "a whole number above 0");
        memcpy((char *)options + sizes[i].offset, &size, sizeof(size));
    }
    return TLM_OK;
}

static tlm_status_t check_switches(const tlmi_json_t *config, const char *path)
{
    static const char *const biases[] = {"attention_bias", "mlp_bias"};
    static const char *const nulls[] = {"sliding_window", "quantization_config"};
    const tlmi_json_t *value;
    bool is_set = false;

    for (size_t i = 0; i < COUNT_OF(biases); i++) {
        value = tlmi_json_member(config, biases[i]);
        if (!tlmi_json_is_null(value) && !tlmi_json_get_bool(value, &is_set))
            return fail_key(path, biases[i], "true or false");
        if (is_set)
            return refuse(path, biases[i], "is true, and models here have no biases");
    }
    for (size_t i = 0; i < COUNT_OF(nulls); i++)
        if (!tlmi_json_is_null(tlmi_json_member(config, nulls[i])))
            return refuse(path, nulls[i], "cannot be honoured");
    if (!is_absent_or(config, "hidden_act", "silu"))
        return refuse(path, "hidden_act", "is not silu");
    return TLM_OK;
}

static tlm_status_t check_head_dim(const tlm_model_options_t *options, const tlmi_json_t *config,
                                   const char *path)
{
    const tlmi_json_t *value = tlmi_json_member(config, "head_dim");
    int64_t head_dim;

    if (tlmi_json_is_null(value))
        return TLM_OK;
    if (!tlmi_json_get_int(value, &head_dim) || head_dim <= 0)
        return fail_key(path, "head_dim", "a whole number above 0");
    /* A product that does not fit is not the width either. */
    if (options->d_model % options->num_heads != 0 ||
        options->d_model / options->num_heads != head_dim)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: \"head_dim\" is %" PRId64 ", not hidden_size / num_attention_heads = "
                         "%" PRId64 " / %" PRId64,
                         path, head_dim, options->d_model, options->num_heads);
    return TLM_OK;
}

/* A positive number; `missing` where the key is missing or null. */
static tlm_status_t read_number(double *out, const tlmi_json_t *object, const char *key,
                                double missing, const char *path)
{
    const tlmi_json_t *value = tlmi_json_member(object, key);

    *out = missing;
    if (tlmi_json_is_null(value) || (tlmi_json_get_number(value, out) && *out > 0.0))
        return TLM_OK;
    return fail_key(path, key, "a number above 0");
}

/* "rope_parameters" holds, since transformers 5, all that is said of RoPE; "rope_scaling" did before,
 * beside "rope_theta". */
static tlm_status_t read_rope(double *theta, const tlmi_json_t *config, const char *path)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    double part;

    TLMI_TRY(read_number(theta, config, "rope_theta", 10000.0, path));
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

/* An id; the first one of a list. */
static tlm_status_t read_token(bool *exists, uint32_t *id, const tlmi_json_t *config,
                               const char *key, int64_t vocab_size, const char *path)
{
    const tlmi_json_t *value = tlmi_json_member(config, key);
    int64_t number;

    if (tlmi_json_is_array(value))
        value = tlmi_json_item(value, 0);
    *exists = !tlmi_json_is_null(value);
    if (!*exists)
        return TLM_OK;
    if (!tlmi_json_get_int(value, &number))
        return fail_key(path, key, "an id");
    *exists = number >= 0 && number < vocab_size; /* -1 says none, and defaults may lie outside */
    if (*exists)
        *id = (uint32_t)number;
    return TLM_OK;
}

tlm_status_t tlmi_hf_config_read(tlm_model_options_t *out, tlm_model_file_options_t *file,
                                 const tlmi_json_t *config, const char *path)
{
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_file_options_t tokens = *file;
    const tlmi_json_t *tied = tlmi_json_member(config, "tie_word_embeddings");

    TLMI_TRY(check_architecture(config, path));
    TLMI_TRY(read_sizes(&options, config, path));
    TLMI_TRY(check_switches(config, path));
    TLMI_TRY(check_head_dim(&options, config, path));
    TLMI_TRY(read_number(&options.norm_eps, config, "rms_norm_eps", 1e-6, path));
    TLMI_TRY(read_rope(&options.rope_theta, config, path));
    if (!tlmi_json_is_null(tied) && !tlmi_json_get_bool(tied, &options.tied_embeddings))
        return fail_key(path, "tie_word_embeddings", "true or false");
    TLMI_TRY(read_token(&tokens.has_begin_token, &tokens.begin_token, config, "bos_token_id",
                        options.vocab_size, path));
    TLMI_TRY(read_token(&tokens.has_end_token, &tokens.end_token, config, "eos_token_id",
                        options.vocab_size, path));
    *out = options;
    *file = tokens;
    return TLM_OK;
}
