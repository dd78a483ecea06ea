/* Detects the format of a file from its content, never from its name. */
#include "tinylm/tokenizer_files.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/file_kind.h"
#include "tokenizer/formats/token_files.h"

/* ---- Files ---- */

static tlm_status_t open_file(tlm_tokenizer_t **out, const char *path,
                              const tlm_tokenizer_options_t *options)
{
    uint8_t head[TLMI_FILE_HEAD_SIZE];
    size_t size;

    TLMI_TRY(tlmi_read_head(&size, head, sizeof(head), path));
    switch (tlmi_file_kind(head, size)) {
    case TLMI_FILE_SENTENCEPIECE:
        return tlmi_sentencepiece_load(out, path, options);
    case TLMI_FILE_GGUF:
        return tlmi_gguf_load_tokenizer(out, path, options);
    case TLMI_FILE_JSON:
        return tlmi_is_tekken(head, size) ? tlmi_tekken_load(out, path, options)
                                          : tlm_tokenizer_load_json(out, path, options);
    case TLMI_FILE_TEXT:
        return tlmi_vocab_txt_load(out, path, options);
    default:
        return tlm_tokenizer_load_tiktoken(out, path, options);
    }
}

/* ---- Folders ---- */

/* Sets *found to a path in a folder, or to NULL if there is no such file. The caller frees it. */
static tlm_status_t find_file(char **found, const char *folder, const char *name)
{
    size_t room = strlen(folder) + strlen(name) + 2;
    char *path = tlmi_alloc(room, 1, "a path");

    *found = NULL;
    if (path == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    snprintf(path, room, "%s/%s", folder, name);
    if (tlmi_is_regular_file(path))
        *found = path;
    else
        tlmi_free(path);
    return TLM_OK;
}

static tlm_status_t open_gpt2(tlm_tokenizer_t **out, bool *found, const char *folder,
                              const tlm_tokenizer_options_t *options)
{
    char *vocab, *merges = NULL;

    TLMI_TRY(find_file(&vocab, folder, "vocab.json"));
    tlm_status_t status = find_file(&merges, folder, "merges.txt");
    *found = vocab != NULL && merges != NULL;
    if (status == TLM_OK && *found)
        status = tlm_tokenizer_load(out, vocab, merges, options);
    tlmi_free(vocab);
    tlmi_free(merges);
    return status;
}

static bool ends_with(const char *name, const char *end)
{
    size_t size = strlen(name), end_size = strlen(end);

    return size >= end_size && strcmp(name + size - end_size, end) == 0;
}

/* Sets *found to the path of the only file with that ending; NULL if there is none. */
static tlm_status_t find_ending(char **found, const char *folder, const char *ending)
{
    DIR *directory = opendir(folder);
    tlm_status_t status = TLM_OK;

    *found = NULL;
    if (directory == NULL)
        return tlmi_fail_errno("open", folder);
    for (const struct dirent *entry; status == TLM_OK && (entry = readdir(directory)) != NULL;) {
        char *path = NULL;

        if (!ends_with(entry->d_name, ending))
            continue;
        status = find_file(&path, folder, entry->d_name);
        if (path == NULL)
            continue;
        if (*found != NULL)
            status =
                tlmi_fail(TLM_ERR_NOT_FOUND,
                          "%s: the folder has several files *%s: name one of them", folder, ending);
        tlmi_free(*found);
        *found = path;
    }
    closedir(directory);
    if (status != TLM_OK) {
        tlmi_free(*found);
        *found = NULL;
    }
    return status;
}

/* The first file that exists is taken: those that say most about a tokenizer come first. */
static tlm_status_t open_directory(tlm_tokenizer_t **out, const char *folder,
                                   const tlm_tokenizer_options_t *options)
{
    static const char *const names[] = {"tokenizer.json", "tekken.json", "tokenizer.model",
                                        "spiece.model", "sentencepiece.bpe.model"};
    static const char *const endings[] = {".tiktoken", ".gguf"};
    char *path = NULL;
    bool found;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && path == NULL; i++)
        TLMI_TRY(find_file(&path, folder, names[i]));
    if (path == NULL) {
        tlm_status_t status = open_gpt2(out, &found, folder, options);
        if (status != TLM_OK || found)
            return status;
        TLMI_TRY(find_file(&path, folder, "vocab.txt"));
    }
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]) && path == NULL; i++)
        TLMI_TRY(find_ending(&path, folder, endings[i]));
    if (path == NULL)
        return tlmi_fail(TLM_ERR_NOT_FOUND,
                         "%s: the folder has neither tokenizer.json nor vocab.json and merges.txt, "
                         "tekken.json, tokenizer.model, vocab.txt, *.tiktoken or *.gguf",
                         folder);
    tlm_status_t status = open_file(out, path, options);
    tlmi_free(path);
    return status;
}

tlm_status_t tlm_tokenizer_open(tlm_tokenizer_t **out, const char *path,
                                const tlm_tokenizer_options_t *options)
{
    TLMI_REQUIRE("tokenizer_open", out);
    TLMI_REQUIRE("tokenizer_open", path);
    return tlmi_is_directory(path) ? open_directory(out, path, options)
                                   : open_file(out, path, options);
}
