/* Finds special tokens first, then normalizes the text between them and splits it into pretokens.
 * Special tokens that are searched for in normalized text are found between the two. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/pretokenize/pretokenize.h"

#define STREAM_BLOCK ((size_t)16384) /* bytes that a stream buffers before it is split */
#define PART_SIZE    ((size_t)32768) /* bytes of a piece that are normalized and split at once */

/* ---- Places where a text may be cut ---- */

/* Whether a text may be cut wherever a word of ASCII ends at a space. */
static bool cuts_words(const tlmi_text_pipeline_t *pipeline)
{
    const tlmi_normalizer_t *normalizer = pipeline->normalizer;
    const tlmi_special_tokens_t *special = pipeline->special;

    return tlmi_pretokenizer_cuts_words(pipeline->pretokenizer) &&
           (normalizer == NULL ||
            (normalizer->kind->cuts_at != NULL &&
             (special == NULL || !tlmi_special_tokens_in_normalized(special))));
}

static bool cuts_word_at(const tlmi_text_pipeline_t *pipeline, const uint8_t *text, size_t at)
{
    const tlmi_normalizer_t *normalizer = pipeline->normalizer;

    return text[at] == ' ' && tlmi_is_ascii_alnum(text[at - 1]) &&
           (normalizer == NULL || normalizer->kind->cuts_at(normalizer, text, at));
}

/* What follows a special token begins a piece, which matters to normalizers, so a text that is
 * normalized is not cut there. */
static bool special_crosses(const tlmi_text_pipeline_t *pipeline, const uint8_t *text, size_t size,
                            size_t at)
{
    return pipeline->special != NULL && tlmi_special_tokens_cross(pipeline->special, text, size, at,
                                                                  pipeline->normalizer != NULL);
}

/* Whether a pretoken always ends before text[at], for scanners, whose pretokens do so in more
 * places than at the ends of words. */
static bool scanner_cuts_at(const tlmi_text_pipeline_t *pipeline, const uint8_t *text, size_t at)
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
    const bool at_words = cuts_words(pipeline);
    const bool at_tokens = special != NULL && tlmi_special_tokens_are_plain(special) &&
                           pipeline->normalizer == NULL &&
                           tlmi_pretokenizer_is_local(pipeline->pretokenizer);

    for (; from < to; from++)
        if (((at_words && cuts_word_at(pipeline, text, from)) ||
             scanner_cuts_at(pipeline, text, from) ||
             (at_tokens && tlmi_special_tokens_at(special, text, size, from))) &&
            !special_crosses(pipeline, text, size, from))
            return from;
    return to;
}

/* ---- Whole texts ---- */

static bool find_special(tlmi_special_match_t *match, const tlmi_text_pipeline_t *pipeline,
                         const uint8_t *text, size_t size, size_t from, size_t least, bool final)
{
    if (pipeline->special != NULL)
        return tlmi_special_tokens_find(match, pipeline->special, TLMI_RAW_TEXT, text, size, from,
                                        least, final, pipeline->guard);
    match->start = size;
    return false;
}

/* Splits normalized text. */
static tlm_status_t split_normal(const tlmi_text_pipeline_t *pipeline, const uint8_t *text,
                                 size_t size, bool at_origin, const tlmi_pretoken_sink_t *sink)
{
    const tlmi_special_tokens_t *special = pipeline->special;
    size_t at = 0, next = 0;

    if (special == NULL || !tlmi_special_tokens_in_normalized(special))
        return tlmi_pretokenize(pipeline->pretokenizer, text, size, at_origin, sink->pretokens,
                                sink->context);
    for (;;) {
        tlmi_special_match_t match;
        bool found = tlmi_special_tokens_find(&match, special, TLMI_NORMALIZED_TEXT, text, size,
                                              next, at, true, NULL);

        if (match.start > at)
            TLMI_TRY(tlmi_pretokenize(pipeline->pretokenizer, text + at, match.start - at,
                                      at_origin && at == 0, sink->pretokens, sink->context));
        if (!found)
            return TLM_OK;
        TLMI_TRY(sink->special_token(sink->context, match.index));
        at = match.end;
        next = match.next;
    }
}

/* Finds whether normalization removes the character that the text begins with. What is left of the
 * text then does not begin where the text does. */
