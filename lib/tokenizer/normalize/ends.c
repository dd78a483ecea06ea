/* Normalizers that change only the ends of a piece: Strip and Prepend. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/normalize/normalize.h"
#include "tokenizer/pretokenize/unicode.h"

/* ---- Strip ---- */

typedef struct strip {
    tlmi_normalizer_t base;
    bool left, right;
} strip_t;

/* Returns the length of the white space that begins at `at`, or 0. */
static size_t space_at(const uint8_t *at, const uint8_t *end)
{
    int length;

    return tlmi_class_at(&length, at, end) == TLMI_CHAR_SPACE ? (size_t)length : 0;
}

/* Sets *start and *end to what is left of the text. */
static void strip(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size, int part,
                  const uint8_t **start, const uint8_t **end)
{
    const strip_t *options = (const strip_t *)normalizer;
    const uint8_t *from = text, *to = text + size;

    if (options->left && (part & TLMI_PIECE_BEGINS) != 0)
        for (size_t n = 1; n > 0 && from < to; from += n)
            n = space_at(from, to);
    while (options->right && (part & TLMI_PIECE_ENDS) != 0 && from < to) {
        const uint8_t *last = from + tlmi_utf8_last(from, (size_t)(to - from));

        if (space_at(last, to) == 0)
            break;
        to = last;
    }
    *start = from;
    *end = to;
}

static bool strip_leaves(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size,
                         int part)
{
    const uint8_t *start, *end;

    strip(normalizer, text, size, part, &start, &end);
    return (size_t)(end - start) == size;
}

static tlm_status_t strip_append(const tlmi_normalizer_t *normalizer, tlmi_normal_text_t *out,
                                 const uint8_t *text, size_t size, int part)
{
    const uint8_t *start, *end;

    strip(normalizer, text, size, part, &start, &end);
    return tlmi_normal_text_append(out, start, (size_t)(end - start));
}

static const tlmi_normalizer_kind_t strip_kind = {.name = "Strip",
                                                  .leaves = strip_leaves,
                                                  .append = strip_append,
                                                  .cuts_at = tlmi_cuts_anywhere,
                                                  .free = tlmi_normalizer_free_block};

tlm_status_t tlmi_strip_normalizer_create(const tlmi_normalizer_t **out, bool left, bool right)
{
    strip_t *normalizer = tlmi_alloc(1, sizeof(*normalizer), "a normalizer");

    if (normalizer == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    *normalizer = (strip_t){{&strip_kind}, left, right};
    *out = &normalizer->base;
    return TLM_OK;
}

/* ---- Prepend ---- */

typedef struct prepend {
    tlmi_normalizer_t base;
    size_t size;
    uint8_t bytes[];
} prepend_t;

static bool prepend_leaves(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size,
                           int part)
{
    (void)text;
    return size == 0 || (part & TLMI_PIECE_BEGINS) == 0 ||
           ((const prepend_t *)normalizer)->size == 0;
}

static tlm_status_t prepend_append(const tlmi_normalizer_t *normalizer, tlmi_normal_text_t *out,
                                   const uint8_t *text, size_t size, int part)
{
    const prepend_t *prepend = (const prepend_t *)normalizer;

    if (!prepend_leaves(normalizer, text, size, part))
        TLMI_TRY(tlmi_normal_text_append(out, prepend->bytes, prepend->size));
    return tlmi_normal_text_append(out, text, size);
}

static const tlmi_normalizer_kind_t prepend_kind = {.name = "Prepend",
                                                    .leaves = prepend_leaves,
                                                    .append = prepend_append,
                                                    .cuts_at = tlmi_cuts_anywhere,
                                                    .free = tlmi_normalizer_free_block};

tlm_status_t tlmi_prepend_create(const tlmi_normalizer_t **out, const void *bytes, size_t size)
{
    prepend_t *normalizer;
    size_t total;

    if (!tlmi_add_size(&total, sizeof(*normalizer), size))
        return tlmi_fail_memory(size, "a normalizer");
    normalizer = tlmi_alloc(total, 1, "a normalizer");
    if (normalizer == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    normalizer->base.kind = &prepend_kind;
    normalizer->size = size;
    if (size > 0)
        memcpy(normalizer->bytes, bytes, size);
    *out = &normalizer->base;
    return TLM_OK;
}
