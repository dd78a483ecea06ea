/* Communicators over MPI, by calls that do not block, so that waiting can end: at first it only
 * yields the processor, then it sleeps, since ranks may share one. Knows the library only by its
 * public headers. */
#include "tinylm/mpi.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEFAULT_TIMEOUT 1800.0
#define YIELD_SECONDS   0.002             /* of waiting, before it sleeps */
#define SLEEP_NANOSEC   50000             /* each time */
#define MAX_MESSAGE     ((size_t)1 << 30) /* bytes: MPI counts in int */
#define MAX_REDUCE      ((size_t)1 << 28) /* values */
#define MAX_REQUESTS    2
#define TAG             1

typedef struct engine {
    MPI_Comm comm;
    int rank, num_ranks;
    double timeout;
    pthread_t owner;       /* the thread that created it; the others compute when this one calls */
    int *counts, *offsets; /* (num_ranks) */
} engine_t;

/* ---- Failures --------------------------------------------------------------------------- */

static tlm_status_t fail_mpi(const char *what, int error)
{
    char text[MPI_MAX_ERROR_STRING + 1] = "", message[MPI_MAX_ERROR_STRING + 128];
    int length = 0;

    if (MPI_Error_string(error, text, &length) != MPI_SUCCESS)
        snprintf(text, sizeof(text), "MPI error %d", error);
    snprintf(message, sizeof(message), "%s: %s", what, text);
    return tlm_set_error(TLM_ERR_IO, message);
}

/* ---- Waiting ---------------------------------------------------------------------------- */

static double seconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Gives up requests that did not complete. Those of collective calls cannot be canceled. */
static void drop(MPI_Request *requests, int n, int is_collective)
{
    for (int i = 0; i < n && !is_collective; i++)
        if (requests[i] != MPI_REQUEST_NULL) {
            (void)MPI_Cancel(&requests[i]);
            (void)MPI_Request_free(&requests[i]);
        }
}

/* Waits for at most MAX_REQUESTS. Beside a thread that computes, it sleeps at once. */
static tlm_status_t wait_for(engine_t *engine, const char *what, MPI_Request *requests, int n,
                             int is_collective)
{
    const double begin = seconds();
    const double yields = pthread_equal(pthread_self(), engine->owner) ? YIELD_SECONDS : 0.0;
    const struct timespec pause = {0, SLEEP_NANOSEC};
    MPI_Status statuses[MAX_REQUESTS]; /* unread, but MPICH's constant for none alarms compilers */

    for (;;) {
        int done = 0;
        int error = MPI_Testall(n, requests, &done, statuses);
        if (error != MPI_SUCCESS)
            return fail_mpi(what, error);
        if (done)
            return TLM_OK;
        double waited = seconds() - begin;
        if (waited > engine->timeout) {
            drop(requests, n, is_collective);
            char message[160];
            snprintf(message, sizeof(message), "%s: no answer within %ld seconds", what,
                     (long)engine->timeout);
            return tlm_set_error(TLM_ERR_IO, message);
        }
        if (waited < yields)
            (void)sched_yield();
        else
            (void)nanosleep(&pause, NULL);
    }
}

static tlm_status_t finish(engine_t *engine, const char *what, int error, MPI_Request *request)
{
    if (error != MPI_SUCCESS)
        return fail_mpi(what, error);
    return wait_for(engine, what, request, 1, 1);
}

/* ---- The callbacks ---------------------------------------------------------------------- */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Sends and receives one message each way; TLM_NO_RANK has none. */
static tlm_status_t exchange_message(engine_t *engine, const char *what, const void *send,
                                     size_t send_bytes, int32_t to, void *receive,
                                     size_t receive_bytes, int32_t from)
{
    MPI_Request requests[2] = {MPI_REQUEST_NULL, MPI_REQUEST_NULL};

    if (from != TLM_NO_RANK) {
        int error =
            MPI_Irecv(receive, (int)receive_bytes, MPI_BYTE, from, TAG, engine->comm, &requests[0]);
        if (error != MPI_SUCCESS)
            return fail_mpi(what, error);
    }
    if (to != TLM_NO_RANK) {
        int error = MPI_Isend(send, (int)send_bytes, MPI_BYTE, to, TAG, engine->comm, &requests[1]);
        if (error != MPI_SUCCESS) {
            drop(requests, 2, 0);
            return fail_mpi(what, error);
        }
    }
    return wait_for(engine, what, requests, 2, 0);
}

