/* The trainer's inside, as far as tests set it. */
#ifndef TLMI_BPE_TRAINER_CORE_H
#define TLMI_BPE_TRAINER_CORE_H

#include "tinylm/bpe_trainer.h"

/* Bytes of text a task, instead of the default; any number > 0 gives the same counts. */
void tlmi_bpe_trainer_set_piece_size(tlm_bpe_trainer_t *trainer, size_t size);

#endif
