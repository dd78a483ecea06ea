/* Merges that are passed over are hidden until one has been applied: a step takes about 1 / (1 - p) of
 * them. */
#include "tokenizer/bpe/bpe_encode.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/rng.h"

void tlmi_bpe_dropout_release(tlmi_bpe_dropout_t *dropout)
{
    tlmi_merge_tree_release(&dropout->tree);
    tlmi_free(dropout->hidden);
    *dropout = (tlmi_bpe_dropout_t){0};
}

tlm_status_t tlmi_bpe_dropout_encode(tlmi_bpe_dropout_t *dropout, tlmi_bpe_encoder_t *out,
                                     const uint8_t *pretoken, size_t size, uint64_t position)
{
    /* Each pretoken has a sequence of draws of its own, of any length. */
    uint64_t seed = tlmi_random_word(dropout->seed, TLMI_STREAM_DROPOUT, position), draws = 0;
    tlmi_merge_tree_t *tree = &dropout->tree;
    size_t at, num_hidden = 0;
    uint32_t *ids, rank;

    if (!tlmi_bpe_reserve(out, size))
        return TLM_ERR_OUT_OF_MEMORY;
    ids = out->ids + out->n;
    for (size_t i = 0; i < size; i++)
        ids[i] = out->tokenizer->byte_ids[pretoken[i]];
    if (!tlmi_merge_tree_start(tree, &out->tokenizer->merges, ids, size))
        return TLM_ERR_OUT_OF_MEMORY;
    while ((rank = tlmi_merge_tree_next(&at, tree)) != TLMI_NO_MERGE) {
        if (tlmi_random_uniform(seed, TLMI_STREAM_DROPOUT, draws++) < dropout->probability) {
            if (!tlmi_grow(&dropout->hidden, &dropout->capacity, num_hidden + 1,
                           sizeof(*dropout->hidden), "a pretoken"))
                return TLM_ERR_OUT_OF_MEMORY;
            dropout->hidden[num_hidden++] = at;
            tlmi_merge_tree_hide(tree, at);
            continue;
        }
        tlmi_merge_tree_apply(tree, at, rank);
        while (num_hidden > 0)
            tlmi_merge_tree_show(tree, dropout->hidden[--num_hidden]);
    }
    out->n += tlmi_merge_tree_finish(tree);
    return TLM_OK;
}
