"""Checks that the public headers, the version script and the shared library agree on what is exported, that the
static archive defines no other names than the library's own, and that no more of BLIS is linked than its kernels.

Usage: check_symbols.py PROJECT_ROOT LIBRARY ARCHIVE NM READELF LARGEST_SIZE
LARGEST_SIZE is in bytes; 0 for a build whose size tells nothing.
"""

import pathlib
import re
import subprocess
import sys


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def report(what, expected, actual):
    """Prints the differences of two sets; the number of them."""
    for name in sorted(expected - actual):
        print(f"{what}: lacks {name}")
    for name in sorted(actual - expected):
        print(f"{what}: has {name}, which it should not")
    return len(expected ^ actual)


# What the compiler defines for the address sanitizer.
SANITIZER_NAMES = re.compile(r"__(odr_)?asan")
BLIS_KERNEL = re.compile(r"bli_[sdcz]gemm_\w+_asm_\w+$")


def check_archive(nm, archive):
    """The number of global symbols of the archive that a program's own could clash with."""
    lines = [line.split() for line in output_of(nm, "-g", "--defined-only", archive).splitlines()]
    names = {words[2] for words in lines if len(words) == 3}
    foreign = sorted(name for name in names if not name.startswith(("tlm_", "tlmi_"))
                     and not SANITIZER_NAMES.match(name))
    for name in foreign:
        print(f"archive: defines {name}, which is neither tlm_ nor tlmi_")
    if len(names) < 50:
        print(f"archive: only {len(names)} symbols found")
    return len(foreign) + (len(names) < 50)


def check_size(nm, readelf, library, largest):
    """The number of faults: bytes loaded from the file beyond `largest`, and parts of BLIS's framework."""
    faults = 0
    segments = re.findall(r"^ +LOAD +\S+ \S+ \S+ (\S+)", output_of(readelf, "-lW", library), re.MULTILINE)
    size = sum(int(segment, 16) for segment in segments)
    if largest and not 0 < size <= largest:
        print(f"library: {size} bytes are loaded from the file, more than {largest}")
        faults += 1
    for line in output_of(nm, library).splitlines():
        name = line.split()[-1]
        if name.startswith("bli_") and not BLIS_KERNEL.match(name):
            print(f"library: holds {name} of BLIS, which is no kernel")
            faults += 1
    return faults


def main(root, library, archive, nm, readelf, largest):
    script = pathlib.Path(__file__).with_name("print_map.sh")
    wanted = output_of("sh", str(script), root)
    map_text = (pathlib.Path(root) / "lib" / "tinylm.map").read_text(encoding="utf-8")
    version = re.search(r"^(TINYLM_\d+) \{$", wanted, re.MULTILINE).group(1)
    functions = set(re.findall(r"^ +(tlm_\w+);$", wanted, re.MULTILINE))
    faults = 0
    if len(functions) < 50:
        print(f"headers: only {len(functions)} functions found")
        faults += 1

    if map_text != wanted:
        print("lib/tinylm.map: not what `sh tests/abi/print_map.sh . > lib/tinylm.map` prints")
        faults += 1
        faults += report("lib/tinylm.map", functions, set(re.findall(r"(tlm_\w+);", map_text)))

    # "address type name@@version", and the version itself as an absolute symbol.
    exported = [line.split()[-2:] for line in output_of(nm, "-D", "--defined-only", library).splitlines()]
    names = {name for kind, name in exported if kind != "A"}
    faults += report("library", {f"{name}@@{version}" for name in functions}, names)
    for kind, name in exported:
        if kind not in "TA":
            print(f"library: {name} is of kind {kind}, not a function")
            faults += 1

    dynamic = output_of(readelf, "-d", library)
    soname = re.search(r"SONAME.*\[(.*)\]", dynamic)
    wanted_soname = "libtinylm.so." + version.rsplit("_", 1)[1]
    if not soname or soname.group(1) != wanted_soname:
        print(f"library: its soname is not {wanted_soname}")
        faults += 1
    if re.search(r"NEEDED.*libblis", dynamic):
        print("library: needs a shared BLIS; it should hold its own")
        faults += 1
    faults += check_archive(nm, archive)
    faults += check_size(nm, readelf, library, int(largest))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
