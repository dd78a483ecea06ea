/* Which neighboring symbols can end up in one token. A long pretoken is cut where they cannot, into
 * runs that are merged one after another: most are short, and all are near in memory. Two neighbors
 * are in one token only if some merge has a left side that ends with the one symbol and a right
 * side that begins with the other. */
#include "tokenizer/bpe/bpe.h"

#include <string.h>

#include "base/memory.h"

#define MAX_PASSES    64 /* over all merges; a vocabulary that needs more is merged in one run */
#define BITS_PER_PAIR 8
#define MAX_BITS      ((size_t)1 << 22)

/* The first and the last symbol of each token, TLMI_NO_TOKEN until one is known. */
typedef struct edges {
    const tlmi_bpe_model_t *model;
    uint32_t *first, *last;
    size_t n;
    bool is_changed, is_ambiguous;
} edges_t;

static void set_edge(edges_t *edges, uint32_t *edge, uint32_t symbol)
{
    if (symbol == TLMI_NO_TOKEN || *edge == symbol)
        return;
    if (*edge != TLMI_NO_TOKEN)
        edges->is_ambiguous = true;
    *edge = symbol;
    edges->is_changed = true;
}

static void set_symbol(edges_t *edges, uint32_t symbol)
{
    if (symbol >= edges->n)
        return;
    set_edge(edges, &edges->first[symbol], symbol);
    set_edge(edges, &edges->last[symbol], symbol);
}

/* Sets what a pretoken may begin to merge from. */
static void set_symbols(edges_t *edges)
{
    const tlmi_bpe_symbols_t *symbols = &edges->model->symbols;

    for (int place = 0; place < TLMI_NUM_PLACES; place++)
        for (size_t page = 0; page < symbols->maps[place].num_pages; page++)
            for (int i = 0; i < 256; i++)
                set_symbol(edges, symbols->maps[place].pages[page][i]);
    for (int byte = 0; byte < 256; byte++)
        set_symbol(edges, symbols->byte_ids[byte]);
    set_symbol(edges, symbols->unk_id);
}

static uint32_t left_of(const tlmi_merge_slot_t *slot)
{
    return (uint32_t)(slot->pair >> 32);
}

static uint32_t right_of(const tlmi_merge_slot_t *slot)
{
    return (uint32_t)slot->pair;
}

/* Finds the edges of all products, whose merges are in no useful order. Returns false if a product
 * can begin or end with several symbols. */
static bool find_edges(edges_t *edges)
{
    const tlmi_merge_table_t *merges = &edges->model->merges;

    set_symbols(edges);
    for (int pass = 0; pass < MAX_PASSES && !edges->is_ambiguous; pass++) {
        edges->is_changed = false;
        for (size_t i = 0; i <= merges->mask; i++) {
            const tlmi_merge_slot_t *slot = &merges->slots[i];

            if (slot->rank == TLMI_NO_MERGE)
                continue;
            set_edge(edges, &edges->first[slot->product], edges->first[left_of(slot)]);
            set_edge(edges, &edges->last[slot->product], edges->last[right_of(slot)]);
        }
        if (!edges->is_changed)
            return !edges->is_ambiguous;
    }
    return false;
}

static size_t count_merges(const tlmi_merge_table_t *merges)
{
    size_t n = 0;

    for (size_t i = 0; i <= merges->mask; i++)
        n += merges->slots[i].rank != TLMI_NO_MERGE;
    return n;
}

static tlm_status_t set_bits(tlmi_bpe_model_t *model, const edges_t *edges)
{
    size_t bits = 512, wanted = BITS_PER_PAIR * count_merges(&model->merges);

    while (bits < wanted && bits < MAX_BITS)
        bits *= 2;
    model->joins = tlmi_calloc(bits / 64, sizeof(*model->joins), "a vocabulary");
    if (model->joins == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    model->joins_mask = bits - 1;
    for (size_t i = 0; i <= model->merges.mask; i++) {
        const tlmi_merge_slot_t *slot = &model->merges.slots[i];

        if (slot->rank == TLMI_NO_MERGE)
            continue;
        size_t bit =
            tlmi_bpe_join_bit(model, edges->last[left_of(slot)], edges->first[right_of(slot)]);
        model->joins[bit / 64] |= (uint64_t)1 << bit % 64;
    }
    return TLM_OK;
}

tlm_status_t tlmi_bpe_find_joins(tlmi_bpe_model_t *model, size_t num_symbols)
{
    edges_t edges = {.model = model, .n = num_symbols};
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    edges.first = tlmi_alloc(num_symbols, sizeof(*edges.first), "a vocabulary");
    edges.last = tlmi_alloc(num_symbols, sizeof(*edges.last), "a vocabulary");
    if (edges.first != NULL && edges.last != NULL) {
        memset(edges.first, 0xFF, num_symbols * sizeof(*edges.first));
        memset(edges.last, 0xFF, num_symbols * sizeof(*edges.last));
        status = find_edges(&edges) ? set_bits(model, &edges) : TLM_OK;
    }
    tlmi_free(edges.first);
    tlmi_free(edges.last);
    return status;
}
