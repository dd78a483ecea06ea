/* Byte-pair encoding of pretokens: of all merges that apply, the one of lowest rank, leftmost
 * first, until none applies. */
#ifndef TLMI_BPE_ENCODE_H
#define TLMI_BPE_ENCODE_H

#include "tokenizer_core.h"

/* Ids of pretokens met before; the tokenizer itself answers for those that are one token. */
typedef struct tlmi_bpe_cache_entry {
    uint8_t size; /* of the pretoken; 0 where the entry is free */
    uint8_t num_ids;
    uint8_t bytes[22];
    uint32_t ids[10];
} tlmi_bpe_cache_entry_t;

/* The work of one thread: ids so far, and scratch memory. */
typedef struct tlmi_bpe_encoder {
    const tlm_tokenizer_t *tokenizer;
    uint32_t *ids;
    size_t n;
    size_t capacity;
    tlmi_bpe_cache_entry_t *cache; /* direct-mapped; may be NULL */
    size_t cache_mask;
} tlmi_bpe_encoder_t;

/* `text_size`, the bytes expected, sizes the cache. */
void tlmi_bpe_encoder_init(tlmi_bpe_encoder_t *encoder, const tlm_tokenizer_t *tokenizer,
                           size_t text_size);
void tlmi_bpe_encoder_release(tlmi_bpe_encoder_t *encoder);

/* Appends the ids of one pretoken. */
tlm_status_t tlmi_bpe_encode(tlmi_bpe_encoder_t *encoder, const uint8_t *pretoken, size_t size);

/* Appends one id. */
tlm_status_t tlmi_bpe_append(tlmi_bpe_encoder_t *encoder, uint32_t id);

/* Appends what the merges alone make of a pretoken: of the tokenizer, they and the ids of the bytes are
 * all that is used. */
tlm_status_t tlmi_bpe_merge(tlmi_bpe_encoder_t *encoder, const uint8_t *pretoken, size_t size);

/* Whether the merges alone, without any look-up of whole tokens, make `id` of its bytes. */
tlm_status_t tlmi_bpe_is_whole(bool *out, tlmi_bpe_encoder_t *encoder, uint32_t id);

/* The two as parts of a tlmi_text_splitter_t whose context is the encoder. */
tlm_status_t tlmi_bpe_encode_pretokens(void *encoder, const uint8_t *text, const size_t *ends,
                                       size_t n);
tlm_status_t tlmi_bpe_encode_special(void *encoder, size_t index);

#endif
