#!/bin/sh
# Prints the version (or with "abi" the ABI number) that include/tinylm/version.h defines.
set -eu
if [ "${2:-}" = abi ]; then
    sed -n 's/^#define TLM_ABI_VERSION *\([0-9]*\)$/\1/p' "$1"
else
    sed -n 's/^#define TLM_VERSION_STRING *"\(.*\)"$/\1/p' "$1"
fi
