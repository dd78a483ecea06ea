#!/bin/sh
# Prints lib/tinylm.map: every function that the public headers declare, sorted.
# Usage: sh tests/abi/print_map.sh PROJECT_ROOT > lib/tinylm.map
set -eu
headers=$1/include/tinylm
abi=$(sed -n 's/^#define TLM_ABI_VERSION *\([0-9]*\)$/\1/p' "$headers/version.h")
echo "TINYLM_$abi {"
echo "    global:"
# export.h only defines TLM_API. A declaration may break its line before the name.
find "$headers" -name '*.h' ! -name export.h -exec cat {} + | tr '\n' ' ' |
    grep -o 'TLM_API [^;(]*(' | sed 's/.*[ *]\(tlm_[a-z0-9_]*\)($/        \1;/' | LC_ALL=C sort
echo "    local:"
echo "        *;"
echo "};"
