/* Memory and names of tokens that subword models use. */
#include "tokenizer/subword_model.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/tokenizer_core.h"

bool tlmi_id_list_reserve(tlmi_id_list_t *list, size_t n)
{
    size_t needed;

    if (!tlmi_add_size(&needed, list->n, n) || !tlmi_add_size(&needed, needed, TLMI_IDS_AT_ONCE)) {
        tlmi_fail_memory(n, "token ids");
        return false;
    }
    return tlmi_grow(&list->ids, &list->capacity, needed, sizeof(*list->ids), "token ids");
}

bool tlmi_id_list_fit(tlmi_id_list_t *list)
{
    uint32_t *fitted = tlmi_realloc(list->ids, list->n, sizeof(*fitted), "token ids");

    if (fitted == NULL && list->ids == NULL)
        return false;
    if (fitted != NULL) {
        list->ids = fitted;
        list->capacity = list->n;
    }
    return true;
}

void tlmi_id_list_release(tlmi_id_list_t *list)
{
    tlmi_free(list->ids);
    *list = (tlmi_id_list_t){0};
}

tlm_status_t tlmi_id_list_append(tlmi_id_list_t *list, const uint32_t *ids, size_t n)
{
    if (n == 0)
        return TLM_OK;
    if (!tlmi_id_list_reserve(list, n))
        return TLM_ERR_OUT_OF_MEMORY;
    memcpy(list->ids + list->n, ids, n * sizeof(*ids));
    list->n += n;
    return TLM_OK;
}

void *tlmi_scratch_reserve(tlmi_scratch_t *scratch, size_t size)
{
    if (size <= scratch->size)
        return scratch->block;
    tlmi_scratch_release(scratch);
    scratch->block = tlmi_alloc_aligned(size, 1, "a long pretoken");
    scratch->size = scratch->block != NULL ? size : 0;
    return scratch->block;
}

void tlmi_scratch_release(tlmi_scratch_t *scratch)
{
    tlmi_free(scratch->block);
    *scratch = (tlmi_scratch_t){0};
}

tlm_status_t tlmi_subword_encode(const tlmi_subword_model_t *model, tlmi_scratch_t *scratch,
                                 tlmi_id_list_t *out, const uint8_t *pretoken, size_t size)
{
    const tlmi_word_table_t *words = model->words;

    if (words != NULL && size <= words->max_size) {
        tlmi_pretoken_key_t key = tlmi_pretoken_exact_key(pretoken, size);
        uint32_t id = tlmi_word_table_find(words, key, pretoken, size);

        if (id != TLMI_NO_WORD) {
            out->ids[out->n++] = id;
            return TLM_OK;
        }
    }
    return model->kind->encode(model, scratch, out, pretoken, size);
}

uint32_t tlmi_find_byte_token(const tlmi_vocabulary_t *vocabulary, int byte)
{
    char name[8];

    snprintf(name, sizeof(name), "<0x%02X>", (unsigned)byte & 0xFF);
    return tlmi_vocabulary_find(vocabulary, (const uint8_t *)name, strlen(name));
}
