/* The files that transformers puts beside a tokenizer: tokenizer_config.json, added_tokens.json and
 * special_tokens_map.json name tokens that the tokenizer's own files may lack. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/file_kind.h"
#include "tokenizer/formats/hf_tokenizer.h"

static const char *const role_keys[] = {
    "bos_token", "eos_token", "unk_token",  "sep_token",
    "pad_token", "cls_token", "mask_token", "additional_special_tokens"};

/* Reads a file in the folder of `path`; *out is NULL if there is none. */
static tlm_status_t read_beside(tlmi_json_t **out, const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    char *other = tlmi_alloc(folder + strlen(name) + 1, 1, "a path");
    tlm_status_t status = TLM_OK;

    *out = NULL;
    if (other == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    memcpy(other, path, folder);
    strcpy(other + folder, name);
    size_t size;
    if (tlmi_is_regular_file(other))
        status = tlmi_json_read_file(out, &size, other);
    tlmi_free(other);
    return status;
}

static tlm_status_t append(tlmi_companions_t *companions, tlm_bytes_t bytes, int64_t id,
                           uint8_t flags)
{
    if (!tlmi_grow(&companions->tokens, &companions->capacity, companions->n + 1,
                   sizeof(*companions->tokens), "added tokens"))
        return TLM_ERR_OUT_OF_MEMORY;
    TLMI_TRY(tlmi_vocabulary_add(&companions->index, bytes.data, bytes.size));
    companions->tokens[companions->n++] = (tlmi_companion_t){bytes, id, flags};
    return TLM_OK;
}

/* Appends a token unless it is there: a string or an AddedToken. */
static tlm_status_t append_content(tlmi_companions_t *companions, const tlmi_json_t *content,
                                   int64_t id, uint8_t flags)
{
    if (tlmi_json_is_object(content)) /* an AddedToken */
        content = tlmi_json_member(content, "content");
    const char *text;
    size_t size;
    if (!tlmi_json_get_string(content, &text, &size) || size == 0)
        return TLM_OK; /* null, or what is not a token */
    tlm_bytes_t bytes = {(const uint8_t *)text, size};
    uint32_t known = tlmi_vocabulary_find(&companions->index, bytes.data, bytes.size);
    if (known == TLMI_NO_TOKEN)
        return append(companions, bytes, id, flags);
    if (companions->config == NULL)
        companions->tokens[known].flags = flags; /* added_tokens.json says nothing of them */
    return TLM_OK;
}

/* "added_tokens_decoder" of tokenizer_config.json: from ids, as strings, to AddedTokens. */
static tlm_status_t append_decoder(tlmi_companions_t *companions, const tlmi_json_t *decoder)
{
    const tlmi_json_t *token;
    void *cursor = NULL;
    const char *key;

    while (tlmi_json_next(decoder, &cursor, &key, &token)) {
        const tlmi_hf_file_t file = {.path = companions->path}; /* for messages */
        uint64_t id;

        if (!tlmi_parse_uint64(key, &id) || id >= UINT32_MAX)
            continue;
        uint8_t flags;
        TLMI_TRY(tlmi_hf_token_flags(&flags, &file, token));
        TLMI_TRY(append_content(companions, token, (int64_t)id, flags));
    }
    return TLM_OK;
}

/* added_tokens.json: from tokens to ids. */
static tlm_status_t append_ids(tlmi_companions_t *companions, const tlmi_json_t *ids)
{
    const tlmi_json_t *value;
    void *cursor = NULL;
    const char *key;

    while (tlmi_json_next(ids, &cursor, &key, &value)) {
        tlm_bytes_t bytes = {(const uint8_t *)key, strlen(key)};
        int64_t id;

        if (!tlmi_json_get_int(value, &id) || id < 0 || bytes.size == 0)
            return tlmi_fail(TLM_ERR_FORMAT,
                             "%s: added_tokens.json beside it gives no id to '%.40s'",
                             companions->path, key);
        TLMI_TRY(append(companions, bytes, id, TLMI_TOKEN_NORMALIZED | TLMI_TOKEN_ORDINARY));
    }
    return TLM_OK;
}

/* Tokens by their roles, which need not have ids. */
static tlm_status_t append_roles(tlmi_companions_t *companions, const tlmi_json_t *object)
{
    for (size_t i = 0; i < sizeof(role_keys) / sizeof(role_keys[0]); i++) {
        const tlmi_json_t *value = tlmi_json_member(object, role_keys[i]);

        if (!tlmi_json_is_array(value))
            TLMI_TRY(append_content(companions, value, -1, 0));
        for (size_t k = 0; k < tlmi_json_size(value) && tlmi_json_is_array(value); k++)
            TLMI_TRY(append_content(companions, tlmi_json_item(value, k), -1, 0));
    }
    return TLM_OK;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = (uint64_t)((const tlmi_companion_t *)a)->id; /* -1, no id, comes last */
    uint64_t y = (uint64_t)((const tlmi_companion_t *)b)->id;

    return x < y ? -1 : x > y;
}

static tlm_status_t sort_by_id(tlmi_companions_t *companions)
{
    if (companions->n == 0)
        return TLM_OK;
    qsort(companions->tokens, companions->n, sizeof(*companions->tokens), compare_ids);
    tlmi_vocabulary_release(&companions->index);
    for (size_t i = 0; i < companions->n; i++) {
        tlm_bytes_t bytes = companions->tokens[i].bytes;

        TLMI_TRY(tlmi_vocabulary_add(&companions->index, bytes.data, bytes.size));
    }
    return TLM_OK;
}

static tlm_status_t read_all(tlmi_companions_t *companions)
{
    TLMI_TRY(read_beside(&companions->config, companions->path, "tokenizer_config.json"));
    TLMI_TRY(read_beside(&companions->added, companions->path, "added_tokens.json"));
    TLMI_TRY(read_beside(&companions->roles, companions->path, "special_tokens_map.json"));
    const tlmi_json_t *decoder = tlmi_json_member(companions->config, "added_tokens_decoder");
    if (tlmi_json_is_object(decoder))
        TLMI_TRY(append_decoder(companions, decoder));
    else
        TLMI_TRY(append_ids(companions, companions->added));
    TLMI_TRY(sort_by_id(companions));
    TLMI_TRY(append_roles(companions, companions->roles));
    return append_roles(companions, companions->config);
}

tlm_status_t tlmi_companions_read(tlmi_companions_t *out, const char *path)
{
    *out = (tlmi_companions_t){.path = path};
    tlm_status_t status = read_all(out);
    if (status != TLM_OK)
        tlmi_companions_release(out);
    return status;
}

void tlmi_companions_release(tlmi_companions_t *companions)
{
    tlmi_json_free(companions->config);
    tlmi_json_free(companions->added);
    tlmi_json_free(companions->roles);
    tlmi_free(companions->tokens);
    tlmi_vocabulary_release(&companions->index);
    *companions = (tlmi_companions_t){0};
}
