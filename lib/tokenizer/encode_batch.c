/* Many texts in one call: their ids one after another, or as rows of equal length. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "tokenizer/encode.h"

/* Text i has the ids list.ids[offsets[i] .. offsets[i + 1]). */
typedef struct batch {
    tlmi_id_list_t list;
    size_t *offsets; /* (num_texts + 1) */
    size_t num_texts;
    size_t num_before, num_after; /* ids of the template around each text */
} batch_t;

static void release_batch(batch_t *batch)
{
    tlmi_id_list_release(&batch->list);
    tlmi_free(batch->offsets);
}

static tlm_status_t check_texts(const char *function, const tlm_bytes_t *texts, size_t num_texts)
{
    if (num_texts > 0)
        TLMI_REQUIRE(function, texts);
    for (size_t i = 0; i < num_texts; i++)
        if (texts[i].size > 0 && texts[i].data == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "%s: text %zu has %zu bytes, but its pointer is NULL", function, i,
                             texts[i].size);
    return TLM_OK;
}

/* Encodes all texts, with the limits of the tokenizer's file or without. On failure there is nothing
 * to release. */
static tlm_status_t encode_batch(batch_t *batch, const char *function,
                                 const tlm_tokenizer_t *tokenizer, const tlm_bytes_t *texts,
                                 size_t num_texts, const tlm_encode_options_t *options,
                                 bool ignores_limits)
{
    *batch = (batch_t){.num_texts = num_texts};
    TLMI_REQUIRE(function, tokenizer);
    TLMI_TRY(check_texts(function, texts, num_texts));
    tlmi_encode_plan_t plan;
    TLMI_TRY(tlmi_encode_plan_init(&plan, function, tokenizer, options));
    plan.many = true;
    if (ignores_limits)
        plan.limits = NULL;
    if (plan.template != NULL) {
        batch->num_before = plan.template->num_before;
        batch->num_after = plan.template->num_after;
    }
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;
    if (num_texts < SIZE_MAX)
        batch->offsets = tlmi_alloc(num_texts + 1, sizeof(*batch->offsets), "a batch of texts");
    if (batch->offsets != NULL) {
        tlmi_id_sink_t sink = {.list = &batch->list, .offsets = batch->offsets};

        status = tlmi_encode_texts(&plan, texts, num_texts, &sink);
        if (status == TLM_OK)
            status = tlmi_limit_rows(&batch->list, batch->offsets, num_texts, &plan);
    }
    tlmi_encode_plan_release(&plan);
    if (status != TLM_OK)
        release_batch(batch);
    return status;
}

tlm_status_t tlm_tokenizer_encode_batch(uint32_t **ids, size_t **offsets,
                                        const tlm_tokenizer_t *tokenizer, const tlm_bytes_t *texts,
                                        size_t num_texts, const tlm_encode_options_t *options)
{
    TLMI_REQUIRE("tokenizer_encode_batch", ids);
    TLMI_REQUIRE("tokenizer_encode_batch", offsets);
    batch_t batch;
    TLMI_TRY(encode_batch(&batch, "tokenizer_encode_batch", tokenizer, texts, num_texts, options,
                          false));
    if (!tlmi_id_list_fit(&batch.list)) {
        release_batch(&batch);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    *ids = batch.list.ids;
    *offsets = batch.offsets;
    return TLM_OK;
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

static size_t count_ids(const batch_t *batch, size_t index)
{
    return batch->offsets[index + 1] - batch->offsets[index];
}

/* Number of ids in the row of a text. */
static size_t kept_ids(const batch_t *batch, size_t index, const tlm_pad_options_t *pad)
{
    size_t n = count_ids(batch, index);

    return pad->max_length > 0 && n > pad->max_length ? pad->max_length : n;
}

/* Length of the rows: the requested one, or that of the longest text. */
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

/* memcpy of ids; accepts any pointer if n is 0. */
static void copy_ids(uint32_t *to, const uint32_t *from, size_t n)
{
    if (n > 0)
        memcpy(to, from, n * sizeof(*to));
}

static void fill_row(uint32_t *ids, uint8_t *mask, size_t length, const batch_t *batch,
                     size_t index, const tlm_pad_options_t *pad)
{
    const uint32_t *from = batch->list.ids + batch->offsets[index];
    size_t all = count_ids(batch, index), n = kept_ids(batch, index, pad);
    size_t before = batch->num_before, kept = n - before - batch->num_after; /* of the text */
    size_t cut = pad->cut_side == TLM_SIDE_LEFT ? all - n : 0;
    size_t start = pad->pad_side == TLM_SIDE_LEFT ? length - n : 0;

    for (size_t i = 0; i < length; i++)
        ids[i] = pad->pad_id;
    copy_ids(ids + start, from, before);
    copy_ids(ids + start + before, from + before + cut, kept);
    copy_ids(ids + start + before + kept, from + all - batch->num_after, batch->num_after);
    memset(mask, 0, length);
    memset(mask + start, 1, n);
}

/* Checks that the template leaves something of the longest allowed row. */
static tlm_status_t check_template(const batch_t *batch, const tlm_pad_options_t *pad)
{
    size_t added = batch->num_before + batch->num_after;

    if (pad->max_length > 0 && pad->max_length < added)
        return tlmi_fail(TLM_ERR_RANGE,
                         "tokenizer_encode_padded: max_length %zu is less than the %zu special "
                         "tokens around a text",
                         pad->max_length, added);
    return TLM_OK;
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

    TLMI_REQUIRE("tokenizer_encode_padded", ids);
    TLMI_REQUIRE("tokenizer_encode_padded", length);
    TLMI_TRY(read_pad_options(&known, pad));
    batch_t batch;
    TLMI_TRY(encode_batch(&batch, "tokenizer_encode_padded", tokenizer, texts, num_texts, options,
                          true));
    tlm_status_t status;
    TLMI_TRY_OR(done, check_template(&batch, &known));
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
