/* Text to pretokens: scanners of the well-known patterns, other patterns, special tokens, whole texts. */
#ifndef TLMI_PRETOKENIZE_H
#define TLMI_PRETOKENIZE_H

#include "tinylm/export.h"
#include "tinylm/status.h"
#include "tinylm/tokenizer.h"
#include "tokenizer/pretokenize/unicode.h"

/* The well-known patterns by hand: no regular-expression engine on this path. A pretoken follows
 * from the text at and behind its start alone; what lies before has no influence. A malformed byte
 * counts as one character that is neither letter, mark, number nor white space. */

typedef enum tlmi_scanner_kind {
    TLMI_SCANNER_GPT2,
    TLMI_SCANNER_CL100K,
    TLMI_SCANNER_O200K
} tlmi_scanner_kind_t;

/* A pattern; those of a kind differ in little. */
typedef struct tlmi_scanner {
    tlmi_scanner_kind_t kind;
    int max_digits;    /* numbers in a pretoken, 1 or 3; 0: any (GPT-2) */
    bool whole_at_end; /* white space at the end of the text is one pretoken: \s++$ */
} tlmi_scanner_t;

/* The scanner of a pattern that is spelled in one of the known ways, or NULL. */
const tlmi_scanner_t *tlmi_scanner_find(const char *pattern);

/* End of the pretoken that starts at `text`; [text, end) is not empty. The plain reference of
 * block_scanner.h. */
const uint8_t *tlmi_scan_pretoken(const tlmi_scanner_t *scanner, const uint8_t *text,
                                  const uint8_t *end);

/* Size of the contraction ('s 't 're 've 'm 'll 'd) at the apostrophe `text`, or 0. Upper and lower case
 * are alike except with GPT-2's pattern; U+017F, the long s, is an s then. */
int tlmi_scan_contraction(const tlmi_scanner_t *scanner, const uint8_t *text, const uint8_t *end);

/* Where [text, end) may go on: pretokens that end at or before this place, which may be `text`,
 * cannot change. */
const uint8_t *tlmi_scan_certain(const uint8_t *text, const uint8_t *end);

/* The well-known patterns, 64 bytes at a time. */

/* Receives n >= 1 pretokens that follow each other: text[0 .. ends[0]), text[ends[0] .. ends[1])
 * ... */
typedef tlm_status_t (*tlmi_pretokens_fn)(void *context, const uint8_t *text, const size_t *ends,
                                          size_t n);

/* tlmi_pretokenize of pretokenizer.h, by a scanner. */
tlm_status_t tlmi_scan_text(size_t *consumed, const tlmi_scanner_t *scanner, const uint8_t *text,
                            size_t size, bool final, tlmi_pretokens_fn pretokens, void *context);

/* Custom pre-tokenization patterns, through Oniguruma, which no other file includes. */

typedef struct tlmi_regex tlmi_regex_t;                 /* a compiled pattern; immutable */
typedef struct tlmi_regex_matcher tlmi_regex_matcher_t; /* scratch memory of one thread */

/* An upper bound of how deep groups, and repeats of repeats, stand within each other. */
size_t tlmi_regex_nesting(const char *pattern);
#define TLMI_REGEX_MAX_NESTING 40 /* Oniguruma takes less than 100 KB of stack for these */

/* Compiles a pattern in Perl's syntax, Unicode properties and possessive quantifiers included.
 * TLM_ERR_REGEX with Oniguruma's message if it is malformed, or if it is nested too deep. */
tlm_status_t tlmi_regex_create(tlmi_regex_t **out, const char *pattern);
void tlmi_regex_free(tlmi_regex_t *regex);

/* What a text of `size` bytes may take of the thread's CPU time: a hundred times what the slowest
 * of the well-known patterns does, and ten seconds. */
#define TLMI_REGEX_NANOSECONDS(size) (10000000000u + 10000u * (uint64_t)(size))

