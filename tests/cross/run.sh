#!/bin/sh
# Builds the library for another processor and runs its tests under qemu-user. The libraries are Debian's for that
# processor, unpacked into a folder of their own: nothing of this machine's package system is changed.
#
# Usage: tests/cross/run.sh aarch64 [CPU [quick | MESON_TEST_ARGUMENT...]]
# CPU is one of qemu's (qemu-aarch64-static -cpu help), such as cortex-a72, neoverse-n1 or max, the default, which has
# every instruction set. Without more arguments the suites unit, grad and threads run, in hours; quick builds and runs
# what depends most on the CPU, in minutes. The last line counts the tests.
# The build is in $TINYLM_CROSS_DIR, build-cross-aarch64 of the current folder by default. Needs: apt (Debian 12's
# archive), dpkg-deb, meson, ninja, and the packages gcc-aarch64-linux-gnu and qemu-user-static.
#
# Not run: a test of thread_pool that forks while threads start and end, which qemu-user itself does not survive, and
# stream_memory, which limits the address space.
set -eu
machine=${1:?the processor: aarch64}
QEMU_CPU=${2:-max}
export QEMU_CPU
shift
[ $# -eq 0 ] || shift
case $machine in
aarch64) debian=arm64 ;;
*)
    echo "no such processor: $machine"
    exit 2
    ;;
esac
tuple=$machine-linux-gnu
here=$(cd "$(dirname "$0")/../.." && pwd)
work=${TINYLM_CROSS_DIR:-$PWD/build-cross-$machine}
for tool in "$tuple-gcc" "qemu-$machine-static" apt-get dpkg-deb meson ninja; do
    command -v "$tool" >/dev/null || {
        echo "skipped: no $tool"
        exit 77
    }
done
mkdir -p "$work"
work=$(cd "$work" && pwd)
echo '*' >"$work/.gitignore"

# ---- Debian's libraries for the processor ------------------------------------------------------------------------
root=$work/root
if ! [ -e "$work/packages-done" ]; then
    mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial" "$work/packages" "$root"
    touch "$work/apt/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main" \
        >"$work/apt/sources.list"
    cat >"$work/apt.conf" <<END
APT::Architecture "$debian";
APT::Architectures { "$debian"; };
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
    (
        cd "$work/packages"
        export APT_CONFIG="$work/apt.conf"
        apt-get -q update
        apt-get -q download libblis-serial-dev libonig-dev libonig5 libutf8proc-dev libutf8proc2 libjansson-dev \
            libjansson4 liblzma-dev liblzma5 check libsubunit-dev libsubunit0
    ) >"$work/log" 2>&1 || {
        cat "$work/log"
        exit 1
    }
    for package in "$work"/packages/*.deb; do
        dpkg-deb -x "$package" "$root"
    done
    # As -Dblis=PREFIX wants it.
    mkdir -p "$root/blis/include" "$root/blis/lib"
    ln -sfn "$root/usr/include/$tuple/blis-serial" "$root/blis/include/blis"
    ln -sf "$root/usr/lib/$tuple/blis-serial/libblis.a" "$root/blis/lib/libblis.a"
    touch "$work/packages-done"
fi

# ---- Build -------------------------------------------------------------------------------------------------------
ccache=$(command -v ccache >/dev/null && echo "'ccache', " || true)
cat >"$work/cross.ini" <<END
[binaries]
c = [$ccache'$tuple-gcc']
ar = '$tuple-ar'
strip = '$tuple-strip'
pkg-config = 'pkg-config'
exe_wrapper = ['qemu-$machine-static', '-L', '/usr/$tuple', '-E', 'LD_LIBRARY_PATH=$root/usr/lib/$tuple']

[properties]
pkg_config_libdir = '$root/usr/lib/$tuple/pkgconfig'
sys_root = '$root'

[host_machine]
system = 'linux'
cpu_family = '$machine'
cpu = '$machine'
endian = 'little'
END
if ! [ -e "$work/build/build.ninja" ]; then
    meson setup "$work/build" "$here" --cross-file "$work/cross.ini" --buildtype=release -Dblis="$root/blis" \
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

# ---- Tests; qemu is slow ----------------------------------------------------------------------------------------
if [ $# -eq 0 ]; then
    set -- --suite unit --suite grad --suite threads
fi
rm -f "$work/build/meson-logs/testlog.json"
ulimit -v 16000000 # kilobytes: a fault must not take the memory of the whole machine
TINYLM_TEST_IN_QEMU=1 CK_DEFAULT_TIMEOUT=3000 CK_TIMEOUT_MULTIPLIER=20 meson test -C "$work/build" --no-rebuild --timeout-multiplier 30 \
    "$@" || failed=1
echo "$machine, $QEMU_CPU: kernels of products: $(qemu-$machine-static -L "/usr/$tuple" \
    -E "LD_LIBRARY_PATH=$root/usr/lib/$tuple" "$work/build/tests/kernels/checkkernels" --gemm-kernel)"
python3 "$here/tests/count_results.py" "$work/build/meson-logs/testlog.json" >"$work/count" || failed=1
echo "$machine, $QEMU_CPU: $(cat "$work/count")"
exit "${failed:-0}"
