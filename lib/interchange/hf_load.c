/* Reads a model from a Hugging Face transformers folder: config.json, and the weights in
 * model.safetensors or in several files that model.safetensors.index.json lists. A tensor that the
 * model does not have is rejected, because ignoring it would change the results. */
#include "interchange/interchange.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/file_kind.h"
#include "formats/safetensors.h"

#define MAX_SHARDS 1024

typedef struct shard {
    const char *name; /* borrowed from the index; NULL: no index */
    char *path;
    tlmi_safetensors_t file;
} shard_t;

typedef struct folder {
    const char *directory;
    tlmi_json_t *index;         /* NULL: the weights are in one file */
    const tlmi_json_t *names;   /* the index's map from tensors to files */
    shard_t shards[MAX_SHARDS]; /* the first num_shards are open */
    size_t num_shards, num_tensors, bytes;
} folder_t;

static void release(folder_t *folder)
{
    for (size_t i = 0; i < folder->num_shards; i++) {
        tlmi_safetensors_close(&folder->shards[i].file);
        tlmi_free(folder->shards[i].path);
    }
    tlmi_json_free(folder->index);
    tlmi_free(folder);
}

tlm_status_t tlmi_hf_read_object(tlmi_json_t **out, const char *path)
{
    size_t size;

    TLMI_TRY(tlmi_json_read_file(out, &size, path));
    if (tlmi_json_is_object(*out))
        return TLM_OK;
    tlmi_json_free(*out);
    return tlmi_fail(TLM_ERR_FORMAT, "%s: the file is not a JSON object", path);
}

/* ---- Files of weights ------------------------------------------------------------------- */

static tlm_status_t open_shard(folder_t *folder, const char *file_name, const char *name)
{
    shard_t *shard = &folder->shards[folder->num_shards];

    if (folder->num_shards == MAX_SHARDS)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: the weights are in more than %d files",
                         folder->directory, MAX_SHARDS);
    shard->name = name;
    shard->path = tlmi_path_join(folder->directory, file_name);
    if (shard->path == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = tlmi_safetensors_open(&shard->file, shard->path);
    if (status != TLM_OK) {
        tlmi_free(shard->path);
        return status;
    }
    folder->num_shards++;
    folder->num_tensors += shard->file.num_tensors;
    folder->bytes += shard->file.mapping.size;
    return TLM_OK;
}

/* Opens a file that the index names. The file must be in the folder itself. */
static tlm_status_t open_listed(folder_t *folder, const tlmi_json_t *value, const char *tensor,
                                const char *path)
{
    const char *name;
    size_t size;

    if (!tlmi_json_get_string(value, &name, &size) || size == 0 || strlen(name) != size ||
        strchr(name, '/') != NULL)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: tensor '%.128s' is in no file of the folder", path,
                         tensor);
    for (size_t i = 0; i < folder->num_shards; i++)
        if (strcmp(folder->shards[i].name, name) == 0)
            return TLM_OK;
    return open_shard(folder, name, name);
}

static tlm_status_t open_index(folder_t *folder, const char *path)
{
    void *cursor = NULL;

    TLMI_TRY(tlmi_hf_read_object(&folder->index, path));
    folder->names = tlmi_json_member(folder->index, "weight_map");
    if (!tlmi_json_is_object(folder->names))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the file has no object \"weight_map\"", path);
    const tlmi_json_t *value;
    const char *tensor;
    while (tlmi_json_next(folder->names, &cursor, &tensor, &value))
        TLMI_TRY(open_listed(folder, value, tensor, path));
    if (tlmi_json_size(folder->names) != folder->num_tensors)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: \"weight_map\" names %zu tensors, but the files hold %zu", path,
                         tlmi_json_size(folder->names), folder->num_tensors);
    return TLM_OK;
}

/* Prefers the single file to several, as transformers does. */
static tlm_status_t open_weights(folder_t *folder)
{
    static const char single[] = "model.safetensors", index[] = "model.safetensors.index.json";
    char *single_path = tlmi_path_join(folder->directory, single);
    char *index_path = tlmi_path_join(folder->directory, index);
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (single_path != NULL && index_path != NULL)
        status = tlmi_is_regular_file(single_path) ? open_shard(folder, single, NULL)
                 : tlmi_is_regular_file(index_path)
                     ? open_index(folder, index_path)
                     : tlmi_fail(TLM_ERR_NOT_FOUND, "%s: the folder has neither %s nor %s",
                                 folder->directory, single, index);
    tlmi_free(single_path);
    tlmi_free(index_path);
    return status;
}

