/* SentencePiece's map of characters as `tokenizers` applies it. A grapheme cluster of fewer than
 * six bytes is replaced as a whole, by what replaces the shortest key that begins it, even if the
 * key is shorter. In other clusters this is done with each character. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/normalize/normalize.h"
#include "tokenizer/pretokenize/unicode.h"

#define WHOLE_CLUSTER 6 /* clusters of this size and more are not replaced as a whole */

typedef struct precompiled {
    tlmi_normalizer_t base;
    tlmi_charsmap_t map;
    bool plain[256]; /* a byte of ASCII that stays before another one */
} precompiled_t;

/* Returns the end of the characters at `at` that stay. */
static const uint8_t *skip_plain(const precompiled_t *normalizer, const uint8_t *at,
                                 const uint8_t *end)
{
    while (at < end && normalizer->plain[*at] && (at + 1 == end || at[1] < 0x80))
        at++;
    return at;
}

/* Returns the end of the grapheme cluster at `at`. */
static const uint8_t *cluster_end(const uint8_t *at, const uint8_t *end)
{
    uint32_t before, after;
    int length = tlmi_utf8_decode(&before, at, end);
    int32_t state = 0;

    if (length < 0)
        return at + 1;
    for (at += length; at < end; at += length) {
        length = tlmi_utf8_decode(&after, at, end);
        if (length < 0 || tlmi_grapheme_ends(before, after, &state))
            break;
        before = after;
    }
    return at;
}

static tlm_status_t append_cluster(const tlmi_charsmap_t *map, tlmi_normal_text_t *out,
                                   const uint8_t *at, const uint8_t *end)
{
    size_t size = (size_t)(end - at);
    tlm_bytes_t value;

    if (size < WHOLE_CLUSTER && tlmi_charsmap_find(&value, map, at, size, false) > 0)
        return tlmi_normal_text_append(out, value.data, value.size);
    while (at < end) {
        uint32_t code_point;
        int length = tlmi_utf8_decode(&code_point, at, end);
        size_t n = length > 0 ? (size_t)length : 1;

        if (length < 0 || tlmi_charsmap_find(&value, map, at, n, false) == 0)
            value = (tlm_bytes_t){at, n};
        TLMI_TRY(tlmi_normal_text_append(out, value.data, value.size));
        at += n;
    }
    return TLM_OK;
}

static tlm_status_t precompiled_append(const tlmi_normalizer_t *base, tlmi_normal_text_t *out,
                                       const uint8_t *text, size_t size, int part)
{
    const precompiled_t *normalizer = (const precompiled_t *)base;
    const uint8_t *end = text + size;

    (void)part;
    while (text < end) {
        const uint8_t *next = skip_plain(normalizer, text, end);

        TLMI_TRY(tlmi_normal_text_append(out, text, (size_t)(next - text)));
        text = next;
        if (text == end)
            break;
        next = cluster_end(text, end);
        TLMI_TRY(append_cluster(&normalizer->map, out, text, next));
        text = next;
    }
    return TLM_OK;
}

static bool precompiled_leaves(const tlmi_normalizer_t *base, const uint8_t *text, size_t size,
                               int part)
{
    (void)part;
    return skip_plain((const precompiled_t *)base, text, text + size) == text + size;
}

/* A cluster never has a space after a letter. */
static bool precompiled_keeps_cuts(const tlmi_normalizer_t *base)
{
    const precompiled_t *normalizer = (const precompiled_t *)base;

    for (int c = 0; c < 0x80; c++)
        if ((c == ' ' || tlmi_is_ascii_alnum((uint8_t)c)) && !normalizer->plain[c])
            return false;
    return true;
}

static void precompiled_free(tlmi_normalizer_t *base)
{
    tlmi_charsmap_release(&((precompiled_t *)base)->map);
    tlmi_free(base);
}

static const tlmi_normalizer_kind_t precompiled_kind = {.name = "Precompiled",
                                                        .leaves = precompiled_leaves,
                                                        .append = precompiled_append,
                                                        .cuts_at = tlmi_cuts_anywhere,
                                                        .keeps_cuts = precompiled_keeps_cuts,
                                                        .free = precompiled_free};

tlm_status_t tlmi_precompiled_create(const tlmi_normalizer_t **out, const char *what,
                                     const void *blob, size_t size)
{
    precompiled_t *normalizer = tlmi_calloc(1, sizeof(*normalizer), "a normalizer");

    if (normalizer == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    normalizer->base.kind = &precompiled_kind;
    tlm_status_t status = tlmi_charsmap_read(&normalizer->map, what, blob, size);
    if (status != TLM_OK) {
        tlmi_free(normalizer);
        return status;
    }
    for (int c = 0; c < 0x80; c++)
        normalizer->plain[c] =
            c != '\r' && !tlmi_charsmap_has_ascii(&normalizer->map, (uint8_t)c, false);
    *out = &normalizer->base;
    return TLM_OK;
}
