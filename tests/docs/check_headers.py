"""Checks the comments of the public headers, as the reference shows them: every exported function has one
of its own, at most 12 lines long, that ends in @since; every field of a struct, every constant and every
type has one above it or on its line; no line is longer than 100 characters.

Usage: check_headers.py PROJECT_ROOT. Prints each breach as path:line: reason and exits with 1 if there
is one.
"""

import pathlib
import re
import sys

MAX_LINES = 12
MAX_WIDTH = 100
# Fields and constants without a comment of their own.
SPEAK_FOR_THEMSELVES = r"reserved\d*$|TLM_\w+_INIT$|TLM_SIZED$|TLM_API$|TLM_STATUS_ENUM$|TLM_FEATURE_"


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


def is_documented(lines, index):
    """Whether a doc comment stands on the line or ends on the one before."""
    first = index - 1
    while first >= 0 and lines[first].lstrip().startswith("*"):
        first -= 1
    above = first >= 0 and lines[first].lstrip().startswith("/**") and lines[index - 1].rstrip().endswith("*/")
    return "/**<" in lines[index] or above and "/**<" not in lines[first]


def check_items(path):
    """Fields, constants and types."""
    lines = path.read_text(encoding="utf-8").splitlines()
    in_struct = in_comment = False
    for index, line in enumerate(lines):
        starts = line.lstrip().startswith("/*")
        if in_comment or starts:
            in_comment = "*/" not in line
            continue
        in_struct = in_struct and not line.startswith("}")
        field = re.match(r"    [\w ]+[ *(]+(\w+)(\[\w+\])?(\)\(.*\))?;", line) if in_struct else None
        constant = re.match(r"#define (TLM_\w+)(?!.*\bTLM_SIZED\b)\b", line)
        named = re.match(r"typedef .*?\b(tlm_\w+)(?: \{|;|\))", line)
        name = next((match.group(1) for match in (field, constant, named) if match), None)
        in_struct = in_struct or line.startswith("typedef struct") and line.endswith("{")
        if name and not re.match(SPEAK_FOR_THEMSELVES, name) and not is_documented(lines, index):
            yield index + 1, f"{name} has no comment"


def main(root):
    headers = sorted((root / "include" / "tinylm").glob("*.h"))
    breaches = [(path, *breach) for path in headers
                for breach in [*check(path), *check_items(path)]]
    for path, number, reason in breaches:
        print(f"{path.relative_to(root)}:{number}: {reason}")
    return 1 if breaches or not headers else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
