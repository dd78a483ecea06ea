#!/bin/sh
# Builds a wheel, installs it in an environment of each Python that is given, and runs the tests of the
# Python package there, away from the source tree's package.
# Usage: test_wheel.sh PYTHON...; TINYLM_WHEEL names a wheel to take instead of building one.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH TINYLM_LIBRARY
wheel=${TINYLM_WHEEL:-}
if [ -z "$wheel" ]; then
    python3 -m pip wheel --no-deps -q -w "$work/dist" "$root"
    wheel=$(echo "$work"/dist/tinylm-*.whl)
fi
case $wheel in
*-py3-none-*.whl) ;;
*)
    echo "$wheel has the tag of one Python only"
    exit 1
    ;;
esac
for python in "$@"; do
    echo "$("$python" --version): $(basename "$wheel")"
    "$python" -m venv --without-pip "$work/env"
    python3 -m pip --python "$work/env/bin/python" install -q --no-index "$wheel"
    cd "$work"
    for test in tinylm objects arguments interrupts; do
        "$work/env/bin/python" "$root/tests/python/test_$test.py" 2>"$work/log" || {
            cat "$work/log"
            exit 1
        }
        tail -3 "$work/log"
    done
    rm -rf "$work/env"
done
