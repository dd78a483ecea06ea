/* Decoding whole rows of ids. Without a decoder the text is the tokens' bytes one after another.
 * Nearly all tokens are short, so each is copied as one vector of constant size. The bytes of the
 * vector after the token are overwritten by the next token. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "tokenizer/tokenizer_core.h"
#include "tokenizer/pretokenize/unicode.h"

#define CHUNK 4096 /* ids whose sizes are summed between two checks */

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

/* ---- One row ---- */

static tlm_status_t check_ids(const char *function, const tlm_tokenizer_t *tokenizer,
                              const uint32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (token_size(&tokenizer->vocabulary, ids[i]) == 0)
            return tlmi_fail(TLM_ERR_RANGE,
                             "%s: id %u at position %zu is outside the vocabulary of %u", function,
                             ids[i], i, tokenizer->vocabulary.size);
    return TLM_OK;
}

static tlm_status_t concatenate(uint8_t **bytes, size_t *size, const char *function,
                                const tlm_tokenizer_t *tokenizer, const uint32_t *ids, size_t n)
{
    size_t total = 0, room, bad;

    if (!tlmi_measure_ids(&total, &bad, &tokenizer->vocabulary, ids, n) && bad < n)
        return check_ids(function, tokenizer, ids, n);
    if ((n > 0 && total == 0) || !tlmi_add_size(&room, total, 1))
        return tlmi_fail_memory(SIZE_MAX, "a text");
    uint8_t *out = tlmi_alloc(room, 1, "a text");
    if (out == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_copy_tokens(out, total, &tokenizer->vocabulary, ids, n);
    out[total] = '\0';
    *bytes = out;
    *size = total;
    return TLM_OK;
}

static tlm_status_t decode_in_steps(uint8_t **bytes, size_t *size, const tlm_tokenizer_t *tokenizer,
                                    const uint32_t *ids, size_t n, bool keeps_bytes)
{
    tlmi_decode_run_t *run;
    tlm_status_t status;

    TLMI_TRY(tlmi_decode_run_create(&run, tokenizer, keeps_bytes));
    for (size_t i = 0; i < n; i++)
        TLMI_TRY_OR(done, tlmi_decode_run_push(run, ids[i]));
    TLMI_TRY_OR(done, tlmi_decode_run_finish(run));
    if (!tlmi_grow(&run->text, &run->capacity, run->size + 1, 1, "decoded text")) {
        status = TLM_ERR_OUT_OF_MEMORY;
        goto done;
    }
    run->text[run->size] = '\0';
    *bytes = run->text;
    *size = run->size;
    run->text = NULL;
done:
    tlmi_decode_run_free(run);
    return status;
}

/* Copies the ids that are not special tokens. */
static tlm_status_t skip_special(uint32_t **kept, size_t *num_kept,
                                 const tlm_tokenizer_t *tokenizer, const uint32_t *ids, size_t n)
{
    uint8_t *special;

    TLMI_TRY(tlmi_added_token_bits(&special, tokenizer, true));
    uint32_t *copy = tlmi_alloc(n, sizeof(*copy), "ids without special tokens");
    size_t count = 0;
    for (size_t i = 0; copy != NULL && i < n; i++)
        if (!tlmi_bit(special, ids[i]))
            copy[count++] = ids[i];
    tlmi_free(special);
    if (copy == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    *kept = copy;
    *num_kept = count;
    return TLM_OK;
}

/* Makes bytes valid UTF-8. */
static tlm_status_t make_text(uint8_t **bytes, size_t *size)
{
    uint8_t *from = *bytes;

    if (tlmi_utf8_valid(from, *size))
        return TLM_OK;
    char *text;
    tlm_status_t status = tlm_utf8_sanitize(&text, size, from, *size);
    tlmi_free(from);
    *bytes = status == TLM_OK ? (uint8_t *)text : NULL;
    return status;
}

tlm_status_t tlmi_decode_row(uint8_t **bytes, size_t *size, const char *function,
                             const tlm_tokenizer_t *tokenizer, const uint32_t *ids, size_t n,
                             const tlm_decode_options_t *options)
{
    uint32_t *kept = NULL;
    uint8_t *made = NULL;
    size_t made_size = 0;
    tlm_status_t status;

    if (options->skip_special_tokens || tokenizer->decoder != NULL)
        TLMI_TRY(check_ids(function, tokenizer, ids, n));
    if (options->skip_special_tokens) {
        TLMI_TRY(skip_special(&kept, &n, tokenizer, ids, n));
        ids = kept;
    }
    if (tokenizer->decoder == NULL)
        TLMI_TRY_OR(done, concatenate(&made, &made_size, function, tokenizer, ids, n));
    else
        TLMI_TRY_OR(done, decode_in_steps(&made, &made_size, tokenizer, ids, n, !options->as_text));
    if (options->as_text)
        TLMI_TRY_OR(done, make_text(&made, &made_size));
    *bytes = made;
    *size = made_size;
done:
    tlmi_free(kept);
    return status;
}

tlm_status_t tlm_tokenizer_decode(uint8_t **bytes, size_t *size, const tlm_tokenizer_t *tokenizer,
                                  const uint32_t *ids, size_t n)
{
    static const tlm_decode_options_t options = TLM_DECODE_OPTIONS_INIT;

    TLMI_REQUIRE("tokenizer_decode", bytes);
    TLMI_REQUIRE("tokenizer_decode", size);
    TLMI_REQUIRE("tokenizer_decode", tokenizer);
    if (n > 0)
        TLMI_REQUIRE("tokenizer_decode", ids);
    return tlmi_decode_row(bytes, size, "tokenizer_decode", tokenizer, ids, n, &options);
}

tlm_status_t tlm_tokenizer_decode_text(char **text, size_t *size, const tlm_tokenizer_t *tokenizer,
                                       const uint32_t *ids, size_t n)
{
    tlm_decode_options_t options = TLM_DECODE_OPTIONS_INIT;

    TLMI_REQUIRE("tokenizer_decode_text", text);
    TLMI_REQUIRE("tokenizer_decode_text", size);
    TLMI_REQUIRE("tokenizer_decode_text", tokenizer);
    if (n > 0)
        TLMI_REQUIRE("tokenizer_decode_text", ids);
    options.as_text = true;
    uint8_t *bytes;
    TLMI_TRY(tlmi_decode_row(&bytes, size, "tokenizer_decode_text", tokenizer, ids, n, &options));
    *text = (char *)bytes;
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_decode_with(uint8_t **bytes, size_t *size,
                                       const tlm_tokenizer_t *tokenizer, const uint32_t *ids,
                                       size_t n, const tlm_decode_options_t *options)
{
    tlm_decode_options_t known = TLM_DECODE_OPTIONS_INIT;

    TLMI_REQUIRE("tokenizer_decode_with", bytes);
    TLMI_REQUIRE("tokenizer_decode_with", size);
    TLMI_REQUIRE("tokenizer_decode_with", tokenizer);
    if (n > 0)
        TLMI_REQUIRE("tokenizer_decode_with", ids);
    if (options != NULL)
        TLMI_TRY(tlmi_options_read("tokenizer_decode_with", &known, TLMI_DECODE_OPTIONS, options));
    return tlmi_decode_row(bytes, size, "tokenizer_decode_with", tokenizer, ids, n, &known);
}
