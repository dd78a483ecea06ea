/* What all normalizers share: the text that they write, and freeing them. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/normalize/normalize.h"

void tlmi_normal_text_release(tlmi_normal_text_t *text)
{
    tlmi_free(text->bytes);
    tlmi_free(text->characters);
    for (int i = 0; text->stages != NULL && i < 2; i++)
        tlmi_normal_text_release(&text->stages[i]);
    tlmi_free(text->stages);
    *text = (tlmi_normal_text_t){0};
}

uint8_t *tlmi_normal_text_room(tlmi_normal_text_t *out, size_t size)
{
    size_t room;

    if (!tlmi_add_size(&room, out->size, size) || !tlmi_add_size(&room, room, 1)) {
        tlmi_fail_memory(size, "a normalized text");
        return NULL;
    }
    if (!tlmi_grow(&out->bytes, &out->capacity, room, 1, "a normalized text"))
        return NULL;
    return out->bytes + out->size;
}

tlm_status_t tlmi_normal_text_append(tlmi_normal_text_t *out, const void *bytes, size_t size)
{
    uint8_t *room = tlmi_normal_text_room(out, size);

    if (room == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (size > 0)
        memcpy(room, bytes, size);
    out->size += size;
    return TLM_OK;
}

void tlmi_normalizer_free(const tlmi_normalizer_t *normalizer)
{
    if (normalizer != NULL && normalizer->kind->free != NULL)
        normalizer->kind->free((tlmi_normalizer_t *)normalizer);
}

void tlmi_normalizer_free_block(tlmi_normalizer_t *normalizer)
{
    tlmi_free(normalizer);
}

bool tlmi_cuts_anywhere(const tlmi_normalizer_t *normalizer, const uint8_t *text, size_t at)
{
    (void)normalizer;
    (void)text;
    (void)at;
    return true;
}
