/* Communicators: checks and bookkeeping around an engine's callbacks, and the operations that an
 * engine leaves out, by exchanges. */
#include "base/communicator.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/process.h"

/* ---- The handle ------------------------------------------------------------------------- */

static tlm_status_t check_options(const tlm_communicator_options_t *options)
{
    if (options->num_ranks < 1)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "communicator_create: num_ranks %" PRId32 " is not positive",
                         options->num_ranks);
    if (options->rank < 0 || options->rank >= options->num_ranks)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "communicator_create: rank %" PRId32 " is not in 0 .. %" PRId32,
                         options->rank, options->num_ranks - 1);
    if (options->num_ranks > 1 && options->exchange == NULL)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "communicator_create: %" PRId32 " ranks need the callback exchange",
                         options->num_ranks);
    return TLM_OK;
}

tlm_status_t tlm_communicator_create(tlm_communicator_t **out,
                                     const tlm_communicator_options_t *options)
{
    tlm_communicator_options_t known = TLM_COMMUNICATOR_OPTIONS_INIT;

    TLMI_REQUIRE("communicator_create", out);
    TLMI_TRY(tlmi_options_read("communicator_create", &known, TLMI_COMMUNICATOR_OPTIONS, options));
    TLMI_TRY(check_options(&known));
    tlm_communicator_t *communicator = tlmi_calloc(1, sizeof(*communicator), "a communicator");
    if (communicator == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    const size_t n = (size_t)known.num_ranks;
    communicator->sizes = tlmi_alloc(n, sizeof(*communicator->sizes), "a communicator");
    communicator->statuses = tlmi_alloc(n, sizeof(*communicator->statuses), "a communicator");
    if (communicator->sizes == NULL || communicator->statuses == NULL) {
        tlm_communicator_free(communicator); /* the engine is not set yet */
        return TLM_ERR_OUT_OF_MEMORY;
    }
    communicator->engine = known;
    *out = communicator;
    return TLM_OK;
}

void tlm_communicator_free(tlm_communicator_t *communicator)
{
    if (communicator == NULL)
        return;
    if (communicator->engine.release != NULL)
        communicator->engine.release(communicator->engine.user);
    tlmi_free(communicator->statuses);
    tlmi_free(communicator->sizes);
    tlmi_free(communicator);
}

int32_t tlm_communicator_rank(const tlm_communicator_t *communicator)
{
    return communicator == NULL ? 0 : communicator->engine.rank;
}

int32_t tlm_communicator_num_ranks(const tlm_communicator_t *communicator)
{
    return communicator == NULL ? 1 : communicator->engine.num_ranks;
}

double tlm_communicator_seconds(const tlm_communicator_t *communicator)
{
    return communicator == NULL ? 0.0 : communicator->seconds;
}

/* ---- Calls of the engine ---------------------------------------------------------------- */

static bool is_known(tlm_status_t status)
{
    return strcmp(tlm_status_name(status), "TLM_ERR_UNKNOWN") != 0;
}

/* A callback that runs: when it began, and how many messages there were before. */
typedef struct engine_call {
    double begin;
    uint64_t failures;
} engine_call_t;

static engine_call_t begin_call(void)
{
    return (engine_call_t){tlmi_seconds(), tlmi_failure_count()};
}

/* Counts the time of a callback; if it failed, fails with what it says. */
static tlm_status_t end_call(tlm_communicator_t *communicator, const char *function,
                             engine_call_t call, tlm_status_t status)
{
    const tlm_communicator_options_t *engine = &communicator->engine;
    char reason[512];

    communicator->seconds += tlmi_seconds() - call.begin;
    if (status == TLM_OK)
        return TLM_OK;
    communicator->failed = true;
    tlm_status_t code = is_known(status) ? status : TLM_ERR_IO;
    snprintf(reason, sizeof(reason), "%s",
             tlmi_failure_count() != call.failures ? tlm_error_message() : tlm_status_text(code));
    return tlmi_fail(code, "%s: rank %" PRId32 " of %" PRId32 ": %s", function, engine->rank,
                     engine->num_ranks, reason);
}

static tlm_status_t check_working(const tlm_communicator_t *communicator, const char *function)
{
    if (communicator->failed)
        return tlmi_fail(TLM_ERR_STATE, "%s: rank %" PRId32 ": the engine has failed before",
                         function, communicator->engine.rank);
    return TLM_OK;
}

static tlm_status_t check_rank(const tlm_communicator_t *communicator, const char *function,
                               const char *what, int32_t rank, int32_t least)
{
    if (rank < least || rank >= communicator->engine.num_ranks)
        return tlmi_fail(TLM_ERR_RANGE, "%s: %s is %" PRId32 ", but ranks are 0 .. %" PRId32,
                         function, what, rank, communicator->engine.num_ranks - 1);
    return TLM_OK;
}

/* Sends and receives; ranks are in range. */
static tlm_status_t exchange(tlm_communicator_t *communicator, const char *function,
                             const void *send, size_t send_bytes, int32_t to, void *receive,
                             size_t receive_bytes, int32_t from)
{
    const tlm_communicator_options_t *engine = &communicator->engine;
    engine_call_t call = begin_call();

    return end_call(
        communicator, function, call,
        engine->exchange(engine->user, receive, receive_bytes, from, send, send_bytes, to));
}

tlm_status_t tlm_communicator_exchange(void *receive, size_t receive_bytes, int32_t from,
                                       tlm_communicator_t *communicator, const void *send,
                                       size_t send_bytes, int32_t to)
{
    const char *const name = "communicator_exchange";

    TLMI_REQUIRE(name, communicator);
    TLMI_TRY(check_rank(communicator, name, "to", to, TLM_NO_RANK));
    TLMI_TRY(check_rank(communicator, name, "from", from, TLM_NO_RANK));
    if (to != TLM_NO_RANK && send_bytes > 0)
        TLMI_REQUIRE(name, send);
    if (from != TLM_NO_RANK && receive_bytes > 0)
        TLMI_REQUIRE(name, receive);
    TLMI_TRY(check_working(communicator, name));
    const int32_t own = communicator->engine.rank;
    if ((to == own) != (from == own))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: rank %" PRId32 " sends to %" PRId32 " and receives from %" PRId32
                         "; to itself it can only do both",
                         name, own, to, from);
    if (to == own && send_bytes != receive_bytes)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: rank %" PRId32 " sends itself %zu bytes and receives %zu", name, own,
                         send_bytes, receive_bytes);
    if (to == own) {
        if (send_bytes > 0)
            memmove(receive, send, send_bytes);
        return TLM_OK;
    }
    if (to == TLM_NO_RANK && from == TLM_NO_RANK)
        return TLM_OK;
    return exchange(communicator, name, to == TLM_NO_RANK ? NULL : send,
                    to == TLM_NO_RANK ? 0 : send_bytes, to, from == TLM_NO_RANK ? NULL : receive,
                    from == TLM_NO_RANK ? 0 : receive_bytes, from);
}

