/* Reads tokenizer.json, the format of Hugging Face's tokenizers library: puts together what the
 * readers of its parts make. */
#include "tinylm/tokenizer_files.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "formats/file_kind.h"
#include "base/memory.h"
#include "tokenizer/formats/hf_tokenizer.h"

/* ---- Added tokens ---- */

tlm_status_t tlmi_hf_token_flags(uint8_t *flags, const tlmi_hf_file_t *file,
                                 const tlmi_json_t *token)
{
    static const struct {
        const char *key;
        uint8_t flag;
    } keys[] = {{"lstrip", TLMI_TOKEN_LSTRIP},
                {"rstrip", TLMI_TOKEN_RSTRIP},
                {"single_word", TLMI_TOKEN_SINGLE_WORD},
                {"normalized", TLMI_TOKEN_NORMALIZED}};
    bool is_special = false;

    *flags = 0;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        bool is_set = false;

        TLMI_TRY(tlmi_hf_optional_bool(&is_set, file, "added token", token, keys[i].key));
        *flags |= is_set ? keys[i].flag : 0;
    }
    TLMI_TRY(tlmi_hf_optional_bool(&is_special, file, "added token", token, "special"));
    *flags |= is_special ? 0 : TLMI_TOKEN_ORDINARY;
    return TLM_OK;
}

/* Adds a token with the id that the tokenizers library gives it: that of the model's token with
 * this name, or else the next free one after the vocabulary. */
static tlm_status_t add_token(tlmi_hf_file_t *file, tlm_bytes_t content, int64_t said,
                              uint8_t flags, int64_t *greatest, size_t limit)
{
    int64_t num_names =
        (int64_t)tlmi_json_size(tlmi_json_member(tlmi_json_member(file->root, "model"), "vocab"));
    int64_t id = tlmi_hf_name_id(file, content);
    tlm_bytes_t *place;

    if (id < 0) {
        id = *greatest >= num_names ? *greatest + 1 : num_names;
        if (said >= 0 && said != id)
            return tlmi_fail(TLM_ERR_FORMAT,
                             "%s: the added token %.40s has id %" PRId64
                             ", but the tokenizers library gives it %" PRId64,
                             file->path, (const char *)content.data, said, id);
        TLMI_TRY(tlmi_token_list_place(&place, &file->vocab, id, limit, file->path,
                                       "the added token", (const char *)content.data));
        *place = content;
    }
    if (id > *greatest)
        *greatest = id;
    return tlmi_special_list_add(&file->special, content, (uint32_t)id, flags);
}

/* Adds the tokens of the files beside this one that it lacks, as transformers does. */
static tlm_status_t add_companions(tlmi_hf_file_t *file, int64_t *greatest)
{
    if (file->bytes != NULL)
        return TLM_OK;
    TLMI_TRY(tlmi_companions_read(&file->companions, file->path));
    size_t limit = tlmi_token_list_limit(file->vocab.n + file->companions.n);
    for (size_t i = 0; i < file->companions.n; i++) {
        const tlmi_companion_t *token = &file->companions.tokens[i];

        if (tlmi_special_list_find(&file->special, token->bytes) == TLMI_NO_TOKEN &&
            (token->id >= 0 || tlmi_hf_name_id(file, token->bytes) < 0))
            TLMI_TRY(add_token(file, token->bytes, -1, token->flags, greatest, limit));
    }
    return TLM_OK;
}

static tlm_status_t read_added_tokens(tlmi_hf_file_t *file)
{
    const tlmi_json_t *tokens = tlmi_json_member(file->root, "added_tokens");
    size_t limit = tlmi_token_list_limit(file->num_names + tlmi_json_size(tokens));
    int64_t greatest = -1;

    if (!tlmi_json_is_null(tokens) && !tlmi_json_is_array(tokens))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: \"added_tokens\" is not an array", file->path);
    for (size_t i = 0; i < tlmi_json_size(tokens); i++) {
        const tlmi_json_t *token = tlmi_json_item(tokens, i);
        const char *content;
        size_t size;
        int64_t id;

        if (!tlmi_json_get_string(tlmi_json_member(token, "content"), &content, &size) ||
            !tlmi_json_get_int(tlmi_json_member(token, "id"), &id) || id < 0)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: added token %zu has no \"content\" or no \"id\"",
                             file->path, i);
        tlm_bytes_t bytes = {(const uint8_t *)content, size};
        if (size == 0 || tlmi_special_list_find(&file->special, bytes) != TLMI_NO_TOKEN)
            continue; /* as the tokenizers library does */
        uint8_t flags;
        TLMI_TRY(tlmi_hf_token_flags(&flags, file, token));
        TLMI_TRY(add_token(file, bytes, id, flags, &greatest, limit));
    }
    return add_companions(file, &greatest);
}

