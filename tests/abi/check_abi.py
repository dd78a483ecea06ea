"""Compares the ABI of the built library with those of the releases (tinylm-*.abi beside this file).
Functions may have come, and options structs may have grown at their end; anything else is a breach.
Exits with 77, skipped, without abigail's tools, where the library has no debug information, and on
machines other than those of the files.

Usage: check_abi.py PROJECT_ROOT LIBRARY [--write FILE]
  --write FILE   writes the library's ABI there instead, for the next release
"""

import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
HERE = pathlib.Path(__file__).parent
# Exported functions and the public types that they use, and nothing of the machine that built them.
DUMP_OPTIONS = [
    "--exported-interfaces-only", "--drop-private-types", "--drop-undefined-syms", "--no-corpus-path",
    "--no-comp-dir-path", "--no-show-locs", "--no-elf-needed",
]


def dump(root, library, path):
    subprocess.run(
        ["abidw", *DUMP_OPTIONS, "--headers-dir", str(root / "include" / "tinylm"), "--out-file", path, library],
        check=True,
    )


def has_debug_information(library):
    sections = subprocess.run(["readelf", "-S", "-W", library], check=True, capture_output=True, text=True).stdout
    return ".debug_info" in sections


def main(root, library, *rest):
    root = pathlib.Path(root)
    for tool in ("abidw", "abidiff", "readelf"):
        if shutil.which(tool) is None:
            print(f"skipped: no {tool}")
            return SKIPPED
    if platform.machine() != "x86_64":
        print(f"skipped: the files are of x86_64, this is {platform.machine()}")
        return SKIPPED
    if not has_debug_information(library):
        print("skipped: the library was built without debug information (-Ddebug=true)")
        return SKIPPED
    if rest:
        dump(root, library, rest[1])
        return 0
    releases = sorted(HERE.glob("tinylm-*.abi"))
    faults = 0 if releases else 1
    with tempfile.TemporaryDirectory() as folder:
        now = str(pathlib.Path(folder) / "now.abi")
        dump(root, library, now)
        for release in releases:
            result = subprocess.run(
                ["abidiff", "--suppressions", str(HERE / "suppressions.ini"), "--no-added-syms", str(release), now],
                capture_output=True, text=True, check=False,
            )
            if result.returncode != 0:
                print(f"{release.name} against the library:\n{result.stdout}{result.stderr}")
                faults += 1
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