/* For searches that take no longer in all. */
tlm_status_t tlmi_regex_matcher_create(tlmi_regex_matcher_t **out, uint64_t max_nanoseconds);
void tlmi_regex_matcher_free(tlmi_regex_matcher_t *matcher);

/* First match, of at least one byte, at or after `from` in text, which must be valid UTF-8:
 * [*start, *end), or *start == *end == size if there is none. A pattern that backtracks without
 * end, nests too deeply or takes too long is TLM_ERR_REGEX. */
tlm_status_t tlmi_regex_search(size_t *start, size_t *end, const tlmi_regex_t *regex,
                               tlmi_regex_matcher_t *matcher, const uint8_t *text, size_t size,
                               size_t from);

/* Pre-tokenization: cuts text without special tokens into pretokens, which no merge crosses. Each
 * byte lies in exactly one pretoken: what a custom pattern does not match is one of its own. */

typedef struct tlmi_pretokenizer tlmi_pretokenizer_t; /* immutable */

/* NULL is the GPT-2 pattern. The well-known patterns have scanners of their own; any other goes
 * through Oniguruma. */
tlm_status_t tlmi_pretokenizer_create(tlmi_pretokenizer_t **out, const char *pattern);
void tlmi_pretokenizer_free(tlmi_pretokenizer_t *pretokenizer);
const char *tlmi_pretokenizer_pattern(const tlmi_pretokenizer_t *pretokenizer);

/* Whether pretokens are decided near their end, so that a text can be cut before it is whole. */
bool tlmi_pretokenizer_is_local(const tlmi_pretokenizer_t *pretokenizer);

/* Splits a whole text. */
tlm_status_t tlmi_pretokenize(const tlmi_pretokenizer_t *pretokenizer, const uint8_t *text,
                              size_t size, tlmi_pretokens_fn pretokens, void *context);

/* Splits part of a text. Unless `final`, the text may go on behind `size`, and only the pretokens that
 * cannot change are given (none by a pattern that is not local). *consumed is their size. */
tlm_status_t tlmi_pretokenize_part(size_t *consumed, const tlmi_pretokenizer_t *pretokenizer,
                                   const uint8_t *text, size_t size, bool final,
                                   tlmi_pretokens_fn pretokens, void *context);

/* Whether a pretoken always ends at position `at` (0 < at < size), whatever the rest of the text,
 * and those before it are the same as if the text ended there. False says nothing. */
bool tlmi_pretokenizer_always_cuts(const tlmi_pretokenizer_t *pretokenizer, const uint8_t *text,
                                   size_t at);

/* Special tokens: byte strings that are found before anything else in a text, the longest at each
 * place, and never enter pre-tokenization. Immutable once made. */

typedef struct tlmi_special_tokens tlmi_special_tokens_t;

/* Copies the n tokens; `what` opens the message where one is empty or given twice. */
tlm_status_t tlmi_special_tokens_create(tlmi_special_tokens_t **out, const tlm_bytes_t *tokens,
                                        size_t n, const char *what);
void tlmi_special_tokens_free(tlmi_special_tokens_t *special);

size_t tlmi_special_tokens_count(const tlmi_special_tokens_t *special);
tlm_bytes_t tlmi_special_tokens_get(const tlmi_special_tokens_t *special, size_t index);

/* What tlmi_special_tokens_find found: token `index` at [start, end); or, where it returns false,
 * that no token begins before `start`. */
typedef struct tlmi_special_match {
    size_t start;
    size_t end;
    size_t index;
} tlmi_special_match_t;

/* First special token at or after `from`. Unless `final`, text may go on behind `size`: the search
 * stops where what follows would decide. */
bool tlmi_special_tokens_find(tlmi_special_match_t *match, const tlmi_special_tokens_t *special,
                              const uint8_t *text, size_t size, size_t from, bool final);

/* Whether the bytes of a special token lie on both sides of position `at`. */
bool tlmi_special_tokens_cross(const tlmi_special_tokens_t *special, const uint8_t *text,
                               size_t size, size_t at);

