/* Merging the symbols of one pretoken. Beyond a few, they are first cut into runs that no merge
 * reaches across. A few symbols are merged with their pairs in one vector, short runs in two arrays
 * with a linear search for the lowest rank, and long ones with a tree of ranks, which keeps the
 * time nearly linear. */
#include "tokenizer/bpe/bpe.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define FEW        16 /* up to this many symbols, a vector is the fastest; more are cut into runs */
#define SHORT_SIZE 96 /* up to this many symbols, the arrays are faster than the tree */

/* ---- A few symbols ---- */

/* A merge of two neighbors is a number: the lower, the sooner it is applied. */
#define NO_PAIR         INT32_MAX
#define PAIR(rank, at)  ((int32_t)((rank)*FEW + (uint32_t)(at)))
#define PAIR_AT(number) ((number) & (FEW - 1))

_Static_assert(TLMI_MAX_MERGES *FEW < NO_PAIR, "ranks and positions are in one number");

/* Symbols stay where they start. Where none starts any more, there is no pair either. */
typedef struct few {
    int32_t pairs[FEW];     /* [at]: of the symbol that starts there and the next one */
    uint32_t products[FEW]; /* of these merges */
    uint32_t *ids;
    uint32_t starts; /* bit map of the symbols, with a bit for the end */
} few_t;

static inline int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t lowest_pair(const int32_t pairs[FEW])
{
    int32_t lowest[4] = {pairs[0], pairs[1], pairs[2], pairs[3]}; /* four chains run at once */

    for (int i = 4; i < FEW; i += 4)
        for (int k = 0; k < 4; k++)
            lowest[k] = least(lowest[k], pairs[i + k]);
    return least(least(lowest[0], lowest[1]), least(lowest[2], lowest[3]));
}

static inline void set_pair(few_t *few, int at, uint32_t rank, uint32_t product)
{
    few->pairs[at] = rank == TLMI_NO_MERGE ? NO_PAIR : PAIR(rank, at);
    few->products[at] = product;
}

static inline void find_pair(few_t *few, const tlmi_merge_table_t *merges, int left, int right)
{
    const tlmi_merge_slot_t *slot = tlmi_merge_slot(merges, few->ids[left], few->ids[right]);

    set_pair(few, left, slot->rank, slot->product);
}

/* Merges the symbols, 2 to FEW of them, whose pairs are set, and moves the rest to the front.
 * Returns how many remain. */
static size_t merge_pairs(few_t *few, const tlmi_merge_table_t *merges)
{
    size_t n = 0;
    int32_t pair;

    while ((pair = lowest_pair(few->pairs)) != NO_PAIR) {
        int at = PAIR_AT(pair);
        uint32_t before = few->starts & (((uint32_t)1 << at) - 1);
        uint32_t after = few->starts & (~(uint32_t)1 << at);
        int left = 31 - __builtin_clz(before | 1);

        few->ids[at] = few->products[at];
        few->pairs[__builtin_ctz(after)] = NO_PAIR;
        after &= after - 1;
        few->starts = before | (uint32_t)1 << at | after;
        if ((after & (after - 1)) != 0)
            find_pair(few, merges, at, __builtin_ctz(after));
        else
            few->pairs[at] = NO_PAIR;
        if (before != 0)
            find_pair(few, merges, left, at);
    }
    for (uint32_t left = few->starts; (left & (left - 1)) != 0; left &= left - 1)
        few->ids[n++] = few->ids[__builtin_ctz(left)];
    return n;
}

/* Merges n symbols in place, 1 to FEW. Returns how many remain. */
static size_t merge_few(const tlmi_merge_table_t *merges, uint32_t *ids, size_t n)
{
    few_t few = {.ids = ids, .starts = ((uint32_t)2 << n) - 1};

    for (int i = 0; i < FEW; i++)
        few.pairs[i] = NO_PAIR;
    for (int i = 0; i + 1 < (int)n; i++)
        find_pair(&few, merges, i, i + 1);
    return merge_pairs(&few, merges);
}

/* The same from the bytes of a plain model. */
static size_t merge_few_bytes(const tlmi_bpe_model_t *model, uint32_t *ids, const uint8_t *bytes,
                              size_t n)
{
    few_t few = {.ids = ids, .starts = ((uint32_t)2 << n) - 1};

    for (int i = 0; i < FEW; i++)
        few.pairs[i] = NO_PAIR;
    for (int i = 0; i < (int)n; i++)
        ids[i] = model->symbols.byte_ids[bytes[i]];
    for (int i = 0; i + 1 < (int)n; i++) {
        tlmi_byte_merge_t merge = model->byte_merges[bytes[i] * 256 + bytes[i + 1]];

        set_pair(&few, i, merge.rank, merge.product);
    }
    return merge_pairs(&few, &model->merges);
}

