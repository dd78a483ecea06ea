/* Reads a model from a GGUF file whose architecture is that of one of the families. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "interchange/interchange.h"
#include "tokenizer/formats/token_files.h"

/* ---- Keys ------------------------------------------------------------------------------- */

const char *const tlmi_gguf_head_widths[TLMI_GGUF_NUM_HEAD_WIDTHS] = {"rope.dimension_count",
                                                                      "attention.value_length"};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

const char *tlmi_gguf_key(char buffer[TLMI_GGUF_KEY_SIZE], const tlmi_family_t *family,
                          const char *name)
{
    snprintf(buffer, TLMI_GGUF_KEY_SIZE, "%s.%s", family->names[TLMI_GGUF], name);
    return buffer;
}

static const tlmi_gguf_value_t *find_key(const tlmi_gguf_t *file, const tlmi_family_t *family,
                                         const char *name)
{
    char key[TLMI_GGUF_KEY_SIZE];

    return tlmi_gguf_find(file, tlmi_gguf_key(key, family, name));
}

/* `key` is a key without its family prefix. */
static bool is_known(const tlmi_family_t *family, const char *key, size_t size)
{
    const size_t n = TLMI_GGUF_NUM_HEAD_WIDTHS;

    if (tlmi_gguf_is_block_key(key, size))
        return true;
    for (size_t i = 0; i < n + tlmi_num_options; i++) {
        const char *name = i < n ? tlmi_gguf_head_widths[i]
                                 : tlmi_family_key(family, &tlmi_options[i - n], TLMI_GGUF);

        if (name != NULL && strlen(name) == size && memcmp(name, key, size) == 0)
            return true;
    }
    return false;
}

static tlm_status_t find_family(const tlmi_family_t **out, const tlmi_gguf_t *file,
                                const char *path)
{
    const char *text;
    size_t size;

    if (!tlmi_gguf_get_string(tlmi_gguf_find(file, "general.architecture"), &text, &size))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the file has no string 'general.architecture'", path);
    *out = tlmi_family_find(TLMI_GGUF, text, size);
    char names[TLMI_FAMILIES_TEXT];
    if (*out == NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: the architecture is %.*s, not %s", path,
                         size < 64 ? (int)size : 64, text, tlmi_families_text(names, TLMI_GGUF));
    return TLM_OK;
}

/* Rejects unknown keys of the family, because they change what the weights mean. */
static tlm_status_t check_keys(const tlmi_gguf_t *file, const tlmi_family_t *family,
                               const char *path)
{
    const char *name = family->names[TLMI_GGUF];
    const size_t prefix = strlen(name) + 1;

    TLMI_TRY(tlmi_gguf_check_general(file, path));
    for (size_t i = 0; i < file->num_values; i++) {
        const tlmi_gguf_value_t *value = &file->values[i];

        if (value->key_size >= prefix && memcmp(value->key, name, prefix - 1) == 0 &&
            value->key[prefix - 1] == '.' &&
            !is_known(family, value->key + prefix, value->key_size - prefix))
            TLMI_TRY(tlmi_gguf_check_key(value, family, path));
    }
    return TLM_OK;
}

/* ---- Options ---------------------------------------------------------------------------- */

double tlmi_gguf_undo_rounding(double number)
{
    double decimal = round(number * 1e12) / 1e12;

    bool is_single = (double)(float)number == number;

    return is_single && (float)decimal == (float)number ? decimal : number;
}

