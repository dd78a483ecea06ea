/* A text file as a data set, encoded into memory. */
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/data_core.h"
#include "tokenizer/encode.h"

typedef struct text_job {
    const tlmi_mapping_t *file;
    const char *path;
    uint32_t *ids;
    size_t n, capacity;
} text_job_t;

static tlm_status_t take_ids(void *context, const uint32_t *ids, size_t n)
{
    text_job_t *job = context;

    if (!tlmi_grow(&job->ids, &job->capacity, job->n + n, sizeof(*job->ids),
                   "the ids of a data set"))
        return TLM_ERR_OUT_OF_MEMORY;
    if (n > 0)
        memcpy(job->ids + job->n, ids, n * sizeof(*ids));
    job->n += n;
    return TLM_OK;
}

static tlm_status_t check_file(void *context, size_t done)
{
    const text_job_t *job = context;

    (void)done;
    return tlmi_mapping_check(job->file, job->path);
}

tlm_status_t tlm_dataset_open_text(tlm_dataset_t **out, const char *path,
                                   const tlm_tokenizer_t *tokenizer)
{
    text_job_t job = {.path = path};
    tlmi_id_sink_t sink = {.take = take_ids, .progress = check_file, .context = &job};

    TLMI_REQUIRE("dataset_open_text", out);
    TLMI_REQUIRE("dataset_open_text", path);
    TLMI_REQUIRE("dataset_open_text", tokenizer);
    tlmi_mapping_t file;
    TLMI_TRY(tlmi_map_file(&file, path));
    const tlm_bytes_t text = {file.data, file.size};
    job.file = &file;
    tlmi_encode_plan_t plan;
    tlmi_encode_plan_init_default(&plan, "dataset_open_text", tokenizer);
    plan.limits = NULL; /* a corpus is not rows */
    tlm_status_t status = tlmi_encode_texts(&plan, &text, 1, &sink);
    tlmi_unmap_file(&file);
    if (status == TLM_OK)
        status = tlmi_dataset_adopt(out, job.ids, job.n);
    if (status != TLM_OK)
        tlmi_free(job.ids);
    return status;
}
