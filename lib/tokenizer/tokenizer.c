/* Access to the tokens, merges and special tokens of a tokenizer. */
#include "tokenizer/bpe/bpe.h"

#include "base/error.h"

uint32_t tlm_tokenizer_vocab_size(const tlm_tokenizer_t *tokenizer)
{
    return tokenizer == NULL ? 0 : tokenizer->vocabulary.size;
}

uint32_t tlm_tokenizer_num_merges(const tlm_tokenizer_t *tokenizer)
{
    const tlmi_bpe_model_t *model = tokenizer == NULL ? NULL : tlmi_tokenizer_bpe(tokenizer);

    return model == NULL ? 0 : model->merges.size;
}

uint32_t tlm_tokenizer_num_special_tokens(const tlm_tokenizer_t *tokenizer)
{
    return tokenizer == NULL ? 0 : (uint32_t)tlmi_special_tokens_count(tokenizer->special);
}

static tlm_status_t fail_id(const char *function, uint32_t id, const tlm_tokenizer_t *tokenizer)
{
    return tlmi_fail(TLM_ERR_RANGE, "%s: id %u is outside the vocabulary of %u", function, id,
                     tokenizer->vocabulary.size);
}

/* Returns the token with this id; its size is 0 if there is no such token. */
static tlm_bytes_t find_token(const tlm_tokenizer_t *tokenizer, uint32_t id)
{
    if (id >= tokenizer->vocabulary.size)
        return (tlm_bytes_t){NULL, 0};
    return tlmi_vocabulary_token(&tokenizer->vocabulary, id);
}

tlm_status_t tlm_tokenizer_token(tlm_bytes_t *out, const tlm_tokenizer_t *tokenizer, uint32_t id)
{
    TLMI_REQUIRE("tokenizer_token", out);
    TLMI_REQUIRE("tokenizer_token", tokenizer);
    tlm_bytes_t token = find_token(tokenizer, id);
    if (token.size == 0)
        return fail_id("tokenizer_token", id, tokenizer);
    *out = token;
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_merge(uint32_t *left, uint32_t *right, const tlm_tokenizer_t *tokenizer,
                                 uint32_t index)
{
    TLMI_REQUIRE("tokenizer_merge", left);
    TLMI_REQUIRE("tokenizer_merge", right);
    TLMI_REQUIRE("tokenizer_merge", tokenizer);
    if (index >= tlm_tokenizer_num_merges(tokenizer))
        return tlmi_fail(TLM_ERR_RANGE, "tokenizer_merge: no merge %u; there are %u", index,
                         tlm_tokenizer_num_merges(tokenizer));
    const tlmi_merge_t *merge = &tlmi_tokenizer_bpe(tokenizer)->merges.merges[index];
    *left = merge->left;
    *right = merge->right;
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_special_token(uint32_t *id, const tlm_tokenizer_t *tokenizer,
                                         uint32_t index)
{
    TLMI_REQUIRE("tokenizer_special_token", id);
    TLMI_REQUIRE("tokenizer_special_token", tokenizer);
    if (index >= tlmi_special_tokens_count(tokenizer->special))
        return tlmi_fail(TLM_ERR_RANGE,
                         "tokenizer_special_token: no special token %u; there are %zu", index,
                         tlmi_special_tokens_count(tokenizer->special));
    *id = tokenizer->special_ids[index];
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_token_id(uint32_t *id, const tlm_tokenizer_t *tokenizer,
                                    const void *bytes, size_t size)
{
    TLMI_REQUIRE("tokenizer_token_id", id);
    TLMI_REQUIRE("tokenizer_token_id", tokenizer);
    if (size > 0)
        TLMI_REQUIRE("tokenizer_token_id", bytes);
    uint32_t found = tlmi_vocabulary_find(&tokenizer->vocabulary, bytes, size);
    if (found == TLMI_NO_TOKEN)
        return tlmi_fail(TLM_ERR_NOT_FOUND,
                         "tokenizer_token_id: no token consists of these %zu bytes", size);
    *id = found;
    return TLM_OK;
}

/* ---- Memory ---- */

void tlm_tokenizer_trim(const tlm_tokenizer_t *tokenizer)
{
    if (tokenizer != NULL)
        tlmi_memory_pool_trim(tokenizer->memory);
}
