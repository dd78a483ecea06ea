/* Learning merges from pretoken counts. */
#ifndef TLMI_BPE_LEARN_H
#define TLMI_BPE_LEARN_H

#include "merge_table.h"
#include "pretoken_counts.h"
#include "vocabulary.h"

/* Extends a vocabulary, in which the bytes are ids first_byte .. first_byte + 255, to vocab_size
 * tokens at most: each time the pair of neighbours with the greatest count is merged, of equal ones
 * the pair whose left bytes, then right bytes, are lexicographically greatest. Stops early when no
 * pair reaches min_count (> 0). *merges is owned by the caller (tlmi_free), also on failure. */
tlm_status_t tlmi_bpe_learn(tlmi_merge_t **merges, size_t *num_merges,
                            tlmi_vocabulary_t *vocabulary, uint32_t first_byte,
                            const tlmi_pretoken_counts_t *counts, uint32_t vocab_size,
                            uint64_t min_count);

#endif
