/* GPT-2 style files: vocab.json, an object from token to id, and merges.txt, a line for each merge.
 * Both write tokens in the byte alphabet. */
#include "tinylm/tokenizer_files.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "byte_alphabet.h"
#include "tokenizer_core.h"

static const char merges_header[] = "#version: 0.2\n";

/* ---- Loading ---- */

/* Byte strings taken from a file, and the block that holds their bytes. */
typedef struct token_list {
    tlm_bytes_t *items;
    size_t n;
    size_t capacity;
    uint8_t *bytes; /* room for the whole file, which is never shorter than its tokens */
    size_t bytes_size;
} token_list_t;

static void token_list_release(token_list_t *list)
{
    tlmi_free(list->items);
    tlmi_free(list->bytes);
}

static tlm_status_t token_list_init(token_list_t *list, size_t file_size)
{
    *list = (token_list_t){0};
    list->bytes = tlmi_alloc(file_size, 1, "a vocabulary file");
    return list->bytes == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
}

/* Decodes one token; false, with *at the offset, where a character is not in the alphabet. */
static bool decode_token(tlm_bytes_t *out, size_t *at, token_list_t *list, const char *text,
                         size_t size)
{
    uint8_t *to = list->bytes + list->bytes_size;

    if (!tlmi_alphabet_to_bytes(to, at, text, size))
        return false;
    *out = (tlm_bytes_t){to, *at};
    list->bytes_size += *at;
    return true;
}

/* Puts token `key` at place `id` of the list, which grows with holes. */
static tlm_status_t place_token(token_list_t *list, const char *key, int64_t id, size_t limit,
                                const char *path)
{
    size_t place = (size_t)id, at;

    if (id < 0 || place >= limit)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: token \"%.40s\" has id %" PRId64 ", outside 0..%zu",
                         path, key, id, limit - 1);
    if (!tlmi_grow(&list->items, &list->capacity, place + 1, sizeof(*list->items), "tokens"))
        return TLM_ERR_OUT_OF_MEMORY;
    while (list->n <= place)
        list->items[list->n++] = (tlm_bytes_t){NULL, 0};
    if (list->items[place].size > 0)
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: token \"%.40s\" has id %" PRId64 ", which another token has", path,
                         key, id);
    if (!decode_token(&list->items[place], &at, list, key, strlen(key)))
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: token \"%.40s\" has a character at byte %zu that stands for no byte",
                         path, key, at);
    if (list->items[place].size == 0)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: the token with id %" PRId64 " is empty", path, id);
    return TLM_OK;
}

static tlm_status_t read_vocab_object(token_list_t *list, const tlmi_json_t *root, const char *path)
{
    /* Real vocabularies have few holes; a hostile one must not make us allocate gigabytes. */
    size_t limit = 16 * tlmi_json_size(root) + 65536;
    const tlmi_json_t *value;
    void *cursor = NULL;
    const char *key;

    if (!tlmi_json_is_object(root))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: not an object from tokens to ids", path);
    while (tlmi_json_next(root, &cursor, &key, &value)) {
        int64_t id;

        if (!tlmi_json_get_int(value, &id))
            return tlmi_fail(TLM_ERR_FORMAT, "%s: the id of token \"%.40s\" is not an integer",
                             path, key);
        TLMI_TRY(place_token(list, key, id, limit, path));
    }
    return TLM_OK;
}

static tlm_status_t read_vocab(token_list_t *list, const char *path)
{
    tlmi_mapping_t file;
    tlmi_json_t *root = NULL;
    tlm_status_t status;

    TLMI_TRY(tlmi_map_file(&file, path));
    status = token_list_init(list, file.size);
    if (status == TLM_OK)
        status = tlmi_json_parse(&root, file.data, file.size, path);
    if (status == TLM_OK)
        status = read_vocab_object(list, root, path);
    tlmi_json_free(root);
    tlmi_unmap_file(&file);
    return status;
}

/* Adds the two sides of a line, which has no line end. */
static tlm_status_t read_merge(token_list_t *list, const char *line, size_t size, size_t number,
                               const char *path)
{
    const char *space = memchr(line, ' ', size);
    size_t left = space == NULL ? size : (size_t)(space - line), at;
    tlm_bytes_t sides[2];

    if (left == 0 || left + 1 >= size || memchr(space + 1, ' ', size - left - 1) != NULL)
        return tlmi_fail(TLM_ERR_FORMAT, "%s: line %zu is not two tokens with a space between",
                         path, number);
    if (!decode_token(&sides[0], &at, list, line, left) ||
        !decode_token(&sides[1], &at, list, space + 1, size - left - 1))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: line %zu has a character that stands for no byte",
                         path, number);
    if (!tlmi_grow(&list->items, &list->capacity, list->n + 2, sizeof(*list->items), "merges"))
        return TLM_ERR_OUT_OF_MEMORY;
    list->items[list->n++] = sides[0];
    list->items[list->n++] = sides[1];
    return TLM_OK;
}

