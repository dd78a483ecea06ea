/* Splits text into pretokens: scanners for the well-known patterns, a regular-expression engine for
 * other patterns, special tokens, normalization, and the pipeline that combines them. */
#ifndef TLMI_PRETOKENIZE_H
#define TLMI_PRETOKENIZE_H

#include "tinylm/export.h"
#include "tinylm/status.h"
#include "tinylm/tokenizer.h"
#include "tokenizer/normalize/normalize.h"
#include "tokenizer/pretokenize/unicode.h"
#include "tokenizer/subword_model.h"

/* Hand-written scanners for the well-known patterns, which avoid the regular-expression engine. A
 * pretoken depends only on the text from its start onward, never on the text before it. A malformed
 * byte counts as one character that is neither a letter, a mark, a number nor white space. */

typedef enum tlmi_scanner_kind {
    TLMI_SCANNER_GPT2,
    TLMI_SCANNER_CL100K,
    TLMI_SCANNER_O200K,
    TLMI_SCANNER_DEEPSEEK
} tlmi_scanner_kind_t;

/* A pattern. Patterns of the same kind differ only in the other fields. */
typedef struct tlmi_scanner {
    const char *pattern; /* as the library spells it */
    tlmi_scanner_kind_t kind;
    int max_digits;    /* most \p{N} per pretoken; 0: no limit */
    bool whole_at_end; /* \s++$: white space at the end of the text is one pretoken */
    bool digits_apart; /* numbers are split off first: the text before one ends there */
    bool marks;        /* marks are letters */
    bool suffixes;     /* o200k: a contraction belongs to the word before it */
    bool slashes;      /* slashes after punctuation belong to it, as line endings do */
    bool han_apart;    /* o200k: runs of Han are pretokens of their own */
} tlmi_scanner_t;

/* TLM_PATTERN_CL100K with numbers of any length, which is what its text means to Oniguruma, where
 * {1,3}+ is not possessive but a repeated repetition. */
#define TLMI_PATTERN_CL100K_DIGIT_RUNS                                                             \
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}++|"                              \
    " ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s"

/* Returns the scanner for a pattern, or NULL unless the pattern is one of the known spellings. */
const tlmi_scanner_t *tlmi_scanner_find(const char *pattern);

/* The same for n patterns of which each splits the pieces that the one before left: matches and the
 * text between them are pieces. No known chain has more than TLMI_MAX_CHAIN. */
#define TLMI_MAX_CHAIN 3
const tlmi_scanner_t *tlmi_scanner_find_chain(const char *const *patterns, size_t n);

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

/* Custom pre-tokenization patterns. They use Oniguruma. */

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

/* Allows a matcher this much more time. */
void tlmi_regex_matcher_extend(tlmi_regex_matcher_t *matcher, uint64_t nanoseconds);

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

/* Finds the match after the one that ended at `last_end`, as `tokenizers` does: an empty match
 * counts unless it is where the last match ended. TLMI_REGEX_NONE: there was no match before. */
tlm_status_t tlmi_regex_next(bool *found, size_t *start, size_t *end, const tlmi_regex_t *regex,
                             tlmi_regex_matcher_t *matcher, const uint8_t *text, size_t size,
                             size_t last_end);
#define TLMI_REGEX_NONE SIZE_MAX

/* The text that a pattern sees: the original or, if that is not well-formed, a copy with each
 * malformed byte replaced by U+FFFD, which is neither a letter, a number nor a space. */
typedef struct tlmi_regex_text {
    const uint8_t *seen;
    size_t seen_size;
    const uint8_t *original; /* borrowed */
    size_t original_size;
    uint8_t *copy;               /* NULL if the text is well-formed */
    size_t original_at, seen_at; /* the same position in both */
} tlmi_regex_text_t;

tlm_status_t tlmi_regex_text_init(tlmi_regex_text_t *text, const uint8_t *bytes, size_t size);
void tlmi_regex_text_release(tlmi_regex_text_t *text);

/* Maps a position in what is seen to the original. Positions must not decrease from call to
 * call. */
size_t tlmi_regex_text_original(tlmi_regex_text_t *text, size_t seen);

/* Splitters: the steps of a pre-tokenizer. Each splits the pieces that the one before it made. */

