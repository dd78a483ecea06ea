/* Encodes a text file of any size into a token file. The text is memory-mapped, and ids go to the
 * writer while the next ones are being made. */
#include "base/error.h"
#include "base/file.h"
#include "tinylm/data.h"
#include "data/data_core.h"
#include "tokenizer/encode.h"

typedef struct tokenize_job {
    tlm_token_writer_t *writer;
    uint64_t num_tokens;
    const char *text_path;
    const tlmi_mapping_t *text;
    tlm_progress_callback_t callback;
    void *user;
} tokenize_job_t;

static tlm_status_t write_ids(void *context, const uint32_t *ids, size_t n)
{
    tokenize_job_t *job = context;

    job->num_tokens += n;
    return tlm_token_writer_push(job->writer, ids, n);
}

static tlm_status_t report(void *context, size_t done)
{
    tokenize_job_t *job = context;

    if (job->callback != NULL && job->callback(job->user, done, job->text->size) != 0)
        return tlmi_fail(TLM_ERR_CANCELLED,
                         "tokenizer_encode_file: cancelled by its callback at byte %zu of %zu",
                         done, job->text->size);
    return tlmi_mapping_check(job->text, job->text_path);
}

tlm_status_t tlm_tokenizer_encode_file(uint64_t *num_tokens, const tlm_tokenizer_t *tokenizer,
                                       const char *text_path, const char *tokens_path,
                                       int32_t token_type, tlm_progress_callback_t progress,
                                       void *user)
{
    tokenize_job_t job = {.callback = progress, .user = user};
    tlmi_id_sink_t sink = {.take = write_ids, .progress = report, .context = &job};

    TLMI_REQUIRE("tokenizer_encode_file", tokenizer);
    TLMI_REQUIRE("tokenizer_encode_file", text_path);
    TLMI_REQUIRE("tokenizer_encode_file", tokens_path);
    if (token_type == TLM_TOKENS_AUTO && tlmi_path_ends_with(tokens_path, ".npy"))
        token_type = tlm_tokenizer_vocab_size(tokenizer) <= (uint32_t)UINT16_MAX + 1
                         ? TLM_TOKENS_UINT16
                         : TLM_TOKENS_UINT32;
    tlmi_mapping_t file;
    TLMI_TRY(tlmi_map_file(&file, text_path));
    tlm_bytes_t text = (tlm_bytes_t){file.data, file.size};
    job.text = &file;
    job.text_path = text_path;
    tlmi_encode_plan_t plan;
    tlmi_encode_plan_init_default(&plan, "tokenizer_encode_file", tokenizer);
    plan.limits = NULL; /* a corpus is not rows */
    tlm_status_t status;
    TLMI_TRY_OR(done, tlm_token_writer_create(&job.writer, tokens_path, token_type));
    TLMI_TRY_OR(done, tlmi_encode_texts(&plan, &text, 1, &sink));
    TLMI_TRY_OR(done, tlm_token_writer_finish(job.writer));
    if (num_tokens != NULL)
        *num_tokens = job.num_tokens;
done:
    tlm_token_writer_free(job.writer);
    tlmi_unmap_file(&file);
    return status;
}
