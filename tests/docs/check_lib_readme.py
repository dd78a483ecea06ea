"""Checks that lib/README.md names every source file of lib/ under its folder, and no file that is not
there.

Usage: check_lib_readme.py PROJECT_ROOT. Prints each breach and exits with 1 if there is one.
"""

import pathlib
import re
import sys


def named_files(text, folder):
    """Names in the first column of the folder's table; one without an ending stands for .c and .h."""
    section = re.search(rf"^### {folder}\n(.*?)(?=^### |\Z)", text, re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| (`[^|]*`) \|", section.group(1), re.MULTILINE) if section else []
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def breaches_of(root, text, folder):
    files = {path.name for path in (root / "lib" / folder).glob("*.[ch]")}
    named = named_files(text, folder)
    for name in sorted(named):
        if name not in files and name + ".c" not in files:
            yield f"lib/README.md names {folder}/{name}, which is not there"
    for file in sorted(files):
        if file not in named and file.rsplit(".", 1)[0] not in named:
            yield f"lib/README.md does not name {folder}/{file}"


def main(root):
    text = (root / "lib" / "README.md").read_text(encoding="utf-8")
    lib = root / "lib"
    folders = {path.parent.relative_to(lib).as_posix() for path in lib.rglob("*.[ch]")}
    breaches = [breach for folder in sorted(folders) for breach in breaches_of(root, text, folder)]
    print("\n".join(breaches))
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
