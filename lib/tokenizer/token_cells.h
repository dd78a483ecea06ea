/* The distinct pretokens as tokens, while merges are learnt: a cell for each byte. A token has its id
 * in its first and in its last cell, so its neighbours are found from both sides without links; what
 * stands between is never looked at. A separator behind each pretoken says which one it was. */
#ifndef TLMI_TOKEN_CELLS_H
#define TLMI_TOKEN_CELLS_H

#include "pretoken_counts.h"

#define TLMI_CELL_SEPARATOR ((uint32_t)1 << 31) /* with the index of the pretoken before it */
#define TLMI_CELL_INSIDE    UINT32_MAX          /* no token begins or ends here */
#define TLMI_CELL_BLOCK     64
#define TLMI_CELL_STEPS     8

typedef struct tlmi_token_cells {
    uint32_t *cells; /* a separator, then each pretoken and its separator */
    size_t n;
    uint64_t *counts; /* of the pretokens */
    size_t num_pretokens;
    uint32_t
        *block_pretokens; /* [at / TLMI_CELL_BLOCK]: the one that its first cell is in, if any */
} tlmi_token_cells_t;

/* From counted pretokens: as bytes, or with a base as the tokens that it encodes them to. Those of a
 * single token are left out. TLM_ERR_UNSUPPORTED for 2^32 cells or more. */
tlm_status_t tlmi_token_cells_create(tlmi_token_cells_t *out, const tlmi_pretoken_counts_t *counts,
                                     const uint32_t *byte_ids, const tlm_tokenizer_t *base);
void tlmi_token_cells_release(tlmi_token_cells_t *cells);

/* Count of the pretoken in which a token begins, or ends, at `at`. lengths[id] is in bytes. */
static inline uint64_t tlmi_token_cells_count(const tlmi_token_cells_t *cells,
                                              const uint32_t *lengths, size_t at)
{
    const uint32_t *block = &cells->block_pretokens[at / TLMI_CELL_BLOCK];
    size_t limit = at + TLMI_CELL_BLOCK;

    /* Most pretokens end within a few tokens. If this one goes on to the next block, that knows it. */
    for (int step = 0; step < TLMI_CELL_STEPS || (block[0] != block[1] && at < limit); step++) {
        uint32_t cell = cells->cells[at];

        if (cell & TLMI_CELL_SEPARATOR)
            return cells->counts[cell & ~TLMI_CELL_SEPARATOR];
        at += lengths[cell];
    }
    return cells->counts[block[1]];
}

#endif
