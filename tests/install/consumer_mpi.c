/* A program of two ranks or more that uses the installed companion library, as docs/scaling.md shows. */
#include <stdio.h>
#include <tinylm/mpi.h>
#include <tinylm/tinylm.h>

int main(int argc, char **argv)
{
    tlm_communicator_t *communicator;
    float sum = 1.0f;
    int provided;

    MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided);
    if (tlm_communicator_create_mpi(&communicator, MPI_COMM_WORLD, 0.0) != TLM_OK ||
        tlm_communicator_all_reduce(&sum, 1, communicator) != TLM_OK) {
        fprintf(stderr, "%s\n", tlm_error_message());
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    const int32_t ranks = tlm_communicator_num_ranks(communicator);
    if (ranks < 2 || sum != (float)ranks) {
        fprintf(stderr, "%d ranks, and a sum of %g\n", (int)ranks, (double)sum);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    if (tlm_communicator_rank(communicator) == 0)
        printf("%d ranks of libtinylm %s\n", (int)ranks, tlm_version());
    tlm_communicator_free(communicator);
    MPI_Finalize();
    return 0;
}
