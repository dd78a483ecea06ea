/* Each pair of neighboring tokens has a list of the places where it occurs, in text order. A merge
 * visits only the places of its own pair. It makes new pairs and writes their lists, but it does
 * not update the lists and counts of the pairs that it breaks up. This is safe because the count of
 * a pair can only fall until the pair itself is merged, so a count in the heap is never too low. A
 * pair is recounted when it reaches the top of the heap and one of its tokens has since been merged
 * on the side that affects the pair.
 *
 * All places of a pair are created by a single merge, the one that makes the later of its two
 * tokens. The reason is that, within a span of text whose ends no merge crosses, the merges depend
 * on that span alone. Wherever the same bytes become one token, they do so by the same merges. This
 * also holds with a base. */
#include "tokenizer/bpe/bpe_train.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/tokenizer_core.h"

#define NONE            UINT32_MAX
#define AHEAD           8  /* how many places ahead to prefetch */
#define MERGES_A_REPORT 64 /* merges per call of the progress callback */

typedef struct pair {
    uint32_t left, right;
    /* Its list of places, some of which may be out of date. Size 0: merged, or no place is left. */
    uint32_t start, size;
} pair_t;

typedef struct heap_entry {
    uint64_t count;
    uint32_t pair;
    uint32_t time; /* the merge after which the count was exact */
} heap_entry_t;

/* What the learner keeps per token, besides its length. */
typedef struct token {
    uint32_t last_left, last_right; /* the last merge with the token on that side; 0: none */
    uint32_t new_before, new_after; /* its pairs with the product of the current merge */
} token_t;

/* One place of a new pair. */
typedef struct new_place {
    uint32_t pair, place;
} new_place_t;

typedef struct learner {
    tlmi_vocabulary_t *vocabulary;
    const tlmi_bpe_learn_options_t *options;
    tlmi_token_cells_t cells;
    uint32_t *lengths; /* of each token, in bytes */
    token_t *tokens;
    size_t lengths_capacity, tokens_capacity;
    pair_t *pairs;
    size_t num_pairs, pairs_capacity;
    uint32_t *places; /* of all pairs, in the order of the pairs */
    size_t num_places, places_capacity;
    size_t idle_places; /* entries of `places` that no pair uses anymore */
    heap_entry_t *heap;
    size_t heap_size, heap_capacity;
    uint32_t time; /* merges so far */
    /* The current merge: */
    uint32_t first_new; /* the first pair that it makes */
    uint64_t *new_counts;
    new_place_t *new_places;
    size_t num_new_places, new_places_capacity, new_counts_capacity;
} learner_t;

/* ---- The heap ---- */

static int compare_tokens(const tlmi_vocabulary_t *vocabulary, uint32_t a, uint32_t b)
{
    tlm_bytes_t x = tlmi_vocabulary_token(vocabulary, a), y = tlmi_vocabulary_token(vocabulary, b);
    int order = a == b ? 0 : memcmp(x.data, y.data, x.size < y.size ? x.size : y.size);

    return order != 0 ? order : (x.size > y.size) - (x.size < y.size);
}

/* Returns whether entry a is merged before entry b. */
static inline bool comes_first(const learner_t *learner, heap_entry_t a, heap_entry_t b)
{
    const pair_t *x = &learner->pairs[a.pair], *y = &learner->pairs[b.pair];

    if (a.count != b.count)
        return a.count > b.count;
    int order = compare_tokens(learner->vocabulary, x->left, y->left);
    if (order == 0)
        order = compare_tokens(learner->vocabulary, x->right, y->right);
    return order > 0;
}

static void sift_down(learner_t *learner, size_t at)
{
    heap_entry_t *heap = learner->heap, entry = heap[at];

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
        sift_down(learner, 0);
}

static tlm_status_t push(learner_t *learner, uint32_t pair, uint64_t count, uint32_t time)
{
    heap_entry_t entry = {count, pair, time};
    size_t at = learner->heap_size;

    if (!tlmi_grow(&learner->heap, &learner->heap_capacity, at + 1, sizeof(*learner->heap),
                   "a heap of pairs"))
        return TLM_ERR_OUT_OF_MEMORY;
    learner->heap_size++;
    for (size_t parent; at > 0; at = parent) {
        parent = (at - 1) / 2;
        if (!comes_first(learner, entry, learner->heap[parent]))
            break;
        learner->heap[at] = learner->heap[parent];
    }
    learner->heap[at] = entry;
    return TLM_OK;
}

