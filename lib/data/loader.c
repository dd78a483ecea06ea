/* Produces batches in sequence, on the calling thread or in advance on the loader's own thread.
 *
 * The slots form a ring and hold one batch each: batch n is in slot n % num_slots. The caller holds
 * the batch before `position`. The thread makes the batches from `position` on and fills at most
 * the other slots, so the two never use the same slot. */
#include "data/data_core.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"

enum { MAX_PREFETCH = 1024 };

struct tlm_loader {
    const tlm_dataset_t *dataset;
    tlmi_window_order_t order;
    size_t batch_size, context;
    size_t num_slots;
    uint32_t *slots;   /* (num_slots, inputs and targets, batch_size, context) */
    uint64_t end;      /* number of batches before row numbers overflow */
    uint64_t position; /* of the batch to return next */

    pid_t owner; /* process in which the thread runs; 0: no thread */
    pthread_t thread;
    pthread_mutex_t lock;   /* guards the fields below, and `position` while a thread runs */
    pthread_cond_t changed; /* at most one side waits, for a batch or for a slot */
    uint64_t made;          /* batches position .. made-1 are in their slots */
    uint64_t seeks;         /* number of seeks; a batch begun before a seek is dropped */
    bool failed;            /* batch `made` could not be read; the thread waits */
    bool stopping;
};

/* ---- Making batches --------------------------------------------------------------------- */

static uint32_t *slot_inputs(const tlm_loader_t *loader, uint64_t batch)
{
    size_t slot = (size_t)(batch % loader->num_slots);

    return loader->slots + slot * 2 * loader->batch_size * loader->context;
}

static uint32_t *slot_targets(const tlm_loader_t *loader, uint64_t batch)
{
    return slot_inputs(loader, batch) + loader->batch_size * loader->context;
}

/* Every window lies within the data, so this fails only if the data file was truncated. */
static tlm_status_t make_batch(const tlm_loader_t *loader, uint64_t batch)
{
    uint32_t *inputs = slot_inputs(loader, batch), *targets = slot_targets(loader, batch);
    size_t context = loader->context;

    for (size_t i = 0; i < loader->batch_size; i++) {
        uint64_t start = tlmi_window_start(&loader->order, batch * loader->batch_size + i);

        TLMI_TRY(tlm_dataset_read(inputs + i * context, context, loader->dataset, start));
        TLMI_TRY(tlm_dataset_read(targets + i * context, context, loader->dataset, start + 1));
    }
    return TLM_OK;
}

/* ---- The thread ------------------------------------------------------------------------- */

static void *make_batches_ahead(void *argument)
{
    tlm_loader_t *loader = argument;

    pthread_mutex_lock(&loader->lock);
    while (!loader->stopping) {
        uint64_t batch = loader->made, seeks = loader->seeks;

        if (loader->failed || batch - loader->position == loader->num_slots - 1) {
            pthread_cond_wait(&loader->changed, &loader->lock);
            continue;
        }
        pthread_mutex_unlock(&loader->lock);
        bool failed = make_batch(loader, batch) != TLM_OK;
        pthread_mutex_lock(&loader->lock);
        if (seeks == loader->seeks) {
            loader->failed = failed;
            loader->made = failed ? batch : batch + 1;
            pthread_cond_signal(&loader->changed);
        }
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

static void init_thread(tlm_loader_t *loader)
{
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->changed, NULL);
    loader->owner = 0;
}

/* Returns whether this process has a thread that makes batches in advance, and starts one if
 * needed. After a fork, the child has none of the parent's threads and cannot rely on the state
 * they left, so it starts over. The thread blocks all signals, so that the program's own threads
 * handle them. */
static bool has_thread(tlm_loader_t *loader)
{
    if (loader->num_slots == 1)
        return false;
    if (loader->owner == getpid())
        return true;
    init_thread(loader);
    loader->made = loader->position;
    loader->failed = false;
    sigset_t all;
    sigfillset(&all);
    sigset_t old;
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bool started = pthread_create(&loader->thread, NULL, make_batches_ahead, loader) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (started)
        loader->owner = getpid();
    return started;
}

static void end_thread(tlm_loader_t *loader)
{
    if (loader->owner != getpid())
        return;
    pthread_mutex_lock(&loader->lock);
    loader->stopping = true;
    pthread_cond_signal(&loader->changed);
    pthread_mutex_unlock(&loader->lock);
    pthread_join(loader->thread, NULL);
    pthread_cond_destroy(&loader->changed);
    pthread_mutex_destroy(&loader->lock);
}

/* ---- The handle ------------------------------------------------------------------------- */

static tlm_status_t check_options(const tlm_loader_options_t *options, uint64_t length)
{
    if (options->batch_size <= 0 || options->context_length <= 0)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "loader_create: batch_size %" PRId64 " and context_length %" PRId64
                         " must be positive",
                         options->batch_size, options->context_length);
    if (options->order < TLM_ORDER_RANDOM || options->order > TLM_ORDER_SEQUENTIAL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "loader_create: order %" PRId32
                         "; it is 0 (random), 1 (shuffled) or 2 (sequential)",
                         options->order);
    if (options->prefetch < 0 || options->prefetch > MAX_PREFETCH)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "loader_create: prefetch %" PRId32 " is not in 0 .. %d", options->prefetch,
                         MAX_PREFETCH);
    if (length <= (uint64_t)options->context_length)
        return tlmi_fail(TLM_ERR_RANGE,
                         "loader_create: %" PRIu64 " ids are too few for a context of %" PRId64
                         "; at least %" PRIu64 " are needed",
                         length, options->context_length, (uint64_t)options->context_length + 1);
    return TLM_OK;
}

