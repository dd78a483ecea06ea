/* Communicators: how the ranks of a run, processes on one or more machines, exchange data.
 * docs/scaling.md shows them in use. The library itself links no message passing: a program brings
 * any engine as callbacks, and tinylm/mpi.h brings MPI. */
#ifndef TINYLM_COMMUNICATOR_H
#define TINYLM_COMMUNICATOR_H

#include "options.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One rank's end of a group of ranks, numbered from 0. All functions below that exchange data are
 *  collective: every rank calls them, in the same order. A failure of the engine is final: later
 *  calls fail at once. Not thread-safe: use each communicator from one thread at a time. Callbacks
 *  of an engine are called by the thread that uses the communicator; if its options allow
 *  any_thread, also by a thread that the library starts and ends within a call, never by two at
 *  once. @since 0.2 */
typedef struct tlm_communicator tlm_communicator_t;

/** No rank, where a rank to send to or to receive from may be left out. @since 0.2 */
#define TLM_NO_RANK (-1)

/* Callbacks of an engine. They return TLM_OK or the status to fail with, whose message they may set
 * with tlm_set_error; what they receive is complete when they return. @since 0.2 */

/** Sends send_bytes bytes to rank `to` and receives receive_bytes bytes from rank `from`, both at
 *  the same time; either may be TLM_NO_RANK, and neither is the calling rank. */
typedef tlm_status_t (*tlm_exchange_callback_t)(void *user, void *receive, size_t receive_bytes,
                                                int32_t from, const void *send, size_t send_bytes,
                                                int32_t to);
/** Receives the data of all ranks, those of rank r of bytes[r] bytes, one after another. */
typedef tlm_status_t (*tlm_all_gather_callback_t)(void *user, void *receive, const void *send,
                                                  const size_t *bytes);
/** Copies the data of rank `root` to the other ranks. */
typedef tlm_status_t (*tlm_broadcast_callback_t)(void *user, void *data, size_t bytes,
                                                 int32_t root);
/** Replaces n values by their sums over all ranks, of equal bits on every rank. */
typedef tlm_status_t (*tlm_all_reduce_callback_t)(void *user, float *values, size_t n);

/** An engine, as one rank sees it. @since 0.2 */
typedef struct tlm_communicator_options {
    /** sizeof(tlm_communicator_options_t). */
    size_t size;
    /** Of this process, in 0 .. num_ranks - 1. */
    int32_t rank;
    /** At least 1. */
    int32_t num_ranks;
    /** First argument of the callbacks. */
    void *user;
    /** Required if there is more than one rank. */
    tlm_exchange_callback_t exchange;
    /** NULL: done by exchanges, as the next two. */
    tlm_all_gather_callback_t all_gather;
    /** May be NULL. */
    tlm_broadcast_callback_t broadcast;
    /** May be NULL. */
    tlm_all_reduce_callback_t all_reduce;
    /** Called when the communicator is freed; may be NULL. */
    void (*release)(void *user);
    /** Whether any thread may call the callbacks, one at a time: gradients are then exchanged while
     *  backward runs. */
    bool any_thread;
    uint8_t reserved[7];
} tlm_communicator_options_t;

#define TLM_COMMUNICATOR_OPTIONS_INIT TLM_SIZED(tlm_communicator_options_t)

/** Creates a communicator over an engine. Exchanges nothing. Owned by the caller:
 *  tlm_communicator_free. TLM_ERR_INVALID_ARGUMENT, naming the field, for options out of range; the
 *  engine is not released then. @since 0.2 */
TLM_API tlm_status_t tlm_communicator_create(tlm_communicator_t **out,
                                             const tlm_communicator_options_t *options);

/** Creates the n communicators of a group whose ranks are threads of this process, each to be used
 *  from a thread of its own: for tests of programs that exchange data. A rank that waits for one
 *  whose communicator was freed fails. Owned by the caller, each by itself.
 *  TLM_ERR_INVALID_ARGUMENT unless n is in 1 .. 1024. @since 0.2 */
TLM_API tlm_status_t tlm_communicator_create_local(tlm_communicator_t **out, int32_t n);

/** Frees the communicator and releases its engine. NULL is fine. @since 0.2 */
TLM_API void tlm_communicator_free(tlm_communicator_t *communicator);

/** This rank's number; 0 for NULL. @since 0.2 */
TLM_API int32_t tlm_communicator_rank(const tlm_communicator_t *communicator);

/** Number of ranks; 1 for NULL. @since 0.2 */
TLM_API int32_t tlm_communicator_num_ranks(const tlm_communicator_t *communicator);

/** Seconds that this rank has spent in the functions below, waiting included; 0 for NULL.
 *  @since 0.2 */
TLM_API double tlm_communicator_seconds(const tlm_communicator_t *communicator);

/** Sends `send` to rank `to` and receives from rank `from`; either may be TLM_NO_RANK. The two may
 *  be the calling rank if both are. The sizes must be those that the other ranks name.
 *  TLM_ERR_RANGE for a rank that does not exist; TLM_ERR_IO, or the status of the engine, with its
 *  message, if it fails; TLM_ERR_STATE if it failed before. @since 0.2 */
TLM_API tlm_status_t tlm_communicator_exchange(void *receive, size_t receive_bytes, int32_t from,
                                               tlm_communicator_t *communicator, const void *send,
                                               size_t send_bytes, int32_t to);

/** Gives every rank the data of all ranks: bytes[r] bytes from rank r, one after another in
 *  `receive`. `bytes` is the same on all ranks; bytes[own rank] are read from `send`. See
 *  tlm_communicator_exchange for errors. @since 0.2 */
TLM_API tlm_status_t tlm_communicator_all_gather(void *receive, tlm_communicator_t *communicator,
                                                 const void *send, const size_t *bytes);

/** The same for rank `root` only; `receive` is not used on the others. See
 *  tlm_communicator_exchange for errors. @since 0.2 */
TLM_API tlm_status_t tlm_communicator_gather(void *receive, tlm_communicator_t *communicator,
                                             const void *send, const size_t *bytes, int32_t root);

/** Copies `bytes` bytes of rank `root` to `data` on all other ranks. See tlm_communicator_exchange
 *  for errors. @since 0.2 */
TLM_API tlm_status_t tlm_communicator_broadcast(void *data, size_t bytes,
                                                tlm_communicator_t *communicator, int32_t root);

/** Replaces n values by their sums over all ranks, of equal bits on every rank, but of other bits
 *  with another number of ranks or another engine. See tlm_communicator_exchange for errors.
 *  @since 0.2 */
TLM_API tlm_status_t tlm_communicator_all_reduce(float *values, size_t n,
                                                 tlm_communicator_t *communicator);

/** Returns once all ranks have called it. See tlm_communicator_exchange for errors. @since 0.2 */
TLM_API tlm_status_t tlm_communicator_barrier(tlm_communicator_t *communicator);

/** Tells all ranks how this rank's own work went. If `status` is TLM_OK everywhere, so is the
 *  result. Otherwise it fails on every rank: where the work failed with that status, whose message
 *  stays; elsewhere with the status and the message of the lowest rank that failed, and its number.
 *  Call it after work that may fail on one rank alone, before ranks wait for each other. See
 *  tlm_communicator_exchange for other errors. @since 0.2 */
TLM_API tlm_status_t tlm_communicator_agree(tlm_communicator_t *communicator, tlm_status_t status);

#ifdef __cplusplus
}
#endif
#endif
