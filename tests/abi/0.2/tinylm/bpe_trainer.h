/* Training a byte-level BPE vocabulary; docs/tokenizer.md explains how it works. More than 2^31
 * distinct pretokens, or 2^32 bytes of them, are TLM_ERR_UNSUPPORTED. */
#ifndef TINYLM_BPE_TRAINER_H
#define TINYLM_BPE_TRAINER_H

#include "communicator.h"
#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Trains a vocabulary. Not thread-safe: use each trainer from one thread at a time. */
typedef struct tlm_bpe_trainer tlm_bpe_trainer_t;

/* What a progress callback reports. */
#define TLM_BPE_PHASE_COUNTING 0 /**< Bytes of the text that is being added. */
#define TLM_BPE_PHASE_LEARNING 1 /**< Merges; there may be fewer than requested. */

/** Reports the progress of adding a text or of training: `done` of `total`. Called on the
 *  calling thread from time to time, and at the end with done = total. A return value other than
 *  0 cancels the call (TLM_ERR_CANCELLED). @since 0.2 */
typedef int32_t (*tlm_bpe_progress_callback_t)(void *user, int32_t phase, uint64_t done,
                                               uint64_t total);

/* The order of the 256 byte tokens, which every vocabulary has. */
#define TLM_BYTE_ORDER_VALUE 0 /**< 0x00 to 0xFF. */
#define TLM_BYTE_ORDER_GPT2  1 /**< GPT-2's: 0x21-0x7E, 0xA1-0xAC, 0xAE-0xFF, the rest. */

/** The vocabulary to learn. @since 0.1 */
typedef struct tlm_bpe_trainer_options {
    /** sizeof(tlm_bpe_trainer_options_t). */
    size_t size;
    /** Special tokens + 256 bytes + merges; required. */
    uint32_t vocab_size;
    uint32_t reserved;
    /** Copied; they get the first ids, in this order. */
    const tlm_bytes_t *special_tokens;
    /** Number of special_tokens. */
    size_t num_special_tokens;
    /** Copied; NULL: the base's, or TLM_PATTERN_GPT2. */
    const char *pattern;
    /** A pair that occurs less often is not merged; 0 means 1. */
    uint64_t min_frequency;
    /** The most bytes that a merge may make; 0: no limit. @since 0.2 */
    uint32_t max_token_length;
    /** TLM_BYTE_ORDER_... @since 0.2 */
    int32_t byte_order;
    /** How many pretokens are kept at the end of each text; the rarest are dropped. 0: no limit.
     *  @since 0.2 */
    uint64_t max_distinct_pretokens;
    /** Training continues from it; borrowed by the trainer; may be NULL. @since 0.2 */
    const tlm_tokenizer_t *base;
    /** May be NULL. @since 0.2 */
    tlm_bpe_progress_callback_t progress;
    /** First argument of `progress`. @since 0.2 */
    void *progress_user;
    /** Ranks that train together; borrowed by the trainer; NULL: this process alone. All ranks
     *  make a trainer with the same options and call add_text, add_file, end_text and train in the
     *  same order, with the same texts. Each counts its share of a text, and all learn the merges
     *  of a single rank. What a rank gives to tlm_bpe_trainer_push is counted by that rank: the
     *  texts of all ranks are added. A failure on one rank fails on all. @since 0.2 */
    tlm_communicator_t *communicator;
} tlm_bpe_trainer_options_t;

#define TLM_BPE_TRAINER_OPTIONS_INIT TLM_SIZED(tlm_bpe_trainer_options_t)

/** Makes a trainer, owned by the caller (tlm_bpe_trainer_free). With a base, the base's ids,
 *  merges and special tokens are kept, special tokens that it lacks get the ids after its last
 *  one, and merges are learned from pretokens as the base encodes them; byte_order must be 0.
 *  TLM_ERR_INVALID_ARGUMENT if vocab_size has no room for all that, if a special token is empty,
 *  given twice or a single byte, if max_token_length is 1, or for an unknown byte order;
 *  TLM_ERR_UNSUPPORTED for a base that is not byte-level BPE; TLM_ERR_REGEX for a bad pattern.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_bpe_trainer_create(tlm_bpe_trainer_t **out,
                                            const tlm_bpe_trainer_options_t *options);

/** Frees the trainer; tokenizers that it has made remain valid. NULL is fine. @since 0.1 */
TLM_API void tlm_bpe_trainer_free(tlm_bpe_trainer_t *trainer);

/** Counts the pretokens of a whole text, on all threads. Each call is a document of its own: no
 *  pretoken spans two calls. Special tokens in it are boundaries and are not counted.
 *  TLM_ERR_REGEX if a custom pattern does not stop backtracking; TLM_ERR_CANCELLED. On failure
 *  the counts are as before. @since 0.1 */
TLM_API tlm_status_t tlm_bpe_trainer_add_text(tlm_bpe_trainer_t *trainer, const void *text,
                                              size_t size);

/** The same for a file. A file over 16 MiB is mapped and must not be truncated meanwhile
 *  (docs/files.md); pages that have been read are dropped from the process's memory.
 *  TLM_ERR_NOT_FOUND or TLM_ERR_IO if it cannot be read. @since 0.1 */
TLM_API tlm_status_t tlm_bpe_trainer_add_file(tlm_bpe_trainer_t *trainer, const char *path);

/** Adds a piece of one long text, cut anywhere, even inside a character or special token. The
 *  result is that of tlm_bpe_trainer_add_text with the whole text, which ends at
 *  tlm_bpe_trainer_end_text, at train, or when another text is added. On failure the whole text
 *  is dropped. @since 0.1 */
TLM_API tlm_status_t tlm_bpe_trainer_push(tlm_bpe_trainer_t *trainer, const void *chunk,
                                          size_t size);

/** Ends the text that is being pushed, if there is one. On failure the whole text is dropped.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_bpe_trainer_end_text(tlm_bpe_trainer_t *trainer);

/** Learns the merges and makes a new tokenizer, owned by the caller. Each time the pair with the
 *  greatest count is merged; of equal counts, the pair whose byte strings are lexicographically
 *  greater. Stops early, with fewer tokens, when no pair is left. The counts are kept, so you
 *  can add more text and train again. After TLM_ERR_CANCELLED the trainer is as before.
 *  @since 0.1 */
TLM_API tlm_status_t tlm_bpe_trainer_train(tlm_tokenizer_t **out, tlm_bpe_trainer_t *trainer);

/** The bytes of whole texts counted so far, and the number of distinct pretokens in them. Either
 *  output may be NULL. @since 0.1 */
TLM_API tlm_status_t tlm_bpe_trainer_stats(uint64_t *text_bytes, uint64_t *distinct_pretokens,
                                           const tlm_bpe_trainer_t *trainer);

/** What max_distinct_pretokens has cost so far: the number of pretokens dropped (one may come
 *  back and be dropped again) and how often they had occurred. Either output may be NULL. At the
 *  end of each text the most frequent pretokens are kept, of equal counts those whose bytes are
 *  lexicographically greater, so the result does not depend on threads or on how the text was
 *  cut. @since 0.2 */
TLM_API tlm_status_t tlm_bpe_trainer_dropped(uint64_t *pretokens, uint64_t *occurrences,
                                             const tlm_bpe_trainer_t *trainer);

#ifdef __cplusplus
}
#endif
#endif
