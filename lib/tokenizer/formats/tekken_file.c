/* Tekken files of mistral-common: JSON with a pattern, tokens by rank in base64, and special
 * tokens, whose ids come before the ranks. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/error.h"
#include "base/json.h"
#include "base/memory.h"
#include "formats/file_kind.h"
#include "tokenizer/formats/token_files.h"

#define MAX_SPECIAL 65536
#define FILLER_SIZE 24 /* of the name of a special token that the file does not name */
#define FIRST_TOKEN "<s>"

typedef struct tekken {
    const char *path;
    const tlmi_json_t *vocab, *special; /* `special` may be NULL */
    const char *pattern;
    size_t num_tokens; /* that count; the vocabulary may be longer */
    size_t num_special;
    tlmi_token_list_t list;
    tlm_bytes_t *tokens; /* special, by id */
    uint32_t *ids;
    char *fillers;
} tekken_t;

bool tlmi_is_tekken(const void *head, size_t size)
{
    return memmem(head, size, "\"token_bytes\"", 13) != NULL ||
           memmem(head, size, "\"default_num_special_tokens\"", 28) != NULL;
}

static tlm_status_t read_count(size_t *out, const tlmi_json_t *config, const char *key,
                               const char *path)
{
    int64_t count;

    if (!tlmi_json_get_int(tlmi_json_member(config, key), &count) || count < 0 || count > INT32_MAX)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: config.%s is not a number of tokens", path, key);
    *out = (size_t)count;
    return TLM_OK;
}

static tlm_status_t read_config(tekken_t *tekken, const tlmi_json_t *root)
{
    const tlmi_json_t *config = tlmi_json_member(root, "config");
    const char *path = tekken->path;
    size_t total = 0;

    tekken->vocab = tlmi_json_member(root, "vocab");
    tekken->special = tlmi_json_member(root, "special_tokens");
    if (!tlmi_json_is_object(config) || !tlmi_json_is_array(tekken->vocab))
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: a Tekken file has an object config and an array vocab", path);
    size_t size;
    if (!tlmi_json_get_string(tlmi_json_member(config, "pattern"), &tekken->pattern, &size) ||
        strlen(tekken->pattern) != size)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: config.pattern is not a string without NUL", path);
    TLMI_TRY(read_count(&total, config, "default_vocab_size", path));
    TLMI_TRY(read_count(&tekken->num_special, config, "default_num_special_tokens", path));
    if (tekken->num_special > MAX_SPECIAL || tekken->num_special > total ||
        total - tekken->num_special > tlmi_json_size(tekken->vocab))
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: %zu tokens, of which %zu are special, but the vocabulary has %zu",
                         path, total, tekken->num_special, tlmi_json_size(tekken->vocab));
    tekken->num_tokens = total - tekken->num_special;
    return TLM_OK;
}

static tlm_status_t read_token(tekken_t *tekken, size_t index)
{
    const tlmi_json_t *item = tlmi_json_item(tekken->vocab, index);
    tlmi_token_list_t *list = &tekken->list;
    uint8_t *bytes = list->bytes + list->bytes_size;
    int64_t rank;

    if (!tlmi_json_get_int(tlmi_json_member(item, "rank"), &rank) || rank != (int64_t)index)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: vocab[%zu].rank is not %zu", tekken->path, index,
                         index);
    const char *text;
    size_t size;
    if (!tlmi_json_get_string(tlmi_json_member(item, "token_bytes"), &text, &size) || size == 0 ||
        !tlmi_base64_decode(bytes, &size, (const uint8_t *)text, size))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: vocab[%zu].token_bytes is not a token in base64",
                         tekken->path, index);
    list->bytes_size += size;
    return tlmi_token_list_append(list, (tlm_bytes_t){bytes, size});
}

/* The names of special tokens in files that do not list them. */
static const char *const special_names[] = {"<unk>",
                                            FIRST_TOKEN,
                                            "</s>",
                                            "[INST]",
                                            "[/INST]",
                                            "[AVAILABLE_TOOLS]",
                                            "[/AVAILABLE_TOOLS]",
                                            "[TOOL_RESULTS]",
                                            "[/TOOL_RESULTS]",
                                            "[TOOL_CALLS]",
                                            "[IMG]",
                                            "<pad>",
                                            "[IMG_BREAK]",
                                            "[IMG_END]",
                                            "[PREFIX]",
                                            "[MIDDLE]",
                                            "[SUFFIX]",
                                            "[SYSTEM_PROMPT]",
                                            "[/SYSTEM_PROMPT]",
                                            "[TOOL_CONTENT]"};

static tlm_status_t read_special(tekken_t *tekken, size_t index)
{
    const tlmi_json_t *item = tlmi_json_item(tekken->special, index);
    int64_t rank;

    if (!tlmi_json_get_int(tlmi_json_member(item, "rank"), &rank) || rank < 0 ||
        (size_t)rank >= tekken->num_special)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: special_tokens[%zu].rank is not below %zu",
                         tekken->path, index, tekken->num_special);
    const char *text;
    size_t size;
    if (!tlmi_json_get_string(tlmi_json_member(item, "token_str"), &text, &size) || size == 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: special_tokens[%zu].token_str is not a string",
                         tekken->path, index);
    if (tekken->tokens[rank].size > 0)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: special_tokens[%zu] has the rank %" PRId64
                         ", which another one has too",
                         tekken->path, index, rank);
    tekken->tokens[rank] = (tlm_bytes_t){(const uint8_t *)text, size};
    return TLM_OK;
}

