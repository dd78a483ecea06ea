/* The ranks of a program that links MPI. */
#include <mpi.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/ranks.h"
#include "tinylm/mpi.h"

/* A rank that ends early, by an error, ends the others, which could wait for it forever. First it waits until the
 * rank with the message has written it, and the launcher has passed it on: MPICH's drops the rest. */
static void end_all(void)
{
    int ended = 0;

    MPI_Finalized(&ended);
    if (ended)
        return;
    sleep(1);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

tlm_communicator_t *ranks_join(char **argv)
{
    tlm_communicator_t *communicator;
    int provided;

    (void)argv;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS)
        cli_fail("--mpi: MPI_Init_thread failed");
    atexit(end_all);
    cli_check(tlm_communicator_create_mpi(&communicator, MPI_COMM_WORLD, 0.0));
    cli_set_rank(tlm_communicator_rank(communicator));
    return communicator;
}

void ranks_leave(tlm_communicator_t *communicator)
{
    if (communicator == NULL)
        return;
    cli_check(tlm_communicator_barrier(communicator));
    tlm_communicator_free(communicator);
    MPI_Finalize();
}
