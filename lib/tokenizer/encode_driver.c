/* Texts are cut into pieces of about equal size; a piece is part of a long text, or several short
 * texts. Pieces are processed in waves: while the pieces of one wave are encoded, the ids of the
 * previous wave go to the sink, by one task in order, or into a list by a task for each piece. So
 * the ids of a wave are still in the CPU cache when they are copied or written, and at most two
 * waves are in memory. Small inputs are encoded on the calling thread, straight into the sink. */
#include "tokenizer/encode.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "base/thread_pool.h"

#define MAX_PIECE_SIZE    ((size_t)1 << 15) /* approximate, in bytes of text */
#define MIN_PIECE_SIZE    ((size_t)1 << 13)
#define MAX_PIECE_TEXTS   ((size_t)1 << 12)
#define PIECES_A_WORKER   32 /* per wave; many, because the last ones leave some threads idle */
#define MAX_PIECES_A_WAVE 512
#define BYTES_PER_ID      4 /* about; what a list begins with room for */

typedef struct piece {
    size_t first, n;   /* texts, n >= 1 */
    size_t start, end; /* it begins at `start` in the first text, ends at `end` in the last */
    size_t size;       /* bytes */
    tlmi_id_list_t ids;
    size_t place; /* of its ids in the sink's list */
    size_t *ends; /* (n): where each text's ids end in `ids` */
    size_t ends_capacity;
    tlm_status_t status;
    char message[256]; /* of a failure, for the thread that made the call */
} piece_t;

typedef struct wave {
    piece_t *pieces;
    size_t n;
    size_t num_tasks; /* that hand on its ids */
} wave_t;

typedef struct encode_job {
    const tlmi_encode_plan_t *plan;
    const tlm_bytes_t *texts;
    size_t num_texts;
    size_t total_size;
    const tlmi_id_sink_t *sink;
    size_t piece_size;
    size_t text, at; /* where the next piece begins: text and offset */
    size_t done;     /* bytes that are already in pieces */
    wave_t waves[2];
    size_t wave_size; /* maximum number of pieces in a wave */
    wave_t *encoding, *taking;
    tlm_status_t sink_status;
    char message[256]; /* error message of the sink */
    /* Memory of each worker while the job runs. There is room for any number of threads, even if
     * the number changes. */
    tlmi_encode_memory_t *memory[TLM_MAX_THREADS];
} encode_job_t;

/* ---- Pieces ---- */

/* Dropout depends on positions among the pretokens. If these are the text, the position at which a
 * piece begins is known, so the text may be cut. */
static bool may_cut(const tlmi_encode_plan_t *plan)
{
    return plan->dropout == 0.0 || (plan->pipeline.normalizer == NULL &&
                                    tlmi_pretokenizer_is_local(plan->pipeline.pretokenizer));
}

/* Returns the end of the part of a text that begins at `start`. */
static size_t find_end(const encode_job_t *job, const tlm_bytes_t *text, size_t start)
{
    const tlmi_encode_plan_t *plan = job->plan;
    size_t end = start;

    if (text->size - start <= job->piece_size || !may_cut(plan))
        return text->size;
    end += job->piece_size;
    for (;; end++) {
        end = tlmi_find_cut(&plan->pipeline, text->data, text->size, end, text->size);
        if (end == text->size || plan->disallowed == NULL ||
            !tlmi_special_tokens_cross(plan->disallowed, text->data, text->size, end, false))
            return end;
    }
}

static void cut_piece(piece_t *piece, encode_job_t *job)
{
    size_t size;

    piece->first = job->text;
    piece->n = 1;
    piece->start = job->at;
    piece->end = find_end(job, &job->texts[job->text], job->at);
    size = piece->end - piece->start;
    job->at = piece->end;
    while (job->at == job->texts[job->text].size && ++job->text < job->num_texts) {
        size_t next = job->texts[job->text].size;

        job->at = 0;
        if (size + next > job->piece_size || piece->n == MAX_PIECE_TEXTS)
            break;
        size += next;
        piece->n++;
        piece->end = job->at = next;
    }
    piece->size = size;
    job->done += size;
}

static void cut_pieces(wave_t *wave, encode_job_t *job)
{
    for (wave->n = 0; wave->n < job->wave_size && job->text < job->num_texts; wave->n++)
        cut_piece(&wave->pieces[wave->n], job);
}

