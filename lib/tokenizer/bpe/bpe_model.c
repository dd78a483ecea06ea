/* The BPE model. A pretoken is first looked up as a whole token and merged only if that fails.
 * Short pretokens, which are nearly all of them, are merged in two arrays with a linear search
 * for the lowest rank. Long ones are merged with a tree of ranks, which keeps the time nearly
 * linear. */
#include "tokenizer/bpe/bpe.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define SHORT_SIZE 96 /* up to this many bytes, the arrays are faster than the tree */

/* ---- Short pretokens ---- */

static size_t lowest(const uint32_t *ranks, size_t n)
{
    size_t best = 0;

    for (size_t i = 1; i < n; i++)
        if (ranks[i] < ranks[best])
            best = i;
    return best;
}

/* Merges in place. `ids` holds the n byte tokens. Returns how many tokens remain. */
static size_t merge_short(const tlmi_merge_table_t *merges, uint32_t *ids, size_t n)
{
    uint32_t ranks[SHORT_SIZE]; /* ranks[i]: rank of the pair ids[i], ids[i + 1] */

    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = tlmi_merge_rank(merges, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t at = lowest(ranks, n - 1);

        if (ranks[at] == TLMI_NO_MERGE)
            break;
        ids[at] = merges->merges[ranks[at]].product;
        n--;
        memmove(ids + at + 1, ids + at + 2, (n - at - 1) * sizeof(*ids));
        if (at + 1 < n) {
            memmove(ranks + at + 1, ranks + at + 2, (n - at - 2) * sizeof(*ranks));
            ranks[at] = tlmi_merge_rank(merges, ids[at], ids[at + 1]);
        }
        if (at > 0)
            ranks[at - 1] = tlmi_merge_rank(merges, ids[at - 1], ids[at]);
    }
    return n;
}

/* ---- Any pretoken ---- */

