/* Tokenizers in use: looking in, encoding and decoding whole texts. Making one is in
 * tokenizer_create.c. */
#include "tokenizer/tokenizer_core.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "tokenizer/bpe/bpe_encode.h"
#include "tokenizer/encode.h"
#include "tokenizer/pretokenize/unicode.h"

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

/* The ids of a text in one array. */
typedef struct id_array {
    uint32_t *ids;
    size_t n;
    size_t capacity;
} id_array_t;

#define LARGE_ARRAY ((size_t)1 << 20) /* ids; in huge pages from this size on */

/* Room for what nearly all texts need, an id for each two bytes: an array that grows is copied, and
 * what is never written to does not become memory. */
static bool reserve_ids(id_array_t *array, size_t text_size)
{
    size_t expected = text_size / 2 + 64;

    if (expected < LARGE_ARRAY)
        array->ids = tlmi_alloc(expected, sizeof(*array->ids), "token ids");
    else
        array->ids = tlmi_alloc_aligned(expected, sizeof(*array->ids), "token ids");
    array->capacity = array->ids != NULL ? expected : 0;
    return array->ids != NULL;
}

static tlm_status_t append_ids(void *context, const uint32_t *ids, size_t n)
{
    id_array_t *array = context;

    if (!tlmi_grow(&array->ids, &array->capacity, array->n + n, sizeof(*ids), "token ids"))
        return TLM_ERR_OUT_OF_MEMORY;
    memcpy(array->ids + array->n, ids, n * sizeof(*ids));
    array->n += n;
    return TLM_OK;
}

static tlm_status_t encode_here(id_array_t *array, const tlm_tokenizer_t *tokenizer,
                                const uint8_t *text, size_t size)
{
    tlmi_bpe_encoder_t encoder;
    tlmi_text_splitter_t splitter = {tokenizer->pretokenizer, tokenizer->special,
                                     tlmi_bpe_encode_pretokens, tlmi_bpe_encode_special, &encoder};
    tlm_status_t status;

    tlmi_bpe_encoder_init(&encoder, tokenizer, tlmi_bpe_cache_take(tokenizer->caches));
    encoder.ids = array->ids;
    encoder.capacity = array->capacity;
    status = size == 0 ? TLM_OK : tlmi_split_text(&splitter, text, size);
    tlmi_bpe_cache_give(tokenizer->caches, encoder.cache);
    *array = (id_array_t){encoder.ids, encoder.n, encoder.capacity};
    return status;
}

tlm_status_t tlm_tokenizer_encode(uint32_t **ids, size_t *n, const tlm_tokenizer_t *tokenizer,
                                  const void *text, size_t size)
{
    id_array_t array = {NULL, 0, 0};
    tlmi_id_sink_t sink = {append_ids, NULL, &array};
    tlm_status_t status;

    TLMI_REQUIRE("tokenizer_encode", ids);
    TLMI_REQUIRE("tokenizer_encode", n);
    TLMI_REQUIRE("tokenizer_encode", tokenizer);
    if (size > 0)
        TLMI_REQUIRE("tokenizer_encode", text);
    if (!reserve_ids(&array, size))
        return TLM_ERR_OUT_OF_MEMORY;
    if (size >= TLMI_PARALLEL_SIZE && tlmi_max_workers() > 1)
        status = tlmi_encode_parallel(tokenizer, text, size, &sink);
    else
        status = encode_here(&array, tokenizer, text, size);
    if (status == TLM_OK && array.n > 0) {
        uint32_t *fitted = tlmi_realloc(array.ids, array.n, sizeof(*fitted), "token ids");

        if (fitted != NULL)
            array.ids = fitted;
    }
    if (status != TLM_OK || array.n == 0) {
        tlmi_free(array.ids);
        array.ids = NULL;
    }
    if (status == TLM_OK) {
        *ids = array.ids;
        *n = array.n;
    }
    return status;
}

/* Counts ids and forgets them. */
typedef struct counter {
    tlmi_bpe_encoder_t encoder;
    uint64_t n;
} counter_t;

static tlm_status_t count_pretokens(void *context, const uint8_t *text, const size_t *ends,
                                    size_t n)
{
    counter_t *counter = context;
    tlm_status_t status = tlmi_bpe_encode_pretokens(&counter->encoder, text, ends, n);

    counter->n += counter->encoder.n;
    counter->encoder.n = 0;
    return status;
}

static tlm_status_t count_special(void *context, size_t index)
{
    counter_t *counter = context;

    counter->n++;
    return TLM_OK;
}

static tlm_status_t count_ids(void *context, const uint32_t *ids, size_t n)
{
    counter_t *counter = context;

    counter->n += n;
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_count(uint64_t *n, const tlm_tokenizer_t *tokenizer, const void *text,
                                 size_t size)
{
    counter_t counter = {.n = 0};
    tlmi_id_sink_t sink = {count_ids, NULL, &counter};
    tlm_status_t status;

    TLMI_REQUIRE("tokenizer_count", n);
    TLMI_REQUIRE("tokenizer_count", tokenizer);
    if (size > 0)
        TLMI_REQUIRE("tokenizer_count", text);
    if (size >= TLMI_PARALLEL_SIZE && tlmi_max_workers() > 1) {
        status = tlmi_encode_parallel(tokenizer, text, size, &sink);
    } else {
        tlmi_text_splitter_t splitter = {tokenizer->pretokenizer, tokenizer->special,
                                         count_pretokens, count_special, &counter};

        tlmi_bpe_encoder_init(&counter.encoder, tokenizer, tlmi_bpe_cache_take(tokenizer->caches));
        status = size == 0 ? TLM_OK : tlmi_split_text(&splitter, text, size);
        tlmi_bpe_cache_give(tokenizer->caches, counter.encoder.cache);
        tlmi_bpe_encoder_release(&counter.encoder);
    }
    if (status == TLM_OK)
        *n = counter.n;
    return status;
}

tlm_status_t tlm_tokenizer_decode(uint8_t **bytes, size_t *size, const tlm_tokenizer_t *tokenizer,
                                  const uint32_t *ids, size_t n)
{
    size_t total = 0, room, bad;
    uint8_t *out;

    TLMI_REQUIRE("tokenizer_decode", bytes);
    TLMI_REQUIRE("tokenizer_decode", size);
    TLMI_REQUIRE("tokenizer_decode", tokenizer);
    if (n > 0)
        TLMI_REQUIRE("tokenizer_decode", ids);
    if (!tlmi_measure_ids(&total, &bad, &tokenizer->vocabulary, ids, n) && bad < n)
        return tlmi_fail(TLM_ERR_RANGE,
                         "tokenizer_decode: id %u at position %zu is not one of the vocabulary's "
                         "%u",
                         ids[bad], bad, tokenizer->vocabulary.size);
    if ((n > 0 && total == 0) || !tlmi_add_size(&room, total, 1))
        return tlmi_fail_memory(SIZE_MAX, "a text");
    out = tlmi_alloc(room, 1, "a text");
    if (out == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_copy_tokens(out, total, &tokenizer->vocabulary, ids, n);
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
