/* A pretokenizer is one scanner, which is fast, or a chain of splitters, which can do anything. */
#include "tokenizer/pretokenize/pretokenize.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define BATCH      256               /* pretokens per callback */
#define SMALL_TEXT ((size_t)1 << 16) /* bytes of pretokens that are given at once */

struct tlmi_pretokenizer {
    char *pattern;                 /* NULL for a chain */
    const tlmi_scanner_t *scanner; /* NULL: use the splitters */
    tlmi_splitter_t **splitters;
    size_t n;
    bool cuts_words;
};

/* ---- Creation ---- */

void tlmi_pretokenizer_free(tlmi_pretokenizer_t *pretokenizer)
{
    if (pretokenizer == NULL)
        return;
    for (size_t i = 0; i < pretokenizer->n; i++)
        tlmi_splitter_free(pretokenizer->splitters[i]);
    tlmi_free(pretokenizer->splitters);
    tlmi_free(pretokenizer->pattern);
    tlmi_free(pretokenizer);
}

static bool find_whether_it_cuts_words(const tlmi_pretokenizer_t *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->n; i++) {
        tlmi_at_words_t at_words = pretokenizer->splitters[i]->at_words;

        if (at_words != TLMI_NOTHING_AT_WORDS)
            return at_words == TLMI_CUT_AT_WORDS;
    }
    return false;
}

