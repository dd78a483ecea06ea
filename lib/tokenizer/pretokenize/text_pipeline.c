/* Finds special tokens first, then normalizes the text between them and splits it into
 * pretokens. */
#include "tokenizer/pretokenize/pretokenize.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define STREAM_BLOCK ((size_t)16384) /* bytes that a stream buffers before it is split */

/* ---- Whole texts ---- */

static bool find_special(tlmi_special_match_t *match, const tlmi_text_pipeline_t *pipeline,
                         const uint8_t *text, size_t size, size_t from, bool final)
{
    if (pipeline->special != NULL)
        return tlmi_special_tokens_find(match, pipeline->special, text, size, from, final);
    match->start = size;
    return false;
}

/* Splits text without special tokens, size >= 1. */
static tlm_status_t split_plain(const tlmi_text_pipeline_t *pipeline, const uint8_t *text,
                                size_t size, const tlmi_pretoken_sink_t *sink)
{
    const tlmi_normalizer_t *normalizer = pipeline->normalizer;
    tlmi_normal_text_t normal = {0};
    tlm_status_t status;

    if (normalizer == NULL || normalizer->kind->leaves(normalizer, text, size, TLMI_WHOLE_PIECE))
        return tlmi_pretokenize(pipeline->pretokenizer, text, size, sink->pretokens, sink->context);
    status = normalizer->kind->append(normalizer, &normal, text, size, TLMI_WHOLE_PIECE);
    if (status == TLM_OK)
        status = tlmi_pretokenize(pipeline->pretokenizer, normal.bytes, normal.size,
                                  sink->pretokens, sink->context);
    tlmi_normal_text_release(&normal);
    return status;
}

tlm_status_t tlmi_split_text(const tlmi_text_pipeline_t *pipeline, const uint8_t *text, size_t size,
                             const tlmi_pretoken_sink_t *sink)
{
    size_t at = 0;

    for (;;) {
        tlmi_special_match_t match;
        bool found = find_special(&match, pipeline, text, size, at, true);

        if (match.start > at)
            TLMI_TRY(split_plain(pipeline, text + at, match.start - at, sink));
        if (!found)
            return TLM_OK;
        TLMI_TRY(sink->special_token(sink->context, match.index));
        at = match.end;
    }
}

static bool always_cuts(const tlmi_text_pipeline_t *pipeline, const uint8_t *text, size_t at)
{
    const tlmi_normalizer_t *normalizer = pipeline->normalizer;

    return tlmi_pretokenizer_always_cuts(pipeline->pretokenizer, text, at) &&
           (normalizer == NULL ||
            (normalizer->kind->cuts_at != NULL && normalizer->kind->cuts_at(normalizer, text, at)));
}

size_t tlmi_find_cut(const tlmi_text_pipeline_t *pipeline, const uint8_t *text, size_t size,
                     size_t from, size_t to)
{
    const tlmi_special_tokens_t *special = pipeline->special;

    for (; from < to; from++) {
        if (!always_cuts(pipeline, text, from) &&
            (special == NULL || !tlmi_special_tokens_at(special, text, size, from)))
            continue;
        if (special == NULL || !tlmi_special_tokens_cross(special, text, size, from))
            return from;
    }
    return to;
}

/* ---- Streams ---- */

void tlmi_text_stream_init(tlmi_text_stream_t *stream, const tlmi_text_pipeline_t *pipeline,
                           const tlmi_pretoken_sink_t *sink)
{
    *stream = (tlmi_text_stream_t){.pipeline = *pipeline, .sink = *sink, .threshold = STREAM_BLOCK};
}

void tlmi_text_stream_release(tlmi_text_stream_t *stream)
{
    tlmi_free(stream->pending);
    tlmi_normal_text_release(&stream->normal);
    stream->pending = NULL;
    stream->size = stream->capacity = stream->searched = 0;
    stream->threshold = STREAM_BLOCK;
}

/* Emits the pretokens from `at` on that cannot change. No special token begins before `limit`. */
static tlm_status_t split_certain(tlmi_text_stream_t *stream, size_t *at, size_t limit, bool final)
{
    const tlmi_normalizer_t *normalizer = stream->pipeline.normalizer;
    const tlmi_pretokenizer_t *pretokenizer = stream->pipeline.pretokenizer;
    const tlmi_pretoken_sink_t *sink = &stream->sink;
    const uint8_t *text = stream->pending + *at;
    tlmi_normal_text_t *normal = &stream->normal;
    size_t size = limit - *at, consumed;

    if (normalizer == NULL) {
        TLMI_TRY(tlmi_pretokenize_part(&consumed, pretokenizer, text, size, final, sink->pretokens,
                                       sink->context));
        *at += consumed;
        return TLM_OK;
    }
    if (!final)
        size = normalizer->kind->last_cut(normalizer, text, size);
    TLMI_TRY(normalizer->kind->append(normalizer, normal, text, size, TLMI_WHOLE_PIECE));
    *at += size;
    TLMI_TRY(tlmi_pretokenize_part(&consumed, pretokenizer, normal->bytes, normal->size, final,
                                   sink->pretokens, sink->context));
    normal->size -= consumed;
    if (consumed > 0)
        memmove(normal->bytes, normal->bytes + consumed, normal->size);
    return TLM_OK;
}

static tlm_status_t split_pending(tlmi_text_stream_t *stream, size_t *at, bool final)
{
    for (;;) {
        tlmi_special_match_t match;
        bool found = find_special(&match, &stream->pipeline, stream->pending, stream->size,
                                  stream->searched, final);

        stream->searched = match.start;
        TLMI_TRY(split_certain(stream, at, match.start, found || final));
        if (!found)
            return TLM_OK;
        *at = stream->searched = match.end;
        TLMI_TRY(stream->sink.special_token(stream->sink.context, match.index));
    }
}

/* Splits the pending text and moves the rest to the front. If a long pretoken leaves much of it
 * unsplit, the next attempt waits for twice as much text, so that no byte is scanned many times. */
static tlm_status_t flush(tlmi_text_stream_t *stream, bool final)
{
    size_t at = 0, held;
    tlm_status_t status = split_pending(stream, &at, final);

    if (at > 0)
        memmove(stream->pending, stream->pending + at, stream->size - at);
    stream->size -= at;
    stream->searched -= at;
    held = stream->size + stream->normal.size;
    stream->threshold = stream->size + (held > STREAM_BLOCK ? held : STREAM_BLOCK);
    return status;
}

tlm_status_t tlmi_text_stream_push(tlmi_text_stream_t *stream, const uint8_t *text, size_t size)
{
    while (size > 0) {
        size_t room = stream->threshold - stream->size;
        size_t take = size < room ? size : room;

        if (!tlmi_grow(&stream->pending, &stream->capacity, stream->size + take, 1,
                       "a piece of text"))
            return TLM_ERR_OUT_OF_MEMORY;
        memcpy(stream->pending + stream->size, text, take);
        stream->size += take;
        text += take;
        size -= take;
        if (stream->size == stream->threshold)
            TLMI_TRY(flush(stream, false));
    }
    return TLM_OK;
}

tlm_status_t tlmi_text_stream_finish(tlmi_text_stream_t *stream)
{
    bool is_empty = stream->size == 0 && stream->normal.size == 0;
    tlm_status_t status = is_empty ? TLM_OK : flush(stream, true);

    stream->size = stream->searched = stream->normal.size = 0;
    stream->threshold = STREAM_BLOCK;
    return status;
}
