/* Training of a byte-level BPE vocabulary. docs/tokenizer.md says how it works. Sizes beyond the
 * library's counters (2^31 distinct pretokens, or 2^32 bytes of them) are TLM_ERR_UNSUPPORTED. */
#ifndef TINYLM_BPE_TRAINER_H
#define TINYLM_BPE_TRAINER_H

#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Trains a vocabulary. Externally synchronised: one thread at a time a trainer. */
typedef struct tlm_bpe_trainer tlm_bpe_trainer_t;

/* What a progress callback is told of. */
#define TLM_BPE_PHASE_COUNTING 0 /* bytes of the text that is being added */
#define TLM_BPE_PHASE_LEARNING 1 /* merges; fewer may be found than asked for */

/** Receives how far an add or a training run is: `done` of `total`. On the calling thread, now and
 *  then, and at the end with done = total. Anything but 0 cancels the call (TLM_ERR_CANCELLED).
 *  @since 0.2 */
typedef int32_t (*tlm_bpe_progress_callback_t)(void *user, int32_t phase, uint64_t done,
                                               uint64_t total);

/* Orders of the 256 byte tokens, which every vocabulary has. */
#define TLM_BYTE_ORDER_VALUE 0 /* 0x00 to 0xFF */
#define TLM_BYTE_ORDER_GPT2  1 /* GPT-2's: 0x21-0x7E, 0xA1-0xAC, 0xAE-0xFF, the rest */

typedef struct tlm_bpe_trainer_options {
    size_t size;                       /* sizeof(tlm_bpe_trainer_options_t) */
    uint32_t vocab_size;               /* special tokens + 256 bytes + merges; required */
    uint32_t reserved;                 /* 0 */
    const tlm_bytes_t *special_tokens; /* copied; first ids, in this order */
    size_t num_special_tokens;
    const char *pattern;    /* copied; NULL: the base's, or TLM_PATTERN_GPT2 */
    uint64_t min_frequency; /* a pair seen less often is not merged; 0 means 1 */
    /* Since 0.2: */
    uint32_t max_token_length; /* no merge makes more bytes than this; 0: any number */
    int32_t byte_order;        /* TLM_BYTE_ORDER_... */
    uint64_t
        max_distinct_pretokens; /* at the end of each text the rarest beyond are dropped; 0: none */
    const tlm_tokenizer_t *base; /* borrowed by the trainer; training goes on from it; or NULL */
    tlm_bpe_progress_callback_t progress; /* or NULL */
    void *progress_user;
} tlm_bpe_trainer_options_t;

#define TLM_BPE_TRAINER_OPTIONS_INIT TLM_SIZED(tlm_bpe_trainer_options_t)

/** Makes a trainer; owned by the caller, freed with tlm_bpe_trainer_free. With a base, ids, merges
 *  and special tokens of the base stay, special tokens that it lacks come behind its last id, and
 *  merges are learnt from the pretokens as the base encodes them; byte_order must be 0.
 *  TLM_ERR_INVALID_ARGUMENT if vocab_size has no room for all that, a special token is empty, given
 *  twice or a single byte, max_token_length is 1 or the byte order unknown; TLM_ERR_REGEX for a bad
 *  pattern. @since 0.1 */
TLM_API tlm_status_t tlm_bpe_trainer_create(tlm_bpe_trainer_t **out,
                                            const tlm_bpe_trainer_options_t *options);

/** Frees the trainer; tokenizers that it has made stay. NULL is fine. @since 0.1 */
TLM_API void tlm_bpe_trainer_free(tlm_bpe_trainer_t *trainer);

/** Counts the pretokens of a whole text, on all threads. Each call is a document of its own: no
 *  pretoken spans two calls. Special tokens in it are boundaries and are not counted. On failure
 *  (TLM_ERR_REGEX for a custom pattern that backtracks without end, TLM_ERR_CANCELLED) the counts
 *  are as before. @since 0.1 */
TLM_API tlm_status_t tlm_bpe_trainer_add_text(tlm_bpe_trainer_t *trainer, const void *text,
                                              size_t size);

/** The same for a file. One over 16 MiB is mapped and must not be cut short meanwhile
 *  (docs/files.md); parts that have been read leave the process's memory again.
 *  TLM_ERR_NOT_FOUND or TLM_ERR_IO if it cannot be read. @since 0.1 */
TLM_API tlm_status_t tlm_bpe_trainer_add_file(tlm_bpe_trainer_t *trainer, const char *path);

/** Pushes a piece of one long text, cut anywhere (inside a character or special token too). The
 *  result equals tlm_bpe_trainer_add_text of the concatenation. The text ends at
 *  tlm_bpe_trainer_end_text, or at train or any add. On failure all of that text is dropped.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_bpe_trainer_push(tlm_bpe_trainer_t *trainer, const void *chunk,
                                          size_t size);

/** Ends the text that is being pushed, if there is one. On failure all of it is dropped.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_bpe_trainer_end_text(tlm_bpe_trainer_t *trainer);

/** Learns the merges; the result is a new tokenizer, owned by the caller. The counts stay, so more
 *  text may be added and the trainer run again. Greatest pair count first; ties go to the pair
 *  whose byte strings are lexicographically greater. Stops early, with fewer tokens, when no pair
 *  is left. After TLM_ERR_CANCELLED the trainer is as before. @since 0.1 */
TLM_API tlm_status_t tlm_bpe_trainer_train(tlm_tokenizer_t **out, tlm_bpe_trainer_t *trainer);

/** Bytes of whole texts counted so far and distinct pretokens among them; either may be NULL.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_bpe_trainer_stats(uint64_t *text_bytes, uint64_t *distinct_pretokens,
                                           const tlm_bpe_trainer_t *trainer);

/** What max_distinct_pretokens has cost so far: pretokens dropped (one may come back, and be
 *  dropped again) and how often they had occurred; either may be NULL. At the end of each text the
 *  most frequent stay, of equal ones those whose bytes are lexicographically greater, so that the
 *  result does not depend on threads or on the cutting into pieces. @since 0.2 */
TLM_API tlm_status_t tlm_bpe_trainer_dropped(uint64_t *pretokens, uint64_t *occurrences,
                                             const tlm_bpe_trainer_t *trainer);

#ifdef __cplusplus
}
#endif
#endif
