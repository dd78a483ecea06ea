/* Replaces occurrences of a string or matches of a pattern. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/normalize/normalize.h"
#include "tokenizer/pretokenize/pretokenize.h"
#include "tokenizer/pretokenize/unicode.h"

/* ---- Strings ---- */

#define BLOCK ((size_t)4096) /* bytes for which room is made at once */

typedef struct replace_string {
    tlmi_normalizer_t base;
    size_t pattern_size, content_size;
    bool cuts, keeps_cuts;
    uint8_t *content;
    uint8_t pattern[]; /* then the content */
} replace_string_t;

/* Returns the first occurrence, or NULL. */
static const uint8_t *find(const replace_string_t *replace, const uint8_t *text, size_t size)
{
    if (size == 0)
        return NULL;
    return replace->pattern_size == 1 ? memchr(text, replace->pattern[0], size)
                                      : memmem(text, size, replace->pattern, replace->pattern_size);
}

static bool string_leaves(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size,
                          int part)
{
    const replace_string_t *replace = (const replace_string_t *)normalizer;

    if (replace->pattern_size == 0)
        return replace->content_size == 0 || (size == 0 && part == TLMI_WHOLE_PIECE);
    return find(replace, text, size) == NULL;
}

/* Adds the content before each character, and at the end of the piece. */
static tlm_status_t append_around(const replace_string_t *replace, tlmi_normal_text_t *out,
                                  const uint8_t *text, size_t size, int part)
{
    const uint8_t *end = text + size;

    if (size == 0 && part == TLMI_WHOLE_PIECE)
        return TLM_OK;
    while (text < end) {
        size_t n = tlmi_utf8_length(text, end);

        TLMI_TRY(tlmi_normal_text_append(out, replace->content, replace->content_size));
        TLMI_TRY(tlmi_normal_text_append(out, text, n));
        text += n;
    }
    if ((part & TLMI_PIECE_ENDS) == 0)
        return TLM_OK;
    return tlmi_normal_text_append(out, replace->content, replace->content_size);
}

