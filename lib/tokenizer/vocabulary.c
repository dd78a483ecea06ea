/* Token bytes are in one block; a hash table over it finds their ids. */
#include "tokenizer/tokenizer_core.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/hash.h"

void tlmi_vocabulary_release(tlmi_vocabulary_t *vocabulary)
{
    tlmi_free(vocabulary->bytes);
    tlmi_free(vocabulary->ends);
    tlmi_free(vocabulary->slots);
    *vocabulary = (tlmi_vocabulary_t){0};
}

/* Returns the slot that holds these bytes, or the free slot where they belong. */
static uint32_t *find_slot(const tlmi_vocabulary_t *vocabulary, const uint8_t *bytes, size_t size)
{
    size_t mask = vocabulary->num_slots - 1;
    size_t at = tlmi_hash_bytes(bytes, size) & mask;

    for (;; at = (at + 1) & mask) {
        uint32_t id = vocabulary->slots[at];

        if (id == TLMI_NO_TOKEN)
            return &vocabulary->slots[at];
        tlm_bytes_t token = tlmi_vocabulary_token(vocabulary, id);
        if (token.size == size && memcmp(token.data, bytes, size) == 0)
            return &vocabulary->slots[at];
    }
}

static tlm_status_t grow_slots(tlmi_vocabulary_t *vocabulary)
{
    size_t num_slots = vocabulary->num_slots == 0 ? 1024 : vocabulary->num_slots * 2;
    uint32_t *slots = tlmi_alloc(num_slots, sizeof(*slots), "a vocabulary");

    if (slots == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    uint32_t *before = vocabulary->slots;
    size_t num_before = vocabulary->num_slots;
    memset(slots, 0xFF, num_slots * sizeof(*slots));
    vocabulary->slots = slots;
    vocabulary->num_slots = num_slots;
    for (size_t i = 0; i < num_before; i++) {
        if (before[i] == TLMI_NO_TOKEN)
            continue;
        tlm_bytes_t token = tlmi_vocabulary_token(vocabulary, before[i]);
        *find_slot(vocabulary, token.data, token.size) = before[i];
    }
    tlmi_free(before);
    return TLM_OK;
}

/* Makes room for one more token of `size` bytes. */
static tlm_status_t reserve(tlmi_vocabulary_t *vocabulary, size_t size)
{
    if (vocabulary->size == TLMI_NO_TOKEN)
        return tlmi_fail(TLM_ERR_RANGE, "tokenizer: a vocabulary holds at most %u tokens",
                         TLMI_NO_TOKEN);
    size_t needed;
    if (!tlmi_add_size(&needed, vocabulary->bytes_size, size) ||
        !tlmi_add_size(&needed, needed, TLMI_VOCABULARY_SLACK))
        return tlmi_fail_memory(size, "a token");
    if (!tlmi_grow(&vocabulary->bytes, &vocabulary->bytes_capacity, needed, 1, "tokens") ||
        !tlmi_grow(&vocabulary->ends, &vocabulary->ends_capacity, (size_t)vocabulary->size + 1,
                   sizeof(*vocabulary->ends), "tokens"))
        return TLM_ERR_OUT_OF_MEMORY;
    if ((size_t)vocabulary->size * 2 >= vocabulary->num_slots)
        TLMI_TRY(grow_slots(vocabulary));
    return TLM_OK;
}

/* Makes the `size` bytes after bytes_size, which are already written, the next token. */
static void append(tlmi_vocabulary_t *vocabulary, size_t size)
{
    uint32_t id = vocabulary->size;
    const uint8_t *bytes = vocabulary->bytes + vocabulary->bytes_size;

    if (size > 0)
        *find_slot(vocabulary, bytes, size) = id;
    vocabulary->bytes_size += size;
    vocabulary->ends[id] = vocabulary->bytes_size;
    vocabulary->size++;
}

tlm_status_t tlmi_vocabulary_add(tlmi_vocabulary_t *vocabulary, const uint8_t *bytes, size_t size)
{
    TLMI_TRY(reserve(vocabulary, size));
    if (size > 0)
        memcpy(vocabulary->bytes + vocabulary->bytes_size, bytes, size);
    append(vocabulary, size);
    return TLM_OK;
}

tlm_status_t tlmi_vocabulary_add_over(tlmi_vocabulary_t *vocabulary, uint32_t twin)
{
    size_t size = tlmi_vocabulary_token(vocabulary, twin).size;

    TLMI_TRY(reserve(vocabulary, size));
    memcpy(vocabulary->bytes + vocabulary->bytes_size, tlmi_vocabulary_token(vocabulary, twin).data,
           size);
    append(vocabulary, size); /* takes the twin's slot */
    return TLM_OK;
}

tlm_status_t tlmi_vocabulary_add_hidden(tlmi_vocabulary_t *vocabulary, const uint8_t *bytes,
                                        size_t size)
{
    TLMI_TRY(reserve(vocabulary, size));
    memcpy(vocabulary->bytes + vocabulary->bytes_size, bytes, size);
    vocabulary->bytes_size += size;
    vocabulary->ends[vocabulary->size++] = vocabulary->bytes_size;
    return TLM_OK;
}

tlm_status_t tlmi_vocabulary_join(uint32_t *id, tlmi_vocabulary_t *vocabulary, uint32_t left,
                                  uint32_t right)
{
    size_t left_size = tlmi_vocabulary_token(vocabulary, left).size;
    size_t right_size = tlmi_vocabulary_token(vocabulary, right).size;

    TLMI_TRY(reserve(vocabulary, left_size + right_size));
    uint8_t *to = vocabulary->bytes + vocabulary->bytes_size; /* kept only if the token is new */
    memcpy(to, tlmi_vocabulary_token(vocabulary, left).data, left_size);
    memcpy(to + left_size, tlmi_vocabulary_token(vocabulary, right).data, right_size);
    *id = tlmi_vocabulary_find(vocabulary, to, left_size + right_size);
    if (*id == TLMI_NO_TOKEN) {
        *id = vocabulary->size;
        append(vocabulary, left_size + right_size);
    }
    return TLM_OK;
}

uint32_t tlmi_vocabulary_find(const tlmi_vocabulary_t *vocabulary, const uint8_t *bytes,
                              size_t size)
{
    if (size == 0 || vocabulary->num_slots == 0)
        return TLMI_NO_TOKEN;
    return *find_slot(vocabulary, bytes, size);
}
