/* tiktoken's rank files: one line per token, with its bytes in base64, a space and its rank, which
 * is its id. They do not contain special tokens or the pattern. */
#include "tinylm/tokenizer_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "tokenizer/formats/token_files.h"
#include "tokenizer/tokenizer_core.h"

/* ---- Loading ---- */

/* Parses a decimal number without sign. Returns false for anything else and for numbers above
 * `INT64_MAX`. */
static bool parse_rank(int64_t *out, const uint8_t *text, size_t size)
{
    int64_t rank = 0;

    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(rank, 10, &rank) ||
            __builtin_add_overflow(rank, text[i] - '0', &rank))
            return false;
    }
    *out = rank;
    return size > 0;
}

static tlm_status_t read_rank(tlmi_token_list_t *list, const uint8_t *line, size_t size,
                              size_t number, size_t file_size, const char *path)
{
    size_t limit = tlmi_token_list_limit(file_size / sizeof("QQ== 0"));
    const uint8_t *space = memchr(line, ' ', size);
    size_t token_size = space == NULL ? size : (size_t)(space - line);
    uint8_t *bytes = list->bytes + list->bytes_size;
    int64_t rank;

    if (space == NULL || !parse_rank(&rank, space + 1, size - token_size - 1))
        return tlmi_fail(TLM_ERR_FORMAT,
                         "%s: line %zu is not a token in base64, a space and its rank", path,
                         number);
    if (token_size == 0 || !tlmi_base64_decode(bytes, &token_size, line, token_size))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: line %zu: the token's %zu characters are not base64",
                         path, number, token_size);
    char name[24];
    snprintf(name, sizeof(name), "%zu", number);
    tlm_bytes_t *place;
    TLMI_TRY(tlmi_token_list_place(&place, list, rank, limit, path, "the token of line", name));
    *place = (tlm_bytes_t){bytes, token_size};
    list->bytes_size += token_size;
    return TLM_OK;
}

/* Marks, by id, the tokens that are not from the file: special tokens, which take no part in
 * joining. */
static tlm_status_t find_added(bool **out, const tlmi_token_list_t *list)
{
    bool *added = tlmi_calloc(list->n, sizeof(*added), "special tokens");

    if (added == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t id = 0; id < list->n; id++)
        added[id] = list->items[id].data < list->bytes ||
                    list->items[id].data >= list->bytes + list->bytes_size;
    *out = added;
    return TLM_OK;
}

tlm_status_t tlmi_rank_tokenizer_build(tlm_tokenizer_t **out, const tlmi_token_list_t *list,
                                       const char *path, const tlm_tokenizer_options_t *options)
{
    tlmi_vocabulary_t vocabulary = {0};
    tlmi_merge_table_t merges = {0};
    uint32_t byte_ids[256];
    bool *added = NULL;
    tlm_status_t status;

    TLMI_TRY_OR(fail, tlmi_tokenizer_copy_vocabulary(&vocabulary, path, list->items, list->n));
    TLMI_TRY_OR(fail, tlmi_bpe_find_bytes(byte_ids, path, &vocabulary));
    if (options->pattern == NULL) {
        status = tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                           "%s: a rank file does not say how texts are split, and these tokens are "
                           "of no known vocabulary: give the pattern in the options",
                           path);
        goto fail;
    }
    TLMI_TRY_OR(fail, find_added(&added, list));
    TLMI_TRY_OR(fail, tlmi_rank_merges(&merges, &vocabulary, byte_ids, added));
    tlmi_free(added);
    return tlmi_bpe_tokenizer_assemble(out, path, &vocabulary, &merges, options);
fail:
    tlmi_free(added);
    tlmi_vocabulary_release(&vocabulary);
    tlmi_merge_table_release(&merges);
    return status;
}

static tlm_status_t load(tlm_tokenizer_t **out, tlmi_token_list_t *list,
                         tlmi_known_special_t *special, const char *path,
                         tlm_tokenizer_options_t *options)
{
    TLMI_TRY(tlmi_token_list_read_lines(list, path, read_rank));
    if (options->pattern == NULL) {
        const tlmi_known_ranks_t *known = tlmi_known_ranks_find(list);

        if (known != NULL)
            TLMI_TRY(tlmi_known_ranks_apply(options, special, known));
    }
    TLMI_TRY(tlmi_token_list_place_special(list, options, "tokenizer_load_tiktoken"));
    return tlmi_rank_tokenizer_build(out, list, path, options);
}

tlm_status_t tlm_tokenizer_load_tiktoken(tlm_tokenizer_t **out, const char *path,
                                         const tlm_tokenizer_options_t *options)
{
    TLMI_REQUIRE("tokenizer_load_tiktoken", out);
    TLMI_REQUIRE("tokenizer_load_tiktoken", path);
    tlm_tokenizer_options_t known;
    TLMI_TRY(tlmi_tokenizer_read_options(&known, "tokenizer_load_tiktoken", options));
    known.ignore_merges = true; /* tiktoken looks pretokens up before it joins */
    tlmi_token_list_t list = {0};
    tlmi_known_special_t special = {0};
    tlm_status_t status = load(out, &list, &special, path, &known);
    tlmi_token_list_release(&list);
    tlmi_known_special_release(&special);
    return status;
}

/* ---- Saving ---- */

/* Marks the special tokens that are nothing else: no merge makes them, and they are not a single
 * byte. */
