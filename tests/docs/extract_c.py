"""Writes the ```c blocks of a page, one after another, as a C file, with #line so that errors point at the page.

Usage: extract_c.py PAGE OUTPUT
"""

import pathlib
import sys


def main(page, output):
    lines, inside = [], False
    for number, line in enumerate(pathlib.Path(page).read_text(encoding="utf-8").splitlines(), 1):
        if line == "```c":
            inside = True
            lines.append(f'#line {number + 1} "{page}"')
        elif line == "```":
            inside = False
        elif inside:
            lines.append(line)
    pathlib.Path(output).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