static tlm_status_t merge_long(size_t *left, const tlmi_merge_table_t *merges,
                               tlmi_scratch_t *scratch, uint32_t *ids, size_t n)
{
    tlmi_merge_tree_layout_t layout;
    tlmi_merge_tree_t tree;
    uint32_t rank;
    void *memory;
    size_t at;

    if (!tlmi_merge_tree_lay_out(&layout, n))
        return tlmi_fail_memory(n, "a long pretoken");
    memory = tlmi_scratch_reserve(scratch, layout.size);
    if (memory == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_merge_tree_start(&tree, &layout, memory, merges, ids, n);
    while ((rank = tlmi_merge_tree_next(&at, &tree)) != TLMI_NO_MERGE)
        tlmi_merge_tree_apply(&tree, at, rank);
    *left = tlmi_merge_tree_finish(&tree);
    return TLM_OK;
}

tlm_status_t tlmi_bpe_merge(const tlmi_bpe_model_t *model, tlmi_scratch_t *scratch,
                            tlmi_id_list_t *out, const uint8_t *pretoken, size_t size)
{
    uint32_t *ids = out->ids + out->n;

    for (size_t i = 0; i < size; i++)
        ids[i] = model->byte_ids[pretoken[i]];
    if (size > SHORT_SIZE)
        TLMI_TRY(merge_long(&size, &model->merges, scratch, ids, size));
    else
        size = merge_short(&model->merges, ids, size);
    out->n += size;
    return TLM_OK;
}

static tlm_status_t encode(const tlmi_subword_model_t *base, tlmi_scratch_t *scratch,
                           tlmi_id_list_t *out, const uint8_t *pretoken, size_t size)
{
    const tlmi_bpe_model_t *model = (const tlmi_bpe_model_t *)base;
    uint32_t id = tlmi_vocabulary_find(model->vocabulary, pretoken, size);

    if (id == TLMI_NO_TOKEN || !model->is_whole[id])
        return tlmi_bpe_merge(model, scratch, out, pretoken, size);
    out->ids[out->n++] = id;
    return TLM_OK;
}

/* ---- Creating and finding the model ---- */

static void free_model(tlmi_subword_model_t *base)
{
    tlmi_bpe_model_t *model = (tlmi_bpe_model_t *)base;

    tlmi_merge_table_release(&model->merges);
    tlmi_free(model->is_whole);
    tlmi_free(model);
}

const tlmi_subword_kind_t tlmi_bpe_kind = {.name = "BPE",
                                           .encode = encode,
                                           .encode_with_dropout = tlmi_bpe_merge_with_dropout,
                                           .free = free_model};

tlm_status_t tlmi_bpe_find_bytes(uint32_t byte_ids[256], const char *what,
                                 const tlmi_vocabulary_t *vocabulary)
{
    for (int byte = 0; byte < 256; byte++) {
        uint8_t one = (uint8_t)byte;

        byte_ids[byte] = tlmi_vocabulary_find(vocabulary, &one, 1);
        if (byte_ids[byte] == TLMI_NO_TOKEN)
            return tlmi_fail(TLM_ERR_FORMAT,
                             "%s: the vocabulary of %u tokens lacks the byte 0x%02X", what,
                             vocabulary->size, (unsigned)byte);
    }
    return TLM_OK;
}

/* Finds whether the merges alone, without a lookup of whole tokens, make `id` from its bytes. */
static tlm_status_t is_made_by_merges(bool *out, const tlmi_bpe_model_t *model,
                                      tlmi_scratch_t *scratch, tlmi_id_list_t *ids, uint32_t id)
{
    tlm_bytes_t token = tlmi_vocabulary_token(model->vocabulary, id);

    *out = false;
    ids->n = 0;
    if (token.size == 0)
        return TLM_OK;
    if (!tlmi_id_list_reserve(ids, token.size))
        return TLM_ERR_OUT_OF_MEMORY;
    TLMI_TRY(tlmi_bpe_merge(model, scratch, ids, token.data, token.size));
    *out = ids->n == 1 && ids->ids[0] == id;
    return TLM_OK;
}

/* Fills is_whole. A special token is never TLMI_WHOLE_BY_LOOKUP. */
static tlm_status_t find_whole_tokens(tlmi_bpe_model_t *model, const tlm_tokenizer_t *tokenizer)
{
    tlmi_id_list_t ids = {0};
    tlmi_scratch_t scratch = {0};
    tlm_status_t status = TLM_OK;

    model->is_whole = tlmi_calloc(model->vocabulary->size, 1, "a vocabulary");
    if (model->is_whole == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (uint32_t id = 0; id < model->vocabulary->size && status == TLM_OK; id++) {
        bool by_merges;

        status = is_made_by_merges(&by_merges, model, &scratch, &ids, id);
        if (by_merges)
            model->is_whole[id] = TLMI_WHOLE_BY_MERGES;
        else if (model->ignores_merges)
            model->is_whole[id] = TLMI_WHOLE_BY_LOOKUP;
    }
    tlmi_id_list_release(&ids);
    tlmi_scratch_release(&scratch);
    for (size_t i = 0; i < tlmi_special_tokens_count(tokenizer->special); i++) {
        uint8_t *is_whole = &model->is_whole[tokenizer->special_ids[i]];

        if (*is_whole == TLMI_WHOLE_BY_LOOKUP)
            *is_whole = TLMI_NOT_WHOLE;
    }
    return status;
}

tlm_status_t tlmi_bpe_model_create(tlmi_subword_model_t **out, const char *what,
                                   const tlm_tokenizer_t *tokenizer, tlmi_merge_table_t *merges,
                                   bool ignores_merges)
{
    tlmi_bpe_model_t *model = tlmi_calloc(1, sizeof(*model), "a tokenizer");
    tlm_status_t status;

    if (model == NULL) {
        tlmi_merge_table_release(merges);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    model->base.kind = &tlmi_bpe_kind;
    model->vocabulary = &tokenizer->vocabulary;
    model->merges = *merges;
    model->ignores_merges = ignores_merges;
    *merges = (tlmi_merge_table_t){0};
    TLMI_TRY_OR(fail, tlmi_bpe_find_bytes(model->byte_ids, what, model->vocabulary));
    TLMI_TRY_OR(fail, find_whole_tokens(model, tokenizer));
    *out = &model->base;
    return TLM_OK;
fail:
    free_model(&model->base);
    return status;
}

const tlmi_bpe_model_t *tlmi_tokenizer_bpe(const tlm_tokenizer_t *tokenizer)
{
    bool is_bpe = tokenizer->model->kind == &tlmi_bpe_kind;

    return is_bpe ? (const tlmi_bpe_model_t *)tokenizer->model : NULL;
}

tlm_status_t tlmi_tokenizer_require_bpe(const tlmi_bpe_model_t **out, const char *what,
                                        const tlm_tokenizer_t *tokenizer)
{
    const tlmi_bpe_model_t *model = tlmi_tokenizer_bpe(tokenizer);

    if (model == NULL)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "%s: the tokenizer's model is %s, which has no merges", what,
                         tokenizer->model->kind->name);
    *out = model;
    return TLM_OK;
}

tlm_status_t tlmi_bpe_tokenizer_assemble(tlm_tokenizer_t **out, const char *what,
                                         tlmi_vocabulary_t *vocabulary, tlmi_merge_table_t *merges,
                                         const tlm_tokenizer_options_t *options)
{
    tlm_tokenizer_t *tokenizer;
    uint32_t byte_ids[256];
    /* Special tokens are added later: a byte that is only a special token does not count. */
    tlm_status_t status = tlmi_bpe_find_bytes(byte_ids, what, vocabulary);

    if (status != TLM_OK)
        tlmi_vocabulary_release(vocabulary);
    else
        status = tlmi_tokenizer_start(&tokenizer, what, vocabulary, options);
    if (status != TLM_OK) {
        tlmi_merge_table_release(merges);
        return status;
    }
    status =
        tlmi_bpe_model_create(&tokenizer->model, what, tokenizer, merges, options->ignore_merges);
    if (status == TLM_OK)
        *out = tokenizer;
    else
        tlm_tokenizer_free(tokenizer);
    return status;
}
