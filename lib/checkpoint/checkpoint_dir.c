/* The checkpoints of a run in one directory: a file for each, kept or removed by iteration and by
 * validation loss. All information about them is in the files themselves; there is no index to
 * lose. */
#include "tinylm/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "checkpoint/checkpoint_core.h"

#define PREFIX "step-"
#define SUFFIX ".safetensors"
enum { NAME_SIZE = 48 };

typedef struct entry {
    uint64_t iteration;
    bool readable; /* whether its header is, which is enough to choose what to remove */
    bool has_loss;
    double loss;
} entry_t;

typedef struct listing {
    entry_t *entries; /* latest first */
    size_t n, capacity;
} listing_t;

/* ---- Names ------------------------------------------------------------------------------ */

static void file_name(char name[NAME_SIZE], uint64_t iteration)
{
    snprintf(name, NAME_SIZE, PREFIX "%08" PRIu64 SUFFIX, iteration);
}

/* Whether `name` is a name that file_name makes, and for which iteration. */
static bool parse_name(uint64_t *iteration, const char *name)
{
    size_t size = strlen(name), fixed = strlen(PREFIX) + strlen(SUFFIX);

    if (size <= fixed || size >= NAME_SIZE || strncmp(name, PREFIX, strlen(PREFIX)) != 0)
        return false;
    char digits[NAME_SIZE];
    memcpy(digits, name + strlen(PREFIX), size - fixed);
    digits[size - fixed] = '\0';
    if (!tlmi_parse_uint64(digits, iteration))
        return false;
    char again[NAME_SIZE];
    file_name(again, *iteration);
    return strcmp(again, name) == 0;
}

/* Owned; NULL if memory runs out. */
static char *file_path(const char *directory, uint64_t iteration)
{
    size_t size = strlen(directory) + 1 + NAME_SIZE;
    char name[NAME_SIZE], *path = tlmi_alloc(size, 1, "a file name");

    file_name(name, iteration);
    if (path != NULL)
        snprintf(path, size, "%s/%s", directory, name);
    return path;
}

/* ---- Listing ---------------------------------------------------------------------------- */

static int compare_entries(const void *a, const void *b)
{
    uint64_t x = ((const entry_t *)a)->iteration, y = ((const entry_t *)b)->iteration;

    return (x < y) - (x > y);
}

static tlm_status_t list(listing_t *out, const char *directory)
{
    tlm_status_t status = TLM_OK;
    listing_t listing = {0};
    entry_t entry = {0};
    DIR *handle = opendir(directory);

    if (handle == NULL)
        return tlmi_fail_errno("open", directory);
    struct dirent *found;
    while (status == TLM_OK && (errno = 0, found = readdir(handle)) != NULL) {
        if (!parse_name(&entry.iteration, found->d_name))
            continue;
        if (tlmi_grow(&listing.entries, &listing.capacity, listing.n + 1, sizeof(entry),
                      "the checkpoints of a directory"))
            listing.entries[listing.n++] = entry;
        else
            status = TLM_ERR_OUT_OF_MEMORY;
    }
    if (status == TLM_OK && errno != 0)
        status = tlmi_fail_errno("read", directory);
    closedir(handle);
    if (status != TLM_OK) {
        tlmi_free(listing.entries);
        return status;
    }
    if (listing.n > 0)
        qsort(listing.entries, listing.n, sizeof(entry), compare_entries);
    *out = listing;
    return TLM_OK;
}

/* Whether a failure means that the file is not a whole checkpoint, or no longer exists, rather than
 * that it could not be read. */
static bool is_damage(tlm_status_t status)
{
    return status == TLM_ERR_FORMAT || status == TLM_ERR_NOT_FOUND;
}

/* Parses `text`, which may be NULL, as one number: as JSON, which no locale changes. */
static tlm_status_t parse_loss(entry_t *entry, const char *text, const char *path)
{
    char document[40];

    if (text == NULL || snprintf(document, sizeof(document), "[%s]", text) >= (int)sizeof(document))
        return TLM_OK;
    tlmi_json_t *array;
    tlm_status_t status = tlmi_json_parse(&array, document, strlen(document), path);
    if (status != TLM_OK)
        return is_damage(status) ? TLM_OK : status;
    entry->has_loss = tlmi_json_get_number(tlmi_json_item(array, 0), &entry->loss);
    tlmi_json_free(array);
    return TLM_OK;
}

