/* Many texts in one call, on all threads. A task is one text, or one row of ids. Ids stay with the
 * worker that made them until all are there and their places in the result are known. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/thread_pool.h"
#include "tokenizer/encode.h"

/* ---- Encoding ---- */

/* One worker's ids, and its first text that failed, with the message for the thread that called. */
typedef struct batch_worker {
    tlmi_encode_work_t work;
    bool started;
    tlm_status_t status;
    size_t failed_text;
    char message[256];
} batch_worker_t;

/* Where the ids of a text are: n from `start` on among those of a worker. */
typedef struct batch_place {
    size_t start, n;
    int32_t worker;
} batch_place_t;

typedef struct batch {
    tlmi_encode_plan_t plan;
    const tlm_bytes_t *texts;
    size_t num_texts;
    batch_place_t *places; /* (num_texts) */
    batch_worker_t *workers;
    int32_t num_workers;
} batch_t;

static void encode_one(void *context, int64_t text_index, int32_t worker_index)
{
    batch_t *batch = context;
    batch_worker_t *worker = &batch->workers[worker_index];
    size_t index = (size_t)text_index, start;
    tlm_status_t status;

    if (!worker->started)
        tlmi_encode_work_init(&worker->work, &batch->plan);
    worker->started = true;
    start = worker->work.bpe.n;
    status =
        tlmi_encode_text(&worker->work, batch->texts[index].data, batch->texts[index].size, index);
    batch->places[index] = (batch_place_t){start, worker->work.bpe.n - start, worker_index};
    if (status == TLM_OK || (worker->status != TLM_OK && worker->failed_text < index))
        return;
    worker->status = status;
    worker->failed_text = index;
    snprintf(worker->message, sizeof(worker->message), "%s", tlm_error_message());
}

/* The failure of the first text that has one, whoever met it. */
static tlm_status_t first_failure(const batch_t *batch)
{
    const batch_worker_t *first = NULL;

    for (int32_t i = 0; i < batch->num_workers; i++) {
        const batch_worker_t *worker = &batch->workers[i];

        if (worker->status != TLM_OK && (first == NULL || worker->failed_text < first->failed_text))
            first = worker;
    }
    return first == NULL ? TLM_OK : tlmi_fail(first->status, "%s", first->message);
}

static void release_batch(batch_t *batch)
{
    for (int32_t i = 0; i < batch->num_workers; i++)
        if (batch->workers[i].started)
            tlmi_encode_work_release(&batch->workers[i].work);
    tlmi_free(batch->workers);
    tlmi_free(batch->places);
    tlmi_encode_plan_release(&batch->plan);
}

static tlm_status_t check_texts(const char *function, const tlm_bytes_t *texts, size_t num_texts)
{
    if (num_texts > 0)
        TLMI_REQUIRE(function, texts);
    for (size_t i = 0; i < num_texts; i++)
        if (texts[i].size > 0 && texts[i].data == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: text %zu has %zu bytes at NULL",
                             function, i, texts[i].size);
    return TLM_OK;
}

/* Encodes all texts; on failure there is nothing to release. */
static tlm_status_t encode_texts(batch_t *batch, const char *function,
                                 const tlm_tokenizer_t *tokenizer, const tlm_bytes_t *texts,
                                 size_t num_texts, const tlm_encode_options_t *options)
{
    tlm_status_t status;

    *batch = (batch_t){.texts = texts, .num_texts = num_texts};
    TLMI_REQUIRE(function, tokenizer);
    TLMI_TRY(check_texts(function, texts, num_texts));
    TLMI_TRY(tlmi_encode_plan_init(&batch->plan, function, tokenizer, options));
    batch->plan.many = true;
    batch->places = tlmi_alloc(num_texts, sizeof(*batch->places), "a batch of texts");
    batch->workers =
        tlmi_calloc((size_t)tlmi_max_workers(), sizeof(*batch->workers), "a batch of texts");
    if (batch->places == NULL || batch->workers == NULL) {
        status = TLM_ERR_OUT_OF_MEMORY;
    } else {
        batch->num_workers = tlmi_max_workers();
        tlmi_parallel_for((int64_t)num_texts, encode_one, batch);
        status = first_failure(batch);
    }
    if (status != TLM_OK)
        release_batch(batch);
    return status;
}

static const uint32_t *ids_of_text(const batch_t *batch, size_t index)
{
    const batch_place_t *place = &batch->places[index];

    return batch->workers[place->worker].work.bpe.ids + place->start;
}

/* memcpy of ids; of none, from anywhere. */
static void copy_ids(uint32_t *to, const uint32_t *from, size_t n)
{
    if (n > 0)
        memcpy(to, from, n * sizeof(*to));
}

