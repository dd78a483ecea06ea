/* Byte-pair encoding as a subword model: merges, the tree that applies them, the symbols that they
 * begin with, dropout. */
#ifndef TLMI_BPE_H
#define TLMI_BPE_H

#include "tokenizer/hash.h"
#include "tokenizer/tokenizer_core.h"

/* The merges of a vocabulary, indexed by rank (0 is applied first) and by pair. */

#define TLMI_NO_MERGE   UINT32_MAX
#define TLMI_MAX_MERGES ((size_t)1 << 26) /* ranks are below it */

typedef struct tlmi_merge {
    uint32_t left, right; /* ids of the two sides */
    uint32_t product;     /* id of their concatenation */
} tlmi_merge_t;

typedef struct tlmi_merge_slot {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank; /* TLMI_NO_MERGE if the slot is free */
    uint32_t product;
} tlmi_merge_slot_t;

typedef struct tlmi_merge_table {
    tlmi_merge_t *merges; /* by rank */
    uint32_t size;
    uint32_t capacity;
    tlmi_merge_slot_t *slots; /* and one that is always free after them */
    size_t mask;              /* number of slots - 1 */
    uint64_t *filter;         /* bit map: the pairs that may have a merge */
    size_t filter_mask;       /* number of bits - 1 */
    bool shares_ranks;        /* several merges may have one rank; none of them is in `merges` */
} tlmi_merge_table_t;

/* Makes an empty table with room for `capacity` merges. A zeroed table may be released. */
tlm_status_t tlmi_merge_table_init(tlmi_merge_table_t *table, size_t capacity);
/* The same for merges that share ranks. Only tlmi_merge_table_share adds to such a table. */
tlm_status_t tlmi_merge_table_init_shared(tlmi_merge_table_t *table, size_t capacity);
void tlmi_merge_table_release(tlmi_merge_table_t *table);

/* Adds the next merge, for which there must be room. Returns false if the pair is already there. */
bool tlmi_merge_table_add(tlmi_merge_table_t *table, tlmi_merge_t merge);

/* Like tlmi_merge_table_add, but at a given rank, which must be below the capacity and free. A
 * table that is not filled in rank order may have gaps in `merges`, so it can only be used for
 * encoding. */
bool tlmi_merge_table_put(tlmi_merge_table_t *table, uint32_t rank, tlmi_merge_t merge);

/* Adds the next merge, for which there must be room. If its pair is already there, the new rank
 * and product replace the old ones, and the old merge stays in `merges` without effect. */
void tlmi_merge_table_replace(tlmi_merge_table_t *table, tlmi_merge_t merge);

/* Adds a merge with a rank that other merges may have too, to a table that was made for that.
 * Returns false if the pair is already there. */
bool tlmi_merge_table_share(tlmi_merge_table_t *table, uint32_t rank, tlmi_merge_t merge);

static inline uint64_t tlmi_merge_hash(uint32_t left, uint32_t right)
{
    return tlmi_hash_word((uint64_t)left << 32 | right);
}

/* The bit of the filter for a pair with this hash. */
static inline size_t tlmi_merge_bit(const tlmi_merge_table_t *table, uint64_t hash)
{
    return (size_t)(hash >> 40) & table->filter_mask;
}

/* Whether there may be a merge for a pair with this hash: one in ten pairs without one passes. The
 * filter is in the CPU's cache, while the slots of a large vocabulary are not. */
static inline bool tlmi_merge_passes(const tlmi_merge_table_t *table, uint64_t hash)
{
    size_t bit = tlmi_merge_bit(table, hash);

    return (table->filter[bit / 64] >> bit % 64 & 1) != 0;
}

/* Returns the place of a pair with this hash in the slots, or the free place where it belongs. */
static inline size_t tlmi_merge_place(const tlmi_merge_table_t *table, uint64_t pair, uint64_t hash)
{
    size_t at = hash & table->mask;

    while (table->slots[at].rank != TLMI_NO_MERGE && table->slots[at].pair != pair)
        at = (at + 1) & table->mask;
    return at;
}

/* Finds the slot of the merge of two neighbors; its rank is TLMI_NO_MERGE if there is none. */
static inline const tlmi_merge_slot_t *tlmi_merge_slot(const tlmi_merge_table_t *table,
                                                       uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right, hash = tlmi_merge_hash(left, right);

    return &table->slots[tlmi_merge_passes(table, hash) ? tlmi_merge_place(table, pair, hash)
                                                        : table->mask + 1];
}

/* Returns the rank of the merge of two neighbors, or TLMI_NO_MERGE. */
static inline uint32_t tlmi_merge_rank(const tlmi_merge_table_t *table, uint32_t left,
                                       uint32_t right)
{
    return tlmi_merge_slot(table, left, right)->rank;
}