/* ---- Tensors ---------------------------------------------------------------------------- */

/* Checks that the index, if there is one, places the tensor in this file. */
static tlm_status_t check_listed(const folder_t *folder, const shard_t *shard, const char *tensor)
{
    const char *name = "nowhere";
    size_t size;

    if (folder->names == NULL ||
        (tlmi_json_get_string(tlmi_json_member(folder->names, tensor), &name, &size) &&
         strcmp(name, shard->name) == 0))
        return TLM_OK;
    return tlmi_fail(TLM_ERR_FORMAT,
                     "%s: the file holds tensor '%.128s', but the index places it in %.128s",
                     shard->path, tensor, name);
}

static bool ends_with(const char *name, const char *suffix)
{
    const size_t size = strlen(name), length = strlen(suffix);

    return size > length && strcmp(name + size - length, suffix) == 0;
}

/* Old versions of transformers saved these tables, although the configuration determines them: the
 * angles of RoPE, and GPT-2's masks of what lies ahead. */
static bool is_table(const tlmi_family_t *family, const tlmi_st_tensor_t *tensor)
{
    if (tlmi_family_has(family, "position", TLM_POSITION_ROPE))
        return ends_with(tensor->name, ".rotary_emb.inv_freq");
    return (tensor->ndim == 4 && ends_with(tensor->name, ".attn.bias")) ||
           (tensor->ndim == 0 && ends_with(tensor->name, ".attn.masked_bias"));
}

/* What the folder's names lack: "", or in a model that was saved without its output projection, as
 * GPT-2's are, what is before the first point of the others, which `room` then holds. */
static const char *find_prefix(const folder_t *folder, const char *embedding,
                               char room[TLMI_WEIGHT_NAME_SIZE])
{
    const char *point = strchr(embedding, '.');
    bool is_whole = false, is_bare = false;

    for (size_t i = 0; i < folder->num_shards; i++) {
        is_whole = is_whole || tlmi_safetensors_find(&folder->shards[i].file, embedding) != NULL;
        is_bare = is_bare || tlmi_safetensors_find(&folder->shards[i].file, point + 1) != NULL;
    }
    snprintf(room, TLMI_WEIGHT_NAME_SIZE, "%.*s", (int)(point + 1 - embedding), embedding);
    return is_bare && !is_whole ? room : "";
}

static tlm_status_t place(tlmi_found_weight_t *found, const tlm_model_t *model,
                          const tlmi_convention_t *convention, const tlmi_st_tensor_t *tensor,
                          const char *prefix, shard_t *shard)
{
    const tlmi_dtype_t *type = tlmi_dtype_of_safetensors(tensor->dtype);
    char name[2 * TLMI_WEIGHT_NAME_SIZE];
    const int size = snprintf(name, sizeof(name), "%s%s", prefix, tensor->name);
    const bool fits = prefix[0] != '\0' && strcmp(tensor->name, "lm_head.weight") != 0 &&
                      size > 0 && (size_t)size < sizeof(name);

    if (type != NULL && type->load != NULL)
        return tlmi_weight_place(found, model, convention, fits ? name : tensor->name,
                                 strlen(fits ? name : tensor->name),
                                 &(tlmi_found_weight_t){.data = tensor->data,
                                                        .type = type,
                                                        .shape = tensor->shape,
                                                        .ndim = tensor->ndim,
                                                        .file = &shard->file.mapping},
                                 shard->path);
    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: tensor '%.128s' is %.16s, not F32, F16, BF16 or F64",
                     shard->path, tensor->name, tensor->dtype);
}

/* With tied embeddings, transformers ignores a separate output projection, so it must be equal to
 * the embedding. */
static tlm_status_t check_tied(const tlmi_found_weight_t *embedding, const tlmi_st_tensor_t *output,
                               const tlm_model_t *model, const char *path)
{
    const int64_t *shape = model->specs[0].shape;
    const size_t numel = (size_t)(shape[0] * shape[1]);
    const size_t bytes = embedding->data == NULL ? 0 : numel * embedding->type->bytes;

    if (embedding->data == NULL || /* another message reports this */
        (output->bytes == bytes && memcmp(output->data, embedding->data, bytes) == 0))
        return TLM_OK;
    return tlmi_fail(
        TLM_ERR_UNSUPPORTED,
        "%s: \"tie_word_embeddings\" is true, but tensor '%s' differs from the embedding", path,
        output->name);
}

