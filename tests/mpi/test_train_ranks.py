#!/usr/bin/env python3
"""Trains with train_lm on several ranks under mpirun, and compares the final checkpoints with those of the plain
program, byte for byte: on any number of ranks and threads; after a run went on with another number of them; and
after single ranks were killed or asked to stop at random moments.

    test_train_ranks.py MPIRUN_SH LAUNCHER TRAIN_LM_OF_MPI TRAIN_LM [KILLS]

KILLS is 3 unless given; 20 take about two minutes. TINYLM_TEST_SEED repeats a run's choice of moments, as far as
the machine keeps time."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

STEPS = 24
KILL_STEPS = 150


def write_tokens(path, count, seed):
    """Ids with something to learn: each follows from the one before, with some noise."""
    chance = random.Random(seed)
    ids = [0]
    for _ in range(count):
        ids.append((ids[-1] * 5 + 1 + (chance.random() < 0.2)) % 61)
    path.write_bytes(b"".join(i.to_bytes(2, "little") for i in ids))


class Programs:
    def __init__(self, mpirun, launcher, shared, plain):
        self.mpirun, self.launcher, self.shared, self.plain = mpirun, launcher, shared, plain

    def command(self, ranks, threads, steps, *arguments):
        """ranks 0: the plain program."""
        program = [self.plain] if ranks == 0 else [self.mpirun, self.launcher, str(ranks), self.shared, "--mpi"]
        return [*program, "--train", "train.u16", "--valid", "valid.u16", "--vocab-size", "64", "--context", "16",
                "--d-model", "32", "--layers", "2", "--heads", "2", "--batch", "2", "--accumulate", "4",
                "--steps", str(steps), "--warmup", "5", "--eval-every", "7", "--eval-tokens", "300",
                "--log-every", "10", "--peak-gflops", "1", "--threads", str(threads), *arguments]

    def run(self, ranks, threads, *arguments, steps=STEPS, expect=0):
        command = self.command(ranks, threads, steps, *arguments)
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
        if (result.returncode == 0) != (expect == 0):
            sys.exit(f"{' '.join(map(str, command))}: status {result.returncode}\n{result.stdout}{result.stderr}")
        return result

    def ranks_of(self, place):
        """Process ids of the ranks that write to a place."""
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
                if os.path.samefile(entry / "exe", self.shared) and str(place).encode() in arguments:
                    found.append(int(entry.name))
            except OSError:
                continue  # it has ended
        return found


def require_same(first, second, what):
    if first.read_bytes() != second.read_bytes():
        sys.exit(f"{what}: {second.name} differs from {first.name}")


def check_equality(programs, home):
    whole = home / "whole.safetensors"
    plain = programs.run(0, 1, "--output", whole).stdout
    for ranks, threads in [(0, 2), (1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2)]:
        output = home / f"ranks-{ranks}-{threads}.safetensors"
        printed = programs.run(ranks, threads, "--output", output).stdout
        require_same(whole, output, f"{ranks} ranks with {threads} threads")
        losses = [line for line in printed.splitlines() if "validation loss" in line]
        if losses != [line for line in plain.splitlines() if "validation loss" in line]:
            sys.exit(f"{ranks} ranks: other evaluations\n{printed}")
    return whole


def check_warmup(programs, home):
    """A batch that grows, with a stop in the middle of that."""
    warmup = ["--batch", "4", "--batch-start", "1", "--batch-warmup-tokens", "3000"]
    whole, part = home / "grown.safetensors", home / "growing.safetensors"
    programs.run(0, 2, *warmup, "--output", whole)
    for before, after in [(2, 4), (4, 2)]:
        programs.run(before, 1, *warmup, "--output", part, "--stop-step", "9")
        programs.run(after, 1, *warmup, "--output", part, "--resume", part)
        require_same(whole, part, f"a batch that grows, on {before} ranks, then {after}")


def check_overlap(programs, home):
    """A model whose gradients are exchanged in several chunks, most of them while backward runs."""
    large = ["--d-model", "512", "--d-ff", "600", "--vocab-size", "2200", "--batch", "1", "--eval-tokens", "64"]
    outputs = []
    for ranks, threads in [(0, 1), (2, 1), (4, 2)]:
        outputs.append(home / f"large-{ranks}.safetensors")
        programs.run(ranks, threads, *large, "--output", outputs[-1], steps=2)
        require_same(outputs[0], outputs[-1], f"a large model on {ranks} ranks")
    for output in outputs:
        output.unlink()


def check_resume(programs, home, whole):
    for before, after in [(2, 4), (4, 0), (0, 2)]:
        first, second = home / "first.safetensors", home / "second.safetensors"
        programs.run(before, 1, "--output", first, "--stop-step", "7")
        programs.run(after, 1, "--output", second, "--resume", first)
        require_same(whole, second, f"{before} ranks, then {after}")


def check_files(programs, home, whole):
    """The data in two files give what they give in one."""
    data = (home / "train.u16").read_bytes()
    (home / "a.u16").write_bytes(data[:3000])
    (home / "b.u16").write_bytes(data[3000:])
    programs.run(2, 1, "--output", home / "files.safetensors", "--train", "a.u16,b.u16")
    require_same(whole, home / "files.safetensors", "two token files")


def check_failures(programs, home):
    refused = programs.run(3, 1, "--output", home / "three.safetensors", expect=1)
    if "3 ranks cannot share the 4 batches" not in refused.stderr:
        sys.exit(f"3 ranks: {refused.stderr}")
    programs.run(3, 1, "--irreproducible", "--output", home / "three.safetensors")
    missing = programs.run(2, 1, "--output", home / "missing/file.safetensors", expect=1)
    if "missing/file.safetensors" not in missing.stderr:
        sys.exit(f"a directory that is missing: {missing.stderr}")


class LongRun:
    """A run in a directory, on ranks that are killed or asked to stop, until it is through."""

    def __init__(self, programs, place):
        self.programs, self.place = programs, place

    def start(self, ranks):
        if not list(self.place.glob("checkpoints/step-*.safetensors")):
            shutil.rmtree(self.place, ignore_errors=True)
        resume = ["--resume", self.place] if self.place.exists() else []
        command = self.programs.command(ranks, 1, KILL_STEPS, "--output-dir", self.place, "--save-every", "1",
                                        "--keep", "2", *resume)
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def final(self):
        return sorted(self.place.glob("checkpoints/step-*.safetensors"))[-1]

    def strike(self, ranks, chance, number):
        """Sends a signal to a random rank, once all of them run. Returns whether it met the run."""
        process = self.start(ranks)
        deadline = time.monotonic() + 60
        while process.poll() is None and len(self.programs.ranks_of(self.place)) < ranks:
            if time.monotonic() > deadline:
                sys.exit("the ranks did not start")
            time.sleep(0.01)
        time.sleep(chance.random() * 0.8)
        alive = self.programs.ranks_of(self.place)
        if alive:
            try:
                os.kill(chance.choice(alive), number)
            except ProcessLookupError:
                alive = []
        try:
            process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            sys.exit(f"a rank was sent {number.name}, and the others hang")
        while self.programs.ranks_of(self.place):
            if time.monotonic() > deadline + 120:
                sys.exit(f"a rank was sent {number.name}, and others live on")
            time.sleep(0.01)
        return bool(alive)


def check_kills(programs, home, kills, chance):
    undisturbed = LongRun(programs, home / "undisturbed")
    if undisturbed.start(0).wait() != 0:
        sys.exit("the plain run failed")
    run, met = LongRun(programs, home / "killed"), 0
    for i in range(kills + 1):
        number = signal.SIGTERM if i == kills else signal.SIGKILL
        met += run.strike(chance.choice([1, 2, 4]), chance, number)
    if run.start(2).wait() != 0:
        sys.exit("the run did not go on after the kills")
    require_same(undisturbed.final(), run.final(), f"{met} kills")
    print(f"{met} of {kills + 1} signals met the run; the final checkpoint is the same")


def main(mpirun, launcher, shared, plain, kills="3"):
    seed = int(os.environ.get("TINYLM_TEST_SEED", random.randrange(1 << 30)))
    print(f"TINYLM_TEST_SEED={seed}")
    programs = Programs(*[pathlib.Path(path).resolve() for path in (mpirun, launcher, shared, plain)])
    programs.launcher = launcher  # its name may matter, and it may be a link
    with tempfile.TemporaryDirectory(prefix="tinylm-ranks-") as name:
        home = pathlib.Path(name)
        write_tokens(home / "train.u16", 5000, 1)
        write_tokens(home / "valid.u16", 1000, 2)
        os.chdir(home)
        whole = check_equality(programs, home)
        check_warmup(programs, home)
        check_overlap(programs, home)
        check_resume(programs, home, whole)
        check_files(programs, home, whole)
        check_failures(programs, home)
        check_kills(programs, home, int(kills), random.Random(seed))


if __name__ == "__main__":
    main(*sys.argv[1:])