/* ---- Recounting ---- */

/* Returns whether a pair may have lost places since the merge `time`. It may have if its left token
 * has since been the right side of a merge, or its right token the left side. */
static bool is_stale(const learner_t *learner, const pair_t *pair, uint32_t time)
{
    return learner->tokens[pair->left].last_right > time ||
           learner->tokens[pair->right].last_left > time;
}

/* Drops the places where the pair no longer occurs. Returns the sum of the counts of the rest. */
static uint64_t recount(learner_t *learner, pair_t *pair)
{
    const uint32_t *cells = learner->cells.cells, *lengths = learner->lengths;
    uint32_t *places = learner->places + pair->start;
    uint32_t length = lengths[pair->left], kept = 0;
    uint64_t count = 0;

    for (uint32_t i = 0; i < pair->size; i++) {
        uint32_t at = places[i];

        if (i + AHEAD < pair->size)
            __builtin_prefetch(&cells[places[i + AHEAD]]);
        if (cells[at] != pair->left || cells[at + length] != pair->right)
            continue;
        places[kept++] = at;
        count += tlmi_token_cells_count(&learner->cells, at + length);
    }
    learner->idle_places += pair->size - kept;
    pair->size = kept;
    return count;
}

/* Returns the pair to merge next, or NONE. */
static uint32_t best_pair(learner_t *learner)
{
    while (learner->heap_size > 0) {
        heap_entry_t *top = &learner->heap[0];
        pair_t *pair = &learner->pairs[top->pair];

        if (top->count < learner->options->min_count)
            return NONE;
        if (pair->size > 0 && !is_stale(learner, pair, top->time))
            return top->pair;
        if (pair->size > 0) {
            top->count = recount(learner, pair);
            top->time = learner->time;
        }
        if (pair->size == 0)
            drop_top(learner);
        else
            sift_down(learner, 0);
    }
    return NONE;
}

/* ---- New pairs ---- */

static bool is_too_long(const learner_t *learner, uint32_t left, uint32_t right)
{
    uint32_t most = learner->options->max_token_length;
    uint64_t length = (uint64_t)learner->lengths[left] + learner->lengths[right];

    return most > 0 && length > most;
}

static tlm_status_t add_pair(uint32_t *out, learner_t *learner, uint32_t left, uint32_t right)
{
    size_t n = learner->num_pairs;

    if (n >= NONE / 2)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "bpe_trainer_train: the text has more than %u distinct pairs", NONE / 2);
    if (!tlmi_grow(&learner->pairs, &learner->pairs_capacity, n + 1, sizeof(*learner->pairs),
                   "pairs") ||
        !tlmi_grow(&learner->new_counts, &learner->new_counts_capacity, n + 1 - learner->first_new,
                   sizeof(*learner->new_counts), "counts of pairs"))
        return TLM_ERR_OUT_OF_MEMORY;
    learner->pairs[n] = (pair_t){.left = left, .right = right};
    learner->new_counts[n - learner->first_new] = 0;
    learner->num_pairs++;
    *out = (uint32_t)n;
    return TLM_OK;
}

/* Records a place of the pair of the product and a neighbor. `known` is the neighbor's new_before
 * or new_after, which may be stale from an earlier merge. */
static tlm_status_t note_place(learner_t *learner, uint32_t known, bool before, uint32_t left,
                               uint32_t right, uint32_t place, uint64_t count)
{
    if (is_too_long(learner, left, right))
        return TLM_OK;
    if (known < learner->first_new || known >= learner->num_pairs) {
        TLMI_TRY(add_pair(&known, learner, left, right));
        if (before)
            learner->tokens[left].new_before = known;
        else
            learner->tokens[right].new_after = known;
    }
    if (!tlmi_grow(&learner->new_places, &learner->new_places_capacity, learner->num_new_places + 1,
                   sizeof(*learner->new_places), "places of pairs"))
        return TLM_ERR_OUT_OF_MEMORY;
    learner->new_places[learner->num_new_places++] = (new_place_t){known, place};
    learner->new_counts[known - learner->first_new] += count;
    learner->pairs[known].size++;
    return TLM_OK;
}

