/* Tokenizers: made from a vocabulary and merges, then only read. */
#include "tokenizer_core.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "bpe_encode.h"
#include "utf8.h"

void tlm_tokenizer_options_init(tlm_tokenizer_options_t *options)
{
    if (options != NULL)
        *options = (tlm_tokenizer_options_t)TLM_TOKENIZER_OPTIONS_INIT;
}

void tlm_tokenizer_free(tlm_tokenizer_t *tokenizer)
{
    if (tokenizer == NULL)
        return;
    tlmi_vocabulary_release(&tokenizer->vocabulary);
    tlmi_merge_table_release(&tokenizer->merges);
    tlmi_pretokenizer_free(tokenizer->pretokenizer);
    tlmi_special_tokens_free(tokenizer->special);
    tlmi_free(tokenizer->special_ids);
    tlmi_free(tokenizer->is_whole);
    tlmi_free(tokenizer);
}

/* ---- Making one ---- */

/* Gives each special token an id, a new one where the vocabulary lacks it. */
static tlm_status_t number_special_tokens(tlm_tokenizer_t *tokenizer)
{
    size_t n = tlmi_special_tokens_count(tokenizer->special);

    tokenizer->special_ids = tlmi_alloc(n, sizeof(*tokenizer->special_ids), "special tokens");
    if (tokenizer->special_ids == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++) {
        tlm_bytes_t token = tlmi_special_tokens_get(tokenizer->special, i);
        uint32_t id = tlmi_vocabulary_find(&tokenizer->vocabulary, token.data, token.size);

        if (id == TLMI_NO_TOKEN) {
            id = tokenizer->vocabulary.size;
            TLMI_TRY(tlmi_vocabulary_add(&tokenizer->vocabulary, token.data, token.size));
        }
        tokenizer->special_ids[i] = id;
    }
    return TLM_OK;
}

static tlm_status_t find_bytes(tlm_tokenizer_t *tokenizer)
{
    for (int byte = 0; byte < 256; byte++) {
        uint8_t one = (uint8_t)byte;

        tokenizer->byte_ids[byte] = tlmi_vocabulary_find(&tokenizer->vocabulary, &one, 1);
        if (tokenizer->byte_ids[byte] == TLMI_NO_TOKEN)
            return tlmi_fail(TLM_ERR_FORMAT, "the vocabulary of %u tokens lacks the byte 0x%02X",
                             tokenizer->vocabulary.size, (unsigned)byte);
    }
    return TLM_OK;
}

