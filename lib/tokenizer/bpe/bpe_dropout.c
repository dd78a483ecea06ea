/* Each step draws for the best merge and, if it is dropped, hides it and draws for the next best.
 * Hidden merges are shown again after a merge is applied. A step draws about 1 / (1 - p) times. */
#include "tokenizer/bpe/bpe.h"

#include "base/rng.h"

size_t tlmi_bpe_drop_out(tlmi_merge_tree_t *tree, size_t *hidden, const tlmi_dropout_t *dropout)
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
