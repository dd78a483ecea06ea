/* How good is a language model? Its loss on a validation set, and what to hold it against. */
#ifndef EXAMPLES_TRAIN_SUPPORT_H
#define EXAMPLES_TRAIN_SUPPORT_H

#include "tinylm/tinylm.h"

/* Mean loss in nats a token over windows of `context` tokens, spread evenly over the data set, about
 * max_tokens in all (0: the whole set). Rows of a batch are windows. */
double train_validation_loss(tlm_model_t *model, const tlm_dataset_t *valid, int64_t batch,
                             int64_t context, uint64_t max_tokens);

/* Nats a token that the validation set costs a model which knows only how often each token occurs in
 * the training set: -mean log p(token). Counts have 1 added, so that no token is impossible. */
double train_unigram_entropy(const tlm_dataset_t *train, const tlm_dataset_t *valid,
                             uint32_t vocab_size);

#endif