/* First special token at position `at` exactly, the longest that is there whole; false if none is. */
bool tlmi_special_tokens_at(const tlmi_special_tokens_t *special, const uint8_t *text, size_t size,
                            size_t at);

/* Normalization: what is done to the text between special tokens before it is split. */

typedef struct tlmi_normalizer tlmi_normalizer_t; /* immutable */

typedef struct tlmi_normalizer_kind {
    const char *name; /* for messages: "NFC" */

    /* Whether a whole text stays as it is, by a quick look; false says nothing. */
    bool (*leaves)(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size);

    /* Appends a text, normalized by itself. */
    tlm_status_t (*append)(const tlmi_normalizer_t *normalizer, tlmi_normal_text_t *out,
                           const uint8_t *text, size_t size);

    /* A place near the end where a text that may go on behind `size` can be cut, so that both parts are
     * normalized apart. 0 if there is none: a stream then keeps its text to the end. */
    size_t (*last_cut)(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size);

    /* Whether a text may be cut before text[at], at > 0. NULL: never. */
    bool (*cuts_at)(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t at);

    void (*free)(tlmi_normalizer_t *normalizer); /* NULL: nothing is to be freed */
} tlmi_normalizer_kind_t;

/* The first member of a kind's own struct. */
struct tlmi_normalizer {
    const tlmi_normalizer_kind_t *kind;
};

extern const tlmi_normalizer_t tlmi_nfc;

/* NULL is fine. */
void tlmi_normalizer_free(const tlmi_normalizer_t *normalizer);

/* The way from text to pretokens and special tokens, for training and encoding alike: special tokens are
 * found, the text between them is normalized and split. Texts come whole, as streams cut anywhere, or
 * cut for several threads. */

/* Borrows its parts. */
typedef struct tlmi_text_pipeline {
    const tlmi_special_tokens_t *special; /* NULL: none is found */
    const tlmi_normalizer_t *normalizer;  /* NULL: the text is split as it is */
    const tlmi_pretokenizer_t *pretokenizer;
} tlmi_text_pipeline_t;

/* Who receives the parts of a text, in order. */
typedef struct tlmi_pretoken_sink {
    tlmi_pretokens_fn pretokens;
    tlm_status_t (*special_token)(void *context, size_t index);
    void *context;
} tlmi_pretoken_sink_t;

/* Splits a whole text. */
tlm_status_t tlmi_split_text(const tlmi_text_pipeline_t *pipeline, const uint8_t *text, size_t size,
                             const tlmi_pretoken_sink_t *sink);

/* First position in [from, to), 0 < from, where a text may be cut in two without a change in its
 * parts; `to` if none was found. */
size_t tlmi_find_cut(const tlmi_text_pipeline_t *pipeline, const uint8_t *text, size_t size,
                     size_t from, size_t to);

/* A text that comes in pieces. The parts are those of the whole text, however it is cut. Memory
 * holds a few kilobytes, or the pretoken at hand if that is longer; with a pattern that is not
 * local, the text back to the last special token. */
typedef struct tlmi_text_stream {
    tlmi_text_pipeline_t pipeline;
    tlmi_pretoken_sink_t sink;
    uint8_t *pending; /* text not handed on yet */
    size_t size;
    size_t capacity;
    size_t searched;           /* no special token begins before this place in `pending` */
    size_t threshold;          /* pending is looked at when it has grown to this size */
    tlmi_normal_text_t normal; /* what is normalized and not handed on, before pending */
} tlmi_text_stream_t;

void tlmi_text_stream_init(tlmi_text_stream_t *stream, const tlmi_text_pipeline_t *pipeline,
                           const tlmi_pretoken_sink_t *sink);

/* Drops what is pending and frees its memory: the stream is as after init. */
void tlmi_text_stream_release(tlmi_text_stream_t *stream);

tlm_status_t tlmi_text_stream_push(tlmi_text_stream_t *stream, const uint8_t *text, size_t size);

/* Ends the text and makes the stream ready for another; also after a failure. */
tlm_status_t tlmi_text_stream_finish(tlmi_text_stream_t *stream);

#endif
