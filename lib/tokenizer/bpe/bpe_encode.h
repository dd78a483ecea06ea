/* Byte-pair encoding of pretokens: of all merges that apply, the one of lowest rank, leftmost
 * first, until none applies. */
#ifndef TLMI_BPE_ENCODE_H
#define TLMI_BPE_ENCODE_H

#include "tokenizer/bpe/bpe.h"
#include "tokenizer/tokenizer_core.h"

/* The work of one thread: the ids so far. */
typedef struct tlmi_bpe_encoder {
    const tlm_tokenizer_t *tokenizer;
    uint32_t *ids;
    size_t n;
    size_t capacity;
    tlmi_bpe_cache_t *cache; /* borrowed; may be NULL */
} tlmi_bpe_encoder_t;

void tlmi_bpe_encoder_init(tlmi_bpe_encoder_t *encoder, const tlm_tokenizer_t *tokenizer,
                           tlmi_bpe_cache_t *cache);

/* Frees the ids; the cache stays its owner's. */
void tlmi_bpe_encoder_release(tlmi_bpe_encoder_t *encoder);

/* Room for n more ids, and a few that may be written beyond them. */
bool tlmi_bpe_reserve(tlmi_bpe_encoder_t *encoder, size_t n);

/* Appends what the merges alone make of a pretoken: of the tokenizer, they and the ids of the bytes are
 * all that is used. */
tlm_status_t tlmi_bpe_merge(tlmi_bpe_encoder_t *encoder, const uint8_t *pretoken, size_t size);

/* Whether the merges alone, without any look-up of whole tokens, make `id` of its bytes. */
tlm_status_t tlmi_bpe_is_whole(bool *out, tlmi_bpe_encoder_t *encoder, uint32_t id);

/* Append the ids of pretokens and of a special token: the two parts of a tlmi_text_splitter_t whose
 * context is the encoder. */
tlm_status_t tlmi_bpe_encode_pretokens(void *encoder, const uint8_t *text, const size_t *ends,
                                       size_t n);
tlm_status_t tlmi_bpe_encode_special(void *encoder, size_t index);

/* BPE dropout (Provilkov et al. 2020): at each step every merge that applies is passed over with a
 * probability of its own, and the best of the others is applied; where none is left, merging ends.
 * Which are passed over is a pure function of the seed and the place of the pretoken. */

/* Zeros before its first use; then a probability and a seed are set. */
typedef struct tlmi_bpe_dropout {
    double probability; /* 0..1 */
    uint64_t seed;
    /* Scratch memory. */
    tlmi_merge_tree_t tree;
    size_t *hidden; /* positions of merges that were passed over in this step */
    size_t capacity;
} tlmi_bpe_dropout_t;

void tlmi_bpe_dropout_release(tlmi_bpe_dropout_t *dropout);

/* Appends to `out` the ids of a pretoken that begins at byte `position` of its text. */
tlm_status_t tlmi_bpe_dropout_encode(tlmi_bpe_dropout_t *dropout, tlmi_bpe_encoder_t *out,
                                     const uint8_t *pretoken, size_t size, uint64_t position);

#endif
