/* Encodes text files to one token file, on one rank or on several that write it together.
 *
 * The texts are cut into blocks, of which each rank encodes one per round. Where the ids of a rank
 * belong is known once all ranks have told how many they have, so each keeps those of its block in
 * memory until the round ends; except for rank 0, whose block is the first, and which writes as it
 * encodes. A single rank's blocks are whole texts. */
#include <inttypes.h>
#include <stdio.h>

#include "base/communicator.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/options.h"
#include "data/data_core.h"
#include "tokenizer/encode.h"

#define FUNCTION   "tokenizer_encode_files"
#define BLOCK_SIZE ((uint64_t)8 << 20) /* bytes of text */

enum { NAME_SIZE = 256 }; /* of a file, as Linux limits it */

/* Bytes [start, end) of a text, before each end is moved to the next place where it may be cut. */
typedef struct block {
    size_t text;
    uint64_t start, end;
} block_t;

typedef struct files_job {
    const tlm_tokenizer_t *tokenizer;
    const char *const *paths; /* of texts */
    size_t num_texts;
    const char *tokens_path;
    tlm_encode_files_options_t options;
    uint64_t block_size;
    int32_t rank, num_ranks;
    uint64_t *sizes; /* (num_texts), bytes */
    tlmi_encode_plan_t plan;
    tlm_token_writer_t *writer;
    uint64_t position; /* of the first id of the round */
    block_t next;      /* of the first block that is in no round yet; only text and start */
    /* The text of this rank's latest block. */
    tlmi_mapping_t file;
    size_t open_text;      /* its number; num_texts: none is open */
    size_t cut_from, cut;  /* the first place to cut from cut_from on */
    tlmi_id_list_t ids;    /* of this rank's block, unless it is rank 0 */
    uint64_t count;        /* of them */
    uint64_t done, total;  /* bytes of texts, of all ranks; `done` ends with the round */
    uint64_t round_start;  /* what `done` was before the round */
    uint64_t *counts;      /* (num_ranks) */
    char aside[NAME_SIZE]; /* the name of the file that the ranks write */
} files_job_t;

/* ---- Blocks ----------------------------------------------------------------------------- */

/* Text that has no place to cut is a block of its own, and so is a text that no other rank shares. */
static uint64_t block_end(const files_job_t *job, const block_t *block)
{
    const uint64_t size = job->sizes[block->text];

    if (job->num_ranks == 1 || !tlmi_encode_plan_may_cut(&job->plan) ||
        size - block->start <= job->block_size)
        return size;
    return block->start + job->block_size;
}

/* Gives the ranks their blocks of the next round, in order, which all ranks do alike. The last ones
 * may get none: *own is then empty. Long blocks are rank 0's, which keeps no ids in memory. Returns
 * false if none is left. */
static bool next_round(block_t *own, files_job_t *job)
{
    bool is_long = false;
    int32_t rank = 0;

    *own = (block_t){job->num_texts, 0, 0};
    for (; rank < job->num_ranks && job->next.text < job->num_texts && !is_long; rank++) {
        block_t *next = &job->next;

        next->end = block_end(job, next);
        is_long = next->end - next->start > job->block_size;
        if (is_long && rank > 0)
            break;
        if (rank == job->rank)
            *own = *next;
        job->done += next->end - next->start;
        next->start = next->end;
        if (next->end == job->sizes[next->text])
            *next = (block_t){next->text + 1, 0, 0};
    }
    return rank > 0;
}

static void close_text(files_job_t *job)
{
    if (job->open_text < job->num_texts)
        tlmi_unmap_file(&job->file);
    job->open_text = job->num_texts;
}

static tlm_status_t open_text(files_job_t *job, size_t text)
{
    if (text == job->open_text)
        return TLM_OK;
    close_text(job);
    TLMI_TRY(tlmi_map_file(&job->file, job->paths[text]));
    job->open_text = text;
    job->cut_from = job->cut = 0;
    if (job->file.size != job->sizes[text])
        return tlmi_fail(TLM_ERR_IO,
                         "%s: the file changed from %" PRIu64 " to %zu bytes while it was in use",
                         job->paths[text], job->sizes[text], job->file.size);
    return TLM_OK;
}

