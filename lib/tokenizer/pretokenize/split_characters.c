/* Splitters that look at one character at a time. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/pretokenize/pretokenize.h"

typedef struct character_splitter {
    tlmi_splitter_t base;
    tlmi_split_behavior_t behavior;
    size_t length;       /* of FixedLength, in characters */
    uint8_t ascii[0x80]; /* of those that split into runs: what ASCII characters belong to */
} character_splitter_t;

static tlm_status_t create(tlmi_splitter_t **out, const tlmi_splitter_kind_t *kind,
                           tlmi_at_words_t at_words, tlmi_split_behavior_t behavior, size_t length)
{
    character_splitter_t *splitter = tlmi_calloc(1, sizeof(*splitter), "a pretokenizer");

    if (splitter == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    splitter->base.kind = kind;
    splitter->base.at_words = at_words;
    splitter->behavior = behavior;
    splitter->length = length;
    *out = &splitter->base;
    return TLM_OK;
}

/* ---- Splitting by a property of characters ---- */

typedef bool (*is_delimiter_fn)(int *length, const uint8_t *text, const uint8_t *end);

/* Each character with the property is a match of its own. */
static tlm_status_t split_by(tlmi_text_pieces_t *out, is_delimiter_fn is_delimiter,
                             tlmi_split_behavior_t behavior, const uint8_t *piece, size_t size,
                             bool at_origin)
{
    tlmi_piece_maker_t maker = {
        .out = out, .text = piece, .at_origin = at_origin, .behavior = behavior};
    size_t start = 0;

    for (size_t at = 0; at < size;) {
        int length;

        if (!is_delimiter(&length, piece + at, piece + size)) {
            at += (size_t)length;
            continue;
        }
        if (start < at)
            TLMI_TRY(tlmi_piece_maker_take(&maker, start, at, false));
        start = at + (size_t)length;
        TLMI_TRY(tlmi_piece_maker_take(&maker, at, start, true));
        at = start;
    }
    if (start < size)
        TLMI_TRY(tlmi_piece_maker_take(&maker, start, size, false));
    return tlmi_piece_maker_finish(&maker);
}

static bool is_space(int *length, const uint8_t *text, const uint8_t *end)
{
    return tlmi_class_at(length, text, end) == TLMI_CHAR_SPACE;
}

static tlm_status_t split_digits(const tlmi_splitter_t *base, tlmi_text_pieces_t *out,
                                 tlmi_regex_matcher_t **matcher, const uint8_t *piece, size_t size,
                                 bool at_origin)
{
    (void)matcher;
    return split_by(out, tlmi_is_numeric_at, ((const character_splitter_t *)base)->behavior, piece,
                    size, at_origin);
}

static tlm_status_t split_punctuation(const tlmi_splitter_t *base, tlmi_text_pieces_t *out,
                                      tlmi_regex_matcher_t **matcher, const uint8_t *piece,
                                      size_t size, bool at_origin)
{
    (void)matcher;
    return split_by(out, tlmi_is_punctuation_at, ((const character_splitter_t *)base)->behavior,
                    piece, size, at_origin);
}

static tlm_status_t split_spaces(const tlmi_splitter_t *base, tlmi_text_pieces_t *out,
                                 tlmi_regex_matcher_t **matcher, const uint8_t *piece, size_t size,
                                 bool at_origin)
{
    (void)base;
    (void)matcher;
    return split_by(out, is_space, TLMI_SPLIT_REMOVED, piece, size, at_origin);
}

/* ---- Splitting into runs ---- */

/* What a character belongs to; 0 is dropped, and a number above ALONE is a piece by itself. */
enum { DROPPED, WORD, REST, ALONE };

typedef int (*classify_fn)(int *length, const uint8_t *text, const uint8_t *end);

static tlm_status_t split_runs(tlmi_text_pieces_t *out, const tlmi_splitter_t *base,
                               classify_fn classify, const uint8_t *piece, size_t size,
                               bool at_origin)
{
    const uint8_t *ascii = ((const character_splitter_t *)base)->ascii;
    size_t start = 0;
    int run = DROPPED;

    for (size_t at = 0; at < size;) {
        int length = 1, kind;

        if (piece[at] < 0x80)
            kind = ascii[piece[at]];
        else
            kind = classify(&length, piece + at, piece + size);

        if (kind != run || kind == ALONE) {
            if (run != DROPPED)
                TLMI_TRY(
                    tlmi_text_pieces_add(out, piece + start, at - start, at_origin && start == 0));
            start = at;
            run = kind;
        }
        at += (size_t)length;
    }
    return run == DROPPED
               ? TLM_OK
               : tlmi_text_pieces_add(out, piece + start, size - start, at_origin && start == 0);
}

/* \w+|[^\w\s]+ */
static int classify_whitespace(int *length, const uint8_t *text, const uint8_t *end)
{
    if (tlmi_is_word_at(length, text, end))
        return WORD;
    return is_space(length, text, end) ? DROPPED : REST;
}

static int classify_bert(int *length, const uint8_t *text, const uint8_t *end)
{
    if (tlmi_is_punctuation_at(length, text, end))
        return ALONE;
    return is_space(length, text, end) ? DROPPED : WORD;
}

static tlm_status_t split_whitespace(const tlmi_splitter_t *base, tlmi_text_pieces_t *out,
                                     tlmi_regex_matcher_t **matcher, const uint8_t *piece,
                                     size_t size, bool at_origin)
{
    (void)matcher;
    return split_runs(out, base, classify_whitespace, piece, size, at_origin);
}

static tlm_status_t split_bert(const tlmi_splitter_t *base, tlmi_text_pieces_t *out,
                               tlmi_regex_matcher_t **matcher, const uint8_t *piece, size_t size,
                               bool at_origin)
{
    (void)matcher;
    return split_runs(out, base, classify_bert, piece, size, at_origin);
}

static tlm_status_t split_fixed_length(const tlmi_splitter_t *base, tlmi_text_pieces_t *out,
                                       tlmi_regex_matcher_t **matcher, const uint8_t *piece,
                                       size_t size, bool at_origin)
{
    const size_t most = ((const character_splitter_t *)base)->length;
    size_t start = 0, n = 0;

    (void)matcher;
    for (size_t at = 0; at < size;) {
        int length;

        (void)tlmi_class_at(&length, piece + at, piece + size);
        at += (size_t)length;
        if (++n < most && at < size)
            continue;
        TLMI_TRY(tlmi_text_pieces_add(out, piece + start, at - start, at_origin && start == 0));
        start = at;
        n = 0;
    }
    return TLM_OK;
}

/* ---- Creation ---- */

static const tlmi_splitter_kind_t digits_kind = {.name = "Digits", .split = split_digits};
static const tlmi_splitter_kind_t punctuation_kind = {.name = "Punctuation",
                                                      .split = split_punctuation};
static const tlmi_splitter_kind_t spaces_kind = {.name = "WhitespaceSplit", .split = split_spaces};
static const tlmi_splitter_kind_t whitespace_kind = {.name = "Whitespace",
                                                     .split = split_whitespace};
static const tlmi_splitter_kind_t bert_kind = {.name = "BertPreTokenizer", .split = split_bert};
static const tlmi_splitter_kind_t fixed_length_kind = {.name = "FixedLength",
                                                       .split = split_fixed_length};

tlm_status_t tlmi_split_digits_create(tlmi_splitter_t **out, bool individual)
{
    return create(out, &digits_kind, TLMI_NOTHING_AT_WORDS,
                  individual ? TLMI_SPLIT_ISOLATED : TLMI_SPLIT_CONTIGUOUS, 0);
}

tlm_status_t tlmi_split_punctuation_create(tlmi_splitter_t **out, tlmi_split_behavior_t behavior)
{
    return create(out, &punctuation_kind, TLMI_NOTHING_AT_WORDS, behavior, 0);
}

tlm_status_t tlmi_split_spaces_create(tlmi_splitter_t **out)
{
    return create(out, &spaces_kind, TLMI_CUT_AT_WORDS, TLMI_SPLIT_REMOVED, 0);
}

static tlm_status_t create_runs(tlmi_splitter_t **out, const tlmi_splitter_kind_t *kind,
                                classify_fn classify)
{
    TLMI_TRY(create(out, kind, TLMI_CUT_AT_WORDS, TLMI_SPLIT_REMOVED, 0));
    for (int c = 0; c < 0x80; c++) {
        const uint8_t byte = (uint8_t)c;
        int length;

        ((character_splitter_t *)*out)->ascii[c] = (uint8_t)classify(&length, &byte, &byte + 1);
    }
    return TLM_OK;
}

tlm_status_t tlmi_split_whitespace_create(tlmi_splitter_t **out)
{
    return create_runs(out, &whitespace_kind, classify_whitespace);
}

tlm_status_t tlmi_split_bert_create(tlmi_splitter_t **out)
{
    return create_runs(out, &bert_kind, classify_bert);
}

tlm_status_t tlmi_split_fixed_length_create(tlmi_splitter_t **out, size_t characters)
{
    return create(out, &fixed_length_kind, TLMI_ANYTHING_AT_WORDS, TLMI_SPLIT_ISOLATED, characters);
}
