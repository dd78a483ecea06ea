/* Reads chat templates from the files of models and tokenizers. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "formats/file_kind.h"
#include "formats/gguf.h"
#include "tokenizer/chat/chat.h"
#include "tokenizer/pretokenize/unicode.h"

/* The variables that transformers gives to templates. */
static const char *const token_names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                          "pad_token", "cls_token", "mask_token"};
#define NUM_TOKEN_NAMES (sizeof(token_names) / sizeof(token_names[0]))

static tlm_status_t fail_missing(const char *path)
{
    return tlmi_fail(TLM_ERR_NOT_FOUND, "%s: there is no chat template", path);
}

/* Creates a template; messages begin with the path. */
static tlm_status_t create(tlm_chat_template_t **out, const char *path, const char *source,
                           size_t size)
{
    char message[320];
    tlm_status_t status = tlmi_chat_create(out, source, size);

    if (status != TLM_ERR_FORMAT && status != TLM_ERR_UNSUPPORTED)
        return status;
    snprintf(message, sizeof(message), "%s", tlm_error_message());
    return tlmi_fail(status, "%.160s: %s", path, message);
}

/* ---- JSON ---- */

/* A token: a string, or an AddedToken with its content. */
static bool token_text(const char **text, size_t *size, const tlmi_json_t *value)
{
    if (tlmi_json_is_object(value))
        value = tlmi_json_member(value, "content");
    return tlmi_json_get_string(value, text, size);
}

/* Adds the tokens that a tokenizer_config.json or special_tokens_map.json names. */
static tlm_status_t add_tokens(tlm_chat_template_t *chat, const tlmi_json_t *json)
{
    const char *text;
    size_t size;

    for (size_t i = 0; i < NUM_TOKEN_NAMES; i++)
        if (tlmi_chat_find_variable(chat, token_names[i]) == NULL &&
            token_text(&text, &size, tlmi_json_member(json, token_names[i])))
            TLMI_TRY(tlmi_chat_add_variable(chat, token_names[i], text, size));
    return TLM_OK;
}

/* Finds the text of "chat_template": a string, or a list of templates with names. */
static tlm_status_t find_source(const char **source, size_t *size, const tlmi_json_t *json,
                                const char *path)
{
    const tlmi_json_t *value = tlmi_json_member(json, "chat_template");
    const char *name;
    size_t name_size;

    if (tlmi_json_is_null(value))
        return fail_missing(path);
    if (tlmi_json_get_string(value, source, size))
        return TLM_OK;
    if (tlmi_json_is_object(value) &&
        tlmi_json_get_string(tlmi_json_member(value, "default"), source, size))
        return TLM_OK;
    for (size_t i = 0; i < tlmi_json_size(value) && tlmi_json_is_array(value); i++) {
        const tlmi_json_t *item = tlmi_json_item(value, i);

        if (tlmi_json_get_string(tlmi_json_member(item, "name"), &name, &name_size) &&
            name_size == 7 && memcmp(name, "default", 7) == 0 &&
            tlmi_json_get_string(tlmi_json_member(item, "template"), source, size))
            return TLM_OK;
    }
    if (tlmi_json_is_array(value) || tlmi_json_is_object(value))
        return tlmi_fail(TLM_ERR_NOT_FOUND, "%s: none of its %zu chat templates is called default",
                         path, tlmi_json_size(value));
    return tlmi_fail(TLM_ERR_FORMAT, "%s: chat_template is neither a string nor a list", path);
}

static tlm_status_t create_from_json(tlm_chat_template_t **out, const tlmi_json_t *json,
                                     const char *path)
{
    const char *source;
    size_t size;

    TLMI_TRY(find_source(&source, &size, json, path));
    return create(out, path, source, size);
}

/* ---- Folders ---- */

