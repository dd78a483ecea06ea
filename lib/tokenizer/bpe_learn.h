/* Learning merges from pretoken counts. */
#ifndef TLMI_BPE_LEARN_H
#define TLMI_BPE_LEARN_H

#include "merge_table.h"
#include "pretoken_counts.h"
#include "tinylm/bpe_trainer.h"
#include "vocabulary.h"

/* What is learnt from, and when to stop. */
typedef struct tlmi_bpe_lesson {
    const tlmi_pretoken_counts_t *counts;
    const uint32_t *byte_ids;    /* (256) */
    const tlm_tokenizer_t *base; /* its merges come first and keep their ids; or NULL */
    uint32_t vocab_size;
    uint32_t max_token_length; /* bytes of a product; 0: any */
    uint64_t min_count;        /* of a pair, > 0 */
    tlm_bpe_progress_callback_t progress;
    void *progress_user;
} tlmi_bpe_lesson_t;

/* Extends a vocabulary, which holds all bytes and the base, to vocab_size tokens at most: each time
 * the pair of neighbours with the greatest count is merged, of equal ones the pair whose left bytes,
 * then right bytes, are lexicographically greatest. Stops early when no pair reaches min_count.
 * *merges, the new ones, is owned by the caller (tlmi_free), also on failure. */
tlm_status_t tlmi_bpe_learn(tlmi_merge_t **merges, size_t *num_merges,
                            tlmi_vocabulary_t *vocabulary, const tlmi_bpe_lesson_t *lesson);

#endif
