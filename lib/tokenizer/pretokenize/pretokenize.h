/* Splits text into pretokens: scanners for the well-known patterns, a regular-expression engine for
 * other patterns, special tokens, normalization, and the pipeline that combines them. */
#ifndef TLMI_PRETOKENIZE_H
#define TLMI_PRETOKENIZE_H

#include "tinylm/export.h"
#include "tinylm/status.h"
#include "tinylm/tokenizer.h"
#include "tokenizer/normalize/normalize.h"
#include "tokenizer/pretokenize/unicode.h"

/* Hand-written scanners for the well-known patterns, which avoid the regular-expression engine. A
 * pretoken depends only on the text from its start onward, never on the text before it. A malformed
 * byte counts as one character that is neither a letter, a mark, a number nor white space. */

typedef enum tlmi_scanner_kind {
    TLMI_SCANNER_GPT2,
    TLMI_SCANNER_CL100K,
    TLMI_SCANNER_O200K
} tlmi_scanner_kind_t;

/* A pattern. Patterns of the same kind differ only in these fields. */
typedef struct tlmi_scanner {
    tlmi_scanner_kind_t kind;
    int max_digits;    /* most \p{N} per pretoken: 1 or 3; 0: no limit (GPT-2) */
    bool whole_at_end; /* \s++$: white space at the end of the text is one pretoken */
} tlmi_scanner_t;

/* Returns the scanner for a pattern, or NULL unless the pattern is one of the known spellings. */
const tlmi_scanner_t *tlmi_scanner_find(const char *pattern);

/* Returns the end of the pretoken that starts at `text`; [text, end) must not be empty. This is the
 * simple reference implementation for tlmi_scan_text. */
const uint8_t *tlmi_scan_pretoken(const tlmi_scanner_t *scanner, const uint8_t *text,
                                  const uint8_t *end);

/* Returns the size of the contraction ('s 't 're 've 'm 'll 'd) at the apostrophe `text`, or 0.
 * Ignores case except with GPT-2's pattern; when case is ignored, U+017F (the long s) matches s. */
int tlmi_scan_contraction(const tlmi_scanner_t *scanner, const uint8_t *text, const uint8_t *end);

/* For a text that may continue after `end`: pretokens that end at or before the returned position
 * cannot change. The position may be `text` itself. */
const uint8_t *tlmi_scan_certain(const uint8_t *text, const uint8_t *end);

/* A faster scanner for the well-known patterns, which processes 64 bytes at a time. */

/* Receives n >= 1 consecutive pretokens: text[0 .. ends[0]), text[ends[0] .. ends[1]) and so on. */
typedef tlm_status_t (*tlmi_pretokens_fn)(void *context, const uint8_t *text, const size_t *ends,
                                          size_t n);

/* Does what tlmi_pretokenize_part does, with a scanner. */
tlm_status_t tlmi_scan_text(size_t *consumed, const tlmi_scanner_t *scanner, const uint8_t *text,
                            size_t size, bool final, tlmi_pretokens_fn pretokens, void *context);

/* Custom pre-tokenization patterns. They use Oniguruma, which only regex.c includes. */

typedef struct tlmi_regex tlmi_regex_t;                 /* a compiled pattern; immutable */
typedef struct tlmi_regex_matcher tlmi_regex_matcher_t; /* scratch memory for one thread */

/* Returns an upper bound on the nesting depth of groups and of repeats of repeats. */
size_t tlmi_regex_nesting(const char *pattern);
#define TLMI_REGEX_MAX_NESTING 40 /* Oniguruma needs less than 100 KB of stack for this */

typedef enum tlmi_regex_syntax {
    TLMI_REGEX_PERL,      /* includes Unicode properties and possessive quantifiers */
    TLMI_REGEX_ONIGURUMA, /* Oniguruma's own, which `tokenizers` uses: ^ and $ match at the ends of
                             lines, && intersects classes, {1,3}+ repeats a repeat, \Q is a Q */
} tlmi_regex_syntax_t;

/* Compiles a pattern. Returns TLM_ERR_REGEX, with Oniguruma's message, if the pattern is malformed,
 * and also if it is nested too deeply. */