/* Pieces of a text, adjacent in one buffer. A zeroed one is empty. */
typedef struct tlmi_text_pieces {
    const uint8_t *text; /* `own`, or the text of other pieces, of which these are cuts */
    size_t size;
    uint8_t *own;
    size_t capacity;
    bool are_cuts;
    size_t *ends; /* (n) */
    size_t n, ends_capacity;
    bool first_at_origin; /* whether the first piece begins where the whole text begins */
    /* Called when there are many pieces, which it takes away; NULL: they are kept. */
    tlm_status_t (*hand_on)(struct tlmi_text_pieces *pieces);
    void *context; /* of hand_on */
} tlmi_text_pieces_t;

/* Appends a piece, unless it is empty: a copy, or the next bytes of the text of which the pieces are
 * cuts. */
tlm_status_t tlmi_text_pieces_add(tlmi_text_pieces_t *pieces, const uint8_t *text, size_t size,
                                  bool at_origin);

typedef struct tlmi_splitter tlmi_splitter_t; /* immutable */

typedef struct tlmi_splitter_kind {
    const char *name; /* for messages */

    /* Appends what becomes of a piece of `size` >= 1 bytes. `at_origin` tells whether it begins
     * where the whole text does. *matcher serves regular expressions; the caller frees it. */
    tlm_status_t (*split)(const tlmi_splitter_t *splitter, tlmi_text_pieces_t *out,
                          tlmi_regex_matcher_t **matcher, const uint8_t *piece, size_t size,
                          bool at_origin);

    void (*free)(tlmi_splitter_t *splitter); /* NULL if there is nothing to free */
    bool only_cuts;                          /* the pieces together are always the text as it was */
} tlmi_splitter_kind_t;

/* What a splitter does where a letter or digit of ASCII is followed by a space. A text may be cut
 * there if some splitter of the chain always ends a piece there, and those before it do not look
 * across the place. */
typedef enum tlmi_at_words {
    TLMI_ANYTHING_AT_WORDS,
    TLMI_NOTHING_AT_WORDS, /* what is on either side does not depend on the other */
    TLMI_CUT_AT_WORDS      /* in addition, a piece ends there */
} tlmi_at_words_t;

/* The first member of each kind's struct. */
struct tlmi_splitter {
    const tlmi_splitter_kind_t *kind;
    tlmi_at_words_t at_words;
};

/* Accepts NULL. */
void tlmi_splitter_free(tlmi_splitter_t *splitter);

/* What becomes of the parts of a piece that match and of those between them (tokenizers'
 * SplitDelimiterBehavior). */
typedef enum tlmi_split_behavior {
    TLMI_SPLIT_REMOVED,
    TLMI_SPLIT_ISOLATED,
    TLMI_SPLIT_MERGED_WITH_PREVIOUS,
    TLMI_SPLIT_MERGED_WITH_NEXT,
    TLMI_SPLIT_CONTIGUOUS
} tlmi_split_behavior_t;

/* Turns a row of matches, and of the parts between them, into pieces. */
typedef struct tlmi_piece_maker {
    tlmi_text_pieces_t *out;
    const uint8_t *text;
    bool at_origin; /* of the text */
    tlmi_split_behavior_t behavior;
    bool invert;       /* what matches counts as what does not, and vice versa */
    bool is_held;      /* [start, end) waits for what follows it */
    bool last_matched; /* whether the last part was a match */
    size_t start, end;
} tlmi_piece_maker_t;

/* Takes the next part of the text. */
tlm_status_t tlmi_piece_maker_take(tlmi_piece_maker_t *maker, size_t start, size_t end,
                                   bool is_match);
tlm_status_t tlmi_piece_maker_finish(tlmi_piece_maker_t *maker);

/* When Metaspace puts its replacement before a piece that does not begin with it. */
typedef enum tlmi_prepend_scheme {
    TLMI_PREPEND_ALWAYS,
    TLMI_PREPEND_FIRST, /* only to the piece at the origin */
    TLMI_PREPEND_NEVER
} tlmi_prepend_scheme_t;

/* The pre-tokenizers of the tokenizers library, with its results: split_regex.c, split_text.c and,
 * for those that look at single characters, split_characters.c. */
