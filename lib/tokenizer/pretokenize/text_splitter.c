/* Special tokens first, then pretokens between them. */
#include "tokenizer/pretokenize/pretokenize.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define STREAM_BLOCK ((size_t)16384) /* bytes gathered before a stream is looked at */

tlm_status_t tlmi_split_text(const tlmi_text_splitter_t *splitter, const uint8_t *text, size_t size)
{
    size_t at = 0;

    for (;;) {
        tlmi_special_match_t match;
        bool found = tlmi_special_tokens_find(&match, splitter->special, text, size, at, true);

        if (match.start > at)
            TLMI_TRY(tlmi_pretokenize(splitter->pretokenizer, text + at, match.start - at,
                                      splitter->pretokens, splitter->context));
        if (!found)
            return TLM_OK;
        TLMI_TRY(splitter->special_token(splitter->context, match.index));
        at = match.end;
    }
}

/* Whether a special token begins at `at`. */
static bool begins_special(const tlmi_text_splitter_t *splitter, const uint8_t *text, size_t size,
                           size_t at)
{
    size_t n = tlmi_special_tokens_count(splitter->special);

    for (size_t i = 0; i < n; i++) {
        tlm_bytes_t token = tlmi_special_tokens_get(splitter->special, i);

        if (token.size <= size - at && memcmp(text + at, token.data, token.size) == 0)
            return true;
    }
    return false;
}

size_t tlmi_find_cut(const tlmi_text_splitter_t *splitter, const uint8_t *text, size_t size,
                     size_t from, size_t to)
{
    for (; from < to; from++) {
        bool cuts = tlmi_pretokenizer_always_cuts(splitter->pretokenizer, text, from) ||
                    begins_special(splitter, text, size, from);

        if (cuts && !tlmi_special_tokens_cross(splitter->special, text, size, from))
            return from;
    }
    return to;
}

void tlmi_text_stream_init(tlmi_text_stream_t *stream, const tlmi_text_splitter_t *splitter)
{
    *stream = (tlmi_text_stream_t){.splitter = *splitter, .threshold = STREAM_BLOCK};
}

void tlmi_text_stream_release(tlmi_text_stream_t *stream)
{
    tlmi_free(stream->pending);
    tlmi_nfc_release(&stream->nfc);
    stream->pending = NULL;
    stream->size = stream->capacity = 0;
}

/* Hands on what is certain from `at` on, where no special token begins before `limit`. */
static tlm_status_t split_certain(tlmi_text_stream_t *stream, size_t *at, size_t limit, bool final)
{
    const tlmi_text_splitter_t *splitter = &stream->splitter;
    const uint8_t *text = stream->pending + *at;
    tlmi_nfc_text_t *nfc = &stream->nfc;
    size_t size = limit - *at, consumed;

    if (!tlmi_pretokenizer_is_nfc(splitter->pretokenizer)) {
        TLMI_TRY(tlmi_pretokenize_part(&consumed, splitter->pretokenizer, text, size, final,
                                       splitter->pretokens, splitter->context));
        *at += consumed;
        return TLM_OK;
    }
    if (!final)
        size = tlmi_nfc_last_cut(text, size);
    TLMI_TRY(tlmi_nfc_append(nfc, text, size));
    *at += size;
    TLMI_TRY(tlmi_pretokenize_part(&consumed, splitter->pretokenizer, nfc->bytes, nfc->size, final,
                                   splitter->pretokens, splitter->context));
    memmove(nfc->bytes, nfc->bytes + consumed, nfc->size - consumed);
    nfc->size -= consumed;
    return TLM_OK;
}

static tlm_status_t split_pending(tlmi_text_stream_t *stream, size_t *at, bool final)
{
    const tlmi_text_splitter_t *splitter = &stream->splitter;

    for (;;) {
        tlmi_special_match_t match;
        bool found = tlmi_special_tokens_find(&match, splitter->special, stream->pending,
                                              stream->size, stream->searched, final);

        stream->searched = match.start;
        TLMI_TRY(split_certain(stream, at, match.start, found || final));
        if (!found)
            return TLM_OK;
        *at = stream->searched = match.end;
        TLMI_TRY(splitter->special_token(splitter->context, match.index));
    }
}

/* Splits what is pending and moves the rest to the front. Where a long pretoken leaves much of it
 * unsplit, the next look waits for twice as much, so that no byte is looked at often. */
static tlm_status_t flush(tlmi_text_stream_t *stream, bool final)
{
    size_t at = 0, held;
    tlm_status_t status = split_pending(stream, &at, final);

    if (at > 0)
        memmove(stream->pending, stream->pending + at, stream->size - at);
    stream->size -= at;
    stream->searched -= at;
    held = stream->size + stream->nfc.size;
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
    tlm_status_t status = stream->size > 0 ? flush(stream, true) : TLM_OK;

    stream->size = stream->searched = stream->nfc.size = 0;
    stream->threshold = STREAM_BLOCK;
    return status;
}