static tlm_status_t read_option(tlm_model_options_t *options, const tlmi_model_option_t *option,
                                const tlmi_gguf_value_t *value, const char *key, const char *path)
{
    double number = 0.0;
    int64_t size = 0;

    if (value->is_array)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: '%s' differs between layers, which is not supported", path, key);
    if (option->type == TLMI_NUMBER) {
        if (!tlmi_gguf_get_number(value, &number) || !isfinite(number) || number <= 0.0)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' is not a number above 0", path, key);
        tlmi_option_set_number(options, option, tlmi_gguf_undo_rounding(number));
        return TLM_OK;
    }
    if (!tlmi_gguf_get_int(value, &size) || size <= 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' is not a whole number above 0", path, key);
    tlmi_option_set_int(options, option, size);
    return TLM_OK;
}

static tlm_status_t read_table(tlm_model_options_t *options, const tlmi_gguf_t *file,
                               const tlmi_family_t *family, const char *path)
{
    for (size_t i = 0; i < tlmi_num_options; i++) {
        const tlmi_model_option_t *option = &tlmi_options[i];
        const char *name = tlmi_family_key(family, option, TLMI_GGUF);
        const double missing = option->keys[TLMI_GGUF].missing;

        if (name == NULL)
            continue;
        char key[TLMI_GGUF_KEY_SIZE];
        const tlmi_gguf_value_t *value = tlmi_gguf_find(file, tlmi_gguf_key(key, family, name));
        if (value != NULL)
            TLMI_TRY(read_option(options, option, value, key, path));
        else if (missing == TLMI_REQUIRED)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: the file has no '%s'", path, key);
        else
            tlmi_option_set(options, option, missing);
    }
    return TLM_OK;
}

static tlm_status_t check_same(const tlmi_gguf_t *file, const tlmi_family_t *family,
                               const char *name, int64_t wanted, const char *path)
{
    const tlmi_gguf_value_t *value = find_key(file, family, name);
    int64_t number = -1;

    if (value == NULL || (tlmi_gguf_get_int(value, &number) && number == wanted))
        return TLM_OK;
    char key[TLMI_GGUF_KEY_SIZE];
    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: '%s' is %" PRId64 "; only %" PRId64 " is supported",
                     path, tlmi_gguf_key(key, family, name), number, wanted);
}

/* Checks the keys that give the width of a head once more. */
static tlm_status_t check_head_widths(const tlm_model_options_t *options, const tlmi_gguf_t *file,
                                      const tlmi_family_t *family, const char *path)
{
    tlm_model_options_t resolved;
    tlmi_model_shape_t shape;
    TLMI_TRY(tlmi_model_resolve(&resolved, &shape, path, options));
    for (size_t i = 0; i < TLMI_GGUF_NUM_HEAD_WIDTHS; i++)
        TLMI_TRY(check_same(file, family, tlmi_gguf_head_widths[i], shape.d_head, path));
    return TLM_OK;
}

const tlmi_gguf_tensor_t *tlmi_gguf_find_tensor(const tlmi_gguf_t *file, const char *name)
{
    for (size_t i = 0; i < file->num_tensors; i++)
        if (file->tensors[i].name_size == strlen(name) &&
            memcmp(file->tensors[i].name, name, strlen(name)) == 0)
            return &file->tensors[i];
    return NULL;
}

static tlm_status_t read_options(tlm_model_options_t *out, const tlmi_family_t **family,
                                 const tlmi_gguf_t *file, const char *path)
{
    const tlmi_gguf_tensor_t *embedding =
        tlmi_gguf_find_tensor(file, tlmi_parts[TLMI_EMBEDDING].names[TLMI_GGUF]);

    TLMI_TRY(find_family(family, file, path));
    TLMI_TRY(check_keys(file, *family, path));
    TLMI_TRY(read_table(out, file, *family, path));
    tlmi_family_apply(out, *family);
    if (embedding == NULL)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the file has no tensor '%s'", path,
                         tlmi_parts[TLMI_EMBEDDING].names[TLMI_GGUF]);
    if (out->vocab_size == 0 && embedding->ndim == 2)
        out->vocab_size = embedding->shape[0];
    out->tied_embeddings =
        tlmi_gguf_find_tensor(file, tlmi_parts[TLMI_LM_HEAD].names[TLMI_GGUF]) == NULL;
    TLMI_TRY(tlmi_gguf_blocks_read(out, file, *family, path));
    return check_head_widths(out, file, *family, path);
}

/* ---- Tokens ----------------------------------------------------------------------------- */

static tlm_status_t read_token(bool *exists, uint32_t *id, const tlmi_gguf_t *file, const char *key,
                               const tlm_model_options_t *options, const char *path)
{
    const tlmi_gguf_value_t *value = tlmi_gguf_find(file, key);

    if (value == NULL)
        return TLM_OK;
    int64_t number;
    if (!tlmi_gguf_get_int(value, &number) || number < 0 || number >= options->vocab_size)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' is not an id below %" PRId64, path, key,
                         options->vocab_size);
    *exists = true;
    *id = (uint32_t)number;
    return TLM_OK;
}

/* The ids that end a text, a turn, or a message to a tool. */
static tlm_status_t read_end_tokens(tlm_model_file_options_t *info, const tlmi_gguf_t *file,
                                    const tlm_model_options_t *options, const char *path)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};

    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        bool exists = false;
        uint32_t id = 0;

        TLMI_TRY(read_token(&exists, &id, file, keys[i], options, path));
        if (exists)
            TLMI_TRY(tlmi_add_end_token(info, id, path));
    }
    return TLM_OK;
}