tlm_status_t tlmi_split_regex_create(tlmi_splitter_t **out, const char *pattern,
                                     tlmi_regex_syntax_t syntax, tlmi_split_behavior_t behavior,
                                     bool invert);
tlm_status_t tlmi_split_string_create(tlmi_splitter_t **out, const char *string, size_t size,
                                      tlmi_split_behavior_t behavior, bool invert);
tlm_status_t tlmi_split_metaspace_create(tlmi_splitter_t **out, const char *replacement,
                                         size_t size, tlmi_prepend_scheme_t scheme, bool splits);
tlm_status_t tlmi_split_scanner_create(tlmi_splitter_t **out, const tlmi_scanner_t *scanner);
tlm_status_t tlmi_split_digits_create(tlmi_splitter_t **out, bool individual);
tlm_status_t tlmi_split_punctuation_create(tlmi_splitter_t **out, tlmi_split_behavior_t behavior);
tlm_status_t tlmi_split_fixed_length_create(tlmi_splitter_t **out, size_t characters);
tlm_status_t
tlmi_split_whitespace_create(tlmi_splitter_t **out);          /* Whitespace: words and the rest */
tlm_status_t tlmi_split_spaces_create(tlmi_splitter_t **out); /* WhitespaceSplit */
tlm_status_t tlmi_split_bert_create(tlmi_splitter_t **out);
tlm_status_t tlmi_split_scripts_create(tlmi_splitter_t **out); /* UnicodeScripts */

/* The parts of ByteLevel: a space before each piece that lacks one; bytes as the characters that
 * stand for them in GPT-2's alphabet, and back. */
tlm_status_t tlmi_split_prefix_space_create(tlmi_splitter_t **out);
tlm_status_t tlmi_split_to_alphabet_create(tlmi_splitter_t **out);
tlm_status_t tlmi_split_from_alphabet_create(tlmi_splitter_t **out);

/* Cuts before each run of U+2581 that follows something else, in pieces of which the model says
 * that this changes no id. Borrows the model. `for_spaces`: U+2581 stands for each space of the
 * text. */
tlm_status_t tlmi_split_before_meta_create(tlmi_splitter_t **out, const tlmi_subword_model_t *model,
                                           bool for_spaces);

/* Properties of the character at text < end, whose length is set. A malformed byte has none. */

/* \w as Rust's regex crate defines it: letters, marks, decimal digits, connectors and joiners. */
bool tlmi_is_word_at(int *length, const uint8_t *text, const uint8_t *end);

/* \p{P}, and all punctuation of ASCII. */
bool tlmi_is_punctuation_at(int *length, const uint8_t *text, const uint8_t *end);

/* \p{N} in the Unicode version of the tokenizers library. */
bool tlmi_is_numeric_at(int *length, const uint8_t *text, const uint8_t *end);

/* Pre-tokenization: splits text without special tokens into pretokens, which no merge crosses. With
 * a pattern, each byte belongs to exactly one pretoken: text between matches becomes a pretoken of
 * its own. A chain of splitters may also change or remove text. */

typedef struct tlmi_pretokenizer tlmi_pretokenizer_t; /* immutable */

/* NULL means the GPT-2 pattern. The well-known patterns use their own scanners; any other pattern
 * uses Oniguruma. */
tlm_status_t tlmi_pretokenizer_create(tlmi_pretokenizer_t **out, const char *pattern);

/* Makes a pretokenizer that applies the splitters in order; without any, a piece is one pretoken.
 * Consumes the splitters even on failure. */
tlm_status_t tlmi_pretokenizer_create_chain(tlmi_pretokenizer_t **out, tlmi_splitter_t **splitters,
                                            size_t n);
void tlmi_pretokenizer_free(tlmi_pretokenizer_t *pretokenizer);

/* Adds a last splitter. Consumes it even on failure. */
tlm_status_t tlmi_pretokenizer_add(tlmi_pretokenizer_t *pretokenizer, tlmi_splitter_t *splitter);

/* Returns the pattern; NULL for a chain. */
const char *tlmi_pretokenizer_pattern(const tlmi_pretokenizer_t *pretokenizer);

