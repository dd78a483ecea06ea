/* Reading a model from a GGUF file of architecture "llama". Its keys "llama...." are all known, or
 * refused: they change what the weights mean. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "interchange/interchange.h"
#include "tokenizer/formats/token_files.h"

#define PREFIX "llama."

/* ---- Options ---------------------------------------------------------------------------- */

static const struct {
    const char *key;
    size_t offset;
    bool optional; /* 0 where it is missing */
} sizes[] = {
    {PREFIX "vocab_size", offsetof(tlm_model_options_t, vocab_size), true},
    {PREFIX "context_length", offsetof(tlm_model_options_t, context_length), false},
    {PREFIX "embedding_length", offsetof(tlm_model_options_t, d_model), false},
    {PREFIX "block_count", offsetof(tlm_model_options_t, num_layers), false},
    {PREFIX "feed_forward_length", offsetof(tlm_model_options_t, d_ff), false},
    {PREFIX "attention.head_count", offsetof(tlm_model_options_t, num_heads), false},
    {PREFIX "attention.head_count_kv", offsetof(tlm_model_options_t, num_kv_heads), true},
};

#define EPS_KEY   PREFIX "attention.layer_norm_rms_epsilon"
#define THETA_KEY PREFIX "rope.freq_base"

/* Keys that can only say what holds here anyway: the width of a head, or 0. */
static const char *const head_widths[] = {
    PREFIX "rope.dimension_count", PREFIX "attention.key_length", PREFIX "attention.value_length"};
static const char *const zeros[] = {PREFIX "expert_count", PREFIX "expert_used_count"};
static const char scaling[] = PREFIX "rope.scaling.type";

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static bool is_key(const tlmi_gguf_value_t *value, const char *key)
{
    return strlen(key) == value->key_size && memcmp(key, value->key, value->key_size) == 0;
}

static bool is_known(const tlmi_gguf_value_t *value)
{
    bool known = is_key(value, EPS_KEY) || is_key(value, THETA_KEY) || is_key(value, scaling);

    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        known = known || is_key(value, sizes[i].key);
    for (size_t i = 0; i < COUNT_OF(head_widths); i++)
        known = known || is_key(value, head_widths[i]);
    for (size_t i = 0; i < COUNT_OF(zeros); i++)
        known = known || is_key(value, zeros[i]);
    return known;
}

/* A whole model that was split and merged again keeps "split.count", as 0 or 1. */
static tlm_status_t check_split(const tlmi_gguf_t *file, const char *path)
{
    const tlmi_gguf_value_t *value = tlmi_gguf_find(file, "split.count");
    int64_t count;

    if (value == NULL || (tlmi_gguf_get_int(value, &count) && (count == 0 || count == 1)))
        return TLM_OK;
    if (!tlmi_gguf_get_int(value, &count))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: 'split.count' is not an integer", path);
    return tlmi_fail(TLM_ERR_UNSUPPORTED,
                     "%s: one of %" PRId64 " files ('split.count'); a model in one file is read",
                     path, count);
}

static tlm_status_t check_keys(const tlmi_gguf_t *file, const char *path)
{
    const char *text;
    size_t size;

    if (!tlmi_gguf_get_string(tlmi_gguf_find(file, "general.architecture"), &text, &size))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: no string 'general.architecture'", path);
    if (size != strlen("llama") || memcmp(text, "llama", size) != 0)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: the architecture is %.*s, not llama", path,
                         size < 64 ? (int)size : 64, text);
    TLMI_TRY(check_split(file, path));
    for (size_t i = 0; i < file->num_values; i++) {
        const tlmi_gguf_value_t *value = &file->values[i];

        if (value->key_size >= strlen(PREFIX) && memcmp(value->key, PREFIX, strlen(PREFIX)) == 0 &&
            !is_known(value))
            return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: '%.*s' cannot be honoured", path,
                             value->key_size < 128 ? (int)value->key_size : 128, value->key);
    }
    return TLM_OK;
}

static tlm_status_t read_sizes(tlm_model_options_t *options, const tlmi_gguf_t *file,
                               const char *path)
{
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        const tlmi_gguf_value_t *value = tlmi_gguf_find(file, sizes[i].key);
        int64_t size = 0;

        if (value == NULL && !sizes[i].optional)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: no '%s'", path, sizes[i].key);
        if (value != NULL && value->is_array)
            return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: '%s' differs by layer", path, sizes[i].key);
        if (value != NULL && (!tlmi_gguf_get_int(value, &size) || size <= 0))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' is not a whole number above 0", path,
                             sizes[i].key);
        memcpy((char *)options + sizes[i].offset, &size, sizeof(size));
    }
    return TLM_OK;
}

/* The number of few decimals that was rounded to this float32: 1e-5 of 9.99999974737875e-06. */
static double undo_rounding(double number)
{
    double decimal = round(number * 1e12) / 1e12;

    bool is_single = (double)(float)number == number;

    return is_single && (float)decimal == (float)number ? decimal : number;
}

static tlm_status_t read_number(double *out, const tlmi_gguf_t *file, const char *key,
                                double missing, const char *path)
{
    const tlmi_gguf_value_t *value = tlmi_gguf_find(file, key);

    *out = missing;
    if (value != NULL && (!tlmi_gguf_get_number(value, out) || !isfinite(*out)))
        *out = 0.0;
    if (!(*out > 0.0))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' is not a number above 0", path, key);
    *out = undo_rounding(*out);
    return TLM_OK;
}