static tlm_status_t encode_piece(piece_t *piece, const encode_job_t *job,
                                 tlmi_encode_memory_t *memory)
{
    tlmi_encode_worker_t worker;
    tlm_status_t status = TLM_OK;

    piece->ids.n = 0;
    if (!tlmi_id_list_reserve(&piece->ids, piece->size / BYTES_PER_ID) ||
        !tlmi_grow(&piece->ends, &piece->ends_capacity, piece->n, sizeof(*piece->ends),
                   "a batch of texts"))
        return TLM_ERR_OUT_OF_MEMORY;
    tlmi_encode_worker_init(&worker, job->plan, memory, &piece->ids);
    for (size_t i = 0; i < piece->n && status == TLM_OK; i++) {
        const tlm_bytes_t *text = &job->texts[piece->first + i];
        size_t start = i == 0 ? piece->start : 0;
        size_t end = i + 1 == piece->n ? piece->end : text->size;

        status = tlmi_encode_worker_text(&worker, text, start, end, piece->first + i);
        piece->ends[i] = piece->ids.n;
    }
    tlmi_encode_worker_release(&worker);
    return status;
}

/* ---- Waves ---- */

/* Records where texts end in the list. The last text of a piece may continue in the next one, which
 * then overwrites its end. */
static void set_offsets(size_t *offsets, const piece_t *piece, size_t before)
{
    for (size_t i = 0; i < piece->n; i++)
        offsets[piece->first + i + 1] = before + piece->ends[i];
}

/* Passes the ids of a wave to the sink's function. */
static tlm_status_t hand_on(const tlmi_id_sink_t *sink, const wave_t *wave)
{
    for (size_t i = 0; i < wave->n; i++) {
        const piece_t *piece = &wave->pieces[i];

        if (piece->status != TLM_OK)
            return tlmi_fail(piece->status, "%s", piece->message);
        if (piece->ids.n > 0)
            TLMI_TRY(sink->take(sink->context, piece->ids.ids, piece->ids.n));
    }
    return TLM_OK;
}

/* Makes room for the ids of a wave in the sink's list, and gives each piece its place there. */
static tlm_status_t place_pieces(const tlmi_id_sink_t *sink, wave_t *wave)
{
    size_t n = 0;

    for (size_t i = 0; i < wave->n; i++) {
        piece_t *piece = &wave->pieces[i];

        if (piece->status != TLM_OK)
            return tlmi_fail(piece->status, "%s", piece->message);
        piece->place = sink->list->n + n;
        if (sink->offsets != NULL)
            set_offsets(sink->offsets, piece, piece->place);
        n += piece->ids.n;
    }
    if (!tlmi_id_list_reserve(sink->list, n))
        return TLM_ERR_OUT_OF_MEMORY;
    sink->list->n += n;
    return TLM_OK;
}

/* Finds how many tasks hand on the ids of a wave. */
static tlm_status_t plan_handing_on(const tlmi_id_sink_t *sink, wave_t *wave)
{
    wave->num_tasks = sink->list != NULL ? wave->n : wave->n > 0;
    return sink->list != NULL && wave->n > 0 ? place_pieces(sink, wave) : TLM_OK;
}

static void copy_piece(const tlmi_id_sink_t *sink, const piece_t *piece)
{
    if (piece->ids.n > 0)
        memcpy(sink->list->ids + piece->place, piece->ids.ids, piece->ids.n * sizeof(uint32_t));
}

static tlmi_encode_memory_t *take_memory(const encode_job_t *job)
{
    const tlmi_encode_plan_t *plan = job->plan;
    size_t share = job->total_size / (size_t)tlmi_max_workers();

    return plan->dropout > 0.0 ? NULL : tlmi_memory_pool_take(plan->tokenizer->memory, share);
}

/* The first tasks hand on the previous wave, the others encode a piece each. */
static void run_task(void *context, int64_t task, int32_t worker)
{
    encode_job_t *job = context;
    size_t index = (size_t)task;

    if (index < job->taking->num_tasks && job->sink->list != NULL) {
        copy_piece(job->sink, &job->taking->pieces[index]);
        return;
    }
    if (index < job->taking->num_tasks) {
        job->sink_status = hand_on(job->sink, job->taking);
        if (job->sink_status != TLM_OK)
            snprintf(job->message, sizeof(job->message), "%s", tlm_error_message());
        return;
    }
    piece_t *piece = &job->encoding->pieces[index - job->taking->num_tasks];
    if (job->memory[worker] == NULL)
        job->memory[worker] = take_memory(job);
    piece->status = encode_piece(piece, job, job->memory[worker]);
    if (piece->status != TLM_OK)
        snprintf(piece->message, sizeof(piece->message), "%s", tlm_error_message());
}

static tlm_status_t run_waves(encode_job_t *job)
{
    const tlmi_id_sink_t *sink = job->sink;
    bool is_last = false;

    while (!is_last) {
        wave_t *before = job->encoding;
        size_t encoded = job->done;

        TLMI_TRY(tlmi_check_interrupt("tokenizer"));
        job->encoding = job->taking;
        job->taking = before;
        cut_pieces(job->encoding, job);
        TLMI_TRY(plan_handing_on(sink, job->taking));
        tlmi_parallel_for((int64_t)(job->taking->num_tasks + job->encoding->n), run_task, job);
        if (job->sink_status != TLM_OK)
            return tlmi_fail(job->sink_status, "%s", job->message);
        if (sink->progress != NULL && job->taking->n > 0)
            TLMI_TRY(sink->progress(sink->context, encoded));
        is_last = job->encoding->n == 0;
    }
    return TLM_OK;
}

