/* SentencePiece's own normalizer. From each position, the longest user-defined symbol or else the
 * longest key of the map of characters is taken, or else one character; then come the rules for
 * spaces. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/normalize/normalize.h"
#include "tokenizer/pretokenize/unicode.h"

#define ESCAPED "\xE2\x96\x81" /* U+2581 */
#define BLOCK   ((size_t)4096) /* bytes for which room is made at once */

typedef struct sentencepiece {
    tlmi_normalizer_t base;
    tlmi_charsmap_t map;
    bool dummy, remove_extra, escape, as_suffix; /* the fields of the spec */
    bool cuts;
    bool plain[256]; /* bytes of ASCII that no key or symbol begins, before another such byte */
    tlm_bytes_t *symbols; /* sorted */
    size_t num_symbols;
    uint8_t *symbol_bytes;
    bool begins_symbol[256];
} sentencepiece_t;

/* ---- The longest prefix ---- */

/* Returns the size of the longest symbol that begins the text, or 0. Narrows down the symbols that
 * have the bytes seen so far in common. */
static size_t find_symbol(const sentencepiece_t *normalizer, const uint8_t *text, size_t size)
{
    const tlm_bytes_t *symbols = normalizer->symbols;
    size_t first = 0, last = normalizer->num_symbols, found = 0;

    if (!normalizer->begins_symbol[text[0]])
        return 0;
    for (size_t at = 0; first < last; at++) {
        size_t low = first, high;

        if (symbols[first].size == at) { /* the shortest comes first */
            found = at;
            first++;
        }
        if (at == size)
            break;
        for (low = first, high = last; low < high;) {
            size_t middle = (low + high) / 2;

            if (symbols[middle].data[at] < text[at])
                low = middle + 1;
            else
                high = middle;
        }
        first = low;
        for (high = last; low < high;) {
            size_t middle = (low + high) / 2;

            if (symbols[middle].data[at] <= text[at])
                low = middle + 1;
            else
                high = middle;
        }
        last = low;
    }
    return found;
}

/* Sets *value to what the beginning of the text becomes; returns its size. */
static size_t take_prefix(const sentencepiece_t *normalizer, tlm_bytes_t *value,
                          const uint8_t *text, const uint8_t *end)
{
    size_t size = find_symbol(normalizer, text, (size_t)(end - text));
    uint32_t code_point;

    if (size == 0) {
        size = tlmi_charsmap_find(value, &normalizer->map, text, (size_t)(end - text), true);
        if (size > 0)
            return size;
        int length = tlmi_utf8_decode(&code_point, text, end);
        size = length > 0 ? (size_t)length : 1;
    }
    *value = (tlm_bytes_t){text, size};
    return size;
}

/* ---- Spaces ---- */

static tlm_status_t append_space(const sentencepiece_t *normalizer, tlmi_normal_text_t *out)
{
    return normalizer->escape ? tlmi_normal_text_append(out, ESCAPED, 3)
                              : tlmi_normal_text_append(out, " ", 1);
}

/* Appends what a prefix became. */
static tlm_status_t append_value(const sentencepiece_t *normalizer, tlmi_normal_text_t *out,
                                 tlm_bytes_t value)
{
    const uint8_t *end = value.data + value.size;

    while (normalizer->escape && value.size > 0) {
        const uint8_t *space = memchr(value.data, ' ', value.size);

        if (space == NULL)
            break;
        TLMI_TRY(tlmi_normal_text_append(out, value.data, (size_t)(space - value.data)));
        TLMI_TRY(append_space(normalizer, out));
        value = (tlm_bytes_t){space + 1, (size_t)(end - space - 1)};
    }
    return tlmi_normal_text_append(out, value.data, value.size);
}

/* Removes spaces from the end of the output, which began at `from`. */
static void remove_last_spaces(const sentencepiece_t *normalizer, tlmi_normal_text_t *out,
                               size_t from)
{
    const char *space = normalizer->escape ? ESCAPED : " ";
    size_t n = strlen(space);

    while (out->size - from >= n && memcmp(out->bytes + out->size - n, space, n) == 0)
        out->size -= n;
}

/* Whether the byte at `at` stays as it is or, if it is a space, may be escaped, whatever
 * follows. */
static inline bool is_plain(const sentencepiece_t *normalizer, const uint8_t *at,
                            const uint8_t *end)
{
    return end - at >= 2 && normalizer->plain[at[0]] && at[1] < 0x80;
}

