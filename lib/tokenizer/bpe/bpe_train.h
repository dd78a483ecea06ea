/* Training BPE: counts of pretokens, the cells they are split into, learning merges. */
#ifndef TLMI_BPE_TRAIN_H
#define TLMI_BPE_TRAIN_H

#include "tinylm/tokenizer.h"
#include "tinylm/bpe_trainer.h"
#include "tokenizer/bpe/bpe.h"
#include "tokenizer/tokenizer_core.h"

/* How often each distinct pretoken occurs. */

/* A pretoken of up to 15 bytes lies in `key` itself. A longer one has 0xFF as its last byte, 56 bits
 * of its hash before it, and in key[0] its place in `bytes`. */
typedef struct tlmi_pretoken_slot {
    uint64_t key[2];
    uint64_t count; /* 0 where the slot is free */
} tlmi_pretoken_slot_t;

/* A table of zeros is empty. */
typedef struct tlmi_pretoken_counts {
    tlmi_pretoken_slot_t *slots; /* open addressing, in no order that means anything */
    size_t num_slots;            /* a power of two, or 0 */
    size_t n;                    /* slots in use */
    size_t total_size;           /* bytes of all distinct pretokens together */
    uint8_t *bytes;              /* of the long ones, each after its size as a size_t */
    size_t bytes_size;
    size_t bytes_capacity;
} tlmi_pretoken_counts_t;

void tlmi_pretoken_counts_release(tlmi_pretoken_counts_t *counts);

/* Counts pretokens that follow each other, as a tlmi_pretokens_fn gets them. */
tlm_status_t tlmi_pretoken_counts_add(tlmi_pretoken_counts_t *counts, const uint8_t *text,
                                      const size_t *ends, size_t n);

/* Adds all of `from`, which is emptied. On failure both are as before. */
tlm_status_t tlmi_pretoken_counts_merge(tlmi_pretoken_counts_t *to, tlmi_pretoken_counts_t *from);

typedef struct tlmi_pretoken_dropped {
    uint64_t pretokens, occurrences;
} tlmi_pretoken_dropped_t;

/* The same, and keeps the `limit` most frequent pretokens; of equal counts those whose bytes are
 * lexicographically greater. Adds to *dropped what that cost. */
tlm_status_t tlmi_pretoken_counts_merge_limited(tlmi_pretoken_dropped_t *dropped,
                                                tlmi_pretoken_counts_t *to,
                                                tlmi_pretoken_counts_t *from, uint64_t limit);

/* The pretoken of a slot in use. A short one is written to `room` (16 bytes). */
tlm_bytes_t tlmi_pretoken_bytes(const tlmi_pretoken_counts_t *counts,
                                const tlmi_pretoken_slot_t *slot, uint8_t *room);

/* The distinct pretokens as tokens, while merges are learned: a cell for each byte. A token has its id
 * in its first and in its last cell, so its neighbors are found from both sides without links; what
 * stands between is never looked at. Behind each pretoken its count stands in two cells, so that who
 * has come so far finds it in the same cache line or the next. */

#define TLMI_CELL_COUNT  ((uint32_t)1 << 31) /* with 31 bits of a count, the lower ones first */
#define TLMI_CELL_INSIDE UINT32_MAX          /* no token begins or ends here */
#define TLMI_CELL_BLOCK  64
#define TLMI_CELL_STEPS  8

typedef struct tlmi_token_cells {
    uint32_t *cells; /* a count of 0, then each pretoken and its count */
    size_t n;
    uint32_t *block_ends; /* [at / TLMI_CELL_BLOCK]: where the count behind its first cell is */
} tlmi_token_cells_t;

/* From counted pretokens: as bytes, or with a base as the tokens that it encodes them to. Those of a
 * single token are left out. TLM_ERR_UNSUPPORTED for 2^32 cells or more, or a count of 2^62. */
tlm_status_t tlmi_token_cells_create(tlmi_token_cells_t *out, const tlmi_pretoken_counts_t *counts,
                                     const uint32_t *byte_ids, const tlm_tokenizer_t *base);
void tlmi_token_cells_release(tlmi_token_cells_t *cells);

static inline uint64_t tlmi_token_cells_read_count(const uint32_t *cells)
{
    return (cells[0] & ~TLMI_CELL_COUNT) | (uint64_t)(cells[1] & ~TLMI_CELL_COUNT) << 31;
}

/* Count of the pretoken in which a token begins, or ends, at `at`. lengths[id] is in bytes. */
static inline uint64_t tlmi_token_cells_count(const tlmi_token_cells_t *cells,
                                              const uint32_t *lengths, size_t at)
{
    const uint32_t *ends = &cells->block_ends[at / TLMI_CELL_BLOCK];
    size_t limit = at + TLMI_CELL_BLOCK;

    /* Most pretokens end within a few tokens. If this one goes on to the next block, that knows it. */
    for (int step = 0; step < TLMI_CELL_STEPS || (ends[0] != ends[1] && at < limit); step++) {
        uint32_t cell = cells->cells[at];

        if (cell & TLMI_CELL_COUNT)
            return tlmi_token_cells_read_count(cells->cells + at);
        at += lengths[cell];
    }
    return tlmi_token_cells_read_count(cells->cells + ends[1]);
}

/* Learning merges from pretoken counts. */

/* What merges are learned from, and when to stop. */
typedef struct tlmi_bpe_learn_options {
    const tlmi_pretoken_counts_t *counts;
    const uint32_t *byte_ids;    /* (256) */
    const tlm_tokenizer_t *base; /* its merges come first and keep their ids; or NULL */
    uint32_t vocab_size;
    uint32_t max_token_length; /* bytes of a product; 0: any */
    uint64_t min_count;        /* of a pair, > 0 */
    tlm_bpe_progress_callback_t progress;
    void *progress_user;
} tlmi_bpe_learn_options_t;

/* Extends a vocabulary, which holds all bytes and the base, to vocab_size tokens at most: each time
 * the pair of neighbors with the greatest count is merged, of equal ones the pair whose left bytes,
 * then right bytes, are lexicographically greatest. Stops early when no pair reaches min_count.
 * *merges, the new ones, is owned by the caller (tlmi_free), also on failure. */
tlm_status_t tlmi_bpe_learn(tlmi_merge_t **merges, size_t *num_merges,
                            tlmi_vocabulary_t *vocabulary, const tlmi_bpe_learn_options_t *options);

/* The trainer's inside, as far as tests set it. */

/* Bytes of text per task, instead of the default; any number > 0 gives the same counts. */
void tlmi_bpe_trainer_set_piece_size(tlm_bpe_trainer_t *trainer, size_t size);

#endif
