/* GPT-2 style files: vocab.json, an object from token to id, and merges.txt, with one line per
 * merge. Both write tokens in the byte alphabet. */
#include "tinylm/tokenizer_files.h"

#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "formats/file_kind.h"
#include "tokenizer/formats/token_files.h"
#include "tokenizer/tokenizer_core.h"

static const char merges_header[] = "#version: 0.2\n";

/* ---- Loading ---- */

static tlm_status_t read_vocab(tlmi_token_list_t *list, const char *path)
{
    tlmi_json_t *root = NULL;
    size_t size;

    TLMI_TRY(tlmi_json_read_file(&root, &size, path));
    tlm_status_t status = tlmi_token_list_init(list, size);
    if (status == TLM_OK)
        status = tlmi_json_is_object(root)
                     ? tlmi_token_list_read_vocab(list, root, false, path)
                     : tlmi_fail(TLM_ERR_FORMAT,
                                 "%s: the file is not a JSON object from tokens to ids", path);
    tlmi_json_free(root);
    return status;
}

static tlm_status_t read_merge(tlmi_token_list_t *list, const uint8_t *line, size_t size,
                               size_t number, size_t file_size, const char *path)
{
    (void)file_size;
    if (number == 1 && size >= 8 && memcmp(line, merges_header, 8) == 0)
        return TLM_OK;
    return tlmi_token_list_read_merge(list, (const char *)line, size, path, "line", number);
}

/* Options with the caller's special tokens, and after them those of the files beside. */
typedef struct with_companions {
    tlmi_companions_t companions;
    tlm_bytes_t *tokens;
    uint32_t *ids;
} with_companions_t;

static void release(with_companions_t *with)
{
    tlmi_companions_release(&with->companions);
    tlmi_free(with->tokens);
    tlmi_free(with->ids);
}

static bool has_token(const tlm_bytes_t *tokens, size_t n, tlm_bytes_t token)
{
    for (size_t i = 0; i < n; i++)
        if (tokens[i].size == token.size && tokens[i].data != NULL &&
            memcmp(tokens[i].data, token.data, token.size) == 0)
            return true;
    return false;
}

/* Changes the options, which then borrow from *with. It must be released even on failure. */
static tlm_status_t add_companions(with_companions_t *with, tlm_tokenizer_options_t *options,
                                   const char *path)
{
    size_t n = options->num_special_tokens;

    *with = (with_companions_t){0};
    TLMI_TRY(tlmi_companions_read(&with->companions, path));
    if (with->companions.n == 0)
        return TLM_OK;
    if (n > 0)
        TLMI_REQUIRE("tokenizer_load", options->special_tokens);
    with->tokens = tlmi_alloc(n + with->companions.n, sizeof(*with->tokens), "special tokens");
    with->ids = tlmi_alloc(n + with->companions.n, sizeof(*with->ids), "special tokens");
    if (with->tokens == NULL || with->ids == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++) {
        with->tokens[i] = options->special_tokens[i];
        with->ids[i] =
            options->special_token_ids == NULL ? UINT32_MAX : options->special_token_ids[i];
    }
    for (size_t i = 0; i < with->companions.n; i++) {
        const tlmi_companion_t *token = &with->companions.tokens[i];

        if (has_token(with->tokens, options->num_special_tokens, token->bytes))
            continue;
        with->tokens[n] = token->bytes;
        with->ids[n++] = token->id < 0 ? UINT32_MAX : (uint32_t)token->id;
    }
    options->special_tokens = with->tokens;
    options->special_token_ids = with->ids;
    options->num_special_tokens = n;
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_load(tlm_tokenizer_t **out, const char *vocab_path,
                                const char *merges_path, const tlm_tokenizer_options_t *options)
{
    tlmi_token_list_t vocab = {0}, merges = {0};

    TLMI_REQUIRE("tokenizer_load", out);
    TLMI_REQUIRE("tokenizer_load", vocab_path);
    TLMI_REQUIRE("tokenizer_load", merges_path);
    tlm_tokenizer_options_t known;
    TLMI_TRY(tlmi_tokenizer_read_options(&known, "tokenizer_load", options));
    with_companions_t with;
    tlm_status_t status = add_companions(&with, &known, vocab_path);
    if (status == TLM_OK)
        status = read_vocab(&vocab, vocab_path);
    if (status == TLM_OK)
        status = tlmi_token_list_read_lines(&merges, merges_path, read_merge);
    if (status == TLM_OK)
        status = tlmi_token_list_place_special(&vocab, &known, "tokenizer_load");
    if (status == TLM_OK)
        status = tlmi_tokenizer_build(out, vocab_path, vocab.items, vocab.n, merges.items,
                                      merges.n / 2, &known);
    tlmi_token_list_release(&vocab);
    tlmi_token_list_release(&merges);
    release(&with);
    return status;
}

/* ---- Saving ---- */

static tlm_status_t write_vocab(tlmi_writer_t *writer, const tlm_tokenizer_t *tokenizer)
{
    tlmi_json_t *object = tlmi_json_new_object();
    tlmi_spelling_t spelling = {0};
    tlm_status_t status = object == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
    char *text = NULL;
    size_t size;

    for (uint32_t id = 0; id < tokenizer->vocabulary.size && status == TLM_OK; id++) {
        tlm_bytes_t token = tlmi_vocabulary_token(&tokenizer->vocabulary, id);

        if (token.size == 0)
            continue;
        status = tlmi_spell(&spelling, token);
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

static tlm_status_t write_merges(tlmi_writer_t *writer, const tlmi_bpe_model_t *model)
{
    tlmi_spelling_t spelling = {0};
    tlm_status_t status = tlmi_writer_write(writer, merges_header, sizeof(merges_header) - 1);

    for (uint32_t i = 0; i < model->merges.size && status == TLM_OK; i++) {
        const tlmi_merge_t *merge = &model->merges.merges[i];
        uint32_t sides[2] = {merge->left, merge->right};

        for (int side = 0; side < 2 && status == TLM_OK; side++) {
            status = tlmi_spell(&spelling, tlmi_vocabulary_token(model->vocabulary, sides[side]));
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
    const tlmi_bpe_model_t *model;
    TLMI_TRY(tlmi_tokenizer_require_bpe(&model, "tokenizer_save", tokenizer));
    TLMI_TRY_OR(fail, tlmi_writer_open(&vocab, vocab_path));
    TLMI_TRY_OR(fail, tlmi_writer_open(&merges, merges_path));
    TLMI_TRY_OR(fail, write_vocab(vocab, tokenizer));
    TLMI_TRY_OR(fail, write_merges(merges, model));
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
