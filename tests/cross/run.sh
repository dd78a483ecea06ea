#!/bin/sh
# Builds the library for another processor or another C library and runs its tests: for 64-bit ARM under qemu-user, or
# with musl on x86-64, where its programs run like any other. The libraries are Debian's, in a folder of its own: for
# ARM its packages unpacked, for musl its sources built (musl_libraries.sh). Nothing of this machine's package system is
# changed.
#
# Usage: tests/cross/run.sh aarch64 [CPU [quick | MESON_TEST_ARGUMENT...]]
#        tests/cross/run.sh x86_64-musl [quick | MESON_TEST_ARGUMENT...]
# CPU is one of qemu's (qemu-aarch64-static -cpu help), such as cortex-a72, neoverse-n1 or max, the default, which has
# every instruction set. Without more arguments the suites unit, grad and threads run, in hours under qemu, and with musl
# golden, oom and examples too; quick builds and runs what depends most on the CPU, in minutes. The last line counts the
# tests.
# The build is in $TINYLM_CROSS_DIR, build-cross-aarch64 or build-cross-x86_64-musl of the current folder by default.
# Needs: apt (Debian 12's archive), meson, ninja, and for ARM dpkg-deb and the packages gcc-aarch64-linux-gnu and
# qemu-user-static, for musl the packages musl-tools, make, cmake and xz-utils.
#
# Not run under qemu: a test of thread_pool that forks while threads start and end, which qemu-user itself does not
# survive. Skipped there: stream_memory, which limits the address space. Skipped with musl: "comma locales", since it
# has no locale with a comma.
set -eu
machine=${1:?the processor: aarch64 or x86_64-musl}
shift
label=$machine
case $machine in
aarch64)
    tuple=aarch64-linux-gnu
    export QEMU_CPU="${1:-max}" TINYLM_TEST_IN_QEMU=1 CK_DEFAULT_TIMEOUT=3000 CK_TIMEOUT_MULTIPLIER=20
    [ $# -eq 0 ] || shift
    label="$machine, $QEMU_CPU"
    tools="$tuple-gcc qemu-aarch64-static dpkg-deb"
    patience=30
    suites='--suite unit --suite grad --suite threads'
    ;;
x86_64-musl)
    tools='musl-gcc make cmake tar xz'
    patience=4
    suites='--suite unit --suite grad --suite threads --suite golden --suite oom --suite examples'
    ;;
*)
    echo "neither aarch64 nor x86_64-musl: $machine"
    exit 2
    ;;
esac
here=$(cd "$(dirname "$0")/../.." && pwd)
work=${TINYLM_CROSS_DIR:-$PWD/build-cross-$machine}
for tool in $tools apt-get meson ninja python3; do
    command -v "$tool" >/dev/null || {
        echo "skipped: no $tool"
        exit 77
    }
done
mkdir -p "$work"
work=$(cd "$work" && pwd)
root=$work/root
echo '*' >"$work/.gitignore"

# ---- Debian's libraries, in $root --------------------------------------------------------------------------------
# configure_apt ARCHITECTURE deb|deb-src SUITE...: an apt that knows nothing of this machine's.
configure_apt() {
    mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial" "$work/packages" "$root"
    touch "$work/apt/status"
    cat >"$work/apt.conf" <<END
APT::Architecture "$1";
APT::Architectures { "$1"; };
APT::Sandbox::User "";
Dir::State "$work/apt";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt";
Dir::Etc::Main "-";
Dir::Etc::Parts "-";
Dir::Etc::SourceList "$work/apt/sources.list";
Dir::Etc::SourceParts "-";
Dir::Etc::PreferencesParts "-";
END
    kind=$2
    shift 2
    site=$(apt-get --print-uris update | sed -n "s|^'\(.*\)/dists/bookworm/InRelease'.*|\1|p" | head -n 1)
    [ -n "$site" ] || {
        echo "skipped: apt's sources here do not name Debian 12's archive"
        exit 77
    }
    for suite; do
        echo "$kind [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site $suite main"
    done >"$work/apt/sources.list"
}

# fetch ARGUMENT...: apt-get's, for what comes into $work/packages.
fetch() {
    (cd "$work/packages" && export APT_CONFIG="$work/apt.conf" && apt-get -q update && apt-get -q "$@") \
        >"$work/log" 2>&1 || {
        grep '^E:' "$work/log" || true
        echo "run.sh: Debian's archive did not give what is needed; $work/log has all that apt said"
        exit 1
    }
}