/* Returns the first place at or after `at` where the open text may be cut. Since blocks are in
 * order, no text is searched twice. */
static size_t find_cut(files_job_t *job, uint64_t at)
{
    const size_t from = (size_t)at;

    if (from == 0 || from == job->file.size)
        return from;
    if (from < job->cut_from || from > job->cut) {
        job->cut = tlmi_find_cut(&job->plan.pipeline, job->file.data, job->file.size, from,
                                 job->file.size);
        job->cut_from = from;
    }
    return job->cut;
}

/* ---- Encoding --------------------------------------------------------------------------- */

static tlm_status_t take_ids(void *context, const uint32_t *ids, size_t n)
{
    files_job_t *job = context;

    job->count += n;
    return job->rank == 0 ? tlm_token_writer_push(job->writer, ids, n)
                          : tlmi_id_list_append(&job->ids, ids, n);
}

static tlm_status_t report_at(files_job_t *job, uint64_t done)
{
    if (job->options.progress == NULL || job->total == 0 ||
        job->options.progress(job->options.user, done, job->total) == 0)
        return TLM_OK;
    return tlmi_fail(TLM_ERR_CANCELLED,
                     FUNCTION ": cancelled by its callback at byte %" PRIu64 " of %" PRIu64, done,
                     job->total);
}

/* Within a block: what this rank has done of it, with all blocks before the round. */
static tlm_status_t report(void *context, size_t block_done)
{
    files_job_t *job = context;

    const uint64_t done = job->round_start + block_done;

    TLMI_TRY(report_at(job, done < job->done ? done : job->done));
    return tlmi_mapping_check(&job->file, job->paths[job->open_text]);
}

static tlm_status_t encode_block(files_job_t *job, const block_t *block)
{
    const tlmi_id_sink_t sink = {.take = take_ids, .progress = report, .context = job};

    job->count = 0;
    job->ids.n = 0;
    if (block->text == job->num_texts)
        return TLM_OK;
    TLMI_TRY(open_text(job, block->text));
    const size_t start = find_cut(job, block->start), end = find_cut(job, block->end);
    const tlm_bytes_t text = {end > start ? job->file.data + start : NULL, end - start};
    if (text.size == 0 && start > 0)
        return TLM_OK;
    return tlmi_encode_texts(&job->plan, &text, 1, &sink);
}

/* Finds where the ids of this rank belong, and writes them unless they are there already. */
static tlm_status_t place_ids(files_job_t *job)
{
    uint64_t before = 0, all = job->count;

    if (job->num_ranks == 1) {
        job->position += all;
        return TLM_OK;
    }
    TLMI_TRY(tlmi_all_gather_equal(job->options.communicator, FUNCTION, &job->count, job->counts,
                                   sizeof(job->count)));
    all = 0;
    for (int32_t r = 0; r < job->num_ranks; r++) {
        before += r < job->rank ? job->counts[r] : 0;
        all += job->counts[r];
    }
    const uint64_t own = job->position + before;
    job->position += all;
    TLMI_TRY(tlmi_token_writer_seek(job->writer, job->rank == 0 ? job->position : own));
    if (job->rank > 0)
        TLMI_TRY(tlm_token_writer_push(job->writer, job->ids.ids, job->ids.n));
    return report_at(job, job->done);
}

/* What a rank finds out while it writes, the others learn when they have encoded their next blocks,
 * so that a round waits for all ranks only once. */
static tlm_status_t run_rounds(files_job_t *job)
{
    tlm_status_t status = TLM_OK;
    block_t block;

    for (job->round_start = 0; next_round(&block, job); job->round_start = job->done) {
        if (status == TLM_OK)
            status = encode_block(job, &block);
        TLMI_TRY(tlmi_agree(job->options.communicator, FUNCTION, status));
        status = place_ids(job);
    }
    return tlmi_agree(job->options.communicator, FUNCTION, status);
}

