/* Produces batches in sequence, on the calling thread or in advance on the loader's own thread.
 *
 * The batches that a loader gives are counted from its last seek: its turns. Where ranks share the
 * batches, turns leave out those of others. A batch is a run of rows; a trainer whose batch grows has
 * it follow stages in which batches have fewer rows. The slots form a ring and hold one batch each: turn n is
 * in slot n % num_slots. The caller holds the turn before `position`. The thread makes the turns
 * from `position` on and fills at most the other slots, so the two never use the same slot. */
#include "data/data_core.h"

#include <inttypes.h>
#include <pthread.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/platform.h"

enum { MAX_PREFETCH = 1024 };

struct tlm_loader {
    const tlm_dataset_t *dataset;
    tlmi_window_order_t order;
    size_t batch_size, context;
    size_t num_slots;
    uint32_t *slots;            /* (num_slots, inputs and targets, batch_size, context) */
    uint64_t end;               /* number of batches before row numbers overflow */
    tlmi_batch_stage_t plain;   /* batches of batch_size rows */
    tlmi_batch_stage_t *stages; /* &plain, or the loader's own copy of a trainer's */
    size_t num_stages;
    uint64_t base;       /* the batch of turn 0 */
    uint64_t take, skip; /* after `take` batches, `skip` are left out */
    uint64_t position;   /* the turn to return next */

    pid_t owner; /* process in which the thread runs; 0: no thread */
    pthread_t thread;
    pthread_mutex_t lock;   /* guards the fields below, and `position` while a thread runs */
    pthread_cond_t changed; /* at most one side waits, for a batch or for a slot */
    uint64_t made;          /* turns position .. made-1 are in their slots */
    uint64_t seeks;         /* number of seeks; a batch begun before a seek is dropped */
    bool failed;            /* turn `made` could not be read; the thread waits */
    bool stopping;
};

/* ---- Making batches --------------------------------------------------------------------- */

static uint64_t batch_of(const tlm_loader_t *loader, uint64_t turn)
{
    return loader->base + turn + turn / loader->take * loader->skip;
}

static uint32_t *slot_inputs(const tlm_loader_t *loader, uint64_t turn)
{
    size_t slot = (size_t)(turn % loader->num_slots);

    return loader->slots + slot * 2 * loader->batch_size * loader->context;
}

static uint32_t *slot_targets(const tlm_loader_t *loader, uint64_t turn)
{
    return slot_inputs(loader, turn) + loader->batch_size * loader->context;
}

/* The rows of a batch. */
typedef struct span {
    uint64_t row, rows;
} span_t;

uint64_t tlmi_batch_rows(uint64_t *rows, const tlmi_batch_stage_t *stages, size_t n, uint64_t batch)
{
    size_t low = 0, high = n;

    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;

        if (stages[middle].first <= batch)
            low = middle;
        else
            high = middle;
    }
    *rows = stages[low].rows;
    return stages[low].row + (batch - stages[low].first) * stages[low].rows;
}

static span_t span_of(const tlm_loader_t *loader, uint64_t batch)
{
    span_t span;

    span.row = tlmi_batch_rows(&span.rows, loader->stages, loader->num_stages, batch);
    return span;
}

/* Makes a batch in the slot of turn `turn`. Every window lies within the data, so this fails only if
 * the data file was truncated. */
static tlm_status_t make_batch(const tlm_loader_t *loader, uint64_t turn, span_t span)
{
    uint32_t *inputs = slot_inputs(loader, turn), *targets = slot_targets(loader, turn);
    size_t context = loader->context;

    for (size_t i = 0; i < span.rows; i++) {
        uint64_t start = tlmi_window_start(&loader->order, span.row + i);

        TLMI_TRY(tlm_dataset_read(inputs + i * context, context, loader->dataset, start));
        TLMI_TRY(
            tlmi_dataset_read_targets(targets + i * context, context, loader->dataset, start + 1));
    }
    return TLM_OK;
}

uint64_t tlmi_loader_counted(const tlm_loader_t *loader, uint64_t row, uint64_t rows)
{
    uint64_t counted = 0;

    if (!tlmi_dataset_is_masked(loader->dataset)) /* wherever its windows are */
        return rows * loader->context;
    for (uint64_t i = 0; i < rows; i++)
        counted += tlmi_dataset_counted(
            loader->dataset, tlmi_window_start(&loader->order, row + i) + 1, loader->context);
    return counted;
}

/* ---- The thread ------------------------------------------------------------------------- */

