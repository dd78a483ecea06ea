/* Counts the pretokens of a text on all threads. The text is cut into pieces where a pretoken ends
 * whatever surrounds it, and each thread counts into a table of its own. */
#include <stdatomic.h>
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "tokenizer/bpe/bpe_train.h"

#define LOOK_BACK ((size_t)4096)

static tlm_status_t count_pretokens(void *context, const uint8_t *text, const size_t *ends,
                                    size_t n)
{
    tlmi_pretoken_counter_t *counter = context;
    const tlmi_mapping_t *whole = counter->text;
    size_t readable = ends[n - 1];

    /* A normalizer has the text in memory of its own. */
    if (whole != NULL && (uintptr_t)text - (uintptr_t)whole->data < whole->size)
        readable = whole->size - (size_t)(text - whole->data);
    return tlmi_pretoken_counts_add(&counter->counts, text, ends, n, readable);
}

static tlm_status_t skip_special(void *context, size_t index)
{
    (void)context;
    (void)index;
    return TLM_OK;
}

tlmi_pretoken_sink_t tlmi_counting_sink(tlmi_pretoken_counter_t *counter)
{
    return (tlmi_pretoken_sink_t){count_pretokens, skip_special, counter};
}

/* What one worker counts. It keeps the message of a failure for the calling thread. */
typedef struct count_worker {
    tlmi_pretoken_counter_t counter;
    tlm_status_t status;
    char message[256];
} count_worker_t;

typedef struct count_job {
    const tlmi_count_options_t *options;
    tlmi_mapping_t text;
    size_t num_pieces;
    size_t first_piece; /* of the part that is counted */
    size_t part_size;   /* approximate bytes of the part */
    count_worker_t *workers;
    atomic_size_t done; /* bytes counted so far */
    atomic_bool cancelled;
} count_job_t;

/* Finds where piece i may start. Returns false if there is no such place before the nominal end of
 * the piece, in which case its bytes belong to the piece before it. Pieces have about piece_size
 * bytes. */
static bool find_piece(size_t *start, const count_job_t *job, size_t i)
{
    size_t size = job->options->piece_size, from = i * size;
    size_t to = i + 1 < job->num_pieces ? from + size : job->text.size;

    if (i == 0)
        *start = 0;
    else
        *start = tlmi_find_cut(job->options->pipeline, job->text.data, job->text.size, from, to);
    return i == 0 || *start < to;
}

/* Adds to the bytes counted. Progress is reported only by worker 0, which is the calling thread. */
static void report_count(count_job_t *job, size_t size, int32_t worker_index)
{
    const tlmi_count_options_t *options = job->options;
    size_t done = atomic_fetch_add(&job->done, size) + size;

    done = done < job->part_size ? done : job->part_size;
    if (worker_index == 0 && options->progress != NULL &&
        options->progress(options->progress_user, TLM_BPE_PHASE_COUNTING, done, job->part_size) !=
            0)
        atomic_store(&job->cancelled, true);
}

static void count_piece(void *context, int64_t task, int32_t worker_index)
{
    count_job_t *job = context;
    size_t piece = job->first_piece + (size_t)task;
    count_worker_t *worker = &job->workers[worker_index];
    tlmi_pretoken_sink_t sink = tlmi_counting_sink(&worker->counter);
    size_t start, end = job->text.size, seen = piece * job->options->piece_size;

    if (worker->status != TLM_OK || atomic_load(&job->cancelled) || !find_piece(&start, job, piece))
        return;
    for (size_t i = piece + 1; i < job->num_pieces; i++)
        if (find_piece(&end, job, i))
            break;
        else
            end = job->text.size;
    worker->status = tlmi_mapping_check(&job->text, "bpe_trainer_add_file");
    int part = (start == 0 ? TLMI_PIECE_BEGINS : 0) | (end == job->text.size ? TLMI_PIECE_ENDS : 0);
    if (worker->status == TLM_OK)
        worker->status = tlmi_split_text(job->options->pipeline, job->text.data + start,
                                         end - start, part, &sink);
    if (worker->status != TLM_OK)
        snprintf(worker->message, sizeof(worker->message), "%s", tlm_error_message());
    /* The search for the start also read a few bytes before the piece. */
    tlmi_mapping_leave(&job->text, seen > LOOK_BACK ? seen - LOOK_BACK : 0, end);
    report_count(job, end - start, worker_index);
}

/* Adds the counts of all workers to `out`, which is empty. */
static tlm_status_t gather(tlmi_pretoken_counts_t *out, count_worker_t *workers, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        if (workers[i].status != TLM_OK)
            return tlmi_fail(workers[i].status, "%s", workers[i].message);
        TLMI_TRY(tlmi_pretoken_counts_merge(out, &workers[i].counter.counts));
    }
    return TLM_OK;
}

/* Makes the last report, after all bytes are counted. Fails if the job was cancelled. */
static tlm_status_t finish_count(const count_job_t *job)
{
    const tlmi_count_options_t *options = job->options;

    if (!atomic_load(&job->cancelled) &&
        (options->progress == NULL ||
         options->progress(options->progress_user, TLM_BPE_PHASE_COUNTING, job->part_size,
                           job->part_size) == 0))
        return TLM_OK;
    return tlmi_fail(TLM_ERR_CANCELLED, "bpe_trainer_add_text: cancelled after %zu of %zu bytes",
                     atomic_load(&job->done), job->part_size);
}

tlm_status_t tlmi_count_text(tlmi_pretoken_counts_t *out, const tlmi_mapping_t *text,
                             const tlmi_count_options_t *options)
{
    /* The maximum, because the number of threads may change in the meantime. */
    int32_t num_workers = TLM_MAX_THREADS;
    size_t n = text->size / options->piece_size + 1, parts = (size_t)options->num_parts;
    size_t part = (size_t)options->part,
           end = n / parts * (part + 1) + n % parts * (part + 1) / parts;
    count_job_t job = {.options = options, .text = *text, .num_pieces = n};

    job.first_piece = n / parts * part + n % parts * part / parts;
    job.part_size =
        (end == n ? text->size : end * options->piece_size) - job.first_piece * options->piece_size;
    job.workers = tlmi_calloc((size_t)num_workers, sizeof(*job.workers), "pieces of a text");
    if (job.workers == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    for (int32_t i = 0; i < num_workers; i++)
        job.workers[i].counter.text = &job.text;
    tlmi_parallel_for_workers((int64_t)(end - job.first_piece), num_workers, count_piece, &job);
    tlm_status_t status = gather(out, job.workers, num_workers);
    if (status == TLM_OK)
        status = finish_count(&job);
    for (int32_t i = 0; i < num_workers; i++)
        tlmi_pretoken_counts_release(&job.workers[i].counter.counts);
    tlmi_free(job.workers);
    return status;
}
