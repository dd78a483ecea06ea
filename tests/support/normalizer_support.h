/* Normalizes a text in all ways that must give the same. */
#ifndef TEST_NORMALIZER_SUPPORT_H
#define TEST_NORMALIZER_SUPPORT_H

#include <stdio.h>
#include <string.h>

#include "tinylm/tinylm.h"
#include "tokenizer/normalize/normalize.h"

/* Appends a text that is cut at up to `most` of the places where it may be. */
static inline tlm_status_t append_in_parts(const tlmi_normalizer_t *normalizer,
                                           tlmi_normal_text_t *out, const uint8_t *text,
                                           size_t size, size_t most)
{
    int part = TLMI_PIECE_BEGINS;
    size_t from = 0;

    for (size_t at = 1; at < size && most > 0 && normalizer->kind->cuts_at != NULL; at++) {
        uint8_t before = text[at - 1] | 0x20;
        bool letter = (before >= 'a' && before <= 'z') || (text[at - 1] >= '0' && before <= '9');
        tlm_status_t status;

        if (text[at] != ' ' || !letter || !normalizer->kind->cuts_at(normalizer, text, at))
            continue;
        status = normalizer->kind->append(normalizer, out, text + from, at - from, part);
        if (status != TLM_OK)
            return status;
        from = at;
        part = 0;
        most--;
    }
    return normalizer->kind->append(normalizer, out, text + from, size - from,
                                    part | TLMI_PIECE_ENDS);
}

/* Normalizes a whole text into `out`, which may hold other text. Returns NULL, or what is wrong:
 * cut into parts the text must become the same, and a quick check must be right. */
static inline const char *normalize_checked(tlmi_normal_text_t *out,
                                            const tlmi_normalizer_t *normalizer,
                                            const uint8_t *text, size_t size)
{
    const tlmi_normalizer_kind_t *kind = normalizer->kind;
    tlmi_normal_text_t parts = {0};
    size_t from = out->size;
    const char *wrong = NULL;

    if (kind->append(normalizer, out, text, size, TLMI_WHOLE_PIECE) != TLM_OK)
        return tlm_error_message();
    size_t n = out->size - from;
    if (kind->leaves(normalizer, text, size, TLMI_WHOLE_PIECE) &&
        (n != size || (n > 0 && memcmp(out->bytes + from, text, n) != 0)))
        wrong = "the quick check says that the text does not change";
    if (append_in_parts(normalizer, &parts, text, size, 3) != TLM_OK)
        wrong = "a part fails";
    else if (parts.size != n || (n > 0 && memcmp(parts.bytes, out->bytes + from, n) != 0))
        wrong = "a text that is cut becomes another text";
    tlmi_normal_text_release(&parts);
    return wrong;
}

#endif
