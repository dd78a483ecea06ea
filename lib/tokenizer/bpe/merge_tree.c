/* A symbol is stored at the position of its first part. Neighbors are thus found with a bit map,
 * without links, and the ids are stored in the array that becomes the result. The next merge is
 * found in a tree of minima. Unlike a heap, the tree holds one rank per position, no rank is out of
 * date, and a change touches few nodes. */
#include "tokenizer/bpe/bpe.h"

#include <string.h>

#define FAN  TLMI_MERGE_TREE_FAN
#define NONE SIZE_MAX

/* ---- The tree ---- */

static uint32_t lowest(const uint32_t *ranks)
{
    uint32_t best = ranks[0];

    for (int i = 1; i < FAN; i++)
        best = ranks[i] < best ? ranks[i] : best;
    return best;
}

static size_t first_equal(const uint32_t *ranks, uint32_t rank)
{
    size_t at = 0;

    while (ranks[at] != rank)
        at++;
    return at;
}

static void set_rank(tlmi_merge_tree_t *tree, size_t at, uint32_t rank)
{
    tree->ranks[0][at] = rank;
    for (int level = 1; level < tree->levels; level++) {
        at /= FAN;
        rank = lowest(tree->ranks[level - 1] + FAN * at);
        if (tree->ranks[level][at] == rank)
            return;
        tree->ranks[level][at] = rank;
    }
}

uint32_t tlmi_merge_tree_next(size_t *at, const tlmi_merge_tree_t *tree)
{
    uint32_t rank = lowest(tree->ranks[tree->levels - 1]);

    if (rank == TLMI_NO_MERGE)
        return rank;
    *at = 0;
    for (int level = tree->levels; level-- > 0;)
        *at = FAN * *at + first_equal(tree->ranks[level] + FAN * *at, rank);
    return rank;
}

/* ---- Neighbors ---- */

static void flip_start(tlmi_merge_tree_t *tree, size_t at)
{
    tree->starts[at / 64] ^= (uint64_t)1 << at % 64;
}

/* Returns the position of the next symbol, or the size if there is none. */
static size_t next_start(const tlmi_merge_tree_t *tree, size_t at)
{
    size_t word = ++at / 64;
    uint64_t bits = tree->starts[word] & UINT64_MAX << at % 64;

    while (bits == 0)
        bits = tree->starts[++word];
    return 64 * word + (size_t)__builtin_ctzll(bits);
}

/* Returns the position of the previous symbol, or NONE. */
static size_t previous_start(const tlmi_merge_tree_t *tree, size_t at)
{
    size_t word = at / 64;
    uint64_t bits = tree->starts[word] & (((uint64_t)1 << at % 64) - 1);

    while (bits == 0 && word > 0)
        bits = tree->starts[--word];
    return bits == 0 ? NONE : 64 * word + 63 - (size_t)__builtin_clzll(bits);
}

static void note_split(const tlmi_bpe_splits_t *splits, const tlmi_merge_slot_t *slot)
{
    if (slot->rank != TLMI_NO_MERGE && splits->numbers[slot->product] != TLMI_NO_TOKEN)
        splits->pairs[splits->numbers[slot->product]] = slot->pair;
}

static uint32_t rank_at(const tlmi_merge_tree_t *tree, size_t at, size_t next)
{
    if (next == tree->size)
        return TLMI_NO_MERGE;
    const tlmi_merge_slot_t *slot = tlmi_merge_slot(tree->merges, tree->ids[at], tree->ids[next]);
    if (tree->splits != NULL)
        note_split(tree->splits, slot);
    return slot->rank;
}

/* ---- Merging ---- */

bool tlmi_merge_tree_lay_out(tlmi_merge_tree_layout_t *out, size_t size)
{
    size_t bits_size = (size / 64 + 1) * sizeof(uint64_t), total = 0;

    if (size > SIZE_MAX / (2 * sizeof(uint32_t)))
        return false;
    out->levels = 0;
    do {
        size = size / FAN + (size % FAN != 0);
        out->ranks[out->levels++] = total;
        total += FAN * size * sizeof(uint32_t);
    } while (size > 1);
    out->starts = total; /* a multiple of 64 bytes */
    out->size = total + bits_size;
    return true;
}

void tlmi_merge_tree_start(tlmi_merge_tree_t *tree, const tlmi_merge_tree_layout_t *layout,
                           void *memory, const tlmi_merge_table_t *merges, uint32_t *ids,
                           size_t size, const tlmi_bpe_splits_t *splits)
{
    /* No position has a merge yet. All bits of `starts` are set: each position has a symbol,
     * and the bit after the last one ends a search. */
    memset(memory, 0xFF, layout->size);
    for (int level = 0; level < layout->levels; level++)
        tree->ranks[level] = (uint32_t *)((char *)memory + layout->ranks[level]);
    tree->starts = (uint64_t *)((char *)memory + layout->starts);
    tree->levels = layout->levels;
    tree->merges = merges;
    tree->ids = ids;
    tree->size = size;
    tree->splits = splits;
    for (size_t i = 0; i + 1 < size; i++)
        tree->ranks[0][i] = rank_at(tree, i, i + 1);
    for (int level = 1; level < tree->levels; level++) {
        size = (size + FAN - 1) / FAN;
        for (size_t i = 0; i < size; i++)
            tree->ranks[level][i] = lowest(tree->ranks[level - 1] + FAN * i);
    }
}

void tlmi_merge_tree_apply(tlmi_merge_tree_t *tree, size_t at, uint32_t rank)
{
    size_t gone = next_start(tree, at), before = previous_start(tree, at);

    tree->ids[at] = tlmi_merge_product(tree->merges, rank, tree->ids[at], tree->ids[gone]);
    flip_start(tree, gone);
    set_rank(tree, gone, TLMI_NO_MERGE);
    if (before != NONE)
        set_rank(tree, before, rank_at(tree, before, at));
    set_rank(tree, at, rank_at(tree, at, next_start(tree, gone)));
}

void tlmi_merge_tree_hide(tlmi_merge_tree_t *tree, size_t at)
{
    set_rank(tree, at, TLMI_NO_MERGE);
}

void tlmi_merge_tree_show(tlmi_merge_tree_t *tree, size_t at)
{
    if ((tree->starts[at / 64] >> at % 64 & 1) != 0)
        set_rank(tree, at, rank_at(tree, at, next_start(tree, at)));
}

size_t tlmi_merge_tree_finish(tlmi_merge_tree_t *tree)
{
    size_t n = 0;

    for (size_t at = 0; at < tree->size; at = next_start(tree, at))
        tree->ids[n++] = tree->ids[at];
    return n;
}
