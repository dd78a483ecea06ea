#!/usr/bin/env python3
"""Encodes texts with tokenize on 1 to 4 ranks under mpirun, and compares the token file with the plain program's,
byte for byte; has one rank fail, and kills single ranks at random moments: what was there before must stay.

    test_encode_ranks.py MPIRUN_SH LAUNCHER TOKENIZE_OF_MPI TOKENIZE TRAIN_BPE [KILLS]

TINYLM_TEST_SEED repeats a run's texts and moments, as far as the machine keeps time."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

END = "<|endoftext|>"
BLOCK = 8 << 20  # bytes that a rank encodes per round


def make_text(chance, size):
    """Words, special tokens, and bytes that are no UTF-8."""
    pieces = [b"the ", b"model ", b"reads", b" text\n", b"\xff\xfe", "\u00e9\u4e2d".encode()[:-1], END.encode(),
              END.encode()[:5], b"  \n\n", b"1234567890"]
    block = b"".join(chance.choice(pieces) for _ in range(min(size, 20000)))
    return (block * (size // max(len(block), 1) + 1))[:size]


class Programs:
    def __init__(self, mpirun, launcher, shared, plain, train_bpe):
        self.mpirun, self.launcher = pathlib.Path(mpirun).resolve(), launcher
        self.shared, self.plain, self.train_bpe = (pathlib.Path(path).resolve() for path in (shared, plain, train_bpe))

    def command(self, ranks, output, *texts):
        """ranks 0: the plain program."""
        program = [self.plain] if ranks == 0 else [self.mpirun, self.launcher, str(ranks), self.shared, "--mpi"]
        return [*program, "--vocab", "vocab.json", "--merges", "merges.txt", "--threads", "1", "--output", output, *texts]

    def run(self, ranks, output, *texts, options=(), expect=0):
        command = [*self.command(ranks, output, *texts), *options]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
        if (result.returncode == 0) != (expect == 0):
            sys.exit(f"{' '.join(map(str, command))}: status {result.returncode}\n{result.stdout}{result.stderr}")
        return result

    def ranks_of(self, output):
        """Process ids of the ranks that write a file."""
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
                if os.path.samefile(entry / "exe", self.shared) and str(output).encode() in arguments:
                    found.append(int(entry.name))
            except OSError:
                continue  # it has ended
        return found


def check_equality(programs, cases):
    for name, texts in cases.items():
        for extension in (".npy", ".u16"):
            expected, output = pathlib.Path(f"{name}{extension}"), pathlib.Path(f"{name}-ranks{extension}")
            programs.run(0, expected, *texts)
            for ranks in (1, 2, 3, 4) if extension == ".npy" else (3,):
                programs.run(ranks, output, *texts, options=["--check"])
                if expected.read_bytes() != output.read_bytes():
                    sys.exit(f"{name}{extension}: {ranks} ranks wrote another file than one process")


def check_failures(programs):
    output = pathlib.Path("failed.u16")
    output.write_bytes(b"before")
    for texts, answer in ((["words", "missing"], "missing"), (["words", "."], "this is a directory")):
        said = programs.run(3, output, *texts, expect=1).stderr
        if answer not in said:
            sys.exit(f"{texts}: {said}")
    said = programs.run(2, "nowhere/o.u16", "words", expect=1).stderr
    if "nowhere/o.u16" not in said:
        sys.exit(f"a directory that is missing: {said}")
    said = programs.run(2, output, "words", options=["--stats"], expect=1).stderr
    if "--mpi goes with encoding" not in said and "writes nothing" not in said:
        sys.exit(f"--stats: {said}")
    if output.read_bytes() != b"before":
        sys.exit("a run that failed changed the file")


def check_kills(programs, kills, chance):
    """A rank is killed at a random moment: the file is the one from before, or the whole new one."""
    output, whole = pathlib.Path("killed.u16").resolve(), pathlib.Path("large.u16")
    programs.run(0, whole, "large")
    met = 0
    for _ in range(kills):
        output.write_bytes(b"before")
        process = subprocess.Popen(programs.command(3, output, "large"), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and len(programs.ranks_of(output)) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(chance.random() * 1.5)
        alive = programs.ranks_of(output)
        if alive:
            try:
                os.kill(chance.choice(alive), signal.SIGKILL)
                met += 1
            except ProcessLookupError:
                pass
        try:
            process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            sys.exit("a rank was killed, and the others hang")
        if output.read_bytes() not in (b"before", whole.read_bytes()):
            sys.exit("a rank was killed, and the token file is half written")
    programs.run(2, output, "large")
    if output.read_bytes() != whole.read_bytes():
        sys.exit("the run after the kills wrote another file")
    left = list(pathlib.Path(".").glob("killed.u16.tmp-*"))
    if left:
        sys.exit(f"killed runs left {left} behind")
    print(f"{met} of {kills} kills met a run")


def main(mpirun, launcher, shared, plain, train_bpe, kills="3"):
    seed = int(os.environ.get("TINYLM_TEST_SEED", random.randrange(1 << 30)))
    print(f"TINYLM_TEST_SEED={seed}")
    chance = random.Random(seed)
    programs = Programs(mpirun, launcher, shared, plain, train_bpe)
    with tempfile.TemporaryDirectory(prefix="tinylm-encode-") as name:
        os.chdir(name)
        texts = {"empty": b"", "byte": b"x", "words": make_text(chance, 30000), "uncut": b"a" * 40000,
                 "large": make_text(chance, 3 * BLOCK + 12345), "one-block": make_text(chance, BLOCK)}
        for text, data in texts.items():
            pathlib.Path(text).write_bytes(data)
        subprocess.run([programs.train_bpe, "--vocab-size", "400", "--vocab", "vocab.json", "--merges", "merges.txt",
                        "words"], stdout=subprocess.DEVNULL, check=True)
        check_equality(programs, {"nothing": ["empty"], "less": ["byte"], "several": ["words", "empty", "byte", "uncut"],
                                  "blocks": ["large", "one-block", "words"]})
        check_failures(programs)
        check_kills(programs, int(kills), chance)


if __name__ == "__main__":
    main(*sys.argv[1:])
