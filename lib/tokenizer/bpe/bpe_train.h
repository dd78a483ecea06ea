/* BPE training: pretoken counts, the token cells of pretokens, and learning merges. */
#ifndef TLMI_BPE_TRAIN_H
#define TLMI_BPE_TRAIN_H

#include "tinylm/tokenizer.h"
#include "tinylm/bpe_trainer.h"
#include "tokenizer/bpe/bpe.h"
#include "tokenizer/tokenizer_core.h"

/* How often each distinct pretoken occurs. */

/* A pretoken of up to 15 bytes is stored in `key` itself. For a longer one, the last byte of the
 * key is 0xFF, the 56 bits before it are from its hash, and key[0] is the offset in `bytes`. */
typedef struct tlmi_pretoken_slot {
    uint64_t key[2];
    uint64_t count; /* 0 if the slot is free */
} tlmi_pretoken_slot_t;

/* A zeroed table is empty. */
typedef struct tlmi_pretoken_counts {
    tlmi_pretoken_slot_t *slots; /* open addressing; the order has no meaning */
    size_t num_slots;            /* a power of two, or 0 */
    size_t n;                    /* slots in use */
    size_t total_size;           /* total bytes of the distinct pretokens */
    uint8_t *bytes;              /* long pretokens, each preceded by its size as a size_t */
    size_t bytes_size;
    size_t bytes_capacity;
} tlmi_pretoken_counts_t;

void tlmi_pretoken_counts_release(tlmi_pretoken_counts_t *counts);

/* Counts consecutive pretokens of a text, given as to a tlmi_pretokens_fn. */
tlm_status_t tlmi_pretoken_counts_add(tlmi_pretoken_counts_t *counts, const uint8_t *text,
                                      const size_t *ends, size_t n);

/* Adds all counts of `from` to `to` and empties `from`. On failure both are unchanged. */
tlm_status_t tlmi_pretoken_counts_merge(tlmi_pretoken_counts_t *to, tlmi_pretoken_counts_t *from);

typedef struct tlmi_pretoken_dropped {
    uint64_t pretokens, occurrences;
} tlmi_pretoken_dropped_t;

/* Like tlmi_pretoken_counts_merge, but keeps only the `limit` most frequent pretokens. On a tie,
 * those with the lexicographically greater bytes are kept. Adds what was dropped to *dropped. */
tlm_status_t tlmi_pretoken_counts_merge_limited(tlmi_pretoken_dropped_t *dropped,
                                                tlmi_pretoken_counts_t *to,
                                                tlmi_pretoken_counts_t *from, uint64_t limit);

/* Returns the pretoken of a slot in use. A short one is written to `room` (16 bytes). */
tlm_bytes_t tlmi_pretoken_bytes(const tlmi_pretoken_counts_t *counts,
                                const tlmi_pretoken_slot_t *slot, uint8_t *room);

/* The tokens of the distinct pretokens while merges are learned, with one cell per byte. A token
 * has its id in its first and its last cell, so its neighbors are found from both sides without
 * links. The cells in between are never read. Two cells after each pretoken hold its count, so code
 * that has just read the pretoken's cells finds the count in the same cache line or the next. */

#define TLMI_CELL_COUNT  ((uint32_t)1 << 31) /* marks 31 bits of a count, low bits first */
#define TLMI_CELL_INSIDE UINT32_MAX          /* no token starts or ends in this cell */
#define TLMI_CELL_BLOCK  64
#define TLMI_CELL_STEPS  8

typedef struct tlmi_token_cells {
    uint32_t *cells; /* a count cell of 0, then each pretoken followed by its count */
    size_t n;
    /* [at / TLMI_CELL_BLOCK]: position of the count of the pretoken that the block starts in */
    uint32_t *block_ends;
} tlmi_token_cells_t;

/* Makes the cells of counted pretokens. They start as bytes or, with a base, as the tokens that the
 * base encodes them to. Pretokens of a single token are left out. Fails with TLM_ERR_UNSUPPORTED if
 * there are 2^32 cells or more or if a count reaches 2^62. */
tlm_status_t tlmi_token_cells_create(tlmi_token_cells_t *out, const tlmi_pretoken_counts_t *counts,
                                     const uint32_t *byte_ids, const tlm_tokenizer_t *base);
void tlmi_token_cells_release(tlmi_token_cells_t *cells);

static inline uint64_t tlmi_token_cells_read_count(const uint32_t *cells)
{
    return (cells[0] & ~TLMI_CELL_COUNT) | (uint64_t)(cells[1] & ~TLMI_CELL_COUNT) << 31;
}

/* Returns the count of the pretoken that has a token boundary at `at`. lengths[id] is in bytes. */
static inline uint64_t tlmi_token_cells_count(const tlmi_token_cells_t *cells,
                                              const uint32_t *lengths, size_t at)
{
    const uint32_t *ends = &cells->block_ends[at / TLMI_CELL_BLOCK];
    size_t limit = at + TLMI_CELL_BLOCK;

    /* Most pretokens end within a few tokens. If this one continues into the next block, the entry
     * of that block says where its count is. */
    for (int step = 0; step < TLMI_CELL_STEPS || (ends[0] != ends[1] && at < limit); step++) {
        uint32_t cell = cells->cells[at];

        if (cell & TLMI_CELL_COUNT)
            return tlmi_token_cells_read_count(cells->cells + at);
        at += lengths[cell];
    }
    return tlmi_token_cells_read_count(cells->cells + ends[1]);
}

/* Learning merges from pretoken counts. */

/* What to learn merges from and when to stop. */
typedef struct tlmi_bpe_learn_options {
    const tlmi_pretoken_counts_t *counts;
    const uint32_t *byte_ids;    /* (256) */
    const tlm_tokenizer_t *base; /* or NULL; its merges come first and keep their ids */
    uint32_t vocab_size;
    uint32_t max_token_length; /* of a product, in bytes; 0: no limit */
    uint64_t min_count;        /* of a pair, > 0 */
    tlm_bpe_progress_callback_t progress;
    void *progress_user;
} tlmi_bpe_learn_options_t;

/* Extends a vocabulary, which holds all bytes and the base, to at most vocab_size tokens. Each step
 * merges the pair of neighbors with the greatest count. On a tie, it takes the pair whose left
 * bytes, then right bytes, are lexicographically greatest. Learning stops early when no pair
 * reaches min_count. *merges receives the new merges. The caller owns it (tlmi_free), even on
 * failure. */
tlm_status_t tlmi_bpe_learn(tlmi_merge_t **merges, size_t *num_merges,
                            tlmi_vocabulary_t *vocabulary, const tlmi_bpe_learn_options_t *options);

/* Internal settings of the trainer, for tests. */

/* Overrides the bytes of text per task. The counts are the same for any size > 0. */
void tlmi_bpe_trainer_set_piece_size(tlm_bpe_trainer_t *trainer, size_t size);

#endif