/* Closes the gaps between the lists of places. The lists are stored in the order of the pairs. */
static void compact_places(learner_t *learner)
{
    size_t n = 0;

    for (size_t i = 0; i < learner->first_new; i++) {
        pair_t *pair = &learner->pairs[i];

        memmove(learner->places + n, learner->places + pair->start,
                pair->size * sizeof(*learner->places));
        pair->start = (uint32_t)n;
        n += pair->size;
    }
    learner->num_places = n;
    learner->idle_places = 0;
}

/* Reserves room for the places of the new pairs. */
static tlm_status_t start_lists(learner_t *learner, size_t n)
{
    if (learner->num_places + n > learner->places_capacity &&
        learner->idle_places > learner->num_places / 4)
        compact_places(learner);
    if (learner->num_places + n >= NONE)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "bpe_trainer_train: the pairs occur in more than %u places", NONE - 1);
    if (!tlmi_grow(&learner->places, &learner->places_capacity, learner->num_places + n,
                   sizeof(*learner->places), "places of pairs"))
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = learner->first_new; i < learner->num_pairs; i++) {
        learner->pairs[i].start = (uint32_t)learner->num_places;
        learner->num_places += learner->pairs[i].size;
        learner->pairs[i].size = 0;
    }
    return TLM_OK;
}

static inline void append_place(learner_t *learner, uint32_t index, uint32_t place)
{
    pair_t *pair = &learner->pairs[index];

    learner->places[pair->start + pair->size++] = place;
}

/* Pushes the new pairs onto the heap, except those that are too rare, which can only become rarer.
 * A count may be too high if a neighbor has since been merged, so it is dated before this merge. */
static tlm_status_t push_new(learner_t *learner)
{
    for (size_t i = learner->first_new; i < learner->num_pairs; i++) {
        uint64_t count = learner->new_counts[i - learner->first_new];

        if (count >= learner->options->min_count)
            TLMI_TRY(push(learner, (uint32_t)i, count, learner->time - 1));
    }
    return TLM_OK;
}

/* ---- Merging ---- */

/* Merges the pair at one place if it still occurs there. */
static inline tlm_status_t merge_place(learner_t *learner, const pair_t *pair, uint32_t at,
                                       uint32_t product)
{
    uint32_t *cells = learner->cells.cells;
    uint32_t middle = at + learner->lengths[pair->left];
    uint32_t end = middle + learner->lengths[pair->right];

    if (cells[at] != pair->left || cells[middle] != pair->right)
        return TLM_OK;
    uint64_t count = tlmi_token_cells_count(&learner->cells, end);
    cells[middle] = TLMI_CELL_INSIDE;
    cells[at] = cells[end - 1] = product;
    uint32_t before = cells[at - 1];
    uint32_t after = cells[end];
    if (!(before & TLMI_CELL_COUNT))
        TLMI_TRY(note_place(learner, learner->tokens[before].new_before, true, before, product,
                            at - learner->lengths[before], count));
    if (!(after & TLMI_CELL_COUNT))
        TLMI_TRY(note_place(learner, learner->tokens[after].new_after, false, product, after, at,
                            count));
    return TLM_OK;
}

static tlm_status_t merge_pair(learner_t *learner, uint32_t index, uint32_t product)
{
    const pair_t pair = learner->pairs[index];

    learner->time++;
    learner->tokens[pair.left].last_left = learner->time;
    learner->tokens[pair.right].last_right = learner->time;
    learner->first_new = (uint32_t)learner->num_pairs;
    learner->num_new_places = 0;
    for (uint32_t i = 0; i < pair.size; i++) {
        const uint32_t *places = learner->places + pair.start;

        if (i + AHEAD < pair.size)
            __builtin_prefetch(&learner->cells.cells[places[i + AHEAD]], 1);
        TLMI_TRY(merge_place(learner, &pair, places[i], product));
    }
    learner->pairs[index].size = 0;
    learner->idle_places += pair.size;
    TLMI_TRY(start_lists(learner, learner->num_new_places));
    for (size_t i = 0; i < learner->num_new_places; i++)
        append_place(learner, learner->new_places[i].pair, learner->new_places[i].place);
    return push_new(learner);
}

