/* Detects the format of a file from its content, never from its name. */
#include "tinylm/tokenizer_files.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/file_kind.h"

/* tokenizer.json holds more than the other two files, so it is preferred if both exist. */
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
    if (tlmi_is_regular_file(files))
        status = tlm_tokenizer_load_json(out, files, options);
    else if (tlmi_is_regular_file(files + room) && tlmi_is_regular_file(files + 2 * room))
        status = tlm_tokenizer_load(out, files + room, files + 2 * room, options);
    else
        status = tlmi_fail(
            TLM_ERR_NOT_FOUND,
            "%s: the folder has neither tokenizer.json nor vocab.json and merges.txt", path);
    tlmi_free(files);
    return status;
}

tlm_status_t tlm_tokenizer_open(tlm_tokenizer_t **out, const char *path,
                                const tlm_tokenizer_options_t *options)
{
    TLMI_REQUIRE("tokenizer_open", out);
    TLMI_REQUIRE("tokenizer_open", path);
    if (tlmi_is_directory(path))
        return open_directory(out, path, options);
    tlmi_file_kind_t kind;
    TLMI_TRY(tlmi_file_kind_at(&kind, path));
    return kind == TLMI_FILE_JSON ? tlm_tokenizer_load_json(out, path, options)
                                  : tlm_tokenizer_load_tiktoken(out, path, options);
}
