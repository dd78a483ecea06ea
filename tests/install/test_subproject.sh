#!/bin/sh
# Builds a meson project that has the library as a subproject, with the options as they are, and runs its program.
# Nothing but the library may be built for it.
# Usage: test_subproject.sh PROJECT_ROOT MESON
set -eu
project=$1 meson=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/subprojects" "$work/subprojects/tinylm"
for part in meson.build meson_options.txt lib include pkgconfig docs examples tests LICENSE; do
    ln -s "$project/$part" "$work/subprojects/tinylm/$part"
done
cp "$here/subproject/meson.build" "$here/consumer.c" "$here/use_library.h" "$work"
cd "$work"
# shellcheck disable=SC2086 # the command may have arguments
{
    $meson setup build --buildtype=plain && $meson compile -C build && $meson test -C build
} >log 2>&1 || {
    cat log
    exit 1
}
tail -n 12 log
# shellcheck disable=SC2086
$meson introspect build --targets >targets
python3 - <<'EOF'
import json
names = sorted({target["name"] for target in json.load(open("targets")) if target["type"] != "run"})
print("targets:", *names)
allowed = {"consumer", "tinylm", "blis_kernels", "description of the ABI"}
unwanted = [name for name in names if name not in allowed]
assert not unwanted, f"a subproject builds {unwanted}"
assert {"consumer", "tinylm"} <= set(names), "the library is missing"
EOF
