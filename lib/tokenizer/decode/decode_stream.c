/* The streaming decoder. It holds back the bytes of a character until the rest of it arrives. */
#include "tokenizer/tokenizer_core.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/pretokenize/unicode.h"

struct tlm_decoder {
    const tlm_tokenizer_t *tokenizer;
    uint8_t *bytes; /* decoded, but not yet returned */
    size_t size;
    size_t capacity;
    uint8_t *text; /* returned by the last call */
    size_t text_capacity;
};

tlm_status_t tlm_decoder_create(tlm_decoder_t **out, const tlm_tokenizer_t *tokenizer)
{
    tlm_decoder_t *decoder;

    TLMI_REQUIRE("decoder_create", out);
    TLMI_REQUIRE("decoder_create", tokenizer);
    decoder = tlmi_calloc(1, sizeof(*decoder), "a decoder");
    if (decoder == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    decoder->tokenizer = tokenizer;
    *out = decoder;
    return TLM_OK;
}

/* Returns the first n pending bytes, with invalid UTF-8 replaced. */
static tlm_status_t give_out(const char **text, size_t *size, tlm_decoder_t *decoder, size_t n)
{
    if (!tlmi_grow(&decoder->text, &decoder->text_capacity, 3 * n + 1, 1, "decoded text"))
        return TLM_ERR_OUT_OF_MEMORY;
    *size = tlmi_utf8_replace(decoder->text, decoder->bytes, n);
    decoder->text[*size] = '\0';
    *text = (const char *)decoder->text;
    decoder->size -= n;
    if (decoder->size > 0)
        memmove(decoder->bytes, decoder->bytes + n, decoder->size);
    return TLM_OK;
}

tlm_status_t tlm_decoder_push(const char **text, size_t *size, tlm_decoder_t *decoder, uint32_t id)
{
    tlm_bytes_t token;
    tlm_status_t status;

    TLMI_REQUIRE("decoder_push", text);
    TLMI_REQUIRE("decoder_push", size);
    TLMI_REQUIRE("decoder_push", decoder);
    TLMI_TRY(tlm_tokenizer_token(&token, decoder->tokenizer, id));
    if (!tlmi_grow(&decoder->bytes, &decoder->capacity, decoder->size + token.size, 1,
                   "decoded bytes"))
        return TLM_ERR_OUT_OF_MEMORY;
    memcpy(decoder->bytes + decoder->size, token.data, token.size);
    decoder->size += token.size;
    status = give_out(text, size, decoder,
                      decoder->size - tlmi_utf8_unfinished(decoder->bytes, decoder->size));
    if (status != TLM_OK)
        decoder->size -= token.size; /* undoes the call */
    return status;
}

tlm_status_t tlm_decoder_finish(const char **text, size_t *size, tlm_decoder_t *decoder)
{
    TLMI_REQUIRE("decoder_finish", text);
    TLMI_REQUIRE("decoder_finish", size);
    TLMI_REQUIRE("decoder_finish", decoder);
    return give_out(text, size, decoder, decoder->size);
}

void tlm_decoder_free(tlm_decoder_t *decoder)
{
    if (decoder == NULL)
        return;
    tlmi_free(decoder->bytes);
    tlmi_free(decoder->text);
    tlmi_free(decoder);
}
