/* Decoding whole rows of ids. Nearly all tokens are short, so each is copied as one vector of
 * constant size. The bytes of the vector after the token are overwritten by the next token. */
#include "tokenizer/tokenizer_core.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/pretokenize/unicode.h"

#define CHUNK 4096 /* ids whose sizes are summed between two checks */

static size_t token_size(const tlmi_vocabulary_t *vocabulary, uint32_t id)
{
    return id < vocabulary->size ? tlmi_vocabulary_token(vocabulary, id).size : 0;
}

bool tlmi_measure_ids(size_t *size, size_t *bad, const tlmi_vocabulary_t *vocabulary,
                      const uint32_t *ids, size_t n)
{
    size_t total = 0;

    for (size_t start = 0, end; start < n; start = end) {
        size_t sum = 0;
        bool none = false;

        end = n - start < CHUNK ? n : start + CHUNK;
        for (size_t i = start; i < end; i++) {
            size_t one = token_size(vocabulary, ids[i]);

            none |= one == 0;
            sum += one;
        }
        *bad = start;
        while (none && token_size(vocabulary, ids[*bad]) > 0)
            ++*bad;
        if (none)
            return false;
        *bad = n;
        if (!tlmi_add_size(&total, total, sum))
            return false;
    }
    *size = total;
    return true;
}

void tlmi_copy_tokens(uint8_t *to, size_t size, const tlmi_vocabulary_t *vocabulary,
                      const uint32_t *ids, size_t n)
{
    const uint8_t *end = to + size;

    for (size_t i = 0; i < n; i++) {
        tlm_bytes_t token = tlmi_vocabulary_token(vocabulary, ids[i]);

        if (token.size <= TLMI_VOCABULARY_SLACK && end - to >= TLMI_VOCABULARY_SLACK)
            memcpy(to, token.data, TLMI_VOCABULARY_SLACK);
        else
            memcpy(to, token.data, token.size);
        to += token.size;
    }
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
                         "tokenizer_decode: id %u at position %zu is outside the vocabulary of %u",
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
