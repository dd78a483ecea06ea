/* The streaming encoder: a text stream that ends in a BPE encoder, which hands its ids on. */
#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/bpe/bpe_encode.h"

#define IDS_AT_ONCE 4096
#define CACHE_SIZE  ((size_t)1 << 18) /* bytes; a stream is to need little memory */

struct tlm_encoder {
    tlmi_bpe_encoder_t bpe;
    tlmi_text_stream_t stream;
    tlm_ids_callback_t callback;
    void *user;
};

static tlm_status_t hand_on(tlm_encoder_t *encoder)
{
    size_t n = encoder->bpe.n;

    encoder->bpe.n = 0;
    if (n > 0 && encoder->callback(encoder->user, encoder->bpe.ids, n) != 0)
        return tlmi_fail(TLM_ERR_CANCELLED, "encoder: cancelled by its callback at %zu ids", n);
    return TLM_OK;
}

static tlm_status_t take_pretokens(void *context, const uint8_t *text, const size_t *ends, size_t n)
{
    tlm_encoder_t *encoder = context;

    TLMI_TRY(tlmi_bpe_encode_pretokens(&encoder->bpe, text, ends, n));
    return encoder->bpe.n < IDS_AT_ONCE ? TLM_OK : hand_on(encoder);
}

static tlm_status_t take_special(void *context, size_t index)
{
    tlm_encoder_t *encoder = context;

    return tlmi_bpe_encode_special(&encoder->bpe, index);
}

tlm_status_t tlm_encoder_create(tlm_encoder_t **out, const tlm_tokenizer_t *tokenizer,
                                tlm_ids_callback_t callback, void *user)
{
    tlm_encoder_t *encoder;
    tlmi_text_splitter_t splitter;

    TLMI_REQUIRE("encoder_create", out);
    TLMI_REQUIRE("encoder_create", tokenizer);
    TLMI_REQUIRE("encoder_create", callback);
    encoder = tlmi_calloc(1, sizeof(*encoder), "an encoder");
    if (encoder == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    splitter = (tlmi_text_splitter_t){tokenizer->pretokenizer, tokenizer->special, take_pretokens,
                                      take_special, encoder};
    tlmi_bpe_encoder_init(&encoder->bpe, tokenizer, tlmi_bpe_cache_create(CACHE_SIZE));
    tlmi_text_stream_init(&encoder->stream, &splitter);
    encoder->callback = callback;
    encoder->user = user;
    *out = encoder;
    return TLM_OK;
}

tlm_status_t tlm_encoder_push(tlm_encoder_t *encoder, const void *chunk, size_t size)
{
    TLMI_REQUIRE("encoder_push", encoder);
    if (size > 0)
        TLMI_REQUIRE("encoder_push", chunk);
    TLMI_TRY(tlmi_text_stream_push(&encoder->stream, chunk, size));
    return hand_on(encoder);
}

tlm_status_t tlm_encoder_finish(tlm_encoder_t *encoder)
{
    tlm_status_t status;

    TLMI_REQUIRE("encoder_finish", encoder);
    status = tlmi_text_stream_finish(&encoder->stream);
    if (status == TLM_OK)
        return hand_on(encoder);
    encoder->bpe.n = 0;
    return status;
}

void tlm_encoder_free(tlm_encoder_t *encoder)
{
    if (encoder == NULL)
        return;
    tlmi_bpe_cache_free(encoder->bpe.cache);
    tlmi_bpe_encoder_release(&encoder->bpe);
    tlmi_text_stream_release(&encoder->stream);
    tlmi_free(encoder);
}