/* ---- Gathering -------------------------------------------------------------------------- */

/* The offset of a rank's data, and with the number of ranks the size of all; SIZE_MAX where that
 * overflows. */
static size_t offset_of(const size_t *bytes, int32_t rank)
{
    size_t sum = 0;

    for (int32_t i = 0; i < rank; i++)
        if (!tlmi_add_size(&sum, sum, bytes[i]))
            return SIZE_MAX;
    return sum;
}

static tlm_status_t check_gather(const tlm_communicator_t *communicator, const char *function,
                                 const void *send, const size_t *bytes)
{
    TLMI_REQUIRE(function, communicator);
    TLMI_REQUIRE(function, bytes);
    if (bytes[communicator->engine.rank] > 0)
        TLMI_REQUIRE(function, send);
    if (offset_of(bytes, communicator->engine.num_ranks) == SIZE_MAX)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "%s: the bytes of %" PRId32 " ranks are too many", function,
                         communicator->engine.num_ranks);
    return check_working(communicator, function);
}

static void copy_own(char *receive, const void *send, const size_t *bytes, int32_t rank)
{
    if (bytes[rank] > 0)
        memmove(receive + offset_of(bytes, rank), send, bytes[rank]);
}

/* In a ring: each rank passes on to the next what it last received. */
static tlm_status_t ring_gather(tlm_communicator_t *communicator, const char *function,
                                const void *send, char *receive, const size_t *bytes)
{
    const int32_t rank = communicator->engine.rank, n = communicator->engine.num_ranks;
    const int32_t next = (rank + 1) % n, previous = (rank + n - 1) % n;

    copy_own(receive, send, bytes, rank);
    for (int32_t i = 0; i < n - 1; i++) {
        const int32_t given = (rank + n - i) % n, taken = (previous + n - i) % n;

        TLMI_TRY(exchange(communicator, function, receive + offset_of(bytes, given), bytes[given],
                          next, receive + offset_of(bytes, taken), bytes[taken], previous));
    }
    return TLM_OK;
}

