/* Splitters that use Oniguruma: regular expressions, and scripts, which it knows. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/pretokenize/pretokenize.h"

/* ---- Malformed text ---- */

/* The text that Oniguruma sees: the original, or a copy with each malformed byte replaced by
 * U+FFFD, which is neither a letter, a number nor a space. */
typedef struct regex_text {
    const uint8_t *original;
    size_t original_size;
    const uint8_t *seen;
    size_t seen_size;
    uint8_t *copy;               /* NULL if the text was well-formed */
    size_t original_at, seen_at; /* the same position in both */
} regex_text_t;

static tlm_status_t regex_text_init(regex_text_t *text, const uint8_t *bytes, size_t size)
{
    *text = (regex_text_t){bytes, size, bytes, size, NULL, 0, 0};
    if (tlmi_utf8_valid(bytes, size))
        return TLM_OK;
    size_t room;
    if (!tlmi_mul_size(&room, size, 3))
        return tlmi_fail_memory(size, "a text for a pattern");
    text->copy = tlmi_alloc(room, 1, "a text for a pattern");
    if (text->copy == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    text->seen = text->copy;
    text->seen_size = 0;
    for (size_t i = 0; i < size;) {
        uint32_t code_point;
        int length = tlmi_utf8_decode(&code_point, bytes + i, bytes + size);

        if (length > 0) {
            memcpy(text->copy + text->seen_size, bytes + i, (size_t)length);
            text->seen_size += (size_t)length;
            i += (size_t)length;
        } else {
            memcpy(text->copy + text->seen_size, "\xEF\xBF\xBD", 3);
            text->seen_size += 3;
            i++;
        }
    }
    return TLM_OK;
}

/* Maps the position `seen` >= text->seen_at to the original. */
static size_t original_place(regex_text_t *text, size_t seen)
{
    if (text->copy == NULL)
        return seen;
    while (text->seen_at < seen) {
        uint32_t code_point;
        int length = tlmi_utf8_decode(&code_point, text->original + text->original_at,
                                      text->original + text->original_size);

        text->original_at += length > 0 ? (size_t)length : 1;
        text->seen_at += length > 0 ? (size_t)length : 3;
    }
    return text->original_at;
}

/* ---- Regular expressions ---- */

typedef struct regex_splitter {
    tlmi_splitter_t base;
    tlmi_regex_t *regex;
    tlmi_regex_syntax_t syntax;
    tlmi_split_behavior_t behavior;
    bool invert;
} regex_splitter_t;

/* A pattern of the library matches at least one byte; one of the tokenizers library may match
 * nothing. */
static tlm_status_t next_match(bool *found, size_t *start, size_t *end,
                               const regex_splitter_t *splitter, tlmi_regex_matcher_t *matcher,
                               const regex_text_t *text, size_t last_end)
{
    if (splitter->syntax == TLMI_REGEX_ONIGURUMA)
        return tlmi_regex_next(found, start, end, splitter->regex, matcher, text->seen,
                               text->seen_size, last_end);
    TLMI_TRY(tlmi_regex_search(start, end, splitter->regex, matcher, text->seen, text->seen_size,
                               last_end == TLMI_REGEX_NONE ? 0 : last_end));
    *found = *end > *start;
    return TLM_OK;
}

static tlm_status_t split_matches(const regex_splitter_t *splitter, tlmi_piece_maker_t *maker,
                                  tlmi_regex_matcher_t *matcher, regex_text_t *text)
{
    size_t last_end = TLMI_REGEX_NONE, at = 0;

    for (;;) {
        size_t start, end;
        bool found;

        TLMI_TRY(next_match(&found, &start, &end, splitter, matcher, text, last_end));
        if (!found)
            break;
        last_end = end;
        start = original_place(text, start);
        end = original_place(text, end);
        if (at < start)
            TLMI_TRY(tlmi_piece_maker_take(maker, at, start, false));
        TLMI_TRY(tlmi_piece_maker_take(maker, start, end, true));
        at = end;
    }
    if (at < text->original_size)
        TLMI_TRY(tlmi_piece_maker_take(maker, at, text->original_size, false));
    return tlmi_piece_maker_finish(maker);
}

static tlm_status_t split_regex(const tlmi_splitter_t *base, tlmi_text_pieces_t *out,
                                tlmi_regex_matcher_t **matcher, const uint8_t *piece, size_t size,
                                bool at_origin)
{
    const regex_splitter_t *splitter = (const regex_splitter_t *)base;
    tlmi_piece_maker_t maker = {.out = out,
                                .text = piece,
                                .at_origin = at_origin,
                                .behavior = splitter->behavior,
                                .invert = splitter->invert};

    if (*matcher == NULL)
        TLMI_TRY(tlmi_regex_matcher_create(matcher, TLMI_REGEX_NANOSECONDS(size)));
    else
        tlmi_regex_matcher_extend(*matcher, 10000u * (uint64_t)size);
    regex_text_t text;
    TLMI_TRY(regex_text_init(&text, piece, size));
    tlm_status_t status = split_matches(splitter, &maker, *matcher, &text);
    tlmi_free(text.copy);
    return status;
}

static void free_regex(tlmi_splitter_t *base)
{
    tlmi_regex_free(((regex_splitter_t *)base)->regex);
}

static const tlmi_splitter_kind_t regex_kind = {
    .name = "Split", .split = split_regex, .free = free_regex};

tlm_status_t tlmi_split_regex_create(tlmi_splitter_t **out, const char *pattern,
                                     tlmi_regex_syntax_t syntax, tlmi_split_behavior_t behavior,
                                     bool invert)
{
    regex_splitter_t *splitter = tlmi_calloc(1, sizeof(*splitter), "a pretokenizer");

    if (splitter == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlm_status_t status = tlmi_regex_create(&splitter->regex, pattern, syntax);
    if (status != TLM_OK) {
        tlmi_free(splitter);
        return status;
    }
    splitter->base.kind = &regex_kind;
    splitter->syntax = syntax;
    splitter->behavior = behavior;
    splitter->invert = invert;
    *out = &splitter->base;
    return TLM_OK;
}
