/* Windows of the data in the orders that tlm_loader_options_t offers. The order of an epoch is a
 * bijection that is computed on demand, so memory use does not grow with the data. The exception is
 * the list of window starts that is stored when windows align with documents.
 *
 * Those starts are chosen so that a model sees each document from its beginning. If a window cuts a
 * document off, the next window begins with that document, so only a document longer than a window
 * is read in pieces. Two consecutive windows together advance by at least one window length, so no
 * id is read much more than twice. */
#include "data/data_core.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/rng.h"

enum { READ_SIZE = 4096 };

/* The state of the single pass over the data that finds the windows. */
typedef struct window_search {
    uint64_t *starts;
    size_t count, capacity;
    uint64_t window;   /* start of the current window */
    uint64_t document; /* start of the current document */
} window_search_t;

/* Ends the window whose last id is just before `position`. The next window begins with the document
 * that this one ends in, or at `position` if that document did not begin inside this window. */
static tlm_status_t end_window(window_search_t *search, uint64_t position)
{
    if (!tlmi_grow(&search->starts, &search->capacity, search->count + 1, sizeof(*search->starts),
                   "the windows of a loader"))
        return TLM_ERR_OUT_OF_MEMORY;
    search->starts[search->count++] = search->window;
    search->window = search->document > search->window ? search->document : position;
    return TLM_OK;
}

static tlm_status_t find_windows(window_search_t *search, const tlm_dataset_t *dataset,
                                 uint64_t context, uint32_t document_end)
{
    uint64_t length = tlm_dataset_length(dataset);
    uint32_t ids[READ_SIZE];

    for (uint64_t offset = 0; offset < length;) {
        size_t n = length - offset < READ_SIZE ? (size_t)(length - offset) : READ_SIZE;

        TLMI_TRY(tlm_dataset_read(ids, n, dataset, offset));
        for (size_t i = 0; i < n; i++) {
            uint64_t position = offset + i;

            if (position - search->window == context)
                TLMI_TRY(end_window(search, position));
            if (ids[i] == document_end)
                search->document = position + 1;
        }
        offset += n;
    }
    return TLM_OK;
}

tlm_status_t tlmi_window_order_create(tlmi_window_order_t *out, const tlm_dataset_t *dataset,
                                      const tlm_loader_options_t *options)
{
    uint64_t length = tlm_dataset_length(dataset), context = (uint64_t)options->context_length;
    tlmi_window_order_t order = {.order = options->order, .seed = options->seed};
    window_search_t search = {0};

    order.context = context;
    order.document_end = options->has_document_end ? options->document_end : TLMI_NO_DOCUMENT_END;
    order.has_rows = tlmi_dataset_row_length(dataset) != 0;
    order.stride = order.has_rows ? context + 1 : context;
    order.num_windows = order.has_rows ? length / order.stride : (length - 1) / context;
    order.num_starts = order.has_rows ? order.num_windows : length - context;
    if (options->has_document_end) {
        tlm_status_t status = find_windows(&search, dataset, context, options->document_end);

        if (status != TLM_OK) {
            tlmi_free(search.starts);
            return status;
        }
        order.starts = search.starts;
        order.num_starts = order.num_windows = search.count;
    }
    *out = order;
    return TLM_OK;
}

void tlmi_window_order_free(tlmi_window_order_t *order)
{
    tlmi_free(order->starts);
}

uint64_t tlmi_window_start(const tlmi_window_order_t *order, uint64_t row)
{
    uint64_t windows = order->num_windows, index;

    if (order->order == TLM_ORDER_RANDOM) {
        index = tlmi_random_below(order->seed, TLMI_STREAM_BATCH, row, order->num_starts);
        if (order->starts != NULL)
            return order->starts[index];
        return order->has_rows ? index * order->stride : index;
    }
    index = row % windows;
    if (order->order == TLM_ORDER_SHUFFLED)
        index =
            tlmi_random_shuffled(order->seed, TLMI_STREAM_SHUFFLE, row / windows, windows, index);
    return order->starts != NULL ? order->starts[index] : index * order->stride;
}
