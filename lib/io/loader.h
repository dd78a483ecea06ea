/* What a loader's batches are like. */
#ifndef TLMI_LOADER_H
#define TLMI_LOADER_H

#include "tinylm/data.h"

/* Rows of a batch and ids of a row. */
void tlmi_loader_shape(int64_t *batch_size, int64_t *context, const tlm_loader_t *loader);

#endif
