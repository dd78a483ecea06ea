#!/bin/sh
# Builds with musl-gcc what the library, its programs and its tests need, as static libraries: for tests/cross/run.sh.
#
# Usage: tests/cross/musl_libraries.sh SOURCES WORK PREFIX
# SOURCES holds a tarball of each, as Debian names them (blis_1.1.orig.tar.gz); they are built in WORK and installed in
# PREFIX, with BLIS as -Dblis=PREFIX wants it. Takes some minutes, most of them BLIS's.
set -eu
sources=$1
mkdir -p "$2" "$3"
work=$(cd "$2" && pwd)
prefix=$(cd "$3" && pwd)
export CC=musl-gcc

# What cmake is to know of all: the last word is for version 4 and projects that ask for one before 3.5.
with_cmake() {
    cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
        -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_POLICY_VERSION_MINIMUM=3.5 "$@" &&
        cmake --build build -j 2 &&
        cmake --install build
}

# with_configure WORD...: an autoconf script, or BLIS's own.
with_configure() {
    ./configure --prefix="$prefix" --disable-shared "$@" && make -j 2 && make install
}

# In the folder of the source.
build_library() {
    case $1 in
    # The family has the kernels haswell and skx, each compiled for its own CPUs; no threads is the default.
    blis) with_configure --disable-blas --disable-cblas intel64 ;;
    libonig) with_cmake -DBUILD_TEST=OFF ;;
    utf8proc) with_cmake ;;
    xz-utils)
        with_configure --with-pic --disable-xz --disable-xzdec --disable-lzmadec --disable-lzmainfo \
            --disable-lzma-links --disable-scripts --disable-doc --disable-nls
        ;;
    jansson) with_cmake -DJANSSON_BUILD_DOCS=OFF -DJANSSON_WITHOUT_TESTS=ON -DJANSSON_EXAMPLES=OFF ;;
    # It always builds a shared library too, which would be linked before the other.
    check) with_cmake -DCHECK_ENABLE_TESTS=OFF && rm -f "$prefix"/lib/libcheck.so* ;;
    esac
}

for library in utf8proc libonig xz-utils jansson check blis; do
    [ -e "$work/$library-done" ] && continue
    rm -rf "${work:?}/$library"
    mkdir "$work/$library"
    tar -xf "$(ls "$sources/$library"_*.tar.*)" -C "$work/$library" --strip-components=1
    (cd "$work/$library" && build_library $library) >"$work/log" 2>&1 || {
        tail -30 "$work/log"
        echo "musl_libraries.sh: $library was not built; $work/log has all of it"
        exit 1
    }
    touch "$work/$library-done"
done
