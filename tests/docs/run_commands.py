"""Runs the command lines of pages in order, in a folder with small files under the names that they use.

Each line of a ```sh block that begins with build/examples/ is run; those of training and generating get options that
make them short. A page with no such line is an error.

Usage: run_commands.py PROJECT_ROOT EXAMPLES PAGE...
"""

import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

REAL = "SmolLM2-135M-Instruct.Q4_1.gguf"  # a small model stands in for it
SHORT = {
    "train_lm": "--vocab-size 400 --context 16 --d-model 32 --layers 1 --heads 2 --batch 2 --steps 2".split(),
    "generate": ["--max-tokens", "4"],
}


def commands(page):
    text = pathlib.Path(page).read_text(encoding="utf-8")
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        lines = block.replace("\\\n", " ").splitlines()
        found += [shlex.split(line, comments=True) for line in lines if line.startswith("build/examples/")]
    return found


class Runner:
    def __init__(self, examples, folder):
        self.examples, self.folder = examples, folder

    def run(self, program, *arguments):
        result = subprocess.run([self.examples / program, *arguments], cwd=self.folder, capture_output=True,
                                text=True, errors="replace", timeout=120, check=False)
        if result.returncode != 0:
            sys.exit(f"{program} {shlex.join(arguments)}: status {result.returncode}: {result.stderr.strip()}")

    def prepare(self):
        words = ["--vocab", "vocab.json", "--merges", "merges.txt"]
        self.run("make_stories", "--bytes", "40000", "--output", "train.txt")
        self.run("make_stories", "--bytes", "10000", "--seed", "1", "--output", "valid.txt")
        self.run("train_bpe", "--vocab-size", "400", *words, "--tokenizer", "tokenizer.json", "train.txt")
        for name in ("train", "valid"):
            self.run("tokenize", *words, "--output", f"{name}.u16", f"{name}.txt")
        data = ["--train", "train.u16", "--valid", "valid.u16", *SHORT["train_lm"]]
        self.run("train_lm", *data, *words, "--output", "model.safetensors")
        self.run("convert", "--to", "gguf", "--weights", "q8_0", "model.safetensors", REAL)


def main():
    examples = pathlib.Path(sys.argv[2]).resolve()
    for page in sys.argv[3:]:
        lines = commands(pathlib.Path(sys.argv[1]) / page)
        if not lines:
            sys.exit(f"{page}: no command")
        with tempfile.TemporaryDirectory() as folder:
            runner = Runner(examples, folder)
            runner.prepare()
            for line in lines:
                program = pathlib.PurePath(line[0]).name
                runner.run(program, *line[1:], *SHORT.get(program, []))
                print(f"{page}: {shlex.join(line)}")


if __name__ == "__main__":
    main()