/* Collects the distinct special tokens of the caller that the file does not have as such. */
static tlm_status_t collect_callers_tokens(tlmi_vocabulary_t *out, const tlmi_hf_file_t *file,
                                           const tlm_tokenizer_options_t *options)
{
    for (size_t i = 0; i < options->num_special_tokens; i++) {
        tlm_bytes_t token = options->special_tokens[i];

        if (token.size == 0 || token.data == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "tokenizer_load_json: special token %zu is empty", i);
        if (tlmi_special_list_find(&file->special, token) == TLMI_NO_TOKEN &&
            tlmi_vocabulary_find(out, token.data, token.size) == TLMI_NO_TOKEN)
            TLMI_TRY(tlmi_vocabulary_add(out, token.data, token.size));
    }
    return TLM_OK;
}

/* Sets ids[i] of the i-th of some tokens: the first place of the list that holds it. */
static void find_items(size_t *ids, const tlmi_vocabulary_t *tokens, const tlmi_token_list_t *list)
{
    for (uint32_t i = 0; i < tokens->size; i++)
        ids[i] = list->n;
    for (size_t id = 0; id < list->n; id++) {
        tlm_bytes_t item = list->items[id];
        uint32_t i = tlmi_vocabulary_find(tokens, item.data, item.size);

        if (i != TLMI_NO_TOKEN && ids[i] == list->n)
            ids[i] = id;
    }
}

/* Makes the collected tokens special, with the ids of their places in the vocabulary or new ones.
 * The lists borrow the caller's bytes. */
static tlm_status_t make_special(tlmi_hf_file_t *file, const tlmi_vocabulary_t *tokens,
                                 const tlm_tokenizer_options_t *options)
{
    const size_t known = file->vocab.n;
    size_t *ids = tlmi_alloc(tokens->size, sizeof(*ids), "special tokens");
    tlm_status_t status = ids != NULL ? TLM_OK : TLM_ERR_OUT_OF_MEMORY;

    if (status == TLM_OK)
        find_items(ids, tokens, &file->vocab);
    for (size_t i = 0; i < options->num_special_tokens && status == TLM_OK; i++) {
        tlm_bytes_t token = options->special_tokens[i];

        if (tlmi_special_list_find(&file->special, token) != TLMI_NO_TOKEN)
            continue;
        uint32_t index = tlmi_vocabulary_find(tokens, token.data, token.size);
        if (ids[index] == known) {
            ids[index] = file->vocab.n;
            status = tlmi_token_list_append(&file->vocab, token);
        }
        if (status == TLM_OK)
            status = tlmi_special_list_add(&file->special, token, (uint32_t)ids[index], 0);
    }
    tlmi_free(ids);
    return status;
}

/* Appends the caller's special tokens to those of the file. */
static tlm_status_t add_callers_tokens(tlmi_hf_file_t *file, const tlm_tokenizer_options_t *options)
{
    tlmi_vocabulary_t tokens = {0};

    if (options->num_special_tokens > 0)
        TLMI_REQUIRE("tokenizer_load_json", options->special_tokens);
    TLMI_TRY(tlmi_token_list_place_special(&file->vocab, options, "tokenizer_load_json"));
    tlm_status_t status = collect_callers_tokens(&tokens, file, options);
    if (status == TLM_OK && tokens.size > 0)
        status = make_special(file, &tokens, options);
    tlmi_vocabulary_release(&tokens);
    return status;
}

/* ---- The vocabulary ---- */