static tlm_status_t place_all(tlmi_found_weight_t *found, const tlm_model_t *model,
                              const tlmi_convention_t *convention, folder_t *folder)
{
    const tlmi_st_tensor_t *output = NULL;
    const char *output_path = NULL;
    tlmi_file_tensor_t embedding;
    char room[TLMI_WEIGHT_NAME_SIZE];

    (void)tlmi_file_tensor(&embedding, model, 0, convention);
    const char *prefix = find_prefix(folder, embedding.name, room);
    for (size_t i = 0; i < folder->num_shards; i++) {
        shard_t *shard = &folder->shards[i];

        for (size_t k = 0; k < shard->file.num_tensors; k++) {
            const tlmi_st_tensor_t *tensor = &shard->file.tensors[k];

            TLMI_TRY(check_listed(folder, shard, tensor->name));
            if (is_table(convention->family, tensor))
                continue;
            if (!tlmi_has_part(&model->shape, TLMI_LM_HEAD) &&
                strcmp(tensor->name, "lm_head.weight") == 0) {
                output = tensor;
                output_path = shard->path;
                continue;
            }
            TLMI_TRY(place(found, model, convention, tensor, prefix, shard));
        }
    }
    return output == NULL ? TLM_OK : check_tied(&found[0], output, model, output_path);
}

/* ---- The folder ------------------------------------------------------------------------- */

static tlm_status_t read_config(tlm_model_options_t *options, const tlmi_family_t **family,
                                tlm_model_file_options_t *file, const char *directory)
{
    char *path = tlmi_path_join(directory, "config.json");
    tlmi_json_t *config = NULL;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (path == NULL)
        return status;
    TLMI_TRY_OR(done, tlmi_hf_read_object(&config, path));
    status = tlmi_hf_config_read(options, family, file, config, path);
    tlmi_json_free(config);
done:
    tlmi_free(path);
    return status;
}

/* Adds the tokens of generation_config.json, where there is one. */
static tlm_status_t read_generation_config(tlm_model_file_options_t *file, int64_t vocab_size,
                                           const char *directory)
{
    char *path = tlmi_path_join(directory, "generation_config.json");
    tlmi_json_t *config = NULL;
    tlm_status_t status = path == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;

    if (path == NULL || !tlmi_is_regular_file(path))
        goto done;
    TLMI_TRY_OR(done, tlmi_hf_read_object(&config, path));
    status = tlmi_hf_tokens_read(file, config, vocab_size, path);
    tlmi_json_free(config);
done:
    tlmi_free(path);
    return status;
}

tlm_status_t tlmi_hf_load(tlm_model_t **out, tlm_model_file_options_t *file, const char *directory,
                          bool keep)
{
    tlm_model_file_options_t own = TLM_MODEL_FILE_OPTIONS_INIT;
    tlmi_convention_t convention = {.format = TLMI_HF};
    tlmi_found_weight_t *found = NULL;
    tlm_model_t *model = NULL;
    tlm_model_options_t options;

    TLMI_TRY(read_config(&options, &convention.family, &own, directory));
    TLMI_TRY(read_generation_config(&own, options.vocab_size, directory));
    own.family = (int32_t)(convention.family - tlmi_families) + 1;
    folder_t *folder = tlmi_calloc(1, sizeof(*folder), "a folder of weights");
    if (folder == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    folder->directory = directory;
    tlm_status_t status;
    TLMI_TRY_OR(done, open_weights(folder));
    TLMI_TRY_OR(done, tlmi_weights_begin(&model, &found, &options, keep, folder->num_tensors,
                                         folder->bytes, directory));
    TLMI_TRY_OR(done, place_all(found, model, &convention, folder));
    TLMI_TRY_OR(done, tlmi_weights_fill(model, found, &convention, directory));
    own.weights = tlmi_weights_choice(found[0].type);
    own.weight_bytes = tlmi_weights_bytes(model, found);
    *file = own;
    *out = model;
    model = NULL;
done:
    tlmi_free(found);
    tlm_model_free(model);
    release(folder);
    return status;
}
