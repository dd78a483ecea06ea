/* Special tokens are few, and rare in a text, so the search finds candidates by their first byte
 * and then compares them, longest first. */
#include "tokenizer/pretokenize/pretokenize.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

struct tlmi_special_tokens {
    tlm_bytes_t *tokens; /* in the caller's order; they point into `bytes` */
    uint8_t *bytes;
    size_t n;
    const tlm_bytes_t **ordered; /* by first byte, then longest first */
    size_t first[257];           /* those that begin with byte b start at ordered[first[b]] */
    size_t longest;
    int only_first_byte; /* the first byte of all tokens if they share it, else -1 */
};

static int compare_tokens(const void *a, const void *b)
{
    const tlm_bytes_t *x = *(const tlm_bytes_t *const *)a, *y = *(const tlm_bytes_t *const *)b;

    if (x->data[0] != y->data[0])
        return x->data[0] < y->data[0] ? -1 : 1;
    if (x->size != y->size)
        return x->size > y->size ? -1 : 1;
    return memcmp(x->data, y->data, x->size);
}

static tlm_status_t check_tokens(const tlm_bytes_t *tokens, size_t n, const char *what,
                                 size_t *total)
{
    *total = 0;
    if (n > 0)
        TLMI_REQUIRE(what, tokens);
    for (size_t i = 0; i < n; i++) {
        if (tokens[i].size == 0 || tokens[i].data == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: special token %zu of %zu is empty",
                             what, i, n);
        if (!tlmi_add_size(total, *total, tokens[i].size))
            return tlmi_fail_memory(tokens[i].size, "special tokens");
    }
    return TLM_OK;
}

static void copy_tokens(tlmi_special_tokens_t *special, const tlm_bytes_t *tokens)
{
    uint8_t *to = special->bytes;

    for (size_t i = 0; i < special->n; i++) {
        memcpy(to, tokens[i].data, tokens[i].size);
        special->tokens[i] = (tlm_bytes_t){to, tokens[i].size};
        special->ordered[i] = &special->tokens[i];
        if (tokens[i].size > special->longest)
            special->longest = tokens[i].size;
        to += tokens[i].size;
    }
}

static tlm_status_t order_tokens(tlmi_special_tokens_t *special, const char *what)
{
    size_t i = 0, n = special->n;

    if (n > 0)
        qsort(special->ordered, n, sizeof(*special->ordered), compare_tokens);
    for (size_t k = 1; k < n; k++)
        if (compare_tokens(&special->ordered[k - 1], &special->ordered[k]) == 0)
            return tlmi_fail(
                TLM_ERR_INVALID_ARGUMENT, "%s: special tokens %zd and %zd are the same", what,
                special->ordered[k - 1] - special->tokens, special->ordered[k] - special->tokens);
    for (size_t byte = 0; byte <= 256; byte++) {
        while (i < n && special->ordered[i]->data[0] < byte)
            i++;
        special->first[byte] = i;
    }
    special->only_first_byte = -1;
    if (n > 0 && special->ordered[0]->data[0] == special->ordered[n - 1]->data[0])
        special->only_first_byte = special->ordered[0]->data[0];
    return TLM_OK;
}

tlm_status_t tlmi_special_tokens_create(tlmi_special_tokens_t **out, const tlm_bytes_t *tokens,
                                        size_t n, const char *what)
{
    tlmi_special_tokens_t *special;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;
    size_t total;

    TLMI_TRY(check_tokens(tokens, n, what, &total));
    special = tlmi_calloc(1, sizeof(*special), "special tokens");
    if (special == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    special->n = n;
    special->bytes = tlmi_alloc(total, 1, "special tokens");
    special->tokens = tlmi_alloc(n, sizeof(*special->tokens), "special tokens");
    special->ordered = tlmi_alloc(n, sizeof(*special->ordered), "special tokens");
    if (special->bytes == NULL || special->tokens == NULL || special->ordered == NULL)
        goto fail;
    copy_tokens(special, tokens);
    TLMI_TRY_OR(fail, order_tokens(special, what));
    *out = special;
    return TLM_OK;
fail:
    tlmi_special_tokens_free(special);
    return status;
}

void tlmi_special_tokens_free(tlmi_special_tokens_t *special)
{
    if (special == NULL)
        return;
    tlmi_free(special->bytes);
    tlmi_free(special->tokens);
    tlmi_free(special->ordered);
    tlmi_free(special);
}

size_t tlmi_special_tokens_count(const tlmi_special_tokens_t *special)
{
    return special->n;
}

tlm_bytes_t tlmi_special_tokens_get(const tlmi_special_tokens_t *special, size_t index)
{
    return special->tokens[index];
}

/* Returns the next position at or after `from` whose byte begins some special token; `size` if
 * there is none. */
static size_t next_candidate(const tlmi_special_tokens_t *special, const uint8_t *text, size_t size,
                             size_t from)
{
    if (special->only_first_byte >= 0) {
        const uint8_t *hit = memchr(text + from, special->only_first_byte, size - from);

        return hit == NULL ? size : (size_t)(hit - text);
    }
    while (from < size && special->first[text[from]] == special->first[text[from] + 1])
        from++;
    return from;
}

bool tlmi_special_tokens_find(tlmi_special_match_t *match, const tlmi_special_tokens_t *special,
                              const uint8_t *text, size_t size, size_t from, bool final)
{
    match->start = size;
    if (special->n == 0)
        return false;
    for (; from < size; from++) {
        from = next_candidate(special, text, size, from);
        if (from == size)
            return false;
        for (size_t i = special->first[text[from]]; i < special->first[text[from] + 1]; i++) {
            const tlm_bytes_t *token = special->ordered[i];
            size_t left = size - from;

            if (memcmp(text + from, token->data, left < token->size ? left : token->size) != 0)
                continue;
            if (left < token->size && final)
                continue;
            match->start = from;
            match->end = from + token->size;
            match->index = (size_t)(token - special->tokens);
            return left >= token->size;
        }
    }
    return false;
}

bool tlmi_special_tokens_at(const tlmi_special_tokens_t *special, const uint8_t *text, size_t size,
                            size_t at)
{
    for (size_t i = special->first[text[at]]; i < special->first[text[at] + 1]; i++) {
        const tlm_bytes_t *token = special->ordered[i];

        if (token->size <= size - at && memcmp(text + at, token->data, token->size) == 0)
            return true;
    }
    return false;
}

bool tlmi_special_tokens_cross(const tlmi_special_tokens_t *special, const uint8_t *text,
                               size_t size, size_t at)
{
    size_t from = at >= special->longest ? at - special->longest + 1 : 0;

    for (; special->n > 0 && from < at; from++)
        for (size_t i = special->first[text[from]]; i < special->first[text[from] + 1]; i++) {
            const tlm_bytes_t *token = special->ordered[i];

            if (from + token->size > at && token->size <= size - from &&
                memcmp(text + from, token->data, token->size) == 0)
                return true;
        }
    return false;
}
