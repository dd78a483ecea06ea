/* Data sets and loaders from within. */
#ifndef TLMI_DATA_CORE_H
#define TLMI_DATA_CORE_H

#include "tinylm/data.h"

/* Which element type and container a token file has: shared by its reader and its writer. */

bool tlmi_path_ends_with(const char *path, const char *suffix);

/* Bytes of a token by token_type, and by the names *.u16 and *.u32 where that is TLM_TOKENS_AUTO;
 * *item_size is 0 if neither says. Only a token_type that does not exist is an error. */
tlm_status_t tlmi_token_item_size(int32_t *item_size, const char *function, const char *path,
                                  int32_t token_type);

/* Rows of training batches by number: each is a window of the data, context ids and the one that
 * follows. Where row n begins is a pure function of (data, options, n). */

typedef struct tlmi_window_order {
    int32_t order; /* TLM_ORDER_... */
    uint64_t seed;
    uint64_t context;
    uint64_t num_starts;  /* places that TLM_ORDER_RANDOM draws from */
    uint64_t num_windows; /* in an epoch */
    uint64_t *starts;     /* of the windows where they begin at documents; else NULL */
} tlmi_window_order_t;

/* Of options that have been checked, and data longer than context; freed with the function below. */
tlm_status_t tlmi_window_order_create(tlmi_window_order_t *out, const tlm_dataset_t *dataset,
                                      const tlm_loader_options_t *options);
void tlmi_window_order_free(tlmi_window_order_t *order);

/* The place of the first id of row `row`; the window lies within the data. */
uint64_t tlmi_window_start(const tlmi_window_order_t *order, uint64_t row);

/* What a loader's batches are like. */

/* Rows of a batch and ids of a row. */
void tlmi_loader_shape(int64_t *batch_size, int64_t *context, const tlm_loader_t *loader);

#endif