/* Reads the loss of an entry from the file's header. */
static tlm_status_t read_loss(entry_t *entry, const char *directory)
{
    char *path = file_path(directory, entry->iteration);

    if (path == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_safetensors_t file;
    uint64_t iteration;
    tlm_status_t status = tlmi_checkpoint_peek(&file, &iteration, path);
    if (status == TLM_OK) {
        entry->readable = true;
        status = parse_loss(entry, tlmi_safetensors_metadata(&file, "validation_loss"), path);
        tlmi_safetensors_close(&file);
    }
    tlmi_free(path);
    return is_damage(status) ? TLM_OK : status;
}

static tlm_status_t read_losses(listing_t *listing, const char *directory)
{
    for (size_t i = 0; i < listing->n; i++)
        TLMI_TRY(read_loss(&listing->entries[i], directory));
    return TLM_OK;
}

/* The entry with the lowest loss, the earliest of equals; NULL if none has a loss. */
static entry_t *find_best(const listing_t *listing)
{
    entry_t *best = NULL;

    for (size_t i = 0; i < listing->n; i++) {
        entry_t *entry = &listing->entries[i];

        if (entry->has_loss && (best == NULL || entry->loss <= best->loss))
            best = entry;
    }
    return best;
}

/* ---- Saving ----------------------------------------------------------------------------- */

/* Removes the checkpoints that are neither among the latest nor the best. Those after `iteration`
 * stay: a run that was set back does not know about them. */
static tlm_status_t prune(const char *directory, uint64_t iteration, int32_t keep_last)
{
    tlm_status_t status = TLM_OK;
    int32_t kept = 0;

    listing_t listing;
    TLMI_TRY(list(&listing, directory));
    TLMI_TRY_OR(done, read_losses(&listing, directory));
    entry_t *best = find_best(&listing);
    for (size_t i = 0; i < listing.n; i++) {
        entry_t *entry = &listing.entries[i];

        if (entry->iteration > iteration || !entry->readable || kept++ < keep_last || entry == best)
            continue;
        char *path = file_path(directory, entry->iteration);
        if (path == NULL)
            status = TLM_ERR_OUT_OF_MEMORY;
        else if (unlink(path) != 0 && errno != ENOENT)
            status = tlmi_fail_errno("remove", path);
        tlmi_free(path);
        if (status != TLM_OK)
            break;
    }
done:
    tlmi_free(listing.entries);
    return status;
}

tlm_status_t tlm_checkpoint_dir_save(const tlm_model_t *model, const tlm_optimizer_t *optimizer,
                                     uint64_t iteration, const char *directory, int32_t keep_last,
                                     const tlm_checkpoint_options_t *options)
{
    TLMI_REQUIRE("checkpoint_dir_save", directory);
    TLMI_REQUIRE("checkpoint_dir_save", model);
    if (keep_last < 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "checkpoint_dir_save: keep_last %" PRId32 " is negative", keep_last);
    TLMI_TRY(tlmi_make_directory(directory));
    TLMI_TRY(tlmi_remove_leftovers(directory, PREFIX));
    char *path = file_path(directory, iteration);
    if (path == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status =
        tlmi_checkpoint_save("checkpoint_dir_save", path, model, optimizer, iteration, options);
    tlmi_free(path);
    if (status == TLM_OK && keep_last > 0)
        status = prune(directory, iteration, keep_last);
    return status;
}

/* ---- Finding ---------------------------------------------------------------------------- */

/* Finds the first entry whose file is whole, in order of iteration, latest first, or of loss. */
static tlm_status_t find_whole(char **out, int32_t *num_damaged, listing_t *listing,
                               const char *directory, bool by_loss)
{
    int32_t damaged = 0;

    for (size_t i = 0; i < listing->n; i++) {
        entry_t *entry = by_loss ? find_best(listing) : &listing->entries[i];

        if (entry == NULL)
            break;
        char *path = file_path(directory, entry->iteration);
        if (path == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
        tlmi_safetensors_t file;
        uint64_t iteration;
        tlm_status_t status = tlmi_checkpoint_open(&file, &iteration, path);
        if (status == TLM_OK) {
            tlmi_safetensors_close(&file);
            *out = path;
            if (num_damaged != NULL)
                *num_damaged = damaged;
            return TLM_OK;
        }
        tlmi_free(path);
        if (!is_damage(status))
            return status;
        entry->has_loss = false;
        damaged++;
    }
    return tlmi_fail(TLM_ERR_NOT_FOUND,
                     "%s: no intact checkpoint%s among %zu files, of which %" PRId32 " are damaged",
                     directory, by_loss ? " with a validation loss" : "", listing->n, damaged);
}

static tlm_status_t find(char **out, int32_t *num_damaged, const char *function,
                         const char *directory, bool by_loss)
{
    TLMI_REQUIRE(function, out);
    TLMI_REQUIRE(function, directory);
    listing_t listing;
    TLMI_TRY(list(&listing, directory));
    tlm_status_t status = by_loss ? read_losses(&listing, directory) : TLM_OK;
    if (status == TLM_OK)
        status = find_whole(out, num_damaged, &listing, directory, by_loss);
    tlmi_free(listing.entries);
    return status;
}

tlm_status_t tlm_checkpoint_dir_latest(char **path, int32_t *num_damaged, const char *directory)
{
    return find(path, num_damaged, "checkpoint_dir_latest", directory, false);
}

tlm_status_t tlm_checkpoint_dir_best(char **path, int32_t *num_damaged, const char *directory)
{
    return find(path, num_damaged, "checkpoint_dir_best", directory, true);
}
