/* From text to pretokens and special tokens, for training and encoding alike: a whole text, a
 * stream cut anywhere, and the places where a text may be cut for several threads. */
#ifndef TLMI_TEXT_SPLITTER_H
#define TLMI_TEXT_SPLITTER_H

#include "nfc.h"
#include "pretokenizer.h"
#include "special_tokens.h"

/* What cuts a text, and who receives the parts, in order. Borrows everything. */
typedef struct tlmi_text_splitter {
    const tlmi_pretokenizer_t *pretokenizer;
    const tlmi_special_tokens_t *special;
    tlmi_pretokens_fn pretokens;
    tlm_status_t (*special_token)(void *context, size_t index);
    void *context;
} tlmi_text_splitter_t;

tlm_status_t tlmi_split_text(const tlmi_text_splitter_t *splitter, const uint8_t *text,
                             size_t size);

/* First position in [from, to), 0 < from, where a text may be cut in two without a change in its
 * parts; `to` if none was found. */
size_t tlmi_find_cut(const tlmi_text_splitter_t *splitter, const uint8_t *text, size_t size,
                     size_t from, size_t to);

/* A text that comes in pieces. The parts are those of the whole text, however it is cut. Memory
 * holds a few kilobytes, or the pretoken at hand if that is longer; with a pattern that is not
 * local, the text back to the last special token. */
typedef struct tlmi_text_stream {
    tlmi_text_splitter_t splitter;
    uint8_t *pending; /* text not handed on yet */
    size_t size;
    size_t capacity;
    size_t searched;  /* no special token begins before this place in `pending` */
    size_t threshold; /* pending is looked at when it has grown to this size */
    tlmi_nfc_text_t
        nfc; /* if pretokens are of text in NFC: what is not handed on, before pending */
} tlmi_text_stream_t;

void tlmi_text_stream_init(tlmi_text_stream_t *stream, const tlmi_text_splitter_t *splitter);
void tlmi_text_stream_release(tlmi_text_stream_t *stream);
tlm_status_t tlmi_text_stream_push(tlmi_text_stream_t *stream, const uint8_t *text, size_t size);

/* Ends the text and makes the stream ready for another; also after a failure. */
tlm_status_t tlmi_text_stream_finish(tlmi_text_stream_t *stream);

#endif
