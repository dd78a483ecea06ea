/* Byte-pair encoding as a subword model: the merge table, the tree that applies merges, dropout. */
#ifndef TLMI_BPE_H
#define TLMI_BPE_H

#include "tokenizer/hash.h"
#include "tokenizer/tokenizer_core.h"

/* The merges of a vocabulary, indexed by rank (0 is applied first) and by pair. */

#define TLMI_NO_MERGE UINT32_MAX

typedef struct tlmi_merge {
    uint32_t left, right; /* ids of the two sides */
    uint32_t product;     /* id of their concatenation */
} tlmi_merge_t;

typedef struct tlmi_merge_slot {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank; /* TLMI_NO_MERGE if the slot is free */
    uint32_t reserved;
} tlmi_merge_slot_t;

typedef struct tlmi_merge_table {
    tlmi_merge_t *merges; /* by rank */
    uint32_t size;
    uint32_t capacity;
    tlmi_merge_slot_t *slots;
    size_t mask; /* number of slots - 1 */
} tlmi_merge_table_t;

/* Makes an empty table with room for `capacity` merges. A zeroed table may be released. */
tlm_status_t tlmi_merge_table_init(tlmi_merge_table_t *table, size_t capacity);
void tlmi_merge_table_release(tlmi_merge_table_t *table);

/* Adds the next merge, for which there must be room. Returns false if the pair is already there. */
bool tlmi_merge_table_add(tlmi_merge_table_t *table, tlmi_merge_t merge);

/* Like tlmi_merge_table_add, but at a given rank, which must be below the capacity and free. A
 * table that is not filled in rank order may have gaps in `merges`, so it can only be used for
 * encoding. */
bool tlmi_merge_table_put(tlmi_merge_table_t *table, uint32_t rank, tlmi_merge_t merge);

/* Returns the rank of the merge of two neighbors, or TLMI_NO_MERGE. */
static inline uint32_t tlmi_merge_rank(const tlmi_merge_table_t *table, uint32_t left,
                                       uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    size_t at = tlmi_hash_word(pair) & table->mask;

    while (table->slots[at].rank != TLMI_NO_MERGE && table->slots[at].pair != pair)
        at = (at + 1) & table->mask;
    return table->slots[at].rank;
}

/* A pretoken of any length while it is merged. Finding the next merge and applying it each take
 * logarithmic time. The tree needs 4.4 bytes of memory per byte of the pretoken. */

#define TLMI_MERGE_TREE_FAN    16 /* ranks per rank of the next level */
#define TLMI_MERGE_TREE_LEVELS 16 /* enough for any size */

/* Offsets of the parts of a tree in its memory, for a pretoken of a given size. */
typedef struct tlmi_merge_tree_layout {
    int levels;
    size_t ranks[TLMI_MERGE_TREE_LEVELS]; /* byte offset of each level */
    size_t starts;                        /* byte offset of the bit map */
    size_t size;                          /* total bytes */
} tlmi_merge_tree_layout_t;

/* Computes the layout. Returns false if the sizes overflow. */
bool tlmi_merge_tree_lay_out(tlmi_merge_tree_layout_t *out, size_t size);

/* The position of a token is that of its first byte. */
typedef struct tlmi_merge_tree {
    const tlmi_merge_table_t *merges;
    uint32_t *ids; /* (size): token ids by position; owned by the caller */
    size_t size;
    /* ranks[0][i] is the rank of the merge of the token at i with the next one, or TLMI_NO_MERGE.
     * ranks[k + 1][i] is the lowest of the FAN ranks that start at ranks[k][FAN * i]. The last
     * level, ranks[levels - 1], has FAN ranks. */
    uint32_t *ranks[TLMI_MERGE_TREE_LEVELS];
    int levels;
    /* One bit per position, and one for the end: whether a token starts there. */
    uint64_t *starts;
} tlmi_merge_tree_t;

/* Starts with one token per byte, `size` >= 1 of them. The tree borrows the ids and the memory
 * until tlmi_merge_tree_finish. `memory` has layout->size bytes for this size, aligned to 8. */
void tlmi_merge_tree_start(tlmi_merge_tree_t *tree, const tlmi_merge_tree_layout_t *layout,
                           void *memory, const tlmi_merge_table_t *merges, uint32_t *ids,
                           size_t size);