static tlm_status_t check_same(const tlmi_gguf_t *file, const char *key, int64_t wanted,
                               const char *path)
{
    const tlmi_gguf_value_t *value = tlmi_gguf_find(file, key);
    int64_t number = -1;

    if (value == NULL || (tlmi_gguf_get_int(value, &number) && number == wanted))
        return TLM_OK;
    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: '%s' is %" PRId64 ", not %" PRId64, path, key,
                     number, wanted);
}

static tlm_status_t check_rope(const tlm_model_options_t *options, const tlmi_gguf_t *file,
                               const char *path)
{
    const tlmi_gguf_value_t *value = tlmi_gguf_find(file, scaling);
    const char *text;
    size_t size;

    if (value != NULL && !(tlmi_gguf_get_string(value, &text, &size) && size == strlen("none") &&
                           memcmp(text, "none", size) == 0))
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: '%s' is not none", path, scaling);
    for (size_t i = 0; i < COUNT_OF(head_widths); i++)
        TLMI_TRY(check_same(file, head_widths[i], options->d_model / options->num_heads, path));
    for (size_t i = 0; i < COUNT_OF(zeros); i++)
        TLMI_TRY(check_same(file, zeros[i], 0, path));
    return TLM_OK;
}

static const tlmi_gguf_tensor_t *find_tensor(const tlmi_gguf_t *file, const char *name)
{
    for (size_t i = 0; i < file->num_tensors; i++)
        if (file->tensors[i].name_size == strlen(name) &&
            memcmp(file->tensors[i].name, name, strlen(name)) == 0)
            return &file->tensors[i];
    return NULL;
}

static tlm_status_t read_options(tlm_model_options_t *out, const tlmi_gguf_t *file,
                                 const char *path)
{
    const tlmi_gguf_tensor_t *embedding = find_tensor(file, "token_embd.weight");

    TLMI_TRY(check_keys(file, path));
    TLMI_TRY(read_sizes(out, file, path));
    if (embedding == NULL)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: there is no tensor 'token_embd.weight'", path);
    if (out->vocab_size == 0 && embedding->ndim == 2)
        out->vocab_size = embedding->shape[0];
    TLMI_TRY(read_number(&out->norm_eps, file, EPS_KEY, 0.0, path));
    TLMI_TRY(read_number(&out->rope_theta, file, THETA_KEY, 10000.0, path));
    out->tied_embeddings = find_tensor(file, "output.weight") == NULL;
    return check_rope(out, file, path);
}

/* ---- Tokens ----------------------------------------------------------------------------- */

static tlm_status_t read_token(bool *exists, uint32_t *id, const tlmi_gguf_t *file, const char *key,
                               const tlm_model_options_t *options, const char *path)
{
    const tlmi_gguf_value_t *value = tlmi_gguf_find(file, key);
    int64_t number;

    if (value == NULL)
        return TLM_OK;
    if (!tlmi_gguf_get_int(value, &number) || number < 0 || number >= options->vocab_size)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' is not an id below %" PRId64, path, key,
                         options->vocab_size);
    *exists = true;
    *id = (uint32_t)number;
    return TLM_OK;
}

/* ---- Weights ---------------------------------------------------------------------------- */

static int32_t weights_of(const tlmi_gguf_tensor_t *tensor)
{
    return tensor->type == TLMI_GGML_F16    ? TLM_WEIGHTS_FLOAT16
           : tensor->type == TLMI_GGML_BF16 ? TLM_WEIGHTS_BFLOAT16
                                            : TLM_WEIGHTS_FLOAT32;
}

static tlm_status_t load_weights(tlm_model_t **out, tlm_model_file_options_t *info,
                                 const tlm_model_options_t *options, const tlmi_gguf_t *file,
                                 const char *path)
{
    tlmi_found_weight_t *found = NULL;
    tlm_model_t *model = NULL;
    tlm_status_t status;

    TLMI_TRY(
        tlmi_weights_begin(&model, &found, options, file->num_tensors, file->mapping.size, path));
    for (size_t i = 0; i < file->num_tensors; i++) {
        const tlmi_gguf_tensor_t *tensor = &file->tensors[i];
        const tlmi_found_weight_t one = {tensor->data, weights_of(tensor), tensor->shape,
                                         tensor->ndim, &file->mapping};

        TLMI_TRY_OR(done, tlmi_weight_place(found, model, TLMI_GGUF, tensor->name,
                                            tensor->name_size, &one, path));
    }
    TLMI_TRY_OR(done, tlmi_weights_fill(model, found, TLMI_GGUF, path));
    info->weights = found[0].weights;
    *out = model;
    model = NULL;
done:
    tlmi_free(found);
    tlm_model_free(model);
    return status;
}

tlm_status_t tlmi_gguf_load(tlm_model_t **out, tlm_tokenizer_t **tokenizer,
                            tlm_model_file_options_t *info, const char *path)
{
    tlm_model_file_options_t own = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model = NULL;
    tlmi_gguf_t file;
    tlm_status_t status;

    TLMI_TRY(tlmi_gguf_open(&file, path));
    TLMI_TRY_OR(done, read_options(&options, &file, path));
    TLMI_TRY_OR(done, read_token(&own.has_begin_token, &own.begin_token, &file,
                                 "tokenizer.ggml.bos_token_id", &options, path));
    TLMI_TRY_OR(done, read_token(&own.has_end_token, &own.end_token, &file,
                                 "tokenizer.ggml.eos_token_id", &options, path));
    TLMI_TRY_OR(done, load_weights(&model, &own, &options, &file, path));
    if (tokenizer != NULL)
        TLMI_TRY_OR(done, tlmi_gguf_read_tokenizer(tokenizer, &file, path));
    *info = own;
    *out = model;
    model = NULL;
done:
    tlm_model_free(model);
    tlmi_gguf_close(&file);
    return status;
}
