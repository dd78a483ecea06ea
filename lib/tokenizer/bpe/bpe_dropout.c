/* Each step draws for the best merge and, if it is dropped, hides it and draws for the next best.
 * Hidden merges are shown again after a merge is applied. A step draws about 1 / (1 - p) times. */
#include "tokenizer/bpe/bpe.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/rng.h"

/* Merges until no merge is left. `hidden` has room for one position per byte. */
static size_t merge_at_random(tlmi_merge_tree_t *tree, size_t *hidden,
                              const tlmi_dropout_t *dropout)
{
    /* Each pretoken has its own sequence of draws, which may have any length. */
    uint64_t seed = tlmi_random_word(dropout->seed, TLMI_STREAM_DROPOUT, dropout->position);
    uint64_t draws = 0;
    size_t at, num_hidden = 0;
    uint32_t rank;

    while ((rank = tlmi_merge_tree_next(&at, tree)) != TLMI_NO_MERGE) {
        if (tlmi_random_uniform(seed, TLMI_STREAM_DROPOUT, draws++) < dropout->probability) {
            hidden[num_hidden++] = at;
            tlmi_merge_tree_hide(tree, at);
            continue;
        }
        tlmi_merge_tree_apply(tree, at, rank);
        while (num_hidden > 0)
            tlmi_merge_tree_show(tree, hidden[--num_hidden]);
    }
    return tlmi_merge_tree_finish(tree);
}

tlm_status_t tlmi_bpe_merge_with_dropout(const tlmi_subword_model_t *base, tlmi_scratch_t *scratch,
                                         tlmi_id_list_t *out, const uint8_t *pretoken, size_t size,
                                         const tlmi_dropout_t *dropout)
{
    const tlmi_bpe_model_t *model = (const tlmi_bpe_model_t *)base;
    uint32_t *ids = out->ids + out->n;
    tlmi_merge_tree_layout_t layout;
    tlmi_merge_tree_t tree;
    size_t hidden_size, total;
    char *memory;

    if (!tlmi_merge_tree_lay_out(&layout, size) ||
        !tlmi_mul_size(&hidden_size, size, sizeof(size_t)) ||
        !tlmi_add_size(&total, layout.size, hidden_size))
        return tlmi_fail_memory(size, "a long pretoken");
    memory = tlmi_scratch_reserve(scratch, total);
    if (memory == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < size; i++)
        ids[i] = model->byte_ids[pretoken[i]];
    tlmi_merge_tree_start(&tree, &layout, memory, &model->merges, ids, size);
    out->n += merge_at_random(&tree, (size_t *)(memory + layout.size), dropout);
    return TLM_OK;
}
