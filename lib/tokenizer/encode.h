/* How texts are to be encoded, made once from the caller's options: the special tokens that become
 * ids, those that are errors, and dropout. */
#ifndef TLMI_ENCODE_H
#define TLMI_ENCODE_H

#include "tokenizer/bpe/bpe_encode.h"
#include "tinylm/encode.h"
#include "tokenizer/tokenizer_core.h"

/* Immutable once made; threads may share it. */
typedef struct tlmi_encode_plan {
    const char *function; /* opens the messages */
    bool many;            /* texts, so that the messages number them */
    const tlm_tokenizer_t *tokenizer;
    const tlmi_special_tokens_t *allowed;    /* NULL: none */
    const uint32_t *allowed_ids;             /* by index in `allowed` */
    const tlmi_special_tokens_t *disallowed; /* NULL: none */
    double dropout;
    uint64_t seed;
    /* What of the above is not the tokenizer's own. */
    tlmi_special_tokens_t *own_allowed;
    uint32_t *own_allowed_ids;
    tlmi_special_tokens_t *own_disallowed;
} tlmi_encode_plan_t;

/* `options` may be NULL; `function` opens the messages. On failure there is nothing to release. */
tlm_status_t tlmi_encode_plan_init(tlmi_encode_plan_t *plan, const char *function,
                                   const tlm_tokenizer_t *tokenizer,
                                   const tlm_encode_options_t *options);
void tlmi_encode_plan_release(tlmi_encode_plan_t *plan);

/* The work of one thread: the ids so far are in `bpe`. */
typedef struct tlmi_encode_work {
    const tlmi_encode_plan_t *plan;
    tlmi_bpe_encoder_t bpe;
    tlmi_bpe_dropout_t dropout;
    uint64_t position; /* in the text at hand, as it is encoded */
} tlmi_encode_work_t;

void tlmi_encode_work_init(tlmi_encode_work_t *work, const tlmi_encode_plan_t *plan);
void tlmi_encode_work_release(tlmi_encode_work_t *work);

/* Appends the ids of a whole text, the index-th of several; dropout has the plan's seed + index. */
tlm_status_t tlmi_encode_text(tlmi_encode_work_t *work, const uint8_t *text, size_t size,
                              size_t index);

/* A whole text to ids on all threads, in memory that does not grow with it. */

/* Who receives the ids of a text. Borrowed until the call returns. */
typedef struct tlmi_id_sink {
    /* The next n >= 1 ids, in order; one call at a time, on any thread. */
    tlm_status_t (*take)(void *context, const uint32_t *ids, size_t n);
    /* Now and then, on the calling thread: so many bytes of the text are done. May be NULL. */
    tlm_status_t (*progress)(void *context, size_t done);
    void *context;
} tlmi_id_sink_t;

/* Texts from this size on are worth several threads. */
#define TLMI_PARALLEL_SIZE ((size_t)1 << 18)

/* The ids are those of tlmi_split_text, on any number of threads: a text is cut only where pretokens
 * end whatever surrounds them. */
tlm_status_t tlmi_encode_parallel(const tlm_tokenizer_t *tokenizer, const uint8_t *text,
                                  size_t size, const tlmi_id_sink_t *sink);

#endif
