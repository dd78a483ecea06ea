/* What to hold a language model and its training against. */
#ifndef EXAMPLES_TRAIN_SUPPORT_H
#define EXAMPLES_TRAIN_SUPPORT_H

#include "tinylm/tinylm.h"

/* Nats a token that the validation set costs a model which knows only how often each token occurs in
 * the training set: -mean log p(token). Counts have 1 added, so that no token is impossible. */
double train_unigram_entropy(const tlm_dataset_t *train, const tlm_dataset_t *valid,
                             uint32_t vocab_size);

/* Floating-point operations a second that large matrix products reach here, on all threads: the best
 * of a few, some tenths of a second. */
double train_measure_peak(void);

#endif
