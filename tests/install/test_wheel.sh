#!/bin/sh
# Sees what pip says where -dev packages are missing, builds a wheel, checks its licenses, installs it in an environment
# of each Python that is given, and runs the tests of the Python package there, away from the source tree's package.
# Usage: test_wheel.sh PYTHON...; TINYLM_WHEEL names a wheel to take instead of building one.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH TINYLM_LIBRARY

# A new environment where no -dev package is: pip says which are missing, and the command that installs them.
python3 -m venv --without-pip "$work/bare"
mkdir "$work/empty"
if PKG_CONFIG_LIBDIR=$work/empty PKG_CONFIG_PATH= python3 -m pip --python "$work/bare/bin/python" install "$root" \
    >"$work/log" 2>&1; then
    echo "pip install succeeded without -dev packages"
    exit 1
fi
if ! grep -q "sudo apt install libonig-dev libutf8proc-dev liblzma-dev" "$work/log" || grep -q Traceback "$work/log"; then
    cat "$work/log"
    exit 1
fi
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
# What is in it, or comes with auditwheel, is under licenses that ask to be shipped along; RECORD knows all files.
python3 - "$wheel" <<'EOF'
import base64, csv, hashlib, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    files = {name: wheel.read(name) for name in wheel.namelist() if not name.endswith("/")}
info = next(name for name in files if name.endswith(".dist-info/RECORD")).removesuffix("RECORD")
licenses = files[info + "licenses/NOTICES"].decode().lower()
for name in ("libtinylm", "BLIS", "Oniguruma", "utf8proc", "liblzma"):
    assert name.lower() in licenses, f"NOTICES does not mention {name}"
rows = {row[0]: row[1] for row in csv.reader(files[info + "RECORD"].decode().splitlines())}
assert sorted(rows) == sorted(files), set(rows) ^ set(files)
for name, data in files.items():
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    assert rows[name] == ("" if name == info + "RECORD" else "sha256=" + digest), f"RECORD is wrong on {name}"
EOF
for python in "$@"; do
    echo "$("$python" --version): $(basename "$wheel")"
    "$python" -m venv --without-pip "$work/env"
    python3 -m pip --python "$work/env/bin/python" install -q --no-index "$wheel"
    cd "$work"
    for test in library models tensor_basics tokenizers training objects arguments interrupts; do
        "$work/env/bin/python" "$root/tests/python/test_$test.py" 2>"$work/log" || {
            cat "$work/log"
            exit 1
        }
        tail -3 "$work/log"
    done
    rm -rf "$work/env"
done
