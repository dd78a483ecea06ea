/* A pretoken of any length while it is merged: which merge comes next, and applying it, each in
 * logarithmic time, in 4.4 bytes for each byte. */
#ifndef TLMI_MERGE_TREE_H
#define TLMI_MERGE_TREE_H

#include "merge_table.h"

#define TLMI_MERGE_TREE_FAN    16 /* ranks that one rank of the next level stands for */
#define TLMI_MERGE_TREE_LEVELS 16 /* enough for any size */

/* Zeros before its first use, then good for one pretoken after the other. A token stands at the position
 * of its first byte. */
typedef struct tlmi_merge_tree {
    const tlmi_merge_table_t *merges;
    uint32_t *ids; /* (size): of the tokens, by position; the caller's */
    size_t size;
    /* ranks[0][i]: of the merge of the token at i with the next one, or TLMI_NO_MERGE. ranks[k + 1][i]:
     * the lowest of the FAN from ranks[k][FAN * i] on; ranks[levels - 1] has FAN. */
    uint32_t *ranks[TLMI_MERGE_TREE_LEVELS];
    int levels;
    uint64_t
        *starts; /* a bit for each position: whether a token stands there; and one at the end */
    uint32_t *memory; /* of all that */
    size_t capacity;
} tlmi_merge_tree_t;

void tlmi_merge_tree_release(tlmi_merge_tree_t *tree);

/* Begins with a token for each of `size` >= 1 bytes; the ids are borrowed until the work is finished. */
bool tlmi_merge_tree_start(tlmi_merge_tree_t *tree, const tlmi_merge_table_t *merges, uint32_t *ids,
                           size_t size);

/* Rank and position of the next merge: the lowest rank, and of equal ones the leftmost. TLMI_NO_MERGE if
 * there is none. */
uint32_t tlmi_merge_tree_next(size_t *at, const tlmi_merge_tree_t *tree);

/* Applies the merge of this rank at its position. */
void tlmi_merge_tree_apply(tlmi_merge_tree_t *tree, size_t at, uint32_t rank);

/* Keeps the merge at a position from being the next until it is shown again, and as long as both of its
 * tokens are there. */
void tlmi_merge_tree_hide(tlmi_merge_tree_t *tree, size_t at);
void tlmi_merge_tree_show(tlmi_merge_tree_t *tree, size_t at);

/* Moves the ids of the tokens to the front and returns their number. */
size_t tlmi_merge_tree_finish(tlmi_merge_tree_t *tree);

#endif
