/* libtinylm: train and run small language models on CPUs. This header includes all the others. */
#ifndef TINYLM_TINYLM_H
#define TINYLM_TINYLM_H

#include "version.h"
#include "status.h"
#include "options.h"
#include "runtime.h"
#include "communicator.h"
#include "tokenizer.h"
#include "encode.h"
#include "chat.h"
#include "bpe_trainer.h"
#include "tokenizer_files.h"
#include "tensor.h"
#include "custom_op.h"
#include "nn.h"
#include "model.h"
#include "adapter.h"
#include "model_info.h"
#include "generate.h"
#include "optim.h"
#include "data.h"
#include "checkpoint.h"
#include "train.h"
#include "model_files.h"

/* Short names of the five main handles. */
#ifndef TLM_NO_SHORT_NAMES
typedef tlm_bpe_trainer_t bpe_trainer_t;
typedef tlm_tokenizer_t tokenizer_t;
typedef tlm_tensor_t tensor_t;
typedef tlm_model_t model_t;
typedef tlm_optimizer_t optimizer_t;
#endif

#endif
