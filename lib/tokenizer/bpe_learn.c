/* The distinct pretokens stand as linked lists of symbols. Each symbol that has a neighbour on its
 * right is also in the list of its pair, so a merge visits exactly the places where its pair
 * stands, and changes the counts and lists of the neighbouring pairs there. The best pair comes
 * from a heap of counts, which are only brought up to date when an entry reaches the top: a pair's
 * count falls until its own merge, so an entry never promises too little. */
#include "bpe_learn.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define NONE UINT32_MAX

typedef struct symbol {
    uint32_t id;
    uint32_t prev, next;           /* neighbours in the pretoken, or NONE */
    uint32_t pair;                 /* that begins here, or NONE */
    uint32_t pair_prev, pair_next; /* other places of the same pair, or NONE */
    uint32_t pretoken;
} symbol_t;

typedef struct pair {
    uint32_t left, right;
    uint32_t head, tail; /* its places; in text order unless `unordered` */
    uint64_t count;
    bool unordered;
    bool merged;  /* its merge is in the list already */
    bool touched; /* is in learner.touched */
} pair_t;

typedef struct heap_entry {
    uint64_t count; /* when it was pushed */
    uint32_t pair;
} heap_entry_t;

typedef struct learner {
    tlmi_vocabulary_t *vocabulary;
    const tlmi_pretoken_counts_t *counts;
    symbol_t *symbols;
    pair_t *pairs;
    size_t num_pairs, pairs_capacity;
    uint32_t *slots; /* pairs by hash of (left, right) */
    size_t num_slots;
    heap_entry_t *heap;
    size_t heap_size, heap_capacity;
    uint32_t *touched; /* pairs whose count has grown in this merge */
    size_t num_touched, touched_capacity;
} learner_t;

/* ---- Pairs ---- */

static size_t pair_slot(const learner_t *learner, uint32_t left, uint32_t right)
{
    size_t mask = learner->num_slots - 1;
    size_t at = tlmi_hash_word((uint64_t)left << 32 | right) & mask;

    for (; learner->slots[at] != NONE; at = (at + 1) & mask) {
        const pair_t *pair = &learner->pairs[learner->slots[at]];

        if (pair->left == left && pair->right == right)
            break;
    }
    return at;
}

static tlm_status_t grow_pairs(learner_t *learner)
{
    size_t num_slots = learner->num_slots == 0 ? 4096 : 2 * learner->num_slots;
    uint32_t *slots;

    if (learner->num_pairs + 1 >= NONE / 4)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "more than %u distinct pairs", NONE / 4 - 1);
    if (!tlmi_grow(&learner->pairs, &learner->pairs_capacity, learner->num_pairs + 1,
                   sizeof(*learner->pairs), "pairs"))
        return TLM_ERR_OUT_OF_MEMORY;
    if (2 * learner->num_pairs < learner->num_slots)
        return TLM_OK;
    slots = tlmi_alloc(num_slots, sizeof(*slots), "pairs");
    if (slots == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    memset(slots, 0xFF, num_slots * sizeof(*slots));
    tlmi_free(learner->slots);
    learner->slots = slots;
    learner->num_slots = num_slots;
    for (size_t i = 0; i < learner->num_pairs; i++)
        slots[pair_slot(learner, learner->pairs[i].left, learner->pairs[i].right)] = (uint32_t)i;
    return TLM_OK;
}

static tlm_status_t find_pair(uint32_t *out, learner_t *learner, uint32_t left, uint32_t right)
{
    size_t slot;

    TLMI_TRY(grow_pairs(learner));
    slot = pair_slot(learner, left, right);
    if (learner->slots[slot] == NONE) {
        learner->slots[slot] = (uint32_t)learner->num_pairs;
        learner->pairs[learner->num_pairs++] =
            (pair_t){.left = left, .right = right, .head = NONE, .tail = NONE};
    }
    *out = learner->slots[slot];
    return TLM_OK;
}

static uint64_t weight(const learner_t *learner, const symbol_t *symbol)
{
    return learner->counts->entries[symbol->pretoken].count;
}

static tlm_status_t touch(learner_t *learner, uint32_t index)
{
    if (learner->pairs[index].touched)
        return TLM_OK;
    if (!tlmi_grow(&learner->touched, &learner->touched_capacity, learner->num_touched + 1,
                   sizeof(*learner->touched), "pairs"))
        return TLM_ERR_OUT_OF_MEMORY;
    learner->pairs[index].touched = true;
    learner->touched[learner->num_touched++] = index;
    return TLM_OK;
}

/* Enters the symbol at `at`, which has a right neighbour, in the list of its pair. */
static tlm_status_t attach(learner_t *learner, uint32_t at)
{
    symbol_t *symbol = &learner->symbols[at];
    uint32_t index;
    pair_t *pair;

    TLMI_TRY(find_pair(&index, learner, symbol->id, learner->symbols[symbol->next].id));
    TLMI_TRY(touch(learner, index));
    pair = &learner->pairs[index];
    symbol->pair = index;
    symbol->pair_prev = pair->tail;
    symbol->pair_next = NONE;
    if (pair->tail == NONE)
        pair->head = at;
    else
        learner->symbols[pair->tail].pair_next = at;
    pair->unordered |= pair->tail != NONE && pair->tail > at;
    pair->tail = at;
    pair->count += weight(learner, symbol);
    return TLM_OK;
}

