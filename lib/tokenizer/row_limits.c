/* Truncation and padding as a tokenizer.json asks for them, with the results of the tokenizers
 * library. Corpora are encoded without: their texts are not rows. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/encode.h"

/* A row while it is limited: the part of the text's ids that stays. */
typedef struct row {
    size_t start, n;
} row_t;

static row_t truncate_row(const tlmi_row_limits_t *limits, size_t num_around, size_t start,
                          size_t end)
{
    row_t row = {start, end - start};
    size_t most = limits->max_length > num_around ? limits->max_length - num_around : 0;

    if (!limits->truncates || row.n <= most)
        return row;
    if (limits->truncates_left)
        row.start += row.n - most;
    row.n = most;
    return row;
}

/* Returns the length to which rows are padded, whose longest has `longest` ids. */
static size_t padded_length(const tlmi_row_limits_t *limits, size_t longest)
{
    size_t length = limits->pad_length > 0 ? limits->pad_length : longest;

    if (limits->pad_multiple > 1 && length % limits->pad_multiple != 0)
        length += limits->pad_multiple - length % limits->pad_multiple;
    return length;
}

static void put_padding(tlmi_id_list_t *out, uint32_t id, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out->ids[out->n++] = id;
}

static void put_ids(tlmi_id_list_t *out, const uint32_t *ids, size_t n)
{
    if (n > 0)
        memcpy(out->ids + out->n, ids, n * sizeof(*ids));
    out->n += n;
}

static tlm_status_t put_row(tlmi_id_list_t *out, const tlmi_encode_plan_t *plan,
                            const uint32_t *ids, size_t n, size_t pad_to)
{
    static const tlmi_template_t none = {0};
    const tlmi_template_t *around = plan->template != NULL ? plan->template : &none;
    size_t length = around->num_before + n + around->num_after;
    size_t padding = plan->limits->pads && pad_to > length ? pad_to - length : 0;

    if (!tlmi_id_list_reserve(out, length + padding))
        return TLM_ERR_OUT_OF_MEMORY;
    if (plan->limits->pads_left)
        put_padding(out, plan->limits->pad_id, padding);
    put_ids(out, around->before, around->num_before);
    put_ids(out, ids, n);
    put_ids(out, around->after, around->num_after);
    if (!plan->limits->pads_left)
        put_padding(out, plan->limits->pad_id, padding);
    return TLM_OK;
}

tlm_status_t tlmi_limit_rows(tlmi_id_list_t *list, size_t *offsets, size_t n,
                             const tlmi_encode_plan_t *plan)
{
    const tlmi_row_limits_t *limits = plan->limits;
    tlmi_id_list_t out = {0};
    tlm_status_t status = TLM_OK;
    size_t num_around = 0, longest = 0;

    if (limits == NULL)
        return TLM_OK;
    if (plan->template != NULL)
        num_around = plan->template->num_before + plan->template->num_after;
    for (size_t i = 0; i < n; i++) {
        size_t length = num_around + truncate_row(limits, num_around, offsets[i], offsets[i + 1]).n;
        longest = length > longest ? length : longest;
    }
    for (size_t i = 0, start = offsets[0]; i < n && status == TLM_OK; i++) {
        row_t row = truncate_row(limits, num_around, start, offsets[i + 1]);

        start = offsets[i + 1];
        status = put_row(&out, plan, list->ids + row.start, row.n, padded_length(limits, longest));
        offsets[i + 1] = out.n;
    }
    if (status != TLM_OK) {
        tlmi_id_list_release(&out);
        return status;
    }
    tlmi_id_list_release(list);
    *list = out;
    return TLM_OK;
}
