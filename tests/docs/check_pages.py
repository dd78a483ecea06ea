"""Runs the programs and commands of the project's Markdown pages, each page in a folder of its own with small files
under the names that the pages use.

- ```sh   The shell runs the block. Its programs are the demo programs, with options that make them short, and the
          tools of the build, which only check that the files that they are given exist.
- ```json A block below a line that ends with `NAME.json`: is that file.
- ```c    A block that begins with the name of a file as a comment opens a program, which the blocks after it continue.
          One that begins with the path of a file of the project must stand in that file. Any other is a fragment: it
          is compiled with the declarations of fragments.h. Programs run in an empty folder.
- ```cpp, ```python   A program.

A block below the comment <!-- not run: REASON --> is not run; the demo programs in it must know their options.

Usage: check_pages.py PROJECT_ROOT LIBRARY EXAMPLES COMPILER CXX_COMPILER [PAGE...]
  CXX_COMPILER  '' if there is none
"""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

# Made by other means: whole files of C that tests/docs/meson.build compiles and runs.
INTERNAL_C = ("adding-an-op.md", "adding-an-optimizer.md")
SHORT = {
    "train_lm": "--context 16 --batch 2 --steps 2 --warmup 1 --eval-tokens 64",
    "generate": "--max-tokens 4",
    "make_stories": "--bytes 20000",
    "train_bpe": "--vocab-size 400",
}
# Commands of tinylm whose programs have short options.
COMMANDS = {"bpe": "train_bpe", "train": "train_lm", "finetune": "train_lm", "generate": "generate"}
# Of a new model only.
SMALL = "--vocab-size 400 --d-model 32 --layers 1 --heads 2 --d-ff 64"
# Names of the pages, and the small file that stands in for each.
STAND_INS = {
    "TinyStoriesV2-GPT4-train.txt": "train.txt",
    "TinyStoriesV2-GPT4-valid.txt": "valid.txt",
    "stories.txt": "train.txt",
    "stories_like.txt": "train.txt",
    "web.txt": "valid.txt",
    "corpus.txt": "train.txt",
    "stories-vocab.json": "vocab.json",
    "stories-merges.txt": "merges.txt",
    "web-vocab.json": "vocab.json",
    "web-merges.txt": "merges.txt",
    "SmolLM2-135M-Instruct.Q4_1.gguf": "small.gguf",
}
CHAT_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
TOOLS = ("apt-get", "auditwheel", "cc", "ldconfig", "meson", "mpicc", "mpirun", "ninja", "pip", "pkg-config",
         "python3", "sh", "sudo")
# Arguments that are files of the project must exist there. What a compiler would write is a program that does nothing.
LOOK = """for word; do case $word in tests/*|examples/*|lib/*)
    test -e {root}/"$word" || {{ echo "no file $word in the project"; exit 1; }};; esac
    case $before in -o) cp /bin/true "$word";; esac
    before=$word
done"""
# A short run ends at another step than the page's.
RUN = """case $* in *--init*|*--resume*|*--config*) small=;; *) small="{small}";; esac
case $* in *--range-test*) small="$small --steps 20";; esac
n=$#
while [ $((n -= 1)) -ge 0 ]; do
    word=$1; shift
    case $word in */step-*.safetensors)
        [ -e "$word" ] || word=$(ls "${{word%/*}}"/step-*.safetensors | tail -n 1);; esac
    set -- "$@" "$word"
done
exec {program} "$@" {short} $small"""


def blocks(text):
    """(language, text, reason not to run or None) of each block of code."""
    pattern = r"(?:`([\w-]+\.json)`:\n+)?(?:^<!-- not run: ([^>]*?) -->\n+)?^```(\w+)\n(.*?)^```$"
    for file, reason, language, code in re.findall(pattern, text, re.DOTALL | re.MULTILINE):
        if language == "json" and file:
            yield file, code, None
        elif language in ("sh", "c", "cpp", "python"):
            yield language, code, reason or None


