/* Encoding from within. A plan says how texts are encoded; a worker is one thread at it; the driver
 * runs workers over whole texts, one or many, on one thread or all. Everything that encodes is one of
 * these with a sink of its own: the calls for one text (encode.c), for batches (encode_batch.c), streams
 * (encode_stream.c), and files (data/encode_file.c). */
#ifndef TLMI_ENCODE_H
#define TLMI_ENCODE_H

#include "tinylm/encode.h"
#include "tokenizer/tokenizer_core.h"

/* ---- Plans (encode_plan.c) ---- */

/* The caller's options, read once: which special tokens become ids, which are errors, and dropout.
 * Immutable once made; threads may share it. */
typedef struct tlmi_encode_plan {
    const char *function; /* opens the messages */
    bool many;            /* several texts, so that messages number them */
    const tlm_tokenizer_t *tokenizer;
    tlmi_text_pipeline_t pipeline;           /* its special tokens are those that become ids */
    const uint32_t *special_ids;             /* by index in them */
    const tlmi_special_tokens_t *disallowed; /* NULL: none */
    double dropout;
    uint64_t seed;
    /* What of the above is not the tokenizer's own. */
    tlmi_special_tokens_t *own_allowed;
    uint32_t *own_special_ids;
    tlmi_special_tokens_t *own_disallowed;
} tlmi_encode_plan_t;

/* The plan of tlm_tokenizer_encode: cheap, and needs no release. */
void tlmi_encode_plan_init_default(tlmi_encode_plan_t *plan, const char *function,
                                   const tlm_tokenizer_t *tokenizer);

/* `options` may be NULL. On failure there is nothing to release. */
tlm_status_t tlmi_encode_plan_init(tlmi_encode_plan_t *plan, const char *function,
                                   const tlm_tokenizer_t *tokenizer,
                                   const tlm_encode_options_t *options);
void tlmi_encode_plan_release(tlmi_encode_plan_t *plan);

/* ---- Workers (encode_worker.c) ---- */

/* Who receives ids; borrowed. Either `list` or `take` is set. */
typedef struct tlmi_id_sink {
    tlmi_id_list_t *list; /* all ids are appended to it */
    size_t *offsets; /* (texts + 1), or NULL: where in the list each text's ids begin and end */
    /* The next n >= 1 ids, in order; one call at a time, on any thread. */
    tlm_status_t (*take)(void *context, const uint32_t *ids, size_t n);
    /* Now and then, on the calling thread: this many bytes of all texts are done. May be NULL. */
    tlm_status_t (*progress)(void *context, size_t done);
    void *context; /* of the functions */
} tlmi_id_sink_t;

/* One thread's work. Borrows all that it points to. */
typedef struct tlmi_encode_worker {
    const tlmi_encode_plan_t *plan;
    tlmi_encode_memory_t *memory; /* NULL: without a cache */
    tlmi_scratch_t own_scratch;   /* where there is no memory */
    tlmi_id_list_t *ids;          /* where ids go */
    const tlmi_id_sink_t *sink; /* whose `take` gets them now and then; NULL: they stay in `ids` */
    tlmi_dropout_t dropout;
} tlmi_encode_worker_t;

void tlmi_encode_worker_init(tlmi_encode_worker_t *worker, const tlmi_encode_plan_t *plan,
                             tlmi_encode_memory_t *memory, tlmi_id_list_t *ids);
void tlmi_encode_worker_release(tlmi_encode_worker_t *worker);

/* Where the text pipeline sends what it finds in the texts of a worker. */
tlmi_pretoken_sink_t tlmi_encode_worker_sink(tlmi_encode_worker_t *worker);

/* Encodes bytes [start, end) of the index-th text, between places where it may be cut. */
tlm_status_t tlmi_encode_worker_text(tlmi_encode_worker_t *worker, const tlm_bytes_t *text,
                                     size_t start, size_t end, size_t index);

/* Sends the worker's ids to its sink's `take`. */
tlm_status_t tlmi_encode_worker_flush(tlmi_encode_worker_t *worker);

/* ---- The driver (encode_driver.c) ---- */

/* From this many bytes of text on, several threads are worth while. */
#define TLMI_PARALLEL_SIZE ((size_t)1 << 16)

/* Encodes texts into a sink: short ones on the calling thread, more on all threads, in memory that does
 * not grow with the text. The ids are those of one thread: a text is cut only where pretokens end
 * whatever surrounds them. Where texts fail, the error is that of the first of them. */
tlm_status_t tlmi_encode_texts(const tlmi_encode_plan_t *plan, const tlm_bytes_t *texts,
                               size_t num_texts, const tlmi_id_sink_t *sink);

#endif