/* Returns the product of a merge, given its rank and its sides. */
static inline uint32_t tlmi_merge_product(const tlmi_merge_table_t *table, uint32_t rank,
                                          uint32_t left, uint32_t right)
{
    return table->shares_ranks ? tlmi_merge_slot(table, left, right)->product
                               : table->merges[rank].product;
}

/* Resolves a merge of a file and adds it with tlmi_merge_table_replace. `index` is its number in
 * error messages. The product is the left side and the right side without its first `prefix_size`
 * bytes, the continuing_subword_prefix. is_added is as in tlmi_bpe_options_t. `joined` is scratch
 * memory for the product. */
tlm_status_t tlmi_bpe_add_merge(tlmi_merge_table_t *table, const char *what,
                                const tlmi_vocabulary_t *vocabulary, const uint8_t *is_added,
                                size_t prefix_size, tlm_bytes_t left, tlm_bytes_t right,
                                size_t index, tlmi_scratch_t *joined);

/* The symbols of a pretoken of any length while they are merged. Finding the next merge and
 * applying it each take logarithmic time. The tree needs 4.4 bytes of memory per symbol. */

#define TLMI_MERGE_TREE_FAN    16 /* ranks per rank of the next level */
#define TLMI_MERGE_TREE_LEVELS 16 /* enough for any size */

/* Offsets of the parts of a tree in its memory, for a given number of symbols. */
typedef struct tlmi_merge_tree_layout {
    int levels;
    size_t ranks[TLMI_MERGE_TREE_LEVELS]; /* byte offset of each level */
    size_t starts;                        /* byte offset of the bit map */
    size_t size;                          /* total bytes */
} tlmi_merge_tree_layout_t;

/* Computes the layout. Returns false if the sizes overflow. */
bool tlmi_merge_tree_lay_out(tlmi_merge_tree_layout_t *out, size_t size);

/* The last pair found for each product that the output may not contain, so that it can be taken
 * apart again. */
typedef struct tlmi_bpe_splits {
    const uint32_t *numbers; /* [id]: number of the product, or TLMI_NO_TOKEN */
    uint64_t *pairs;         /* [number]: left << 32 | right */
} tlmi_bpe_splits_t;

/* The position of a symbol is that of its first part in the array that the tree started with. */
typedef struct tlmi_merge_tree {
    const tlmi_merge_table_t *merges;
    uint32_t *ids; /* (size): symbols by position; owned by the caller */
    size_t size;
    /* ranks[0][i] is the rank of the merge of the symbol at i with the next one, or TLMI_NO_MERGE.
     * ranks[k + 1][i] is the lowest of the FAN ranks that start at ranks[k][FAN * i]. The last
     * level, ranks[levels - 1], has FAN ranks. */
    uint32_t *ranks[TLMI_MERGE_TREE_LEVELS];
    int levels;
    /* One bit per position, and one for the end: whether a symbol starts there. */
    uint64_t *starts;
    const tlmi_bpe_splits_t *splits; /* NULL if nothing is taken apart */
} tlmi_merge_tree_t;

/* Starts with `size` >= 1 symbols. The tree borrows the ids, the memory and the splits, which may
 * be NULL, until tlmi_merge_tree_finish. `memory` has layout->size bytes for this size, aligned
 * to 8. */
void tlmi_merge_tree_start(tlmi_merge_tree_t *tree, const tlmi_merge_tree_layout_t *layout,
                           void *memory, const tlmi_merge_table_t *merges, uint32_t *ids,
                           size_t size, const tlmi_bpe_splits_t *splits);

/* Returns the rank of the next merge and sets its position: the lowest rank, leftmost on a tie.
 * Returns TLMI_NO_MERGE if no merge is left. */
uint32_t tlmi_merge_tree_next(size_t *at, const tlmi_merge_tree_t *tree);

/* Applies the merge with this rank at its position. */
void tlmi_merge_tree_apply(tlmi_merge_tree_t *tree, size_t at, uint32_t rank);

/* Hides the merge at a position from tlmi_merge_tree_next until tlmi_merge_tree_show is called for
 * it or one of its two symbols is merged. */
void tlmi_merge_tree_hide(tlmi_merge_tree_t *tree, size_t at);
void tlmi_merge_tree_show(tlmi_merge_tree_t *tree, size_t at);

/* Moves the symbols to the front of `ids` and returns how many there are. */
size_t tlmi_merge_tree_finish(tlmi_merge_tree_t *tree);

/* The symbols of a pretoken before any merge: bytes or UTF-8 characters, with the affixes of their
 * place in it. */

/* Places of a symbol, whose bits may be set together. */
enum { TLMI_PLACE_LATER = 1, TLMI_PLACE_LAST = 2, TLMI_NUM_PLACES = 4 };

/* Maps the characters at one place to symbols, page by page of 256 code points. Bytes are one page
 * of their own. */