/* ---- What the ranks have in common ------------------------------------------------------ */

static tlm_status_t check_arguments(const files_job_t *job)
{
    TLMI_REQUIRE(FUNCTION, job->tokenizer);
    TLMI_REQUIRE(FUNCTION, job->tokens_path);
    if (job->num_texts == 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, FUNCTION ": num_texts is 0");
    if (job->paths == NULL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, FUNCTION ": text_paths is NULL");
    for (size_t i = 0; i < job->num_texts; i++)
        if (job->paths[i] == NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, FUNCTION ": text_paths[%zu] of %zu is NULL",
                             i, job->num_texts);
    return TLM_OK;
}

static tlm_status_t measure_texts(files_job_t *job)
{
    job->sizes = tlmi_alloc(job->num_texts, sizeof(*job->sizes), "sizes of texts");
    job->counts = tlmi_alloc((size_t)job->num_ranks, sizeof(*job->counts), "counts of ranks");
    if (job->sizes == NULL || job->counts == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < job->num_texts; i++) {
        TLMI_TRY(tlmi_file_size(&job->sizes[i], job->paths[i]));
        job->total += job->sizes[i];
    }
    return TLM_OK;
}

static uint64_t tokenizer_checksum(const tlm_tokenizer_t *tokenizer)
{
    const uint32_t num_merges = tlm_tokenizer_num_merges(tokenizer);
    tlmi_crc64_t crc;
    tlm_bytes_t token;

    tlmi_crc64_init(&crc);
    for (uint32_t id = 0; id < tlm_tokenizer_vocab_size(tokenizer); id++)
        if (tlm_tokenizer_token(&token, tokenizer, id) == TLM_OK) {
            tlmi_crc64_update(&crc, &token.size, sizeof(token.size));
            tlmi_crc64_update(&crc, token.data, token.size);
        }
    for (uint32_t i = 0; i < num_merges; i++) {
        uint32_t pair[2];

        if (tlm_tokenizer_merge(&pair[0], &pair[1], tokenizer, i) == TLM_OK)
            tlmi_crc64_update(&crc, pair, sizeof(pair));
    }
    return tlmi_crc64_final(&crc);
}

static tlm_status_t compare_ranks(const files_job_t *job)
{
    tlm_communicator_t *communicator = job->options.communicator;
    tlmi_crc64_t crc;

    if (job->num_ranks == 1)
        return TLM_OK;
    tlmi_crc64_init(&crc);
    tlmi_crc64_update(&crc, job->sizes, job->num_texts * sizeof(*job->sizes));
    const struct {
        const char *what;
        uint64_t value;
    } facts[] = {
        {"the number of texts", job->num_texts},
        {"the number of bytes of all texts", job->total},
        {"the checksum of the sizes of the texts", tlmi_crc64_final(&crc)},
        {"token_type", (uint64_t)(int64_t)job->options.token_type},
        {"the vocabulary's size", tlm_tokenizer_vocab_size(job->tokenizer)},
        {"the checksum of the tokenizer", tokenizer_checksum(job->tokenizer)},
    };
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++)
        TLMI_TRY(tlmi_ranks_require_equal(communicator, FUNCTION, facts[i].what, facts[i].value));
    return TLM_OK;
}

