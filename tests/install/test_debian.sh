#!/bin/sh
# Builds the Debian packages from the committed sources, installs them, runs their tests and removes them
# again. Needs root, dpkg-dev and debhelper; not part of the test suite, since it changes the system.
# Usage: sh tests/install/test_debian.sh
set -eu
cd "$(dirname "$0")/../.."
version=$(sh lib/read_version.sh include/tinylm/version.h)
grep -q "^tinylm ($version-" debian/changelog || {
    echo "debian/changelog is not of version $version"
    exit 1
}
work=$(mktemp -d)
remove() {
    dpkg --purge tinylm-examples-mpi tinylm-examples tinylm libtinylm-mpi-dev libtinylm-mpi1 libtinylm-dev libtinylm1 >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap remove EXIT
# Packages are built with the system's tools alone.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mkdir "$work/tinylm-$version"
git archive HEAD | tar -x -C "$work/tinylm-$version"
(cd "$work/tinylm-$version" && dpkg-buildpackage -b -us -uc) >"$work/log" 2>&1 || {
    tail -n 40 "$work/log"
    exit 1
}
dpkg -i "$work"/libtinylm1_*.deb "$work"/libtinylm-dev_*.deb "$work"/tinylm_*.deb "$work"/tinylm-examples_*.deb \
    "$work"/libtinylm-mpi1_*.deb "$work"/libtinylm-mpi-dev_*.deb "$work"/tinylm-examples-mpi_*.deb
sh debian/tests/consumer
sh debian/tests/consumer-mpi
