"""Checks that the public headers, the version script and the shared library agree on what is exported.

Usage: check_symbols.py PROJECT_ROOT LIBRARY NM READELF
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


def main(root, library, nm, readelf):
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
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