/* ---- Short pretokens ---- */

static size_t lowest(const uint32_t *ranks, size_t n)
{
    size_t best = 0;

    for (size_t i = 1; i < n; i++)
        if (ranks[i] < ranks[best])
            best = i;
    return best;
}

/* Merges n symbols in place. Returns how many remain. */
static size_t merge_short(const tlmi_merge_table_t *merges, uint32_t *ids, size_t n)
{
    uint32_t ranks[SHORT_SIZE]; /* ranks[i]: rank of the pair ids[i], ids[i + 1] */

    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = tlmi_merge_rank(merges, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t at = lowest(ranks, n - 1);

        if (ranks[at] == TLMI_NO_MERGE)
            break;
        ids[at] = tlmi_merge_product(merges, ranks[at], ids[at], ids[at + 1]);
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

/* The scratch memory of one pretoken, part after part. */
typedef struct work {
    tlmi_merge_tree_layout_t layout;
    tlmi_merge_tree_t tree;
    char *memory; /* of the tree */
    size_t *hidden;
    tlmi_bpe_splits_t splits;
    uint32_t *symbols; /* of models whose symbols are not ids */
} work_t;

static bool add_part(size_t *total, size_t *offset, size_t n, size_t size)
{
    size_t bytes;

    if (!tlmi_mul_size(&bytes, n, size) || !tlmi_add_size(&bytes, bytes, TLMI_ALIGNMENT - 1))
        return false;
    *offset = *total;
    return tlmi_add_size(total, *total, bytes / TLMI_ALIGNMENT * TLMI_ALIGNMENT);
}

/* Reserves what a pretoken of n symbols may need. */
static tlm_status_t start_work(work_t *work, const tlmi_bpe_model_t *model, tlmi_scratch_t *scratch,
                               size_t n, const tlmi_dropout_t *dropout)
{
    size_t tree, hidden, pairs, symbols, total = 0;

    if (!tlmi_merge_tree_lay_out(&work->layout, n) ||
        !add_part(&total, &tree, work->layout.size, 1) ||
        !add_part(&total, &hidden, dropout != NULL ? n : 0, sizeof(*work->hidden)) ||
        !add_part(&total, &pairs, model->num_splits, sizeof(*work->splits.pairs)) ||
        !add_part(&total, &symbols, model->is_from_pieces ? n : 0, sizeof(*work->symbols)))
        return tlmi_fail_overflow("the memory for a long pretoken");
    work->memory = tlmi_scratch_reserve(scratch, total);
    if (work->memory == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    work->hidden = (size_t *)(work->memory + hidden);
    work->splits = (tlmi_bpe_splits_t){model->split_of, (uint64_t *)(work->memory + pairs)};
    work->symbols = (uint32_t *)(work->memory + symbols);
    return TLM_OK;
}

/* Merges n symbols in place with the tree. Returns how many remain. */
static size_t merge_long(work_t *work, const tlmi_bpe_model_t *model, uint32_t *symbols, size_t n,
                         const tlmi_dropout_t *dropout)
{
    uint32_t rank;
    size_t at;

    tlmi_merge_tree_start(&work->tree, &work->layout, work->memory, &model->merges, symbols, n,
                          model->num_splits > 0 ? &work->splits : NULL);
    if (dropout != NULL)
        return tlmi_bpe_drop_out(&work->tree, work->hidden, dropout);
    while ((rank = tlmi_merge_tree_next(&at, &work->tree)) != TLMI_NO_MERGE)
        tlmi_merge_tree_apply(&work->tree, at, rank);
    return tlmi_merge_tree_finish(&work->tree);
}

/* Merges one run of n symbols in place; *left gets how many remain. The scratch memory is reserved
 * for `room` symbols, which no later run of the pretoken exceeds. */
static tlm_status_t merge_run(size_t *left, work_t *work, const tlmi_bpe_model_t *model,
                              tlmi_scratch_t *scratch, uint32_t *symbols, size_t n, size_t room)
{
    if (n <= FEW && model->num_splits == 0) {
        *left = merge_few(&model->merges, symbols, n);
        return TLM_OK;
    }
    if (n <= SHORT_SIZE && model->num_splits == 0) {
        *left = merge_short(&model->merges, symbols, n);
        return TLM_OK;
    }
    if (work->memory == NULL)
        TLMI_TRY(start_work(work, model, scratch, room, NULL));
    if (!tlmi_merge_tree_lay_out(&work->layout, n))
        return tlmi_fail_overflow("the memory for a long pretoken");
    *left = merge_long(work, model, symbols, n, NULL);
    return TLM_OK;
}

/* Merges symbols in place, run after run. The scratch memory, if it is in use, has room for all of
 * them in one run. */
static tlm_status_t merge_runs(size_t *left, work_t *work, const tlmi_bpe_model_t *model,
                               tlmi_scratch_t *scratch, uint32_t *symbols, size_t n)
{
    size_t kept = 0, start = 0;

    for (size_t end = 1; end <= n; end++) {
        size_t size = end - start;

        if (end < n && tlmi_bpe_may_join(model, symbols[end - 1], symbols[end]))
            continue;
        memmove(symbols + kept, symbols + start, size * sizeof(*symbols));
        if (size > 1)
            TLMI_TRY(merge_run(&size, work, model, scratch, symbols + kept, size, n));
        kept += size;
        start = end;
    }
    *left = kept;
    return TLM_OK;
}

/* Merges n >= 1 symbols in place. */
static tlm_status_t merge(size_t *left, work_t *work, const tlmi_bpe_model_t *model,
                          tlmi_scratch_t *scratch, uint32_t *symbols, size_t n,
                          const tlmi_dropout_t *dropout)
{
    if (dropout == NULL && n > FEW && model->joins != NULL && model->num_splits == 0)
        return merge_runs(left, work, model, scratch, symbols, n);
    if (dropout == NULL)
        return merge_run(left, work, model, scratch, symbols, n, n);
    if (work->memory == NULL)
        TLMI_TRY(start_work(work, model, scratch, n, dropout));
    else if (!tlmi_merge_tree_lay_out(&work->layout, n))
        return tlmi_fail_overflow("the memory for a long pretoken");
    *left = merge_long(work, model, symbols, n, dropout);
    return TLM_OK;
}

static tlm_status_t merge_pieces(const tlmi_bpe_model_t *model, tlmi_scratch_t *scratch,
                                 tlmi_id_list_t *out, const uint8_t *pretoken, size_t size,
                                 const tlmi_dropout_t *dropout)
{
    uint32_t few[SHORT_SIZE], *symbols = few;
    work_t work = {0};

    if (size > SHORT_SIZE || dropout != NULL || model->num_splits > 0) {
        TLMI_TRY(start_work(&work, model, scratch, size, dropout));
        symbols = work.symbols;
    }
    size_t n = tlmi_bpe_symbolize_pieces(model, symbols, pretoken, size);
    TLMI_TRY(merge(&n, &work, model, scratch, symbols, n, dropout));
    out->n +=
        tlmi_bpe_resolve_pieces(model, out->ids + out->n, symbols, n, &work.splits, pretoken, size);
    return TLM_OK;
}

tlm_status_t tlmi_bpe_merge(const tlmi_bpe_model_t *model, tlmi_scratch_t *scratch,
                            tlmi_id_list_t *out, const uint8_t *pretoken, size_t size,
                            const tlmi_dropout_t *dropout)
{
    uint32_t *ids = out->ids + out->n;
    size_t n = size;

    if (model->is_from_pieces)
        return merge_pieces(model, scratch, out, pretoken, size, dropout);
    if (model->byte_merges != NULL && size <= FEW && dropout == NULL) {
        out->n += merge_few_bytes(model, ids, pretoken, size);
        return TLM_OK;
    }
    if (model->symbols.is_plain)
        for (size_t i = 0; i < size; i++)
            ids[i] = model->symbols.byte_ids[pretoken[i]];
    else
        TLMI_TRY(tlmi_bpe_symbolize(&n, &model->symbols, ids, pretoken, size));
    if (n > FEW || (dropout != NULL && n > 0)) {
        work_t work;

        work.memory = NULL;
        TLMI_TRY(merge(&n, &work, model, scratch, ids, n, dropout));
    } else if (n > 0) {
        n = merge_few(&model->merges, ids, n);
    }
    out->n += n;
    return TLM_OK;
}
