/* The special and added tokens of a tokenizer that is being read. */
#include "tokenizer/formats/token_files.h"

#include <inttypes.h>

#include "base/error.h"
#include "base/memory.h"

void tlmi_special_list_release(tlmi_special_list_t *list)
{
    tlmi_free(list->tokens);
    tlmi_free(list->ids);
    tlmi_free(list->flags);
    tlmi_vocabulary_release(&list->index);
    *list = (tlmi_special_list_t){0};
}

tlm_status_t tlmi_special_list_add(tlmi_special_list_t *list, tlm_bytes_t token, uint32_t id,
                                   uint8_t flags)
{
    size_t needed = list->n + 1;

    if (!tlmi_grow(&list->tokens, &list->tokens_capacity, needed, sizeof(*list->tokens),
                   "special tokens") ||
        !tlmi_grow(&list->ids, &list->ids_capacity, needed, sizeof(*list->ids), "special tokens") ||
        !tlmi_grow(&list->flags, &list->flags_capacity, needed, 1, "special tokens"))
        return TLM_ERR_OUT_OF_MEMORY;
    TLMI_TRY(tlmi_vocabulary_add(&list->index, token.data, token.size));
    list->tokens[list->n] = token;
    list->ids[list->n] = id;
    list->flags[list->n++] = flags;
    return TLM_OK;
}

/* Gives a token that the vocabulary lacks the next id, or the one that the caller wants, with holes
 * before it. */
static tlm_status_t append(uint32_t *id, tlmi_vocabulary_t *vocabulary, tlm_bytes_t token,
                           uint32_t wanted, size_t index, const char *what)
{
    size_t limit = tlmi_token_list_limit(vocabulary->size);

    if (wanted != UINT32_MAX && (wanted < vocabulary->size || wanted >= limit))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: special token %zu is to have the id %" PRIu32
                         ", which is not in %" PRIu32 " .. %zu",
                         what, index, wanted, vocabulary->size, limit - 1);
    while (wanted != UINT32_MAX && vocabulary->size < wanted)
        TLMI_TRY(tlmi_vocabulary_add(vocabulary, NULL, 0));
    *id = vocabulary->size;
    return tlmi_vocabulary_add(vocabulary, token.data, token.size);
}

static tlm_status_t add_option(tlmi_special_list_t *list, tlmi_vocabulary_t *vocabulary,
                               const tlm_tokenizer_options_t *options, size_t index,
                               const char *what)
{
    tlm_bytes_t token = options->special_tokens[index];
    uint32_t wanted =
        options->special_token_ids == NULL ? UINT32_MAX : options->special_token_ids[index];

    if (token.data == NULL || token.size == 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: special token %zu of %zu is empty", what,
                         index, options->num_special_tokens);
    uint32_t known = tlmi_special_list_find(list, token);
    uint32_t id = known != TLMI_NO_TOKEN ? list->ids[known]
                                         : tlmi_vocabulary_find(vocabulary, token.data, token.size);
    if (id != TLMI_NO_TOKEN && wanted != UINT32_MAX && wanted != id)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: special token %zu is to have the id %" PRIu32
                         ", but it is token %" PRIu32 " of the file",
                         what, index, wanted, id);
    if (known != TLMI_NO_TOKEN) {
        list->flags[known] &= (uint8_t)~TLMI_TOKEN_ORDINARY;
        return TLM_OK;
    }
    if (id == TLMI_NO_TOKEN)
        TLMI_TRY(append(&id, vocabulary, token, wanted, index, what));
    return tlmi_special_list_add(list, token, id, 0);
}

tlm_status_t tlmi_special_list_add_options(tlmi_special_list_t *list, tlmi_vocabulary_t *vocabulary,
                                           const tlm_tokenizer_options_t *options, const char *what)
{
    if (options->num_special_tokens > 0)
        TLMI_REQUIRE(what, options->special_tokens);
    for (size_t i = 0; i < options->num_special_tokens; i++)
        TLMI_TRY(add_option(list, vocabulary, options, i, what));
    return TLM_OK;
}

tlm_status_t tlmi_refuse_splitting_options(const tlm_tokenizer_options_t *options, const char *path,
                                           const char *kind)
{
    const char *name = options->pattern != NULL ? "pattern"
                       : options->nfc           ? "nfc"
                       : options->ignore_merges ? "ignore_merges"
                                                : NULL;

    if (name == NULL)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                     "%s: the option %s is set, but %s says itself how texts are split", path, name,
                     kind);
}
