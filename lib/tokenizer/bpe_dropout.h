/* BPE dropout (Provilkov et al. 2020): at each step every merge that applies is passed over with a
 * probability of its own, and the best of the others is applied; where none is left, merging ends.
 * Which are passed over is a pure function of the seed and the place of the pretoken. */
#ifndef TLMI_BPE_DROPOUT_H
#define TLMI_BPE_DROPOUT_H

#include "bpe_encode.h"
#include "merge_tree.h"

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
