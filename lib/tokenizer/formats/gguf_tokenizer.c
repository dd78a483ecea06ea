/* A tokenizer in a GGUF file, whose "tokenizer.ggml.model" is gpt2: byte-level BPE. Tokens are
 * written in the byte alphabet, special tokens as plain text. The file names its pattern instead of
 * spelling it out, and the name also says whether a pretoken that is a token is taken whole. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tinylm/tokenizer.h"
#include "tokenizer/formats/token_files.h"
#include "tokenizer/tokenizer_core.h"

/* The numbers of token types in the file. */
enum { NORMAL = 1, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5 };

#define KEY(name) "tokenizer.ggml." name

/* Writing uses the first name of a pattern; reading accepts them all. */
static const struct {
    const char *name, *pattern;
    bool ignores_merges;
} pre_tokenizers[] = {
    {"gpt-2", TLM_PATTERN_GPT2, false},   {"llama-bpe", TLM_PATTERN_LLAMA3, true},
    {"llama3", TLM_PATTERN_LLAMA3, true}, {"llama-v3", TLM_PATTERN_LLAMA3, true},
    {"qwen2", TLM_PATTERN_QWEN2, false},  {"gpt-4o", TLM_PATTERN_O200K, false},
};

enum { NUM_PRE_TOKENIZERS = sizeof(pre_tokenizers) / sizeof(pre_tokenizers[0]) };

/* ---- Writing ---------------------------------------------------------------------------- */

/* Checks that the tokenizer handles merges as the pattern's name says, or that it makes no
 * difference. */
static tlm_status_t check_merges(const tlm_tokenizer_t *tokenizer, const tlmi_token_names_t *names,
                                 bool ignores_merges, const char *name)
{
    if (names->model->ignores_merges == ignores_merges)
        return TLM_OK;
    for (uint32_t id = 0; id < tokenizer->vocabulary.size; id++)
        if (tlmi_vocabulary_token(&tokenizer->vocabulary, id).size > 0 && !names->is_raw[id] &&
            names->model->is_whole[id] != TLMI_WHOLE_BY_MERGES)
            return tlmi_fail(TLM_ERR_UNSUPPORTED,
                             "model_save_gguf: the pattern is %s, with which token %" PRIu32
                             ", that no merge makes, is %s",
                             name, id, ignores_merges ? "found whole" : "not found whole");
    return TLM_OK;
}

static tlm_status_t find_pre_tokenizer(const char **out, const tlm_tokenizer_t *tokenizer,
                                       const tlmi_token_names_t *names)
{
    const char *pattern = tlmi_pretokenizer_pattern(tokenizer->pretokenizer);

    if (tokenizer->normalizer != NULL)
        return tlmi_fail(
            TLM_ERR_UNSUPPORTED,
            "model_save_gguf: the tokenizer normalizes texts by %s, which GGUF tokenizers do not",
            tokenizer->normalizer->kind->name);
    if (pattern == NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "model_save_gguf: the tokenizer splits texts in several "
                         "steps, for which GGUF has no name");
    for (size_t i = 0; i < NUM_PRE_TOKENIZERS; i++)
        if (strcmp(pattern, pre_tokenizers[i].pattern) == 0) {
            *out = pre_tokenizers[i].name;
            return check_merges(tokenizer, names, pre_tokenizers[i].ignores_merges, *out);
        }
    return tlmi_fail(TLM_ERR_UNSUPPORTED,
                     "model_save_gguf: GGUF has no name for the tokenizer's pattern %.200s",
                     pattern);
}

/* Ids without a token also need a name, which must not be that of any token. */
static tlm_status_t put_unused(tlmi_gguf_writer_t *writer, const tlm_tokenizer_t *tokenizer,
                               int64_t id)
{
    char name[32];
    int size = snprintf(name, sizeof(name), "[PAD%" PRId64 "]", id);

    if (tlmi_vocabulary_find(&tokenizer->vocabulary, (const uint8_t *)name, (size_t)size) !=
        TLMI_NO_TOKEN)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "model_save_gguf: token %s has the name that id %" PRId64
                         ", which has no token, would get",
                         name, id);
    return tlmi_gguf_put_string_item(writer, name, (size_t)size);
}

static bool is_unused(const tlm_tokenizer_t *tokenizer, int64_t id)
{
    return id >= tokenizer->vocabulary.size ||
           tlmi_vocabulary_token(&tokenizer->vocabulary, (uint32_t)id).size == 0;
}

static tlm_status_t put_tokens(tlmi_gguf_writer_t *writer, tlmi_token_names_t *names,
                               int64_t vocab_size)
{
    const char *text;
    size_t size;

    TLMI_TRY(tlmi_gguf_put_array(writer, KEY("tokens"), TLMI_GGUF_STRING, (uint64_t)vocab_size));
    for (int64_t id = 0; id < vocab_size; id++) {
        if (is_unused(names->tokenizer, id)) {
            TLMI_TRY(put_unused(writer, names->tokenizer, id));
            continue;
        }
        TLMI_TRY(tlmi_token_name(&text, &size, names, (uint32_t)id));
        TLMI_TRY(tlmi_gguf_put_string_item(writer, text, size));
    }
    return TLM_OK;
}

