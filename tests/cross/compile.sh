#!/bin/sh
# Compiles every file of the library for other operating systems, with the headers of their C libraries that zig brings
# and the dependencies' headers of this machine: nothing is linked or run. Warnings are errors.
#
# Usage: tests/cross/compile.sh [TARGET...]
# The targets are zig's: without arguments aarch64-macos, x86_64-macos, x86_64-freebsd, aarch64-freebsd and
# x86_64-linux-musl. $ZIG is the compiler, by default "zig cc", or that of the Python package ziglang. It prints
# "N passed, N failed, N skipped" over the files of all targets.
set -eu
cd "$(dirname "$0")/../.."
if [ -z "${ZIG:-}" ]; then
    if command -v zig >/dev/null; then
        ZIG='zig cc'
    elif python3 -c 'import ziglang' 2>/dev/null; then
        ZIG='python3 -m ziglang cc'
    else
        echo "skipped: no zig; pip install ziglang"
        exit 77
    fi
fi
if [ $# -eq 0 ]; then
    set -- aarch64-macos x86_64-macos x86_64-freebsd aarch64-freebsd x86_64-linux-musl
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Headers of the dependencies without those of this machine's C library beside them.
mkdir "$work/include"
for path in oniguruma.h utf8proc.h lzma.h lzma; do
    [ -e "/usr/include/$path" ] || {
        echo "skipped: no /usr/include/$path"
        exit 77
    }
    ln -s "/usr/include/$path" "$work/include/$path"
done
for header in /usr/include/*/blis-serial/blis.h /usr/include/*/blis-*/blis.h; do
    if [ -e "$header" ] && ! [ -e "$work/include/blis.h" ]; then
        ln -s "$header" "$work/include/blis.h"
    fi
done

passed=0
failed=0
for target; do
    case $target in # the kernels of BLIS, if its header is for the processor, as lib/meson.build finds them
    aarch64-*) kernels=armv8a ;;
    *) kernels='haswell skx' ;;
    esac
    defines=''
    for kernel in $kernels; do
        if grep -q "gemm_${kernel}_asm" "$work/include/blis.h"; then
            defines="$defines -DTLMI_BLIS_$(echo "$kernel" | tr a-z A-Z)"
        fi
    done
    for file in $(find lib -name '*.c' ! -path 'lib/mpi/*' | sort); do
        # shellcheck disable=SC2086 # lists of words
        if $ZIG -target "$target" -std=gnu11 -O1 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-unused-function \
            -D_GNU_SOURCE -ffp-contract=off $defines -Ilib -Iinclude -isystem "$work/include" \
            -c -o "$work/object.o" "$file"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            echo "$target: $file does not compile"
        fi
    done
    echo "$target: done"
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
