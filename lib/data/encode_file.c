/* Encodes a text file of any size, or a part of it, into a token file. The text is memory-mapped, and
 * ids go to the writer while the next ones are being made. */
#include <inttypes.h>

#include "base/error.h"
#include "base/file.h"
#include "tinylm/data.h"
#include "data/data_core.h"
#include "tokenizer/encode.h"

typedef struct tokenize_job {
    const char *function; /* for messages */
    tlm_token_writer_t *writer;
    uint64_t num_tokens;
    const char *text_path;
    const tlmi_mapping_t *text;
    size_t size; /* of what is encoded */
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

    if (job->callback != NULL && job->callback(job->user, done, job->size) != 0)
        return tlmi_fail(TLM_ERR_CANCELLED, "%s: cancelled by its callback at byte %zu of %zu",
                         job->function, done, job->size);
    return tlmi_mapping_check(job->text, job->text_path);
}

/* Returns where part `part` of num_parts begins, or the end of the text. */
static size_t start_of_part(const tlmi_encode_plan_t *plan, const tlmi_mapping_t *text,
                            int32_t part, int32_t num_parts)
{
    size_t n = (size_t)num_parts, size = text->size;
    size_t from = size / n * (size_t)part + size % n * (size_t)part / n;

    if (part == 0)
        return 0;
    if (part == num_parts || !tlmi_encode_plan_may_cut(plan))
        return size;
    return tlmi_find_cut(&plan->pipeline, text->data, size, from > 0 ? from : 1, size);
}

int32_t tlmi_written_token_type(const tlm_tokenizer_t *tokenizer, const char *path,
                                int32_t token_type)
{
    if (token_type != TLM_TOKENS_AUTO || !tlmi_path_ends_with(path, ".npy"))
        return token_type;
    return tlm_tokenizer_vocab_size(tokenizer) <= (uint32_t)UINT16_MAX + 1 ? TLM_TOKENS_UINT16
                                                                           : TLM_TOKENS_UINT32;
}

static tlm_status_t encode_part(uint64_t *num_tokens, const char *function,
                                const tlm_tokenizer_t *tokenizer, const char *text_path,
                                const char *tokens_path, int32_t token_type, int32_t part,
                                int32_t num_parts, tlm_progress_callback_t progress, void *user)
{
    tokenize_job_t job = {.function = function, .callback = progress, .user = user};
    tlmi_id_sink_t sink = {.take = write_ids, .progress = report, .context = &job};

    token_type = tlmi_written_token_type(tokenizer, tokens_path, token_type);
    tlmi_mapping_t file;
    TLMI_TRY(tlmi_map_file(&file, text_path));
    job.text = &file;
    job.text_path = text_path;
    tlmi_encode_plan_t plan;
    tlmi_encode_plan_init_default(&plan, function, tokenizer);
    plan.limits = NULL; /* a corpus is not rows */
    size_t start = start_of_part(&plan, &file, part, num_parts);
    size_t end = start_of_part(&plan, &file, part + 1, num_parts);
    job.size = end - start;
    tlm_bytes_t text = {end > start ? file.data + start : NULL, end - start};
    tlm_status_t status;
    TLMI_TRY_OR(done, tlm_token_writer_create(&job.writer, tokens_path, token_type));
    if (text.size > 0 || part == 0)
        TLMI_TRY_OR(done, tlmi_encode_texts(&plan, &text, 1, &sink));
    TLMI_TRY_OR(done, tlm_token_writer_finish(job.writer));
    if (num_tokens != NULL)
        *num_tokens = job.num_tokens;
done:
    tlm_token_writer_free(job.writer);
    tlmi_unmap_file(&file);
    return status;
}

tlm_status_t tlm_tokenizer_encode_file(uint64_t *num_tokens, const tlm_tokenizer_t *tokenizer,
                                       const char *text_path, const char *tokens_path,
                                       int32_t token_type, tlm_progress_callback_t progress,
                                       void *user)
{
    TLMI_REQUIRE("tokenizer_encode_file", tokenizer);
    TLMI_REQUIRE("tokenizer_encode_file", text_path);
    TLMI_REQUIRE("tokenizer_encode_file", tokens_path);
    return encode_part(num_tokens, "tokenizer_encode_file", tokenizer, text_path, tokens_path,
                       token_type, 0, 1, progress, user);
}

tlm_status_t tlm_tokenizer_encode_file_part(uint64_t *num_tokens, const tlm_tokenizer_t *tokenizer,
                                            const char *text_path, const char *tokens_path,
                                            int32_t token_type, int32_t part, int32_t num_parts,
                                            tlm_progress_callback_t progress, void *user)
{
    TLMI_REQUIRE("tokenizer_encode_file_part", tokenizer);
    TLMI_REQUIRE("tokenizer_encode_file_part", text_path);
    TLMI_REQUIRE("tokenizer_encode_file_part", tokens_path);
    if (part < 0 || part >= num_parts)
        return tlmi_fail(TLM_ERR_RANGE,
                         "tokenizer_encode_file_part: part %" PRId32 " of %" PRId32
                         " does not exist",
                         part, num_parts);
    return encode_part(num_tokens, "tokenizer_encode_file_part", tokenizer, text_path, tokens_path,
                       token_type, part, num_parts, progress, user);
}
