/* Internals of encoding. A plan says how texts are encoded, a worker encodes on one thread, and the
 * driver runs workers over whole texts, one or many, on one thread or on all. Every encoder
 * combines these with a sink of its own: the calls for one text (encode.c), for batches
 * (encode_batch.c), streams (encode_stream.c), and files (data/encode_file.c). */
#ifndef TLMI_ENCODE_H
#define TLMI_ENCODE_H

#include "tinylm/encode.h"
#include "tokenizer/tokenizer_core.h"

/* ---- Plans (encode_plan.c) ---- */

/* The caller's options, parsed once: which special tokens become ids, which are errors, and the
 * dropout. Immutable after initialization, so threads may share it. */
typedef struct tlmi_encode_plan {
    const char *function; /* error messages begin with it */
    bool many;            /* there are several texts, so messages number them */
    const tlm_tokenizer_t *tokenizer;
    tlmi_text_pipeline_t pipeline;           /* its special tokens are those that become ids */
    const uint32_t *special_ids;             /* by index in pipeline.special */
    const tlmi_special_tokens_t *disallowed; /* NULL if there are none */
    const tlmi_row_limits_t *limits;         /* NULL if there are none */
    double dropout;
    uint64_t seed;
    const tlmi_template_t *template; /* the ids to put around each text; NULL if there are none */
    /* Owned by the plan: those of the sets above that are not the tokenizer's. */
    tlmi_special_tokens_t *own_allowed;
    uint32_t *own_special_ids;
    tlmi_special_tokens_t *own_disallowed;
} tlmi_encode_plan_t;

/* Makes the plan of tlm_tokenizer_encode. It is cheap and needs no release. */
void tlmi_encode_plan_init_default(tlmi_encode_plan_t *plan, const char *function,
                                   const tlm_tokenizer_t *tokenizer);

/* `options` may be NULL. On failure there is nothing to release. */
tlm_status_t tlmi_encode_plan_init(tlmi_encode_plan_t *plan, const char *function,
                                   const tlm_tokenizer_t *tokenizer,
                                   const tlm_encode_options_t *options);
void tlmi_encode_plan_release(tlmi_encode_plan_t *plan);

/* Whether a text may be encoded as two wherever tlmi_find_cut says so: then neither the ends of a
 * text nor positions in it matter. */
bool tlmi_encode_plan_may_cut(const tlmi_encode_plan_t *plan);

/* ---- Limits of rows (row_limits.c) ---- */

/* Truncates and pads the rows list->ids[offsets[i] .. offsets[i + 1]), n >= 1 of them, and puts the
 * template around them. Does nothing if the plan does not limit rows. */
tlm_status_t tlmi_limit_rows(tlmi_id_list_t *list, size_t *offsets, size_t n,
                             const tlmi_encode_plan_t *plan);

/* ---- Workers (encode_worker.c) ---- */

/* Receives ids. Borrowed. Either `list` or `take` is set. */
typedef struct tlmi_id_sink {
    tlmi_id_list_t *list; /* all ids are appended to it */
    size_t *offsets;      /* (texts + 1), or NULL: bounds of each text's ids in `list` */
    /* Receives the next n >= 1 ids, in order. Called by one thread at a time, which may be any
     * thread. */
    tlm_status_t (*take)(void *context, const uint32_t *ids, size_t n);
    /* Called now and then on the calling thread with the number of bytes that are done, over all
     * texts. May be NULL. */
    tlm_status_t (*progress)(void *context, size_t done);
    void *context; /* passed to both functions */
} tlmi_id_sink_t;

/* The state of one encoding thread. Borrows everything that it points to. */
typedef struct tlmi_encode_worker {
    const tlmi_encode_plan_t *plan;
    tlmi_encode_memory_t *memory; /* NULL to encode without a cache */
    tlmi_scratch_t own_scratch;   /* used if `memory` is NULL */
    tlmi_id_list_t *ids;          /* ids are appended here */
    const tlmi_id_sink_t *sink;   /* its `take` gets the ids in chunks; NULL keeps them in `ids` */
    tlmi_dropout_t dropout;
    size_t misses; /* pretokens of the last few that were not in the cache */
} tlmi_encode_worker_t;

void tlmi_encode_worker_init(tlmi_encode_worker_t *worker, const tlmi_encode_plan_t *plan,
                             tlmi_encode_memory_t *memory, tlmi_id_list_t *ids);
void tlmi_encode_worker_release(tlmi_encode_worker_t *worker);

/* The sink that the text pipeline feeds with the pretokens and special tokens of a worker's
 * texts. */
tlmi_pretoken_sink_t tlmi_encode_worker_sink(tlmi_encode_worker_t *worker);

/* Encodes bytes [start, end) of the index-th text. Both must be places where the text may be cut.
 * The part at the beginning of the text gets the ids before it, and the one at its end those after
 * it. */
tlm_status_t tlmi_encode_worker_text(tlmi_encode_worker_t *worker, const tlm_bytes_t *text,
                                     size_t start, size_t end, size_t index);

/* Sends the worker's ids to its sink's `take`. */
tlm_status_t tlmi_encode_worker_flush(tlmi_encode_worker_t *worker);

/* ---- The driver (encode_driver.c) ---- */

/* Texts of at least this many bytes in total are worth several threads. */
#define TLMI_PARALLEL_SIZE ((size_t)1 << 16)

/* Encodes texts into a sink: short ones on the calling thread, longer ones on all threads. Memory
 * use does not grow with the text. The ids do not depend on the number of threads, because a text
 * is cut only at places where a pretoken ends whatever surrounds it. If several texts fail, the
 * error is that of the first one. */
tlm_status_t tlmi_encode_texts(const tlmi_encode_plan_t *plan, const tlm_bytes_t *texts,
                               size_t num_texts, const tlmi_id_sink_t *sink);

#endif