static tlm_status_t exchange(void *user, void *receive, size_t receive_bytes, int32_t from,
                             const void *send, size_t send_bytes, int32_t to)
{
    engine_t *engine = user;
    char what[96];
    tlm_status_t status = TLM_OK;

    if (from == TLM_NO_RANK)
        snprintf(what, sizeof(what), "sending %zu bytes to rank %d", send_bytes, (int)to);
    else if (to == TLM_NO_RANK)
        snprintf(what, sizeof(what), "receiving %zu bytes from rank %d", receive_bytes, (int)from);
    else
        snprintf(what, sizeof(what), "exchanging %zu bytes with rank %d and %zu with rank %d",
                 send_bytes, (int)to, receive_bytes, (int)from);
    while (status == TLM_OK && (to != TLM_NO_RANK || from != TLM_NO_RANK)) {
        size_t sent = smaller(send_bytes, MAX_MESSAGE), taken = smaller(receive_bytes, MAX_MESSAGE);

        status = exchange_message(engine, what, send, sent, to, receive, taken, from);
        send = (const char *)send + sent;
        receive = (char *)receive + taken;
        send_bytes -= sent;
        receive_bytes -= taken;
        if (send_bytes == 0)
            to = TLM_NO_RANK;
        if (receive_bytes == 0)
            from = TLM_NO_RANK;
    }
    return status;
}

static tlm_status_t broadcast(void *user, void *data, size_t bytes, int32_t root)
{
    engine_t *engine = user;
    tlm_status_t status = TLM_OK;

    while (bytes > 0 && status == TLM_OK) {
        size_t n = smaller(bytes, MAX_MESSAGE);
        MPI_Request request = MPI_REQUEST_NULL;
        int error = MPI_Ibcast(data, (int)n, MPI_BYTE, root, engine->comm, &request);

        status = finish(engine, "broadcasting", error, &request);
        data = (char *)data + n;
        bytes -= n;
    }
    return status;
}

/* More bytes than MPI can count in one call: each rank broadcasts its own. */
static tlm_status_t gather_in_turn(engine_t *engine, const void *send, char *receive,
                                   const size_t *bytes)
{
    tlm_status_t status = TLM_OK;

    for (int rank = 0; rank < engine->num_ranks && status == TLM_OK; rank++) {
        if (rank == engine->rank && bytes[rank] > 0 && receive != send)
            memmove(receive, send, bytes[rank]);
        status = broadcast(engine, receive, bytes[rank], rank);
        receive += bytes[rank];
    }
    return status;
}

static tlm_status_t all_gather(void *user, void *receive, const void *send, const size_t *bytes)
{
    engine_t *engine = user;
    size_t sum = 0;

    for (int i = 0; i < engine->num_ranks; i++) {
        if (bytes[i] > (size_t)INT_MAX - sum)
            return gather_in_turn(engine, send, receive, bytes);
        engine->counts[i] = (int)bytes[i];
        engine->offsets[i] = (int)sum;
        sum += bytes[i];
    }
    const int in_place = send == (char *)receive + engine->offsets[engine->rank];
    MPI_Request request = MPI_REQUEST_NULL;
    int error =
        MPI_Iallgatherv(in_place ? MPI_IN_PLACE : send, engine->counts[engine->rank], MPI_BYTE,
                        receive, engine->counts, engine->offsets, MPI_BYTE, engine->comm, &request);

    return finish(engine, "gathering from all ranks", error, &request);
}

static tlm_status_t all_reduce(void *user, float *values, size_t n)
{
    engine_t *engine = user;
    tlm_status_t status = TLM_OK;

    for (size_t first = 0; first < n && status == TLM_OK; first += MAX_REDUCE) {
        MPI_Request request = MPI_REQUEST_NULL;
        int error =
            MPI_Iallreduce(MPI_IN_PLACE, values + first, (int)smaller(n - first, MAX_REDUCE),
                           MPI_FLOAT, MPI_SUM, engine->comm, &request);

        status = finish(engine, "summing over all ranks", error, &request);
    }
    return status;
}

