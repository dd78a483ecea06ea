/* Which format a path holds is told by what is there: never by the name of a file. */
#include "tinylm/tokenizer_files.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

static bool is_directory(const char *path)
{
    struct stat what;

    return stat(path, &what) == 0 && S_ISDIR(what.st_mode);
}

static bool is_file(const char *path)
{
    struct stat what;

    return stat(path, &what) == 0 && S_ISREG(what.st_mode);
}

/* tokenizer.json says more than the other two, so it is taken where both are there. */
static tlm_status_t open_directory(tlm_tokenizer_t **out, const char *path,
                                   const tlm_tokenizer_options_t *options)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json", "merges.txt"};
    size_t room = strlen(path) + sizeof("/tokenizer.json");
    char *files = tlmi_alloc(room, 3, "paths");
    tlm_status_t status;

    if (files == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < 3; i++)
        snprintf(files + i * room, room, "%s/%s", path, names[i]);
    if (is_file(files))
        status = tlm_tokenizer_load_json(out, files, options);
    else if (is_file(files + room) && is_file(files + 2 * room))
        status = tlm_tokenizer_load(out, files + room, files + 2 * room, options);
    else
        status = tlmi_fail(TLM_ERR_NOT_FOUND,
                           "%s: neither a tokenizer.json, nor a vocab.json and a merges.txt", path);
    tlmi_free(files);
    return status;
}

tlm_status_t tlm_tokenizer_open(tlm_tokenizer_t **out, const char *path,
                                const tlm_tokenizer_options_t *options)
{
    tlmi_mapping_t file;
    size_t at = 0;
    bool is_json;

    TLMI_REQUIRE("tokenizer_open", out);
    TLMI_REQUIRE("tokenizer_open", path);
    if (is_directory(path))
        return open_directory(out, path, options);
    TLMI_TRY(tlmi_map_file(&file, path));
    while (at < file.size && memchr(" \t\r\n", file.data[at], 4) != NULL)
        at++;
    is_json = at < file.size && file.data[at] == '{';
    tlmi_unmap_file(&file);
    return is_json ? tlm_tokenizer_load_json(out, path, options)
                   : tlm_tokenizer_load_tiktoken(out, path, options);
}
