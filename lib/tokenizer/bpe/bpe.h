/* Byte-pair encoding as a subword model: merges, the tree in which they are applied, dropout. */
#ifndef TLMI_BPE_H
#define TLMI_BPE_H

#include "tokenizer/hash.h"
#include "tokenizer/tokenizer_core.h"

/* The merges of a vocabulary, by rank (0 is applied first) and by pair. */

#define TLMI_NO_MERGE UINT32_MAX

typedef struct tlmi_merge {
    uint32_t left, right; /* ids of the two sides */
    uint32_t product;     /* id of their concatenation */
} tlmi_merge_t;

typedef struct tlmi_merge_slot {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank; /* TLMI_NO_MERGE where the slot is free */
    uint32_t reserved;
} tlmi_merge_slot_t;

typedef struct tlmi_merge_table {
    tlmi_merge_t *merges; /* by rank */
    uint32_t size;
    uint32_t capacity;
    tlmi_merge_slot_t *slots;
    size_t mask; /* number of slots - 1 */
} tlmi_merge_table_t;

/* Room for `capacity` merges. A table of zeros may be released. */
tlm_status_t tlmi_merge_table_init(tlmi_merge_table_t *table, size_t capacity);
void tlmi_merge_table_release(tlmi_merge_table_t *table);

/* Adds the next merge, for which there is room; false if the pair is there already. */
bool tlmi_merge_table_add(tlmi_merge_table_t *table, tlmi_merge_t merge);

/* The same with a rank of its own, below the capacity and free. A table filled in another order than
 * that of ranks may have gaps in `merges`; it serves to encode by, no more. */
bool tlmi_merge_table_put(tlmi_merge_table_t *table, uint32_t rank, tlmi_merge_t merge);

/* Rank of the merge of two neighbors, or TLMI_NO_MERGE. */
static inline uint32_t tlmi_merge_rank(const tlmi_merge_table_t *table, uint32_t left,
                                       uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    size_t at = tlmi_hash_word(pair) & table->mask;

    while (table->slots[at].rank != TLMI_NO_MERGE && table->slots[at].pair != pair)
        at = (at + 1) & table->mask;
    return table->slots[at].rank;
}

/* A pretoken of any length while it is merged: which merge comes next, and applying it, each in
 * logarithmic time, in 4.4 bytes for each byte. */

#define TLMI_MERGE_TREE_FAN    16 /* ranks that one rank of the next level stands for */
#define TLMI_MERGE_TREE_LEVELS 16 /* enough for any size */

/* Where the parts of a tree lie in its memory, for a pretoken of some size. */
typedef struct tlmi_merge_tree_layout {
    int levels;
    size_t ranks[TLMI_MERGE_TREE_LEVELS]; /* byte offsets of each level */
    size_t starts;                        /* byte offset of the bits */
    size_t size;                          /* bytes of all */
} tlmi_merge_tree_layout_t;

/* False if the sizes overflow. */
bool tlmi_merge_tree_lay_out(tlmi_merge_tree_layout_t *out, size_t size);

/* A token stands at the position of its first byte. */
typedef struct tlmi_merge_tree {
    const tlmi_merge_table_t *merges;
    uint32_t *ids; /* (size): of the tokens, by position; the caller's */
    size_t size;
    /* ranks[0][i]: of the merge of the token at i with the next one, or TLMI_NO_MERGE. ranks[k + 1][i]:
     * the lowest of the FAN from ranks[k][FAN * i] on; ranks[levels - 1] has FAN. */
    uint32_t *ranks[TLMI_MERGE_TREE_LEVELS];
    int levels;
    uint64_t
        *starts; /* a bit for each position, and one at the end: whether a token stands there */
} tlmi_merge_tree_t;

/* Begins with a token for each of `size` >= 1 bytes. The ids and the memory are borrowed until the work
 * is finished; `memory` has layout->size bytes for this size, aligned to 8. */
void tlmi_merge_tree_start(tlmi_merge_tree_t *tree, const tlmi_merge_tree_layout_t *layout,
                           void *memory, const tlmi_merge_table_t *merges, uint32_t *ids,
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

/* The model: of all merges that apply, the one of lowest rank, leftmost first, until none applies. */

typedef struct tlmi_bpe_model {
    tlmi_subword_model_t base;
    const tlmi_vocabulary_t *vocabulary; /* the tokenizer's */
    tlmi_merge_table_t merges;
    uint32_t byte_ids[256]; /* ids of the one-byte tokens */
    uint8_t *is_whole;      /* [id]: whether the token's bytes as a pretoken encode to it alone */
    bool ignores_merges;    /* they do even where the merges make something else of them */
} tlmi_bpe_model_t;

/* What is_whole[id] holds. */
enum { TLMI_NOT_WHOLE, TLMI_WHOLE_BY_MERGES, TLMI_WHOLE_BY_LOOKUP };

extern const tlmi_subword_kind_t tlmi_bpe_kind;

/* Makes the model of a tokenizer that has its vocabulary and special tokens and stays where it is.
 * Consumes the merges, also on failure. `what` opens the messages. */
tlm_status_t tlmi_bpe_model_create(tlmi_subword_model_t **out, const char *what,
                                   const tlm_tokenizer_t *tokenizer, tlmi_merge_table_t *merges,
                                   bool ignores_merges);

/* The model of a tokenizer if it is of this kind, else NULL. */
const tlmi_bpe_model_t *tlmi_tokenizer_bpe(const tlm_tokenizer_t *tokenizer);

/* The same; TLM_ERR_UNSUPPORTED if it is of another kind. */
tlm_status_t tlmi_tokenizer_require_bpe(const tlmi_bpe_model_t **out, const char *what,
                                        const tlm_tokenizer_t *tokenizer);

/* Appends what the merges alone make of a pretoken: of the model, they and the ids of the bytes are all
 * that is used. There is room for `size` ids. */
tlm_status_t tlmi_bpe_merge(const tlmi_bpe_model_t *model, tlmi_scratch_t *scratch,
                            tlmi_id_list_t *out, const uint8_t *pretoken, size_t size);

/* BPE dropout (Provilkov et al. 2020): at each step every merge that applies is passed over with a
 * probability of its own, and the best of the others is applied; where none is left, merging ends.
 * Which are passed over is a pure function of the seed and the place of the pretoken. There is room for
 * `size` ids. */
tlm_status_t tlmi_bpe_merge_with_dropout(const tlmi_subword_model_t *model, tlmi_scratch_t *scratch,
                                         tlmi_id_list_t *out, const uint8_t *pretoken, size_t size,
                                         const tlmi_dropout_t *dropout);

/* Finds the ids of the 256 bytes. */
tlm_status_t tlmi_bpe_find_bytes(uint32_t byte_ids[256], const char *what,
                                 const tlmi_vocabulary_t *vocabulary);

/* Makes a BPE tokenizer around a vocabulary and merges, both consumed, also on failure. */
tlm_status_t tlmi_bpe_tokenizer_assemble(tlm_tokenizer_t **out, const char *what,
                                         tlmi_vocabulary_t *vocabulary, tlmi_merge_table_t *merges,
                                         const tlm_tokenizer_options_t *options);

#endif
