/* Positions of ids in their text. Without a decoder, the bytes of a token are those that it decodes
 * to, and tokens are adjacent, so their sizes are enough. */
#include "tinylm/encode.h"

#include "base/error.h"
#include "tokenizer/tokenizer_core.h"

static tlm_status_t check_ids(const char *function, const tlm_tokenizer_t *tokenizer,
                              const uint32_t *ids, size_t n)
{
    TLMI_REQUIRE(function, tokenizer);
    if (n > 0)
        TLMI_REQUIRE(function, ids);
    if (tokenizer->decoder != NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: this tokenizer's text is not the bytes of its tokens one after "
                         "another, so ids have no places in it",
                         function);
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= tokenizer->vocabulary.size ||
            tlmi_vocabulary_token(&tokenizer->vocabulary, ids[i]).size == 0)
            return tlmi_fail(TLM_ERR_RANGE,
                             "%s: id %u at position %zu is outside the vocabulary of %u", function,
                             ids[i], i, tokenizer->vocabulary.size);
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_offsets(size_t *offsets, const tlm_tokenizer_t *tokenizer,
                                   const uint32_t *ids, size_t n)
{
    TLMI_REQUIRE("tokenizer_offsets", offsets);
    TLMI_TRY(check_ids("tokenizer_offsets", tokenizer, ids, n));
    offsets[0] = 0;
    for (size_t i = 0; i < n; i++)
        offsets[i + 1] = offsets[i] + tlmi_vocabulary_token(&tokenizer->vocabulary, ids[i]).size;
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_character_spans(size_t *spans, const tlm_tokenizer_t *tokenizer,
                                           const uint32_t *ids, size_t n)
{
    size_t begun = 0; /* characters that begin in the tokens so far */

    if (n > 0)
        TLMI_REQUIRE("tokenizer_character_spans", spans);
    TLMI_TRY(check_ids("tokenizer_character_spans", tokenizer, ids, n));
    for (size_t i = 0; i < n; i++) {
        tlm_bytes_t token = tlmi_vocabulary_token(&tokenizer->vocabulary, ids[i]);
        bool goes_on = (token.data[0] & 0xC0) == 0x80; /* continues the last character */

        spans[2 * i] = begun - (goes_on && begun > 0);
        for (size_t k = 0; k < token.size; k++)
            begun += (token.data[k] & 0xC0) != 0x80;
        spans[2 * i + 1] = begun;
    }
    return TLM_OK;
}
