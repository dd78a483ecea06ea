/* --mpi of a program that links no MPI: it becomes its companion. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "support/ranks.h"

/* "train_lm" has the companion train_lm_mpi, an installed "tinylm-train-lm" tinylm-train-lm-mpi, and "tinylm"
 * tinylm-mpi. */
tlm_communicator_t *ranks_join(char **argv)
{
    char own[PATH_MAX + 1], path[PATH_MAX + 8];
    ssize_t size = readlink("/proc/self/exe", own, sizeof(own) - 1);

    if (size < 0)
        cli_fail("/proc/self/exe: %s", strerror(errno));
    own[size] = '\0';
    const char *name = strrchr(own, '/');
    const bool is_installed = name != NULL && strncmp(name, "/tinylm", 7) == 0;
    snprintf(path, sizeof(path), "%s%cmpi", own, is_installed ? '-' : '_');
    execv(path, argv);
    if (errno == ENOENT)
        cli_fail("--mpi: there is no %s: this build found no MPI (libopenmpi-dev or libmpich-dev)",
                 path);
    cli_fail("--mpi: %s: %s", path, strerror(errno));
}

void ranks_leave(tlm_communicator_t *communicator)
{
    (void)communicator;
}