static tlm_status_t find_whole_tokens(tlm_tokenizer_t *tokenizer)
{
    tlmi_bpe_encoder_t encoder;
    tlm_status_t status = TLM_OK;

    tokenizer->is_whole = tlmi_calloc(tokenizer->vocabulary.size, 1, "a vocabulary");
    if (tokenizer->is_whole == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_bpe_encoder_init(&encoder, tokenizer, 0);
    for (uint32_t id = 0; id < tokenizer->vocabulary.size && status == TLM_OK; id++) {
        bool is_whole = false;

        status = tlmi_bpe_is_whole(&is_whole, &encoder, id);
        tokenizer->is_whole[id] = is_whole;
    }
    tlmi_bpe_encoder_release(&encoder);
    return status;
}

tlm_status_t tlmi_tokenizer_assemble(tlm_tokenizer_t **out, tlmi_vocabulary_t *vocabulary,
                                     tlmi_merge_table_t *merges,
                                     const tlm_tokenizer_options_t *options)
{
    tlm_tokenizer_t *tokenizer = tlmi_calloc(1, sizeof(*tokenizer), "a tokenizer");
    tlm_status_t status;

    if (tokenizer == NULL) {
        tlmi_vocabulary_release(vocabulary);
        tlmi_merge_table_release(merges);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    tokenizer->vocabulary = *vocabulary;
    tokenizer->merges = *merges;
    *vocabulary = (tlmi_vocabulary_t){0};
    *merges = (tlmi_merge_table_t){0};
    TLMI_TRY_OR(fail, tlmi_special_tokens_create(&tokenizer->special, options->special_tokens,
                                                 options->num_special_tokens, "tokenizer_create"));
    TLMI_TRY_OR(fail, tlmi_pretokenizer_create(&tokenizer->pretokenizer, options->pattern));
    TLMI_TRY_OR(fail, find_bytes(tokenizer));
    TLMI_TRY_OR(fail, number_special_tokens(tokenizer));
    TLMI_TRY_OR(fail, find_whole_tokens(tokenizer));
    *out = tokenizer;
    return TLM_OK;
fail:
    tlm_tokenizer_free(tokenizer);
    return status;
}

static tlm_status_t copy_vocabulary(tlmi_vocabulary_t *out, const tlm_bytes_t *vocab,
                                    size_t vocab_size)
{
    for (size_t i = 0; i < vocab_size; i++) {
        uint32_t twin;

        if (vocab[i].size > 0 && vocab[i].data == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "tokenizer_create: token %zu has %zu bytes at NULL", i, vocab[i].size);
        twin = tlmi_vocabulary_find(out, vocab[i].data, vocab[i].size);
        if (twin != TLMI_NO_TOKEN)
            return tlmi_fail(TLM_ERR_FORMAT, "tokens %u and %zu of the vocabulary are the same",
                             twin, i);
        TLMI_TRY(tlmi_vocabulary_add(out, vocab[i].data, vocab[i].size));
    }
    return TLM_OK;
}

/* Resolves one merge from bytes to ids; `joined` is scratch memory for its product. */
static tlm_status_t resolve_merge(tlmi_merge_t *out, const tlmi_vocabulary_t *vocabulary,
                                  const tlm_bytes_t *sides, size_t index, uint8_t **joined,
                                  size_t *capacity)
{
    static const char *const names[] = {"left side", "right side", "product"};
    tlm_bytes_t parts[3] = {sides[0], sides[1], {NULL, 0}};
    uint32_t ids[3];

    for (int side = 0; side < 2; side++)
        if (sides[side].size > 0 && sides[side].data == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "tokenizer_create: merge %zu has %zu bytes at NULL", index,
                             sides[side].size);
    if (!tlmi_add_size(&parts[2].size, sides[0].size, sides[1].size))
        return tlmi_fail_memory(sides[0].size, "a merge");
    if (!tlmi_grow(joined, capacity, parts[2].size, 1, "a merge"))
        return TLM_ERR_OUT_OF_MEMORY;
    for (int side = 0; side < 2; side++)
        if (sides[side].size > 0)
            memcpy(*joined + (side == 0 ? 0 : sides[0].size), sides[side].data, sides[side].size);
    parts[2].data = *joined;
    for (int i = 0; i < 3; i++) {
        ids[i] = tlmi_vocabulary_find(vocabulary, parts[i].data, parts[i].size);
        if (ids[i] == TLMI_NO_TOKEN)
            return tlmi_fail(TLM_ERR_FORMAT,
                             "merge %zu: its %s, %zu bytes long, is not in the vocabulary", index,
                             names[i], parts[i].size);
    }
    *out = (tlmi_merge_t){ids[0], ids[1], ids[2]};
    return TLM_OK;
}

static tlm_status_t copy_merges(tlmi_merge_table_t *out, const tlmi_vocabulary_t *vocabulary,
                                const tlm_bytes_t *merges, size_t num_merges)
{
    uint8_t *joined = NULL;
    size_t capacity = 0;
    tlm_status_t status = tlmi_merge_table_init(out, num_merges);

    for (size_t i = 0; i < num_merges && status == TLM_OK; i++) {
        tlmi_merge_t merge;

        status = resolve_merge(&merge, vocabulary, &merges[2 * i], i, &joined, &capacity);
        if (status == TLM_OK && !tlmi_merge_table_add(out, merge))
            status = tlmi_fail(TLM_ERR_FORMAT, "merge %zu repeats merge %u", i,
                               tlmi_merge_rank(out, merge.left, merge.right));
    }
    tlmi_free(joined);
    return status;
}

tlm_status_t tlm_tokenizer_create(tlm_tokenizer_t **out, const tlm_bytes_t *vocab,
                                  size_t vocab_size, const tlm_bytes_t *merges, size_t num_merges,
                                  const tlm_tokenizer_options_t *options)
{
    tlm_tokenizer_options_t known = TLM_TOKENIZER_OPTIONS_INIT;
    tlmi_vocabulary_t vocabulary = {0};
    tlmi_merge_table_t table = {0};
    tlm_status_t status;

    TLMI_REQUIRE("tokenizer_create", out);
    if (vocab_size > 0)
        TLMI_REQUIRE("tokenizer_create", vocab);
    if (num_merges > 0)
        TLMI_REQUIRE("tokenizer_create", merges);
    if (options != NULL)
        TLMI_TRY(tlmi_options_read("tokenizer_create", &known, sizeof(known), options));
    status = copy_vocabulary(&vocabulary, vocab, vocab_size);
    if (status == TLM_OK)
        status = copy_merges(&table, &vocabulary, merges, num_merges);
    if (status == TLM_OK)
        return tlmi_tokenizer_assemble(out, &vocabulary, &table, &known);
    tlmi_vocabulary_release(&vocabulary);
    tlmi_merge_table_release(&table);
    return status;
}

/* ---- Looking in ---- */

uint32_t tlm_tokenizer_vocab_size(const tlm_tokenizer_t *tokenizer)
{
    return tokenizer == NULL ? 0 : tokenizer->vocabulary.size;
}

uint32_t tlm_tokenizer_num_merges(const tlm_tokenizer_t *tokenizer)
{
    return tokenizer == NULL ? 0 : tokenizer->merges.size;
}

uint32_t tlm_tokenizer_num_special_tokens(const tlm_tokenizer_t *tokenizer)
{
    return tokenizer == NULL ? 0 : (uint32_t)tlmi_special_tokens_count(tokenizer->special);
}

static tlm_status_t fail_id(const char *function, uint32_t id, const tlm_tokenizer_t *tokenizer)
{
    return tlmi_fail(TLM_ERR_RANGE, "%s: no token has id %u; the vocabulary has %u", function, id,
                     tokenizer->vocabulary.size);
}

/* The token with this id; its size is 0 if there is none. */
static tlm_bytes_t find_token(const tlm_tokenizer_t *tokenizer, uint32_t id)
{
    if (id >= tokenizer->vocabulary.size)
        return (tlm_bytes_t){NULL, 0};
    return tlmi_vocabulary_token(&tokenizer->vocabulary, id);
}

tlm_status_t tlm_tokenizer_token(tlm_bytes_t *out, const tlm_tokenizer_t *tokenizer, uint32_t id)
{
    tlm_bytes_t token;

    TLMI_REQUIRE("tokenizer_token", out);
    TLMI_REQUIRE("tokenizer_token", tokenizer);
    token = find_token(tokenizer, id);
    if (token.size == 0)
        return fail_id("tokenizer_token", id, tokenizer);
    *out = token;
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_merge(uint32_t *left, uint32_t *right, const tlm_tokenizer_t *tokenizer,
                                 uint32_t index)
{
    TLMI_REQUIRE("tokenizer_merge", left);
    TLMI_REQUIRE("tokenizer_merge", right);
    TLMI_REQUIRE("tokenizer_merge", tokenizer);
    if (index >= tokenizer->merges.size)
        return tlmi_fail(TLM_ERR_RANGE, "tokenizer_merge: no merge %u; there are %u", index,
                         tokenizer->merges.size);
    *left = tokenizer->merges.merges[index].left;
    *right = tokenizer->merges.merges[index].right;
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_special_token(uint32_t *id, const tlm_tokenizer_t *tokenizer,
                                         uint32_t index)
{
    TLMI_REQUIRE("tokenizer_special_token", id);
    TLMI_REQUIRE("tokenizer_special_token", tokenizer);
    if (index >= tlmi_special_tokens_count(tokenizer->special))
        return tlmi_fail(TLM_ERR_RANGE,
                         "tokenizer_special_token: no special token %u; there are %zu", index,
                         tlmi_special_tokens_count(tokenizer->special));
    *id = tokenizer->special_ids[index];
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_token_id(uint32_t *id, const tlm_tokenizer_t *tokenizer,
                                    const void *bytes, size_t size)
{
    uint32_t found;

    TLMI_REQUIRE("tokenizer_token_id", id);
    TLMI_REQUIRE("tokenizer_token_id", tokenizer);
    if (size > 0)
        TLMI_REQUIRE("tokenizer_token_id", bytes);
    found = tlmi_vocabulary_find(&tokenizer->vocabulary, bytes, size);
    if (found == TLMI_NO_TOKEN)
        return tlmi_fail(TLM_ERR_NOT_FOUND,
                         "tokenizer_token_id: no token consists of these %zu bytes", size);
    *id = found;
    return TLM_OK;
}

/* ---- Encoding and decoding ---- */

tlm_status_t tlm_tokenizer_encode(uint32_t **ids, size_t *n, const tlm_tokenizer_t *tokenizer,
                                  const void *text, size_t size)
{
    tlmi_bpe_encoder_t encoder;
    tlmi_text_splitter_t splitter;
    tlm_status_t status;

    TLMI_REQUIRE("tokenizer_encode", ids);
    TLMI_REQUIRE("tokenizer_encode", n);
    TLMI_REQUIRE("tokenizer_encode", tokenizer);
    if (size > 0)
        TLMI_REQUIRE("tokenizer_encode", text);
    tlmi_bpe_encoder_init(&encoder, tokenizer, size);
    splitter = (tlmi_text_splitter_t){tokenizer->pretokenizer, tokenizer->special,
                                      tlmi_bpe_encode_pretokens, tlmi_bpe_encode_special, &encoder};
    status = size == 0 ? TLM_OK : tlmi_split_text(&splitter, text, size);
    if (status == TLM_OK) {
        uint32_t *fitted = encoder.n == 0 ? NULL
                                          : tlmi_realloc(encoder.ids, encoder.n,
                                                         sizeof(*encoder.ids), "token ids");
        if (fitted != NULL)
            encoder.ids = fitted;
        *ids = encoder.ids;
        *n = encoder.n;
        encoder.ids = NULL;
    }
    tlmi_bpe_encoder_release(&encoder);
    return status;
}

static tlm_status_t decoded_size(size_t *size, const tlm_tokenizer_t *tokenizer,
                                 const uint32_t *ids, size_t n)
{
    *size = 0;
    for (size_t i = 0; i < n; i++) {
        size_t token_size = find_token(tokenizer, ids[i]).size;

        if (token_size == 0)
            return tlmi_fail(TLM_ERR_RANGE,
                             "tokenizer_decode: id %u at position %zu is not one of the "
                             "vocabulary's %u",
                             ids[i], i, tokenizer->vocabulary.size);
        if (!tlmi_add_size(size, *size, token_size))
            return tlmi_fail_memory(token_size, "a text");
    }
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_decode(uint8_t **bytes, size_t *size, const tlm_tokenizer_t *tokenizer,
                                  const uint32_t *ids, size_t n)
{
    size_t total, room, at = 0;
    uint8_t *out;

    TLMI_REQUIRE("tokenizer_decode", bytes);
    TLMI_REQUIRE("tokenizer_decode", size);
    TLMI_REQUIRE("tokenizer_decode", tokenizer);
    if (n > 0)
        TLMI_REQUIRE("tokenizer_decode", ids);
    TLMI_TRY(decoded_size(&total, tokenizer, ids, n));
    if (!tlmi_add_size(&room, total, 1))
        return tlmi_fail_memory(total, "a text");
    out = tlmi_alloc(room, 1, "a text");
    if (out == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++) {
        tlm_bytes_t token = tlmi_vocabulary_token(&tokenizer->vocabulary, ids[i]);

        memcpy(out + at, token.data, token.size);
        at += token.size;
    }
    out[total] = '\0';
    *bytes = out;
    *size = total;
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_decode_text(char **text, size_t *size, const tlm_tokenizer_t *tokenizer,
                                       const uint32_t *ids, size_t n)
{
    uint8_t *bytes;
    size_t bytes_size;
    tlm_status_t status;

    TLMI_REQUIRE("tokenizer_decode_text", text);
    TLMI_REQUIRE("tokenizer_decode_text", size);
    TLMI_TRY(tlm_tokenizer_decode(&bytes, &bytes_size, tokenizer, ids, n));
    if (tlmi_utf8_valid(bytes, bytes_size)) {
        *text = (char *)bytes;
        *size = bytes_size;
        return TLM_OK;
    }
    status = tlm_utf8_sanitize(text, size, bytes, bytes_size);
    tlmi_free(bytes);
    return status;
}
