/* Models in several GGUF files, as llama.cpp splits them: name-00001-of-00003.gguf and so on, the first
 * of which holds the keys. Any of them opens all. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "interchange/interchange.h"

enum { MAX_SHARDS = 1024, SUFFIX_SIZE = sizeof("-00001-of-00002.gguf") - 1 };

static const char count_key[] = "split.count", number_key[] = "split.no";
static const char tensors_key[] = "split.tensors.count";

/* *out is `missing` without the key. */
static tlm_status_t read_count(int64_t *out, const tlmi_gguf_t *file, const char *key,
                               int64_t missing, const char *path)
{
    const tlmi_gguf_value_t *value = tlmi_gguf_find(file, key);

    *out = missing;
    if (value == NULL || (tlmi_gguf_get_int(value, out) && *out >= 0))
        return TLM_OK;
    return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' is not a whole number", path, key);
}

/* Checks that the path ends as the names of `count` files do, with the number of file `number`. */
static tlm_status_t check_name(const char *path, int64_t number, int64_t count)
{
    const size_t size = strlen(path);
    char suffix[64];

    snprintf(suffix, sizeof(suffix), "-%05" PRId64 "-of-%05" PRId64 ".gguf", number + 1, count);
    if (size > strlen(suffix) && strcmp(path + size - strlen(suffix), suffix) == 0)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_UNSUPPORTED,
                     "%s: '%s' is %" PRId64 " and '%s' is %" PRId64
                     ", but the name does not end with %s, so the other files cannot be found",
                     path, count_key, count, number_key, number, suffix);
}

/* Opens file `number` of `count`, whose names are like `path`. */
static tlm_status_t open_shard(tlmi_gguf_shards_t *shards, const char *path, int64_t number,
                               int64_t count)
{
    const size_t size = strlen(path) + 1;
    char *own = tlmi_alloc(size, 1, "a path");
    int64_t own_number = 0, own_count = 0;

    if (own == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    snprintf(own, size, "%.*s-%05" PRId64 "-of-%05" PRId64 ".gguf", (int)(size - 1 - SUFFIX_SIZE),
             path, number + 1, count);
    tlmi_gguf_t *file = &shards->files[shards->n];
    tlm_status_t status = tlmi_gguf_open(file, own);
    if (status == TLM_OK) {
        shards->paths[shards->n++] = own;
        TLMI_TRY(read_count(&own_number, file, number_key, -1, own));
        TLMI_TRY(read_count(&own_count, file, count_key, 0, own));
        if (own_number == number && own_count == count)
            return TLM_OK;
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: '%s' is %" PRId64 " and '%s' is %" PRId64
                         ", but the file should be number %" PRId64 " of %" PRId64,
                         own, number_key, own_number, count_key, own_count, number, count);
    }
    tlmi_free(own);
    return status;
}

/* All files must tell the same number of tensors, and have so many. */
static tlm_status_t check_tensors(const tlmi_gguf_shards_t *shards)
{
    int64_t wanted = -1, own;
    size_t found = 0;

    for (size_t i = 0; i < shards->n; i++) {
        TLMI_TRY(read_count(&own, &shards->files[i], tensors_key, wanted, shards->paths[i]));
        if (wanted >= 0 && own != wanted)
            return tlmi_fail(TLM_ERR_FORMAT,
                             "%s: '%s' is %" PRId64 ", but %" PRId64 " in the files before it",
                             shards->paths[i], tensors_key, own, wanted);
        wanted = own;
        found += shards->files[i].num_tensors;
    }
    if (wanted >= 0 && (uint64_t)wanted != found)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' is %" PRId64 ", but the %zu files have %zu",
                         shards->paths[0], tensors_key, wanted, shards->n, found);
    return TLM_OK;
}

static tlm_status_t open_all(tlmi_gguf_shards_t *shards, const char *path, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        TLMI_TRY(open_shard(shards, path, i, count));
    return check_tensors(shards);
}

