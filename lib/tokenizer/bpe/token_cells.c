/* Lays out the cells of the pretokens. */
#include "tokenizer/bpe/bpe_train.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

void tlmi_token_cells_release(tlmi_token_cells_t *cells)
{
    tlmi_free(cells->cells);
    tlmi_free(cells->ends);
    tlmi_free(cells->block_ends);
    *cells = (tlmi_token_cells_t){0};
}

static void place_bytes(uint32_t *to, tlm_bytes_t pretoken, const uint32_t *byte_ids)
{
    for (size_t i = 0; i < pretoken.size; i++)
        to[i] = byte_ids[pretoken.data[i]];
}

/* Writes the cells of a pretoken that the base has encoded. */
static void place_tokens(uint32_t *to, const tlm_tokenizer_t *base, const tlmi_id_list_t *ids)
{
    for (size_t i = 0; i < ids->n; i++) {
        uint32_t id = ids->ids[i];
        size_t size = tlmi_vocabulary_token(&base->vocabulary, id).size;

        for (size_t k = 0; k < size; k++)
            to[k] = k == 0 || k + 1 == size ? id : TLMI_CELL_INSIDE;
        to += size;
    }
}

/* Ends the pretoken whose cells were just written from cells->n on. */
static void end_pretoken(tlmi_token_cells_t *cells, size_t size, uint64_t count)
{
    size_t start = cells->n, end = start + size;

    cells->cells[end] = TLMI_CELL_COUNT | (uint32_t)count;
    cells->cells[end + 1] = TLMI_CELL_COUNT | (uint32_t)(count >> 31);
    cells->ends[end / 8] |= (uint8_t)(1 << end % 8);
    cells->n = end + 2;
    for (size_t block = (start + TLMI_CELL_BLOCK - 1) / TLMI_CELL_BLOCK;
         block * TLMI_CELL_BLOCK < cells->n; block++)
        cells->block_ends[block] = (uint32_t)end;
}

static tlm_status_t fill(tlmi_token_cells_t *cells, size_t num_blocks,
                         const tlmi_pretoken_counts_t *counts, const uint32_t *byte_ids,
                         const tlm_tokenizer_t *base)
{
    tlmi_id_list_t ids = {0};
    tlmi_scratch_t scratch = {0};
    tlmi_counted_pretoken_t counted = {.slot = 0};
    tlm_status_t status = TLM_OK;

    /* The first block starts before any pretoken, and blocks after the last pretoken start in none,
     * so their entries hold no end. The values differ so that no pretoken seems to span them. */
    cells->cells[0] = TLMI_CELL_COUNT;
    cells->n = 1;
    memset(cells->block_ends, 0xFF, num_blocks * sizeof(*cells->block_ends));
    cells->block_ends[0] = 0;
    while (status == TLM_OK && tlmi_pretoken_counts_next(&counted, counts)) {
        tlm_bytes_t pretoken = counted.bytes;

        if (pretoken.size == 1)
            continue;
        if (counted.count >> 62 != 0)
            status = tlmi_fail(TLM_ERR_UNSUPPORTED,
                               "bpe_trainer_train: a pretoken occurs 2^62 times or more");
        if (base == NULL) {
            place_bytes(cells->cells + cells->n, pretoken, byte_ids);
            end_pretoken(cells, pretoken.size, counted.count);
            continue;
        }
        ids.n = 0;
        if (!tlmi_id_list_reserve(&ids, pretoken.size))
            status = TLM_ERR_OUT_OF_MEMORY;
        else
            status = tlmi_subword_encode(base->model, &scratch, &ids, pretoken.data, pretoken.size);
        if (status == TLM_OK && ids.n > 1) {
            place_tokens(cells->cells + cells->n, base, &ids);
            end_pretoken(cells, pretoken.size, counted.count);
        }
    }
    tlmi_id_list_release(&ids);
    tlmi_scratch_release(&scratch);
    return status;
}

tlm_status_t tlmi_token_cells_create(tlmi_token_cells_t *out, const tlmi_pretoken_counts_t *counts,
                                     const uint32_t *byte_ids, const tlm_tokenizer_t *base)
{
    tlmi_token_cells_t cells = {0};
    size_t n = counts->total_size + 2 * counts->n + 1;
    size_t num_blocks = n / TLMI_CELL_BLOCK + 2;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (n >= UINT32_MAX)
        return tlmi_fail(
            TLM_ERR_UNSUPPORTED,
            "bpe_trainer_train: %zu distinct pretokens of %zu bytes are together more than %u",
            counts->n, counts->total_size, UINT32_MAX - 2);
    cells.cells = tlmi_alloc_aligned(n, sizeof(*cells.cells), "tokens of pretokens");
    cells.ends = tlmi_calloc(n / 8 + 16, 1, "ends of pretokens");
    cells.block_ends = tlmi_alloc(num_blocks, sizeof(*cells.block_ends), "ends of pretokens");
    if (cells.cells != NULL && cells.ends != NULL && cells.block_ends != NULL)
        status = fill(&cells, num_blocks, counts, byte_ids, base);
    if (status == TLM_OK)
        *out = cells;
    else
        tlmi_token_cells_release(&cells);
    return status;
}
