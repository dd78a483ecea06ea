/* Writes a tokenizer of byte-level BPE into a GGUF file: "tokenizer.ggml.model" is gpt2. Tokens are
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

#define KEY(name) "tokenizer.ggml." name

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
                         "model_save_gguf: the tokenizer splits texts in several steps, for which "
                         "GGUF has no name");
    const tlmi_gguf_splitting_t *splitting = tlmi_gguf_splitting_of(pattern);
    if (splitting != NULL) {
        *out = splitting->name;
        return check_merges(tokenizer, names, splitting->ignores_merges, *out);
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

    if (types == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (int64_t id = 0; id < vocab_size; id++)
        types[id] = is_unused(tokenizer, id) ? TLMI_PIECE_UNUSED : TLMI_PIECE_NORMAL;
    for (size_t i = 0; i < n; i++)
        types[tokenizer->special_ids[i]] = TLMI_PIECE_CONTROL;
    tlm_status_t status =
        tlmi_gguf_put_array(writer, KEY("token_type"), TLMI_GGUF_INT32, (uint64_t)vocab_size);
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
    uint64_t n = 0;

    for (uint32_t i = 0; i < merges->size; i++)
        n += tlmi_merge_has_names(names, &merges->merges[i]);
    tlm_status_t status = tlmi_gguf_put_array(writer, KEY("merges"), TLMI_GGUF_STRING, n);
    for (uint32_t i = 0; i < merges->size && status == TLM_OK; i++)
        if (tlmi_merge_has_names(names, &merges->merges[i]))
            status = put_merge(writer, names, &line, &merges->merges[i]);
    tlmi_free(line.text);
    return status;
}

tlm_status_t tlmi_gguf_put_tokenizer(tlmi_gguf_writer_t *writer, const tlm_tokenizer_t *tokenizer,
                                     int64_t vocab_size)
{
    const char *pre = NULL;
    tlm_status_t status;

    if (tokenizer == NULL)
        return tlmi_gguf_put_string(writer, KEY("model"), "none");
    tlmi_token_names_t names;
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
