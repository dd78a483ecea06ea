#!/bin/sh
# Has clang-format look at every C and C++ source. Skipped (77) without clang-format 14: other versions of it
# break lines in other places.
# Usage: check_format.sh PROJECT_ROOT
set -eu
cd "$1"
for tool in clang-format clang-format-14; do
    if "$tool" --version 2>/dev/null | grep -q 'version 14\.'; then
        find include lib examples tests \( -name '*.[ch]' -o -name '*.[ch]pp' \) -type f -exec \
            "$tool" --dry-run --Werror {} +
        exit
    fi
done
echo "skipped: no clang-format 14"
exit 77
