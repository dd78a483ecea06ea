/* Times exchanges between pairs of ranks over MPI, for the model of docs/scaling.md: for each size the shortest of
 * several times, from which latency and bandwidth follow.
 *
 *     mpirun -n 2 bench_exchange */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tinylm/mpi.h"

enum { REPEATS = 9 };

static double seconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void check(tlm_status_t status)
{
    if (status == TLM_OK)
        return;
    fprintf(stderr, "bench_exchange: %s\n", tlm_error_message());
    MPI_Abort(MPI_COMM_WORLD, 1);
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = {8, 1 << 10, 1 << 14, 1 << 18, 1 << 20, 4 << 20, 16 << 20};
    tlm_communicator_t *c;
    int provided;

    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    check(tlm_communicator_create_mpi(&c, MPI_COMM_WORLD, 0.0));
    const int32_t rank = tlm_communicator_rank(c), partner = rank ^ 1;
    char *sent = calloc(1, 16 << 20), *received = calloc(1, 16 << 20);
    if (sent == NULL || received == NULL || partner >= tlm_communicator_num_ranks(c))
        MPI_Abort(MPI_COMM_WORLD, 2);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        double best = 1e9;

        for (int repeat = 0; repeat < REPEATS; repeat++) {
            check(tlm_communicator_barrier(c));
            double begin = seconds();
            check(
                tlm_communicator_exchange(received, sizes[i], partner, c, sent, sizes[i], partner));
            double time = seconds() - begin;
            best = time < best ? time : best;
        }
        if (rank == 0)
            printf("%9zu bytes each way: %10.3f ms, %8.1f MB/s\n", sizes[i], 1e3 * best,
                   1e-6 * (double)sizes[i] / best);
    }
    free(sent);
    free(received);
    tlm_communicator_free(c);
    MPI_Finalize();
    return 0;
}