/* Whether the text shortly after a pretoken's end is enough to determine the pretoken, so that a
 * text can be split before all of it has arrived. */
bool tlmi_pretokenizer_is_local(const tlmi_pretokenizer_t *pretokenizer);

/* Whether any text may be cut between a letter or digit of ASCII and a space after it. */
bool tlmi_pretokenizer_cuts_words(const tlmi_pretokenizer_t *pretokenizer);

/* Splits a whole piece of text. `at_origin` tells whether it begins where the whole text does. The
 * pretokens may be in a buffer that changes after the callback. */
tlm_status_t tlmi_pretokenize(const tlmi_pretokenizer_t *pretokenizer, const uint8_t *text,
                              size_t size, bool at_origin, tlmi_pretokens_fn pretokens,
                              void *context);

/* Splits part of a text. Unless `final`, the text may continue after `size`, and only the pretokens
 * that cannot change are emitted (none if the pretokenizer is not local). *consumed is their
 * size. */
tlm_status_t tlmi_pretokenize_part(size_t *consumed, const tlmi_pretokenizer_t *pretokenizer,
                                   const uint8_t *text, size_t size, bool final,
                                   tlmi_pretokens_fn pretokens, void *context);

/* Whether a pretoken always ends at position `at` (0 < at < size), whatever the rest of the text
 * is, and the pretokens before it are the same as if the text ended there. False means
 * "unknown". */
bool tlmi_pretokenizer_always_cuts(const tlmi_pretokenizer_t *pretokenizer, const uint8_t *text,
                                   size_t at);

/* Special tokens: byte strings that are matched before anything else in a text, the longest first
 * at each position, and that never enter pre-tokenization. Immutable once created. */

typedef struct tlmi_special_tokens tlmi_special_tokens_t;

/* How a token is found, as the added tokens of tokenizer.json are. */
enum {
    TLMI_TOKEN_LSTRIP = 1,      /* takes the white space before it */
    TLMI_TOKEN_RSTRIP = 2,      /* takes the white space after it */
    TLMI_TOKEN_SINGLE_WORD = 4, /* counts only where no character of a word touches it */
    TLMI_TOKEN_NORMALIZED = 8,  /* is searched for in normalized text, after all others */
    TLMI_TOKEN_ORDINARY = 16,   /* part of the vocabulary rather than special: always found */
    TLMI_TOKEN_VERBATIM = 32    /* with NORMALIZED: is not normalized itself */
};

/* Where a token is searched for. */
enum { TLMI_RAW_TEXT, TLMI_NORMALIZED_TEXT };

/* Copies the n tokens. `flags` may be NULL. `normalizer`, which may be NULL, is applied to the
 * tokens that are searched for in normalized text. `what` begins the error message if a token is
 * empty or a duplicate. */
tlm_status_t tlmi_special_tokens_create(tlmi_special_tokens_t **out, const tlm_bytes_t *tokens,
                                        const uint8_t *flags, size_t n,
                                        const tlmi_normalizer_t *normalizer, const char *what);
void tlmi_special_tokens_free(tlmi_special_tokens_t *special);

size_t tlmi_special_tokens_count(const tlmi_special_tokens_t *special);
tlm_bytes_t tlmi_special_tokens_get(const tlmi_special_tokens_t *special, size_t index);

/* Returns the text that a token decodes to: its normalized form if it is searched for in normalized
 * text, as in the tokenizers library. */
tlm_bytes_t tlmi_special_tokens_text(const tlmi_special_tokens_t *special, size_t index);
uint8_t tlmi_special_tokens_flags(const tlmi_special_tokens_t *special, size_t index);

/* Whether some are searched for in normalized text. */
bool tlmi_special_tokens_in_normalized(const tlmi_special_tokens_t *special);

/* Whether all are found in the raw text, whatever surrounds them. */
bool tlmi_special_tokens_are_plain(const tlmi_special_tokens_t *special);

/* The result of tlmi_special_tokens_find: token `index` at [start, end), with the white space that
 * it takes. The search for the next one begins at `next`: another token may stand in that white
 * space, and counts too. If the function returns false, the result says only that no token begins
 * before `start`. */