static void *make_batches_ahead(void *argument)
{
    tlm_loader_t *loader = argument;

    pthread_mutex_lock(&loader->lock);
    while (!loader->stopping) {
        uint64_t turn = loader->made, seeks = loader->seeks;
        span_t span = span_of(loader, batch_of(loader, turn));

        if (loader->failed || turn - loader->position == loader->num_slots - 1) {
            pthread_cond_wait(&loader->changed, &loader->lock);
            continue;
        }
        pthread_mutex_unlock(&loader->lock);
        bool failed = make_batch(loader, turn, span) != TLM_OK;
        pthread_mutex_lock(&loader->lock);
        if (seeks == loader->seeks) {
            loader->failed = failed;
            loader->made = failed ? turn : turn + 1;
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
 * they left, so it starts over. */
static bool has_thread(tlm_loader_t *loader)
{
    if (loader->num_slots == 1)
        return false;
    if (loader->owner == getpid())
        return true;
    init_thread(loader);
    loader->made = loader->position;
    loader->failed = false;
    if (!tlmi_platform_start_thread(&loader->thread, make_batches_ahead, loader))
        return false;
    loader->owner = getpid();
    return true;
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

/* ---- Stages ----------------------------------------------------------------------------- */

static void set_stages(tlm_loader_t *loader, tlmi_batch_stage_t *stages, size_t n)
{
    const tlmi_batch_stage_t *last = &stages[n - 1];

    loader->stages = stages;
    loader->num_stages = n;
    loader->end = last->first + (INT64_MAX - last->row) / last->rows;
}

/* Batches of batch_size rows, of which the first begins with row `row`. */
static void leave_stages(tlm_loader_t *loader, uint64_t row)
{
    loader->plain = (tlmi_batch_stage_t){0, row, loader->batch_size};
    set_stages(loader, &loader->plain, 1);
}

static void free_stages(tlm_loader_t *loader)
{
    if (loader->stages != &loader->plain)
        tlmi_free(loader->stages);
}

/* ---- The handle ------------------------------------------------------------------------- */

/* Rows of the data are the rows of batches. */
static tlm_status_t check_rows(const tlm_loader_options_t *options, const tlm_dataset_t *dataset)
{
    const uint64_t row = tlmi_dataset_row_length(dataset);

    if (row != 0 && row != (uint64_t)options->context_length + 1)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "loader_create: the data set has rows of %" PRIu64
                         " ids, so context_length is %" PRIu64 ", not %" PRId64,
                         row, row - 1, options->context_length);
    if (row != 0 && options->has_document_end)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "loader_create: document_end means nothing for a data set with rows");
    return TLM_OK;
}

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
    TLMI_TRY(check_rows(&known, dataset));
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
    loader->take = 1;
    loader->batch_size = (size_t)known.batch_size;
    loader->context = (size_t)known.context_length;
    loader->num_slots = (size_t)known.prefetch + 1;
    leave_stages(loader, 0);
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
    free_stages(loader);
    tlmi_free(loader->slots);
    tlmi_free(loader);
}

void tlmi_loader_shape(int64_t *batch_size, int64_t *context, const tlm_loader_t *loader)
{
    *batch_size = (int64_t)loader->batch_size;
    *context = (int64_t)loader->context;
}

void tlmi_loader_source(tlmi_loader_source_t *out, const tlm_loader_t *loader)
{
    *out = (tlmi_loader_source_t){
        .seed = loader->order.seed,
        .document_end = loader->order.document_end,
        .order = loader->order.order,
        .length = tlm_dataset_length(loader->dataset),
    };
}

/* Waits for the thread's next batch. If the thread could not make it, this thread tries again, so
 * that the error message is set on the caller's thread. */
static tlm_status_t take_batch(tlm_loader_t *loader, uint64_t turn)
{
    tlm_status_t status = TLM_OK;

    pthread_mutex_lock(&loader->lock);
    while (loader->made == turn && !loader->failed)
        pthread_cond_wait(&loader->changed, &loader->lock);
    if (loader->made == turn) { /* the thread is waiting, so its slot is free to use */
        status = make_batch(loader, turn, span_of(loader, batch_of(loader, turn)));
        if (status == TLM_OK)
            loader->made = turn + 1;
    }
    if (status == TLM_OK) {
        loader->failed = loader->failed && loader->made > turn + 1;
        loader->position = turn + 1;
        pthread_cond_signal(&loader->changed);
    }
    pthread_mutex_unlock(&loader->lock);
    return status;
}

tlm_status_t tlmi_loader_next(const uint32_t **inputs, const uint32_t **targets,
                              tlm_loader_t *loader)
{
    uint64_t turn = loader->position, batch = batch_of(loader, turn);

    if (batch >= loader->end)
        return tlmi_fail(TLM_ERR_RANGE, "loader_next: batch %" PRIu64 " is past the last one",
                         batch);
    if (has_thread(loader)) {
        TLMI_TRY(take_batch(loader, turn));
    } else {
        TLMI_TRY(make_batch(loader, turn, span_of(loader, batch)));
        loader->position = turn + 1;
    }
    *inputs = slot_inputs(loader, turn);
    *targets = slot_targets(loader, turn);
    return TLM_OK;
}

/* Where the next batch begins, which a thread does not change. */
static uint64_t next_row(const tlm_loader_t *loader)
{
    return span_of(loader, batch_of(loader, loader->position)).row;
}

/* How a loader goes on: at a batch of some stages, with turns of this kind. No stages: batches of
 * batch_size rows, of which number 0 begins with row `offset`. */
typedef struct course {
    tlmi_batch_stage_t *stages;
    size_t num_stages;
    uint64_t offset, batch, take, skip;
} course_t;

/* Begins anew. */
static void restart(tlm_loader_t *loader, const course_t *course)
{
    bool threaded = loader->owner == getpid();

    if (threaded)
        pthread_mutex_lock(&loader->lock);
    if (course->stages != loader->stages)
        free_stages(loader);
    if (course->stages == NULL)
        leave_stages(loader, course->offset);
    else
        set_stages(loader, course->stages, course->num_stages);
    loader->base = course->batch;
    loader->take = course->take;
    loader->skip = course->skip;
    loader->position = loader->made = 0;
    loader->seeks++;
    loader->failed = false;
    if (threaded) {
        pthread_cond_signal(&loader->changed);
        pthread_mutex_unlock(&loader->lock);
    }
}

/* Goes to a row, with batches of batch_size rows from there on. */
static void go_to_row(tlm_loader_t *loader, uint64_t row)
{
    restart(loader, &(course_t){NULL, 0, row % loader->batch_size, row / loader->batch_size,
                                loader->take, loader->skip});
}

tlm_status_t tlm_loader_next(const uint32_t **inputs, const uint32_t **targets,
                             tlm_loader_t *loader)
{
    TLMI_REQUIRE("loader_next", inputs);
    TLMI_REQUIRE("loader_next", targets);
    TLMI_REQUIRE("loader_next", loader);
    if (loader->stages != &loader->plain)
        go_to_row(loader, next_row(loader));
    return tlmi_loader_next(inputs, targets, loader);
}

tlm_status_t tlm_loader_seek(tlm_loader_t *loader, uint64_t batch)
{
    TLMI_REQUIRE("loader_seek", loader);
    if (batch >= INT64_MAX / loader->batch_size)
        return tlmi_fail(TLM_ERR_RANGE, "loader_seek: batch %" PRIu64 " is past the last one",
                         batch);
    go_to_row(loader, batch * loader->batch_size);
    return TLM_OK;
}

tlm_status_t tlmi_loader_follow(tlm_loader_t *loader, const tlmi_batch_stage_t *stages, size_t n,
                                uint64_t batch)
{
    course_t course = {NULL, n, 0, batch, loader->take, loader->skip};
    uint64_t rows;

    if (n == 1) {
        go_to_row(loader, tlmi_batch_rows(&rows, stages, n, batch));
        return TLM_OK;
    }
    course.stages = tlmi_memdup(stages, n * sizeof(*stages), "the stages of a batch");
    if (course.stages == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    restart(loader, &course);
    return TLM_OK;
}

bool tlmi_loader_is_at(const tlm_loader_t *loader, uint64_t row, uint64_t rows)
{
    const span_t span = span_of(loader, batch_of(loader, loader->position));

    return span.row == row && span.rows == rows;
}

tlm_status_t tlm_loader_set_share(tlm_loader_t *loader, uint64_t take, uint64_t skip)
{
    TLMI_REQUIRE("loader_set_share", loader);
    if (take == 0 || take > INT32_MAX || skip > INT32_MAX)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "loader_set_share: take %" PRIu64 " is not in 1 .. %d, or skip %" PRIu64
                         " is more than that",
                         take, INT32_MAX, skip);
    restart(loader, &(course_t){loader->stages, loader->num_stages, 0,
                                batch_of(loader, loader->position), take, skip});
    return TLM_OK;
}

uint64_t tlm_loader_position(const tlm_loader_t *loader)
{
    return loader == NULL ? 0 : next_row(loader) / loader->batch_size;
}

uint64_t tlm_loader_windows_per_epoch(const tlm_loader_t *loader)
{
    return loader == NULL ? 0 : loader->order.num_windows;
}

uint64_t tlm_loader_batches_per_epoch(const tlm_loader_t *loader)
{
    return loader == NULL ? 0 : (loader->order.num_windows - 1) / loader->batch_size + 1;
}
