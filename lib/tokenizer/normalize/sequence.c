/* Several normalizers, one after the other. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/normalize/normalize.h"

typedef struct sequence {
    tlmi_normalizer_t base;
    size_t n;
    const tlmi_normalizer_t *parts[]; /* none is a sequence */
} sequence_t;

static bool sequence_leaves(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t size,
                            int part)
{
    const sequence_t *sequence = (const sequence_t *)normalizer;

    for (size_t i = 0; i < sequence->n; i++)
        if (!sequence->parts[i]->kind->leaves(sequence->parts[i], text, size, part))
            return false;
    return true;
}

/* The last part that may change the text writes to `out`; those before it write to two other texts
 * in turn. Whether a part may change the text is known only when its turn comes, so what looks like
 * the last one is the last one in the sequence. */
static tlm_status_t sequence_append(const tlmi_normalizer_t *normalizer, tlmi_normal_text_t *out,
                                    const uint8_t *text, size_t size, int part)
{
    const sequence_t *sequence = (const sequence_t *)normalizer;
    size_t turn = 0;

    if (out->stages == NULL && sequence->n > 1)
        out->stages = tlmi_calloc(2, sizeof(*out->stages), "a normalized text");
    if (out->stages == NULL && sequence->n > 1)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < sequence->n; i++) {
        const tlmi_normalizer_t *next = sequence->parts[i];

        if (i + 1 == sequence->n)
            return next->kind->append(next, out, text, size, part);
        if (next->kind->leaves(next, text, size, part))
            continue;
        tlmi_normal_text_t *stage = &out->stages[turn++ % 2];
        stage->size = 0;
        TLMI_TRY(next->kind->append(next, stage, text, size, part));
        text = stage->size > 0 ? stage->bytes : (const uint8_t *)"";
        size = stage->size;
    }
    return tlmi_normal_text_append(out, text, size);
}

static bool sequence_cuts_at(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t at)
{
    static const uint8_t example[] = "a b";
    const sequence_t *sequence = (const sequence_t *)normalizer;

    for (size_t i = 0; i < sequence->n; i++) {
        const tlmi_normalizer_kind_t *kind = sequence->parts[i]->kind;

        if (kind->cuts_at == NULL ||
            !kind->cuts_at(sequence->parts[i], i == 0 ? text : example, i == 0 ? at : 1))
            return false;
        if (i + 1 < sequence->n && kind->keeps_cuts != NULL &&
            !kind->keeps_cuts(sequence->parts[i]))
            return false;
    }
    return true;
}

static bool sequence_keeps_cuts(const tlmi_normalizer_t *normalizer)
{
    const sequence_t *sequence = (const sequence_t *)normalizer;

    for (size_t i = 0; i < sequence->n; i++) {
        const tlmi_normalizer_kind_t *kind = sequence->parts[i]->kind;

        if (kind->keeps_cuts != NULL && !kind->keeps_cuts(sequence->parts[i]))
            return false;
    }
    return true;
}

static void sequence_free(tlmi_normalizer_t *normalizer)
{
    sequence_t *sequence = (sequence_t *)normalizer;

    for (size_t i = 0; i < sequence->n; i++)
        tlmi_normalizer_free(sequence->parts[i]);
    tlmi_free(sequence);
}

static const tlmi_normalizer_kind_t sequence_kind = {.name = "Sequence",
                                                     .leaves = sequence_leaves,
                                                     .append = sequence_append,
                                                     .cuts_at = sequence_cuts_at,
                                                     .keeps_cuts = sequence_keeps_cuts,
                                                     .free = sequence_free};

/* Adds a part. The parts of a sequence are added in its place. */
static void add_part(sequence_t *sequence, const tlmi_normalizer_t *part)
{
    const sequence_t *inner = (const sequence_t *)part;

    if (part->kind != &sequence_kind) {
        sequence->parts[sequence->n++] = part;
        return;
    }
    for (size_t i = 0; i < inner->n; i++)
        sequence->parts[sequence->n++] = inner->parts[i];
    tlmi_free((void *)(uintptr_t)part);
}

tlm_status_t tlmi_normalizer_sequence_create(const tlmi_normalizer_t **out,
                                             const tlmi_normalizer_t *const *parts, size_t n)
{
    size_t total = 0;

    for (size_t i = 0; i < n; i++)
        total += parts[i]->kind == &sequence_kind ? ((const sequence_t *)parts[i])->n : 1;
    sequence_t *sequence = tlmi_alloc(sizeof(*sequence) + total * sizeof(sequence->parts[0]), 1,
                                      "a sequence of normalizers");
    if (sequence == NULL) {
        for (size_t i = 0; i < n; i++)
            tlmi_normalizer_free(parts[i]);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    *sequence = (sequence_t){{&sequence_kind}, 0};
    for (size_t i = 0; i < n; i++)
        add_part(sequence, parts[i]);
    *out = &sequence->base;
    return TLM_OK;
}
