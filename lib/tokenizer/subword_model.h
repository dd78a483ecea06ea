/* The interface of subword models: pretokens in, ids out. The models are byte-pair encoding (bpe/),
 * WordPiece (wordpiece/) and Unigram (unigram/). To add another, define a tlmi_subword_kind_t and a
 * struct that begins with a tlmi_subword_model_t. */
#ifndef TLMI_SUBWORD_MODEL_H
#define TLMI_SUBWORD_MODEL_H

#include "tinylm/status.h"

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

    /* Appends the ids of one pretoken of `size` >= 1 bytes, at most one id per byte; `out` has room
     * for that many. There may be none. The ids depend only on the bytes of the pretoken, so
     * callers may cache them. */
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

struct tlmi_subword_model {
    const tlmi_subword_kind_t *kind;
};

static inline tlm_status_t tlmi_subword_encode(const tlmi_subword_model_t *model,
                                               tlmi_scratch_t *scratch, tlmi_id_list_t *out,
                                               const uint8_t *pretoken, size_t size)
{
    return model->kind->encode(model, scratch, out, pretoken, size);
}

static inline bool tlmi_subword_splits_before_meta(const tlmi_subword_model_t *model, size_t size)
{
    return model->kind->splits_before_meta != NULL && model->kind->splits_before_meta(model, size);
}

/* NULL is fine. */
static inline void tlmi_subword_free(tlmi_subword_model_t *model)
{
    if (model != NULL)
        model->kind->free(model);
}

#endif