/* Returns the rank of the next merge and sets its position: the lowest rank, leftmost on a tie.
 * Returns TLMI_NO_MERGE if no merge is left. */
uint32_t tlmi_merge_tree_next(size_t *at, const tlmi_merge_tree_t *tree);

/* Applies the merge with this rank at its position. */
void tlmi_merge_tree_apply(tlmi_merge_tree_t *tree, size_t at, uint32_t rank);

/* Hides the merge at a position from tlmi_merge_tree_next until tlmi_merge_tree_show is called for
 * it or one of its two tokens is merged. */
void tlmi_merge_tree_hide(tlmi_merge_tree_t *tree, size_t at);
void tlmi_merge_tree_show(tlmi_merge_tree_t *tree, size_t at);

/* Moves the ids of the tokens to the front of `ids` and returns how many there are. */
size_t tlmi_merge_tree_finish(tlmi_merge_tree_t *tree);

/* The model. It applies the merge of lowest rank, leftmost first, until no merge applies. */

typedef struct tlmi_bpe_model {
    tlmi_subword_model_t base;
    const tlmi_vocabulary_t *vocabulary; /* owned by the tokenizer */
    tlmi_merge_table_t merges;
    uint32_t byte_ids[256]; /* ids of the one-byte tokens */
    uint8_t *is_whole;      /* [id]: whether a pretoken of the token's bytes encodes to it alone */
    bool ignores_merges;    /* whole tokens win even if the merges give other ids */
} tlmi_bpe_model_t;

/* Values of is_whole[id]. */
enum { TLMI_NOT_WHOLE, TLMI_WHOLE_BY_MERGES, TLMI_WHOLE_BY_LOOKUP };

extern const tlmi_subword_kind_t tlmi_bpe_kind;

/* Makes the model of a tokenizer, which must already have its vocabulary and special tokens and
 * must not move in memory. Consumes the merges, even on failure. Error messages start with
 * `what`. */
tlm_status_t tlmi_bpe_model_create(tlmi_subword_model_t **out, const char *what,
                                   const tlm_tokenizer_t *tokenizer, tlmi_merge_table_t *merges,
                                   bool ignores_merges);

/* Returns the model of a tokenizer if it is a BPE model, otherwise NULL. */
const tlmi_bpe_model_t *tlmi_tokenizer_bpe(const tlm_tokenizer_t *tokenizer);

/* Like tlmi_tokenizer_bpe, but fails with TLM_ERR_UNSUPPORTED if the model is of another kind. */
tlm_status_t tlmi_tokenizer_require_bpe(const tlmi_bpe_model_t **out, const char *what,
                                        const tlm_tokenizer_t *tokenizer);

/* Appends the ids that a pretoken gets from the merges alone. Of the model, it uses only the merges
 * and the ids of the bytes. `out` must have room for `size` more ids. */
tlm_status_t tlmi_bpe_merge(const tlmi_bpe_model_t *model, tlmi_scratch_t *scratch,
                            tlmi_id_list_t *out, const uint8_t *pretoken, size_t size);

/* BPE dropout (Provilkov et al. 2020). Each step drops every merge that applies, independently and
 * with the given probability, and applies the best of the rest. Merging ends when none is left.
 * Which merges are dropped depends only on the seed and the position of the pretoken. `out` must
 * have room for `size` more ids. */
tlm_status_t tlmi_bpe_merge_with_dropout(const tlmi_subword_model_t *model, tlmi_scratch_t *scratch,
                                         tlmi_id_list_t *out, const uint8_t *pretoken, size_t size,
                                         const tlmi_dropout_t *dropout);

/* Finds the ids of the 256 single-byte tokens. */
tlm_status_t tlmi_bpe_find_bytes(uint32_t byte_ids[256], const char *what,
                                 const tlmi_vocabulary_t *vocabulary);

/* Makes a BPE tokenizer from a vocabulary and merges. Consumes both, even on failure. */
tlm_status_t tlmi_bpe_tokenizer_assemble(tlm_tokenizer_t **out, const char *what,
                                         tlmi_vocabulary_t *vocabulary, tlmi_merge_table_t *merges,
                                         const tlm_tokenizer_options_t *options);

#endif