/* Marks the tokens that the model does not know: added ones, and names that no text gives. */
static tlm_status_t mark_added(tlmi_hf_file_t *file)
{
    file->is_added = tlmi_calloc(file->vocab.n, 1, "added tokens");
    if (file->is_added == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < file->num_unreachable; i++)
        file->is_added[file->unreachable[i]] = 1;
    memset(file->is_added + file->num_names, 1, file->vocab.n - file->num_names);
    for (size_t i = 0; i < file->special.n; i++)
        if (tlmi_hf_name_id(file, file->special.tokens[i]) != (int64_t)file->special.ids[i])
            file->is_added[file->special.ids[i]] = 1; /* it fills a hole of the model's ids */
    return TLM_OK;
}

/* Fills the vocabulary. Where an added token has the bytes of a token of the model, the latter is
 * found. */
static tlm_status_t make_vocabulary(tlmi_hf_file_t *file)
{
    tlmi_vocabulary_t *vocabulary = &file->parts.vocabulary;

    for (size_t id = 0; id < file->vocab.n; id++) {
        tlm_bytes_t token = file->vocab.items[id];
        uint32_t twin = token.size == 0 ? TLMI_NO_TOKEN
                                        : tlmi_vocabulary_find(vocabulary, token.data, token.size);

        if (twin == TLMI_NO_TOKEN)
            TLMI_TRY(tlmi_vocabulary_add(vocabulary, token.data, token.size));
        else if (file->is_added[id])
            TLMI_TRY(tlmi_vocabulary_add_hidden(vocabulary, token.data, token.size));
        else
            TLMI_TRY(tlmi_vocabulary_add_over(vocabulary, twin));
    }
    return TLM_OK;
}

/* ---- For writing the file again ---- */

/* Appends "key":value and `after`. */
static tlm_status_t append_member(tlmi_normal_text_t *text, const char *key,
                                  const tlmi_json_t *value, const char *after)
{
    char *json = NULL;
    size_t size = 4;

    if (!tlmi_json_is_null(value))
        TLMI_TRY(tlmi_json_dump(&json, &size, value));
    tlm_status_t status = tlmi_normal_text_append(text, "\"", 1);
    if (status == TLM_OK)
        status = tlmi_normal_text_append(text, key, strlen(key));
    if (status == TLM_OK)
        status = tlmi_normal_text_append(text, "\":", 2);
    if (status == TLM_OK)
        status = tlmi_normal_text_append(text, json == NULL ? "null" : json, size);
    if (status == TLM_OK)
        status = tlmi_normal_text_append(text, after, strlen(after));
    tlmi_free(json);
    return status;
}

static bool is_option(const char *key)
{
    return strcmp(key, "vocab") != 0 && strcmp(key, "merges") != 0;
}

static tlm_status_t append_options(tlmi_normal_text_t *text, const tlmi_json_t *model)
{
    const tlmi_json_t *value;
    void *cursor = NULL;
    const char *key;
    size_t left = 0;

    while (tlmi_json_next(model, &cursor, &key, &value))
        left += is_option(key);
    for (cursor = NULL; tlmi_json_next(model, &cursor, &key, &value);)
        if (is_option(key))
            TLMI_TRY(append_member(text, key, value, --left == 0 ? ",\n" : ","));
    return TLM_OK;
}

/* Ends a text with a NUL and gives it away. */
static tlm_status_t take_text(char **out, tlmi_normal_text_t *text)
{
    TLMI_TRY(tlmi_normal_text_append(text, "", 1));
    *out = (char *)text->bytes;
    *text = (tlmi_normal_text_t){0};
    return TLM_OK;
}

static tlm_status_t keep_source(tlmi_hf_file_t *file)
{
    static const char *const keys[] = {"truncation",    "padding",        "normalizer",
                                       "pre_tokenizer", "post_processor", "decoder"};
    tlmi_json_source_t *source = tlmi_calloc(1, sizeof(*source), "a tokenizer");
    tlmi_normal_text_t text = {0};
    tlm_status_t status = TLM_OK;

    if (source == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    file->parts.source = source;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && status == TLM_OK; i++)
        status = append_member(&text, keys[i], tlmi_json_member(file->root, keys[i]),
                               i == 0 ? "," : ",\n");
    if (status == TLM_OK)
        status = take_text(&source->components, &text);
    if (status == TLM_OK)
        status = append_options(&text, tlmi_json_member(file->root, "model"));
    if (status == TLM_OK)
        status = take_text(&source->model_options, &text);
    tlmi_normal_text_release(&text);
    source->raw_ids = file->unreachable;
    source->num_raw_ids = file->num_unreachable;
    file->unreachable = NULL;
    file->num_unreachable = 0;
    return status;
}

