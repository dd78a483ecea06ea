"""Checks that tests/train/test_paths.c tries every public function that takes a path.

Usage: check_paths.py PROJECT_ROOT. Prints each function that the test lacks and exits with 1 if there is one.
"""

import pathlib
import re
import sys

FUNCTION = re.compile(r"TLM_API\s+[\w\s*]+?\b(tlm_\w+)\(([^;]*)\);")
PATH = re.compile(r"\bconst char \*(path|directory|\w+_path|\w+_directory)\b")


def main(root):
    test = (root / "tests" / "train" / "test_paths.c").read_text(encoding="utf-8")
    tried = set(re.findall(r'\{"(tlm_\w+)[:"]', test))
    wanted = set()
    for header in sorted((root / "include" / "tinylm").glob("*.h")):
        for name, parameters in FUNCTION.findall(header.read_text(encoding="utf-8")):
            if PATH.search(parameters):
                wanted.add(name)
    for name in sorted(wanted - tried):
        print(f"tests/train/test_paths.c: {name} takes a path and is not tried")
    for name in sorted(tried - wanted):
        print(f"tests/train/test_paths.c: {name} is not a public function that takes a path")
    return 1 if wanted != tried or not wanted else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