static int is_running(void)
{
    int begun = 0, ended = 0;

    (void)MPI_Initialized(&begun);
    (void)MPI_Finalized(&ended);
    return begun && !ended;
}

static void release(void *user)
{
    engine_t *engine = user;

    if (engine->comm != MPI_COMM_NULL && is_running())
        (void)MPI_Comm_free(&engine->comm);
    free(engine->counts);
    free(engine->offsets);
    free(engine);
}

/* ---- Creating --------------------------------------------------------------------------- */

static tlm_status_t check_arguments(tlm_communicator_t **out, MPI_Comm comm, double timeout)
{
    int is_inter = 0;

    if (out == NULL)
        return tlm_set_error(TLM_ERR_INVALID_ARGUMENT, "communicator_create_mpi: out is NULL");
    if (!is_running())
        return tlm_set_error(TLM_ERR_STATE,
                             "communicator_create_mpi: MPI is not initialized, or has ended");
    if (comm == MPI_COMM_NULL)
        return tlm_set_error(TLM_ERR_INVALID_ARGUMENT,
                             "communicator_create_mpi: comm is MPI_COMM_NULL");
    if (!(timeout >= 0.0))
        return tlm_set_error(TLM_ERR_INVALID_ARGUMENT,
                             "communicator_create_mpi: timeout_seconds is negative or NaN");
    int error = MPI_Comm_test_inter(comm, &is_inter);
    if (error != MPI_SUCCESS)
        return fail_mpi("communicator_create_mpi", error);
    if (is_inter)
        return tlm_set_error(TLM_ERR_INVALID_ARGUMENT,
                             "communicator_create_mpi: comm is an intercommunicator");
    return TLM_OK;
}

/* A duplicate whose failures return a code, whatever the caller's do. */
static tlm_status_t engine_init(engine_t *engine, MPI_Comm comm, double timeout)
{
    int error = MPI_Comm_dup(comm, &engine->comm);

    if (error == MPI_SUCCESS)
        error = MPI_Comm_set_errhandler(engine->comm, MPI_ERRORS_RETURN);
    if (error == MPI_SUCCESS)
        error = MPI_Comm_rank(engine->comm, &engine->rank);
    if (error == MPI_SUCCESS)
        error = MPI_Comm_size(engine->comm, &engine->num_ranks);
    if (error != MPI_SUCCESS)
        return fail_mpi("communicator_create_mpi", error);
    engine->timeout = timeout == 0.0 ? DEFAULT_TIMEOUT : timeout;
    engine->owner = pthread_self();
    engine->counts = calloc((size_t)engine->num_ranks, sizeof(int));
    engine->offsets = calloc((size_t)engine->num_ranks, sizeof(int));
    if (engine->counts == NULL || engine->offsets == NULL)
        return tlm_set_error(TLM_ERR_OUT_OF_MEMORY,
                             "communicator_create_mpi: out of memory for the sizes of messages");
    return TLM_OK;
}

tlm_status_t tlm_communicator_create_mpi(tlm_communicator_t **out, MPI_Comm comm,
                                         double timeout_seconds)
{
    tlm_status_t status = check_arguments(out, comm, timeout_seconds);

    if (status != TLM_OK)
        return status;
    engine_t *engine = calloc(1, sizeof(*engine));
    if (engine == NULL)
        return tlm_set_error(TLM_ERR_OUT_OF_MEMORY,
                             "communicator_create_mpi: out of memory for a communicator");
    engine->comm = MPI_COMM_NULL;
    int level = MPI_THREAD_SINGLE;
    tlm_communicator_options_t options = TLM_COMMUNICATOR_OPTIONS_INIT;
    status = engine_init(engine, comm, timeout_seconds);
    if (status == TLM_OK) {
        options.rank = engine->rank;
        options.num_ranks = engine->num_ranks;
        options.user = engine;
        options.exchange = exchange;
        options.all_gather = all_gather;
        options.broadcast = broadcast;
        options.all_reduce = all_reduce;
        options.release = release;
        options.any_thread =
            MPI_Query_thread(&level) == MPI_SUCCESS && level >= MPI_THREAD_SERIALIZED;
        status = tlm_communicator_create(out, &options);
    }
    if (status != TLM_OK)
        release(engine);
    return status;
}
