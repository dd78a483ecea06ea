#!/bin/sh
# Builds a meson project that has the library as a subproject, and runs its program.
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