/* ---- Setup ---- */

/* A hash index of pairs by their tokens. It is used only while the initial pairs are counted. */
typedef struct pair_index {
    uint32_t *slots; /* NONE if free */
    size_t num_slots;
} pair_index_t;

static size_t pair_slot(const pair_index_t *index, const learner_t *learner, uint32_t left,
                        uint32_t right)
{
    size_t mask = index->num_slots - 1;
    size_t at = tlmi_hash_word((uint64_t)left << 32 | right) & mask;

    for (; index->slots[at] != NONE; at = (at + 1) & mask) {
        const pair_t *pair = &learner->pairs[index->slots[at]];

        if (pair->left == left && pair->right == right)
            break;
    }
    return at;
}

static tlm_status_t grow_index(pair_index_t *index, const learner_t *learner)
{
    size_t num_slots = index->num_slots == 0 ? 4096 : 2 * index->num_slots;

    if (2 * learner->num_pairs < index->num_slots)
        return TLM_OK;
    uint32_t *slots = tlmi_alloc(num_slots, sizeof(*slots), "pairs");
    if (slots == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    memset(slots, 0xFF, num_slots * sizeof(*slots));
    tlmi_free(index->slots);
    *index = (pair_index_t){slots, num_slots};
    for (size_t i = 0; i < learner->num_pairs; i++)
        slots[pair_slot(index, learner, learner->pairs[i].left, learner->pairs[i].right)] =
            (uint32_t)i;
    return TLM_OK;
}

/* Moves *at to the first mergeable neighbors at or after it. Returns false if there are none. */
static bool next_neighbors(size_t *at, const learner_t *learner)
{
    const tlmi_token_cells_t *cells = &learner->cells;

    while (*at < cells->n) {
        uint32_t left = cells->cells[*at];

        if (left & TLMI_CELL_COUNT) {
            ++*at;
            continue;
        }
        uint32_t right = cells->cells[*at + learner->lengths[left]];
        if (!(right & TLMI_CELL_COUNT) && !is_too_long(learner, left, right))
            return true;
        *at += learner->lengths[left];
    }
    return false;
}

static tlm_status_t count_pairs(size_t *num_places, learner_t *learner, pair_index_t *index)
{
    const uint32_t *cells = learner->cells.cells, *lengths = learner->lengths;

    *num_places = 0;
    for (size_t at = 0; next_neighbors(&at, learner); at += lengths[cells[at]]) {
        uint32_t left = cells[at], right = cells[at + lengths[left]];

        TLMI_TRY(grow_index(index, learner));
        size_t slot = pair_slot(index, learner, left, right);
        uint32_t pair = index->slots[slot];
        if (pair == NONE) {
            TLMI_TRY(add_pair(&pair, learner, left, right));
            index->slots[slot] = pair;
        }
        learner->pairs[pair].size++;
        learner->new_counts[pair] += tlmi_token_cells_count(&learner->cells, at);
        ++*num_places;
    }
    return TLM_OK;
}

static tlm_status_t list_pairs(learner_t *learner, const pair_index_t *index, size_t num_places)
{
    const uint32_t *cells = learner->cells.cells, *lengths = learner->lengths;

    TLMI_TRY(start_lists(learner, num_places));
    for (size_t at = 0; next_neighbors(&at, learner); at += lengths[cells[at]]) {
        uint32_t left = cells[at], right = cells[at + lengths[left]];

        append_place(learner, index->slots[pair_slot(index, learner, left, right)], (uint32_t)at);
    }
    learner->time = 1;
    return push_new(learner);
}

static tlm_status_t add_tokens(learner_t *learner, size_t from)
{
    size_t n = learner->vocabulary->size;

    if (n >= TLMI_CELL_COUNT)
        return tlmi_fail(TLM_ERR_UNSUPPORTED,
                         "bpe_trainer_train: the distinct pretokens have too many tokens (%zu)", n);
    if (!tlmi_grow(&learner->lengths, &learner->lengths_capacity, n, sizeof(*learner->lengths),
                   "lengths of tokens") ||
        !tlmi_grow(&learner->tokens, &learner->tokens_capacity, n, sizeof(*learner->tokens),
                   "tokens"))
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t id = from; id < n; id++) {
        size_t size = tlmi_vocabulary_token(learner->vocabulary, (uint32_t)id).size;

        learner->lengths[id] = size < NONE ? (uint32_t)size : NONE;
        learner->tokens[id] = (token_t){0};
    }
    return TLM_OK;
}

