#!/bin/sh
# Installs the build into a directory of its own and has programs use it from there as any user would:
# in C with the shared and the static library, in C++, through dlopen, from Python and by CMake.
# Usage: test_install.sh PROJECT_ROOT BUILD_DIRECTORY PREFIX MESON CC CXX PYTHON; CXX may be empty.
set -eu
project=$1 build=$2 prefix=$3 meson=$4 cc=$5 cxx=$6 python=$7
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# shellcheck disable=SC2086 # the commands may have arguments
$meson install -C "$build" --no-rebuild --destdir "$work/root" >"$work/log" 2>&1 || {
    cat "$work/log"
    exit 1
}
root=$work/root$prefix
pc=$(find "$root" -name tinylm.pc)
library=$(find "$root" -name libtinylm.so)
archive=$(find "$root" -name libtinylm.a)
for file in "$pc" "$library" "$archive" "$root/include/tinylm/tinylm.h" "$root/share/tinylm/tinylm-abi.json"; do
    test -f "$file" || {
        echo "not installed: $file"
        exit 1
    }
done
# The files lie where they were not configured to go, so the .pc file has to learn the place.
sed -i "s|^prefix=.*|prefix=$root|" "$pc"
PKG_CONFIG_PATH=$(dirname "$pc")
LD_LIBRARY_PATH=$(dirname "$library")
export PKG_CONFIG_PATH LD_LIBRARY_PATH
warnings='-Wall -Wextra -Werror -pedantic'
cd "$work"

version=$(sed -n 's/^#define TLM_VERSION_STRING *"\(.*\)"$/\1/p' "$root/include/tinylm/version.h")
test "$(pkg-config --modversion tinylm)" = "$version"

# run NAME COMMAND...
run() {
    echo "$1"
    shift
    "$@"
}

# shellcheck disable=SC2046,SC2086
{
    $cc -std=c99 $warnings -o shared "$here/consumer.c" $(pkg-config --cflags --libs tinylm) -lm
    readelf -d shared | grep -q 'NEEDED.*libtinylm\.so\.'
    run 'C, shared' ./shared

    # The program and the commands of the README, from cc on; of those before it, ldconfig finds the library.
    sed -n '/^```c$/,/^```$/{/^```/d;p}' "$project/README.md" >count.c
    PATH=$PATH:/sbin:/usr/sbin ldconfig -n -v "$LD_LIBRARY_PATH" 2>&1 | grep "libtinylm\.so\.[0-9]* -> libtinylm\.so\.$version"
    command=$(grep '^cc count\.c' "$project/README.md")
    grep -q 'meson install -C build && sudo ldconfig$' "$project/README.md"
    run 'the README' sh -ec "$cc${command#cc}" >printed
    cat printed
    grep -q '^loss 0\.0' printed

    # Both libraries are there, so the archive has to be asked for by its full name.
    $cc -std=c99 $warnings -o static "$here/consumer.c" \
        $(pkg-config --static --cflags --libs tinylm | sed 's/-ltinylm/-l:libtinylm.a/g') -lm
    if readelf -d static | grep 'NEEDED.*\(tinylm\|blis\)'; then
        echo 'the static program needs the shared library'
        exit 1
    fi
    run 'C, static' ./static

    # A program's own BLIS, whose archive comes first on the line.
    blis=$(sed -n 's/^Libs\.private:.*[ :]\(\/[^ ]*libblis\.a\).*/\1/p' "$pc")
    if [ -n "$blis" ]; then
        $cc -std=c99 $warnings -o with_blis "$here/consumer_blis.c" "$blis" \
            $(pkg-config --static --cflags --libs tinylm | sed 's/-ltinylm/-l:libtinylm.a/g') -lm
        run 'C, static, behind BLIS' ./with_blis
    fi

    $cc -std=c99 $warnings -o dlopen "$here/consumer_dlopen.c" $(pkg-config --cflags tinylm) -ldl -lm
    run 'C, dlopen' ./dlopen "$library"

    if [ -n "$cxx" ]; then
        $cxx -std=c++17 $warnings -o cpp "$here/consumer.cpp" $(pkg-config --cflags --libs tinylm)
        run 'C++' ./cpp
    else
        echo 'C++: no compiler'
    fi
    run 'Python' $python "$here/consumer.py" "$library"
}

# The companion library, where the build has one.
if [ -f "$(dirname "$pc")/tinylm-mpi.pc" ]; then
    sed -i "s|^prefix=.*|prefix=$root|" "$(dirname "$pc")/tinylm-mpi.pc"
    test "$(pkg-config --modversion tinylm-mpi)" = "$version"
    run 'C, over MPI' sh "$here/consumer_mpi.sh" "$cc"
else
    echo 'MPI: not built'
fi

# The files that CMake reads find the place by themselves.
if ! cmake --version >/dev/null 2>&1; then
    echo 'CMake: not installed'
    exit 0
fi
mkdir cmake
cp "$here/cmake/CMakeLists.txt" "$here/consumer.c" "$here/use_library.h" cmake
cmake_consumer() {
    CC=$cc cmake -S cmake -B cmake/build -DCMAKE_PREFIX_PATH="$root" -DTINYLM_VERSION="$1" >cmake/log 2>&1
}
cmake_consumer "$version" && cmake --build cmake/build >cmake/log 2>&1 || {
    cat cmake/log
    exit 1
}
run 'CMake, shared' cmake/build/consumer_tinylm
run 'CMake, static' cmake/build/consumer_static
rm -rf cmake/build
if cmake_consumer 99.0; then
    echo 'CMake took this version for 99.0'
    exit 1
fi
