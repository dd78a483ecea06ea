/* Statistics of a vocabulary. */
#include <stdlib.h>

#include "tinylm/encode.h"

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/tokenizer_core.h"

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Sorts the tokens by keys: longest first, and by id if the lengths are equal. */
static size_t sort_tokens(uint64_t *keys, const tlm_tokenizer_t *tokenizer)
{
    size_t num_special = tlmi_special_tokens_count(tokenizer->special), n = 0, kept = 0;

    for (uint32_t id = 0; id < tokenizer->vocabulary.size; id++) {
        size_t size = tlmi_vocabulary_token(&tokenizer->vocabulary, id).size;

        keys[n++] = (uint64_t)(UINT32_MAX - (size < UINT32_MAX ? size : UINT32_MAX)) << 32 | id;
    }
    for (size_t i = 0; i < num_special; i++)
        keys[tokenizer->special_ids[i]] = UINT64_MAX;
    for (size_t i = 0; i < n; i++) /* holes have size 0 */
        if (keys[i] >> 32 != UINT32_MAX)
            keys[kept++] = keys[i];
    qsort(keys, kept, sizeof(*keys), compare_keys);
    return kept;
}

tlm_status_t tlm_tokenizer_longest_tokens(uint32_t *ids, size_t *n,
                                          const tlm_tokenizer_t *tokenizer, size_t most)
{
    TLMI_REQUIRE("tokenizer_longest_tokens", n);
    TLMI_REQUIRE("tokenizer_longest_tokens", tokenizer);
    if (most > 0)
        TLMI_REQUIRE("tokenizer_longest_tokens", ids);
    uint64_t *keys = tlmi_alloc(tokenizer->vocabulary.size, sizeof(*keys), "a list of tokens");
    if (keys == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    size_t count = sort_tokens(keys, tokenizer);
    count = count < most ? count : most;
    for (size_t i = 0; i < count; i++)
        ids[i] = (uint32_t)keys[i];
    *n = count;
    tlmi_free(keys);
    return TLM_OK;
}
