/* What a train step holds of memory, told without running one. */
#ifndef TLMI_STEP_MEMORY_H
#define TLMI_STEP_MEMORY_H

#include "model_core.h"

typedef struct tlmi_step_memory {
    size_t activations; /* bytes that the forward pass leaves for backward */
    size_t live, peak;  /* most in use; most held of the system */
} tlmi_step_memory_t;

/* Of steps of (batch, time) tokens. The sizes are checked: no sum overflows. */
tlm_status_t tlmi_step_memory(tlmi_step_memory_t *out, const tlm_model_options_t *options,
                              const tlmi_model_shape_t *shape, int64_t batch, int64_t time,
                              bool checkpointing, size_t optimizer_bytes);

#endif