typedef struct tlmi_symbol_map {
    uint16_t *page_of;      /* [code point / 256]; NULL for bytes. Page 0 is that of no token */
    uint32_t (*pages)[256]; /* [page][code point % 256]: a symbol, or TLMI_NO_TOKEN */
    size_t num_pages;
    size_t capacity;
} tlmi_symbol_map_t;

typedef struct tlmi_bpe_symbols {
    bool is_byte_level;
    bool is_plain; /* byte-level, all bytes are there, no affixes: byte_ids suffices */
    bool fuse_unk;
    bool lacks_unk;         /* there is an unk_token, but not in the vocabulary */
    uint32_t unk_id;        /* TLMI_NO_TOKEN if unknown symbols are dropped */
    uint32_t byte_ids[256]; /* is_plain: the one-byte tokens; otherwise of the fallback, or
                               TLMI_NO_TOKEN */
    tlmi_symbol_map_t maps[TLMI_NUM_PLACES];
    const tlmi_symbol_map_t *map_of[TLMI_NUM_PLACES]; /* places without affixes share a map */
} tlmi_bpe_symbols_t;

/* The model. It applies the merge of lowest rank, leftmost first, until no merge applies. */

/* A zeroed struct is character-level BPE that drops unknown characters. */
typedef struct tlmi_bpe_options {
    bool is_byte_level; /* tokens are bytes, and each byte is a symbol; otherwise tokens are UTF-8
                           strings, and each character is a symbol */
    bool byte_fallback; /* an unknown character becomes the tokens of its bytes, "<0x0A>", if the
                           vocabulary has all of them */
    bool fuse_unk;      /* neighboring unknown symbols become one unk_token */
    bool ignore_merges; /* whole tokens win even if the merges give other ids */
    tlm_bytes_t unk_token; /* size 0: none, so unknown symbols are dropped. If the vocabulary lacks
                              it, encoding an unknown symbol fails */
    tlm_bytes_t continuing_subword_prefix; /* of all symbols but the first; size 0: none */
    tlm_bytes_t end_of_word_suffix;        /* of the last symbol; size 0: none */
    const uint8_t *is_added; /* [id]: not 0 if the token is only an added token, which the model
                                does not know. NULL if there are none. Copied where needed */
} tlmi_bpe_options_t;

/* What tlmi_merge_slot finds. */
typedef struct tlmi_byte_merge {
    uint32_t rank, product;
} tlmi_byte_merge_t;

typedef struct tlmi_bpe_model {
    tlmi_subword_model_t base;
    const tlmi_vocabulary_t *vocabulary; /* owned by the tokenizer */
    tlmi_merge_table_t merges;
    tlmi_bpe_symbols_t symbols;
    uint8_t *is_whole;     /* [id]: whether a pretoken of the token's bytes encodes to it alone */
    uint32_t num_tokens;   /* size of is_whole; later tokens are not the model's */
    size_t max_whole_size; /* bytes of the longest token that is whole */
    /* Of plain models, the merge of two bytes, [left * 256 + right]; NULL for others. */
    tlmi_byte_merge_t *byte_merges;
    bool ignores_merges;
    bool splits_before_meta;
    uint64_t *joins; /* bit map of tlmi_bpe_may_join; NULL if any two symbols may join */
    size_t joins_mask;
    /* Of SentencePiece models: symbols from num_tokens on are characters without a token. */
    bool is_from_pieces;
    uint32_t num_splits; /* products that the output may not contain */
    uint32_t *split_of;  /* [id]: number of such a product, or TLMI_NO_TOKEN; NULL if there are
                            none */
} tlmi_bpe_model_t;

/* Values of is_whole[id]. */
enum { TLMI_NOT_WHOLE, TLMI_WHOLE_BY_MERGES, TLMI_WHOLE_BY_LOOKUP };

extern const tlmi_subword_kind_t tlmi_bpe_kind;

/* Makes a model over a vocabulary, which it borrows and whose address must not change. Consumes the
 * merges, even on failure. Error messages start with `what`. */
tlm_status_t tlmi_bpe_model_create(tlmi_subword_model_t **out, const char *what,
                                   const tlmi_vocabulary_t *vocabulary, tlmi_merge_table_t *merges,
                                   const tlmi_bpe_options_t *options);

/* Makes the BPE model of SentencePiece: of all neighbors whose concatenation is a piece, those
 * whose piece has the highest score are merged first, leftmost on a tie. Unused pieces are merged
 * but taken apart again in the end. User-defined pieces must be added tokens. */
tlm_status_t tlmi_bpe_model_create_from_pieces(tlmi_subword_model_t **out, const char *what,
                                               const tlmi_vocabulary_t *vocabulary,
                                               const tlmi_pieces_t *pieces);

