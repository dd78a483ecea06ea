#!/bin/sh
# Compiles consumer_mpi.c with what pkg-config says of tinylm-mpi, and runs it on two ranks of the MPI that the
# library was built for. Usage: consumer_mpi.sh [CC]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case $(pkg-config --print-requires tinylm-mpi) in
*mpich*) launchers='mpirun.mpich mpiexec.hydra mpirun' ;;
*) launchers='mpirun.openmpi mpirun' ;;
esac
# shellcheck disable=SC2046,SC2086 # lists of flags and words
{
    ${1:-cc} -std=gnu11 -o "$work/consumer" "$here/consumer_mpi.c" $(pkg-config --cflags --libs tinylm-mpi)
    for launcher in $launchers; do
        if command -v "$launcher" >/dev/null; then
            sh "$here/../mpi/mpirun.sh" "$launcher" 2 "$work/consumer"
            exit
        fi
    done
}
echo "no launcher: $launchers"
exit 1
