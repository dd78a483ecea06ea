/* The interface of subword models: pretokens in, ids out; the models other than byte-pair encoding,
 * which is in bpe/; and the trie in which they look up tokens. To add another model, define a
 * tlmi_subword_kind_t and a struct that begins with a tlmi_subword_model_t. */
#ifndef TLMI_SUBWORD_MODEL_H
#define TLMI_SUBWORD_MODEL_H

#include "tinylm/status.h"
#include "tinylm/tokenizer.h"

/* A growing list of ids. A zeroed list is empty. */
typedef struct tlmi_id_list {
    uint32_t *ids;
    size_t n;
    size_t capacity;
} tlmi_id_list_t;

/* This many ids may be written past the reserved room, so that short runs of ids are copied at a
 * constant size. */
#define TLMI_IDS_AT_ONCE 4

/* Makes room for n more ids, plus TLMI_IDS_AT_ONCE. */
bool tlmi_id_list_reserve(tlmi_id_list_t *list, size_t n);
void tlmi_id_list_release(tlmi_id_list_t *list);

/* Shrinks the array to its ids; it is not NULL afterwards. */
bool tlmi_id_list_fit(tlmi_id_list_t *list);

/* Appends n ids. */
tlm_status_t tlmi_id_list_append(tlmi_id_list_t *list, const uint32_t *ids, size_t n);

/* A block of memory for the work on one pretoken. Its content does not outlive that work. A zeroed
 * one is empty. */
typedef struct tlmi_scratch {
    void *block;
    size_t size;
} tlmi_scratch_t;

/* Returns a block of at least `size` bytes, aligned to a cache line; NULL if memory is
 * exhausted. */
void *tlmi_scratch_reserve(tlmi_scratch_t *scratch, size_t size);
void tlmi_scratch_release(tlmi_scratch_t *scratch);

/* Returns the id of the token "<0x0A>" of a byte in a vocabulary, or TLMI_NO_TOKEN. */
struct tlmi_vocabulary;
uint32_t tlmi_find_byte_token(const struct tlmi_vocabulary *vocabulary, int byte);

/* What a SentencePiece model says about its pieces, which are the tokens with the ids below `size`.
 * BPE and Unigram models are made from it. */
typedef struct tlmi_pieces {
    const float *scores;
    const uint8_t *types; /* TLMI_PIECE_...; NULL if all are normal */
    uint32_t size;
    uint32_t unk_id;    /* TLMI_NO_TOKEN if there is none */
    bool byte_fallback; /* unknown characters become the pieces of their bytes, "<0x0A>" */
} tlmi_pieces_t;

/* Types of pieces, with the values that SentencePiece's files give them. */
enum {
    TLMI_PIECE_NORMAL = 1,
    TLMI_PIECE_UNKNOWN,
    TLMI_PIECE_CONTROL,
    TLMI_PIECE_USER_DEFINED,
    TLMI_PIECE_UNUSED,
    TLMI_PIECE_BYTE
};

/* Skips merges at random: a pure function of the seed and the position of the pretoken. */
typedef struct tlmi_dropout {
    double probability; /* 0..1 */
    uint64_t seed;
    uint64_t position; /* of the pretoken, in bytes from the start of its text */
} tlmi_dropout_t;

typedef struct tlmi_subword_model tlmi_subword_model_t;

/* The functions of a kind of model. A model is immutable once made. Threads share it, and each
 * brings its own list and scratch. */
typedef struct tlmi_subword_kind {
    const char *name; /* for messages: "BPE" */

    /* Appends the ids of one pretoken of `size` >= 1 bytes that the model's words do not have, at
     * most one id per byte; `out` has room for that many. There may be none. The ids depend only on
     * the bytes of the pretoken, so callers may cache them. */
    tlm_status_t (*encode)(const tlmi_subword_model_t *model, tlmi_scratch_t *scratch,
                           tlmi_id_list_t *out, const uint8_t *pretoken, size_t size);

    /* Whether a pretoken of `size` bytes may be cut before each run of U+2581 that follows another
     * character without changing any id. NULL if it never may. */
    bool (*splits_before_meta)(const tlmi_subword_model_t *model, size_t size);

    /* The same as encode with dropout. NULL if the model has no dropout. */
    tlm_status_t (*encode_with_dropout)(const tlmi_subword_model_t *model, tlmi_scratch_t *scratch,
                                        tlmi_id_list_t *out, const uint8_t *pretoken, size_t size,
                                        const tlmi_dropout_t *dropout);

    void (*free)(tlmi_subword_model_t *model);
} tlmi_subword_kind_t;

struct tlmi_word_table;

struct tlmi_subword_model {
    const tlmi_subword_kind_t *kind;
    struct tlmi_word_table *words; /* of the pretokens that are one token, those that the model
                                      need not be asked for; NULL if there are none. Owned */
};

/* Encodes any pretoken of `size` >= 1 bytes: a word by its table, others by the model. */
tlm_status_t tlmi_subword_encode(const tlmi_subword_model_t *model, tlmi_scratch_t *scratch,
                                 tlmi_id_list_t *out, const uint8_t *pretoken, size_t size);

