/* Nearly all tokens are short: they are copied as one vector of constant size, and what it holds
 * beyond the token is written over by the next. */
#include "tokenizer/tokenizer_core.h"

#include <string.h>

#include "base/memory.h"

#define CHUNK 4096 /* ids whose sizes are summed without a look at the sum */

static size_t token_size(const tlmi_vocabulary_t *vocabulary, uint32_t id)
{
    return id < vocabulary->size ? tlmi_vocabulary_token(vocabulary, id).size : 0;
}

bool tlmi_measure_ids(size_t *size, size_t *bad, const tlmi_vocabulary_t *vocabulary,
                      const uint32_t *ids, size_t n)
{
    size_t total = 0;

    for (size_t start = 0, end; start < n; start = end) {
        size_t sum = 0;
        bool none = false;

        end = n - start < CHUNK ? n : start + CHUNK;
        for (size_t i = start; i < end; i++) {
            size_t one = token_size(vocabulary, ids[i]);

            none |= one == 0;
            sum += one;
        }
        *bad = start;
        while (none && token_size(vocabulary, ids[*bad]) > 0)
            ++*bad;
        if (none)
            return false;
        *bad = n;
        if (!tlmi_add_size(&total, total, sum))
            return false;
    }
    *size = total;
    return true;
}

void tlmi_copy_tokens(uint8_t *to, size_t size, const tlmi_vocabulary_t *vocabulary,
                      const uint32_t *ids, size_t n)
{
    const uint8_t *end = to + size;

    for (size_t i = 0; i < n; i++) {
        tlm_bytes_t token = tlmi_vocabulary_token(vocabulary, ids[i]);

        if (token.size <= TLMI_VOCABULARY_SLACK && end - to >= TLMI_VOCABULARY_SLACK)
            memcpy(to, token.data, TLMI_VOCABULARY_SLACK);
        else
            memcpy(to, token.data, token.size);
        to += token.size;
    }
}
