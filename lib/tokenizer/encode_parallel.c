/* The text is cut into pieces, and these are taken in waves: while the pieces of one wave are
 * encoded, one task hands the ids of the wave before to the sink. So a wave's ids are still in the
 * cache when they are copied or written, and two waves are all that is held. */
#include "tokenizer/encode.h"

#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "tokenizer/bpe/bpe_encode.h"

#define PIECE_SIZE        ((size_t)1 << 16) /* bytes of text, at least */
#define PIECES_A_WORKER   16                /* in a wave; the last ones leave some threads idle */
#define MAX_PIECES_A_WAVE 256

typedef struct piece {
    const uint8_t *text;
    size_t size;
    tlmi_bpe_encoder_t encoder; /* its ids */
    tlm_status_t status;
    char message[256]; /* of a failure: it has to reach the thread that called */
} piece_t;

typedef struct wave {
    piece_t *pieces;
    size_t n;
} wave_t;

typedef struct parallel_job {
    const tlm_tokenizer_t *tokenizer;
    const tlmi_id_sink_t *sink;
    wave_t waves[2];
    wave_t *encoding, *taking;
    tlm_status_t sink_status;
    char message[256]; /* of the sink */
} parallel_job_t;

static tlm_status_t encode_piece(piece_t *piece, const tlm_tokenizer_t *tokenizer)
{
    tlmi_text_splitter_t splitter = {tokenizer->pretokenizer, tokenizer->special,
                                     tlmi_bpe_encode_pretokens, tlmi_bpe_encode_special,
                                     &piece->encoder};
    tlm_status_t status;

    piece->encoder.n = 0;
    piece->encoder.cache = tlmi_bpe_cache_take(tokenizer->caches);
    status = tlmi_split_text(&splitter, piece->text, piece->size);
    tlmi_bpe_cache_give(tokenizer->caches, piece->encoder.cache);
    return status;
}

static tlm_status_t hand_on(const tlmi_id_sink_t *sink, const wave_t *wave)
{
    for (size_t i = 0; i < wave->n; i++) {
        const piece_t *piece = &wave->pieces[i];

        if (piece->status != TLM_OK)
            return tlmi_fail(piece->status, "%s", piece->message);
        TLMI_TRY(sink->take(sink->context, piece->encoder.ids, piece->encoder.n));
    }
    return TLM_OK;
}

/* Task 0 hands on the wave before, task i encodes piece i - 1. */
static void run_task(void *context, int64_t task, int32_t worker)
{
    parallel_job_t *job = context;
    piece_t *piece;

    if (task == 0) {
        job->sink_status = hand_on(job->sink, job->taking);
        if (job->sink_status != TLM_OK)
            snprintf(job->message, sizeof(job->message), "%s", tlm_error_message());
        return;
    }
    piece = &job->encoding->pieces[task - 1];
    piece->status = encode_piece(piece, job->tokenizer);
    if (piece->status != TLM_OK)
        snprintf(piece->message, sizeof(piece->message), "%s", tlm_error_message());
}

/* Fills a wave with pieces of the text from *at on. */
static void cut_pieces(wave_t *wave, size_t most, const tlm_tokenizer_t *tokenizer,
                       const uint8_t *text, size_t size, size_t *at)
{
    tlmi_text_splitter_t splitter = {.pretokenizer = tokenizer->pretokenizer,
                                     .special = tokenizer->special};

    for (wave->n = 0; wave->n < most && *at < size; wave->n++) {
        piece_t *piece = &wave->pieces[wave->n];
        size_t end = size;

        if (size - *at > PIECE_SIZE)
            end = tlmi_find_cut(&splitter, text, size, *at + PIECE_SIZE, size);
        piece->text = text + *at;
        piece->size = end - *at;
        *at = end;
    }
}

static tlm_status_t run_waves(parallel_job_t *job, size_t most, const uint8_t *text, size_t size)
{
    const tlmi_id_sink_t *sink = job->sink;
    size_t at = 0, taken = 0;

    while (taken < size) {
        wave_t *before = job->encoding;
        size_t encoded = at;

        job->encoding = job->taking;
        job->taking = before;
        cut_pieces(job->encoding, most, job->tokenizer, text, size, &at);
        tlmi_parallel_for((int64_t)job->encoding->n + 1, run_task, job);
        if (job->sink_status != TLM_OK)
            return tlmi_fail(job->sink_status, "%s", job->message);
        if (sink->progress != NULL && encoded > taken)
            TLMI_TRY(sink->progress(sink->context, encoded));
        taken = encoded;
    }
    return TLM_OK;
}

static bool make_wave(wave_t *wave, const tlm_tokenizer_t *tokenizer, size_t most)
{
    wave->pieces = tlmi_calloc(most, sizeof(*wave->pieces), "pieces of a text");
    for (size_t i = 0; i < most && wave->pieces != NULL; i++)
        tlmi_bpe_encoder_init(&wave->pieces[i].encoder, tokenizer, NULL);
    return wave->pieces != NULL;
}

static void release_wave(wave_t *wave, size_t most)
{
    for (size_t i = 0; i < most && wave->pieces != NULL; i++)
        tlmi_bpe_encoder_release(&wave->pieces[i].encoder);
    tlmi_free(wave->pieces);
}

tlm_status_t tlmi_encode_parallel(const tlm_tokenizer_t *tokenizer, const uint8_t *text,
                                  size_t size, const tlmi_id_sink_t *sink)
{
    parallel_job_t job = {.tokenizer = tokenizer, .sink = sink};
    size_t most = (size_t)tlmi_max_workers() * PIECES_A_WORKER;
    tlm_status_t status = TLM_ERR_OUT_OF_MEMORY;

    if (most > MAX_PIECES_A_WAVE)
        most = MAX_PIECES_A_WAVE;
    job.taking = &job.waves[0];
    job.encoding = &job.waves[1];
    if (make_wave(&job.waves[0], tokenizer, most) && make_wave(&job.waves[1], tokenizer, most))
        status = run_waves(&job, most, text, size);
    release_wave(&job.waves[0], most);
    release_wave(&job.waves[1], most);
    return status;
}