static tlm_status_t all_gather(tlm_communicator_t *communicator, const char *function,
                               const void *send, void *receive, const size_t *bytes)
{
    const tlm_communicator_options_t *engine = &communicator->engine;

    if (engine->num_ranks == 1) {
        copy_own(receive, send, bytes, 0);
        return TLM_OK;
    }
    if (engine->all_gather == NULL)
        return ring_gather(communicator, function, send, receive, bytes);
    engine_call_t call = begin_call();
    return end_call(communicator, function, call,
                    engine->all_gather(engine->user, receive, send, bytes));
}

tlm_status_t tlm_communicator_all_gather(void *receive, tlm_communicator_t *communicator,
                                         const void *send, const size_t *bytes)
{
    TLMI_TRY(check_gather(communicator, "communicator_all_gather", send, bytes));
    if (offset_of(bytes, communicator->engine.num_ranks) == 0)
        return TLM_OK;
    TLMI_REQUIRE("communicator_all_gather", receive);
    return all_gather(communicator, "communicator_all_gather", send, receive, bytes);
}

tlm_status_t tlmi_all_gather_equal(tlm_communicator_t *communicator, const char *function,
                                   const void *send, void *receive, size_t bytes)
{
    for (int32_t i = 0; i < communicator->engine.num_ranks; i++)
        communicator->sizes[i] = bytes;
    TLMI_TRY(check_gather(communicator, function, send, communicator->sizes));
    return all_gather(communicator, function, send, receive, communicator->sizes);
}

tlm_status_t tlm_communicator_gather(void *receive, tlm_communicator_t *communicator,
                                     const void *send, const size_t *bytes, int32_t root)
{
    const char *const name = "communicator_gather";

    TLMI_TRY(check_gather(communicator, name, send, bytes));
    TLMI_TRY(check_rank(communicator, name, "root", root, 0));
    const int32_t rank = communicator->engine.rank, n = communicator->engine.num_ranks;
    if (rank != root)
        return bytes[rank] == 0
                   ? TLM_OK
                   : exchange(communicator, name, send, bytes[rank], root, NULL, 0, TLM_NO_RANK);
    if (offset_of(bytes, n) == 0)
        return TLM_OK;
    TLMI_REQUIRE(name, receive);
    copy_own(receive, send, bytes, rank);
    for (int32_t i = 0; i < n; i++)
        if (i != root && bytes[i] > 0)
            TLMI_TRY(exchange(communicator, name, NULL, 0, TLM_NO_RANK,
                              (char *)receive + offset_of(bytes, i), bytes[i], i));
    return TLM_OK;
}

/* ---- Broadcasting and reducing ---------------------------------------------------------- */

/* Along a binomial tree with `root` as rank 0: in round i, the 2^i ranks that have the data send
 * it to the next 2^i. */
