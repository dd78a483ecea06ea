/* Fine-tuning in train_lm: the model that a run starts from, what of it is trained, and data that
 * is still text. All functions read `settings`. */
#ifndef EXAMPLES_FINE_TUNE_H
#define EXAMPLES_FINE_TUNE_H

#include "support/cli.h"

/* Opens the model of --init, or the checkpoint `resumed`; of adapters it is their model if --init
 * names it. *tokenizer, which may become NULL, is the one that comes with either. Returns whether the
 * model is new, so that fine_tune_prepare is to follow. */
bool fine_tune_open(tlm_model_t **model, tlm_tokenizer_t **tokenizer,
                    tlm_model_file_options_t *file, const char *resumed);

/* Freezes what --freeze names and adds the adapters of --lora-rank. */
void fine_tune_prepare(tlm_model_t *model);

/* Opens a token file or, where there is a tokenizer, encodes a text or conversations (.jsonl), for
 * which `file` has the tokens around them. */
tlm_dataset_t *fine_tune_data(const char *path, const tlm_model_options_t *shape,
                              const tlm_tokenizer_t *tokenizer,
                              const tlm_model_file_options_t *file);

#endif