tlm_status_t tlm_tokenizer_encode_batch(uint32_t **ids, size_t **offsets,
                                        const tlm_tokenizer_t *tokenizer, const tlm_bytes_t *texts,
                                        size_t num_texts, const tlm_encode_options_t *options)
{
    batch_t batch;
    uint32_t *all = NULL;
    size_t *ends = NULL;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    TLMI_REQUIRE("tokenizer_encode_batch", ids);
    TLMI_REQUIRE("tokenizer_encode_batch", offsets);
    TLMI_TRY(encode_texts(&batch, "tokenizer_encode_batch", tokenizer, texts, num_texts, options));
    ends = tlmi_alloc(num_texts + 1, sizeof(*ends), "a batch of texts");
    if (ends == NULL)
        goto done;
    ends[0] = 0;
    for (size_t i = 0; i < num_texts; i++) /* the ids are in memory: no overflow */
        ends[i + 1] = ends[i] + batch.places[i].n;
    all = tlmi_alloc(ends[num_texts], sizeof(*all), "token ids");
    if (all == NULL)
        goto done;
    for (size_t i = 0; i < num_texts; i++)
        copy_ids(all + ends[i], ids_of_text(&batch, i), batch.places[i].n);
    *ids = all;
    *offsets = ends;
    ends = NULL;
    status = TLM_OK;
done:
    tlmi_free(ends);
    release_batch(&batch);
    return status;
}

/* ---- Rows of one length ---- */

static tlm_status_t read_pad_options(tlm_pad_options_t *known, const tlm_pad_options_t *options)
{
    if (options != NULL)
        TLMI_TRY(tlmi_options_read("tokenizer_encode_padded", known, TLMI_PAD_OPTIONS, options));
    if (known->pad_side < TLM_SIDE_RIGHT || known->pad_side > TLM_SIDE_LEFT ||
        known->cut_side < TLM_SIDE_RIGHT || known->cut_side > TLM_SIDE_LEFT)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "tokenizer_encode_padded: pad_side is %" PRId32 " and cut_side %" PRId32
                         "; right and left are 0 and 1",
                         known->pad_side, known->cut_side);
    return TLM_OK;
}

static size_t kept_ids(const batch_t *batch, size_t index, const tlm_pad_options_t *pad)
{
    size_t n = batch->places[index].n;

    return pad->max_length > 0 && n > pad->max_length ? pad->max_length : n;
}

/* Length of the rows: the one asked for, or the longest text's. */
static tlm_status_t row_length(size_t *length, const batch_t *batch, const tlm_pad_options_t *pad)
{
    *length = pad->pad_length;
    for (size_t i = 0; i < batch->num_texts; i++) {
        size_t n = kept_ids(batch, i, pad);

        if (n > *length && pad->pad_length > 0)
            return tlmi_fail(TLM_ERR_RANGE,
                             "tokenizer_encode_padded: text %zu has %zu ids, more than the "
                             "pad_length %zu; max_length %zu does not cut it",
                             i, n, pad->pad_length, pad->max_length);
        if (n > *length)
            *length = n;
    }
    return TLM_OK;
}

static void fill_row(uint32_t *ids, uint8_t *mask, size_t length, const batch_t *batch,
                     size_t index, const tlm_pad_options_t *pad)
{
    size_t all = batch->places[index].n, n = kept_ids(batch, index, pad);
    size_t cut = pad->cut_side == TLM_SIDE_LEFT ? all - n : 0;
    size_t start = pad->pad_side == TLM_SIDE_LEFT ? length - n : 0;

    for (size_t i = 0; i < length; i++)
        ids[i] = pad->pad_id;
    copy_ids(ids + start, ids_of_text(batch, index) + cut, n);
    memset(mask, 0, length);
    memset(mask + start, 1, n);
}

tlm_status_t tlm_tokenizer_encode_padded(uint32_t **ids, uint8_t **mask, size_t **lengths,
                                         size_t *length, const tlm_tokenizer_t *tokenizer,
                                         const tlm_bytes_t *texts, size_t num_texts,
                                         const tlm_encode_options_t *options,
                                         const tlm_pad_options_t *pad)
{
    tlm_pad_options_t known = TLM_PAD_OPTIONS_INIT;
    uint32_t *rows = NULL;
    uint8_t *marks = NULL;
    size_t *counts = NULL, width, total;
    batch_t batch;
    tlm_status_t status;

    TLMI_REQUIRE("tokenizer_encode_padded", ids);
    TLMI_REQUIRE("tokenizer_encode_padded", length);
    TLMI_TRY(read_pad_options(&known, pad));
    TLMI_TRY(encode_texts(&batch, "tokenizer_encode_padded", tokenizer, texts, num_texts, options));
    TLMI_TRY_OR(done, row_length(&width, &batch, &known));
    status = TLM_ERR_OUT_OF_MEMORY;
    if (!tlmi_mul_size(&total, num_texts, width)) {
        status = tlmi_fail_memory(SIZE_MAX, "rows of token ids");
        goto done;
    }
    rows = tlmi_alloc(total, sizeof(*rows), "rows of token ids");
    marks = tlmi_alloc(total, 1, "a mask of token ids");
    counts = tlmi_alloc(num_texts, sizeof(*counts), "lengths of texts");
    if (rows == NULL || marks == NULL || counts == NULL)
        goto done;
    for (size_t i = 0; i < num_texts; i++) {
        counts[i] = kept_ids(&batch, i, &known);
        fill_row(rows + i * width, marks + i * width, width, &batch, i, &known);
    }
    *ids = rows;
    *length = width;
    rows = NULL;
    if (mask != NULL) {
        *mask = marks;
        marks = NULL;
    }
    if (lengths != NULL) {
        *lengths = counts;
        counts = NULL;
    }
    status = TLM_OK;
done:
    tlmi_free(rows);
    tlmi_free(marks);
    tlmi_free(counts);
    release_batch(&batch);
    return status;
}