static tlm_status_t make_room(tlmi_gguf_shards_t *shards, size_t n)
{
    shards->files = tlmi_calloc(n, sizeof(*shards->files), "the files of a model");
    shards->paths = tlmi_calloc(n, sizeof(*shards->paths), "the files of a model");
    return shards->files == NULL || shards->paths == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
}

/* A model in one file. A complete one that was split and then merged keeps "split.count", as 0 or 1. */
static tlm_status_t take_single(tlmi_gguf_shards_t *shards, tlmi_gguf_t *file, const char *path)
{
    TLMI_TRY(make_room(shards, 1));
    shards->paths[0] = tlmi_strdup(path, "a path");
    if (shards->paths[0] == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    shards->files[shards->n++] = *file;
    *file = (tlmi_gguf_t){0};
    return TLM_OK;
}

/* Makes the view of all files: the keys of the first, the tensors of each. */
static tlm_status_t make_whole(tlmi_gguf_shards_t *shards)
{
    tlmi_gguf_t *whole = &shards->whole;

    for (size_t i = 0; i < shards->n; i++) {
        whole->num_tensors += shards->files[i].num_tensors;
        shards->bytes += shards->files[i].mapping.size;
    }
    whole->values = shards->files[0].values;
    whole->num_values = shards->files[0].num_values;
    whole->tensors =
        tlmi_calloc(whole->num_tensors, sizeof(*whole->tensors), "the tensors of a model");
    if (whole->tensors == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_gguf_tensor_t *at = whole->tensors;
    for (size_t i = 0; i < shards->n; i++) {
        const size_t n = shards->files[i].num_tensors;

        if (n > 0)
            memcpy(at, shards->files[i].tensors, n * sizeof(*at));
        at += n;
    }
    return TLM_OK;
}

size_t tlmi_gguf_shards_find(const tlmi_gguf_shards_t *shards, size_t tensor)
{
    size_t shard = 0;

    while (tensor >= shards->files[shard].num_tensors)
        tensor -= shards->files[shard++].num_tensors;
    return shard;
}

tlm_status_t tlmi_gguf_shards_open(tlmi_gguf_shards_t *out, const char *path)
{
    tlmi_gguf_shards_t shards = {0};
    int64_t count = 0, number = 0;
    tlmi_gguf_t file;

    TLMI_TRY(tlmi_gguf_open(&file, path));
    tlm_status_t status;
    TLMI_TRY_OR(done, read_count(&count, &file, count_key, 0, path));
    if (count <= 1) {
        status = take_single(&shards, &file, path);
        goto done;
    }
    TLMI_TRY_OR(done, read_count(&number, &file, number_key, 0, path));
    if (count > MAX_SHARDS || number >= count) {
        status = tlmi_fail(TLM_ERR_UNSUPPORTED,
                           "%s: '%s' is %" PRId64 " of '%s' %" PRId64 "; at most %d files are read",
                           path, number_key, number, count_key, count, MAX_SHARDS);
        goto done;
    }
    TLMI_TRY_OR(done, check_name(path, number, count));
    TLMI_TRY_OR(done, make_room(&shards, (size_t)count));
    status = open_all(&shards, path, count);
done:
    tlmi_gguf_close(&file);
    if (status == TLM_OK)
        status = make_whole(&shards);
    if (status == TLM_OK)
        *out = shards;
    else
        tlmi_gguf_shards_close(&shards);
    return status;
}

void tlmi_gguf_shards_close(tlmi_gguf_shards_t *shards)
{
    for (size_t i = 0; i < shards->n; i++)
        tlmi_gguf_close(&shards->files[i]);
    for (size_t i = 0; i < shards->n; i++)
        tlmi_free(shards->paths[i]);
    tlmi_free(shards->whole.tensors);
    tlmi_free(shards->files);
    tlmi_free(shards->paths);
    *shards = (tlmi_gguf_shards_t){0};
}
