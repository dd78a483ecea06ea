/* Reading is strict: whatever does not follow the format is refused, with its place in the file. */
#include "tokenizer/formats/token_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/file_kind.h"

tlm_status_t tlmi_token_list_init(tlmi_token_list_t *list, size_t room)
{
    *list = (tlmi_token_list_t){0};
    list->bytes = tlmi_alloc(room, 1, "the tokens of a file");
    return list->bytes == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
}

void tlmi_token_list_release(tlmi_token_list_t *list)
{
    tlmi_free(list->items);
    tlmi_free(list->bytes);
    *list = (tlmi_token_list_t){0};
}

bool tlmi_token_list_decode(tlm_bytes_t *out, size_t *at, tlmi_token_list_t *list, const char *text,
                            size_t size)
{
    uint8_t *to = list->bytes + list->bytes_size;

    if (!tlmi_alphabet_to_bytes(to, at, text, size))
        return false;
    *out = (tlm_bytes_t){to, *at};
    list->bytes_size += *at;
    return true;
}

tlm_status_t tlmi_token_list_append(tlmi_token_list_t *list, tlm_bytes_t token)
{
    if (!tlmi_grow(&list->items, &list->capacity, list->n + 1, sizeof(*list->items), "tokens"))
        return TLM_ERR_OUT_OF_MEMORY;
    list->items[list->n++] = token;
    return TLM_OK;
}

size_t tlmi_token_list_limit(size_t n)
{
    return 16 * n + 65536;
}

tlm_status_t tlmi_token_list_place(tlm_bytes_t **place, tlmi_token_list_t *list, int64_t id,
                                   size_t limit, const char *path, const char *kind,
                                   const char *name)
{
    if (id < 0 || (uint64_t)id >= limit)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: %s %.40s has id %" PRId64 ", which is outside 0 .. %zu", path, kind,
                         name, id, limit - 1);
    while (list->n <= (size_t)id)
        TLMI_TRY(tlmi_token_list_append(list, (tlm_bytes_t){NULL, 0}));
    if (list->items[id].size > 0)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: %s %.40s has id %" PRId64 ", which another token has too", path, kind,
                         name, id);
    *place = &list->items[id];
    return TLM_OK;
}

static tlm_status_t read_lines(tlmi_token_list_t *list, const tlmi_mapping_t *file,
                               const char *path, tlmi_read_line_fn read_line)
{
    const uint8_t *line = file->data;
    size_t left = file->size;

    for (size_t number = 1; left > 0; number++) {
        const uint8_t *newline = memchr(line, '\n', left);
        size_t size = newline == NULL ? left : (size_t)(newline - line);
        size_t used = newline == NULL ? left : size + 1;

        if (size > 0 && line[size - 1] == '\r')
            size--;
        if (size > 0)
            TLMI_TRY(read_line(list, line, size, number, file->size, path));
        line += used;
        left -= used;
    }
    return TLM_OK;
}

tlm_status_t tlmi_token_list_read_lines(tlmi_token_list_t *list, const char *path,
                                        tlmi_read_line_fn read_line)
{
    tlmi_mapping_t file;

    TLMI_TRY(tlmi_read_file(&file, path));
    tlm_status_t status = tlmi_token_list_init(list, file.size);
    if (status == TLM_OK)
        status = read_lines(list, &file, path, read_line);
    if (status == TLM_ERR_FORMAT && list->n == 0) {
        tlmi_file_kind_t kind = tlmi_file_kind(file.data, file.size);
        if (kind < TLMI_FILE_RANKS || kind == TLMI_FILE_BINARY)
            status = tlmi_fail_kind(path, "lines of tokens", file.data, file.size);
    }
    tlmi_unmap_file(&file);
    return status;
}

/* Places the token that is written `name` at its id. */
static tlm_status_t place_name(tlmi_token_list_t *list, const char *name, int64_t id, size_t limit,
                               bool or_itself, const char *path)
{
    size_t size = strlen(name);
    tlm_bytes_t *place;

    TLMI_TRY(tlmi_token_list_place(&place, list, id, limit, path, "token", name));
    if (size == 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the token with id %" PRId64 " is empty", path, id);
    size_t at;
    if (tlmi_token_list_decode(place, &at, list, name, size))
        return TLM_OK;
    if (!or_itself)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: token %.40s has a character at byte %zu that represents no byte",
                         path, name, at);
    *place = (tlm_bytes_t){list->bytes + list->bytes_size, size};
    memcpy(list->bytes + list->bytes_size, name, size);
    list->bytes_size += size;
    return TLM_OK;
}

tlm_status_t tlmi_token_list_read_vocab(tlmi_token_list_t *list, const tlmi_json_t *object,
                                        bool or_itself, const char *path)
{
    size_t limit = tlmi_token_list_limit(tlmi_json_size(object));
    const tlmi_json_t *value;
    void *cursor = NULL;
    const char *name;

    while (tlmi_json_next(object, &cursor, &name, &value)) {
        int64_t id;

        if (!tlmi_json_get_int(value, &id))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: the id of token %.40s is not an integer", path,
                             name);
        TLMI_TRY(place_name(list, name, id, limit, or_itself, path));
    }
    return TLM_OK;
}

tlm_status_t tlmi_token_list_read_merge(tlmi_token_list_t *list, const char *text, size_t size,
                                        const char *path, const char *kind, size_t number)
{
    const char *space = memchr(text, ' ', size);
    size_t left = space == NULL ? size : (size_t)(space - text);

    if (left == 0 || left + 1 >= size || memchr(space + 1, ' ', size - left - 1) != NULL)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: %s %zu is not two tokens separated by a space", path,
                         kind, number);
    tlm_bytes_t sides[2];
    size_t at;
    if (!tlmi_token_list_decode(&sides[0], &at, list, text, left) ||
        !tlmi_token_list_decode(&sides[1], &at, list, space + 1, size - left - 1))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: %s %zu has a character that represents no byte", path,
                         kind, number);
    TLMI_TRY(tlmi_token_list_append(list, sides[0]));
    return tlmi_token_list_append(list, sides[1]);
}

tlm_status_t tlmi_token_list_place_special(tlmi_token_list_t *list,
                                           const tlm_tokenizer_options_t *options, const char *what)
{
    size_t limit = tlmi_token_list_limit(list->n + options->num_special_tokens);

    if (options->special_token_ids == NULL)
        return TLM_OK;
    if (options->num_special_tokens > 0)
        TLMI_REQUIRE(what, options->special_tokens);
    for (size_t i = 0; i < options->num_special_tokens; i++) {
        tlm_bytes_t token = options->special_tokens[i];
        uint32_t id = options->special_token_ids[i];

        if (id == UINT32_MAX || token.size == 0 || token.data == NULL)
            continue;
        if (id < list->n && list->items[id].size == token.size &&
            memcmp(list->items[id].data, token.data, token.size) == 0)
            continue;
        char name[24];
        snprintf(name, sizeof(name), "%zu", i);
        tlm_bytes_t *place;
        TLMI_TRY(tlmi_token_list_place(&place, list, id, limit, what, "special token", name));
        *place = token;
    }
    return TLM_OK;
}

tlm_status_t tlmi_spell(tlmi_spelling_t *out, tlm_bytes_t token)
{
    if (!tlmi_grow(&out->text, &out->capacity, 2 * token.size + 1, 1, "a token"))
        return TLM_ERR_OUT_OF_MEMORY;
    out->size = tlmi_bytes_to_alphabet(out->text, token.data, token.size);
    out->text[out->size] = '\0';
    return TLM_OK;
}