static inline bool tlmi_subword_splits_before_meta(const tlmi_subword_model_t *model, size_t size)
{
    return model->kind->splits_before_meta != NULL && model->kind->splits_before_meta(model, size);
}

/* Accepts NULL. */
static inline void tlmi_subword_free(tlmi_subword_model_t *model)
{
    if (model != NULL)
        model->kind->free(model);
}

/* ---- WordPiece: from the left, the longest token that matches; and WordLevel ---- */

#define TLMI_WORDPIECE_MAX_CHARS 100 /* the usual max_input_chars_per_word */

typedef struct tlmi_wordpiece_options {
    tlm_bytes_t unk_token; /* of words that no tokens make up. If the vocabulary lacks it, encoding
                              such a word fails */
    tlm_bytes_t continuing_subword_prefix; /* of all tokens except a word's first; may be empty */
    size_t max_input_chars_per_word;       /* longer words are unknown */
    const uint8_t *is_added; /* [id]: not 0 if the token is only an added token, which the model
                                does not know. NULL if there are none. Not kept */
    bool is_word_level;      /* each word is one token or unknown; the prefix does not matter */
} tlmi_wordpiece_options_t;

extern const tlmi_subword_kind_t tlmi_wordpiece_kind, tlmi_word_level_kind;

/* Makes a model of a vocabulary, of which it keeps nothing. Error messages start with `what`. */
tlm_status_t tlmi_wordpiece_model_create(tlmi_subword_model_t **out, const char *what,
                                         const struct tlmi_vocabulary *vocabulary,
                                         const tlmi_wordpiece_options_t *options);

/* ---- Unigram language models (Kudo 2018): the tokens with the highest sum of scores ---- */

typedef struct tlmi_unigram_options {
    const double *scores; /* [id]. Not kept */
    uint32_t num_scores;  /* later ids are added tokens, which the model does not know */
    uint32_t unk_id;      /* TLMI_NO_TOKEN if there is none; encoding an unknown character then
                             fails */
    bool byte_fallback;   /* unknown characters become the tokens of their bytes, "<0x0A>", if the
                           vocabulary has all of them */
} tlmi_unigram_options_t;

extern const tlmi_subword_kind_t tlmi_unigram_kind;

/* Makes a model with the arithmetic of Hugging Face tokenizers: double precision, and a score of
 * the lowest minus 10 for an unknown character. Keeps nothing of the vocabulary. Error messages
 * start with `what`. */
tlm_status_t tlmi_unigram_model_create(tlmi_subword_model_t **out, const char *what,
                                       const struct tlmi_vocabulary *vocabulary,
                                       const tlmi_unigram_options_t *options);

/* Makes a model with the arithmetic of SentencePiece: single precision over the whole pretoken, so
 * ids can depend on a distant part of it. */
tlm_status_t tlmi_unigram_model_create_from_pieces(tlmi_subword_model_t **out, const char *what,
                                                   const struct tlmi_vocabulary *vocabulary,
                                                   const tlmi_pieces_t *pieces);

/* ---- A static trie over byte strings, for the tokens that a text begins with ---- */

/* It is a double array (Aoe 1989): following a byte is one addition and one load. */

typedef struct tlmi_trie_key {
    const uint8_t *bytes;
    size_t size; /* > 0 */
    uint32_t id;
} tlmi_trie_key_t;

typedef struct tlmi_trie_node {
    uint32_t base;   /* the child by a byte is the node base ^ byte ... */
    uint32_t parent; /* ... if this is its parent; TLMI_TRIE_NONE if the node is free */
    uint32_t id;     /* of the key that ends here, or TLMI_TRIE_NONE */
} tlmi_trie_node_t;

#define TLMI_TRIE_ROOT 0
#define TLMI_TRIE_NONE UINT32_MAX

/* A zeroed trie may be released, but not searched. */
typedef struct tlmi_trie {
    tlmi_trie_node_t *nodes; /* base ^ byte is always inside the array */
    size_t num_nodes;
    size_t capacity;
    size_t max_key_size;
} tlmi_trie_t;

/* Makes a trie of n distinct keys, which it sorts and keeps nothing of. */
tlm_status_t tlmi_trie_create(tlmi_trie_t *out, tlmi_trie_key_t *keys, size_t n);
void tlmi_trie_release(tlmi_trie_t *trie);

/* Follows a byte from a node. Returns TLMI_TRIE_NONE if no key continues with it. */
static inline uint32_t tlmi_trie_follow(const tlmi_trie_t *trie, uint32_t node, uint8_t byte)
{
    uint32_t child = trie->nodes[node].base ^ byte;

    return trie->nodes[child].parent == node ? child : TLMI_TRIE_NONE;
}

static inline uint32_t tlmi_trie_id(const tlmi_trie_t *trie, uint32_t node)
{
    return trie->nodes[node].id;
}

#endif