static tlm_status_t tree_broadcast(tlm_communicator_t *communicator, const char *function,
                                   void *data, size_t bytes, int32_t root)
{
    const int64_t n = communicator->engine.num_ranks;
    const int64_t place = (communicator->engine.rank - root + n) % n;

    for (int64_t have = 1; have < n; have *= 2) {
        if (place < have && place + have < n)
            TLMI_TRY(exchange(communicator, function, data, bytes,
                              (int32_t)((place + have + root) % n), NULL, 0, TLM_NO_RANK));
        else if (place >= have && place < 2 * have)
            TLMI_TRY(exchange(communicator, function, NULL, 0, TLM_NO_RANK, data, bytes,
                              (int32_t)((place - have + root) % n)));
    }
    return TLM_OK;
}

static tlm_status_t broadcast(tlm_communicator_t *communicator, const char *function, void *data,
                              size_t bytes, int32_t root)
{
    const tlm_communicator_options_t *engine = &communicator->engine;

    if (engine->num_ranks == 1 || bytes == 0)
        return TLM_OK;
    if (engine->broadcast == NULL)
        return tree_broadcast(communicator, function, data, bytes, root);
    engine_call_t call = begin_call();
    return end_call(communicator, function, call,
                    engine->broadcast(engine->user, data, bytes, root));
}

tlm_status_t tlm_communicator_broadcast(void *data, size_t bytes, tlm_communicator_t *communicator,
                                        int32_t root)
{
    TLMI_REQUIRE("communicator_broadcast", communicator);
    TLMI_TRY(check_rank(communicator, "communicator_broadcast", "root", root, 0));
    if (bytes > 0)
        TLMI_REQUIRE("communicator_broadcast", data);
    TLMI_TRY(check_working(communicator, "communicator_broadcast"));
    return broadcast(communicator, "communicator_broadcast", data, bytes, root);
}

enum { REDUCED_AT_ONCE = 1024 }; /* values, received on the stack */

/* Sums at most REDUCED_AT_ONCE values into rank 0 along a binomial tree, and broadcasts. */
static tlm_status_t tree_reduce(tlm_communicator_t *communicator, const char *function,
                                float *values, size_t n)
{
    const int64_t ranks = communicator->engine.num_ranks, rank = communicator->engine.rank;
    const size_t bytes = n * sizeof(float);
    float received[REDUCED_AT_ONCE];

    for (int64_t step = 1; step < ranks; step *= 2) {
        if (rank % (2 * step) == step)
            TLMI_TRY(exchange(communicator, function, values, bytes, (int32_t)(rank - step), NULL,
                              0, TLM_NO_RANK));
        else if (rank % (2 * step) == 0 && rank + step < ranks) {
            TLMI_TRY(exchange(communicator, function, NULL, 0, TLM_NO_RANK, received, bytes,
                              (int32_t)(rank + step)));
            for (size_t i = 0; i < n; i++)
                values[i] += received[i];
        }
    }
    return broadcast(communicator, function, values, bytes, 0);
}

tlm_status_t tlm_communicator_all_reduce(float *values, size_t n, tlm_communicator_t *communicator)
{
    const char *const name = "communicator_all_reduce";
    size_t bytes;

    TLMI_REQUIRE(name, communicator);
    if (n > 0)
        TLMI_REQUIRE(name, values);
    if (!tlmi_mul_size(&bytes, n, sizeof(float)))
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT, "%s: %zu values are too many", name, n);
    TLMI_TRY(check_working(communicator, name));
    const tlm_communicator_options_t *engine = &communicator->engine;
    if (engine->num_ranks == 1 || n == 0)
        return TLM_OK;
    if (engine->all_reduce != NULL) {
        engine_call_t call = begin_call();
        return end_call(communicator, name, call, engine->all_reduce(engine->user, values, n));
    }
    for (size_t first = 0; first < n; first += REDUCED_AT_ONCE)
        TLMI_TRY(tree_reduce(communicator, name, values + first,
                             n - first < REDUCED_AT_ONCE ? n - first : REDUCED_AT_ONCE));
    return TLM_OK;
}

