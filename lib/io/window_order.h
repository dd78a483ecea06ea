/* Rows of training batches by number: each is a window of the data, context ids and the one that
 * follows. Where row n begins is a pure function of (data, options, n). */
#ifndef TLMI_WINDOW_ORDER_H
#define TLMI_WINDOW_ORDER_H

#include "tinylm/data.h"

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

#endif
