/* Sums of gradients over the ranks while backward runs: as soon as the last micro-batch of a rank has
 * completed the gradients of a chunk, a thread exchanges them. Chunks come in the order of backward,
 * the same on all ranks, so a rank may be ahead of another one, or have no such thread. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/platform.h"
#include "base/process.h"
#include "train/division.h"

struct tlmi_gradient_sums {
    tlmi_division_t *division;         /* borrowed */
    const tlmi_kept_gradients_t *kept; /* to add to what the last micro-batch completes */
    size_t *left;                      /* (num_chunks), gradients that are not final */
    size_t found;                      /* the parameter that was final last */
    pthread_mutex_t lock;              /* guards the next two */
    size_t num_ready;                  /* chunks that may be exchanged */
    bool is_over;                      /* no more will be ready */
    pthread_cond_t changed;
    pthread_t thread;
    bool has_thread;
    size_t num_done; /* this and what follows is the thread's while there is one */
    bool is_off;     /* some rank has failed */
    tlm_status_t status;
    double seconds; /* that the thread has spent in the communicator */
    char message[512];
};

tlm_status_t tlmi_gradient_sums_create(tlmi_gradient_sums_t **out, tlmi_division_t *division)
{
    const char *const what = "the sums of gradients";
    tlmi_gradient_sums_t *sums = tlmi_calloc(1, sizeof(*sums), what);

    if (sums == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    sums->left = tlmi_calloc(division->num_chunks, sizeof(*sums->left), what);
    if (sums->left == NULL) {
        tlmi_free(sums);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    sums->division = division;
    pthread_mutex_init(&sums->lock, NULL);
    pthread_cond_init(&sums->changed, NULL);
    *out = sums;
    return TLM_OK;
}

void tlmi_gradient_sums_free(tlmi_gradient_sums_t *sums)
{
    if (sums == NULL)
        return;
    pthread_cond_destroy(&sums->changed);
    pthread_mutex_destroy(&sums->lock);
    tlmi_free(sums->left);
    tlmi_free(sums);
}

/* ---- The thread ------------------------------------------------------------------------- */

/* Exchanges one chunk; false if it was the last one to try. */
static bool sum_next(tlmi_gradient_sums_t *sums)
{
    tlm_communicator_t *communicator = sums->division->communicator;
    const double before = tlm_communicator_seconds(communicator);

    sums->status = tlmi_division_sum_chunk(&sums->is_off, sums->division, sums->num_done, TLM_OK);
    sums->seconds += tlm_communicator_seconds(communicator) - before;
    if (sums->status != TLM_OK) /* messages are the thread's own */
        snprintf(sums->message, sizeof(sums->message), "%s", tlm_error_message());
    sums->num_done++;
    return sums->status == TLM_OK && !sums->is_off;
}

static void *run(void *argument)
{
    tlmi_gradient_sums_t *sums = argument;
    bool goes_on = true;

    while (goes_on) {
        pthread_mutex_lock(&sums->lock);
        while (sums->num_done == sums->num_ready && !sums->is_over)
            pthread_cond_wait(&sums->changed, &sums->lock);
        goes_on = sums->num_done < sums->num_ready;
        pthread_mutex_unlock(&sums->lock);
        goes_on = goes_on && sum_next(sums);
    }
    return NULL;
}

/* Without a thread, for want of one, all is exchanged after backward. */
static void start_thread(tlmi_gradient_sums_t *sums)
{
    sums->has_thread = tlmi_platform_start_thread(&sums->thread, run, sums);
}

/* ---- During backward -------------------------------------------------------------------- */

/* The place of a leaf in the row, or n: close before the last one, most of the time. */
static size_t place_of(const tlmi_gradient_sums_t *sums, const tlm_tensor_t *leaf)
{
    const size_t n = sums->division->n;

    for (size_t i = 0; i < n; i++) {
        const size_t place = (sums->found + n - i) % n;

        if (sums->division->tensors[place] == leaf)
            return place;
    }
    return n;
}

/* Completes a gradient; with the last one of a chunk, hands that to the thread. The last chunk waits
 * for the end of backward, so that a rank that fails can still tell the others. */
static void complete(void *user, tlm_tensor_t *leaf)
{
    tlmi_gradient_sums_t *sums = user;
    const tlmi_division_t *division = sums->division;
    const size_t place = place_of(sums, leaf);
    size_t ready = sums->num_ready; /* only this thread changes it */

    if (place == division->n) /* it is not trained */
        return;
    sums->found = place;
    tlmi_add_kept_gradients(leaf, place, sums->kept);
    sums->left[division->chunk_of[place]]--;
    while (ready + 1 < division->num_chunks && sums->left[ready] == 0)
        ready++;
    if (ready == sums->num_ready)
        return;
    pthread_mutex_lock(&sums->lock);
    sums->num_ready = ready;
    pthread_cond_signal(&sums->changed);
    pthread_mutex_unlock(&sums->lock);
    if (!sums->has_thread && division->communicator->engine.any_thread)
        start_thread(sums);
}

void tlmi_gradient_sums_watch(tlmi_leaf_watch_t *watch, tlmi_gradient_sums_t *sums,
                              const tlmi_kept_gradients_t *kept)
{
    const tlmi_division_t *division = sums->division;

    sums->kept = kept;
    for (size_t chunk = 0; chunk < division->num_chunks; chunk++)
        sums->left[chunk] = division->ends[chunk] - division->ends[chunk + 1];
    *watch = (tlmi_leaf_watch_t){complete, sums};
}

/* ---- After backward --------------------------------------------------------------------- */

/* Waits until the thread has exchanged what is ready. Returns the seconds that it spent in the
 * communicator before. */
static double end_thread(tlmi_gradient_sums_t *sums)
{
    const double begin = tlmi_seconds();

    if (!sums->has_thread)
        return 0.0;
    pthread_mutex_lock(&sums->lock);
    sums->is_over = true;
    pthread_cond_signal(&sums->changed);
    pthread_mutex_unlock(&sums->lock);
    pthread_join(sums->thread, NULL);
    const double before = sums->seconds - (tlmi_seconds() - begin);
    return before > 0.0 ? before : 0.0;
}

/* Sums the chunks that are left. */
static tlm_status_t sum_rest(tlmi_gradient_sums_t *sums, tlm_status_t status)
{
    tlmi_division_t *division = sums->division;

    if (sums->status != TLM_OK) /* the others know, unless it is the engine */
        return status != TLM_OK ? status : tlmi_fail(sums->status, "%s", sums->message);
    while (sums->num_done < division->num_chunks && !sums->is_off)
        TLMI_TRY(tlmi_division_sum_chunk(&sums->is_off, division, sums->num_done++, status));
    return sums->is_off ? tlmi_agree(division->communicator, "trainer_step", status) : TLM_OK;
}

tlm_status_t tlmi_gradient_sums_end(double *overlap, tlmi_gradient_sums_t *sums,
                                    tlm_status_t status)
{
    *overlap = end_thread(sums);
    status = sum_rest(sums, status);
    sums->num_ready = sums->num_done = sums->found = 0;
    sums->is_over = sums->is_off = sums->has_thread = false;
    sums->status = TLM_OK;
    sums->seconds = 0.0;
    sums->kept = NULL;
    return status;
}
