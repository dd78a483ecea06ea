/* A whole text to ids on all threads, in memory that does not grow with it. */
#ifndef TLMI_ENCODE_PARALLEL_H
#define TLMI_ENCODE_PARALLEL_H

#include "tokenizer_core.h"

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