static tlm_status_t put_token_types(tlmi_gguf_writer_t *writer, const tlm_tokenizer_t *tokenizer,
                                    int64_t vocab_size)
{
    size_t n = tlmi_special_tokens_count(tokenizer->special);
    int32_t *types = tlmi_alloc((size_t)vocab_size, sizeof(*types), "types of tokens");
    tlm_status_t status;

    if (types == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (int64_t id = 0; id < vocab_size; id++)
        types[id] = is_unused(tokenizer, id) ? UNUSED : NORMAL;
    for (size_t i = 0; i < n; i++)
        types[tokenizer->special_ids[i]] = CONTROL;
    status = tlmi_gguf_put_array(writer, KEY("token_type"), TLMI_GGUF_INT32, (uint64_t)vocab_size);
    for (int64_t id = 0; id < vocab_size && status == TLM_OK; id++)
        status = tlmi_gguf_put_int32_item(writer, types[id]);
    tlmi_free(types);
    return status;
}

/* Writes "left right" as one string. */
static tlm_status_t put_merge(tlmi_gguf_writer_t *writer, tlmi_token_names_t *names,
                              tlmi_spelling_t *line, const tlmi_merge_t *merge)
{
    const uint32_t sides[2] = {merge->left, merge->right};
    const char *text;
    size_t size, used = 0;

    for (int side = 0; side < 2; side++) {
        TLMI_TRY(tlmi_token_name(&text, &size, names, sides[side]));
        if (!tlmi_grow(&line->text, &line->capacity, used + size + 1, 1, "a merge"))
            return TLM_ERR_OUT_OF_MEMORY;
        memcpy(line->text + used, text, size);
        used += size;
        if (side == 0)
            line->text[used++] = ' ';
    }
    return tlmi_gguf_put_string_item(writer, line->text, used);
}

static tlm_status_t put_merges(tlmi_gguf_writer_t *writer, tlmi_token_names_t *names)
{
    const tlmi_merge_table_t *merges = &names->model->merges;
    tlmi_spelling_t line = {0};
    tlm_status_t status;
    uint64_t n = 0;

    for (uint32_t i = 0; i < merges->size; i++)
        n += tlmi_merge_has_names(names, &merges->merges[i]);
    status = tlmi_gguf_put_array(writer, KEY("merges"), TLMI_GGUF_STRING, n);
    for (uint32_t i = 0; i < merges->size && status == TLM_OK; i++)
        if (tlmi_merge_has_names(names, &merges->merges[i]))
            status = put_merge(writer, names, &line, &merges->merges[i]);
    tlmi_free(line.text);
    return status;
}

tlm_status_t tlmi_gguf_put_tokenizer(tlmi_gguf_writer_t *writer, const tlm_tokenizer_t *tokenizer,
                                     int64_t vocab_size)
{
    tlmi_token_names_t names;
    const char *pre = NULL;
    tlm_status_t status;

    if (tokenizer == NULL)
        return tlmi_gguf_put_string(writer, KEY("model"), "none");
    TLMI_TRY_OR(done, tlmi_token_names_init(&names, tokenizer, "model_save_gguf"));
    TLMI_TRY_OR(done, find_pre_tokenizer(&pre, tokenizer, &names));
    TLMI_TRY_OR(done, tlmi_gguf_put_string(writer, KEY("model"), "gpt2"));
    TLMI_TRY_OR(done, tlmi_gguf_put_string(writer, KEY("pre"), pre));
    TLMI_TRY_OR(done, put_tokens(writer, &names, vocab_size));
    TLMI_TRY_OR(done, put_token_types(writer, tokenizer, vocab_size));
    TLMI_TRY_OR(done, put_merges(writer, &names));
done:
    tlmi_token_names_release(&names);
    return status;
}

/* ---- Reading ---------------------------------------------------------------------------- */

static bool is_text(const char *text, size_t size, const char *wanted)
{
    return size == strlen(wanted) && memcmp(text, wanted, size) == 0;
}

static tlm_status_t find_array(const tlmi_gguf_value_t **out, const tlmi_gguf_t *file,
                               const char *key, uint32_t type, const char *path)
{
    *out = tlmi_gguf_find(file, key);
    if (*out != NULL && (*out)->is_array && (*out)->type == type)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' is not an array of %s", path, key,
                     type == TLMI_GGUF_STRING ? "strings" : "int32");
}