static tlm_status_t loses_its_start(bool *out, const tlmi_normalizer_t *normalizer,
                                    const uint8_t *text, size_t size, int part)
{
    tlmi_normal_text_t with = {0}, without = {0};

    *out = false;
    if (text[0] > ' ' && text[0] < 0x7F)
        return TLM_OK;
    int length; /* of the first character */
    (void)tlmi_class_at(&length, text, text + size);
    size = size < 256 ? size : 256;
    tlm_status_t status = normalizer->kind->append(normalizer, &with, text, size, part);
    if (status == TLM_OK)
        status = normalizer->kind->append(normalizer, &without, text + length,
                                          size - (size_t)length, part);
    if (status == TLM_OK)
        *out = with.size == without.size &&
               (with.size == 0 || memcmp(with.bytes, without.bytes, with.size) == 0);
    tlmi_normal_text_release(&with);
    tlmi_normal_text_release(&without);
    return status;
}

/* Splits a part of a piece, which is text without special tokens. */
static tlm_status_t split_part(const tlmi_text_pipeline_t *pipeline, tlmi_normal_text_t *normal,
                               const uint8_t *text, size_t size, int part, bool at_origin,
                               const tlmi_pretoken_sink_t *sink)
{
    const tlmi_normalizer_t *normalizer = pipeline->normalizer;

    if (normalizer == NULL || normalizer->kind->leaves(normalizer, text, size, part))
        return split_normal(pipeline, text, size, at_origin, sink);
    normal->size = 0;
    TLMI_TRY(normalizer->kind->append(normalizer, normal, text, size, part));
    bool is_lost = false;
    if (at_origin && !tlmi_pretokenizer_is_local(pipeline->pretokenizer))
        TLMI_TRY(loses_its_start(&is_lost, normalizer, text, size, part));
    return split_normal(pipeline, normal->bytes, normal->size, at_origin && !is_lost, sink);
}

static size_t end_of_part(const tlmi_text_pipeline_t *pipeline, bool at_words, const uint8_t *text,
                          size_t size, size_t at)
{
    if (!at_words || size - at <= PART_SIZE)
        return size;
    for (at += PART_SIZE; at < size; at++)
        if (cuts_word_at(pipeline, text, at) && !special_crosses(pipeline, text, size, at))
            return at;
    return size;
}

/* Splits a piece, size >= 1. A scanner takes it at once; otherwise it is cut at words, so that what
 * is normalized and split stays in the CPU's cache. `part` tells which ends of the piece the text
 * has. */
static tlm_status_t split_piece(const tlmi_text_pipeline_t *pipeline, const uint8_t *text,
                                size_t size, int part, bool at_origin,
                                const tlmi_pretoken_sink_t *sink)
{
    const bool at_once =
        pipeline->normalizer == NULL && tlmi_pretokenizer_is_local(pipeline->pretokenizer);
    const bool at_words = !at_once && size > PART_SIZE && cuts_words(pipeline);
    tlmi_normal_text_t normal = {0};
    tlm_status_t status = TLM_OK;

    for (size_t at = 0, end; at < size && status == TLM_OK; at = end) {
        end = end_of_part(pipeline, at_words, text, size, at);
        int ends =
            (at == 0 ? part & TLMI_PIECE_BEGINS : 0) | (end == size ? part & TLMI_PIECE_ENDS : 0);
        status =
            split_part(pipeline, &normal, text + at, end - at, ends, at_origin && at == 0, sink);
    }
    tlmi_normal_text_release(&normal);
    return status;
}

tlm_status_t tlmi_split_text(const tlmi_text_pipeline_t *pipeline, const uint8_t *text, size_t size,
                             int part, const tlmi_pretoken_sink_t *sink)
{
    size_t at = 0, next = 0;

    for (;;) {
        tlmi_special_match_t match;
        bool found = find_special(&match, pipeline, text, size, next, at, true);
        int ends = (at > 0 ? TLMI_PIECE_BEGINS : part & TLMI_PIECE_BEGINS) |
                   (found ? TLMI_PIECE_ENDS : part & TLMI_PIECE_ENDS);

        if (match.start > at)
            TLMI_TRY(split_piece(pipeline, text + at, match.start - at, ends,
                                 at == 0 && (part & TLMI_PIECE_BEGINS) != 0, sink));
        if (!found)
            return TLM_OK;
        TLMI_TRY(sink->special_token(sink->context, match.index));
        at = match.end;
        next = match.next;
    }
}

/* ---- Streams ---- */