/* Rank 0 begins the file, and the other ranks join it. */
static tlm_status_t open_writer(files_job_t *job)
{
    tlm_communicator_t *communicator = job->options.communicator;
    tlm_status_t status = TLM_OK;

    if (job->rank == 0) {
        status =
            tlmi_token_writer_join(&job->writer, job->tokens_path, job->options.token_type, NULL);
        if (status == TLM_OK) /* if they cannot be removed, nothing is lost but their space */
            (void)tlmi_writer_remove_leftovers(job->tokens_path);
        if (status == TLM_OK && job->num_ranks > 1)
            snprintf(job->aside, sizeof(job->aside), "%s",
                     tlmi_token_writer_aside_name(job->writer));
    }
    TLMI_TRY(tlmi_agree(communicator, FUNCTION, status));
    if (job->num_ranks == 1)
        return TLM_OK;
    TLMI_TRY(tlm_communicator_broadcast(job->aside, sizeof(job->aside), communicator, 0));
    if (job->rank > 0)
        status = tlmi_token_writer_join(&job->writer, job->tokens_path, job->options.token_type,
                                        job->aside);
    if (status == TLM_ERR_NOT_FOUND)
        status = tlmi_fail(TLM_ERR_NOT_FOUND,
                           "%s: rank %" PRId32
                           " does not see the file %s that rank 0 began: all ranks must write to "
                           "one directory",
                           job->tokens_path, job->rank, job->aside);
    return tlmi_agree(communicator, FUNCTION, status);
}

/* Puts the file in its place, once all ranks have synced what they wrote. */
static tlm_status_t finish_writer(files_job_t *job)
{
    tlm_communicator_t *communicator = job->options.communicator;
    tlm_status_t status = job->rank > 0 ? tlm_token_writer_finish(job->writer) : TLM_OK;

    TLMI_TRY(tlmi_agree(communicator, FUNCTION, status));
    if (job->rank == 0) {
        status = tlmi_token_writer_seek(job->writer, job->position);
        if (status == TLM_OK)
            status = tlm_token_writer_finish(job->writer);
    }
    return tlmi_agree(communicator, FUNCTION, status);
}

/* ---- The call --------------------------------------------------------------------------- */

/* `status` says how this rank's options were. */
static tlm_status_t run(files_job_t *job, tlm_status_t status)
{
    tlm_communicator_t *communicator = job->options.communicator;

    if (status == TLM_OK)
        status = check_arguments(job);
    if (status == TLM_OK)
        status = measure_texts(job);
    TLMI_TRY(tlmi_agree(communicator, FUNCTION, status));
    job->options.token_type =
        tlmi_written_token_type(job->tokenizer, job->tokens_path, job->options.token_type);
    TLMI_TRY(compare_ranks(job));
    tlmi_encode_plan_init_default(&job->plan, FUNCTION, job->tokenizer);
    job->plan.limits = NULL; /* a corpus is not rows */
    TLMI_TRY(open_writer(job));
    TLMI_TRY(run_rounds(job));
    return finish_writer(job);
}

tlm_status_t tlmi_encode_files(uint64_t *num_tokens, const tlm_tokenizer_t *tokenizer,
                               const char *const *text_paths, size_t num_texts,
                               const char *tokens_path, const tlm_encode_files_options_t *options,
                               uint64_t block_size)
{
    files_job_t job = {.tokenizer = tokenizer,
                       .paths = text_paths,
                       .num_texts = num_texts,
                       .tokens_path = tokens_path,
                       .options = TLM_ENCODE_FILES_OPTIONS_INIT,
                       .block_size = block_size,
                       .open_text = num_texts};

    tlm_status_t status = TLM_OK;
    if (options != NULL)
        status = tlmi_options_read(FUNCTION, &job.options, TLMI_ENCODE_FILES_OPTIONS, options);
    job.rank = tlm_communicator_rank(job.options.communicator);
    job.num_ranks = tlm_communicator_num_ranks(job.options.communicator);
    status = run(&job, status);
    tlm_token_writer_free(job.writer);
    close_text(&job);
    tlmi_id_list_release(&job.ids);
    tlmi_free(job.sizes);
    tlmi_free(job.counts);
    if (status == TLM_OK && num_tokens != NULL)
        *num_tokens = job.position;
    return status;
}

tlm_status_t tlm_tokenizer_encode_files(uint64_t *num_tokens, const tlm_tokenizer_t *tokenizer,
                                        const char *const *text_paths, size_t num_texts,
                                        const char *tokens_path,
                                        const tlm_encode_files_options_t *options)
{
    return tlmi_encode_files(num_tokens, tokenizer, text_paths, num_texts, tokens_path, options,
                             BLOCK_SIZE);
}
