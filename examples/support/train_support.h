/* Baselines for a language model and its training. */
#ifndef EXAMPLES_TRAIN_SUPPORT_H
#define EXAMPLES_TRAIN_SUPPORT_H

#include "tinylm/tinylm.h"

/* Loss on the validation set, in nats per token, of a model that knows only how often each token occurs
 * in the training set: -mean log p(token). 1 is added to all counts, so that no token is impossible. */
double train_unigram_entropy(const tlm_dataset_t *train, const tlm_dataset_t *valid,
                             uint32_t vocab_size);

/* Floating-point operations per second of large linear layers on all threads, with factors as
 * `products` says (TLM_PRODUCTS_...): the best of several over half a second. *is_disturbed says that
 * other programs used the CPUs meanwhile, so that the rate is about that. */
double train_measure_peak(bool *is_disturbed, int32_t products);

#endif