void tlmi_text_stream_init(tlmi_text_stream_t *stream, const tlmi_text_pipeline_t *pipeline,
                           const tlmi_pretoken_sink_t *sink)
{
    const tlmi_normalizer_t *normalizer = pipeline->normalizer;

    *stream = (tlmi_text_stream_t){.pipeline = *pipeline, .sink = *sink, .threshold = STREAM_BLOCK};
    if (pipeline->special != NULL && !tlmi_special_tokens_are_plain(pipeline->special))
        stream->cuts = TLMI_STREAM_AT_END;
    else if (tlmi_pretokenizer_is_local(pipeline->pretokenizer) &&
             (normalizer == NULL || normalizer->kind->last_cut != NULL))
        stream->cuts = TLMI_STREAM_ANYWHERE;
    else if (cuts_words(pipeline))
        stream->cuts = TLMI_STREAM_AT_WORDS;
    else
        stream->cuts = TLMI_STREAM_AT_TOKENS;
}

/* Makes the stream ready for another text. */
static void rewind_stream(tlmi_text_stream_t *stream)
{
    stream->size = stream->searched = stream->normal.size = 0;
    stream->threshold = STREAM_BLOCK;
    stream->in_text = stream->in_piece = false;
}

void tlmi_text_stream_release(tlmi_text_stream_t *stream)
{
    tlmi_free(stream->pending);
    tlmi_normal_text_release(&stream->normal);
    stream->pending = NULL;
    stream->capacity = 0;
    rewind_stream(stream);
}

/* Emits the pretokens of text without special tokens that cannot change, for a scanner. *at is
 * advanced past what has been consumed. */
static tlm_status_t scan_certain(tlmi_text_stream_t *stream, size_t *at, size_t limit, bool final)
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
    int part = (stream->in_piece ? 0 : TLMI_PIECE_BEGINS) | (final ? TLMI_PIECE_ENDS : 0);
    TLMI_TRY(normalizer->kind->append(normalizer, normal, text, size, part));
    *at += size;
    stream->in_piece = stream->in_piece || size > 0;
    TLMI_TRY(tlmi_pretokenize_part(&consumed, pretokenizer, normal->bytes, normal->size, final,
                                   sink->pretokens, sink->context));
    normal->size -= consumed;
    if (consumed > 0)
        memmove(normal->bytes, normal->bytes + consumed, normal->size);
    return TLM_OK;
}

/* Splits text from *at on, up to the last place where it may be cut or, if it is final, to the
 * limit. */
static tlm_status_t split_certain(tlmi_text_stream_t *stream, size_t *at, size_t limit, bool final)
{
    size_t end = limit;

    if (stream->cuts == TLMI_STREAM_ANYWHERE)
        return scan_certain(stream, at, limit, final);
    if (!final && stream->cuts != TLMI_STREAM_AT_WORDS)
        return TLM_OK;
    while (!final && end > *at + 1 &&
           (end == limit || !cuts_word_at(&stream->pipeline, stream->pending + *at, end - *at)))
        end--;
    if (end == *at || (!final && end == *at + 1))
        return TLM_OK;
    int part = (stream->in_piece ? 0 : TLMI_PIECE_BEGINS) | (final ? TLMI_PIECE_ENDS : 0);
    TLMI_TRY(split_piece(&stream->pipeline, stream->pending + *at, end - *at, part,
                         !stream->in_text && *at == 0, &stream->sink));
    *at = end;
    stream->in_piece = true;
    return TLM_OK;
}

static tlm_status_t split_pending(tlmi_text_stream_t *stream, size_t *at, bool final)
{
    for (;;) {
        tlmi_special_match_t match;
        bool found = find_special(&match, &stream->pipeline, stream->pending, stream->size,
                                  stream->searched, *at, final);

        stream->searched = match.start;
        TLMI_TRY(split_certain(stream, at, match.start, found || final));
        if (!found)
            return TLM_OK;
        *at = stream->searched = match.end;
        stream->in_piece = false;
        TLMI_TRY(stream->sink.special_token(stream->sink.context, match.index));
    }
}

/* Splits the pending text and moves the rest to the front. If a long pretoken leaves much of it
 * unsplit, the next attempt waits for twice as much text, so that no byte is scanned many times. */
static tlm_status_t flush(tlmi_text_stream_t *stream, bool final)
{
    tlm_status_t status = TLM_OK;
    size_t at = 0;

    if (stream->cuts != TLMI_STREAM_AT_END)
        status = split_pending(stream, &at, final);
    else if (final)
        return tlmi_split_text(&stream->pipeline, stream->pending, stream->size, TLMI_WHOLE_PIECE,
                               &stream->sink);
    if (at > 0) {
        memmove(stream->pending, stream->pending + at, stream->size - at);
        stream->in_text = true;
    }
    stream->size -= at;
    stream->searched -= stream->searched < at ? stream->searched : at;
    size_t held = stream->size + stream->normal.size;
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

    rewind_stream(stream);
    return status;
}
