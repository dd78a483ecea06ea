/* Programs of several ranks. --mpi starts the companion of a program, which is built of the same sources and
 * links MPI, so that the plain one links none. */
#ifndef EXAMPLES_RANKS_H
#define EXAMPLES_RANKS_H

#include "support/cli.h"

/* Called with the whole command line once --mpi was read. The plain program becomes its companion, PROGRAM_mpi
 * beside it. The companion joins the other ranks; from then on standard output is that of rank 0 only, and
 * errors name the rank. Freed by ranks_leave. */
tlm_communicator_t *ranks_join(char **argv);

/* Leaves the ranks, once all of them are done. NULL is fine. */
void ranks_leave(tlm_communicator_t *communicator);

#endif