static void detach(learner_t *learner, uint32_t at)
{
    symbol_t *symbol = &learner->symbols[at];
    pair_t *pair = &learner->pairs[symbol->pair];

    if (symbol->pair_prev == NONE)
        pair->head = symbol->pair_next;
    else
        learner->symbols[symbol->pair_prev].pair_next = symbol->pair_next;
    if (symbol->pair_next == NONE)
        pair->tail = symbol->pair_prev;
    else
        learner->symbols[symbol->pair_next].pair_prev = symbol->pair_prev;
    pair->count -= weight(learner, symbol);
    symbol->pair = NONE;
}

/* ---- The heap ---- */

static int compare_tokens(const tlmi_vocabulary_t *vocabulary, uint32_t a, uint32_t b)
{
    tlm_bytes_t x = tlmi_vocabulary_token(vocabulary, a), y = tlmi_vocabulary_token(vocabulary, b);
    int order = a == b ? 0 : memcmp(x.data, y.data, x.size < y.size ? x.size : y.size);

    return order != 0 ? order : (x.size > y.size) - (x.size < y.size);
}

/* Whether entry a is merged before entry b. */
static bool comes_first(const learner_t *learner, heap_entry_t a, heap_entry_t b)
{
    const pair_t *x = &learner->pairs[a.pair], *y = &learner->pairs[b.pair];
    int order;

    if (a.count != b.count)
        return a.count > b.count;
    order = compare_tokens(learner->vocabulary, x->left, y->left);
    if (order == 0)
        order = compare_tokens(learner->vocabulary, x->right, y->right);
    return order > 0;
}

static void sift_down(learner_t *learner)
{
    heap_entry_t *heap = learner->heap, entry = heap[0];
    size_t at = 0;

    for (size_t child; (child = 2 * at + 1) < learner->heap_size; at = child) {
        if (child + 1 < learner->heap_size && comes_first(learner, heap[child + 1], heap[child]))
            child++;
        if (!comes_first(learner, heap[child], entry))
            break;
        heap[at] = heap[child];
    }
    heap[at] = entry;
}

static void drop_top(learner_t *learner)
{
    learner->heap[0] = learner->heap[--learner->heap_size];
    if (learner->heap_size > 0)
        sift_down(learner);
}

static tlm_status_t push(learner_t *learner, uint32_t pair)
{
    heap_entry_t entry = {learner->pairs[pair].count, pair};
    size_t at = learner->heap_size;

    if (!tlmi_grow(&learner->heap, &learner->heap_capacity, at + 1, sizeof(*learner->heap),
                   "a heap of pairs"))
        return TLM_ERR_OUT_OF_MEMORY;
    learner->heap_size++;
    for (size_t parent; at > 0 && comes_first(learner, entry, learner->heap[(at - 1) / 2]);
         at = parent) {
        parent = (at - 1) / 2;
        learner->heap[at] = learner->heap[parent];
    }
    learner->heap[at] = entry;
    return TLM_OK;
}

static tlm_status_t push_touched(learner_t *learner)
{
    for (size_t i = 0; i < learner->num_touched; i++) {
        pair_t *pair = &learner->pairs[learner->touched[i]];

        pair->touched = false;
        if (pair->count > 0)
            TLMI_TRY(push(learner, learner->touched[i]));
    }
    learner->num_touched = 0;
    return TLM_OK;
}

/* The pair to merge next, or NONE. */
static uint32_t best_pair(learner_t *learner, uint64_t min_count)
{
    while (learner->heap_size > 0) {
        heap_entry_t *top = &learner->heap[0];
        uint64_t count = learner->pairs[top->pair].count;

        if (count == top->count)
            return count < min_count ? NONE : top->pair;
        if (count == 0 || count > top->count) { /* merged, or pushed anew since */
            drop_top(learner);
        } else {
            top->count = count;
            sift_down(learner);
        }
    }
    return NONE;
}

/* ---- Merging ---- */

