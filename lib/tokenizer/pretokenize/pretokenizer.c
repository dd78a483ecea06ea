/* Chooses between a scanner and the regular-expression engine. */
#include "tokenizer/pretokenize/pretokenize.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/pretokenize/unicode.h"

#define BATCH 256 /* pretokens per callback */

struct tlmi_pretokenizer {
    char *pattern;
    const tlmi_scanner_t *scanner; /* NULL: use the regular expression */
    tlmi_regex_t *regex;
};

tlm_status_t tlmi_pretokenizer_create(tlmi_pretokenizer_t **out, const char *pattern)
{
    tlmi_pretokenizer_t *pretokenizer = tlmi_calloc(1, sizeof(*pretokenizer), "a pretokenizer");
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (pretokenizer == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (pattern == NULL)
        pattern = TLM_PATTERN_GPT2;
    pretokenizer->pattern = tlmi_strdup(pattern, "a pattern");
    if (pretokenizer->pattern == NULL)
        goto fail;
    pretokenizer->scanner = tlmi_scanner_find(pattern);
    if (pretokenizer->scanner == NULL)
        TLMI_TRY_OR(fail, tlmi_regex_create(&pretokenizer->regex, pattern, TLMI_REGEX_PERL));
    *out = pretokenizer;
    return TLM_OK;
fail:
    tlmi_pretokenizer_free(pretokenizer);
    return status;
}

void tlmi_pretokenizer_free(tlmi_pretokenizer_t *pretokenizer)
{
    if (pretokenizer == NULL)
        return;
    tlmi_regex_free(pretokenizer->regex);
    tlmi_free(pretokenizer->pattern);
    tlmi_free(pretokenizer);
}

const char *tlmi_pretokenizer_pattern(const tlmi_pretokenizer_t *pretokenizer)
{
    return pretokenizer->pattern;
}

bool tlmi_pretokenizer_is_local(const tlmi_pretokenizer_t *pretokenizer)
{
    return pretokenizer->scanner != NULL;
}

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
    size_t room;

    *text = (regex_text_t){bytes, size, bytes, size, NULL, 0, 0};
    if (tlmi_utf8_valid(bytes, size))
        return TLM_OK;
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

static tlm_status_t match_regex(const tlmi_regex_t *regex, tlmi_regex_matcher_t *matcher,
                                regex_text_t *text, tlmi_pretokens_fn pretokens, void *context)
{
    size_t ends[BATCH], n = 0, batch = 0, at = 0;

    while (at < text->seen_size) {
        size_t start, end;

        TLMI_TRY(tlmi_regex_search(&start, &end, regex, matcher, text->seen, text->seen_size, at));
        if (start > at) /* text that the pattern does not match */
            ends[n++] = original_place(text, start) - batch;
        if (end > start)
            ends[n++] = original_place(text, end) - batch;
        at = end;
        if (n >= BATCH - 1 || at == text->seen_size) {
            TLMI_TRY(pretokens(context, text->original + batch, ends, n));
            batch += ends[n - 1];
            n = 0;
        }
    }
    return TLM_OK;
}

static tlm_status_t split_by_regex(const tlmi_regex_t *regex, const uint8_t *text, size_t size,
                                   tlmi_pretokens_fn pretokens, void *context)
{
    tlmi_regex_matcher_t *matcher;
    regex_text_t regex_text;
    tlm_status_t status;

    TLMI_TRY(regex_text_init(&regex_text, text, size));
    TLMI_TRY_OR(free_text, tlmi_regex_matcher_create(&matcher, TLMI_REGEX_NANOSECONDS(size)));
    status = match_regex(regex, matcher, &regex_text, pretokens, context);
    tlmi_regex_matcher_free(matcher);
free_text:
    tlmi_free(regex_text.copy);
    return status;
}

tlm_status_t tlmi_pretokenize_part(size_t *consumed, const tlmi_pretokenizer_t *pretokenizer,
                                   const uint8_t *text, size_t size, bool final,
                                   tlmi_pretokens_fn pretokens, void *context)
{
    *consumed = 0;
    if (size == 0)
        return TLM_OK;
    if (pretokenizer->scanner != NULL)
        return tlmi_scan_text(consumed, pretokenizer->scanner, text, size, final, pretokens,
                              context);
    if (!final)
        return TLM_OK;
    *consumed = size;
    return split_by_regex(pretokenizer->regex, text, size, pretokens, context);
}

tlm_status_t tlmi_pretokenize(const tlmi_pretokenizer_t *pretokenizer, const uint8_t *text,
                              size_t size, tlmi_pretokens_fn pretokens, void *context)
{
    size_t consumed;

    return tlmi_pretokenize_part(&consumed, pretokenizer, text, size, true, pretokens, context);
}

/* A space never joins the pretoken before it, and a pretoken that is not white space depends on the
 * text after it only if that text is of the same kind. Line endings join the punctuation before
 * them in some patterns, but never letters or numbers. Both neighbors are ASCII, so neither is part
 * of a longer character. */
bool tlmi_pretokenizer_always_cuts(const tlmi_pretokenizer_t *pretokenizer, const uint8_t *text,
                                   size_t at)
{
    uint8_t before = text[at - 1], after = text[at];

    if (pretokenizer->scanner == NULL || before <= ' ' || before >= 0x7F)
        return false;
    if (after == ' ')
        return true;
    return after == '\n' &&
           (pretokenizer->scanner->kind == TLMI_SCANNER_GPT2 ||
            tlmi_is_letter(tlmi_char_class(before)) || tlmi_char_class(before) == TLMI_CHAR_NUMBER);
}
