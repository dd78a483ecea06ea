/* Training: counts the pretokens of texts on all threads, then learns merges from the counts. A
 * call that fails leaves the counts as they were: each text is counted apart and added when it is
 * whole. */
#include <stdio.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/thread_pool.h"
#include "bpe_learn.h"
#include "tinylm/bpe_trainer.h"
#include "tokenizer_core.h"

#define PIECE_SIZE ((size_t)1 << 20) /* bytes of text a task */

struct tlm_bpe_trainer {
    uint32_t vocab_size;
    uint64_t min_frequency;
    tlmi_special_tokens_t *special;
    tlmi_pretokenizer_t *pretokenizer;
    tlmi_pretoken_counts_t counts; /* of whole texts */
    uint64_t text_bytes;
    tlmi_text_stream_t stream;          /* the text that is being pushed */
    tlmi_pretoken_counts_t open_counts; /* of it so far */
    uint64_t open_bytes;
};

/* ---- Making one ---- */

TLMI_OPTIONS_INIT_FUNCTIONS(bpe_trainer, TLM_BPE_TRAINER_OPTIONS_INIT, min_frequency)

static tlm_status_t check_options(const tlm_bpe_trainer_options_t *options)
{
    size_t least = options->num_special_tokens;

    if (!tlmi_add_size(&least, least, 256) || options->vocab_size < least)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "bpe_trainer_create: vocab_size %u is less than 256 bytes and %zu special "
                         "tokens",
                         options->vocab_size, options->num_special_tokens);
    if (options->num_special_tokens > 0)
        TLMI_REQUIRE("bpe_trainer_create", options->special_tokens);
    for (size_t i = 0; i < options->num_special_tokens; i++)
        if (options->special_tokens[i].size == 1 && options->special_tokens[i].data != NULL)
            return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                             "bpe_trainer_create: special token %zu is the single byte 0x%02X, "
                             "which every vocabulary has",
                             i, options->special_tokens[i].data[0]);
    return TLM_OK;
}

static tlm_status_t count_pretokens(void *context, const uint8_t *text, const size_t *ends,
                                    size_t n)
{
    size_t start = 0;

    for (size_t i = 0; i < n; i++) {
        TLMI_TRY(tlmi_pretoken_counts_add(context, text + start, ends[i] - start, 1));
        start = ends[i];
    }
    return TLM_OK;
}

static tlm_status_t skip_special(void *context, size_t index)
{
    (void)context;
    (void)index;
    return TLM_OK;
}

static tlmi_text_splitter_t counting_splitter(const tlm_bpe_trainer_t *trainer,
                                              tlmi_pretoken_counts_t *counts)
{
    return (tlmi_text_splitter_t){trainer->pretokenizer, trainer->special, count_pretokens,
                                  skip_special, counts};
}

tlm_status_t tlm_bpe_trainer_create(tlm_bpe_trainer_t **out,
                                    const tlm_bpe_trainer_options_t *options)
{
    tlm_bpe_trainer_options_t known = TLM_BPE_TRAINER_OPTIONS_INIT;
    tlmi_text_splitter_t splitter;
    tlm_bpe_trainer_t *trainer;
    tlm_status_t status;

    TLMI_REQUIRE("bpe_trainer_create", out);
    TLMI_TRY(tlmi_options_read("bpe_trainer_create", &known, sizeof(known), options));
    TLMI_TRY(check_options(&known));
    trainer = tlmi_calloc(1, sizeof(*trainer), "a trainer");
    if (trainer == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    trainer->vocab_size = known.vocab_size;
    trainer->min_frequency = known.min_frequency > 0 ? known.min_frequency : 1;
    TLMI_TRY_OR(fail, tlmi_special_tokens_create(&trainer->special, known.special_tokens,
                                                 known.num_special_tokens, "bpe_trainer_create"));
    TLMI_TRY_OR(fail, tlmi_pretokenizer_create(&trainer->pretokenizer, known.pattern));
    splitter = counting_splitter(trainer, &trainer->open_counts);
    tlmi_text_stream_init(&trainer->stream, &splitter);
    *out = trainer;
    return TLM_OK;
fail:
    tlm_bpe_trainer_free(trainer);
    return status;
}

void tlm_bpe_trainer_free(tlm_bpe_trainer_t *trainer)
{
    if (trainer == NULL)
        return;
    tlmi_text_stream_release(&trainer->stream);
    tlmi_pretoken_counts_release(&trainer->open_counts);
    tlmi_pretoken_counts_release(&trainer->counts);
    tlmi_pretokenizer_free(trainer->pretokenizer);
    tlmi_special_tokens_free(trainer->special);
    tlmi_free(trainer);
}

/* ---- Whole texts, on all threads ---- */

/* What one worker counts; a failure's message must reach the thread that called. */
typedef struct count_worker {
    tlmi_pretoken_counts_t counts;
    tlm_status_t status;
    char message[256];
} count_worker_t;

typedef struct count_job {
    const tlm_bpe_trainer_t *trainer;
    const uint8_t *text;
    size_t size;
    size_t *starts; /* of the pieces; starts[num_pieces] is the end of the text */
    count_worker_t *workers;
} count_job_t;

static void count_piece(void *context, int64_t piece, int32_t worker_index)
{
    count_job_t *job = context;
    count_worker_t *worker = &job->workers[worker_index];
    tlmi_text_splitter_t splitter = counting_splitter(job->trainer, &worker->counts);
    size_t start = job->starts[piece];

    if (worker->status != TLM_OK)
        return;
    worker->status = tlmi_split_text(&splitter, job->text + start, job->starts[piece + 1] - start);
    if (worker->status != TLM_OK)
        snprintf(worker->message, sizeof(worker->message), "%s", tlm_error_message());
}

/* Cuts the text into pieces of about PIECE_SIZE; where there is no cut a piece is empty and the one
 * before it longer. */
static void cut_pieces(count_job_t *job, size_t num_pieces)
{
    tlmi_text_splitter_t splitter = counting_splitter(job->trainer, NULL);

    job->starts[num_pieces] = job->size;
    for (size_t i = num_pieces - 1; i > 0; i--) {
        size_t from = i * PIECE_SIZE, to = i + 1 < num_pieces ? from + PIECE_SIZE : job->size;
        size_t cut = tlmi_find_cut(&splitter, job->text, job->size, from, to);

        job->starts[i] = cut < to ? cut : job->starts[i + 1];
    }
    job->starts[0] = 0;
}

/* Adds what the workers counted to `out`, which is empty. */
static tlm_status_t gather(tlmi_pretoken_counts_t *out, count_worker_t *workers, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        if (workers[i].status != TLM_OK)
            return tlmi_fail(workers[i].status, "%s", workers[i].message);
        TLMI_TRY(tlmi_pretoken_counts_merge(out, &workers[i].counts));
    }
    return TLM_OK;
}

