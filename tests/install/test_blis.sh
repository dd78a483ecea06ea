#!/bin/sh
# Builds the library with a BLIS that lacks kernels, as one built for a single family does, given by -Dblis=PREFIX:
# it must take the kernels that are there, or else its own, and pass the tests of products with them.
# Usage: test_blis.sh PROJECT_ROOT MESON BLIS_ARCHIVE BLIS_INCLUDE_DIRECTORY
set -eu
root=$1 meson=$2 archive=$3 include=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# try NAME KERNEL_SYMBOL_TO_REMOVE...; the names that tlm_gemm_kernel_name may have are in $kernels
try() {
    name=$1
    shift
    mkdir -p "$work/$name/lib" "$work/$name/include"
    cp "$archive" "$work/$name/lib/libblis.a"
    ln -s "$include" "$work/$name/include/blis"
    for symbol in "$@"; do
        member=$(nm -A "$archive" 2>/dev/null | sed -n "s/.*libblis\.a:\([^:]*\):[0-9a-f]* T $symbol\$/\1/p")
        ar d "$work/$name/lib/libblis.a" "$member"
    done
    # shellcheck disable=SC2086 # the command may have arguments
    { $meson setup "$work/build" "$root" -Dblis="$work/$name" --buildtype=debug --wipe ||
        $meson setup "$work/build" "$root" -Dblis="$work/$name" --buildtype=debug; } >"$work/log" 2>&1 &&
        ninja -C "$work/build" tests/kernels/test_gemm tests/kernels/checkkernels >>"$work/log" 2>&1 || {
        tail -40 "$work/log"
        exit 1
    }
    CK_DEFAULT_TIMEOUT=300 "$work/build/tests/kernels/test_gemm" >"$work/log" 2>&1 &&
        "$work/build/tests/kernels/checkkernels" >>"$work/log" 2>&1 || {
        tail -20 "$work/log"
        exit 1
    }
    for level in scalar avx2 avx512; do
        TINYLM_CPU=$level "$work/build/tests/kernels/checkkernels" --gemm-kernel
    done >"$work/names"
    taken=$(sort -u "$work/names" | tr '\n' ' ')
    echo "$name: $taken"
    for kernel in $taken; do
        case " $kernels " in
        *" $kernel "*) ;;
        *)
            echo "$name: the kernel $kernel is not in the archive"
            exit 1
            ;;
        esac
    done
}

kernels='generic haswell'
try haswell_only bli_sgemm_skx_asm_32x12_l2
kernels='generic'
try none bli_sgemm_skx_asm_32x12_l2 bli_sgemm_haswell_asm_6x16