tlm_status_t tlmi_regex_create(tlmi_regex_t **out, const char *pattern, tlmi_regex_syntax_t syntax);
void tlmi_regex_free(tlmi_regex_t *regex);

/* The thread's CPU time allowed for a text of `size` bytes: a hundred times what the slowest of the
 * well-known patterns takes, plus ten seconds. */
#define TLMI_REGEX_NANOSECONDS(size) (10000000000u + 10000u * (uint64_t)(size))

/* The time limit covers all searches with this matcher together. */
tlm_status_t tlmi_regex_matcher_create(tlmi_regex_matcher_t **out, uint64_t max_nanoseconds);
void tlmi_regex_matcher_free(tlmi_regex_matcher_t *matcher);

/* Finds the first match of at least one byte at or after `from` in text, which must be valid UTF-8.
 * The match is [*start, *end); without one, *start == *end == size. Returns TLM_ERR_REGEX if the
 * pattern backtracks without end, nests too deeply or takes too long. */
tlm_status_t tlmi_regex_search(size_t *start, size_t *end, const tlmi_regex_t *regex,
                               tlmi_regex_matcher_t *matcher, const uint8_t *text, size_t size,
                               size_t from);

/* Finds the first match at or after `from` <= size, which may be empty, for example at `size`. */
tlm_status_t tlmi_regex_find(bool *found, size_t *start, size_t *end, const tlmi_regex_t *regex,
                             tlmi_regex_matcher_t *matcher, const uint8_t *text, size_t size,
                             size_t from);

/* Finds the match after the one that ended at `last_end`, as `tokenizers` does: an empty match counts
 * unless it is where the last match ended. TLMI_REGEX_NONE: there was no match before. */
tlm_status_t tlmi_regex_next(bool *found, size_t *start, size_t *end, const tlmi_regex_t *regex,
                             tlmi_regex_matcher_t *matcher, const uint8_t *text, size_t size,
                             size_t last_end);
#define TLMI_REGEX_NONE SIZE_MAX

/* Pre-tokenization: splits text without special tokens into pretokens, which no merge crosses. Each
 * byte belongs to exactly one pretoken: text between matches of a custom pattern becomes a pretoken
 * of its own. */

typedef struct tlmi_pretokenizer tlmi_pretokenizer_t; /* immutable */

/* NULL means the GPT-2 pattern. The well-known patterns use their own scanners; any other pattern
 * uses Oniguruma. */
tlm_status_t tlmi_pretokenizer_create(tlmi_pretokenizer_t **out, const char *pattern);
void tlmi_pretokenizer_free(tlmi_pretokenizer_t *pretokenizer);
const char *tlmi_pretokenizer_pattern(const tlmi_pretokenizer_t *pretokenizer);

/* Whether the text shortly after a pretoken's end is enough to determine the pretoken, so that a
 * text can be split before all of it has arrived. */
bool tlmi_pretokenizer_is_local(const tlmi_pretokenizer_t *pretokenizer);

/* Splits a whole text. */
tlm_status_t tlmi_pretokenize(const tlmi_pretokenizer_t *pretokenizer, const uint8_t *text,
                              size_t size, tlmi_pretokens_fn pretokens, void *context);

/* Splits part of a text. Unless `final`, the text may continue after `size`, and only the pretokens
 * that cannot change are emitted (none if the pattern is not local). *consumed is their size. */
tlm_status_t tlmi_pretokenize_part(size_t *consumed, const tlmi_pretokenizer_t *pretokenizer,
                                   const uint8_t *text, size_t size, bool final,
                                   tlmi_pretokens_fn pretokens, void *context);

/* Whether a pretoken always ends at position `at` (0 < at < size), whatever the rest of the text
 * is, and the pretokens before it are the same as if the text ended there. False means
 * "unknown". */
bool tlmi_pretokenizer_always_cuts(const tlmi_pretokenizer_t *pretokenizer, const uint8_t *text,
                                   size_t at);

/* Special tokens: byte strings that are matched before anything else in a text, the longest
 * first at each position, and that never enter pre-tokenization. Immutable once created. */

typedef struct tlmi_special_tokens tlmi_special_tokens_t;