/* ---- The file ---- */

static tlm_status_t parse(tlmi_hf_file_t *file)
{
    TLMI_TRY(file->bytes == NULL
                 ? tlmi_json_read_file(&file->root, &file->size, file->path)
                 : tlmi_json_parse(&file->root, file->bytes, file->size, file->path));
    TLMI_TRY(tlmi_token_list_init(&file->vocab, file->size));
    if (!tlmi_json_is_object(file->root))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the file is not a JSON object", file->path);
    return TLM_OK;
}

static tlm_status_t read_all(tlmi_hf_file_t *file, const tlm_tokenizer_options_t *options)
{
    TLMI_TRY(parse(file));
    TLMI_TRY(tlmi_hf_read_vocab(file));
    TLMI_TRY(tlmi_hf_read_dropout(file));
    TLMI_TRY(tlmi_hf_read_normalizer(file));
    if (options->nfc && file->parts.normalizer == NULL)
        file->parts.normalizer = &tlmi_nfc;
    TLMI_TRY(tlmi_hf_read_pretokenizer(file, options->pattern));
    TLMI_TRY(read_added_tokens(file));
    TLMI_TRY(add_callers_tokens(file, options));
    TLMI_TRY(mark_added(file));
    TLMI_TRY(make_vocabulary(file));
    TLMI_TRY(tlmi_hf_read_decoder(file));
    TLMI_TRY(tlmi_hf_read_template(file));
    TLMI_TRY(tlmi_hf_read_limits(file));
    /* What the caller changes is not what the file says. */
    if (file->is_byte_level && options->pattern == NULL && !options->nfc && !options->ignore_merges)
        TLMI_TRY(keep_source(file));
    tlmi_special_list_use(&file->parts, &file->special);
    return TLM_OK;
}

static tlm_status_t build(tlm_tokenizer_t **out, tlmi_hf_file_t *file, bool ignore_merges)
{
    tlm_tokenizer_t *tokenizer;
    tlmi_subword_model_t *model;

    TLMI_TRY(tlmi_tokenizer_start_parts(&tokenizer, file->path, &file->parts));
    tlm_status_t status = tlmi_hf_make_model(&model, file, tokenizer, ignore_merges);
    if (status == TLM_OK)
        status = tlmi_tokenizer_finish(tokenizer, model);
    if (status == TLM_OK)
        *out = tokenizer;
    else
        tlm_tokenizer_free(tokenizer);
    return status;
}

static void release(tlmi_hf_file_t *file)
{
    tlmi_tokenizer_parts_release(&file->parts);
    tlmi_token_list_release(&file->vocab);
    tlmi_vocabulary_release(&file->listed);
    tlmi_special_list_release(&file->special);
    tlmi_companions_release(&file->companions);
    tlmi_free(file->unreachable);
    tlmi_free(file->is_added);
    tlmi_json_free(file->root);
}

static tlm_status_t load(tlm_tokenizer_t **out, tlmi_hf_file_t *file,
                         const tlm_tokenizer_options_t *options)
{
    tlm_status_t status = read_all(file, options);

    if (status == TLM_OK)
        status = build(out, file, options->ignore_merges);
    release(file);
    return status;
}

tlm_status_t tlmi_tokenizer_read_json(tlm_tokenizer_t **out, const void *bytes, size_t size,
                                      const char *path)
{
    const tlm_tokenizer_options_t defaults = TLM_TOKENIZER_OPTIONS_INIT;
    tlmi_hf_file_t file = {.path = path, .bytes = bytes, .size = size};

    return load(out, &file, &defaults);
}

tlm_status_t tlm_tokenizer_load_json(tlm_tokenizer_t **out, const char *path,
                                     const tlm_tokenizer_options_t *options)
{
    tlmi_hf_file_t file = {.path = path};

    TLMI_REQUIRE("tokenizer_load_json", out);
    TLMI_REQUIRE("tokenizer_load_json", path);
    tlm_tokenizer_options_t known;
    TLMI_TRY(tlmi_tokenizer_read_options(&known, "tokenizer_load_json", options));
    return load(out, &file, &known);
}