if ! [ -e "$work/packages-done" ]; then
    case $machine in
    aarch64)
        configure_apt arm64 deb bookworm
        fetch download libblis-serial-dev libonig-dev libonig5 libutf8proc-dev libutf8proc2 libjansson-dev \
            libjansson4 liblzma-dev liblzma5 check libsubunit-dev libsubunit0
        for package in "$work"/packages/*.deb; do
            dpkg-deb -x "$package" "$root"
        done
        # As -Dblis=PREFIX wants it.
        mkdir -p "$root/blis/include" "$root/blis/lib"
        ln -sfn "$root/usr/include/$tuple/blis-serial" "$root/blis/include/blis"
        ln -sf "$root/usr/lib/$tuple/blis-serial/libblis.a" "$root/blis/lib/libblis.a"
        ;;
    x86_64-musl)
        # Debian 13's BLIS, so that a version after 0.9 is tried somewhere too.
        configure_apt amd64 deb-src bookworm trixie
        fetch source --download-only --tar-only blis/trixie libonig/bookworm utf8proc/bookworm xz-utils/bookworm \
            jansson/bookworm check/bookworm
        sh "$here/tests/cross/musl_libraries.sh" "$work/packages" "$work/libraries" "$root"
        ;;
    esac
    touch "$work/packages-done"
fi

# ---- Build -------------------------------------------------------------------------------------------------------
ccache=$(command -v ccache >/dev/null && echo "'ccache', " || true)
run=''
case $machine in
aarch64)
    blis=$root/blis
    run="qemu-aarch64-static -L /usr/$tuple -E LD_LIBRARY_PATH=$root/usr/lib/$tuple"
    cat >"$work/cross.ini" <<END
[binaries]
c = [$ccache'$tuple-gcc']
ar = '$tuple-ar'
strip = '$tuple-strip'
pkg-config = 'pkg-config'
exe_wrapper = ['$(echo "$run" | sed "s/ /', '/g")']

[properties]
pkg_config_libdir = '$root/usr/lib/$tuple/pkgconfig'
sys_root = '$root'
END
    ;;
x86_64-musl)
    blis=$root
    cat >"$work/cross.ini" <<END
[binaries]
c = [$ccache'musl-gcc']
ar = 'ar'
strip = 'strip'
pkg-config = 'pkg-config'

[properties]
pkg_config_libdir = '$root/lib/pkgconfig'
needs_exe_wrapper = false
END
    ;;
esac
cat >>"$work/cross.ini" <<END

[host_machine]
system = 'linux'
cpu_family = '${machine%-musl}'
cpu = '${machine%-musl}'
endian = 'little'
END
if ! [ -e "$work/build/build.ninja" ]; then
    meson setup "$work/build" "$here" --cross-file "$work/cross.ini" --buildtype=release -Dblis="$blis" \
        >"$work/log" 2>&1 || {
        tail -30 "$work/log"
        exit 1
    }
fi
# What depends most on the CPU: the names of the tests, and the programs that they run.
targets=''
if [ "${1:-}" = quick ]; then
    set -- checkkernels test_vector_math test_gemm cpu test_gradcheck
    targets='tests/kernels/checkkernels tests/kernels/test_vector_math tests/kernels/test_gemm tests/base/test_cpu
        tests/tensor/test_gradcheck'
fi
# shellcheck disable=SC2086
ninja -C "$work/build" $targets >"$work/log" 2>&1 || {
    grep -E 'error|warning|FAILED' "$work/log" || tail -30 "$work/log"
    exit 1
}

# ---- Tests; qemu is slow -----------------------------------------------------------------------------------------
if [ $# -eq 0 ]; then
    # shellcheck disable=SC2086
    set -- $suites
fi
rm -f "$work/build/meson-logs/testlog.json"
# A fault of qemu must not take the memory of the whole machine; kilobytes. Elsewhere a browser needs the space.
[ "$machine" != aarch64 ] || ulimit -v 16000000
meson test -C "$work/build" --no-rebuild --timeout-multiplier $patience "$@" || failed=1
# shellcheck disable=SC2086
echo "$label: kernels of products: $($run "$work/build/tests/kernels/checkkernels" --gemm-kernel)"
python3 "$here/tests/count_results.py" "$work/build/meson-logs/testlog.json" >"$work/count" || failed=1
echo "$label: $(cat "$work/count")"
exit "${failed:-0}"
