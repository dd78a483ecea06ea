/* The splitter by matches of a regular expression: the pre-tokenizer Split. */
#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/pretokenize/pretokenize.h"

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
                               const tlmi_regex_text_t *text, size_t last_end)
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
                                  tlmi_regex_matcher_t *matcher, tlmi_regex_text_t *text)
{
    size_t last_end = TLMI_REGEX_NONE, at = 0;

    for (;;) {
        size_t start, end;
        bool found;

        TLMI_TRY(next_match(&found, &start, &end, splitter, matcher, text, last_end));
        if (!found)
            break;
        last_end = end;
        start = tlmi_regex_text_original(text, start);
        end = tlmi_regex_text_original(text, end);
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
    tlmi_regex_text_t text;
    TLMI_TRY(tlmi_regex_text_init(&text, piece, size));
    tlm_status_t status = split_matches(splitter, &maker, *matcher, &text);
    tlmi_regex_text_release(&text);
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