/* ---- Weights ---------------------------------------------------------------------------- */

static tlm_status_t check_type(const tlmi_gguf_tensor_t *tensor, const tlmi_dtype_t *type,
                               const char *path)
{
    if (type != NULL && type->load != NULL)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_UNSUPPORTED,
                     "%s: tensor '%.*s' is of type %s (%" PRIu32 "), which is not supported", path,
                     tensor->name_size < 128 ? (int)tensor->name_size : 128, tensor->name,
                     tlmi_gguf_type_name(tensor->type), tensor->type);
}

/* Files of mixed types say in a key what they are. */
static int32_t find_choice(const tlmi_gguf_t *file, const tlmi_dtype_t *embedding)
{
    const tlmi_gguf_value_t *value = tlmi_gguf_find(file, "general.file_type");
    int64_t file_type = -1;

    if (value != NULL && tlmi_gguf_get_int(value, &file_type) &&
        tlmi_weights_of_file_type(file_type) >= 0)
        return tlmi_weights_of_file_type(file_type);
    return tlmi_weights_choice(embedding);
}

static tlm_status_t load_weights(tlm_model_t **out, tlm_model_file_options_t *info,
                                 const tlm_model_options_t *options, const tlmi_family_t *family,
                                 tlmi_gguf_shards_t *shards, const char *path, bool keep)
{
    const tlmi_gguf_t *file = &shards->whole;
    const tlmi_gguf_tensor_t *factors = tlmi_gguf_find_tensor(file, tlmi_gguf_rope_factors);
    const tlmi_convention_t convention = {TLMI_GGUF, family};
    tlmi_found_weight_t *found = NULL;
    tlm_model_t *model = NULL;

    TLMI_TRY(
        tlmi_weights_begin(&model, &found, options, keep, file->num_tensors, shards->bytes, path));
    tlm_status_t status;
    for (size_t i = 0; i < file->num_tensors; i++) {
        const tlmi_gguf_tensor_t *tensor = &file->tensors[i];
        const size_t shard = tlmi_gguf_shards_find(shards, i);
        const tlmi_found_weight_t one = {.data = tensor->data,
                                         .type = tlmi_dtype_of_gguf(tensor->type),
                                         .shape = tensor->shape,
                                         .ndim = tensor->ndim,
                                         .file = &shards->files[shard].mapping};

        if (tensor == factors)
            continue; /* read with the options */
        TLMI_TRY_OR(done, check_type(tensor, one.type, shards->paths[shard]));
        TLMI_TRY_OR(done, tlmi_weight_place(found, model, &convention, tensor->name,
                                            tensor->name_size, &one, shards->paths[shard]));
    }
    TLMI_TRY_OR(done, tlmi_weights_fill(model, found, &convention, path));
    info->weights = find_choice(file, found[0].type);
    info->weight_bytes = tlmi_weights_bytes(model, found);
    *out = model;
    model = NULL;
done:
    tlmi_free(found);
    tlm_model_free(model);
    return status;
}

tlm_status_t tlmi_gguf_load(tlm_model_t **out, tlm_tokenizer_t **tokenizer,
                            tlm_model_file_options_t *info, const char *path, bool keep)
{
    tlm_model_file_options_t own = TLM_MODEL_FILE_OPTIONS_INIT;
    tlm_model_options_t options = TLM_MODEL_OPTIONS_INIT;
    tlm_model_t *model = NULL;
    tlmi_gguf_shards_t shards;

    TLMI_TRY(tlmi_gguf_shards_open(&shards, path));
    const tlmi_gguf_t *file = &shards.whole;
    path = shards.paths[0]; /* which has the keys */
    const tlmi_family_t *family;
    tlm_status_t status;
    TLMI_TRY_OR(done, read_options(&options, &family, file, path));
    TLMI_TRY_OR(done, read_token(&own.has_begin_token, &own.begin_token, file,
                                 "tokenizer.ggml.bos_token_id", &options, path));
    TLMI_TRY_OR(done, read_end_tokens(&own, file, &options, path));
    own.family = (int32_t)(family - tlmi_families) + 1;
    TLMI_TRY_OR(done, load_weights(&model, &own, &options, family, &shards, path, keep));
    if (tokenizer != NULL)
        TLMI_TRY_OR(done, tlmi_gguf_read_tokenizer(tokenizer, file, path, NULL));
    *info = own;
    *out = model;
    model = NULL;
done:
    tlm_model_free(model);
    tlmi_gguf_shards_close(&shards);
    return status;
}
