/* The distinct pretokens as tokens, while merges are learnt: a cell for each byte. A token has its id
 * in its first and in its last cell, so its neighbours are found from both sides without links; what
 * stands between is never looked at. Behind each pretoken its count stands in two cells, so that who
 * has come so far finds it in the same cache line or the next. */
#ifndef TLMI_TOKEN_CELLS_H
#define TLMI_TOKEN_CELLS_H

#include "pretoken_counts.h"

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

#endif
