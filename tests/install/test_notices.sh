#!/bin/sh
# The notices name the library and each library that is linked with it. Usage: test_notices.sh PROJECT_ROOT
set -eu
test -e /usr/share/doc/libblis-serial-dev/copyright || {
    echo "skipped: no Debian packages with their copyright files"
    exit 77
}
notices=$(sh "$1/pkgconfig/notices.sh")
for name in libtinylm BLIS Oniguruma utf8proc liblzma "MIT License" BSD-3-clause; do
    echo "$notices" | grep -q -i -- "$name" || {
        echo "the notices do not mention $name"
        exit 1
    }
done