/* A pattern of one byte is common: spaces become U+2581. */
static tlm_status_t append_replaced_bytes(const replace_string_t *replace, tlmi_normal_text_t *out,
                                          const uint8_t *text, size_t size)
{
    const uint8_t *end = text + size;
    const tlmi_short_text_t content = tlmi_short_text(replace->content, replace->content_size);

    while (text < end) {
        const uint8_t *block = (size_t)(end - text) > BLOCK ? text + BLOCK : end;
        uint8_t *to = tlmi_normal_text_room(out, TLMI_SHORT_TEXT * BLOCK);

        if (to == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
        to = tlmi_replace_byte(to, text, block, replace->pattern[0], content);
        text = block;
        out->size = (size_t)(to - out->bytes);
    }
    return TLM_OK;
}

static tlm_status_t string_append(const tlmi_normalizer_t *normalizer, tlmi_normal_text_t *out,
                                  const uint8_t *text, size_t size, int part)
{
    const replace_string_t *replace = (const replace_string_t *)normalizer;
    const uint8_t *end = text + size, *match;

    if (replace->pattern_size == 0)
        return append_around(replace, out, text, size, part);
    if (replace->pattern_size == 1 && replace->content_size <= TLMI_SHORT_TEXT)
        return append_replaced_bytes(replace, out, text, size);
    while ((match = find(replace, text, (size_t)(end - text))) != NULL) {
        TLMI_TRY(tlmi_normal_text_append(out, text, (size_t)(match - text)));
        TLMI_TRY(tlmi_normal_text_append(out, replace->content, replace->content_size));
        text = match + replace->pattern_size;
    }
    return tlmi_normal_text_append(out, text, (size_t)(end - text));
}

static bool string_cuts_at(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t at)
{
    (void)text;
    (void)at;
    return ((const replace_string_t *)normalizer)->cuts;
}

static bool string_keeps_cuts(const tlmi_normalizer_t *normalizer)
{
    return ((const replace_string_t *)normalizer)->keeps_cuts;
}

static const tlmi_normalizer_kind_t string_kind = {.name = "Replace",
                                                   .leaves = string_leaves,
                                                   .append = string_append,
                                                   .cuts_at = string_cuts_at,
                                                   .keeps_cuts = string_keeps_cuts,
                                                   .free = tlmi_normalizer_free_block};

/* Whether a letter or digit comes before a space in a pattern, so that a match can span a cut. */
static bool spans_cuts(const uint8_t *pattern, size_t size)
{
    for (size_t i = 1; i < size; i++)
        if (pattern[i] == ' ' && tlmi_is_ascii_alnum(pattern[i - 1]))
            return true;
    return false;
}

tlm_status_t tlmi_replace_string_create(const tlmi_normalizer_t **out, const void *pattern,
                                        size_t pattern_size, const void *content,
                                        size_t content_size)
{
    replace_string_t *replace;
    size_t total;

    if (!tlmi_add_size(&total, sizeof(*replace), pattern_size) ||
        !tlmi_add_size(&total, total, content_size))
        return tlmi_fail_memory(pattern_size, "a normalizer");
    replace = tlmi_alloc(total, 1, "a normalizer");
    if (replace == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    *replace = (replace_string_t){{&string_kind}, pattern_size, content_size, false, false, NULL};
    replace->content = replace->pattern + pattern_size;
    if (pattern_size > 0)
        memcpy(replace->pattern, pattern, pattern_size);
    if (content_size > 0)
        memcpy(replace->content, content, content_size);
    replace->cuts = !spans_cuts(replace->pattern, pattern_size);
    replace->keeps_cuts = pattern_size > 0 && replace->pattern[0] != ' ' &&
                          !tlmi_is_ascii_alnum(replace->pattern[pattern_size - 1]);
    *out = &replace->base;
    return TLM_OK;
}

/* ---- Patterns ---- */

/* A pattern that matches runs of spaces is common and needs no regular expression. */
typedef struct replace_regex {
    tlmi_normalizer_t base;
    tlmi_regex_t *regex; /* NULL: runs */
    size_t fewest;       /* characters in a run that is replaced */
    bool white_space;    /* runs of any white space, not only of U+0020 */
    size_t content_size;
    uint8_t content[];
} replace_regex_t;

/* Recognizes " +", " {2,}", "\s+" and the like. */
static bool parse_run(replace_regex_t *replace, const char *pattern)
{
    replace->white_space = strncmp(pattern, "\\s", 2) == 0;
    if (!replace->white_space && pattern[0] != ' ')
        return false;
    pattern += replace->white_space ? 2 : 1;
    replace->fewest = 1;
    if (strcmp(pattern, "+") == 0)
        return true;
    if (pattern[0] != '{' || pattern[1] < '1' || pattern[1] > '9' || strcmp(pattern + 2, ",}") != 0)
        return false;
    replace->fewest = (size_t)(pattern[1] - '0');
    return true;
}

/* Finds the first run at or after `text`. Returns its start, or NULL. */
static const uint8_t *find_run(const replace_regex_t *replace, const uint8_t *text,
                               const uint8_t *end, const uint8_t **run_end)
{
    while (text < end) {
        const uint8_t *at = text;
        size_t n = 0;
        int length = 1;

        if (!replace->white_space) {
            at = text = memchr(text, ' ', (size_t)(end - text));
            if (text == NULL)
                return NULL;
            while (at < end && *at == ' ')
                at++;
            n = (size_t)(at - text);
        } else {
            for (; at < end && tlmi_class_at(&length, at, end) == TLMI_CHAR_SPACE; n++)
                at += length;
        }
        if (n >= replace->fewest) {
            *run_end = at;
            return text;
        }
        text = at > text ? at : at + length;
    }
    return NULL;
}

static tlm_status_t append_runs(const replace_regex_t *replace, tlmi_normal_text_t *out,
                                const uint8_t *text, size_t size)
{
    const uint8_t *end = text + size, *run, *run_end;

    while ((run = find_run(replace, text, end, &run_end)) != NULL) {
        TLMI_TRY(tlmi_normal_text_append(out, text, (size_t)(run - text)));
        TLMI_TRY(tlmi_normal_text_append(out, replace->content, replace->content_size));
        text = run_end;
    }
    return tlmi_normal_text_append(out, text, (size_t)(end - text));
}

static tlm_status_t append_matches(const replace_regex_t *replace, tlmi_normal_text_t *out,
                                   tlmi_regex_matcher_t *matcher, tlmi_regex_text_t *text)
{
    size_t last_end = TLMI_REGEX_NONE, at = 0; /* at: in the original */

    for (;;) {
        size_t start, end;
        bool found;

        TLMI_TRY(tlmi_regex_next(&found, &start, &end, replace->regex, matcher, text->seen,
                                 text->seen_size, last_end));
        if (!found)
            return tlmi_normal_text_append(out, text->original + at, text->original_size - at);
        last_end = end;
        start = tlmi_regex_text_original(text, start);
        TLMI_TRY(tlmi_normal_text_append(out, text->original + at, start - at));
        TLMI_TRY(tlmi_normal_text_append(out, replace->content, replace->content_size));
        at = tlmi_regex_text_original(text, end);
    }
}

static tlm_status_t regex_append(const tlmi_normalizer_t *normalizer, tlmi_normal_text_t *out,
                                 const uint8_t *text, size_t size, int part)
{
    const replace_regex_t *replace = (const replace_regex_t *)normalizer;
    tlm_status_t status;

    (void)part;
    if (size == 0)
        return TLM_OK;
    if (replace->regex == NULL)
        return append_runs(replace, out, text, size);
    tlmi_regex_text_t for_pattern;
    TLMI_TRY(tlmi_regex_text_init(&for_pattern, text, size));
    tlmi_regex_matcher_t *matcher;
    TLMI_TRY_OR(done, tlmi_regex_matcher_create(&matcher, TLMI_REGEX_NANOSECONDS(size)));
    status = append_matches(replace, out, matcher, &for_pattern);
    tlmi_regex_matcher_free(matcher);
done:
    tlmi_regex_text_release(&for_pattern);
    return status;
}

static bool regex_leaves(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size,
                         int part)
{
    const replace_regex_t *replace = (const replace_regex_t *)normalizer;
    const uint8_t *run_end;

    (void)part;
    return size == 0 ||
           (replace->regex == NULL && find_run(replace, text, text + size, &run_end) == NULL);
}

static bool regex_cuts_at(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t at)
{
    (void)text;
    (void)at;
    return ((const replace_regex_t *)normalizer)->regex == NULL;
}

/* Whether a space stays a space: runs of spaces are often replaced by one space. */
static bool regex_keeps_cuts(const tlmi_normalizer_t *normalizer)
{
    const replace_regex_t *replace = (const replace_regex_t *)normalizer;

    return replace->regex == NULL && replace->content_size > 0 && replace->content[0] == ' ';
}

static void regex_free(tlmi_normalizer_t *normalizer)
{
    tlmi_regex_free(((replace_regex_t *)normalizer)->regex);
    tlmi_free(normalizer);
}

static const tlmi_normalizer_kind_t regex_kind = {.name = "Replace",
                                                  .leaves = regex_leaves,
                                                  .append = regex_append,
                                                  .cuts_at = regex_cuts_at,
                                                  .keeps_cuts = regex_keeps_cuts,
                                                  .free = regex_free};

tlm_status_t tlmi_replace_regex_create(const tlmi_normalizer_t **out, const char *pattern,
                                       const void *content, size_t content_size)
{
    replace_regex_t *replace;
    size_t total;
    tlm_status_t status;

    if (!tlmi_add_size(&total, sizeof(*replace), content_size))
        return tlmi_fail_memory(content_size, "a normalizer");
    replace = tlmi_alloc(total, 1, "a normalizer");
    if (replace == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    *replace = (replace_regex_t){.base = {&regex_kind}, .content_size = content_size};
    if (content_size > 0)
        memcpy(replace->content, content, content_size);
    if (!parse_run(replace, pattern))
        TLMI_TRY_OR(fail, tlmi_regex_create(&replace->regex, pattern, TLMI_REGEX_ONIGURUMA));
    *out = &replace->base;
    return TLM_OK;
fail:
    tlmi_free(replace);
    return status;
}