/* Copies the n tokens. `what` begins the error message if a token is empty or a duplicate. */
tlm_status_t tlmi_special_tokens_create(tlmi_special_tokens_t **out, const tlm_bytes_t *tokens,
                                        size_t n, const char *what);
void tlmi_special_tokens_free(tlmi_special_tokens_t *special);

size_t tlmi_special_tokens_count(const tlmi_special_tokens_t *special);
tlm_bytes_t tlmi_special_tokens_get(const tlmi_special_tokens_t *special, size_t index);

/* The result of tlmi_special_tokens_find: token `index` at [start, end). If the function returns
 * false, the result says only that no token begins before `start`. */
typedef struct tlmi_special_match {
    size_t start;
    size_t end;
    size_t index;
} tlmi_special_match_t;

/* Finds the first special token at or after `from`. Unless `final`, the text may continue after
 * `size`, and the search stops where the result would depend on that continuation. */
bool tlmi_special_tokens_find(tlmi_special_match_t *match, const tlmi_special_tokens_t *special,
                              const uint8_t *text, size_t size, size_t from, bool final);

/* Whether a special token in the text spans position `at`. */
bool tlmi_special_tokens_cross(const tlmi_special_tokens_t *special, const uint8_t *text,
                               size_t size, size_t at);

/* Finds the longest complete special token at exactly position `at`; false if there is none. */
bool tlmi_special_tokens_at(const tlmi_special_tokens_t *special, const uint8_t *text, size_t size,
                            size_t at);

/* The path from text to pretokens and special tokens, shared by training and encoding: it finds the
 * special tokens, then normalizes and splits the text between them. Texts arrive whole, as streams
 * cut anywhere, or cut for several threads. */

/* Borrows its members. */
typedef struct tlmi_text_pipeline {
    const tlmi_special_tokens_t *special; /* NULL: no special tokens */
    const tlmi_normalizer_t *normalizer;  /* NULL: the text is not normalized */
    const tlmi_pretokenizer_t *pretokenizer;
} tlmi_text_pipeline_t;

/* Callbacks that receive the pretokens and special tokens of a text, in order. */
typedef struct tlmi_pretoken_sink {
    tlmi_pretokens_fn pretokens;
    tlm_status_t (*special_token)(void *context, size_t index);
    void *context;
} tlmi_pretoken_sink_t;

/* Splits a whole text. */
tlm_status_t tlmi_split_text(const tlmi_text_pipeline_t *pipeline, const uint8_t *text, size_t size,
                             const tlmi_pretoken_sink_t *sink);

/* Returns the first position in [from, to), 0 < from, where cutting the text in two does not change
 * its pretokens and special tokens; `to` if none was found. */
size_t tlmi_find_cut(const tlmi_text_pipeline_t *pipeline, const uint8_t *text, size_t size,
                     size_t from, size_t to);

/* A text that arrives in pieces. The pretokens and special tokens are those of the whole text,
 * however it is cut. The stream buffers a few kilobytes, or the current pretoken if that is longer;
 * with a pattern that is not local, it buffers all text since the last special token. */
typedef struct tlmi_text_stream {
    tlmi_text_pipeline_t pipeline;
    tlmi_pretoken_sink_t sink;
    uint8_t *pending; /* text that has not been emitted yet */
    size_t size;
    size_t capacity;
    size_t searched;           /* no special token begins before this position in `pending` */
    size_t threshold;          /* `pending` is split once it reaches this size */
    tlmi_normal_text_t normal; /* normalized but not yet emitted; comes before `pending` */
} tlmi_text_stream_t;

void tlmi_text_stream_init(tlmi_text_stream_t *stream, const tlmi_text_pipeline_t *pipeline,
                           const tlmi_pretoken_sink_t *sink);

/* Discards pending text and frees its memory. The stream is then as it was after init. */
void tlmi_text_stream_release(tlmi_text_stream_t *stream);

tlm_status_t tlmi_text_stream_push(tlmi_text_stream_t *stream, const uint8_t *text, size_t size);

/* Ends the text and makes the stream ready for another one, even after a failure. */
tlm_status_t tlmi_text_stream_finish(tlmi_text_stream_t *stream);

#endif
