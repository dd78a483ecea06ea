"""What the tests of the program tinylm share: the program, and a place with a tokenizer, token files, a model in each
format and a run, made once per test program."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

PROGRAMS = pathlib.Path(sys.argv.pop(1)).resolve() if len(sys.argv) > 1 else None
TINYLM = PROGRAMS / "tinylm" if PROGRAMS else None
COMMANDS = ["bpe", "tokenize", "train", "finetune", "generate", "chat", "eval", "convert", "info", "report", "sweep"]
# The programs of the commands, where they have one.
NAMES = {"bpe": "train_bpe", "train": "train_lm", "eval": "score", "info": "model_info"}
TRAIN = ["train", "--train", "train.npy", "--valid", "valid.npy", "--vocab-size", "400", "--context", "16", "--d-model",
         "16", "--layers", "1", "--heads", "2", "--batch", "4", "--steps", "20", "--warmup", "5", "--log-every", "5",
         "--eval-every", "10", "--eval-tokens", "256"]  # fmt: skip


def run(*words, program=None, status=0, env=None, **options):
    """Runs tinylm, or another of the programs, and checks its exit status."""
    done = subprocess.run([program or TINYLM, *map(str, words)], capture_output=True, env={**os.environ, **(env or {})},
                          timeout=300, **options)  # fmt: skip
    done.out, done.err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if status is not None and done.returncode != status:
        raise AssertionError(f"status {done.returncode} of {' '.join(map(str, words))}: {done.out}{done.err}")
    return done


def parse(line):
    """JSON as the standard has it: no NaN, no Infinity."""
    def refuse(word):
        raise ValueError(f"{word} is no JSON")

    return json.loads(line, parse_constant=refuse)


class Case(unittest.TestCase):
    """Works in a directory with files of all kinds."""

    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.TemporaryDirectory()
        os.chdir(cls.place.name)
        run("--bytes", 60000, "--output", "train.txt", program=PROGRAMS / "make_stories")
        run("--bytes", 9000, "--seed", 2, "--output", "valid.txt", program=PROGRAMS / "make_stories")
        run("bpe", "--vocab-size", 400, "--output", "tokenizer.json", "--vocab", "vocab.json", "--merges", "merges.txt",
            "train.txt")  # fmt: skip
        for name in "train", "valid":
            run("tokenize", "--tokenizer", "tokenizer.json", "--output", f"{name}.npy", f"{name}.txt")
        run("tokenize", "--tokenizer", "tokenizer.json", "--output", "train.u16", "train.txt")
        run(*TRAIN, "--tokenizer", "tokenizer.json", "--output-dir", "run", "--save-every", 10)
        run("convert", "--to", "checkpoint", "run", "model.safetensors")
        run("convert", "--to", "hf", "run", "folder")
        run("convert", "--to", "gguf", "run", "model.gguf")

    @classmethod
    def tearDownClass(cls):
        os.chdir("/")
        cls.place.cleanup()
