#!/bin/sh
# Runs test programs with levels and single features of the CPU switched off: whatever mixture a CPU has, all that stands
# on the kernels must work. checkkernels compares the kernels themselves.
# Usage: run_with_features.sh CPU_FAMILY PROGRAM...    CPU_FAMILY is meson's. In a cross build, meson says in
# MESON_EXE_WRAPPER what runs the programs.
set -eu

case ${1:?the CPU family} in
x86_64) choices='scalar avx2 avx2,-fma avx2,-f16c -avx2 -avx512bw -avx512_vnni -avx512_bf16 avx512,-f16c,-avx512_vnni' ;;
aarch64) choices='scalar neon -bf16 -dotprod,-i8mm -neon' ;;
*) choices='scalar' ;;
esac
shift
passed=0
failed=0
for features in $choices; do
    for program; do
        if output=$(TINYLM_CPU="$features" ${MESON_EXE_WRAPPER:-} "$program" 2>&1); then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            printf '== TINYLM_CPU=%s: %s\n%s\n' "$features" "$(basename "$program")" "$output"
        fi
    done
done
echo "$passed passed, $failed failed"
test "$failed" -eq 0
