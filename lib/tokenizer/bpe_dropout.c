/* Merges wait in a heap, lowest rank first and leftmost among equals, as without dropout. Those that
 * are passed over are set aside until one has been applied, and then wait again: a step takes about
 * 1 / (1 - p) of them. */
#include "bpe_dropout.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/rng.h"

#define NONE UINT32_MAX

struct tlmi_dropout_symbol {
    uint32_t id;
    uint32_t prev, next; /* NONE at the ends */
    uint32_t rank;       /* of the merge with `next`; TLMI_NO_MERGE if there is none */
};

/* One pretoken. The heap holds rank << 32 | position of the left symbol; entries whose symbol has
 * another rank by now are void. Those set aside lie behind it, growing down from the end. */
typedef struct pretoken_work {
    const tlmi_merge_table_t *merges;
    tlmi_dropout_symbol_t *symbols;
    uint64_t *heap;
    size_t heap_size;
    size_t aside, capacity; /* heap[aside .. capacity) is set aside */
    double probability;
    uint64_t seed, draws;
} pretoken_work_t;

void tlmi_bpe_dropout_release(tlmi_bpe_dropout_t *dropout)
{
    tlmi_free(dropout->symbols);
    tlmi_free(dropout->heap);
    *dropout = (tlmi_bpe_dropout_t){0};
}

static void push(pretoken_work_t *work, uint64_t key)
{
    size_t at = work->heap_size++;

    for (size_t parent; at > 0 && work->heap[parent = (at - 1) / 2] > key; at = parent)
        work->heap[at] = work->heap[parent];
    work->heap[at] = key;
}

static uint64_t pop(pretoken_work_t *work)
{
    uint64_t *heap = work->heap, first = heap[0], key = heap[--work->heap_size];
    size_t at = 0;

    for (size_t child; (child = 2 * at + 1) < work->heap_size; at = child) {
        if (child + 1 < work->heap_size && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= key)
            break;
        heap[at] = heap[child];
    }
    heap[at] = key;
    return first;
}

/* Looks up the merge that begins at a symbol and has it wait. */
static void rank_symbol(pretoken_work_t *work, uint32_t at)
{
    tlmi_dropout_symbol_t *symbol = &work->symbols[at];

    symbol->rank = symbol->next == NONE
                       ? TLMI_NO_MERGE
                       : tlmi_merge_rank(work->merges, symbol->id, work->symbols[symbol->next].id);
    if (symbol->rank != TLMI_NO_MERGE)
        push(work, (uint64_t)symbol->rank << 32 | at);
}

static void apply_merge(pretoken_work_t *work, uint32_t at)
{
    tlmi_dropout_symbol_t *symbol = &work->symbols[at];
    tlmi_dropout_symbol_t *gone = &work->symbols[symbol->next];

    symbol->id = work->merges->merges[symbol->rank].product;
    symbol->next = gone->next;
    gone->rank = TLMI_NO_MERGE;
    if (symbol->next != NONE)
        work->symbols[symbol->next].prev = at;
    rank_symbol(work, at);
    if (symbol->prev != NONE)
        rank_symbol(work, symbol->prev);
}

static void merge(pretoken_work_t *work)
{
    while (work->heap_size > 0) {
        uint64_t key = pop(work);
        uint32_t at = (uint32_t)key;

        if (work->symbols[at].rank != key >> 32)
            continue;
        if (tlmi_random_uniform(work->seed, TLMI_STREAM_DROPOUT, work->draws++) <
            work->probability) {
            work->heap[--work->aside] = key;
            continue;
        }
        while (work->aside < work->capacity)
            push(work, work->heap[work->aside++]);
        apply_merge(work, at);
    }
}

static void start(pretoken_work_t *work, const uint32_t *byte_ids, const uint8_t *pretoken,
                  uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        work->symbols[i] = (tlmi_dropout_symbol_t){byte_ids[pretoken[i]], i > 0 ? i - 1 : NONE,
                                                   i + 1 < size ? i + 1 : NONE, TLMI_NO_MERGE};
    for (uint32_t i = 0; i < size; i++)
        rank_symbol(work, i);
}

tlm_status_t tlmi_bpe_dropout_encode(tlmi_bpe_dropout_t *dropout, tlmi_bpe_encoder_t *out,
                                     const uint8_t *pretoken, size_t size, uint64_t position)
{
    pretoken_work_t work = {.merges = &out->tokenizer->merges, .probability = dropout->probability};

    if (size >= NONE / 4)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "a pretoken of %zu bytes is longer than %u", size,
                         NONE / 4 - 1);
    /* Each merge takes one entry and leaves at most two. */
    if (!tlmi_grow(&dropout->symbols, &dropout->symbols_capacity, size, sizeof(*dropout->symbols),
                   "a pretoken") ||
        !tlmi_grow(&dropout->heap, &dropout->heap_capacity, 2 * size, sizeof(*dropout->heap),
                   "a pretoken"))
        return TLM_ERR_OUT_OF_MEMORY;
    work.symbols = dropout->symbols;
    work.heap = dropout->heap;
    work.aside = work.capacity = dropout->heap_capacity;
    /* Each pretoken has a sequence of draws of its own, of any length. */
    work.seed = tlmi_random_word(dropout->seed, TLMI_STREAM_DROPOUT, position);
    start(&work, out->tokenizer->byte_ids, pretoken, (uint32_t)size);
    merge(&work);
    if (!tlmi_bpe_reserve(out, size))
        return TLM_ERR_OUT_OF_MEMORY;
    for (uint32_t at = 0; at != NONE; at = work.symbols[at].next)
        out->ids[out->n++] = work.symbols[at].id;
    return TLM_OK;
}