static void release_job(encode_job_t *job)
{
    for (int32_t i = 0; i < TLM_MAX_THREADS; i++)
        tlmi_memory_pool_give(job->plan->tokenizer->memory, job->memory[i]);
    for (int i = 0; i < 2; i++) {
        for (size_t k = 0; k < job->wave_size && job->waves[i].pieces != NULL; k++) {
            tlmi_id_list_release(&job->waves[i].pieces[k].ids);
            tlmi_free(job->waves[i].pieces[k].ends);
        }
        tlmi_free(job->waves[i].pieces);
    }
}

/* Chooses a size small enough that every thread gets many pieces. */
static size_t choose_piece_size(size_t total_size)
{
    size_t size = total_size / (16 * (size_t)tlmi_max_workers());

    if (size < MIN_PIECE_SIZE)
        return MIN_PIECE_SIZE;
    return size < MAX_PIECE_SIZE ? size : MAX_PIECE_SIZE;
}

static tlm_status_t encode_in_waves(const tlmi_encode_plan_t *plan, const tlm_bytes_t *texts,
                                    size_t num_texts, size_t total_size, const tlmi_id_sink_t *sink)
{
    encode_job_t job = {.plan = plan,
                        .texts = texts,
                        .num_texts = num_texts,
                        .total_size = total_size,
                        .sink = sink,
                        .piece_size = choose_piece_size(total_size),
                        .wave_size = (size_t)tlmi_max_workers() * PIECES_A_WORKER};
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (job.wave_size > MAX_PIECES_A_WAVE)
        job.wave_size = MAX_PIECES_A_WAVE;
    job.taking = &job.waves[0];
    job.encoding = &job.waves[1];
    for (int i = 0; i < 2; i++)
        job.waves[i].pieces =
            tlmi_calloc(job.wave_size, sizeof(*job.waves[i].pieces), "pieces of a text");
    if (job.waves[0].pieces != NULL && job.waves[1].pieces != NULL)
        status = run_waves(&job);
    release_job(&job);
    return status;
}

/* ---- On the calling thread ---- */

static tlm_status_t encode_here(const tlmi_encode_plan_t *plan, const tlm_bytes_t *texts,
                                size_t num_texts, size_t total_size, const tlmi_id_sink_t *sink)
{
    tlmi_memory_pool_t *pool = plan->tokenizer->memory;
    tlmi_encode_memory_t *memory =
        plan->dropout > 0.0 ? NULL : tlmi_memory_pool_take(pool, total_size);
    tlmi_id_list_t own = {0}; /* ids that wait for the sink's function */
    tlmi_encode_worker_t worker;
    tlm_status_t status = TLM_OK;

    if (memory != NULL) {
        own = memory->ids;
        memory->ids = (tlmi_id_list_t){0};
    }
    tlmi_encode_worker_init(&worker, plan, memory, sink->list != NULL ? sink->list : &own);
    worker.sink = sink->list != NULL ? NULL : sink;
    for (size_t i = 0; i < num_texts && status == TLM_OK; i++) {
        status = tlmi_encode_worker_text(&worker, &texts[i], 0, texts[i].size, i);
        if (sink->offsets != NULL)
            sink->offsets[i + 1] = worker.ids->n;
    }
    if (status == TLM_OK && worker.sink != NULL)
        status = tlmi_encode_worker_flush(&worker);
    tlmi_encode_worker_release(&worker);
    own.n = 0;
    if (memory != NULL)
        memory->ids = own;
    else
        tlmi_id_list_release(&own);
    tlmi_memory_pool_give(pool, memory);
    return status;
}

tlm_status_t tlmi_encode_texts(const tlmi_encode_plan_t *plan, const tlm_bytes_t *texts,
                               size_t num_texts, const tlmi_id_sink_t *sink)
{
    size_t total_size = 0;

    for (size_t i = 0; i < num_texts; i++)
        total_size = texts[i].size > SIZE_MAX - total_size ? SIZE_MAX : total_size + texts[i].size;
    if (sink->offsets != NULL)
        sink->offsets[0] = 0;
    if (total_size >= TLMI_PARALLEL_SIZE &&
        (tlmi_max_workers() > 1 || sink->progress != NULL || tlmi_is_interruptible()))
        return encode_in_waves(plan, texts, num_texts, total_size, sink);
    TLMI_TRY(encode_here(plan, texts, num_texts, total_size, sink));
    return sink->progress != NULL && total_size > 0 ? sink->progress(sink->context, total_size)
                                                    : TLM_OK;
}