static tlm_status_t start(learner_t *learner)
{
    const tlmi_bpe_learn_options_t *options = learner->options;
    pair_index_t index = {NULL, 0};
    size_t num_places;

    TLMI_TRY(add_tokens(learner, 0));
    TLMI_TRY(tlmi_token_cells_create(&learner->cells, options->counts, options->byte_ids,
                                     options->base));
    tlm_status_t status = count_pairs(&num_places, learner, &index);
    if (status == TLM_OK)
        status = list_pairs(learner, &index, num_places);
    tlmi_free(index.slots);
    return status;
}

static void release(learner_t *learner)
{
    tlmi_token_cells_release(&learner->cells);
    tlmi_free(learner->lengths);
    tlmi_free(learner->tokens);
    tlmi_free(learner->pairs);
    tlmi_free(learner->places);
    tlmi_free(learner->heap);
    tlmi_free(learner->new_counts);
    tlmi_free(learner->new_places);
}

/* ---- Learning ---- */

/* Returns whether a merge is already in the base. It is if its left or right side is a token of the
 * base that the base's own merges never make. */
static bool is_in_base(const learner_t *learner, const tlmi_merge_t *merge)
{
    const tlm_tokenizer_t *base = learner->options->base;

    return base != NULL && tlmi_merge_rank(&tlmi_tokenizer_bpe(base)->merges, merge->left,
                                           merge->right) != TLMI_NO_MERGE;
}

static tlm_status_t report(const learner_t *learner, size_t merges, size_t total)
{
    const tlmi_bpe_learn_options_t *options = learner->options;

    if (options->progress == NULL ||
        options->progress(options->progress_user, TLM_BPE_PHASE_LEARNING, merges, total) == 0)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_CANCELLED, "bpe_trainer_train: cancelled after %zu of %zu merges",
                     merges, total);
}

static tlm_status_t learn(tlmi_merge_t **merges, size_t *num_merges, learner_t *learner)
{
    uint32_t vocab_size = learner->options->vocab_size, old_size, best;
    size_t capacity = 0, total = vocab_size - learner->vocabulary->size;

    TLMI_TRY(report(learner, 0, total));
    while (learner->vocabulary->size < vocab_size && (best = best_pair(learner)) != NONE) {
        tlmi_merge_t merge = {learner->pairs[best].left, learner->pairs[best].right, 0};

        old_size = learner->vocabulary->size;
        TLMI_TRY(
            tlmi_vocabulary_join(&merge.product, learner->vocabulary, merge.left, merge.right));
        TLMI_TRY(add_tokens(learner, old_size));
        if (!is_in_base(learner, &merge)) {
            if (!tlmi_grow(merges, &capacity, *num_merges + 1, sizeof(**merges), "merges"))
                return TLM_ERR_OUT_OF_MEMORY;
            (*merges)[(*num_merges)++] = merge;
        }
        TLMI_TRY(merge_pair(learner, best, merge.product));
        if (learner->time % MERGES_A_REPORT == 0)
            TLMI_TRY(report(learner, *num_merges, total));
    }
    return report(learner, *num_merges, *num_merges);
}

tlm_status_t tlmi_bpe_learn(tlmi_merge_t **merges, size_t *num_merges,
                            tlmi_vocabulary_t *vocabulary, const tlmi_bpe_learn_options_t *options)
{
    learner_t learner = {.vocabulary = vocabulary, .options = options};

    *merges = NULL;
    *num_merges = 0;
    tlm_status_t status = start(&learner);
    if (status == TLM_OK)
        status = learn(merges, num_merges, &learner);
    release(&learner);
    return status;
}