static tlm_status_t find_purely_special(bool **out, const tlm_tokenizer_t *tokenizer,
                                        const tlmi_bpe_model_t *model)
{
    bool *special = tlmi_calloc(tokenizer->vocabulary.size, sizeof(*special), "special tokens");

    if (special == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < tlmi_special_tokens_count(tokenizer->special); i++) {
        uint32_t id = tokenizer->special_ids[i];

        special[id] = model->is_whole[id] != TLMI_WHOLE_BY_MERGES;
    }
    *out = special;
    return TLM_OK;
}

/* Checks that the ranks encode every text as the merges do: the ranks make the same tokens, of
 * pairs that are merges, in the order of the merges. Then, by induction on the length of tokens and
 * the argument in rank_merges.c, each token has the same pair in both. */
static tlm_status_t compare_merges(const tlmi_bpe_model_t *model, const tlmi_merge_table_t *by_rank,
                                   bool *is_made)
{
    uint32_t next = 0; /* the lowest rank that the next merge may have */

    for (uint32_t i = 0; i < by_rank->size; i++) {
        const tlmi_merge_t *merge = &by_rank->merges[i];
        uint32_t rank = tlmi_merge_rank(&model->merges, merge->left, merge->right);

        if (rank == TLMI_NO_MERGE)
            return tlmi_fail(TLM_ERR_UNSUPPORTED,
                             "tokenizer_save_tiktoken: merging by ranks makes token %u from tokens "
                             "%u and %u, which is not one of the merges",
                             merge->product, merge->left, merge->right);
        if (rank < next)
            return tlmi_fail(TLM_ERR_UNSUPPORTED,
                             "tokenizer_save_tiktoken: merge %u makes token %u, and a later merge "
                             "makes a token with a lower id; ranks are ids",
                             rank, merge->product);
        next = rank + 1;
        is_made[merge->product] = true;
    }
    return TLM_OK;
}

static tlm_status_t compare_tokens(const tlmi_bpe_model_t *model, const bool *left_out,
                                   const bool *is_made)
{
    for (uint32_t id = 0; id < model->vocabulary->size; id++) {
        size_t size = tlmi_vocabulary_token(model->vocabulary, id).size;
        uint8_t is_whole = model->is_whole[id];

        if (size <= 1 || left_out[id])
            continue;
        if (is_made[id] != (is_whole == TLMI_WHOLE_BY_MERGES))
            return tlmi_fail(TLM_ERR_UNSUPPORTED, "tokenizer_save_tiktoken: token %u is made by %s",
                             id,
                             is_made[id] ? "ranks, but not by merges" : "merges, but not by ranks");
        if (is_whole == TLMI_NOT_WHOLE)
            return tlmi_fail(
                TLM_ERR_UNSUPPORTED,
                "tokenizer_save_tiktoken: no merges make token %u of %zu bytes, but tiktoken "
                "would; it is not a special token, and ignore_merges is not set",
                id, size);
    }
    return TLM_OK;
}

static tlm_status_t check_ranks(const tlmi_bpe_model_t *model, const bool *left_out)
{
    tlmi_merge_table_t by_rank = {0};
    bool *is_made = tlmi_calloc(model->vocabulary->size, sizeof(*is_made), "merges of ranks");
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (is_made != NULL)
        status = tlmi_rank_merges(&by_rank, model->vocabulary, model->symbols.byte_ids, left_out);
    if (status == TLM_OK)
        status = compare_merges(model, &by_rank, is_made);
    if (status == TLM_OK)
        status = compare_tokens(model, left_out, is_made);
    tlmi_merge_table_release(&by_rank);
    tlmi_free(is_made);
    return status;
}

static tlm_status_t write_bytes(void *writer, const void *bytes, size_t size)
{
    return tlmi_writer_write(writer, bytes, size);
}

static tlm_status_t write_ranks(const tlm_tokenizer_t *tokenizer, const bool *left_out,
                                const char *path)
{
    tlmi_writer_t *writer;

    TLMI_TRY(tlmi_writer_open(&writer, path));
    tlm_status_t status = TLM_OK;
    for (uint32_t id = 0; id < tokenizer->vocabulary.size && status == TLM_OK; id++) {
        tlm_bytes_t token = tlmi_vocabulary_token(&tokenizer->vocabulary, id);

        if (token.size > 0 && !left_out[id])
            status = tlmi_rank_line_write(write_bytes, writer, token, id);
    }
    if (status == TLM_OK)
        return tlmi_writer_commit(writer);
    tlmi_writer_abort(writer);
    return status;
}

tlm_status_t tlm_tokenizer_save_tiktoken(const tlm_tokenizer_t *tokenizer, const char *path)
{
    TLMI_REQUIRE("tokenizer_save_tiktoken", tokenizer);
    TLMI_REQUIRE("tokenizer_save_tiktoken", path);
    const tlmi_bpe_model_t *model;
    TLMI_TRY(tlmi_tokenizer_require_bpe(&model, "tokenizer_save_tiktoken", tokenizer));
    bool *left_out;
    TLMI_TRY(find_purely_special(&left_out, tokenizer, model));
    tlm_status_t status = check_ranks(model, left_out);
    if (status == TLM_OK)
        status = write_ranks(tokenizer, left_out, path);
    tlmi_free(left_out);
    return status;
}
