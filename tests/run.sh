#!/bin/sh
# Builds and tests everything: a release build in build/, there the unit and gradient tests once more
# with the kernels in plain C, then a build with the address and undefined behavior sanitizers in
# build-sanitize/. Where CI is set, a choice of tests runs on an emulated AArch64 too (tests/cross/run.sh). The last
# line counts the tests of all runs.
set -eu
cd "$(dirname "$0")/.."
sh tests/install_dependencies.sh

# A version manager may leave a meson, ninja or python3 first on PATH that does not run.
for tool in meson ninja python3; do
    "$tool" --version >/dev/null 2>&1 || PATH=/usr/bin:$PATH
done
export PATH

# configure DIRECTORY OPTION...: sets up a build directory, or has an existing one take the options; one
# that cannot (made by another version of meson, or moved) is made anew.
configure() {
    directory=$1
    shift
    if [ -e "$directory/meson-private" ]; then
        if grep -qF "\"source\": \"$(pwd -P)\"" "$directory/meson-info/meson-info.json" &&
            meson setup --reconfigure "$directory" "$@"; then
            return
        fi
        echo "run.sh: $directory is stale; making it anew"
    fi
    rm -rf "$directory"
    meson setup "$directory" "$@"
}

failed=0
logs=''
# run_tests DIRECTORY LOG OPTION...: LOG is the name that meson gives the run's log.
run_tests() {
    directory=$1
    log=$directory/meson-logs/$2
    shift 2
    rm -f "$log"
    logs="$logs $log"
    meson test -C "$directory" --no-rebuild --print-errorlogs "$@" || failed=1
}

# With debug information, which the comparison of ABIs reads.
configure build --buildtype=release -Ddebug=true -Db_sanitize=none -Dtests=true -Dexamples=true
meson compile -C build
run_tests build testlog.json
run_tests build testlog-scalar.json --setup scalar --suite unit --suite grad

# These load the library into a Python that the sanitizers are not part of, or test the installed
# files, which are the release build's.
configure build-sanitize --buildtype=debugoptimized -Db_sanitize=address,undefined \
    -Db_lundef=false -Dtests=true -Dexamples=true
meson compile -C build-sanitize
UBSAN_OPTIONS=${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}
export UBSAN_OPTIONS
run_tests build-sanitize testlog.json --timeout-multiplier 5 \
    --no-suite examples --no-suite python --no-suite install --no-suite abi --no-suite checks

if [ -n "${CI:-}" ] && sh tests/install_dependencies.sh cross; then
    cross=$PWD/build-cross-aarch64
    status=0
    TINYLM_CROSS_DIR=$cross sh tests/cross/run.sh aarch64 max quick || status=$?
    if [ "$status" -ne 77 ]; then
        logs="$logs $cross/build/meson-logs/testlog.json"
        [ "$status" -eq 0 ] || failed=1
    fi
fi

# No log, no tests: that counts as a failure.
# shellcheck disable=SC2086 # a list of words
python3 tests/count_results.py $logs || failed=1
exit $failed
