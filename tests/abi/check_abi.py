"""Compares the ABI of the built library with those of the releases (tinylm-*.abi beside this file).
Functions may have come, and structs with a size may have grown at their end; anything else is a breach.
Exits with 77, skipped, without abigail's tools, where the library has no debug information, and on
machines other than those of the files.

Usage: check_abi.py PROJECT_ROOT LIBRARY [--refresh]
  --refresh   makes the library as it is the one that later ones are compared with: writes its ABI to
              tinylm-MAJOR.MINOR.abi and copies the headers to MAJOR.MINOR/tinylm, beside this file
"""

import pathlib
import platform
import re
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


def refresh(root, library):
    """The ABI of this version, and the headers that its witness program is compiled with."""
    headers = root / "include" / "tinylm"
    text = (headers / "version.h").read_text(encoding="utf-8")
    version = ".".join(re.search(rf"TLM_VERSION_{part} +(\d+)", text).group(1) for part in ("MAJOR", "MINOR"))
    folder = HERE / version / "tinylm"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for header in sorted(headers.glob("*.h")):
        shutil.copy(header, folder)
    dump(root, library, str(HERE / f"tinylm-{version}.abi"))


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
        refresh(root, library)
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