tlm_status_t tlmi_pretokenizer_create_chain(tlmi_pretokenizer_t **out, tlmi_splitter_t **splitters,
                                            size_t n)
{
    tlmi_pretokenizer_t *pretokenizer = tlmi_calloc(1, sizeof(*pretokenizer), "a pretokenizer");

    if (pretokenizer != NULL)
        pretokenizer->splitters = tlmi_alloc(n, sizeof(*pretokenizer->splitters), "a pretokenizer");
    if (pretokenizer == NULL || pretokenizer->splitters == NULL) {
        for (size_t i = 0; i < n; i++)
            tlmi_splitter_free(splitters[i]);
        tlmi_free(pretokenizer);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    if (n > 0)
        memcpy(pretokenizer->splitters, splitters, n * sizeof(*splitters));
    pretokenizer->n = n;
    pretokenizer->cuts_words = find_whether_it_cuts_words(pretokenizer);
    *out = pretokenizer;
    return TLM_OK;
}

tlm_status_t tlmi_pretokenizer_add(tlmi_pretokenizer_t *pretokenizer, tlmi_splitter_t *splitter)
{
    size_t n = pretokenizer->n;
    tlmi_splitter_t **splitters =
        tlmi_realloc(pretokenizer->splitters, n + 1, sizeof(*splitters), "a pretokenizer");

    if (splitters == NULL) {
        tlmi_splitter_free(splitter);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    splitters[n] = splitter;
    pretokenizer->splitters = splitters;
    pretokenizer->n = n + 1;
    pretokenizer->cuts_words = find_whether_it_cuts_words(pretokenizer);
    return TLM_OK;
}

/* Makes the splitter for a pattern that no scanner knows. */
static tlm_status_t create_by_regex(tlmi_pretokenizer_t **out, const char *pattern)
{
    tlmi_splitter_t *splitter;

    TLMI_TRY(
        tlmi_split_regex_create(&splitter, pattern, TLMI_REGEX_PERL, TLMI_SPLIT_ISOLATED, false));
    return tlmi_pretokenizer_create_chain(out, &splitter, 1);
}

tlm_status_t tlmi_pretokenizer_create(tlmi_pretokenizer_t **out, const char *pattern)
{
    if (pattern == NULL)
        pattern = TLM_PATTERN_GPT2;
    const tlmi_scanner_t *scanner = tlmi_scanner_find(pattern);
    tlmi_pretokenizer_t *pretokenizer;
    if (scanner == NULL)
        TLMI_TRY(create_by_regex(&pretokenizer, pattern));
    else
        TLMI_TRY(tlmi_pretokenizer_create_chain(&pretokenizer, NULL, 0));
    pretokenizer->scanner = scanner;
    pretokenizer->pattern = tlmi_strdup(pattern, "a pattern");
    if (pretokenizer->pattern == NULL) {
        tlmi_pretokenizer_free(pretokenizer);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    *out = pretokenizer;
    return TLM_OK;
}

const char *tlmi_pretokenizer_pattern(const tlmi_pretokenizer_t *pretokenizer)
{
    return pretokenizer->pattern;
}

bool tlmi_pretokenizer_is_local(const tlmi_pretokenizer_t *pretokenizer)
{
    return pretokenizer->scanner != NULL;
}

bool tlmi_pretokenizer_cuts_words(const tlmi_pretokenizer_t *pretokenizer)
{
    return pretokenizer->scanner != NULL || pretokenizer->cuts_words;
}

/* ---- Splitting ---- */

static tlm_status_t split_pieces(tlmi_text_pieces_t *out, const tlmi_splitter_t *splitter,
                                 tlmi_regex_matcher_t **matcher, const tlmi_text_pieces_t *pieces)
{
    out->size = out->n = 0;
    out->are_cuts = splitter->kind->only_cuts;
    if (out->are_cuts)
        out->text = pieces->text;
    for (size_t i = 0, start = 0; i < pieces->n; start = pieces->ends[i++])
        TLMI_TRY(splitter->kind->split(splitter, out, matcher, pieces->text + start,
                                       pieces->ends[i] - start, i == 0 && pieces->first_at_origin));
    return TLM_OK;
}

/* Emits the pieces, those of a large text in batches. */
static tlm_status_t emit_pieces(const tlmi_text_pieces_t *pieces, tlmi_pretokens_fn pretokens,
                                void *context)
{
    size_t ends[BATCH];

    if (pieces->n > 0 && pieces->size <= SMALL_TEXT)
        return pretokens(context, pieces->text, pieces->ends, pieces->n);
    for (size_t i = 0, start = 0, n; i < pieces->n; i += n, start = pieces->ends[i - 1]) {
        n = pieces->n - i < BATCH ? pieces->n - i : BATCH;
        for (size_t k = 0; k < n; k++)
            ends[k] = pieces->ends[i + k] - start;
        TLMI_TRY(pretokens(context, pieces->text + start, ends, n));
    }
    return TLM_OK;
}

typedef struct receiver {
    tlmi_pretokens_fn pretokens;
    void *context;
} receiver_t;

static tlm_status_t hand_on(tlmi_text_pieces_t *pieces)
{
    const receiver_t *receiver = pieces->context;
    tlm_status_t status = emit_pieces(pieces, receiver->pretokens, receiver->context);

    if (pieces->are_cuts)
        pieces->text += pieces->size;
    pieces->size = pieces->n = 0;
    return status;
}

/* Returns a buffer that neither holds the pieces nor their text. */
static tlmi_text_pieces_t *free_buffer(tlmi_text_pieces_t buffers[3],
                                       const tlmi_text_pieces_t *pieces)
{
    for (int i = 0; i < 2; i++)
        if (&buffers[i] != pieces && (buffers[i].own == NULL || buffers[i].own != pieces->text))
            return &buffers[i];
    return &buffers[2];
}

/* The pieces of the last step are handed on as they come, so that a single step, such as a pattern,
 * does not keep those of a whole text. */
static tlm_status_t split_by_chain(const tlmi_pretokenizer_t *pretokenizer, const uint8_t *text,
                                   size_t size, bool at_origin, tlmi_pretokens_fn pretokens,
                                   void *context)
{
    tlmi_text_pieces_t whole = {
        .text = text, .size = size, .ends = &size, .n = 1, .first_at_origin = at_origin};
    tlmi_text_pieces_t buffers[3] = {{0}};
    const tlmi_text_pieces_t *pieces = &whole;
    receiver_t receiver = {pretokens, context};
    tlmi_regex_matcher_t *matcher = NULL;
    tlm_status_t status = TLM_OK;

    for (size_t i = 0; i < pretokenizer->n && status == TLM_OK; i++) {
        tlmi_text_pieces_t *next = free_buffer(buffers, pieces);

        if (i + 1 == pretokenizer->n) {
            next->hand_on = hand_on;
            next->context = &receiver;
        }
        status = split_pieces(next, pretokenizer->splitters[i], &matcher, pieces);
        pieces = next;
    }
    if (status == TLM_OK)
        status = emit_pieces(pieces, pretokens, context);
    tlmi_regex_matcher_free(matcher);
    for (int i = 0; i < 3; i++) {
        tlmi_free(buffers[i].own);
        tlmi_free(buffers[i].ends);
    }
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
    return split_by_chain(pretokenizer, text, size, false, pretokens, context);
}

tlm_status_t tlmi_pretokenize(const tlmi_pretokenizer_t *pretokenizer, const uint8_t *text,
                              size_t size, bool at_origin, tlmi_pretokens_fn pretokens,
                              void *context)
{
    size_t consumed;

    if (pretokenizer->scanner != NULL || size == 0)
        return tlmi_pretokenize_part(&consumed, pretokenizer, text, size, true, pretokens, context);
    return split_by_chain(pretokenizer, text, size, at_origin, pretokens, context);
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