static tlm_status_t read_pre_tokenizer(tlm_tokenizer_options_t *options, const tlmi_gguf_t *file,
                                       const char *path)
{
    const char *text = "missing";
    size_t size = strlen(text);

    (void)tlmi_gguf_get_string(tlmi_gguf_find(file, KEY("pre")), &text, &size);
    for (size_t i = 0; i < NUM_PRE_TOKENIZERS; i++)
        if (is_text(text, size, pre_tokenizers[i].name)) {
            options->pattern = pre_tokenizers[i].pattern;
            options->ignore_merges = pre_tokenizers[i].ignores_merges;
            return TLM_OK;
        }
    return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: '%s' is %.*s, which is not supported", path,
                     KEY("pre"), size < 64 ? (int)size : 64, text);
}

/* Reads one token. Its bytes go to `vocab`, and those of a special token also to `special`. */
static tlm_status_t read_token(tlmi_token_list_t *vocab, tlmi_token_list_t *special,
                               const char *text, size_t size, int32_t type, size_t id,
                               const char *path)
{
    tlm_bytes_t token = {(const uint8_t *)text, size};
    size_t at;

    if (type == UNUSED)
        return tlmi_token_list_append(vocab, (tlm_bytes_t){NULL, 0});
    if (size == 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: token %zu is empty", path, id);
    if (type == CONTROL || type == USER_DEFINED)
        TLMI_TRY(tlmi_token_list_append(special, token));
    else if (type != NORMAL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: token %zu has type %" PRId32 ", which is not supported", path, id,
                         type);
    else if (!tlmi_token_list_decode(&token, &at, vocab, text, size))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: token %zu has a character that represents no byte",
                         path, id);
    return tlmi_token_list_append(vocab, token);
}

static tlm_status_t read_tokens(tlmi_token_list_t *vocab, tlmi_token_list_t *special,
                                const tlmi_gguf_t *file, const char *path)
{
    const tlmi_gguf_value_t *tokens, *types;
    const char *cursor, *text;
    size_t size;

    TLMI_TRY(find_array(&tokens, file, KEY("tokens"), TLMI_GGUF_STRING, path));
    TLMI_TRY(find_array(&types, file, KEY("token_type"), TLMI_GGUF_INT32, path));
    if (types->count != tokens->count)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: there are %zu tokens, but %zu token types", path,
                         tokens->count, types->count);
    TLMI_TRY(tlmi_token_list_init(vocab, tokens->bytes));
    cursor = tokens->data;
    for (size_t id = 0; id < tokens->count; id++) {
        int32_t type;

        memcpy(&type, types->data + id * sizeof(type), sizeof(type));
        tlmi_gguf_next_string(&cursor, &text, &size);
        TLMI_TRY(read_token(vocab, special, text, size, type, id, path));
    }
    while (vocab->n > 0 && vocab->items[vocab->n - 1].size == 0)
        vocab->n--; /* unused ids after the last token concern only the model */
    return TLM_OK;
}

static tlm_status_t read_merges(tlmi_token_list_t *merges, const tlmi_gguf_t *file,
                                const char *path)
{
    const tlmi_gguf_value_t *lines;
    const char *cursor, *text;
    size_t size;

    TLMI_TRY(find_array(&lines, file, KEY("merges"), TLMI_GGUF_STRING, path));
    TLMI_TRY(tlmi_token_list_init(merges, lines->bytes));
    cursor = lines->data;
    for (size_t i = 0; i < lines->count; i++) {
        tlmi_gguf_next_string(&cursor, &text, &size);
        TLMI_TRY(tlmi_token_list_read_merge(merges, text, size, path, "merge", i));
    }
    return TLM_OK;
}

static tlm_status_t build(tlm_tokenizer_t **out, const tlmi_gguf_t *file, const char *path)
{
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    tlmi_token_list_t vocab = {0}, special = {0}, merges = {0};
    tlm_status_t status;

    TLMI_TRY_OR(done, read_pre_tokenizer(&options, file, path));
    TLMI_TRY_OR(done, read_tokens(&vocab, &special, file, path));
    TLMI_TRY_OR(done, read_merges(&merges, file, path));
    options.special_tokens = special.items;
    options.num_special_tokens = special.n;
    status =
        tlmi_tokenizer_build(out, path, vocab.items, vocab.n, merges.items, merges.n / 2, &options);
done:
    tlmi_token_list_release(&vocab);
    tlmi_token_list_release(&special);
    tlmi_token_list_release(&merges);
    return status;
}

tlm_status_t tlmi_gguf_read_tokenizer(tlm_tokenizer_t **out, const tlmi_gguf_t *file,
                                      const char *path)
{
    const tlmi_gguf_value_t *model = tlmi_gguf_find(file, KEY("model"));
    const char *text = "";
    size_t size = 0;

    if (model != NULL && !tlmi_gguf_get_string(model, &text, &size))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' is not a string", path, KEY("model"));
    if (model == NULL || is_text(text, size, "none") || is_text(text, size, "no_vocab")) {
        *out = NULL;
        return TLM_OK;
    }
    if (!is_text(text, size, "gpt2"))
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "%s: the tokenizer's model is %.*s, not gpt2", path,
                         size < 64 ? (int)size : 64, text);
    return build(out, file, path);
}
