#!/bin/sh
# Prints the licenses that a program with tinylm inside must be shipped with: ours, and those of the libraries that are
# linked into it, as Debian's packages have them. Usage: notices.sh > NOTICES
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

echo "This program contains libtinylm:"
echo
cat "$root/LICENSE"
for library in BLIS:libblis-serial-dev Oniguruma:libonig-dev utf8proc:libutf8proc-dev liblzma:liblzma-dev; do
    file=/usr/share/doc/${library#*:}/copyright
    test -e "$file" || {
        echo "notices.sh: no $file; install ${library#*:}" >&2
        exit 1
    }
    echo
    echo "---------------------------------------------------------------------------------------------"
    echo "libtinylm contains or uses ${library%:*}:"
    echo
    cat "$file"
done
