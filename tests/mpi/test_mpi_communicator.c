/* One rank of a program under mpirun: every operation of a communicator over MPI, and what it refuses. Exits
 * with 1 and a line on standard error if something is wrong. */
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "communicator_support.h"
#include "tinylm/mpi.h"

static void require(int rank, int condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "rank %d: %s (%s)\n", rank, what, tlm_error_message());
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static void check_refusals(int rank)
{
    tlm_communicator_t *c = NULL;

    require(rank, tlm_communicator_create_mpi(&c, MPI_COMM_NULL, 0.0) == TLM_ERR_INVALID_ARGUMENT,
            "MPI_COMM_NULL");
    require(rank,
            tlm_communicator_create_mpi(NULL, MPI_COMM_WORLD, 0.0) == TLM_ERR_INVALID_ARGUMENT,
            "out NULL");
    require(rank, tlm_communicator_create_mpi(&c, MPI_COMM_WORLD, -1.0) == TLM_ERR_INVALID_ARGUMENT,
            "negative timeout");
    require(rank,
            tlm_communicator_create_mpi(&c, MPI_COMM_WORLD, (double)NAN) ==
                TLM_ERR_INVALID_ARGUMENT,
            "timeout NaN");
    require(rank, c == NULL, "a communicator in spite of that");
}

/* Rank 1 does not take part: the others give up after the timeout and name what they wait for. */
static void check_timeout(int rank, int ranks)
{
    tlm_communicator_t *c;
    char byte = 0;

    require(rank, tlm_communicator_create_mpi(&c, MPI_COMM_WORLD, 0.2) == TLM_OK, "create");
    if (rank == 0 && ranks > 1) {
        require(rank, tlm_communicator_exchange(&byte, 1, 1, c, NULL, 0, TLM_NO_RANK) == TLM_ERR_IO,
                "a wait that should end");
        require(rank, strstr(tlm_error_message(), "receiving 1 bytes from rank 1") != NULL,
                "names");
        require(rank, tlm_communicator_barrier(c) == TLM_ERR_STATE, "again");
    }
    MPI_Barrier(MPI_COMM_WORLD);
    tlm_communicator_free(c);
}

int main(int argc, char **argv)
{
    tlm_communicator_t *c = NULL;
    char problem[256];
    int rank, ranks, provided;

    if (tlm_communicator_create_mpi(&c, MPI_COMM_WORLD, 0.0) != TLM_ERR_STATE)
        return 1; /* before MPI_Init */
    MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    check_refusals(rank);
    require(rank, tlm_communicator_create_mpi(&c, MPI_COMM_WORLD, (double)INFINITY) == TLM_OK,
            "create");
    require(rank, tlm_communicator_rank(c) == rank && tlm_communicator_num_ranks(c) == ranks,
            "ranks");
    check_communicator(problem, sizeof(problem), c);
    require(rank, problem[0] == '\0', problem);
    tlm_communicator_free(c);
    check_timeout(rank, ranks);
    MPI_Finalize();
    return tlm_communicator_create_mpi(&c, MPI_COMM_WORLD, 0.0) == TLM_ERR_STATE ? 0 : 1;
}
