#!/bin/sh
# `meson setup` refuses machines that the library does not run on, in one line that says why. Cross files pretend to
# have them; nothing is built.
#
# Usage: tests/cross/refused.sh SOURCE_ROOT CC
set -eu
root=$1
cc=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
meson --version >/dev/null 2>&1 || exit 77

# refused SYSTEM FAMILY ENDIAN C_ARGS TEXT: the text is in the one line with ERROR.
refused() {
    rm -rf "$work/build"
    cat >"$work/cross.ini" <<END
[binaries]
c = '$cc'
[built-in options]
c_args = [$4]
[host_machine]
system = '$1'
cpu_family = '$2'
cpu = '$2'
endian = '$3'
END
    if meson setup "$work/build" "$root" --cross-file "$work/cross.ini" >"$work/log" 2>&1; then
        echo "$1, $2, $3: not refused"
        failed=1
    elif ! grep 'ERROR: .*libtinylm' "$work/log" | grep -qF "$5"; then
        echo "$1, $2, $3: not refused by '$5':"
        tail -5 "$work/log"
        failed=1
    fi
}

refused windows x86_64 little '' 'Linux, macOS and FreeBSD, not on windows'
refused emscripten wasm32 little '' 'not on emscripten'
refused linux s390x big '' 'little-endian machine, not s390x'
case $("$cc" -dumpmachine) in
x86_64-*) refused linux x86 little "'-m32'" '64-bit machine; pointers have 32 bits' ;;
esac
exit $failed
