/* The largest models that train, or generate, in a given memory. */
#ifndef EXAMPLES_MODEL_FIT_H
#define EXAMPLES_MODEL_FIT_H

#include "tinylm/tinylm.h"

/* What is done with a model. */
typedef struct fit_use {
    const char *name; /* "train, float32" */
    bool trains;      /* else it generates */
    bool checkpointing;
    int64_t lora_rank; /* 0: all weights are trained */
    int32_t weights;   /* TLM_FLOAT32, ... */
} fit_use_t;

extern const fit_use_t fit_uses[];
enum { NUM_FIT_USES = 8 };

/* A model of these: heads of width 64, and about as many layers as heads, or fewer where it is wide. */
typedef struct fit {
    tlm_model_options_t shape;
    uint64_t parameters, bytes; /* bytes that the use takes; 0 parameters: no model fits */
} fit_t;

/* The largest shape, of the vocabulary and the context of `base` (and its other options), that fits in
 * `memory` bytes with `batch` sequences. */
fit_t fit_largest(const fit_use_t *use, const tlm_model_options_t *base, int64_t batch,
                  int32_t optimizer, uint64_t memory);

/* Parses "8G", "512M", "1.5GiB", or GiB without a unit; false for anything else. */
bool fit_parse_memory(uint64_t *bytes, const char *text);

#endif
