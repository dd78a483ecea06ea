"""Writes the ```c blocks of a page, one after another, as a C file, with #line so that errors point at the page. It
ends before the first block that is a program of its own, with its file's name as the first comment.

Usage: extract_c.py PAGE OUTPUT
"""

import pathlib
import re
import sys


def extract(page):
    lines, inside = [], False
    for number, line in enumerate(pathlib.Path(page).read_text(encoding="utf-8").splitlines(), 1):
        if inside and re.fullmatch(r"/\* \w+\.c \*/", line):
            return lines[:-1]
        if line == "```c":
            inside = True
            lines.append(f'#line {number + 1} "{page}"')
        elif line == "```":
            inside = False
        elif inside:
            lines.append(line)
    return lines


if __name__ == "__main__":
    pathlib.Path(sys.argv[2]).write_text("\n".join(extract(sys.argv[1])) + "\n", encoding="utf-8")
