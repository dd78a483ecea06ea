"""Compiles and runs the programs of docs/guide.md, docs/python.md, docs/adding-an-op.md,
docs/adding-an-architecture.md and README.md, and checks the guide's command lines.

A ```c block that begins with a comment that is a file name opens a program; the blocks after it, up to
the next such block, continue it; blocks before the first are not looked at. In docs/adding-an-architecture.md a ```c
block begins with a comment that is a path, and its other lines must stand in that file. ```python blocks are programs of their own. In ```sh blocks of
the guide and of docs/resources.md, each option given to a demo program must be one that its --help lists.

Usage: check_guide.py PROJECT_ROOT LIBRARY EXAMPLES COMPILER...
  LIBRARY   the built libtinylm.so
  EXAMPLES  directory of the demo programs, or '' to leave the command lines out
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1"]


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def c_programs(text):
    programs = {}
    name = None
    for block in blocks(text, "c"):
        opening = re.match(r"/\* (\w+\.c) \*/\n", block)
        if opening:
            name = opening.group(1)
            programs[name] = ""
        if name is not None:
            programs[name] += block
    return programs


def run(what, command, folder, library):
    """Runs a command, prints its output and says whether it succeeded."""
    path = os.pathsep.join(filter(None, [str(library.parent), os.environ.get("LD_LIBRARY_PATH")]))
    module = pathlib.Path(__file__).resolve().parents[2] / "examples" / "python"
    environment = {**os.environ, "LD_LIBRARY_PATH": path, "PYTHONPATH": str(module),
                   "TINYLM_LIBRARY": str(library), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
    result = subprocess.run(command, cwd=folder, env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            errors="replace", timeout=300, check=False)
    print(f"--- {what}: {'ok' if result.returncode == 0 else f'status {result.returncode}'}")
    print(result.stdout, end="")
    return result.returncode == 0


def check_c(name, source, root, library, compiler):
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / name).write_text(source, encoding="utf-8")
        build = [*compiler, *FLAGS, f"-I{root / 'include'}", name, "-o", "program", str(library)]
        return run(f"compile {name}", build, folder, library) and run(
            f"run {name}", ["./program"], folder, library)


def check_python(index, source, library):
    with tempfile.TemporaryDirectory() as folder:
        return run(f"Python block {index}", [sys.executable, "-c", source], folder, library)


def check_excerpt(block, root):
    """Whether the lines of a block stand in the file that its first line names, whatever their indentation and
    comments."""
    def code(line):
        return re.sub(r"/\*.*?\*/", "", line).strip()

    path, *lines = block.splitlines()
    file = root / path.removeprefix("/* ").removesuffix(" */")
    there = {code(line) for line in file.read_text(encoding="utf-8").splitlines()}
    missing = [line for line in lines if code(line) not in there]
    for line in missing:
        print(f"--- {file} has no line: {line}")
    return not missing


def check_command(line, examples):
    """Whether the options of one command line are known; lines of other programs pass."""
    words = shlex.split(line, comments=True)
    program = examples / pathlib.PurePath(words[0]).name if words else None
    if not words or not words[0].startswith("./") or "=" in words[0]:
        return True
    if not program.exists():
        print(f"--- no demo program {words[0]}")
        return False
    text = subprocess.run([str(program), "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=60, check=False).stdout
    known = set(re.findall(r"--[a-z0-9-]+", text))
    unknown = [word for word in words[1:] if word.startswith("--") and word not in known]
    if unknown:
        print(f"--- {words[0]} has no {', '.join(unknown)}")
    return not unknown


def main(root, library, examples, compiler):
    text = (root / "docs" / "guide.md").read_text(encoding="utf-8")
    programs = c_programs(text)
    for page in ("README.md", "docs/adding-an-op.md"):
        programs |= c_programs((root / page).read_text(encoding="utf-8"))
    good = [check_c(name, source, root, library, compiler) for name, source in programs.items()]
    architecture = root / "docs" / "adding-an-architecture.md"
    good += [check_excerpt(block, root) for block in blocks(architecture.read_text(encoding="utf-8"), "c")]
    pages = [root / page for page in ("docs/guide.md", "docs/python.md", "docs/adding-an-op.md")] + [architecture]
    python = [block for page in pages for block in blocks(page.read_text(encoding="utf-8"), "python")]
    good += [check_python(i, source, library) for i, source in enumerate(python, 1)]
    if examples:
        text += (root / "docs" / "resources.md").read_text(encoding="utf-8")
        commands = re.sub(r"\\\n", " ", "".join(blocks(text, "sh"))).splitlines()
        good += [check_command(line, pathlib.Path(examples)) for line in commands]
    return 0 if programs and all(good) else 1


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3],
                  sys.argv[4:]))
