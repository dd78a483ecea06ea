/* From ranks to merges. A rank file (tiktoken's format) orders tokens and names no pairs: of all
 * neighbours whose bytes together are a token, the two that make the token of lowest rank are joined.
 * Merges by pair do the same; rank_merges.c says why. */
#ifndef TLMI_RANK_MERGES_H
#define TLMI_RANK_MERGES_H

#include "merge_table.h"
#include "vocabulary.h"

/* Makes the merges of a vocabulary whose ids are ranks: for each token that can be made by joining, its
 * one pair, in order of ids. byte_ids: those of the 256 one-byte tokens. `leave_out`
 * says by id which tokens have no part in it. */
tlm_status_t tlmi_rank_merges(tlmi_merge_table_t *out, const tlmi_vocabulary_t *vocabulary,
                              const uint32_t byte_ids[256], const bool *leave_out);

#endif
