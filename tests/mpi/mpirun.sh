#!/bin/sh
# Runs a program on N ranks of this machine, more than it has processors if need be, as root too.
# Usage: mpirun.sh MPIRUN N PROGRAM ARGUMENT...
set -eu
mpirun=$1 ranks=$2
shift 2
# Open MPI's; MPICH takes no notice of them. Containers often forbid the copies between processes that shared
# memory uses otherwise.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_plm_rsh_agent=true
# Open MPI keeps memory to the end of a process; ours is checked for leaks by the tests that have no MPI.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
exec "$mpirun" -n "$ranks" "$@"
