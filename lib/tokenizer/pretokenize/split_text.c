/* Splitters that search for a string or change the text. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/pretokenize/pretokenize.h"

#define META "\xE2\x96\x81" /* U+2581, which SentencePiece writes for a space */

typedef struct text_splitter {
    tlmi_splitter_t base;
    uint8_t *string; /* to search for, or Metaspace's replacement */
    size_t size;
    tlmi_split_behavior_t behavior;
    bool invert;
    tlmi_prepend_scheme_t scheme;
    bool splits;
    const tlmi_scanner_t *scanner;
    const tlmi_subword_model_t *model;
} text_splitter_t;

static tlm_status_t create(text_splitter_t **out, const tlmi_splitter_kind_t *kind,
                           tlmi_at_words_t at_words, const char *string, size_t size)
{
    text_splitter_t *splitter = tlmi_calloc(1, sizeof(*splitter), "a pretokenizer");

    if (splitter == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    splitter->base.kind = kind;
    splitter->base.at_words = at_words;
    if (size > 0) {
        splitter->string = tlmi_alloc(size, 1, "a pretokenizer");
        if (splitter->string == NULL) {
            tlmi_free(splitter);
            return TLM_ERR_OUT_OF_MEMORY;
        }
        memcpy(splitter->string, string, size);
        splitter->size = size;
    }
    *out = splitter;
    return TLM_OK;
}

static void free_string(tlmi_splitter_t *base)
{
    tlmi_free(((text_splitter_t *)base)->string);
}

/* ---- Strings ---- */

/* Returns the size of the character at text < end. */
static size_t character_size(const uint8_t *text, const uint8_t *end)
{
    int length;

    (void)tlmi_class_at(&length, text, end);
    return (size_t)length;
}

/* The empty string matches before each character and at the end. */
static tlm_status_t split_everywhere(tlmi_piece_maker_t *maker, const uint8_t *piece, size_t size)
{
    for (size_t at = 0, end; at < size; at = end) {
        end = at + character_size(piece + at, piece + size);
        TLMI_TRY(tlmi_piece_maker_take(maker, at, at, true));
        TLMI_TRY(tlmi_piece_maker_take(maker, at, end, false));
    }
    TLMI_TRY(tlmi_piece_maker_take(maker, size, size, true));
    return tlmi_piece_maker_finish(maker);
}

static tlm_status_t split_at_string(const text_splitter_t *splitter, tlmi_piece_maker_t *maker,
                                    const uint8_t *piece, size_t size)
{
    size_t start = 0;

    if (splitter->size == 0)
        return split_everywhere(maker, piece, size);
    for (size_t at = 0; at + splitter->size <= size;) {
        const uint8_t *hit = memchr(piece + at, splitter->string[0], size - at);

        if (hit == NULL)
            break;
        at = (size_t)(hit - piece);
        if (size - at < splitter->size || memcmp(hit, splitter->string, splitter->size) != 0) {
            at++;
            continue;
        }
        if (start < at)
            TLMI_TRY(tlmi_piece_maker_take(maker, start, at, false));
        start = at + splitter->size;
        TLMI_TRY(tlmi_piece_maker_take(maker, at, start, true));
        at = start;
    }
    if (start < size)
        TLMI_TRY(tlmi_piece_maker_take(maker, start, size, false));
    return tlmi_piece_maker_finish(maker);
}

static tlm_status_t split_string(const tlmi_splitter_t *base, tlmi_text_pieces_t *out,
                                 tlmi_regex_matcher_t **matcher, const uint8_t *piece, size_t size,
                                 bool at_origin)
{
    const text_splitter_t *splitter = (const text_splitter_t *)base;
    tlmi_piece_maker_t maker = {.out = out,
                                .text = piece,
                                .at_origin = at_origin,
                                .behavior = splitter->behavior,
                                .invert = splitter->invert};

    (void)matcher;
    return split_at_string(splitter, &maker, piece, size);
}

static const tlmi_splitter_kind_t string_kind = {
    .name = "Split", .split = split_string, .free = free_string};

static tlmi_at_words_t string_at_words(const char *string, size_t size,
                                       tlmi_split_behavior_t behavior, bool invert)
{
    bool keeps_apart = behavior == TLMI_SPLIT_REMOVED || behavior == TLMI_SPLIT_ISOLATED;

    if (size == 1 && string[0] == ' ' && !invert &&
        (keeps_apart || behavior == TLMI_SPLIT_MERGED_WITH_NEXT))
        return TLMI_CUT_AT_WORDS;
    return keeps_apart && size > 0 && memchr(string, ' ', size) == NULL ? TLMI_NOTHING_AT_WORDS
                                                                        : TLMI_ANYTHING_AT_WORDS;
}

tlm_status_t tlmi_split_string_create(tlmi_splitter_t **out, const char *string, size_t size,
                                      tlmi_split_behavior_t behavior, bool invert)
{
    text_splitter_t *splitter;

    TLMI_TRY(create(&splitter, &string_kind, string_at_words(string, size, behavior, invert),
                    string, size));
    splitter->behavior = behavior;
    splitter->invert = invert;
    *out = &splitter->base;
    return TLM_OK;
}

/* ---- Metaspace ---- */

static bool begins_with(const uint8_t *piece, size_t size, const text_splitter_t *splitter)
{
    return size >= splitter->size && memcmp(piece, splitter->string, splitter->size) == 0;
}

/* Copies text with its spaces replaced and returns where the copy ends; there is room for
 * TLMI_SHORT_TEXT bytes after it. */
static uint8_t *replace_spaces(uint8_t *to, const text_splitter_t *splitter, const uint8_t *text,
                               size_t size)
{
    if (splitter->size <= TLMI_SHORT_TEXT)
        return tlmi_replace_byte(to, text, text + size, ' ',
                                 tlmi_short_text(splitter->string, splitter->size));
    for (size_t i = 0, n; i < size; i++, to += n) {
        const bool is_space = text[i] == ' ';

        n = is_space ? splitter->size : 1;
        memcpy(to, is_space ? splitter->string : text + i, n);
    }
    return to;
}

/* Writes the piece with its spaces replaced, and the replacement before it if that is wanted, after
 * the pieces that there are. It is not a piece yet. */
static tlm_status_t write_replaced(size_t *written, tlmi_text_pieces_t *out,
                                   const text_splitter_t *splitter, const uint8_t *piece,
                                   size_t size, bool at_origin)
{
    bool has_prefix = piece[0] == ' ' || begins_with(piece, size, splitter);
    size_t room;

    if (!tlmi_mul_size(&room, size, splitter->size) ||
        !tlmi_add_size(&room, room, splitter->size + TLMI_SHORT_TEXT) ||
        !tlmi_add_size(&room, room, out->size))
        return tlmi_fail_memory(size, "pieces of a text");
    if (!tlmi_grow(&out->own, &out->capacity, room, 1, "pieces of a text"))
        return TLM_ERR_OUT_OF_MEMORY;
    uint8_t *start = out->own + out->size, *to = start;
    if (!has_prefix && (splitter->scheme == TLMI_PREPEND_ALWAYS ||
                        (splitter->scheme == TLMI_PREPEND_FIRST && at_origin))) {
        memcpy(to, splitter->string, splitter->size);
        to += splitter->size;
    }
    to = replace_spaces(to, splitter, piece, size);
    *written = (size_t)(to - start);
    out->text = out->own;
    return TLM_OK;
}

/* Cuts the text before each replacement. */
static tlm_status_t cut_at_replacements(tlmi_text_pieces_t *out, const text_splitter_t *splitter,
                                        const uint8_t *text, size_t size, bool at_origin)
{
    size_t start = 0;

    for (size_t at = 1; at + splitter->size <= size; at++) {
        const uint8_t *hit = memchr(text + at, splitter->string[0], size - at);

        if (hit == NULL)
            break;
        at = (size_t)(hit - text);
        if (size - at < splitter->size || memcmp(hit, splitter->string, splitter->size) != 0)
            continue;
        TLMI_TRY(tlmi_text_pieces_add(out, text + start, at - start, at_origin && start == 0));
        start = at;
    }
    return tlmi_text_pieces_add(out, text + start, size - start, at_origin && start == 0);
}

static tlm_status_t split_metaspace(const tlmi_splitter_t *base, tlmi_text_pieces_t *out,
                                    tlmi_regex_matcher_t **matcher, const uint8_t *piece,
                                    size_t size, bool at_origin)
{
    const text_splitter_t *splitter = (const text_splitter_t *)base;
    size_t written = 0;

    (void)matcher;
    TLMI_TRY(write_replaced(&written, out, splitter, piece, size, at_origin));
    const uint8_t *text = out->own + out->size;
    out->are_cuts = true; /* the bytes are where they belong already */
    tlm_status_t status = splitter->splits
                              ? cut_at_replacements(out, splitter, text, written, at_origin)
                              : tlmi_text_pieces_add(out, text, written, at_origin);
    out->are_cuts = false;
    if (out->text != out->own && out->size > 0) /* some were handed on */
        memmove(out->own, out->text, out->size);
    out->text = out->own;
    return status;
}

static const tlmi_splitter_kind_t metaspace_kind = {
    .name = "Metaspace", .split = split_metaspace, .free = free_string};

tlm_status_t tlmi_split_metaspace_create(tlmi_splitter_t **out, const char *replacement,
                                         size_t size, tlmi_prepend_scheme_t scheme, bool splits)
{
    text_splitter_t *splitter;

    TLMI_TRY(create(&splitter, &metaspace_kind, splits ? TLMI_CUT_AT_WORDS : TLMI_NOTHING_AT_WORDS,
                    replacement, size));
    splitter->scheme = scheme;
    splitter->splits = splits;
    *out = &splitter->base;
    return TLM_OK;
}

/* ---- Before U+2581 ---- */

static tlm_status_t split_before_meta(const tlmi_splitter_t *base, tlmi_text_pieces_t *out,
                                      tlmi_regex_matcher_t **matcher, const uint8_t *piece,
                                      size_t size, bool at_origin)
{
    size_t start = 0, after = 0; /* the end of the last U+2581 */

    (void)matcher;
    if (!tlmi_subword_splits_before_meta(((const text_splitter_t *)base)->model, size))
        return tlmi_text_pieces_add(out, piece, size, at_origin);
    for (size_t at = 0; at + 3 <= size;) {
        const uint8_t *hit = memchr(piece + at, META[0], size - at);

        if (hit == NULL)
            break;
        at = (size_t)(hit - piece);
        if (size - at < 3 || memcmp(hit, META, 3) != 0) {
            at++;
            continue;
        }
        if (at > after) {
            TLMI_TRY(tlmi_text_pieces_add(out, piece + start, at - start, at_origin && start == 0));
            start = at;
        }
        after = at += 3;
    }
    return tlmi_text_pieces_add(out, piece + start, size - start, at_origin && start == 0);
}

static const tlmi_splitter_kind_t before_meta_kind = {
    .name = "words", .split = split_before_meta, .only_cuts = true};

tlm_status_t tlmi_split_before_meta_create(tlmi_splitter_t **out, const tlmi_subword_model_t *model,
                                           bool for_spaces)
{
    bool cuts = for_spaces && tlmi_subword_splits_before_meta(model, SIZE_MAX);
    text_splitter_t *splitter;

    TLMI_TRY(create(&splitter, &before_meta_kind, cuts ? TLMI_CUT_AT_WORDS : TLMI_ANYTHING_AT_WORDS,
                    NULL, 0));
    splitter->model = model;
    *out = &splitter->base;
    return TLM_OK;
}

/* ---- Scanners ---- */

typedef struct scanned {
    tlmi_text_pieces_t *out;
    bool at_origin;
} scanned_t;

static tlm_status_t take_scanned(void *context, const uint8_t *text, const size_t *ends, size_t n)
{
    scanned_t *scanned = context;

    for (size_t i = 0, start = 0; i < n; start = ends[i++]) {
        TLMI_TRY(
            tlmi_text_pieces_add(scanned->out, text + start, ends[i] - start, scanned->at_origin));
        scanned->at_origin = false;
    }
    return TLM_OK;
}

static tlm_status_t split_scan(const tlmi_splitter_t *base, tlmi_text_pieces_t *out,
                               tlmi_regex_matcher_t **matcher, const uint8_t *piece, size_t size,
                               bool at_origin)
{
    scanned_t scanned = {out, at_origin};
    size_t consumed;

    (void)matcher;
    return tlmi_scan_text(&consumed, ((const text_splitter_t *)base)->scanner, piece, size, true,
                          take_scanned, &scanned);
}

static const tlmi_splitter_kind_t scanner_kind = {
    .name = "Split", .split = split_scan, .only_cuts = true};

tlm_status_t tlmi_split_scanner_create(tlmi_splitter_t **out, const tlmi_scanner_t *scanner)
{
    text_splitter_t *splitter;

    TLMI_TRY(create(&splitter, &scanner_kind, TLMI_CUT_AT_WORDS, NULL, 0));
    splitter->scanner = scanner;
    *out = &splitter->base;
    return TLM_OK;
}

/* ---- ByteLevel ---- */

static tlm_status_t add_prefix_space(const tlmi_splitter_t *base, tlmi_text_pieces_t *out,
                                     tlmi_regex_matcher_t **matcher, const uint8_t *piece,
                                     size_t size, bool at_origin)
{
    (void)base;
    (void)matcher;
    if (piece[0] == ' ')
        return tlmi_text_pieces_add(out, piece, size, at_origin);
    tlm_status_t (*hand_on)(tlmi_text_pieces_t *) = out->hand_on;
    out->hand_on = NULL; /* the space is only the beginning of a piece */
    tlm_status_t status = tlmi_text_pieces_add(out, (const uint8_t *)" ", 1, at_origin);
    out->hand_on = hand_on;
    if (status != TLM_OK)
        return status;
    out->n--;
    return tlmi_text_pieces_add(out, piece, size, at_origin);
}

/* Appends what `convert` writes, at most `room` bytes, as a piece. */
static tlm_status_t add_converted(tlmi_text_pieces_t *out, const uint8_t *piece, size_t size,
                                  size_t room, bool to_alphabet, bool at_origin)
{
    char *text = tlmi_alloc(room, 1, "pieces of a text");
    size_t written;

    if (text == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (to_alphabet)
        written = tlmi_bytes_to_alphabet(text, piece, size);
    else if (!tlmi_alphabet_to_bytes((uint8_t *)text, &written, (const char *)piece, size))
        memcpy(text, piece, written = size); /* cannot happen: only splitters come between */
    tlm_status_t status = tlmi_text_pieces_add(out, (const uint8_t *)text, written, at_origin);
    tlmi_free(text);
    return status;
}

static tlm_status_t to_alphabet(const tlmi_splitter_t *base, tlmi_text_pieces_t *out,
                                tlmi_regex_matcher_t **matcher, const uint8_t *piece, size_t size,
                                bool at_origin)
{
    size_t room;

    (void)base;
    (void)matcher;
    if (!tlmi_mul_size(&room, size, 2))
        return tlmi_fail_memory(size, "pieces of a text");
    return add_converted(out, piece, size, room, true, at_origin);
}

static tlm_status_t from_alphabet(const tlmi_splitter_t *base, tlmi_text_pieces_t *out,
                                  tlmi_regex_matcher_t **matcher, const uint8_t *piece, size_t size,
                                  bool at_origin)
{
    (void)base;
    (void)matcher;
    return add_converted(out, piece, size, size, false, at_origin);
}

static const tlmi_splitter_kind_t prefix_space_kind = {.name = "ByteLevel",
                                                       .split = add_prefix_space};
static const tlmi_splitter_kind_t to_alphabet_kind = {.name = "ByteLevel", .split = to_alphabet};
static const tlmi_splitter_kind_t from_alphabet_kind = {.name = "ByteLevel",
                                                        .split = from_alphabet};

static tlm_status_t create_byte_level(tlmi_splitter_t **out, const tlmi_splitter_kind_t *kind,
                                      tlmi_at_words_t at_words)
{
    text_splitter_t *splitter;

    TLMI_TRY(create(&splitter, kind, at_words, NULL, 0));
    *out = &splitter->base;
    return TLM_OK;
}

tlm_status_t tlmi_split_prefix_space_create(tlmi_splitter_t **out)
{
    return create_byte_level(out, &prefix_space_kind, TLMI_NOTHING_AT_WORDS);
}

tlm_status_t tlmi_split_to_alphabet_create(tlmi_splitter_t **out)
{
    return create_byte_level(out, &to_alphabet_kind, TLMI_ANYTHING_AT_WORDS);
}

tlm_status_t tlmi_split_from_alphabet_create(tlmi_splitter_t **out)
{
    return create_byte_level(out, &from_alphabet_kind, TLMI_ANYTHING_AT_WORDS);
}
