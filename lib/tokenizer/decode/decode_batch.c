/* Decodes many rows of ids in one call, on all threads. Rows that are no more than the bytes of
 * their tokens are measured, then copied. Others are decoded one by one, then collected. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/thread_pool.h"
#include "tokenizer/tokenizer_core.h"

#define FUNCTION "tokenizer_decode_batch"

typedef struct decode_batch {
    const tlm_tokenizer_t *tokenizer;
    const tlm_ids_t *rows;
    size_t num_rows;
    tlm_decode_options_t options;
    size_t *offsets; /* (num_rows + 1); at first offsets[i + 1] holds the size of row i, SIZE_MAX if
                        it failed */
    uint8_t **texts; /* (num_rows): rows that were decoded one by one; NULL if there are none */
    uint8_t *bytes;
} decode_batch_t;

/* ---- Tasks: one per row ---- */

static void measure_row(void *context, int64_t row, int32_t worker)
{
    decode_batch_t *batch = context;
    const tlm_ids_t *ids = &batch->rows[row];
    size_t bad;

    (void)worker;
    if (!tlmi_measure_ids(&batch->offsets[row + 1], &bad, &batch->tokenizer->vocabulary, ids->ids,
                          ids->n))
        batch->offsets[row + 1] = SIZE_MAX;
}

static void decode_row(void *context, int64_t row, int32_t worker)
{
    decode_batch_t *batch = context;
    const tlm_ids_t *ids = &batch->rows[row];

    (void)worker;
    if (tlmi_decode_row(&batch->texts[row], &batch->offsets[row + 1], FUNCTION, batch->tokenizer,
                        ids->ids, ids->n, &batch->options) != TLM_OK)
        batch->offsets[row + 1] = SIZE_MAX;
}

static void copy_row(void *context, int64_t row, int32_t worker)
{
    decode_batch_t *batch = context;
    const tlm_ids_t *ids = &batch->rows[row];
    uint8_t *to = batch->bytes + batch->offsets[row];
    size_t size = batch->offsets[row + 1] - batch->offsets[row];

    (void)worker;
    if (batch->texts != NULL)
        memcpy(to, batch->texts[row], size);
    else
        tlmi_copy_tokens(to, size, &batch->tokenizer->vocabulary, ids->ids, ids->n);
}

/* ---- The batch ---- */

/* Fails as a row does. */
static tlm_status_t fail_row(const decode_batch_t *batch, size_t row)
{
    const tlmi_vocabulary_t *vocabulary = &batch->tokenizer->vocabulary;
    const tlm_ids_t *ids = &batch->rows[row];
    size_t size, bad;

    if (!tlmi_measure_ids(&size, &bad, vocabulary, ids->ids, ids->n) && bad < ids->n)
        return tlmi_fail(TLM_ERR_RANGE,
                         FUNCTION ": id %u at position %zu of row %zu is outside the vocabulary "
                                  "of %u",
                         ids->ids[bad], bad, row, vocabulary->size);
    if (batch->texts == NULL)
        return tlmi_fail_memory(SIZE_MAX, "a batch of texts");
    /* The message was left on another thread, so the row is decoded again. */
    return tlmi_decode_row(&batch->texts[row], &size, FUNCTION, batch->tokenizer, ids->ids, ids->n,
                           &batch->options);
}

/* Turns sizes into offsets; fails for the first row that failed. */
static tlm_status_t add_up(const decode_batch_t *batch)
{
    size_t *offsets = batch->offsets;

    offsets[0] = 0;
    for (size_t row = 0; row < batch->num_rows; row++) {
        if (offsets[row + 1] == SIZE_MAX) {
            TLMI_TRY(fail_row(batch, row));
            return tlmi_fail_memory(0, "a batch of texts"); /* there is memory again */
        }
        if (!tlmi_add_size(&offsets[row + 1], offsets[row], offsets[row + 1]))
            return tlmi_fail_memory(SIZE_MAX, "a batch of texts");
    }
    return TLM_OK;
}

static void release_batch(decode_batch_t *batch)
{
    for (size_t row = 0; batch->texts != NULL && row < batch->num_rows; row++)
        tlmi_free(batch->texts[row]);
    tlmi_free(batch->texts);
    tlmi_free(batch->offsets);
}

static tlm_status_t decode_rows(decode_batch_t *batch)
{
    bool plain = batch->tokenizer->decoder == NULL && !batch->options.skip_special_tokens &&
                 !batch->options.as_text;

    batch->offsets = tlmi_alloc(batch->num_rows + 1, sizeof(*batch->offsets), "a batch of texts");
    if (batch->offsets == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    if (!plain) {
        batch->texts = tlmi_calloc(batch->num_rows, sizeof(*batch->texts), "a batch of texts");
        if (batch->texts == NULL)
            return TLM_ERR_OUT_OF_MEMORY;
    }
    tlmi_parallel_for((int64_t)batch->num_rows, plain ? measure_row : decode_row, batch);
    TLMI_TRY(add_up(batch));
    size_t room;
    if (!tlmi_add_size(&room, batch->offsets[batch->num_rows], 1))
        return tlmi_fail_memory(SIZE_MAX, "a batch of texts");
    batch->bytes = tlmi_alloc(room, 1, "a batch of texts");
    if (batch->bytes == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_parallel_for((int64_t)batch->num_rows, copy_row, batch);
    batch->bytes[room - 1] = '\0';
    return TLM_OK;
}

static tlm_status_t check_rows(const tlm_ids_t *rows, size_t num_rows)
{
    if (num_rows > 0)
        TLMI_REQUIRE(FUNCTION, rows);
    for (size_t i = 0; i < num_rows; i++)
        if (rows[i].n > 0 && rows[i].ids == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             FUNCTION ": row %zu has %zu ids, but its pointer is NULL", i,
                             rows[i].n);
    return TLM_OK;
}

tlm_status_t tlm_tokenizer_decode_batch(uint8_t **bytes, size_t **offsets,
                                        const tlm_tokenizer_t *tokenizer, const tlm_ids_t *rows,
                                        size_t num_rows, const tlm_decode_options_t *options)
{
    decode_batch_t batch = {.tokenizer = tokenizer,
                            .rows = rows,
                            .num_rows = num_rows,
                            .options = TLM_DECODE_OPTIONS_INIT};

    TLMI_REQUIRE(FUNCTION, bytes);
    TLMI_REQUIRE(FUNCTION, offsets);
    TLMI_REQUIRE(FUNCTION, tokenizer);
    TLMI_TRY(check_rows(rows, num_rows));
    if (options != NULL)
        TLMI_TRY(tlmi_options_read(FUNCTION, &batch.options, TLMI_DECODE_OPTIONS, options));
    tlm_status_t status = decode_rows(&batch);
    if (status == TLM_OK) {
        *bytes = batch.bytes;
        *offsets = batch.offsets;
        batch.offsets = NULL;
    }
    release_batch(&batch);
    return status;
}
