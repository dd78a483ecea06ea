/* Decodes many rows of ids in one call, on all threads: first their sizes, then their bytes. */
#include "tinylm/encode.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "tokenizer/tokenizer_core.h"

typedef struct decode_batch {
    const tlmi_vocabulary_t *vocabulary;
    const tlm_ids_t *rows;
    size_t *offsets; /* (num_rows + 1); at first offsets[i + 1] holds the size of row i */
    uint8_t *bytes;
} decode_batch_t;

/* Measures a row: SIZE_MAX if one of its ids is not a token. */
static void measure_row(void *context, int64_t row, int32_t worker)
{
    decode_batch_t *batch = context;
    const tlm_ids_t *ids = &batch->rows[row];
    size_t bad;

    (void)worker;
    if (!tlmi_measure_ids(&batch->offsets[row + 1], &bad, batch->vocabulary, ids->ids, ids->n))
        batch->offsets[row + 1] = SIZE_MAX;
}

static void copy_row(void *context, int64_t row, int32_t worker)
{
    decode_batch_t *batch = context;
    const tlm_ids_t *ids = &batch->rows[row];

    (void)worker;
    tlmi_copy_tokens(batch->bytes + batch->offsets[row],
                     batch->offsets[row + 1] - batch->offsets[row], batch->vocabulary, ids->ids,
                     ids->n);
}

/* Turns sizes into offsets; fails for the first row that could not be measured. */
static tlm_status_t add_up(decode_batch_t *batch, size_t num_rows)
{
    batch->offsets[0] = 0;
    for (size_t row = 0; row < num_rows; row++) {
        const tlm_ids_t *ids = &batch->rows[row];
        size_t size, bad;

        if (batch->offsets[row + 1] == SIZE_MAX &&
            !tlmi_measure_ids(&size, &bad, batch->vocabulary, ids->ids, ids->n) && bad < ids->n)
            return tlmi_fail(TLM_ERR_RANGE,
                             "tokenizer_decode_batch: id %u at position %zu of row %zu is outside "
                             "the vocabulary of %u",
                             ids->ids[bad], bad, row, batch->vocabulary->size);
        if (!tlmi_add_size(&batch->offsets[row + 1], batch->offsets[row], batch->offsets[row + 1]))
            return tlmi_fail_memory(SIZE_MAX, "a batch of texts");
    }
    return TLM_OK;
}

static tlm_status_t check_rows(const tlm_ids_t *rows, size_t num_rows)
{
    if (num_rows > 0)
        TLMI_REQUIRE("tokenizer_decode_batch", rows);
    for (size_t i = 0; i < num_rows; i++)
        if (rows[i].n > 0 && rows[i].ids == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "tokenizer_decode_batch: row %zu has %zu ids, but its pointer is NULL",
                             i, rows[i].n);
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_decode_batch(uint8_t **bytes, size_t **offsets,
                                        const tlm_tokenizer_t *tokenizer, const tlm_ids_t *rows,
                                        size_t num_rows)
{
    decode_batch_t batch = {.rows = rows};
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;
    size_t room;

    TLMI_REQUIRE("tokenizer_decode_batch", bytes);
    TLMI_REQUIRE("tokenizer_decode_batch", offsets);
    TLMI_REQUIRE("tokenizer_decode_batch", tokenizer);
    TLMI_TRY(check_rows(rows, num_rows));
    batch.vocabulary = &tokenizer->vocabulary;
    batch.offsets = tlmi_alloc(num_rows + 1, sizeof(*batch.offsets), "a batch of texts");
    if (batch.offsets == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_parallel_for((int64_t)num_rows, measure_row, &batch);
    TLMI_TRY_OR(fail, add_up(&batch, num_rows));
    if (!tlmi_add_size(&room, batch.offsets[num_rows], 1)) {
        status = tlmi_fail_memory(SIZE_MAX, "a batch of texts");
        goto fail;
    }
    batch.bytes = tlmi_alloc(room, 1, "a batch of texts");
    if (batch.bytes == NULL) {
        status = TLM_ERR_OUT_OF_MEMORY;
        goto fail;
    }
    tlmi_parallel_for((int64_t)num_rows, copy_row, &batch);
    batch.bytes[room - 1] = '\0';
    *bytes = batch.bytes;
    *offsets = batch.offsets;
    return TLM_OK;
fail:
    tlmi_free(batch.offsets);
    return status;
}