static int compare_places(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* Puts the places of a pair in text order. Only pairs such as (a, a) need it, where places overlap
 * and the leftmost takes precedence. */
static tlm_status_t order_places(learner_t *learner, pair_t *pair)
{
    size_t n = 0, i = 0;
    uint32_t *places;

    for (uint32_t at = pair->head; at != NONE; at = learner->symbols[at].pair_next)
        n++;
    places = tlmi_alloc(n, sizeof(*places), "places of a pair");
    if (places == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (uint32_t at = pair->head; at != NONE; at = learner->symbols[at].pair_next)
        places[i++] = at;
    qsort(places, n, sizeof(*places), compare_places);
    for (i = 0; i < n; i++) {
        learner->symbols[places[i]].pair_prev = i == 0 ? NONE : places[i - 1];
        learner->symbols[places[i]].pair_next = i + 1 == n ? NONE : places[i + 1];
    }
    pair->head = places[0];
    pair->tail = places[n - 1];
    tlmi_free(places);
    return TLM_OK;
}

/* Merges the symbol at `at` with its right neighbour. */
static tlm_status_t merge_place(learner_t *learner, uint32_t at, uint32_t product)
{
    symbol_t *symbol = &learner->symbols[at];
    uint32_t gone = symbol->next;
    uint32_t next = learner->symbols[gone].next;

    detach(learner, at);
    if (symbol->prev != NONE)
        detach(learner, symbol->prev);
    if (next != NONE) {
        detach(learner, gone);
        learner->symbols[next].prev = at;
    }
    symbol->id = product;
    symbol->next = next;
    if (symbol->prev != NONE)
        TLMI_TRY(attach(learner, symbol->prev));
    return next != NONE ? attach(learner, at) : TLM_OK;
}

static tlm_status_t merge_pair(learner_t *learner, uint32_t index, uint32_t product)
{
    pair_t *pair = &learner->pairs[index];

    if (pair->left == pair->right && pair->unordered)
        TLMI_TRY(order_places(learner, pair));
    for (uint32_t at; (at = learner->pairs[index].head) != NONE;)
        TLMI_TRY(merge_place(learner, at, product));
    learner->pairs[index].merged = true;
    learner->pairs[index].unordered = false;
    return push_touched(learner);
}

/* ---- Setting up ---- */

static tlm_status_t count_symbols(size_t *out, const tlmi_pretoken_counts_t *counts)
{
    *out = 0;
    for (size_t i = 0; i < counts->n; i++)
        if (counts->entries[i].size > 1)
            *out += counts->entries[i].size;
    if (*out >= NONE)
        return tlmi_fail(TLM_ERR_UNSUPPORTED, "the distinct pretokens have %zu bytes, more than %u",
                         *out, NONE - 1);
    return TLM_OK;
}

static void place_symbols(learner_t *learner, uint32_t first_byte)
{
    const tlmi_pretoken_counts_t *counts = learner->counts;
    uint32_t at = 0;

    for (size_t i = 0; i < counts->n; i++) {
        const tlmi_pretoken_count_t *entry = &counts->entries[i];

        for (size_t k = 0; k < entry->size && entry->size > 1; k++, at++)
            learner->symbols[at] = (symbol_t){.id = first_byte + counts->bytes[entry->start + k],
                                              .prev = k == 0 ? NONE : at - 1,
                                              .next = k + 1 == entry->size ? NONE : at + 1,
                                              .pair = NONE,
                                              .pretoken = (uint32_t)i};
    }
}

static tlm_status_t start(learner_t *learner, uint32_t first_byte)
{
    size_t n;

    TLMI_TRY(count_symbols(&n, learner->counts));
    learner->symbols = tlmi_alloc(n, sizeof(*learner->symbols), "symbols of pretokens");
    if (learner->symbols == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    place_symbols(learner, first_byte);
    for (uint32_t at = 0; at < n; at++)
        if (learner->symbols[at].next != NONE)
            TLMI_TRY(attach(learner, at));
    return push_touched(learner);
}

static void release(learner_t *learner)
{
    tlmi_free(learner->symbols);
    tlmi_free(learner->pairs);
    tlmi_free(learner->slots);
    tlmi_free(learner->heap);
    tlmi_free(learner->touched);
}

static tlm_status_t learn(tlmi_merge_t **merges, size_t *num_merges, learner_t *learner,
                          uint32_t vocab_size, uint64_t min_count)
{
    size_t capacity = 0;

    while (learner->vocabulary->size < vocab_size) {
        uint32_t best = best_pair(learner, min_count);
        tlmi_merge_t merge;

        if (best == NONE)
            break;
        merge.left = learner->pairs[best].left;
        merge.right = learner->pairs[best].right;
        TLMI_TRY(
            tlmi_vocabulary_join(&merge.product, learner->vocabulary, merge.left, merge.right));
        if (!learner->pairs[best].merged) {
            if (!tlmi_grow(merges, &capacity, *num_merges + 1, sizeof(**merges), "merges"))
                return TLM_ERR_OUT_OF_MEMORY;
            (*merges)[(*num_merges)++] = merge;
        }
        TLMI_TRY(merge_pair(learner, best, merge.product));
    }
    return TLM_OK;
}

tlm_status_t tlmi_bpe_learn(tlmi_merge_t **merges, size_t *num_merges,
                            tlmi_vocabulary_t *vocabulary, uint32_t first_byte,
                            const tlmi_pretoken_counts_t *counts, uint32_t vocab_size,
                            uint64_t min_count)
{
    learner_t learner = {.vocabulary = vocabulary, .counts = counts};
    tlm_status_t status;

    *merges = NULL;
    *num_merges = 0;
    status = start(&learner, first_byte);
    if (status == TLM_OK)
        status = learn(merges, num_merges, &learner, vocab_size, min_count);
    release(&learner);
    return status;
}