static tlm_status_t read_merge_lines(token_list_t *list, const char *text, size_t size,
                                     const char *path)
{
    size_t number = 0;

    while (size > 0) {
        const char *newline = memchr(text, '\n', size);
        size_t length = newline == NULL ? size : (size_t)(newline - text);
        size_t used = newline == NULL ? size : length + 1;
        bool is_header;

        if (length > 0 && text[length - 1] == '\r')
            length--;
        number++;
        is_header = number == 1 && length >= 8 && memcmp(text, merges_header, 8) == 0;
        if (length > 0 && !is_header)
            TLMI_TRY(read_merge(list, text, length, number, path));
        text += used;
        size -= used;
    }
    return TLM_OK;
}

static tlm_status_t read_merges(token_list_t *list, const char *path)
{
    tlmi_mapping_t file;
    tlm_status_t status;

    TLMI_TRY(tlmi_map_file(&file, path));
    status = token_list_init(list, file.size);
    if (status == TLM_OK)
        status = read_merge_lines(list, (const char *)file.data, file.size, path);
    tlmi_unmap_file(&file);
    return status;
}

tlm_status_t tlm_tokenizer_load(tlm_tokenizer_t **out, const char *vocab_path,
                                const char *merges_path, const tlm_tokenizer_options_t *options)
{
    token_list_t vocab = {0}, merges = {0};
    tlm_status_t status;

    TLMI_REQUIRE("tokenizer_load", out);
    TLMI_REQUIRE("tokenizer_load", vocab_path);
    TLMI_REQUIRE("tokenizer_load", merges_path);
    status = read_vocab(&vocab, vocab_path);
    if (status == TLM_OK)
        status = read_merges(&merges, merges_path);
    if (status == TLM_OK)
        status =
            tlm_tokenizer_create(out, vocab.items, vocab.n, merges.items, merges.n / 2, options);
    token_list_release(&vocab);
    token_list_release(&merges);
    return status;
}

/* ---- Saving ---- */

/* A token in the byte alphabet, NUL-terminated, in a buffer that grows. */
typedef struct alphabet_text {
    char *text;
    size_t size;
    size_t capacity;
} alphabet_text_t;

static tlm_status_t spell(alphabet_text_t *out, tlm_bytes_t token)
{
    if (!tlmi_grow(&out->text, &out->capacity, 2 * token.size + 1, 1, "a token"))
        return TLM_ERR_OUT_OF_MEMORY;
    out->size = tlmi_bytes_to_alphabet(out->text, token.data, token.size);
    out->text[out->size] = '\0';
    return TLM_OK;
}

static tlm_status_t write_vocab(tlmi_writer_t *writer, const tlm_tokenizer_t *tokenizer)
{
    tlmi_json_t *object = tlmi_json_new_object();
    alphabet_text_t spelling = {0};
    tlm_status_t status = object == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
    char *text = NULL;
    size_t size;

    for (uint32_t id = 0; id < tokenizer->vocabulary.size && status == TLM_OK; id++) {
        tlm_bytes_t token = tlmi_vocabulary_token(&tokenizer->vocabulary, id);

        if (token.size == 0)
            continue;
        status = spell(&spelling, token);
        if (status == TLM_OK)
            status = tlmi_json_set(object, spelling.text, tlmi_json_new_int(id));
    }
    if (status == TLM_OK)
        status = tlmi_json_dump(&text, &size, object);
    if (status == TLM_OK)
        status = tlmi_writer_write(writer, text, size);
    tlmi_free(text);
    tlmi_free(spelling.text);
    tlmi_json_free(object);
    return status;
}

static tlm_status_t write_merges(tlmi_writer_t *writer, const tlm_tokenizer_t *tokenizer)
{
    alphabet_text_t spelling = {0};
    tlm_status_t status = tlmi_writer_write(writer, merges_header, sizeof(merges_header) - 1);

    for (uint32_t i = 0; i < tokenizer->merges.size && status == TLM_OK; i++) {
        const tlmi_merge_t *merge = &tokenizer->merges.merges[i];
        uint32_t sides[2] = {merge->left, merge->right};

        for (int side = 0; side < 2 && status == TLM_OK; side++) {
            status = spell(&spelling, tlmi_vocabulary_token(&tokenizer->vocabulary, sides[side]));
            if (status != TLM_OK)
                break;
            spelling.text[spelling.size] = side == 0 ? ' ' : '\n';
            status = tlmi_writer_write(writer, spelling.text, spelling.size + 1);
        }
    }
    tlmi_free(spelling.text);
    return status;
}

tlm_status_t tlm_tokenizer_save(const tlm_tokenizer_t *tokenizer, const char *vocab_path,
                                const char *merges_path)
{
    tlmi_writer_t *vocab = NULL, *merges = NULL;
    tlm_status_t status;

    TLMI_REQUIRE("tokenizer_save", tokenizer);
    TLMI_REQUIRE("tokenizer_save", vocab_path);
    TLMI_REQUIRE("tokenizer_save", merges_path);
    TLMI_TRY_OR(fail, tlmi_writer_open(&vocab, vocab_path));
    TLMI_TRY_OR(fail, tlmi_writer_open(&merges, merges_path));
    TLMI_TRY_OR(fail, write_vocab(vocab, tokenizer));
    TLMI_TRY_OR(fail, write_merges(merges, tokenizer));
    status = tlmi_writer_commit(vocab);
    if (status == TLM_OK)
        return tlmi_writer_commit(merges);
    tlmi_writer_abort(merges);
    return status;
fail:
    tlmi_writer_abort(vocab);
    tlmi_writer_abort(merges);
    return status;
}