static tlm_status_t count_text(tlmi_pretoken_counts_t *out, const tlm_bpe_trainer_t *trainer,
                               const uint8_t *text, size_t size)
{
    size_t num_pieces = size / PIECE_SIZE + 1;
    int32_t num_workers = tlmi_max_workers();
    count_job_t job = {.trainer = trainer, .text = text, .size = size};
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    job.starts = tlmi_alloc(num_pieces + 1, sizeof(*job.starts), "pieces of a text");
    job.workers = tlmi_calloc((size_t)num_workers, sizeof(*job.workers), "pieces of a text");
    if (job.starts != NULL && job.workers != NULL) {
        cut_pieces(&job, num_pieces);
        tlmi_parallel_for((int64_t)num_pieces, count_piece, &job);
        status = gather(out, job.workers, num_workers);
    }
    for (int32_t i = 0; job.workers != NULL && i < num_workers; i++)
        tlmi_pretoken_counts_release(&job.workers[i].counts);
    tlmi_free(job.starts);
    tlmi_free(job.workers);
    return status;
}

tlm_status_t tlm_bpe_trainer_add_text(tlm_bpe_trainer_t *trainer, const void *text, size_t size)
{
    tlmi_pretoken_counts_t counts = {0};
    tlm_status_t status;

    TLMI_REQUIRE("bpe_trainer_add_text", trainer);
    if (size > 0)
        TLMI_REQUIRE("bpe_trainer_add_text", text);
    TLMI_TRY(tlm_bpe_trainer_end_text(trainer));
    if (size == 0)
        return TLM_OK;
    status = count_text(&counts, trainer, text, size);
    if (status == TLM_OK)
        status = tlmi_pretoken_counts_merge(&trainer->counts, &counts);
    tlmi_pretoken_counts_release(&counts);
    if (status == TLM_OK)
        trainer->text_bytes += size;
    return status;
}

tlm_status_t tlm_bpe_trainer_add_file(tlm_bpe_trainer_t *trainer, const char *path)
{
    tlmi_mapping_t file;
    tlm_status_t status;

    TLMI_REQUIRE("bpe_trainer_add_file", trainer);
    TLMI_REQUIRE("bpe_trainer_add_file", path);
    TLMI_TRY(tlmi_map_file(&file, path));
    status = tlm_bpe_trainer_add_text(trainer, file.data, file.size);
    tlmi_unmap_file(&file);
    return status;
}

/* ---- A text in pieces ---- */

static void drop_open_text(tlm_bpe_trainer_t *trainer)
{
    tlmi_text_splitter_t splitter = trainer->stream.splitter;

    tlmi_text_stream_release(&trainer->stream);
    tlmi_text_stream_init(&trainer->stream, &splitter);
    tlmi_pretoken_counts_release(&trainer->open_counts);
    trainer->open_bytes = 0;
}

