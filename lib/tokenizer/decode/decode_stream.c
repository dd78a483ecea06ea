/* The streaming decoder. It holds back the bytes of a character until the rest of it arrives, and
 * what the steps of the tokenizer's decoder hold back. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "tokenizer/tokenizer_core.h"

struct tlm_decoder {
    const tlm_tokenizer_t *tokenizer;
    tlmi_decode_run_t *run; /* NULL if the tokenizer has no decoder */
    uint8_t *skipped;       /* a bit per id; NULL if none is skipped */
    bool as_text;
    uint8_t *bytes; /* decoded, but not yet returned */
    size_t size;
    size_t capacity;
    uint8_t *text; /* returned by the last call */
    size_t text_capacity;
};

static tlm_status_t create(tlm_decoder_t **out, const tlm_tokenizer_t *tokenizer,
                           const tlm_decode_options_t *options)
{
    tlm_decoder_t *decoder = tlmi_calloc(1, sizeof(*decoder), "a decoder");
    tlm_status_t status;

    if (decoder == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    decoder->tokenizer = tokenizer;
    decoder->as_text = options->as_text;
    if (options->skip_special_tokens)
        TLMI_TRY_OR(fail, tlmi_added_token_bits(&decoder->skipped, tokenizer, true));
    if (tokenizer->decoder != NULL)
        TLMI_TRY_OR(fail, tlmi_decode_run_create(&decoder->run, tokenizer, !options->as_text));
    *out = decoder;
    return TLM_OK;
fail:
    tlm_decoder_free(decoder);
    return status;
}

tlm_status_t tlm_decoder_create(tlm_decoder_t **out, const tlm_tokenizer_t *tokenizer)
{
    tlm_decode_options_t options = TLM_DECODE_OPTIONS_INIT;

    TLMI_REQUIRE("decoder_create", out);
    TLMI_REQUIRE("decoder_create", tokenizer);
    options.as_text = true;
    return create(out, tokenizer, &options);
}

tlm_status_t tlm_decoder_create_with(tlm_decoder_t **out, const tlm_tokenizer_t *tokenizer,
                                     const tlm_decode_options_t *options)
{
    tlm_decode_options_t known = TLM_DECODE_OPTIONS_INIT;

    TLMI_REQUIRE("decoder_create_with", out);
    TLMI_REQUIRE("decoder_create_with", tokenizer);
    if (options != NULL)
        TLMI_TRY(tlmi_options_read("decoder_create_with", &known, TLMI_DECODE_OPTIONS, options));
    return create(out, tokenizer, &known);
}

/* Returns the first n pending bytes; in a text, invalid UTF-8 is replaced. */
static tlm_status_t give_out(const char **text, size_t *size, tlm_decoder_t *decoder, size_t n)
{
    if (!tlmi_grow(&decoder->text, &decoder->text_capacity, 3 * n + 1, 1, "decoded text"))
        return TLM_ERR_OUT_OF_MEMORY;
    *size = n;
    if (decoder->as_text)
        *size = tlmi_utf8_replace(decoder->text, decoder->bytes, n);
    else if (n > 0)
        memcpy(decoder->text, decoder->bytes, n);
    decoder->text[*size] = '\0';
    *text = (const char *)decoder->text;
    decoder->size -= n;
    if (decoder->size > 0)
        memmove(decoder->bytes, decoder->bytes + n, decoder->size);
    return TLM_OK;
}

static tlm_status_t add_pending(tlm_decoder_t *decoder, const uint8_t *bytes, size_t size)
{
    if (!tlmi_grow(&decoder->bytes, &decoder->capacity, decoder->size + size, 1, "decoded bytes"))
        return TLM_ERR_OUT_OF_MEMORY;
    if (size > 0)
        memcpy(decoder->bytes + decoder->size, bytes, size);
    decoder->size += size;
    return TLM_OK;
}

static tlm_status_t push_through_steps(tlm_decoder_t *decoder, uint32_t id)
{
    decoder->run->size = 0;
    TLMI_TRY(tlmi_decode_run_push(decoder->run, id));
    return add_pending(decoder, decoder->run->text, decoder->run->size);
}

bool tlmi_decoder_holds(const tlm_decoder_t *decoder)
{
    const tlmi_decode_run_t *run = decoder->run;
    bool holds = decoder->size > 0;

    for (size_t i = 0; run != NULL && i < run->decoder->num_steps; i++)
        holds = holds || run->states[i].size > 0 || run->states[i].start_size > 0;
    return holds;
}

tlm_status_t tlm_decoder_push(const char **text, size_t *size, tlm_decoder_t *decoder, uint32_t id)
{
    TLMI_REQUIRE("decoder_push", text);
    TLMI_REQUIRE("decoder_push", size);
    TLMI_REQUIRE("decoder_push", decoder);
    tlm_bytes_t token;
    TLMI_TRY(tlm_tokenizer_token(&token, decoder->tokenizer, id));
    size_t before = decoder->size;
    if (decoder->skipped != NULL && tlmi_bit(decoder->skipped, id))
        return give_out(text, size, decoder, 0);
    TLMI_TRY(decoder->run != NULL ? push_through_steps(decoder, id)
                                  : add_pending(decoder, token.data, token.size));
    size_t left = decoder->as_text ? tlmi_utf8_unfinished(decoder->bytes, decoder->size) : 0;
    tlm_status_t status = give_out(text, size, decoder, decoder->size - left);
    if (status != TLM_OK && decoder->run == NULL)
        decoder->size = before; /* undoes the call */
    return status;
}

tlm_status_t tlm_decoder_finish(const char **text, size_t *size, tlm_decoder_t *decoder)
{
    TLMI_REQUIRE("decoder_finish", text);
    TLMI_REQUIRE("decoder_finish", size);
    TLMI_REQUIRE("decoder_finish", decoder);
    if (decoder->run != NULL) {
        decoder->run->size = 0;
        TLMI_TRY(tlmi_decode_run_finish(decoder->run));
        TLMI_TRY(add_pending(decoder, decoder->run->text, decoder->run->size));
    }
    return give_out(text, size, decoder, decoder->size);
}

void tlm_decoder_free(tlm_decoder_t *decoder)
{
    if (decoder == NULL)
        return;
    tlmi_decode_run_free(decoder->run);
    tlmi_free(decoder->skipped);
    tlmi_free(decoder->bytes);
    tlmi_free(decoder->text);
    tlmi_free(decoder);
}
