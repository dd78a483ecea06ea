#!/bin/sh
# Installs what building and testing libtinylm needs and is not there yet: on Debian, Ubuntu and their
# kin with apt-get, as root or through sudo. Elsewhere it only says what is missing. With the argument "cross", what
# tests/cross/run.sh needs is looked for too.
set -eu

missing=''

# need PACKAGE COMMAND...: the package is missing if dpkg does not know it as installed and the command,
# which looks for the same thing from another source, fails too.
need() {
    package=$1
    shift
    if dpkg-query -W -f '${db:Status-Abbrev}\n' "$package" 2>/dev/null | grep -q '^.i'; then
        echo "  $package: installed"
    elif "$@" >/dev/null 2>&1; then
        echo "  $package: provided otherwise"
    else
        echo "  $package: missing"
        missing="$missing $package"
    fi
}

compiles() {
    echo "#include <$1>" | cc -xc -fsyntax-only -
}

# Any of the three variants of BLIS will do.
has_blis() {
    for variant in serial pthread openmp; do
        for archive in /usr/lib/*/blis-"$variant"/libblis.a; do
            test -e "$archive" && return 0
        done
    done
    return 1
}

# Either implementation will do.
has_mpi() {
    pkg-config --exists ompi-c || pkg-config --exists mpich
}

# The tests make a locale with a comma for the decimal point.
has_locale_sources() {
    command -v localedef && test -e /usr/share/i18n/locales/de_DE
}

install_missing() {
    if [ "$(id -u)" -eq 0 ]; then
        as_root=''
    elif command -v sudo >/dev/null 2>&1; then
        as_root=sudo
    else
        echo "install_dependencies.sh: not root and no sudo; run as root:" >&2
        echo "  apt-get install$missing" >&2
        exit 1
    fi
    # shellcheck disable=SC2086 # both are lists of words
    $as_root apt-get update || echo "apt-get update failed; the lists there are may do."
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends $missing
}

echo "Looking for what libtinylm needs:"
need gcc cc --version
need g++ c++ --version
need binutils nm --version
need libc6-dev compiles stdio.h
need meson meson --version
need ninja-build ninja --version
need pkg-config pkg-config --version
need python3 python3 --version
need libblis-serial-dev has_blis
need libonig-dev pkg-config --exists oniguruma
need libutf8proc-dev pkg-config --exists libutf8proc
need liblzma-dev pkg-config --exists liblzma
need libjansson-dev pkg-config --exists jansson
need locales has_locale_sources
need libopenmpi-dev has_mpi
need check pkg-config --exists check
need abigail-tools abidiff --version
need cmake cmake --version
need mkdocs mkdocs --version
if [ "${1:-}" = cross ]; then
    need gcc-aarch64-linux-gnu aarch64-linux-gnu-gcc --version
    need libc6-dev-arm64-cross test -e /usr/aarch64-linux-gnu/lib/libc.so.6
    need qemu-user-static qemu-aarch64-static --version
fi

if [ -z "$missing" ]; then
    echo "Nothing to install."
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "install_dependencies.sh: no apt-get here; install what these Debian packages hold:" >&2
    echo " $missing" >&2
    exit 1
fi
echo "Installing:$missing"
if ! install_missing; then
    echo "That failed; trying once more."
    sleep 5
    install_missing || {
        echo "install_dependencies.sh: apt-get could not install:$missing" >&2
        exit 1
    }
fi