class Sandbox:
    """A folder with the files that pages name, and programs of their names."""

    def __init__(self, root, library, examples, folder):
        self.root, self.library, self.examples, self.folder = root, library, examples, folder
        self.programs = sorted(path.name for path in examples.iterdir() if path.is_file() and os.access(path, os.X_OK)
                               and "." not in path.name)

    def environment(self, place):
        paths = [str(self.library.parent), os.environ.get("LD_LIBRARY_PATH", "")]
        return {**os.environ, "PATH": f"{place}/bin:{os.environ['PATH']}", "LD_LIBRARY_PATH": os.pathsep.join(paths),
                "PYTHONPATH": str(self.root / "examples" / "python"), "TINYLM_LIBRARY": str(self.library),
                "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}

    def run(self, what, command, place):
        """Runs a command; prints its output, and whether it succeeded, and returns the latter."""
        result = subprocess.run(command, cwd=place, env=self.environment(place), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                timeout=300, check=False)
        print(f"--- {what}: {'ok' if result.returncode == 0 else f'status {result.returncode}'}", flush=True)
        if result.returncode != 0:
            print(result.stdout, end="")
        return result.returncode == 0

    def write_program(self, path, text):
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def make_files(self):
        """The small files, made by the demo programs."""
        script = """
            make_stories --bytes 40000 --output train.txt
            make_stories --bytes 10000 --seed 1 --output valid.txt
            train_bpe --vocab-size 400 --vocab vocab.json --merges merges.txt --output tokenizer.json train.txt
            for name in train valid; do tokenize --tokenizer tokenizer.json --output $name.u16 $name.txt; done
            train_lm --train train.u16 --valid valid.u16 --tokenizer tokenizer.json --output model.safetensors \
                --vocab-size 400 --context 256 --d-model 32 --layers 2 --heads 2 --batch 2 --steps 2
            convert --to hf model.safetensors small
            cp tokenizer.json small/tokenizer.json
            """
        environment = self.environment(self.folder)
        environment["PATH"] = f"{self.examples}:{environment['PATH']}"
        subprocess.run(["/bin/sh", "-ec", script], cwd=self.folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        (self.folder / "small" / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
        subprocess.run([self.examples / "convert", "--to", "gguf", "small", "small.gguf"], cwd=self.folder,
                       env=environment, check=True, stdout=subprocess.DEVNULL)
        for name, original in STAND_INS.items():
            shutil.copyfile(self.folder / original, self.folder / name)
        (self.folder / "small.gguf").unlink()

    def command_texts(self):
        """The program tinylm, whose commands get the short options of their programs."""
        cases = ""
        for command, name in COMMANDS.items():
            program = f"{shlex.quote(str(self.examples / 'tinylm'))} {command}"
            text = RUN.format(program=program, short=SHORT.get(name, ""), small=SMALL if command == "train" else "")
            cases += f"{command}) shift\n{text} ;;\n"
        return f'case $1 in\n{cases}esac\nexec {shlex.quote(str(self.examples / "tinylm"))} "$@"'

    def make_programs(self):
        """bin/NAME and build/examples/NAME for demo programs, with short options behind their own; tools that do
        nothing except to look at the files of the project that they are given."""
        bin_folder, examples = self.folder / "bin", self.folder / "build" / "examples"
        bin_folder.mkdir()
        examples.mkdir(parents=True)
        for name in self.programs:
            text = RUN.format(program=shlex.quote(str(self.examples / name)), short=SHORT.get(name, ""),
                              small=SMALL if name == "train_lm" else "")
            if name == "tinylm":
                text = self.command_texts()
            if name == "sweep":  # checks all of its runs and lists them
                text = f'exec {shlex.quote(str(self.examples / name))} --dry-run "$@" {SMALL}'
            self.write_program(bin_folder / name, text)
            self.write_program(examples / name, text)
        benchmarks = self.folder / "build" / "tests" / "bench"
        peers = self.folder / ".venv-bench" / "bin"
        benchmarks.mkdir(parents=True)
        peers.mkdir(parents=True)
        tools = [bin_folder / name for name in TOOLS] + [peers / name for name in ("pip", "python")]
        tools += [benchmarks / path.stem for path in (self.root / "tests" / "bench").glob("*.c")]
        for tool in tools:
            self.write_program(tool, LOOK.format(root=shlex.quote(str(self.root))))
        for path in list(self.folder.iterdir()):
            if path.is_file():
                (examples / path.name).symlink_to(path)

    def place(self, page):
        """A copy for a page."""
        copy = self.folder.parent / page.replace("/", "-")
        shutil.copytree(self.folder, copy, symlinks=True)
        for link in (copy / "build" / "examples").iterdir():
            if link.is_symlink():
                link.unlink()
                link.symlink_to(copy / link.name)
        return copy


class Checker:
    def __init__(self, sandbox, cc, cxx):
        self.sandbox, self.cc, self.cxx = sandbox, cc, cxx
        self.include = f"-I{sandbox.root / 'include'}"

    def program(self, name, source, place):
        if name.endswith(".cpp") and not self.cxx:
            print(f"--- {name}: skipped: no C++ compiler")
            return True
        compiler, flags = (self.cxx, ["-std=c++17"]) if name.endswith(".cpp") else (self.cc, ["-std=c11"])
        if name.endswith(".c"):
            place = place / f"{name}.run"
            place.mkdir()
        (place / name).write_text(source, encoding="utf-8")
        build = [*compiler, *flags, "-Wall", "-Wextra", "-Werror", "-O1", self.include, name, "-o", "program",
                 str(self.sandbox.library)]
        return self.sandbox.run(f"compile {name}", build, place) and \
            self.sandbox.run(f"run {name}", ["./program"], place)

    def fragment(self, what, source, place):
        """Compiles statements as the body of a function, and function definitions as they stand."""
        source = re.sub(r"^\.\.\.$", "", source, flags=re.MULTILINE)
        body = source if source.startswith("static") else f"int fragment(void)\n{{\n{source}\nreturn 0;\n}}\n"
        here = pathlib.Path(__file__).resolve().parent
        (place / "fragment.c").write_text(f'#include "fragments.h"\n{body}', encoding="utf-8")
        build = [*self.cc, "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-unused", "-Wno-shadow", self.include,
                 f"-I{here}", "-fsyntax-only", "fragment.c"]
        return self.sandbox.run(what, build, place)

    def excerpt(self, block):
        """Whether the lines of a block stand in the file that its first line names, whatever their indentation and
        comments."""
        def code(line):
            return re.sub(r"/\*.*?\*/", "", line).strip()

        path, *lines = block.splitlines()
        file = self.sandbox.root / path.removeprefix("/* ").removesuffix(" */")
        there = {code(line) for line in file.read_text(encoding="utf-8").splitlines()}
        missing = [line for line in lines if code(line) not in there]
        for line in missing:
            print(f"--- {file} has no line: {line}")
        return not missing

    def options(self, code):
        """Whether the options given to demo programs are known to their --help."""
        good = True
        for line in re.sub(r"\\\n", " ", code).splitlines():
            words = shlex.split(line, comments=True)
            names = [i for i, word in enumerate(words) if pathlib.PurePath(word).name in self.sandbox.programs]
            if not names:
                continue
            name = pathlib.PurePath(words[names[0]]).name
            if "--" in words:  # options of another program follow
                words = words[: words.index("--")]
            command = [words[names[0] + 1]] if name == "tinylm" and len(words) > names[0] + 1 else []
            text = subprocess.run([self.sandbox.examples / name, *command, "--help"], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=60, check=False).stdout
            known = set(re.findall(r"--[a-z0-9-]+", text))
            unknown = [word for word in words[names[0] :] if word.startswith("--") and word not in known]
            if unknown:
                print(f"--- {name} has no {', '.join(unknown)}")
                good = False
        return good

    def page(self, name):
        text = (self.sandbox.root / name).read_text(encoding="utf-8")
        found = list(blocks(text))
        if not found:
            return True
        place = self.sandbox.place(name)
        good, programs, current = [], {}, None
        for number, (language, code, reason) in enumerate(found, 1):
            what = f"{name}, block {number} ({language})"
            opening = re.match(r"/\* ([\w/]+\.(?:c|cpp|h)) \*/\n", code)
            if reason:
                print(f"--- {what}: not run: {reason}")
                good.append(language != "sh" or self.options(code))
            elif language in ("c", "cpp") and opening and "/" in opening.group(1):
                good.append(self.excerpt(code))
            elif language in ("c", "cpp") and (opening or current):
                current = opening.group(1) if opening else current
                programs[current] = programs.get(current, "") + code
            elif language == "c" and pathlib.PurePath(name).name not in INTERNAL_C:
                good.append(self.fragment(what, code, place))
            elif language == "sh":
                good.append(self.sandbox.run(what, ["/bin/sh", "-ec", code], place))
            elif language.endswith(".json"):
                (place / language).write_text(code, encoding="utf-8")
            elif language == "python":
                good.append(self.sandbox.run(what, [sys.executable, "-c", code], place))
        good += [self.program(file, source, place) for file, source in programs.items()]
        shutil.rmtree(place)
        return all(good)


def main(root, library, examples, cc, cxx, pages):
    listed = [path.relative_to(root).as_posix() for path in [root / "README.md", *sorted(root.glob("docs/*.md"))]]
    with tempfile.TemporaryDirectory() as folder:
        sandbox = Sandbox(root, library, examples, pathlib.Path(folder) / "files")
        sandbox.folder.mkdir()
        sandbox.make_files()
        sandbox.make_programs()
        checker = Checker(sandbox, cc, cxx)
        bad = [page for page in pages or listed if not checker.page(page)]
    print("\n".join(f"{page}: see above" for page in bad))
    return 1 if bad else 0


if __name__ == "__main__":
    ROOT, LIBRARY, EXAMPLES = (pathlib.Path(argument).resolve() for argument in sys.argv[1:4])
    COMPILERS = [[shutil.which(word) or word for word in shlex.split(command)] for command in sys.argv[4:6]]
    sys.exit(main(ROOT, LIBRARY, EXAMPLES, *COMPILERS, sys.argv[6:]))
