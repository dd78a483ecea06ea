/* What the metadata of a trainer's checkpoints records of its run, and how a trainer that resumes is
 * compared with it: nothing that the steps depend on changes unless resume_changes names it. */
#include <string.h>

#include "base/error.h"
#include "checkpoint/checkpoint_core.h"
#include "train/train_core.h"

static const char *const orders[] = {"random", "shuffled", "sequential"};
static const char *const products_names[] = {"float32", "bfloat16", "bfloat16_emulated"};

static void add_loader(tlmi_values_t *values, const tlm_trainer_t *trainer)
{
    tlmi_loader_source_t source;

    tlmi_loader_source(&source, trainer->loader);
    tlmi_values_add_count(values, "loader.", "batch_size", (uint64_t)trainer->rows);
    tlmi_values_add_count(values, "loader.", "context_length", (uint64_t)trainer->context);
    tlmi_values_add_count(values, "loader.", "seed", source.seed);
    tlmi_values_add_text(values, "loader.", "order", orders[source.order]);
    if (source.document_end == TLMI_NO_DOCUMENT_END)
        tlmi_values_add_text(values, "loader.", "document_end", "none");
    else
        tlmi_values_add_count(values, "loader.", "document_end", source.document_end);
    tlmi_values_add_count(values, "loader.", "num_ids", source.length);
}

static void list_values(tlmi_values_t *values, const tlm_trainer_t *trainer)
{
    const tlm_trainer_options_t *options = &trainer->options;

    values->n = 0;
    tlmi_values_add_count(values, "", "steps", options->steps);
    tlmi_values_add_number(values, "", "clip_norm", options->clip_norm);
    tlmi_values_add_count(values, "", "accumulation", options->accumulation);
    tlmi_values_add_count(values, "", "batch_start", (uint64_t)options->batch_start);
    tlmi_values_add_count(values, "", "batch_increment", (uint64_t)options->batch_increment);
    tlmi_values_add_count(values, "", "batch_warmup_steps", options->batch_warmup_steps);
    tlmi_values_add_count(values, "", "batch_warmup_tokens", options->batch_warmup_tokens);
    tlmi_values_add_text(values, "", "products", products_names[options->products]);
    tlmi_values_add_schedule(values, "schedule.", options->schedule);
    add_loader(values, trainer);
}

tlm_status_t tlmi_run_record_write(tlmi_json_t **out, const tlm_trainer_t *trainer)
{
    tlmi_json_t *record = tlmi_json_new_object();
    tlm_status_t status = record == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK;
    tlmi_values_t values;

    list_values(&values, trainer);
    for (size_t i = 0; status == TLM_OK && i < values.n; i++) {
        const char *text = values.items[i].text;

        status =
            tlmi_json_set(record, values.items[i].name, tlmi_json_new_string(text, strlen(text)));
    }
    if (status == TLM_OK)
        *out = record;
    else
        tlmi_json_free(record);
    return status;
}

tlm_status_t tlmi_run_record_compare(const tlmi_json_t *record, const tlm_trainer_t *trainer,
                                     const char *path)
{
    tlmi_values_t values;

    if (!tlmi_json_is_object(record))
        return tlmi_fail(TLM_ERR_FORMAT, "%s: 'run' in the metadata is not an object", path);
    list_values(&values, trainer);
    for (size_t i = 0; i < values.n; i++) {
        const tlmi_value_t *own = &values.items[i];
        const tlmi_json_t *member = tlmi_json_member(record, own->name);
        const char *text;
        size_t size;

        if (member == NULL) /* an option that the version which wrote the file did not have */
            continue;
        if (!tlmi_json_get_string(member, &text, &size) || strlen(text) != size)
            return tlmi_fail(TLM_ERR_FORMAT, "%s: '%s' in the metadata's 'run' is not a text", path,
                             own->name);
        TLMI_TRY(tlmi_value_compare(own, text, trainer->options.resume_changes, path, ""));
    }
    return TLM_OK;
}
