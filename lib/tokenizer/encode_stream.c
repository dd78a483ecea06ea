/* The streaming encoder: a text stream that feeds an encode worker, whose sink is the callback. */
#include "tokenizer/encode.h"

#include "base/error.h"
#include "base/memory.h"

#define CACHE_SIZE ((size_t)1 << 18) /* bytes; small, because a stream should use little memory */

struct tlm_encoder {
    tlmi_encode_plan_t plan;
    tlmi_encode_memory_t memory;
    tlmi_id_list_t ids;
    tlmi_id_sink_t sink;
    tlmi_encode_worker_t worker;
    tlmi_text_stream_t stream;
    tlm_ids_callback_t callback;
    void *user;
};

static tlm_status_t call_back(void *context, const uint32_t *ids, size_t n)
{
    const tlm_encoder_t *encoder = context;

    if (encoder->callback(encoder->user, ids, n) != 0)
        return tlmi_fail(TLM_ERR_CANCELLED, "encoder: cancelled by its callback at %zu ids", n);
    return TLM_OK;
}

tlm_status_t tlm_encoder_create(tlm_encoder_t **out, const tlm_tokenizer_t *tokenizer,
                                tlm_ids_callback_t callback, void *user)
{
    TLMI_REQUIRE("encoder_create", out);
    TLMI_REQUIRE("encoder_create", tokenizer);
    TLMI_REQUIRE("encoder_create", callback);
    tlm_encoder_t *encoder = tlmi_calloc(1, sizeof(*encoder), "an encoder");
    if (encoder == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    encoder->callback = callback;
    encoder->user = user;
    encoder->memory.cache = tlmi_pretoken_cache_create(CACHE_SIZE);
    encoder->sink = (tlmi_id_sink_t){.take = call_back, .context = encoder};
    tlmi_encode_plan_init_default(&encoder->plan, "encoder", tokenizer);
    encoder->plan.limits = NULL; /* a corpus is not rows */
    tlmi_encode_worker_init(&encoder->worker, &encoder->plan,
                            encoder->memory.cache != NULL ? &encoder->memory : NULL, &encoder->ids);
    encoder->worker.sink = &encoder->sink;
    tlmi_pretoken_sink_t pretoken_sink = tlmi_encode_worker_sink(&encoder->worker);
    tlmi_text_stream_init(&encoder->stream, &encoder->plan.pipeline, &pretoken_sink);
    *out = encoder;
    return TLM_OK;
}

tlm_status_t tlm_encoder_push(tlm_encoder_t *encoder, const void *chunk, size_t size)
{
    TLMI_REQUIRE("encoder_push", encoder);
    if (size > 0)
        TLMI_REQUIRE("encoder_push", chunk);
    TLMI_TRY(tlmi_text_stream_push(&encoder->stream, chunk, size));
    return tlmi_encode_worker_flush(&encoder->worker);
}

tlm_status_t tlm_encoder_finish(tlm_encoder_t *encoder)
{
    TLMI_REQUIRE("encoder_finish", encoder);
    tlm_status_t status = tlmi_text_stream_finish(&encoder->stream);
    if (status == TLM_OK)
        return tlmi_encode_worker_flush(&encoder->worker);
    encoder->ids.n = 0;
    return status;
}

void tlm_encoder_free(tlm_encoder_t *encoder)
{
    if (encoder == NULL)
        return;
    tlmi_encode_worker_release(&encoder->worker);
    tlmi_pretoken_cache_free(encoder->memory.cache);
    tlmi_scratch_release(&encoder->memory.scratch);
    tlmi_id_list_release(&encoder->ids);
    tlmi_text_stream_release(&encoder->stream);
    tlmi_free(encoder);
}