tlm_status_t tlm_bpe_trainer_push(tlm_bpe_trainer_t *trainer, const void *chunk, size_t size)
{
    tlm_status_t status;

    TLMI_REQUIRE("bpe_trainer_push", trainer);
    if (size > 0)
        TLMI_REQUIRE("bpe_trainer_push", chunk);
    status = tlmi_text_stream_push(&trainer->stream, chunk, size);
    if (status == TLM_OK)
        trainer->open_bytes += size;
    else
        drop_open_text(trainer);
    return status;
}

tlm_status_t tlm_bpe_trainer_end_text(tlm_bpe_trainer_t *trainer)
{
    tlm_status_t status;

    TLMI_REQUIRE("bpe_trainer_end_text", trainer);
    status = tlmi_text_stream_finish(&trainer->stream);
    if (status == TLM_OK)
        status = tlmi_pretoken_counts_merge(&trainer->counts, &trainer->open_counts);
    if (status == TLM_OK)
        trainer->text_bytes += trainer->open_bytes;
    drop_open_text(trainer);
    return status;
}

/* ---- Learning ---- */

static tlm_status_t start_vocabulary(tlmi_vocabulary_t *vocabulary,
                                     const tlmi_special_tokens_t *special)
{
    for (size_t i = 0; i < tlmi_special_tokens_count(special); i++) {
        tlm_bytes_t token = tlmi_special_tokens_get(special, i);

        TLMI_TRY(tlmi_vocabulary_add(vocabulary, token.data, token.size));
    }
    for (int byte = 0; byte < 256; byte++) {
        uint8_t one = (uint8_t)byte;

        TLMI_TRY(tlmi_vocabulary_add(vocabulary, &one, 1));
    }
    return TLM_OK;
}

static tlm_status_t fill_merge_table(tlmi_merge_table_t *table, const tlmi_merge_t *merges,
                                     size_t n)
{
    TLMI_TRY(tlmi_merge_table_init(table, n));
    for (size_t i = 0; i < n; i++)
        tlmi_merge_table_add(table, merges[i]);
    return TLM_OK;
}

/* A tokenizer with the pattern and the special tokens of the trainer; consumes the other two. */
static tlm_status_t make_tokenizer(tlm_tokenizer_t **out, const tlm_bpe_trainer_t *trainer,
                                   tlmi_vocabulary_t *vocabulary, tlmi_merge_table_t *table)
{
    tlm_tokenizer_options_t options = TLM_TOKENIZER_OPTIONS_INIT;
    size_t n = tlmi_special_tokens_count(trainer->special);
    tlm_bytes_t *tokens = tlmi_alloc(n, sizeof(*tokens), "special tokens");
    tlm_status_t status;

    if (tokens == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++)
        tokens[i] = tlmi_special_tokens_get(trainer->special, i);
    options.special_tokens = tokens;
    options.num_special_tokens = n;
    options.pattern = tlmi_pretokenizer_pattern(trainer->pretokenizer);
    status = tlmi_tokenizer_assemble(out, "bpe_trainer_train", vocabulary, table, &options);
    tlmi_free(tokens);
    return status;
}

tlm_status_t tlm_bpe_trainer_train(tlm_tokenizer_t **out, tlm_bpe_trainer_t *trainer)
{
    tlmi_vocabulary_t vocabulary = {0};
    tlmi_merge_table_t table = {0};
    tlmi_merge_t *merges = NULL;
    size_t num_merges, first_byte;
    tlm_status_t status;

    TLMI_REQUIRE("bpe_trainer_train", out);
    TLMI_REQUIRE("bpe_trainer_train", trainer);
    TLMI_TRY(tlm_bpe_trainer_end_text(trainer));
    first_byte = tlmi_special_tokens_count(trainer->special);
    status = start_vocabulary(&vocabulary, trainer->special);
    if (status == TLM_OK)
        status = tlmi_bpe_learn(&merges, &num_merges, &vocabulary, (uint32_t)first_byte,
                                &trainer->counts, trainer->vocab_size, trainer->min_frequency);
    if (status == TLM_OK)
        status = fill_merge_table(&table, merges, num_merges);
    if (status == TLM_OK)
        status = make_tokenizer(out, trainer, &vocabulary, &table);
    tlmi_vocabulary_release(&vocabulary);
    tlmi_merge_table_release(&table);
    tlmi_free(merges);
    return status;
}

tlm_status_t tlm_bpe_trainer_stats(uint64_t *text_bytes, uint64_t *distinct_pretokens,
                                   const tlm_bpe_trainer_t *trainer)
{
    TLMI_REQUIRE("bpe_trainer_stats", trainer);
    if (text_bytes != NULL)
        *text_bytes = trainer->text_bytes;
    if (distinct_pretokens != NULL)
        *distinct_pretokens = trainer->counts.n;
    return TLM_OK;
}
