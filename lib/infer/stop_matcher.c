/* Searches for several patterns at once in symbols that come one by one, each by the method of
 * Knuth, Morris and Pratt: the work per symbol does not depend on the lengths of the patterns. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "infer/generator_core.h"

/* borders[i] is the length of the longest beginning of a pattern that is also the end of its first
 * i + 1 symbols, but not all of them. */
static void find_borders(size_t *borders, const uint32_t *pattern, size_t length)
{
    borders[0] = 0;
    for (size_t i = 1; i < length; i++) {
        size_t border = borders[i - 1];

        while (border > 0 && pattern[border] != pattern[i])
            border = borders[border - 1];
        borders[i] = pattern[border] == pattern[i] ? border + 1 : 0;
    }
}

static size_t length_of(const tlmi_matcher_t *matcher, size_t pattern)
{
    return matcher->offsets[pattern + 1] - matcher->offsets[pattern];
}

/* Makes room for n > 0 patterns, `total` symbols in all. */
static tlm_status_t alloc_patterns(tlmi_matcher_t *out, size_t n, size_t total)
{
    static const char what[] = "stops of a generation";

    if ((out->symbols = tlmi_alloc(total, sizeof(*out->symbols), what)) == NULL ||
        (out->borders = tlmi_alloc(total, sizeof(*out->borders), what)) == NULL ||
        (out->offsets = tlmi_alloc(n + 1, sizeof(*out->offsets), what)) == NULL ||
        (out->matched = tlmi_calloc(n, sizeof(*out->matched), what)) == NULL) {
        tlmi_matcher_release(out);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    out->num_patterns = n;
    return TLM_OK;
}

/* Either ids or bytes are given. */
static tlm_status_t make(tlmi_matcher_t *out, const tlm_ids_t *ids, const tlm_bytes_t *bytes,
                         size_t n)
{
    tlmi_matcher_t made = {.found = SIZE_MAX};
    size_t total = 0;

    for (size_t i = 0; i < n; i++)
        if (!tlmi_add_size(&total, total, ids != NULL ? ids[i].n : bytes[i].size))
            return tlmi_fail_overflow("stops of a generation");
    if (n > 0)
        TLMI_TRY(alloc_patterns(&made, n, total));
    for (size_t i = 0, at = 0; i < n; i++) {
        made.offsets[i] = at;
        for (size_t k = 0; k < (ids != NULL ? ids[i].n : bytes[i].size); k++)
            made.symbols[at++] = ids != NULL ? ids[i].ids[k] : bytes[i].data[k];
        made.offsets[i + 1] = at;
        find_borders(made.borders + made.offsets[i], made.symbols + made.offsets[i],
                     length_of(&made, i));
    }
    *out = made;
    return TLM_OK;
}

tlm_status_t tlmi_matcher_of_ids(tlmi_matcher_t *out, const tlm_ids_t *patterns, size_t n)
{
    return make(out, patterns, NULL, n);
}

tlm_status_t tlmi_matcher_of_bytes(tlmi_matcher_t *out, const tlm_bytes_t *patterns, size_t n)
{
    return make(out, NULL, patterns, n);
}

void tlmi_matcher_release(tlmi_matcher_t *matcher)
{
    tlmi_free(matcher->symbols);
    tlmi_free(matcher->borders);
    tlmi_free(matcher->offsets);
    tlmi_free(matcher->matched);
    memset(matcher, 0, sizeof(*matcher));
    matcher->found = SIZE_MAX;
}

void tlmi_matcher_restart(tlmi_matcher_t *matcher)
{
    matcher->position = 0;
    matcher->found = SIZE_MAX;
    if (matcher->num_patterns > 0)
        memset(matcher->matched, 0, matcher->num_patterns * sizeof(*matcher->matched));
}

void tlmi_matcher_feed(tlmi_matcher_t *matcher, uint32_t symbol)
{
    matcher->position++;
    for (size_t i = 0; i < matcher->num_patterns; i++) {
        const uint32_t *pattern = matcher->symbols + matcher->offsets[i];
        const size_t *borders = matcher->borders + matcher->offsets[i];
        size_t matched = matcher->matched[i];

        while (matched > 0 && pattern[matched] != symbol)
            matched = borders[matched - 1];
        if (pattern[matched] == symbol)
            matched++;
        if (matched == length_of(matcher, i)) {
            const size_t begin = matcher->position - matched;

            matcher->found = begin < matcher->found ? begin : matcher->found;
            matched = borders[matched - 1];
        }
        matcher->matched[i] = matched;
    }
}

/* Where the earliest pattern that is not complete yet may begin. */
static size_t earliest_open(const tlmi_matcher_t *matcher)
{
    size_t longest = 0;

    for (size_t i = 0; i < matcher->num_patterns; i++)
        longest = matcher->matched[i] > longest ? matcher->matched[i] : longest;
    return matcher->position - longest;
}

bool tlmi_matcher_is_decided(const tlmi_matcher_t *matcher)
{
    return matcher->found != SIZE_MAX && earliest_open(matcher) >= matcher->found;
}

size_t tlmi_matcher_certain(const tlmi_matcher_t *matcher)
{
    const size_t open = earliest_open(matcher);

    return open < matcher->found ? open : matcher->found;
}