static tlm_status_t join_path(char **out, const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;

    *out = tlmi_alloc(size, 1, "a path");
    if (*out == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    snprintf(*out, size, "%s/%s", folder, name);
    return TLM_OK;
}

/* Reads a JSON file of a folder; *out becomes NULL if it is not there. */
static tlm_status_t read_json(tlmi_json_t **out, const char *folder, const char *name)
{
    char *path;
    size_t size;

    *out = NULL;
    TLMI_TRY(join_path(&path, folder, name));
    tlm_status_t status = TLM_OK;
    if (tlmi_is_regular_file(path))
        status = tlmi_json_read_file(out, &size, path);
    tlmi_free(path);
    return status;
}

static tlm_status_t create_from_text(tlm_chat_template_t **out, const char *path)
{
    tlmi_mapping_t file;

    TLMI_TRY(tlmi_read_file(&file, path));
    const char *text = file.size > 0 ? (const char *)file.data : "";
    tlm_status_t status = !tlmi_utf8_valid((const uint8_t *)text, file.size)
                              ? tlmi_fail_kind(path, "a chat template", text, file.size)
                              : create(out, path, text, file.size);
    tlmi_unmap_file(&file);
    return status;
}

/* chat_template.jinja, then chat_template.json, then tokenizer_config.json. */
static tlm_status_t create_from_folder(tlm_chat_template_t **out, const char *folder,
                                       const tlmi_json_t *config)
{
    tlmi_json_t *json = NULL;
    char *path;

    TLMI_TRY(join_path(&path, folder, "chat_template.jinja"));
    if (tlmi_is_regular_file(path)) {
        tlm_status_t status = create_from_text(out, path);

        tlmi_free(path);
        return status;
    }
    tlmi_free(path);
    TLMI_TRY(read_json(&json, folder, "chat_template.json"));
    tlm_status_t status = create_from_json(out, json != NULL ? json : config, folder);
    tlmi_json_free(json);
    return status;
}

static tlm_status_t open_folder(tlm_chat_template_t **out, const char *folder)
{
    tlmi_json_t *config = NULL, *map = NULL;
    tlm_chat_template_t *chat = NULL;
    tlm_status_t status;

    TLMI_TRY_OR(done, read_json(&config, folder, "tokenizer_config.json"));
    TLMI_TRY_OR(done, read_json(&map, folder, "special_tokens_map.json"));
    TLMI_TRY_OR(done, create_from_folder(&chat, folder, config));
    TLMI_TRY_OR(done, add_tokens(chat, config));
    TLMI_TRY_OR(done, add_tokens(chat, map));
    *out = chat;
    chat = NULL;
done:
    tlm_chat_template_free(chat);
    tlmi_json_free(config);
    tlmi_json_free(map);
    return status;
}

/* ---- GGUF ---- */

static tlm_status_t add_gguf_token(tlm_chat_template_t *chat, const tlmi_gguf_t *file,
                                   const char *name, const char *key)
{
    const tlmi_gguf_value_t *tokens = tlmi_gguf_find(file, "tokenizer.ggml.tokens");
    const char *cursor, *text = NULL;
    size_t size = 0;
    int64_t id;

    if (tokens == NULL || !tokens->is_array || tokens->type != TLMI_GGUF_STRING ||
        !tlmi_gguf_get_int(tlmi_gguf_find(file, key), &id) || id < 0 ||
        (uint64_t)id >= tokens->count)
        return TLM_OK;
    cursor = tokens->data;
    for (int64_t i = 0; i <= id; i++)
        tlmi_gguf_next_string(&cursor, &text, &size);
    return tlmi_chat_add_variable(chat, name, text, size);
}

static tlm_status_t create_from_gguf(tlm_chat_template_t **out, const tlmi_gguf_t *file,
                                     const char *path)
{
    static const char *const keys[][2] = {
        {"bos_token", "tokenizer.ggml.bos_token_id"},
        {"eos_token", "tokenizer.ggml.eos_token_id"},
        {"unk_token", "tokenizer.ggml.unknown_token_id"},
        {"sep_token", "tokenizer.ggml.seperator_token_id"}, /* spelt so in the format */
        {"pad_token", "tokenizer.ggml.padding_token_id"},
    };
    const char *source;
    size_t size;

    if (!tlmi_gguf_get_string(tlmi_gguf_find(file, "tokenizer.chat_template"), &source, &size))
        return fail_missing(path);
    TLMI_TRY(create(out, path, source, size));
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        TLMI_TRY(add_gguf_token(*out, file, keys[i][0], keys[i][1]));
    return TLM_OK;
}

static tlm_status_t open_gguf(tlm_chat_template_t **out, const char *path)
{
    tlm_chat_template_t *chat = NULL;
    tlmi_gguf_t file;

    TLMI_TRY(tlmi_gguf_open(&file, path));
    tlm_status_t status = create_from_gguf(&chat, &file, path);
    tlmi_gguf_close(&file);
    if (status == TLM_OK)
        *out = chat;
    else
        tlm_chat_template_free(chat);
    return status;
}

/* ---- Any path ---- */

static tlm_status_t open_json(tlm_chat_template_t **out, const char *path)
{
    tlm_chat_template_t *chat = NULL;
    tlmi_json_t *json;
    size_t size;

    TLMI_TRY(tlmi_json_read_file(&json, &size, path));
    tlm_status_t status = create_from_json(&chat, json, path);
    if (status == TLM_OK)
        status = add_tokens(chat, json);
    tlmi_json_free(json);
    if (status == TLM_OK)
        *out = chat;
    else
        tlm_chat_template_free(chat);
    return status;
}

/* Whether a file begins as a JSON object does: Jinja has no "{" before a quotation mark. */
static bool looks_like_json(const char *head, size_t size)
{
    size_t at = tlmi_space_before(head, size);

    if (at == size || head[at] != '{')
        return false;
    at += 1 + tlmi_space_before(head + at + 1, size - at - 1);
    return at < size && (head[at] == '"' || head[at] == '}');
}

tlm_status_t tlm_chat_template_open(tlm_chat_template_t **out, const char *path)
{
    char head[TLMI_FILE_HEAD_SIZE];
    size_t size;

    TLMI_REQUIRE("chat_template_open", out);
    TLMI_REQUIRE("chat_template_open", path);
    if (tlmi_is_directory(path))
        return open_folder(out, path);
    TLMI_TRY(tlmi_read_head(&size, head, sizeof(head), path));
    tlmi_file_kind_t kind = tlmi_file_kind(head, size);
    if (kind == TLMI_FILE_GGUF)
        return open_gguf(out, path);
    if (looks_like_json(head, size))
        return open_json(out, path);
    if (kind == TLMI_FILE_SAFETENSORS)
        return fail_missing(path);
    return create_from_text(out, path);
}
