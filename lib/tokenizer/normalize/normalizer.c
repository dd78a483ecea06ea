/* What all normalizers share: the text that they write, and the end of their life. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/normalize/normalize.h"

void tlmi_normal_text_release(tlmi_normal_text_t *text)
{
    tlmi_free(text->bytes);
    tlmi_free(text->characters);
    *text = (tlmi_normal_text_t){0};
}

tlm_status_t tlmi_normal_text_append(tlmi_normal_text_t *out, const void *bytes, size_t size)
{
    size_t room;

    if (!tlmi_add_size(&room, out->size, size) || !tlmi_add_size(&room, room, 1))
        return tlmi_fail_memory(size, "a normalized text");
    if (!tlmi_grow(&out->bytes, &out->capacity, room, 1, "a normalized text"))
        return TLM_ERR_OUT_OF_MEMORY;
    if (size > 0)
        memcpy(out->bytes + out->size, bytes, size);
    out->size += size;
    return TLM_OK;
}

void tlmi_normalizer_free(const tlmi_normalizer_t *normalizer)
{
    if (normalizer != NULL && normalizer->kind->free != NULL)
        normalizer->kind->free((tlmi_normalizer_t *)normalizer);
}
