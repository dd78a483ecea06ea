"""Checks the source tree's own rules: which folder of lib/ may include which, where third-party headers
and calls that end or disturb the program may stand, file names and file lengths.

Usage: check_layers.py PROJECT_ROOT. Prints each breach as path:line: reason and exits with 1 if there is one.
"""

import pathlib
import re
import sys

# Folder of lib/ -> the folders below it in the charter's order, whose headers it may include beside its own.
# lib/README.md draws the same.
BELOW = {
    "base": "",
    "kernels": "base",
    "tensor": "base kernels",
    "nn": "base kernels tensor",
    "model": "base kernels tensor nn",
    "infer": "base kernels tensor nn model formats tokenizer",
    "optim": "base kernels tensor",
    "formats": "base",
    "data": "base formats tokenizer",
    "tokenizer": "base kernels formats",
    "checkpoint": "base formats tensor model optim tokenizer",
    "interchange": "base formats tensor model tokenizer checkpoint",
    "train": "base kernels tensor nn model infer optim formats data tokenizer checkpoint interchange",
    "mpi": "",  # a library of its own, which knows only public headers
}
LAYERS = {folder: {folder, *below.split()} for folder, below in BELOW.items()}

# Third-party header -> the only files that may include it.
THIRD_PARTY = {
    "lzma.h": {"base/crc64.c"},
    "oniguruma.h": {"tokenizer/pretokenize/regex.c", "tokenizer/pretokenize/split_scripts.c"},
    "utf8proc.h": {"tokenizer/pretokenize/unicode.c", "tokenizer/pretokenize/char_traits.c",
                   "tokenizer/normalize/unicode_forms.c"},
    "blis.h": {"kernels/blis_kernels.c"},
    "mpi.h": {"mpi/mpi_communicator.c"},
}

# A library leaves the process, its output and its settings to the program.
FORBIDDEN_CALLS = re.compile(
    r"\b(abort|exit|_exit|_Exit|quick_exit|assert|printf|vprintf|puts|putchar|perror|psignal|setlocale|"
    r"uselocale|signal|sigaction|raise|system|setenv|putenv|srand|rand|strtok)\s*\("
)
FORBIDDEN_STREAMS = re.compile(r"\b(stdout|stderr|stdin)\b")

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
MAX_LINES = 600
SOURCE_FOLDERS = ("include", "lib", "examples", "tests")


def without_comments(text):
    """Comments and the contents of literals blanked; the lines stay where they are."""

    def blank(match):
        found = match.group(0)
        if found.startswith("/"):
            return re.sub(r"[^\n]", " ", found)
        return found[0] + found[0]

    pattern = r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
    return re.sub(pattern, blank, text, flags=re.DOTALL)


def include_breach(file, folder, quote, name):
    """Why lib/<file> may not include this header; None if it may."""
    base = pathlib.PurePosixPath(name).name
    if base in THIRD_PARTY:
        allowed = THIRD_PARTY[base]
        return None if file in allowed else f"{base} belongs to {', '.join(sorted(allowed))} only"
    if quote == "<":
        return None
    parts = pathlib.PurePosixPath(name).parts
    if len(parts) == 1 or parts[0] == "tinylm":
        return None
    if parts[0] not in LAYERS:
        return f"no folder {parts[0]} in lib"
    if folder in LAYERS and parts[0] not in LAYERS[folder]:
        return f"{folder} may not include {parts[0]}"
    return None


def check_library_file(root, path):
    file = path.relative_to(root / "lib").as_posix()
    folder = file.split("/")[0] if "/" in file else None
    if folder not in LAYERS:
        yield 1, "not in a folder that has a layer"
    text = path.read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            breach = include_breach(file, folder, *match.groups())
            if breach:
                yield number, breach
    for number, line in enumerate(without_comments(text).splitlines(), 1):
        if "__attribute__" in line:  # format(printf, ...) is not a call
            continue
        match = FORBIDDEN_CALLS.search(line) or FORBIDDEN_STREAMS.search(line)
        if match:
            yield number, f"{match.group(1)} does not belong in a library"


def sources(root, folders, suffixes=(".c", ".h")):
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in suffixes and path.is_file():
                yield path


def missing_from_umbrella(root):
    """Public headers that tinylm.h does not include."""
    folder = root / "include" / "tinylm"
    umbrella = (folder / "tinylm.h").read_text(encoding="utf-8")
    included = set(re.findall(r'#include "([^"]+)"', umbrella)) | {"tinylm.h", "export.h"}
    return [path for path in sorted(folder.glob("*.h")) if path.name not in included]


def main(root):
    breaches = [(path, 1, "not included by tinylm.h") for path in missing_from_umbrella(root)]
    seen = {}
    for path in sources(root, ["lib"]):
        for number, reason in check_library_file(root, path):
            breaches.append((path, number, reason))
        if path.name in seen:
            breaches.append((path, 1, f"another file has this name: {seen[path.name]}"))
        seen[path.name] = path.relative_to(root)
    for path in sources(root, SOURCE_FOLDERS, (".c", ".h", ".cpp", ".hpp", ".py")):
        count = len(path.read_text(encoding="utf-8").splitlines())
        if count > MAX_LINES:
            breaches.append((path, count, f"more than {MAX_LINES} lines"))
    for path, number, reason in breaches:
        print(f"{path.relative_to(root)}:{number}: {reason}")
    if not seen:
        print(f"{root}: no sources found")
    return 1 if breaches or not seen else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
