"""Checks the comments of the public headers: every exported function has one of its own, at most 12
lines long, that ends in @since; no line is longer than 100 characters.

Usage: check_headers.py PROJECT_ROOT. Prints each breach as path:line: reason and exits with 1 if there
is one.
"""

import pathlib
import re
import sys

MAX_LINES = 12
MAX_WIDTH = 100


def check(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_WIDTH:
            yield number, f"{len(line)} characters"
        if not line.startswith("TLM_API "):
            continue
        name = re.search(r"\b(tlm_\w+)\(", " ".join(lines[number - 1 : number + 1])).group(1)
        first = number - 2
        while first >= 0 and lines[first].startswith(" *"):
            first -= 1
        comment = lines[max(first, 0) : number - 1]
        if not comment or not comment[0].startswith("/**") or not comment[-1].endswith("*/"):
            yield number, f"{name} has no comment of its own"
        elif len(comment) > MAX_LINES:
            yield number, f"the comment of {name} has {len(comment)} lines"
        elif not re.search(r"@since \d+\.\d+ \*/$", comment[-1]):
            yield number, f"the comment of {name} does not end in @since"


def main(root):
    headers = sorted((root / "include" / "tinylm").glob("*.h"))
    breaches = [(path, *breach) for path in headers for breach in check(path)]
    for path, number, reason in breaches:
        print(f"{path.relative_to(root)}:{number}: {reason}")
    return 1 if breaches or not headers else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
