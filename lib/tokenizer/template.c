/* The ids around a text. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/tokenizer_core.h"

tlm_status_t tlmi_template_create(tlmi_template_t **out, const uint32_t *before, size_t num_before,
                                  const uint32_t *after, size_t num_after)
{
    size_t count, size;

    if (!tlmi_add_size(&count, num_before, num_after) ||
        !tlmi_mul_size(&size, count, sizeof(uint32_t)) ||
        !tlmi_add_size(&size, size, sizeof(tlmi_template_t)))
        return tlmi_fail_memory(SIZE_MAX, "a template");
    tlmi_template_t *made = tlmi_alloc(1, size, "a template");
    if (made == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    uint32_t *ids = (uint32_t *)(made + 1);
    if (num_before > 0)
        memcpy(ids, before, num_before * sizeof(*ids));
    if (num_after > 0)
        memcpy(ids + num_before, after, num_after * sizeof(*ids));
    *made = (tlmi_template_t){num_before, num_after, ids, ids + num_before};
    *out = made;
    return TLM_OK;
}

void tlmi_template_free(tlmi_template_t *ids)
{
    tlmi_free(ids);
}