static tlm_status_t name_special(tekken_t *tekken)
{
    const size_t num_names = sizeof(special_names) / sizeof(special_names[0]);

    if (tekken->special != NULL && !tlmi_json_is_null(tekken->special)) {
        if (!tlmi_json_is_array(tekken->special))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: special_tokens is not an array", tekken->path);
        for (size_t i = 0; i < tlmi_json_size(tekken->special); i++)
            TLMI_TRY(read_special(tekken, i));
    } else {
        for (size_t id = 0; id < num_names && id < tekken->num_special; id++)
            tekken->tokens[id] =
                (tlm_bytes_t){(const uint8_t *)special_names[id], strlen(special_names[id])};
    }
    for (size_t id = 0; id < tekken->num_special; id++) {
        char *name = tekken->fillers + id * FILLER_SIZE;

        tekken->ids[id] = (uint32_t)id;
        if (tekken->tokens[id].size > 0)
            continue;
        int size = snprintf(name, FILLER_SIZE, "<SPECIAL_%zu>", id);
        tekken->tokens[id] = (tlm_bytes_t){(const uint8_t *)name, (size_t)size};
    }
    return TLM_OK;
}

static tlm_status_t read_vocabulary(tekken_t *tekken)
{
    size_t n = tekken->num_special, room = 0, size;
    const char *text;

    tekken->tokens = tlmi_calloc(n, sizeof(*tekken->tokens), "special tokens");
    tekken->ids = tlmi_calloc(n, sizeof(*tekken->ids), "special tokens");
    tekken->fillers = tlmi_calloc(n, FILLER_SIZE, "special tokens");
    if (tekken->tokens == NULL || tekken->ids == NULL || tekken->fillers == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < tekken->num_tokens; i++)
        if (tlmi_json_get_string(tlmi_json_member(tlmi_json_item(tekken->vocab, i), "token_bytes"),
                                 &text, &size))
            room += size;
    TLMI_TRY(name_special(tekken));
    TLMI_TRY(tlmi_token_list_init(&tekken->list, room));
    for (size_t id = 0; id < n; id++)
        TLMI_TRY(tlmi_token_list_append(&tekken->list, tekken->tokens[id]));
    for (size_t i = 0; i < tekken->num_tokens; i++)
        TLMI_TRY(read_token(tekken, i));
    return TLM_OK;
}

static tlm_status_t build(tlm_tokenizer_t **out, const tekken_t *tekken)
{
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlm_tokenizer_t *tokenizer;

    options.pattern = tekken->pattern;
    options.ignore_merges = true;
    options.special_tokens = tekken->tokens;
    options.special_token_ids = tekken->ids;
    options.num_special_tokens = tekken->num_special;
    TLMI_TRY(tlmi_rank_tokenizer_build(&tokenizer, &tekken->list, tekken->path, &options));
    uint32_t first = tlmi_vocabulary_find(&tokenizer->vocabulary, (const uint8_t *)FIRST_TOKEN,
                                          strlen(FIRST_TOKEN));
    tlm_status_t status = TLM_OK;
    if (first < tekken->num_special)
        status = tlmi_template_create(&tokenizer->template, &first, 1, NULL, 0);
    if (status == TLM_OK)
        *out = tokenizer;
    else
        tlm_tokenizer_free(tokenizer);
    return status;
}

/* The file says everything; its special tokens are the only ones. */
static tlm_status_t check_options(const tlm_tokenizer_options_t *options, const char *path)
{
    TLMI_TRY(tlmi_refuse_splitting_options(options, path, "a Tekken file"));
    if (options->num_special_tokens > 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: the option special_tokens is set, but a Tekken file has its own",
                         path);
    return TLM_OK;
}

tlm_status_t tlmi_tekken_load(tlm_tokenizer_t **out, const char *path,
                              const tlm_tokenizer_options_t *options)
{
    tekken_t tekken = {.path = path};
    tlm_tokenizer_options_t known;
    tlmi_json_t *root;
    size_t size;

    TLMI_TRY(tlmi_tokenizer_read_options(&known, "tokenizer_open", options));
    TLMI_TRY(check_options(&known, path));
    TLMI_TRY(tlmi_json_read_file(&root, &size, path));
    tlm_status_t status = read_config(&tekken, root);
    if (status == TLM_OK)
        status = read_vocabulary(&tekken);
    if (status == TLM_OK)
        status = build(out, &tekken);
    tlmi_token_list_release(&tekken.list);
    tlmi_free(tekken.tokens);
    tlmi_free(tekken.ids);
    tlmi_free(tekken.fillers);
    tlmi_json_free(root);
    return status;
}