/* ---- Agreeing --------------------------------------------------------------------------- */

tlm_status_t tlm_communicator_barrier(tlm_communicator_t *communicator)
{
    const int32_t none = 0;

    TLMI_REQUIRE("communicator_barrier", communicator);
    return tlmi_all_gather_equal(communicator, "communicator_barrier", &none,
                                 communicator->statuses, sizeof(none));
}

tlm_status_t tlmi_agree(tlm_communicator_t *communicator, const char *function, tlm_status_t status)
{
    if (communicator == NULL || communicator->engine.num_ranks == 1)
        return status;
    if (communicator->failed && status != TLM_OK)
        return status; /* the failure itself, most likely: its message says more */
    TLMI_TRY(check_working(communicator, function));
    char message[512];
    snprintf(message, sizeof(message), "%s", tlm_error_message());
    TLMI_TRY(tlmi_all_gather_equal(communicator, function, &status, communicator->statuses,
                                   sizeof(status)));
    int32_t first = 0;
    while (first < communicator->engine.num_ranks && communicator->statuses[first] == TLM_OK)
        first++;
    if (first == communicator->engine.num_ranks)
        return TLM_OK;
    const tlm_status_t found = communicator->statuses[first];
    TLMI_TRY(broadcast(communicator, function, message, sizeof(message), first));
    if (status != TLM_OK)
        return status;
    message[sizeof(message) - 1] = '\0';
    return tlmi_fail(found, "%s: rank %" PRId32 ": %s", function, first, message);
}

tlm_status_t tlm_communicator_agree(tlm_communicator_t *communicator, tlm_status_t status)
{
    TLMI_REQUIRE("communicator_agree", communicator);
    return tlmi_agree(communicator, "communicator_agree", status);
}

/* ---- Comparing and adding numbers -------------------------------------------------------- */

/* Gathers a number of each of n ranks. The caller owns *values. */
static tlm_status_t gather_numbers(uint64_t **values, tlm_communicator_t *communicator, int32_t n,
                                   const char *function, uint64_t own)
{
    uint64_t *all = tlmi_alloc((size_t)n, sizeof(*all), "values of ranks");
    tlm_status_t status =
        tlmi_agree(communicator, function, all == NULL ? TLM_ERR_OUT_OF_MEMORY : TLM_OK);

    if (status == TLM_OK)
        status = tlmi_all_gather_equal(communicator, function, &own, all, sizeof(own));
    if (status == TLM_OK)
        *values = all;
    else
        tlmi_free(all);
    return status;
}

tlm_status_t tlmi_ranks_sum(uint64_t *sum, tlm_communicator_t *communicator, const char *function)
{
    const int32_t n = tlm_communicator_num_ranks(communicator);
    uint64_t *values;

    if (n == 1)
        return TLM_OK;
    TLMI_TRY(gather_numbers(&values, communicator, n, function, *sum));
    *sum = 0;
    for (int32_t r = 0; r < n; r++)
        *sum += values[r];
    tlmi_free(values);
    return TLM_OK;
}

tlm_status_t tlmi_ranks_require_equal(tlm_communicator_t *communicator, const char *function,
                                      const char *what, uint64_t value)
{
    const int32_t n = tlm_communicator_num_ranks(communicator);
    tlm_status_t status = TLM_OK;
    uint64_t *values;

    if (n == 1)
        return TLM_OK;
    TLMI_TRY(gather_numbers(&values, communicator, n, function, value));
    for (int32_t r = 1; r < n && status == TLM_OK; r++)
        if (values[r] != values[0])
            status = tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                               "%s: %s is %" PRIu64 " on rank 0 and %" PRIu64 " on rank %" PRId32,
                               function, what, values[0], values[r], r);
    tlmi_free(values);
    return status;
}
