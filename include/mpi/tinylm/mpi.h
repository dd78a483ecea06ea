/* Communicators over MPI. They are in a library of their own, libtinylm-mpi, so that libtinylm
 * links no MPI: pkg-config tinylm-mpi. docs/scaling.md shows them in use. */
#ifndef TINYLM_MPI_H
#define TINYLM_MPI_H

#include <mpi.h>

#include "tinylm/communicator.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Creates a communicator over a duplicate of `comm`, which is freed with it: free it before
 *  MPI_Finalize. Collective over `comm`. With MPI_THREAD_SERIALIZED or more, trainers exchange
 *  gradients on a thread of their own while backward runs; nothing else may call MPI meanwhile,
 *  except with MPI_THREAD_MULTIPLE. With less, only the thread that initialized MPI may use it.
 *  A call that waits longer than timeout_seconds (0: 1800; infinite: no limit) for other ranks
 *  fails with TLM_ERR_IO; after any failure of MPI the program should end with MPI_Abort, since
 *  data may still arrive in memory that it gave. Owned by the caller. TLM_ERR_STATE if MPI is not
 *  initialized or has ended, TLM_ERR_INVALID_ARGUMENT for MPI_COMM_NULL, an intercommunicator or a
 *  timeout that is negative or NaN, TLM_ERR_IO with MPI's text if MPI fails. @since 0.2 */
TLM_API tlm_status_t tlm_communicator_create_mpi(tlm_communicator_t **out, MPI_Comm comm,
                                                 double timeout_seconds);

#ifdef __cplusplus
}
#endif
#endif