/* Returns the model of a tokenizer if it is a BPE model, otherwise NULL. */
const tlmi_bpe_model_t *tlmi_tokenizer_bpe(const tlm_tokenizer_t *tokenizer);

/* Like tlmi_tokenizer_bpe, but fails with TLM_ERR_UNSUPPORTED unless the model is a byte-level BPE
 * with all bytes, no affixes and a list of merges. */
tlm_status_t tlmi_tokenizer_require_bpe(const tlmi_bpe_model_t **out, const char *what,
                                        const tlm_tokenizer_t *tokenizer);

/* Appends the ids that a pretoken gets from the merges alone, with dropout unless it is NULL. `out`
 * must have room for `size` more ids. */
tlm_status_t tlmi_bpe_merge(const tlmi_bpe_model_t *model, tlmi_scratch_t *scratch,
                            tlmi_id_list_t *out, const uint8_t *pretoken, size_t size,
                            const tlmi_dropout_t *dropout);

/* BPE dropout (Provilkov et al. 2020). Each step drops every merge that applies, independently and
 * with the given probability, and applies the best of the rest. Merging ends when none is left.
 * Which merges are dropped depends only on the seed and the position of the pretoken. `hidden` has
 * room for one position per symbol. Finishes the tree and returns the number of symbols. */
size_t tlmi_bpe_drop_out(tlmi_merge_tree_t *tree, size_t *hidden, const tlmi_dropout_t *dropout);

/* Finds the symbols of a vocabulary. A zeroed struct may be released. */
tlm_status_t tlmi_bpe_symbols_init(tlmi_bpe_symbols_t *out, const char *what,
                                   const tlmi_vocabulary_t *vocabulary,
                                   const tlmi_bpe_options_t *options);
void tlmi_bpe_symbols_release(tlmi_bpe_symbols_t *symbols);

/* Sets the symbol of the character that is the whole of `token`, if it is one character. */
tlm_status_t tlmi_symbol_map_set(tlmi_symbol_map_t *map, tlm_bytes_t token, uint32_t symbol);

/* Returns the symbol of a code point, or TLMI_NO_TOKEN. */
static inline uint32_t tlmi_symbol_map_get(const tlmi_symbol_map_t *map, uint32_t code_point)
{
    return map->pages[map->page_of == NULL ? 0 : map->page_of[code_point >> 8]][code_point & 255];
}

/* Writes the symbols of a pretoken, at most one per byte, and their number. */
tlm_status_t tlmi_bpe_symbolize(size_t *n, const tlmi_bpe_symbols_t *symbols, uint32_t *out,
                                const uint8_t *pretoken, size_t size);

/* The functions of models from pieces: the symbols of a pretoken, and the ids of merged symbols,
 * which it writes and counts. */
size_t tlmi_bpe_symbolize_pieces(const tlmi_bpe_model_t *model, uint32_t *out,
                                 const uint8_t *pretoken, size_t size);
size_t tlmi_bpe_resolve_pieces(const tlmi_bpe_model_t *model, uint32_t *out,
                               const uint32_t *symbols, size_t n, const tlmi_bpe_splits_t *splits,
                               const uint8_t *pretoken, size_t size);

/* Fills joins, is_whole, max_whole_size and splits_before_meta of a model that is otherwise
 * complete. All its symbols are below num_symbols; is_added may be NULL. */
tlm_status_t tlmi_bpe_model_complete(tlmi_bpe_model_t *model, size_t num_symbols,
                                     const uint8_t *is_added);

/* Sets `joins` of a model that has its symbols, of which all are below num_symbols, and merges. */
tlm_status_t tlmi_bpe_find_joins(tlmi_bpe_model_t *model, size_t num_symbols);

static inline size_t tlmi_bpe_join_bit(const tlmi_bpe_model_t *model, uint32_t left, uint32_t right)
{
    return (size_t)tlmi_hash_word((uint64_t)left << 32 | right) & model->joins_mask;
}

/* Whether two neighboring symbols may end up in one token. */
static inline bool tlmi_bpe_may_join(const tlmi_bpe_model_t *model, uint32_t left, uint32_t right)
{
    size_t bit = tlmi_bpe_join_bit(model, left, right);

    return (model->joins[bit / 64] >> bit % 64 & 1) != 0;
}

/* Finds the ids of the 256 single-byte tokens. */
tlm_status_t tlmi_bpe_find_bytes(uint32_t byte_ids[256], const char *what,
                                 const tlmi_vocabulary_t *vocabulary);

/* Makes a BPE tokenizer from a vocabulary and merges. Consumes both, even on failure. */
tlm_status_t tlmi_bpe_tokenizer_assemble(tlm_tokenizer_t **out, const char *what,
                                         tlmi_vocabulary_t *vocabulary, tlmi_merge_table_t *merges,
                                         const tlm_tokenizer_options_t *options);

#endif