/* Appends the bytes at *text that need no rules except those for spaces. */
static tlm_status_t append_plain(const sentencepiece_t *normalizer, tlmi_normal_text_t *out,
                                 const uint8_t **text, const uint8_t *end, bool *after_space)
{
    const uint8_t *at = *text;
    bool after = *after_space;

    while (is_plain(normalizer, at, end)) {
        const uint8_t *block = (size_t)(end - at) > BLOCK ? at + BLOCK : end;
        uint8_t *to = tlmi_normal_text_room(out, 3 * BLOCK);

        if (to == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
        for (; at < block && is_plain(normalizer, at, end); at++) {
            if (*at != ' ') {
                *to++ = *at;
                after = false;
                continue;
            }
            if (after)
                continue;
            after = normalizer->remove_extra;
            memcpy(to, normalizer->escape ? ESCAPED : " ", normalizer->escape ? 3 : 1);
            to += normalizer->escape ? 3 : 1;
        }
        out->size = (size_t)(to - out->bytes);
    }
    *text = at;
    *after_space = after;
    return TLM_OK;
}

/* Whether a prefix of n bytes became itself and has no space to escape. Without symbols a prefix is one
 * character. */
static bool stays(const sentencepiece_t *normalizer, tlm_bytes_t value, const uint8_t *text,
                  size_t n)
{
    return value.data == text && value.size == n &&
           (normalizer->num_symbols == 0 || memchr(text, ' ', n) == NULL);
}

/* Appends a text without the spaces that begin a whole text. */
static tlm_status_t append_body(const sentencepiece_t *normalizer, tlmi_normal_text_t *out,
                                const uint8_t *text, const uint8_t *end, bool after_space)
{
    while (text < end) {
        TLMI_TRY(append_plain(normalizer, out, &text, end, &after_space));
        const uint8_t *same = text; /* characters that stay are appended together */
        tlm_bytes_t value;
        size_t n = 0;
        for (; text < end && *text >= 0x80; text += n) {
            n = take_prefix(normalizer, &value, text, end);
            if (!stays(normalizer, value, text, n))
                break;
        }
        if (text > same) {
            TLMI_TRY(tlmi_normal_text_append(out, same, (size_t)(text - same)));
            after_space = false;
            continue;
        }
        if (text == end)
            break;
        if (*text < 0x80)
            n = take_prefix(normalizer, &value, text, end);
        text += n;
        while (after_space && value.size > 0 && value.data[0] == ' ') {
            value.data++;
            value.size--;
        }
        if (value.size == 0)
            continue;
        after_space = normalizer->remove_extra && value.data[value.size - 1] == ' ';
        TLMI_TRY(append_value(normalizer, out, value));
    }
    return TLM_OK;
}

static tlm_status_t sentencepiece_append(const tlmi_normalizer_t *base, tlmi_normal_text_t *out,
                                         const uint8_t *text, size_t size, int part)
{
    const sentencepiece_t *normalizer = (const sentencepiece_t *)base;
    const uint8_t *end = text + size;
    bool begins = (part & TLMI_PIECE_BEGINS) != 0, ends = (part & TLMI_PIECE_ENDS) != 0;
    size_t from = out->size;

    while (begins && normalizer->remove_extra && text < end) {
        tlm_bytes_t value;
        size_t n = take_prefix(normalizer, &value, text, end);

        if (value.size != 1 || value.data[0] != ' ')
            break;
        text += n;
    }
    if (begins && text == end)
        return TLM_OK;
    if (begins && normalizer->dummy && !normalizer->as_suffix)
        TLMI_TRY(append_space(normalizer, out));
    TLMI_TRY(append_body(normalizer, out, text, end, begins && normalizer->remove_extra));
    if (ends && normalizer->remove_extra)
        remove_last_spaces(normalizer, out, from);
    if (ends && normalizer->dummy && normalizer->as_suffix)
        TLMI_TRY(append_space(normalizer, out));
    return TLM_OK;
}

static bool sentencepiece_leaves(const tlmi_normalizer_t *base, const uint8_t *text, size_t size,
                                 int part)
{
    const sentencepiece_t *normalizer = (const sentencepiece_t *)base;
    int dummy_at = normalizer->as_suffix ? TLMI_PIECE_ENDS : TLMI_PIECE_BEGINS;

    if (normalizer->dummy && (part & dummy_at) != 0)
        return size == 0 && (part & TLMI_PIECE_BEGINS) != 0;
    while (size > 0 && text[size - 1] != ' ' && normalizer->plain[text[size - 1]])
        size--;
    return size == 0;
}

/* ---- Creation ---- */

static bool sentencepiece_cuts_at(const tlmi_normalizer_t *base, const uint8_t *text, size_t at)
{
    (void)text;
    (void)at;
    return ((const sentencepiece_t *)base)->cuts;
}

static bool sentencepiece_keeps_cuts(const tlmi_normalizer_t *base)
{
    (void)base;
    return false;
}

static void sentencepiece_free(tlmi_normalizer_t *base)
{
    sentencepiece_t *normalizer = (sentencepiece_t *)base;

    tlmi_charsmap_release(&normalizer->map);
    tlmi_free(normalizer->symbols);
    tlmi_free(normalizer->symbol_bytes);
    tlmi_free(normalizer);
}

static const tlmi_normalizer_kind_t sentencepiece_kind = {.name = "SentencePiece",
                                                          .leaves = sentencepiece_leaves,
                                                          .append = sentencepiece_append,
                                                          .cuts_at = sentencepiece_cuts_at,
                                                          .keeps_cuts = sentencepiece_keeps_cuts,
                                                          .free = sentencepiece_free};

static int compare_symbols(const void *left, const void *right)
{
    const tlm_bytes_t *a = left, *b = right;
    size_t common = a->size < b->size ? a->size : b->size;
    int order = memcmp(a->data, b->data, common);

    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

static tlm_status_t copy_symbols(sentencepiece_t *normalizer, const tlm_bytes_t *symbols, size_t n)
{
    size_t total = 0;

    for (size_t i = 0; i < n; i++)
        if (!tlmi_add_size(&total, total, symbols[i].size))
            return tlmi_fail_memory(total, "symbols");
    normalizer->symbols = tlmi_alloc(n, sizeof(*symbols), "symbols");
    normalizer->symbol_bytes = tlmi_alloc(total, 1, "symbols");
    if (normalizer->symbols == NULL || normalizer->symbol_bytes == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    uint8_t *to = normalizer->symbol_bytes;
    for (size_t i = 0; i < n; i++) {
        if (symbols[i].size == 0)
            continue;
        memcpy(to, symbols[i].data, symbols[i].size);
        normalizer->symbols[normalizer->num_symbols++] = (tlm_bytes_t){to, symbols[i].size};
        normalizer->begins_symbol[to[0]] = true;
        to += symbols[i].size;
    }
    qsort(normalizer->symbols, normalizer->num_symbols, sizeof(*symbols), compare_symbols);
    return TLM_OK;
}

/* Whether the normalized text can be cut between a letter or digit and a space. */
static bool find_cuts(const sentencepiece_t *normalizer)
{
    for (size_t i = 0; i < normalizer->num_symbols; i++)
        for (size_t k = 1; k < normalizer->symbols[i].size; k++)
            if (normalizer->symbols[i].data[k] == ' ' &&
                tlmi_is_ascii_alnum(normalizer->symbols[i].data[k - 1]))
                return false;
    return tlmi_charsmap_keeps_words(&normalizer->map);
}

tlm_status_t tlmi_sentencepiece_normalizer_create(const tlmi_normalizer_t **out, const char *what,
                                                  const tlmi_sentencepiece_spec_t *spec)
{
    sentencepiece_t *normalizer = tlmi_calloc(1, sizeof(*normalizer), "a normalizer");
    tlm_status_t status = TLM_OK;

    if (normalizer == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    normalizer->base.kind = &sentencepiece_kind;
    normalizer->dummy = spec->add_dummy_prefix;
    normalizer->remove_extra = spec->remove_extra_whitespaces;
    normalizer->escape = spec->escape_whitespaces;
    normalizer->as_suffix = spec->treat_whitespace_as_suffix;
    if (spec->charsmap_size > 0)
        status = tlmi_charsmap_read(&normalizer->map, what, spec->charsmap, spec->charsmap_size);
    if (status == TLM_OK && spec->num_symbols > 0)
        status = copy_symbols(normalizer, spec->symbols, spec->num_symbols);
    if (status != TLM_OK) {
        sentencepiece_free(&normalizer->base);
        return status;
    }
    for (int c = 0; c < 0x80; c++)
        normalizer->plain[c] = !normalizer->begins_symbol[c] &&
                               !tlmi_charsmap_has_ascii(&normalizer->map, (uint8_t)c, true);
    normalizer->cuts = find_cuts(normalizer);
    *out = &normalizer->base;
    return TLM_OK;
}
