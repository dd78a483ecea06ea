/* Encoding by rank, in the plainest way. */
#ifndef TEST_NAIVE_BY_RANK_H
#define TEST_NAIVE_BY_RANK_H

#include <string.h>

#include "tinylm/tinylm.h"

/* tiktoken as it is described: a pretoken that is a token; else the neighbors whose bytes together have
 * the lowest rank are joined, the leftmost first, until none are a token.
 * At most 64 bytes. SIZE_MAX if what is left at the end is no token. */
static inline size_t naive_by_rank(uint32_t *ids, const tlm_tokenizer_t *tokenizer,
                                   tlm_bytes_t text)
{
    size_t ends[64], n = text.size;

    for (size_t i = 0; i < n; i++)
        ends[i] = i + 1;
    if (tlm_tokenizer_token_id(ids, tokenizer, text.data, text.size) == TLM_OK)
        return 1;
    for (;;) {
        uint32_t lowest = UINT32_MAX, rank;
        size_t best = 0;

        for (size_t i = 0; i + 1 < n; i++) {
            size_t start = i == 0 ? 0 : ends[i - 1];

            if (tlm_tokenizer_token_id(&rank, tokenizer, text.data + start, ends[i + 1] - start) ==
                    TLM_OK &&
                rank < lowest) {
                lowest = rank;
                best = i;
            }
        }
        if (lowest == UINT32_MAX)
            break;
        n--;
        memmove(ends + best, ends + best + 1, (n - best) * sizeof(*ends));
    }
    for (size_t i = 0; i < n; i++) {
        size_t start = i == 0 ? 0 : ends[i - 1];

        if (tlm_tokenizer_token_id(&ids[i], tokenizer, text.data + start, ends[i] - start) !=
            TLM_OK)
            return SIZE_MAX;
    }
    return n;
}

#endif