tlm_status_t tlm_loader_create(tlm_loader_t **out, const tlm_dataset_t *dataset,
                               const tlm_loader_options_t *options)
{
    tlm_loader_options_t known = TLM_LOADER_OPTIONS_INIT;

    TLMI_REQUIRE("loader_create", out);
    TLMI_REQUIRE("loader_create", dataset);
    TLMI_TRY(tlmi_options_read("loader_create", &known, TLMI_LOADER_OPTIONS, options));
    TLMI_TRY(check_options(&known, tlm_dataset_length(dataset)));
    size_t ids;
    if (!tlmi_mul_size(&ids, (size_t)known.batch_size, (size_t)known.context_length) ||
        !tlmi_mul_size(&ids, ids, 2 * ((size_t)known.prefetch + 1)))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "loader_create: batches of (%" PRId64 ", %" PRId64 ") are too large",
                         known.batch_size, known.context_length);
    tlm_loader_t *loader = tlmi_calloc(1, sizeof(*loader), "a loader");
    if (loader == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    loader->dataset = dataset;
    loader->batch_size = (size_t)known.batch_size;
    loader->context = (size_t)known.context_length;
    loader->num_slots = (size_t)known.prefetch + 1;
    loader->end = INT64_MAX / (uint64_t)known.batch_size;
    tlm_status_t status;
    TLMI_TRY_OR(fail, tlmi_window_order_create(&loader->order, dataset, &known));
    status = TLM_ERR_OUT_OF_MEMORY;
    loader->slots = tlmi_alloc(ids, sizeof(*loader->slots), "the batches of a loader");
    if (loader->slots == NULL)
        goto fail;
    *out = loader;
    return TLM_OK;
fail:
    tlm_loader_free(loader);
    return status;
}

void tlm_loader_free(tlm_loader_t *loader)
{
    if (loader == NULL)
        return;
    end_thread(loader);
    tlmi_window_order_free(&loader->order);
    tlmi_free(loader->slots);
    tlmi_free(loader);
}

void tlmi_loader_shape(int64_t *batch_size, int64_t *context, const tlm_loader_t *loader)
{
    *batch_size = (int64_t)loader->batch_size;
    *context = (int64_t)loader->context;
}

/* Waits for the thread's next batch. If the thread could not make it, this thread tries again, so
 * that the error message is set on the caller's thread. */
static tlm_status_t take_batch(tlm_loader_t *loader, uint64_t batch)
{
    tlm_status_t status = TLM_OK;

    pthread_mutex_lock(&loader->lock);
    while (loader->made == batch && !loader->failed)
        pthread_cond_wait(&loader->changed, &loader->lock);
    if (loader->made == batch) { /* the thread is waiting, so its slot is free to use */
        status = make_batch(loader, batch);
        if (status == TLM_OK)
            loader->made = batch + 1;
    }
    if (status == TLM_OK) {
        loader->failed = loader->failed && loader->made > batch + 1;
        loader->position = batch + 1;
        pthread_cond_signal(&loader->changed);
    }
    pthread_mutex_unlock(&loader->lock);
    return status;
}

tlm_status_t tlm_loader_next(const uint32_t **inputs, const uint32_t **targets,
                             tlm_loader_t *loader)
{
    TLMI_REQUIRE("loader_next", inputs);
    TLMI_REQUIRE("loader_next", targets);
    TLMI_REQUIRE("loader_next", loader);
    uint64_t batch = loader->position;
    if (batch >= loader->end)
        return tlmi_fail(TLM_ERR_RANGE, "loader_next: batch %" PRIu64 " is past the last one",
                         batch);
    if (has_thread(loader)) {
        TLMI_TRY(take_batch(loader, batch));
    } else {
        TLMI_TRY(make_batch(loader, batch));
        loader->position = batch + 1;
    }
    *inputs = slot_inputs(loader, batch);
    *targets = slot_targets(loader, batch);
    return TLM_OK;
}

tlm_status_t tlm_loader_seek(tlm_loader_t *loader, uint64_t batch)
{
    TLMI_REQUIRE("loader_seek", loader);
    if (batch >= loader->end)
        return tlmi_fail(TLM_ERR_RANGE, "loader_seek: batch %" PRIu64 " is past the last one",
                         batch);
    bool threaded = loader->owner == getpid();
    if (threaded)
        pthread_mutex_lock(&loader->lock);
    loader->position = loader->made = batch;
    loader->seeks++;
    loader->failed = false;
    if (threaded) {
        pthread_cond_signal(&loader->changed);
        pthread_mutex_unlock(&loader->lock);
    }
    return TLM_OK;
}

uint64_t tlm_loader_position(const tlm_loader_t *loader)
{
    return loader == NULL ? 0 : loader->position;
}

uint64_t tlm_loader_windows_per_epoch(const tlm_loader_t *loader)
{
    return loader == NULL ? 0 : loader->order.num_windows;
}

uint64_t tlm_loader_batches_per_epoch(const tlm_loader_t *loader)
{
    return loader == NULL ? 0 : (loader->order.num_windows - 1) / loader->batch_size + 1;
}