typedef struct tlmi_special_match {
    size_t start;
    size_t end;
    size_t next;
    size_t index;
} tlmi_special_match_t;

/* Says where a token of the raw text may stand; elsewhere it is not found. */
typedef struct tlmi_special_guard {
    bool (*allows)(const struct tlmi_special_guard *guard, size_t index, size_t start, size_t end);
} tlmi_special_guard_t;

/* Finds the first special token at or after `from`, among those that are searched for in such a
 * text and that `guard` (NULL: none) allows. It takes no white space before `least`, where the last
 * token ended. Unless `final`, the text may continue after `size`, and the search stops where the
 * result would depend on that continuation; the tokens must then be plain. */
bool tlmi_special_tokens_find(tlmi_special_match_t *match, const tlmi_special_tokens_t *special,
                              int stage, const uint8_t *text, size_t size, size_t from,
                              size_t least, bool final, const tlmi_special_guard_t *guard);

/* Whether a special token in the text spans position `at` or, if `or_ends`, ends there. */
bool tlmi_special_tokens_cross(const tlmi_special_tokens_t *special, const uint8_t *text,
                               size_t size, size_t at, bool or_ends);

/* Whether a special token begins at exactly position `at`, whatever surrounds it. False means
 * "unknown". */
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
    const tlmi_special_guard_t *guard; /* for tlmi_split_text of whole texts; NULL: none */
} tlmi_text_pipeline_t;

/* Callbacks that receive the pretokens and special tokens of a text, in order. */
typedef struct tlmi_pretoken_sink {
    tlmi_pretokens_fn pretokens;
    tlm_status_t (*special_token)(void *context, size_t index);
    void *context;
} tlmi_pretoken_sink_t;

/* Splits a text, or a part of it that was cut at a place that tlmi_find_cut found. The flags
 * TLMI_PIECE_... tell whether the part begins and ends the text. */
tlm_status_t tlmi_split_text(const tlmi_text_pipeline_t *pipeline, const uint8_t *text, size_t size,
                             int part, const tlmi_pretoken_sink_t *sink);

/* Returns the first position in [from, to), 0 < from, where cutting the text in two does not change
 * its pretokens and special tokens; `to` if none was found. */
size_t tlmi_find_cut(const tlmi_text_pipeline_t *pipeline, const uint8_t *text, size_t size,
                     size_t from, size_t to);

/* A text that arrives in pieces. The pretokens and special tokens are those of the whole text,
 * however it is cut. The stream buffers a few kilobytes, or the current pretoken if that is longer.
 * If the text can only be cut at special tokens, it buffers all text since the last one; if these
 * depend on what surrounds them, all text. */

/* Where a stream may split what has arrived so far. */
typedef enum tlmi_stream_cuts {
    TLMI_STREAM_ANYWHERE, /* a scanner tells which pretokens are certain */
    TLMI_STREAM_AT_WORDS,
    TLMI_STREAM_AT_TOKENS,
    TLMI_STREAM_AT_END
} tlmi_stream_cuts_t;

typedef struct tlmi_text_stream {
    tlmi_text_pipeline_t pipeline;
    tlmi_pretoken_sink_t sink;
    uint8_t *pending; /* text that has not been emitted yet */
    size_t size;
    size_t capacity;
    size_t searched;           /* no special token begins before this position in `pending` */
    size_t threshold;          /* `pending` is split once it reaches this size */
    tlmi_normal_text_t normal; /* normalized but not yet emitted; comes before `pending` */
    tlmi_stream_cuts_t cuts;
    bool in_text, in_piece; /* whether part of the text, and of its last piece, is split already */
} tlmi_text_stream_t;

void tlmi_text_stream_init(tlmi_text_stream_t *stream, const tlmi_text_pipeline_t *pipeline,
                           const tlmi_pretoken_sink_t *sink);

/* Discards pending text and frees its memory. The stream is then as it was after init. */
void tlmi_text_stream_release(tlmi_text_stream_t *stream);

tlm_status_t tlmi_text_stream_push(tlmi_text_stream_t *stream, const uint8_t *text, size_t size);

/* Ends the text and makes the stream ready for another one, even after a failure. */
tlm_status_t tlmi_text_stream_finish(tlmi_text_stream_t *stream);

#endif
